package pop3

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// errHandedOver is returned by a body that is read after deliver has returned.
var errHandedOver = errors.New("the message body is no longer available")

// body is a message as it arrives, octet for octet, without the dots that the
// server has put before lines beginning with one (RFC 1939 3). Lines end in CRLF;
// a CR or LF alone is part of a line. It ends at the line that is a dot, if it is
// the last.
type body struct {
	c *client
	// next is called with the number of octets when a line is a dot. If it returns
	// true, an answer to another command follows the message, without which there is
	// no telling whether the line is its end.
	next func(octets int64) (bool, error)
	// done is called at the end.
	done func() error
	// explain gives an error of the connection its class.
	explain func(error) error

	octets int64
	last   byte // the octet before
	inLine bool // it did not end a line
	err    error
}

func (b *body) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	n, err := b.read(p)
	b.octets += int64(n)
	if err == io.EOF {
		if bad := b.done(); bad != nil {
			err = bad
		}
	}
	if err != nil && err != io.EOF {
		err = b.explain(err)
	}
	b.err = err
	if n > 0 && err == io.EOF {
		return n, nil
	}
	return n, err
}

// read fills p with what has arrived. It waits only if that is nothing.
func (b *body) read(p []byte) (n int, err error) {
	for n < len(p) {
		have := b.c.r.Buffered()
		if have == 0 {
			if n > 0 {
				return n, nil
			}
			if _, err := b.c.r.Peek(1); err != nil {
				return 0, lost(err)
			}
			have = b.c.r.Buffered()
		}
		// What is buffered can be had.
		chunk, _ := b.c.r.Peek(have)
		if !b.inLine && chunk[0] == '.' {
			if n > 0 && have < endAndAnswer {
				return n, nil // what follows may have to be waited for
			}
			// Two octets follow any dot here: at least an end of line.
			if chunk, err = b.c.r.Peek(3); err != nil {
				return 0, lost(err)
			}
			dot := chunk[1] == '\r' && chunk[2] == '\n'
			end := dot
			if dot {
				if end, err = b.ends(int64(n)); err != nil {
					return n, err
				}
			}
			switch {
			case end:
				b.skip(3)
				return n, io.EOF
			case dot:
				chunk, _ = b.c.r.Peek(3) // it may have moved
			default:
				b.skip(1)
				chunk = chunk[1:]
			}
			b.inLine, b.last = true, '.'
		}
		if end := bytes.IndexByte(chunk, '\n'); end >= 0 {
			chunk = chunk[:end+1]
		}
		took := copy(p[n:], chunk)
		before := b.last
		if took > 1 {
			before = chunk[took-2]
		}
		b.last = chunk[took-1]
		b.inLine = b.last != '\n' || before != '\r'
		b.skip(took)
		n += took
	}
	return n, nil
}

// endAndAnswer is how much of the stream tells whether a message ends: the line that
// is a dot, and the beginning of an answer.
const endAndAnswer = len(".\r\n+OK\r")

// ends reports whether the line that comes, a dot, is the end of the message. Some
// servers do not double every dot that begins a line (Dovecot 2.3 not that of the
// first line); then more lines follow where there should be an answer.
func (b *body) ends(n int64) (bool, error) {
	follows, err := b.next(b.octets + n)
	if err != nil || !follows {
		return true, err
	}
	text, err := b.c.r.Peek(endAndAnswer)
	if err != nil {
		return false, lost(err)
	}
	answer := bytes.ToUpper(text[3:])
	return bytes.HasPrefix(answer, []byte("+OK")) || bytes.Equal(answer, []byte("-ERR")), nil
}

// skip passes over octets that have been seen, which cannot fail.
func (b *body) skip(n int) { _, _ = b.c.r.Discard(n) }

// maxUnread is how much of a message that nobody wants is read past, to go on with
// the next, rather than begin a new session.
const maxUnread = 4 << 20

// finish reads past what has not been read, and makes further reads fail. Its
// error is that of the connection, or errUnread.
func (b *body) finish() error {
	if b.err == nil {
		if _, err := io.CopyN(io.Discard, b, maxUnread); err == nil {
			b.err = errUnread
		}
	}
	err := b.err
	b.err = errHandedOver
	if err == io.EOF {
		return nil
	}
	return err
}

// errUnread is that there is more left of a message than is worth reading.
var errUnread = fmt.Errorf("more than %d bytes of a message were not wanted", maxUnread)
