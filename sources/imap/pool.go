package imap

import (
	"context"
	"slices"
	"sync"
	"time"
)

// pool hands out at most limit connections at a time, and keeps those given
// back for the next caller.
type pool struct {
	dial  func(context.Context) (*conn, error)
	keep  time.Duration
	slots chan struct{}

	// life ends when the pool is closed.
	life context.Context
	end  context.CancelFunc

	mu sync.Mutex
	// kept are the unused connections, the most recently used last.
	kept []*kept
	// queue is the number of callers that wait for a slot.
	queue int
	// guests are the connections in use that give way to another caller, and
	// how to ask them to.
	guests map[*conn]context.CancelFunc
	closed bool

	// work counts the calls under way and the expiry timers that have fired.
	work sync.WaitGroup
}

type kept struct {
	*conn
	expiry *time.Timer
}

func newPool(limit int, keep time.Duration, dial func(context.Context) (*conn, error)) *pool {
	p := &pool{dial: dial, keep: keep, slots: make(chan struct{}, limit), guests: make(map[*conn]context.CancelFunc)}
	p.life, p.end = context.WithCancel(context.Background())
	return p
}

// limit returns how many connections there may be.
func (p *pool) limit() int { return cap(p.slots) }

// bind returns a context that ends with ctx or when the pool is closed, and
// keeps close waiting until the returned function is called.
func (p *pool) bind(ctx context.Context) (context.Context, func(), error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, nil, ErrClosed
	}
	p.work.Add(1)
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(p.life, func() { cancel(ErrClosed) })
	return ctx, func() {
		stop()
		cancel(nil)
		p.work.Done()
	}, nil
}

// slot waits for the right to use a connection.
func (p *pool) slot(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	if p.trySlot() {
		return nil
	}
	p.mu.Lock()
	p.queue++
	for c, giveWay := range p.guests {
		giveWay()
		delete(p.guests, c)
		break
	}
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		p.queue--
		p.mu.Unlock()
	}()
	select {
	case p.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// trySlot takes a slot if one is free.
func (p *pool) trySlot() bool {
	select {
	case p.slots <- struct{}{}:
		return true
	default:
		return false
	}
}

// contended reports whether callers wait for a slot.
func (p *pool) contended() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.queue > 0
}

// take returns a kept connection that is not known to be dead, or nil: one that
// has the folder, else one that can read it, else the one used last. The caller
// holds a slot.
func (p *pool) take(prefer wish) *conn {
	for {
		p.mu.Lock()
		n := len(p.kept)
		if n == 0 {
			p.mu.Unlock()
			return nil
		}
		best := n - 1
		for i := n - 1; i >= 0; i-- {
			if p.kept[i].suits(prefer) > p.kept[best].suits(prefer) {
				best = i
			}
		}
		k := p.kept[best]
		p.kept = slices.Delete(p.kept, best, best+1)
		if k.expiry.Stop() {
			p.work.Done()
		}
		p.mu.Unlock()
		if k.usable() {
			return k.conn
		}
		k.close()
	}
}

// suits grades the connection for a caller, higher is better.
func (c *conn) suits(prefer wish) int {
	switch {
	case prefer.path == "":
		return 0
	case c.has(prefer.path, prefer.writable):
		return 2
	case c.has(prefer.path, false):
		return 1
	}
	return 0
}

// put gives back a connection and its slot. c may be nil.
func (p *pool) put(c *conn) {
	if c != nil && !p.retain(c) {
		c.close()
	}
	<-p.slots
}

func (p *pool) retain(c *conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || !c.usable() {
		return false
	}
	k := &kept{conn: c}
	p.work.Add(1)
	k.expiry = time.AfterFunc(p.keep, func() {
		defer p.work.Done()
		if p.remove(k) {
			k.logout()
		}
	})
	p.kept = append(p.kept, k)
	return true
}

func (p *pool) remove(k *kept) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, other := range p.kept {
		if other == k {
			p.kept = append(p.kept[:i], p.kept[i+1:]...)
			return true
		}
	}
	return false
}

// guest registers that c gives way: the returned context ends when another
// caller needs its slot. The caller calls leave when c no longer is a guest.
func (p *pool) guest(ctx context.Context, c *conn) (_ context.Context, leave func()) {
	ctx, cancel := context.WithCancel(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.queue > 0 {
		cancel()
	} else {
		p.guests[c] = cancel
	}
	return ctx, func() {
		cancel()
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.guests, c)
	}
}

// close ends all connections and waits for the calls under way.
func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	unused := p.kept
	p.kept = nil
	for _, k := range unused {
		if k.expiry.Stop() {
			p.work.Done()
		}
	}
	p.mu.Unlock()
	p.end()
	var logouts sync.WaitGroup
	for _, k := range unused {
		logouts.Go(k.logout)
	}
	logouts.Wait()
	p.work.Wait()
}
