package ingest_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"postroom/ingest"
	"postroom/ingest/ingesttest"
	"postroom/ingest/ledger"
	"postroom/sources"
)

// abandoned prepares a message in a folder that is not polled any more, and
// leaves its document in the repository or not.
func abandoned(t *testing.T, w *ingesttest.World, dir string, put bool) {
	t.Helper()
	w.Server.Deliver("Old", mail(1))
	before := "<put"
	if put {
		before = ">put"
	}
	w.Fault(func(step string) error {
		if strings.HasPrefix(step, before) {
			return errors.New("repository: connection reset")
		}
		return nil
	})
	once(t, start(t, w, dir, func(m *ingest.Mailbox) {
		m.Open = func() (sources.Source, error) { return w.Server.Open("Old"), nil }
	}))
	w.Fault(nil)
	e, err := w.Ledger.Entry(t.Context(), "orders", "Old", "1/1")
	if err != nil || e.State != ledger.Prepared {
		t.Fatalf("%+v, %v", e, err)
	}
}

func TestClaimOfAFolderNoLongerReadHoldsUpNothing(t *testing.T) {
	for _, put := range []bool{false, true} {
		for _, same := range []bool{false, true} {
			w := ingesttest.New()
			dir := t.TempDir()
			abandoned(t, w, dir, put)
			w.Server.Deliver("Inbox", mail(1))
			w.Server.Deliver("Sub", mail(2))
			p := start(t, w, dir, func(m *ingest.Mailbox) { m.FileDuplicates = same })
			s := once(t, p)
			filed, duplicates := 2, 0
			if put {
				// The document that was there is of the message in Old.
				filed, duplicates = 2, 1
				if same {
					filed, duplicates = 3, 0
				}
			}
			if !s.OK() || s.Filed != filed || s.Duplicates != duplicates {
				t.Errorf("put %v, duplicates filed %v: %+v", put, same, s)
			}
			e, err := w.Ledger.Entry(t.Context(), "orders", "Old", "1/1")
			if want := map[bool]ledger.State{true: ledger.Settled, false: ledger.Begun}[put]; err != nil || e.State != want {
				t.Errorf("put %v: the one that had claimed it is %+v, %v", put, e, err)
			}
			if !same {
				judge(t, w, 0)
			}
			// The folder is read again: its message is filed, or known to be.
			w.Server.Deliver("Old", mail(3))
			s = once(t, start(t, w, dir, func(m *ingest.Mailbox) {
				m.Open = func() (sources.Source, error) { return w.Server.Open("Inbox", "Sub", "Old"), nil }
				m.FileDuplicates = same
			}))
			if !s.OK() {
				t.Errorf("put %v, duplicates filed %v: %+v", put, same, s)
			}
			if !same {
				judge(t, w, 0)
			}
		}
	}
}

func TestClaimInAnothersHandsIsWaitedFor(t *testing.T) {
	w := ingesttest.New()
	dir := t.TempDir()
	abandoned(t, w, dir, false)
	key := w.Server.Deliver("Inbox", mail(1))
	w.Server.Deliver("Sub", mail(2))
	p := start(t, w, dir, nil)
	held, err := w.Ledger.Lease(t.Context(), "orders", "Old", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if s := once(t, p); s.Filed != 1 || s.Failed != 1 {
		t.Errorf("%+v", s)
	}
	e, err := w.Ledger.Entry(t.Context(), "orders", "Inbox", key)
	if wait := time.Until(e.RetryAt); err != nil || e.State != ledger.Begun || wait > 15*time.Second || e.Attempts != 1 {
		t.Errorf("%+v, %v", e, err)
	}
	held.Release(t.Context())
	if s := once(t, start(t, w, dir, nil)); s.Filed != 1 || !s.OK() {
		t.Errorf("%+v", s)
	}
	judge(t, w, 0)
}
