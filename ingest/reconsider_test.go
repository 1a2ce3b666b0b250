package ingest_test

import (
	"context"
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"postroom/ingest"
	"postroom/ingest/document"
	"postroom/ingest/ingesttest"
	"postroom/ingest/ledger"
)

// needs has a rule that takes messages of which the subject matches.
func needs(expression string) func(*ingest.Mailbox) {
	return func(m *ingest.Mailbox) {
		m.Rules.Properties = []document.Property{{Name: "Number", Read: "subject", Match: regexp.MustCompile(expression), Required: true}}
	}
}

func idOf(folder, key string) string {
	return (&ledger.Entry{Source: "orders", Folder: folder, Key: key}).QuarantineID()
}

func TestChangedRulesFileWhatIsInQuarantine(t *testing.T) {
	w := ingesttest.New()
	fill(w, 6)
	dir := t.TempDir()
	if s := once(t, start(t, w, dir, needs("Order [01]$"))); s.Filed != 2 || s.Quarantined != 4 || s.InQuarantine != 4 {
		t.Errorf("%+v", s)
	}
	for range 3 {
		p := start(t, w, dir, needs("Order [01]$"))
		if s := once(t, p); s.Filed+s.Quarantined != 0 || s.InQuarantine != 4 || !s.OK() {
			t.Errorf("under the same rules: %+v", s)
		}
		if r, err := p.quarantine.Record(idOf("Inbox", "1/3")); err != nil || r.Attempts != 1 {
			t.Errorf("%+v, %v", r, err)
		}
	}
	if s := once(t, start(t, w, dir, needs("Order [0123]$"))); s.Filed != 2 || s.Quarantined != 2 || s.InQuarantine != 2 {
		t.Errorf("under other rules: %+v", s)
	}
	for range 2 {
		p := start(t, w, dir, needs("Order [0123]$"))
		if s := once(t, p); s.Filed+s.Quarantined != 0 {
			t.Errorf("%+v", s)
		}
		if r, err := p.quarantine.Record(idOf("Inbox", "1/5")); err != nil || r.Attempts != 2 || !strings.Contains(r.Reason, "Number") {
			t.Errorf("%+v, %v", r, err)
		}
	}
	if s := once(t, start(t, w, dir, nil)); s.Filed != 2 || s.InQuarantine != 0 || !s.OK() {
		t.Errorf("without the rule: %+v", s)
	}
	judge(t, w, 0)
}

// The process may die at any step of it.
func TestChangedRulesAndCrashes(t *testing.T) {
	for n := 1; ; n++ {
		w := ingesttest.New()
		fill(w, 4)
		dir := t.TempDir()
		once(t, start(t, w, dir, needs("Order 0$")))
		p := start(t, w, dir, needs("Order [01]$"))
		w.DieAt(n)
		p.Once(t.Context())
		died := w.Revive()
		for range 2 {
			once(t, start(t, w, dir, needs("Order [01]$")))
		}
		if got := len(w.Repository.Documents()); got != 2 {
			t.Fatalf("died at step %d: %d documents", n, got)
		}
		if s := once(t, start(t, w, dir, needs("Order [01]$"))); s.Filed+s.Quarantined != 0 || s.InQuarantine != 2 {
			t.Fatalf("died at step %d: %+v", n, s)
		}
		once(t, start(t, w, dir, nil))
		judge(t, w, 0)
		if !died {
			return
		}
	}
}

// What never came, and what seems to kill the process, is tried again by another
// version alone, and that once.
func TestAnotherVersionTriesAgain(t *testing.T) {
	w := ingesttest.New()
	fill(w, 3)
	dir := t.TempDir()
	p := start(t, w, dir, nil)
	p.MaxSize = 1
	if s := once(t, p); s.Quarantined != 3 {
		t.Errorf("%+v", s)
	}
	if s := once(t, start(t, w, dir, needs("Order"))); s.Filed+s.Quarantined != 0 {
		t.Errorf("under other rules: %+v", s)
	}
	for try := range 2 {
		p := start(t, w, dir, nil)
		p.MaxSize, p.Version = 1, "2"
		if s := once(t, p); s.Quarantined != 3*(1-try) {
			t.Errorf("try %d by another version: %+v", try, s)
		}
	}
	p = start(t, w, dir, nil)
	p.Version = "3"
	if s := once(t, p); s.Filed != 3 || s.InQuarantine != 0 {
		t.Errorf("%+v", s)
	}
	judge(t, w, 0)
}

func TestPoisonIsTriedOnceByAnotherVersion(t *testing.T) {
	w := ingesttest.New()
	fill(w, 3)
	w.Server.Deliver("Inbox", "Subject: poison\r\n\r\n")
	dir := t.TempDir()
	deaths := 0
	w.Fault(func(step string) error {
		if step == "<prepare Inbox 1/3" {
			deaths++
			w.DieAt(1) // the next step is the last
		}
		return nil
	})
	tries := func(version string, change func(*ingest.Mailbox)) int {
		before := deaths
		for range 12 {
			p := start(t, w, dir, func(m *ingest.Mailbox) {
				m.Parallel = 1
				if change != nil {
					change(m)
				}
			})
			p.Version = version
			p.Once(t.Context())
		}
		return deaths - before
	}
	if n := tries("1", nil); n < 2 {
		t.Fatalf("the process died %d times", n)
	}
	entry := func() ledger.Entry {
		e, err := w.Ledger.Entry(t.Context(), "orders", "Inbox", "1/3")
		if err != nil || e.State != ledger.Parked {
			t.Errorf("%+v, %v", e, err)
		}
		return e
	}
	entry()
	if n := tries("1", needs("poison|Order")); n != 0 {
		t.Errorf("under other rules the process died %d times", n)
	}
	if n := tries("2", nil); n != 1 {
		t.Errorf("with another version the process died %d times", n)
	}
	if e := entry(); !strings.Contains(e.Cause, "died") {
		t.Errorf("%+v", e)
	}
	w.Fault(nil)
	if n := tries("3", nil); n != 0 {
		t.Errorf("the process died %d times", n)
	}
	judge(t, w, 0)
}

// A message that the filter leaves out by now is not filed just because other
// rules have changed.
func TestChangedFilterLeavesInQuarantine(t *testing.T) {
	w := ingesttest.New()
	fill(w, 3)
	dir := t.TempDir()
	once(t, start(t, w, dir, needs("Order 0$")))
	narrow := func(m *ingest.Mailbox) {
		m.Rules.Only = document.Filter{Subject: document.NewGlobs([]string{"Order 1"})}
	}
	if s := once(t, start(t, w, dir, narrow)); s.Filed != 1 || s.Quarantined != 1 {
		t.Errorf("%+v", s)
	}
	p := start(t, w, dir, narrow)
	if s := once(t, p); s.Filed+s.Quarantined != 0 || s.InQuarantine != 1 {
		t.Errorf("%+v", s)
	}
	if r, err := p.quarantine.Record(idOf("Inbox", "1/2")); err != nil || !strings.Contains(r.Reason, "only.subject") {
		t.Errorf("%+v, %v", r, err)
	}
	if e, err := p.Retry(t.Context(), idOf("Inbox", "1/2")); err != nil || e.State != ledger.Settled {
		t.Errorf("%+v, %v", e, err)
	}
	judge(t, w, 0)
}

// Every rule matters, also one that is added to them.
func TestRulesKey(t *testing.T) {
	base := document.Rules{Properties: []document.Property{{}}}
	seen := map[string]string{ingest.RulesKey(base): "nothing"}
	var change func(v reflect.Value, name string, rules *document.Rules)
	change = func(v reflect.Value, name string, rules *document.Rules) {
		was := reflect.New(v.Type()).Elem()
		was.Set(v)
		switch value := v.Addr().Interface().(type) {
		case *time.Time:
			*value = time.Unix(1, 0)
		case **regexp.Regexp:
			*value = regexp.MustCompile("a")
		case *[]document.Glob:
			*value = document.NewGlobs([]string{"a"})
		case *[]document.Property:
			change(v.Index(0), name, rules)
			return
		default:
			switch v.Kind() {
			case reflect.String:
				v.SetString("a")
			case reflect.Bool:
				v.SetBool(true)
			case reflect.Int64:
				v.SetInt(1)
			case reflect.Struct:
				for i := range v.NumField() {
					change(v.Field(i), name+"."+v.Type().Field(i).Name, rules)
				}
				return
			default:
				t.Fatalf("%s is a %s, which this test does not know", name, v.Type())
			}
		}
		key := ingest.RulesKey(*rules)
		if other, ok := seen[key]; ok && name != ".Only.Unread" {
			t.Errorf("with %s the key is the same as with %s", name, other)
		}
		seen[key] = name
		v.Set(was)
	}
	change(reflect.ValueOf(&base).Elem(), "", &base)
	if len(seen) < 10 {
		t.Errorf("%v", seen)
	}
}

// What waits in quarantine is said in the log: at the start, when it becomes
// more, every day, and every hour if it is too much.
func TestQuarantineIsRemindedOf(t *testing.T) {
	for _, tt := range []struct{ messages, want int }{{0, 0}, {3, 4}, {ingest.QuarantineMessages + 1, 73}} {
		t.Run(fmt.Sprint(tt.messages), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := ingesttest.New()
				fill(w, 1)
				for i := range tt.messages {
					w.Server.Deliver("Inbox", mail(i+1))
				}
				dir := t.TempDir()
				once(t, start(t, w, dir, needs("Order 0$")))
				p := start(t, w, dir, needs("Order 0$"))
				core, logs := observer.New(zap.ErrorLevel)
				p.Log = zap.New(core)
				ctx, cancel := context.WithTimeout(t.Context(), 72*time.Hour+time.Minute)
				defer cancel()
				if err := p.Run(ctx); err != nil {
					t.Error(err)
				}
				said := logs.FilterMessageSnippet("in quarantine")
				if said.Len() != tt.want {
					t.Errorf("said %d times, want %d", said.Len(), tt.want)
				}
				for _, line := range said.All() {
					if fields := line.ContextMap(); fields["messages"] != int64(tt.messages) || fields["source orders"] != int64(tt.messages) || fields["remedy"] == "" {
						t.Errorf("%v", fields)
					}
				}
			})
		})
	}
}
