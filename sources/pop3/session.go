package pop3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"postroom/internal/deadline"
	"postroom/internal/mailhost"
	"postroom/internal/oauth"
	"postroom/internal/secret"
	"postroom/sources"
)

// session is one signed-in session. It is used by one goroutine at a time.
type session struct {
	*client
	source *Source
	opened time.Time
	// drop is what is in the maildrop, nil until it has been asked for. Neither it
	// nor the numbers of the messages change during a session (RFC 1939 5).
	drop *maildrop
	// reused is that an earlier call has opened the session.
	reused bool
	// unusable is set when the session must not be used again.
	unusable bool
	// over is that the server has confirmed its end.
	over bool
}

// connect opens a session. It reports the steps "tcp", "tls" and "sign-in" up to
// the first that fails.
func (s *Source) connect(ctx context.Context, report func(sources.Step)) (*session, error) {
	if s.cfg.Tokens != nil {
		return s.connectByToken(ctx, report)
	}
	return s.dial(ctx, secret.Value{}, report)
}

// connectByToken is connect with a token. If the server refuses it, it may have
// been revoked: another is tried, once and on a new connection.
func (s *Source) connectByToken(ctx context.Context, report func(sources.Step)) (*session, error) {
	signInFailed := func(doing string, err error) (*session, error) {
		err = s.explain(doing, err)
		report(sources.Step{Name: "sign-in", Err: err})
		return nil, err
	}
	token, err := s.cfg.Tokens.Token(ctx)
	if err != nil {
		return signInFailed("get a token", err)
	}
	refused := func(err error) bool { return sources.ClassOf(err) == sources.SignIn }
	c, err := s.dial(ctx, token, func(step sources.Step) {
		if !refused(step.Err) {
			report(step)
		}
	})
	if !refused(err) {
		return c, err
	}
	s.cfg.Tokens.Refused(ctx, token)
	fresh, tokenErr := s.cfg.Tokens.Token(ctx)
	switch {
	case tokenErr != nil:
		return signInFailed("get another token", tokenErr)
	case fresh.Reveal() == token.Reveal():
		return signInFailed(signingIn, err)
	}
	return s.dial(ctx, fresh, func(step sources.Step) {
		if step.Err != nil || step.Name == "sign-in" {
			report(step)
		}
	})
}

// dial is connect with the token, if there are any.
func (s *Source) dial(ctx context.Context, token secret.Value, report func(sources.Step)) (*session, error) {
	limit := s.cfg.Timeouts.Connect
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("no session within %v", limit))
	defer cancel()
	fail := func(step, doing string, err error) (*session, error) {
		err = s.explain(doing, err)
		report(sources.Step{Name: step, Err: err})
		return nil, err
	}
	raw, err := s.host.Dial(ctx)
	if err != nil {
		return fail("tcp", "connect", err)
	}
	report(sources.Step{Name: "tcp", Detail: "connected to " + raw.RemoteAddr().String()})
	silence := s.cfg.Timeouts.Silence
	bottom, err := deadline.New(raw, deadline.Limits{Silence: silence, Write: silence})
	if err != nil {
		raw.Close()
		return fail("tcp", "connect", lost(err))
	}
	stop := context.AfterFunc(ctx, func() { raw.Close() })
	c := &session{client: &client{bottom: bottom}, source: s, opened: time.Now()}
	detail, err := c.greet(ctx)
	if err != nil {
		stop()
		raw.Close()
		return fail("tls", "read greeting", cause(ctx, err))
	}
	report(sources.Step{Name: "tls", Detail: detail})
	s.announce(c.caps.loginDelay)
	var how string
	if c.caps.utf8 {
		err = c.wantUTF8()
	}
	if err == nil {
		how, err = s.signIn(c.client, token)
	}
	if err == nil {
		// What a server offers may differ once it knows who asks.
		err = c.askCapabilities()
	}
	if !stop() || err != nil {
		raw.Close()
		err = s.explain(signingIn, cause(ctx, err))
		if e := (*sources.Error)(nil); s.cfg.Tokens != nil && errors.As(err, &e) && e.Class == sources.SignIn {
			e.Remedy = oauth.POP3.Remedy(s.cfg.Username, oauth.ReadClaims(token))
		}
		if s.cfg.Tokens == nil {
			err = s.explainRetired(c.greeting, err)
		}
		return fail("sign-in", signingIn, err)
	}
	if err := bottom.End(); err != nil {
		raw.Close()
		return fail("sign-in", signingIn, lost(err))
	}
	report(sources.Step{Name: "sign-in", Detail: "signed in as " + s.cfg.Username + how})
	s.log.Debug("session opened", zap.String("server", s.host.Addr()))
	return c, nil
}

// cause returns why the context ended, if it has, and err else.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// greet brings the connection to where it is encrypted as configured and has been
// greeted, and says how it is encrypted.
func (c *session) greet(ctx context.Context) (string, error) {
	h, timeouts := c.source.host, c.source.cfg.Timeouts
	encrypt := func() (string, error) {
		secured, err := h.Encrypt(ctx, c.bottom, timeouts.Connect/3)
		if err != nil {
			return "", err
		}
		c.use(secured)
		return mailhost.Describe(secured.ConnectionState()), nil
	}
	c.use(c.bottom)
	detail := "not encrypted, as configured"
	if h.Encryption == mailhost.Implicit {
		var err error
		if detail, err = encrypt(); err != nil {
			return "", err
		}
	}
	first, err := h.FirstByte(ctx, c.bottom.Conn, timeouts.Silence, func() (byte, error) {
		next, err := c.r.Peek(1)
		if err != nil {
			return 0, lost(err)
		}
		return next[0], nil
	})
	if err != nil {
		return "", err
	}
	switch first {
	case '+', '-':
	case '*':
		return "", permanent("read greeting", errors.New("an IMAP server answers"), "use type: imap, or the server's POP3 port")
	default:
		return "", permanent("read greeting", errors.New("this is not a POP3 server"),
			fmt.Sprintf("check server and port: %s with tls: implicit, %s with starttls", h.TLSPort, h.Protocol.Port))
	}
	text, err := c.status()
	if err != nil {
		return "", err
	}
	c.greeting = "+OK " + text
	if h.Encryption == mailhost.StartTLS {
		if err := c.startTLS(); err != nil {
			return "", err
		}
		if detail, err = encrypt(); err != nil {
			return "", err
		}
	}
	// What was said before encryption is forgotten (RFC 2595 4).
	return detail, c.askCapabilities()
}

// startTLS has the server begin TLS (RFC 2595 4). Anything that it sends after its
// consent, before the client has begun the handshake, is an error: it must not be
// taken for what is sent encrypted.
func (c *session) startTLS() error {
	if err := c.send("STLS"); err != nil {
		return err
	}
	_, err := c.status()
	var refused *refusal
	if errors.As(err, &refused) {
		return permanent("start TLS", refused,
			"the server refuses STLS: use tls: implicit (port 995); postroom never falls back to a connection without encryption")
	} else if err != nil {
		return err
	}
	if c.r.Buffered() > 0 {
		return permanent("start TLS", errors.New("the server sent data between its consent and TLS"),
			"somebody on the way may be meddling with the connection: use tls: implicit")
	}
	return nil
}

// wantUTF8 has the server send messages with UTF-8 in their headers as they are, which
// else it may wrap into another (RFC 6856 2: to be sent before sign-in). That it
// refuses changes nothing.
func (c *session) wantUTF8() error {
	if err := c.send("UTF8"); err != nil {
		return err
	}
	_, err := c.status()
	if errors.As(err, new(*refusal)) {
		return nil
	}
	return err
}

func permanent(doing string, err error, remedy string) error {
	return &mailhost.Failure{Permanent: true, Doing: doing, Err: err, Remedy: remedy}
}

// run does something on the session within Timeouts.Command.
func (c *session) run(ctx context.Context, doing string, do func() error) error {
	limit := c.source.cfg.Timeouts.Command
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("no complete answer within %v", limit))
	defer cancel()
	return c.follow(ctx, doing, do)
}

// follow does something on the session for as long as the server goes on answering.
// When the context ends the connection is cut, which ends every wait in do. An
// error that is not the server's is returned as it is.
func (c *session) follow(ctx context.Context, doing string, do func() error) error {
	if ctx.Err() != nil {
		return c.source.explain(doing, context.Cause(ctx))
	}
	if err := c.bottom.Begin(); err != nil {
		c.unusable = true
		return c.source.explain(doing, lost(err))
	}
	stop := context.AfterFunc(ctx, c.abort)
	err := do()
	if !stop() {
		c.unusable = true
		var ours *callerError
		if errors.As(err, &ours) {
			return err
		}
		return c.source.explain(doing, context.Cause(ctx))
	}
	if endErr := c.bottom.End(); err == nil && endErr != nil {
		err = lost(endErr)
	}
	c.unusable = c.unusable || broken(err)
	return c.source.explain(doing, err)
}

// callerError carries an error of the caller's function, which is none of the
// server's whatever it wraps.
type callerError struct{ err error }

func (e *callerError) Error() string { return e.err.Error() }
func (e *callerError) Unwrap() error { return e.err }

// bare returns err as the caller's function returned it.
func bare(err error) error {
	var ours *callerError
	if errors.As(err, &ours) {
		return ours.err
	}
	return err
}

// abort cuts the connection. Nothing is deleted then (RFC 1939 6).
func (c *session) abort() {
	// The raw connection: closing TLS would first write, and wait. Its error is that
	// of a connection which nobody uses any more.
	_ = c.bottom.Conn.Close()
	if !c.over {
		c.source.mu.Lock()
		defer c.source.mu.Unlock()
		c.source.cut = time.Now()
	}
}

const (
	// leaveTime bounds how long a server may take to release the maildrop when
	// nothing is to be deleted, and to hang up then.
	leaveTime = 2 * time.Second
	// deleteTime bounds how long it may take to hang up when much is.
	deleteTime = 30 * time.Second
)

// leave ends a session in which nothing was deleted.
func (c *session) leave() {
	defer c.abort()
	if c.unusable {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), leaveTime)
	defer cancel()
	// Whatever the server says to it, the session is over.
	_ = c.quit(ctx, leaveTime)
}

// quit ends the session. Only if it returns nil has the server deleted what was to
// be deleted (RFC 1939 6). It waits for the server to hang up, but no longer than
// patience: some delete the messages, and unlock the maildrop, only after they have
// said that they did (Courier).
func (c *session) quit(ctx context.Context, patience time.Duration) error {
	err := c.run(ctx, "end the session", func() error {
		if err := c.send("QUIT"); err != nil {
			return err
		}
		if _, err := c.status(); err != nil {
			return err
		}
		c.over = true
		timer := time.AfterFunc(patience, c.abort)
		defer timer.Stop()
		// It ends in an error in any case.
		_, _ = io.CopyN(io.Discard, c.r, maxLine)
		return nil
	})
	c.unusable = true
	if c.over {
		return nil
	}
	return err
}

// unread reports whether the session shows the maildrop as it is now, as far as
// the server lets anybody see it: nothing has been asked, and the server would not
// let the same user sign in again yet.
func (c *session) unread() bool {
	return c.drop == nil && time.Since(c.opened) < c.caps.loginDelay
}

// count returns the number of messages.
func (c *session) count(ctx context.Context) (n int, err error) {
	err = c.run(ctx, "count messages", func() error {
		if err := c.send("STAT"); err != nil {
			return err
		}
		text, err := c.status()
		if err != nil {
			return err
		}
		first, _, _ := strings.Cut(text, " ")
		if n, err = strconv.Atoi(first); err != nil || n < 0 {
			return &protocolError{errors.New("no number in the answer to STAT")}
		}
		return nil
	})
	return n, err
}
