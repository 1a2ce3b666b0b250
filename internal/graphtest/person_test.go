package graphtest_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"postroom/internal/graphtest"
)

const (
	mailScope    = "https://graph.microsoft.com/Mail.ReadWrite"
	openIDScopes = " offline_access openid profile"
)

// publicServer has an application that a person may sign in to with a code.
func publicServer(t *testing.T) (*graphtest.Server, *clock, *client) {
	c := newClock()
	s := graphtest.Start(t, graphtest.Options{Clock: c.now, Resources: []string{"https://outlook.office365.com"}})
	s.ChangeApp(func(a *graphtest.App) {
		a.Public, a.Delegated, a.Roles = true, []string{"Mail.ReadWrite", "IMAP.AccessAsUser.All"}, nil
	})
	return s, c, newClient(t, s)
}

func (c *client) form(endpoint string, form url.Values) (int, map[string]any) {
	c.Helper()
	form.Set("client_id", c.server.ClientID())
	resp, err := c.http.PostForm(c.server.AuthorityURL()+"/"+c.server.Tenant()+"/oauth2/v2.0/"+endpoint, form)
	if err != nil {
		c.Fatal(err)
	}
	return resp.StatusCode, c.decode(resp)
}

func (c *client) begin(scope string) (deviceCode string) {
	c.Helper()
	status, body := c.form("devicecode", url.Values{"scope": {scope}})
	if status != 200 || body["interval"] != 5.0 || body["expires_in"] != 900.0 || body["verification_uri"] == "" {
		c.Fatalf("%d %v", status, body)
	}
	return body["device_code"].(string)
}

func (c *client) poll(deviceCode, scope string) (int, map[string]any) {
	c.Helper()
	return c.form("token", url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"}, "device_code": {deviceCode}, "scope": {scope}})
}

func (c *client) refresh(token, scope string) (int, map[string]any) {
	c.Helper()
	return c.form("token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}, "scope": {scope}})
}

func (c *client) denied(doing string, status int, body map[string]any, oauth string, code float64) {
	c.Helper()
	codes, _ := body["error_codes"].([]any)
	if status < 400 || body["error"] != oauth || len(codes) != 1 || codes[0] != code || body["access_token"] != nil {
		c.Errorf("%s: %d %v, want %s %v", doing, status, body, oauth, code)
	}
}

func TestDeviceCode(t *testing.T) {
	s, clock, c := publicServer(t)
	scope := mailScope + openIDScopes
	code := c.begin(scope)
	status, body := c.poll(code, scope)
	c.denied("at first", status, body, "authorization_pending", 70016)
	clock.pass(2 * time.Second)
	status, body = c.poll(code, scope)
	c.denied("too early", status, body, "slow_down", 70016)
	clock.pass(6 * time.Second)
	status, body = c.poll(code, scope)
	c.denied("too early for the longer interval", status, body, "slow_down", 70016)
	if err := s.EnterCode("nonsense", "me@contoso.example"); err == nil {
		t.Error("any code can be entered")
	}
	if err := s.EnterCode(s.UserCode(), address); err != nil {
		t.Fatal(err)
	}
	clock.pass(15 * time.Second)
	status, body = c.poll(code, scope)
	if status != 200 || body["refresh_token"] == nil || body["id_token"] == nil || body["token_type"] != "Bearer" {
		t.Fatalf("%d %v", status, body)
	}
	status, again := c.poll(code, scope)
	c.denied("a second time", status, again, "bad_verification_code", 70018)

	// The token opens that person's mailbox alone.
	s.AddMailbox(address, graphtest.MailboxOptions{})
	s.AddMailbox("other@contoso.example", graphtest.MailboxOptions{})
	c.token = body["access_token"].(string)
	for path, want := range map[string]int{"/users/" + address + "/mailFolders": 200, "/users/other@contoso.example/mailFolders": 403} {
		resp, err := c.send(http.MethodGet, path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if c.decode(resp); resp.StatusCode != want {
			t.Errorf("%s: %d, want %d", path, resp.StatusCode, want)
		}
	}

	declined := c.begin(scope)
	if err := s.DeclineCode(s.UserCode()); err != nil {
		t.Fatal(err)
	}
	status, body = c.poll(declined, scope)
	c.denied("declined", status, body, "authorization_declined", 65004)
	late := c.begin(scope)
	clock.pass(16 * time.Minute)
	status, body = c.poll(late, scope)
	c.denied("late", status, body, "expired_token", 70020)
	if err := s.EnterCode(s.UserCode(), address); err == nil {
		t.Error("a code that has expired can be entered")
	}
}

func TestDeviceCodeRefused(t *testing.T) {
	s, _, c := publicServer(t)
	for name, row := range map[string]struct {
		form  url.Values
		oauth string
		code  float64
	}{
		"no scope":             {url.Values{}, "invalid_request", 900144},
		"a secret":             {url.Values{"scope": {mailScope}, "client_secret": {"x"}}, "invalid_client", 700025},
		"unknown permission":   {url.Values{"scope": {"https://graph.microsoft.com/Mail.Send"}}, "invalid_client", 650053},
		"no permission":        {url.Values{"scope": {"openid"}}, "invalid_scope", 70011},
		"two services":         {url.Values{"scope": {mailScope + " https://outlook.office365.com/IMAP.AccessAsUser.All"}}, "invalid_request", 28000},
		"unknown service":      {url.Values{"scope": {"https://example.com/Mail.Read"}}, "invalid_resource", 500011},
		"no name of a service": {url.Values{"scope": {"Mail.Read.Some"}}, "invalid_scope", 70011},
	} {
		status, body := c.form("devicecode", row.form)
		c.denied(name, status, body, row.oauth, row.code)
	}
	s.ChangeApp(func(a *graphtest.App) { a.Public = false })
	status, body := c.form("devicecode", url.Values{"scope": {mailScope}})
	c.denied("not public", status, body, "invalid_client", 7000218)
}

func TestRefresh(t *testing.T) {
	s, clock, c := publicServer(t)
	scope := mailScope + openIDScopes
	signIn := func() string {
		code := c.begin(scope)
		if err := s.EnterCode(s.UserCode(), address); err != nil {
			t.Fatal(err)
		}
		status, body := c.poll(code, scope)
		if status != 200 {
			t.Fatalf("%d %v", status, body)
		}
		return body["refresh_token"].(string)
	}
	first := signIn()
	status, body := c.refresh(first, scope)
	if status != 200 || body["refresh_token"] == first || body["refresh_token"] == nil {
		t.Fatalf("%d %v", status, body)
	}
	if status, body := c.refresh(first, scope); status != 200 {
		t.Errorf("the one before is not good any more: %d %v", status, body)
	}
	if status, body := c.refresh(first, mailScope); status != 200 || body["refresh_token"] != nil || body["id_token"] != nil {
		t.Errorf("without the scopes of OpenID Connect: %d %v", status, body)
	}
	const imap = "https://outlook.office365.com/IMAP.AccessAsUser.All"
	status, body = c.refresh(first, imap)
	c.denied("without consent", status, body, "invalid_grant", 65001)
	s.ChangeApp(func(a *graphtest.App) { a.Consented = true })
	status, body = c.refresh(first, imap)
	if user, scopes, ok := s.ValidUser(body["access_token"].(string), "https://outlook.office365.com"); status != 200 || !ok || user != address || !slices.Equal(scopes, []string{"IMAP.AccessAsUser.All"}) {
		t.Errorf("%d %q %v %v", status, user, scopes, ok)
	}
	status, body = c.refresh("x", scope)
	c.denied("another", status, body, "invalid_grant", 9002313)
	for code, oauth := range map[int]string{50173: "invalid_grant", 70043: "invalid_grant", 50076: "interaction_required"} {
		s.RevokeSignIns(address, code)
		status, body = c.refresh(first, scope)
		c.denied("revoked", status, body, oauth, float64(code))
		if claims, _ := body["claims"].(string); (code == 50076) != strings.Contains(claims, "capolids") {
			t.Errorf("%d: claims %q", code, claims)
		}
	}
	unused := signIn()
	s.SetSignInLife(24 * time.Hour)
	if _, body := c.refresh(unused, scope); body["refresh_token_expires_in"] != 86400.0 {
		t.Errorf("%v", body)
	}
	clock.pass(91 * 24 * time.Hour)
	status, body = c.refresh(unused, scope)
	c.denied("unused", status, body, "invalid_grant", 700082)
}
