package mailhost

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	connect      = "connect"
	startTLS     = "start TLS"
	readGreeting = "read greeting"
)

func (h *Host) failure(permanent bool, doing string, err error, remedy string, args ...any) *Failure {
	return &Failure{Permanent: permanent, Doing: doing, Err: err, Remedy: fmt.Sprintf(remedy, args...)}
}

// ports says which ports there are.
func (h *Host) ports() string {
	return fmt.Sprintf("%s with tls: implicit, %s with starttls", h.TLSPort, h.Protocol.Port)
}

func (h *Host) explainDial(ctx context.Context, err error) *Failure {
	var dns *net.DNSError
	switch {
	case ctx.Err() != nil:
		return h.failure(false, connect, context.Cause(ctx), "")
	case errors.As(err, &dns) && dns.IsNotFound:
		return h.failure(false, connect, err, "no such host: check the spelling of server, and this machine's DNS")
	case errors.As(err, &dns):
		return h.failure(false, connect, err, "name resolution fails: check this machine's DNS")
	case errors.Is(err, errRefused):
		return h.failure(false, connect, err, "nothing answers on port %s: is the port right? %s", h.Port, h.ports())
	}
	return h.failure(false, connect, err, "check that a firewall lets this machine reach port %s of %s", h.Port, h.Name)
}

// explainSilence explains a server that connects and says nothing.
func (h *Host) explainSilence(ctx context.Context, err error) *Failure {
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if h.Encryption != Implicit {
		return h.failure(false, readGreeting, err, "the server does not speak first; if port %s is its TLS port, use tls: implicit", h.Port)
	}
	return h.failure(false, readGreeting, err, "the server may be overloaded, or refuse this machine's address")
}

// ExplainTLS explains a failed handshake, or a connection that failed while the
// protocol asked for one.
func (h *Host) ExplainTLS(ctx context.Context, err error) *Failure {
	var (
		unknown  x509.UnknownAuthorityError
		hostname x509.HostnameError
		invalid  x509.CertificateInvalidError
		record   tls.RecordHeaderError
	)
	switch {
	case ctx.Err() != nil:
		return h.failure(false, startTLS, context.Cause(ctx), "the server or the network is slow, or port %s is not its TLS port: %s", h.Port, h.ports())
	case errors.As(err, &unknown) && h.caFile != "":
		return h.failure(true, startTLS, err,
			"neither ca_file (%s) nor this machine holds the certificate of the issuer, %s: add that one to the file, or name one that has it",
			h.caFile, issuer(err, unknown.Cert))
	case errors.As(err, &unknown):
		return h.failure(true, startTLS, err, "the certificate is signed by an authority that this machine does not know: "+
			"add the authority's certificate with ca_file")
	case errors.As(err, &hostname):
		names := hosts(hostname.Certificate)
		if len(names) == 0 && hostname.Certificate.Subject.CommonName != "" {
			names = []string{hostname.Certificate.Subject.CommonName}
		}
		return h.failure(true, startTLS, err, "the certificate is for %s: use one of these as server", strings.Join(names, ", "))
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired && time.Now().Before(invalid.Cert.NotBefore):
		return h.failure(true, startTLS, err, "the certificate is valid from %s only: check this machine's clock",
			invalid.Cert.NotBefore.UTC().Format(time.RFC3339))
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return h.failure(true, startTLS, err, "the certificate expired on %s: the server's administrator must renew it",
			invalid.Cert.NotAfter.UTC().Format(time.RFC3339))
	case errors.As(err, &record) && h.Encryption == StartTLS:
		return h.failure(true, startTLS, fmt.Errorf("the server agreed to TLS, and sent something else: %w", err), "")
	case errors.As(err, &record):
		return h.failure(true, startTLS, err, "the server does not speak TLS on port %s: use tls: starttls there, or its TLS port, mostly %s", h.Port, h.TLSPort)
	case strings.Contains(err.Error(), "unsupported protocol version"):
		return h.failure(true, startTLS, err, "the server offers only %s, which is not safe: it must be given TLS 1.2 or newer", offeredVersion(err))
	case strings.Contains(err.Error(), "protocol version not supported"):
		return h.failure(true, startTLS, err, "the server offers no TLS 1.2 or newer, and older versions are not safe: it must be upgraded")
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, errReset), errors.Is(err, os.ErrDeadlineExceeded):
		return h.failure(false, startTLS, err, "the server ended the handshake: is port %s its TLS port? %s", h.Port, h.ports())
	}
	return h.failure(false, startTLS, err, "")
}

// issuer names who signed the last certificate of the chain that the server sent,
// beginning with its own.
func issuer(err error, leaf *x509.Certificate) string {
	var failed *tls.CertificateVerificationError
	if errors.As(err, &failed) && len(failed.UnverifiedCertificates) > 0 {
		leaf = failed.UnverifiedCertificates[0]
		for range failed.UnverifiedCertificates {
			i := slices.IndexFunc(failed.UnverifiedCertificates, func(c *x509.Certificate) bool {
				return bytes.Equal(c.RawSubject, leaf.RawIssuer) && !bytes.Equal(c.RawSubject, leaf.RawSubject)
			})
			if i < 0 {
				break
			}
			leaf = failed.UnverifiedCertificates[i]
		}
	}
	if leaf == nil || leaf.Issuer.String() == "" {
		return "which the certificate does not name"
	}
	return strconv.Quote(leaf.Issuer.String())
}

// hosts are the hosts that a certificate is for.
func hosts(cert *x509.Certificate) []string {
	names := slices.Clone(cert.DNSNames)
	for _, ip := range cert.IPAddresses {
		names = append(names, ip.String())
	}
	return names
}

// offeredVersion finds the version that crypto/tls says the server selected.
func offeredVersion(err error) string {
	fields := strings.Fields(err.Error())
	version, parseErr := strconv.ParseUint(fields[len(fields)-1], 16, 16)
	if parseErr != nil {
		return "an old TLS version"
	}
	return tls.VersionName(uint16(version))
}
