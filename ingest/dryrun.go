package ingest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"postroom/ingest/ledger"
	"postroom/sources"
	"postroom/store"
)

// DryRun says what Once would do with each message, and does none of it. It has
// no rules of its own: the same engine works on a copy of the ledger, on
// stand-ins for the repository and the quarantine that read and do not write, and
// on sources of which no message is touched. So it cannot disagree with a run
// that finds the same things.
//
// It does not foresee what only doing shows: a full disk, a server that refuses a
// disposition.
type DryRun struct {
	engine *Engine
	report func(Decision)

	mu    sync.Mutex
	begun time.Time
	// read holds what is known of the messages that are in hand.
	read map[place]Event
}

// Filing tells what is in a repository that is not written to.
type Filing interface {
	// Find is that of [store.Repository], and changes nothing.
	Find(ctx context.Context, k store.Key) (store.Receipt, error)
	// Place returns the location that a document would have.
	Place(d *store.Document) string
}

// NewDryRun returns a dry run of the configuration. Its Ledger must be a copy,
// which is written to, and is not needed afterwards; of its Quarantine nothing is
// changed; Repository and Observe are not used. Filed is the repository as it is.
// Report is told of each message, by one goroutine at a
// time.
func NewDryRun(c Config, filed Filing, report func(Decision)) *DryRun {
	d := &DryRun{report: report, read: make(map[place]Event)}
	c.Repository = &dryRepository{filed}
	c.Quarantine = c.Quarantine.ReadOnly()
	c.Observe = d.observe
	mailboxes := make([]Mailbox, len(c.Mailboxes))
	for i, m := range c.Mailboxes {
		open := m.Open
		m.Open = func() (sources.Source, error) {
			src, err := open()
			if err != nil {
				return nil, err
			}
			return drySource{src}, nil
		}
		mailboxes[i] = m
	}
	c.Mailboxes = mailboxes
	d.engine = New(c)
	return d
}

// Once tells of every message that the named mailbox has now, and returns what
// would come of it. A mailbox is polled once at most.
func (d *DryRun) Once(ctx context.Context, name string) (Summary, error) {
	d.mu.Lock()
	d.begun = time.Now().Truncate(time.Microsecond)
	d.mu.Unlock()
	sums, err := d.engine.Once(ctx, name)
	if err != nil {
		return Summary{}, err
	}
	return sums[0], nil
}

// Outcome is what would become of a message.
type Outcome string

const (
	WouldFile       Outcome = "filed"
	WouldDuplicate  Outcome = "duplicate"
	WouldQuarantine Outcome = "quarantined"
	WouldFail       Outcome = "failed"        // it cannot be had now, and would be tried again
	IsLeftOut       Outcome = "left_out"      // by a filter
	IsFiled         Outcome = "filed_already" // nothing but a disposition may be owed
	IsQuarantined   Outcome = "in_quarantine"
	IsGivenUp       Outcome = "given_up" // discarded by a person, or its document was forgotten
	IsGone          Outcome = "gone"     // from its folder
)

// Decision is what a dry run says of one message. Absent values are zero: what
// was not fetched has no subject, what would not be filed no files.
type Decision struct {
	Folder   string    `json:"folder"` // path
	Key      string    `json:"key"`
	Subject  string    `json:"subject,omitempty"`
	From     string    `json:"from,omitempty"`
	Received time.Time `json:"received,omitzero"`
	Size     int64     `json:"size"` // in bytes; -1 if unknown
	Outcome  Outcome   `json:"outcome"`

	// Of the document that the message would be filed as, is filed as, or is a
	// duplicate of. Location and DuplicateOf are as in the history; Exact says that
	// the raw bytes are the same as those of what it duplicates.
	Document    string           `json:"document,omitempty"`
	DuplicateOf string           `json:"duplicate_of,omitempty"`
	Exact       bool             `json:"exact,omitempty"`
	Title       string           `json:"title,omitempty"`
	Class       string           `json:"class,omitempty"`
	Permissions string           `json:"permissions,omitempty"`
	Location    string           `json:"location,omitempty"`
	Files       []File           `json:"files,omitempty"`
	Properties  []store.Property `json:"properties,omitempty"`
	Notes       []string         `json:"notes,omitempty"`

	// Disposition is what would be done on the server.
	Disposition *Disposition `json:"disposition,omitempty"`
	Reason      string       `json:"reason,omitempty"`
}

// File is a file that a document would have.
type File struct {
	Name      string     `json:"name"`
	Role      store.Role `json:"role"`
	MediaType string     `json:"media_type,omitempty"`
	Size      int64      `json:"size"`
}

// Disposition is a [sources.Action], for a person.
type Disposition struct {
	Action    sources.Verb `json:"action"`
	Folder    string       `json:"folder,omitempty"`
	Permanent bool         `json:"permanent,omitempty"`
}

func (d *DryRun) observe(ev Event) {
	at := place{ev.Entry.Folder, ev.Entry.Key}
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case ev.Kind == Listed:
		return
	case ev.Kind == Examined:
		d.read[at] = ev
		return
	case ev.Kind == Known && !ev.Entry.Updated.Before(d.begun):
		return // it was handled, and told of, in this dry run
	}
	read := d.read[at]
	delete(d.read, at)
	d.report(decision(ev, read))
}

// decision puts together what is known of a message: what became of it, and what
// was read of it, if it was.
func decision(ev, read Event) Decision {
	e := ev.Entry
	out := Decision{
		Folder: ev.Folder, Key: e.Key, Received: e.Received, Size: e.Size,
		Document: e.DocumentID, Title: e.Title, Location: e.Location, Reason: e.Cause,
	}
	if ev.Err != nil {
		out.Reason = ev.Err.Error()
	}
	switch ev.Kind {
	case Filed:
		out.Outcome = WouldFile
	case Duplicate:
		out.Outcome = WouldDuplicate
	case Quarantined:
		out.Outcome = WouldQuarantine
	case Failed:
		out.Outcome = WouldFail
	default:
		out.Outcome = skipped(ev)
	}
	switch {
	case ev.LeftOut != "":
		out.Reason = ev.LeftOut
	case out.Outcome == IsGivenUp && out.Reason == "":
		out.Reason = "its document was removed for good"
	}
	if h := read.Header; h != nil {
		out.Subject, out.From = h.Text("Subject"), h.Text("From")
	}
	if e.Duplicate {
		out.DuplicateOf, out.Exact = e.DocumentID, e.Exact
	}
	if out.Outcome == WouldQuarantine || out.Outcome == IsQuarantined {
		// It is the subject then: there is no document.
		out.Subject, out.Document, out.Title, out.Location = e.Title, "", "", ""
	}
	if doc := read.Doc; doc != nil {
		out.Received, out.Size = doc.Origin.Received, doc.Origin.Size
		if out.Outcome == WouldFile {
			out.describe(doc)
		}
	}
	if ev.Action != (sources.Action{}) {
		out.Disposition = &Disposition{ev.Action.Verb, ev.Action.Target, ev.Action.Permanent}
	}
	return out
}

// describe says what a document would be.
func (out *Decision) describe(d *store.Document) {
	out.Class, out.Permissions, out.Properties, out.Notes = d.Class, d.Permissions, d.Properties, d.Notes
	for _, f := range d.Files {
		out.Files = append(out.Files, File{f.Name, f.Role, f.MediaType, f.Size})
	}
}

func skipped(ev Event) Outcome {
	switch e := ev.Entry; {
	case ev.LeftOut != "":
		return IsLeftOut
	case (e.State == ledger.Filed || e.State == ledger.Settled) && e.Location != "":
		return IsFiled
	}
	switch ev.Entry.State {
	case ledger.Filed, ledger.Settled:
		return IsGivenUp // its document was forgotten
	case ledger.Quarantined, ledger.Parked:
		return IsQuarantined
	case ledger.Discarded:
		return IsGivenUp
	case ledger.Vanished:
		return IsGone
	}
	return WouldFail
}

// drySource is a source of which no message is touched.
type drySource struct{ sources.Source }

// List lists all: what is known is told of, too.
func (s drySource) List(ctx context.Context, f sources.Folder, _ sources.Cursor) (sources.Listing, error) {
	return s.Source.List(ctx, f, "")
}

// Settle does nothing.
func (s drySource) Settle(_ context.Context, _ sources.Folder, keys []string, _ sources.Action, done func(string, error)) error {
	for _, key := range keys {
		done(key, nil)
	}
	return nil
}

// dryRepository takes documents and keeps nothing.
type dryRepository struct{ Filing }

// Put reads the document as a repository does, and says where it would be.
func (r *dryRepository) Put(ctx context.Context, d *store.Document) (store.Receipt, error) {
	if err := d.Check(); err != nil {
		return store.Receipt{}, fmt.Errorf("put document: %w", err)
	}
	receipt, err := r.Find(ctx, d.Key())
	if !errors.Is(err, store.ErrNotFound) {
		return receipt, err
	}
	for i := range d.Files {
		if err := d.Files[i].Copy(ctx, io.Discard); err != nil {
			return store.Receipt{}, fmt.Errorf("put document %s: %w", d.ID, err)
		}
	}
	return store.Receipt{Location: r.Place(d)}, nil
}

// Close does nothing.
func (r *dryRepository) Close() error { return nil }
