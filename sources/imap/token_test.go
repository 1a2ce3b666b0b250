package imap_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"postroom/internal/dovecot"
	"postroom/internal/imaptest"
	"postroom/internal/oauth"
	"postroom/internal/secret"
	"postroom/internal/testcert"
	"postroom/sources"
	"postroom/sources/imap"
	"postroom/sources/sourcetest"
)

// issuer hands out tokens for users, and knows which of them are good.
type issuer struct {
	mu      sync.Mutex
	issued  int
	asked   int               // by the server
	users   map[string]string // of the good tokens
	padding int               // makes tokens longer
}

func newIssuer() *issuer { return &issuer{users: make(map[string]string)} }

// introspect is what the server asks.
func (i *issuer) introspect(token string) (string, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.asked++
	user, ok := i.users[token]
	return user, ok
}

func (i *issuer) issue(user string) secret.Value {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.issued++
	token := fmt.Sprintf("token-%d-of-%s.%s", i.issued, user, strings.Repeat("x", i.padding))
	i.users[token] = user
	return secret.New(token)
}

func (i *issuer) revokeAll() {
	i.mu.Lock()
	defer i.mu.Unlock()
	clear(i.users)
}

func (i *issuer) counts() (issued, asked int) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.issued, i.asked
}

// cache is the oauth.TokenSource of one user.
type cache struct {
	get func() (secret.Value, error)

	mu      sync.Mutex
	token   secret.Value
	refused []string
	closed  int
}

func (c *cache) Token(context.Context) (secret.Value, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.token.Empty() {
		return c.token, nil
	}
	var err error
	c.token, err = c.get()
	return c.token, err
}

func (c *cache) Refused(_ context.Context, token secret.Value) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refused = append(c.refused, token.Reveal())
	if c.token.Reveal() == token.Reveal() {
		c.token = secret.Value{}
	}
}

func (c *cache) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed++
}

func (c *cache) refusals() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.refused)
}

func (i *issuer) cache(user string) *cache {
	return &cache{get: func() (secret.Value, error) { return i.issue(user), nil }}
}

// tokenMailbox is a mailbox of Dovecot that is opened by token.
type tokenMailbox struct {
	*mailbox
	issuer *issuer
}

func (m *tokenMailbox) Open(t *testing.T, setup sourcetest.Setup) sources.Source {
	t.Helper()
	cfg := m.config(setup)
	cfg.Password, cfg.Tokens = secret.Value{}, m.issuer.cache(m.user)
	return open(t, cfg)
}

func (m *tokenMailbox) OpenRefused(t *testing.T, setup sourcetest.Setup) (sources.Source, string) {
	t.Helper()
	cfg := m.config(setup)
	const wrong = "wrong-token"
	cfg.Password, cfg.Tokens = secret.Value{}, &cache{get: func() (secret.Value, error) { return secret.New(wrong), nil }}
	return open(t, cfg), wrong
}

// TestDovecotToken is TestDovecot with tokens, of the length that those of Entra
// have.
func TestDovecotToken(t *testing.T) {
	i := newIssuer()
	i.padding = 2000
	next := mailboxes(t, dovecot.Options{Tokens: i.introspect, Mechanisms: "plain xoauth2"})
	sourcetest.Run(t, func(t *testing.T) sourcetest.Server {
		return &tokenMailbox{mailbox: next(t).(*mailbox), issuer: i}
	})
}

// both runs a test with each mechanism.
func both(t *testing.T, f func(t *testing.T, mechanism string)) {
	for _, mechanism := range []string{oauth.OAuthBearer, oauth.XOAuth2} {
		t.Run(mechanism, func(t *testing.T) { f(t, mechanism) })
	}
}

func tokenConfig(server *dovecot.Server, tokens oauth.TokenSource) imap.Config {
	return imap.Config{
		Options: imap.Options{Server: server.IMAPS(), CAFile: server.CAFile(), Connections: 1},
		Name:    "test", Username: "user", Tokens: tokens,
	}
}

// A connection outlives its token. The next sign-in with a token that has been
// revoked, or has expired, gets another, once.
func TestTokenIsReplaced(t *testing.T) {
	both(t, func(t *testing.T, mechanism string) {
		i := newIssuer()
		server := dovecot.Start(t, dovecot.Options{Tokens: i.introspect, Mechanisms: strings.ToLower(mechanism)})
		tokens := i.cache("user")
		cfg := tokenConfig(server, tokens)
		proxy := throughProxy(t, server.IMAPS())
		cfg.Server = proxy.Addr()
		s := open(t, cfg)
		look := func() {
			t.Helper()
			if _, err := s.Tree(background(t)); err != nil {
				t.Fatal(err)
			}
		}
		want := func(issued, asked, refused int) {
			t.Helper()
			if gotIssued, gotAsked := i.counts(); gotIssued != issued || gotAsked != asked || tokens.refusals() != refused {
				t.Errorf("%d tokens issued, %d sign-ins, %d refused; want %d, %d, %d", gotIssued, gotAsked, tokens.refusals(), issued, asked, refused)
			}
		}
		look()
		want(1, 1, 0)
		i.revokeAll()
		look()
		want(1, 1, 0)
		proxy.Drop()
		look()
		want(2, 3, 1)
		proxy.Drop()
		look()
		want(2, 4, 1)
		if log := server.Log(); strings.Contains(log, "base64") || strings.Contains(log, "token-") {
			t.Errorf("the server's log: %s", log)
		}
	})
}

// A token that is not the user's, or not good whatever is done, is tried twice, no
// more, and the error is that of a sign-in.
func TestTokenIsRefused(t *testing.T) {
	both(t, func(t *testing.T, mechanism string) {
		i := newIssuer()
		server := dovecot.Start(t, dovecot.Options{Tokens: i.introspect, Mechanisms: strings.ToLower(mechanism)})
		for name, get := range map[string]func() (secret.Value, error){
			"of another": func() (secret.Value, error) { return i.issue("other"), nil },
			"expired": func() (secret.Value, error) {
				token := i.issue("user")
				i.revokeAll()
				return token, nil
			},
		} {
			_, before := i.counts()
			tokens := &cache{get: get}
			core, logs := observer.New(zapcore.DebugLevel)
			cfg := tokenConfig(server, tokens)
			cfg.Log = zap.New(core)
			_, err := open(t, cfg).Folders(background(t))
			if _, asked := i.counts(); asked != before+2 || tokens.refusals() != 1 {
				t.Errorf("%s: %d sign-ins, %d refused", name, asked-before, tokens.refusals())
			}
			text := fmt.Sprint(err, sources.RemedyOf(err), logs.All())
			if sources.ClassOf(err) != sources.SignIn || sources.RemedyOf(err) == "" || !strings.Contains(text, "AUTHENTICATIONFAILED") {
				t.Errorf("%s: %v: %s", name, sources.ClassOf(err), text)
			}
			if strings.Contains(text, "token-") || strings.Contains(text, base64.StdEncoding.EncodeToString([]byte("token-"))) {
				t.Errorf("%s shows a token: %s", name, text)
			}
		}
	})
}

// Where there is no better token, the same one is not tried again; and an error of
// whoever issues tokens is passed on.
func TestNoBetterToken(t *testing.T) {
	i := newIssuer()
	server := dovecot.Start(t, dovecot.Options{Tokens: i.introspect})
	same := &cache{get: func() (secret.Value, error) { return secret.New("always"), nil }}
	if _, err := open(t, tokenConfig(server, same)).Folders(background(t)); sources.ClassOf(err) != sources.SignIn {
		t.Error(err)
	}
	if _, asked := i.counts(); asked != 1 {
		t.Errorf("%d sign-ins with the same token", asked)
	}
	down := sources.Errorf(sources.Throttled, "Entra is busy")
	tokens := &cache{get: func() (secret.Value, error) { return secret.Value{}, down }}
	s := open(t, tokenConfig(server, tokens))
	if _, err := s.Folders(background(t)); !errors.Is(err, down) {
		t.Errorf("%v", err)
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if tokens.closed != 1 {
		t.Errorf("the tokens were closed %d times", tokens.closed)
	}
}

// A token opens mailboxes: it goes over TLS only.
func TestTokenNeedsTLS(t *testing.T) {
	_, err := imap.Open(imap.Config{
		Options: imap.Options{Server: "localhost", TLS: "none", AllowPlaintext: true}, Name: "test", Username: "user", Tokens: newIssuer().cache("user"),
	})
	if sources.ClassOf(err) != sources.Permanent || !strings.Contains(sources.RemedyOf(err), "implicit") {
		t.Errorf("%v: %s", err, sources.RemedyOf(err))
	}
}

// entraToken is a token as Entra makes it.
func entraToken(t *testing.T, roles ...string) string {
	t.Helper()
	claims, err := json.Marshal(map[string]any{"appid": "22222222-2222", "oid": "44444444-4444", "tid": "11111111-1111", "roles": roles})
	if err != nil {
		t.Fatal(err)
	}
	return "eyJhbGciOiJub25lIn0." + base64.RawURLEncoding.EncodeToString(claims) + ".c2lnbmF0dXJl"
}

// exchangeBefore is what Exchange Online announces before a sign-in.
const exchangeBefore = "IMAP4 IMAP4rev1 AUTH=PLAIN AUTH=XOAUTH2 SASL-IR UIDPLUS MOVE ID UNSELECT CHILDREN IDLE NAMESPACE LITERAL+"

// exchange is a server that answers as Exchange Online does.
func exchange(t *testing.T, script imaptest.Script, token string, change ...func(*imap.Config)) (*imaptest.ScriptServer, *imap.Source, *cache) {
	t.Helper()
	certificate, err := testcert.New(testcert.Template{})
	if err != nil {
		t.Fatal(err)
	}
	if script.TLS, err = certificate.Server(); err != nil {
		t.Fatal(err)
	}
	caFile := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(caFile, certificate.Authority, 0o600); err != nil {
		t.Fatal(err)
	}
	script.Greeting = "* OK The Microsoft Exchange IMAP4 service is ready. [QQBNADAAUABSADAAMQBDAEEAMAAwADAAMQAuAGUA]"
	if script.Capabilities == "" {
		script.Capabilities = exchangeBefore
	}
	tokens := &cache{get: func() (secret.Value, error) { return secret.New(token), nil }}
	server, source := scripted(t, script, append([]func(*imap.Config){func(cfg *imap.Config) {
		cfg.TLS, cfg.AllowPlaintext, cfg.CAFile = "implicit", false, caFile
		cfg.Username, cfg.Password, cfg.Tokens = "invoices@contoso.example", secret.Value{}, tokens
	}}, change...)...)
	return server, source, tokens
}

// dialogue answers sign-ins. Without SASL-IR the first answer is to the command,
// and each of the others to the line that follows.
func dialogue(answers ...string) func(imaptest.Command) (imaptest.Reply, bool) {
	var mu sync.Mutex
	at := make(map[int]int)
	tags := make(map[int]string)
	return func(c imaptest.Command) (imaptest.Reply, bool) {
		mu.Lock()
		defer mu.Unlock()
		if strings.HasPrefix(c.Text, "AUTHENTICATE") {
			tags[c.Connection], at[c.Connection] = c.Tag, 0
		}
		n := at[c.Connection]
		if tags[c.Connection] == "" || n >= len(answers) {
			return imaptest.Reply{}, false
		}
		at[c.Connection]++
		return imaptest.Reply{Send: strings.ReplaceAll(answers[n], "TAG", tags[c.Connection]), Close: strings.HasPrefix(answers[n], "* BYE")}, true
	}
}

// TestExchangeRefusals holds what Exchange Online answers, and others in its place.
func TestExchangeRefusals(t *testing.T) {
	challenge := "+ " + base64.StdEncoding.EncodeToString([]byte(`{"status":"401","schemes":"bearer","scope":"mail"}`)) + "\r\n"
	allowed, none := entraToken(t, "IMAP.AccessAsApp"), entraToken(t)
	first := base64.StdEncoding.EncodeToString([]byte("user=invoices@contoso.example\x01auth=Bearer " + allowed + "\x01\x01"))
	grants := []string{
		"New-ServicePrincipal -AppId 22222222-2222 -ObjectId 44444444-4444", "Set-CASMailbox -Identity invoices@contoso.example -ImapEnabled $true",
		"Add-MailboxPermission -Identity invoices@contoso.example -User 44444444-4444 -AccessRights FullAccess",
	}
	for name, row := range map[string]struct {
		token   string
		answers []string
		class   sources.Class
		refused int
		words   []string
	}{
		"refused":                {allowed, []string{"TAG NO AUTHENTICATE failed.\r\n"}, sources.SignIn, 1, append(grants, "AUTHENTICATE failed")},
		"no permission":          {none, []string{"TAG NO AUTHENTICATE failed.\r\n"}, sources.SignIn, 1, []string{"IMAP.AccessAsApp", "Office 365 Exchange Online", "admin consent"}},
		"challenge, then NO":     {allowed, []string{challenge, "TAG NO AUTHENTICATE failed.\r\n"}, sources.SignIn, 1, []string{"401"}},
		"challenge, then BAD":    {allowed, []string{challenge, "TAG BAD Invalid base64 data in continued response\r\n"}, sources.SignIn, 1, []string{"401"}},
		"BAD":                    {allowed, []string{"TAG BAD Command Error. 12\r\n"}, sources.SignIn, 1, grants},
		"repeats the token":      {allowed, []string{"TAG NO bad " + allowed + " in " + first + "\r\n"}, sources.SignIn, 1, []string{"bad *** in ***"}},
		"asks twice":             {allowed, []string{challenge, challenge}, sources.Temporary, 0, []string{"goes on asking"}},
		"ends the connection":    {allowed, []string{"* BYE Connection is closed. 13\r\n"}, sources.Temporary, 0, nil},
		"repeats it as a tag":    {allowed, []string{allowed + " OK done\r\n"}, sources.Temporary, 0, []string{"cannot be read", "***"}},
		"throttled":              {allowed, []string{"TAG BAD Request is throttled. Suggested Backoff Time: 259200 milliseconds\r\n"}, sources.Throttled, 0, []string{"throttled"}},
		"busy":                   {allowed, []string{"TAG NO [UNAVAILABLE] Server Unavailable. 15\r\n"}, sources.Temporary, 0, []string{"Unavailable"}},
		"not connected":          {allowed, nil, sources.Permission, 0, append(grants, "not connected")},
		"not connected, no role": {none, nil, sources.Permission, 1, []string{"IMAP.AccessAsApp", "admin consent"}},
	} {
		t.Run(name, func(t *testing.T) {
			answer := dialogue(row.answers...)
			if row.answers == nil {
				answer = notConnected
			}
			server, s, tokens := exchange(t, imaptest.Script{Messages: five(), Answer: answer}, row.token)
			_, err := s.Folders(background(t))
			if err == nil {
				_, err = s.List(background(t), inbox, "")
			}
			text := fmt.Sprint(err, "; ", sources.RemedyOf(err))
			if sources.ClassOf(err) != row.class || tokens.refusals() != row.refused {
				t.Errorf("class %v, want %v; %d tokens refused, want %d: %s", sources.ClassOf(err), row.class, tokens.refusals(), row.refused, text)
			}
			for _, word := range row.words {
				if !strings.Contains(text, word) {
					t.Errorf("%q does not say %q", text, word)
				}
			}
			if strings.Contains(text, "eyJ") || strings.Contains(text, first[:20]) || strings.Contains(text, "user name and password") {
				t.Errorf("it says too much: %s", text)
			}
			for _, c := range server.Commands() {
				if len(row.answers) == 2 && c.Tag == "=" {
					t.Error("the challenge was answered with =, which is no empty line")
				}
			}
			if row.class == sources.Throttled && time.Until(sources.UntilOf(err)) < 200*time.Second {
				t.Errorf("throttled until %v", sources.UntilOf(err))
			}
		})
	}
}

// notConnected lets anyone sign in and opens no mailbox.
func notConnected(c imaptest.Command) (imaptest.Reply, bool) {
	if strings.HasPrefix(c.Text, "AUTHENTICATE") {
		return imaptest.Reply{Send: "TAG OK AUTHENTICATE completed.\r\n"}, true
	}
	if strings.HasPrefix(c.Text, "CAPABILITY") {
		return imaptest.Reply{}, false
	}
	return imaptest.Reply{Send: "TAG BAD User is authenticated but not connected.\r\n"}, true
}

// A connection that is not connected to its mailbox never will be: the next call
// signs in anew.
func TestNotConnectedIsNotKept(t *testing.T) {
	var mu sync.Mutex
	granted := false
	_, s, _ := exchange(t, imaptest.Script{Messages: five(), Answer: func(c imaptest.Command) (imaptest.Reply, bool) {
		mu.Lock()
		defer mu.Unlock()
		if granted && c.Connection > 1 {
			return imaptest.Reply{}, false
		}
		return notConnected(c)
	}}, entraToken(t, "IMAP.AccessAsApp"))
	list := func() error {
		listing, err := s.List(background(t), inbox, "")
		if err == nil {
			_, err = listing.Next(background(t), 10)
		}
		return err
	}
	if err := list(); sources.ClassOf(err) != sources.Permission {
		t.Fatal(err)
	}
	mu.Lock()
	granted = true
	mu.Unlock()
	if err := list(); err != nil {
		t.Error(err)
	}
}

// The mechanism is one that the server offers, and the token goes along with the
// command where the server takes it there.
func TestTokenOnTheWire(t *testing.T) {
	token := entraToken(t, "IMAP.AccessAsApp")
	for name, row := range map[string]struct {
		capabilities string
		answers      []string
		mechanism    string
		inline       bool
	}{
		"Exchange":     {"", nil, oauth.XOAuth2, true},
		"no SASL-IR":   {"IMAP4rev1 AUTH=XOAUTH2 UIDPLUS", []string{"+ \r\n", "TAG OK AUTHENTICATE completed.\r\n"}, oauth.XOAuth2, false},
		"RFC 7628":     {"IMAP4rev1 AUTH=OAUTHBEARER SASL-IR UIDPLUS", nil, oauth.OAuthBearer, true},
		"both":         {"IMAP4rev1 AUTH=XOAUTH2 AUTH=OAUTHBEARER SASL-IR UIDPLUS", nil, oauth.OAuthBearer, true},
		"both, bare +": {"IMAP4rev1 AUTH=XOAUTH2 AUTH=OAUTHBEARER UIDPLUS", []string{"+\r\n", "TAG OK done\r\n"}, oauth.OAuthBearer, false},
	} {
		t.Run(name, func(t *testing.T) {
			server, s, _ := exchange(t, imaptest.Script{Capabilities: row.capabilities, Messages: five(), Answer: dialogue(row.answers...)}, token)
			if _, err := s.Tree(background(t)); err != nil {
				t.Fatal(err)
			}
			host, port, _ := strings.Cut(server.Addr(), ":")
			want := base64.StdEncoding.EncodeToString(oauth.New(row.mechanism, "invoices@contoso.example", host, port, secret.New(token)).First)
			var sent []string
			for _, c := range server.Commands() {
				if strings.HasPrefix(c.Text, "AUTHENTICATE ") {
					sent = append(sent, c.Text)
				} else if len(sent) == 1 && !row.inline {
					sent = append(sent, c.Tag)
				}
			}
			got := strings.Join(sent, " ")
			if expected := "AUTHENTICATE " + row.mechanism + " " + want; got != expected {
				t.Errorf("sent %q, want %q", got, expected)
			}
		})
	}
	_, s, _ := exchange(t, imaptest.Script{Capabilities: "IMAP4rev1 AUTH=PLAIN SASL-IR UIDPLUS"}, token)
	if _, err := s.Folders(background(t)); sources.ClassOf(err) != sources.Permanent || !strings.Contains(sources.RemedyOf(err), "type password") {
		t.Errorf("a server without tokens: %v; %s", err, sources.RemedyOf(err))
	}
}

// A check tells of the tokens first, and shows a replaced token as nothing special.
func TestProbeWithToken(t *testing.T) {
	i := newIssuer()
	server := dovecot.Start(t, dovecot.Options{Tokens: i.introspect})
	tokens := i.cache("user")
	if _, err := tokens.Token(t.Context()); err != nil {
		t.Fatal(err)
	}
	i.revokeAll()
	var steps []string
	probe := func(fails bool) {
		steps = nil
		s := open(t, tokenConfig(server, &probed{tokens, fails}))
		s.Probe(background(t), func(step sources.Step) {
			steps = append(steps, step.Name)
			if step.Err != nil {
				steps = append(steps, "failed")
			}
		})
	}
	probe(false)
	if got := strings.Join(steps, " "); got != "tls sign-in name tcp tls sign-in folder disposition" {
		t.Errorf("steps: %s", got)
	}
	probe(true)
	if got := strings.Join(steps, " "); got != "tls failed" {
		t.Errorf("steps: %s", got)
	}
}

// probed is a cache that can be checked.
type probed struct {
	*cache
	fails bool
}

func (p *probed) Probe(_ context.Context, report func(name, detail string, err error)) {
	if p.fails {
		report("tls", "", errors.New("no"))
		return
	}
	report("tls", "well", nil)
	report("sign-in", "well", nil)
}
