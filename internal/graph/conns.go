package graph

import (
	"context"
	"net"
	"sync"
)

// conns are the connections of a client. A transport may finish one that nobody
// waits for any more, and keep it for a while: none outlives the last use.
type conns struct {
	dialer net.Dialer

	mu   sync.Mutex
	open map[*tracked]bool
	idle bool
}

type tracked struct {
	net.Conn
	of *conns
}

func (t *tracked) Close() error {
	t.of.mu.Lock()
	delete(t.of.open, t)
	t.of.mu.Unlock()
	return t.Conn.Close()
}

func (c *conns) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := c.dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	t := &tracked{conn, c}
	c.mu.Lock()
	idle := c.idle
	if !idle {
		if c.open == nil {
			c.open = make(map[*tracked]bool)
		}
		c.open[t] = true
	}
	c.mu.Unlock()
	if idle {
		// Nobody needs it: whoever asked for it is told by the next use.
		_ = conn.Close()
		return nil, net.ErrClosed
	}
	return t, nil
}

// use says whether the client is in use. When it no longer is, all connections
// end.
func (c *conns) use(inUse bool) {
	c.mu.Lock()
	c.idle = !inUse
	var open []*tracked
	if !inUse {
		for t := range c.open {
			open = append(open, t)
		}
	}
	c.mu.Unlock()
	for _, t := range open {
		_ = t.Close() // it is not needed
	}
}
