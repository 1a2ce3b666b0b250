package sourcetest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"postroom/sources"
)

var lifeTests = map[string]func(*testing.T, Server){
	"Life/Refused":        testRefused,
	"Life/Concurrent":     testConcurrent,
	"Life/Close":          testClose,
	"Life/CloseDuring":    testCloseDuringFetch,
	"Life/EndedContext":   testEndedContext,
	"Life/Wait":           testWait,
	"Life/WaitCancelled":  testWaitCancelled,
	"Life/WaitGivesWay":   testWaitGivesWay,
	"Life/WaitMissedMail": testWaitMissedMail,
	"Life/Probe":          testProbe,
	"Life/ProbeRefused":   testProbeRefused,
	"Life/LostConnection": testLostConnection,
}

func testRefused(t *testing.T, server Server) {
	refuser, ok := server.(Refuser)
	if !ok {
		return
	}
	source, secret := refuser.OpenRefused(t, Setup{})
	defer source.Close()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	inbox := sources.Folder{ID: sources.Inbox, Path: sources.Inbox}
	_, err := source.Folders(ctx)
	_, listErr := source.List(ctx, inbox, "")
	for _, err := range []error{err, listErr} {
		if sources.ClassOf(err) != sources.SignIn {
			t.Errorf("error %v has class %v, want sign-in", err, sources.ClassOf(err))
		}
		if err != nil && strings.Contains(err.Error(), secret) {
			t.Error("an error holds the secret")
		}
		if sources.RemedyOf(err) == "" {
			t.Errorf("error %v has no remedy", err)
		}
	}
}

func testConcurrent(t *testing.T, server Server) {
	w := enter(t, server, Setup{})
	w.deliver(sources.Inbox, 40)
	refs, _ := w.list(w.inbox, "")
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			switch i % 4 {
			case 0:
				listing, err := w.source.List(w.ctx, w.inbox, "")
				if err != nil {
					t.Error(err)
					return
				}
				for {
					page, err := listing.Next(w.ctx, 5)
					if err != nil {
						t.Error(err)
					}
					if len(page) == 0 {
						break
					}
				}
			case 1, 2:
				var c collector
				if err := w.source.Fetch(w.ctx, w.inbox, refs, c.deliver); err != nil || len(c.arrivals) != len(refs) {
					t.Errorf("fetch: %d of %d messages, %v", len(c.arrivals), len(refs), err)
				}
			case 3:
				if !can(server, sources.MarkRead) {
					return
				}
				err := w.source.Settle(w.ctx, w.inbox, keysOf(refs), sources.Action{Verb: sources.MarkRead}, func(key string, err error) {
					if err != nil {
						t.Errorf("settle %s: %v", key, err)
					}
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
}

func testClose(t *testing.T, server Server) {
	w := enter(t, server, Setup{})
	w.deliver(sources.Inbox, 1)
	refs, _ := w.list(w.inbox, "")
	if err := w.source.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := w.source.Folders(w.ctx); err == nil {
		t.Error("folders succeeds on a closed source")
	}
	if _, err := w.source.List(w.ctx, w.inbox, ""); err == nil {
		t.Error("list succeeds on a closed source")
	}
	var c collector
	if err := w.source.Fetch(w.ctx, w.inbox, refs, c.deliver); err == nil {
		t.Error("fetch succeeds on a closed source")
	}
	if err := w.source.Close(); err != nil {
		t.Errorf("closing again: %v", err)
	}
}

func testCloseDuringFetch(t *testing.T, server Server) {
	w := enter(t, server, Setup{})
	server.Deliver(t, sources.Inbox, Mail{
		Raw: []byte("Subject: large\r\n\r\n" + strings.Repeat("0123456789\r\n", 1_000_000)), Received: time.Now().Add(-time.Hour),
	})
	refs, _ := w.list(w.inbox, "")
	var closed sync.WaitGroup
	defer closed.Wait()
	closing := make(chan struct{})
	err := returnsSoon(t, func(started func()) error {
		return w.source.Fetch(w.ctx, w.inbox, refs, func(_ sources.Ref, m *sources.Message) error {
			if m.Err != nil {
				return m.Err
			}
			buf := make([]byte, 100)
			for {
				if _, err := m.Body.Read(buf); err != nil {
					return fmt.Errorf("read: %w", err)
				}
				started()
				<-closing
			}
		})
	}, func() {
		close(closing)
		closed.Go(func() {
			if err := w.source.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		})
	})
	if err == nil {
		t.Error("a fetch under way when the source is closed returns nil")
	}
}

func testEndedContext(t *testing.T, server Server) {
	w := enter(t, server, Setup{})
	w.deliver(sources.Inbox, 1)
	refs, _ := w.list(w.inbox, "")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := w.source.Folders(ctx); err == nil {
		t.Error("folders succeeds with an ended context")
	}
	if _, err := w.source.List(ctx, w.inbox, ""); err == nil {
		t.Error("list succeeds with an ended context")
	}
	var c collector
	if err := w.source.Fetch(ctx, w.inbox, refs, c.deliver); err == nil {
		t.Error("fetch succeeds with an ended context")
	}
	// The source is as good as before.
	if again, _ := w.list(w.inbox, ""); len(again) != 1 {
		t.Errorf("then %d messages are listed", len(again))
	}
}

// testWait delivers while Wait is, or soon will be, under way.
func testWait(t *testing.T, server Server) {
	w := enter(t, server, Setup{})
	waiter, ok := w.source.(sources.Waiter)
	if !ok {
		return
	}
	_, cursor := w.list(w.inbox, "")
	result := make(chan error, 1)
	go func() { result <- waiter.Wait(w.ctx, w.inbox) }()
	w.deliver(sources.Inbox, 1)
	begin := time.Now()
	deadline := time.After(limit)
	for {
		select {
		case err := <-result:
			if err != nil {
				t.Fatalf("wait: %v", err)
			}
			if refs, _ := w.list(w.inbox, cursor); len(refs) == 1 {
				if took := time.Since(begin); took > 2*time.Second {
					t.Errorf("new mail was told of after %v", took)
				}
				return
			}
			go func() { result <- waiter.Wait(w.ctx, w.inbox) }()
		case <-deadline:
			t.Fatal("wait does not tell of new mail")
		}
	}
}

// testWaitMissedMail delivers between a listing and Wait.
func testWaitMissedMail(t *testing.T, server Server) {
	w := enter(t, server, Setup{})
	waiter, ok := w.source.(sources.Waiter)
	if !ok {
		return
	}
	w.list(w.inbox, "")
	w.deliver(sources.Inbox, 1)
	begin := time.Now()
	if err := waiter.Wait(w.ctx, w.inbox); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begin); took > 2*time.Second {
		t.Errorf("mail that came before the call was told of after %v", took)
	}
}

func testWaitCancelled(t *testing.T, server Server) {
	w := enter(t, server, Setup{})
	waiter, ok := w.source.(sources.Waiter)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(w.ctx, 300*time.Millisecond)
	defer cancel()
	begin := time.Now()
	err := waiter.Wait(ctx, w.inbox)
	if took := time.Since(begin); took > soon+300*time.Millisecond {
		t.Errorf("wait returned %v after %v", err, took)
	}
}

func testWaitGivesWay(t *testing.T, server Server) {
	w := enter(t, server, Setup{Connections: 1})
	waiter, ok := w.source.(sources.Waiter)
	if !ok {
		return
	}
	w.deliver(sources.Inbox, 1)
	w.list(w.inbox, "")
	ctx, cancel := context.WithCancel(w.ctx)
	defer cancel()
	var waiting sync.WaitGroup
	waiting.Go(func() {
		for ctx.Err() == nil {
			if err := waiter.Wait(ctx, w.inbox); err != nil && ctx.Err() == nil {
				t.Errorf("wait: %v", err)
				return
			}
		}
	})
	defer waiting.Wait()
	defer cancel()
	for range 5 {
		begin := time.Now()
		refs, _ := w.list(w.inbox, "")
		if len(refs) != 1 || time.Since(begin) > soon {
			t.Fatalf("beside wait, a listing of %d messages takes %v", len(refs), time.Since(begin))
		}
	}
}

func testProbe(t *testing.T, server Server) {
	for _, verb := range append([]sources.Verb{sources.Keep}, server.Abilities().Verbs...) {
		source := server.Open(t, Setup{AfterFiling: verb, FiledFolder: filed})
		prober, ok := source.(sources.Prober)
		if !ok {
			source.Close()
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		server.Deliver(t, sources.Inbox, Mail{Raw: letter(0), Received: time.Now().Add(-time.Hour)})
		before := server.Snapshot(t, sources.Inbox)
		var names []string
		prober.Probe(ctx, func(step sources.Step) {
			names = append(names, step.Name)
			if step.Err != nil {
				t.Errorf("%s: step %s: %v", verb, step.Name, step.Err)
			}
		})
		cancel()
		if !slices.Contains(names, "sign-in") || names[0] != "name" {
			t.Errorf("%s: steps %v", verb, names)
		}
		after := server.Snapshot(t, sources.Inbox)
		if len(after) != len(before) || slices.ContainsFunc(after, func(m Mail) bool { return m.Seen || m.Deleted }) {
			t.Errorf("%s: the check has changed the mailbox", verb)
		}
		if err := source.Close(); err != nil {
			t.Error(err)
		}
	}
}

func testProbeRefused(t *testing.T, server Server) {
	refuser, ok := server.(Refuser)
	if !ok {
		return
	}
	source, secret := refuser.OpenRefused(t, Setup{})
	defer source.Close()
	prober, ok := source.(sources.Prober)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	var last sources.Step
	failures := 0
	prober.Probe(ctx, func(step sources.Step) {
		last = step
		if step.Err != nil {
			failures++
		}
		if strings.Contains(fmt.Sprint(step), secret) {
			t.Error("a step holds the secret")
		}
	})
	if last.Name != "sign-in" || sources.ClassOf(last.Err) != sources.SignIn || failures != 1 {
		t.Errorf("the last step is %+v of %d failures, want sign-in refused", last, failures)
	}
}

// testLostConnection loses the connection between two calls.
func testLostConnection(t *testing.T, server Server) {
	cutter, ok := server.(Cutter)
	if !ok {
		return
	}
	source, heal := cutter.OpenCut(t, Setup{}, -1)
	defer source.Close()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	for range 3 {
		if _, err := source.Folders(ctx); err != nil {
			t.Fatalf("after a connection was lost between calls: %v", err)
		}
		heal()
	}
}
