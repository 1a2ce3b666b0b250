package ingest_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"postroom/ingest"
	"postroom/ingest/ingesttest"
	"postroom/ingest/ledger"
	"postroom/sources"
	"postroom/store"
)

// altered is a source with a part replaced.
type altered struct {
	sources.Source
	wait   func(context.Context) error
	settle func(context.Context, sources.Folder, []string, sources.Action, func(string, error)) error
	list   func(context.Context, sources.Folder, sources.Cursor) (sources.Listing, error)
}

func (a *altered) List(ctx context.Context, f sources.Folder, c sources.Cursor) (sources.Listing, error) {
	if a.list != nil {
		return a.list(ctx, f, c)
	}
	return a.Source.List(ctx, f, c)
}

func (a *altered) Settle(ctx context.Context, f sources.Folder, keys []string, action sources.Action, done func(string, error)) error {
	if a.settle != nil {
		return a.settle(ctx, f, keys, action, done)
	}
	return a.Source.Settle(ctx, f, keys, action, done)
}

func (a *altered) Wait(ctx context.Context, _ sources.Folder) error { return a.wait(ctx) }

// losing is a ledger whose leases are lost at the first renewal.
type losing struct{ ledger.Ledger }

type lost struct{ ledger.Lease }

func (l losing) Lease(ctx context.Context, source, folder string, ttl time.Duration) (ledger.Lease, error) {
	in, err := l.Ledger.Lease(ctx, source, folder, ttl)
	return lost{in}, err
}

func (lost) Renew(context.Context) error { return ledger.ErrFenced }

func TestLostLeaseEndsThePoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := ingesttest.New()
		fill(w, 3)
		p := start(t, w, t.TempDir(), func(m *ingest.Mailbox) {
			m.Open = func() (sources.Source, error) {
				src := w.Server.Open("Inbox")
				return &altered{Source: src, list: func(ctx context.Context, f sources.Folder, c sources.Cursor) (sources.Listing, error) {
					<-ctx.Done()
					return nil, ctx.Err()
				}}, nil
			}
		})
		p.Ledger = losing{p.Ledger}
		done := make(chan ingest.Summary)
		go func() { done <- once(t, p) }()
		select {
		case s := <-done:
			if !strings.Contains(s.Error, "lease was lost") {
				t.Errorf("%+v", s)
			}
		case <-time.After(time.Hour):
			panic("a poll whose lease was lost does not end")
		}
	})
}

func TestHalfQuarantinedMessageHoldsUpNothing(t *testing.T) {
	for _, left := range []string{".eml", ".json"} {
		w := ingesttest.New()
		fill(w, 3)
		w.Repository.Refuse(func(d *store.Document) bool { return d.Title == "Order 1" })
		dir := t.TempDir()
		once(t, start(t, w, dir, nil))
		id := (&ledger.Entry{Source: "orders", Folder: "Inbox", Key: "1/1"}).QuarantineID()
		for _, ext := range []string{".eml", ".json"} {
			if ext != left {
				if err := os.Remove(filepath.Join(dir, "quarantine", id+ext)); err != nil {
					t.Fatal(err)
				}
			}
		}
		w.Repository.Refuse(nil)
		p := start(t, w, dir, nil)
		if e, err := p.Retry(t.Context(), id); err != nil || e.State != ledger.Settled {
			t.Errorf("with only %s: %s, %v", left, e.State, err)
		}
		w.Server.Deliver("Inbox", mail(99))
		if s := once(t, start(t, w, dir, nil)); s.Filed != 1 {
			t.Errorf("with only %s: %+v", left, s)
		}
		judge(t, w, 0)
	}
}

func TestDamagedQuarantineIsNeverFiled(t *testing.T) {
	for _, gone := range []bool{false, true} {
		w := ingesttest.New()
		fill(w, 3)
		w.Repository.Refuse(func(d *store.Document) bool { return d.Title == "Order 1" })
		dir := t.TempDir()
		change := func(m *ingest.Mailbox) { m.After = sources.Action{Verb: sources.Delete} }
		once(t, start(t, w, dir, change))
		id := (&ledger.Entry{Source: "orders", Folder: "Inbox", Key: "1/1"}).QuarantineID()
		if err := os.WriteFile(filepath.Join(dir, "quarantine", id+".eml"), []byte("Subject: Order 1\r\n\r\nother\r\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		w.Repository.Refuse(nil)
		want, missing := ledger.Settled, 0
		if gone {
			w.Server.Remove("Inbox", "1/1")
			want, missing = ledger.Parked, 1
		}
		p := start(t, w, dir, change)
		if e, err := p.Retry(t.Context(), id); err != nil || e.State != want {
			t.Errorf("gone %v: %s %q, %v", gone, e.State, e.Cause, err)
		}
		judge(t, w, missing)
	}
}

func TestOutageIsNoDeath(t *testing.T) {
	w := ingesttest.New()
	w.Server.Deliver("Inbox", mail(1))
	w.Server.Deliver("Sub", mail(2))
	dir := t.TempDir()
	var first atomic.Bool
	w.Fault(func(step string) error {
		if step == "<put" && first.CompareAndSwap(false, true) {
			return fmt.Errorf("spool: %w", store.ErrContent) // leaves it prepared
		}
		return nil
	})
	once(t, start(t, w, dir, func(m *ingest.Mailbox) { m.Parallel = 1 }))
	w.Fault(func(step string) error {
		if step == "<put" || step == "<find" {
			return errors.New("input/output error")
		}
		return nil
	})
	for range 12 {
		once(t, start(t, w, dir, nil))
	}
	w.Fault(nil)
	if s := once(t, start(t, w, dir, nil)); !s.OK() {
		t.Errorf("%+v", s)
	}
	judge(t, w, 0)
}

func TestWatchBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := ingesttest.New()
		fill(w, 3)
		var puts atomic.Int64
		w.Fault(func(step string) error {
			if step == "<put" {
				puts.Add(1)
				return errors.New("no space left on device")
			}
			return nil
		})
		p := start(t, w, t.TempDir(), func(m *ingest.Mailbox) {
			m.Watch, m.Parallel = true, 1
			m.Open = func() (sources.Source, error) {
				return &altered{Source: w.Server.Open("Inbox"), wait: func(context.Context) error { return nil }}, nil
			}
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if err := p.Run(ctx); err != nil {
			t.Error(err)
		}
		if n := puts.Load(); n == 0 || n > 500 {
			t.Errorf("%d tries in an hour of a full disk", n)
		}
	})
}

func TestWakeUpsKeepOtherFoldersOnSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := ingesttest.New()
		fill(w, 2)
		p := start(t, w, t.TempDir(), func(m *ingest.Mailbox) {
			m.Watch, m.Interval = true, 10*time.Minute
			m.Open = func() (sources.Source, error) {
				return &altered{Source: w.Server.Open("Inbox", "Sub", "Missing"), wait: func(ctx context.Context) error {
					pause(ctx, 8*time.Minute)
					return ctx.Err()
				}}, nil
			}
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- p.Run(ctx) }()
		time.Sleep(time.Minute)
		w.Server.Deliver("Sub", mail(77))
		time.Sleep(15 * time.Minute)
		judge(t, w, 0)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// An import of another folder takes long; the watched one is filed meanwhile.
func TestWatchedFolderIsFiledDuringAnImport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := ingesttest.New()
		fill(w, 2)
		arrived := make(chan struct{})
		p := start(t, w, t.TempDir(), func(m *ingest.Mailbox) {
			m.Watch = true
			m.Open = func() (sources.Source, error) {
				src := w.Server.Open("Inbox", "Sub")
				return &altered{Source: src,
					list: func(ctx context.Context, f sources.Folder, c sources.Cursor) (sources.Listing, error) {
						if f.Path == "Sub" {
							pause(ctx, 5*time.Hour)
						}
						return src.List(ctx, f, c)
					},
					wait: func(ctx context.Context) error {
						select {
						case <-arrived:
						case <-ctx.Done():
						}
						return ctx.Err()
					}}, nil
			}
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- p.Run(ctx) }()
		time.Sleep(time.Hour)
		w.Server.Deliver("Inbox", mail(9))
		close(arrived)
		time.Sleep(2 * time.Second)
		if s := p.Status()[0]; s.Filed != 2 { // the first of Inbox, and this one
			t.Errorf("%+v", s)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestOneRefusedDispositionHoldsUpNothing(t *testing.T) {
	w := ingesttest.New()
	fill(w, 600)
	dir := t.TempDir()
	refuse := true
	change := func(m *ingest.Mailbox) {
		m.After = sources.Action{Verb: sources.MarkRead}
		m.Open = func() (sources.Source, error) {
			src := w.Server.Open("Inbox", "Sub")
			return &altered{Source: src, settle: func(ctx context.Context, f sources.Folder, keys []string, a sources.Action, done func(string, error)) error {
				return src.Settle(ctx, f, keys, a, func(k string, err error) {
					if refuse && k == "1/7" {
						err = sources.Errorf(sources.Permanent, "read-only message")
					}
					done(k, err)
				})
			}}, nil
		}
	}
	if s := once(t, start(t, w, dir, change)); s.Filed != 600 || s.Failed != 1 || !strings.Contains(s.Error, "read-only message") {
		t.Errorf("%+v", s)
	}
	refuse = false
	if s := once(t, start(t, w, dir, change)); s.Filed != 0 || !s.OK() {
		t.Errorf("%+v", s)
	}
	judge(t, w, 0)
}

// A folder to move to that cannot be written to is no reason to leave new mail
// unfiled.
func TestDispositionThatFailsHoldsUpNothingNew(t *testing.T) {
	w := ingesttest.New()
	fill(w, 3)
	dir := t.TempDir()
	refuse := true
	change := func(m *ingest.Mailbox) {
		m.After = sources.Action{Verb: sources.Move, Target: "Filed"}
		m.Open = func() (sources.Source, error) {
			src := w.Server.Open("Inbox", "Sub")
			return &altered{Source: src, settle: func(ctx context.Context, f sources.Folder, keys []string, a sources.Action, done func(string, error)) error {
				if refuse {
					return sources.Errorf(sources.Temporary, "NO [SERVERBUG] internal error")
				}
				return src.Settle(ctx, f, keys, a, done)
			}}, nil
		}
	}
	for run := range 3 {
		w.Server.Deliver("Inbox", mail(100+run))
		s := once(t, start(t, w, dir, change))
		if got := len(w.Repository.Documents()); got != 4+run || !strings.Contains(s.Error, "SERVERBUG") {
			t.Errorf("run %d: %d documents, %+v", run, got, s)
		}
	}
	refuse = false
	if s := once(t, start(t, w, dir, change)); s.Filed != 0 || !s.OK() {
		t.Errorf("%+v", s)
	}
	judge(t, w, 0)
}

func TestPreparedNeverFallsBack(t *testing.T) {
	w := ingesttest.New()
	w.Server.Deliver("Sub", mail(0))
	key := w.Server.Deliver("Inbox", mail(1))
	dir := t.TempDir()
	var failed atomic.Bool
	w.Fault(func(step string) error {
		if step == "<advance filed Inbox "+key && failed.CompareAndSwap(false, true) {
			return errors.New("database or disk is full")
		}
		return nil
	})
	change := func(m *ingest.Mailbox) { m.After = sources.Action{Verb: sources.MarkRead} }
	once(t, start(t, w, dir, change))
	if e, err := w.Ledger.Entry(t.Context(), "orders", "Inbox", key); err != nil || e.State != ledger.Prepared || e.DocumentID == "" {
		t.Errorf("%s, %v", e.State, err)
	}
	w.Server.Remove("Inbox", key) // somebody moves it
	once(t, start(t, w, dir, change))
	if e, err := w.Ledger.Entry(t.Context(), "orders", "Inbox", key); err != nil || e.State != ledger.Settled {
		t.Errorf("%s, %v", e.State, err)
	}
	judge(t, w, 0)
}

func TestTooLargeIsQuarantinedAndStays(t *testing.T) {
	w := ingesttest.New()
	w.Server.Deliver("Inbox", mail(1)+strings.Repeat("x", 1000))
	w.Server.Deliver("Inbox", mail(2))
	w.Server.Deliver("Sub", mail(3))
	dir := t.TempDir()
	change := func(m *ingest.Mailbox) {
		m.After = sources.Action{Verb: sources.Delete}
		m.FailedFolder = ingesttest.FailedFolder
	}
	p := start(t, w, dir, change)
	p.MaxSize = 500
	if s := once(t, p); s.Filed != 2 || s.Quarantined != 1 {
		t.Errorf("%+v", s)
	}
	if n := len(w.Server.Contents("Inbox")); n != 1 {
		t.Errorf("%d messages left: what was not taken must stay", n)
	}
	id := (&ledger.Entry{Source: "orders", Folder: "Inbox", Key: "1/1"}).QuarantineID()
	if r, err := p.quarantine.Record(id); err != nil || !strings.Contains(r.Reason, "larger than") {
		t.Errorf("%+v, %v", r, err)
	}
	p = start(t, w, dir, change)
	if e, err := p.Retry(t.Context(), id); err != nil || e.State != ledger.Settled {
		t.Errorf("retry without the limit: %s, %v", e.State, err)
	}
	judge(t, w, 0)
}

func TestRenameAfterDeath(t *testing.T) {
	for n := 1; n < 80; n++ {
		w := ingesttest.New()
		fill(w, 2)
		dir := t.TempDir()
		p := start(t, w, dir, func(m *ingest.Mailbox) { m.Parallel = 1 })
		w.DieAt(n)
		once(t, p)
		died := w.Revive()
		renamed := func(m *ingest.Mailbox) { m.Name, m.Formerly = "incoming", []string{"orders"} }
		once(t, start(t, w, dir, renamed))
		once(t, start(t, w, dir, renamed))
		if err := w.Judge(0); err != nil {
			t.Fatalf("died at step %d: %v", n, err)
		}
		if !died {
			return
		}
	}
	t.Error("the run has no end")
}

// Discarding needs no source.
func TestDiscardOfARemovedSource(t *testing.T) {
	w := ingesttest.New()
	fill(w, 2)
	w.Repository.Refuse(func(d *store.Document) bool { return d.Title == "Order 1" })
	dir := t.TempDir()
	once(t, start(t, w, dir, nil))
	p := start(t, w, dir, func(m *ingest.Mailbox) { m.Name = "another" })
	id := (&ledger.Entry{Source: "orders", Folder: "Inbox", Key: "1/1"}).QuarantineID()
	if _, err := p.Retry(t.Context(), id); err == nil || !strings.Contains(err.Error(), "orders") {
		t.Errorf("retry: %v", err)
	}
	if e, err := p.Discard(t.Context(), id); err != nil || e.State != ledger.Discarded {
		t.Errorf("discard: %s, %v", e.State, err)
	}
}

func TestMessageNeverDeliveredIsGivenUpAfterHours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := ingesttest.New()
		fill(w, 4)
		w.Server.Withhold("1/2", true)
		// A day on which nothing works is no fault of any message.
		w.Fault(func(step string) error {
			if strings.HasPrefix(step, "<fetch") {
				return errors.New("connection reset")
			}
			return nil
		})
		var given time.Time
		p := start(t, w, t.TempDir(), func(m *ingest.Mailbox) { m.FailedFolder = ingesttest.FailedFolder })
		p.Observe = func(e ingest.Event) {
			if e.Kind == ingest.Quarantined {
				given = time.Now()
			}
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- p.Run(ctx) }()
		time.Sleep(24 * time.Hour)
		w.Fault(nil)
		well := time.Now()
		time.Sleep(time.Hour)
		if n := len(w.Repository.Documents()); n != 3 {
			t.Errorf("%d documents after an hour", n)
		}
		time.Sleep(12 * time.Hour)
		if took := given.Sub(well); took < 4*time.Hour || took > 10*time.Hour {
			t.Errorf("given up %v after the others were delivered", took)
		}
		id := (&ledger.Entry{Source: "orders", Folder: "Inbox", Key: "1/2"}).QuarantineID()
		if r, err := p.quarantine.Record(id); err != nil || !strings.Contains(r.Reason, "12 tries") || !strings.Contains(r.Reason, "does not deliver") {
			t.Errorf("%+v, %v", r, err)
		}
		if _, there := w.Server.Contents("Inbox")["1/2"]; !there {
			t.Error("it is not in its folder any more")
		}
		w.Server.Withhold("1/2", false)
		time.Sleep(2 * time.Hour)
		if n := len(w.Repository.Documents()); n != 3 {
			t.Errorf("%d documents: filed without being asked", n)
		}
		if e, err := p.Retry(ctx, id); err != nil || e.State != ledger.Settled {
			t.Errorf("%+v, %v", e, err)
		}
		judge(t, w, 0)
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestQuarantineIsSweptAtStart(t *testing.T) {
	w := ingesttest.New()
	fill(w, 3)
	w.Repository.Refuse(func(d *store.Document) bool { return d.Title == "Order 1" || d.Title == "Order 2" })
	dir := t.TempDir()
	once(t, start(t, w, dir, nil))
	id := func(folder, key string) string {
		return (&ledger.Entry{Source: "orders", Folder: folder, Key: key}).QuarantineID()
	}
	keep := func(folder, key, record string) {
		t.Helper()
		for ext, text := range map[string]string{".eml": "Subject: x\r\n\r\n", ".json": record} {
			if err := os.WriteFile(filepath.Join(dir, "quarantine", id(folder, key)+ext), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	w.Repository.Refuse(nil)
	if _, err := start(t, w, dir, nil).Retry(t.Context(), id("Inbox", "1/2")); err != nil {
		t.Fatal(err)
	}
	// Copies that a process left when it died just after filing.
	keep("Inbox", "1/2", "{}")
	keep("Sub", "1/1", `{"source": "orders", "folder_id": "Sub", "key": "1/1"}`)
	// Of a ledger that is lost.
	keep("Sub", "9/9", `{"source": "orders", "folder_id": "Sub", "key": "9/9"}`)
	p := start(t, w, dir, nil)
	once(t, p)
	ids, err := p.quarantine.IDs()
	want := []string{id("Inbox", "1/1"), id("Sub", "9/9")}
	slices.Sort(want)
	if err != nil || !slices.Equal(ids, want) {
		t.Errorf("%q, %v, want %q", ids, err, want)
	}
}
