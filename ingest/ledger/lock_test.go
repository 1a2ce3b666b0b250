package ledger_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"postroom/ingest/ledger"
)

func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "postroom.db")
	status := func() int {
		t.Helper()
		cmd := child(t, "LEDGER_TEST_OPEN="+path)
		if err := cmd.Run(); cmd.ProcessState == nil {
			t.Fatal(err)
		}
		return cmd.ProcessState.ExitCode()
	}
	l := openSQLite(t, path)
	if _, err := ledger.OpenSQLite(t.Context(), path); !errors.Is(err, ledger.ErrLocked) || !strings.Contains(err.Error(), path) {
		t.Fatalf("error is %v", err)
	}
	if got := status(); got != 3 {
		t.Fatalf("another process ends with %d, want 3", got)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if got := status(); got != 0 {
		t.Fatalf("another process ends with %d after the close, want 0", got)
	}
}
