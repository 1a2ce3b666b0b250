package filesystem

import (
	"context"
	"sync"
)

// turns makes those that want the same key wait for each other.
type turns struct {
	mu    sync.Mutex
	taken map[string]chan struct{} // closed when given back
}

func newTurns() *turns { return &turns{taken: make(map[string]chan struct{})} }

// take waits until key is free and takes it, or returns the context's error.
func (t *turns) take(ctx context.Context, key string) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		busy := t.try(key)
		if busy == nil {
			return nil
		}
		select {
		case <-busy:
		case <-ctx.Done():
		}
	}
}

// try takes key if it is free and else returns what is closed once it may be.
func (t *turns) try(key string) <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	if busy := t.taken[key]; busy != nil {
		return busy
	}
	t.taken[key] = make(chan struct{})
	return nil
}

// give gives key back.
func (t *turns) give(key string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	close(t.taken[key])
	delete(t.taken, key)
}
