package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"postroom/ingest/ledger"
)

const (
	pollFolder  = "Inbox"
	pollEntries = 78_000 // more make it too large to be checked when it is opened
)

// pollOnce asks for every message of the folder, and prints the most memory
// that this process held.
func pollOnce(path string) error {
	ctx := context.Background()
	l, err := ledger.OpenSQLite(ctx, path)
	if err != nil {
		return err
	}
	if err := errors.Join(pollKnown(ctx, l), l.Close()); err != nil {
		return err
	}
	status, err := os.ReadFile("/proc/self/status") // only Linux has it
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(status)) {
		var kilobytes int64
		if _, err := fmt.Sscanf(line, "VmHWM: %d kB", &kilobytes); err == nil {
			fmt.Println(kilobytes << 10)
		}
	}
	return nil
}

func pollKnown(ctx context.Context, l ledger.Ledger) error {
	lease, err := l.Lease(ctx, "source", pollFolder, time.Hour)
	if err != nil {
		return err
	}
	if owed, err := lease.Owed(ctx, time.Now(), "", 256); err != nil || len(owed) > 0 {
		return fmt.Errorf("%d messages are owed, %w", len(owed), err)
	}
	for listed := range chunksOf(256) {
		entries, err := lease.Begin(ctx, listed)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if e.State != ledger.Settled {
				return fmt.Errorf("message %s is %s, want that it is known", e.Key, e.State)
			}
		}
	}
	return lease.Release(ctx)
}

// chunksOf yields the messages of the folder, n at a time.
func chunksOf(n int) func(func([]ledger.Listed) bool) {
	return func(yield func([]ledger.Listed) bool) {
		var listed []ledger.Listed
		for i := 1; i <= pollEntries; i++ {
			listed = append(listed, ledger.Listed{Key: fmt.Sprintf("%010d", i)})
			if len(listed) == n || i == pollEntries {
				if !yield(listed) {
					return
				}
				listed = nil
			}
		}
	}
}
