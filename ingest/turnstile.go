package ingest

import (
	"context"
	"sync"
)

// turnstile lets one goroutine at a time pass for a key. The zero value is
// ready.
//
// It guards a folder, and a document: of two equal messages one is filed, and
// the other finds it filed.
type turnstile struct {
	mu   sync.Mutex
	held map[string]*turn
}

type turn struct {
	free  chan struct{} // holds a token while nobody has the turn
	users int
}

// take takes the turn of the key and returns what gives it back. It gives up
// with the context.
func (t *turnstile) take(ctx context.Context, key string) (back func(), err error) {
	t.mu.Lock()
	if t.held == nil {
		t.held = make(map[string]*turn)
	}
	k := t.held[key]
	if k == nil {
		k = &turn{free: make(chan struct{}, 1)}
		k.free <- struct{}{}
		t.held[key] = k
	}
	k.users++
	t.mu.Unlock()
	leave := func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if k.users--; k.users == 0 {
			delete(t.held, key)
		}
	}
	select {
	case <-k.free:
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
	return func() {
		k.free <- struct{}{}
		leave()
	}, nil
}
