// Package standin holds what servers have in common that stand in for real ones
// in tests and demonstrations, and that a test can make misbehave: they accept
// connections until they are closed, and do as a [Reply] says.
package standin

import (
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// life bounds that of a connection, so that no test hangs on one.
const life = 2 * time.Minute

// Server accepts connections on the loopback interface.
type Server struct {
	listener net.Listener
	talk     func(conn net.Conn, number int)
	running  sync.WaitGroup

	mu       sync.Mutex
	conns    map[net.Conn]bool
	accepted int
	closed   bool
}

// Start starts a server. talk serves one connection, which ends with it, or two
// minutes after its beginning; number counts them from 1. Close ends the server.
func Start(talk func(conn net.Conn, number int)) (*Server, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	s := &Server{listener: listener, talk: talk, conns: make(map[net.Conn]bool)}
	s.running.Go(s.serve)
	return s, nil
}

// Addr is the server's address, host:port.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// Drop cuts all connections.
func (s *Server) Drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for conn := range s.conns {
		conn.Close()
	}
}

// Close ends the server and its connections, and waits for them.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	err := s.listener.Close()
	s.Drop()
	s.running.Wait()
	return err
}

func (s *Server) serve() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			conn.Close()
			return
		}
		s.accepted++
		number := s.accepted
		s.conns[conn] = true
		s.mu.Unlock()
		s.running.Go(func() {
			defer func() {
				conn.Close()
				s.mu.Lock()
				defer s.mu.Unlock()
				delete(s.conns, conn)
			}()
			if conn.SetDeadline(time.Now().Add(life)) == nil {
				s.talk(conn, number)
			}
		})
	}
}

// Reply is what a server does instead of obeying a command.
type Reply struct {
	// Send is sent.
	Send string
	// Obey lets the server obey the command after Send.
	Obey bool
	// Close ends the connection then. With Obey the command is obeyed, and its
	// answer lost.
	Close bool
	// Hang keeps the connection open and says nothing more.
	Hang bool
	// Drip sends Send one octet at a time, so long apart.
	Drip time.Duration
}

// Give gives the reply to whoever is on the connection, and reports whether the
// command is to be obeyed then, and whether the connection goes on after it. One
// that ends with Obey is obeyed by unheard, whose answer nobody hears.
func (r Reply) Give(conn io.ReadWriter, unheard func()) (obey, on bool) {
	switch {
	case r.send(conn) != nil:
		return false, false
	case r.Close:
		if r.Obey {
			unheard()
		}
		return false, false
	case r.Hang:
		_, _ = io.Copy(io.Discard, conn) // until whoever is there gives up
		return false, false
	}
	return r.Obey, true
}

func (r Reply) send(w io.Writer) error {
	if r.Drip == 0 {
		_, err := io.WriteString(w, r.Send)
		return err
	}
	for i := range len(r.Send) {
		if _, err := io.WriteString(w, r.Send[i:i+1]); err != nil {
			return err
		}
		time.Sleep(r.Drip)
	}
	return nil
}
