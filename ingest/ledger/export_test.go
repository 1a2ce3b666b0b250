package ledger

import (
	"context"
	"errors"
	"testing"
	"time"
)

// Fill makes a ledger with n entries, as fill does.
func Fill(tb testing.TB, path string, n int) Ledger { return fill(tb, path, n) }

// FillFolder makes a ledger with n settled entries in a folder of one source.
// Their keys are those that fill makes.
func FillFolder(path, folder string, n int) error {
	l, err := openSQLite(context.Background(), path, time.Now, schema())
	if err != nil {
		return err
	}
	err = l.writer.do(context.Background(), 1, func(tx *sqliteTx) error {
		if _, err := tx.folder(place{"source", folder}); err != nil {
			return err
		}
		for _, s := range []string{settledEntries("1", "1"), settledDocuments, settledCounts} {
			if _, err := tx.exec(s, int64(n)); err != nil {
				return err
			}
		}
		return nil
	})
	return errors.Join(err, l.Close())
}

// CheckIntegrity fails unless the database of an open ledger is whole.
func CheckIntegrity(t testing.TB, l Ledger) {
	t.Helper()
	var verdict string
	if err := l.(*sqliteLedger).reader.db.QueryRowContext(t.Context(), "PRAGMA integrity_check").Scan(&verdict); err != nil {
		t.Fatal(err)
	}
	if verdict != "ok" {
		t.Fatalf("integrity check says %s", verdict)
	}
}
