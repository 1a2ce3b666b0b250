package ledger

import "testing"

// Fill makes a ledger with n entries, as fill does.
func Fill(tb testing.TB, path string, n int) Ledger { return fill(tb, path, n) }

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
