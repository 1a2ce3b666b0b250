package graph

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Reach checks, step by step, that the servers can be reached: "name", "tcp" and
// "tls", first for where to sign in, then for Graph. It stops after the first
// that fails. It sends no request.
func (c *Client) Reach(ctx context.Context, report func(step, detail string, err error)) {
	if c.authorityHost() == c.host || c.ReachAuthority(ctx, report) {
		c.reach(ctx, c.host, report)
	}
}

// ReachAuthority is Reach for where to sign in alone. It reports whether all went
// well.
func (c *Client) ReachAuthority(ctx context.Context, report func(step, detail string, err error)) bool {
	host := c.authorityHost()
	return host == "" || c.reach(ctx, host, report)
}

// authorityHost is where to sign in, "" if that is the machine itself.
func (c *Client) authorityHost() string {
	u, err := url.Parse(c.cloud.Authority)
	if err != nil || c.settings.Flow == ManagedIdentity {
		return ""
	}
	return u.Host
}

func (c *Client) reach(ctx context.Context, host string, report func(step, detail string, err error)) bool {
	ctx, cancel := context.WithTimeout(ctx, 3*c.timeouts.Connect)
	defer cancel()
	fail := func(step string, err error) bool {
		report(step, "", c.settings.explainConn(host, err))
		return false
	}
	proxy, err := c.proxyFor(host)
	if err != nil {
		return fail("name", err)
	}
	first, through := withPort(host, "443"), ""
	if proxy != nil {
		first, through = withPort(proxy.Host, map[string]string{"https": "443", "socks5": "1080"}[proxy.Scheme]), " through the proxy "+proxy.Host
		if proxy.Port() == "" && proxy.Scheme == "http" {
			first = withPort(proxy.Host, "80")
		}
	}
	name, _, err := net.SplitHostPort(first)
	if err != nil {
		return fail("name", err)
	}
	addresses, err := net.DefaultResolver.LookupHost(ctx, name)
	if err != nil {
		return fail("name", err)
	}
	report("name", name+" is "+strings.Join(addresses, ", "), nil)
	dialer := net.Dialer{Timeout: c.timeouts.Connect}
	conn, err := dialer.DialContext(ctx, "tcp", first)
	if err != nil {
		if proxy != nil {
			err = &net.OpError{Op: "proxyconnect", Net: "tcp", Err: err}
		}
		return fail("tcp", err)
	}
	defer conn.Close()
	report("tcp", "connected to "+conn.RemoteAddr().String(), nil)
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return fail("tcp", err)
		}
	}
	if proxy != nil {
		if proxy.Scheme == "socks5" || proxy.Scheme == "socks5h" {
			return true // the requests themselves show whether it works
		}
		if conn, err = connect(conn, proxy, host); err != nil {
			return fail("tcp", err)
		}
	}
	cfg, err := c.settings.tlsConfig()
	if err != nil {
		return fail("tls", err)
	}
	cfg.ServerName, _, _ = net.SplitHostPort(withPort(host, "443"))
	secure := tls.Client(conn, cfg)
	if err := secure.HandshakeContext(ctx); err != nil {
		return fail("tls", err)
	}
	state := secure.ConnectionState()
	leaf := state.PeerCertificates[0]
	report("tls", fmt.Sprintf("%s%s: %s; certificate by %s until %s", host, through, tls.VersionName(state.Version),
		clean(leaf.Issuer.String()), leaf.NotAfter.UTC().Format(time.DateOnly)), nil)
	return true
}

// proxyFor returns the proxy for a host, nil if there is none.
func (c *Client) proxyFor(host string) (*url.URL, error) {
	find, err := c.settings.proxy()
	if err != nil {
		return nil, err
	}
	return find(&http.Request{URL: &url.URL{Scheme: "https", Host: host}})
}

func withPort(host, port string) string {
	if _, _, err := net.SplitHostPort(host); err == nil {
		return host
	}
	return net.JoinHostPort(strings.Trim(host, "[]"), port)
}

// connect asks a proxy for a tunnel to the host (RFC 9110 9.3.6).
func connect(conn net.Conn, proxy *url.URL, host string) (net.Conn, error) {
	if proxy.Scheme == "https" {
		conn = tls.Client(conn, &tls.Config{ServerName: proxy.Hostname(), MinVersion: tls.VersionTLS12})
	}
	target := withPort(host, "443")
	req := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: target}, Host: target, Header: http.Header{"User-Agent": {"postroom"}}}
	if proxy.User != nil {
		password, _ := proxy.User.Password()
		req.Header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(proxy.User.Username()+":"+password)))
	}
	if err := req.Write(conn); err != nil {
		return nil, &net.OpError{Op: "proxyconnect", Net: "tcp", Err: err}
	}
	// The tunnel has nothing to say before the handshake.
	resp, err := http.ReadResponse(bufio.NewReader(conn), req)
	if err != nil {
		return nil, &net.OpError{Op: "proxyconnect", Net: "tcp", Err: err}
	}
	if resp.StatusCode != http.StatusOK {
		return nil, &net.OpError{Op: "proxyconnect", Net: "tcp", Err: errors.New(http.StatusText(resp.StatusCode))}
	}
	return conn, nil
}
