package simulation

import (
	"context"
	"crypto/sha256"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"postroom/ingest/ledger"
	"postroom/sources"
)

// removed judges a disposition that is about to be applied. mu is held.
func (w *world) removed(b *box, f *folder, m *message, a sources.Action) {
	what, about := b.path(f.path)+" "+f.key(m), b.about(m.content)
	e, err := w.entry(b, f.path, f.key(m))
	if err != nil {
		w.violated(Early, about, "%s of %s, which the ledger does not know", a.Verb, what)
		return
	}
	switch e.State {
	case ledger.Filed:
		if a != b.after {
			w.violated(Wrong, about, "%+v of %s, want %+v", a, what, b.after)
		}
		if d := w.documents[e.DocumentID]; d == nil || d.raw != m.raw {
			w.violated(Early, about, "%s of %s before its document is there", a.Verb, what)
		}
	case ledger.Quarantined:
		if a.Verb != sources.Move || a.Target != failedFolder || b.failed == "" {
			w.violated(Wrong, about, "%+v of %s, which is in quarantine", a, what)
		}
		if w.quarantined(e) != m.raw {
			w.violated(Early, about, "%s of %s before it was in quarantine", a.Verb, what)
		}
	default:
		w.violated(Early, about, "%s of %s, which is %s", a.Verb, what, e.State)
	}
}

// entry returns what the ledger knows of a message, under whatever name the
// mailbox has there.
func (w *world) entry(b *box, folder, key string) (ledger.Entry, error) {
	e, err := w.ledger.Entry(context.Background(), b.name, folder, key)
	for i := len(b.formerly) - 1; i >= 0 && err != nil; i-- {
		e, err = w.ledger.Entry(context.Background(), b.formerly[i], folder, key)
	}
	return e, err
}

// quarantined returns the bytes of an entry that are in quarantine, and
// something that no message says if there are none.
func (w *world) quarantined(e ledger.Entry) string {
	var raw strings.Builder
	if err := w.quarantine.Export(e.QuarantineID(), &raw); err != nil {
		return "not in quarantine: " + err.Error()
	}
	return raw.String()
}

// judge looks at what has become of everything, after the quiet time. mu is
// held.
func (w *world) judge(dir string) {
	filed := make(map[string]int) // entries by the document that they filed
	perContent := make(map[*content]int)
	needed := make(map[string]bool) // names of files in quarantine
	for e, err := range w.ledger.Entries(context.Background(), ledger.Query{}) {
		if err != nil {
			w.violated(Divided, nil, "ledger: %v", err)
			return
		}
		w.judgeEntry(e, filed, needed)
	}
	for id, d := range w.documents {
		c := d.box.known[d.raw]
		if c == nil {
			w.violated(Altered, []string{digest(d.raw)}, "document %.12s of %s has no message", id, d.box)
			continue
		}
		perContent[c]++
		if filed[id] > 1 {
			w.violated(Divided, d.box.about(c), "%d entries say that they filed document %.12s of %s", filed[id], id, d.box)
		}
		if _, err := w.ledger.Document(context.Background(), id); err != nil && !w.claimed(id) {
			w.violated(Divided, d.box.about(c), "document %.12s of %s: %v", id, d.box, err)
		}
	}
	for _, b := range w.boxes {
		for _, c := range b.known {
			if n := perContent[c]; n > 1 && (!b.duplicates || n > len(c.appeared)) {
				w.violated(Twice, b.about(c), "%s of %s is %d documents, came %d times", digest(c.raw), b, n, len(c.appeared))
			}
		}
		w.judgeBox(b)
	}
	w.summarize(filed, needed, dir)
}

// judgeEntry judges what the ledger says of a message.
func (w *world) judgeEntry(e ledger.Entry, filed map[string]int, needed map[string]bool) {
	at := w.place(e)
	b := w.boxes[at.box]
	what, about := b.path(e.Folder)+" "+e.Key, w.aboutPlace(at)
	if !e.State.Final() && b.folder(e.Folder) != nil {
		w.violated(Owed, about, "%s is %s, attempt %d, again %v: %s", what, e.State, e.Attempts, e.RetryAt, e.Cause)
	}
	if !e.State.Final() || e.State == ledger.Parked {
		id := e.QuarantineID()
		needed[id+".eml"], needed[id+".json"] = true, true
	}
	switch e.State {
	case ledger.Filed, ledger.Settled:
		d := w.documents[e.DocumentID]
		if d == nil {
			w.violated(Lost, about, "%s is %s, its document %.12s is not there", what, e.State, e.DocumentID)
			return
		}
		if sha256.Sum256([]byte(d.raw)) != e.SHA256 {
			w.violated(Altered, about, "document %.12s of %s differs from what was filed", e.DocumentID, what)
		}
		if e.Duplicate && b.duplicates {
			w.violated(Divided, about, "%s is taken for a duplicate where those are filed", what)
		}
		if !e.Duplicate {
			filed[e.DocumentID]++
		} else {
			w.verdict.Duplicates++
		}
	case ledger.Quarantined, ledger.Parked:
		w.verdict.Quarantined++
		if c := w.content(at); c != nil && (c.stuck || c.failed >= 12 && strings.Contains(e.Cause, "given up")) {
			return
		}
		c := b.known[w.quarantined(e)]
		if c == nil {
			w.violated(Altered, about, "%s: its copy in quarantine is of no message: %s", what, e.Cause)
			return
		}
		if c.refused.IsZero() && (w.deaths[at] < 6 || !strings.Contains(e.Cause, "died")) {
			w.violated(Groundless, about, "%s: %s (the process died %d times before it was finished)", what, e.Cause, w.deaths[at])
		}
	case ledger.Discarded:
		if !w.givenUp(at) {
			w.violated(Lost, about, "%s is discarded, which nobody asked for", what)
		}
	}
}

// givenUp reports whether a person tried to discard the message at a place, or
// the same one at another place of its mailbox.
func (w *world) givenUp(at place) bool {
	if w.discarded[at] {
		return true
	}
	if c := w.content(at); c != nil {
		for other := range c.appeared {
			if w.discarded[other] {
				return true
			}
		}
	}
	return false
}

// content returns what the message says that is, or was, at a place; nil if
// there was none.
func (w *world) content(at place) *content {
	for _, c := range w.boxes[at.box].known {
		if c.appeared[at] {
			return c
		}
	}
	return nil
}

// claimed reports whether an entry that is not finished has prepared the
// document: its folder is gone, with what would finish it.
func (w *world) claimed(id string) bool {
	for e := range w.ledger.Entries(context.Background(), ledger.Query{States: []ledger.State{ledger.Prepared}}) {
		if e.DocumentID == id {
			return true
		}
	}
	return false
}

// judgeBox judges what is left in the folders that are read.
func (w *world) judgeBox(b *box) {
	for _, path := range b.read {
		f := b.folder(path)
		if f == nil {
			continue
		}
		for _, m := range f.messages {
			what, about := b.path(path)+" "+f.key(m), b.about(m.content)
			e, err := w.ledger.Entry(context.Background(), b.name, path, f.key(m))
			switch {
			case err != nil:
				w.violated(Lost, about, "%s (%s): %v", what, digest(m.raw), err)
			case !e.State.Final():
				// Said already.
			case e.State == ledger.Vanished:
				w.violated(GivenUp, about, "%s", what)
			case e.State == ledger.Settled && e.SHA256 != sha256.Sum256([]byte(m.raw)):
				w.violated(Lost, about, "%s: other bytes were filed for it", what)
			}
		}
	}
}

// summarize notes what happened.
func (w *world) summarize(filed map[string]int, needed map[string]bool, dir string) {
	v := &w.verdict
	v.Documents, v.Operations, v.Processes = len(w.documents), w.operations, w.processes
	for _, b := range w.boxes {
		v.Busiest = max(v.Busiest, b.busiest)
		for _, c := range b.known {
			v.Messages += len(c.appeared)
		}
	}
	left, err := os.ReadDir(filepath.Join(dir, "quarantine"))
	if err != nil && !os.IsNotExist(err) {
		w.violated(Leftover, nil, "quarantine: %v", err)
	}
	for _, f := range slices.DeleteFunc(left, func(f fs.DirEntry) bool { return needed[f.Name()] }) {
		w.violated(Leftover, nil, "quarantine: no message needs %s", f.Name())
	}
	spooled, err := os.ReadDir(filepath.Join(dir, "spool"))
	if err != nil || len(spooled) > 0 {
		w.violated(Leftover, nil, "%d files in the spool, %v", len(spooled), err)
	}
}
