// Package oauth is how mail servers are signed in to with an OAuth 2.0 access
// token: by SASL OAUTHBEARER (RFC 7628), or by XOAUTH2, which Google and Microsoft
// had before it.
package oauth

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"net"
	"slices"
	"strings"
	"time"
	"unicode"

	"postroom/internal/secret"
)

// TokenSource hands out the access tokens of one application for one service. It
// may be shared, and its methods may be called concurrently.
type TokenSource interface {
	// Token returns a token that is good for some minutes. It is called for every
	// sign-in, and answers from a cache where it can. Its errors are meant to be
	// passed on as they are.
	Token(ctx context.Context) (secret.Value, error)
	// Refused tells that the service has refused the token. The next Token may be
	// another; if it is the same there is none better to be had now.
	Refused(ctx context.Context, token secret.Value)
	// Close ends the use. It is called once.
	Close()
}

// Prober is a TokenSource that can check, step by step, how it comes by tokens.
// Probe stops after the first step that fails. The names of the steps are those of
// sources.Step.
type Prober interface {
	Probe(ctx context.Context, report func(name, detail string, err error))
}

// The SASL mechanisms.
const (
	OAuthBearer = "OAUTHBEARER"
	XOAuth2     = "XOAUTH2"
)

// Choose returns the mechanism for a server that offers some: the standard's where
// there is a choice. It is "" where neither is offered.
func Choose(offers func(mechanism string) bool) string {
	for _, mechanism := range []string{OAuthBearer, XOAuth2} {
		if offers(mechanism) {
			return mechanism
		}
	}
	return ""
}

// Attempt is what one sign-in sends.
type Attempt struct {
	Mechanism string
	// First is the initial response. Last answers the challenge by which the server
	// tells why it refuses; it is empty with XOAUTH2. Neither is encoded.
	First, Last []byte

	token string
}

// New returns what signs in to the mailbox of the user at the server, host and
// port, by a mechanism of [Choose].
func New(mechanism, user, host, port string, token secret.Value) Attempt {
	a := Attempt{Mechanism: mechanism, token: token.Reveal()}
	if mechanism != OAuthBearer {
		a.First = []byte("user=" + user + "\x01auth=Bearer " + a.token + "\x01\x01")
		return a
	}
	if ip := net.ParseIP(host); ip != nil && ip.To4() == nil {
		host = "[" + host + "]"
	}
	// RFC 7628 3.1, with the name as in RFC 5801 4.
	name := strings.NewReplacer("=", "=3D", ",", "=2C").Replace(user)
	a.First = []byte("n,a=" + name + ",\x01host=" + host + "\x01port=" + port + "\x01auth=Bearer " + a.token + "\x01\x01")
	a.Last = []byte{1}
	return a
}

// Hide takes the token out of a text of the server, as it is and as it was sent.
func (a Attempt) Hide(text string) string {
	if a.token == "" {
		return text
	}
	hidden := []string{a.token}
	for _, raw := range []string{string(a.First), a.token} {
		// Without the last group, which depends on what follows.
		whole := base64.StdEncoding.EncodeToString([]byte(raw))
		hidden = append(hidden, whole, strings.TrimRight(whole, "="), base64.RawURLEncoding.EncodeToString([]byte(raw)))
	}
	// The longest first: others are parts of it.
	slices.SortFunc(hidden, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	for _, h := range hidden {
		text = strings.ReplaceAll(text, h, "***")
	}
	return text
}

// Said returns what the challenge, decoded, by which a server refuses a token says
// of the reason (RFC 7628 3.2.2), as a short line; "" if it says nothing.
func (a Attempt) Said(challenge []byte) string {
	var said struct {
		Status      string `json:"status"`
		Description string `json:"error_description"`
	}
	if json.Unmarshal(challenge, &said) != nil {
		return ""
	}
	text := strings.Join(strings.FieldsFunc(said.Status+" "+said.Description, func(r rune) bool {
		return unicode.IsSpace(r) || !unicode.IsPrint(r)
	}), " ")
	if text = a.Hide(text); len(text) > 200 {
		text = strings.ToValidUTF8(text[:200], "") + "…"
	}
	return text
}

// Claims are what an access token says of itself. They are for people: what may
// be done is decided by the service alone.
type Claims struct {
	// Known is false when the token cannot be read.
	Known bool
	// Roles are the permissions of an application that signs in by itself, Scopes
	// those that a person, User, has given it.
	Roles, Scopes []string
	User          string
	// TenantID, App and Object are the tenant, the application's client id, and the
	// object id of its service principal.
	TenantID, App, Object string
	Expires               time.Time
}

// ReadClaims reads a token without verifying it: it was had from its issuer.
func ReadClaims(token secret.Value) Claims {
	parts := strings.Split(token.Reveal(), ".")
	if len(parts) != 3 {
		return Claims{}
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return Claims{}
	}
	var claims struct {
		Roles   []string `json:"roles"`
		Scopes  string   `json:"scp"`
		UPN     string   `json:"upn"`
		Unique  string   `json:"unique_name"`
		Tenant  string   `json:"tid"`
		App     string   `json:"appid"`
		Party   string   `json:"azp"`
		Object  string   `json:"oid"`
		Expires float64  `json:"exp"`
	}
	if json.Unmarshal(payload, &claims) != nil {
		return Claims{}
	}
	return Claims{
		Known: true, Roles: claims.Roles, Scopes: strings.Fields(claims.Scopes), User: cmp.Or(claims.UPN, claims.Unique), TenantID: claims.Tenant, App: cmp.Or(claims.App, claims.Party), Object: claims.Object,
		Expires: time.Unix(int64(claims.Expires), 0),
	}
}
