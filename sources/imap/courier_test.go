//go:build unix

package imap_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"postroom/internal/courier"
	"postroom/internal/faultnet"
	"postroom/internal/maildir"
	"postroom/internal/secret"
	"postroom/sources"
	"postroom/sources/imap"
	"postroom/sources/sourcetest"
)

// TestCourier is TestDovecot on a server of another family: without MOVE, ESEARCH,
// LIST-EXTENDED, SPECIAL-USE and SASL-IR, and with all folders below the inbox.
func TestCourier(t *testing.T) {
	t.Parallel()
	users := make(map[string]string)
	for i := range 100 {
		users[fmt.Sprint("user", i)] = "secret"
	}
	server := courier.Start(t, courier.Options{Users: users})
	next := 0
	sourcetest.Run(t, func(*testing.T) sourcetest.Server {
		next++
		return &courierBox{server, fmt.Sprint("user", next-1)}
	})
}

// TestCourierRefuses is of its own, as Courier takes five seconds to refuse a
// password.
func TestCourierRefuses(t *testing.T) {
	t.Parallel()
	m := &courierBox{courier.Start(t, courier.Options{}), "user"}
	cfg := m.config(sourcetest.Setup{})
	cfg.Password = secret.New("wrong-password")
	_, err := open(t, cfg).Folders(background(t))
	refusedPassword(t, err, "wrong-password")
}

// courierBox is the mailbox of a user of Courier.
type courierBox struct {
	*courier.Server
	user string
}

func (m *courierBox) Abilities() sourcetest.Abilities {
	return sourcetest.Abilities{
		Folders: true, Root: sources.Inbox, Seen: true, Received: true,
		Verbs: []sources.Verb{sources.MarkRead, sources.Move, sources.Delete},
	}
}

// levels are those of a folder, below the inbox.
func (m *courierBox) levels(t *testing.T, path string) []string {
	t.Helper()
	parsed, err := sources.ParsePath(path)
	if err != nil {
		t.Fatal(err)
	}
	if parsed[0] != sources.Inbox {
		t.Fatalf("%s is not below the inbox", path)
	}
	return parsed[1:]
}

func (m *courierBox) Deliver(t *testing.T, folder string, mail sourcetest.Mail) []byte {
	t.Helper()
	if err := m.Server.Deliver(m.user, m.levels(t, folder), mail.Raw, mail.Received, mail.Seen); err != nil {
		t.Fatal(err)
	}
	return courier.Wire(mail.Raw)
}

func (m *courierBox) Snapshot(t *testing.T, folder string) []sourcetest.Mail {
	t.Helper()
	messages, err := m.Server.Snapshot(m.user, m.levels(t, folder))
	if err != nil {
		t.Fatal(err)
	}
	var mails []sourcetest.Mail
	for _, message := range messages {
		mails = append(mails, mailOf(message))
	}
	return mails
}

func mailOf(m maildir.Message) sourcetest.Mail {
	return sourcetest.Mail{Raw: courier.Wire(m.Raw), Received: m.Received, Seen: m.Seen, Deleted: m.Deleted}
}

func (m *courierBox) Remove(t *testing.T, folder string, position int) {
	t.Helper()
	if err := m.Server.Remove(m.user, m.levels(t, folder), position); err != nil {
		t.Fatal(err)
	}
}

func (m *courierBox) MarkDeleted(t *testing.T, folder string, position int) {
	t.Helper()
	if err := m.Server.MarkDeleted(m.user, m.levels(t, folder), position); err != nil {
		t.Fatal(err)
	}
}

func (m *courierBox) Renumber(t *testing.T, folder string) {
	t.Helper()
	if err := m.Server.Renumber(m.user, m.levels(t, folder)); err != nil {
		t.Fatal(err)
	}
}

func (m *courierBox) config(setup sourcetest.Setup) imap.Config {
	return imap.Config{
		Options: imap.Options{
			Server: m.IMAPS(), CAFile: m.CAFile(), Folders: setup.Folders, ExcludeFolders: setup.Exclude,
			FiledFolder: setup.FiledFolder, FailedFolder: setup.FailedFolder, Connections: setup.Connections,
		},
		Name: "test", Timeouts: imap.Timeouts{Poll: 200 * time.Millisecond}, Username: m.user, Password: secret.New("secret"), AfterFiling: setup.AfterFiling,
	}
}

func (m *courierBox) Open(t *testing.T, setup sourcetest.Setup) sources.Source {
	t.Helper()
	return open(t, m.config(setup))
}

func (m *courierBox) OpenCut(t *testing.T, setup sourcetest.Setup, after int64) (sources.Source, func()) {
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

// refusedPassword fails the test unless the error says that a password was refused,
// and what to do, without it.
func refusedPassword(t *testing.T, err error, password string) {
	t.Helper()
	if sources.ClassOf(err) != sources.SignIn || sources.RemedyOf(err) == "" {
		t.Errorf("error %v of class %v, remedy %q", err, sources.ClassOf(err), sources.RemedyOf(err))
	}
	if strings.Contains(fmt.Sprint(err, sources.RemedyOf(err)), password) {
		t.Error("the error holds the password")
	}
}
