package ingesttest

import (
	"context"
	"sync"
	"time"

	"postroom/ingest/ledger"
)

// Ledger is a ledger in memory.
type Ledger struct {
	ledger.Ledger
	world *World

	mu   sync.Mutex
	held []ledger.Lease
}

// Lease implements ledger.Ledger.
func (l *Ledger) Lease(ctx context.Context, source, folder string, ttl time.Duration) (ledger.Lease, error) {
	var out ledger.Lease
	err := l.world.do("lease "+folder, func() error {
		in, err := l.Ledger.Lease(ctx, source, folder, ttl)
		if err != nil {
			return err
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		l.held = append(l.held, in)
		out = &lease{Lease: in, world: l.world, folder: folder}
		return nil
	})
	return out, err
}

// releaseAll gives up the leases of a process that died.
func (l *Ledger) releaseAll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, in := range l.held {
		in.Release(context.Background())
	}
	l.held = nil
}

type lease struct {
	ledger.Lease
	world  *World
	folder string
}

func (l *lease) SetCursor(ctx context.Context, cursor, rules string) error {
	return l.world.do("cursor "+l.folder, func() error { return l.Lease.SetCursor(ctx, cursor, rules) })
}

func (l *lease) Begin(ctx context.Context, listed []ledger.Listed) (out []ledger.Entry, err error) {
	err = l.world.do("begin "+l.folder, func() error {
		out, err = l.Lease.Begin(ctx, listed)
		return err
	})
	return out, err
}

func (l *lease) Prepare(ctx context.Context, e ledger.Entry) (known *ledger.Document, err error) {
	err = l.world.do("prepare "+l.folder+" "+e.Key, func() error {
		known, err = l.Lease.Prepare(ctx, e)
		return err
	})
	return known, err
}

func (l *lease) Advance(ctx context.Context, entries ...ledger.Entry) error {
	last := entries[len(entries)-1]
	return l.world.do("advance "+string(last.State)+" "+l.folder+" "+last.Key, func() error {
		return l.Lease.Advance(ctx, entries...)
	})
}
