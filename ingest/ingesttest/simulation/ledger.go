package simulation

import (
	"context"
	"iter"
	"time"

	"postroom/ingest/ledger"
	"postroom/sources"
)

// record is a process's view of the ledger.
type record struct {
	p *process
	ledger.Ledger
}

func (r record) do(ctx context.Context, b *box, name string, message bool, effect func() error) error {
	return r.p.do(ctx, operation{kind: onLedger, box: b, name: name, message: message}, func(fate) error { return effect() })
}

func (r record) Lease(ctx context.Context, source, folder string, ttl time.Duration) (ledger.Lease, error) {
	b, _ := r.p.whose(source, "")
	var out ledger.Lease
	err := r.do(ctx, b, "lease "+b.path(folder), false, func() error {
		in, err := r.Ledger.Lease(ctx, source, folder, ttl)
		if err != nil {
			return err
		}
		// One whose answer is lost is never given up by the engine.
		r.p.held[in] = true
		out = &lease{Lease: in, r: r, b: b, folder: folder}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (r record) Rename(ctx context.Context, from, to string) (n int, err error) {
	b, _ := r.p.whose(to, "")
	err = r.do(ctx, b, "rename "+b.String(), true, func() error {
		n, err = r.Ledger.Rename(ctx, from, to)
		return err
	})
	return n, err
}

func (r record) Document(ctx context.Context, id string) (d ledger.Document, err error) {
	err = r.do(ctx, nil, "document "+id[:12], true, func() error {
		if r.p.world.slips(ForgetsDocument, "document "+id) {
			return ledger.ErrNotFound
		}
		d, err = r.Ledger.Document(ctx, id)
		return err
	})
	return d, err
}

func (r record) Entry(ctx context.Context, source, folder, key string) (e ledger.Entry, err error) {
	err = r.do(ctx, nil, "entry "+folder+" "+key, false, func() error {
		e, err = r.Ledger.Entry(ctx, source, folder, key)
		return err
	})
	return e, err
}

func (r record) Entries(ctx context.Context, q ledger.Query) iter.Seq2[ledger.Entry, error] {
	return func(yield func(ledger.Entry, error) bool) {
		if err := r.do(ctx, nil, "entries "+q.Source, false, func() error { return nil }); err != nil {
			yield(ledger.Entry{}, err)
			return
		}
		for e, err := range r.Ledger.Entries(ctx, q) {
			if !yield(e, err) {
				return
			}
		}
	}
}

// lease is a process's view of a lease.
type lease struct {
	ledger.Lease
	r      record
	b      *box
	folder string
}

func (l *lease) do(ctx context.Context, verb string, effect func() error) error {
	return l.r.do(ctx, l.b, verb+" "+l.b.path(l.folder), false, effect)
}

func (l *lease) doMessage(ctx context.Context, verb, key string, effect func() error) error {
	return l.r.do(ctx, l.b, verb+" "+l.b.path(l.folder)+" "+key, true, effect)
}

func (l *lease) Cursor(ctx context.Context) (cursor, rules string, err error) {
	err = l.do(ctx, "cursor of", func() error {
		cursor, rules, err = l.Lease.Cursor(ctx)
		return err
	})
	return cursor, rules, err
}

func (l *lease) SetCursor(ctx context.Context, cursor, rules string) error {
	return l.do(ctx, "keep cursor of", func() error { return l.Lease.SetCursor(ctx, cursor, rules) })
}

func (l *lease) Begin(ctx context.Context, listed []ledger.Listed) (entries []ledger.Entry, err error) {
	err = l.doMessage(ctx, "begin", listed[0].Key, func() error {
		if l.r.p.world.slips(ForgetsBegun, "begin "+l.b.path(l.folder)+" "+listed[0].Key) {
			for _, m := range listed {
				entries = append(entries, ledger.Entry{
					Source: l.b.name, Folder: l.folder, Key: m.Key, FolderPath: m.FolderPath,
					State: ledger.Begun, Size: m.Size, Received: m.Received, Attempts: 1,
				})
			}
			return nil
		}
		entries, err = l.Lease.Begin(ctx, listed)
		return err
	})
	if err != nil {
		return nil, err
	}
	return entries, nil
}

func (l *lease) Owed(ctx context.Context, now time.Time, after string, limit int) (owed []ledger.Entry, err error) {
	err = l.do(ctx, "owed of", func() error {
		if l.r.p.world.slips(OwesNothing, "owed") {
			return nil
		}
		owed, err = l.Lease.Owed(ctx, now, after, limit)
		return err
	})
	return owed, err
}

func (l *lease) NextDue(ctx context.Context) (due time.Time, err error) {
	err = l.do(ctx, "next due of", func() error {
		due, err = l.Lease.NextDue(ctx)
		return err
	})
	return due, err
}

func (l *lease) Prepare(ctx context.Context, e ledger.Entry) (known *ledger.Document, err error) {
	err = l.doMessage(ctx, "prepare", e.Key, func() error {
		if l.r.p.world.slips(ForgetsPrepared, "prepare "+l.b.path(l.folder)+" "+e.Key) {
			return nil
		}
		known, err = l.Lease.Prepare(ctx, e)
		if known != nil && l.r.p.world.slips(ForgetsDocument, "prepare "+e.DocumentID) {
			known = nil
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return known, nil
}

func (l *lease) Advance(ctx context.Context, entries ...ledger.Entry) error {
	last := entries[len(entries)-1]
	verb := "advance to " + string(last.State)
	return l.doMessage(ctx, verb, last.Key, func() error {
		if l.r.p.world.slips(LosesAdvance, verb+" "+l.b.path(l.folder)+" "+last.Key) {
			return nil
		}
		if err := l.Lease.Advance(ctx, entries...); err != nil {
			return err
		}
		for _, e := range entries {
			l.check(e)
		}
		return nil
	})
}

// check looks whether what is recorded is true. mu is held.
func (l *lease) check(e ledger.Entry) {
	w := l.r.p.world
	f := l.b.folder(l.folder)
	if f == nil {
		return
	}
	m := f.message(e.Key)
	if m == nil {
		return
	}
	what := l.b.path(l.folder) + " " + e.Key
	switch e.State {
	case ledger.Vanished:
		w.violated(GivenUp, l.b.about(m.content), "%s", what)
	case ledger.Settled:
		switch a := l.b.after; {
		case a.Verb == sources.MarkRead && !m.seen,
			a.Verb == sources.Move,
			a.Verb == sources.Delete && (!e.Duplicate || e.Exact):
			w.violated(Undone, l.b.about(m.content), "%s of %s", a.Verb, what)
		}
	case ledger.Parked:
		// What could not be had is nowhere but on its server.
		if l.b.failed != "" && e.SHA256 != [32]byte{} {
			w.violated(Undone, l.b.about(m.content), "move of %s to the failed folder", what)
		}
	}
}

func (l *lease) Renew(ctx context.Context) error {
	return l.do(ctx, "renew", func() error { return l.Lease.Renew(ctx) })
}

func (l *lease) Release(ctx context.Context) error {
	w := l.r.p.world
	w.mu.Lock()
	defer w.mu.Unlock()
	if l.r.p.dead {
		return ErrDead
	}
	delete(l.r.p.held, l.Lease)
	return l.Lease.Release(ctx)
}
