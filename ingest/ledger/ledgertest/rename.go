package ledgertest

import (
	"context"
	"slices"

	"postroom/ingest/ledger"
)

var renameTests = []test{
	{"leased source is not renamed", func(f *fixture) {
		for _, leased := range []string{"from", "to"} {
			l := f.lease(leased, "inbox")
			e := f.at(l, leased, ledger.Settled)
			_, err := f.l.Rename(f.Context(), "from", "to")
			f.refused(err, ledger.ErrHeld)
			f.unchanged(e)
			f.ok(l.Release(f.Context()))
		}
		f.lease("other", "inbox")
		f.rename("none", "from", 0)
		f.rename("from", "from", 0)
		ctx, cancel := context.WithCancel(f.Context())
		cancel()
		_, err := f.l.Rename(ctx, "from", "to")
		f.refused(err, context.Canceled)
		f.lease("from", "inbox")
		f.lease("to", "inbox")
	}},
	{"all is carried over to a new name", func(f *fixture) {
		l := f.lease("from", "inbox")
		var entries []ledger.Entry
		for _, s := range states {
			entries = append(entries, f.at(l, string(s), s))
		}
		f.retryAt(l, "begun", epoch)
		entries[0] = f.entry(entries[0])
		f.ok(l.SetCursor(f.Context(), "c", "r"))
		f.ok(l.Release(f.Context()))
		f.at(f.lease("other", "inbox"), "begun", ledger.Begun)

		f.rename("from", "to", len(states))
		f.carried(entries, "to")
		f.reopen()
		f.carried(entries, "to")
		f.wantCount("from", map[ledger.State]int{})

		l = f.lease("to", "inbox")
		f.wantCursor(l, "c", "r")
		f.wantDue(l, epoch)
		f.wantKeys(f.owed(l, epoch, "", 9), "begun", "filed", "prepared", "quarantined")
		claimed := f.begin(l, "claimant")[0]
		claimed.DocumentID = "doc-prepared"
		_, err := l.Prepare(f.Context(), claimed)
		f.refused(err, ledger.ErrClaimed)
		prepared := entries[1]
		prepared.Source = "to"
		f.advance(l, prepared, ledger.Filed)

		l = f.lease("from", "inbox")
		f.wantCursor(l, "", "")
		f.wantKeys(f.owed(l, epoch, "", 9))
		f.begin(l, "begun")
	}},
	{"what the new name has stays", func(f *fixture) {
		old, other := f.lease("from", "inbox"), f.lease("from", "only")
		both := f.at(old, "both", ledger.Settled)
		moved := []ledger.Entry{f.at(old, "parked", ledger.Parked), f.at(old, "filed", ledger.Filed), f.at(other, "begun", ledger.Begun)}
		f.ok(old.SetCursor(f.Context(), "old", "old"))
		f.ok(other.SetCursor(f.Context(), "only", "only"))
		there := f.lease("to", "inbox")
		kept := f.begin(there, "both")[0]
		f.ok(there.SetCursor(f.Context(), "kept", "kept"))
		for _, l := range []ledger.Lease{old, other, there} {
			f.ok(l.Release(f.Context()))
		}

		f.rename("from", "to", 3)
		f.unchanged(kept)
		f.unchanged(both)
		f.carried(moved, "to")
		f.wantCount("to", map[ledger.State]int{ledger.Begun: 2, ledger.Parked: 1, ledger.Filed: 1})
		f.wantCount("from", map[ledger.State]int{ledger.Settled: 1})
		f.wantCount("", map[ledger.State]int{ledger.Begun: 2, ledger.Parked: 1, ledger.Filed: 1, ledger.Settled: 1})
		f.wantCursor(f.lease("to", "inbox"), "kept", "kept")
		f.wantCursor(f.lease("to", "only"), "only", "only")
		anew := f.lease("from", "inbox")
		f.wantCursor(anew, "", "")
		if e := f.begin(anew, "parked")[0]; e.State != ledger.Begun {
			f.Fatalf("the old name knows %+v", e)
		}
		f.wantCursor(f.lease("from", "only"), "", "")
		d, err := f.l.Document(f.Context(), both.DocumentID)
		f.ok(err)
		if d.Source != "to" {
			f.Fatalf("document is of source %q", d.Source)
		}
	}},
	{"renaming can be undone", func(f *fixture) {
		l := f.lease("from", "inbox")
		e := f.at(l, "1", ledger.Parked)
		f.ok(l.Release(f.Context()))
		f.rename("from", "to", 1)
		f.rename("to", "from", 1)
		f.unchanged(e)
		f.wantKeys(f.query(ledger.Query{QuarantineID: e.QuarantineID()}), "1")
	}},
}

func (f *fixture) rename(from, to string, want int) {
	f.Helper()
	n, err := f.l.Rename(f.Context(), from, to)
	f.ok(err)
	if n != want {
		f.Fatalf("carried %d entries over, want %d", n, want)
	}
}

// carried fails unless the entries are found under the new name as they were.
func (f *fixture) carried(entries []ledger.Entry, to string) {
	f.Helper()
	for _, e := range entries {
		_, err := f.l.Entry(f.Context(), e.Source, e.Folder, e.Key)
		f.refused(err, ledger.ErrNotFound)
		before := e.QuarantineID()
		e.Source = to
		f.unchanged(e)
		switch e.State {
		case ledger.Quarantined, ledger.Parked, ledger.Discarded:
			f.wantKeys(f.query(ledger.Query{QuarantineID: before}))
			f.wantKeys(f.query(ledger.Query{QuarantineID: e.QuarantineID()}), e.Key)
		case ledger.Filed, ledger.Settled:
			d, err := f.l.Document(f.Context(), e.DocumentID)
			f.ok(err)
			if d.Source != to {
				f.Fatalf("document is of source %q", d.Source)
			}
		}
		if !slices.Contains(f.query(ledger.Query{Source: to, States: []ledger.State{e.State}}), e) {
			f.Fatalf("%q is not among the entries of %q", e.Key, to)
		}
	}
}
