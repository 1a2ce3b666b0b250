// Package dovecot runs a private Dovecot server, as a real peer in tests,
// measurements and demonstrations. It needs Dovecot 2.3.
package dovecot

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"postroom/internal/maildir"
	"postroom/internal/testcert"
)

// startTimeout bounds how long Dovecot may take to answer.
const startTimeout = 20 * time.Second

// Options say what the server is like. The zero value is a server with one user
// "user", password "secret".
type Options struct {
	// Users are the passwords by user name.
	Users map[string]string
	// Tokens, if set, lets users sign in by XOAUTH2 and OAUTHBEARER too: it returns
	// whose access token it is, and false for one that is not valid now. It may be
	// called concurrently.
	Tokens func(token string) (user string, ok bool)
	// Mechanisms replaces the SASL mechanisms that are offered.
	Mechanisms string
	// Separator separates the levels of folder names: "/".
	Separator string
	// Prefix stands before the names of all folders but INBOX, such as "INBOX.".
	Prefix string
	// Capability replaces the capabilities that the IMAP server announces.
	Capability string
	// SpecialUse are folders to create, with their special use, such as
	// "Drafts": `\Drafts`. The names are without Prefix.
	SpecialUse map[string]string
	// MinTLS is the oldest version of TLS: TLSv1.2.
	MinTLS string
	// Ciphers is the cipher list, as OpenSSL writes it.
	Ciphers string
	// Certificate says what the server's certificate is like.
	Certificate testcert.Template
}

// Server is a running Dovecot on the loopback interface.
type Server struct {
	options Options
	dir     string
	ports   struct{ imap, imaps, pop3, pop3s int }
	command *exec.Cmd
	// exited is closed when Dovecot has ended, after exit is set.
	exited chan struct{}
	exit   error
	owner  maildir.Owner
	tokens *introspector
	// counter makes names of files and UIDVALIDITY values that are not used again.
	counter atomic.Int64
}

func (s *Server) serial() int64 { return s.counter.Add(1) }

// Run starts a server. Close ends it.
func Run(options Options) (*Server, error) {
	options.Separator = cmp.Or(options.Separator, "/")
	options.MinTLS = cmp.Or(options.MinTLS, "TLSv1.2")
	if len(options.Users) == 0 {
		options.Users = map[string]string{"user": "secret"}
	}
	program, err := exec.LookPath("dovecot")
	if err != nil {
		return nil, fmt.Errorf("start dovecot: %w (run make tools)", err)
	}
	// Not the system's directory for temporary files: paths of Unix sockets
	// have room for 107 bytes.
	dir, err := os.MkdirTemp("/tmp", "dc")
	if err != nil {
		return nil, fmt.Errorf("start dovecot: %w", err)
	}
	s := &Server{options: options, dir: dir, owner: maildir.Owner{UID: os.Getuid(), GID: os.Getgid()}, exited: make(chan struct{})}
	if options.Tokens != nil {
		if s.tokens, err = startIntrospector(options.Tokens); err != nil {
			return nil, errors.Join(fmt.Errorf("start dovecot: %w", err), os.RemoveAll(dir))
		}
	}
	if err := s.prepare(); err != nil {
		return nil, errors.Join(fmt.Errorf("start dovecot: %w", err), s.closeTokens(), os.RemoveAll(dir))
	}
	s.command = exec.Command(program, "-F", "-c", filepath.Join(dir, "dovecot.conf"))
	output, err := os.Create(filepath.Join(dir, "output"))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start dovecot: %w", err), s.closeTokens(), os.RemoveAll(dir))
	}
	defer output.Close()
	s.command.Stdout, s.command.Stderr = output, output
	if err := s.command.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start dovecot: %w", err), s.closeTokens(), os.RemoveAll(dir))
	}
	go func() {
		defer close(s.exited)
		s.exit = s.command.Wait()
	}()
	if err := s.await(); err != nil {
		log := s.Log()
		return nil, errors.Join(fmt.Errorf("start dovecot: %w\n%s", err, log), s.Close())
	}
	return s, nil
}

// prepare writes everything that Dovecot reads.
func (s *Server) prepare() error {
	if err := os.Chmod(s.dir, 0o755); err != nil {
		return err
	}
	if os.Getuid() == 0 {
		var err error
		if s.owner, err = maildir.OwnerNamed(mailUser); err != nil {
			return err
		}
	}
	for _, dir := range []string{"run", "state", "mail", "home"} {
		if err := os.Mkdir(filepath.Join(s.dir, dir), 0o755); err != nil {
			return err
		}
	}
	for _, dir := range []string{"mail", "home"} {
		if err := os.Chown(filepath.Join(s.dir, dir), s.owner.UID, s.owner.GID); err != nil {
			return err
		}
	}
	ports, err := freePorts(4)
	if err != nil {
		return err
	}
	s.ports.imap, s.ports.imaps, s.ports.pop3, s.ports.pop3s = ports[0], ports[1], ports[2], ports[3]
	certificate, err := testcert.New(s.options.Certificate)
	if err != nil {
		return err
	}
	var users strings.Builder
	for _, name := range slices.Sorted(maps.Keys(s.options.Users)) {
		fmt.Fprintf(&users, "%s:{PLAIN}%s\n", name, s.options.Users[name])
	}
	if s.tokens != nil {
		if err := os.WriteFile(filepath.Join(s.dir, "oauth2.conf"), []byte(s.oauth2Config()), 0o644); err != nil {
			return err
		}
	}
	for name, content := range map[string][]byte{
		"ca.pem": certificate.Authority, "cert.pem": certificate.Chain, "key.pem": certificate.Key,
		"users": []byte(users.String()), "dovecot.conf": []byte(s.config()), "dovecot.log": nil,
	} {
		if err := os.WriteFile(filepath.Join(s.dir, name), content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// freePorts returns ports on which nothing listens now.
func freePorts(n int) ([]int, error) {
	var ports []int
	for range n {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer listener.Close()
		ports = append(ports, listener.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

// await waits until the server greets.
func (s *Server) await() error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	var last error
	for {
		if last = greet(ctx, s.IMAP()); last == nil {
			return nil
		}
		select {
		case <-s.exited:
			return fmt.Errorf("it ended: %w", s.exit)
		case <-ctx.Done():
			return fmt.Errorf("no greeting within %v: %w", startTimeout, last)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func greet(ctx context.Context, address string) error {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return err
	}
	if !strings.HasPrefix(line, "* OK") {
		return fmt.Errorf("greeting %q", line)
	}
	_, err = io.WriteString(conn, "a LOGOUT\r\n")
	return err
}

// Close ends the server, waits for it and removes all its files.
func (s *Server) Close() error {
	select {
	case <-s.exited:
	default:
		// Dovecot ends its children on TERM.
		if err := s.command.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("stop dovecot: %w", err)
		}
		select {
		case <-s.exited:
		case <-time.After(10 * time.Second):
			if err := s.command.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
				return fmt.Errorf("stop dovecot: %w", err)
			}
			<-s.exited
		}
	}
	if err := s.closeTokens(); err != nil {
		return fmt.Errorf("stop dovecot: %w", err)
	}
	// A child that outlives its parent for a moment may still write.
	var err error
	for range 50 {
		if err = os.RemoveAll(s.dir); err == nil {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return fmt.Errorf("stop dovecot: %w", err)
}

func (s *Server) closeTokens() error {
	i := s.tokens
	s.tokens = nil
	if i == nil {
		return nil
	}
	return i.close()
}

// IMAP, IMAPS, POP3 and POP3S return the address, host:port, of a listener. The
// first and the third offer STARTTLS and STLS.
func (s *Server) IMAP() string  { return address(s.ports.imap) }
func (s *Server) IMAPS() string { return address(s.ports.imaps) }
func (s *Server) POP3() string  { return address(s.ports.pop3) }
func (s *Server) POP3S() string { return address(s.ports.pop3s) }

func address(port int) string { return fmt.Sprintf("localhost:%d", port) }

// CAFile returns the path of the authority's certificate.
func (s *Server) CAFile() string { return filepath.Join(s.dir, "ca.pem") }

func (s *Server) logPath() string { return filepath.Join(s.dir, "dovecot.log") }

// Log returns what the server has logged.
func (s *Server) Log() string {
	log, err := os.ReadFile(s.logPath())
	if err != nil {
		return err.Error()
	}
	output, err := os.ReadFile(filepath.Join(s.dir, "output"))
	if err != nil {
		return string(log) + err.Error()
	}
	return string(log) + string(output)
}
