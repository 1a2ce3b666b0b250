package imap

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	goimap "github.com/emersion/go-imap/v2"

	"postroom/internal/mailhost"
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
	return sources.Errorf(class, "%s: %s: %w", s.host.Addr(), doing, err)
}

// explain gives err, met while doing something, its class and remedy.
func (s *Source) explain(doing string, err error) error {
	var (
		status  *goimap.Error
		classed *sources.Error
		failure *mailhost.Failure
	)
	switch {
	case err == nil:
		return nil
	case errors.As(err, &classed):
		return err
	case errors.As(err, &failure):
		class := sources.Temporary
		if failure.Permanent {
			class = sources.Permanent
		}
		return s.error(class, failure.Doing, failure.Err).WithRemedy("%s", failure.Remedy)
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

// errNoPassword is that the server offers no way to sign in with one.
var errNoPassword = errors.New("the server accepts no password on this connection")

// explainRetired says, of an error of a sign-in by password, if it comes of that
// the service behind the server has done away with passwords.
func (s *Source) explainRetired(greeting string, err error) error {
	var refused *sources.Error
	if !errors.As(err, &refused) || refused.Class != sources.SignIn && !errors.Is(err, errNoPassword) {
		return err
	}
	retired, ok := mailhost.SignIn{
		Protocol: protocol.Name, Host: s.host.Name, Greeting: greeting,
		Source: s.cfg.Name, User: s.cfg.Username, Credentials: s.cfg.Migration,
	}.Retired()
	if !ok {
		return err
	}
	explained := *refused
	explained.Class = sources.SignIn
	return explained.WithRemedy("%s", retired)
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
