package main

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"

	"postroom/internal/testcert"
)

// idleServer is an IMAP server of few words, for any number of users: every
// folder that is asked for exists and holds one message. It says what postroom
// asks of a server with ESEARCH, and nothing else.
type idleServer struct {
	listener net.Listener
	running  sync.WaitGroup

	mu    sync.Mutex
	count idleStats
	conns map[net.Conn]bool
}

// idleStats is what has been asked of the server.
type idleStats struct {
	open                               int // connections
	signIns, polled, fetched, commands int
}

// startIdleServer starts the server, and writes the authority of its certificate
// into a file.
func startIdleServer(caFile string) (*idleServer, error) {
	certificate, err := testcert.New(testcert.Template{})
	if err != nil {
		return nil, err
	}
	config, err := certificate.Server()
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(caFile, certificate.Authority, 0o600); err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &idleServer{listener: tls.NewListener(listener, config), conns: make(map[net.Conn]bool)}
	s.running.Go(s.serve)
	return s, nil
}

func (s *idleServer) addr() string { return s.listener.Addr().String() }

func (s *idleServer) stats() idleStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	stats := s.count
	stats.open = len(s.conns)
	return stats
}

func (s *idleServer) close() error {
	err := s.listener.Close()
	s.mu.Lock()
	for conn := range s.conns {
		err = errors.Join(err, conn.Close())
	}
	s.mu.Unlock()
	s.running.Wait()
	return err
}

func (s *idleServer) serve() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.conns[conn] = true
		s.mu.Unlock()
		s.running.Go(func() {
			s.talk(conn)
			s.mu.Lock()
			delete(s.conns, conn)
			s.mu.Unlock()
			conn.Close()
		})
	}
}

const idleCapabilities = "IMAP4rev1 SASL-IR AUTH=PLAIN UIDPLUS MOVE ESEARCH IDLE LIST-EXTENDED SPECIAL-USE"

// talk serves a connection until it ends.
func (s *idleServer) talk(conn net.Conn) {
	r, w := bufio.NewReader(conn), bufio.NewWriter(conn)
	fmt.Fprintf(w, "* OK [CAPABILITY %s] ready\r\n", idleCapabilities)
	folder := ""
	for {
		if r.Buffered() == 0 && w.Flush() != nil {
			return
		}
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		tag, text, _ := strings.Cut(strings.TrimRight(line, "\r\n"), " ")
		code := ""
		s.mu.Lock()
		s.count.commands++
		switch {
		case strings.HasPrefix(text, "AUTHENTICATE PLAIN "):
			s.count.signIns++
			code = fmt.Sprintf("[CAPABILITY %s] ", idleCapabilities)
		case strings.HasPrefix(text, "LIST"):
			if strings.HasPrefix(text, `LIST "" ""`) {
				fmt.Fprintf(w, "* LIST (\\Noselect) \"/\" \"\"\r\n")
				break
			}
			name := strings.Fields(text)[2]
			fmt.Fprintf(w, "* LIST (\\HasNoChildren) \"/\" %s\r\n", name)
		case strings.HasPrefix(text, "EXAMINE"):
			s.count.polled++
			folder = strings.Fields(text)[1]
			fmt.Fprintf(w, "* FLAGS (\\Seen)\r\n* 1 EXISTS\r\n* OK [UIDVALIDITY 7] valid\r\n* OK [UIDNEXT 2] next\r\n")
		case strings.HasPrefix(text, "UID SEARCH RETURN"):
			fmt.Fprintf(w, "* ESEARCH (TAG %q) UID ALL 1\r\n", tag)
		case strings.HasPrefix(text, "UID FETCH"):
			raw := fmt.Sprintf("Subject: %s\r\nMessage-ID: <%s@example.com>\r\n\r\nbody\r\n", folder, folder)
			fmt.Fprintf(w, "* 1 FETCH (UID 1 FLAGS () INTERNALDATE \"17-Jul-2026 02:44:25 +0000\" RFC822.SIZE %d", len(raw))
			if strings.Contains(text, "BODY.PEEK[]") {
				s.count.fetched++
				fmt.Fprintf(w, " BODY[] {%d}\r\n%s", len(raw), raw)
			}
			fmt.Fprint(w, ")\r\n")
		case text == "NOOP", text == "CAPABILITY":
		case text == "LOGOUT":
			fmt.Fprint(w, "* BYE bye\r\n")
		}
		s.mu.Unlock()
		fmt.Fprintf(w, "%s OK %sdone\r\n", tag, code)
		if text == "LOGOUT" {
			w.Flush()
			return
		}
	}
}
