package imap

import (
	"bytes"
	"io"
	"net"
	"sync"

	"postroom/internal/deadline"
)

// readBuffer is large enough that small messages do not cost a system call
// each. A connection has a buffer only while it holds something: a process may
// keep thousands that are idle.
const readBuffer = 64 << 10

// spare are buffers that no connection has.
var spare = make(chan *[readBuffer]byte, 32)

func takeBuffer() *[readBuffer]byte {
	select {
	case b := <-spare:
		return b
	default:
		return new([readBuffer]byte)
	}
}

func giveBuffer(b *[readBuffer]byte) {
	select {
	case spare <- b:
	default:
	}
}

// stream is the connection as the IMAP client sees it: buffered, decrypted, and
// with every wait bounded by the limits of its bottom.
type stream struct {
	net.Conn
	bottom *deadline.Conn

	// hello is the greeting, once it has been looked at.
	hello string
	// start is read before the connection.
	start io.Reader
	// more is that the last read got all that it had room for.
	more   bool
	buffer *[readBuffer]byte
	// rest is what has not been read yet of buffer, which is nil without it.
	rest []byte

	writing sync.Mutex
	// held is that what is written waits in pending.
	held    bool
	pending []byte
	// bare is that "=" on a line of its own is written as an empty line.
	bare bool

	mu     sync.Mutex
	cause  error
	closed bool // by the client
}

// newStream returns the stream of conn, which is bottom itself or TLS on it.
func newStream(bottom *deadline.Conn, conn net.Conn) *stream {
	return &stream{Conn: conn, bottom: bottom}
}

// peek returns the first byte, which stays unread. Nothing has been read before.
func (s *stream) peek() (byte, error) {
	first := make([]byte, 1)
	if _, err := io.ReadFull(s.Conn, first); err != nil {
		return 0, s.keep(err)
	}
	s.start = bytes.NewReader(first)
	return first[0], nil
}

// maxGreeting bounds the first line.
const maxGreeting = 8 << 10

// greeting returns the first line, without its end, after peek; all of it stays
// unread. It returns what there is of a line that does not end.
func (s *stream) greeting() string {
	line, err := io.ReadAll(s.start)
	for next := make([]byte, 1); err == nil && len(line) < maxGreeting && !bytes.HasSuffix(line, []byte("\n")); {
		// One by one: what follows may be encrypted otherwise.
		if _, err = io.ReadFull(s.Conn, next); err == nil {
			line = append(line, next[0])
		}
	}
	if err != nil {
		_ = s.keep(err) // who reads on is told
	}
	s.start = bytes.NewReader(line)
	return string(bytes.TrimRight(line, "\r\n"))
}

// Read implements [io.Reader]. The end is io.ErrUnexpectedEOF: a literal that
// ends with the connection would else look complete to the IMAP client.
func (s *stream) Read(p []byte) (int, error) {
	if s.start != nil {
		n, err := s.start.Read(p)
		if err != io.EOF {
			return n, err
		}
		s.start = nil
	}
	if len(s.rest) > 0 {
		return s.drain(p), nil
	}
	if err := s.failure(); err != nil {
		// The IMAP client tries again several times.
		return 0, err
	}
	n, err := s.buffered(p)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, s.keep(err)
}

// buffered reads ahead only after a read that got all that it had room for, when
// the next is likely not to wait.
func (s *stream) buffered(p []byte) (int, error) {
	if !s.more || len(p) >= readBuffer {
		n, err := s.Conn.Read(p)
		s.more = n == len(p)
		return n, err
	}
	buffer := takeBuffer()
	n, err := s.Conn.Read(buffer[:])
	s.more, s.buffer, s.rest = false, buffer, buffer[:n]
	return s.drain(p), err
}

// drain reads from the buffer.
func (s *stream) drain(p []byte) int {
	n := copy(p, s.rest)
	if s.rest = s.rest[n:]; len(s.rest) == 0 {
		giveBuffer(s.buffer)
		s.buffer, s.rest = nil, nil
	}
	return n
}

func (s *stream) Write(p []byte) (int, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.held {
		// The client ends a command that it begins after it has seen the end of
		// the connection only if the write of it fails.
		if err := s.ended(); err != nil {
			return 0, err
		}
		s.pending = append(s.pending, p...)
		return len(p), nil
	}
	if s.bare && string(p) == "=\r\n" {
		if _, err := s.Conn.Write(p[1:]); err != nil {
			return 0, s.keep(err)
		}
		return len(p), nil
	}
	n, err := s.Conn.Write(p)
	return n, s.keep(err)
}

// answering says whether what is written answers challenges of AUTHENTICATE. An
// empty answer is an empty line then (RFC 9051 9: base64 may be empty): the IMAP
// client writes "=", which is meant for a command's line alone (RFC 4959 3), and
// servers take it for an error.
func (s *stream) answering(yes bool) {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.bare = yes
}

// ended returns why nothing can be written any more, nil if it may be.
func (s *stream) ended() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cause == nil && s.closed {
		return net.ErrClosed
	}
	return s.cause
}

// Close implements [io.Closer].
func (s *stream) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	return s.Conn.Close()
}

// hold keeps back what is written until release.
func (s *stream) hold() {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.held = true
}

// release writes what was held, all at once.
func (s *stream) release() error {
	s.writing.Lock()
	defer s.writing.Unlock()
	_, err := s.Conn.Write(s.pending)
	s.held, s.pending = false, nil
	return s.keep(err)
}

// keep remembers the first error of the connection.
func (s *stream) keep(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil && s.cause == nil {
		s.cause = err
	}
	return err
}

// failure returns the first error of the connection itself; nil if it is sound
// as far as is known.
func (s *stream) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cause
}
