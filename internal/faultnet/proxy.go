// Package faultnet is a network with faults, for tests and measurements: a
// proxy on the loopback interface that passes TCP connections on to a server,
// and slows, stalls and breaks them by plan.
package faultnet

import (
	"context"
	"fmt"
	"net"
	"sync"
)

// Stats is what has gone through a proxy.
type Stats struct {
	// Connections is how many were accepted, those refused included.
	Connections int
	// Trips is how often a client spoke after the server had, summed over the
	// connections: the round trips, if nobody speaks unasked.
	Trips int
	// Up and Down are the bytes sent by clients and by the server, passed on or
	// not.
	Up, Down int64
}

// Proxy passes connections on to a server. Its methods may be called
// concurrently.
type Proxy struct {
	listener net.Listener
	target   string
	running  sync.WaitGroup
	life     context.Context
	end      context.CancelFunc

	mu     sync.Mutex
	plan   Plan
	stats  Stats
	conns  map[*conn]bool
	closed bool
}

// Start starts a proxy in front of target, host:port, that is sound at first.
// Close ends it.
func Start(target string) (*Proxy, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start proxy: %w", err)
	}
	p := &Proxy{listener: listener, target: target, conns: make(map[*conn]bool)}
	p.life, p.end = context.WithCancel(context.Background())
	p.running.Go(p.serve)
	return p, nil
}

// Addr is the address, host:port, to connect to in place of the server's.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Use sets the plan for the connections made from now on, and counts them anew
// from 1. A nil plan makes them sound.
func (p *Proxy) Use(plan Plan) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if plan != nil {
		made := p.stats.Connections
		p.plan = func(n int) Conduct { return plan(n - made) }
		return
	}
	p.plan = nil
}

// Drop ends the connections that there are, in good order.
func (p *Proxy) Drop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.end(false)
	}
}

// Stats returns what has gone through so far.
func (p *Proxy) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stats
}

// Close ends the proxy and its connections, and waits for them.
func (p *Proxy) Close() error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.end()
	err := p.listener.Close()
	p.Drop()
	p.running.Wait()
	return err
}

func (p *Proxy) serve() {
	for {
		near, err := p.listener.Accept()
		if err != nil {
			return
		}
		conduct := p.admit()
		p.running.Go(func() { p.pass(near.(*net.TCPConn), conduct) })
	}
}

// admit counts a connection and returns how it is to go.
func (p *Proxy) admit() Conduct {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stats.Connections++
	if p.plan == nil {
		return Conduct{}
	}
	return p.plan(p.stats.Connections)
}

// pass serves one connection to its end.
func (p *Proxy) pass(near *net.TCPConn, conduct Conduct) {
	c := &conn{proxy: p, near: near, done: make(chan struct{})}
	if conduct.Refuse {
		c.end(true)
		return
	}
	var dialer net.Dialer
	far, err := dialer.DialContext(p.life, "tcp", p.target)
	if err != nil {
		c.end(true)
		return
	}
	c.far = far.(*net.TCPConn)
	if !p.enter(c) {
		c.end(false)
		return
	}
	var both sync.WaitGroup
	both.Go(func() { c.carry(c.near, c.far, conduct.Up, c.spokeUp) })
	both.Go(func() { c.carry(c.far, c.near, conduct.Down, c.spokeDown) })
	both.Wait()
	c.end(false)
	p.leave(c)
}

func (p *Proxy) enter(c *conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.conns[c] = true
	}
	return !p.closed
}

func (p *Proxy) leave(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
}
