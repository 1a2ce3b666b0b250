package graph

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"postroom/internal/secret"
)

func entraError(status int, code int, name, text string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"error":%q,"error_description":"AADSTS%d: %s Trace ID: t-1 Correlation ID: c-1 Timestamp: 2026-01-01 00:00:00Z","error_codes":[%d],"timestamp":"2026-01-01 00:00:00Z","trace_id":"t-1","correlation_id":"c-1","error_uri":"https://login.microsoftonline.com/error?code=%d"}`, name, code, text, code, code)
	}
}

func TestRefusalsInPlainWords(t *testing.T) {
	for name, row := range map[string]struct {
		authority func(http.ResponseWriter, *http.Request)
		secret    string
		reason    Reason
		words     []string
	}{
		"no such tenant":  {entraError(400, 90002, "invalid_request", "Tenant 'x' not found."), "", WrongTenant, []string{"no such tenant", "AADSTS90002", "t-1"}},
		"no such app":     {entraError(400, 700016, "unauthorized_client", "Application with identifier 'x' was not found in the directory."), "", WrongClient, []string{"not known in this tenant", "client_id"}},
		"wrong secret":    {entraError(401, 7000215, "invalid_client", "Invalid client secret provided: "+hidden), "", WrongSecret, []string{"secret is wrong", "Value"}},
		"id of a secret":  {entraError(401, 7000215, "invalid_client", "Invalid client secret provided."), "33333333-3333-3333-3333-333333333333", SecretID, []string{"Secret ID", "Value"}},
		"expired secret":  {entraError(401, 7000222, "invalid_client", "The provided client secret keys are expired."), "", SecretExpired, []string{"expired", "new client secret"}},
		"unknown code":    {entraError(401, 7999999, "invalid_client", "Something new."), "", WrongSecret, []string{"Something new.", "AADSTS7999999"}},
		"policy":          {entraError(400, 53003, "access_denied", "Blocked by Conditional Access."), "", Blocked, []string{"Conditional Access"}},
		"wrong cloud":     {entraError(400, 500011, "invalid_resource", "The resource principal was not found."), "", WrongCloud, []string{"cloud"}},
		"in trouble":      {entraError(503, 90033, "temporarily_unavailable", "A transient error has occurred."), "", AuthorityDown, []string{"in trouble", "tried again"}},
		"too many":        {entraError(429, 90055, "invalid_request", "Too many."), "", AuthorityDown, []string{"in trouble"}},
		"another answers": {func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(403); fmt.Fprint(w, "<html>"+hidden) }, "", AuthorityDown, []string{"something other than Entra"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &world{authority: row.authority}
				s := settings()
				if row.secret != "" {
					s.ClientSecret = secret.New(row.secret)
				}
				c := f.open(t, new(Clients), s)
				_, err := c.SignIn(t.Context())
				var refused *SignInError
				if !errors.As(err, &refused) {
					t.Fatalf("%T %v", err, err)
				}
				if refused.Reason != row.reason || refused.Temporary() != (row.reason == AuthorityDown) {
					t.Errorf("reason %d, want %d: %v", refused.Reason, row.reason, err)
				}
				text := err.Error() + "\n" + refused.Remedy
				for _, word := range row.words {
					if !strings.Contains(text, word) {
						t.Errorf("%q does not say %q", text, word)
					}
				}
				if strings.Contains(text, s.ClientSecret.Reveal()) || strings.Contains(text, "aka.ms") {
					t.Errorf("the error says too much: %s", text)
				}
			})
		})
	}
}

// A refusal is not asked for again at once, by whichever source; trouble is.
func TestRefusalIsRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		refused := entraError(401, 7000222, "invalid_client", "expired")
		f := &world{authority: func(w http.ResponseWriter, r *http.Request) { asked++; refused(w, r) }}
		c := f.open(t, new(Clients), settings())
		for range 10 {
			if _, err := c.SignIn(t.Context()); err == nil {
				t.Fatal("signed in")
			}
		}
		if asked != 1 {
			t.Errorf("asked %d times, want once", asked)
		}
		time.Sleep(refusalKept)
		f.authority = nil
		if _, err := c.SignIn(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// A token is kept until shortly before its end, and outlives trouble of Entra.
func TestTokenIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &world{roles: []string{"Mail.Read"}}
		c := f.open(t, new(Clients), settings())
		grant, err := c.SignIn(t.Context())
		if err != nil || !grant.Has("Mail.Read") || grant.App != app {
			t.Fatalf("%+v, %v", grant, err)
		}
		time.Sleep(54 * time.Minute)
		if _, err := c.SignIn(t.Context()); err != nil || f.tokens != 1 {
			t.Errorf("%d tokens, %v", f.tokens, err)
		}
		f.authority = entraError(503, 90033, "temporarily_unavailable", "down")
		time.Sleep(2 * time.Minute)
		if _, err := c.SignIn(t.Context()); err != nil {
			t.Errorf("a token that is still good: %v", err)
		}
		f.authority = nil
		if _, err := c.SignIn(t.Context()); err != nil || f.tokens != 2 {
			t.Errorf("%d tokens, want 2; %v", f.tokens, err)
		}
	})
}

// A token that Graph refuses is replaced, but not for ever.
func TestRefusedTokenIsReplaced(t *testing.T) {
	good := ""
	inWorld(t, func(w http.ResponseWriter, r *http.Request) {
		if good == "" {
			good = "waiting"
		}
		if r.Header.Get("Authorization") != good {
			good = "next"
			refuse(w, 401, "InvalidAuthenticationToken", "expired")
			return
		}
		fmt.Fprint(w, folderJSON)
	}, func(t *testing.T, f *world, m *Mailbox) {
		_, err := m.Folder(t.Context(), "inbox")
		var answer *Error
		if !errors.As(err, &answer) || answer.Status != 401 || f.requests() != 3 || f.tokens != 3 {
			t.Errorf("%v after %d requests with %d tokens, want 401 after 3 with 3", err, f.requests(), f.tokens)
		}
	})
}

// key is made once: it takes long.
var key, keyErr = rsa.GenerateKey(rand.Reader, 2048)

// pemOf returns a certificate, valid between the times, and the key as PEM.
func pemOf(t *testing.T, from, to time.Time) []byte {
	t.Helper()
	if keyErr != nil {
		t.Fatal(keyErr)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "postroom"}, NotBefore: from, NotAfter: to}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
}

func write(t *testing.T, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCertificates(t *testing.T) {
	now := time.Now()
	good := pemOf(t, now.Add(-time.Hour), now.Add(time.Hour))
	elliptic, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(elliptic)
	if err != nil {
		t.Fatal(err)
	}
	_, certificateOnly := pem.Decode(good)
	other := append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), certificateOnly...)
	goodFile := write(t, "good.pem", good)
	for name, row := range map[string]struct {
		file, password string
		reason         Reason
		words          string
	}{
		"PEM":               {goodFile, "", -1, ""},
		"PEM with password": {goodFile, hidden, -1, ""},
		"PKCS #12":          {filepath.Join("testdata", "legacy.pfx"), hidden, -1, ""},
		"wrong password":    {filepath.Join("testdata", "legacy.pfx"), "no", CertificateUnusable, "password"},
		"modern PKCS #12":   {filepath.Join("testdata", "modern.pfx"), hidden, -1, ""},
		"modern, wrong":     {filepath.Join("testdata", "modern.pfx"), "no", CertificateUnusable, "password"},
		"encrypted PEM":     {filepath.Join("testdata", "encrypted.pem"), hidden, -1, ""},
		"encrypted, wrong":  {filepath.Join("testdata", "encrypted.pem"), "no", CertificateUnusable, "password"},
		"encrypted, none":   {filepath.Join("testdata", "encrypted.pem"), "", CertificateUnusable, "missing"},
		"encrypted of old":  {write(t, "x.pem", append([]byte("-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: DES-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n"), certificateOnly...)), hidden, CertificateUnusable, "pkcs8"},
		"encrypted, 3DES":   {filepath.Join("testdata", "des3.pem"), hidden, CertificateUnusable, "openssl pkcs8 -topk8"},
		"expired":           {write(t, "x.pem", pemOf(t, now.Add(-2*time.Hour), now.Add(-time.Hour))), "", CertificateExpired, "expired on"},
		"not yet":           {write(t, "x.pem", pemOf(t, now.Add(time.Hour), now.Add(2*time.Hour))), "", ClockSkew, "clock"},
		"no key":            {write(t, "x.pem", certificateOnly), "", CertificateUnusable, "private key"},
		"not RSA":           {write(t, "x.pem", other), "", CertificateUnusable, "RSA"},
		"encrypted":         {write(t, "x.pem", append([]byte("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n"), certificateOnly...)), hidden, CertificateUnusable, "encrypted"},
		"missing":           {"/no/such/file", "", CertificateUnusable, "check the path"},
		"anything":          {write(t, "x.pfx", []byte("anything")), "", CertificateUnusable, "PKCS #12"},
	} {
		t.Run(name, func(t *testing.T) {
			s := Settings{TenantID: tenant, ClientID: app, Certificate: row.file, CertificatePassword: secret.New(row.password)}
			f := &world{}
			clients := new(Clients)
			c, err := clients.Open(s)
			if row.reason < 0 {
				if err != nil {
					t.Fatal(err)
				}
				c.rt = f
				if _, err := c.SignIn(t.Context()); err != nil || f.tokens != 1 || c.CertificateExpires().IsZero() {
					t.Errorf("%v, %d tokens", err, f.tokens)
				}
				return
			}
			var refused *SignInError
			if !errors.As(err, &refused) || refused.Reason != row.reason {
				t.Fatalf("%v, want reason %d", err, row.reason)
			}
			text := err.Error() + refused.Remedy
			if !strings.Contains(text, row.words) || strings.Contains(text, hidden) {
				t.Errorf("%s", text)
			}
		})
	}
}

// A damaged file is refused, whatever is wrong with it.
// TestCertificateIsRenewed: a certificate that is put into the same file is used
// for the next token, and a file that is not whole yet does no harm.
func TestCertificateIsRenewed(t *testing.T) {
	now := time.Now()
	day := 24 * time.Hour
	file := write(t, "x.pem", pemOf(t, now.Add(-time.Hour), now.Add(20*day)))
	put := func(data []byte) {
		t.Helper()
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f := &world{}
	c := f.open(t, new(Clients), Settings{TenantID: tenant, ClientID: app, Certificate: file})
	clock := now
	c.tokens.now = func() time.Time { return clock }
	for i, step := range []struct {
		put     []byte
		expires time.Time
		soon    bool // and said now
	}{
		{nil, now.Add(20 * day), true},
		{[]byte("-----BEGIN CERTIFICATE-----\n"), now.Add(20 * day), false},
		{pemOf(t, now.Add(-time.Hour), now.Add(25*day)), now.Add(25 * day), false},
		{nil, now.Add(25 * day), false},
	} {
		if step.put != nil {
			put(step.put)
		}
		if _, err := c.SignIn(t.Context()); err != nil || f.tokens > i+1 {
			t.Fatalf("step %d: %d tokens, %v", i, f.tokens, err)
		}
		if p, soon, err := c.ExpiresSoon(t.Context(), 30*day); err != nil || p.Expires.Unix() != step.expires.Unix() || soon != step.soon || p.Kind != "certificate" {
			t.Errorf("step %d: %+v, %v, %v; want %v, %v", i, p, soon, err, step.expires, step.soon)
		}
		clock = clock.Add(2 * time.Hour)
	}
	clock = now.Add(25 * time.Hour)
	if _, soon, err := c.ExpiresSoon(t.Context(), 30*day); !soon || err != nil {
		t.Error("after a day it is not said again")
	}
	if _, soon, err := c.ExpiresSoon(t.Context(), 10*day); soon || err != nil {
		t.Error("what is long to come is soon")
	}
}

// TestNoProxyForTheMachine: the token of a managed identity is had from the
// machine itself.
func TestNoProxyForTheMachine(t *testing.T) {
	s := Settings{Proxy: secret.New("http://proxy.example:3128")}
	find, err := s.proxy()
	if err != nil {
		t.Fatal(err)
	}
	for address, proxied := range map[string]bool{
		"http://169.254.169.254/metadata/identity/oauth2/token": false,
		"http://127.0.0.1:41741/msi/token":                      false,
		"http://localhost:40342/metadata/identity/oauth2/token": false,
		"http://[fe80::1]/msi/token":                            false,
		"https://graph.microsoft.com/v1.0":                      true,
		"https://127.0.0.1:4433/v1.0":                           true, // a custom cloud
		"http://10.0.0.1/":                                      true,
	} {
		req, err := http.NewRequest(http.MethodGet, address, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		if proxy, err := find(req); err != nil || (proxy != nil) != proxied {
			t.Errorf("%s: %v, %v", address, proxy, err)
		}
	}
}

func TestDamagedCertificates(t *testing.T) {
	for _, name := range []string{"modern.pfx", "legacy.pfx"} {
		whole, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		for n := range len(whole) {
			if _, _, err := parsePKCS12(whole[:n], hidden); err == nil {
				t.Fatalf("%s: %d of %d bytes are taken", name, n, len(whole))
			}
		}
		for n := 0; n < len(whole); n += 3 {
			damaged := bytes.Clone(whole)
			damaged[n] ^= 0x55
			// It may be in what is not looked at; it must not do harm.
			_, _, _ = parsePKCS12(damaged, hidden)
		}
	}
}
