package graphtest

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// assertion is a JWT that a client signs in with (RFC 7523).
type assertion struct {
	header struct {
		Algorithm string `json:"alg"`
		SHA256    string `json:"x5t#S256"`
		SHA1      string `json:"x5t"`
	}
	claims struct {
		Audience audience `json:"aud"`
		Issuer   string   `json:"iss"`
		Subject  string   `json:"sub"`
		Expires  float64  `json:"exp"`
		Before   float64  `json:"nbf"`
		ID       string   `json:"jti"`
	}
	signed    string
	signature []byte
}

// audience is one text, or a list of them (RFC 7519 4.1.3).
type audience []string

func (a *audience) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*a = audience{one}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(a))
}

func parseAssertion(token string) (*assertion, error) {
	pieces := strings.Split(token, ".")
	if len(pieces) != 3 {
		return nil, errors.New("not three parts")
	}
	a := &assertion{signed: pieces[0] + "." + pieces[1]}
	for i, into := range []any{&a.header, &a.claims} {
		b, err := base64.RawURLEncoding.DecodeString(pieces[i])
		if err != nil {
			return nil, err
		}
		if err := json.Unmarshal(b, into); err != nil {
			return nil, err
		}
	}
	var err error
	a.signature, err = base64.RawURLEncoding.DecodeString(pieces[2])
	return a, err
}

// signedBy reports whether the key made the signature.
func (a *assertion) signedBy(key *rsa.PublicKey) bool {
	if key == nil {
		return false
	}
	sum := sha256.Sum256([]byte(a.signed))
	switch a.header.Algorithm {
	case "RS256":
		return rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], a.signature) == nil
	case "PS256":
		return rsa.VerifyPSS(key, crypto.SHA256, sum[:], a.signature, nil) == nil
	}
	return false
}

// names reports whether the header names the certificate.
func (a *assertion) names(c *x509.Certificate) bool {
	long, short := sha256.Sum256(c.Raw), sha1.Sum(c.Raw)
	// Entra takes either alphabet; Microsoft's own libraries differ in it.
	plain := strings.NewReplacer("+", "-", "/", "_", "=", "")
	if a.header.SHA256 != "" {
		return plain.Replace(a.header.SHA256) == base64.RawURLEncoding.EncodeToString(long[:])
	}
	return plain.Replace(a.header.SHA1) == base64.RawURLEncoding.EncodeToString(short[:])
}

// checkAssertion reports what is wrong with an assertion of the application. The
// caller holds the mutex.
func (s *Server) checkAssertion(app *App, tenant, kind, token string) *SignInFailure {
	if kind != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" {
		return signInRefused(401, "invalid_client", 50027, "JWT token is invalid or malformed.")
	}
	a, err := parseAssertion(token)
	if err != nil {
		return signInRefused(401, "invalid_client", 50027, "JWT token is invalid or malformed.")
	}
	now := float64(s.now().Unix())
	const skew = 300
	if a.claims.Expires == 0 || now > a.claims.Expires+skew || a.claims.Before > now+skew {
		return signInRefused(401, "invalid_client", 700024, "Client assertion is not within its valid time range. Current time: %s, assertion valid from %s, expiry time of assertion %s.",
			s.now().UTC().Format(time.RFC3339), unix(a.claims.Before), unix(a.claims.Expires))
	}
	if a.claims.Issuer != a.claims.Subject {
		return s.checkFederated(app, a)
	}
	if !strings.EqualFold(a.claims.Issuer, app.ID) {
		return signInRefused(401, "invalid_client", 700021, "Client assertion application identifier doesn't match 'client_id' parameter.")
	}
	fits := false
	for _, audience := range a.claims.Audience {
		for _, name := range []string{tenant, s.options.Tenant} {
			base := s.url + "/" + name
			fits = fits || audience == base+"/oauth2/v2.0/token" || audience == base+"/oauth2/token" || audience == base+"/v2.0"
		}
	}
	if !fits {
		return signInRefused(401, "invalid_client", 700023, "Client assertion audience claim does not match Realm issuer.")
	}
	if a.claims.ID == "" {
		return signInRefused(401, "invalid_client", 50027, "JWT token is invalid or malformed.")
	}
	for _, c := range app.Certificates {
		if !a.names(c) {
			continue
		}
		key, ok := c.PublicKey.(*rsa.PublicKey)
		if !ok || !a.signedBy(key) {
			return signInRefused(401, "invalid_client", 700027, "The certificate with identifier used to sign the client assertion is not registered on application. [Reason - The key was found, but signature validation failed.]")
		}
		if s.now().After(c.NotAfter) || s.now().Before(c.NotBefore) {
			return signInRefused(401, "invalid_client", 1000502, "The provided certificate is not within its specified validity period.")
		}
		return nil
	}
	return signInRefused(401, "invalid_client", 700027,
		"The certificate with identifier used to sign the client assertion is not registered on application. [Reason - The key was not found., Thumbprint of key used by client: '%s']", a.header.SHA256+a.header.SHA1)
}

// checkFederated reports what is wrong with an assertion of another issuer.
func (s *Server) checkFederated(app *App, a *assertion) *SignInFailure {
	const exchange = "api://AzureADTokenExchange"
	subject, issuer := false, false
	for _, f := range app.Federated {
		if f.Issuer != a.claims.Issuer {
			continue
		}
		issuer = true
		if f.Subject != a.claims.Subject {
			continue
		}
		subject = true
		if len(a.claims.Audience) != 1 || a.claims.Audience[0] != exchange {
			return signInRefused(401, "invalid_client", 700212, "No matching federated identity record found for presented assertion audience '%s'.", fmt.Sprint([]string(a.claims.Audience)))
		}
		if a.signedBy(f.Key) {
			return nil
		}
		return signInRefused(401, "invalid_client", 700027, "Client assertion failed signature validation.")
	}
	switch {
	case !issuer:
		return signInRefused(401, "invalid_client", 700211, "No matching federated identity record found for presented assertion issuer '%s'.", a.claims.Issuer)
	case !subject:
		return signInRefused(401, "invalid_client", 700213, "No matching federated identity record found for presented assertion subject '%s'.", a.claims.Subject)
	}
	return nil
}

func unix(seconds float64) string { return time.Unix(int64(seconds), 0).UTC().Format(time.RFC3339) }
