package ledger

import (
	"context"
	"fmt"
	"iter"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// BenchmarkMillion measures what is done every day on a ledger of a million
// settled entries in 100 folders of 10 sources, but for a thousand owed and a
// thousand parked.
func BenchmarkMillion(b *testing.B) {
	path := filepath.Join(b.TempDir(), "postroom.db")
	l := fill(b, path, 1_000_000)
	lease, err := l.Lease(b.Context(), "source1", "folder11", time.Hour)
	if err != nil {
		b.Fatal(err)
	}
	now := time.Now()
	known := make([]Listed, 500)
	for i := range known {
		known[i].Key = fmt.Sprintf("%010d", (i+20)*1000+11) // of folder 11
	}
	all := func(q Query, want int) func(context.Context) error {
		return func(ctx context.Context) error { return drain(l.Entries(ctx, q), want) }
	}
	for name, run := range map[string]func(context.Context) error{
		"Begin500Known": func(ctx context.Context) error {
			entries, err := lease.Begin(ctx, known)
			if slices.ContainsFunc(entries, func(e Entry) bool { return e.State != Settled }) {
				return fmt.Errorf("a message was not known")
			}
			return err
		},
		"Owed":    func(ctx context.Context) error { _, err := lease.Owed(ctx, now, "", 100); return err },
		"NextDue": func(ctx context.Context) error { _, err := lease.NextDue(ctx); return err },
		"Count":   func(ctx context.Context) error { _, err := l.Count(ctx, ""); return err },
		"Entry": func(ctx context.Context) error {
			_, err := l.Entry(ctx, "source1", "folder11", known[7].Key)
			return err
		},
		"EntriesLimit":       all(Query{Limit: 100}, 100),
		"EntriesSourceLimit": all(Query{Source: "source3", Limit: 100}, 100),
		"EntriesSince":       all(Query{Source: "source3", Since: time.UnixMicro(999_000)}, 100),
		"EntriesParked":      all(Query{States: []State{Quarantined, Parked}}, 2000),
		"EntriesFirstOfAll": func(ctx context.Context) error {
			for _, err := range l.Entries(ctx, Query{}) {
				return err
			}
			return nil
		},
		"Renew": lease.Renew,
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if err := run(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
	b.Run("Open", func(b *testing.B) {
		for b.Loop() {
			l, err := OpenSQLite(b.Context(), path)
			if err != nil {
				b.Fatal(err)
			}
			if err := l.Close(); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func drain(entries iter.Seq2[Entry, error], want int) error {
	n := 0
	for _, err := range entries {
		if err != nil {
			return err
		}
		n++
	}
	if n != want {
		return fmt.Errorf("found %d entries, want %d", n, want)
	}
	return nil
}

// fill makes a ledger with n entries, each changed at the microsecond of its
// number, all of them settled but for a few of the first.
func fill(tb testing.TB, path string, n int) *sqliteLedger {
	l, err := openSQLite(tb.Context(), path, time.Now, schema())
	if err != nil {
		tb.Fatal(err)
	}
	if n == 0 {
		return l
	}
	err = l.writer.do(tb.Context(), 1, func(tx *sqliteTx) error {
		for _, s := range []string{
			`WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 9)
				INSERT INTO sources (id, name) SELECT i + 1, 'source' || i FROM n`,
			`WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 99)
				INSERT INTO folders (id, source, folder) SELECT i + 1, i / 10 + 1, 'folder' || i FROM n`,
			settledEntries("i % 100 / 10 + 1", "i % 100 + 1"),
			settledDocuments,
			`UPDATE entries SET state = 4, retry_at = id, document = '', cause = 'no' WHERE id % 10 = 1 AND id <= ?1 / 1000 * 10`,
			`UPDATE entries SET state = 11, quarantine = randomblob(6), cause = 'no' WHERE id % 10 = 2 AND id <= ?1 / 1000 * 10`,
			settledCounts,
		} {
			if _, err := tx.exec(s, int64(n)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	return l
}

// settledEntries makes settled entries from 1 to ?1 whose source and folder are
// the terms given, of which i is the number. The keys are "%010d" of it.
func settledEntries(source, folder string) string {
	return `WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
		INSERT INTO entries SELECT i, ` + source + `, ` + folder + `, printf('%010d', i), 'Inbox/Sub', 10, 50000, i,
		lower(hex(randomblob(32))), 'Invoice ' || i || ' of a supplier', '<' || i || '@mail.example.com>', i,
		'source/2026/01/02/Invoice ' || i || ' of a supplier~0123456789ab', randomblob(32), 0, 0, 1, NULL, '', i, i, NULL,
		NULL, NULL, 0 FROM n`
}

const (
	settledDocuments = `INSERT INTO documents SELECT document, source, id, title, received, location, filed, sha256,
		message_id, randomblob(32), randomblob(32), 1, sha256 FROM entries ORDER BY document`
	settledCounts = `INSERT INTO counts SELECT source, state, count(*) FROM entries GROUP BY source, state`
)
