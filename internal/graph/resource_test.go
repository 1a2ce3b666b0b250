package graph

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"postroom/internal/oauth"
	"postroom/internal/secret"
)

const mailScope = "https://outlook.office365.com/.default"

// Each service has tokens of its own, one at a time for all who share the
// credential.
func TestTokensOfAnotherService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var scopes []string
		f := &world{}
		f.authority = func(w http.ResponseWriter, r *http.Request) {
			if err := r.ParseForm(); err != nil {
				t.Error(err)
			}
			for scope := range strings.FieldsSeq(r.PostForm.Get("scope")) {
				if strings.HasSuffix(scope, "/.default") {
					scopes = append(scopes, scope)
				}
			}
			f.issue(w)
		}
		clients := new(Clients)
		first, second := f.open(t, clients, settings()), f.open(t, clients, settings())
		get := func(c *Client) string {
			t.Helper()
			token, err := c.Resource(mailScope, "Exchange Online").Token(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return token.Reveal()
		}
		one := get(first)
		if two := get(second); one != two || len(scopes) != 1 || scopes[0] != mailScope {
			t.Errorf("two who share a credential ask for %q", scopes)
		}
		if _, err := first.SignIn(t.Context()); err != nil || len(scopes) != 2 || scopes[1] != "https://graph.microsoft.com/.default" {
			t.Errorf("Graph: %q, %v", scopes, err)
		}
		time.Sleep(54 * time.Minute)
		if get(second) != one {
			t.Error("it is replaced long before its end")
		}
		time.Sleep(2 * time.Minute)
		if get(second) == one || len(scopes) != 3 {
			t.Error("it is not replaced before its end")
		}
	})
}

// A token that the service refuses is replaced at once; the next only after a
// while, since it is not the token then.
func TestRefusedTokenOfAnotherService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &world{}
		r := f.open(t, new(Clients), settings()).Resource(mailScope, "Exchange Online")
		get := func() secret.Value {
			t.Helper()
			token, err := r.Token(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return token
		}
		one := get()
		r.Refused(t.Context(), one)
		two := get()
		if one.Reveal() == two.Reveal() || f.tokens != 2 {
			t.Fatal("a refused token is handed out again")
		}
		r.Refused(t.Context(), one) // by another, who had it before
		if get().Reveal() != two.Reveal() {
			t.Error("the new one is dropped for the old one")
		}
		r.Refused(t.Context(), two)
		if get().Reveal() != two.Reveal() || f.tokens != 2 {
			t.Error("one after the other is dropped")
		}
		time.Sleep(replaceEvery)
		r.Refused(t.Context(), two)
		if get().Reveal() == two.Reveal() || f.tokens != 3 {
			t.Error("it is never dropped again")
		}
	})
}

// What Entra refuses is told as for Graph, and names the service.
func TestRefusalForAnotherService(t *testing.T) {
	for name, row := range map[string]struct {
		answer func(http.ResponseWriter, *http.Request)
		reason Reason
		words  []string
	}{
		"unknown":     {entraError(400, 500011, "invalid_resource", "The resource principal was not found."), WrongCloud, []string{"Exchange Online", "https://outlook.office365.com", "cloud"}},
		"wrong":       {entraError(401, 7000215, "invalid_client", "Invalid client secret provided."), WrongSecret, []string{"secret is wrong", "Value"}},
		"another one": {entraError(401, 7000222, "invalid_client", "expired"), SecretExpired, []string{"expired", "new client secret"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				asked := 0
				f := &world{authority: func(w http.ResponseWriter, r *http.Request) { asked++; row.answer(w, r) }}
				r := f.open(t, new(Clients), settings()).Resource(mailScope, "Exchange Online")
				var refused *SignInError
				for range 5 {
					if _, err := r.Token(t.Context()); !errors.As(err, &refused) || refused.Reason != row.reason {
						t.Fatalf("%v", err)
					}
				}
				text := refused.Error() + "; " + refused.Remedy
				for _, word := range row.words {
					if !strings.Contains(text, word) {
						t.Errorf("%q does not say %q", text, word)
					}
				}
				if strings.Contains(text, "Graph") || strings.Contains(text, hidden) || asked != 1 {
					t.Errorf("after %d requests: %s", asked, text)
				}
			})
		})
	}
}

// The mail servers of each cloud want tokens of their own.
func TestMailScope(t *testing.T) {
	for cloud, want := range map[string]string{
		"": mailScope, "public": mailScope, "us_government": "https://outlook.office365.us/.default",
		"us_government_dod": "https://outlook-dod.office365.us/.default", "china": "https://partner.outlook.cn/.default",
		"custom": "https://mail.example.com/.default",
	} {
		s := settings()
		s.Cloud = cloud
		if cloud == "custom" {
			s.AuthorityHost, s.GraphEndpoint = "https://login.example.com", "https://graph.example.com"
		}
		c, err := new(Clients).Open(s)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.MailScope("mail.example.com", oauth.IMAP); got != want {
			t.Errorf("cloud %q: %q, want %q", cloud, got, want)
		}
		c.Close()
	}
}
