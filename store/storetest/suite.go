package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"postroom/store"
)

// Run runs the suite. open returns a new, empty place; what it registers with
// t.Cleanup runs after the repository is closed.
func Run(t *testing.T, open func(t *testing.T) Harness) {
	t.Run("Refuses", func(t *testing.T) { testRefuses(t, open) })
	t.Run("RefusesKeys", func(t *testing.T) { testRefusesKeys(t, open) })
	t.Run("Fails", func(t *testing.T) { testFails(t, open) })
	t.Run("ContextEnds", func(t *testing.T) { testContextEnds(t, open) })
	t.Run("Whole", func(t *testing.T) { testWhole(t, open) })
	t.Run("Description", func(t *testing.T) { testDescription(t, open) })
	t.Run("HostileTitles", func(t *testing.T) { testHostileTitles(t, open) })
	t.Run("SameTitle", func(t *testing.T) { testSameTitle(t, open) })
	t.Run("Empty", func(t *testing.T) { testEmpty(t, open) })
	t.Run("Large", func(t *testing.T) { testLarge(t, open) })
	t.Run("Repeated", func(t *testing.T) { testRepeated(t, open) })
	t.Run("RepeatedAtOnce", func(t *testing.T) { testRepeatedAtOnce(t, open) })
	t.Run("Many", func(t *testing.T) { testMany(t, open) })
	t.Run("Finds", func(t *testing.T) { testFinds(t, open) })
	t.Run("Reopened", func(t *testing.T) { testReopened(t, open) })
	t.Run("Closes", func(t *testing.T) { testCloses(t, open) })
	t.Run("Probe", func(t *testing.T) { testProbe(t, open) })
	t.Run("Verify", func(t *testing.T) { testVerify(t, open) })
	t.Run("Remove", func(t *testing.T) { testRemove(t, open) })
	t.Run("OpenFile", func(t *testing.T) { testOpenFile(t, open) })
	t.Run("Replace", func(t *testing.T) { testReplace(t, open) })
	t.Run("ReplaceAtOnce", func(t *testing.T) { testReplaceAtOnce(t, open) })
	t.Run("ReplaceCrash", func(t *testing.T) { testReplaceCrash(t, open) })
	t.Run("Crash", func(t *testing.T) { testCrash(t, open) })
}

// start returns a harness with its repository, which is closed at the end.
func start(t *testing.T, open func(t *testing.T) Harness) (Harness, store.Repository) {
	t.Helper()
	h := open(t)
	r := h.Open(t)
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return h, r
}

func testWhole(t *testing.T, open func(t *testing.T) Harness) {
	h, r := start(t, open)
	d := NewDocument("Invoice 4711")
	d.Files = append(d.Files,
		NewFile("scan.pdf", store.RoleAttachment, []byte("%PDF-1.7")),
		NewFile("請求書 🧾.txt", store.RoleAttachment, []byte("seikyūsho")),
		NewFile("original.eml", store.RoleOriginal, []byte("Subject: x\r\n\r\n")))
	put(t, r, d)
	expect(t, h, r, d)
}

func testHostileTitles(t *testing.T, open func(t *testing.T) Harness) {
	h, r := start(t, open)
	var documents []*store.Document
	for i, title := range hostileTitles() {
		d := NewDocument(fmt.Sprintf("hostile %d", i))
		d.Title = title
		put(t, r, d)
		documents = append(documents, d)
	}
	expect(t, h, r, documents...)
}

func testSameTitle(t *testing.T, open func(t *testing.T) Harness) {
	h, r := start(t, open)
	documents := manyDocuments("daily report", 50)
	for i, d := range documents {
		d.Title = []string{"Daily report", "DAILY REPORT", "daily report "}[i%3]
		put(t, r, d)
	}
	expect(t, h, r, documents...)
}

func testEmpty(t *testing.T, open func(t *testing.T) Harness) {
	h, r := start(t, open)
	d := NewDocument("")
	d.Files = []store.File{NewFile("message.eml", store.RoleMessage, nil)}
	d.Origin.Size, d.Origin.SHA256 = 0, d.Files[0].SHA256
	put(t, r, d)
	expect(t, h, r, d)
}

func testRepeated(t *testing.T, open func(t *testing.T) Harness) {
	h := open(t)
	r := h.Open(t)
	d := NewDocument("first title")
	first := put(t, r, d)

	other := NewDocument("other title")
	other.ID = d.ID
	other.Files = append(other.Files, NewFile("more.txt", store.RoleAttachment, []byte("more")))
	if second := put(t, r, other); second != first {
		t.Errorf("second Put returned %v, want %v", second, first)
	}
	expect(t, h, r, d)

	closeRepository(t, r)
	r = h.Open(t)
	if third := put(t, r, other); third != first {
		t.Errorf("Put after reopening returned %v, want %v", third, first)
	}
	expect(t, h, r, d)
	closeRepository(t, r)
}

func testRepeatedAtOnce(t *testing.T, open func(t *testing.T) Harness) {
	h, r := start(t, open)
	d := NewDocument("all at once")
	receipts := make([]store.Receipt, 32)
	var wg sync.WaitGroup
	for i := range receipts {
		wg.Go(func() {
			var err error
			if receipts[i], err = r.Put(context.Background(), d); err != nil {
				t.Errorf("Put: %v", err)
			}
		})
	}
	wg.Wait()
	for _, receipt := range receipts {
		if receipt != receipts[0] {
			t.Fatalf("Puts returned %v and %v, want all the same", receipts[0], receipt)
		}
	}
	expect(t, h, r, d)
}

// testMany also looks on from outside while documents are put: each is there
// whole or not at all.
func testMany(t *testing.T, open func(t *testing.T) Harness) {
	h, r := start(t, open)
	documents := manyDocuments("one of many", 400)
	for i, d := range documents {
		d.Origin.Received = received().AddDate(0, 0, i%7)
	}
	next := make(chan *store.Document)
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			for d := range next {
				if _, err := r.Put(context.Background(), d); err != nil {
					t.Errorf("Put of %q: %v", d.Title, err)
				}
			}
		})
	}
	go func() {
		defer close(done)
		for _, d := range documents {
			next <- d
		}
		close(next)
		wg.Wait()
	}()
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		for location, stored := range h.List(t) {
			if _, err := stored.Document(); err != nil {
				t.Errorf("%s was visible before it was whole: %v", location, err)
			}
		}
	}
	expect(t, h, r, documents...)
}

func testFinds(t *testing.T, open func(t *testing.T) Harness) {
	h, r := start(t, open)
	d := NewDocument("to be found")
	if _, err := r.Find(context.Background(), d.Key()); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Find before Put: %v, want ErrNotFound", err)
	}
	receipt := put(t, r, d)
	if found, err := r.Find(context.Background(), d.Key()); err != nil || found != receipt {
		t.Errorf("Find = %v, %v, want %v", found, err, receipt)
	}
	elsewhere := d.Key()
	elsewhere.Received = elsewhere.Received.In(time.FixedZone("", 14*60*60))
	if found, err := r.Find(context.Background(), elsewhere); err != nil || found != receipt {
		t.Errorf("Find with the date in another time zone = %v, %v, want %v", found, err, receipt)
	}
	unknown := NewDocument("unknown").Key()
	if _, err := r.Find(context.Background(), unknown); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Find of an unknown id: %v, want ErrNotFound", err)
	}
	expect(t, h, r, d)
}

func testReopened(t *testing.T, open func(t *testing.T) Harness) {
	h := open(t)
	r := h.Open(t)
	documents := manyDocuments("kept", 20)
	receipts := make([]store.Receipt, len(documents))
	for i, d := range documents {
		receipts[i] = put(t, r, d)
	}
	closeRepository(t, r)

	r = h.Open(t)
	defer closeRepository(t, r)
	expect(t, h, r, documents...)
	for i, d := range documents {
		if found, err := r.Find(context.Background(), d.Key()); err != nil || found != receipts[i] {
			t.Errorf("Find after reopening = %v, %v, want %v", found, err, receipts[i])
		}
	}
	last := NewDocument("put after reopening")
	put(t, r, last)
	expect(t, h, r, append(documents, last)...)
}

func testCloses(t *testing.T, open func(t *testing.T) Harness) {
	h := open(t)
	r := h.Open(t)
	documents := manyDocuments("under way", 64)
	var wg sync.WaitGroup
	var mu sync.Mutex
	var filed []*store.Document
	first := make(chan struct{}, len(documents))
	for _, d := range documents {
		wg.Go(func() {
			_, err := r.Put(context.Background(), d)
			first <- struct{}{}
			if err == nil {
				mu.Lock()
				defer mu.Unlock()
				filed = append(filed, d)
			}
		})
	}
	<-first
	closeRepository(t, r)
	wg.Wait()
	if _, err := r.Put(context.Background(), NewDocument("too late")); err == nil {
		t.Error("Put after Close = nil, want an error")
	}
	if _, err := r.Find(context.Background(), documents[0].Key()); err == nil || errors.Is(err, store.ErrNotFound) {
		t.Errorf("Find after Close: %v, want an error other than ErrNotFound", err)
	}

	r = h.Open(t)
	defer closeRepository(t, r)
	expect(t, h, r, filed...)
}

func testProbe(t *testing.T, open func(t *testing.T) Harness) {
	h, r := start(t, open)
	prober, ok := r.(store.Prober)
	if !ok {
		return // the ability is optional
	}
	for range 2 {
		if _, err := prober.Probe(context.Background()); err != nil {
			t.Errorf("Probe: %v", err)
		}
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := prober.Probe(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("Probe with an ended context: %v, want context.Canceled", err)
	}
	expect(t, h, r)
}

func testCrash(t *testing.T, open func(t *testing.T) Harness) {
	h := open(t)
	crasher, ok := h.(Crasher)
	if !ok {
		return // the ability is optional
	}
	r := h.Open(t)
	d := NewDocument("put before the crash")
	put(t, r, d)
	closeRepository(t, r)
	for range 3 {
		crasher.Crash(t)
	}
	if len(h.List(t)) != 1 {
		t.Errorf("after a crash %d documents are visible, want 1", len(h.List(t)))
	}
	r = h.Open(t)
	defer closeRepository(t, r)
	expect(t, h, r, d)
}
