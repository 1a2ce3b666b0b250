//go:build unix

package pop3_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"postroom/internal/courier"
	"postroom/internal/secret"
	"postroom/sources"
	"postroom/sources/pop3"
	"postroom/sources/sourcetest"
)

// TestCourier is TestDovecot on a server of another family: without SASL and TOP in
// its capabilities, with UIDL of its own kind, and which deletes after it has said
// that it did. Its LOGIN-DELAY is not announced: a source that heeds it may take what
// came meanwhile for the next poll.
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
		return &courierDrop{server, fmt.Sprint("user", next-1)}
	})
}

// With LOGIN-DELAY one session serves the first sign-in and the first listing.
func TestCourierLoginDelay(t *testing.T) {
	t.Parallel()
	m := &courierDrop{courier.Start(t, courier.Options{LoginDelay: 10}), "user"}
	for n := range 3 {
		m.Deliver(t, sources.Inbox, sourcetest.Mail{Raw: fmt.Appendf(nil, "Subject: %d\r\n\r\nx\r\n", n), Received: time.Now()})
	}
	s := open(t, m.config(sourcetest.Setup{}))
	folders, err := s.Folders(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	listing, err := s.List(t.Context(), folders[0], "")
	if err != nil || listing.Remaining() != 3 {
		t.Fatalf("%v, %v", listing, err)
	}
	if n := strings.Count(m.Log(), "LOGIN, user=user"); n != 1 {
		t.Errorf("%d sessions\n%s", n, m.Log())
	}
}

// TestCourierRefuses is of its own, as Courier takes five seconds to refuse a
// password.
func TestCourierRefuses(t *testing.T) {
	t.Parallel()
	m := &courierDrop{courier.Start(t, courier.Options{}), "user"}
	cfg := m.config(sourcetest.Setup{})
	cfg.Password = secret.New("wrong-password")
	_, err := open(t, cfg).Folders(t.Context())
	if sources.ClassOf(err) != sources.SignIn || sources.RemedyOf(err) == "" {
		t.Errorf("error %v of class %v, remedy %q", err, sources.ClassOf(err), sources.RemedyOf(err))
	}
	if strings.Contains(fmt.Sprint(err, sources.RemedyOf(err)), "wrong-password") {
		t.Error("the error holds the password")
	}
}

// courierDrop is the maildrop of a user of Courier.
type courierDrop struct {
	*courier.Server
	user string
}

func (m *courierDrop) Abilities() sourcetest.Abilities { return abilities() }

// courierSends returns what the server sends for a file: the last line, too, ends,
// and there is at least one.
func courierSends(file []byte) []byte {
	if len(file) == 0 {
		return []byte("\r\n")
	}
	return ended(courier.Wire(file))
}

func (m *courierDrop) Deliver(t *testing.T, _ string, mail sourcetest.Mail) []byte {
	t.Helper()
	if err := m.Server.Deliver(m.user, nil, mail.Raw, mail.Received, mail.Seen); err != nil {
		t.Fatal(err)
	}
	return courierSends(mail.Raw)
}

func (m *courierDrop) Snapshot(t *testing.T, folder string) []sourcetest.Mail {
	t.Helper()
	if folder != sources.Inbox {
		return nil
	}
	messages, err := m.Server.Snapshot(m.user, nil)
	if err != nil {
		t.Fatal(err)
	}
	var mails []sourcetest.Mail
	for _, message := range messages {
		mails = append(mails, sourcetest.Mail{Raw: courierSends(message.Raw), Seen: message.Seen, Deleted: message.Deleted})
	}
	return mails
}

func (m *courierDrop) Remove(t *testing.T, _ string, position int) {
	t.Helper()
	if err := m.Server.Remove(m.user, nil, position); err != nil {
		t.Fatal(err)
	}
}

func (m *courierDrop) Renumber(t *testing.T, _ string) {
	t.Helper()
	if err := m.Server.Renumber(m.user, nil); err != nil {
		t.Fatal(err)
	}
}

func (m *courierDrop) config(setup sourcetest.Setup) pop3.Config {
	return pop3.Config{
		Options: pop3.Options{Server: m.POP3S(), CAFile: m.CAFile(), Connections: setup.Connections},
		Name:    "test", Username: m.user, Password: secret.New("secret"), AfterFiling: setup.AfterFiling,
	}
}

func (m *courierDrop) Open(t *testing.T, setup sourcetest.Setup) sources.Source {
	t.Helper()
	return open(t, m.config(setup))
}

func (m *courierDrop) OpenCut(t *testing.T, setup sourcetest.Setup, after int64) (sources.Source, func()) {
	t.Helper()
	return openCut(t, m.config(setup), m.POP3(), after)
}
