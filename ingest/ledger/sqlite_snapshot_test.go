package ledger

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// state is what is in a folder, with the time of its last change.
func state(t *testing.T, dir string) string {
	t.Helper()
	var out string
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		out += fmt.Sprintln(e.Name(), info.Size(), info.ModTime())
	}
	return out
}

// snapshot copies the ledger and returns how many messages are in the copy.
func snapshot(t *testing.T, path string) int {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy.db")
	if err := SnapshotSQLite(t.Context(), path, to); err != nil {
		t.Fatal(err)
	}
	l, err := OpenSQLite(t.Context(), to)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	n, err := l.Count(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	return n[Begun]
}

func TestSnapshot(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "postroom.db")
	to := filepath.Join(t.TempDir(), "copy.db")
	if err := SnapshotSQLite(t.Context(), path, to); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a ledger: %v", err)
	}
	l, err := OpenSQLite(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	folder, err := l.Lease(t.Context(), "source", "folder", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	begin := func(n int) {
		if _, err := folder.Begin(context.Background(), []Listed{{Key: fmt.Sprint(n)}}); err != nil {
			t.Error(err)
		}
	}
	begin(1)
	before := state(t, dir)
	if n := snapshot(t, path); n != 1 || state(t, dir) != before {
		t.Errorf("%d messages in the copy of an open ledger; it was\n%sand is\n%s", n, before, state(t, dir))
	}
	var writing sync.WaitGroup
	done := make(chan struct{})
	writing.Go(func() {
		for n := 2; ; n++ {
			select {
			case <-done:
				return
			default:
				begin(n)
			}
		}
	})
	last := 1
	for range 20 {
		n := snapshot(t, path)
		if n < last {
			t.Errorf("%d messages in a copy, after %d in the one before", n, last)
		}
		last = n
	}
	close(done)
	writing.Wait()
	n, err := l.Count(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	before = state(t, dir)
	if got := snapshot(t, path); got != n[Begun] || state(t, dir) != before {
		t.Errorf("%d messages in the copy of a closed ledger, want %d; it was\n%sand is\n%s", got, n[Begun], before, state(t, dir))
	}
}
