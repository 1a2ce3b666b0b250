// Package deadline bounds what a peer can do to a connection: how long it may
// stay silent when an answer is due, how long it may refuse to take what is
// sent, and how much it may send that nobody asked for.
package deadline

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// ErrTooMuch is returned by Read when the peer has sent more than was allowed.
var ErrTooMuch = errors.New("the server sent more than it was asked for")

// Limits bounds a connection.
type Limits struct {
	// Silence is how long a Read may wait while an answer is due.
	Silence time.Duration
	// Write is how long one Write may take.
	Write time.Duration
	// Answer is the number of bytes that may be read from one Begin to the
	// next, besides what Allow adds; 0 for no limit.
	Answer int64
}

// Conn is a connection whose deadlines are its own: SetDeadline,
// SetReadDeadline and SetWriteDeadline do nothing, so that a protocol library
// which sets one absolute deadline for a long transfer does no harm.
//
// Between Begin and End an answer is due, and a Read during which nothing
// arrives for Limits.Silence fails. Outside of them a Read waits for ever, as
// the peer has no reason to speak.
type Conn struct {
	net.Conn
	limits Limits

	mu    sync.Mutex
	due   bool
	left  int64
	cause error
}

// New bounds the connection. An answer is due at once: the greeting.
func New(conn net.Conn, limits Limits) (*Conn, error) {
	c := &Conn{Conn: conn, limits: limits}
	if err := c.Begin(); err != nil {
		return nil, err
	}
	return c, nil
}

// Begin says that an answer is due from now on.
func (c *Conn) Begin() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.due, c.left = true, c.limits.Answer
	return c.Conn.SetReadDeadline(time.Now().Add(c.limits.Silence))
}

// End says that no answer is due until the next Begin.
func (c *Conn) End() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.due = false
	return c.Conn.SetReadDeadline(time.Time{})
}

// Allow lets the peer send n more bytes until the next Begin.
func (c *Conn) Allow(n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left += n
}

// Read implements [io.Reader]. The end of the stream is reported as
// [io.ErrUnexpectedEOF]: in the protocols that use this package an end is never
// the end of a message. After an error every Read fails with it at once.
func (c *Conn) Read(p []byte) (int, error) {
	if err := c.Cause(); err != nil {
		return 0, err
	}
	if err := c.extend(); err != nil {
		return 0, c.fail(err)
	}
	n, err := c.Conn.Read(p)
	c.mu.Lock()
	c.left -= int64(n)
	exceeded := c.limits.Answer > 0 && c.left < 0
	c.mu.Unlock()
	var timeout net.Error
	switch {
	case exceeded:
		return 0, c.fail(ErrTooMuch)
	case err == io.EOF:
		return n, c.fail(io.ErrUnexpectedEOF)
	case errors.As(err, &timeout) && timeout.Timeout():
		return n, c.fail(fmt.Errorf("no answer for %v: %w", c.limits.Silence, err))
	case err != nil:
		return n, c.fail(err)
	}
	return n, nil
}

func (c *Conn) extend() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.due {
		return nil
	}
	return c.Conn.SetReadDeadline(time.Now().Add(c.limits.Silence))
}

// Write implements [io.Writer].
func (c *Conn) Write(p []byte) (int, error) {
	if err := c.Conn.SetWriteDeadline(time.Now().Add(c.limits.Write)); err != nil {
		return 0, c.fail(err)
	}
	n, err := c.Conn.Write(p)
	if err != nil {
		return n, c.fail(err)
	}
	return n, nil
}

// Cause returns the first error of the connection itself, or nil: what a
// protocol library reports after it may be a consequence only.
func (c *Conn) Cause() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cause
}

func (c *Conn) fail(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause == nil {
		c.cause = err
	}
	return err
}

// SetDeadline does nothing.
func (c *Conn) SetDeadline(time.Time) error { return nil }

// SetReadDeadline does nothing.
func (c *Conn) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline does nothing.
func (c *Conn) SetWriteDeadline(time.Time) error { return nil }
