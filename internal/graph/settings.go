package graph

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"strings"

	"postroom/internal/secret"
)

// How an application proves itself.
const (
	ClientCredentials = "client_credentials"
	ManagedIdentity   = "managed_identity"
	WorkloadIdentity  = "workload_identity"
	// DeviceCode is no proof of the application: a person signs in.
	DeviceCode = "device_code"
)

// Settings say how to sign in, and where.
type Settings struct {
	// TenantID is the tenant's id or one of its domains; not with
	// [ManagedIdentity].
	TenantID string
	// ClientID is the application's id; with [ManagedIdentity] that of the
	// identity, or empty for the machine's own.
	ClientID string
	// ClientSecret or Certificate is for [ClientCredentials]. Certificate is a
	// file, PEM or PKCS #12.
	ClientSecret        secret.Value
	Certificate         string
	CertificatePassword secret.Value
	// Flow is empty for [ClientCredentials].
	Flow string
	// Cloud is "public", which empty stands for, "us_government",
	// "us_government_dod", "china" or "custom"; the hosts are for "custom" alone.
	Cloud, AuthorityHost, GraphEndpoint string
	// CAFile has PEM certificates trusted besides those of the system.
	CAFile string
	// Proxy is a URL; empty for that of the environment.
	Proxy secret.Value
	// Person is who signs in; for [DeviceCode] alone.
	Person *Person
}

// key identifies the settings, without showing them.
func (s *Settings) key() string {
	h := sha256.New()
	person := []string{}
	if p := s.Person; p != nil {
		person = []string{strings.ToLower(p.Mailbox), p.Vault.Dir(), p.Name, p.Command}
	}
	for _, part := range append([]string{
		s.TenantID, s.ClientID, s.ClientSecret.Reveal(), s.Certificate, s.CertificatePassword.Reveal(),
		s.Flow, s.Cloud, s.AuthorityHost, s.GraphEndpoint, s.CAFile, s.Proxy.Reveal(),
	}, person...) {
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// who names the application and its tenant, for errors.
func (s *Settings) who() string {
	switch {
	case s.Flow == ManagedIdentity && s.ClientID == "":
		return "managed identity of this machine"
	case s.Flow == ManagedIdentity:
		return "managed identity " + s.ClientID
	default:
		return fmt.Sprintf("application %s, tenant %s", s.ClientID, s.TenantID)
	}
}

// IsID reports whether s has the shape of the ids of Entra. A client secret of
// that shape is the id of a secret, which the portal shows beside its value.
func IsID(s string) bool {
	parts := strings.Split(strings.TrimSpace(s), "-")
	if len(parts) != 5 {
		return false
	}
	for i, n := range []int{8, 4, 4, 4, 12} {
		if len(parts[i]) != n || strings.Trim(parts[i], "0123456789abcdefABCDEF") != "" {
			return false
		}
	}
	return true
}

// scrub removes the secrets of the settings from a text of the server.
func (s *Settings) scrub(text string) string {
	for _, v := range []secret.Value{s.ClientSecret, s.CertificatePassword, s.Proxy} {
		if !v.Empty() {
			text = strings.ReplaceAll(text, v.Reveal(), "***")
		}
	}
	if u, err := url.Parse(s.Proxy.Reveal()); err == nil && u.User != nil {
		if password, ok := u.User.Password(); ok && password != "" {
			text = strings.ReplaceAll(text, password, "***")
		}
	}
	return clean(text)
}
