package imap

import (
	"bufio"
	"io"
	"net"
	"sync"

	"postroom/internal/deadline"
)

// readBuffer is large enough that small messages do not cost a system call
// each, and small against the memory of a process with many mailboxes.
const readBuffer = 64 << 10

// stream is the connection as the IMAP client sees it: buffered, decrypted, and
// with every wait bounded by the limits of its bottom.
type stream struct {
	net.Conn
	bottom *deadline.Conn

	// start is read before the connection.
	start io.Reader
	r     *bufio.Reader

	mu    sync.Mutex
	cause error
}

// newStream returns the stream of conn, which is bottom itself or TLS on it.
func newStream(bottom *deadline.Conn, conn net.Conn) *stream {
	return &stream{Conn: conn, bottom: bottom, r: bufio.NewReaderSize(conn, readBuffer)}
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
	if err := s.failure(); err != nil {
		// The IMAP client tries again several times.
		return 0, err
	}
	n, err := s.r.Read(p)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, s.keep(err)
}

func (s *stream) Write(p []byte) (int, error) {
	n, err := s.Conn.Write(p)
	return n, s.keep(err)
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
