package graphtest_test

import (
	"net/http"
	"net/url"
	"slices"
	"testing"
	"time"

	"postroom/internal/graphtest"
)

// A token is good for the service that it was had for, until its end.
func TestTokensOfOtherServices(t *testing.T) {
	const mail = "https://outlook.office365.com"
	clock := newClock()
	s := graphtest.Start(t, graphtest.Options{Clock: clock.now, Resources: []string{mail}})
	s.AddMailbox(address, graphtest.MailboxOptions{})
	s.ChangeApp(func(a *graphtest.App) { a.Roles = []string{"IMAP.AccessAsApp"} })
	c := newClient(t, s)
	token := func(resource string) string {
		t.Helper()
		status, body := c.signIn(func(v url.Values) { v.Set("scope", resource+"/.default") })
		if status != 200 {
			t.Fatalf("%s: %d %v", resource, status, body)
		}
		return body["access_token"].(string)
	}
	c.token = token(mail)
	if app, roles, ok := s.Valid(c.token, mail); !ok || app != s.ClientID() || !slices.Equal(roles, []string{"IMAP.AccessAsApp"}) {
		t.Errorf("%q, %q, %v", app, roles, ok)
	}
	c.refused(401, "InvalidAuthenticationToken", http.MethodGet, "mailFolders", nil)
	if _, _, ok := s.Valid(c.token, "https://other.example"); ok {
		t.Error("it is good for another service")
	}
	if _, _, ok := s.Valid(token(graphtest.Public.Graph), mail); ok {
		t.Error("one of Graph is good for mail")
	}
	s.RevokeTokens()
	if _, _, ok := s.Valid(c.token, mail); ok {
		t.Error("it is good after it was revoked")
	}
	again := token(mail)
	clock.pass(2 * time.Hour)
	if _, _, ok := s.Valid(again, mail); ok {
		t.Error("it is good after its end")
	}
}
