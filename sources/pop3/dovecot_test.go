package pop3_test

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"postroom/internal/dovecot"
	"postroom/internal/faultnet"
	"postroom/internal/secret"
	"postroom/sources"
	"postroom/sources/pop3"
	"postroom/sources/sourcetest"
)

func TestDovecot(t *testing.T) {
	users := make(map[string]string)
	for i := range 100 {
		users[fmt.Sprint("user", i)] = "secret"
	}
	server := dovecot.Start(t, dovecot.Options{Users: users})
	next := 0
	sourcetest.Run(t, func(*testing.T) sourcetest.Server {
		next++
		return &mailbox{server, fmt.Sprint("user", next-1)}
	})
}

// mailbox is the maildrop of a user of Dovecot.
type mailbox struct {
	*dovecot.Server
	user string
}

// abilities are those of any POP3 server.
func abilities() sourcetest.Abilities {
	return sourcetest.Abilities{Verbs: []sources.Verb{sources.Delete}}
}

func (m *mailbox) Abilities() sourcetest.Abilities { return abilities() }

// wire returns what Dovecot sends for a file: lines end in CRLF, the last one too,
// and there is at least one.
func wire(raw []byte) []byte {
	if len(raw) == 0 {
		return []byte("\r\n")
	}
	raw = bytes.ReplaceAll(raw, []byte("\r\n"), []byte("\n"))
	raw = bytes.ReplaceAll(raw, []byte("\n"), []byte("\r\n"))
	return ended(raw)
}

// ended returns what any server sends for a message whose last line has no end.
func ended(raw []byte) []byte {
	if len(raw) > 0 && !bytes.HasSuffix(raw, []byte("\r\n")) {
		return slices.Concat(raw, []byte("\r\n"))
	}
	return raw
}

func (m *mailbox) Deliver(t *testing.T, _ string, mail sourcetest.Mail) []byte {
	t.Helper()
	if err := m.Server.Deliver(m.user, "INBOX", mail.Raw, mail.Received, mail.Seen); err != nil {
		t.Fatal(err)
	}
	return wire(mail.Raw)
}

func (m *mailbox) Snapshot(t *testing.T, folder string) []sourcetest.Mail {
	t.Helper()
	if folder != sources.Inbox {
		return nil
	}
	messages, err := m.Server.Snapshot(m.user, "INBOX")
	if err != nil {
		t.Fatal(err)
	}
	var mails []sourcetest.Mail
	for _, message := range messages {
		mails = append(mails, sourcetest.Mail{Raw: wire(message.Raw), Seen: message.Seen, Deleted: message.Deleted})
	}
	return mails
}

func (m *mailbox) Remove(t *testing.T, _ string, position int) {
	t.Helper()
	if err := m.Expunge(m.user, "INBOX", uint32(position+1)); err != nil {
		t.Fatal(err)
	}
}

func (m *mailbox) Renumber(t *testing.T, _ string) {
	t.Helper()
	if err := m.Server.Renumber(m.user, "INBOX"); err != nil {
		t.Fatal(err)
	}
}

func (m *mailbox) config(setup sourcetest.Setup) pop3.Config {
	return pop3.Config{
		Options: pop3.Options{Server: m.POP3S(), CAFile: m.CAFile(), Connections: setup.Connections},
		Name:    "test", Username: m.user, Password: secret.New("secret"), AfterFiling: setup.AfterFiling,
	}
}

func open(t *testing.T, cfg pop3.Config) *pop3.Source {
	t.Helper()
	source, err := pop3.Open(cfg)
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
	cfg := m.config(setup)
	return openCut(t, cfg, m.POP3(), after)
}

// openCut opens the source of a server that begins unencrypted, with connections
// that end after so many bytes.
func openCut(t *testing.T, cfg pop3.Config, server string, after int64) (sources.Source, func()) {
	t.Helper()
	proxy := throughProxy(t, server)
	if after >= 0 {
		proxy.Use(faultnet.Always(faultnet.Conduct{Down: faultnet.Line{Fault: faultnet.FIN, After: after}}))
	}
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
