package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"postroom/ingest/ledger"
)

// TestMain is also what a child process of a test runs.
func TestMain(m *testing.M) {
	if path := os.Getenv("LEDGER_TEST_SETTLE"); path != "" {
		exit(settleForever(path))
	}
	if path := os.Getenv("LEDGER_TEST_OPEN"); path != "" {
		l, err := ledger.OpenSQLite(context.Background(), path)
		if err == nil {
			err = l.Close()
		}
		exit(err)
	}
	if path := os.Getenv("LEDGER_TEST_FILL"); path != "" {
		exit(ledger.FillFolder(path, pollFolder, pollEntries))
	}
	if path := os.Getenv("LEDGER_TEST_POLL"); path != "" {
		exit(pollOnce(path))
	}
	goleak.VerifyTestMain(m)
}

// exit ends the child with status 3 for a ledger that is locked.
func exit(err error) {
	switch {
	case errors.Is(err, ledger.ErrLocked):
		os.Exit(3)
	case err != nil:
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func child(t testing.TB, env string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), env)
	cmd.Stderr = os.Stderr
	return cmd
}

// settleForever settles messages in several folders and prints each step after
// it was acknowledged: folder, key, state.
func settleForever(path string) error {
	ctx := context.Background()
	l, err := ledger.OpenSQLite(ctx, path)
	if err != nil {
		return err
	}
	errs := make([]error, 8)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() { errs[i] = settleFolder(ctx, l, fmt.Sprint("folder", i)) })
	}
	wg.Wait()
	return errors.Join(append(errs, l.Close())...)
}

func settleFolder(ctx context.Context, l ledger.Ledger, folder string) error {
	lease, err := l.Lease(ctx, "source", folder, time.Hour)
	if err != nil {
		return err
	}
	for i := 0; ; i++ {
		key := fmt.Sprintf("%d-%d", os.Getpid(), i)
		begun, err := lease.Begin(ctx, []ledger.Listed{{Key: key}, {Key: key + "-second"}})
		if err != nil {
			return err
		}
		e, second := begun[0], begun[1]
		fmt.Println(folder, key, ledger.Begun)
		e.DocumentID = folder + "-" + key
		if _, err := lease.Prepare(ctx, e); err != nil {
			return err
		}
		fmt.Println(folder, key, ledger.Prepared)
		for _, s := range []ledger.State{ledger.Filed, ledger.Settled} {
			e.State = s
			second.State = map[ledger.State]ledger.State{ledger.Filed: ledger.Quarantined, ledger.Settled: ledger.Parked}[s]
			if err := lease.Advance(ctx, e, second); err != nil {
				return err
			}
			fmt.Println(folder, key, s)
		}
	}
}
