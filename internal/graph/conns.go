package graph

import (
	"context"
	"net"
	"sync"
)

// conns are the connections of a client, and the requests on them that nobody
// waits for any more. A transport may finish a connection that is not needed any
// more, and keep it for a while: none outlives the last use, nor does a request.
type conns struct {
	dialer net.Dialer
	// left are the requests that nobody waits for.
	left sync.WaitGroup

	mu   sync.Mutex
	open map[*tracked]bool
	idle bool
	// life ends with the last use.
	life context.Context
	end  context.CancelFunc
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
// end, and all requests.
func (c *conns) use(inUse bool) {
	c.mu.Lock()
	c.idle = !inUse
	var open []*tracked
	if inUse && (c.life == nil || c.life.Err() != nil) {
		c.life, c.end = context.WithCancel(context.Background())
	}
	if !inUse {
		c.end()
		for t := range c.open {
			open = append(open, t)
		}
	}
	c.mu.Unlock()
	for _, t := range open {
		_ = t.Close() // it is not needed
	}
	if !inUse {
		c.left.Wait()
	}
}

// lifetime is the context of a request that may outlive whoever asks.
func (c *conns) lifetime() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.life
}
