// Package exchange reads mailboxes in Exchange Online over Microsoft Graph. It
// implements [sources.Source], [sources.Lister] and [sources.Prober].
//
// The key of a message is its immutable id, which survives a move within its
// mailbox; the id of a folder is the server's, which survives a rename. What is
// new is found by the listing of changes (delta) of each folder; its link is the
// cursor. Exchange keeps no message as it was sent: it renders the bytes on
// request, so that they are [sources.Rendered].
package exchange

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"postroom/internal/graph"
	"postroom/sources"
)

// Config is what a Source is made of.
type Config struct {
	Options
	// Name is the source's name, for logs.
	Name string
	// Mailbox is the address of the mailbox.
	Mailbox string
	// Clients are those of the process, and Settings how to sign in.
	Clients  *graph.Clients
	Settings graph.Settings
	// AfterFiling and Permanent are the disposition that Probe checks the
	// permissions against. They may be zero.
	AfterFiling sources.Verb
	Permanent   bool
	// Log may be nil.
	Log *zap.Logger
	// PageSize is how many messages are asked for at once; 0 for 256. Block is how
	// many are put in the order of their arrival; 0 for 2,048.
	PageSize, Block int
	// FoldersFor is for how long the folders are taken to be where they were
	// found; 0 for 5 min.
	FoldersFor time.Duration
}

// Source is one mailbox in Exchange Online.
type Source struct {
	cfg       Config
	client    *graph.Client
	box       *graph.Mailbox
	selection sources.Selection
	log       *zap.Logger
	folders   folderCache

	// life ends when the source is closed.
	life context.Context
	end  context.CancelFunc
	work sync.WaitGroup

	// noDelta is that the server has no listing of changes.
	noDelta atomic.Bool

	mu     sync.Mutex
	closed bool
	// strikes counts, per key, the fetches in which the server could not render
	// the message without saying that it never can.
	strikes map[string]int
	// cut are the lengths of messages that ended before their last part did.
	cut map[string]int64
}

var (
	_ sources.Source = (*Source)(nil)
	_ sources.Lister = (*Source)(nil)
	_ sources.Prober = (*Source)(nil)
)

// ErrClosed is returned by calls on a Source that has been closed.
var ErrClosed = errors.New("the source is closed")

const (
	// inFlight is how many requests are under way at most: as many as Exchange
	// Online takes for an application and a mailbox. The lane of the mailbox holds
	// that.
	inFlight = 4
	// asking is how many messages one call has in hand: some more, so that there
	// is always one to take the turn that comes free. Who has just read an answer
	// has still to hand it on.
	asking = inFlight + 2
)

// Open returns the mailbox. It reads the files of the credentials, but makes no
// connection.
func Open(cfg Config) (*Source, error) {
	if cfg.PageSize == 0 {
		cfg.PageSize = 256
	}
	if cfg.Block == 0 {
		cfg.Block = 2048
	}
	if cfg.FoldersFor == 0 {
		cfg.FoldersFor = 5 * time.Minute
	}
	s := &Source{cfg: cfg, log: cfg.Log, strikes: make(map[string]int), cut: make(map[string]int64)}
	var err error
	if s.selection, err = cfg.selection(); err != nil {
		return nil, fmt.Errorf("open source %s: %w", cfg.Name, err)
	}
	if s.client, err = cfg.Clients.Open(cfg.Settings); err != nil {
		return nil, fmt.Errorf("open source %s: %w", cfg.Name, s.classify(err))
	}
	if cfg.Permanent && !s.client.Cloud().PermanentDelete {
		s.client.Close()
		return nil, s.cannotDelete("open source " + cfg.Name)
	}
	s.box = s.client.Mailbox(cfg.Mailbox)
	if s.log == nil {
		s.log = zap.NewNop()
	}
	s.log = s.log.With(zap.String("source", cfg.Name))
	s.noDelta.Store(!s.client.Cloud().Delta)
	s.life, s.end = context.WithCancel(context.Background())
	return s, nil
}

// Close implements [sources.Source].
func (s *Source) Close() error {
	s.mu.Lock()
	first := !s.closed
	s.closed = true
	s.mu.Unlock()
	s.end()
	s.work.Wait()
	if first {
		s.client.Close()
	}
	return nil
}

// bind returns a context that ends with ctx or when the source is closed, and
// keeps Close waiting until the returned function is called.
func (s *Source) bind(ctx context.Context, doing string) (context.Context, func(), error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, nil, s.explain(doing, ErrClosed)
	}
	if ctx.Err() != nil {
		return nil, nil, s.explain(doing, context.Cause(ctx))
	}
	s.work.Add(1)
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(s.life, func() { cancel(ErrClosed) })
	return ctx, func() {
		stop()
		cancel(nil)
		s.work.Done()
	}, nil
}
