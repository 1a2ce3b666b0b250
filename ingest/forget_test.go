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

// A name that is none, or that of several, is told from that of nothing.
func TestFindDocument(t *testing.T) {
	l := ledger.NewMemory()
	lease, err := l.Lease(t.Context(), "orders", "Inbox", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	ids := []string{strings.Repeat("a", 64), strings.Repeat("a", 12) + strings.Repeat("b", 52)}
	for i, id := range ids {
		entries, err := lease.Begin(t.Context(), []ledger.Listed{{Key: id, FolderPath: "Inbox"}})
		if err != nil {
			t.Fatal(err)
		}
		e := entries[0]
		e.DocumentID, e.SHA256 = id, [32]byte{byte(i + 1)}
		_, err = lease.Prepare(t.Context(), e)
		e.State = ledger.Filed
		if err := errors.Join(err, lease.Advance(t.Context(), e)); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{
		ids[0]: "", ids[1][:13]: "", "orders/2026/01/02/Title~" + ids[1][:14]: "", `orders\2026\01\02\Title~` + ids[1][:14] + `\`: "",
		ids[0][:12]: "give all 64 digits", ids[0][:11]: "at least its first 12 digits", "": "at least its first 12 digits", "Title": "at least its first 12 digits",
	} {
		d, err := ingest.FindDocument(t.Context(), l, name)
		if want == "" && (err != nil || !strings.HasPrefix(d.ID, strings.TrimRight(name[strings.LastIndexByte(name, '~')+1:], `\`))) {
			t.Errorf("%q: %+v, %v", name, d, err)
		}
		if want != "" && (!errors.As(err, new(*ingest.NameError)) || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v", name, err)
		}
	}
	if _, err := ingest.FindDocument(t.Context(), l, strings.Repeat("0", 12)); !errors.Is(err, ledger.ErrNotFound) || errors.As(err, new(*ingest.NameError)) {
		t.Errorf("%v", err)
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

// What was forgotten is not filed again as something much like another document.
func TestForgottenIsNotFiledAsAVariant(t *testing.T) {
	w := ingesttest.New()
	dir := t.TempDir()
	w.Server.Deliver("Inbox", written["first"])
	w.Server.Deliver("Sub", mail(1))
	once(t, start(t, w, dir, nil))
	w.Server.Deliver("Sub", written["plainer"])
	if s := once(t, start(t, w, dir, nil)); s.Filed != 1 {
		t.Fatalf("%+v", s)
	}
	e, err := w.Ledger.Entry(t.Context(), "orders", "Inbox", "1/1")
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Ledger.Forget(t.Context(), ledger.Document{ID: e.DocumentID, Source: "orders", SHA256: e.SHA256}); err != nil {
		t.Fatal(err)
	}
	key := w.Server.Deliver("Sub", written["first"])
	if s := once(t, start(t, w, dir, nil)); s.Filed != 0 || s.Duplicates != 0 {
		t.Errorf("%+v", s)
	}
	if e, err := w.Ledger.Entry(t.Context(), "orders", "Sub", key); err != nil || e.State != ledger.Discarded {
		t.Errorf("%s, %v", e.State, err)
	}
}

// What only looks like something that was forgotten is filed.
func TestForgottenIsNoneOfItsKind(t *testing.T) {
	w := ingesttest.New()
	dir := t.TempDir()
	w.Server.Deliver("Inbox", alarm(1))
	w.Server.Deliver("Sub", mail(1))
	once(t, start(t, w, dir, nil))
	e, err := w.Ledger.Entry(t.Context(), "orders", "Inbox", "1/1")
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Ledger.Forget(t.Context(), ledger.Document{ID: e.DocumentID, Source: "orders", SHA256: e.SHA256}); err != nil {
		t.Fatal(err)
	}
	for n := 1; n <= 3; n++ {
		w.Server.Deliver("Inbox", alarm(n))
	}
	if s := once(t, start(t, w, dir, nil)); s.Filed != 2 || s.Duplicates != 0 || !s.OK() {
		t.Errorf("%+v", s)
	}
}
