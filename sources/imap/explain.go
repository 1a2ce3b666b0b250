package imap

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	goimap "github.com/emersion/go-imap/v2"

	"postroom/internal/deadline"
	"postroom/sources"
)

// protocolError is an answer of the server that cannot be read.
type protocolError struct{ err error }

func (e *protocolError) Error() string { return "the server's answer cannot be read: " + e.err.Error() }
func (e *protocolError) Unwrap() error { return e.err }

// lostError is a connection that ended or fell silent.
type lostError struct{ err error }

func (e *lostError) Error() string { return "connection lost: " + e.err.Error() }
func (e *lostError) Unwrap() error { return e.err }

// broken reports whether the error ended the connection.
func broken(err error) bool {
	var lost *lostError
	var protocol *protocolError
	var ours *callerError
	if errors.As(err, &ours) {
		return false
	}
	return errors.As(err, &lost) || errors.As(err, &protocol)
}

// error returns an error of the source that names the server.
func (s *Source) error(class sources.Class, doing string, err error) *sources.Error {
	return sources.Errorf(class, "%s: %s: %w", s.server, doing, err)
}

// explain gives err, met while doing something, its class and remedy.
func (s *Source) explain(doing string, err error) error {
	var status *goimap.Error
	var classed *sources.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &classed):
		return err
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return s.error(sources.Temporary, doing, err)
	case errors.As(err, &status):
		return s.explainStatus(doing, status)
	default:
		return s.error(sources.Temporary, doing, err)
	}
}

// suggested finds the delay in the answer of a throttling Exchange server.
var suggested = regexp.MustCompile(`(?i)Suggested Backoff Time:\s*(\d{1,12})\s*milliseconds`)

// explainStatus gives a NO, BAD or BYE of the server its class (RFC 9051 7.1,
// RFC 5530).
func (s *Source) explainStatus(doing string, status *goimap.Error) *sources.Error {
	if shown := s.hide(status.Text); shown != status.Text {
		hidden := *status
		hidden.Text, status = shown, &hidden
	}
	text := strings.ToLower(status.Text)
	switch {
	case strings.Contains(text, "throttled"):
		e := s.error(sources.Throttled, doing, status)
		if m := suggested.FindStringSubmatch(status.Text); m != nil {
			if ms, err := strconv.ParseInt(m[1], 10, 64); err == nil {
				e.Until = time.Now().Add(time.Duration(min(ms, 24*3600*1000)) * time.Millisecond)
			}
		}
		return e
	case notConnected(status) && s.cfg.Tokens != nil:
		return s.error(sources.Permission, doing, status).WithRemedy("%s", s.tokenRemedy())
	case notConnected(status):
		return s.error(sources.Permission, doing, status).
			WithRemedy("the server accepted the password but does not open the mailbox: IMAP may be switched off for it, " +
				"or the user name may be wrong for a shared mailbox")
	}
	switch {
	case status.Type == "PREAUTH":
		return s.error(sources.Temporary, doing, status).
			WithRemedy("the server signs in by itself before the connection is encrypted, which leaves it unencrypted: use tls: implicit")
	case status.Code == goimap.ResponseCodeUnavailable:
		return s.error(sources.Temporary, doing, status).
			WithRemedy("a part of the server is out of order, or in maintenance: it is tried again; if it lasts, ask its administrator")
	}
	switch status.Code {
	case goimap.ResponseCodeAuthenticationFailed, goimap.ResponseCodeAuthorizationFailed, goimap.ResponseCodeExpired:
		if s.cfg.Tokens != nil {
			return s.error(sources.SignIn, doing, status).WithRemedy("%s", s.tokenRemedy())
		}
		return s.error(sources.SignIn, doing, status).
			WithRemedy("check user name and password; some providers want an application password")
	case goimap.ResponseCodePrivacyRequired:
		return s.error(sources.Permanent, doing, status).WithRemedy("the server wants encryption: use tls: implicit or starttls")
	case goimap.ResponseCodeNoPerm:
		return s.error(sources.Permission, doing, status).WithRemedy("ask the mailbox's owner to grant this right")
	case goimap.ResponseCodeNonExistent:
		return s.error(sources.NotFound, doing, status)
	case goimap.ResponseCodeOverQuota:
		return s.error(sources.Temporary, doing, status).WithRemedy("the mailbox is full: make room, or use another disposition")
	case goimap.ResponseCodeCannot:
		return s.error(sources.Permanent, doing, status)
	case goimap.ResponseCodeContactAdmin:
		return s.error(sources.Temporary, doing, status).WithRemedy("the server asks to contact its administrator")
	}
	e := s.error(sources.Temporary, doing, status)
	switch {
	case status.Type == goimap.StatusResponseTypeBye:
		return e.WithRemedy("the server ended the connection: it may be busy or in maintenance, refuse this machine's address, " +
			"or allow fewer connections (see connections); its log says why")
	case doing == readGreeting:
		return e.WithRemedy("the server refuses the connection before any sign-in: it may be busy, or refuse this machine's address; its log says why")
	}
	return e
}

// notConnected reports whether Exchange says that a sign-in that it has accepted
// opens no mailbox.
func notConnected(status *goimap.Error) bool {
	return strings.Contains(strings.ToLower(status.Text), "authenticated but not connected")
}

// readGreeting is what is done first on a connection.
const readGreeting = "read greeting"

// explainSignIn is explain for the answer to a sign-in, where a NO without a
// code means that the credentials were refused. It keeps the password out of
// the error even if the server repeats it.
func (s *Source) explainSignIn(err error, password string) error {
	if err == nil {
		return nil
	}
	var status *goimap.Error
	var classed *sources.Error
	if errors.As(err, &status) && errors.As(err, &classed) {
		shown := *status
		plain := base64.StdEncoding.EncodeToString([]byte("\x00" + s.cfg.Username + "\x00" + password))
		for _, hidden := range []string{plain, password} {
			if hidden != "" {
				shown.Text = strings.ReplaceAll(shown.Text, hidden, "***")
			}
		}
		refused := *s.explainStatus("sign in as "+s.cfg.Username, &shown)
		if shown.Type == goimap.StatusResponseTypeNo && shown.Code == "" && refused.Class == sources.Temporary {
			refused.Class = sources.SignIn
			refused.Remedy = "check user name and password; some providers want an application password"
		}
		return &refused
	}
	return err
}

// explainDial explains why no TCP connection came about.
func (s *Source) explainDial(ctx context.Context, err error) error {
	const doing = "connect"
	var dns *net.DNSError
	switch {
	case ctx.Err() != nil:
		return s.error(sources.Temporary, doing, context.Cause(ctx))
	case errors.As(err, &dns) && dns.IsNotFound:
		return s.error(sources.Temporary, doing, err).
			WithRemedy("no such host: check the spelling of server, and this machine's DNS")
	case errors.As(err, &dns):
		return s.error(sources.Temporary, doing, err).WithRemedy("name resolution fails: check this machine's DNS")
	case errors.Is(err, errRefused):
		return s.error(sources.Temporary, doing, err).
			WithRemedy("nothing answers on port %s: is the port right? 993 with tls: implicit, 143 with starttls", s.port)
	default:
		return s.error(sources.Temporary, doing, err).
			WithRemedy("check that a firewall lets this machine reach port %s of %s", s.port, s.host)
	}
}

// noGreeting explains a server that connects and says nothing.
func (s *Source) noGreeting(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	e := s.error(sources.Temporary, readGreeting, err)
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, errReset) || ctx.Err() != nil {
		if s.cfg.TLS != tlsImplicit {
			return e.WithRemedy("the server does not speak first; if port %s is its TLS port, use tls: implicit", s.port)
		}
		return e.WithRemedy("the server may be overloaded, or refuse this machine's address")
	}
	return e
}

// impatience is how long a server may say nothing, where it should speak first,
// before its port is tried for TLS.
const impatience = 3 * time.Second

// firstByte waits for the first byte that an unencrypted server sends, which peek
// leaves to be read. Since a
// TLS port waits for the client in turn, it soon tries the port for TLS with a
// connection of its own, rather than let both wait for each other.
func (s *Source) firstByte(ctx context.Context, bottom *deadline.Conn, peek func() (byte, error)) (byte, error) {
	trying, cancel := context.WithCancel(ctx)
	defer cancel()
	var (
		isTLS bool
		wg    sync.WaitGroup
	)
	wg.Go(func() {
		select {
		case <-time.After(min(impatience, s.cfg.Timeouts.Silence/2)):
		case <-trying.Done():
			return
		}
		if isTLS = s.speaksTLS(trying); isTLS {
			bottom.Conn.Close()
		}
	})
	first, err := peek()
	cancel()
	wg.Wait()
	switch {
	case isTLS:
		return 0, s.error(sources.Permanent, readGreeting, errors.New("the server says nothing before TLS")).
			WithRemedy("port %s is a TLS port: use tls: implicit", s.port)
	case err != nil:
		return 0, s.noGreeting(ctx, err)
	}
	return first, nil
}

// speaksTLS reports whether the server answers a TLS handshake as its first
// message. It sends nothing else.
func (s *Source) speaksTLS(ctx context.Context) bool {
	var dialer net.Dialer
	raw, err := dialer.DialContext(ctx, "tcp", s.server)
	if err != nil {
		return false
	}
	defer raw.Close()
	// Whatever is wrong with its certificate, it has one.
	var (
		certificate *tls.CertificateVerificationError
		alert       tls.AlertError
	)
	err = tls.Client(raw, &tls.Config{ServerName: s.host, MinVersion: tls.VersionTLS12}).HandshakeContext(ctx)
	return err == nil || errors.As(err, &certificate) || errors.As(err, &alert)
}

// checkGreeting explains a first byte that no IMAP server sends.
func (s *Source) checkGreeting(first byte) error {
	switch first {
	case '*':
		return nil
	case 0x15, 0x16:
		return s.error(sources.Permanent, readGreeting, errors.New("the server speaks TLS from the first byte")).
			WithRemedy("use tls: implicit on port %s", s.port)
	case '+':
		return s.error(sources.Permanent, readGreeting, errors.New("a POP3 server answers")).
			WithRemedy("use type: pop3, or the server's IMAP port")
	default:
		return s.error(sources.Permanent, readGreeting, errors.New("this is not an IMAP server")).
			WithRemedy("check server and port: 993 with tls: implicit, 143 with starttls")
	}
}

// explainTLS explains a failed handshake.
func (s *Source) explainTLS(ctx context.Context, err error) error {
	const doing = "start TLS"
	var (
		unknown  x509.UnknownAuthorityError
		hostname x509.HostnameError
		invalid  x509.CertificateInvalidError
		record   tls.RecordHeaderError
	)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return s.error(sources.Temporary, doing, context.Cause(ctx)).
			WithRemedy("the server or the network is slow, or port %s is not its TLS port: 993 with tls: implicit, 143 with starttls", s.port)
	case errors.As(err, &unknown) && s.cfg.CAFile != "":
		return s.error(sources.Permanent, doing, err).
			WithRemedy("neither ca_file (%s) nor this machine holds the certificate of the issuer, %s: add that one to the file, or name one that has it",
				s.cfg.CAFile, issuer(err, unknown.Cert))
	case errors.As(err, &unknown):
		return s.error(sources.Permanent, doing, err).
			WithRemedy("the certificate is signed by an authority that this machine does not know: " +
				"add the authority's certificate with ca_file")
	case errors.As(err, &hostname):
		return s.error(sources.Permanent, doing, err).
			WithRemedy("the certificate is for %s: use one of these as server",
				strings.Join(append(certificateHosts(hostname.Certificate), commonName(hostname.Certificate)...), ", "))
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		now := time.Now()
		if now.Before(invalid.Cert.NotBefore) {
			return s.error(sources.Permanent, doing, err).
				WithRemedy("the certificate is valid from %s only: check this machine's clock",
					invalid.Cert.NotBefore.UTC().Format(time.RFC3339))
		}
		return s.error(sources.Permanent, doing, err).
			WithRemedy("the certificate expired on %s: the server's administrator must renew it",
				invalid.Cert.NotAfter.UTC().Format(time.RFC3339))
	case errors.As(err, &record) && s.cfg.TLS == tlsStart:
		return s.error(sources.Permanent, doing, fmt.Errorf("the server agreed to TLS, and sent something else: %w", err))
	case errors.As(err, &record):
		return s.error(sources.Permanent, doing, err).
			WithRemedy("the server does not speak TLS on port %s: use tls: starttls there, or its TLS port, mostly 993", s.port)
	case strings.Contains(err.Error(), "unsupported protocol version"):
		return s.error(sources.Permanent, doing, err).
			WithRemedy("the server offers only %s, which is not safe: it must be given TLS 1.2 or newer", offeredVersion(err))
	case strings.Contains(err.Error(), "protocol version not supported"):
		return s.error(sources.Permanent, doing, err).
			WithRemedy("the server offers no TLS 1.2 or newer, and older versions are not safe: it must be upgraded")
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, errReset),
		errors.Is(err, os.ErrDeadlineExceeded):
		return s.error(sources.Temporary, doing, err).
			WithRemedy("the server ended the handshake: is port %s its TLS port? 993 with tls: implicit, 143 with starttls", s.port)
	default:
		return s.error(sources.Temporary, doing, err)
	}
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

func commonName(cert *x509.Certificate) []string {
	if len(cert.DNSNames)+len(cert.IPAddresses) > 0 || cert.Subject.CommonName == "" {
		return nil
	}
	return []string{cert.Subject.CommonName}
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

// firstLine returns err without what follows its first line, such as the stack
// that the IMAP client appends when it trips over an answer.
func firstLine(err error) error {
	text, _, more := strings.Cut(err.Error(), "\n")
	if !more {
		return err
	}
	return fmt.Errorf("%s", text)
}
