package sourcetest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"
	"time"

	"postroom/sources"
)

// limit bounds every call that is expected to succeed.
const limit = 30 * time.Second

// soon is how long a call may take to return after its context has ended or
// its source has been closed.
const soon = 3 * time.Second

// Run tests a driver. newServer returns a server with an empty mailbox, which
// ends with the test.
func Run(t *testing.T, newServer func(t *testing.T) Server) {
	for _, group := range []map[string]func(*testing.T, Server){bodyTests, listTests, fetchTests, settleTests, folderTests, lifeTests} {
		for _, name := range sortedNames(group) {
			t.Run(name, func(t *testing.T) { group[name](t, newServer(t)) })
		}
	}
}

func sortedNames(group map[string]func(*testing.T, Server)) []string {
	var names []string
	for name := range group {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// world is a source at work on a server.
type world struct {
	*testing.T
	server Server
	source sources.Source
	ctx    context.Context
	inbox  sources.Folder
}

// enter opens a source of the server's inbox.
func enter(t *testing.T, server Server, setup Setup) *world {
	t.Helper()
	w := &world{T: t, server: server, source: server.Open(t, setup)}
	var cancel context.CancelFunc
	w.ctx, cancel = context.WithTimeout(context.Background(), limit)
	t.Cleanup(func() {
		cancel()
		if err := w.source.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	if len(setup.Folders) == 0 {
		w.inbox = w.folders()[0]
	}
	return w
}

// folders returns the source's folders, at least one.
func (w *world) folders() []sources.Folder {
	w.Helper()
	folders, err := w.source.Folders(w.ctx)
	if err != nil {
		w.Fatalf("folders: %v", err)
	}
	if len(folders) == 0 {
		w.Fatal("folders: none")
	}
	return folders
}

// list returns all messages after the cursor, and the cursor after them.
func (w *world) list(folder sources.Folder, after sources.Cursor) ([]sources.Ref, sources.Cursor) {
	w.Helper()
	listing, err := w.source.List(w.ctx, folder, after)
	if err != nil {
		w.Fatalf("list: %v", err)
	}
	return w.rest(listing), listing.Cursor(nil)
}

// rest returns what a listing has left, in pages of seven.
func (w *world) rest(listing sources.Listing) []sources.Ref {
	w.Helper()
	var all []sources.Ref
	for {
		refs, err := listing.Next(w.ctx, 7)
		if err != nil {
			w.Fatalf("next: %v", err)
		}
		if len(refs) == 0 {
			return all
		}
		if len(refs) > 7 {
			w.Fatalf("next: %d messages, asked for at most 7", len(refs))
		}
		all = append(all, refs...)
	}
}

// arrival is a message that was delivered by Fetch.
type arrival struct {
	sources.Ref
	sources.Message
	raw []byte
	// readErr is the error of Body.
	readErr error
}

// collector is a deliver function that keeps what arrives.
type collector struct {
	mu       sync.Mutex
	arrivals map[string]arrival
	twice    []string
	// then, if set, is called for each message, after it has been read.
	then func(arrival) error
}

func (c *collector) deliver(ref sources.Ref, m *sources.Message) error {
	a := arrival{Ref: ref, Message: *m}
	if m.Err == nil {
		a.raw, a.readErr = io.ReadAll(m.Body)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.arrivals == nil {
		c.arrivals = make(map[string]arrival)
	}
	if _, ok := c.arrivals[ref.Key]; ok {
		c.twice = append(c.twice, ref.Key)
	}
	c.arrivals[ref.Key] = a
	if c.then != nil {
		return c.then(a)
	}
	return a.readErr
}

// fetch fetches the messages, which must succeed, and each arrive at most once.
func (w *world) fetch(folder sources.Folder, refs []sources.Ref) map[string]arrival {
	w.Helper()
	var c collector
	if err := w.source.Fetch(w.ctx, folder, refs, c.deliver); err != nil {
		w.Fatalf("fetch: %v", err)
	}
	if len(c.twice) > 0 {
		w.Fatalf("fetch: delivered twice: %v", c.twice)
	}
	return c.arrivals
}

// settle applies the action, which must succeed for every key.
func (w *world) settle(folder sources.Folder, keys []string, action sources.Action) {
	w.Helper()
	var told []string
	err := w.source.Settle(w.ctx, folder, keys, action, func(key string, err error) {
		if err != nil {
			w.Errorf("settle %s: %v", key, err)
		}
		told = append(told, key)
	})
	if err != nil {
		w.Fatalf("settle: %v", err)
	}
	slices.Sort(told)
	want := slices.Sorted(slices.Values(keys))
	if !slices.Equal(told, want) {
		w.Fatalf("settle: done for %v, want %v", told, want)
	}
}

// deliver puts n small messages into the inbox and returns what the server
// hands out for them.
func (w *world) deliver(folder string, n int) [][]byte {
	w.Helper()
	start := time.Now().Add(-24 * time.Hour).Truncate(time.Second)
	earlier := len(w.server.Snapshot(w.T, folder))
	var served [][]byte
	for i := earlier; i < earlier+n; i++ {
		served = append(served, w.server.Deliver(w.T, folder, Mail{Raw: letter(i), Received: start.Add(time.Duration(i) * time.Second)}))
	}
	return served
}

// letter returns a small message.
func letter(i int) []byte {
	return fmt.Appendf(nil, "From: sender@example.com\r\nTo: user@example.com\r\nSubject: letter %d\r\n"+
		"Message-ID: <%d@example.com>\r\n\r\nThis is letter %d.\r\n", i, i, i)
}

func keysOf(refs []sources.Ref) []string {
	keys := make([]string, len(refs))
	for i, ref := range refs {
		keys[i] = ref.Key
	}
	return keys
}

// sameBytes fails the test with the place of the first difference.
func sameBytes(t *testing.T, what string, got, want []byte) {
	t.Helper()
	if bytes.Equal(got, want) {
		return
	}
	i := 0
	for i < len(got) && i < len(want) && got[i] == want[i] {
		i++
	}
	from := max(0, i-20)
	t.Errorf("%s: %d bytes, want %d; the first difference is at %d: got %q, want %q", what, len(got), len(want), i,
		got[from:min(len(got), i+20)], want[from:min(len(want), i+20)])
}

// returnsSoon runs f, and fails the test if it does not return soon after end
// has been called. started is closed by f once it is under way.
func returnsSoon(t *testing.T, f func(started func()) error, end func()) error {
	t.Helper()
	started := make(chan struct{})
	var once sync.Once
	result := make(chan error, 1)
	go func() { result <- f(func() { once.Do(func() { close(started) }) }) }()
	select {
	case <-started:
	case err := <-result:
		t.Fatalf("returned before it was to end: %v", err)
	case <-time.After(limit):
		t.Fatal("has not started")
	}
	begin := time.Now()
	end()
	select {
	case err := <-result:
		if took := time.Since(begin); took > soon {
			t.Errorf("returned after %v", took)
		}
		return err
	case <-time.After(limit):
		t.Fatal("does not return")
		return nil
	}
}
