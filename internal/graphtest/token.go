package graphtest

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// entraState is what Entra keeps.
type entraState struct {
	key      []byte
	issued   int
	rejected map[string]bool // tokens by uti
	failures []SignInFailure
	managed  string // client id of the managed identity
	people   people
}

func (e *entraState) start() error {
	e.people.refresh, e.people.consents = make(map[string]*refreshToken), make(map[consent]bool)
	e.key, e.rejected = make([]byte, 32), make(map[string]bool)
	_, err := rand.Read(e.key)
	return err
}

// claims are those of an access token.
type claims struct {
	Audience string   `json:"aud"`
	Issuer   string   `json:"iss"`
	Issued   int64    `json:"iat"`
	Before   int64    `json:"nbf"`
	Expires  int64    `json:"exp"`
	App      string   `json:"appid"`
	Name     string   `json:"app_displayname"`
	Kind     string   `json:"idtyp"`
	Object   string   `json:"oid"`
	Roles    []string `json:"roles,omitempty"`
	Subject  string   `json:"sub"`
	Tenant   string   `json:"tid"`
	ID       string   `json:"uti"`
	Version  string   `json:"ver"`
	Client   []string `json:"xms_cc,omitempty"`
	// Of a person.
	Scopes string `json:"scp,omitempty"`
	UPN    string `json:"upn,omitempty"`
}

// issue makes a token. The caller holds the mutex.
func (s *Server) issue(app *App, audience string, client []string) (token string, life time.Duration) {
	return s.issueFor(app, audience, client, "", nil)
}

// issueFor makes a token of the person, or of the application if that is "". The
// caller holds the mutex.
func (s *Server) issueFor(app *App, audience string, client []string, user string, scopes []string) (token string, life time.Duration) {
	now := s.now()
	s.entra.issued++
	object := guid("object", app.ID)
	c := claims{
		Audience: audience, Issuer: "https://sts.windows.net/" + s.options.Tenant + "/",
		Issued: now.Unix(), Before: now.Unix(), Expires: now.Add(s.options.TokenLife).Unix(),
		App: app.ID, Name: app.Name, Kind: "app", Object: object, Roles: app.Roles, Subject: object,
		Tenant: s.options.Tenant, ID: guid("token", s.entra.issued, app.ID), Version: "1.0", Client: client,
	}
	if user != "" {
		c.Kind, c.Roles, c.Scopes, c.UPN = "user", nil, strings.Join(scopes, " "), user
		c.Object, c.Subject = guid("user", strings.ToLower(user)), guid("pairwise", app.ID, strings.ToLower(user))
	}
	return s.signed(c), s.options.TokenLife
}

func (s *Server) sign(text string) []byte {
	mac := hmac.New(sha256.New, s.entra.key)
	mac.Write([]byte(text))
	return mac.Sum(nil)
}

// invalidToken is the refusal of a token.
func invalidToken(message string) *problem {
	return refuse(http.StatusUnauthorized, "InvalidAuthenticationToken", "%s", message)
}

const tokenExpired = "Lifetime validation failed, the token is expired."

// verify returns the claims of a token that is valid now. The caller holds the
// mutex.
func (s *Server) verify(token string) (*claims, *problem) {
	return s.verifyFor(token, s.audiences())
}

// verifyFor is verify for the resources. The caller holds the mutex.
func (s *Server) verifyFor(token string, audiences []string) (*claims, *problem) {
	dot := strings.LastIndexByte(token, '.')
	if strings.Count(token, ".") != 2 {
		return nil, invalidToken("IDX14100: JWT is not well formed, there are no dots (.).")
	}
	signature, err := base64.RawURLEncoding.DecodeString(token[dot+1:])
	if err != nil || !hmac.Equal(signature, s.sign(token[:dot])) {
		return nil, invalidToken("IDX10511: Signature validation failed.")
	}
	_, payload, _ := strings.Cut(token[:dot], ".")
	body, err := base64.RawURLEncoding.DecodeString(payload)
	var c claims
	if err != nil || json.Unmarshal(body, &c) != nil {
		return nil, invalidToken("IDX12729: Unable to decode the payload.")
	}
	switch {
	case !slices.Contains(audiences, c.Audience):
		return nil, invalidToken("Access token validation failure. Invalid audience.")
	case !s.now().Before(time.Unix(c.Expires, 0)):
		return nil, invalidToken(tokenExpired)
	case s.entra.rejected[c.ID]:
		return &c, invalidToken("Continuous access evaluation resulted in challenge with result: InteractionRequired and code: TokenIssuedBeforeRevocationTimestamp")
	}
	return &c, nil
}

// audiences are the resources that tokens of this server may be for.
func (s *Server) audiences() []string {
	return []string{s.options.Cloud.Graph, s.url}
}

// Valid reports whether a token for one of [Options].Resources is valid now, and
// whose it is, as those services find out.
func (s *Server) Valid(token, resource string) (app string, roles []string, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, refused := s.verifyFor(token, []string{resource})
	if refused != nil || !slices.Contains(s.options.Resources, resource) {
		return "", nil, false
	}
	return c.App, c.Roles, true
}

// RevokeTokens makes all services refuse all tokens that were issued so far.
func (s *Server) RevokeTokens() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for n := 1; n <= s.entra.issued; n++ {
		for _, app := range s.apps {
			s.entra.rejected[guid("token", n, app.ID)] = true
		}
	}
}

// TokensIssued is how many tokens Entra has issued.
func (s *Server) TokensIssued() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.entra.issued
}

// challenge is the value of WWW-Authenticate that goes with a refused token.
func (s *Server) challenge(c *claims) string {
	value := fmt.Sprintf(`Bearer realm="", authorization_uri="%s/common/oauth2/authorize", client_id="00000003-0000-0000-c000-000000000000"`, s.url)
	if c != nil && slices.Contains(c.Client, "CP1") {
		wanted := fmt.Sprintf(`{"access_token":{"nbf":{"essential":true,"value":"%d"}}}`, s.now().Unix())
		value += `, error="insufficient_claims", claims="` + base64.StdEncoding.EncodeToString([]byte(wanted)) + `"`
	}
	return value
}

// loseToken makes the token of the request invalid.
func (c *call) loseToken() *problem {
	c.s.entra.rejected[c.token.ID] = true
	p := invalidToken(tokenExpired)
	p.header = http.Header{"Www-Authenticate": {c.s.challenge(c.token)}}
	return p
}
