// Package imap reads mailboxes over IMAP4rev1 and IMAP4rev2 (RFC 3501,
// RFC 9051). It implements [sources.Source], [sources.Waiter],
// [sources.Lister] and [sources.Prober].
//
// The key of a message is "UIDVALIDITY/UID". What has been listed is kept as
// the set of UIDs, never as the highest one: a UID that turns up late below the
// highest is found. Bodies are fetched with BODY.PEEK[], which changes nothing;
// neither ENVELOPE nor BODYSTRUCTURE is ever asked for.
package imap

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
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
	// XOAUTH2. They are closed with the source.
	Tokens oauth.TokenSource
	// Migration is the name of credentials with which the mailbox can be read without
	// a password, for a remedy. It may be empty.
	Migration string
	// AfterFiling is the disposition that Probe checks the server's abilities
	// against. It may be empty.
	AfterFiling sources.Verb
	// Log may be nil.
	Log *zap.Logger
	// Timeouts are for tests; a zero field takes its default.
	Timeouts Timeouts
	// MaxMessage is the size in bytes above which a message is not fetched; 0
	// for 2 GiB.
	MaxMessage int64
	// MaxAnswer is how many bytes the server may send in answer to one command
	// besides message bodies; 0 for 64 MiB, the UIDs of five million messages.
	MaxAnswer int64
}

// Timeouts bounds every wait of a Source.
type Timeouts struct {
	// Connect bounds name resolution, TCP, TLS, greeting and sign-in together:
	// 45 s.
	Connect time.Duration
	// Silence is how long the server may say nothing while an answer is due: 60 s.
	Silence time.Duration
	// Command bounds a command that streams no message: 5 min.
	Command time.Duration
	// Keep is how long an unused connection is kept open: 5 min.
	Keep time.Duration
	// Trust is how long a connection that has answered is taken to be alive
	// without asking: 5 s.
	Trust time.Duration
	// Idle is after how long Wait returns for no reason, so that its connection
	// is known to be alive: 9 min.
	Idle time.Duration
	// Poll is how often Wait asks a server without IDLE: 30 s.
	Poll time.Duration
	// Relist is how long a folder of a server without ESEARCH may be taken as
	// unchanged because its counters are: 1 h.
	Relist time.Duration
}

func (t Timeouts) withDefaults() Timeouts {
	return Timeouts{
		Connect: cmp.Or(t.Connect, 45*time.Second),
		Silence: cmp.Or(t.Silence, time.Minute),
		Command: cmp.Or(t.Command, 5*time.Minute),
		Keep:    cmp.Or(t.Keep, 5*time.Minute),
		Trust:   cmp.Or(t.Trust, 5*time.Second),
		Idle:    cmp.Or(t.Idle, 9*time.Minute),
		Poll:    cmp.Or(t.Poll, 30*time.Second),
		Relist:  cmp.Or(t.Relist, time.Hour),
	}
}

// Source is one mailbox on an IMAP server.
type Source struct {
	cfg       Config
	host      *mailhost.Host
	selection sources.Selection
	log       *zap.Logger
	pool      *pool
	delimiter separatorCache
	closing   sync.Once
	// forgets: the server keeps UIDs only if a folder is opened for writing.
	forgets atomic.Bool
	// signed is what was last signed in with, nil without a token.
	signed atomic.Pointer[tokenSignIn]

	mu sync.Mutex
	// names are the mailbox names that the server gave for a path.
	names map[string]string
	// looks are how each folder was at its last listing.
	looks map[string]look
	// strikes counts, per folder and key, how often the connection ended while
	// that message was transferred.
	strikes map[string]int
	// copies are, by target path, the messages there that are copies of messages
	// which have been removed.
	copies map[string]numberedSet
}

var (
	_ sources.Source = (*Source)(nil)
	_ sources.Waiter = (*Source)(nil)
	_ sources.Lister = (*Source)(nil)
	_ sources.Prober = (*Source)(nil)
)

// ErrClosed is returned by calls on a Source that has been closed.
var ErrClosed = errors.New("the source is closed")

// Open returns the mailbox. It reads ca_file, but makes no connection. If it fails,
// cfg.Tokens are still the caller's to close.
func Open(cfg Config) (*Source, error) {
	cfg.TLS = cmp.Or(cfg.TLS, mailhost.Implicit)
	cfg.Connections = cmp.Or(cfg.Connections, 2)
	cfg.MaxMessage = cmp.Or(cfg.MaxMessage, 2<<30)
	cfg.MaxAnswer = cmp.Or(cfg.MaxAnswer, 64<<20)
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
	s := &Source{
		cfg:     cfg,
		host:    host,
		log:     cfg.Log,
		names:   make(map[string]string),
		looks:   make(map[string]look),
		strikes: make(map[string]int),
		copies:  make(map[string]numberedSet),
	}
	if s.selection, err = cfg.selection(); err != nil {
		return nil, fmt.Errorf("open source %s: %w", cfg.Name, err)
	}
	if s.log == nil {
		s.log = zap.NewNop()
	}
	s.log = s.log.With(zap.String("source", cfg.Name))
	s.pool = newPool(cfg.Connections, cfg.Timeouts.Keep, func(ctx context.Context) (*conn, error) {
		return s.connect(ctx, func(sources.Step) {})
	})
	return s, nil
}

// Close implements [sources.Source].
func (s *Source) Close() error {
	s.pool.close()
	if s.cfg.Tokens != nil {
		s.closing.Do(s.cfg.Tokens.Close)
	}
	return nil
}
