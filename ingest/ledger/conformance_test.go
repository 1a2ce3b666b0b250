package ledger_test

import (
	"path/filepath"
	"testing"

	"postroom/ingest/ledger"
	"postroom/ingest/ledger/ledgertest"
)

func TestMemory(t *testing.T) {
	ledgertest.Run(t, func(t *testing.T) (ledger.Ledger, func() ledger.Ledger) {
		l := ledger.NewMemory()
		return l, func() ledger.Ledger { return l }
	})
}

func TestSQLite(t *testing.T) {
	ledgertest.Run(t, func(t *testing.T) (ledger.Ledger, func() ledger.Ledger) {
		path := filepath.Join(t.TempDir(), "state of ?%41#", "postroom.db")
		l := openSQLite(t, path)
		return l, func() ledger.Ledger {
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			l = openSQLite(t, path)
			return l
		}
	})
}

func openSQLite(t *testing.T, path string) ledger.Ledger {
	t.Helper()
	l, err := ledger.OpenSQLite(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	return l
}
