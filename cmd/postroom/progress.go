package main

import (
	"io"
	"os"
	"runtime"
	"sync"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"

	"postroom/ingest"
)

// progress shows how far a run is, as a bar on a terminal and else not at all:
// there the log says it in plain lines.
type progress struct {
	errs  io.Writer
	bars  *mpb.Progress // nil without a terminal
	bar   *mpb.Bar
	mu    sync.Mutex
	tally tally
}

// tally counts messages: those that are known of so far, and those done with.
type tally struct {
	total, done int64
	left        map[[2]string]int // by source and folder: listed, and not yet done with
}

func (t *tally) observe(ev ingest.Event) {
	of := [2]string{ev.Source, ev.Folder}
	if t.left == nil {
		t.left = make(map[[2]string]int)
	}
	switch {
	case ev.Kind == ingest.Examined:
		return // what became of it follows
	case ev.Kind == ingest.Listed:
		t.left[of] += ev.Listed
		t.total += int64(ev.Listed)
		return
	case t.left[of] > 0:
		t.left[of]--
	default:
		t.total++ // owed from an earlier run, and not listed
	}
	t.done++
}

// showsBar reports whether a terminal may be sent what draws a bar.
func showsBar(env func(string) string) bool {
	term := env("TERM")
	return env("NO_COLOR") == "" && term != "dumb" && (term != "" || runtime.GOOS == "windows")
}

func newProgress(errs io.Writer) *progress {
	return newBar(errs, "filing ", "%d of %d known so far")
}

// newBar returns a bar for what the verb says. Counters has the verbs for those
// done and those in all.
func newBar(errs io.Writer, verb, counters string) *progress {
	p := &progress{errs: errs}
	f, ok := asIs(errs).(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) || !showsBar(os.Getenv) {
		return p
	}
	p.bars = mpb.New(mpb.WithOutput(f), mpb.WithWidth(40))
	p.bar = p.bars.AddBar(0,
		mpb.PrependDecorators(decor.Name(verb), decor.CountersNoUnit(counters)),
		mpb.AppendDecorators(
			decor.Percentage(decor.WC{W: 5}), decor.Name("  "),
			decor.AverageSpeed(0, "%.0f/s"), decor.Name("  "),
			decor.AverageETA(decor.ET_STYLE_GO), decor.Name(" left"),
		),
	)
	return p
}

// logWriter is where a log goes so that the bar stays below it.
func (p *progress) logWriter() io.Writer {
	if p.bars != nil {
		return &terminal{p.bars}
	}
	return p.errs
}

// around is where other output goes while there is a bar, if both share a
// terminal.
func (p *progress) around(out io.Writer) io.Writer {
	if f, ok := asIs(out).(*os.File); ok && p.bars != nil && term.IsTerminal(int(f.Fd())) {
		return &terminal{&shared{p, f}}
	}
	return out
}

// shared writes above the bar until that is gone.
type shared struct {
	p   *progress
	out io.Writer
}

func (s *shared) Write(b []byte) (int, error) {
	if n, err := s.p.bars.Write(b); err == nil {
		return n, nil
	}
	return s.out.Write(b)
}

func (p *progress) observe(ev ingest.Event) {
	if p.bars == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tally.observe(ev)
	p.bar.SetTotal(p.tally.total, false)
	p.bar.SetCurrent(p.tally.done)
}

// show shows how many of all are done.
func (p *progress) show(done, total int) {
	if p.bars == nil {
		return
	}
	p.bar.SetTotal(int64(total), false)
	p.bar.SetCurrent(int64(done))
}

// end takes the bar away.
func (p *progress) end() {
	if p.bars == nil {
		return
	}
	p.bar.Abort(true)
	p.bars.Wait()
}
