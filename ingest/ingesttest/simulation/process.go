package simulation

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"go.uber.org/zap"

	"postroom/ingest"
	"postroom/ingest/document"
	"postroom/ingest/ledger"
	"postroom/ingest/spool"
	"postroom/sources"
)

// process is one life of the daemon. What it knows of the world it has through
// views that fail with ErrDead once it has died.
type process struct {
	world  *world
	number int
	engine *ingest.Engine
	ctx    context.Context // ends with an order to stop
	cancel context.CancelFunc
	people sync.WaitGroup

	returned chan struct{} // closed when Run has returned err
	err      error

	// Guarded by world.mu.
	dead  bool
	ended bool // the engine has returned, and nothing of it may be left
	held  map[ledger.Lease]bool
	died  chan struct{} // closed at death
}

// start starts a process under the configuration of now.
func (w *world) start(dir string) error {
	p := &process{
		world: w, number: w.processes + 1, returned: make(chan struct{}),
		held: make(map[ledger.Lease]bool), died: make(chan struct{}),
	}
	sp, err := spool.Open(filepath.Join(dir, "spool"))
	if err != nil {
		return err
	}
	c := ingest.Config{
		Ledger: record{p, w.ledger}, Repository: repository{p},
		Spool: sp, Quarantine: w.quarantine, Log: zap.NewNop(), Version: fmt.Sprint(p.number),
	}
	for _, b := range w.boxes {
		c.Mailboxes = append(c.Mailboxes, ingest.Mailbox{
			Name: b.name, Type: "simulated", Address: b.String() + "@example.com", Formerly: b.formerly,
			Open:     func() (sources.Source, error) { return p.open(b) },
			Interval: b.interval, Watch: b.watch, Parallel: b.parallel,
			After: b.after, FailedFolder: b.failed, FileDuplicates: b.duplicates,
			Rules: document.Rules{Title: "{subject}"},
		})
	}
	p.engine = ingest.New(c)
	p.ctx, p.cancel = context.WithCancel(context.Background())
	w.mu.Lock()
	w.processes++
	w.process = p
	w.note(p, born, nil)
	w.mu.Unlock()
	go func() {
		defer close(p.returned)
		p.err = p.engine.Run(p.ctx)
	}()
	return nil
}

// die ends the process at once. mu is held.
func (p *process) die() {
	if p.dead {
		return
	}
	p.dead = true
	close(p.died)
	for l := range p.held {
		l.Release(context.Background())
	}
	for e := range p.world.ledger.Entries(context.Background(), ledger.Query{States: []ledger.State{ledger.Begun, ledger.Prepared}}) {
		p.world.deaths[p.world.place(e)]++
	}
}

func (p *process) isDead() bool {
	p.world.mu.Lock()
	defer p.world.mu.Unlock()
	return p.dead
}

// stop ends the process in an orderly way, if it has not died, and looks at what
// is left of it.
func (p *process) stop() {
	p.cancel()
	began := time.Now()
	<-p.returned
	p.people.Wait()
	closing := p.engine.Close()
	w := p.world
	w.mu.Lock()
	defer w.mu.Unlock()
	w.note(p, ended, p.err)
	p.ended = true
	w.process = nil
	for _, b := range w.boxes {
		if b.open != 0 {
			w.violated(Leftover, nil, "%d connections to %s of process %d are open", b.open, b, p.number)
			b.open = 0
		}
	}
	if p.dead {
		return
	}
	if closing != nil {
		w.violated(Leftover, nil, "process %d could not close its sources: %v", p.number, closing)
	}
	if took := time.Since(began); took > 30*time.Second {
		w.violated(Leftover, nil, "process %d took %v to stop", p.number, took)
	}
	// Leases whose grant was not answered end with the process.
	for l := range p.held {
		l.Release(context.Background())
	}
}

// place returns where an entry is.
func (w *world) place(e ledger.Entry) place {
	for _, b := range w.boxes {
		if b.called(e.Source) {
			return place{b.number, e.Folder, e.Key}
		}
	}
	panic(fmt.Sprintf("entry of a source unknown: %+v", e))
}
