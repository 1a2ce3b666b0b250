package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// sqliteLease checks that it is alive before it reads, and where it writes: in
// the writer's goroutine.
type sqliteLease struct {
	*hold
	l      *sqliteLedger
	folder folderID
}

// write runs an operation under the lease.
func (l *sqliteLease) write(ctx context.Context, steps int, run func(*sqliteTx) error) error {
	if err := l.check(); err != nil {
		return err
	}
	return l.l.writer.do(ctx, steps, func(tx *sqliteTx) error {
		if err := l.check(); err != nil {
			return err
		}
		return run(tx)
	})
}

func (l *sqliteLease) Cursor(ctx context.Context) (cursor, rules string, err error) {
	if err := l.check(); err != nil {
		return "", "", err
	}
	return l.l.reader.cursor(ctx, l.folder)
}

func (l *sqliteLease) SetCursor(ctx context.Context, cursor, rules string) error {
	err := l.write(ctx, 1, func(tx *sqliteTx) error { return tx.setCursor(l.folder, cursor, rules) })
	if err != nil {
		return fmt.Errorf("set cursor: %w", err)
	}
	return nil
}

func (l *sqliteLease) Begin(ctx context.Context, listed []Listed) ([]Entry, error) {
	if err := checkKeys(listed); err != nil {
		return nil, err
	}
	if err := l.check(); err != nil {
		return nil, err
	}
	if len(listed) == 1 {
		return l.begin(ctx, listed) // one statement, mostly
	}
	known, err := l.l.reader.known(ctx, l.folder, listed)
	if err != nil {
		return nil, err
	}
	fresh := slices.DeleteFunc(slices.Clone(listed), func(m Listed) bool {
		_, ok := known[m.Key]
		return ok
	})
	if len(fresh) > 0 {
		begun, err := l.begin(ctx, fresh)
		if err != nil {
			return nil, err
		}
		for _, e := range begun {
			known[e.Key] = e
		}
	}
	entries := make([]Entry, len(listed))
	for i, m := range listed {
		entries[i] = known[m.Key]
	}
	return entries, nil
}

// begin records the messages that no other caller has begun meanwhile and
// returns the entries of all.
func (l *sqliteLease) begin(ctx context.Context, listed []Listed) ([]Entry, error) {
	listed = slices.Clone(listed)
	var entries []Entry
	err := l.write(ctx, len(listed), func(tx *sqliteTx) error {
		now := instant(l.l.now())
		entries = make([]Entry, len(listed))
		for i, m := range listed {
			e := begun(l.at.source, l.at.folder, m, now)
			added, err := tx.add(l.folder, e)
			if err == nil && !added {
				e, err = tx.entry(l.at, m.Key)
			}
			if err != nil {
				return err
			}
			entries[i] = e
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("begin entries: %w", err)
	}
	return entries, nil
}

func (l *sqliteLease) Drop(ctx context.Context, keys ...string) error {
	return l.write(ctx, 2, func(tx *sqliteTx) error {
		for _, key := range keys {
			r, err := tx.standing(l.folder, key)
			switch {
			case errors.Is(err, ErrNotFound):
				continue
			case err != nil:
				return err
			case !r.droppable():
				return fmt.Errorf("drop entry %q: %w", key, ErrTransition)
			}
			if err := tx.remove(l.folder, key, r); err != nil {
				return err
			}
		}
		return nil
	})
}

func (l *sqliteLease) Owed(ctx context.Context, now time.Time, after string, limit int) ([]Entry, error) {
	if err := l.check(); err != nil {
		return nil, err
	}
	return l.l.reader.owed(ctx, l.folder, now, after, limit)
}

func (l *sqliteLease) NextDue(ctx context.Context) (time.Time, error) {
	if err := l.check(); err != nil {
		return time.Time{}, err
	}
	return l.l.reader.nextDue(ctx, l.folder)
}

func (l *sqliteLease) Prepare(ctx context.Context, e Entry) (*Document, error) {
	var filed *Document
	err := l.write(ctx, 1, func(tx *sqliteTx) error {
		filed = nil
		r, err := l.standing(tx, e)
		if err != nil {
			return err
		}
		e, next, err := r.prepare(e, instant(l.l.now()))
		if err != nil {
			return err
		}
		d, err := tx.document(e.DocumentID)
		if err == nil {
			filed = &d
			return nil
		}
		if !errors.Is(err, ErrNotFound) {
			return err
		}
		err = tx.put(l.folder, r, e, next)
		if notUnique(err) {
			return ErrClaimed
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("prepare entry %q: %w", e.Key, err)
	}
	return filed, nil
}

func (l *sqliteLease) Advance(ctx context.Context, entries ...Entry) error {
	entries = slices.Clone(entries)
	return l.write(ctx, 1, func(tx *sqliteTx) error {
		a := advance{at: make(map[string]int)}
		now := instant(l.l.now())
		for _, e := range entries {
			if err := a.try(l, tx, e, now); err != nil {
				return fmt.Errorf("advance entry %q: %w", e.Key, err)
			}
		}
		return a.record(l, tx)
	})
}

// advance is what [Lease.Advance] is to record. It tries every step before
// anything is written, so that a refusal leaves nothing, and writes an entry
// that takes several steps once.
type advance struct {
	rows  []advanced
	at    map[string]int // index in rows, by key
	filed []filing
}

// advanced is an entry that stood in from and is to be recorded as it is.
type advanced struct {
	Entry
	from standingRow
	to   standing
}

// filing is a document to be recorded and the id of the entry that filed it.
type filing struct {
	Document
	entry int64
}

// try adds a step.
func (a *advance) try(l *sqliteLease, tx *sqliteTx, e Entry, now time.Time) error {
	i, again := a.at[e.Key]
	if !again {
		r, err := l.standing(tx, e)
		if err != nil {
			return err
		}
		i = len(a.rows)
		a.at[e.Key] = i
		a.rows = append(a.rows, advanced{from: r, to: r.standing})
	} else if l.at != (place{e.Source, e.Folder}) {
		return ErrNotFound
	}
	row := &a.rows[i]
	e, next, err := row.to.advance(e, now)
	if err != nil {
		return err
	}
	if row.to.files(next) {
		a.filed = append(a.filed, filing{e.filedDocument(), row.from.id})
	}
	if row.to.names(next) && !slices.ContainsFunc(a.filed, func(f filing) bool { return f.ID == e.DocumentID }) {
		d, err := tx.document(e.DocumentID)
		if err == nil && !d.Forgotten.IsZero() {
			err = ErrNotFound
		}
		if err != nil {
			return fmt.Errorf("document of a duplicate: %w", err)
		}
	}
	row.Entry, row.to = e, next
	return nil
}

// record writes what the steps come to. From here on there is no refusal.
func (a *advance) record(l *sqliteLease, tx *sqliteTx) error {
	for _, r := range a.rows {
		if err := tx.put(l.folder, r.from, r.Entry, r.to); err != nil {
			return tx.broken(err)
		}
	}
	for _, f := range a.filed {
		if err := tx.addDocument(l.folder, f.entry, f.Document); err != nil {
			return err
		}
	}
	return nil
}

// standing returns where the entry stands, ErrNotFound if it was not begun in
// this folder.
func (l *sqliteLease) standing(tx *sqliteTx, e Entry) (standingRow, error) {
	if l.at != (place{e.Source, e.Folder}) {
		return standingRow{}, ErrNotFound
	}
	return tx.standing(l.folder, e.Key)
}
