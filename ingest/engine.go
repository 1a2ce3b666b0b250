// Package ingest is the engine: it takes messages from sources and files them
// in a repository, each once, whatever happens in between.
//
// The order of steps is the specification, and stands nowhere but here:
//
//	lease the folder → settle what is owed → list what is new → record begun →
//	spool and hash the bytes → read the message → make the document → record
//	prepared → render it in the format asked for → put it in the repository →
//	record filed → settle it on its server → record settled
//
// poll.go holds the steps of a folder, batch.go how messages are fetched
// together, file.go the steps of a message, settle.go what follows on the
// server. Every step may be repeated: the id of a document
// comes from what its message holds, the repository keeps an id once, and the
// ledger says how far each message had come.
package ingest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"postroom/ingest/document"
	"postroom/ingest/ledger"
	"postroom/ingest/quarantine"
	"postroom/ingest/spool"
	"postroom/sources"
	"postroom/store"
)

// Mailbox is a configured source, as the engine sees it.
type Mailbox struct {
	Name    string // the source's identity
	Type    string
	Address string // of the mailbox, for the record
	// Formerly are names that the source had; what was filed under them counts.
	Formerly []string

	// Open returns the source. It makes no connection yet.
	Open func() (sources.Source, error)

	Interval time.Duration // between polls
	Watch    bool          // wait for new mail in the first folder
	Parallel int           // folders polled at once, at least 1

	After          sources.Action // disposition
	FailedFolder   string         // where quarantined messages are moved; empty: they stay
	FileDuplicates bool
	Rules          document.Rules
}

// Config is what an engine works with. Everything down to Log is needed.
type Config struct {
	Mailboxes  []Mailbox
	Ledger     ledger.Ledger
	Repository store.Repository
	Spool      *spool.Spool
	Quarantine *quarantine.Quarantine
	Log        *zap.Logger
	// Version is that of the program: a message in quarantine is tried again by
	// another one. May be empty.
	Version string

	// Observe is told what happens, by several goroutines at once. It must not
	// block.
	Observe func(Event)
	// Workers is how many messages are filed at the same time; 0: 96. Most of
	// the time they wait for the disk, together.
	Workers int
	// MaxSize is the largest message taken, in bytes; 0: 2 GiB.
	MaxSize int64
	// Grace is how long a stop waits for messages in hand; 0: 8 s.
	Grace time.Duration
}

// Engine polls mailboxes. Create it with New.
type Engine struct {
	Config
	mailboxes []*mailbox
	slots     chan struct{} // one per message being filed
	reading   chan struct{} // one per message being read
	turns     chan struct{} // one per folder of which a chunk is being handled
	documents turnstile
}

// New returns an engine. It does nothing until Run or Once.
func New(c Config) *Engine {
	if c.Observe == nil {
		c.Observe = func(Event) {}
	}
	if c.Workers == 0 {
		c.Workers = 96
	}
	if c.MaxSize == 0 {
		c.MaxSize = 2 << 30
	}
	if c.Grace == 0 {
		c.Grace = 8 * time.Second
	}
	e := &Engine{
		Config: c, slots: make(chan struct{}, c.Workers), turns: make(chan struct{}, turnsAtOnce),
		// Reading is work, not waiting: more at once would only need more memory.
		reading: make(chan struct{}, 2*runtime.GOMAXPROCS(0)),
	}
	for _, m := range c.Mailboxes {
		e.mailboxes = append(e.mailboxes, newMailbox(e, m))
	}
	return e
}

// Run polls every mailbox by its schedule until the context ends, then files
// what is in hand, within Grace, and returns.
func (e *Engine) Run(ctx context.Context) error {
	if err := e.Adopt(ctx); err != nil {
		if ctx.Err() != nil {
			return nil // stopped before it had begun; what is left is done at the next start
		}
		return err
	}
	var wg sync.WaitGroup
	for _, m := range e.mailboxes {
		wg.Go(func() { m.run(ctx) })
	}
	wg.Go(func() {
		var waiting reminder
		for more := true; more; more = pause(ctx, sweepInterval) {
			if err := errors.Join(e.sweepQuarantine(ctx), waiting.remind(ctx, e)); err != nil && ctx.Err() == nil {
				e.Log.Warn("look after the quarantine", zap.Error(err))
			}
		}
	})
	<-ctx.Done()
	wg.Wait()
	return nil
}

// turnsAtOnce bounds how many folders are handled at the same time. A folder
// gives its turn up after every chunk, so that no import holds up the others.
const turnsAtOnce = 64

// Once polls the named mailboxes once, all if no name is given, and returns
// what came of each, in the order configured. The error is only about names.
func (e *Engine) Once(ctx context.Context, names ...string) ([]Summary, error) {
	var chosen []*mailbox
	for _, m := range e.mailboxes {
		if len(names) == 0 || slices.Contains(names, m.Name) {
			chosen = append(chosen, m)
		}
	}
	for _, n := range names {
		if !slices.ContainsFunc(chosen, func(m *mailbox) bool { return m.Name == n }) {
			return nil, fmt.Errorf("no source is named %q", n)
		}
	}
	if err := e.Adopt(ctx); err != nil {
		return nil, err
	}
	sums := make([]Summary, len(chosen))
	var wg sync.WaitGroup
	for i, m := range chosen {
		wg.Go(func() { sums[i] = m.once(ctx) })
	}
	wg.Wait()
	return sums, nil
}

// Status returns how each mailbox is, in the order configured.
func (e *Engine) Status() []Status {
	out := make([]Status, len(e.mailboxes))
	for i, m := range e.mailboxes {
		out[i] = m.stats.status()
	}
	return out
}

// Adopt carries over what is known of sources under their former names, finishes
// what an earlier process was about to file anew or forget, and removes from
// quarantine what an earlier process had filed or given up. Run and
// Once begin with it; done again it changes nothing.
func (e *Engine) Adopt(ctx context.Context) error {
	for _, m := range e.mailboxes {
		for _, old := range m.Formerly {
			if err := e.renameQuarantined(ctx, old, m); err != nil {
				return fmt.Errorf("carry source %s over to %s: %w", old, m.Name, err)
			}
			n, err := e.Ledger.Rename(ctx, old, m.Name)
			if err != nil {
				return fmt.Errorf("carry source %s over to %s: %w", old, m.Name, err)
			}
			if n > 0 {
				e.Log.Info("carried over from former name", zap.String("source", m.Name), zap.String("formerly", old), zap.Int("messages", n))
			}
		}
	}
	if err := e.finishRefilings(ctx); err != nil {
		return err
	}
	if err := e.finishForgetting(ctx); err != nil {
		return err
	}
	return e.sweepQuarantine(ctx)
}

const sweepInterval = time.Hour

// sweepQuarantine removes the copies that are needed no more: the process died
// before it came to that, or was told in error that a step had failed. What the
// ledger does not know stays.
func (e *Engine) sweepQuarantine(ctx context.Context) error {
	ids, err := e.Quarantine.IDs()
	if err != nil {
		return err
	}
	for _, id := range ids {
		entry, err := e.quarantined(ctx, id)
		needless := false
		switch entry.State {
		case ledger.Filed, ledger.Settled, ledger.Discarded:
			needless = true
		case ledger.Vanished:
			has, err := e.Quarantine.Has(id)
			if err != nil {
				return err
			}
			needless = !has
		}
		switch {
		case err != nil && !errors.Is(err, ledger.ErrNotFound):
			return fmt.Errorf("read ledger: %w", err)
		case needless:
			if err := e.Quarantine.Remove(id); err != nil {
				return err
			}
		}
	}
	return nil
}

// quarantined returns the entry of which there is a copy in quarantine. The
// ledger knows it by that only if it ever recorded so.
func (e *Engine) quarantined(ctx context.Context, id string) (ledger.Entry, error) {
	r, err := e.Quarantine.Record(id)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, quarantine.ErrDamaged) {
		return ledger.Entry{}, err
	}
	names := []string{r.Source}
	for _, m := range e.mailboxes {
		if slices.Contains(m.Formerly, r.Source) {
			names = append(names, m.Name)
		}
	}
	for _, name := range names {
		entry, err := e.Ledger.Entry(ctx, name, r.FolderID, r.Key)
		if !errors.Is(err, ledger.ErrNotFound) {
			return entry, err
		}
	}
	for entry, err := range e.Ledger.Entries(ctx, ledger.Query{QuarantineID: id}) {
		return entry, err
	}
	return ledger.Entry{}, ledger.ErrNotFound
}

// renameQuarantined gives the messages in quarantine the ids that they will have
// under the new name. It may be repeated, also when an earlier try under another
// new name was cut short.
func (e *Engine) renameQuarantined(ctx context.Context, from string, m *mailbox) error {
	for entry, err := range e.Ledger.Entries(ctx, ledger.Query{
		Source: from, States: []ledger.State{ledger.Quarantined, ledger.Parked, ledger.Begun, ledger.Prepared},
	}) {
		if err != nil {
			return err
		}
		entry.Source = m.Name
		id := entry.QuarantineID()
		for _, entry.Source = range m.Formerly {
			if err := e.Quarantine.Rename(entry.QuarantineID(), id); err != nil {
				return err
			}
		}
	}
	return nil
}

// mailbox is a Mailbox at work.
type mailbox struct {
	Mailbox
	e     *Engine
	log   *zap.Logger
	stats *stats
	// folders lets one goroutine at a time handle a folder, or finish what was
	// left there.
	folders turnstile
	// reached is closed once the server has answered for the first time.
	reached chan struct{}
	// reconsidered is set once what is in quarantine was looked at for a change of
	// the rules. For the polls of every folder, of which there is one at a time.
	reconsidered bool

	mu        sync.Mutex
	src       sources.Source
	abandoned map[place]bool // by once, the only one to ask
}

// place is where a message is in its mailbox.
type place struct{ folder, key string }

func newMailbox(e *Engine, m Mailbox) *mailbox {
	m.Parallel = max(m.Parallel, 1)
	return &mailbox{
		Mailbox: m, e: e,
		log:     e.Log.With(zap.String("source", m.Name)),
		stats:   newStats(m.Name),
		reached: make(chan struct{}),
	}
}

// once polls the mailbox once and closes it.
func (m *mailbox) once(ctx context.Context) Summary {
	start := time.Now()
	m.stats.begin()
	m.abandoned = make(map[place]bool)
	_, err := m.poll(ctx, everyFolder|evenEarly)
	err = errors.Join(err, m.close())
	m.stats.polled(start, time.Time{}, err)
	if err != nil && ctx.Err() == nil {
		m.report(err)
	}
	sum := m.stats.summary()
	owed, err := m.owed(context.WithoutCancel(ctx))
	if err != nil {
		sum.Error = errors.Join(errors.New(sum.Error), err).Error()
	}
	sum.Owed = owed
	waiting, err := m.e.Ledger.Count(context.WithoutCancel(ctx), m.Name)
	if err != nil {
		sum.Error = errors.Join(errors.New(sum.Error), err).Error()
	}
	sum.InQuarantine = waiting[ledger.Quarantined] + waiting[ledger.Parked]
	sum.Failed = len(owed)
	return sum
}

// owed returns the messages that wait for another try, and those that were
// abandoned.
func (m *mailbox) owed(ctx context.Context) (owed []ledger.Entry, err error) {
	now := time.Now()
	m.mu.Lock()
	abandoned := m.abandoned
	m.mu.Unlock()
	for e, err := range m.e.Ledger.Entries(ctx, ledger.Query{
		Source: m.Name, States: []ledger.State{ledger.Begun, ledger.Prepared, ledger.Filed, ledger.Quarantined},
	}) {
		if err != nil {
			return owed, fmt.Errorf("read ledger: %w", err)
		}
		if e.RetryAt.After(now) || abandoned[place{e.Folder, e.Key}] {
			owed = append(owed, e)
		}
	}
	return owed, nil
}

// open returns the source, opening it if need be.
func (m *mailbox) open() (sources.Source, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.src == nil {
		src, err := m.Open()
		if err != nil {
			return nil, err
		}
		m.src = src
	}
	return m.src, nil
}

// close closes the source.
func (m *mailbox) close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.src == nil {
		return nil
	}
	err := m.src.Close()
	m.src = nil
	return err
}

// graceful returns a context that outlives ctx by the grace of a stop, and what
// ends it.
func (e *Engine) graceful(ctx context.Context) (context.Context, context.CancelFunc) {
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	timer := make(chan *time.Timer, 1)
	stop := context.AfterFunc(ctx, func() { timer <- time.AfterFunc(e.Grace, cancel) })
	return work, sync.OnceFunc(func() {
		if !stop() {
			(<-timer).Stop()
		}
		cancel()
	})
}
