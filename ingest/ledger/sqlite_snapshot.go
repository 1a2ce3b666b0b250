package ledger

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// SnapshotSQLite copies the ledger at path, as it is at one moment, to a new file
// that only its owner may read, for [OpenSQLite]. It changes nothing: unlike
// whoever reads a ledger, it leaves no files of SQLite beside one that is closed.
// Another process may have it open. The copy need not survive a loss of power. An
// error that wraps [fs.ErrNotExist] if there is no ledger; after an error there is
// no copy.
func SnapshotSQLite(ctx context.Context, path, to string) error {
	for range 3 {
		if err := ctx.Err(); err != nil {
			return err
		}
		whole, err := copyFiles(path, to)
		if err != nil {
			return fmt.Errorf("copy ledger %s: %w", path, err)
		}
		if whole {
			return nil
		}
	}
	// Somebody writes to it all the time.
	return CopySQLite(ctx, path, to)
}

// logSuffix is what the name of the log beside a database ends in. What was
// written last is in it alone, as long as a process has the database open, or if
// it died.
const logSuffix = "-wal"

// copyFiles copies a database with its log, and reports whether neither was
// written to meanwhile; else there is no copy.
func copyFiles(path, to string) (whole bool, err error) {
	defer func() {
		if whole && err == nil {
			return
		}
		for _, name := range []string{to, to + logSuffix} {
			if e := os.Remove(name); e != nil && !errors.Is(e, fs.ErrNotExist) {
				err = errors.Join(err, e)
			}
		}
	}()
	before, err := marks(path)
	if err != nil {
		return false, err
	}
	if err := copyFile(path, to); err != nil {
		return false, err
	}
	if err := copyFile(path+logSuffix, to+logSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	after, err := marks(path)
	return before == after, err
}

// marks returns what changes with every write to the database at path or to its
// log.
func marks(path string) (string, error) {
	database, err := mark(path)
	if err != nil {
		return "", err
	}
	log, err := mark(path + logSuffix)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return string(database) + string(log), err
}

// copyFile copies a file to a new one.
func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return errors.Join(err, in.Close())
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close(), in.Close())
}
