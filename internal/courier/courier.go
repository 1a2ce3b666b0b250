//go:build unix

package courier

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"postroom/internal/maildir"
	"postroom/internal/testcert"
)

// mailUser owns the mailboxes when Courier runs as root.
const mailUser = "nobody"

// Options say what the server is like. The zero value is a server with one user
// "user", password "secret".
type Options struct {
	// Users are the passwords by user name.
	Users map[string]string
	// LoginDelay is announced over POP3 as the least number of seconds between two
	// sign-ins; less than 100. Courier announces 10, and does not insist on it.
	LoginDelay int
}

// Server is a running Courier on the loopback interface.
type Server struct {
	options Options
	root    string // where the programs are
	dir     string
	owner   maildir.Owner
	auth    *authDaemon
	gamin   *gamin
	log     *os.File
	// listeners are those of imap, imaps, pop3 and pop3s.
	listeners map[string]*net.TCPListener
	running   sync.WaitGroup
	closing   chan struct{}
}

// Start runs a server for the duration of a test. A server that does not start
// fails the test; so does one that does not end.
func Start(t testing.TB, options Options) *Server {
	t.Helper()
	s, err := Run(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the log of courier:\n%s", s.Log())
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// Run starts a server. Close ends it.
func Run(options Options) (*Server, error) {
	if len(options.Users) == 0 {
		options.Users = map[string]string{"user": "secret"}
	}
	root, err := programs()
	if err != nil {
		return nil, fmt.Errorf("start courier: %w", err)
	}
	// Not the system's directory for temporary files: the path of the socket has to
	// be short.
	dir, err := os.MkdirTemp("/tmp", "cr")
	if err != nil {
		return nil, fmt.Errorf("start courier: %w", err)
	}
	s := &Server{
		options: options, root: root, dir: dir, owner: maildir.Owner{UID: os.Getuid(), GID: os.Getgid()},
		listeners: make(map[string]*net.TCPListener), closing: make(chan struct{}),
	}
	if err := s.start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start courier: %w", err), s.Close())
	}
	return s, nil
}

// programs returns the folder that the programs were unpacked to.
func programs() (string, error) {
	_, here, _, _ := runtime.Caller(0)
	root := filepath.Join(filepath.Dir(here), "..", "..", ".cache", "courier")
	if _, err := os.Stat(filepath.Join(root, "unpacked")); err != nil {
		return "", fmt.Errorf("%w (run make tools: it unpacks Debian's courier-imap and courier-pop there)", err)
	}
	return root, nil
}

func (s *Server) start() error {
	if err := os.Chmod(s.dir, 0o755); err != nil {
		return err
	}
	if os.Getuid() == 0 {
		var err error
		if s.owner, err = maildir.OwnerNamed(mailUser); err != nil {
			return err
		}
	}
	var err error
	if s.log, err = os.Create(filepath.Join(s.dir, "log")); err != nil {
		return err
	}
	certificate, err := testcert.New(testcert.Template{})
	if err != nil {
		return err
	}
	for name, content := range map[string][]byte{
		"ca.pem": certificate.Authority, "server.pem": slices.Concat(certificate.Key, certificate.Chain),
	} {
		if err := os.WriteFile(filepath.Join(s.dir, name), content, 0o644); err != nil {
			return err
		}
	}
	if err := os.Mkdir(s.home(""), 0o755); err != nil {
		return err
	}
	for _, user := range slices.Sorted(maps.Keys(s.options.Users)) {
		if err := os.Mkdir(s.home(user), 0o700); err != nil {
			return err
		}
		if err := os.Chown(s.home(user), s.owner.UID, s.owner.GID); err != nil {
			return err
		}
		if err := maildir.Make(s.inbox(user), s.owner); err != nil {
			return err
		}
	}
	if s.auth, err = s.startAuth(); err != nil {
		return err
	}
	if s.gamin, err = startGamin(s.owner, filepath.Base(s.dir)); err != nil {
		return err
	}
	if err := s.adapt(); err != nil {
		return err
	}
	for _, service := range services {
		environment, err := s.environment(service)
		if err != nil {
			return err
		}
		listener, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			return err
		}
		s.listeners[service.name] = listener
		s.running.Go(func() { s.serve(listener, service, environment) })
	}
	return nil
}

// service is one of the listeners.
type service struct {
	name string
	tls  bool
	// config are the files of its settings in etc/courier, the later ones ahead.
	config []string
	// program signs in, and becomes the server then.
	program []string
	// settings replace those of the files.
	settings []string
}

var (
	imapd = []string{"usr/lib/courier/courier/imaplogin", "usr/bin/imapd", "Maildir"}
	pop3d = []string{"usr/lib/courier/courier/courierpop3login", "usr/lib/courier/courier/courierpop3d", "Maildir"}
	// Otherwise new mail is told of once a minute.
	imap = []string{"IMAP_IDLE_TIMEOUT=1", "IMAP_STARTTLS=YES", "IMAP_USELOCKS=0"}

	services = []service{
		{"imap", false, []string{"imapd", "imapd-ssl"}, imapd, imap},
		{"imaps", true, []string{"imapd", "imapd-ssl"}, imapd, append(slices.Clone(imap), "IMAP_TLS=1")},
		{"pop3", false, []string{"pop3d", "pop3d-ssl"}, pop3d, []string{"POP3_STARTTLS=YES"}},
		{"pop3s", true, []string{"pop3d", "pop3d-ssl"}, pop3d, []string{"POP3_TLS=1"}},
	}
)

// environment is what the programs of a service are told: Debian's settings, and
// where things are.
func (s *Server) environment(of service) ([]string, error) {
	var script strings.Builder
	script.WriteString("set -a\n")
	for _, file := range of.config {
		fmt.Fprintf(&script, ". '%s'\n", filepath.Join(s.root, "etc/courier", file))
	}
	script.WriteString("exec env -0")
	command := exec.Command("/bin/sh", "-c", script.String())
	command.Env = []string{"PATH=/usr/bin:/bin"}
	settings, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("read the settings of %s: %w", of.name, err)
	}
	all := strings.Split(strings.TrimRight(string(settings), "\x00"), "\x00")
	all = slices.DeleteFunc(all, func(setting string) bool {
		key, _, _ := strings.Cut(setting, "=")
		return slices.Contains([]string{"TLS_DHPARAMS", "TLS_CACHEFILE", "TLS_TRUSTCERTS", "IMAP_SHAREDINDEXFILE"}, key)
	})
	libraries := []string{filepath.Join(s.dir, "lib"), filepath.Join(s.root, "usr/lib")}
	for _, pattern := range []string{"usr/lib/*-linux-*", "lib/*-linux-*"} {
		found, err := filepath.Glob(filepath.Join(s.root, pattern))
		if err != nil {
			return nil, err
		}
		libraries = append(libraries, found...)
	}
	return slices.Concat(all, of.settings, []string{
		"LD_LIBRARY_PATH=" + strings.Join(libraries, ":"),
		"COURIERTLS=" + s.path("usr/bin/couriertls"),
		"TLS_CERTFILE=" + filepath.Join(s.dir, "server.pem"),
		"TLS_VERIFYPEER=NONE",
		"IMAP_SHAREDINDEXFILE=" + filepath.Join(s.dir, "shared"),
		"GAM_CLIENT_ID=" + filepath.Base(s.dir),
		"TCPLOCALIP=127.0.0.1", "TCPREMOTEIP=127.0.0.1",
	}), nil
}

// path is where a program is: the adapted one if there is one.
func (s *Server) path(program string) string {
	if adapted := filepath.Join(s.dir, "bin", filepath.Base(program)); exists(adapted) {
		return adapted
	}
	return filepath.Join(s.root, program)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// adapt makes copies of what has to be otherwise than it was compiled.
func (s *Server) adapt() error {
	for _, dir := range []string{"lib", "bin"} {
		if err := os.Mkdir(filepath.Join(s.dir, dir), 0o755); err != nil {
			return err
		}
	}
	library, err := os.ReadFile(filepath.Join(s.root, "usr/lib/libcourierauth.so.0"))
	if err != nil {
		return err
	}
	if library, err = moveSocket(library, s.auth.path); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(s.dir, "lib", "libcourierauth.so.0"), library, 0o755); err != nil {
		return err
	}
	const announced = "LOGIN-DELAY 10\r\n"
	for _, program := range pop3d[:2] { // before sign-in and after
		code, err := os.ReadFile(filepath.Join(s.root, program))
		if err != nil {
			return err
		}
		if bytes.Count(code, []byte(announced)) != 1 {
			return fmt.Errorf("this build of %s announces another LOGIN-DELAY", filepath.Base(program))
		}
		code = bytes.Replace(code, []byte(announced), fmt.Appendf(nil, "LOGIN-DELAY %02d\r\n", s.options.LoginDelay), 1)
		if err := os.WriteFile(filepath.Join(s.dir, "bin", filepath.Base(program)), code, 0o755); err != nil {
			return err
		}
	}
	return nil
}

// socket is where Courier asks about passwords.
const socket = "/run/courier/authdaemon/socket"

// moveSocket returns the library with another path of the same length in place of
// the socket's. Compilers keep it as it is, or as its beginning and its end, of
// sixteen bytes each.
func moveSocket(library []byte, path string) ([]byte, error) {
	if len(path) != len(socket) {
		return nil, fmt.Errorf("the path %s is not as long as %s", path, socket)
	}
	before, after := []byte(socket+"\x00"), []byte(path+"\x00")
	for _, part := range [][2]int{{0, len(before)}, {0, 16}, {len(before) - 16, len(before)}} {
		piece := before[part[0]:part[1]]
		switch n := bytes.Count(library, piece); {
		case n == 1:
			library = bytes.Replace(library, piece, after[part[0]:part[1]], 1)
			if len(piece) == len(before) {
				return library, nil
			}
		case n > 1 || len(piece) < len(before):
			return nil, errors.New("this build of libcourierauth keeps the path of its socket in another way")
		}
	}
	return library, nil
}

// serve starts a process for each connection.
func (s *Server) serve(listener *net.TCPListener, of service, environment []string) {
	for {
		conn, err := listener.AcceptTCP()
		if err != nil {
			return
		}
		if err := s.talk(conn, of, environment); err != nil {
			fmt.Fprintf(s.log, "%s: %v\n", of.name, err)
		}
	}
}

func (s *Server) talk(conn *net.TCPConn, of service, environment []string) error {
	defer conn.Close()
	if err := conn.SetNoDelay(true); err != nil {
		return err
	}
	file, err := conn.File()
	if err != nil {
		return err
	}
	defer file.Close()
	var args []string
	if of.tls {
		args = []string{s.path("usr/bin/couriertls"), "-server", "-tcpd"}
	}
	args = append(args, s.path(of.program[0]), s.path(of.program[1]), of.program[2])
	command := exec.Command(args[0], args[1:]...)
	command.Env = append(slices.Clone(environment), "TCPREMOTEPORT="+strconv.Itoa(conn.RemoteAddr().(*net.TCPAddr).Port),
		"TCPLOCALPORT="+strconv.Itoa(conn.LocalAddr().(*net.TCPAddr).Port))
	command.Dir = s.dir
	command.Stdin, command.Stdout, command.Stderr = file, file, s.log
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := command.Start(); err != nil {
		return err
	}
	s.running.Go(func() { s.attend(command) })
	return nil
}

// grace is how long processes may take to end.
const grace = 5 * time.Second

// attend waits for the process of a connection and for those that it has started,
// and ends them when the server is closed.
func (s *Server) attend(command *exec.Cmd) {
	group := command.Process.Pid
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = command.Wait() // how it ends is in the log, if it matters
		// One that encrypts may end before the one that deletes messages.
		for deadline := time.Now().Add(grace); time.Now().Before(deadline) && syscall.Kill(-group, 0) == nil; {
			time.Sleep(5 * time.Millisecond)
		}
	}()
	select {
	case <-ended:
		return
	case <-s.closing:
	}
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		// That there are none any more is what is wanted.
		_ = syscall.Kill(-group, signal)
		select {
		case <-ended:
			return
		case <-time.After(grace):
		}
	}
	<-ended
}

// Close ends the server and all its processes, waits for them and removes all its
// files.
func (s *Server) Close() error {
	close(s.closing)
	var errs []error
	for _, listener := range s.listeners {
		errs = append(errs, listener.Close())
	}
	s.running.Wait()
	if s.auth != nil {
		errs = append(errs, s.auth.close())
	}
	if s.gamin != nil {
		errs = append(errs, s.gamin.close())
	}
	if s.log != nil {
		errs = append(errs, s.log.Close())
	}
	if err := errors.Join(append(errs, os.RemoveAll(s.dir))...); err != nil {
		return fmt.Errorf("stop courier: %w", err)
	}
	return nil
}

// IMAP, IMAPS, POP3 and POP3S return the address, host:port, of a listener. The
// first and the third offer STARTTLS and STLS.
func (s *Server) IMAP() string  { return s.address("imap") }
func (s *Server) IMAPS() string { return s.address("imaps") }
func (s *Server) POP3() string  { return s.address("pop3") }
func (s *Server) POP3S() string { return s.address("pop3s") }

func (s *Server) address(service string) string {
	return fmt.Sprintf("localhost:%d", s.listeners[service].Addr().(*net.TCPAddr).Port)
}

// CAFile returns the path of the authority's certificate.
func (s *Server) CAFile() string { return filepath.Join(s.dir, "ca.pem") }

// Log returns what the server has logged.
func (s *Server) Log() string {
	log, err := os.ReadFile(filepath.Join(s.dir, "log"))
	if err != nil {
		return err.Error()
	}
	return string(log)
}

// home is that of a user, and of "" the folder of all of them.
func (s *Server) home(user string) string { return filepath.Join(s.dir, "home", user) }

func (s *Server) inbox(user string) string { return filepath.Join(s.home(user), "Maildir") }
