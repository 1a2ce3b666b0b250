package ingest_test

import (
	"strings"
	"testing"

	"go.uber.org/zap"

	"postroom/ingest"
	"postroom/ingest/ingesttest"
	"postroom/ingest/ledger"
	"postroom/ingest/quarantine"
	"postroom/sources"
	"postroom/store"
	"postroom/store/filesystem"
)

func (s *shelf) engine() *ingest.Engine {
	return ingest.New(ingest.Config{Ledger: s.ledger, Repository: s.repository, Quarantine: quarantine.Open(s.TempDir()), Log: zap.NewNop()})
}

// Wherever the process dies, the next one finishes what was begun.
func TestForgettingIsFinished(t *testing.T) {
	for _, tt := range []struct {
		name string
		die  func(s *shelf, d ledger.Document)
	}{
		{"after the tombstone", func(s *shelf, d ledger.Document) { s.ok(s.ledger.Forget(s.Context(), d)) }},
		{"after the removal", func(s *shelf, d ledger.Document) {
			s.ok(s.ledger.Forget(s.Context(), d))
			s.ok(s.repository.Remove(s.Context(), d.ID, d.Location))
		}},
		{"removal fails", func(s *shelf, d ledger.Document) {
			s.ok(s.repository.Close())
			if _, err := s.engine().Forget(s.Context(), d.ID); err == nil || !strings.Contains(err.Error(), "not be filed again") {
				s.Fatalf("forgotten without a repository: %v", err)
			}
			var err error
			s.repository, err = filesystem.Open(s.dir)
			s.ok(err)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newShelf(t)
			s.file("stays")
			s.file("goes")
			d, err := s.ledger.Document(t.Context(), s.ids[1])
			s.ok(err)
			tt.die(s, d)
			s.ok(s.engine().Adopt(t.Context()))
			s.verify()
			got, err := s.ledger.Document(t.Context(), d.ID)
			if err != nil || got.Forgotten.IsZero() || got.Location != "" {
				t.Errorf("%+v, %v", got, err)
			}
			if _, err := s.repository.Find(t.Context(), store.Key{ID: d.ID, Source: d.Source, Received: d.Received}); err == nil {
				t.Error("the document is still there")
			}
		})
	}
}

func TestFindDocument(t *testing.T) {
	s := newShelf(t)
	s.file("a")
	id := s.ids[0]
	for _, name := range []string{id, id[:12], id[:40], s.locations[0], "./documents/" + s.locations[0]} {
		if d, err := ingest.FindDocument(t.Context(), s.ledger, name); err != nil || d.ID != id {
			t.Errorf("%q: %+v, %v", name, d, err)
		}
	}
	for _, name := range []string{"", id[:11], strings.ToUpper(id), "a", id + "0", strings.Repeat("0", 12)} {
		if d, err := ingest.FindDocument(t.Context(), s.ledger, name); err == nil {
			t.Errorf("%q is %+v", name, d)
		}
	}
	s.ok(s.ledger.Forget(t.Context(), ledger.Document{ID: id[:20] + strings.Repeat("f", 44), Source: "invoices"}))
	if d, err := ingest.FindDocument(t.Context(), s.ledger, id[:12]); err != nil || d.ID != id {
		t.Errorf("a tombstone stands in the way of a document: %+v, %v", d, err)
	}
}

// What was forgotten is not filed again from another folder, and not deleted
// there, also where duplicates are filed.
func TestForgottenIsNotFiledAgain(t *testing.T) {
	for _, file := range []bool{false, true} {
		w := ingesttest.New()
		dir := t.TempDir()
		w.Server.Deliver("Inbox", mail(1))
		rules := func(m *ingest.Mailbox) { m.FileDuplicates = file }
		if s := once(t, start(t, w, dir, rules)); s.Filed != 1 {
			t.Fatalf("%+v", s)
		}
		e, err := w.Ledger.Entry(t.Context(), "orders", "Inbox", "1/1")
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Ledger.Forget(t.Context(), ledger.Document{ID: e.DocumentID, Source: "orders", SHA256: e.SHA256}); err != nil {
			t.Fatal(err)
		}
		w.Server.Deliver("Sub", mail(1))
		w.Server.Deliver("Sub", mail(1))
		w.Server.Deliver("Sub", mail(2))
		s := once(t, start(t, w, dir, func(m *ingest.Mailbox) {
			rules(m)
			m.After = sources.Action{Verb: sources.Delete}
		}))
		if !s.OK() || s.Filed != 1 || s.Duplicates != 0 {
			t.Errorf("duplicates filed %v: %+v", file, s)
		}
		for _, key := range []string{"1/1", "1/2"} {
			e, err := w.Ledger.Entry(t.Context(), "orders", "Sub", key)
			if err != nil || e.State != ledger.Discarded || !strings.Contains(e.Cause, "forgotten") || strings.Count(e.Cause, "given up") > 1 {
				t.Errorf("duplicates filed %v: %+v, %v", file, e, err)
			}
		}
	}
}
