package ledger

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"
)

// Allowed reports whether an entry may move from one state to another. Staying
// is allowed while the entry is not final.
func Allowed(from, to State) bool {
	if from == to {
		return !from.Final()
	}
	switch from {
	case Begun:
		return to == Prepared || to == Filed || to == Quarantined || to == Vanished || to == Discarded
	case Prepared:
		return to == Begun || to == Filed || to == Quarantined || to == Vanished || to == Discarded
	case Filed:
		return to == Settled
	case Quarantined:
		return to == Parked || to == Begun || to == Discarded
	case Parked:
		return to == Begun || to == Discarded
	}
	return false
}

var errNotPrepared = fmt.Errorf("%w: document is not the one it prepared", ErrTransition)

// standing is what decides about the next step of an entry.
type standing struct {
	state     State
	document  string
	duplicate bool
	filed     time.Time

	// outcome is when the entry was filed or quarantined, zero if it is
	// neither; quarantined is set once it ever was. A [Query] selects by both.
	outcome     time.Time
	quarantined bool
}

// begun returns the entry of a message seen for the first time.
func begun(source, folder string, m Listed, now time.Time) Entry {
	return Entry{
		Source: source, Folder: folder, Key: m.Key, FolderPath: m.FolderPath,
		State: Begun, Size: m.Size, Received: instant(m.Received), Attempts: 1, Updated: now,
	}
}

// prepare returns the entry to record for [Lease.Prepare], and its standing
// then. That the document is free is for the caller to see.
func (s standing) prepare(e Entry, now time.Time) (Entry, standing, error) {
	if !Allowed(s.state, Prepared) {
		return e, s, fmt.Errorf("%w: %s to %s", ErrTransition, s.state, Prepared)
	}
	if e.DocumentID == "" {
		return e, s, fmt.Errorf("%w: prepared without a document", ErrTransition)
	}
	e.State, e.Duplicate, e.Exact = Prepared, false, false
	e = e.at(now)
	return e, s.after(e), nil
}

// advance returns the entry to record for [Lease.Advance], and its standing
// then. That the document of a duplicate is filed is for the caller to see.
func (s standing) advance(e Entry, now time.Time) (Entry, standing, error) {
	if !Allowed(s.state, e.State) {
		return e, s, fmt.Errorf("%w: %s to %s", ErrTransition, s.state, e.State)
	}
	switch e.State {
	case Prepared:
		if s.state != Prepared || e.DocumentID != s.document {
			return e, s, errNotPrepared
		}
	case Filed, Settled:
		if e.DocumentID == "" {
			return e, s, fmt.Errorf("%w: %s without a document", ErrTransition, e.State)
		}
		if s.state == Filed && e.Duplicate != s.duplicate {
			return e, s, fmt.Errorf("%w: whether it is a duplicate was decided", ErrTransition)
		}
		if !e.Duplicate && (s.state == Begun || e.DocumentID != s.document) {
			return e, s, errNotPrepared
		}
		if e.Filed.IsZero() && s.state == Filed {
			e.Filed = s.filed
		}
		if e.Filed.IsZero() {
			e.Filed = now
		}
	}
	e = e.at(now)
	return e, s.after(e), nil
}

// after returns the standing of an entry that was in s and is now e.
func (s standing) after(e Entry) standing {
	n := standing{
		state: e.State, document: e.DocumentID, duplicate: e.Duplicate, filed: e.Filed,
		quarantined: s.quarantined || e.State == Quarantined,
	}
	switch e.State {
	case Filed, Settled:
		n.outcome = e.Filed
	case Quarantined, Parked, Discarded:
		n.outcome = s.outcome
		if s.state != Quarantined && s.state != Parked {
			n.outcome = e.Updated
		}
	}
	return n
}

// droppable reports that an entry may be removed: nothing came of it.
func (s standing) droppable() bool { return s.state == Begun && !s.quarantined }

// files reports that the step from s to n keeps a document.
func (s standing) files(n standing) bool {
	return s.state == Prepared && n.state == Filed && !n.duplicate
}

// names reports that the step from s to n needs the filed document that a
// duplicate names.
func (s standing) names(n standing) bool {
	return n.duplicate && (n.state == Filed || n.state == Settled) &&
		(s.state != Filed || s.document != n.document)
}

// stays reports that after the step from s to n what the entry says of its
// document is as it was.
func (s standing) stays(n standing) bool {
	return s.state == Filed && (n.state == Filed || n.state == Settled) && s.document == n.document
}

// at returns the entry as a ledger keeps it.
func (e Entry) at(now time.Time) Entry {
	e.Received, e.Filed, e.RetryAt = instant(e.Received), instant(e.Filed), instant(e.RetryAt)
	e.Updated = now
	return e
}

// filedDocument returns the document that the entry filed.
func (e *Entry) filedDocument() Document {
	return Document{
		ID: e.DocumentID, Source: e.Source, Title: e.Title, Received: e.Received,
		Location: e.Location, Filed: e.Filed, MessageID: e.MessageID, SHA256: e.SHA256, Likeness: e.Likeness,
		Description: e.Description,
	}
}

// tombstone returns what a ledger keeps of a document that is forgotten.
func (d Document) tombstone(now time.Time) Document {
	t := Document{ID: d.ID, Source: d.Source, SHA256: d.SHA256, Location: d.Location, Forgotten: instant(d.Forgotten)}
	if t.Forgotten.IsZero() {
		t.Forgotten = instant(now)
	}
	return t
}

// refiling returns what a ledger keeps of d, by which the document is about to be
// replaced.
func (was Document) refiling(d Document) Document {
	return Document{
		ID: was.ID, Source: d.Source, Title: d.Title, Received: was.Received, Filed: was.Filed,
		MessageID: d.MessageID, SHA256: d.SHA256, Likeness: d.Likeness,
	}
}

var errNoID = errors.New("forget document: it has no id")

// instant returns t as a ledger keeps it: to the microsecond, in UTC.
func instant(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return time.UnixMicro(t.UnixMicro()).UTC()
}

func quarantineHash(source, folder, key string) []byte {
	h := sha256.New()
	for _, s := range []string{source, folder, key} {
		h.Write([]byte(s))
		h.Write([]byte{0})
	}
	return h.Sum(nil)[:6]
}

func quarantineID(source, folder, key string) string {
	return hex.EncodeToString(quarantineHash(source, folder, key))
}
