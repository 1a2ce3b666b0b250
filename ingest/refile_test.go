package ingest_test

import (
	"errors"
	"strings"
	"testing"

	"postroom/ingest"
	"postroom/ingest/ingesttest"
	"postroom/ingest/ledger"
	"postroom/sources"
)

// verify returns what is wrong in the repository of the world.
func verify(t *testing.T, w *ingesttest.World) (wrong []ingest.Finding) {
	t.Helper()
	sum, err := (&ingest.Verification{Ledger: w.Ledger, Repository: w.Repository, Found: func(f ingest.Finding) {
		wrong = append(wrong, f)
	}}).Run(t.Context())
	if err != nil || sum.Findings != len(wrong) {
		t.Fatalf("verify: %+v, %v", sum, err)
	}
	return wrong
}

func newTitle(m *ingest.Mailbox) { m.Rules.Title, m.Rules.SeparateAttachments = "anew {subject}", true }

// A process may die at any step of filing a document anew: before the next start
// and after it nothing is missing, altered or unknown, and it is the one document
// or the other, whole.
func TestRefileDiesAtAnyStep(t *testing.T) {
	for _, fetched := range []bool{false, true} {
		died := 0
		for n := 1; ; n++ {
			w := ingesttest.New()
			dir := t.TempDir()
			w.Server.Deliver("Inbox", mail(1))
			w.Server.Deliver("Inbox", withAttachment)
			w.Server.Deliver("Sub", withAttachment)
			rules := func(m *ingest.Mailbox) { m.Rules.SeparateAttachments = fetched }
			once(t, start(t, w, dir, rules))
			e, err := w.Ledger.Entry(t.Context(), "orders", "Inbox", "1/2")
			if err != nil {
				t.Fatal(err)
			}
			change := newTitle
			if fetched {
				change = func(m *ingest.Mailbox) { m.Rules.Title = "anew {subject}" }
			}
			p := start(t, w, dir, change)
			w.DieAt(n)
			_, err = p.Refile(t.Context(), e.DocumentID)
			dead := w.Revive()
			if err := p.Close(); err != nil {
				t.Fatal(err)
			}
			if dead && !errors.Is(err, ingesttest.ErrDead) {
				t.Errorf("step %d: %v", n, err)
			}
			if wrong := verify(t, w); len(wrong) > 0 {
				t.Errorf("fetched %v, step %d, before the next start: %+v", fetched, n, wrong)
			}
			p = start(t, w, dir, change)
			if err := p.Adopt(t.Context()); err != nil {
				t.Fatal(err)
			}
			if wrong := verify(t, w); len(wrong) > 0 {
				t.Errorf("fetched %v, step %d: %+v", fetched, n, wrong)
			}
			for d, err := range w.Ledger.Documents(t.Context(), ledger.DocumentQuery{Refiling: true}) {
				t.Errorf("step %d: %+v, %v is left", n, d, err)
			}
			d, err := w.Ledger.Document(t.Context(), e.DocumentID)
			if err != nil {
				t.Fatal(err)
			}
			files := len(w.Repository.Documents()[e.DocumentID])
			anew := strings.HasPrefix(d.Title, "anew ")
			if want := map[bool]int{true: 1, false: 2}[anew == fetched]; files != want {
				t.Errorf("fetched %v, step %d: %q has %d files, want %d", fetched, n, d.Title, files, want)
			}
			for _, at := range [][2]string{{"Inbox", "1/2"}, {"Sub", "1/1"}} {
				of, err := w.Ledger.Entry(t.Context(), "orders", at[0], at[1])
				if err != nil || of.Location != d.Location {
					t.Errorf("step %d: entry %+v, %v of %+v", n, of, err, d)
				}
			}
			if !dead && !anew {
				t.Errorf("step %d: it was not filed anew", n)
			}
			if r, err := p.Refile(t.Context(), e.DocumentID); err != nil || (len(r.Changed) == 0) != anew {
				t.Errorf("step %d: again: %+v, %v", n, r, err)
			}
			if s := once(t, p); s.Filed+s.Duplicates != 0 || !s.OK() {
				t.Errorf("step %d: %+v", n, s)
			}
			if wrong := verify(t, w); len(wrong) > 0 {
				t.Errorf("fetched %v, step %d, in the end: %+v", fetched, n, wrong)
			}
			if !dead {
				break
			}
			died++
		}
		if died < 10 {
			t.Errorf("the process died at %d steps", died)
		}
	}
}

const withAttachment = "Message-ID: <a@example.com>\r\nFrom: a@example.com\r\nSubject: Order\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" +
	"--b\r\n\r\nText\r\n--b\r\nContent-Type: application/pdf; name=a.pdf\r\nContent-Disposition: attachment\r\n\r\n%PDF\r\n--b--\r\n"

// An error of the repository leaves it known what is there.
func TestRefileFails(t *testing.T) {
	for _, step := range []string{"<replace", ">replace"} {
		w := ingesttest.New()
		dir := t.TempDir()
		w.Server.Deliver("Inbox", mail(1))
		once(t, start(t, w, dir, nil))
		e, err := w.Ledger.Entry(t.Context(), "orders", "Inbox", "1/1")
		if err != nil {
			t.Fatal(err)
		}
		p := start(t, w, dir, newTitle)
		trouble := errors.New("trouble")
		w.Fault(func(s string) error {
			if s == step {
				return trouble
			}
			return nil
		})
		r, err := p.Refile(t.Context(), e.DocumentID)
		if replaced := step == ">replace"; replaced != (err == nil) || replaced != (len(r.Changed) > 0) || !replaced && !errors.Is(err, trouble) {
			t.Errorf("%s: %+v, %v", step, r, err)
		}
		w.Fault(nil)
		if wrong := verify(t, w); len(wrong) > 0 {
			t.Errorf("%s: %+v", step, wrong)
		}
	}
}

// Where it cannot be told which document is there, forgetting waits for it.
func TestForgetWhileItIsNotKnownWhichIsThere(t *testing.T) {
	w := ingesttest.New()
	dir := t.TempDir()
	w.Server.Deliver("Inbox", mail(1))
	once(t, start(t, w, dir, nil))
	e, err := w.Ledger.Entry(t.Context(), "orders", "Inbox", "1/1")
	if err != nil {
		t.Fatal(err)
	}
	p := start(t, w, dir, newTitle)
	replaced := false
	w.Fault(func(s string) error {
		replaced = replaced || s == ">replace"
		if s == "<find" && replaced {
			return errors.New("trouble")
		}
		return nil
	})
	if _, err := p.Refile(t.Context(), e.DocumentID); err == nil || !strings.Contains(err.Error(), "not known yet") {
		t.Errorf("filed anew: %v", err)
	}
	if wrong := verify(t, w); len(wrong) > 0 {
		t.Errorf("%+v", wrong)
	}
	if _, err := p.Forget(t.Context(), e.DocumentID); err == nil {
		t.Error("forgotten")
	}
	if d, err := w.Ledger.Document(t.Context(), e.DocumentID); err != nil || !d.Forgotten.IsZero() {
		t.Errorf("%+v, %v", d, err)
	}
	w.Fault(nil)
	if r, err := p.Refile(t.Context(), e.DocumentID); err != nil || len(r.Changed) != 0 || !strings.Contains(r.Location, "anew") {
		t.Errorf("%+v, %v", r, err)
	}
}

// What is filed anew keeps the notes that cannot be made anew; and of another
// rendering of it there is no second document.
func TestRefileKeepsWhatOnlyItKnows(t *testing.T) {
	w := ingesttest.New()
	dir := t.TempDir()
	w.Server.Deliver("Inbox", written["first"])
	w.Server.Deliver("Inbox", written["twin"])
	once(t, start(t, w, dir, nil))
	p := start(t, w, dir, newTitle)
	for _, key := range []string{"1/1", "1/2"} {
		e, err := w.Ledger.Entry(t.Context(), "orders", "Inbox", key)
		if err != nil {
			t.Fatal(err)
		}
		r, err := p.Refile(t.Context(), e.DocumentID)
		if err != nil || strings.Join(r.Changed, " ") != "title" {
			t.Errorf("%s: %+v, %v", key, r, err)
		}
	}
	key := w.Server.Deliver("Sub", without("rendered"))
	s := once(t, start(t, w, dir, func(m *ingest.Mailbox) {
		open := m.Open
		m.Open = func() (sources.Source, error) {
			s, err := open()
			return rendering{s}, err
		}
	}))
	if e, err := w.Ledger.Entry(t.Context(), "orders", "Sub", key); err != nil || s.Duplicates != 1 || !strings.Contains(e.Location, "anew") {
		t.Errorf("%+v, %+v, %v", s, e, err)
	}
}
