// Package pop3 reads maildrops over POP3 (RFC 1939, 2449, 2595, 3206, 5034). It
// implements [sources.Source], [sources.Lister] and [sources.Prober].
//
// The key of a message is its unique id (UIDL) with its size. Where the server
// gives no id, or the same one twice, the key is made of what the message holds.
// A session locks the maildrop on many servers, so there is one at a time, and it
// ends as soon as nobody needs it. What is to be deleted is deleted when the server
// has confirmed QUIT, and not before.
package pop3

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"postroom/internal/mailhost"
	"postroom/internal/oauth"
	"postroom/internal/secret"
	"postroom/sources"
)

// Config is what a Source is made of.
type Config struct {
	Options
	// Name is the source's name, for logs.
	Name     string
	Username string
	Password secret.Value
	// Tokens, if set, are signed in with instead of Password, by OAUTHBEARER or
	// XOAUTH2. Close closes them; if Open fails they are still the caller's.
	Tokens oauth.TokenSource
	// Migration is the name of credentials with which the mailbox can be read without
	// a password, for a remedy. It may be empty.
	Migration string
	// AfterFiling is the disposition that Probe speaks of. It may be empty.
	AfterFiling sources.Verb
	// Log may be nil.
	Log *zap.Logger
	// Timeouts are for tests; a zero field takes its default.
	Timeouts Timeouts
	// MaxMessages is how many messages a maildrop may hold; 0 for 2,000,000.
	MaxMessages int
}

// Timeouts bounds every wait of a Source.
type Timeouts struct {
	// Connect bounds name resolution, TCP, TLS, greeting and sign-in together: 45 s.
	Connect time.Duration
	// Silence is how long the server may say nothing while an answer is due: 60 s.
	Silence time.Duration
	// Command bounds a command that streams no message: 5 min.
	Command time.Duration
	// Keep is how long a session is kept open between a call and the next: 3 s.
	Keep time.Duration
}

func (t Timeouts) withDefaults() Timeouts {
	return Timeouts{
		Connect: cmp.Or(t.Connect, 45*time.Second),
		Silence: cmp.Or(t.Silence, time.Minute),
		Command: cmp.Or(t.Command, 5*time.Minute),
		Keep:    cmp.Or(t.Keep, 3*time.Second),
	}
}

// Source is one maildrop on a POP3 server.
type Source struct {
	cfg  Config
	host *mailhost.Host
	log  *zap.Logger

	// slot is held by the call that uses the session.
	slot chan struct{}
	// life ends when the source is closed.
	life context.Context
	end  context.CancelFunc
	// work counts the calls under way, and the timer that ends the kept session.
	work sync.WaitGroup

	closing sync.Once // of cfg.Tokens

	mu     sync.Mutex
	closed bool
	// kept is the session between two calls, and expiry ends it.
	kept   *session
	expiry *time.Timer
	// proven: the server has accepted the credentials.
	proven bool
	// cut is when a session was last ended without QUIT.
	cut time.Time
	// delay is the least time between two sign-ins, as far as the server has told.
	delay time.Duration

	// removed are the messages that were deleted, by their ids, with the keys that
	// messages got to which the server gave the same id afterwards, "" before it is
	// known. Whoever holds slot uses it.
	removed map[string]string
}

var (
	_ sources.Source   = (*Source)(nil)
	_ sources.Gatherer = (*Source)(nil)
	_ sources.Lister   = (*Source)(nil)
	_ sources.Prober   = (*Source)(nil)
)

// ErrClosed is returned by calls on a Source that has been closed.
var ErrClosed = errors.New("the source is closed")

// SettleTogether implements [sources.Gatherer]: a deletion ends the session, and the
// next one begins with a listing of all that is left.
func (s *Source) SettleTogether() int { return 2048 }

// inbox is the only folder that there is.
var inbox = sources.Folder{ID: sources.Inbox, Path: sources.Inbox}

// Open returns the maildrop. It reads ca_file, but makes no connection.
func Open(cfg Config) (*Source, error) {
	cfg.TLS = cmp.Or(cfg.TLS, mailhost.Implicit)
	cfg.MaxMessages = cmp.Or(cfg.MaxMessages, 2_000_000)
	cfg.Timeouts = cfg.Timeouts.withDefaults()
	switch cfg.TLS {
	case mailhost.Implicit, mailhost.StartTLS:
	case mailhost.None:
		if cfg.Tokens != nil {
			return nil, sources.Errorf(sources.Permanent, "open source %s: a token is never sent without encryption", cfg.Name).
				WithRemedy("use tls: implicit or starttls")
		}
		if !cfg.AllowPlaintext {
			return nil, sources.Errorf(sources.Permanent, "open source %s: tls: none is not permitted", cfg.Name).
				WithRemedy("use tls: implicit or starttls; allow_plaintext: true permits a connection that anyone on the way can read")
		}
	default:
		return nil, fmt.Errorf("open source %s: tls %q is none of implicit, starttls, none", cfg.Name, cfg.TLS)
	}
	host, err := mailhost.New(protocol, cfg.Server, cfg.TLS, cfg.CAFile)
	var failure *mailhost.Failure
	if errors.As(err, &failure) {
		return nil, sources.Errorf(sources.Permanent, "open source %s: %w", cfg.Name, err).WithRemedy("%s", failure.Remedy)
	} else if err != nil {
		return nil, fmt.Errorf("open source %s: %w", cfg.Name, err)
	}
	s := &Source{cfg: cfg, host: host, log: cfg.Log, slot: make(chan struct{}, 1), removed: make(map[string]string)}
	if s.log == nil {
		s.log = zap.NewNop()
	}
	s.log = s.log.With(zap.String("source", cfg.Name))
	s.life, s.end = context.WithCancel(context.Background())
	return s, nil
}

// Close implements [sources.Source].
func (s *Source) Close() error {
	s.mu.Lock()
	s.closed = true
	kept := s.takeKept()
	s.mu.Unlock()
	s.end()
	if kept != nil {
		kept.leave()
	}
	s.work.Wait()
	if s.cfg.Tokens != nil {
		s.closing.Do(s.cfg.Tokens.Close)
	}
	return nil
}

// Folders implements [sources.Source]: the inbox. It signs in until that has
// succeeded once.
func (s *Source) Folders(ctx context.Context) ([]sources.Folder, error) {
	ctx, done, err := s.begin(ctx, "sign in")
	if err != nil {
		return nil, err
	}
	defer done()
	if s.isProven() {
		return []sources.Folder{inbox}, nil
	}
	held, err := s.session(ctx, false)
	if err != nil {
		return nil, err
	}
	s.keep(held)
	return []sources.Folder{inbox}, nil
}

func (s *Source) isProven() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.proven
}

// Tree implements [sources.Lister].
func (s *Source) Tree(ctx context.Context) ([]sources.FolderInfo, error) {
	ctx, done, err := s.begin(ctx, "count messages")
	if err != nil {
		return nil, err
	}
	defer done()
	held, err := s.session(ctx, true)
	if err != nil {
		return nil, err
	}
	defer s.keep(held)
	n, err := held.count(ctx)
	if err != nil {
		return nil, err
	}
	return []sources.FolderInfo{{Folder: inbox, Messages: n, Use: "inbox", Selectable: true}}, nil
}

// begin enters a call: it waits for its turn. The context ends with ctx or when the
// source is closed; done must be called.
func (s *Source) begin(ctx context.Context, doing string) (_ context.Context, done func(), err error) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil, nil, s.error(sources.Temporary, doing, ErrClosed)
	}
	s.work.Add(1)
	s.mu.Unlock()
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(s.life, func() { cancel(ErrClosed) })
	leave := func() {
		stop()
		cancel(nil)
		s.work.Done()
	}
	if ctx.Err() == nil {
		select {
		case s.slot <- struct{}{}:
			if ctx.Err() == nil {
				return ctx, func() { <-s.slot; leave() }, nil
			}
			<-s.slot
		case <-ctx.Done():
		}
	}
	defer leave()
	return nil, nil, s.error(sources.Temporary, doing, context.Cause(ctx))
}

// session returns the kept session, or else a new one. If fresh is set it is one
// that shows the maildrop as it is now.
func (s *Source) session(ctx context.Context, fresh bool) (*session, error) {
	s.mu.Lock()
	kept := s.takeKept()
	s.mu.Unlock()
	if kept != nil {
		if !fresh || kept.unread() {
			kept.reused = true
			return kept, nil
		}
		kept.leave()
	}
	held, err := s.connect(ctx, func(sources.Step) {})
	for wait := firstWait; s.ownLock(err) && wait < lockTime && pause(ctx, wait); wait *= 2 {
		held, err = s.connect(ctx, func(sources.Step) {})
	}
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.proven = true
	s.mu.Unlock()
	return held, nil
}

// A session that was cut holds its lock until the server has noticed.
const (
	lockTime  = 5 * time.Second
	firstWait = 50 * time.Millisecond
)

// ownLock reports whether the maildrop may be locked by a session of this source
// that was cut.
func (s *Source) ownLock(err error) bool {
	var refused *refusal
	if !errors.As(err, &refused) || refused.code != "IN-USE" {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Since(s.cut) < 2*lockTime
}

// pause waits, and reports whether the context has not ended.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// takeKept returns the kept session and no longer keeps it. mu is held.
func (s *Source) takeKept() *session {
	kept := s.kept
	s.kept = nil
	if kept != nil && s.expiry.Stop() {
		s.work.Done()
	}
	return kept
}

// keep keeps the session for the next call, for a while.
func (s *Source) keep(held *session) {
	if held.unusable {
		held.abort()
		return
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		held.leave()
		return
	}
	s.kept = held
	s.work.Add(1)
	s.expiry = time.AfterFunc(s.cfg.Timeouts.Keep, func() {
		defer s.work.Done()
		// A call that would open a session of its own has to wait for the end of
		// this one.
		select {
		case s.slot <- struct{}{}:
			defer func() { <-s.slot }()
		case <-s.life.Done():
		}
		s.mu.Lock()
		ours := s.kept == held
		if ours {
			s.kept = nil
		}
		s.mu.Unlock()
		if ours {
			held.leave()
		}
	})
	s.mu.Unlock()
}
