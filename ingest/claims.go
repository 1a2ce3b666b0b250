package ingest

import "sync"

// claims lets one message at a time work on a document, so that of two equal
// messages one is filed and the other finds it filed.
type claims struct {
	mu   sync.Mutex
	held map[string]*claim
}

type claim struct {
	sync.Mutex
	users int
}

// lock claims the document and returns what gives it up.
func (c *claims) lock(id string) (unlock func()) {
	c.mu.Lock()
	if c.held == nil {
		c.held = make(map[string]*claim)
	}
	k := c.held[id]
	if k == nil {
		k = &claim{}
		c.held[id] = k
	}
	k.users++
	c.mu.Unlock()
	k.Lock()
	return func() {
		k.Unlock()
		c.mu.Lock()
		defer c.mu.Unlock()
		if k.users--; k.users == 0 {
			delete(c.held, id)
		}
	}
}
