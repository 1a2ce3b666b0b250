package simulation

import (
	"fmt"

	"math/rand/v2"
	"path/filepath"
	"slices"
	"time"

	"postroom/ingest/ledger"
	"postroom/ingest/quarantine"
	"postroom/sources"
)

const (
	troubled = 48 * time.Hour // the time in which things happen and fail
	calm     = 12 * time.Hour // the quiet time after that
)

// newWorld draws a world from the seed.
func newWorld(seed uint64, m Mistake, dir string) *world {
	now := time.Now()
	w := &world{
		dice: newDice(seed), mistake: m,
		began: now, quiet: now.Add(troubled), end: now.Add(troubled + calm),
		ledger: ledger.NewMemory(), quarantine: quarantine.Open(filepath.Join(dir, "quarantine")),
		documents: make(map[string]*filed), deaths: make(map[place]int), discarded: make(map[place]bool),
		verdict: Verdict{Seed: seed},
	}
	r := w.dice.draw("world")
	w.temper = temper{fail: pick(r, 0, 0.001, 0.005, 0.02), die: pick(r, 0, 0.0001, 0.0005), slow: pick(r, 0, 0.005, 0.02)}
	for i := range 2 + r.IntN(3) {
		w.boxes = append(w.boxes, w.newBox(r, i))
	}
	w.forecast(r)
	w.events = w.schedule(w.dice.draw("schedule"))
	return w
}

func (w *world) newBox(r *rand.Rand, number int) *box {
	b := &box{
		number:      number,
		settings:    settings{name: fmt.Sprintf("source%d", number)},
		duplicates:  r.IntN(4) == 0,
		watch:       r.IntN(3) == 0,
		dated:       r.IntN(3) > 0,
		interval:    pick[time.Duration](r, 5, 10, 20, 60) * time.Minute,
		parallel:    1 + r.IntN(3),
		connections: 1 + r.IntN(3),
		read:        []string{"Inbox", "Sub", "Archive"}[:1+r.IntN(3)],
		folders:     make(map[string]*folder),
		known:       make(map[string]*content),
		hour:        -1,
		news:        make(chan struct{}),
	}
	if b.maildrop = r.IntN(4) == 0; b.maildrop {
		b.watch, b.dated, b.parallel, b.connections, b.read = false, false, 1, 1, b.read[:1]
		b.together = pick(w.dice.draw(fmt.Sprint("together ", number)), 0, 3, 300)
	}
	b.configure(r)
	for _, path := range b.read {
		b.make(path)
	}
	return b
}

// configure draws the settings that may change.
func (b *box) configure(r *rand.Rand) {
	b.after = sources.Action{Verb: pick(r, sources.Keep, sources.MarkRead, sources.Move, sources.Delete)}
	if b.after.Verb == sources.Move {
		b.after.Target = filedFolder
	}
	b.failed = pick(r, "", failedFolder)
	if b.maildrop {
		b.after, b.failed = sources.Action{Verb: pick(r, sources.Keep, sources.Delete)}, ""
	}
}

// reconfigure changes the configuration, between two processes.
func (w *world) reconfigure(r *rand.Rand) {
	w.mu.Lock()
	defer w.mu.Unlock()
	b := pick(r, w.boxes...)
	if r.IntN(2) == 0 {
		b.configure(r)
		w.note(nil, fmt.Sprintf("%s: now %+v, failed folder %q", b, b.after, b.failed), nil)
		return
	}
	b.formerly = append(slices.Clone(b.formerly), b.name)
	b.name = fmt.Sprintf("source%d-%d", b.number, len(b.formerly))
	w.note(nil, fmt.Sprintf("%s: now called %s", b, b.name), nil)
}

// forecast draws the weather.
func (w *world) forecast(r *rand.Rand) {
	add := func(k kind, c sources.Class, b *box, most time.Duration) {
		from := w.began.Add(time.Duration(r.Int64N(int64(troubled))))
		to := from.Add(time.Duration(r.Int64N(int64(most))))
		if to.After(w.quiet) {
			to = w.quiet
		}
		w.weather = append(w.weather, weather{k, c, b, from, to})
	}
	for _, b := range w.boxes {
		for range r.IntN(3) {
			add(onServer, pick(r, sources.Temporary, sources.Throttled, sources.SignIn, sources.Permission), b, 6*time.Hour)
		}
	}
	for range r.IntN(3) {
		add(onRepository, 0, nil, 24*time.Hour)
	}
	for range r.IntN(3) {
		add(onLedger, 0, nil, 6*time.Hour)
	}
}
