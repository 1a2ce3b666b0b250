package imap

import (
	"math"
	"math/rand/v2"
	"testing"

	goimap "github.com/emersion/go-imap/v2"

	"postroom/sources"
)

// planned returns the jobs for messages of the sizes, on two connections.
func planned(sizes []int64) []job {
	s := &Source{pool: newPool(2, 0, nil)}
	f := &fetch{source: s}
	var wanted []numbered
	for i, size := range sizes {
		wanted = append(wanted, numbered{sources.Ref{Size: size}, key{7, goimap.UID(i + 1)}})
	}
	f.plan(wanted)
	return f.jobs
}

// Every message is in one job, none is too large, and what is worth it is shared
// by the connections, whatever sizes a server tells.
func TestPlan(t *testing.T) {
	same := func(n int, size int64) []int64 {
		sizes := make([]int64, n)
		for i := range sizes {
			sizes[i] = size
		}
		return sizes
	}
	for _, row := range []struct {
		name  string
		sizes []int64
		jobs  int
	}{
		{"one", same(1, 1000), 1},
		{"few", same(64, 1000), 1},
		{"many", same(256, 1000), 2},
		{"few large", same(2, 10<<20), 2},
		{"empty", same(64, 0), 1},
		{"unknown", same(256, -1), 2},
		{"beyond all numbers", same(256, math.MaxInt64), 256},
		{"more than a job holds", same(5000, 1), 5},
		{"more bytes than a job holds", same(256, 1<<20), 4},
	} {
		if jobs := planned(row.sizes); len(jobs) != row.jobs {
			t.Errorf("%s: %d jobs, want %d", row.name, len(jobs), row.jobs)
		}
	}
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 0))
		sizes := make([]int64, 1+r.IntN(3000))
		for i := range sizes {
			sizes[i] = r.Int64N(1<<r.IntN(40)) - 1
		}
		next := goimap.UID(1)
		for _, j := range planned(sizes) {
			var size int64
			for _, ref := range j.refs {
				if ref.uid != next {
					t.Fatalf("seed %d: message %d, want %d", seed, ref.uid, next)
				}
				next++
				size += ref.length()
			}
			if len(j.refs) == 0 || len(j.refs) > batchMessages || size > batchBytes {
				t.Fatalf("seed %d: a job of %d messages and %d bytes", seed, len(j.refs), size)
			}
		}
		if int(next) != len(sizes)+1 {
			t.Fatalf("seed %d: %d of %d messages are planned", seed, next-1, len(sizes))
		}
	}
}
