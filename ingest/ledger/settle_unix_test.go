//go:build unix

package ledger_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"runtime"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"postroom/ingest/ledger"
)

// BenchmarkSettle takes messages from begun to settled, one call per step, with
// 64 callers on 64 folders.
func BenchmarkSettle(b *testing.B) {
	l, err := ledger.OpenSQLite(b.Context(), filepath.Join(b.TempDir(), "postroom.db"))
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := l.Close(); err != nil {
			b.Error(err)
		}
	}()
	var workers, n atomic.Int64
	b.ReportAllocs()
	cpu := cpuTime(b)
	b.SetParallelism(64 / runtime.GOMAXPROCS(0))
	b.RunParallel(func(pb *testing.PB) {
		lease, err := l.Lease(b.Context(), "source", fmt.Sprint(workers.Add(1)), time.Hour)
		if err != nil {
			b.Error(err)
			return
		}
		for pb.Next() {
			if err := settle(b.Context(), lease, n.Add(1)); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "entries/s")
	b.ReportMetric(float64(cpuTime(b)-cpu)/float64(b.N)/1e3, "cpu-µs/entry")
}

// cpuTime is what this process has used, in the kernel too.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// settle takes a message from begun to settled.
func settle(ctx context.Context, l ledger.Lease, n int64) error {
	key := strconv.FormatInt(n, 10)
	begun, err := l.Begin(ctx, []ledger.Listed{{Key: key, FolderPath: "Inbox", Size: 50_000, Received: time.Now()}})
	if err != nil {
		return err
	}
	e := begun[0]
	e.SHA256 = sha256.Sum256([]byte(key))
	e.DocumentID = hex.EncodeToString(e.SHA256[:])
	e.Title = "Invoice " + key + " of a supplier"
	e.MessageID = "<" + key + "@mail.example.com>"
	if _, err := l.Prepare(ctx, e); err != nil {
		return err
	}
	e.State, e.Location = ledger.Filed, "source/2026/01/02/"+e.Title+"~"+e.DocumentID[:12]
	if err := l.Advance(ctx, e); err != nil {
		return err
	}
	e.State = ledger.Settled
	return l.Advance(ctx, e)
}
