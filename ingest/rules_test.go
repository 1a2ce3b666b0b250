package ingest_test

import (
	"fmt"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"postroom/ingest"
	"postroom/ingest/document"
	"postroom/ingest/ingesttest"
	"postroom/ingest/ledger"
	"postroom/store"
)

func from(sender string, n int) string {
	return fmt.Sprintf("From: %s\r\n%s", sender, mail(n))
}

func TestFilterLeavesOutWithoutRemembering(t *testing.T) {
	w := ingesttest.New()
	w.Server.Deliver("Sub", from("a@supplier.example", 0))
	for i := 1; i < 10; i++ {
		sender := "a@supplier.example"
		if i%3 == 0 {
			sender = "b@other.example"
		}
		w.Server.Deliver("Inbox", from(sender, i))
	}
	dir := t.TempDir()
	var bodies atomic.Int64
	w.Fault(func(step string) error {
		if strings.HasPrefix(step, "<body") {
			bodies.Add(1)
		}
		return nil
	})
	only := func(globs ...string) func(*ingest.Mailbox) {
		return func(m *ingest.Mailbox) { m.Rules.Only = document.Filter{From: document.NewGlobs(globs)} }
	}
	if s := once(t, start(t, w, dir, only("*@SUPPLIER.example"))); s.Filed != 7 || !s.OK() {
		t.Errorf("%+v", s)
	}
	if _, err := w.Ledger.Entry(t.Context(), "orders", "Inbox", "1/3"); err == nil {
		t.Error("what was left out is remembered")
	}
	before := bodies.Load()
	w.Server.Deliver("Inbox", from("c@supplier.example", 10))
	if s := once(t, start(t, w, dir, only("*@supplier.EXAMPLE"))); s.Filed != 1 || bodies.Load() != before+1 {
		t.Errorf("%+v, %d bodies fetched", s, bodies.Load()-before)
	}
	if s := once(t, start(t, w, dir, only("b@*", "*@supplier.example"))); s.Filed != 3 || s.Duplicates != 0 || !s.OK() {
		t.Errorf("%+v", s)
	}
	judge(t, w, 0)
	if s := once(t, start(t, w, dir, nil)); s.Filed+s.Duplicates != 0 || !s.OK() {
		t.Errorf("%+v", s)
	}
}

func TestOnlyUnreadLooksAgain(t *testing.T) {
	w := ingesttest.New()
	read := w.Server.Deliver("Inbox", mail(1))
	w.Server.Deliver("Inbox", mail(2))
	w.Server.Deliver("Sub", mail(3))
	w.Server.Mark("Inbox", read, true)
	dir := t.TempDir()
	unread := func(m *ingest.Mailbox) { m.Rules.Only = document.Filter{Unread: true} }
	for range 2 {
		once(t, start(t, w, dir, unread))
		if n := len(w.Repository.Documents()); n != 2 {
			t.Fatalf("%d documents", n)
		}
	}
	w.Server.Mark("Inbox", read, false)
	if s := once(t, start(t, w, dir, unread)); s.Filed != 1 {
		t.Errorf("%+v", s)
	}
	judge(t, w, 0)
}

func TestFilterBySizeAndDate(t *testing.T) {
	w := ingesttest.New()
	w.Server.Deliver("Sub", mail(0))
	w.Server.Deliver("Inbox", mail(1)+strings.Repeat("long\r\n", 100))
	w.Server.Deliver("Inbox", mail(2))
	dir := t.TempDir()
	if s := once(t, start(t, w, dir, func(m *ingest.Mailbox) {
		m.Rules.Only = document.Filter{MaxSize: 100, Since: time.Date(2026, 1, 2, 3, 4, 2, 0, time.UTC)}
	})); s.Filed != 1 || !s.OK() {
		t.Errorf("%+v", s)
	}
	if s := once(t, start(t, w, dir, nil)); s.Filed != 2 || !s.OK() {
		t.Errorf("%+v", s)
	}
	judge(t, w, 0)
}

// A person who puts a message back from quarantine wants it filed, whatever is
// left out by now; a crash between steps leaves nothing half remembered.
func TestFilterAndQuarantine(t *testing.T) {
	w := ingesttest.New()
	fill(w, 3)
	w.Repository.Refuse(func(d *store.Document) bool { return d.Title == "Order 1" })
	dir := t.TempDir()
	once(t, start(t, w, dir, nil))
	w.Repository.Refuse(nil)
	p := start(t, w, dir, func(m *ingest.Mailbox) { m.Rules.Only = document.Filter{Subject: document.NewGlobs([]string{"none"})} })
	id := (&ledger.Entry{Source: "orders", Folder: "Inbox", Key: "1/1"}).QuarantineID()
	if e, err := p.Retry(t.Context(), id); err != nil || e.State != ledger.Settled {
		t.Errorf("%+v, %v", e, err)
	}
	judge(t, w, 0)
	for n := 1; ; n++ {
		w := ingesttest.New()
		fill(w, 4)
		dir := t.TempDir()
		some := func(m *ingest.Mailbox) {
			m.Rules.Only = document.Filter{Subject: document.NewGlobs([]string{"Order 0", "Order 1"})}
			m.Parallel = 1
		}
		p := start(t, w, dir, some)
		w.DieAt(n)
		p.Once(t.Context())
		died := w.Revive()
		once(t, start(t, w, dir, some))
		if got := len(w.Repository.Documents()); got != 2 {
			t.Fatalf("died at step %d: %d documents", n, got)
		}
		once(t, start(t, w, dir, nil))
		judge(t, w, 0)
		if !died {
			break
		}
	}
}

// What a filter leaves out is no business of the source, whatever it lacks.
func TestFilterComesBeforeRequiredProperties(t *testing.T) {
	w := ingesttest.New()
	fill(w, 4)
	dir := t.TempDir()
	s := once(t, start(t, w, dir, func(m *ingest.Mailbox) {
		m.FailedFolder = "Failed"
		m.Rules.Only = document.Filter{Subject: document.NewGlobs([]string{"Order 1"})}
		m.Rules.Properties = []document.Property{{Name: "Number", Read: "subject", Match: regexp.MustCompile(`INV-(\d+)`), Required: true}}
	}))
	if s.Quarantined != 1 || s.Filed != 0 || len(w.Server.Contents("Failed")) != 1 {
		t.Errorf("%+v, in the failed folder %v", s, w.Server.Contents("Failed"))
	}
}

func TestProperties(t *testing.T) {
	w := ingesttest.New()
	w.Server.Deliver("Inbox", "Subject: INV-7 of today\r\n\r\n")
	w.Server.Deliver("Inbox", "Subject: no number\r\n\r\n")
	w.Server.Deliver("Sub", mail(1))
	dir := t.TempDir()
	var filed []*store.Document
	change := func(required bool) func(*ingest.Mailbox) {
		return func(m *ingest.Mailbox) {
			m.Rules.Properties = []document.Property{
				{Name: "Department", Value: "Finance"},
				{Name: "Number", Read: "subject", Match: regexp.MustCompile(`INV-(\d+)`), Required: required},
			}
		}
	}
	p := start(t, w, dir, change(true))
	p.Observe = func(e ingest.Event) {
		if e.Kind == ingest.Filed {
			filed = append(filed, e.Doc)
		}
	}
	if s := once(t, p); s.Filed != 1 || s.Quarantined != 2 {
		t.Errorf("%+v", s)
	}
	if len(filed) != 1 || fmt.Sprint(filed[0].Properties) != "[{Department Finance} {Number 7}]" {
		t.Errorf("%+v", filed)
	}
	id := (&ledger.Entry{Source: "orders", Folder: "Inbox", Key: "1/2"}).QuarantineID()
	if r, err := p.quarantine.Record(id); err != nil || !strings.Contains(r.Reason, `"Number"`) {
		t.Errorf("%+v, %v", r, err)
	}
	if e, err := start(t, w, dir, change(false)).Retry(t.Context(), id); err != nil || e.State != ledger.Settled {
		t.Errorf("%+v, %v", e, err)
	}
}
