package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"postroom/internal/dovecot"
	"postroom/internal/graphtest"
	"postroom/internal/mailgen"
)

// mailResource is what tokens for a server at localhost are for, in a cloud of
// one's own.
const mailResource = "https://localhost"

// modern is an office whose mail server takes the tokens of an Entra.
type modern struct {
	*office
	cloud *graphtest.Server
	// asked counts the sign-ins with a token.
	asked atomic.Int64
	last  atomic.Value // the token of the last one
}

func newModern(t *testing.T, seed uint64, life time.Duration) *modern {
	t.Helper()
	m := new(modern)
	m.cloud = graphtest.Start(t, graphtest.Options{Seed: seed, TokenLife: life, Resources: []string{mailResource}})
	m.cloud.ChangeApp(func(a *graphtest.App) {
		a.Secrets, a.Roles = []graphtest.Secret{{Value: marker}}, []string{"IMAP.AccessAsApp"}
	})
	m.office = newOffice(t, dovecot.Options{Tokens: func(token string) (string, bool) {
		m.asked.Add(1)
		m.last.Store(token)
		_, roles, ok := m.cloud.Valid(token, mailResource)
		return "office", ok && len(roles) > 0
	}})
	t.Cleanup(func() {
		o := m.out.String()
		if token, ok := m.last.Load().(string); ok && (strings.Contains(o, token) || strings.Contains(o, "eyJ")) {
			t.Error("a token was printed")
		}
	})
	return m
}

// configure writes the configuration; each of the sources are the lines of one.
func (m *modern) configure(sources ...string) {
	m.t.Helper()
	text := fmt.Sprintf(`version: 1
repository: {type: filesystem, path: ./documents}
credentials:
  - name: contoso
    type: entra
    tenant_id: %s
    client_id: %s
    client_secret: ${env:POSTROOM_TEST_PASSWORD}
    cloud: custom
    authority_host: %s
    graph_endpoint: %s
    ca_file: ca.pem
sources:
`, m.cloud.Tenant(), m.cloud.ClientID(), m.cloud.AuthorityURL(), m.cloud.GraphURL())
	for i, s := range sources {
		typ, server := "imap", m.server.IMAPS()
		if rest, ok := strings.CutPrefix(s, "type: pop3\n"); ok {
			typ, server, s = "pop3", m.server.POP3S(), rest
		}
		text += fmt.Sprintf("  - name: office%d\n    type: %s\n    credentials: contoso\n    server: %s\n    ca_file: %s\n    %s\n",
			i, typ, server, m.server.CAFile(), strings.ReplaceAll(strings.TrimSpace(s), "\n", "\n    "))
	}
	for name, text := range map[string]string{"config.yaml": text, "ca.pem": string(m.cloud.CAPEM())} {
		if err := os.WriteFile(filepath.Join(m.dir, name), []byte(text), 0o600); err != nil {
			m.t.Fatal(err)
		}
	}
}

// once polls all sources, and returns what became of them.
func (m *modern) once() (all []summary) {
	m.t.Helper()
	r := m.run("run", "--once", "--json")
	var got struct{ Sources []summary }
	if err := json.Unmarshal([]byte(r.out), &got); err != nil {
		m.t.Fatalf("status %d, %v:\n%s\n%s", r.status, err, r.out, r.err)
	}
	return got.Sources
}

// A mailbox over IMAP is filed with the credentials of an application. Sources that
// share them share a token, for as long as the server takes it.
func TestFilesByToken(t *testing.T) {
	m := newModern(t, 71, time.Hour)
	m.folder("Invoices")
	m.configure("mailbox: office\nafter_filing: mark_read", "mailbox: office\nfolders: [Invoices]")
	mail := mailgen.New(5, mailgen.Small())
	for i := range 40 {
		m.send([]string{"INBOX", "Invoices"}[i%2], mail.Next().Raw)
	}
	// The directory says until when the secret is valid, to who may ask it.
	m.cloud.ChangeApp(func(a *graphtest.App) {
		a.Secrets[0].Name, a.Secrets[0].Expires = "scanner", time.Now().Add(12*24*time.Hour+time.Hour)
		a.Roles = append(a.Roles, "Application.Read.All")
	})
	r := m.run("check")
	if r.status != 0 {
		t.Errorf("check: status %d\n%s%s", r.status, r.out, r.err)
	}
	contains(t, r.out, "application "+m.cloud.ClientID(), "token until", "it has Application.Read.All, IMAP.AccessAsApp", "signed in as office by OAUTHBEARER",
		"client secret until ", `the client secret "scanner" expires in 12 days`, "Renewing without a gap")
	checked := m.cloud.TokensIssued()
	for _, s := range m.once() {
		if s.Filed != 20 || s.Failed != 0 || s.Error != "" {
			t.Errorf("%+v", s)
		}
	}
	m.judge()
	if n := m.cloud.TokensIssued(); checked != 2 || n != checked {
		t.Errorf("%d tokens for sources that share credentials and for the directory, %d after run", checked, n)
	}
	for _, d := range m.filed() {
		if d.Origin.Type != "imap" || d.Origin.Mailbox != "office" || d.Origin.Wire != "original" {
			t.Fatalf("%+v", d.Origin)
		}
	}

	m.cloud.RevokeTokens()
	m.send("INBOX", note(1))
	m.send("Invoices", note(2))
	for _, s := range m.once() {
		if s.Filed != 1 || s.Error != "" {
			t.Errorf("after the token was revoked: %+v", s)
		}
	}
	m.judge()
	if n := m.cloud.TokensIssued(); n != checked+1 {
		t.Errorf("%d tokens after one was revoked, want %d", n, checked+1)
	}
}

// The same over POP3, where each poll signs in.
func TestFilesByTokenOverPOP3(t *testing.T) {
	m := newModern(t, 74, time.Hour)
	m.cloud.ChangeApp(func(a *graphtest.App) { a.Roles = []string{"POP.AccessAsApp"} })
	m.configure("type: pop3\nmailbox: office\nafter_filing: delete")
	r := m.run("check")
	if r.status != 0 {
		t.Errorf("check: status %d\n%s%s", r.status, r.out, r.err)
	}
	contains(t, r.out, "it has POP.AccessAsApp", "signed in as office by OAUTHBEARER")
	mail := mailgen.New(7, mailgen.Small())
	for n := range 2 {
		for range 5 {
			m.send("INBOX", mail.Next().Raw)
		}
		if s := m.once()[0]; s.Filed != 5 || s.Failed != 0 || s.Error != "" {
			t.Errorf("%+v", s)
		}
		if n == 0 {
			m.cloud.RevokeTokens()
		}
	}
	m.judge()
	if n := m.cloud.TokensIssued(); n < 2 {
		t.Errorf("%d tokens, though one was revoked", n)
	}
	m.configure("type: pop3\nmailbox: other")
	r = m.run("check")
	if r.status != 1 {
		t.Errorf("check: status %d", r.status)
	}
	contains(t, r.out, "Set-CASMailbox -Identity other -PopEnabled $true")
}

// A token that is about to end is renewed for the next sign-in; connections go on.
func TestTokenIsRenewed(t *testing.T) {
	m := newModern(t, 72, 4*time.Minute)
	m.configure("mailbox: office\nconnections: 3")
	mail := mailgen.New(6, mailgen.Small())
	for range 60 {
		m.send("INBOX", mail.Next().Raw)
	}
	for n := range 2 {
		m.send("INBOX", note(n))
		if s := m.once()[0]; s.Filed == 0 || s.Error != "" || s.Failed != 0 {
			t.Errorf("%+v", s)
		}
	}
	m.judge()
	if issued, asked := m.cloud.TokensIssued(), int(m.asked.Load()); issued < 2 || issued > asked {
		t.Errorf("%d tokens for %d sign-ins", issued, asked)
	}
}

// What is missing is told with what to do, by check and by run.
func TestCheckOfTokens(t *testing.T) {
	for name, row := range map[string]struct {
		arrange func(m *modern)
		words   []string
		asked   int64 // sign-ins at the mail server, by check and run
	}{
		"no permission": {func(m *modern) { m.cloud.ChangeApp(func(a *graphtest.App) { a.Roles = nil }) },
			[]string{"it has no permission", "IMAP.AccessAsApp", "Office 365 Exchange Online", "Grant admin consent"}, 3},
		"not this mailbox": {func(m *modern) { m.configure("mailbox: other") },
			[]string{"Add-MailboxPermission -Identity other -User", "New-ServicePrincipal -AppId", "Set-CASMailbox -Identity other -ImapEnabled $true", "AUTHENTICATIONFAILED"}, 3},
		"wrong secret": {func(m *modern) {
			m.cloud.ChangeApp(func(a *graphtest.App) { a.Secrets = []graphtest.Secret{{Value: "another"}} })
		}, []string{"the client secret is wrong", "Value"}, 0},
		"no such service": {func(m *modern) {
			config := filepath.Join(m.dir, "config.yaml")
			text, err := os.ReadFile(config)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(config, []byte(strings.Replace(string(text), "server: localhost", "server: 127.0.0.1", 1)), 0o600); err != nil {
				t.Fatal(err)
			}
		}, []string{"Exchange Online is not known to this tenant under https://127.0.0.1", "host name of server"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			m := newModern(t, 73+uint64(len(name)), time.Hour)
			m.configure("mailbox: office")
			m.send("INBOX", note(1))
			row.arrange(m)
			r := m.run("check")
			if r.status != 1 {
				t.Errorf("check: status %d", r.status)
			}
			contains(t, r.out, row.words...)
			s := m.once()[0]
			if s.Filed != 0 || s.Error == "" {
				t.Errorf("%+v", s)
			}
			if asked := m.asked.Load(); asked != row.asked {
				t.Errorf("%d sign-ins at the mail server, want %d", asked, row.asked)
			}
		})
	}
}
