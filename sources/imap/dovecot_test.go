package imap_test

import (
	"bytes"
	"cmp"
	"fmt"
	"strings"
	"testing"
	"time"

	"postroom/internal/dovecot"
	"postroom/internal/faultnet"
	"postroom/internal/secret"
	"postroom/sources"
	"postroom/sources/imap"
	"postroom/sources/sourcetest"
)

func TestDovecot(t *testing.T) {
	sourcetest.Run(t, mailboxes(t, dovecot.Options{}))
}

// TestDovecotPlain is the same on a server that offers little: no MOVE, no
// ESEARCH, no LIST-EXTENDED, and "." between the levels of a folder's name.
func TestDovecotPlain(t *testing.T) {
	sourcetest.Run(t, mailboxes(t, dovecot.Options{
		Separator: ".", Capability: "IMAP4rev1 LITERAL+ UIDPLUS UNSELECT",
	}))
}

// mailboxes starts one server, and returns a function that returns a mailbox of
// its own each time.
func mailboxes(t *testing.T, options dovecot.Options) func(*testing.T) sourcetest.Server {
	options.Users = make(map[string]string)
	for i := range 100 {
		options.Users[fmt.Sprint("user", i)] = "secret"
	}
	server := dovecot.Start(t, options)
	next := 0
	return func(*testing.T) sourcetest.Server {
		next++
		return &mailbox{Server: server, user: fmt.Sprint("user", next-1), separator: cmp.Or(options.Separator, "/")}
	}
}

// mailbox is the mailbox of a user of Dovecot.
type mailbox struct {
	*dovecot.Server
	user, separator string
}

func (m *mailbox) Abilities() sourcetest.Abilities {
	return sourcetest.Abilities{
		Folders: true, Seen: true, Received: true,
		Verbs: []sources.Verb{sources.MarkRead, sources.Move, sources.Delete},
	}
}

func (m *mailbox) name(t *testing.T, path string) string {
	parsed, err := sources.ParsePath(path)
	if err != nil {
		t.Fatal(err)
	}
	if parsed[0] == sources.Inbox {
		parsed[0] = "INBOX"
	}
	return strings.Join(parsed, m.separator)
}

// wire returns what Dovecot sends for a file: lines end in CRLF, and NUL, which
// IMAP cannot carry, becomes 0x80.
func wire(raw []byte) []byte {
	raw = bytes.ReplaceAll(raw, []byte("\r\n"), []byte("\n"))
	raw = bytes.ReplaceAll(raw, []byte("\n"), []byte("\r\n"))
	return bytes.ReplaceAll(raw, []byte{0}, []byte{0x80})
}

func (m *mailbox) Deliver(t *testing.T, folder string, mail sourcetest.Mail) []byte {
	t.Helper()
	if err := m.Server.Deliver(m.user, m.name(t, folder), mail.Raw, mail.Received, mail.Seen); err != nil {
		t.Fatal(err)
	}
	return wire(mail.Raw)
}

func (m *mailbox) Snapshot(t *testing.T, folder string) []sourcetest.Mail {
	t.Helper()
	messages, err := m.Server.Snapshot(m.user, m.name(t, folder))
	if err != nil {
		t.Fatal(err)
	}
	var mails []sourcetest.Mail
	for _, message := range messages {
		mails = append(mails, sourcetest.Mail{
			Raw: wire(message.Raw), Received: message.Received, Seen: message.Seen, Deleted: message.Deleted,
		})
	}
	return mails
}

func (m *mailbox) Remove(t *testing.T, folder string, position int) {
	t.Helper()
	if err := m.Expunge(m.user, m.name(t, folder), uint32(position+1)); err != nil {
		t.Fatal(err)
	}
}

func (m *mailbox) MarkDeleted(t *testing.T, folder string, position int) {
	t.Helper()
	if err := m.Server.MarkDeleted(m.user, m.name(t, folder), uint32(position+1)); err != nil {
		t.Fatal(err)
	}
}

func (m *mailbox) Renumber(t *testing.T, folder string) {
	t.Helper()
	if err := m.Server.Renumber(m.user, m.name(t, folder)); err != nil {
		t.Fatal(err)
	}
}

func (m *mailbox) config(setup sourcetest.Setup) imap.Config {
	return imap.Config{
		Options: imap.Options{
			Server: m.IMAPS(), CAFile: m.CAFile(), Folders: setup.Folders, ExcludeFolders: setup.Exclude,
			FiledFolder: setup.FiledFolder, FailedFolder: setup.FailedFolder, Connections: setup.Connections,
		},
		Name: "test", Timeouts: imap.Timeouts{Poll: 200 * time.Millisecond}, Username: m.user, Password: secret.New("secret"), AfterFiling: setup.AfterFiling,
	}
}

func open(t *testing.T, cfg imap.Config) *imap.Source {
	t.Helper()
	source, err := imap.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := source.Close(); err != nil {
			t.Error(err)
		}
	})
	return source
}

func (m *mailbox) Open(t *testing.T, setup sourcetest.Setup) sources.Source {
	t.Helper()
	return open(t, m.config(setup))
}

func (m *mailbox) OpenRefused(t *testing.T, setup sourcetest.Setup) (sources.Source, string) {
	t.Helper()
	cfg := m.config(setup)
	cfg.Password = secret.New("wrong-password")
	return open(t, cfg), "wrong-password"
}

func (m *mailbox) OpenCut(t *testing.T, setup sourcetest.Setup, after int64) (sources.Source, func()) {
	t.Helper()
	proxy := throughProxy(t, m.IMAP())
	if after >= 0 {
		proxy.Use(faultnet.Always(faultnet.Conduct{Down: faultnet.Line{Fault: faultnet.FIN, After: after}}))
	}
	cfg := m.config(setup)
	cfg.Server, cfg.TLS, cfg.AllowPlaintext = proxy.Addr(), "none", true
	return open(t, cfg), func() {
		proxy.Use(nil)
		proxy.Drop()
	}
}

// throughProxy starts a proxy before the server that ends with the test.
func throughProxy(t *testing.T, server string) *faultnet.Proxy {
	t.Helper()
	proxy, err := faultnet.Start(server)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := proxy.Close(); err != nil {
			t.Error(err)
		}
	})
	return proxy
}
