package imap

import (
	"bufio"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"reflect"
	"strings"
	"sync"
	"time"
	"weak"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
	"github.com/emersion/go-sasl"
	"go.uber.org/zap"

	"postroom/internal/deadline"
	"postroom/internal/secret"
	"postroom/sources"
)

func tlsConfig(host, caFile string) (*tls.Config, error) {
	cfg := &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}
	if caFile == "" {
		return cfg, nil
	}
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, sources.Errorf(sources.Permanent, "read ca_file: %w", err).
			WithRemedy("set ca_file to a file of PEM certificates that postroom can read, or leave it out")
	}
	if cfg.RootCAs, err = trusted(pem); err != nil {
		return nil, fmt.Errorf("read ca_file %s: %w", caFile, err)
	}
	return cfg, nil
}

// pools are the certificate pools in use, by the SHA-256 of what is trusted
// besides the system's: hundreds of sources may name the same file, and a pool is
// large.
var pools struct {
	sync.Mutex
	by map[[sha256.Size]byte]weak.Pointer[x509.CertPool]
}

// trusted returns the system's certificates with those of a PEM file.
func trusted(pem []byte) (*x509.CertPool, error) {
	sum := sha256.Sum256(pem)
	pools.Lock()
	defer pools.Unlock()
	if roots := pools.by[sum].Value(); roots != nil {
		return roots, nil
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("load the system's certificates: %w", err)
	}
	if !roots.AppendCertsFromPEM(pem) {
		return nil, sources.Errorf(sources.Permanent, "it holds no PEM certificate").
			WithRemedy("convert the certificate to PEM (-----BEGIN CERTIFICATE-----), or leave ca_file out")
	}
	maps.DeleteFunc(pools.by, func(_ [sha256.Size]byte, p weak.Pointer[x509.CertPool]) bool { return p.Value() == nil })
	if pools.by == nil {
		pools.by = make(map[[sha256.Size]byte]weak.Pointer[x509.CertPool])
	}
	pools.by[sum] = weak.Make(roots)
	return roots, nil
}

// connect opens a connection and signs in. It reports the steps "tcp", "tls"
// and "sign-in" up to the first that fails.
func (s *Source) connect(ctx context.Context, report func(sources.Step)) (*conn, error) {
	if s.cfg.Tokens == nil {
		return s.dial(ctx, secret.Value{}, report)
	}
	return s.connectByToken(ctx, report)
}

// dial opens a connection and signs in, with the token if there is one. It reports
// as connect does.
func (s *Source) dial(ctx context.Context, token secret.Value, report func(sources.Step)) (*conn, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, s.cfg.Timeouts.Connect,
		fmt.Errorf("no connection within %v", s.cfg.Timeouts.Connect))
	defer cancel()

	var dialer net.Dialer
	dialer.KeepAliveConfig = net.KeepAliveConfig{Enable: true, Idle: 30 * time.Second, Interval: 15 * time.Second, Count: 4}
	raw, err := dialer.DialContext(ctx, "tcp", s.server)
	if err != nil {
		err = s.explainDial(ctx, err)
		report(sources.Step{Name: "tcp", Err: err})
		return nil, err
	}
	report(sources.Step{Name: "tcp", Detail: "connected to " + raw.RemoteAddr().String()})

	bottom, err := deadline.New(raw, deadline.Limits{
		Silence: s.cfg.Timeouts.Silence, Write: s.cfg.Timeouts.Silence, Answer: s.cfg.MaxAnswer,
	})
	if err != nil {
		return nil, errors.Join(s.explainDial(ctx, err), raw.Close())
	}
	stop := context.AfterFunc(ctx, func() { raw.Close() })
	defer stop()

	stream, detail, err := s.secure(ctx, bottom)
	if err != nil {
		raw.Close()
		report(sources.Step{Name: "tls", Err: err})
		return nil, err
	}
	report(sources.Step{Name: "tls", Detail: detail})

	if err := s.refusedGreeting(stream); err != nil {
		raw.Close()
		report(sources.Step{Name: "sign-in", Err: err})
		return nil, err
	}
	c := s.newConn(stream)
	how, err := s.signIn(ctx, c, token)
	if err != nil {
		c.close()
		report(sources.Step{Name: "sign-in", Err: err})
		return nil, err
	}
	report(sources.Step{Name: "sign-in", Detail: "signed in as " + s.cfg.Username + how})
	s.log.Debug("connected", zap.String("server", s.server))
	return c, nil
}

// secure brings the connection to where it is encrypted as configured and the
// greeting is the next thing to read.
func (s *Source) secure(ctx context.Context, bottom *deadline.Conn) (*stream, string, error) {
	switch s.cfg.TLS {
	case tlsNone:
		plain := newStream(bottom, bottom)
		first, err := s.firstByte(ctx, bottom, plain.peek)
		if err == nil {
			err = s.checkGreeting(first)
		}
		if err != nil {
			return nil, "", err
		}
		return plain, "not encrypted, as configured", nil
	case tlsStart:
		if err := s.startTLS(ctx, bottom); err != nil {
			return nil, "", err
		}
	}
	secured := tls.Client(bottom, s.tls)
	if err := s.handshake(ctx, secured); err != nil {
		return nil, "", err
	}
	top := newStream(bottom, secured)
	if s.cfg.TLS == tlsStart {
		// The greeting came before encryption (RFC 9051 6.2.1).
		top.start = strings.NewReader("* OK encrypted\r\n")
	} else if err := s.awaitGreeting(ctx, top); err != nil {
		return nil, "", err
	}
	return top, describeTLS(secured.ConnectionState()), nil
}

// handshake begins TLS. A server that says nothing at all is given a third of the
// time for the whole: it is busy, or no server of TLS.
func (s *Source) handshake(ctx context.Context, secured *tls.Conn) error {
	limit := s.cfg.Timeouts.Connect / 3
	inTime, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := secured.HandshakeContext(inTime)
	if err != nil && ctx.Err() == nil && inTime.Err() != nil {
		return s.error(sources.Temporary, "start TLS", fmt.Errorf("the server accepts the connection, and does not answer within %v", limit)).
			WithRemedy("is port %s its TLS port? 993 with tls: implicit, 143 with starttls; if it is, the server is overloaded, or a firewall on the way holds the connection", s.port)
	}
	return s.explainTLS(ctx, err)
}

// awaitGreeting waits for the first byte of the greeting and looks at it.
func (s *Source) awaitGreeting(ctx context.Context, top *stream) error {
	first, err := top.peek()
	if err != nil {
		return s.noGreeting(ctx, err)
	}
	return s.checkGreeting(first)
}

// refusedGreeting explains a greeting by which the server does not let anybody
// in (RFC 9051 7.1.5). The IMAP client may see only that the connection ends.
func (s *Source) refusedGreeting(top *stream) error {
	line := top.greeting()
	typ, _, _ := strings.Cut(strings.ToUpper(strings.TrimPrefix(line, "* ")), " ")
	switch typ {
	case "BYE", "NO", "BAD":
		return s.explainStatus(readGreeting, statusLine(line))
	}
	return nil
}

// startTLS reads the greeting and has the server begin TLS (RFC 9051 6.2.1).
// Anything the server sends after its consent, before the client has begun the
// handshake, is an error: it must not be taken for what is sent encrypted.
func (s *Source) startTLS(ctx context.Context, bottom *deadline.Conn) error {
	r := bufio.NewReader(bottom)
	first, err := s.firstByte(ctx, bottom, func() (byte, error) {
		next, err := r.Peek(1)
		if err != nil {
			return 0, err
		}
		return next[0], nil
	})
	if err != nil {
		return err
	}
	if err := s.checkGreeting(first); err != nil {
		return err
	}
	greeting, err := readLine(r)
	if err != nil {
		return s.explainTLS(ctx, err)
	}
	if !strings.HasPrefix(strings.ToUpper(greeting), "* OK") {
		// PREAUTH too: it would leave the session unencrypted (RFC 9051 7.1.4).
		return s.explainStatus(readGreeting, statusLine(greeting))
	}
	if _, err := io.WriteString(bottom, "S STARTTLS\r\n"); err != nil {
		return s.explainTLS(ctx, err)
	}
	for range 100 {
		line, err := readLine(r)
		if err != nil {
			return s.explainTLS(ctx, err)
		}
		tag, rest, _ := strings.Cut(line, " ")
		if tag != "S" {
			continue
		}
		if !strings.HasPrefix(strings.ToUpper(rest), "OK") {
			return s.error(sources.Permanent, "start TLS", statusLine(line)).
				WithRemedy("the server refuses STARTTLS: use tls: implicit (port 993); postroom never falls back to a connection without encryption")
		}
		if r.Buffered() > 0 {
			return s.error(sources.Permanent, "start TLS", errors.New("the server sent data between its consent and TLS"))
		}
		return nil
	}
	return s.error(sources.Temporary, "start TLS", errors.New("no answer among 100 lines"))
}

// readLine reads a line of at most 8,192 bytes (RFC 7162 4) without its end.
func readLine(r *bufio.Reader) (string, error) {
	var line []byte
	for len(line) <= 8192 {
		b, err := r.ReadByte()
		if err != nil {
			return "", err
		}
		if b == '\n' {
			return strings.TrimSuffix(string(line), "\r"), nil
		}
		line = append(line, b)
	}
	return "", errors.New("a line of more than 8192 bytes")
}

// statusLine returns the status response of a line "tag NO [CODE] text".
func statusLine(line string) *goimap.Error {
	_, rest, _ := strings.Cut(line, " ")
	typ, text, _ := strings.Cut(rest, " ")
	e := &goimap.Error{Type: goimap.StatusResponseType(strings.ToUpper(typ)), Text: text}
	if strings.HasPrefix(text, "[") {
		if code, after, ok := strings.Cut(text[1:], "]"); ok {
			name, _, _ := strings.Cut(code, " ")
			e.Code, e.Text = goimap.ResponseCode(strings.ToUpper(name)), strings.TrimSpace(after)
		}
	}
	return e
}

// signIn reads the greeting and the capabilities, and authenticates. It returns
// what is to be said of how it did.
func (s *Source) signIn(ctx context.Context, c *conn, token secret.Value) (how string, err error) {
	var before goimap.CapSet
	caps := func(client *imapclient.Client, stale goimap.CapSet) (goimap.CapSet, error) {
		// The client has them from the greeting or the answer to the sign-in, or
		// is asking. It may not have noticed yet that a sign-in makes those it has
		// stale.
		found := client.Caps()
		if found != nil && (stale == nil || !same(found, stale)) {
			return found, nil
		}
		return client.Capability().Wait()
	}
	err = c.run(ctx, readGreeting, func(client *imapclient.Client) error {
		if err := client.WaitGreeting(); err != nil {
			return err
		}
		if client.State() == goimap.ConnStateAuthenticated {
			return nil
		}
		var err error
		before, err = caps(client, nil)
		return err
	})
	if err != nil {
		return "", err
	}
	switch {
	case c.client.State() == goimap.ConnStateAuthenticated:
	case s.cfg.Tokens != nil:
		how, err = s.authenticateByToken(ctx, c, before, token)
	default:
		err = s.authenticate(ctx, c, before)
	}
	if err != nil {
		return "", err
	}
	return how, c.run(ctx, "read capabilities", func(client *imapclient.Client) error {
		var err error
		if c.caps, err = caps(client, before); err != nil {
			return err
		}
		if c.caps.Has(goimap.CapIMAP4rev2) && c.caps.Has(goimap.CapEnable) {
			// The client sends folder names in UTF-8 once it has seen
			// IMAP4rev2; a server that also knows IMAP4rev1 takes them so only
			// after this (RFC 9051 6.3.1).
			_, err = client.Enable(goimap.CapIMAP4rev2).Wait()
		}
		return err
	})
}

// same reports whether both are one set in memory.
func same(a, b goimap.CapSet) bool {
	return reflect.ValueOf(a).Pointer() == reflect.ValueOf(b).Pointer()
}

func (s *Source) authenticate(ctx context.Context, c *conn, caps goimap.CapSet) error {
	plain := caps.Has(goimap.AuthCap(sasl.Plain))
	if !plain && caps.Has(goimap.CapLoginDisabled) {
		offers := strings.Join(caps.AuthMechanisms(), ", ")
		err := s.error(sources.Permanent, "sign in", errors.New("the server accepts no password on this connection"))
		switch {
		case s.cfg.TLS == tlsNone:
			return err.WithRemedy("it wants encryption: use tls: implicit or starttls")
		case offers != "":
			return err.WithRemedy("it offers %s: choose credentials of another type, or the source's type for this provider", offers)
		default:
			return err.WithRemedy("ask the server's administrator how applications sign in")
		}
	}
	password := s.cfg.Password.Reveal()
	err := c.run(ctx, "sign in as "+s.cfg.Username, func(client *imapclient.Client) error {
		if plain {
			return client.Authenticate(sasl.NewPlainClient("", s.cfg.Username, password))
		}
		return client.Login(s.cfg.Username, password).Wait()
	})
	return s.explainSignIn(err, password)
}

func describeTLS(state tls.ConnectionState) string {
	detail := fmt.Sprintf("%s, %s", tls.VersionName(state.Version), tls.CipherSuiteName(state.CipherSuite))
	if len(state.PeerCertificates) > 0 {
		cert := state.PeerCertificates[0]
		detail += fmt.Sprintf(", certificate %s, valid for %d more days",
			certificateName(cert), int(time.Until(cert.NotAfter).Hours()/24))
	}
	return detail
}

func certificateName(cert *x509.Certificate) string {
	if name := cert.Subject.String(); name != "" {
		return name
	}
	return strings.Join(certificateHosts(cert), ", ")
}

func certificateHosts(cert *x509.Certificate) []string {
	hosts := append([]string(nil), cert.DNSNames...)
	for _, ip := range cert.IPAddresses {
		hosts = append(hosts, ip.String())
	}
	return hosts
}
