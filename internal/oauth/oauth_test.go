package oauth_test

import (
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"postroom/internal/oauth"
	"postroom/internal/secret"
)

const hidden = "eyJh.token-of.c2ln"

// TestFirst holds the examples of RFC 7628 4.1 and of Microsoft's documentation of
// XOAUTH2, and what those do not show.
func TestFirst(t *testing.T) {
	for name, row := range map[string]struct {
		mechanism, user, host, port, token, first, last string
	}{
		"RFC 7628": {oauth.OAuthBearer, "user@example.com", "server.example.com", "143", "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==",
			"n,a=user@example.com,\x01host=server.example.com\x01port=143\x01auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\x01\x01", "\x01"},
		"name with signs": {oauth.OAuthBearer, "a,b=c@example.com", "s", "993", "t", "n,a=a=2Cb=3Dc@example.com,\x01host=s\x01port=993\x01auth=Bearer t\x01\x01", "\x01"},
		"IPv6":            {oauth.OAuthBearer, "u", "::1", "993", "t", "n,a=u,\x01host=[::1]\x01port=993\x01auth=Bearer t\x01\x01", "\x01"},
		"IPv4":            {oauth.OAuthBearer, "u", "127.0.0.1", "993", "t", "n,a=u,\x01host=127.0.0.1\x01port=993\x01auth=Bearer t\x01\x01", "\x01"},
		"XOAUTH2":         {oauth.XOAuth2, "a,b=c@example.com", "s", "993", "t", "user=a,b=c@example.com\x01auth=Bearer t\x01\x01", ""},
	} {
		a := oauth.New(row.mechanism, row.user, row.host, row.port, secret.New(row.token))
		if string(a.First) != row.first || string(a.Last) != row.last || a.Mechanism != row.mechanism {
			t.Errorf("%s: %q, %q", name, a.First, a.Last)
		}
	}
}

func TestChoose(t *testing.T) {
	for offered, want := range map[string]string{
		"": "", "PLAIN LOGIN": "", "PLAIN XOAUTH2": "XOAUTH2", "XOAUTH2 OAUTHBEARER": "OAUTHBEARER", "OAUTHBEARER": "OAUTHBEARER",
	} {
		got := oauth.Choose(func(m string) bool { return slices.Contains(strings.Fields(offered), m) })
		if got != want {
			t.Errorf("%q: %q, want %q", offered, got, want)
		}
	}
}

// A server that repeats what it was sent tells nobody the token.
func TestHide(t *testing.T) {
	for _, mechanism := range []string{oauth.OAuthBearer, oauth.XOAuth2} {
		a := oauth.New(mechanism, "user@example.com", "s", "993", secret.New(hidden))
		first := base64.StdEncoding.EncodeToString(a.First)
		for _, said := range []string{
			hidden, "Bearer " + hidden, first, "bad line 'A1 AUTHENTICATE " + mechanism + " " + first + "'",
			base64.StdEncoding.EncodeToString([]byte(hidden)), base64.RawURLEncoding.EncodeToString(a.First), string(a.First),
		} {
			shown := a.Hide("no: " + said + " refused")
			for _, leak := range []string{hidden, "token-of", first, base64.StdEncoding.EncodeToString([]byte(hidden))[:12], first[20:]} {
				if strings.Contains(shown, leak) {
					t.Errorf("%q shows %q as %q", said, leak, shown)
				}
			}
			if !strings.HasPrefix(shown, "no: ") || !strings.HasSuffix(shown, " refused") {
				t.Errorf("too much is hidden: %q", shown)
			}
		}
	}
	if got := oauth.New(oauth.XOAuth2, "u", "", "", secret.Value{}).Hide("as it is"); got != "as it is" {
		t.Errorf("without a token: %q", got)
	}
}

func TestSaid(t *testing.T) {
	a := oauth.New(oauth.XOAuth2, "u", "s", "993", secret.New(hidden))
	for challenge, want := range map[string]string{
		`{"status":"invalid_token","scope":"mail"}`:                              "invalid_token",
		`{"status":"400","schemes":"Bearer","scope":"https://mail.google.com/"}`: "400",
		`{"status":"401","error_description":"expired ` + hidden + `\r\n* OK"}`:  "401 expired *** * OK",
		`{"status":400}`: "", "": "", "no JSON": "", `{"other":1}`: "",
		`{"status":"` + strings.Repeat("é", 300) + `"}`: strings.Repeat("é", 100) + "…",
	} {
		if got := a.Said([]byte(challenge)); got != want {
			t.Errorf("%s: %q, want %q", challenge, got, want)
		}
	}
}

func TestReadClaims(t *testing.T) {
	token := func(claims map[string]any) secret.Value {
		body, err := json.Marshal(claims)
		if err != nil {
			t.Fatal(err)
		}
		return secret.New("e30." + base64.RawURLEncoding.EncodeToString(body) + ".c2ln")
	}
	c := oauth.ReadClaims(token(map[string]any{"roles": []string{"IMAP.AccessAsApp"}, "tid": "t", "appid": "a", "oid": "o", "exp": 1.8e9}))
	if !c.Known || !slices.Equal(c.Roles, []string{"IMAP.AccessAsApp"}) || c.TenantID != "t" || c.App != "a" || c.Object != "o" || !c.Expires.Equal(time.Unix(1.8e9, 0)) {
		t.Errorf("%+v", c)
	}
	if c := oauth.ReadClaims(token(map[string]any{"scp": "A B", "upn": "u"})); !slices.Equal(c.Scopes, []string{"A", "B"}) || c.User != "u" || c.Roles != nil {
		t.Errorf("of a person: %+v", c)
	}
	if c := oauth.ReadClaims(token(map[string]any{"azp": "a"})); !c.Known || c.App != "a" || c.Roles != nil {
		t.Errorf("version 2: %+v", c)
	}
	for _, other := range []string{"", "opaque", "a.b.c", "e30.e30", "e30.WzFd.x", "e30.bm8.x"} {
		if c := oauth.ReadClaims(secret.New(other)); c.Known {
			t.Errorf("%q: %+v", other, c)
		}
	}
}

// A person's token has other permissions than an application's, and needs other
// help.
func TestDelegated(t *testing.T) {
	mine := oauth.Claims{Known: true, Scopes: []string{"IMAP.AccessAsUser.All"}, User: "me@example.com"}
	if oauth.IMAP.Lacks(mine) || !oauth.POP3.Lacks(mine) || !oauth.IMAP.Lacks(oauth.Claims{Known: true, Roles: []string{"IMAP.AccessAsUser.All"}}) {
		t.Error("the wrong permission counts")
	}
	for _, row := range []struct {
		p     oauth.Protocol
		words []string
	}{
		{oauth.IMAP, []string{"own mailbox only", "Set-CASMailbox -Identity me@example.com -ImapEnabled $true"}},
		{oauth.POP3, []string{"Delegated permissions, POP.AccessAsUser.All", "sign in again"}},
	} {
		remedy := row.p.Remedy("me@example.com", mine)
		for _, word := range row.words {
			if !strings.Contains(remedy, word) {
				t.Errorf("%s: %q does not say %q", row.p.Name, remedy, word)
			}
		}
		if strings.Contains(remedy, "ServicePrincipal") {
			t.Errorf("%q is for an application", remedy)
		}
	}
}
