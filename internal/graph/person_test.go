package graph

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"postroom/internal/secret"
	"postroom/internal/vault"
)

const (
	me  = "me@contoso.example"
	day = 24 * time.Hour
)

// desk stands in for Entra where persons sign in. Each request takes the next of
// the answers; after the last it goes on with that.
type desk struct {
	t       *testing.T
	answers []reply
	seen    []url.Values
	at      []time.Time
}

type reply struct {
	status int
	body   map[string]any
	err    error
	// first is called before the answer is given.
	first func()
}

func (d *desk) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, err
	}
	form.Set("path", r.URL.Path)
	d.seen, d.at = append(d.seen, form), append(d.at, time.Now())
	a := d.answers[0]
	if len(d.answers) > 1 {
		d.answers = d.answers[1:]
	}
	if a.first != nil {
		a.first()
	}
	if a.err != nil {
		return nil, a.err
	}
	text, err := json.Marshal(a.body)
	if err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: a.status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(string(text))), Request: r}, nil
}

var begun = reply{status: 200, body: map[string]any{"device_code": "device", "user_code": "ABC", "verification_uri": "https://login.example/device", "expires_in": 900, "interval": 5}}

func failure(oauth string, code int) reply {
	return reply{status: 400, body: map[string]any{"error": oauth, "error_description": "AADSTS: it is so. Trace ID: x", "error_codes": []int{code}}}
}

// granted is a token of a person.
func granted(user, refresh string) reply {
	claims, _ := json.Marshal(map[string]any{"preferred_username": user, "oid": "66666666-0000-0000-0000-000000000000"})
	return reply{status: 200, body: map[string]any{
		"token_type": "Bearer", "expires_in": 3600, "access_token": "access of " + refresh, "refresh_token": refresh,
		"id_token": "e30." + base64.RawURLEncoding.EncodeToString(claims) + ".c2ln",
	}}
}

func (d *desk) open(v *vault.Vault) *Client {
	d.t.Helper()
	c, err := new(Clients).Open(Settings{TenantID: tenant, ClientID: app, Flow: DeviceCode, Person: &Person{
		Mailbox: "Me@contoso.example", Vault: v, Name: "sign-in/mine", Command: "postroom sign-in --credentials mine",
	}})
	if err != nil {
		d.t.Fatal(err)
	}
	c.rt = d
	d.t.Cleanup(c.Close)
	return c
}

// keptIn returns the refresh token that is kept, "" if there is none.
func keptIn(t *testing.T, v *vault.Vault) string {
	t.Helper()
	value, err := v.Get("sign-in/mine")
	if errors.Is(err, vault.ErrUnknown) {
		return ""
	}
	var k kept
	if err == nil {
		err = json.Unmarshal([]byte(value.Reveal()), &k)
	}
	if err != nil {
		t.Fatal(err)
	}
	return k.RefreshToken
}

func explained(t *testing.T, err error, reason Reason, words ...string) {
	t.Helper()
	var e *SignInError
	if !errors.As(err, &e) || e.Reason != reason {
		t.Fatalf("error %v, want one of reason %d", err, reason)
	}
	for _, word := range words {
		if !strings.Contains(e.Error()+"\n"+e.Remedy, word) {
			t.Errorf("%q, %q does not say %q", e, e.Remedy, word)
		}
	}
}

// A person is waited for at the pace that Entra asks for, through trouble.
func TestSignInPerson(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := vault.In(t.TempDir())
		d := &desk{t: t, answers: []reply{
			begun, failure("authorization_pending", 70016), failure("slow_down", 70016), failure("authorization_pending", 70016),
			{err: errors.New("connection reset")}, {status: 503, body: map[string]any{}}, granted(me, "first"),
		}}
		c := d.open(v)
		var shown []Prompt
		began := time.Now()
		user, err := c.SignInPerson(t.Context(), []string{c.GraphScope()}, func(p Prompt) { shown = append(shown, p) })
		if err != nil || user != me || keptIn(t, v) != "first" {
			t.Fatalf("%q, %v", user, err)
		}
		if len(shown) != 1 || shown[0].Code != "ABC" || shown[0].URL != "https://login.example/device" || shown[0].Expires.Sub(began) != 15*time.Minute {
			t.Errorf("%+v", shown)
		}
		var pauses []time.Duration
		for i := 1; i < len(d.at); i++ {
			pauses = append(pauses, d.at[i].Sub(d.at[i-1])/time.Second)
		}
		if want := []time.Duration{5, 5, 10, 10, 20, 40}; !slices.Equal(pauses, want) {
			t.Errorf("pauses of %v s, want %v", pauses, want)
		}
		for i, form := range d.seen {
			endpoint := map[bool]string{true: "devicecode", false: "token"}[i == 0]
			if form.Get("path") != "/"+tenant+"/oauth2/v2.0/"+endpoint || form.Has("client_secret") || form.Get("client_id") != app ||
				form.Get("scope") != "https://graph.microsoft.com/Mail.ReadWrite offline_access openid profile" {
				t.Errorf("request %d: %v", i, form)
			}
		}
	})
}

func TestSignInPersonFails(t *testing.T) {
	for name, row := range map[string]struct {
		answers []reply
		reason  Reason
		words   []string
	}{
		"declined":       {[]reply{begun, failure("authorization_declined", 65004)}, Refused, []string{"declined"}},
		"expired":        {[]reply{begun, failure("expired_token", 70020)}, NotSignedIn, []string{"not used in time"}},
		"never entered":  {[]reply{begun, failure("authorization_pending", 70016)}, NotSignedIn, []string{"not used in time"}},
		"another person": {[]reply{begun, granted("boss@contoso.example", "x")}, WrongPerson, []string{"boss@contoso.example", "Me@contoso.example"}},
		"no person":      {[]reply{begun, granted("", "x")}, Refused, []string{"not said who"}},
		"no refresh token": {[]reply{begun, {status: 200, body: map[string]any{"token_type": "Bearer", "access_token": "a", "expires_in": 60}}},
			Refused, []string{"no refresh token"}},
		"not public":        {[]reply{failure("invalid_client", 7000218)}, WrongClient, []string{"Allow public client flows"}},
		"no such scope":     {[]reply{failure("invalid_client", 650053)}, NoConsent, []string{"Mail.ReadWrite"}},
		"policy":            {[]reply{begun, failure("invalid_grant", 53003)}, Blocked, []string{"Conditional Access"}},
		"no such tenant":    {[]reply{failure("invalid_request", 90002)}, WrongTenant, []string{"tenant_id"}},
		"nothing of Entra":  {[]reply{{status: 200, body: map[string]any{"a": 1}}}, Refused, nil},
		"portal":            {[]reply{{status: 302, body: map[string]any{}}}, AuthorityDown, []string{"proxy"}},
		"odd code":          {[]reply{begun, failure("bad_verification_code", 70018)}, Refused, nil},
		"disabled":          {[]reply{begun, failure("invalid_grant", 50057)}, Blocked, []string{"disabled"}},
		"person's MFA late": {[]reply{begun, failure("interaction_required", 50076)}, NotSignedIn, []string{"multi-factor"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := vault.In(t.TempDir())
				before := secret.New(`{"refresh_token":"before"}`)
				if err := v.Set(t.Context(), "sign-in/mine", before); err != nil {
					t.Fatal(err)
				}
				d := &desk{t: t, answers: row.answers}
				c := d.open(v)
				_, err := c.SignInPerson(t.Context(), []string{c.GraphScope()}, func(Prompt) {})
				explained(t, err, row.reason, row.words...)
				if keptIn(t, v) != "before" {
					t.Error("what was kept before is not there any more")
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		d := &desk{t: t, answers: []reply{begun, failure("authorization_pending", 70016)}}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		c := d.open(vault.In(t.TempDir()))
		if _, err := c.SignInPerson(ctx, []string{c.GraphScope()}, func(Prompt) {}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("after the context has ended: %v", err)
		}
	})
}

// What one sign-in does for several services it does with one code, unless a
// service wants to see the person.
func TestSignInPersonForServices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := vault.In(t.TempDir())
		d := &desk{t: t, answers: []reply{begun, granted(me, "1"), granted(me, "2"), failure("invalid_grant", 65001), begun, granted(me, "3")}}
		codes := 0
		if _, err := d.open(v).SignInPerson(t.Context(), []string{"https://a/x", "https://b/y", "https://c/z"}, func(Prompt) { codes++ }); err != nil || codes != 2 || keptIn(t, v) != "3" {
			t.Errorf("%v, %d codes, kept %q", err, codes, keptIn(t, v))
		}
		if d.seen[2].Get("refresh_token") != "1" || d.seen[3].Get("refresh_token") != "2" {
			t.Errorf("%v", d.seen)
		}
	})
}

func (c *Client) signInMe(t *testing.T) {
	t.Helper()
	if _, err := c.SignInPerson(t.Context(), []string{c.GraphScope()}, func(Prompt) {}); err != nil {
		t.Fatal(err)
	}
}

// Each refresh token that Entra hands out replaces the one before, durably and
// before the token that came with it is used.
func TestRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := vault.In(t.TempDir())
		d := &desk{t: t, answers: []reply{begun, granted(me, "1"), granted(me, "2"), {status: 200, body: map[string]any{"token_type": "bearer", "access_token": "a", "expires_in": "3600"}}, granted(me, "4")}}
		c := d.open(v)
		c.signInMe(t)
		for n, want := range []string{"2", "2", "4"} {
			token, err := c.tokens.get(t.Context())
			if err != nil || token == "" || keptIn(t, v) != want {
				t.Fatalf("%d: %v, kept %q, want %q", n, err, keptIn(t, v), want)
			}
			asked := len(d.seen)
			if again, err := c.tokens.get(t.Context()); err != nil || again != token || len(d.seen) != asked {
				t.Errorf("%d: the token is not used again: %v", n, err)
			}
			time.Sleep(time.Hour)
		}
		if d.seen[4].Get("refresh_token") != "2" {
			t.Errorf("%v", d.seen[4])
		}

		// Another process goes on from what is kept.
		other := &desk{t: t, answers: []reply{granted(me, "5")}}
		if _, err := other.open(v).tokens.get(t.Context()); err != nil || other.seen[0].Get("refresh_token") != "4" || keptIn(t, v) != "5" {
			t.Errorf("%v, %v", err, other.seen)
		}
	})
}

// A token is not used whose refresh token cannot be kept.
func TestRotationNotKept(t *testing.T) {
	v := vault.In(t.TempDir())
	d := &desk{t: t, answers: []reply{granted(me, "1"), granted(me, "2")}}
	c := d.open(v)
	k := kept{RefreshToken: "0", User: me, Tenant: tenant, Client: app, Authority: c.cloud.Authority, SignedIn: time.Now()}
	value, err := k.sealed()
	if err == nil {
		err = v.Set(t.Context(), "sign-in/mine", value)
	}
	// A folder in place of the lock: nothing can be changed, and all be read.
	lock := v.Dir() + "/lock"
	for _, err := range []error{err, os.Remove(lock), os.Mkdir(lock, 0o500)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	_, err = c.tokens.get(t.Context())
	explained(t, err, NotKept, "cannot be kept", v.Dir())
	if !err.(*SignInError).Temporary() {
		t.Error("it does not pass")
	}
	if err := os.Remove(lock); err != nil {
		t.Fatal(err)
	}
	if _, err := c.tokens.get(t.Context()); err != nil || keptIn(t, v) != "2" {
		t.Errorf("%v, kept %q", err, keptIn(t, v))
	}
}

// A sign-in of a moment ago is not undone by a token that was asked for with the
// one before.
func TestSignInMeanwhile(t *testing.T) {
	v := vault.In(t.TempDir())
	late := granted(me, "2")
	late.first = func() {
		d := &desk{t: t, answers: []reply{begun, granted(me, "new")}}
		synctest.Test(t, func(t *testing.T) { d.t = t; d.open(v).signInMe(t) })
	}
	d := &desk{t: t, answers: []reply{late}}
	c := d.open(v)
	k := kept{RefreshToken: "1", User: me, Tenant: tenant, Client: app, Authority: c.cloud.Authority, SignedIn: time.Now()}
	value, err := k.sealed()
	if err == nil {
		err = v.Set(t.Context(), "sign-in/mine", value)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.tokens.get(t.Context()); err != nil || keptIn(t, v) != "new" {
		t.Errorf("%v, kept %q", err, keptIn(t, v))
	}
}

// A sign-in that Entra will not take again is not tried again until somebody has
// signed in anew.
func TestRevoked(t *testing.T) {
	for code, row := range map[int]struct{ oauth, word string }{
		50173: {"invalid_grant", "revoked"}, 700082: {"invalid_grant", "not used for too long"}, 70043: {"invalid_grant", "sign-in frequency"},
		50076: {"interaction_required", "multi-factor"}, 99: {"invalid_grant", "not accepted any more"},
	} {
		synctest.Test(t, func(t *testing.T) {
			v := vault.In(t.TempDir())
			d := &desk{t: t, answers: []reply{begun, granted(me, "1"), failure(row.oauth, code), begun, granted(me, "2"), granted(me, "3")}}
			c := d.open(v)
			c.signInMe(t)
			for range 5 {
				_, err := c.tokens.get(t.Context())
				explained(t, err, NotSignedIn, row.word, "Me@contoso.example", "postroom sign-in --credentials mine")
				_, err = c.Resource("https://outlook.office365.com/IMAP.AccessAsUser.All", "x").Token(t.Context())
				explained(t, err, NotSignedIn, row.word)
				time.Sleep(time.Minute)
			}
			if len(d.seen) != 3 {
				t.Errorf("%d: %d requests, want 3", code, len(d.seen))
			}
			c.signInMe(t)
			if _, err := c.tokens.get(t.Context()); err != nil || keptIn(t, v) != "3" {
				t.Errorf("after a new sign-in: %v", err)
			}
		})
	}
}

// What passes is tried again.
func TestTroubleIsNotRevocation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &desk{t: t, answers: []reply{begun, granted(me, "1"), {status: 503, body: map[string]any{"error": "temporarily_unavailable"}}, {err: errors.New("reset")}, granted(me, "2")}}
		c := d.open(vault.In(t.TempDir()))
		c.signInMe(t)
		for n := range 3 {
			if _, err := c.tokens.get(t.Context()); (err == nil) != (n == 2) {
				t.Errorf("%d: %v", n, err)
			}
		}
	})
}

func TestNotSignedIn(t *testing.T) {
	const command = "postroom sign-in --credentials mine"
	v := vault.In(t.TempDir())
	d := &desk{t: t, answers: []reply{granted(me, "x")}}
	c := d.open(v)
	_, err := c.tokens.get(t.Context())
	explained(t, err, NotSignedIn, "nobody has signed in", command)
	if p, err := c.Proof(t.Context()); err != nil || !p.Expires.IsZero() {
		t.Errorf("%+v, %v", p, err)
	}
	for name, row := range map[string]struct {
		change func(*kept)
		reason Reason
		word   string
	}{
		"another application": {func(k *kept) { k.Client = "another" }, NotSignedIn, "another"},
		"another tenant":      {func(k *kept) { k.Tenant = "fabrikam.com" }, NotSignedIn, "fabrikam.com"},
		"another cloud":       {func(k *kept) { k.Authority = "https://login.microsoftonline.us" }, NotSignedIn, ""},
		"another person":      {func(k *kept) { k.User = "boss@contoso.example" }, WrongPerson, "boss@contoso.example"},
		"of another version":  {func(k *kept) { k.RefreshToken = "" }, NotSignedIn, "another version"},
	} {
		k := kept{RefreshToken: "0", User: me, Tenant: tenant, Client: app, Authority: c.cloud.Authority}
		row.change(&k)
		value, err := k.sealed()
		if err == nil {
			err = v.Set(t.Context(), "sign-in/mine", value)
		}
		if err != nil {
			t.Fatal(err)
		}
		_, err = d.open(v).tokens.get(t.Context())
		explained(t, err, row.reason, row.word, command)
		if len(d.seen) != 0 {
			t.Fatalf("%s: Entra was asked", name)
		}
	}
	if err := os.WriteFile(v.Dir()+"/key", []byte(strings.Repeat("x", 32)), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = d.open(v).tokens.get(t.Context())
	explained(t, err, NotSignedIn, command)
}

// The end of a sign-in is told in the last third of its life, once a day.
func TestSignInEndsSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		short := granted(me, "1")
		short.body["refresh_token_expires_in"] = 9 * 24 * 3600
		d := &desk{t: t, answers: []reply{begun, short}}
		c := d.open(vault.In(t.TempDir()))
		c.signInMe(t)
		signedIn := time.Now()
		for _, step := range []struct {
			after time.Duration
			soon  bool
		}{{0, false}, {5 * day, false}, {day, true}, {time.Hour, false}, {day, true}} {
			time.Sleep(step.after)
			p, soon, err := c.ExpiresSoon(t.Context(), 30*day)
			if err != nil || soon != step.soon || p.Name != me || p.Expires.Sub(signedIn).Round(time.Minute) != 9*day || !strings.Contains(p.Renew, "postroom sign-in") {
				t.Errorf("after %v: %+v, %v, %v", time.Since(signedIn), p, soon, err)
			}
		}
	})
}
