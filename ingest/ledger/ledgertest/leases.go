package ledgertest

import (
	"context"
	"sync"
	"time"

	"postroom/ingest/ledger"
)

var leaseTests = []test{
	{"held folder is refused", func(f *fixture) {
		l := f.lease("s", "inbox")
		_, err := f.l.Lease(f.Context(), "s", "inbox", ttl)
		f.refused(err, ledger.ErrHeld)
		f.lease("s", "other")
		f.lease("other", "inbox")
		f.ok(l.Renew(f.Context()))
	}},
	{"lease without time is refused", func(f *fixture) {
		for _, ttl := range []time.Duration{0, -time.Second} {
			if _, err := f.l.Lease(f.Context(), "s", "inbox", ttl); err == nil {
				f.Fatalf("leased for %v", ttl)
			}
		}
		f.lease("s", "inbox")
	}},
	{"released lease is fenced", func(f *fixture) {
		l := f.lease("s", "inbox")
		e := f.begin(l, "1")[0]
		f.ok(l.SetCursor(f.Context(), "c", "r"))
		f.ok(l.Release(f.Context()))
		f.ok(l.Release(f.Context()))
		f.fenced(l, e)

		other := f.lease("s", "inbox")
		f.fenced(l, e)
		f.ok(l.Release(f.Context()))
		f.ok(other.Renew(f.Context()))
		f.unchanged(e)
		f.wantCursor(other, "c", "r")
	}},
	{"expired lease is fenced for good", func(f *fixture) {
		l, err := f.l.Lease(f.Context(), "s", "inbox", time.Nanosecond)
		f.ok(err)
		for l.Renew(f.Context()) == nil {
		}
		f.fenced(l, ledger.Entry{Source: "s", Folder: "inbox", Key: "1"})
		f.lease("s", "inbox")
		f.fenced(l, ledger.Entry{Source: "s", Folder: "inbox", Key: "1"})
		f.ok(l.Release(f.Context()))
		_, err = f.l.Lease(f.Context(), "s", "inbox", ttl)
		f.refused(err, ledger.ErrHeld)
	}},
	{"release works after the context has ended", func(f *fixture) {
		ctx, cancel := context.WithCancel(f.Context())
		l, err := f.l.Lease(ctx, "s", "inbox", ttl)
		f.ok(err)
		cancel()
		f.refused(l.Renew(ctx), context.Canceled)
		f.ok(l.Release(ctx))
		f.lease("s", "inbox")
	}},
	{"one of many gets the lease", func(f *fixture) {
		var won sync.Map
		var wg sync.WaitGroup
		for i := range 32 {
			wg.Go(func() {
				if l, err := f.l.Lease(f.Context(), "s", "inbox", ttl); err == nil {
					won.Store(i, l)
				}
			})
		}
		wg.Wait()
		n := 0
		won.Range(func(_, _ any) bool { n++; return true })
		if n != 1 {
			f.Fatalf("%d workers hold the folder", n)
		}
	}},
	{"reopening loses the leases", func(f *fixture) {
		before := f.l
		l := f.lease("s", "inbox")
		e := f.begin(l, "1")[0]
		f.reopen()
		if f.l == before {
			return // keeps nothing beyond its process
		}
		f.fenced(l, e)
		f.lease("s", "inbox")
		f.unchanged(e)
	}},
	{"cursor and rules are kept together", func(f *fixture) {
		l := f.lease("s", "inbox")
		other := f.lease("s", "other")
		f.wantCursor(l, "", "")
		f.ok(l.SetCursor(f.Context(), "c1", "r1"))
		f.ok(l.SetCursor(f.Context(), "c2", "r1"))
		f.ok(l.SetCursor(f.Context(), "c2", "r2"))
		f.ok(l.SetCursor(f.Context(), "c2", "r2"))
		f.wantCursor(l, "c2", "r2")
		f.wantCursor(other, "", "")
		f.ok(l.Release(f.Context()))
		f.reopen()
		l = f.lease("s", "inbox")
		f.wantCursor(l, "c2", "r2")
		f.ok(l.SetCursor(f.Context(), "", ""))
		f.wantCursor(l, "", "")
	}},
}

func (f *fixture) wantCursor(l ledger.Lease, cursor, rules string) {
	f.Helper()
	gotCursor, gotRules, err := l.Cursor(f.Context())
	f.ok(err)
	if gotCursor != cursor || gotRules != rules {
		f.Fatalf("cursor is %q under %q, want %q under %q", gotCursor, gotRules, cursor, rules)
	}
}

// fenced fails unless every method of the lease refuses.
func (f *fixture) fenced(l ledger.Lease, e ledger.Entry) {
	f.Helper()
	ctx := f.Context()
	_, _, err := l.Cursor(ctx)
	f.refused(err, ledger.ErrFenced)
	f.refused(l.SetCursor(ctx, "stale", "stale"), ledger.ErrFenced)
	_, err = l.Begin(ctx, []ledger.Listed{{Key: "stale"}})
	f.refused(err, ledger.ErrFenced)
	_, err = l.Begin(ctx, []ledger.Listed{{Key: e.Key}})
	f.refused(err, ledger.ErrFenced)
	_, err = l.Owed(ctx, time.Now(), "", 1)
	f.refused(err, ledger.ErrFenced)
	_, err = l.NextDue(ctx)
	f.refused(err, ledger.ErrFenced)
	e.DocumentID = "stale"
	_, err = l.Prepare(ctx, e)
	f.refused(err, ledger.ErrFenced)
	e.State = ledger.Vanished
	f.refused(l.Advance(ctx, e), ledger.ErrFenced)
	f.refused(l.Renew(ctx), ledger.ErrFenced)
	_, err = f.l.Entry(ctx, e.Source, e.Folder, "stale")
	f.refused(err, ledger.ErrNotFound)
}
