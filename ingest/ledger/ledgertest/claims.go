package ledgertest

import (
	"postroom/ingest/ledger"
)

var claimTests = []test{
	{"document is claimed by one entry", func(f *fixture) {
		l, other := f.lease("s", "inbox"), f.lease("s", "other")
		a := f.at(l, "a", ledger.Prepared)
		for _, w := range []ledger.Lease{l, other} {
			b := f.begin(w, "b")[0]
			before := b
			b.DocumentID = a.DocumentID
			filed, err := w.Prepare(f.Context(), b)
			f.refused(err, ledger.ErrClaimed)
			if filed != nil {
				f.Fatal("returned a document that is not filed")
			}
			f.unchanged(before)
		}
		f.unchanged(a)
		f.prepare(l, a)
	}},
	{"filed document is returned", func(f *fixture) {
		l := f.lease("s", "inbox")
		a := f.begin(l, "a")[0]
		a.DocumentID, a.Title, a.Location, a.SHA256, a.Filed = "doc", "t", "2026/a", [32]byte{1, 31: 9}, epoch
		f.prepare(l, a)
		f.advance(l, a, ledger.Filed)
		want := ledger.Document{ID: "doc", Source: "s", Title: "t", Received: a.Received, Location: "2026/a", Filed: epoch, SHA256: a.SHA256}

		other := f.lease("t", "other")
		b := f.begin(other, "b")[0]
		before := b
		b.DocumentID = "doc"
		check := func() {
			f.Helper()
			filed, err := other.Prepare(f.Context(), b)
			f.ok(err)
			if filed == nil || *filed != want {
				f.Fatalf("document is %+v, want %+v", filed, want)
			}
			f.unchanged(before)
			d, err := f.l.Document(f.Context(), "doc")
			f.ok(err)
			if d != want {
				f.Fatalf("document is %+v, want %+v", d, want)
			}
		}
		check()
		f.advance(l, a, ledger.Settled)
		check()
	}},
	{"claim is given up", func(f *fixture) {
		l := f.lease("s", "inbox")
		for _, to := range []ledger.State{ledger.Quarantined, ledger.Vanished, ledger.Begun} {
			a := f.at(l, "a"+string(to), ledger.Prepared)
			f.advance(l, a, to)
			b := f.begin(l, "b"+string(to))[0]
			b.DocumentID = a.DocumentID
			f.prepare(l, b)
			if to == ledger.Begun {
				_, err := l.Prepare(f.Context(), a)
				f.refused(err, ledger.ErrClaimed)
			}
		}
	}},
	{"preparing again replaces the claim", func(f *fixture) {
		l := f.lease("s", "inbox")
		a, b := f.at(l, "a", ledger.Prepared), f.at(l, "b", ledger.Prepared)
		stolen := a
		stolen.DocumentID = b.DocumentID
		_, err := l.Prepare(f.Context(), stolen)
		f.refused(err, ledger.ErrClaimed)
		f.unchanged(a)

		again := a
		again.DocumentID, again.Title, again.Cause, again.Duplicate, again.Exact = "new", "new", "new", true, true
		f.prepare(l, again)
		got := f.entry(a)
		if got.DocumentID != "new" || got.Title != "new" || got.Duplicate || got.Exact {
			f.Fatalf("prepared entry is %+v", got)
		}
		c := f.begin(l, "c")[0]
		c.DocumentID = a.DocumentID
		f.prepare(l, c)
	}},
	{"prepare without a document is refused", func(f *fixture) {
		l := f.lease("s", "inbox")
		e := f.begin(l, "a")[0]
		_, err := l.Prepare(f.Context(), e)
		f.refused(err, ledger.ErrTransition)
		_, err = l.Prepare(f.Context(), ledger.Entry{Source: "s", Folder: "inbox", Key: "unknown", DocumentID: "d"})
		f.refused(err, ledger.ErrNotFound)
		f.unchanged(e)
	}},
	{"filing without the claim is refused", func(f *fixture) {
		l := f.lease("s", "inbox")
		other := f.at(l, "other", ledger.Settled)
		for _, s := range []ledger.State{ledger.Begun, ledger.Prepared, ledger.Filed} {
			for _, id := range []string{"", "free", other.DocumentID} {
				e := f.at(l, string(s)+id, s)
				for _, to := range []ledger.State{ledger.Prepared, ledger.Filed, ledger.Settled} {
					wrong := e
					wrong.State, wrong.DocumentID = to, id
					f.refused(l.Advance(f.Context(), wrong), ledger.ErrTransition)
				}
				f.unchanged(e)
			}
		}
	}},
	{"duplicate goes from begun to filed", func(f *fixture) {
		l := f.lease("s", "inbox")
		original := f.at(l, "original", ledger.Settled)
		document, err := f.l.Document(f.Context(), original.DocumentID)
		f.ok(err)
		for _, from := range []ledger.State{ledger.Begun, ledger.Prepared} {
			e := f.at(l, "dup-"+string(from), from)
			claimed := e.DocumentID
			dup := e
			dup.State, dup.Duplicate, dup.Exact, dup.Title, dup.Filed = ledger.Filed, true, true, "dup", epoch
			dup.DocumentID = ""
			f.refused(l.Advance(f.Context(), dup), ledger.ErrTransition)
			dup.DocumentID = "free"
			f.refused(l.Advance(f.Context(), dup), ledger.ErrNotFound)
			f.unchanged(e)
			dup.DocumentID = original.DocumentID
			f.ok(l.Advance(f.Context(), dup))
			dup.State = ledger.Settled
			f.ok(l.Advance(f.Context(), dup))
			got := f.entry(dup)
			dup.Updated = got.Updated
			f.unchanged(dup)
			if from == ledger.Prepared {
				next := f.begin(l, "next")[0]
				next.DocumentID = claimed
				f.prepare(l, next)
			}
		}
		d, err := f.l.Document(f.Context(), original.DocumentID)
		f.ok(err)
		if d != document {
			f.Fatalf("document is %+v, was %+v", d, document)
		}
	}},
	{"whether it is a duplicate is decided once", func(f *fixture) {
		l := f.lease("s", "inbox")
		original := f.at(l, "original", ledger.Filed)
		dup := f.begin(l, "dup")[0]
		dup.State, dup.Duplicate, dup.DocumentID = ledger.Filed, true, original.DocumentID
		f.ok(l.Advance(f.Context(), dup))
		dup = f.entry(dup)
		for _, e := range []ledger.Entry{original, dup} {
			for _, to := range []ledger.State{ledger.Filed, ledger.Settled} {
				wrong := e
				wrong.State, wrong.Duplicate = to, !e.Duplicate
				f.refused(l.Advance(f.Context(), wrong), ledger.ErrTransition)
				f.unchanged(e)
			}
		}
	}},
	{"retried entry begins anew", func(f *fixture) {
		l := f.lease("s", "inbox")
		e := f.at(l, "a", ledger.Parked)
		f.advance(l, e, ledger.Begun)
		f.prepare(l, e)
		f.advance(l, e, ledger.Filed)
		f.advance(l, e, ledger.Settled)
		if _, err := f.l.Document(f.Context(), e.DocumentID); err != nil {
			f.Fatal(err)
		}
	}},
}
