package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"postroom/cmd/postroom/config"
	"postroom/ingest"
	"postroom/ingest/spool"
	"postroom/internal/graph"
	"postroom/internal/graphtest"
	"postroom/internal/mailgen"
	"postroom/sources"
	"postroom/sources/exchange"
)

var (
	seeds     = flag.Int("seeds", 8, "how many worlds TestLivesInExchangeOnline plays")
	firstSeed = flag.Uint64("first-seed", 0, "the first of the seeds of those")
)

// TestLivesInExchangeOnline lets the engine and the driver live and die in
// worlds drawn from seeds: requests fail, mail arrives, and people move, mark and
// delete it. Each message that nobody deleted is one document in the end.
func TestLivesInExchangeOnline(t *testing.T) {
	t.Parallel()
	n := *seeds
	if testing.Short() {
		n = min(n, 2)
	}
	// The worlds wait, mostly: several of them at once.
	var worlds sync.WaitGroup
	defer worlds.Wait()
	places := make(chan struct{}, 12)
	for i := range n {
		seed := *firstSeed + uint64(i)
		places <- struct{}{}
		worlds.Go(func() {
			defer func() { <-places }()
			t.Run(fmt.Sprint(seed), func(t *testing.T) { newLives(t, seed).play() })
		})
	}
}

// lives is a branch of whose engine one life follows the other.
type lives struct {
	*branch
	random  *rand.Rand // of the order of events
	people  *rand.Rand // of what people do
	mail    *mailgen.Generator
	deleted map[string]bool // by people
	now     int             // the life
}

// readFolders are those whose mail is filed.
var readFolders = []string{"inbox", "inbox/Sub"}

func newLives(t *testing.T, seed uint64) *lives {
	random := rand.New(rand.NewPCG(seed, 1))
	after := []string{"keep", "mark_read", "move\nfiled_folder: Filed", "delete", "delete\npermanent: true"}[random.IntN(5)]
	b := newBranch(t, seed, "folders: [Inbox, Inbox/Sub]\nafter_filing: "+after)
	b.read = append(b.read, b.box.CreateFolder("inbox/Sub"))
	return &lives{
		branch: b, random: random, people: rand.New(rand.NewPCG(seed, 2)),
		mail: mailgen.New(seed, mailgen.Small()), deleted: make(map[string]bool),
	}
}

func (l *lives) play() {
	l.arrive(40)
	for l.now = range 6 {
		l.cloud.SetPlan(graphtest.Plan{Seed: l.random.Uint64(), Rate: 0.08 * l.random.Float64()})
		ctx, die := context.WithTimeout(l.t.Context(), time.Duration(l.random.Int64N(int64(2*time.Second))))
		l.live(ctx, l.interfere)
		die()
		l.backOffPasses()
	}
	l.cloud.Heal()
	for l.now = 0; !l.complete(); l.now++ {
		if l.now == 100 {
			break // the judgement tells what is missing
		}
		ctx, die := context.WithTimeout(l.t.Context(), 5*time.Second)
		l.live(ctx, func(context.Context) {
			defer die()
			for ctx.Err() == nil && !l.complete() {
				time.Sleep(200 * time.Millisecond)
			}
		})
		l.backOffPasses()
	}
	l.judge()
}

// live runs the engine until the context ends, and f beside it. What is in hand
// then is cut off.
func (l *lives) live(ctx context.Context, f func(context.Context)) {
	l.t.Helper()
	c, err := config.Load(filepath.Join(l.dir, "config.yaml"), configDrivers())
	if err != nil {
		l.t.Fatal(err)
	}
	log := zap.NewNop()
	w, err := openWorkshop(l.t.Context(), c, log, nil, nil)
	if err != nil {
		l.t.Fatal(err)
	}
	sp, err := spool.Open(c.Spool)
	if err != nil {
		l.t.Fatal(err)
	}
	s := c.Sources[0]
	m := mailbox(s, log)
	m.Interval = 20 * time.Millisecond
	// A process knows nothing of what the one before was told.
	clients := &graph.Clients{Timeouts: graph.Timeouts{Pause: 40 * time.Millisecond}}
	m.Open = func() (sources.Source, error) {
		return exchange.Open(exchange.Config{
			Options: *s.Options.(*exchange.Options), Name: s.Name, Mailbox: s.Mailbox, Clients: clients, Settings: graphSettings(s),
			AfterFiling: sources.Verb(s.AfterFiling), Permanent: s.Permanent, PageSize: 7, Block: 20,
		})
	}
	e := ingest.New(ingest.Config{
		Mailboxes: []ingest.Mailbox{m}, Ledger: w.ledger, Repository: w.repository,
		Spool: sp, Quarantine: w.quarantine, Log: log, Grace: time.Millisecond, Version: fmt.Sprint(l.now),
	})
	begun := len(l.cloud.Requests())
	var beside sync.WaitGroup
	beside.Go(func() { f(ctx) })
	err = e.Run(ctx)
	beside.Wait()
	if err := errors.Join(err, e.Close(), w.close()); err != nil {
		l.t.Error(err)
	}
	l.gone()
	l.obedient(begun)
}

// obedient checks that no request came before the time that this process was
// told.
func (l *lives) obedient(begun int) {
	told := make(map[string]bool)
	for _, r := range l.cloud.Requests()[begun:] {
		if thing := r.Method + r.URL; r.Early && told[thing] {
			l.t.Errorf("life %d: sent before its time: %v", l.now, r)
		} else if r.Status == 429 || r.Status == 503 {
			told[thing] = true
		}
	}
}

func (l *lives) arrive(n int) {
	for range n {
		folder := readFolders[l.people.IntN(2)]
		item := l.box.Deliver(folder, graphtest.Mail{Raw: l.mail.Next().Raw, Received: time.Now()})
		l.ids[item.ImmutableID] = true
	}
}

// interfere does what people do, until the context ends.
func (l *lives) interfere(ctx context.Context) {
	for ctx.Err() == nil {
		time.Sleep(time.Duration(l.people.IntN(100)) * time.Millisecond)
		from := append(slices.Clone(readFolders), "Filed", "deleteditems")[l.people.IntN(4)]
		there := l.box.Messages(from)
		if l.people.IntN(8) == 0 || len(there) == 0 {
			l.arrive(1 + l.people.IntN(3))
			continue
		}
		// The message may have been disposed of meanwhile, or be for good.
		id := there[l.people.IntN(len(there))].ImmutableID
		switch l.people.IntN(6) {
		case 0:
			if l.box.Remove(id) == nil {
				l.deleted[id] = true
			}
		case 1, 2, 3:
			_, _ = l.box.Move(id, readFolders[l.people.IntN(2)])
		default:
			_ = l.box.MarkRead(id, l.people.IntN(2) == 0)
		}
	}
}

// complete reports whether each message that nobody deleted is filed.
func (l *lives) complete() bool {
	missing := len(l.ids)
	for _, d := range l.filed() {
		if id := d.Origin.ServerID; l.ids[id] && !l.deleted[id] {
			missing--
		}
	}
	return missing <= len(l.deleted)
}

func (l *lives) judge() {
	count := make(map[string]int)
	for _, d := range l.filed() {
		count[d.Origin.ServerID]++
	}
	for id := range l.ids {
		if n := count[id]; n > 1 || n == 0 && !l.deleted[id] {
			l.t.Errorf("message %s was filed %d times", id, n)
		}
		delete(count, id)
	}
	for id := range count {
		l.t.Errorf("a document of %s, which was never sent", id)
	}
	if n := l.cloud.MaxConcurrency(); n > 4 {
		l.t.Errorf("%d requests at once", n)
	}
}
