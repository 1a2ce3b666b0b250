//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"postroom/ingest/ledger"
	"postroom/internal/graphtest"
)

var migrateLarge = flag.Int("migrate-large", 1000, "how many messages are planned for in a process of its own")

// TestMigrateNeedsLittleMemory plans for a mailbox of which half was filed, in a
// process of its own: -migrate-large 100000 in less than 2 minutes and 200 MB.
func TestMigrateNeedsLittleMemory(t *testing.T) {
	n := *migrateLarge
	m := newMove(t, graphtest.Options{Seed: 34}, "type: pop3\n")
	for i := range n {
		m.box.Deliver("inbox", graphtest.Mail{Raw: letter(i), Received: time.Date(2026, 3, 4, 5, 6, i, 0, time.UTC)})
	}
	m.fileHalf(n)
	var out bytes.Buffer
	cmd := exec.Command(buildProgram(t), "migrate", "--source", "office", "--mailbox", "office@contoso.example", "--credentials", "contoso", "--json", "--config", filepath.Join(m.dir, "config.yaml"))
	cmd.Stdout = &out
	m.cloud.Forget()
	began := time.Now()
	peak := peakOf(t, cmd)
	t.Logf("%d messages: %.1f s, peak RSS %.1f MB", n, time.Since(began).Seconds(), float64(peak)/1e6)
	var report struct{ Sources []migratePlan }
	if err := json.Unmarshal(out.Bytes(), &report); err != nil {
		t.Fatalf("%v\n%s", err, out.Bytes())
	}
	if p := report.Sources[0]; p.FiledAlready+p.New+p.Uncertain != n || p.FiledAlready < n/4 || p.New < n/4 {
		t.Errorf("%d filed already, %d new, %d uncertain of %d", p.FiledAlready, p.New, p.Uncertain, n)
	}
	if peak == 0 || peak > 60e6+int64(n)*1400 {
		t.Errorf("peak RSS %d bytes", peak)
	}
	if requests := len(m.cloud.Requests()); requests > n/500+40 {
		t.Errorf("%d requests", requests)
	}
}

// fileHalf makes a ledger in which every other letter is filed.
func (m *move) fileHalf(n int) {
	m.t.Helper()
	if r := m.run("run", "--once"); r.status != exitOK { // makes the ledger
		m.t.Fatalf("%+v", r)
	}
	ctx := context.Background()
	l, err := ledger.OpenSQLite(ctx, filepath.Join(m.dir, "state", "postroom.db"))
	if err != nil {
		m.t.Fatal(err)
	}
	lease, err := l.Lease(ctx, "office", "old", time.Hour)
	if err != nil {
		m.t.Fatal(err)
	}
	var g errgroup.Group
	g.SetLimit(200)
	for i := 0; i < n; i += 2 {
		g.Go(func() error {
			key := fmt.Sprint(i)
			if _, err := lease.Begin(ctx, []ledger.Listed{{Key: key, FolderPath: "Inbox"}}); err != nil {
				return err
			}
			e := ledger.Entry{Source: "office", Folder: "old", Key: key, State: ledger.Prepared, DocumentID: fmt.Sprintf("%064x", i), Title: fmt.Sprintf("Grüße number %d", i)}
			switch {
			case i%7 == 0:
			case i%10 < 2:
				e.MessageID = fmt.Sprintf("<pair-%d@example.com>", i/10)
			default:
				e.MessageID = fmt.Sprintf("<%d@example.com>", i)
			}
			if _, err := lease.Prepare(ctx, e); err != nil {
				return err
			}
			e.State = ledger.Filed
			settled := e
			settled.State = ledger.Settled
			return lease.Advance(ctx, e, settled)
		})
	}
	if err := g.Wait(); err != nil {
		m.t.Fatal(err)
	}
	if err := lease.Release(ctx); err != nil {
		m.t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		m.t.Fatal(err)
	}
}
