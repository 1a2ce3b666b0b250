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
// 64 callers on 64 folders, in a ledger that is empty or has a million entries.
func BenchmarkSettle(b *testing.B) {
	for name, size := range map[string]int{"Empty": 0, "Million": 1_000_000} {
		l := ledger.Fill(b, filepath.Join(b.TempDir(), "postroom.db"), size)
		b.Run(name, func(b *testing.B) { settleAll(b, l) })
		if err := l.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

func settleAll(b *testing.B, l ledger.Ledger) {
	var workers, n atomic.Int64
	cpu := cpuTime(b)
	b.ReportAllocs()
	b.SetParallelism(64 / runtime.GOMAXPROCS(0))
	b.RunParallel(func(pb *testing.PB) {
		folder := fmt.Sprintf("%d of %d", workers.Add(1), b.N)
		lease, err := l.Lease(b.Context(), "bench", folder, time.Hour)
		if err != nil {
			b.Error(err)
			return
		}
		for pb.Next() {
			if err := settle(b.Context(), lease, folder+strconv.FormatInt(n.Add(1), 10)); err != nil {
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
func settle(ctx context.Context, l ledger.Lease, key string) error {
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
