package pop3_test

import (
	"testing"

	"postroom/internal/poptest"
	"postroom/internal/secret"
	"postroom/sources"
	"postroom/sources/pop3"
	"postroom/sources/sourcetest"
)

// TestStandIn holds that the server of tests and demonstrations refuses what a real
// one refuses.
func TestStandIn(t *testing.T) {
	for name, conduct := range map[string]poptest.Conduct{
		"Good": {NoLock: true},
		// As RFC 1939 has it, without anything that came later, and with sizes that are
		// wrong.
		"Old": {NoLock: true, NoCAPA: true, NoTOP: true, Size: func(m poptest.Message) int64 { return int64(len(m.Raw))*2 + 7 }},
	} {
		t.Run(name, func(t *testing.T) {
			sourcetest.Run(t, func(t *testing.T) sourcetest.Server { return newDrop(t, conduct) })
		})
	}
}

// drop is the maildrop of a stand-in.
type drop struct {
	*poptest.Server
	conduct poptest.Conduct
}

func newDrop(t *testing.T, conduct poptest.Conduct) *drop {
	return &drop{start(t, poptest.Options{Plain: true, Conduct: conduct}), conduct}
}

func start(t *testing.T, options poptest.Options) *poptest.Server {
	t.Helper()
	server, err := poptest.Start(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	return server
}

func (d *drop) Abilities() sourcetest.Abilities { return abilities() }

func (d *drop) Deliver(t *testing.T, _ string, mail sourcetest.Mail) []byte {
	d.Server.Deliver(mail.Raw)
	return ended(mail.Raw)
}

func (d *drop) Snapshot(t *testing.T, folder string) []sourcetest.Mail {
	if folder != sources.Inbox {
		return nil
	}
	var mails []sourcetest.Mail
	for _, m := range d.Messages() {
		mails = append(mails, sourcetest.Mail{Raw: ended(m.Raw)})
	}
	return mails
}

func (d *drop) Remove(t *testing.T, _ string, position int) { d.Server.Remove(position) }
func (d *drop) Renumber(t *testing.T, _ string)             { d.Server.Renumber() }

// config is that of a source of the server.
func config(server *poptest.Server) pop3.Config {
	return pop3.Config{
		Options: pop3.Options{Server: server.Addr(), TLS: "starttls", CAFile: server.CAFile()},
		Name:    "test", Username: server.Username(), Password: secret.New(server.Password()),
	}
}

func (d *drop) Open(t *testing.T, setup sourcetest.Setup) sources.Source {
	cfg := config(d.Server)
	cfg.AfterFiling = setup.AfterFiling
	return open(t, cfg)
}

func (d *drop) OpenRefused(t *testing.T, setup sourcetest.Setup) (sources.Source, string) {
	cfg := config(d.Server)
	cfg.Password = secret.New("wrong-password")
	return open(t, cfg), "wrong-password"
}

func (d *drop) OpenCut(t *testing.T, setup sourcetest.Setup, after int64) (sources.Source, func()) {
	return openCut(t, config(d.Server), d.Addr(), after)
}
