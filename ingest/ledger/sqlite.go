package ledger

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync"
	"time"

	"github.com/gofrs/flock"
)

// OpenSQLite opens the ledger in the SQLite database at path, which is made if
// it is not there, and brings it up to date. One process at a time has it open,
// which the lock on the file path + ".lock" ensures: ErrLocked. The file system
// must be a local one. An older ledger is copied to path + ".vN.bak", where N is
// its schema version, before it is changed; a newer one is ErrNewer.
//
// Operations that wait at the same time are recorded in one transaction, so
// that one flush of the disk serves them all.
func OpenSQLite(ctx context.Context, path string) (Ledger, error) {
	l, err := openSQLite(ctx, path, time.Now, schema())
	if err != nil {
		return nil, fmt.Errorf("open ledger %s: %w", path, err)
	}
	return l, nil
}

// LockSQLite takes the lock of the ledger at path, which need not be there, until
// it is closed: ErrLocked if a process has the ledger open.
func LockSQLite(path string) (io.Closer, error) {
	lock, err := lockFile(path)
	if err != nil {
		return nil, fmt.Errorf("lock ledger %s: %w", path, err)
	}
	return lock, nil
}

// ReadSQLite opens the ledger at path for reading, also while another process
// has it open. An error that wraps [fs.ErrNotExist] if there is none; ErrNewer
// as for [OpenSQLite]; an older ledger must be opened by that first.
func ReadSQLite(ctx context.Context, path string) (Reader, error) {
	r, err := readSQLite(ctx, path, schema())
	if err != nil {
		return nil, fmt.Errorf("read ledger %s: %w", path, err)
	}
	return r, nil
}

type sqliteLedger struct {
	path   string
	now    func() time.Time
	lock   *flock.Flock
	leases *leases
	writer *sqliteWriter
	reader *sqliteReader
	close  func() error // once
}

func openSQLite(ctx context.Context, path string, now func() time.Time, steps []string) (_ *sqliteLedger, err error) {
	lock, err := lockFile(path)
	if err != nil {
		return nil, err
	}
	l := &sqliteLedger{path: path, now: now, lock: lock, leases: newLeases(now)}
	l.close = sync.OnceValue(l.shut)
	defer func() {
		if err != nil {
			err = errors.Join(err, l.close())
		}
	}()
	if l.writer, err = newSQLiteWriter(ctx, path, steps); err != nil {
		return nil, err
	}
	if l.reader, err = readSQLite(ctx, path, steps); err != nil {
		return nil, err
	}
	return l, nil
}

func (l *sqliteLedger) Close() error { return l.close() }

func (l *sqliteLedger) shut() error {
	l.leases.end()
	var errs []error
	if l.reader != nil {
		errs = append(errs, l.reader.Close())
	}
	if l.writer != nil {
		err := l.writer.close()
		if err == nil && !l.writer.failed {
			err = leaveMark(l.path)
		}
		errs = append(errs, err)
	}
	if err := errors.Join(append(errs, l.lock.Close())...); err != nil {
		return fmt.Errorf("close ledger: %w", err)
	}
	return nil
}

func (l *sqliteLedger) Lease(ctx context.Context, source, folder string, ttl time.Duration) (Lease, error) {
	h, err := l.leases.take(place{source, folder}, ttl)
	if err != nil {
		return nil, fmt.Errorf("lease folder: %w", err)
	}
	id, err := l.folder(ctx, h.at)
	if err != nil {
		err = errors.Join(err, h.Release(ctx))
		return nil, fmt.Errorf("lease folder: %w", err)
	}
	return &sqliteLease{hold: h, l: l, folder: id}, nil
}

// folder returns the ids of a folder, which is made if it is not there.
func (l *sqliteLedger) folder(ctx context.Context, at place) (folderID, error) {
	id, err := l.reader.folder(ctx, at)
	if !errors.Is(err, ErrNotFound) {
		return id, err
	}
	var made folderID
	err = l.writer.do(ctx, 1, func(tx *sqliteTx) error {
		var err error
		made, err = tx.folder(at)
		return err
	})
	if err != nil {
		return folderID{}, err
	}
	return made, nil
}

func (l *sqliteLedger) Rename(ctx context.Context, from, to string) (int, error) {
	if from == to {
		return 0, ctx.Err()
	}
	lift, err := l.leases.bar(from, to)
	if err != nil {
		return 0, fmt.Errorf("rename source: %w", err)
	}
	defer lift()
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	var carried int64
	// No lease may be granted before this is over: it does not end with ctx.
	err = l.writer.do(context.WithoutCancel(ctx), 2, func(tx *sqliteTx) error {
		var err error
		carried, err = tx.rename(from, to)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("rename source: %w", err)
	}
	return int(carried), nil
}

func (l *sqliteLedger) Document(ctx context.Context, id string) (Document, error) {
	return l.reader.Document(ctx, id)
}

func (l *sqliteLedger) Like(ctx context.Context, source string, sha256, content [32]byte, messageID string) ([]Document, error) {
	return l.reader.Like(ctx, source, sha256, content, messageID)
}

func (l *sqliteLedger) Documents(ctx context.Context, q DocumentQuery) iter.Seq2[Document, error] {
	return l.reader.Documents(ctx, q)
}

func (l *sqliteLedger) Discarded(ctx context.Context, source string, sum [32]byte) (Entry, error) {
	return l.reader.Discarded(ctx, source, sum)
}

// Forget buries the document first, so that no entry can name it any more, and
// then reads all entries beside the writer, which goes on meanwhile.
func (l *sqliteLedger) Forget(ctx context.Context, d Document) error {
	if d.ID == "" {
		return errNoID
	}
	d = d.tombstone(l.now())
	if err := l.writer.do(ctx, 1, func(tx *sqliteTx) error { return tx.bury(d) }); err != nil {
		return fmt.Errorf("forget document: %w", err)
	}
	entries, err := l.reader.naming(ctx, d.ID)
	if err == nil && len(entries) > 0 {
		err = l.writer.do(ctx, 1, func(tx *sqliteTx) error { return tx.strip(entries) })
	}
	if err != nil {
		return fmt.Errorf("forget document: %w", err)
	}
	return nil
}

func (l *sqliteLedger) Refile(ctx context.Context, d Document) error {
	if err := l.writer.do(ctx, 1, func(tx *sqliteTx) error { return tx.refile(d) }); err != nil {
		return fmt.Errorf("refile document: %w", err)
	}
	return nil
}

// Refiled reads all entries beside the writer first.
func (l *sqliteLedger) Refiled(ctx context.Context, d Document) error {
	entries, err := l.reader.naming(ctx, d.ID)
	if err == nil {
		err = l.writer.do(ctx, 1, func(tx *sqliteTx) error { return tx.refiled(d, entries) })
	}
	if err != nil {
		return fmt.Errorf("refile document: %w", err)
	}
	return nil
}

func (l *sqliteLedger) Entry(ctx context.Context, source, folder, key string) (Entry, error) {
	return l.reader.Entry(ctx, source, folder, key)
}

func (l *sqliteLedger) Entries(ctx context.Context, q Query) iter.Seq2[Entry, error] {
	return l.reader.Entries(ctx, q)
}

func (l *sqliteLedger) Count(ctx context.Context, source string) (map[State]int, error) {
	return l.reader.Count(ctx, source)
}
