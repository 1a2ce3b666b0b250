package pop3

import (
	"cmp"
	"context"
	"errors"
	"regexp"
	"strings"
	"time"

	"postroom/internal/mailhost"
	"postroom/sources"
)

const (
	// inUseFor is after how long a maildrop is tried again that another session has
	// locked.
	inUseFor = 30 * time.Second
	// loginDelay stands for that of a server which does not tell its own.
	loginDelay = time.Minute
)

// What servers without response codes say at sign-in: that the maildrop is open
// elsewhere (of a locked account it must not be taken to say so), and that they
// cannot know.
var (
	locked = regexp.MustCompile(`(?i)\b(maildrop|mailbox|mail file|pop)\b.*\block(ed)?\b|\b(to|not|can't|cannot|could not) lock\b|\bin use\b|\bbusy\b`)
	passes = regexp.MustCompile(`(?i)\btemporar|\btry (again )?later\b`)
)

// error returns an error of the source that names the server.
func (s *Source) error(class sources.Class, doing string, err error) *sources.Error {
	return sources.Errorf(class, "%s: %s: %w", s.host.Addr(), doing, err)
}

// explain gives err, met while doing something, its class and remedy.
func (s *Source) explain(doing string, err error) error {
	var (
		classed *sources.Error
		failure *mailhost.Failure
		refused *refusal
		ours    *callerError
	)
	switch {
	case err == nil, errors.As(err, &ours), errors.As(err, &classed):
		return err
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return s.error(sources.Temporary, doing, err)
	case errors.As(err, &failure):
		class := sources.Temporary
		if failure.Permanent {
			class = sources.Permanent
		}
		return s.error(class, failure.Doing, failure.Err).WithRemedy("%s", failure.Remedy)
	case errors.As(err, &refused):
		return s.explainRefusal(doing, refused)
	}
	return s.error(sources.Temporary, doing, err)
}

// explainRefusal gives a -ERR of the server its class (RFC 2449 8.1, RFC 3206 4).
func (s *Source) explainRefusal(doing string, refused *refusal) *sources.Error {
	later := func(after time.Duration, remedy string, args ...any) *sources.Error {
		e := s.error(sources.Throttled, doing, refused).WithRemedy(remedy, args...)
		e.Until = time.Now().Add(after)
		return e
	}
	code, _, _ := strings.Cut(refused.code, "/")
	switch {
	case code == "IN-USE":
		return later(inUseFor, "another program has the mailbox open, which locks it: it is tried again; if it lasts, close the other one")
	case code == "LOGIN-DELAY":
		delay := s.announcedDelay()
		return later(delay, "the server allows one sign-in in %v: set poll_interval to more than that", delay)
	case code == "AUTH":
		return s.error(sources.SignIn, doing, refused).
			WithRemedy("check user name and password; some providers want an application password, or POP3 switched on for the mailbox")
	case refused.code == "SYS/PERM":
		return s.error(sources.Permanent, doing, refused).
			WithRemedy("the server says that trying again will not help: ask its administrator")
	case code == "SYS":
		return s.error(sources.Temporary, doing, refused).
			WithRemedy("a part of the server is out of order: it is tried again; if it lasts, ask its administrator")
	case doing != signingIn:
		return s.error(sources.Temporary, doing, refused)
	case locked.MatchString(refused.text):
		return later(inUseFor, "another program may have the mailbox open, which locks it: it is tried again; if it lasts, close the other one")
	case passes.MatchString(refused.text):
		return s.error(sources.Temporary, doing, refused)
	}
	return s.error(sources.SignIn, doing, refused).
		WithRemedy("check user name and password; some providers want an application password, or POP3 switched on for the mailbox")
}

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

// signingIn is what is done when the server refuses a user.
const signingIn = "sign in"

// announce takes in the least time between two sign-ins that the server tells.
func (s *Source) announce(delay time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.delay = delay
}

// announcedDelay returns the least time between two sign-ins, as the server last
// told it.
func (s *Source) announcedDelay() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return cmp.Or(s.delay, loginDelay)
}
