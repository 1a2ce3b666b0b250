package exchange_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"postroom/internal/graph"
	"postroom/internal/graphtest"
	"postroom/internal/secret"
	"postroom/sources"
	"postroom/sources/exchange"
	"postroom/sources/sourcetest"
)

// probe returns the steps of a check, as text, and the last one.
func probe(t *testing.T, cfg exchange.Config) (string, sources.Step) {
	t.Helper()
	var text strings.Builder
	var last sources.Step
	source, err := exchange.Open(cfg)
	if err != nil {
		last = sources.Step{Name: "open", Err: err}
		fmt.Fprintf(&text, "open: %v; %s\n", err, sources.RemedyOf(err))
		return text.String(), last
	}
	defer source.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	source.Probe(ctx, func(step sources.Step) {
		last = step
		fmt.Fprintf(&text, "%s: %s", step.Name, step.Detail)
		if step.Err != nil {
			fmt.Fprintf(&text, "%v; %s", step.Err, sources.RemedyOf(step.Err))
		}
		text.WriteString("\n")
	})
	return text.String(), last
}

// TestCheck: each thing that an administrator gets wrong is told in plain words,
// with what to do, and without the secret.
func TestCheck(t *testing.T) {
	const wrong = "Wrong~8Q.secret"
	for name, row := range map[string]struct {
		arrange func(t *testing.T, m *mailbox, cfg *exchange.Config)
		step    string
		class   sources.Class
		words   []string
	}{
		"wrong tenant": {func(_ *testing.T, _ *mailbox, c *exchange.Config) {
			c.Settings.TenantID = "99999999-9999-4999-8999-999999999999"
		}, "sign-in", sources.SignIn, []string{"no such tenant", "tenant_id"}},
		"wrong client": {func(_ *testing.T, _ *mailbox, c *exchange.Config) {
			c.Settings.ClientID = "99999999-9999-4999-8999-999999999999"
		}, "sign-in", sources.SignIn, []string{"not known in this tenant", "client_id"}},
		"application disabled": {func(_ *testing.T, m *mailbox, _ *exchange.Config) {
			m.server.ChangeApp(func(a *graphtest.App) { a.Disabled = true })
		}, "sign-in", sources.SignIn, []string{"disabled"}},
		"wrong secret": {func(_ *testing.T, _ *mailbox, c *exchange.Config) { c.Settings.ClientSecret = secret.New(wrong) },
			"sign-in", sources.SignIn, []string{"secret is wrong", "Value"}},
		"id of the secret": {func(_ *testing.T, _ *mailbox, c *exchange.Config) {
			c.Settings.ClientSecret = secret.New("33333333-3333-4333-8333-333333333333")
		}, "sign-in", sources.SignIn, []string{"Secret ID", "Value"}},
		"expired secret": {func(_ *testing.T, m *mailbox, _ *exchange.Config) {
			m.server.ChangeApp(func(a *graphtest.App) { a.Secrets[0].Expires = time.Now().Add(-time.Hour) })
		}, "sign-in", sources.SignIn, []string{"secret has expired", "new client secret"}},
		"expired certificate": {func(t *testing.T, _ *mailbox, c *exchange.Config) {
			withCertificate(t, c, time.Now().Add(-time.Hour))
		}, "open", sources.SignIn, []string{"expired on", "new certificate"}},
		"unknown certificate": {func(t *testing.T, _ *mailbox, c *exchange.Config) {
			withCertificate(t, c, time.Now().Add(time.Hour))
		}, "sign-in", sources.SignIn, []string{"does not know the certificate", "upload"}},
		"no consent": {func(_ *testing.T, m *mailbox, _ *exchange.Config) {
			m.server.ChangeApp(func(a *graphtest.App) { a.Roles = nil })
		}, "permission", sources.Permission, []string{"no application permission has been consented to", "Grant admin consent", "RBAC", "Test-ServicePrincipalAuthorization", "two hours", "do not consent in Entra"}},
		"no role": {func(_ *testing.T, m *mailbox, _ *exchange.Config) {
			m.server.ChangeApp(func(a *graphtest.App) { a.Roles = []string{"Mail.Send", "User.Read.All"} })
		}, "permission", sources.Permission, []string{"has Mail.Send, User.Read.All, and not Mail.Read"}},
		"no role to change": {func(_ *testing.T, m *mailbox, c *exchange.Config) {
			m.server.ChangeApp(func(a *graphtest.App) { a.Roles = []string{"Mail.Read"} })
			c.AfterFiling = sources.MarkRead
		}, "disposition", sources.Permission, []string{"not Mail.ReadWrite", "after_filing: keep"}},
		"out of scope": {func(_ *testing.T, m *mailbox, _ *exchange.Config) {
			m.server.ChangeApp(func(a *graphtest.App) { a.Mailboxes = []string{"other@contoso.example"} })
		}, "permission", sources.Permission, []string{"outside the scope", "Test-ApplicationAccessPolicy"}},
		"no licence": {func(_ *testing.T, m *mailbox, c *exchange.Config) {
			c.Mailbox = m.server.AddMailbox("new@contoso.example", graphtest.MailboxOptions{Unlicensed: true}).Address()
		}, "permission", sources.NotFound, []string{"licence"}},
		"no such mailbox": {func(_ *testing.T, m *mailbox, c *exchange.Config) { c.Mailbox = "nobody@contoso.example" },
			"permission", sources.NotFound, []string{"no such user", "mailbox must be"}},
		"folder missing": {func(_ *testing.T, m *mailbox, c *exchange.Config) {
			m.CreateFolder("Inbox/Invoices")
			c.Folders = []string{"Inbox/Invoice"}
		}, "folder", sources.NotFound, []string{`"Inbox/Invoice" does not exist`, "did you mean Inbox/Invoices?"}},
		"TLS opened on the way": {func(_ *testing.T, _ *mailbox, c *exchange.Config) { c.Settings.CAFile = "" },
			"tls", sources.Permanent, []string{"authority that this machine does not know", "ca_file"}},
		"proxy not there": {func(t *testing.T, _ *mailbox, c *exchange.Config) {
			c.Settings.Proxy = secret.New("http://user:" + wrong + "@" + closedPort(t))
		}, "tcp", sources.Temporary, []string{"the proxy cannot be reached", "proxy:"}},
		"authority not there": {func(t *testing.T, _ *mailbox, c *exchange.Config) {
			c.Settings.AuthorityHost = "https://" + closedPort(t)
		}, "tcp", sources.Temporary, []string{"cannot be reached", "firewall"}},
		"unknown name": {func(t *testing.T, _ *mailbox, c *exchange.Config) {
			c.Settings.AuthorityHost = "https://login.invalid"
		}, "name", sources.Temporary, []string{"name is not known"}},
		"authority in trouble": {func(t *testing.T, m *mailbox, _ *exchange.Config) {
			m.server.Inject("token", -1, graphtest.Fault{Kind: graphtest.FaultUnavailable})
		}, "sign-in", sources.Temporary, []string{"in trouble", "tried again"}},
		"not in this cloud": {func(t *testing.T, m *mailbox, c *exchange.Config) {
			c.Settings.Cloud, c.Settings.AuthorityHost, c.Settings.GraphEndpoint = "us_government", "", ""
			c.AfterFiling, c.Permanent = sources.Delete, true
		}, "open", sources.Permanent, []string{"cannot delete for good", "permanent: true"}},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMailbox(t, graphtest.Options{})
			cfg := m.config(sourcetest.Setup{})
			row.arrange(t, m, &cfg)
			text, last := probe(t, cfg)
			if last.Name != row.step || last.Err == nil || sources.ClassOf(last.Err) != row.class {
				t.Errorf("step %s fails with class %v, want %s with %v\n%s", last.Name, sources.ClassOf(last.Err), row.step, row.class, text)
			}
			for _, word := range row.words {
				if !strings.Contains(text, word) {
					t.Errorf("%q is not said:\n%s", word, text)
				}
			}
			for _, hidden := range []string{wrong, m.server.ClientSecret(), "33333333-3333-4333-8333-333333333333", "eyJ"} {
				if strings.Contains(text, hidden) {
					t.Errorf("the secret is said:\n%s", text)
				}
			}
		})
	}
}

// TestCheckOfAnEndingSecret: where the application may read its registration, the
// check says when its secret ends; where it may not, there is no word of it.
func TestCheckOfAnEndingSecret(t *testing.T) {
	day := 24 * time.Hour
	for name, row := range map[string]struct {
		roles  []string
		secret graphtest.Secret
		words  []string
		warned bool
		failed bool
	}{
		"may not":       {[]string{"Mail.ReadWrite"}, graphtest.Secret{Expires: time.Now().Add(3 * day)}, nil, false, false},
		"long to come":  {[]string{"Mail.ReadWrite", "Application.Read.All"}, graphtest.Secret{Expires: time.Date(2199, 5, 6, 0, 0, 0, 0, time.UTC)}, []string{"client secret until 2199-05-06"}, false, false},
		"soon":          {[]string{"Mail.ReadWrite", "Application.ReadWrite.OwnedBy"}, graphtest.Secret{Name: "postroom 2027", Expires: time.Now().Add(12*day + time.Hour)}, []string{`the client secret "postroom 2027" expires in 12 days, on `, "Renewing without a gap"}, true, false},
		"tomorrow":      {[]string{"Mail.ReadWrite", "Application.Read.All"}, graphtest.Secret{Expires: time.Now().Add(day + time.Hour)}, []string{"the client secret expires in 1 day, on "}, true, false},
		"today":         {[]string{"Mail.ReadWrite", "Application.Read.All"}, graphtest.Secret{Expires: time.Now().Add(time.Hour)}, []string{"the client secret expires today: "}, true, false},
		"not its begin": {[]string{"Mail.ReadWrite", "Directory.Read.All"}, graphtest.Secret{Unhinted: true, Expires: time.Now().Add(5*day + time.Hour)}, []string{"expires in 5 days"}, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMailbox(t, graphtest.Options{})
			row.secret.Value = m.server.ClientSecret()
			m.server.ChangeApp(func(a *graphtest.App) {
				a.Roles = row.roles
				a.Secrets = []graphtest.Secret{{Value: "Another~8Q.secret", Expires: time.Now().Add(day)}, row.secret}
			})
			text, last := probe(t, m.config(sourcetest.Setup{}))
			if last.Err != nil || last.Name != "disposition" {
				t.Errorf("%s", text)
			}
			if warned := strings.Contains(text, "warning: "); warned != row.warned || row.words == nil && strings.Contains(text, "secret") {
				t.Errorf("warned %v:\n%s", warned, text)
			}
			for _, word := range row.words {
				if !strings.Contains(text, word) {
					t.Errorf("%q is not said:\n%s", word, text)
				}
			}
			for _, hidden := range []string{row.secret.Value, row.secret.Value[:3], "Another", "Ano"} {
				if strings.Contains(text, hidden) {
					t.Errorf("of the secret is said:\n%s", text)
				}
			}
		})
	}
}

// The directory may be in trouble: then that is said, and the rest is checked.
func TestCheckWithoutTheDirectory(t *testing.T) {
	m := newMailbox(t, graphtest.Options{})
	m.server.ChangeApp(func(a *graphtest.App) { a.Roles = append(a.Roles, "Application.Read.All") })
	m.server.Inject("application", -1, graphtest.Fault{Kind: graphtest.FaultUnavailable})
	text, last := probe(t, m.config(sourcetest.Setup{}))
	if last.Err != nil || last.Name != "disposition" || !strings.Contains(text, "cannot be asked now: ") {
		t.Error(text)
	}
}

// The service says once a day that a secret ends soon.
func TestEndingSecretIsLogged(t *testing.T) {
	m := newMailbox(t, graphtest.Options{})
	m.server.ChangeApp(func(a *graphtest.App) {
		a.Roles = append(a.Roles, "Application.Read.All")
		a.Secrets[0].Expires, a.Secrets[0].Name = time.Now().Add(29*24*time.Hour), "postroom 2027"
	})
	core, logs := observer.New(zap.InfoLevel)
	cfg := m.config(sourcetest.Setup{})
	cfg.Log = zap.New(core)
	for range 2 {
		source := open(t, cfg)
		for range 2 {
			if _, err := source.Folders(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	said := logs.FilterMessage("the client secret of the application expires soon: renew it")
	if said.Len() != 1 || said.All()[0].ContextMap()["name"] != "postroom 2027" || said.All()[0].ContextMap()["expires"] == nil {
		t.Errorf("%v", logs.All())
	}
	if n := m.server.Counts()["application"]; n != 1 {
		t.Errorf("asked %d times", n)
	}
}

func TestCheckOfAWrongClock(t *testing.T) {
	m := newMailbox(t, graphtest.Options{Clock: func() time.Time { return time.Now().Add(20 * time.Minute) }})
	text, last := probe(t, m.config(sourcetest.Setup{}))
	if last.Name != "sign-in" || last.Err == nil || !strings.Contains(text, "clock of this machine differs") || !strings.Contains(text, "NTP") {
		t.Error(text)
	}
}

// What RBAC for Applications grants is in no token.
func TestCheckWithRBAC(t *testing.T) {
	for _, granted := range []string{"Mail.ReadWrite", "Mail.Read"} {
		m := newMailbox(t, graphtest.Options{})
		m.server.ChangeApp(func(a *graphtest.App) { a.Roles, a.Granted = nil, []string{granted} })
		text, last := probe(t, m.config(sourcetest.Setup{AfterFiling: sources.Move, FiledFolder: "Filed"}))
		if !strings.Contains(text, "by RBAC for Applications") || (last.Err == nil) != (granted == "Mail.ReadWrite") || last.Name != "disposition" {
			t.Errorf("granted %s:\n%s", granted, text)
		}
		if len(m.Messages("Filed")) != 0 {
			t.Error("the check has changed something")
		}
	}
}

func TestForbidden(t *testing.T) {
	m := newMailbox(t, graphtest.Options{})
	m.server.AddMailbox("chief@contoso.example", graphtest.MailboxOptions{})
	source := open(t, m.config(sourcetest.Setup{}))
	for address, word := range map[string]string{
		"chief@contoso.example": "can read the mailbox", "nobody@contoso.example": "proves nothing", m.Address(): "is the mailbox of this source",
	} {
		if step := source.ProbeForbidden(t.Context(), address); step.Err == nil || !strings.Contains(step.Err.Error(), word) || sources.RemedyOf(step.Err) == "" {
			t.Errorf("%s: %+v", address, step)
		}
	}
	m.server.ChangeApp(func(a *graphtest.App) { a.Mailboxes = []string{m.Address()} })
	if step := source.ProbeForbidden(t.Context(), "chief@contoso.example"); step.Err != nil {
		t.Errorf("%+v", step)
	}
}

// The other ways to sign in.
func TestSignIn(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	signsIn := func(t *testing.T, m *mailbox, cfg exchange.Config) {
		t.Helper()
		if text, last := probe(t, cfg); last.Err != nil {
			t.Error(text)
		}
	}
	t.Run("certificate", func(t *testing.T) {
		m := newMailbox(t, graphtest.Options{})
		cfg := m.config(sourcetest.Setup{})
		certificate := withCertificate(t, &cfg, time.Now().Add(time.Hour))
		m.server.ChangeApp(func(a *graphtest.App) { a.Certificates = []*x509.Certificate{certificate} })
		signsIn(t, m, cfg)
	})
	t.Run("managed identity", func(t *testing.T) {
		m := newMailbox(t, graphtest.Options{})
		m.server.SetManagedIdentity(m.server.ClientID())
		t.Setenv("IDENTITY_ENDPOINT", m.server.AuthorityURL()+"/msi/token")
		t.Setenv("IDENTITY_HEADER", m.server.IdentityHeader())
		cfg := m.config(sourcetest.Setup{})
		cfg.Settings.Flow, cfg.Settings.TenantID, cfg.Settings.ClientID, cfg.Settings.ClientSecret = graph.ManagedIdentity, "", "", secret.Value{}
		signsIn(t, m, cfg)
		cfg.Settings.ClientID = "99999999-9999-4999-8999-999999999999"
		if text, last := probe(t, cfg); last.Name != "sign-in" || sources.ClassOf(last.Err) != sources.SignIn {
			t.Error(text)
		}
	})
	t.Run("workload identity", func(t *testing.T) {
		m := newMailbox(t, graphtest.Options{})
		m.server.ChangeApp(func(a *graphtest.App) {
			a.Federated = []graphtest.Federated{{Issuer: "https://issuer.example", Subject: "system:serviceaccount:mail:postroom", Key: &key.PublicKey}}
		})
		file := filepath.Join(t.TempDir(), "token")
		t.Setenv("AZURE_FEDERATED_TOKEN_FILE", file)
		cfg := m.config(sourcetest.Setup{})
		cfg.Settings.Flow, cfg.Settings.ClientSecret = graph.WorkloadIdentity, secret.Value{}
		if text, last := probe(t, cfg); last.Name != "sign-in" || sources.ClassOf(last.Err) != sources.SignIn || !strings.Contains(text, "AZURE_FEDERATED_TOKEN_FILE") {
			t.Error(text)
		}
		if err := os.WriteFile(file, []byte(assertion(t, key, "system:serviceaccount:mail:postroom")), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg.Clients = new(graph.Clients)
		signsIn(t, m, cfg)
		if err := os.WriteFile(file, []byte(assertion(t, key, "system:serviceaccount:mail:other")), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg.Clients = new(graph.Clients)
		if text, last := probe(t, cfg); last.Name != "sign-in" || !strings.Contains(text, "federated credential") {
			t.Error(text)
		}
	})
}

// assertion is what a cluster gives a workload.
func assertion(t *testing.T, key *rsa.PrivateKey, subject string) string {
	t.Helper()
	claims, err := json.Marshal(map[string]any{
		"iss": "https://issuer.example", "sub": subject, "aud": "api://AzureADTokenExchange",
		"iat": time.Now().Unix(), "nbf": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(), "jti": "1",
	})
	if err != nil {
		t.Fatal(err)
	}
	text := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"RS256","typ":"JWT","kid":"1"}`)) + "." + base64.RawURLEncoding.EncodeToString(claims)
	sum := sha256.Sum256([]byte(text))
	signature, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// withCertificate makes the configuration sign in with a certificate that
// expires then, in place of a secret.
func withCertificate(t *testing.T, cfg *exchange.Config, expires time.Time) *x509.Certificate {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "postroom"}, NotBefore: expires.Add(-24 * time.Hour), NotAfter: expires}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	data := append(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	cfg.Settings.Certificate = filepath.Join(t.TempDir(), "app.pem")
	cfg.Settings.ClientSecret = secret.Value{}
	if err := os.WriteFile(cfg.Settings.Certificate, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return certificate
}

// closedPort returns an address at which nobody listens.
func closedPort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}
