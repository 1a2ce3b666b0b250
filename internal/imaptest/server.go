// Package imaptest holds IMAP servers for tests and demonstrations: [Start]
// runs a well-behaved one in memory, [StartScript] one that says what a test
// tells it to.
package imaptest

import (
	"bytes"
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapserver"
	"github.com/emersion/go-imap/v2/imapserver/imapmemserver"

	"postroom/internal/testcert"
)

// Options say what the server is like.
type Options struct {
	// Username and Password are those of its one user: "user" and "secret".
	Username, Password string
	// Folders exist besides INBOX. Levels are separated by "/".
	Folders []string
}

// Server is an IMAP server on the loopback interface, with TLS from the first
// byte. It keeps its mail in memory.
type Server struct {
	options  Options
	user     *imapmemserver.User
	server   *imapserver.Server
	listener net.Listener
	dir      string
	ca       []byte
	served   chan error
	sessions sync.WaitGroup
}

// Start starts a server. Close ends it.
func Start(options Options) (*Server, error) {
	options.Username = cmp.Or(options.Username, "user")
	options.Password = cmp.Or(options.Password, "secret")
	certificate, err := testcert.New(testcert.Template{})
	if err != nil {
		return nil, fmt.Errorf("start IMAP server: %w", err)
	}
	config, err := certificate.Server()
	if err != nil {
		return nil, fmt.Errorf("start IMAP server: %w", err)
	}
	s := &Server{options: options, ca: certificate.Authority, served: make(chan error, 1)}
	s.user = imapmemserver.NewUser(options.Username, options.Password)
	for _, folder := range append([]string{"INBOX"}, options.Folders...) {
		if err := s.CreateFolder(folder); err != nil {
			return nil, fmt.Errorf("start IMAP server: %w", err)
		}
	}
	if s.dir, err = os.MkdirTemp("", "imaptest"); err != nil {
		return nil, fmt.Errorf("start IMAP server: %w", err)
	}
	if err := os.WriteFile(s.CAFile(), s.ca, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("start IMAP server: %w", err), os.RemoveAll(s.dir))
	}
	if s.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, errors.Join(fmt.Errorf("start IMAP server: %w", err), os.RemoveAll(s.dir))
	}
	s.server = imapserver.New(&imapserver.Options{
		NewSession: func(*imapserver.Conn) (imapserver.Session, *imapserver.GreetingData, error) {
			s.sessions.Add(1)
			return &session{UserSession: new(imapmemserver.UserSession), server: s}, nil, nil
		},
		Caps:         goimap.CapSet{goimap.CapIMAP4rev1: {}, goimap.CapIMAP4rev2: {}},
		InsecureAuth: true,
		Logger:       log.New(io.Discard, "", 0),
	})
	go func() { s.served <- s.server.Serve(tls.NewListener(s.listener, config)) }()
	return s, nil
}

// session is a session that the server waits for when it is closed.
type session struct {
	*imapmemserver.UserSession
	server *Server
	closed sync.Once
}

var _ imapserver.SessionIMAP4rev2 = (*session)(nil)

// Login implements [imapserver.Session].
func (s *session) Login(username, password string) error {
	if err := s.server.user.Login(username, password); err != nil {
		return err
	}
	s.UserSession = imapmemserver.NewUserSession(s.server.user)
	return nil
}

// Copy implements [imapserver.Session]. Of messages that are not there the
// library would tell where it has put them: in a COPYUID without UIDs, which no
// client can read.
func (s *session) Copy(set goimap.NumSet, folder string) (*goimap.CopyData, error) {
	data, err := s.UserSession.Copy(set, folder)
	if err != nil || nothing(data.SourceUIDs) {
		return nil, err
	}
	return data, nil
}

// Move implements [imapserver.SessionMove]. What is true of Copy is true of it.
func (s *session) Move(w *imapserver.MoveWriter, set goimap.NumSet, folder string) error {
	var there goimap.SearchCriteria
	switch set := set.(type) {
	case goimap.UIDSet:
		there.UID = []goimap.UIDSet{set}
	case goimap.SeqSet:
		there.SeqNum = []goimap.SeqSet{set}
	}
	found, err := s.Search(imapserver.NumKindUID, &there, &goimap.SearchOptions{ReturnAll: true})
	if err != nil {
		return err
	}
	if nothing(found.All) {
		// For what else may be wrong.
		_, err := s.Copy(set, folder)
		return err
	}
	return s.UserSession.Move(w, set, folder)
}

// nothing reports whether the set names no message.
func nothing(set goimap.NumSet) bool {
	switch set := set.(type) {
	case goimap.UIDSet:
		return len(set) == 0
	case goimap.SeqSet:
		return len(set) == 0
	}
	return true
}

// Close implements [imapserver.Session].
func (s *session) Close() error {
	defer s.closed.Do(s.server.sessions.Done)
	return s.UserSession.Close()
}

// Addr is the server's address, host:port.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// CAPEM is the certificate that the server's is signed by.
func (s *Server) CAPEM() []byte { return s.ca }

// CAFile is a file that holds CAPEM, until Close.
func (s *Server) CAFile() string { return filepath.Join(s.dir, "ca.pem") }

// Username and Password are what the server accepts.
func (s *Server) Username() string { return s.options.Username }
func (s *Server) Password() string { return s.options.Password }

// CreateFolder creates a folder and those above it.
func (s *Server) CreateFolder(folder string) error {
	names := strings.Split(folder, "/")
	for n := 1; n <= len(names); n++ {
		err := s.user.Create(strings.Join(names[:n], "/"), nil)
		var status *goimap.Error
		if err != nil && !(errors.As(err, &status) && status.Code == goimap.ResponseCodeAlreadyExists) {
			return fmt.Errorf("create folder %s: %w", folder, err)
		}
	}
	return nil
}

// Deliver puts a message into a folder, which is created when missing.
func (s *Server) Deliver(folder string, raw []byte, received time.Time) error {
	if err := s.CreateFolder(folder); err != nil {
		return err
	}
	_, err := s.user.Append(folder, literal{bytes.NewReader(raw)}, &goimap.AppendOptions{Time: received})
	if err != nil {
		return fmt.Errorf("deliver to folder %s: %w", folder, err)
	}
	return nil
}

// literal implements [goimap.LiteralReader].
type literal struct{ *bytes.Reader }

func (l literal) Size() int64 { return l.Reader.Size() }

// Close ends the server and its connections, and waits for them.
func (s *Server) Close() error {
	err := s.server.Close()
	serveErr := <-s.served
	s.sessions.Wait()
	return errors.Join(err, serveErr, os.RemoveAll(s.dir))
}
