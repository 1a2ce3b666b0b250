// Package mailhost reaches a mail server whose protocol is lines over TCP: it
// opens the connection, encrypts it, and says of each way in which that can fail
// what a person can do.
package mailhost

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
	"weak"
)

// How a connection is encrypted, as a configuration says it.
const (
	Implicit = "implicit" // TLS from the first byte
	StartTLS = "starttls" // by a command
	None     = "none"
)

// Protocol is what differs between the protocols.
type Protocol struct {
	// Name is that of the protocol, for a person: "POP3".
	Name string
	// TLSPort is that of [Implicit], Port that of the others.
	TLSPort, Port string
}

// Address returns the host and the port that a configuration names: HOST or
// HOST:PORT. Its error is about the key "server".
func (p Protocol) Address(server, encryption string) (host, port string, err error) {
	if server == "" {
		return "", "", errors.New("server: the host name is missing")
	}
	port = p.TLSPort
	if encryption == StartTLS || encryption == None {
		port = p.Port
	}
	bare := strings.TrimSuffix(strings.TrimPrefix(server, "["), "]")
	if _, err := netip.ParseAddr(bare); err == nil {
		return bare, port, nil
	}
	host = server
	if strings.Contains(server, ":") {
		if host, port, err = net.SplitHostPort(server); err != nil {
			return "", "", errors.New("server: not a host name with or without :PORT")
		}
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n < 1 {
		return "", "", errors.New("server: no port from 1 to 65535 after the colon")
	}
	if host == "" || strings.ContainsAny(host, "/ @") {
		return "", "", errors.New("server: not a host name with or without :PORT")
	}
	return host, port, nil
}

// Failure is why a server could not be reached.
type Failure struct {
	// Permanent: trying again will not help.
	Permanent bool
	// Doing is what failed: "connect", "start TLS" or "read greeting".
	Doing string
	Err   error
	// Remedy says what to do, in a sentence for an administrator; may be empty.
	Remedy string
}

func (f *Failure) Error() string { return f.Doing + ": " + f.Err.Error() }
func (f *Failure) Unwrap() error { return f.Err }

// Host is one server as it is configured.
type Host struct {
	Protocol
	Name, Port string
	// Encryption is one of [Implicit], [StartTLS] and [None].
	Encryption string

	caFile string
	tls    *tls.Config
}

// New returns the server of a configuration. caFile names a file of PEM
// certificates trusted besides those of the system; it may be empty. The error is
// a *Failure if it is about that file.
func New(p Protocol, server, encryption, caFile string) (*Host, error) {
	name, port, err := p.Address(server, encryption)
	if err != nil {
		return nil, err
	}
	h := &Host{Protocol: p, Name: name, Port: port, Encryption: encryption, caFile: caFile}
	if encryption == None {
		return h, nil
	}
	h.tls = &tls.Config{ServerName: name, MinVersion: tls.VersionTLS12}
	if caFile == "" {
		return h, nil
	}
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, &Failure{true, "read ca_file", err, "set ca_file to a file of PEM certificates that postroom can read, or leave it out"}
	}
	if h.tls.RootCAs, err = trusted(pem); err != nil {
		return nil, &Failure{true, "read ca_file " + caFile, err,
			"convert the certificate to PEM (-----BEGIN CERTIFICATE-----), or leave ca_file out"}
	}
	return h, nil
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
		return nil, errors.New("it holds no PEM certificate")
	}
	maps.DeleteFunc(pools.by, func(_ [sha256.Size]byte, p weak.Pointer[x509.CertPool]) bool { return p.Value() == nil })
	if pools.by == nil {
		pools.by = make(map[[sha256.Size]byte]weak.Pointer[x509.CertPool])
	}
	pools.by[sum] = weak.Make(roots)
	return roots, nil
}

// Addr is the server's address, host:port.
func (h *Host) Addr() string { return net.JoinHostPort(h.Name, h.Port) }

// Lookup returns the addresses of the host. The error is a *Failure.
func (h *Host) Lookup(ctx context.Context) ([]string, error) {
	addrs, err := net.DefaultResolver.LookupHost(ctx, h.Name)
	if err != nil {
		return nil, h.explainDial(ctx, err)
	}
	return addrs, nil
}

// Dial opens a TCP connection. The error is a *Failure.
func (h *Host) Dial(ctx context.Context) (net.Conn, error) {
	var dialer net.Dialer
	dialer.KeepAliveConfig = net.KeepAliveConfig{Enable: true, Idle: 30 * time.Second, Interval: 15 * time.Second, Count: 4}
	conn, err := dialer.DialContext(ctx, "tcp", h.Addr())
	if err != nil {
		return nil, h.explainDial(ctx, err)
	}
	return conn, nil
}

// Encrypt begins TLS on the connection. A server that says nothing at all within
// patience is busy, or no server of TLS. The error is a *Failure.
func (h *Host) Encrypt(ctx context.Context, conn net.Conn, patience time.Duration) (*tls.Conn, error) {
	inTime, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	secured := tls.Client(conn, h.tls)
	err := secured.HandshakeContext(inTime)
	switch {
	case err == nil:
		return secured, nil
	case ctx.Err() == nil && inTime.Err() != nil:
		return nil, h.failure(false, startTLS, fmt.Errorf("the server accepts the connection, and does not answer within %v", patience),
			"is port %s its TLS port? %s; if it is, the server is overloaded, or a firewall on the way holds the connection", h.Port, h.ports())
	}
	return nil, h.ExplainTLS(ctx, err)
}

// impatience is how long a server may say nothing, where it should speak first,
// before its port is tried for TLS.
const impatience = 3 * time.Second

// FirstByte returns what peek returns: the first byte that the server sends on
// raw. Since a TLS port waits for the client in turn, an unencrypted connection
// is soon compared with one of its own that begins TLS, rather than let both wait
// for each other; at the latest after half of silence. The error is a *Failure.
func (h *Host) FirstByte(ctx context.Context, raw net.Conn, silence time.Duration, peek func() (byte, error)) (byte, error) {
	if h.Encryption == Implicit {
		first, err := peek()
		if err != nil {
			return 0, h.explainSilence(ctx, err)
		}
		return first, nil
	}
	trying, cancel := context.WithCancel(ctx)
	defer cancel()
	var (
		isTLS bool
		wg    sync.WaitGroup
	)
	wg.Go(func() {
		select {
		case <-time.After(min(impatience, silence/2)):
		case <-trying.Done():
			return
		}
		if isTLS = h.speaksTLS(trying); isTLS {
			raw.Close()
		}
	})
	first, err := peek()
	cancel()
	wg.Wait()
	switch {
	case isTLS:
		return 0, h.failure(true, readGreeting, errors.New("the server says nothing before TLS"), "port %s is a TLS port: use tls: implicit", h.Port)
	case err != nil:
		return 0, h.explainSilence(ctx, err)
	case first == 0x15 || first == 0x16:
		return 0, h.failure(true, readGreeting, errors.New("the server speaks TLS from the first byte"), "use tls: implicit on port %s", h.Port)
	}
	return first, nil
}

// speaksTLS reports whether the server answers a TLS handshake as its first
// message. It sends nothing else.
func (h *Host) speaksTLS(ctx context.Context) bool {
	var dialer net.Dialer
	raw, err := dialer.DialContext(ctx, "tcp", h.Addr())
	if err != nil {
		return false
	}
	defer raw.Close()
	// Whatever is wrong with its certificate, it has one.
	var (
		certificate *tls.CertificateVerificationError
		alert       tls.AlertError
	)
	err = tls.Client(raw, &tls.Config{ServerName: h.Name, MinVersion: tls.VersionTLS12}).HandshakeContext(ctx)
	return err == nil || errors.As(err, &certificate) || errors.As(err, &alert)
}

// Describe says for a person how a connection is encrypted, and by whose
// certificate.
func Describe(state tls.ConnectionState) string {
	detail := fmt.Sprintf("%s, %s", tls.VersionName(state.Version), tls.CipherSuiteName(state.CipherSuite))
	if len(state.PeerCertificates) > 0 {
		cert := state.PeerCertificates[0]
		name := cert.Subject.String()
		if name == "" {
			name = strings.Join(hosts(cert), ", ")
		}
		detail += fmt.Sprintf(", certificate %s, valid for %d more days", name, int(time.Until(cert.NotAfter).Hours()/24))
	}
	return detail
}
