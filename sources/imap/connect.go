package imap

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
	"github.com/emersion/go-sasl"
	"go.uber.org/zap"

	"postroom/internal/deadline"
	"postroom/internal/mailhost"
	"postroom/internal/secret"
	"postroom/sources"
)

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
	failed := func(step, doing string, err error) (*conn, error) {
		err = s.explain(doing, err)
		report(sources.Step{Name: step, Err: err})
		return nil, err
	}

	raw, err := s.host.Dial(ctx)
	if err != nil {
		return failed("tcp", "connect", err)
	}
	report(sources.Step{Name: "tcp", Detail: "connected to " + raw.RemoteAddr().String()})

	bottom, err := deadline.New(raw, deadline.Limits{
		Silence: s.cfg.Timeouts.Silence, Write: s.cfg.Timeouts.Silence, Answer: s.cfg.MaxAnswer,
	})
	if err != nil {
		raw.Close()
		return failed("tcp", "connect", &lostError{err})
	}
	stop := context.AfterFunc(ctx, func() { raw.Close() })
	defer stop()

	stream, detail, err := s.secure(ctx, bottom)
	if err != nil {
		raw.Close()
		return failed("tls", "start TLS", err)
	}
	report(sources.Step{Name: "tls", Detail: detail})

	if err := s.refusedGreeting(stream); err != nil {
		raw.Close()
		return failed("sign-in", readGreeting, err)
	}
	c := s.newConn(stream)
	how, err := s.signIn(ctx, c, token)
	if err != nil {
		c.close()
		return failed("sign-in", "sign in", err)
	}
	report(sources.Step{Name: "sign-in", Detail: "signed in as " + s.cfg.Username + how})
	s.log.Debug("connected", zap.String("server", s.host.Addr()))
	return c, nil
}

// secure brings the connection to where it is encrypted as configured and the
// greeting is the next thing to read.
func (s *Source) secure(ctx context.Context, bottom *deadline.Conn) (*stream, string, error) {
	var hello string
	switch s.host.Encryption {
	case mailhost.None:
		plain := newStream(bottom, bottom)
		return plain, "not encrypted, as configured", s.awaitGreeting(ctx, bottom, plain.peek)
	case mailhost.StartTLS:
		var err error
		if hello, err = s.startTLS(ctx, bottom); err != nil {
			return nil, "", err
		}
	}
	// A server that is busy, or none of TLS, is not given all of the time.
	secured, err := s.host.Encrypt(ctx, bottom, s.cfg.Timeouts.Connect/3)
	if err != nil {
		return nil, "", err
	}
	top, detail := newStream(bottom, secured), mailhost.Describe(secured.ConnectionState())
	if s.host.Encryption == mailhost.StartTLS {
		// The greeting came before encryption (RFC 9051 6.2.1).
		top.start, top.hello = strings.NewReader("* OK encrypted\r\n"), hello
		return top, detail, nil
	}
	return top, detail, s.awaitGreeting(ctx, bottom, top.peek)
}

// awaitGreeting waits for the first byte of the greeting, which peek leaves to be
// read, and looks at it.
func (s *Source) awaitGreeting(ctx context.Context, bottom *deadline.Conn, peek func() (byte, error)) error {
	first, err := s.host.FirstByte(ctx, bottom.Conn, s.cfg.Timeouts.Silence, peek)
	switch {
	case err != nil:
		return err
	case first == '*':
		return nil
	case first == '+':
		return s.error(sources.Permanent, readGreeting, errors.New("a POP3 server answers")).
			WithRemedy("use type: pop3, or the server's IMAP port")
	}
	return s.error(sources.Permanent, readGreeting, errors.New("this is not an IMAP server")).
		WithRemedy("check server and port: %s with tls: implicit, %s with starttls", protocol.TLSPort, protocol.Port)
}

// refusedGreeting explains a greeting by which the server does not let anybody
// in (RFC 9051 7.1.5). The IMAP client may see only that the connection ends.
func (s *Source) refusedGreeting(top *stream) error {
	line := top.greeting()
	top.hello = cmp.Or(top.hello, line)
	typ, _, _ := strings.Cut(strings.ToUpper(strings.TrimPrefix(line, "* ")), " ")
	switch typ {
	case "BYE", "NO", "BAD":
		return s.explainStatus(readGreeting, statusLine(line))
	}
	return nil
}

// startTLS reads the greeting, which it returns, and has the server begin TLS
// (RFC 9051 6.2.1).
// Anything the server sends after its consent, before the client has begun the
// handshake, is an error: it must not be taken for what is sent encrypted.
func (s *Source) startTLS(ctx context.Context, bottom *deadline.Conn) (greeting string, err error) {
	r := bufio.NewReader(bottom)
	err = s.awaitGreeting(ctx, bottom, func() (byte, error) {
		next, err := r.Peek(1)
		if err != nil {
			return 0, err
		}
		return next[0], nil
	})
	if err != nil {
		return "", err
	}
	if greeting, err = readLine(r); err != nil {
		return "", s.host.ExplainTLS(ctx, err)
	}
	if !strings.HasPrefix(strings.ToUpper(greeting), "* OK") {
		// PREAUTH too: it would leave the session unencrypted (RFC 9051 7.1.4).
		return "", s.explainStatus(readGreeting, statusLine(greeting))
	}
	if _, err := io.WriteString(bottom, "S STARTTLS\r\n"); err != nil {
		return "", s.host.ExplainTLS(ctx, err)
	}
	for range 100 {
		line, err := readLine(r)
		if err != nil {
			return "", s.host.ExplainTLS(ctx, err)
		}
		tag, rest, _ := strings.Cut(line, " ")
		if tag != "S" {
			continue
		}
		if !strings.HasPrefix(strings.ToUpper(rest), "OK") {
			return "", s.error(sources.Permanent, "start TLS", statusLine(line)).
				WithRemedy("the server refuses STARTTLS: use tls: implicit (port 993); postroom never falls back to a connection without encryption")
		}
		if r.Buffered() > 0 {
			return "", s.error(sources.Permanent, "start TLS", errors.New("the server sent data between its consent and TLS"))
		}
		return greeting, nil
	}
	return "", s.error(sources.Temporary, "start TLS", errors.New("no answer among 100 lines"))
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
		err = s.explainRetired(c.stream.hello, s.authenticate(ctx, c, before))
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
		err := s.error(sources.Permanent, "sign in", errNoPassword)
		switch {
		case s.host.Encryption == mailhost.None:
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
