package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// place names a folder of a source.
type place struct{ source, folder string }

// leases says who holds which folder. It serves ledgers that one process holds:
// a lease does not outlive the process.
type leases struct {
	now func() time.Time

	mu     sync.Mutex
	held   map[place]*hold // the last lease on a folder, alive or lost
	barred map[string]bool // sources that none of is granted
	ended  bool
}

func newLeases(now func() time.Time) *leases {
	return &leases{now: now, held: make(map[place]*hold), barred: make(map[string]bool)}
}

// take grants the folder for ttl, or returns ErrHeld.
func (l *leases) take(at place, ttl time.Duration) (*hold, error) {
	if ttl <= 0 {
		return nil, fmt.Errorf("time to live %v is not positive", ttl)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return nil, errClosed
	}
	if other := l.held[at]; l.barred[at.source] || other != nil && other.alive() {
		return nil, ErrHeld
	}
	h := &hold{leases: l, at: at, ttl: ttl, until: l.now().Add(ttl)}
	l.held[at] = h
	return h, nil
}

// bar keeps the folders of the sources from being leased until the function
// that it returns is called, or returns ErrHeld if one is.
func (l *leases) bar(sources ...string) (lift func(), err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for at, h := range l.held {
		if slices.Contains(sources, at.source) && h.alive() {
			return nil, ErrHeld
		}
	}
	for _, s := range sources {
		if l.barred[s] {
			return nil, ErrHeld
		}
	}
	for _, s := range sources {
		l.barred[s] = true
	}
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, s := range sources {
			delete(l.barred, s)
		}
	}, nil
}

// end loses every lease and grants no more.
func (l *leases) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	clear(l.held)
}

// hold is a lease as far as it concerns who has the folder. It is its own
// fencing token: it is alive only while it is the one kept in leases.
type hold struct {
	leases *leases
	at     place
	ttl    time.Duration
	until  time.Time // guarded by leases.mu
}

// alive needs leases.mu.
func (h *hold) alive() bool {
	return h.leases.held[h.at] == h && h.leases.now().Before(h.until)
}

// check returns ErrFenced if the lease is lost.
func (h *hold) check() error {
	h.leases.mu.Lock()
	defer h.leases.mu.Unlock()
	if !h.alive() {
		return ErrFenced
	}
	return nil
}

// Renew implements [Lease].
func (h *hold) Renew(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	h.leases.mu.Lock()
	defer h.leases.mu.Unlock()
	if !h.alive() {
		return ErrFenced
	}
	h.until = h.leases.now().Add(h.ttl)
	return nil
}

// Release implements [Lease]. It also works when the context has ended.
func (h *hold) Release(context.Context) error {
	h.leases.mu.Lock()
	defer h.leases.mu.Unlock()
	if h.leases.held[h.at] == h {
		delete(h.leases.held, h.at)
	}
	return nil
}

var errClosed = errors.New("ledger is closed")
