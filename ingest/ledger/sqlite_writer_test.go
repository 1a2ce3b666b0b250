package ledger

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postroom/internal/durable"
)

// group runs operations in one transaction, while the writer has nothing else
// to do, and returns what each was answered.
func group(t *testing.T, w *sqliteWriter, steps int, runs ...func(*sqliteTx) error) []error {
	ops := make([]*operation, len(runs))
	for i, run := range runs {
		ops[i] = &operation{ctx: t.Context(), steps: steps, run: run, done: make(chan error, 1)}
	}
	w.record(ops)
	answers := make([]error, len(ops))
	for i, op := range ops {
		answers[i] = <-op.done
	}
	return answers
}

func TestRefusalDisturbsNoOther(t *testing.T) {
	l := open(t, filepath.Join(t.TempDir(), "postroom.db"), schema())
	lease, a := beginOne(t, l, "inbox", "a")
	folder := lease.(*sqliteLease).folder
	refusal := errors.New("refused")
	add := func(key string, err error) func(*sqliteTx) error {
		return func(tx *sqliteTx) error {
			e := a
			e.Key = key
			if _, addErr := tx.add(folder, e); addErr != nil {
				return addErr
			}
			return err
		}
	}
	answers := group(t, l.writer, 2, add("b", nil), add("c", refusal), add("d", nil), add("c", refusal), add("b", nil))
	if fmt.Sprint(answers) != fmt.Sprint([]error{nil, refusal, nil, refusal, nil}) {
		t.Fatalf("answers are %v", answers)
	}
	checkEntries(t, l, "a", "b", "d")
}

func TestFailureDisturbsNoOther(t *testing.T) {
	l := open(t, filepath.Join(t.TempDir(), "postroom.db"), schema())
	lease, a := beginOne(t, l, "inbox", "a")
	folder := lease.(*sqliteLease).folder
	tries := 0
	add := func(key, then string) func(*sqliteTx) error {
		return func(tx *sqliteTx) error {
			tries++
			e := a
			e.Key = key
			if _, err := tx.add(folder, e); err != nil {
				return err
			}
			_, err := tx.exec(then)
			return err
		}
	}
	answers := group(t, l.writer, 1, add("b", "SELECT 1"), add("c", "SELECT none"), add("d", "SELECT 1"))
	if answers[0] != nil || answers[1] == nil || answers[2] != nil {
		t.Fatalf("answers are %v", answers)
	}
	if tries != 5 {
		t.Fatalf("operations ran %d times, want 2 together and 3 alone", tries)
	}
	checkEntries(t, l, "a", "b", "d")
}

// checkEntries fails unless the entries are those of the keys, and counted.
func checkEntries(t *testing.T, l Ledger, keys ...string) {
	t.Helper()
	var got []string
	for e, err := range l.Entries(t.Context(), Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, e.Key)
	}
	if fmt.Sprint(got) != fmt.Sprint(keys) {
		t.Fatalf("entries are %q, want %q", got, keys)
	}
	count, err := l.Count(t.Context(), "")
	if err != nil || count[Begun] != len(keys) {
		t.Fatalf("count is %v, %v, want %d", count, err, len(keys))
	}
	CheckIntegrity(t, l)
}

// TestFullDisk bounds the pages of the database, which SQLite answers with the
// error of a full disk.
func TestFullDisk(t *testing.T) {
	l := open(t, filepath.Join(t.TempDir(), "postroom.db"), schema())
	lease, a := beginOne(t, l, "inbox", "a")
	bound := func(pages int) {
		t.Helper()
		var got int
		query := fmt.Sprintf("PRAGMA max_page_count = %d", pages)
		if err := l.writer.do(t.Context(), 1, func(tx *sqliteTx) error { return tx.row(query, nil, &got) }); err != nil {
			t.Fatal(err)
		}
	}
	bound(1) // the present size, in fact
	big := make([]Listed, 100)
	for i := range big {
		big[i] = Listed{Key: fmt.Sprint("b", i), FolderPath: strings.Repeat("x", 1000)}
	}
	for range 2 {
		if _, err := lease.Begin(t.Context(), big); !durable.Full(err) || !strings.Contains(err.Error(), "full") {
			t.Fatalf("error is %v", err)
		}
		checkEntries(t, l, "a")
	}
	large := a
	large.Title = strings.Repeat("x", 100_000)
	if err := lease.Advance(t.Context(), large); !durable.Full(err) || !strings.Contains(err.Error(), "full") {
		t.Fatalf("error is %v", err)
	}
	if got, err := l.Entry(t.Context(), "source", "inbox", "a"); err != nil || got != a {
		t.Fatalf("entry is %+v, %v, want %+v", got, err, a)
	}
	if err := lease.SetCursor(t.Context(), "small", "r"); err != nil {
		t.Fatal(err)
	}

	bound(1 << 30)
	if err := lease.Advance(t.Context(), large); err != nil {
		t.Fatal(err)
	}
	if _, err := lease.Begin(t.Context(), big); err != nil {
		t.Fatal(err)
	}
	if n, err := l.Count(t.Context(), ""); err != nil || n[Begun] != 101 {
		t.Fatalf("count is %v, %v", n, err)
	}
}

// TestUnchangedCursor asks the database whether anything was written.
func TestUnchangedCursor(t *testing.T) {
	l := open(t, filepath.Join(t.TempDir(), "postroom.db"), schema())
	lease, _ := beginOne(t, l, "inbox", "1")
	written := func() (n int) {
		t.Helper()
		err := l.writer.do(t.Context(), 1, func(tx *sqliteTx) error { return tx.row("SELECT total_changes()", nil, &n) })
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	var before int
	for i, want := range []int{1, 0, 0} {
		before = written()
		if err := lease.SetCursor(t.Context(), "cursor", "rules"); err != nil {
			t.Fatal(err)
		}
		if got := written() - before; got != want {
			t.Fatalf("time %d: %d rows written, want %d", i, got, want)
		}
	}
}

func TestLeaseExpires(t *testing.T) {
	now := time.Now()
	clock := func() time.Time { return now }
	sqlite, err := openSQLite(t.Context(), filepath.Join(t.TempDir(), "postroom.db"), clock, schema())
	if err != nil {
		t.Fatal(err)
	}
	defer closeLedger(t, sqlite)
	for name, l := range map[string]Ledger{"memory": newMemory(clock), "sqlite": sqlite} {
		t.Run(name, func(t *testing.T) {
			first, e := beginOne(t, l, "inbox", "1")
			now = now.Add(time.Hour - 1)
			if err := first.Renew(t.Context()); err != nil {
				t.Fatal(err)
			}
			now = now.Add(time.Hour - 1)
			if err := first.Advance(t.Context(), e); err != nil {
				t.Fatal(err)
			}
			if _, err := l.Lease(t.Context(), "source", "inbox", time.Hour); !errors.Is(err, ErrHeld) {
				t.Fatalf("error is %v", err)
			}
			now = now.Add(1)
			for _, err := range []error{first.Advance(t.Context(), e), first.Renew(t.Context())} {
				if !errors.Is(err, ErrFenced) {
					t.Fatalf("error is %v", err)
				}
			}
			second, err := l.Lease(t.Context(), "source", "inbox", time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			if err := first.Advance(t.Context(), e); !errors.Is(err, ErrFenced) {
				t.Fatalf("error is %v", err)
			}
			if err := second.Advance(t.Context(), e); err != nil {
				t.Fatal(err)
			}
			if _, err := l.Rename(t.Context(), "source", "new"); !errors.Is(err, ErrHeld) {
				t.Fatalf("error is %v", err)
			}
			now = now.Add(time.Hour)
			if n, err := l.Rename(t.Context(), "source", "new"); err != nil || n != 1 {
				t.Fatalf("renamed %d, %v", n, err)
			}
		})
	}
}

// TestLeaseLostInTheQueue loses the lease after the caller's check and before
// the writer's.
func TestLeaseLostInTheQueue(t *testing.T) {
	now := time.Now()
	jump := false
	clock := func() time.Time {
		at := now
		if jump {
			now = now.Add(2 * time.Hour)
		}
		return at
	}
	l, err := openSQLite(t.Context(), filepath.Join(t.TempDir(), "postroom.db"), clock, schema())
	if err != nil {
		t.Fatal(err)
	}
	defer closeLedger(t, l)
	lease, e := beginOne(t, l, "inbox", "1")
	before := e
	jump = true
	e.State = Vanished
	if err := lease.Advance(t.Context(), e); !errors.Is(err, ErrFenced) {
		t.Fatalf("error is %v", err)
	}
	if got, err := l.Entry(t.Context(), "source", "inbox", "1"); err != nil || got != before {
		t.Fatalf("entry is %+v, %v, want %+v", got, err, before)
	}
}

// TestQueriesReadIndexes fails if a query that a million settled entries must
// not slow down reads a whole table.
func TestQueriesReadIndexes(t *testing.T) {
	l := open(t, filepath.Join(t.TempDir(), "postroom.db"), schema())
	for _, source := range []string{"", "s"} {
		for _, states := range [][]State{nil, {Begun}, {Settled}, {Parked, Quarantined}, {Vanished, Filed}} {
			for _, since := range []time.Time{{}, time.Now()} {
				for _, id := range []string{"", "0123456789ab"} {
					for _, limit := range []int{0, 5} {
						query, args := entriesQuery(Query{Source: source, States: states, Since: since, QuarantineID: id, Limit: limit})
						rows, err := l.reader.db.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+query, args...)
						err = each(rows, err, func() (bool, error) {
							var n int
							var step string
							err := rows.Scan(&n, &n, &n, &step)
							if strings.HasPrefix(step, "SCAN e") && !strings.Contains(step, "INDEX") {
								t.Errorf("%s\nreads all: %s", query, step)
							}
							return true, err
						})
						if err != nil {
							t.Fatal(err)
						}
					}
				}
			}
		}
	}
}
