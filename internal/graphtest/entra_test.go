package graphtest_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"postroom/internal/graphtest"
)

// clock is a clock that stands still until it is set forward.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: time.Now().Truncate(time.Second)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

func TestSignInRefused(t *testing.T) {
	c := newClock()
	s := graphtest.Start(t, graphtest.Options{Clock: c.now})
	s.ChangeApp(func(a *graphtest.App) {
		a.Secrets = append(a.Secrets, graphtest.Secret{Value: "old", Expires: c.now()})
	})
	s.AddApp(graphtest.App{ID: "33333333-3333-3333-3333-333333333333", Disabled: true})
	set := func(name, value string) func(url.Values) { return func(v url.Values) { v.Set(name, value) } }
	client := newClient(t, s)
	for _, test := range []struct {
		name   string
		change func(url.Values)
		status int
		oauth  string
		code   float64
	}{
		{"wrong secret", set("client_secret", "x"), 401, "invalid_client", 7000215},
		{"expired secret", set("client_secret", "old"), 401, "invalid_client", 7000222},
		{"no secret", func(v url.Values) { v.Del("client_secret") }, 401, "invalid_client", 7000218},
		{"other app", set("client_id", "44444444-4444-4444-4444-444444444444"), 400, "unauthorized_client", 700016},
		{"disabled app", set("client_id", "33333333-3333-3333-3333-333333333333"), 400, "unauthorized_client", 7000112},
		{"no scope", func(v url.Values) { v.Del("scope") }, 400, "invalid_request", 900144},
		{"scope of a user", set("scope", "https://graph.microsoft.com/Mail.Read"), 400, "invalid_scope", 1002012},
		{"other resource", set("scope", "https://example.com/.default"), 400, "invalid_resource", 500011},
		{"other grant", set("grant_type", "password"), 400, "unsupported_grant_type", 70003},
		{"no assertion", set("client_assertion", "x"), 401, "invalid_client", 50027},
	} {
		status, body := client.signIn(test.change)
		codes, _ := body["error_codes"].([]any)
		if status != test.status || body["error"] != test.oauth || len(codes) != 1 || codes[0] != test.code || body["access_token"] != nil {
			t.Errorf("%s: %d %v", test.name, status, body)
		}
		if description, _ := body["error_description"].(string); !strings.HasPrefix(description, "AADSTS") || strings.Contains(description, s.ClientSecret()) {
			t.Errorf("%s: %q", test.name, description)
		}
	}
	for tenant, code := range map[string]float64{"contoso.example.net": 90002, "22222222-2222-2222-2222-222222222222": 90002, "no tenant": 900023} {
		for _, path := range []string{"/oauth2/v2.0/token", "/v2.0/.well-known/openid-configuration"} {
			resp, err := client.http.PostForm(s.AuthorityURL()+"/"+url.PathEscape(tenant)+path, url.Values{})
			if err != nil {
				t.Fatal(err)
			}
			if body := client.decode(resp); resp.StatusCode != 400 || body["error_codes"].([]any)[0] != code {
				t.Errorf("%s: %d %v", tenant+path, resp.StatusCode, body)
			}
		}
	}
	s.FailSignIn(graphtest.SignInUnavailable)
	for range 2 {
		if status, body := client.signIn(nil); status != 503 || body["error"] != "temporarily_unavailable" {
			t.Errorf("unavailable: %d %v", status, body)
		}
	}
	once := graphtest.SignInUserUnknown
	once.Times = 1
	s.FailSignIn(once)
	if status, body := client.signIn(nil); status != 400 || body["error_codes"].([]any)[0] != 50034.0 {
		t.Errorf("unknown user: %d %v", status, body)
	}
	if status, body := client.signIn(nil); status != 200 || body["token_type"] != "Bearer" || body["expires_in"] != 3600.0 {
		t.Errorf("afterwards: %d %v", status, body)
	}
	if status, _ := client.signIn(set("scope", s.GraphURL()+"/.default")); status != 200 {
		t.Errorf("a token for the server's own URL: %d", status)
	}
}

func TestDiscovery(t *testing.T) {
	s := graphtest.Start(t, graphtest.Options{})
	c := newClient(t, s)
	for _, tenant := range []string{s.Tenant(), "contoso.example"} {
		body := c.get(s.AuthorityURL() + "/" + tenant + "/v2.0/.well-known/openid-configuration")
		if !strings.HasPrefix(body["token_endpoint"].(string), s.AuthorityURL()) || body["issuer"] != s.AuthorityURL()+"/"+s.Tenant()+"/v2.0" {
			t.Errorf("%v", body)
		}
	}
	body := c.get(s.AuthorityURL() + "/common/discovery/instance?api-version=1.1&authorization_endpoint=x")
	if body["tenant_discovery_endpoint"] == nil || len(body["metadata"].([]any)) != 1 {
		t.Errorf("%v", body)
	}
}

// signer makes assertions.
type signer struct {
	*testing.T
	key         *rsa.PrivateKey
	certificate *x509.Certificate
}

func newSigner(t *testing.T, notAfter time.Time) *signer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "postroom"}, NotBefore: notAfter.AddDate(-1, 0, 0), NotAfter: notAfter}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &signer{T: t, key: key, certificate: certificate}
}

func (s *signer) sign(algorithm string, claims map[string]any) string {
	s.Helper()
	sum := sha256.Sum256(s.certificate.Raw)
	header := map[string]any{"alg": algorithm, "typ": "JWT", "x5t#S256": base64.RawURLEncoding.EncodeToString(sum[:])}
	var pieces []string
	for _, piece := range []any{header, claims} {
		text, err := json.Marshal(piece)
		if err != nil {
			s.Fatal(err)
		}
		pieces = append(pieces, base64.RawURLEncoding.EncodeToString(text))
	}
	signed := strings.Join(pieces, ".")
	digest := sha256.Sum256([]byte(signed))
	var signature []byte
	var err error
	if algorithm == "PS256" {
		signature, err = rsa.SignPSS(rand.Reader, s.key, crypto.SHA256, digest[:], nil)
	} else {
		signature, err = rsa.SignPKCS1v15(rand.Reader, s.key, crypto.SHA256, digest[:])
	}
	if err != nil {
		s.Fatal(err)
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature)
}

func TestAssertions(t *testing.T) {
	now := time.Now()
	s := graphtest.Start(t, graphtest.Options{})
	known, strange, expired := newSigner(t, now.AddDate(0, 0, 1)), newSigner(t, now.AddDate(0, 0, 1)), newSigner(t, now.AddDate(0, 0, -1))
	const issuer, subject = "https://tokens.example", "system:serviceaccount:mail:postroom"
	s.ChangeApp(func(a *graphtest.App) {
		a.Certificates = []*x509.Certificate{known.certificate, expired.certificate}
		a.Federated = []graphtest.Federated{{Issuer: issuer, Subject: subject, Key: &known.key.PublicKey}}
	})
	endpoint := s.AuthorityURL() + "/" + s.Tenant() + "/oauth2/v2.0/token"
	own := func(change map[string]any) map[string]any {
		claims := map[string]any{"aud": endpoint, "iss": s.ClientID(), "sub": s.ClientID(), "jti": "1", "exp": now.Add(time.Hour).Unix(), "nbf": now.Unix()}
		for name, value := range change {
			claims[name] = value
		}
		return claims
	}
	federated := func(change map[string]any) map[string]any {
		claims := own(map[string]any{"aud": []string{"api://AzureADTokenExchange"}, "iss": issuer, "sub": subject})
		for name, value := range change {
			claims[name] = value
		}
		return claims
	}
	forged := known.sign("PS256", own(nil))
	forged = forged[:len(forged)-4] + "AAAA"
	client := newClient(t, s)
	for name, test := range map[string]struct {
		assertion string
		code      float64
	}{
		"PS256":               {known.sign("PS256", own(nil)), 0},
		"RS256":               {known.sign("RS256", own(nil)), 0},
		"issuer as audience":  {known.sign("PS256", own(map[string]any{"aud": s.AuthorityURL() + "/" + s.Tenant() + "/v2.0"})), 0},
		"forged":              {forged, 700027},
		"unknown certificate": {strange.sign("PS256", own(nil)), 700027},
		"other algorithm":     {known.sign("none", own(nil)), 700027},
		"expired certificate": {expired.sign("PS256", own(nil)), 1000502},
		"expired":             {known.sign("PS256", own(map[string]any{"exp": now.Add(-time.Hour).Unix()})), 700024},
		"not yet valid":       {known.sign("PS256", own(map[string]any{"nbf": now.Add(time.Hour).Unix()})), 700024},
		"other audience":      {known.sign("PS256", own(map[string]any{"aud": "https://example.com"})), 700023},
		"other application":   {known.sign("PS256", own(map[string]any{"iss": "x", "sub": "x"})), 700021},
		"federated":           {known.sign("RS256", federated(nil)), 0},
		"federated, forged":   {strange.sign("RS256", federated(nil)), 700027},
		"federated, subject":  {known.sign("RS256", federated(map[string]any{"sub": "x"})), 700213},
		"federated, issuer":   {known.sign("RS256", federated(map[string]any{"iss": "x"})), 700211},
		"federated, audience": {known.sign("RS256", federated(map[string]any{"aud": endpoint})), 700212},
	} {
		status, body := client.signIn(func(v url.Values) {
			v.Del("client_secret")
			v.Set("client_assertion", test.assertion)
			v.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
		})
		if test.code == 0 {
			if status != 200 || body["access_token"] == nil {
				t.Errorf("%s: %d %v", name, status, body)
			}
			continue
		}
		if status != 401 || body["error_codes"].([]any)[0] != test.code {
			t.Errorf("%s: %d %v", name, status, body)
		}
	}
}

func TestManagedIdentity(t *testing.T) {
	s := graphtest.Start(t, graphtest.Options{})
	s.AddMailbox(address, graphtest.MailboxOptions{})
	c := newClient(t, s)
	ask := func(path, header, value string) (int, map[string]any) {
		r, err := http.NewRequest(http.MethodGet, s.AuthorityURL()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set(header, value)
		resp, err := c.http.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, c.decode(resp)
	}
	const machine = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Fgraph.microsoft.com"
	if status, body := ask(machine, "Metadata", "true"); status != 400 || body["error"] != "invalid_request" {
		t.Errorf("without an identity: %d %v", status, body)
	}
	s.SetManagedIdentity(s.ClientID())
	if status, _ := ask(machine, "X", "true"); status != 400 {
		t.Errorf("without the header: %d", status)
	}
	if status, _ := ask("/msi/token?api-version=2019-08-01&resource=https://graph.microsoft.com", "X-IDENTITY-HEADER", "x"); status != 401 {
		t.Errorf("with a wrong header: %d", status)
	}
	for path, header := range map[string][2]string{
		machine: {"Metadata", "true"},
		"/msi/token?api-version=2019-08-01&resource=https://graph.microsoft.com/&client_id=" + s.ClientID(): {"X-IDENTITY-HEADER", s.IdentityHeader()},
	} {
		status, body := ask(path, header[0], header[1])
		if status != 200 || body["expires_in"] != "3600" {
			t.Fatalf("%d %v", status, body)
		}
		c.token = body["access_token"].(string)
		c.get("mailFolders")
	}
}

func TestTokens(t *testing.T) {
	clock := newClock()
	s := graphtest.Start(t, graphtest.Options{Clock: clock.now, TokenLife: 5 * time.Minute})
	s.AddMailbox(address, graphtest.MailboxOptions{})
	c := signedIn(t, s)
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(c.token, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	var all map[string]any
	if err := json.Unmarshal(payload, &all); err != nil || all["tid"] != s.Tenant() || all["appid"] != s.ClientID() ||
		all["exp"] != float64(clock.now().Add(5*time.Minute).Unix()) || !slices.Equal(all["roles"].([]any), []any{"Mail.ReadWrite"}) {
		t.Errorf("%v %s", err, payload)
	}
	c.get("mailFolders")
	good := c.token
	for name, token := range map[string]string{"none": "", "no JWT": "x", "forged": good[:len(good)-3] + "AAA"} {
		c.token = token
		resp, err := c.send(http.MethodGet, "mailFolders", nil)
		if err != nil {
			t.Fatal(err)
		}
		c.decode(resp)
		if resp.StatusCode != 401 || !strings.HasPrefix(resp.Header.Get("WWW-Authenticate"), "Bearer ") {
			t.Errorf("%s: %d %v", name, resp.StatusCode, resp.Header)
		}
	}
	c.token = good
	clock.pass(5 * time.Minute)
	c.refused(401, "InvalidAuthenticationToken", http.MethodGet, "mailFolders", nil)
	_, body := c.signIn(func(v url.Values) { v.Set("claims", `{"access_token":{"xms_cc":{"values":["CP1"]}}}`) })
	c.token = body["access_token"].(string)
	c.get("mailFolders")
	s.RevokeTokens()
	resp, err := c.send(http.MethodGet, "mailFolders", nil)
	if err != nil {
		t.Fatal(err)
	}
	c.decode(resp)
	if resp.StatusCode != 401 || !strings.Contains(resp.Header.Get("WWW-Authenticate"), `error="insufficient_claims", claims="`) {
		t.Errorf("revoked: %d %v", resp.StatusCode, resp.Header)
	}
	if n := s.TokensIssued(); n != 2 {
		t.Errorf("%d tokens were issued", n)
	}
}

// Who goes away in the middle of asking for a token has asked for nothing illegal.
func TestTokenRequestCutShort(t *testing.T) {
	s := graphtest.Start(t, graphtest.Options{})
	c := newClient(t, s)
	gone := errors.New("gone")
	for range 20 {
		body := io.MultiReader(strings.NewReader("grant_type=client_credentials&client_id="), iotest.ErrReader(gone))
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.AuthorityURL()+"/"+s.Tenant()+"/oauth2/v2.0/token", body)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if resp, err := c.http.Do(req); !errors.Is(err, gone) {
			t.Fatal(resp, err)
		}
	}
	c.signIn(nil)
	if illegal := s.Illegal(); len(illegal) != 0 {
		t.Errorf("illegal: %v", illegal)
	}
}
