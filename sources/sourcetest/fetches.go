package sourcetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"postroom/sources"
)

var fetchTests = map[string]func(*testing.T, Server){
	"Fetch/Many":          testFetchMany,
	"Fetch/Gone":          testFetchGone,
	"Fetch/BadKey":        testFetchBadKey,
	"Fetch/None":          testFetchNone,
	"Fetch/Twice":         testFetchSameRefTwice,
	"Fetch/DeliverFails":  testDeliverFails,
	"Fetch/Cut":           testFetchCut,
	"Fetch/Withheld":      testFetchWithheld,
	"Fetch/Cancelled":     testFetchCancelled,
	"Fetch/SlowConsumer":  testSlowConsumer,
	"Fetch/OneConnection": testFetchOneConnection,
}

func testFetchMany(t *testing.T, server Server) {
	w := enter(t, server, Setup{})
	served := w.deliver(sources.Inbox, 300)
	refs, _ := w.list(w.inbox, "")
	got := w.fetch(w.inbox, refs)
	if len(got) != len(served) {
		t.Fatalf("%d of %d messages delivered", len(got), len(served))
	}
	for i, ref := range refs {
		sameBytes(t, fmt.Sprintf("message %d", i), got[ref.Key].raw, served[i])
	}
}

func testFetchOneConnection(t *testing.T, server Server) {
	w := enter(t, server, Setup{Connections: 1})
	served := w.deliver(sources.Inbox, 200)
	refs, _ := w.list(w.inbox, "")
	if got := w.fetch(w.inbox, refs); len(got) != len(served) {
		t.Fatalf("%d of %d messages delivered", len(got), len(served))
	}
}

func testFetchGone(t *testing.T, server Server) {
	w := enter(t, server, Setup{})
	w.deliver(sources.Inbox, 5)
	refs, _ := w.list(w.inbox, "")
	server.Remove(t, sources.Inbox, 2)
	got := w.fetch(w.inbox, refs)
	for i, ref := range refs {
		a, ok := got[ref.Key]
		switch {
		case !ok:
			t.Errorf("message %d: not delivered", i)
		case i == 2 && sources.ClassOf(a.Err) != sources.Gone:
			t.Errorf("the removed message is delivered with %v, want an error of class gone", a.Err)
		case i != 2 && a.Err != nil:
			t.Errorf("message %d: %v", i, a.Err)
		}
	}
}

func testFetchBadKey(t *testing.T, server Server) {
	w := enter(t, server, Setup{})
	w.deliver(sources.Inbox, 1)
	refs, _ := w.list(w.inbox, "")
	bad := sources.Ref{Key: "no such key", Size: -1}
	got := w.fetch(w.inbox, append(refs, bad))
	if a, ok := got[bad.Key]; ok && a.Err == nil {
		t.Error("a key that no listing returned is delivered")
	}
	if a, ok := got[refs[0].Key]; !ok || a.Err != nil {
		t.Errorf("a bad key keeps the good one from being delivered: %v", a.Err)
	}
}

func testFetchNone(t *testing.T, server Server) {
	w := enter(t, server, Setup{})
	if got := w.fetch(w.inbox, nil); len(got) != 0 {
		t.Errorf("%d messages delivered, none was asked for", len(got))
	}
}

func testFetchSameRefTwice(t *testing.T, server Server) {
	w := enter(t, server, Setup{})
	w.deliver(sources.Inbox, 2)
	refs, _ := w.list(w.inbox, "")
	if got := w.fetch(w.inbox, append(refs, refs...)); len(got) != 2 {
		t.Errorf("%d messages delivered, want 2", len(got))
	}
}

func testDeliverFails(t *testing.T, server Server) {
	w := enter(t, server, Setup{})
	w.deliver(sources.Inbox, 100)
	refs, _ := w.list(w.inbox, "")
	full := errors.New("the disk is full")
	var (
		mu    sync.Mutex
		calls int
	)
	err := w.source.Fetch(w.ctx, w.inbox, refs, func(sources.Ref, *sources.Message) error {
		mu.Lock()
		defer mu.Unlock()
		calls++
		return full
	})
	if !errors.Is(err, full) {
		t.Errorf("fetch returns %v, want the error of deliver", err)
	}
	if calls > 20 {
		t.Errorf("deliver was called %d times after it had failed", calls-1)
	}
	if got := w.fetch(w.inbox, refs); len(got) != 100 {
		t.Errorf("then %d of 100 messages are delivered", len(got))
	}
}

func testFetchCut(t *testing.T, server Server) {
	cutter, ok := server.(Cutter)
	if !ok {
		return
	}
	raw := []byte("Subject: large\r\n\r\n" + strings.Repeat("0123456789\r\n", 50_000))
	start := time.Now().Add(-time.Hour)
	served := make([][]byte, 5)
	for i := range served {
		served[i] = server.Deliver(t, sources.Inbox, Mail{Raw: append(raw, byte('a'+i)), Received: start.Add(time.Duration(i) * time.Second)})
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*limit)
	defer cancel()
	all := enter(t, server, Setup{})
	refs, _ := all.list(all.inbox, "")
	for _, after := range []int64{100, 5_000, 600_000, 1_500_000} {
		source, heal := cutter.OpenCut(t, Setup{}, after)
		var c collector
		err := source.Fetch(ctx, all.inbox, refs, c.deliver)
		whole := 0
		for _, a := range c.arrivals {
			if a.Err != nil || a.readErr != nil {
				continue
			}
			whole++
			ok := false
			for _, want := range served {
				ok = ok || string(want) == string(a.raw)
			}
			if !ok {
				t.Errorf("cut after %d bytes: a message of %d bytes ended without an error", after, len(a.raw))
			}
		}
		if err == nil && whole < len(served) {
			t.Errorf("cut after %d bytes: fetch returns nil, and %d of %d messages arrived", after, whole, len(served))
		}
		heal()
		var healed collector
		if err := source.Fetch(ctx, all.inbox, refs, healed.deliver); err != nil {
			t.Errorf("after the connection is back: %v", err)
		}
		if len(healed.arrivals) != len(served) {
			t.Errorf("after the connection is back: %d of %d messages", len(healed.arrivals), len(served))
		}
		if err := source.Close(); err != nil {
			t.Error(err)
		}
	}
}

func testFetchWithheld(t *testing.T, server Server) {
	withholder, ok := server.(Withholder)
	if !ok {
		return
	}
	w := enter(t, server, Setup{})
	w.deliver(sources.Inbox, 5)
	refs, _ := w.list(w.inbox, "")
	release := withholder.Withhold(t, sources.Inbox, 1)
	got := w.fetch(w.inbox, refs)
	for i, ref := range refs {
		a, delivered := got[ref.Key]
		switch {
		case i != 1 && (!delivered || a.Err != nil):
			t.Errorf("message %d: delivered %v, %v", i, delivered, a.Err)
		case i == 1 && delivered && a.Err == nil:
			t.Error("the message withheld is delivered")
		case i == 1 && delivered && sources.ClassOf(a.Err) == sources.Gone:
			t.Error("the message withheld counts as gone")
		}
	}
	release()
	if a, ok := w.fetch(w.inbox, refs[1:2])[refs[1].Key]; !ok || a.Err != nil {
		t.Errorf("once released: delivered %v, %v", ok, a.Err)
	}
}

func testFetchCancelled(t *testing.T, server Server) {
	w := enter(t, server, Setup{})
	server.Deliver(t, sources.Inbox, Mail{
		Raw: []byte("Subject: large\r\n\r\n" + strings.Repeat("0123456789\r\n", 1_000_000)), Received: time.Now().Add(-time.Hour),
	})
	refs, _ := w.list(w.inbox, "")
	ctx, cancel := context.WithCancel(w.ctx)
	defer cancel()
	err := returnsSoon(t, func(started func()) error {
		return w.source.Fetch(ctx, w.inbox, refs, func(_ sources.Ref, m *sources.Message) error {
			if m.Err != nil {
				return m.Err
			}
			buf := make([]byte, 1000)
			for {
				if _, err := m.Body.Read(buf); err != nil {
					return err
				}
				started()
				<-ctx.Done()
			}
		})
	}, cancel)
	if err == nil {
		t.Error("fetch returns nil after its context has ended")
	}
	if got := w.fetch(w.inbox, refs); len(got) != 1 {
		t.Errorf("then %d messages are delivered, want 1", len(got))
	}
}

// testSlowConsumer reads one message slowly while other calls go on.
func testSlowConsumer(t *testing.T, server Server) {
	w := enter(t, server, Setup{})
	w.deliver(sources.Inbox, 70)
	refs, _ := w.list(w.inbox, "")
	var once sync.Once
	err := w.source.Fetch(w.ctx, w.inbox, refs, func(_ sources.Ref, m *sources.Message) error {
		var err error
		once.Do(func() {
			timer := time.NewTimer(300 * time.Millisecond)
			defer timer.Stop()
			<-timer.C
		})
		if m.Err != nil {
			err = m.Err
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
