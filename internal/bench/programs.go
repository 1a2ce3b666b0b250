package main

import (
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
)

// server is where a program fetches from.
type server struct {
	protocol string // imap or pop3
	address  string // host:port
	tls      bool
	ca       string // file of the certificate's authority
}

func (s server) host() string { host, _, _ := net.SplitHostPort(s.address); return host }
func (s server) port() string { _, port, _ := net.SplitHostPort(s.address); return port }

// A program fetches a mailbox.
type program struct {
	name string
	// command writes what the program needs into dir, and returns how to run it.
	command func(h *hall, dir string, from server, m *mailbox) ([]string, error)
	// check checks what it left in dir.
	check func(m *mailbox, dir string) error
}

// got is the folder, in that of a run, that mail is put into.
const got = "mail"

var postroom = program{
	name: "**postroom run --once**",
	command: func(h *hall, dir string, from server, m *mailbox) ([]string, error) {
		security := "tls: none\n    allow_plaintext: true"
		if from.tls {
			security = "ca_file: " + from.ca
		}
		config := filepath.Join(dir, "config.yaml")
		err := write(config, `version: 1
repository: {type: filesystem, path: ./%s}
credentials:
  - name: bench
    type: password
    username: %s
    password: ${env:BENCH_PASSWORD}
sources:
  - name: bench
    type: %s
    credentials: bench
    server: %s
    %s
`, got, m.user, from.protocol, from.address, security)
		return []string{filepath.Join(h.dir, "postroom"), "run", "--once", "--config", config}, err
	},
	check: func(m *mailbox, dir string) error { return m.checkDocuments(filepath.Join(dir, got)) },
}

var mbsync = program{
	name: "mbsync (isync), fsync on",
	command: func(_ *hall, dir string, from server, m *mailbox) ([]string, error) {
		security := "None"
		if from.tls {
			security = "IMAPS\nCertificateFile " + from.ca
		}
		config := filepath.Join(dir, "mbsyncrc")
		err := write(config, `IMAPAccount bench
Host %s
Port %s
User %s
Pass %s
SSLType %s

IMAPStore far
Account bench

MaildirStore near
Path %s/
Inbox %s

Channel bench
Far :far:INBOX
Near :near:INBOX
Create Near
Sync Pull
SyncState *
`, from.host(), from.port(), m.user, password, security, dir, filepath.Join(dir, got))
		return []string{"mbsync", "-q", "-c", config, "bench"}, err
	},
	check: func(m *mailbox, dir string) error { return m.checkFiles(filepath.Join(dir, got, "new")) },
}

var fetchmail = program{
	name: "fetchmail, `cat` to a file",
	command: func(_ *hall, dir string, from server, m *mailbox) ([]string, error) {
		security := `sslproto ""`
		if from.tls {
			security = `ssl sslcertck sslcertfile "` + from.ca + `"`
		}
		config := filepath.Join(dir, "fetchmailrc")
		err := write(config, `set no syslog
poll %s protocol %s port %s auth password
  user "%s" password "%s" keep fetchall no rewrite
  mda "cat > %s/$$"
  %s
`, from.host(), strings.ToUpper(from.protocol), from.port(), m.user, password, filepath.Join(dir, got), security)
		if err == nil {
			err = os.Mkdir(filepath.Join(dir, got), 0o700)
		}
		return []string{"fetchmail", "--silent", "--fetchmailrc", config, "--idfile", filepath.Join(dir, "ids"), "--pidfile", filepath.Join(dir, "pid")}, err
	},
	check: func(m *mailbox, dir string) error { return m.checkFiles(filepath.Join(dir, got)) },
}

// getmail fetches over POP3 only: over IMAP it stalls more often, in its wait for
// a process that has ended already.
var getmail = program{
	name: "getmail6",
	command: func(_ *hall, dir string, from server, m *mailbox) ([]string, error) {
		recipient, uid, err := unprivileged()
		if err != nil {
			return nil, err
		}
		retriever := "SimplePOP3Retriever"
		if from.tls {
			retriever = "SimplePOP3SSLRetriever\nca_certs = " + from.ca
		}
		err = write(filepath.Join(dir, "getmailrc"), `[retriever]
type = %s
server = %s
port = %s
username = %s
password = %s

[destination]
type = Maildir
path = %s/
%s

[options]
verbose = 0
read_all = true
delete = false
received = false
delivered_to = false
`, retriever, from.host(), from.port(), m.user, password, filepath.Join(dir, got), recipient)
		for _, sub := range []string{"", "tmp", "new", "cur"} {
			if err == nil {
				err = os.Mkdir(filepath.Join(dir, got, sub), 0o700)
			}
			if err == nil && recipient != "" {
				err = os.Chown(filepath.Join(dir, got, sub), uid, -1)
			}
		}
		return []string{"getmail", "--getmaildir", dir, "--rcfile", "getmailrc"}, err
	},
	check: func(m *mailbox, dir string) error { return m.checkFiles(filepath.Join(dir, got, "new")) },
}

// unprivileged returns who getmail is to deliver to when it runs as root, which
// it does not deliver to.
func unprivileged() (line string, uid int, err error) {
	if os.Getuid() != 0 {
		return "", 0, nil
	}
	const name = "nobody"
	u, err := user.Lookup(name)
	if err != nil {
		return "", 0, err
	}
	uid, err = strconv.Atoi(u.Uid)
	return "user = " + name, uid, err
}

func write(name, format string, args ...any) error {
	return os.WriteFile(name, fmt.Appendf(nil, format, args...), 0o600)
}
