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
	k := t.enter(key)
	t.mu.Unlock()
	select {
	case <-k.free:
		return func() { t.back(key, k) }, nil
	case <-ctx.Done():
		t.leave(key, k)
		return nil, ctx.Err()
	}
}

// try takes the turn of the key if nobody has it or waits for it.
func (t *turnstile) try(key string) (back func(), ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.held[key] != nil {
		return nil, false
	}
	k := t.enter(key)
	<-k.free
	return func() { t.back(key, k) }, true
}

// enter joins those who use the key. mu is held.
func (t *turnstile) enter(key string) *turn {
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
	return k
}

func (t *turnstile) back(key string, k *turn) {
	k.free <- struct{}{}
	t.leave(key, k)
}

func (t *turnstile) leave(key string, k *turn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if k.users--; k.users == 0 {
		delete(t.held, key)
	}
}
