package pop3_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"

	"postroom/internal/dovecot"
	"postroom/internal/poptest"
	"postroom/internal/secret"
	"postroom/sources"
	"postroom/sources/pop3"
	"postroom/sources/sourcetest"
)

// tokens is an oauth.TokenSource that gives the tokens, one after the other as
// they are refused; the last one stays.
type tokens struct {
	fails error

	mu      sync.Mutex
	give    []string
	refused []string
	closed  int
}

func (s *tokens) Token(context.Context) (secret.Value, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fails != nil {
		return secret.Value{}, s.fails
	}
	return secret.New(s.give[0]), nil
}

func (s *tokens) Refused(_ context.Context, token secret.Value) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refused = append(s.refused, token.Reveal())
	if len(s.give) > 1 && s.give[0] == token.Reveal() {
		s.give = s.give[1:]
	}
}

func (s *tokens) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed++
}

// TestRefusedToken: a token that is refused is replaced once, on a new connection.
func TestRefusedToken(t *testing.T) {
	for name, row := range map[string]struct {
		give     []string
		class    sources.Class // 0: signed in
		sessions int
		refused  string
	}{
		"good":             {[]string{"t0ken"}, 0, 1, ""},
		"revoked":          {[]string{"old", "t0ken", "never"}, 0, 2, "old"},
		"none better":      {[]string{"old"}, sources.SignIn, 1, "old"},
		"two are refused":  {[]string{"old", "older", "t0ken"}, sources.SignIn, 2, "old"},
		"the first is odd": {[]string{"\x01", "t0ken"}, 0, 2, "\x01"},
	} {
		t.Run(name, func(t *testing.T) {
			given := &tokens{give: row.give}
			server, s := misbehaving(t, poptest.Conduct{}, letters(1), func(c *pop3.Config) {
				c.Password, c.TLS, c.Tokens = secret.Value{}, "starttls", given
			})
			var steps []string
			s.Probe(background(t), func(step sources.Step) {
				steps = append(steps, step.Name)
				if step.Err == nil {
					return
				}
				if row.class == 0 || step.Name != "sign-in" || sources.ClassOf(step.Err) != row.class || !strings.Contains(sources.RemedyOf(step.Err), "-PopEnabled $true") {
					t.Errorf("%s: %v; %s", step.Name, step.Err, sources.RemedyOf(step.Err))
				}
			})
			n := 0
			for _, c := range server.Commands() {
				if strings.HasPrefix(c.Text, "AUTH ") {
					n++
				}
			}
			if n != row.sessions || strings.Join(given.refused, " ") != row.refused {
				t.Errorf("%d sign-ins, %q refused", n, given.refused)
			}
			if !slices.Contains(steps, "sign-in") || len(steps) != len(slices.Compact(slices.Clone(steps))) {
				t.Errorf("steps %q", steps)
			}
			if err := s.Close(); err != nil || given.closed != 1 {
				t.Errorf("%v, closed %d times", err, given.closed)
			}
			if err := s.Close(); err != nil || given.closed != 1 {
				t.Errorf("%v, closed %d times after the second Close", err, given.closed)
			}
		})
	}
}

// tokenMailbox is a maildrop of Dovecot that is opened by token.
type tokenMailbox struct{ *mailbox }

func (m *tokenMailbox) Open(t *testing.T, setup sourcetest.Setup) sources.Source {
	t.Helper()
	cfg := m.config(setup)
	cfg.Password, cfg.Tokens = secret.Value{}, &tokens{give: []string{"token-" + m.user}}
	return open(t, cfg)
}

// A real server that has tokens introspected takes them by either mechanism.
func TestDovecotByToken(t *testing.T) {
	for _, mechanism := range []string{"xoauth2", "oauthbearer"} {
		t.Run(mechanism, func(t *testing.T) {
			server := dovecot.Start(t, dovecot.Options{
				Users:  map[string]string{"user": "secret", "other": "secret"},
				Tokens: func(token string) (string, bool) { return strings.CutPrefix(token, "token-") }, Mechanisms: mechanism,
			})
			m := &tokenMailbox{&mailbox{server, "user"}}
			m.Deliver(t, sources.Inbox, sourcetest.Mail{Raw: []byte(letters(1)[0])})
			s := m.Open(t, sourcetest.Setup{})
			folders, err := s.Folders(t.Context())
			if err != nil || len(folders) != 1 {
				t.Fatal(folders, err)
			}
			tree, err := s.(sources.Lister).Tree(t.Context())
			if err != nil || len(tree) != 1 || tree[0].Messages != 1 {
				t.Errorf("%+v, %v", tree, err)
			}
			// The token of another does not open the maildrop.
			cfg := m.config(sourcetest.Setup{})
			cfg.Password, cfg.Tokens = secret.Value{}, &tokens{give: []string{"token-other"}}
			if _, err := open(t, cfg).Folders(t.Context()); sources.ClassOf(err) != sources.SignIn || strings.Contains(err.Error(), "token-other") {
				t.Errorf("the token of another: %v", err)
			}
		})
	}
}
