package ledger

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// execute runs SQL on the database at path, which is made if it is not there.
func execute(t *testing.T, path string, statements ...string) {
	t.Helper()
	db, err := openDatabase(path, "rwc")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range statements {
		if _, err := db.ExecContext(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// open opens a ledger that the test closes.
func open(t *testing.T, path string, steps []string) *sqliteLedger {
	t.Helper()
	l, err := openSQLite(t.Context(), path, time.Now, steps)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeLedger(t, l) })
	return l
}

func closeLedger(t *testing.T, l Reader) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// beginOne leases the folder and begins a message.
func beginOne(t *testing.T, l Ledger, folder, key string) (Lease, Entry) {
	t.Helper()
	lease, err := l.Lease(t.Context(), "source", folder, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := lease.Begin(t.Context(), []Listed{{Key: key}})
	if err != nil {
		t.Fatal(err)
	}
	return lease, entries[0]
}

// damage makes a ledger with a damaged page whose time of change is later, or
// earlier, by so much than when it was closed.
func damage(t *testing.T, path string, later time.Duration) {
	t.Helper()
	closeLedger(t, fill(t, path, 2000))
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt([]byte(strings.Repeat("damage", 1000)), 40*4096)
	at := info.ModTime().Add(later)
	if err := errors.Join(err, f.Close(), os.Chtimes(path, at, at)); err != nil {
		t.Fatal(err)
	}
}

// TestCheckedUnlessUntouched hides a damaged page from what tells whether a
// ledger has to be checked, and then not.
func TestCheckedUnlessUntouched(t *testing.T) {
	for name, tt := range map[string]struct {
		later   time.Duration
		touch   func(path string) error
		checked bool
	}{
		"untouched":  {0, func(string) error { return nil }, false},
		"changed":    {time.Second, func(string) error { return nil }, true},
		"restored":   {-time.Hour, func(string) error { return nil }, true},
		"not closed": {0, func(path string) error { return os.Remove(path + closedSuffix) }, true},
		"with a log": {0, func(path string) error { return os.WriteFile(path+"-wal", []byte("some"), 0o600) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "postroom.db")
			damage(t, path, tt.later)
			if err := tt.touch(path); err != nil {
				t.Fatal(err)
			}
			l, err := OpenSQLite(t.Context(), path)
			if err == nil {
				if _, err := os.Stat(path + closedSuffix); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("mark while open: %v, want none", err)
				}
				closeLedger(t, l)
			}
			if checked := err != nil && strings.Contains(err.Error(), "damaged"); checked != tt.checked {
				t.Fatalf("error is %v; want damage found: %v", err, tt.checked)
			}
		})
	}
}

func TestOpenRefuses(t *testing.T) {
	for name, tt := range map[string]struct {
		make   func(t *testing.T, path string)
		is     error
		says   string
		reader bool // refuses too
	}{
		"garbage": {func(t *testing.T, path string) {
			if err := os.WriteFile(path, []byte(strings.Repeat("no database ", 1000)), 0o600); err != nil {
				t.Fatal(err)
			}
		}, nil, "not a database", true},
		"another program's": {func(t *testing.T, path string) {
			execute(t, path, "PRAGMA application_id = 7", "PRAGMA user_version = 1")
		}, nil, "another program", true},
		"no program's": {func(t *testing.T, path string) {
			execute(t, path, "CREATE TABLE sources (id INTEGER)")
		}, nil, "another program", true},
		"newer": {func(t *testing.T, path string) {
			closeLedger(t, open(t, path, schema()))
			execute(t, path, "PRAGMA user_version = 99")
		}, ErrNewer, "99", true},
		"damaged": {func(t *testing.T, path string) { damage(t, path, time.Second) }, nil, "damaged", false},
		"folder": {func(t *testing.T, path string) {
			if err := os.Mkdir(path, 0o700); err != nil {
				t.Fatal(err)
			}
		}, nil, "", true},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "postroom.db")
			tt.make(t, path)
			before, _ := os.ReadFile(path)
			check := func(l Reader, err error) {
				t.Helper()
				if err == nil {
					closeLedger(t, l)
					t.Fatal("opened")
				}
				if !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), tt.says) || tt.is != nil && !errors.Is(err, tt.is) {
					t.Fatalf("error is %q", err)
				}
			}
			if tt.reader {
				check(ReadSQLite(t.Context(), path))
			}
			l, err := OpenSQLite(t.Context(), path)
			check(l, err)
			if after, _ := os.ReadFile(path); string(after) != string(before) {
				t.Fatal("the file was changed")
			}
			lock, err := lockFile(path)
			if err != nil {
				t.Fatalf("the lock is kept: %v", err)
			}
			if err := lock.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestOpenRefusesWhenContextEnded(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	path := filepath.Join(t.TempDir(), "postroom.db")
	if _, err := OpenSQLite(ctx, path); !errors.Is(err, context.Canceled) {
		t.Fatalf("error is %v", err)
	}
	open(t, path, schema())
}

func TestOpenMakesPrivateFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	path := filepath.Join(dir, "postroom.db")
	l := open(t, path, schema())
	beginOne(t, l, "inbox", "1")
	if runtime.GOOS == "windows" {
		return // has no modes
	}
	for name, want := range map[string]fs.FileMode{
		filepath.Dir(dir): 0o700, dir: 0o700, path: 0o600, path + "-wal": 0o600, path + "-shm": 0o600, path + ".lock": 0o600,
	} {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != want {
			t.Errorf("mode of %s is %v, want %v", name, info.Mode().Perm(), want)
		}
	}
}

func TestOpenTakesAnEmptyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "postroom.db")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	beginOne(t, open(t, path, schema()), "inbox", "1")
}

func TestSettings(t *testing.T) {
	l := open(t, filepath.Join(t.TempDir(), "postroom.db"), schema())
	for query, want := range map[string]string{"PRAGMA journal_mode": "wal", "PRAGMA synchronous": "2", "PRAGMA application_id": "1347375956"} {
		var got string
		err := l.writer.do(t.Context(), 1, func(tx *sqliteTx) error { return tx.row(query, nil, &got) })
		if err != nil || got != want {
			t.Errorf("%s is %q, %v, want %q", query, got, err, want)
		}
	}
	if _, err := l.reader.db.ExecContext(t.Context(), "UPDATE sources SET name = ''"); err == nil {
		t.Error("the reader writes")
	}
}

func TestMigrate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "postroom.db")
	old := schema()
	l := open(t, path, old)
	_, e := beginOne(t, l, "inbox", "1")
	closeLedger(t, l)

	newer := append(old, `CREATE TABLE added (n INTEGER); INSERT INTO added SELECT count(*) FROM entries;`)
	if _, err := readSQLite(t.Context(), path, newer); err == nil || !strings.Contains(err.Error(), "bring it up to date") {
		t.Fatalf("reading an older one says %v", err)
	}
	broken := append(newer[:len(newer):len(newer)], "CREATE TABLE half (n INTEGER); INSERT INTO none VALUES (1);")
	if l, err := openSQLite(t.Context(), path, time.Now, broken); err == nil {
		closeLedger(t, l)
		t.Fatal("opened with a step that fails")
	}
	checkVersion(t, path, len(old)+1)
	kept := fmt.Sprintf("%s.v%d.bak", path, len(old))
	checkVersion(t, kept, len(old))

	l = open(t, path, newer)
	got, err := l.Entry(t.Context(), "source", "inbox", "1")
	if err != nil || got != e {
		t.Fatalf("entry is %+v, %v, want %+v", got, err, e)
	}
	var added int
	if err := l.reader.db.QueryRowContext(t.Context(), "SELECT n FROM added").Scan(&added); err != nil || added != 1 {
		t.Fatalf("the step saw %d entries: %v", added, err)
	}
	if err := l.reader.db.QueryRowContext(t.Context(), "SELECT n FROM half").Scan(&added); err == nil {
		t.Fatal("half a step was kept")
	}
	closeLedger(t, l)
	if _, err := openSQLite(t.Context(), path, time.Now, old); !errors.Is(err, ErrNewer) {
		t.Fatalf("the older program says %v", err)
	}

	back := open(t, kept, old)
	if got, err := back.Entry(t.Context(), "source", "inbox", "1"); err != nil || got != e {
		t.Fatalf("entry in the backup is %+v, %v, want %+v", got, err, e)
	}
}

// A ledger of the first version keeps its documents, of which it knows less.
func TestMigrateFromTheFirst(t *testing.T) {
	path := filepath.Join(t.TempDir(), "postroom.db")
	execute(t, path, schema1, fmt.Sprintf("PRAGMA application_id = %d", applicationID), "PRAGMA user_version = 1",
		"INSERT INTO sources VALUES (1, 's')",
		"INSERT INTO documents VALUES ('doc', 1, 1, 'title', 1000000, 'place', 2000000, NULL)")
	l := open(t, path, schema())
	got, err := l.Document(t.Context(), "doc")
	if want := (Document{ID: "doc", Source: "s", Title: "title", Received: time.Unix(1, 0).UTC(), Location: "place", Filed: time.Unix(2, 0).UTC()}); err != nil || got != want {
		t.Fatalf("document is %+v, %v, want %+v", got, err, want)
	}
}

func TestCopy(t *testing.T) {
	dir := t.TempDir()
	path, to := filepath.Join(dir, "postroom.db"), filepath.Join(dir, "copy of ?%41#.db")
	l := open(t, path, schema())
	lease, e := beginOne(t, l, "inbox", "1")
	if err := CopySQLite(t.Context(), path, to); err != nil {
		t.Fatal(err)
	}
	if _, err := lease.Begin(t.Context(), []Listed{{Key: "later"}}); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(to); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v", info, err)
	}
	if err := CopySQLite(t.Context(), path, to); !errors.Is(err, fs.ErrExist) {
		t.Fatalf("copied over another file: %v", err)
	}
	if err := CopySQLite(t.Context(), filepath.Join(dir, "none.db"), filepath.Join(dir, "new.db")); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("copied from nothing: %v", err)
	}
	copied := open(t, to, schema())
	if got, err := copied.Entry(t.Context(), "source", "inbox", "1"); err != nil || got != e {
		t.Fatalf("entry is %+v, %v, want %+v", got, err, e)
	}
	if _, err := copied.Entry(t.Context(), "source", "inbox", "later"); !errors.Is(err, ErrNotFound) {
		t.Fatalf("what came later is in the copy: %v", err)
	}
}

func checkVersion(t *testing.T, path string, want int) {
	t.Helper()
	db, err := openDatabase(path, "ro")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var got int
	if err := db.QueryRowContext(t.Context(), "PRAGMA user_version").Scan(&got); err != nil || got != want {
		t.Fatalf("schema version of %s is %d, %v, want %d", path, got, err, want)
	}
}

func TestReadNeedsALedger(t *testing.T) {
	dir := t.TempDir()
	for _, path := range []string{filepath.Join(dir, "postroom.db"), filepath.Join(dir, "none", "postroom.db")} {
		if _, err := ReadSQLite(t.Context(), path); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), path) {
			t.Fatalf("error is %v", err)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Fatalf("left %v, %v", left, err)
	}
}

func TestReadBesideAWriter(t *testing.T) {
	path := filepath.Join(t.TempDir(), "postroom.db")
	l := open(t, path, schema())
	lease, e := beginOne(t, l, "inbox", "1")
	r, err := ReadSQLite(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	next, stop := iter.Pull2(r.Entries(t.Context(), Query{}))
	defer stop()
	if got, err, _ := next(); err != nil || got != e {
		t.Fatalf("entry is %+v, %v, want %+v", got, err, e)
	}
	for _, s := range []State{Begun, Quarantined, Parked} {
		e.State = s
		if err := lease.Advance(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		if got, err := r.Entry(t.Context(), "source", "inbox", "1"); err != nil || got.State != s {
			t.Fatalf("entry is %s, %v, want %s", got.State, err, s)
		}
		if n, err := r.Count(t.Context(), "source"); err != nil || n[s] != 1 {
			t.Fatalf("count is %v, %v", n, err)
		}
	}
	if got, _, more := next(); more {
		t.Fatalf("an iterator sees what came later: %+v", got)
	}
	closeLedger(t, l)
	if got, err := r.Entry(t.Context(), "source", "inbox", "1"); err != nil || got.State != Parked {
		t.Fatalf("after the writer: entry is %s, %v", got.State, err)
	}
	closeLedger(t, r)
	r, err = ReadSQLite(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := r.Entry(t.Context(), "source", "inbox", "1"); err != nil || got.State != Parked {
		t.Fatalf("without a writer: entry is %s, %v", got.State, err)
	}
	l = open(t, path, schema())
	if got, err := l.Entry(t.Context(), "source", "inbox", "1"); err != nil || got.State != Parked {
		t.Fatalf("beside a reader: entry is %s, %v", got.State, err)
	}
	closeLedger(t, r)
}
