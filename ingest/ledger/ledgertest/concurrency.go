package ledgertest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"postroom/ingest/ledger"
)

const (
	workers = 16
	rounds  = 25
)

var concurrencyTests = []test{
	{"many workers on one lease", func(f *fixture) {
		l := f.lease("s", "inbox")
		f.together(func(worker int) error { return f.work(l, worker) })
		f.wantCount("s", map[ledger.State]int{ledger.Settled: workers * rounds})
	}},
	{"many workers on many leases", func(f *fixture) {
		f.together(func(worker int) error {
			l, err := f.l.Lease(f.Context(), "s", fmt.Sprint(worker), ttl)
			if err != nil {
				return err
			}
			return errors.Join(f.work(l, worker), l.Release(f.Context()))
		})
		f.wantCount("s", map[ledger.State]int{ledger.Settled: workers * rounds})
		f.reopen()
		f.wantCount("s", map[ledger.State]int{ledger.Settled: workers * rounds})
	}},
	{"one of many begins a message", func(f *fixture) {
		l := f.lease("s", "inbox")
		var first sync.Map
		f.together(func(worker int) error {
			for i := range rounds {
				entries, err := l.Begin(f.Context(), []ledger.Listed{{Key: fmt.Sprint(i), Size: int64(worker)}})
				if err != nil {
					return err
				}
				if prior, _ := first.LoadOrStore(i, entries[0]); prior != entries[0] {
					return fmt.Errorf("begun twice: %+v, %+v", prior, entries[0])
				}
			}
			return nil
		})
		f.wantCount("", map[ledger.State]int{ledger.Begun: rounds})
	}},
	{"one of many files a document", func(f *fixture) {
		var filed, duplicates atomic.Int32
		f.together(func(worker int) error {
			l, err := f.l.Lease(f.Context(), "s", fmt.Sprint(worker), ttl)
			if err != nil {
				return err
			}
			for i := range rounds {
				dup, err := f.fileOnce(l, fmt.Sprint("doc", i), fmt.Sprint(i))
				if err != nil {
					return err
				}
				if dup {
					duplicates.Add(1)
				} else {
					filed.Add(1)
				}
			}
			return nil
		})
		if filed.Load() != rounds || duplicates.Load() != rounds*(workers-1) {
			f.Fatalf("%d filed and %d duplicates, want %d and %d", filed.Load(), duplicates.Load(), rounds, rounds*(workers-1))
		}
		f.wantCount("", map[ledger.State]int{ledger.Filed: rounds * workers})
	}},
	{"a caller that gives up leaves nothing in part", func(f *fixture) {
		f.together(func(worker int) error {
			l, err := f.l.Lease(f.Context(), "s", fmt.Sprint(worker), ttl)
			if err != nil {
				return err
			}
			for i := range rounds {
				if err := f.giveUp(l, fmt.Sprint(i)); err != nil {
					return err
				}
			}
			return nil
		})
		f.reopen()
		seen := make(map[ledger.State]int)
		for _, e := range f.query(ledger.Query{}) {
			seen[e.State]++
		}
		f.wantCount("", seen)
	}},
	{"a refused batch does not touch others", func(f *fixture) {
		l := f.lease("s", "inbox")
		f.at(l, "final", ledger.Vanished)
		f.together(func(worker int) error {
			for i := range rounds {
				begun, err := l.Begin(f.Context(), []ledger.Listed{{Key: fmt.Sprintf("%d-%d", worker, i)}})
				if err != nil {
					return err
				}
				e, final := begun[0], begun[0]
				e.State, final.State, final.Key = ledger.Vanished, ledger.Vanished, "final"
				if worker%2 == 0 {
					if err := l.Advance(f.Context(), e, final); !errors.Is(err, ledger.ErrTransition) {
						return fmt.Errorf("advance: %v", err)
					}
				} else if err := l.Advance(f.Context(), e); err != nil {
					return err
				}
			}
			return nil
		})
		f.wantCount("", map[ledger.State]int{ledger.Begun: workers / 2 * rounds, ledger.Vanished: workers/2*rounds + 1})
	}},
}

// together runs the workers at once and fails with their errors.
func (f *fixture) together(work func(worker int) error) {
	f.Helper()
	errs := make([]error, workers)
	var wg sync.WaitGroup
	for i := range workers {
		wg.Go(func() { errs[i] = work(i) })
	}
	wg.Wait()
	f.ok(errors.Join(errs...))
}

// work settles messages of the worker and reads what it wrote.
func (f *fixture) work(l ledger.Lease, worker int) error {
	ctx := f.Context()
	for i := range rounds {
		key := fmt.Sprintf("%d-%d", worker, i)
		begun, err := l.Begin(ctx, []ledger.Listed{{Key: key}})
		if err != nil {
			return err
		}
		e := begun[0]
		e.DocumentID = "doc-" + key
		if _, err := l.Prepare(ctx, e); err != nil {
			return err
		}
		for _, s := range []ledger.State{ledger.Filed, ledger.Settled} {
			e.State = s
			if err := l.Advance(ctx, e); err != nil {
				return err
			}
			if got, err := f.l.Entry(ctx, e.Source, e.Folder, e.Key); err != nil || got.State != s {
				return fmt.Errorf("entry is %s, want %s: %w", got.State, s, err)
			}
		}
		if _, err := f.l.Document(ctx, e.DocumentID); err != nil {
			return err
		}
		if err := l.SetCursor(ctx, key, "rules"); err != nil {
			return err
		}
	}
	return nil
}

// giveUp takes steps with contexts that end meanwhile.
func (f *fixture) giveUp(l ledger.Lease, key string) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	ending := func() context.Context {
		ctx, cancel := context.WithCancel(f.Context())
		wg.Go(cancel)
		return ctx
	}
	listed := []ledger.Listed{{Key: key}, {Key: key + "b"}}
	if _, err := l.Begin(ending(), listed); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	listed[0].Key, listed[1].Key = "", "" // the ledger has no right to it any more
	listed = []ledger.Listed{{Key: key}, {Key: key + "b"}}
	batch, err := l.Begin(f.Context(), listed)
	if err != nil {
		return err
	}
	for i := range batch {
		batch[i].State = ledger.Vanished
	}
	if err := l.Advance(ending(), batch...); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	a, b := batch[0], batch[1]
	clear(batch)
	for range 2 { // what was under way may be recorded after the caller has left
		if err := l.Advance(f.Context(), b, a); err != nil && !errors.Is(err, ledger.ErrTransition) {
			return err
		}
	}
	for _, k := range listed {
		if e, err := f.l.Entry(f.Context(), a.Source, a.Folder, k.Key); err != nil || e.State != ledger.Vanished {
			return fmt.Errorf("entry is %s: %w", e.State, err)
		}
	}
	return nil
}

// fileOnce files the document from the message, or records a duplicate.
func (f *fixture) fileOnce(l ledger.Lease, document, key string) (dup bool, err error) {
	begun, err := l.Begin(f.Context(), []ledger.Listed{{Key: key}})
	if err != nil {
		return false, err
	}
	e := begun[0]
	e.DocumentID = document
	for {
		filed, err := l.Prepare(f.Context(), e)
		if errors.Is(err, ledger.ErrClaimed) {
			continue
		}
		if err != nil {
			return false, err
		}
		e.State, e.Duplicate = ledger.Filed, filed != nil
		return e.Duplicate, l.Advance(f.Context(), e)
	}
}
