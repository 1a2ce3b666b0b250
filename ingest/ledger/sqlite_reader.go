package ledger

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"os"
	"time"
)

// sqliteReader reads what is committed, on connections that cannot write.
type sqliteReader struct {
	db *sql.DB // a few connections, for reads that end by themselves

	// scans has as many connections as iterators are under way, between whose
	// steps the caller may read.
	scans *sql.DB

	documentStmt, likeStmt, discardedStmt, entryStmt, knownStmt, owedStmt, dueStmt, cursorStmt, folderStmt, countStmt *sql.Stmt
}

// readers is the most connections for reads that end by themselves.
const readers = 4

func readSQLite(ctx context.Context, path string, steps []string) (_ *sqliteReader, err error) {
	if _, err := os.Stat(path); err != nil {
		return nil, err
	}
	const cache = "cache_size(-512)" // of each connection, in KiB
	db, err := openDatabase(path, "ro", cache)
	if err != nil {
		return nil, err
	}
	scans, err := openDatabase(path, "ro", cache)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	db.SetMaxOpenConns(readers)
	db.SetMaxIdleConns(readers)
	scans.SetMaxIdleConns(1)
	r := &sqliteReader{db: db, scans: scans}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.Close())
		}
	}()
	if err := r.checkVersion(ctx, len(steps)); err != nil {
		return nil, err
	}
	for _, p := range []struct {
		stmt  **sql.Stmt
		query string
	}{
		{&r.documentStmt, documentQuery},
		{&r.likeStmt, likeQuery},
		{&r.entryStmt, entryQuery},
		{&r.discardedStmt, "SELECT " + entryColumns + " FROM " + indexedEntries("entries_discarded") +
			" WHERE e.state = 12 AND e.source = (SELECT id FROM sources WHERE name = ?) AND e.sha256 = ? LIMIT 1"},
		{&r.knownStmt, "SELECT " + entryColumns + " FROM json_each(?) j CROSS JOIN " + entryTables + " WHERE e.folder = ? AND e.key = j.value"},
		{&r.owedStmt, "SELECT " + entryColumns + " FROM " + indexedEntries("entries_open") +
			" WHERE e.state < 10 AND e.folder = ? AND e.key > ? AND (e.retry_at IS NULL OR e.retry_at <= ?) ORDER BY e.key LIMIT ? + 0"},
		{&r.dueStmt, "SELECT min(retry_at) FROM entries INDEXED BY entries_due WHERE state < 10 AND retry_at IS NOT NULL AND folder = ?"},
		{&r.cursorStmt, "SELECT cursor, rules FROM folders WHERE id = ?"},
		{&r.folderStmt, "SELECT f.id, s.id FROM sources s JOIN folders f ON f.source = s.id WHERE s.name = ? AND f.folder = ?"},
		{&r.countStmt, `SELECT state, sum(n) FROM counts WHERE n > 0
			AND (?1 = '' OR source = (SELECT id FROM sources WHERE name = ?1)) GROUP BY state`},
	} {
		if *p.stmt, err = db.PrepareContext(ctx, p.query); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func (r *sqliteReader) checkVersion(ctx context.Context, newest int) error {
	conn, err := r.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	version, err := schemaVersion(ctx, conn, newest)
	if err != nil {
		return err
	}
	if version < newest {
		return fmt.Errorf("schema version %d is older than %d: run postroom once to bring it up to date", version, newest)
	}
	return nil
}

func (r *sqliteReader) Close() error { return errors.Join(r.db.Close(), r.scans.Close()) }

const (
	documentColumns = `SELECT d.id, s.name, d.title, d.received, d.location, d.filed, d.sha256,
			d.message_id, d.content, d.strict, d.original, d.description, NULL
		FROM documents d CROSS JOIN sources s ON s.id = d.source`
	tombstoneColumns = `SELECT d.id, s.name, '', NULL, d.location, NULL, d.sha256, '', NULL, NULL, 0, NULL, d.forgotten
		FROM tombstones d CROSS JOIN sources s ON s.id = d.source`
	refilingColumns = `SELECT d.id, d.name, d.title, o.received, '', o.filed, d.sha256,
			d.message_id, d.content, d.strict, d.original, NULL, NULL
		FROM refilings d CROSS JOIN refilings s ON s.id = d.id CROSS JOIN documents o ON o.id = d.id`
	documentQuery = documentColumns + ` WHERE d.id = ?1 UNION ALL ` + tombstoneColumns + ` WHERE d.id = ?1 LIMIT 1`

	// likeQuery has a part for each index. The planner looks at the value of a
	// bare LIMIT parameter, and so plans a statement anew each time it is bound.
	likeQuery = documentColumns + ` WHERE d.rowid IN (
			SELECT d.rowid FROM documents d WHERE d.source = (SELECT id FROM sources WHERE name = ?1)
				AND substr(d.sha256, 1, 8) = substr(?2, 1, 8) AND d.sha256 = ?2
			UNION SELECT d.rowid FROM documents d WHERE d.source = (SELECT id FROM sources WHERE name = ?1)
				AND substr(d.content, 1, 8) = substr(?3, 1, 8) AND d.content = ?3
			UNION SELECT d.rowid FROM documents d
				WHERE d.source = (SELECT id FROM sources WHERE name = ?1) AND d.message_id = ?4 AND d.message_id <> '')
		ORDER BY d.filed, d.rowid LIMIT ?5 + 0`

	entryColumns = `s.name, f.folder, e.key, e.folder_path, e.state, e.size, e.received, e.document, e.title,
		e.message_id, e.filed, e.location, e.sha256, e.content, e.strict, e.original, e.duplicate, e.exact, e.attempts, e.retry_at, e.cause, e.updated, e.id`
	entryJoins  = ` CROSS JOIN folders f ON f.id = e.folder CROSS JOIN sources s ON s.id = e.source`
	entryTables = `entries e` + entryJoins
	entryQuery  = `SELECT ` + entryColumns + ` FROM sources s CROSS JOIN folders f ON f.source = s.id
		CROSS JOIN entries e ON e.folder = f.id WHERE s.name = ? AND f.folder = ? AND e.key = ?`
)

// indexedEntries is entryTables read by the index named, or an error of SQLite.
func indexedEntries(index string) string { return `entries e INDEXED BY ` + index + entryJoins }

// documentFields are where the columns of documentQuery go.
func documentFields(d *Document) []any {
	return []any{
		&d.ID, &d.Source, &d.Title, (*timeColumn)(&d.Received), &d.Location, (*timeColumn)(&d.Filed), (*hashColumn)(&d.SHA256),
		&d.MessageID, (*hashColumn)(&d.Likeness.Content), (*hashColumn)(&d.Likeness.Strict), &d.Likeness.Original,
		(*hashColumn)(&d.Description), (*timeColumn)(&d.Forgotten),
	}
}

// entryFields are where entryColumns go.
func entryFields(e *Entry, id *int64) []any {
	return []any{
		&e.Source, &e.Folder, &e.Key, &e.FolderPath, (*stateColumn)(&e.State), &e.Size, (*timeColumn)(&e.Received), &e.DocumentID, &e.Title,
		&e.MessageID, (*timeColumn)(&e.Filed), &e.Location, (*hashColumn)(&e.SHA256),
		(*hashColumn)(&e.Likeness.Content), (*hashColumn)(&e.Likeness.Strict), &e.Likeness.Original, &e.Duplicate, &e.Exact, &e.Attempts,
		(*timeColumn)(&e.RetryAt), &e.Cause, (*timeColumn)(&e.Updated), id,
	}
}

func (r *sqliteReader) Document(ctx context.Context, id string) (Document, error) {
	var d Document
	if err := one(r.documentStmt.QueryRowContext(ctx, id), documentFields(&d)); err != nil {
		return Document{}, fmt.Errorf("read document: %w", err)
	}
	return d, nil
}

func (r *sqliteReader) Like(ctx context.Context, source string, sha256, content [32]byte, messageID string) ([]Document, error) {
	var alike []Document
	rows, err := r.likeStmt.QueryContext(ctx, source, hash(sha256), hash(content), messageID, MostAlike)
	err = each(rows, err, func() (bool, error) {
		var d Document
		err := rows.Scan(documentFields(&d)...)
		alike = append(alike, d)
		return true, err
	})
	if err != nil {
		return nil, fmt.Errorf("read documents alike: %w", err)
	}
	return alike, nil
}

func (r *sqliteReader) Documents(ctx context.Context, q DocumentQuery) iter.Seq2[Document, error] {
	return func(yield func(Document, error) bool) {
		query, args := documentsQuery(q)
		rows, err := r.scans.QueryContext(ctx, query, args...)
		err = each(rows, err, func() (bool, error) {
			if err := ctx.Err(); err != nil {
				return false, err // rows end with it too, but later
			}
			var d Document
			err := rows.Scan(documentFields(&d)...)
			return err == nil && yield(d, nil), err
		})
		if err != nil {
			yield(Document{}, fmt.Errorf("read documents: %w", err))
		}
	}
}

func (r *sqliteReader) Discarded(ctx context.Context, source string, sum [32]byte) (Entry, error) {
	var e Entry
	var id int64
	if err := one(r.discardedStmt.QueryRowContext(ctx, source, hash(sum)), entryFields(&e, &id)); err != nil {
		return Entry{}, fmt.Errorf("read discarded entry: %w", err)
	}
	return e, nil
}

// naming returns the ids of the entries that filed a document or are duplicates
// of it. It reads all entries.
func (r *sqliteReader) naming(ctx context.Context, document string) (ids []int64, err error) {
	rows, err := r.scans.QueryContext(ctx, "SELECT id FROM entries WHERE document = ? AND state IN (3, 10)", document)
	err = each(rows, err, func() (bool, error) {
		var id int64
		err := rows.Scan(&id)
		ids = append(ids, id)
		return true, err
	})
	return ids, err
}

func (r *sqliteReader) Entry(ctx context.Context, source, folder, key string) (Entry, error) {
	var e Entry
	var id int64
	if err := one(r.entryStmt.QueryRowContext(ctx, source, folder, key), entryFields(&e, &id)); err != nil {
		return Entry{}, fmt.Errorf("read entry: %w", err)
	}
	return e, nil
}

func (r *sqliteReader) Entries(ctx context.Context, q Query) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		query, args := entriesQuery(q)
		rows, err := r.scans.QueryContext(ctx, query, args...)
		err = each(rows, err, func() (bool, error) {
			if err := ctx.Err(); err != nil {
				return false, err // rows end with it too, but later
			}
			e, err := scanEntry(rows)
			return err == nil && yield(e, nil), err
		})
		if err != nil {
			yield(Entry{}, fmt.Errorf("read entries: %w", err))
		}
	}
}

func (r *sqliteReader) Count(ctx context.Context, source string) (map[State]int, error) {
	count := make(map[State]int)
	rows, err := r.countStmt.QueryContext(ctx, source)
	err = each(rows, err, func() (bool, error) {
		var s State
		var n int
		err := rows.Scan((*stateColumn)(&s), &n)
		count[s] = n
		return true, err
	})
	if err != nil {
		return nil, fmt.Errorf("count entries: %w", err)
	}
	return count, nil
}

// folder returns the ids of a folder, or ErrNotFound.
func (r *sqliteReader) folder(ctx context.Context, at place) (folderID, error) {
	var f folderID
	err := one(r.folderStmt.QueryRowContext(ctx, at.source, at.folder), []any{&f.id, &f.source})
	return f, err
}

func (r *sqliteReader) cursor(ctx context.Context, f folderID) (cursor, rules string, err error) {
	if err := one(r.cursorStmt.QueryRowContext(ctx, f.id), []any{&cursor, &rules}); err != nil {
		return "", "", fmt.Errorf("read cursor: %w", err)
	}
	return cursor, rules, nil
}

// known returns the entries of the messages that are known, by key. It may miss
// one whose key is not UTF-8.
func (r *sqliteReader) known(ctx context.Context, f folderID, listed []Listed) (map[string]Entry, error) {
	keys := make([]string, len(listed))
	for i, m := range listed {
		keys[i] = m.Key
	}
	list, err := json.Marshal(keys)
	if err != nil {
		return nil, fmt.Errorf("read known entries: %w", err)
	}
	rows, err := r.knownStmt.QueryContext(ctx, list, f.id)
	entries, err := scanEntries(rows, err)
	if err != nil {
		return nil, fmt.Errorf("read known entries: %w", err)
	}
	known := make(map[string]Entry, len(listed))
	for _, e := range entries {
		known[e.Key] = e
	}
	return known, nil
}

func (r *sqliteReader) owed(ctx context.Context, f folderID, now time.Time, after string, limit int) ([]Entry, error) {
	rows, err := r.owedStmt.QueryContext(ctx, f.id, after, now.UnixMicro(), max(limit, 0))
	entries, err := scanEntries(rows, err)
	if err != nil {
		return nil, fmt.Errorf("read owed entries: %w", err)
	}
	return entries, nil
}

func (r *sqliteReader) nextDue(ctx context.Context, f folderID) (time.Time, error) {
	var due time.Time
	if err := one(r.dueStmt.QueryRowContext(ctx, f.id), []any{(*timeColumn)(&due)}); err != nil {
		return time.Time{}, fmt.Errorf("read next due time: %w", err)
	}
	return due, nil
}

// one scans a row; ErrNotFound if there is none.
func one(row *sql.Row, dest []any) error {
	err := row.Scan(dest...)
	if errors.Is(err, sql.ErrNoRows) {
		return ErrNotFound
	}
	return err
}

// each calls scan for each row of a query, which may have failed with err, until
// scan returns false or an error. It closes the rows.
func each(rows *sql.Rows, err error, scan func() (more bool, err error)) error {
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if more, err := scan(); !more || err != nil {
			return err
		}
	}
	return rows.Err()
}

func scanEntries(rows *sql.Rows, err error) ([]Entry, error) {
	var entries []Entry
	err = each(rows, err, func() (bool, error) {
		e, err := scanEntry(rows)
		entries = append(entries, e)
		return true, err
	})
	if err != nil {
		return nil, err
	}
	return entries, nil
}

func scanEntry(rows *sql.Rows) (Entry, error) {
	var e Entry
	var id int64
	err := rows.Scan(entryFields(&e, &id)...)
	return e, err
}
