package ledgertest

import (
	"fmt"
	"time"

	"postroom/ingest/ledger"
)

var forgetTests = []test{
	{"documents are those filed, by id", func(f *fixture) {
		l, other := f.lease("s", "inbox"), f.lease("t", "inbox")
		f.at(l, "b1", ledger.Settled)
		f.at(l, "prepared", ledger.Prepared)
		f.at(other, "a", ledger.Filed)
		f.at(l, "b2", ledger.Filed)
		f.wantDocuments(ledger.DocumentQuery{}, "doc-a", "doc-b1", "doc-b2")
		f.wantDocuments(ledger.DocumentQuery{Limit: 2}, "doc-a", "doc-b1")
		f.wantDocuments(ledger.DocumentQuery{Limit: 1, After: "doc-a"}, "doc-b1")
		f.wantDocuments(ledger.DocumentQuery{After: "doc-b"}, "doc-b1", "doc-b2")
		f.wantDocuments(ledger.DocumentQuery{After: "doc-b2"})
		f.wantDocuments(ledger.DocumentQuery{Source: "s"}, "doc-b1", "doc-b2")
		f.wantDocuments(ledger.DocumentQuery{IDPrefix: "doc-b"}, "doc-b1", "doc-b2")
		f.wantDocuments(ledger.DocumentQuery{IDPrefix: "doc-b1"}, "doc-b1")
		f.wantDocuments(ledger.DocumentQuery{IDPrefix: "doc-b1x"})
		f.wantDocuments(ledger.DocumentQuery{Source: "u"})
		f.wantDocuments(ledger.DocumentQuery{Forgotten: true})
	}},
	{"description is kept with the document", func(f *fixture) {
		l := f.lease("s", "inbox")
		e := f.begin(l, "1")[0]
		e.DocumentID = "doc"
		f.prepare(l, e)
		e.State, e.Description, e.Filed = ledger.Filed, [32]byte{5}, epoch
		since := time.Now()
		f.ok(l.Advance(f.Context(), e))
		e.Description = [32]byte{}
		f.recorded(e, since)
		f.advance(l, e, ledger.Settled)
		f.ok(l.Release(f.Context()))
		f.reopen()
		if d := f.document("doc"); d.Description != [32]byte{5} {
			f.Fatalf("document is %+v", d)
		}
	}},
	{"forgotten document leaves a tombstone", func(f *fixture) {
		l, there := f.lease("s", "inbox"), f.lease("s", "archive")
		e := f.begin(l, "1")[0]
		e.DocumentID, e.Title, e.MessageID, e.Location, e.SHA256 = "doc", "title", "<1@host>", "s/title", [32]byte{7}
		f.prepare(l, e)
		f.advance(l, e, ledger.Filed)
		f.advance(l, e, ledger.Settled)
		same := f.begin(there, "2")[0]
		same.DocumentID, same.Title, same.MessageID, same.Location, same.Duplicate = "doc", "title", "<1@host>", "s/title", true
		f.advance(there, same, ledger.Filed)
		stays := f.at(l, "stays", ledger.Settled)

		d := f.document("doc")
		since := time.Now().Truncate(time.Microsecond)
		f.ok(f.l.Forget(f.Context(), d))
		got := f.document("doc")
		if got.Forgotten.Before(since) || got.Forgotten.After(time.Now()) {
			f.Fatalf("forgotten at %v, not between %v and now", got.Forgotten, since)
		}
		want := ledger.Document{ID: "doc", Source: "s", SHA256: [32]byte{7}, Location: "s/title", Forgotten: got.Forgotten}
		if got != want {
			f.Fatalf("tombstone is\n%+v, want\n%+v", got, want)
		}
		for _, e := range []ledger.Entry{e, same} {
			if got := f.entry(e); got.Title != "" || got.MessageID != "" || got.Location != "" || got.DocumentID != "doc" || got.SHA256 != e.SHA256 {
				f.Fatalf("entry of the document is %+v", got)
			}
		}
		f.unchanged(stays)
		f.wantDocuments(ledger.DocumentQuery{}, "doc-stays")
		f.wantDocuments(ledger.DocumentQuery{Forgotten: true}, "doc")

		// It is still settled what was owed, by who knows nothing of that.
		f.advance(there, same, ledger.Settled)
		if got := f.entry(same); got.State != ledger.Settled || got.Title != "" || got.MessageID != "" || got.Location != "" {
			f.Fatalf("entry of the document is %+v", got)
		}

		want.Location = ""
		f.ok(f.l.Forget(f.Context(), want))
		f.ok(l.Release(f.Context()))
		f.reopen()
		if got := f.document("doc"); got != want {
			f.Fatalf("tombstone is\n%+v, want\n%+v", got, want)
		}
	}},
	{"forgotten document is not filed again", func(f *fixture) {
		l := f.lease("s", "inbox")
		f.at(l, "1", ledger.Settled)
		f.ok(f.l.Forget(f.Context(), f.document("doc-1")))
		f.ok(f.l.Forget(f.Context(), ledger.Document{ID: "never seen", Source: "s", Forgotten: epoch}))
		for _, id := range []string{"doc-1", "never seen"} {
			e := f.begin(l, "again "+id)[0]
			e.DocumentID = id
			known, err := l.Prepare(f.Context(), e)
			f.ok(err)
			if known == nil || known.ID != id || known.Forgotten.IsZero() {
				f.Fatalf("prepared a forgotten document: %+v", known)
			}
			e.Duplicate, e.State = true, ledger.Filed
			f.refused(l.Advance(f.Context(), e), ledger.ErrNotFound)
			e.Duplicate = false
			f.advance(l, e, ledger.Discarded)
		}
		if err := f.l.Forget(f.Context(), ledger.Document{Source: "s"}); err == nil {
			f.Fatal("a document without an id is forgotten")
		}
	}},
	{"document is replaced", func(f *fixture) {
		l, there := f.lease("s", "inbox"), f.lease("s", "archive")
		e := f.begin(l, "1")[0]
		e.DocumentID, e.Title, e.MessageID, e.SHA256 = "doc", "title", "<1@host>", [32]byte{7}
		f.prepare(l, e)
		e.Location, e.Description, e.Filed = "s/title", [32]byte{5}, epoch
		f.advance(l, e, ledger.Filed)
		same := f.begin(there, "2")[0]
		same.DocumentID, same.Title, same.Location, same.Duplicate = "doc", "the same", "s/title", true
		f.advance(there, same, ledger.Filed)
		stays := f.at(l, "stays", ledger.Settled)

		was := f.document("doc")
		next := was
		next.Source, next.Title, next.Location, next.Description = "formerly", "another", "s/another", [32]byte{6}
		next.SHA256 = [32]byte{8}
		next.MessageID, next.Likeness = "<one@host>", ledger.Likeness{Content: [32]byte{1}, Strict: [32]byte{2}, Original: true}
		for range 2 {
			f.ok(f.l.Refile(f.Context(), next))
		}
		if f.document("doc") != was {
			f.Fatalf("document is %+v, want %+v", f.document("doc"), was)
		}
		want := next
		want.Location, want.Description = "", [32]byte{}
		refiling := func(q ledger.DocumentQuery) (found []ledger.Document) {
			q.Refiling = true
			for d, err := range f.l.Documents(f.Context(), q) {
				f.ok(err)
				found = append(found, d)
			}
			return found
		}
		f.ok(l.Release(f.Context()))
		f.ok(there.Release(f.Context()))
		f.reopen()
		if got := refiling(ledger.DocumentQuery{IDPrefix: "do"}); len(got) != 1 || got[0] != want {
			f.Fatalf("about to be replaced is %+v, want %+v", got, want)
		}
		if got := refiling(ledger.DocumentQuery{Source: "s"}); len(got) != 0 {
			f.Fatalf("of another source: %+v", got)
		}
		f.ok(f.l.Refiled(f.Context(), next))
		want = next
		want.Source = "s"
		if got := f.document("doc"); got != want || len(refiling(ledger.DocumentQuery{})) != 0 {
			f.Fatalf("document is\n%+v, want\n%+v", got, want)
		}
		for sum, want := range map[[32]byte]int{{7}: 0, {8}: 1} {
			if got, err := f.l.Like(f.Context(), "s", sum, [32]byte{}, ""); err != nil || len(got) != want {
				f.Fatalf("like %v: %+v, %v", sum[0], got, err)
			}
		}
		f.advance(f.lease("s", "inbox"), e, ledger.Settled)
		if got := f.entry(e); got.SHA256 != [32]byte{7} || got.Title != "another" || got.Location != "s/another" || got.MessageID != "<1@host>" {
			f.Fatalf("entry is %+v", got)
		}
		if got := f.entry(same); got.Title != "the same" || got.Location != "s/another" {
			f.Fatalf("entry of a duplicate is %+v", got)
		}
		f.unchanged(stays)

		// What is forgotten is not replaced any more.
		f.ok(f.l.Refile(f.Context(), next))
		f.ok(f.l.Forget(f.Context(), next))
		if got := refiling(ledger.DocumentQuery{}); len(got) != 0 {
			f.Fatalf("forgotten and about to be replaced: %+v", got)
		}
		for _, id := range []string{"doc", "none"} {
			f.refused(f.l.Refile(f.Context(), ledger.Document{ID: id}), ledger.ErrNotFound)
			f.refused(f.l.Refiled(f.Context(), ledger.Document{ID: id}), ledger.ErrNotFound)
		}
	}},
	{"discarded are found by their bytes", func(f *fixture) {
		l := f.lease("s", "inbox")
		for i, s := range states {
			e := f.at(l, string(s), s)
			if !s.Final() {
				e.SHA256 = [32]byte{byte(i + 1)}
				f.advance(l, e, s)
			}
		}
		e := f.begin(l, "kept")[0]
		e.SHA256 = [32]byte{100}
		f.advance(l, e, ledger.Quarantined)
		f.advance(l, e, ledger.Discarded)
		e = f.begin(l, "known")[0]
		e.SHA256 = [32]byte{101}
		f.advance(l, e, ledger.Discarded)
		f.ok(l.Release(f.Context()))
		f.reopen()
		for i := range byte(102) {
			got, err := f.l.Discarded(f.Context(), "s", [32]byte{i})
			if i < 100 {
				f.refused(err, ledger.ErrNotFound)
				continue
			}
			f.ok(err)
			f.unchanged(got)
			_, err = f.l.Discarded(f.Context(), "t", [32]byte{i})
			f.refused(err, ledger.ErrNotFound)
		}
		f.wantKeys(f.query(ledger.Query{States: []ledger.State{ledger.Discarded}}), "discarded", "kept", "known")
		if n := len(f.query(ledger.Query{States: []ledger.State{ledger.Discarded}, Since: e.Updated})); n == 0 {
			f.Fatal("what was discarded at once has no outcome")
		}
	}},
	{"renamed source keeps what was forgotten and discarded", func(f *fixture) {
		for i, other := range []bool{false, true} {
			from, to := fmt.Sprint("old", i), fmt.Sprint("new", i)
			l := f.lease(from, "inbox")
			id := f.at(l, fmt.Sprint(i), ledger.Settled).DocumentID
			e := f.begin(l, "gone")[0]
			e.SHA256 = [32]byte{9}
			f.advance(l, e, ledger.Discarded)
			if other {
				l := f.lease(to, "inbox")
				f.begin(l, "x")
				f.ok(l.Release(f.Context()))
			}
			f.ok(f.l.Forget(f.Context(), f.document(id)))
			f.ok(l.Release(f.Context()))
			_, err := f.l.Rename(f.Context(), from, to)
			f.ok(err)
			if d := f.document(id); d.Source != to || d.Forgotten.IsZero() {
				f.Fatalf("tombstone is %+v", d)
			}
			_, err = f.l.Discarded(f.Context(), to, [32]byte{9})
			f.ok(err)
		}
	}},
}

func (f *fixture) document(id string) ledger.Document {
	f.Helper()
	d, err := f.l.Document(f.Context(), id)
	f.ok(err)
	return d
}

func (f *fixture) wantDocuments(q ledger.DocumentQuery, ids ...string) {
	f.Helper()
	got := []string{}
	for d, err := range f.l.Documents(f.Context(), q) {
		f.ok(err)
		if f.document(d.ID) != d {
			f.Fatalf("document is\n%+v, alone\n%+v", d, f.document(d.ID))
		}
		got = append(got, d.ID)
	}
	if fmt.Sprint(got) != fmt.Sprint(ids) {
		f.Fatalf("documents are %q, want %q", got, ids)
	}
}
