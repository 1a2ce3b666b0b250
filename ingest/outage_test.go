package ingest_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"postroom/ingest"
	"postroom/ingest/ingesttest"
	"postroom/ingest/ledger"
	"postroom/sources"
)

// Whatever of ours is out of order for a day: nothing is disposed of, little is
// tried, little is kept, and within an interval of its return all is filed.
func TestOutOfOrderForADay(t *testing.T) {
	const interval = 10 * time.Minute
	for what, fails := range map[string]func(step string) error{
		"repository gone": func(step string) error {
			if strings.Contains(step, "put") || strings.Contains(step, "find") {
				return fmt.Errorf("repository: %w", syscall.ENOENT)
			}
			return nil
		},
		"disk full": func(step string) error {
			if strings.HasPrefix(step, "<put") {
				return fmt.Errorf("repository: %w", syscall.ENOSPC)
			}
			return nil
		},
		"ledger locked": func(step string) error {
			for _, of := range []string{"begin", "prepare", "advance", "cursor"} {
				if strings.HasPrefix(step, "<"+of) {
					return fmt.Errorf("ledger: %w", syscall.EAGAIN)
				}
			}
			return nil
		},
		"ledger gone": func(step string) error {
			if strings.HasPrefix(step, "<lease") {
				return fmt.Errorf("ledger: %w", syscall.EIO)
			}
			return nil
		},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := ingesttest.New()
				fill(w, 10)
				var steps atomic.Int64
				hit := atomic.Bool{}
				w.Fault(func(step string) error {
					steps.Add(1)
					err := fails(step)
					if err != nil {
						hit.Store(true)
					}
					return err
				})
				dir := t.TempDir()
				p := start(t, w, dir, func(m *ingest.Mailbox) {
					m.Interval = interval
					m.After = sources.Action{Verb: sources.Delete}
				})
				ctx, stop := context.WithCancel(t.Context())
				done := make(chan error)
				go func() { done <- p.Run(ctx) }()
				for hour := range 24 {
					before := steps.Load()
					time.Sleep(time.Hour)
					for n := range 20 {
						w.Server.Deliver("Inbox", mail(100+20*hour+n))
					}
					if n := steps.Load() - before; n > 2000 {
						t.Errorf("%d steps within an hour", n)
					}
				}
				if !hit.Load() {
					t.Fatal("nothing was out of order")
				}
				if n := len(w.Server.Applied()) + len(w.Repository.Documents()); n > 0 {
					t.Errorf("%d messages are disposed of, or filed", n)
				}
				if s := p.Status()[0]; s.Error == "" {
					t.Errorf("the status does not say so: %+v", s)
				}
				if left, err := os.ReadDir(dir + "/spool"); err != nil || len(left) > 0 {
					t.Errorf("%d files in the spool, %v", len(left), err)
				}
				w.Fault(nil)
				time.Sleep(interval + interval/10)
				if n := len(w.Repository.Documents()); n != 490 {
					t.Errorf("%d documents after an interval, want 490", n)
				}
				if s := p.Status()[0]; s.Error != "" {
					t.Errorf("the status is %+v", s)
				}
				for e := range w.Ledger.Entries(t.Context(), ledger.Query{}) {
					if e.State != ledger.Settled {
						t.Errorf("%+v", e)
					}
				}
				judge(t, w, 0)
				stop()
				if err := <-done; err != nil {
					t.Error(err)
				}
			})
		})
	}
}
