package graph

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
)

// maxCertificate bounds the file of a certificate.
const maxCertificate = 1 << 20

// certificate is the certificate of an application with its key.
type certificate struct {
	chain []*x509.Certificate
	key   crypto.PrivateKey
}

// readCertificate reads the file, PEM or PKCS #12. An error is a *SignInError.
func (s *Settings) readCertificate() (*certificate, error) {
	fail := func(remedy, format string, args ...any) error {
		return &SignInError{
			Reason: CertificateUnusable, who: s.who(),
			Summary: fmt.Sprintf("client_certificate %s: %s", s.Certificate, fmt.Sprintf(format, args...)), Remedy: remedy,
		}
	}
	info, err := os.Stat(s.Certificate)
	if err != nil {
		return nil, fail("check the path, and that the user that postroom runs as may read the file", "%v", pathCause(err))
	}
	if info.Size() > maxCertificate {
		return nil, fail("name the file of the certificate and its key", "too large for a certificate")
	}
	data, err := os.ReadFile(s.Certificate)
	if err != nil {
		return nil, fail("check that the user that postroom runs as may read the file", "%v", pathCause(err))
	}
	const convert = "make a PEM file of it: openssl pkcs12 -in FILE.pfx -nodes -out FILE.pem, and name that one without a password"
	const (
		unsafe  = "its key is encrypted in a way that is not safe, and not supported"
		rewrite = "write the key anew: openssl pkcs8 -topk8 -v2 aes-256-cbc -in KEY.pem -out NEW.pem, and put the certificate and the new key into the file"
	)
	isPEM := bytes.Contains(data, []byte("-----BEGIN "))
	password := s.CertificatePassword.Reveal()
	var (
		chain []*x509.Certificate
		key   crypto.PrivateKey
	)
	if isPEM {
		if bytes.Contains(data, []byte("Proc-Type: 4,ENCRYPTED")) {
			return nil, fail(rewrite, unsafe)
		}
		if data, err = decryptPEM(data, password); err == nil {
			chain, key, err = azidentity.ParseCertificates(data, nil)
		}
	} else if chain, key, err = parsePKCS12(data, password); errors.Is(err, errKind) {
		// One of old.
		chain, key, err = azidentity.ParseCertificates(data, []byte(password))
	}
	switch {
	case err == nil:
	case errors.Is(err, errPassword):
		return nil, fail("check client_certificate_password", "cannot be decrypted: the password is wrong, or missing")
	case isPEM && errors.Is(err, errKind):
		return nil, fail(rewrite, unsafe)
	case isPEM:
		return nil, fail("the file must hold the certificate and its private key, both as PEM", "cannot be read: %v", err)
	default:
		return nil, fail("check client_certificate_password, and that it is a PKCS #12 file with the private key; or "+convert,
			"cannot be read as PKCS #12: the password is wrong, or the file is of a kind not supported")
	}
	private, ok := key.(*rsa.PrivateKey)
	if !ok {
		return nil, fail("make a certificate with an RSA key of 2048 bits or more; Entra takes no other", "its key is not an RSA key")
	}
	leaf := leafOf(chain, private)
	if leaf == nil {
		return nil, fail("the file must hold the certificate that belongs to the private key", "none of its certificates belongs to its key")
	}
	c := &certificate{chain: leaf, key: private}
	return c, c.check(s, time.Now())
}

// certificateStamp tells one state of the certificate's file from another,
// without reading it. It is empty if there is none.
func (s *Settings) certificateStamp() string {
	if s.Certificate == "" {
		return ""
	}
	info, err := os.Stat(s.Certificate)
	if err != nil {
		return ""
	}
	return fmt.Sprint(info.ModTime().UnixNano(), " ", info.Size())
}

// leafOf returns the chain with the certificate of the key first, or nil.
func leafOf(chain []*x509.Certificate, key *rsa.PrivateKey) []*x509.Certificate {
	for i, c := range chain {
		if key.PublicKey.Equal(c.PublicKey) {
			ordered := []*x509.Certificate{c}
			ordered = append(ordered, chain[:i]...)
			return append(ordered, chain[i+1:]...)
		}
	}
	return nil
}

// check returns a *SignInError if the certificate is not valid now. The sign-in
// library does not look.
func (c *certificate) check(s *Settings, now time.Time) error {
	leaf := c.chain[0]
	switch {
	case now.After(leaf.NotAfter):
		return &SignInError{
			Reason: CertificateExpired, who: s.who(),
			Summary: fmt.Sprintf("the certificate in %s expired on %s", s.Certificate, leaf.NotAfter.UTC().Format(time.DateOnly)),
			Remedy:  "make a new certificate, upload it to the application (Certificates & secrets), and put it and its key into the file",
		}
	case now.Before(leaf.NotBefore):
		return &SignInError{
			Reason: ClockSkew, who: s.who(),
			Summary: fmt.Sprintf("the certificate in %s is valid from %s only", s.Certificate, leaf.NotBefore.UTC().Format(time.RFC3339)),
			Remedy:  "check the clock of this machine, and that it is the right certificate",
		}
	}
	return nil
}

func pathCause(err error) error {
	var of *os.PathError
	if errors.As(err, &of) {
		return of.Err
	}
	return err
}
