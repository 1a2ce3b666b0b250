// Package ingesttest is a world of fakes for testing the engine: a mail server,
// a repository and a ledger that share one clockwork of steps, at any of which
// the process can be made to die, and an oracle that knows what must be true
// afterwards: one message, one document.
package ingesttest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"postroom/ingest/ledger"
	"postroom/sources"
)

// ErrDead is what every step returns once the process has died.
var ErrDead = errors.New("the process is dead")

// World holds a server, a repository and a ledger. The zero number of steps
// never dies.
type World struct {
	Server     *Server
	Repository *Repository
	Ledger     *Ledger

	mu    sync.Mutex
	steps int
	die   int
	dead  bool
	trace []string
	fault func(step string) error
}

// New returns a world with an empty server, repository and ledger.
func New() *World {
	w := &World{}
	w.Server = &Server{world: w, folders: make(map[string]*folder)}
	w.Repository = &Repository{world: w, documents: make(map[string]stored)}
	w.Ledger = &Ledger{world: w, Ledger: ledger.NewMemory()}
	return w
}

// DieAt makes the process die at the n-th step from now, n ≥ 1. Each operation
// of the fakes is two steps: before its effect, and between effect and answer.
func (w *World) DieAt(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.steps, w.die = 0, n
}

// Fault makes steps fail for which f returns an error; nil: none. The name of a
// step is that of the operation and what it is done to ("settle Inbox 1/2"),
// with "<" before it or ">" after its effect.
func (w *World) Fault(f func(step string) error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fault = f
}

// Revive starts a new process in the world as the dead one left it. It reports
// whether one had died.
func (w *World) Revive() bool {
	w.mu.Lock()
	died := w.dead
	w.dead, w.die, w.steps = false, 0, 0
	w.mu.Unlock()
	w.Ledger.releaseAll()
	return died
}

// Trace returns the names of the steps taken after their effect.
func (w *World) Trace() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.trace)
}

func (w *World) step(name string) error {
	w.mu.Lock()
	if w.dead {
		w.mu.Unlock()
		return ErrDead
	}
	w.steps++
	if w.steps == w.die {
		w.dead = true
		w.mu.Unlock()
		return ErrDead
	}
	fault := w.fault
	w.mu.Unlock()
	if fault != nil {
		if err := fault(name); err != nil {
			return err
		}
	}
	if strings.HasPrefix(name, ">") {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.trace = append(w.trace, name[1:])
	}
	return nil
}

// do runs an operation as two steps around its effect.
func (w *World) do(name string, effect func() error) error {
	if err := w.step("<" + name); err != nil {
		return err
	}
	if err := effect(); err != nil {
		return err
	}
	return w.step(">" + name)
}

// Judge compares the server's past with the repository: every message that was
// ever delivered is one document with its exact bytes, unless it is among the
// ids in quarantine; no document is without a message; and no message was
// disposed of before its document was there.
func (w *World) Judge(quarantined int) error {
	var errs []error
	want := make(map[string]int) // raw bytes → times delivered
	for _, raw := range w.Server.Delivered() {
		want[string(raw)]++
	}
	got := make(map[string]int)
	for id, files := range w.Repository.Documents() {
		if len(files) != 1 {
			errs = append(errs, fmt.Errorf("document %s has %d files", id, len(files)))
			continue
		}
		for _, b := range files {
			got[string(b)]++
		}
	}
	missing := 0
	for raw := range want {
		switch got[raw] {
		case 1:
		case 0:
			missing++
		default:
			errs = append(errs, fmt.Errorf("message %.40q was filed %d times", raw, got[raw]))
		}
		delete(got, raw)
	}
	if missing != quarantined {
		errs = append(errs, fmt.Errorf("%d messages were not filed, %d are in quarantine", missing, quarantined))
	}
	for raw := range got {
		errs = append(errs, fmt.Errorf("document %.40q has no message", raw))
	}
	return errors.Join(append(errs, w.Server.tooEarly()...)...)
}

// Action is a disposition that the server has applied.
type Action struct {
	Folder, Key string
	sources.Action
}
