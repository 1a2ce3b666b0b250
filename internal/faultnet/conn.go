package faultnet

import (
	"io"
	"net"
	"sync"
	"time"
)

const (
	segmentSize = 32 << 10
	// inFlight is the most segments on their way in one direction. It bounds
	// memory, and is far more than a delay line of common latency holds.
	inFlight = 1024
)

// segment is bytes on their way.
type segment struct {
	buffer *[]byte
	n      int
	due    time.Time
}

var buffers = sync.Pool{New: func() any {
	b := make([]byte, segmentSize)
	return &b
}}

// conn is a connection that is passed on.
type conn struct {
	proxy     *Proxy
	near, far *net.TCPConn
	once      sync.Once
	done      chan struct{} // closed by end

	// serverSpoke is that the server was the last to send. It is guarded by the
	// proxy's mutex.
	serverSpoke bool
}

// end ends the connection on both sides. An error of closing is none of the
// network's users.
func (c *conn) end(reset bool) {
	c.once.Do(func() {
		for _, side := range []*net.TCPConn{c.near, c.far} {
			if side == nil {
				continue
			}
			if reset {
				_ = side.SetLinger(0)
			}
			_ = side.Close()
		}
		close(c.done)
	})
}

func (c *conn) spokeUp(n int) {
	c.proxy.mu.Lock()
	defer c.proxy.mu.Unlock()
	c.proxy.stats.Up += int64(n)
	if c.serverSpoke {
		c.proxy.stats.Trips++
	}
	c.serverSpoke = false
}

func (c *conn) spokeDown(n int) {
	c.proxy.mu.Lock()
	defer c.proxy.mu.Unlock()
	c.proxy.stats.Down += int64(n)
	c.serverSpoke = true
}

// carry passes one direction on until it ends. An end in good order leaves the
// other direction open.
func (c *conn) carry(from, to *net.TCPConn, line Line, spoke func(int)) {
	queue := make(chan segment, inFlight)
	ended := make(chan error, 1)
	go func() {
		ended <- c.receive(from, queue, line.Latency, spoke)
		close(queue)
	}()
	w := &writer{conn: c, to: to, line: line}
	for s := range queue {
		w.pass(s)
		buffers.Put(s.buffer)
	}
	if err := <-ended; err != io.EOF || w.dead || to.CloseWrite() != nil {
		c.end(err != io.EOF)
	}
}

// receive puts what arrives into the queue, until the end, which it returns.
func (c *conn) receive(from *net.TCPConn, queue chan<- segment, latency time.Duration, spoke func(int)) error {
	for {
		buffer := buffers.Get().(*[]byte)
		n, err := from.Read(*buffer)
		if n > 0 {
			spoke(n)
			select {
			case queue <- segment{buffer, n, time.Now().Add(latency)}:
			case <-c.done:
				return net.ErrClosed
			}
		}
		if err != nil {
			return err
		}
	}
}

// exactly is the end of a wait that is slept through in one go.
const exactly = 2 * time.Millisecond

// wait waits until the time has come, and reports whether the connection still
// is there.
func (c *conn) wait(until time.Time) bool {
	if d := time.Until(until) - exactly; d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-c.done:
			return false
		}
	}
	if d := time.Until(until); d > 0 {
		sleep(d)
	}
	return true
}
