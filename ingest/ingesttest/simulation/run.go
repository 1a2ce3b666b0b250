package simulation

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// Run plays the world of the seed and judges it. The world makes the mistake on
// purpose, none if it is empty. Dir is an empty folder, for quarantine and
// spool; the error is about that only. Run must be called in a bubble of
// testing/synctest, which panics if a goroutine of the engine is left at the
// end.
func Run(seed uint64, m Mistake, dir string) (*Verdict, error) {
	w := newWorld(seed, m, dir)
	if err := w.play(dir); err != nil {
		return nil, fmt.Errorf("seed %d: %w", seed, err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.judge(dir)
	return &w.verdict, nil
}

// play lets one process after the other live in the world.
func (w *world) play(dir string) error {
	r := w.dice.draw("lives")
	for time.Now().Before(w.end) && !w.verdict.Rules[Hot] {
		if err := w.start(dir); err != nil {
			return err
		}
		w.pass(w.span(r), w.process)
		w.process.stop()
		w.pass(earlier(w.end, time.Now().Add(time.Duration(r.Int64N(int64(20*time.Minute))))), nil)
		if time.Now().Before(w.end) && r.IntN(3) == 0 {
			w.reconfigure(r)
		}
	}
	return nil
}

// span draws how long a process is let live. The one that sees the quiet time
// begin lives to the end.
func (w *world) span(r *rand.Rand) time.Time {
	stop := time.Now().Add(time.Hour + time.Duration(r.Int64N(int64(30*time.Hour))))
	if stop.After(w.quiet) {
		return w.end
	}
	return stop
}

// pass lets time pass, and happen what is to happen, until the time is there or
// the process, unless it is nil, is over.
func (w *world) pass(until time.Time, p *process) {
	var died, returned <-chan struct{}
	if p != nil {
		died, returned = p.died, p.returned
	}
	for {
		next := until
		if len(w.events) > 0 {
			next = earlier(next, w.events[0].at)
		}
		t := time.NewTimer(time.Until(next))
		select {
		case <-t.C:
		case <-died:
			t.Stop()
			return
		case <-returned:
			t.Stop()
			w.returned(p)
			return
		}
		if len(w.events) > 0 && !time.Now().Before(w.events[0].at) {
			e := w.events[0]
			w.events = w.events[1:]
			w.happen(e)
		} else {
			return
		}
	}
}

// returned judges that Run has returned though nobody stopped it. That is right
// if it has said why.
func (w *world) returned(p *process) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if p.err == nil && !p.dead {
		w.violated(Quit, nil, "process %d ended by itself", p.number)
	}
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
