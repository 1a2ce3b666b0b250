package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"postroom/internal/durable"
)

// sqliteWriter is the only one to write to the database. It takes the
// operations that wait, runs them in one transaction, commits once and answers
// them all.
type sqliteWriter struct {
	db *sql.DB
	tx *sqliteTx

	queue   chan *operation
	closing chan struct{}
	loop    sync.WaitGroup
	failed  bool // a commit did; for the loop, and for others once it is over
}

// operation is one change, whole or not at all. run may be called again after a
// rollback; it returns an error of its own to refuse, before it writes anything
// unless it has several steps.
type operation struct {
	ctx   context.Context
	steps int
	run   func(*sqliteTx) error
	done  chan error // of room for one
}

// groupSize is the most operations in one transaction.
const groupSize = 256

func newSQLiteWriter(ctx context.Context, path string, steps []string) (_ *sqliteWriter, err error) {
	untouched, err := takeMark(path)
	if err != nil {
		return nil, err
	}
	if err := makeFile(path); err != nil {
		return nil, err
	}
	// A commit waits for a checkpoint now and then; 4,000 pages make it rare and
	// leave 16 MB to read after a crash. The cache takes twice the memory that it
	// is given here, in KiB; with a million entries a larger one saves nothing,
	// as the operating system has the pages too.
	db, err := openDatabase(path, "rw", "synchronous(FULL)", "wal_autocheckpoint(4000)",
		"journal_size_limit(67108864)", "cache_size(-2048)")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, db.Close())
		}
	}()
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	if err := migrate(ctx, conn, path, untouched, steps); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	w := &sqliteWriter{
		db:      db,
		tx:      newSQLiteTx(conn),
		queue:   make(chan *operation),
		closing: make(chan struct{}),
	}
	w.loop.Go(w.work)
	return w, nil
}

// do runs an operation and returns once it is durable or refused. When the
// context ends first, it returns and the operation may still be recorded: what
// run writes to must not be read then.
func (w *sqliteWriter) do(ctx context.Context, steps int, run func(*sqliteTx) error) error {
	op := &operation{ctx: ctx, steps: steps, run: run, done: make(chan error, 1)}
	select {
	case w.queue <- op:
	case <-ctx.Done():
		return ctx.Err()
	case <-w.closing:
		return errClosed
	}
	select {
	case err := <-op.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// close ends the work after the operations that were taken. It is called once.
func (w *sqliteWriter) close() error {
	close(w.closing)
	w.loop.Wait()
	return errors.Join(w.tx.close(), w.db.Close())
}

func (w *sqliteWriter) work() {
	for {
		select {
		case op := <-w.queue:
			w.record(w.gather(op))
		case <-w.closing:
			return
		}
	}
}

// gather returns first and the operations that wait: those that came while the
// group before was being committed. It waits for no more, so that the slower the
// disk is, the larger the groups are.
func (w *sqliteWriter) gather(first *operation) []*operation {
	group := []*operation{first}
	for len(group) < groupSize {
		select {
		case op := <-w.queue:
			group = append(group, op)
		default:
			return group
		}
	}
	return group
}

// record commits the group and answers. If that fails, each operation is tried
// alone, so that one which cannot be recorded does not take others with it.
func (w *sqliteWriter) record(group []*operation) {
	refusals, err := w.commit(group)
	w.failed = w.failed || err != nil
	if err != nil && len(group) > 1 {
		for _, op := range group {
			w.record([]*operation{op})
		}
		return
	}
	for i, op := range group {
		if err != nil {
			op.done <- fmt.Errorf("write to ledger: %w", asSystemSays(err))
		} else {
			op.done <- refusals[i]
		}
	}
}

// asSystemSays adds to an error of SQLite what the system calls it.
func asSystemSays(err error) error {
	var e *sqlite.Error
	if errors.As(err, &e) && e.Code()&0xff == sqlite3.SQLITE_FULL {
		return fmt.Errorf("%w: %w", err, durable.NoSpace)
	}
	return err
}

// commit runs the operations in one transaction. It returns what those that
// refused said, or an error after which nothing is recorded.
func (w *sqliteWriter) commit(group []*operation) (refusals []error, err error) {
	if err := w.tx.begin(); err != nil {
		return nil, err
	}
	refusals = make([]error, len(group))
	for i, op := range group {
		if refusals[i] = op.ctx.Err(); refusals[i] != nil {
			continue
		}
		if refusals[i], err = w.tx.apply(op); err != nil {
			w.tx.rollback()
			return nil, err
		}
	}
	if err := w.tx.commit(); err != nil {
		w.tx.rollback()
		return nil, err
	}
	return refusals, nil
}
