package graph

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"
)

// Timeouts bound every wait of a client. A zero field takes its default.
type Timeouts struct {
	// Connect bounds each of TCP and TLS: 15 s.
	Connect time.Duration
	// SignIn bounds signing in: 60 s.
	SignIn time.Duration
	// Answer is how long the head of an answer may take: 2 min, as Graph renders
	// a large message before it sends the first byte.
	Answer time.Duration
	// Silence is how long a body may pause: 60 s.
	Silence time.Duration
	// Pause is the first pause after a refusal that does not say how long to wait,
	// and grows from there: 2 s.
	Pause time.Duration
	// Patience is how long a call waits by itself for a throttled mailbox, before
	// it returns a *ThrottledError: 5 s.
	Patience time.Duration
}

func (t Timeouts) withDefaults() Timeouts {
	set := func(d *time.Duration, value time.Duration) {
		if *d == 0 {
			*d = value
		}
	}
	set(&t.Connect, 15*time.Second)
	set(&t.SignIn, time.Minute)
	set(&t.Answer, 2*time.Minute)
	set(&t.Silence, time.Minute)
	set(&t.Pause, 2*time.Second)
	set(&t.Patience, 5*time.Second)
	return t
}

// tlsConfig returns the configuration of every connection: TLS 1.2 or newer, and
// the certificates of the system and of ca_file.
func (s *Settings) tlsConfig() (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if s.CAFile == "" {
		return cfg, nil
	}
	pem, err := os.ReadFile(s.CAFile)
	if err != nil {
		return nil, fmt.Errorf("ca_file: %w", err)
	}
	if cfg.RootCAs, err = x509.SystemCertPool(); err != nil {
		cfg.RootCAs = x509.NewCertPool()
	}
	if !cfg.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("ca_file: %s holds no certificate", s.CAFile)
	}
	return cfg, nil
}

// proxy returns what finds the proxy of a request.
func (s *Settings) proxy() (func(*http.Request) (*url.URL, error), error) {
	if s.Proxy.Empty() {
		return pastTheMachine(http.ProxyFromEnvironment), nil
	}
	u, err := url.Parse(s.Proxy.Reveal())
	if err != nil || u.Host == "" {
		// Not err, which would quote a password.
		return nil, errors.New("proxy: not a URL")
	}
	return pastTheMachine(http.ProxyURL(u)), nil
}

// pastTheMachine keeps from the proxy what goes to the machine itself: the
// service of managed identities, which answers by plain HTTP on a loopback or
// link-local address, and knows whom by where the request comes from.
func pastTheMachine(proxy func(*http.Request) (*url.URL, error)) func(*http.Request) (*url.URL, error) {
	return func(r *http.Request) (*url.URL, error) {
		host := r.URL.Hostname()
		address, err := netip.ParseAddr(host)
		if r.URL.Scheme == "http" && (host == "localhost" || err == nil && (address.IsLoopback() || address.IsLinkLocalUnicast())) {
			return nil, nil
		}
		return proxy(r)
	}
}

// transport returns what carries requests.
func (s *Settings) transport(timeouts Timeouts, of *conns) (*http.Transport, error) {
	cfg, err := s.tlsConfig()
	if err != nil {
		return nil, err
	}
	proxy, err := s.proxy()
	if err != nil {
		return nil, err
	}
	of.dialer = net.Dialer{Timeout: timeouts.Connect, KeepAlive: 30 * time.Second}
	return &http.Transport{
		Proxy: proxy, DialContext: of.dial, TLSClientConfig: cfg,
		TLSHandshakeTimeout: timeouts.Connect, ForceAttemptHTTP2: true,
		IdleConnTimeout: 90 * time.Second, MaxIdleConnsPerHost: 8, MaxResponseHeaderBytes: 256 << 10,
		// A connection that died silently is found before a request waits on it.
		HTTP2: &http.HTTP2Config{SendPingTimeout: 20 * time.Second, PingTimeout: 15 * time.Second},
	}, nil
}

// noRedirect keeps a client from following a redirect, which would take a token
// to another place.
func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// explainConn says in plain words why there was no answer of the host.
func (s *Settings) explainConn(host string, err error) error {
	var (
		already  *ConnError
		unknown  x509.UnknownAuthorityError
		hostname x509.HostnameError
		invalid  x509.CertificateInvalidError
		record   tls.RecordHeaderError
		dns      *net.DNSError
		op       *net.OpError
	)
	e := &ConnError{Host: host, Summary: "the connection failed"}
	if inner := errors.Unwrap(err); inner != nil {
		var of *url.Error
		if errors.As(err, &of) {
			err = of.Err // its text has the whole URL
		}
	}
	e.Err = errors.New(s.scrub(err.Error()))
	switch {
	case errors.As(err, &already):
		return already
	case errors.Is(err, context.Canceled):
		return err
	case errors.As(err, &unknown):
		e.Lasting, e.Summary = true, "its certificate is signed by an authority that this machine does not know"
		e.Remedy = "a proxy or a security product on the way opens the connection: add its certificate with ca_file, or let " + host + " through untouched"
		if issuer := issuerOf(err, unknown.Cert); issuer != "" {
			e.Summary += ", " + issuer
		}
	case errors.As(err, &hostname):
		e.Lasting, e.Summary = true, "its certificate is for another host"
		e.Remedy = "a proxy or a wrong name server answers in place of " + host + ": ask whoever runs the network"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		e.Lasting, e.Summary = true, "its certificate is not valid at the time of this machine"
		e.Remedy = "check the clock of this machine; if it is right, a proxy on the way presents an expired certificate"
	case errors.As(err, &invalid), errors.As(err, new(*tls.CertificateVerificationError)):
		e.Lasting, e.Summary = true, "its certificate is not accepted"
		e.Remedy = "if a proxy or a security product on the way opens the connection, add its certificate with ca_file"
	case errors.As(err, &record), strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		e.Lasting, e.Summary = true, "it does not speak TLS"
		e.Remedy = "a proxy or a captive portal answers in place of " + host + ": check proxy:"
	case strings.Contains(err.Error(), "Proxy Authentication Required"):
		e.Lasting, e.Summary = true, "the proxy wants a user name and a password"
		e.Remedy = "write them into proxy: as http://USER:PASSWORD@HOST:PORT, with the password as a reference"
	case errors.As(err, &op) && op.Op == "proxyconnect", strings.Contains(err.Error(), "proxyconnect"):
		e.Summary = "the proxy cannot be reached, or refuses the connection"
		e.Remedy = "check proxy: and the environment's HTTPS_PROXY, and that the proxy lets " + host + " through"
	case errors.As(err, &dns):
		e.Summary = "its name is not known"
		e.Remedy = "check the name servers of this machine; behind a proxy set proxy:"
		if dns.IsTimeout {
			e.Summary = "the name servers do not answer"
		}
	case errors.Is(err, errNoAnswer), errors.Is(err, errSilent):
		e.Summary = "it does not answer in time"
		e.Remedy = "it is tried again; if it lasts, look at the firewall and at Microsoft's service health"
	case errors.As(err, &op) && op.Op == "dial":
		e.Summary = "it cannot be reached"
		e.Remedy = "check that the firewall lets this machine reach " + host + " on port 443; behind a proxy set proxy:"
	}
	return e
}

// issuerOf names who signed the certificate that was refused.
func issuerOf(err error, leaf *x509.Certificate) string {
	var failed *tls.CertificateVerificationError
	if errors.As(err, &failed) && len(failed.UnverifiedCertificates) > 0 {
		leaf = failed.UnverifiedCertificates[0]
	}
	if leaf == nil {
		return ""
	}
	return clean(leaf.Issuer.String())
}
