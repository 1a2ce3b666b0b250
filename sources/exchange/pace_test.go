package exchange_test

import (
	"context"
	"io"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"postroom/internal/graph"
	"postroom/internal/graphtest"
	"postroom/sources"
	"postroom/sources/exchange"
	"postroom/sources/sourcetest"
)

// wire carries requests to a stand-in within the process, each with the latency
// of a round trip, and counts for how long how many were under way.
type wire struct {
	server  *graphtest.Server
	latency time.Duration

	mu     sync.Mutex
	busy   int
	since  time.Time
	lasted map[int]time.Duration // by the number under way
}

// now notes that the number of requests under way changes.
func (w *wire) now(by int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.since.IsZero() {
		w.lasted[w.busy] += time.Since(w.since)
	}
	w.busy, w.since = w.busy+by, time.Now()
}

// RoundTrip implements [http.RoundTripper].
func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	w.now(1)
	select {
	case <-time.After(w.latency):
	case <-r.Context().Done():
		w.now(-1)
		return nil, r.Context().Err()
	}
	body, in := io.Pipe()
	answer := &reply{header: make(http.Header), body: in, began: make(chan struct{})}
	if r.Body == nil {
		r.Body = http.NoBody
	}
	go func() {
		w.server.ServeHTTP(answer, r)
		answer.WriteHeader(http.StatusOK)
		w.now(-1)
		in.Close()
	}()
	<-answer.began
	return &http.Response{StatusCode: answer.status, Header: answer.header, Body: body, ContentLength: -1, Request: r}, nil
}

type reply struct {
	header http.Header
	body   *io.PipeWriter
	once   sync.Once
	began  chan struct{}
	status int
}

func (a *reply) Header() http.Header { return a.header }
func (a *reply) WriteHeader(status int) {
	a.once.Do(func() {
		a.status = status
		close(a.began)
	})
}
func (a *reply) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(p)
}

// TestPace: as long as there are messages to fetch, four requests are under way
// nearly all the time, although each message has to be handed on and each chunk
// be recorded. The time is that of a clock which stands still while anything is
// at work.
func TestPace(t *testing.T) {
	const (
		messages = 5000
		latency  = 50 * time.Millisecond
		handOn   = 2 * time.Millisecond  // after a message has been read
		record   = 20 * time.Millisecond // a chunk, before it is fetched
		chunk    = 256
	)
	m := newMailbox(t, graphtest.Options{Limits: graphtest.Limits{Requests: 1 << 30}})
	m.fill(messages)
	synctest.Test(t, func(t *testing.T) {
		w := &wire{server: m.server, latency: latency, lasted: make(map[int]time.Duration)}
		cfg := m.config(sourcetest.Setup{})
		cfg.Clients = &graph.Clients{Transport: w}
		source, err := exchange.Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if n, err := pull(t.Context(), source, chunk, handOn, record); n != messages || err != nil {
			t.Fatalf("%d messages, %v", n, err)
		}
		took := time.Since(began)
		if err := source.Close(); err != nil {
			t.Error(err)
		}
		if w.lasted[5] > 0 {
			t.Errorf("five at once for %v", w.lasted[5])
		}
		idle := took - w.lasted[4]
		t.Logf("%d messages in %v, %.1f a second, fewer than four requests under way for %v (%.1f %%): %v",
			messages, took, messages/took.Seconds(), idle, 100*idle.Seconds()/took.Seconds(), w.lasted)
		if idle > took*4/100 || messages/took.Seconds() < 76 {
			t.Error("that is too little")
		}
	})
}

// pull handles what is in the inbox as the engine does.
func pull(ctx context.Context, source *exchange.Source, chunk int, handOn, record time.Duration) (n int, err error) {
	folders, err := source.Folders(ctx)
	if err != nil {
		return 0, err
	}
	listing, err := source.List(ctx, folders[0], "")
	if err != nil {
		return 0, err
	}
	var mu sync.Mutex
	for {
		refs, err := listing.Next(ctx, chunk)
		if err != nil || len(refs) == 0 {
			return n, err
		}
		time.Sleep(record)
		err = source.Fetch(ctx, folders[0], refs, func(_ sources.Ref, m *sources.Message) error {
			if m.Err != nil {
				return m.Err
			}
			_, err := io.Copy(io.Discard, m.Body)
			time.Sleep(handOn)
			mu.Lock()
			defer mu.Unlock()
			n++
			return err
		})
		if err != nil {
			return n, err
		}
	}
}

// TestPatience: while the server asks for patience nothing is sent that was not on
// its way already. TestFaults cannot tell where the machine itself is slow.
func TestPatience(t *testing.T) {
	const messages, latency = 400, 50 * time.Millisecond
	for seed := range uint64(6) {
		m := newMailbox(t, graphtest.Options{Seed: seed, Limits: graphtest.Limits{Grace: latency}})
		m.fill(messages)
		m.server.SetPlan(graphtest.Plan{Seed: seed, Rate: 0.03, InRow: 1, Kinds: []graphtest.FaultKind{graphtest.FaultThrottle, graphtest.FaultThrottleDate, graphtest.FaultBusy}})
		synctest.Test(t, func(t *testing.T) {
			cfg := m.config(sourcetest.Setup{})
			cfg.PageSize, cfg.Block = 50, 150
			cfg.Clients = &graph.Clients{Transport: &wire{server: m.server, latency: latency, lasted: make(map[int]time.Duration)}}
			source, err := exchange.Open(cfg)
			if err != nil {
				t.Fatal(err)
			}
			if n, err := pull(t.Context(), source, 64, time.Millisecond, time.Millisecond); n != messages || err != nil {
				t.Errorf("seed %d: %d messages, %v", seed, n, err)
			}
			if err := source.Close(); err != nil {
				t.Error(err)
			}
		})
		refused := 0
		for _, r := range m.server.Requests() {
			if r.Fault != "" {
				refused++
			}
		}
		if early := m.server.Violations(); len(early) > 0 || refused < 4 {
			t.Errorf("seed %d: %d refusals, requests before their time: %v", seed, refused, early)
		}
		if n := m.server.MaxConcurrency(); n > 4 {
			t.Errorf("%d requests at once", n)
		}
	}
}
