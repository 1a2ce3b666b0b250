// Package migrate tells what of a mailbox has been filed from another one, before
// a source is moved from one to the other.
//
// What it tells rests on headers, and is provisional: a run decides by what the
// messages hold (docs/formats.md, Identity). Nothing is changed anywhere.
package migrate

import (
	"context"
	"fmt"
	"hash/maphash"
	"time"

	"postroom/ingest/ledger"
	"postroom/ingest/message"
)

// Verdict is what the headers of a message say of whether it has been filed.
type Verdict string

const (
	// FiledAlready: a document was filed of a message with this Message-ID, title or
	// date of arrival.
	FiledAlready Verdict = "filed_already"
	// New: nothing like it was filed.
	New Verdict = "new"
	// Uncertain: only what it holds can tell.
	Uncertain Verdict = "uncertain"
)

// Past is what the ledger knows of a source. Its memory is a few bytes for each
// message.
type Past struct {
	reader ledger.Reader
	source string

	// Documents and Forgotten are how many there are.
	Documents, Forgotten int
	// Owed are messages that are filed and not disposed of, InQuarantine those that
	// need a person, Unfinished those in hand when the last run ended, or that are
	// tried again.
	Owed, InQuarantine, Unfinished int

	seed maphash.Seed
	// owed are the documents of Owed, by their ids.
	owed map[uint64]bool
	// nameless are the documents without Message-ID, by title.
	nameless map[uint64]bool
	// troubled are the messages in quarantine, by title.
	troubled map[uint64]bool
	// met is how many messages with a Message-ID were taken for documents.
	met map[uint64]uint32
}

// ReadPast reads what the ledger knows of the source. The reader is used as long as
// the Past is.
func ReadPast(ctx context.Context, r ledger.Reader, source string) (*Past, error) {
	p := &Past{
		reader: r, source: source, seed: maphash.MakeSeed(),
		owed: make(map[uint64]bool), nameless: make(map[uint64]bool), troubled: make(map[uint64]bool), met: make(map[uint64]uint32),
	}
	for d, err := range r.Documents(ctx, ledger.DocumentQuery{Source: source}) {
		if err != nil {
			return nil, fmt.Errorf("read documents of source %s: %w", source, err)
		}
		p.Documents++
		if d.MessageID == "" {
			p.nameless[p.sum("title", d.Title)] = true
		}
	}
	for _, err := range r.Documents(ctx, ledger.DocumentQuery{Source: source, Forgotten: true}) {
		if err != nil {
			return nil, fmt.Errorf("read tombstones of source %s: %w", source, err)
		}
		p.Forgotten++
	}
	open := []ledger.State{ledger.Begun, ledger.Prepared, ledger.Filed, ledger.Quarantined, ledger.Parked}
	for e, err := range r.Entries(ctx, ledger.Query{Source: source, States: open}) {
		if err != nil {
			return nil, fmt.Errorf("read entries of source %s: %w", source, err)
		}
		switch e.State {
		case ledger.Filed:
			p.Owed++
			p.owed[p.sum("id", e.DocumentID)] = true
		case ledger.Quarantined, ledger.Parked:
			p.InQuarantine++
			if e.Title != "" {
				p.troubled[p.sum("title", e.Title)] = true
			}
		default:
			p.Unfinished++
		}
	}
	return p, nil
}

func (p *Past) sum(kind, text string) uint64 {
	return maphash.String(p.seed, kind+"\x00"+text)
}

func second(t time.Time) string { return t.UTC().Truncate(time.Second).Format(time.RFC3339) }

// Judgment is what is told of one message.
type Judgment struct {
	Verdict Verdict
	// Document is the id of the document that it was taken for, if it is one.
	Document string
	// Owed: that document's message has not been disposed of.
	Owed bool
	// Reason says what makes it uncertain, for a person.
	Reason string
}

// Judge tells of a message by its header, its date of arrival, and the title that
// its document would have. A message is judged once.
func (p *Past) Judge(ctx context.Context, h *message.Header, received time.Time, title string) (Judgment, error) {
	id := ""
	if ids := h.MessageIDs("Message-ID"); len(ids) > 0 {
		id = ids[0]
	}
	if id == "" {
		return p.unnamed(title, h.Text("Subject"), "it has no Message-ID"), nil
	}
	alike, err := p.reader.Like(ctx, p.source, [32]byte{}, [32]byte{}, id)
	if err != nil {
		return Judgment{}, err
	}
	if len(alike) == 0 {
		return p.unnamed(title, h.Text("Subject"), "its Message-ID is not known"), nil
	}
	key := p.sum("message-id", id)
	p.met[key]++
	j := Judgment{Document: alike[0].ID}
	var like []ledger.Document
	for _, d := range alike {
		if d.Title == title || second(d.Received) == second(received) {
			like = append(like, d)
		}
	}
	switch {
	case len(like) == 0:
		j.Verdict, j.Reason = Uncertain, fmt.Sprintf("document %.12s has this Message-ID, and another title and date of arrival", alike[0].ID)
	case int(p.met[key]) > len(alike):
		j.Verdict, j.Document = Uncertain, like[0].ID
		j.Reason = fmt.Sprintf("%d messages in the mailbox have this Message-ID, and %d filed: it is a copy of one of these, or another one", p.met[key], len(alike))
	default:
		j.Verdict, j.Document = FiledAlready, like[0].ID
	}
	for _, d := range like {
		if p.owed[p.sum("id", d.ID)] {
			j.Document, j.Owed = d.ID, true
		}
	}
	return j, nil
}

// unnamed judges a message by other means than its Message-ID. What has another title
// has another subject, as a rule, and then is another message.
func (p *Past) unnamed(title, subject, because string) Judgment {
	switch {
	case p.nameless[p.sum("title", title)]:
		return Judgment{Verdict: Uncertain, Reason: because + ", and a message with this title was filed that had none"}
	case p.troubled[p.sum("title", subject)]:
		return Judgment{Verdict: Uncertain, Reason: because + ", and a message with this subject is in quarantine"}
	}
	return Judgment{Verdict: New}
}
