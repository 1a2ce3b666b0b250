package ledger

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/gofrs/flock"
	"modernc.org/sqlite"

	"postroom/internal/durable"
)

// lockFile takes the lock of the ledger at path for this process, in a folder
// that is made if it is not there.
func lockFile(path string) (*flock.Flock, error) {
	if err := makeFolder(filepath.Dir(path)); err != nil {
		return nil, fmt.Errorf("make folder: %w", err)
	}
	lock := flock.New(path+".lock", flock.SetPermissions(0o600))
	taken, err := lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", lock.Path(), err)
	}
	if !taken {
		return nil, fmt.Errorf("lock %s: %w", lock.Path(), ErrLocked)
	}
	return lock, nil
}

// makeFolder makes a folder and its parents, so that they survive a loss of
// power.
func makeFolder(dir string) error {
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent := filepath.Dir(dir)
	if err := makeFolder(parent); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return durable.SyncDir(parent)
}

// makeFile makes an empty file, unless it is there, that others cannot read.
func makeFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return durable.SyncDir(filepath.Dir(path))
}

// openDatabase opens the database at path, which must be there, with the mode
// (ro, rw) and pragmas given.
func openDatabase(path, mode string, pragmas ...string) (*sql.DB, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	name := filepath.ToSlash(abs)
	if runtime.GOOS == "windows" && !strings.HasPrefix(name, "/") {
		name = "/" + name // file:///C:/…
	}
	q := url.Values{"mode": {mode}, "_error_rc": {"1"}, "_pragma": append([]string{"busy_timeout(5000)"}, pragmas...)}
	u := url.URL{Scheme: "file", Path: name, RawQuery: q.Encode()}
	c, err := sqlite.NewConnector(u.String())
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(c), nil
}

// applicationID marks a SQLite database as a ledger: "POST" in ASCII.
const applicationID = 0x504f5354

// schemaVersion returns the version of the schema of a ledger, 0 for an empty
// database, or an error if the database is no ledger or has a version above
// newest.
func schemaVersion(ctx context.Context, conn *sql.Conn, newest int) (int, error) {
	var id, version, tables int
	for query, to := range map[string]*int{
		"PRAGMA application_id":              &id,
		"PRAGMA user_version":                &version,
		"SELECT count(*) FROM sqlite_master": &tables,
	} {
		if err := conn.QueryRowContext(ctx, query).Scan(to); err != nil {
			return 0, fmt.Errorf("read schema version: %w", err)
		}
	}
	empty := id == 0 && version == 0 && tables == 0
	if id != applicationID && !empty {
		return 0, errors.New("database belongs to another program")
	}
	if version > newest {
		return 0, fmt.Errorf("schema version %d: %w", version, ErrNewer)
	}
	return version, nil
}

// While no process has the ledger open, the file path + ".closed" says how the
// database was left. One that is not as it says was written by something else
// or not closed: by a crash, a restore, a failing disk. Only such a database is
// looked through when it is opened, which takes long.
const closedSuffix = ".closed"

// mark returns what changes with every write to the database at path.
func mark(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, "%d bytes, %s\n", info.Size(), info.ModTime().UTC().Format(time.RFC3339Nano)), nil
}

// takeMark removes the mark that the last process left and reports whether the
// database is as it was then.
func takeMark(path string) (untouched bool, err error) {
	left, err := os.ReadFile(path + closedSuffix)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err := os.Remove(path + closedSuffix); err != nil {
		return false, err
	}
	if log, err := os.Stat(path + "-wal"); err == nil && log.Size() > 0 {
		return false, nil
	}
	now, err := mark(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return bytes.Equal(now, left), err
}

// leaveMark marks a database that was closed in order.
func leaveMark(path string) error {
	now, err := mark(path)
	if err != nil {
		return err
	}
	return os.WriteFile(path+closedSuffix, now, 0o600)
}

// checkedSize is the size in bytes up to which a database is checked, at some
// 300 MB a second. A larger one tells its damage when the page is read.
const checkedSize = 64 << 20

// checkPages finds damaged pages in a database that is not large.
func checkPages(ctx context.Context, conn *sql.Conn, path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.Size() > checkedSize {
		return nil
	}
	var verdict string
	if err := conn.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&verdict); err != nil {
		return fmt.Errorf("check database: %w", err)
	}
	if verdict != "ok" {
		return fmt.Errorf("check database: it is damaged: %s", verdict)
	}
	return nil
}

// CopySQLite copies the ledger at path, as it is at one moment, to a new file
// that only its owner may read and that survives a loss of power, also while
// another process has the ledger open. An error that wraps [fs.ErrExist] if the
// file is there, [fs.ErrNotExist] if there is no ledger; after an error there is
// no file that was not there before.
func CopySQLite(ctx context.Context, path, to string) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("copy ledger %s: %w", path, err)
		}
	}()
	if _, err := os.Stat(path); err != nil {
		return err
	}
	db, err := openDatabase(path, "ro")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	f, err := os.OpenFile(to, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if _, err = db.ExecContext(ctx, "VACUUM INTO ?", to); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = durable.SyncDir(filepath.Dir(to))
	}
	if err != nil {
		return errors.Join(err, os.Remove(to))
	}
	return nil
}

// backup copies the ledger, as it is at the schema version, to a file beside it
// that survives a loss of power.
func backup(ctx context.Context, conn *sql.Conn, path string, version int) error {
	name := fmt.Sprintf("%s.v%d.bak", path, version)
	partial := name + ".partial"
	if err := os.Remove(partial); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := makeFile(partial); err != nil {
		return err
	}
	if _, err := conn.ExecContext(ctx, "VACUUM INTO ?", partial); err != nil {
		return err
	}
	f, err := os.OpenFile(partial, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(partial, name); err != nil {
		return err
	}
	return durable.SyncDir(filepath.Dir(path))
}
