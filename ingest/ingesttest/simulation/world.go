package simulation

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"postroom/ingest/ledger"
	"postroom/ingest/quarantine"
	"postroom/sources"
)

// ErrDead is what every operation of a process returns once it has died.
var ErrDead = errors.New("the process is dead")

// world is everything outside the process. All of it is guarded by mu, which is
// never held while time passes, and under which every effect is one step.
type world struct {
	mu      sync.Mutex
	dice    *dice
	mistake Mistake
	began   time.Time
	quiet   time.Time // from here on nothing fails
	end     time.Time

	boxes      []*box
	weather    []weather
	temper     temper
	ledger     ledger.Ledger
	documents  map[string]*filed
	quarantine *quarantine.Quarantine
	deaths     map[place]int  // times that the process died with the entry unfinished
	discarded  map[place]bool // entries that a person tried to discard

	process    *process
	processes  int
	events     []event
	operations int
	trace      trace
	verdict    Verdict
}

// temper is how often operations fail, each as a share of all.
type temper struct{ fail, die, slow float64 }

// place is where the ledger keeps what it knows of a message. The box stands
// for its source, whatever that is called at the time.
type place struct {
	box         int
	folder, key string
}

// weather is a time in which one kind of operation always fails.
type weather struct {
	kind     kind
	class    sources.Class // of servers
	box      *box          // nil: all
	from, to time.Time
}

// kind is what an operation is done to.
type kind int

const (
	onServer kind = iota
	onRepository
	onLedger
)

// operation is one thing that the process does to the world.
type operation struct {
	kind kind
	box  *box // nil: none in particular
	name string
	// message: it concerns a message in hand, and is more likely to fail.
	message bool
}

// fate is what becomes of an operation.
type fate struct {
	nap                   time.Duration
	dieBefore, dieAfter   bool
	failBefore, failAfter error
	chances               *rand.Rand
}

// fate draws what becomes of the next operation of that name. mu is held.
func (w *world) fate(o operation) fate {
	r := w.dice.draw(o.name)
	f := fate{chances: r}
	now := time.Now()
	if !now.Before(w.quiet) {
		return f
	}
	for _, t := range w.weather {
		if t.kind == o.kind && (t.box == nil || t.box == o.box) && !now.Before(t.from) && now.Before(t.to) {
			f.failBefore = w.trouble(o.kind, t.class, t.to)
			return f
		}
	}
	often := 1.0
	if o.message {
		often = 6
	}
	if r.Float64() < w.temper.die*often {
		f.dieBefore = r.IntN(2) == 0
		f.dieAfter = !f.dieBefore
	}
	if r.Float64() < w.temper.fail*often {
		until := now.Add(time.Duration(r.IntN(int(time.Hour))))
		class := pick(r, sources.Temporary, sources.Temporary, sources.Temporary, sources.Temporary,
			sources.Throttled, sources.SignIn, sources.Permission, sources.Permanent)
		err := w.trouble(o.kind, class, until)
		if r.IntN(2) == 0 {
			f.failBefore = err
		} else {
			f.failAfter = err
		}
	}
	if o.kind != onLedger && r.Float64() < w.temper.slow*often {
		f.nap = time.Duration(1+r.IntN(600)) * time.Second
	}
	return f
}

func (w *world) trouble(k kind, class sources.Class, until time.Time) error {
	switch k {
	case onRepository:
		return errors.New("repository: connection refused")
	case onLedger:
		return errors.New("ledger: no space left on device")
	}
	err := sources.Errorf(class, "server: %s", class)
	if class == sources.Throttled {
		err.Until = until
	}
	return err
}

// do lets the process do an operation, whose effect is one step under mu. The
// process may die, or learn of a failure, before the effect or after it.
func (p *process) do(ctx context.Context, o operation, effect func(fate) error) error {
	w := p.world
	w.mu.Lock()
	defer w.mu.Unlock()
	if !p.enter(o) {
		return ErrDead
	}
	f := w.fate(o)
	slept := f.nap == 0 || p.nap(ctx, f.nap)
	switch {
	case p.dead:
		return ErrDead
	case !slept:
		w.note(p, o.name, ctx.Err())
		return fmt.Errorf("%s: %w", o.name, ctx.Err())
	case f.dieBefore:
		w.note(p, o.name, errors.New("dies before it"))
		p.die()
		return ErrDead
	case f.failBefore != nil:
		w.note(p, o.name, f.failBefore)
		return f.failBefore
	}
	err := effect(f)
	switch {
	case f.dieAfter:
		w.note(p, o.name, errors.New("dies after it"))
		p.die()
		return ErrDead
	case err == nil && f.failAfter != nil:
		w.note(p, o.name, fmt.Errorf("done, but answered: %w", f.failAfter))
		return f.failAfter
	}
	if o.message || err != nil {
		w.note(p, o.name, err)
	}
	return err
}

// enter counts an operation and reports whether the process may do it. mu is
// held.
func (p *process) enter(o operation) bool {
	if p.ended {
		p.world.violated(Leftover, nil, "%s after the engine had returned", o.name)
	}
	if p.dead {
		return false
	}
	p.world.operations++
	if o.box != nil && o.box.busy(time.Since(p.world.began)/time.Hour) {
		p.world.violated(Hot, nil, "more than %d operations on %s within an hour, the last one %s", hourly, o.box, o.name)
		p.die()
		return false
	}
	return true
}

// nap lets time pass during an operation and reports whether it came to its
// end. mu is held, but not while time passes.
func (p *process) nap(ctx context.Context, d time.Duration) bool {
	p.world.mu.Unlock()
	defer p.world.mu.Lock()
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
	case <-p.died:
	}
	return false
}
