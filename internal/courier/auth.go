//go:build unix

package courier

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// authDaemon checks passwords as Courier's daemon does: a process that signs in
// connects to its socket and sends settings, as NAME=VALUE on a line each, then
//
//	AUTH LENGTH
//
// and, in as many bytes, lines with the service, the kind of sign-in, the user and
// the password. It is answered with attributes of the account, a line each, and a
// dot; or with FAIL.
type authDaemon struct {
	path     string
	listener net.Listener
	answer   func(user, password string) (attributes string, ok bool)
	running  sync.WaitGroup
}

func (s *Server) startAuth() (*authDaemon, error) {
	// As long as the one that was compiled in.
	const name = "auth"
	slashes := len(socket) - len(s.dir) - len(name)
	if slashes < 1 {
		return nil, fmt.Errorf("the path %s is too long", s.dir)
	}
	d := &authDaemon{path: s.dir + strings.Repeat("/", slashes) + name, answer: s.account}
	var err error
	if d.listener, err = net.Listen("unix", filepath.Clean(d.path)); err != nil {
		return nil, err
	}
	if err := os.Chmod(d.path, 0o666); err != nil {
		return nil, err
	}
	d.running.Go(d.serve)
	return d, nil
}

// account returns what a process needs to know of the user's account.
func (s *Server) account(user, password string) (string, bool) {
	if want, ok := s.options.Users[user]; !ok || want != password {
		return "", false
	}
	return fmt.Sprintf("UID=%d\nGID=%d\nHOME=%s\nADDRESS=%s\nMAILDIR=%s\n.\n", s.owner.UID, s.owner.GID, s.home(user), user, s.inbox(user)), true
}

func (d *authDaemon) serve() {
	for {
		conn, err := d.listener.Accept()
		if err != nil {
			return
		}
		d.running.Go(func() {
			defer conn.Close()
			if conn.SetDeadline(time.Now().Add(time.Minute)) == nil {
				// Who asks is refused if it cannot be answered.
				_ = d.talk(conn)
			}
		})
	}
}

func (d *authDaemon) talk(conn net.Conn) error {
	r := bufio.NewReader(conn)
	var length string
	for found := false; !found; {
		line, err := r.ReadString('\n')
		if err != nil {
			return err
		}
		length, found = strings.CutPrefix(strings.TrimSpace(line), "AUTH ")
	}
	n, err := strconv.ParseUint(length, 10, 16)
	if err != nil {
		return err
	}
	request := make([]byte, n)
	if _, err := io.ReadFull(r, request); err != nil {
		return err
	}
	answer := "FAIL\n"
	if fields := strings.Split(string(request), "\n"); len(fields) >= 4 && fields[1] == "login" {
		if attributes, ok := d.answer(fields[2], fields[3]); ok {
			answer = attributes
		}
	}
	_, err = io.WriteString(conn, answer)
	return err
}

func (d *authDaemon) close() error {
	err := d.listener.Close()
	d.running.Wait()
	return err
}
