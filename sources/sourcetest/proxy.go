package sourcetest

import (
	"io"
	"net"
	"sync"
	"testing"
)

// Proxy passes TCP connections on to a server, and can cut them.
type Proxy struct {
	listener net.Listener
	target   string
	running  sync.WaitGroup

	mu sync.Mutex
	// limit is the number of bytes from the server after which a connection
	// ends; -1 for no limit.
	limit int64
	conns map[net.Conn]bool
	ended bool
}

// NewProxy starts a proxy on the loopback interface that ends with the test.
func NewProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{listener: listener, target: target, limit: -1, conns: make(map[net.Conn]bool)}
	p.running.Go(p.serve)
	t.Cleanup(func() {
		p.mu.Lock()
		p.ended = true
		p.mu.Unlock()
		p.listener.Close()
		p.Drop()
		p.running.Wait()
	})
	return p
}

// Addr is the proxy's address, host:port.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// CutAfter ends each new connection after the server has sent n bytes; -1 for
// never.
func (p *Proxy) CutAfter(n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.limit = n
}

// Drop ends the connections that there are.
func (p *Proxy) Drop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for conn := range p.conns {
		conn.Close()
	}
}

func (p *Proxy) serve() {
	for {
		near, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.running.Go(func() { p.pass(near) })
	}
}

func (p *Proxy) pass(near net.Conn) {
	defer near.Close()
	far, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	defer far.Close()
	p.mu.Lock()
	if p.ended {
		p.mu.Unlock()
		return
	}
	p.conns[near], p.conns[far] = true, true
	limit := p.limit
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.conns, near)
		delete(p.conns, far)
	}()
	var up sync.WaitGroup
	up.Go(func() {
		// Either side may end first; the other then is closed below.
		_, _ = io.Copy(far, near)
		far.Close()
	})
	if limit < 0 {
		_, _ = io.Copy(near, far)
	} else {
		_, _ = io.CopyN(near, far, limit)
	}
	near.Close()
	far.Close()
	up.Wait()
}
