package ingest_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"

	"postroom/ingest"
	"postroom/ingest/document"
	"postroom/ingest/ingesttest"
	"postroom/ingest/ledger"
	"postroom/ingest/quarantine"
	"postroom/ingest/spool"
	"postroom/sources"
	"postroom/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func mail(n int) string {
	return fmt.Sprintf("Message-ID: <%d@example.com>\r\nSubject: Order %d\r\n\r\nText %d\r\n", n, n, n)
}

// process returns an engine as a process that has just started in the world.
type process struct {
	*ingest.Engine
	quarantine *quarantine.Quarantine
}

func start(t *testing.T, w *ingesttest.World, dir string, change func(*ingest.Mailbox)) process {
	t.Helper()
	w.Revive()
	sp, err := spool.Open(dir + "/spool")
	if err != nil {
		t.Fatal(err)
	}
	m := ingest.Mailbox{
		Name: "orders", Type: "fake", Address: "orders@example.com",
		Open:     func() (sources.Source, error) { return w.Server.Open("Inbox", "Sub"), nil },
		Interval: time.Minute, Parallel: 2,
		After: sources.Action{Verb: sources.Keep},
		Rules: document.Rules{Title: "{subject}"},
	}
	if change != nil {
		change(&m)
	}
	q := quarantine.Open(dir + "/quarantine")
	return process{ingest.New(ingest.Config{
		Mailboxes: []ingest.Mailbox{m}, Ledger: w.Ledger, Repository: w.Repository,
		Spool: sp, Quarantine: q, Log: zap.NewNop(), Grace: time.Second,
	}), q}
}

func once(t *testing.T, p process) ingest.Summary {
	t.Helper()
	sums, err := p.Once(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return sums[0]
}

func fill(w *ingesttest.World, n int) {
	w.Server.Deliver("Sub", mail(0))
	for i := 1; i < n; i++ {
		w.Server.Deliver("Inbox", mail(i))
	}
}

func judge(t *testing.T, w *ingesttest.World, quarantined int) {
	t.Helper()
	if err := w.Judge(quarantined); err != nil {
		t.Error(err)
	}
}

func TestFilesEachMessageOnce(t *testing.T) {
	w := ingesttest.New()
	fill(w, 600)
	dir := t.TempDir()
	if s := once(t, start(t, w, dir, nil)); s.Filed != 600 || !s.OK() {
		t.Errorf("first run: %+v", s)
	}
	if s := once(t, start(t, w, dir, nil)); s.Filed != 0 || s.Duplicates != 0 || !s.OK() {
		t.Errorf("second run: %+v", s)
	}
	w.Server.Renumber("Inbox")
	if s := once(t, start(t, w, dir, nil)); s.Filed != 0 || s.Duplicates != 599 || !s.OK() {
		t.Errorf("run after a new UIDVALIDITY: %+v", s)
	}
	w.Server.Deliver("Sub", mail(600))
	if s := once(t, start(t, w, dir, nil)); s.Filed != 1 {
		t.Errorf("run after a new message: %+v", s)
	}
	judge(t, w, 0)
}

func TestDispositions(t *testing.T) {
	for _, tt := range []struct {
		after sources.Action
		inbox int // messages left in Inbox
		moved int
	}{
		{sources.Action{Verb: sources.Keep}, 3, 0},
		{sources.Action{Verb: sources.MarkRead}, 3, 0},
		{sources.Action{Verb: sources.Move, Target: "Filed"}, 0, 4},
		{sources.Action{Verb: sources.Delete}, 0, 0},
	} {
		t.Run(string(tt.after.Verb), func(t *testing.T) {
			w := ingesttest.New()
			fill(w, 3)
			w.Server.Deliver("Inbox", mail(0)) // the one in Sub once more
			p := start(t, w, t.TempDir(), func(m *ingest.Mailbox) { m.After = tt.after; m.Parallel = 1 })
			if s := once(t, p); s.Filed != 3 || s.Duplicates != 1 || !s.OK() {
				t.Errorf("%+v", s)
			}
			if n := len(w.Server.Contents("Inbox")); n != tt.inbox {
				t.Errorf("%d messages left in Inbox, want %d", n, tt.inbox)
			}
			if n := len(w.Server.Contents("Filed")); n != tt.moved {
				t.Errorf("%d messages in Filed, want %d", n, tt.moved)
			}
			judge(t, w, 0)
			p2 := start(t, w, t.TempDir(), func(m *ingest.Mailbox) { m.After = tt.after })
			before := len(w.Server.Applied())
			once(t, p2)
			if n := len(w.Server.Applied()); n != before {
				t.Errorf("a second run applied %d dispositions", n-before)
			}
		})
	}
}

// TestDeathAtEveryStep lets the process die at each step in turn, before and
// after the step's effect, and again at every later step of the runs that
// follow, and looks at what is left at the end.
func TestDeathAtEveryStep(t *testing.T) {
	for _, after := range []sources.Action{{Verb: sources.Keep}, {Verb: sources.Delete}, {Verb: sources.Move, Target: "Filed"}} {
		t.Run(string(after.Verb), func(t *testing.T) {
			change := func(m *ingest.Mailbox) { m.After = after; m.Parallel = 1 }
			for n := 1; ; n++ {
				w := ingesttest.New()
				fill(w, 4)
				w.Server.Deliver("Inbox", mail(2)) // a duplicate
				dir := t.TempDir()
				p := start(t, w, dir, change)
				w.DieAt(n)
				once(t, p)
				died := w.Revive()
				p = start(t, w, dir, change)
				w.DieAt(n/2 + 1)
				once(t, p)
				w.Revive()
				once(t, start(t, w, dir, change))
				if s := once(t, start(t, w, dir, change)); !s.OK() || s.Filed != 0 {
					t.Errorf("died at step %d: the last run: %+v", n, s)
				}
				judge(t, w, 0)
				owedNothing(t, w, n)
				if after.Verb != sources.Keep && len(w.Server.Contents("Inbox"))+len(w.Server.Contents("Sub")) > 0 {
					t.Errorf("died at step %d: not disposed of: %v", n, w.Server.Contents("Inbox"))
				}
				if !died {
					if n < 20 {
						t.Fatalf("only %d steps", n)
					}
					return
				}
				if t.Failed() {
					t.Fatalf("died at step %d; trace %q", n, w.Trace())
				}
			}
		})
	}
}

func owedNothing(t *testing.T, w *ingesttest.World, n int) {
	t.Helper()
	for e, err := range w.Ledger.Entries(t.Context(), ledger.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		if !e.State.Final() {
			t.Errorf("died at step %d: still owed: %+v", n, e)
		}
	}
}

func TestOneBadMessageHoldsUpNothing(t *testing.T) {
	w := ingesttest.New()
	fill(w, 10)
	w.Repository.Refuse(func(d *store.Document) bool { return d.Title == "Order 5" })
	dir := t.TempDir()
	after := func(m *ingest.Mailbox) {
		m.After = sources.Action{Verb: sources.Delete}
		m.FailedFolder = ingesttest.FailedFolder
	}
	p := start(t, w, dir, after)
	if s := once(t, p); s.Filed != 9 || s.Quarantined != 1 || s.OK() {
		t.Errorf("%+v", s)
	}
	judge(t, w, 1)
	if n := len(w.Server.Contents(ingesttest.FailedFolder)); n != 1 {
		t.Errorf("%d messages in the failed folder", n)
	}
	var parked ledger.Entry
	for e := range w.Ledger.Entries(t.Context(), ledger.Query{States: []ledger.State{ledger.Parked}}) {
		parked = e
	}
	id := parked.QuarantineID()
	var raw strings.Builder
	if err := p.quarantine.Export(id, &raw); err != nil || raw.String() != mail(5) {
		t.Errorf("export: %q, %v", raw.String(), err)
	}
	if r, err := p.quarantine.Record(id); err != nil || r.Subject != "Order 5" || !strings.Contains(r.Reason, "refuse") {
		t.Errorf("record %+v, %v", r, err)
	}

	// Tried again while it is still refused, it stays.
	if e, err := p.Retry(t.Context(), id); err != nil || e.State != ledger.Parked {
		t.Errorf("retry: %v, %v", e.State, err)
	}
	w.Repository.Refuse(nil)
	if e, err := p.Retry(t.Context(), id); err != nil || e.State != ledger.Settled {
		t.Errorf("retry: %v, %v", e.State, err)
	}
	if ok, err := p.quarantine.Has(id); ok || err != nil {
		t.Errorf("still in quarantine: %v, %v", ok, err)
	}
	if e, err := p.Retry(t.Context(), id); err != nil || e.State != ledger.Settled {
		t.Errorf("retry of what is filed by now: %v, %v", e.State, err)
	}
	if _, err := p.Retry(t.Context(), "0123456789ab"); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("retry of what is not there: %v", err)
	}
	judge(t, w, 0)
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

func TestDiscardLeavesTheServerAlone(t *testing.T) {
	w := ingesttest.New()
	fill(w, 2)
	w.Repository.Refuse(func(d *store.Document) bool { return d.Title == "Order 1" })
	dir := t.TempDir()
	p := start(t, w, dir, func(m *ingest.Mailbox) { m.After = sources.Action{Verb: sources.Delete} })
	once(t, p)
	for e := range w.Ledger.Entries(t.Context(), ledger.Query{States: []ledger.State{ledger.Parked}}) {
		if got, err := p.Discard(t.Context(), e.QuarantineID()); err != nil || got.State != ledger.Discarded {
			t.Errorf("discard: %v, %v", got.State, err)
		}
	}
	p = start(t, w, dir, func(m *ingest.Mailbox) { m.After = sources.Action{Verb: sources.Delete} })
	if s := once(t, p); s.Filed != 0 || s.Quarantined != 0 {
		t.Errorf("%+v", s)
	}
	if got := w.Server.Contents("Inbox"); len(got) != 1 {
		t.Errorf("the discarded message is gone from its server: %v", got)
	}
}

func TestRetrySurvivesDeath(t *testing.T) {
	for n := 1; n < 40; n++ {
		w := ingesttest.New()
		fill(w, 2)
		w.Repository.Refuse(func(d *store.Document) bool { return d.Title == "Order 1" })
		dir := t.TempDir()
		change := func(m *ingest.Mailbox) {
			m.After = sources.Action{Verb: sources.Delete}
			m.FailedFolder = ingesttest.FailedFolder
		}
		p := start(t, w, dir, change)
		once(t, p)
		w.Repository.Refuse(nil)
		for e := range w.Ledger.Entries(t.Context(), ledger.Query{States: []ledger.State{ledger.Parked}}) {
			w.DieAt(n)
			p.Retry(t.Context(), e.QuarantineID())
			died := w.Revive()
			// If the retry was not even begun, it is still in quarantine.
			p = start(t, w, dir, change)
			once(t, p)
			p.Retry(t.Context(), e.QuarantineID())
			judge(t, w, 0)
			if !died {
				return
			}
		}
	}
	t.Error("a retry has no end")
}

func TestCutConnection(t *testing.T) {
	w := ingesttest.New()
	fill(w, 20)
	cut := errors.New("connection reset")
	var key string
	w.Fault(func(step string) error {
		if strings.HasPrefix(step, "<body Inbox ") && strings.HasSuffix(step, "/7") {
			key = step
			return cut
		}
		return nil
	})
	dir := t.TempDir()
	s := once(t, start(t, w, dir, nil))
	if s.Filed != 19 || s.Failed != 1 || key == "" {
		t.Errorf("%+v", s)
	}
	e, err := w.Ledger.Entry(t.Context(), "orders", "Inbox", "1/7")
	if err != nil || e.State != ledger.Begun || !strings.Contains(e.Cause, "connection reset") || !e.RetryAt.After(time.Now()) {
		t.Errorf("%+v, %v", e, err)
	}
	judge(t, w, 1)
}

func TestWithheldMessageIsNotForgotten(t *testing.T) {
	w := ingesttest.New()
	fill(w, 5)
	w.Server.Withhold("1/3", true)
	dir := t.TempDir()
	if s := once(t, start(t, w, dir, nil)); s.Filed != 4 || s.Failed != 1 {
		t.Errorf("%+v", s)
	}
	before, err := w.Ledger.Entry(t.Context(), "orders", "Inbox", "1/3")
	if err != nil || before.Attempts != 2 || !before.RetryAt.After(time.Now()) {
		t.Errorf("%+v, %v", before, err)
	}
	// Whoever starts a run wants everything tried, but has not waited.
	for range 20 {
		if s := once(t, start(t, w, dir, nil)); s.Filed != 0 || s.Failed != 1 || s.OK() {
			t.Errorf("before it is due: %+v", s)
		}
	}
	if e, err := w.Ledger.Entry(t.Context(), "orders", "Inbox", "1/3"); err != nil || e.State != ledger.Begun || e.Attempts != 2 || !e.RetryAt.Equal(before.RetryAt) {
		t.Errorf("after runs ahead of time: %+v, %v", e, err)
	}
	w.Server.Withhold("1/3", false)
	if s := once(t, start(t, w, dir, nil)); s.Filed != 1 || !s.OK() {
		t.Errorf("%+v", s)
	}
	judge(t, w, 0)
}

func TestRepositoryInTrouble(t *testing.T) {
	w := ingesttest.New()
	fill(w, 300)
	full := fmt.Errorf("write: %w", syscall.ENOSPC)
	w.Fault(func(step string) error {
		if step == "<put" {
			return full
		}
		return nil
	})
	dir := t.TempDir()
	change := func(m *ingest.Mailbox) { m.After = sources.Action{Verb: sources.Delete} }
	s := once(t, start(t, w, dir, change))
	if s.Filed != 0 || s.Failed == 0 || s.OK() || !strings.Contains(s.Error, "no space left") || !strings.Contains(s.Error, "Order ") ||
		!strings.Contains(s.Remedy, "free space") {
		s.Owed = nil
		t.Errorf("%+v", s)
	}
	if n := len(w.Server.Contents("Inbox")); n != 299 {
		t.Errorf("%d messages left in Inbox", n)
	}
	w.Fault(nil)
	if s := once(t, start(t, w, dir, change)); s.Filed != 300 || !s.OK() {
		t.Errorf("%+v", s)
	}
	judge(t, w, 0)
}

func TestMessageGoneBeforeItWasFetched(t *testing.T) {
	w := ingesttest.New()
	fill(w, 5)
	w.Fault(func(step string) error {
		if step == "<fetch Inbox" {
			w.Server.Remove("Inbox", "1/2")
		}
		return nil
	})
	if s := once(t, start(t, w, t.TempDir(), nil)); s.Filed != 4 || !s.OK() {
		t.Errorf("%+v", s)
	}
	if e, err := w.Ledger.Entry(t.Context(), "orders", "Inbox", "1/2"); err != nil || e.State != ledger.Vanished {
		t.Errorf("%+v, %v", e, err)
	}
}

func TestMissingFolderHoldsUpNothing(t *testing.T) {
	w := ingesttest.New()
	fill(w, 3)
	p := start(t, w, t.TempDir(), func(m *ingest.Mailbox) {
		m.Open = func() (sources.Source, error) { return w.Server.Open("Nowhere", "Inbox", "Sub"), nil }
	})
	if s := once(t, p); s.Filed != 3 || !strings.Contains(s.Error, "Nowhere") {
		t.Errorf("%+v", s)
	}
}

func TestDuplicatesFiledOnRequest(t *testing.T) {
	w := ingesttest.New()
	w.Server.Deliver("Inbox", mail(1))
	w.Server.Deliver("Inbox", mail(1))
	dir := t.TempDir()
	change := func(m *ingest.Mailbox) { m.FileDuplicates = true }
	if s := once(t, start(t, w, dir, change)); s.Filed != 2 || s.Duplicates != 0 {
		t.Errorf("%+v", s)
	}
	if s := once(t, start(t, w, dir, change)); s.Filed != 0 {
		t.Errorf("second run: %+v", s)
	}
}

func TestFormerNameCounts(t *testing.T) {
	w := ingesttest.New()
	fill(w, 3)
	dir := t.TempDir()
	w.Server.Deliver("Inbox", mail(50))
	w.Repository.Refuse(func(d *store.Document) bool { return d.Title == "Order 50" })
	once(t, start(t, w, dir, nil))
	w.Repository.Refuse(nil)
	renamed := func(m *ingest.Mailbox) { m.Name, m.Formerly = "incoming", []string{"orders"} }
	p := start(t, w, dir, renamed)
	if s := once(t, p); s.Filed != 0 || s.Duplicates != 0 || !s.OK() {
		t.Errorf("after the rename: %+v", s)
	}
	for e := range w.Ledger.Entries(t.Context(), ledger.Query{States: []ledger.State{ledger.Parked}}) {
		if after, err := p.Retry(t.Context(), e.QuarantineID()); err != nil || after.State != ledger.Settled {
			t.Errorf("retry after the rename: %v, %v", after.State, err)
		}
	}
	w.Server.Renumber("Inbox")
	if s := once(t, start(t, w, dir, renamed)); s.Filed != 0 || s.Duplicates != 3 {
		t.Errorf("after the rename and a new UIDVALIDITY: %+v", s)
	}
	judge(t, w, 0)
}

func TestRunFilesWhatArrivesAndStops(t *testing.T) {
	w := ingesttest.New()
	fill(w, 3)
	filed := make(chan struct{}, 10)
	dir := t.TempDir()
	p := start(t, w, dir, func(m *ingest.Mailbox) { m.Interval = 10 * time.Millisecond })
	p.Engine.Observe = func(ev ingest.Event) {
		if ev.Kind == ingest.Filed {
			filed <- struct{}{}
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- p.Run(ctx) }()
	for range 3 {
		<-filed
	}
	w.Server.Deliver("Inbox", mail(9))
	<-filed
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	judge(t, w, 0)
}

func TestMissingFolderKeepsTheSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := ingesttest.New()
		fill(w, 2)
		p := start(t, w, t.TempDir(), func(m *ingest.Mailbox) {
			m.Open = func() (sources.Source, error) { return w.Server.Open("Nowhere", "Inbox"), nil }
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- p.Run(ctx) }()
		time.Sleep(time.Hour)
		w.Server.Deliver("Inbox", mail(9))
		time.Sleep(2 * time.Minute)
		if s := p.Status()[0]; s.Filed != 2 || s.Error == "" {
			t.Errorf("%+v", s)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// A source that fails whole is left in peace for longer and longer, and taken up
// again.
func TestBackOff(t *testing.T) {
	for _, tt := range []struct {
		class     sources.Class
		least     int // polls in a day
		most      int
		afterward time.Duration
	}{
		{sources.Temporary, 90, 150, 20 * time.Minute},
		{sources.SignIn, 20, 40, 70 * time.Minute},
		{sources.Throttled, 90, 150, 20 * time.Minute},
	} {
		t.Run(tt.class.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := ingesttest.New()
				fill(w, 2)
				polls := 0
				w.Fault(func(step string) error {
					if step == "<folders" {
						polls++
						return sources.Errorf(tt.class, "no")
					}
					return nil
				})
				p := start(t, w, t.TempDir(), nil)
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error)
				go func() { done <- p.Run(ctx) }()
				time.Sleep(24 * time.Hour)
				synctest.Wait()
				if polls < tt.least || polls > tt.most {
					t.Errorf("%d polls in a day, want %d to %d", polls, tt.least, tt.most)
				}
				w.Fault(nil)
				time.Sleep(tt.afterward)
				synctest.Wait()
				judge(t, w, 0)
				cancel()
				if err := <-done; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestRunWithoutMailboxesWaits(t *testing.T) {
	e := ingest.New(ingest.Config{Log: zap.NewNop(), Quarantine: quarantine.Open(t.TempDir()), Ledger: ledger.NewMemory(), Repository: ingesttest.New().Repository})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := e.Run(ctx); err != nil || ctx.Err() == nil {
		t.Errorf("it ended before its context: %v", err)
	}
}

func TestStopFinishesWhatIsInHand(t *testing.T) {
	for _, moment := range []string{"<body Inbox 1/20", ">begin Inbox", ">cursor Inbox", "<fetch Inbox", "<prepare Inbox 1/7", "<put"} {
		t.Run(moment, func(t *testing.T) { stopAt(t, moment) })
	}
}

func stopAt(t *testing.T, moment string) {
	w := ingesttest.New()
	fill(w, 50)
	ctx, cancel := context.WithCancel(t.Context())
	w.Fault(func(step string) error {
		if step == moment {
			cancel()
		}
		return nil
	})
	dir := t.TempDir()
	p := start(t, w, dir, nil)
	if err := p.Run(ctx); err != nil {
		t.Error(err)
	}
	for e := range w.Ledger.Entries(t.Context(), ledger.Query{}) {
		if e.State == ledger.Begun && e.Cause == "" {
			t.Errorf("an orderly stop leaves %s as if the process had died", e.Key)
		}
	}
	w.Fault(nil)
	once(t, start(t, w, dir, nil))
	judge(t, w, 0)
}

func TestPoisonIsFoundOut(t *testing.T) {
	w := ingesttest.New()
	fill(w, 5)
	dir := t.TempDir()
	change := func(m *ingest.Mailbox) { m.Parallel = 1 }
	for range 10 {
		p := start(t, w, dir, change)
		w.Fault(func(step string) error {
			if step == "<prepare Inbox 1/3" {
				w.DieAt(1) // the next step is the last
			}
			return nil
		})
		once(t, p)
	}
	w.Fault(nil)
	judge(t, w, 1)
	states := map[ledger.State]int{}
	for e := range w.Ledger.Entries(t.Context(), ledger.Query{}) {
		states[e.State]++
	}
	if states[ledger.Parked] != 1 || states[ledger.Settled] != 4 {
		t.Errorf("%v", states)
	}
}

func TestUnknownName(t *testing.T) {
	p := start(t, ingesttest.New(), t.TempDir(), nil)
	if _, err := p.Once(t.Context(), "nobody"); err == nil || !strings.Contains(err.Error(), `"nobody"`) {
		t.Error(err)
	}
}

// A stop while it begins is a stop like any other.
func TestStopWhileItBegins(t *testing.T) {
	w := ingesttest.New()
	fill(w, 2)
	p := start(t, w, t.TempDir(), func(m *ingest.Mailbox) { m.Formerly = []string{"old"} })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.Run(ctx); err != nil {
		t.Error(err)
	}
}
