package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// sqliteTx is the writer's connection and the transaction on it. Only the
// writer's goroutine uses it.
type sqliteTx struct {
	conn  *sql.Conn
	stmts map[string]*sql.Stmt

	// failure is the first error of the database in this transaction.
	failure error
	moves   []move
	// recent holds the standing of entries recorded lately of which something is
	// owed: they are asked for next. Nobody else writes to the database.
	recent map[entryKey]standingRow
}

// folderID is a folder and its source in the database.
type folderID struct{ id, source int64 }

type entryKey struct {
	folder int64
	key    string
}

type standingRow struct {
	id int64
	standing
}

// move is a change of the number of entries of a source in a state.
type move struct {
	source int64
	state  State
	n      int
}

// recentSize is the most entries whose standing is remembered.
const recentSize = 10_000

func newSQLiteTx(conn *sql.Conn) *sqliteTx {
	return &sqliteTx{conn: conn, stmts: make(map[string]*sql.Stmt), recent: make(map[entryKey]standingRow)}
}

func (tx *sqliteTx) close() error {
	errs := make([]error, 0, len(tx.stmts)+1)
	for _, s := range tx.stmts {
		errs = append(errs, s.Close())
	}
	return errors.Join(append(errs, tx.conn.Close())...)
}

func (tx *sqliteTx) begin() error {
	tx.failure, tx.moves = nil, tx.moves[:0]
	_, err := tx.exec("BEGIN IMMEDIATE")
	return err
}

// apply runs an operation. It returns what the operation said to refuse, having
// left no trace, or the error of the database, after which the transaction must
// be rolled back.
func (tx *sqliteTx) apply(op *operation) (refusal, err error) {
	moves := len(tx.moves)
	if op.steps > 1 {
		if _, err := tx.exec("SAVEPOINT operation"); err != nil {
			return nil, err
		}
	}
	refusal = op.run(tx)
	if tx.failure != nil {
		return nil, tx.failure
	}
	if refusal != nil {
		tx.moves = tx.moves[:moves]
	}
	if op.steps > 1 {
		if refusal != nil {
			clear(tx.recent)
			if _, err := tx.exec("ROLLBACK TO operation"); err != nil {
				return nil, err
			}
		}
		if _, err := tx.exec("RELEASE operation"); err != nil {
			return nil, err
		}
	}
	return refusal, nil
}

func (tx *sqliteTx) commit() error {
	sums := make(map[move]int)
	for _, m := range tx.moves {
		sums[move{source: m.source, state: m.state}] += m.n
	}
	for m, n := range sums {
		if n == 0 {
			continue
		}
		_, err := tx.exec(`INSERT INTO counts (source, state, n) VALUES (?, ?, ?)
			ON CONFLICT DO UPDATE SET n = n + excluded.n`, m.source, stateCode(m.state), int64(n))
		if err != nil {
			return err
		}
	}
	_, err := tx.exec("COMMIT")
	return err
}

// rollback has no error to return: SQLite may have rolled back by itself, which
// makes this one fail, and if it has not and this one fails, neither does the
// next transaction begin.
func (tx *sqliteTx) rollback() {
	clear(tx.recent)
	_, _ = tx.exec("ROLLBACK")
}

// exec runs a statement. A refusal by a unique index is not a failure of the
// transaction.
func (tx *sqliteTx) exec(query string, args ...any) (sql.Result, error) {
	s, err := tx.stmt(query)
	if err != nil {
		return nil, tx.fail(err)
	}
	res, err := s.Exec(args...)
	if err != nil {
		return nil, tx.fail(err)
	}
	return res, nil
}

// row scans the first row of the result; ErrNotFound if there is none.
func (tx *sqliteTx) row(query string, args []any, dest ...any) error {
	s, err := tx.stmt(query)
	if err != nil {
		return tx.fail(err)
	}
	err = one(s.QueryRow(args...), dest)
	if errors.Is(err, ErrNotFound) {
		return err
	}
	return tx.fail(err)
}

// rows calls scan for each row of the result.
func (tx *sqliteTx) rows(query string, args []any, scan func(func(...any) error) error) error {
	s, err := tx.stmt(query)
	if err != nil {
		return tx.fail(err)
	}
	rows, err := s.Query(args...)
	return tx.fail(each(rows, err, func() (bool, error) { return true, scan(rows.Scan) }))
}

func (tx *sqliteTx) stmt(query string) (*sql.Stmt, error) {
	if s := tx.stmts[query]; s != nil {
		return s, nil
	}
	s, err := tx.conn.PrepareContext(context.Background(), query)
	if err != nil {
		return nil, err
	}
	tx.stmts[query] = s
	return s, nil
}

func (tx *sqliteTx) fail(err error) error {
	if notUnique(err) {
		return err
	}
	return tx.broken(err)
}

// broken notes a failure after which the transaction must be rolled back.
func (tx *sqliteTx) broken(err error) error {
	if tx.failure == nil {
		tx.failure = err
	}
	return err
}

// notUnique reports that a unique index refused.
func notUnique(err error) bool {
	var e *sqlite.Error
	return errors.As(err, &e) && e.Code() == sqlite3.SQLITE_CONSTRAINT_UNIQUE
}

// folder returns the ids of a folder, which is made if it is not there.
func (tx *sqliteTx) folder(at place) (f folderID, err error) {
	if f.source, err = tx.source(at.source); err != nil {
		return f, err
	}
	args := []any{f.source, at.folder}
	if _, err := tx.exec("INSERT INTO folders (source, folder) VALUES (?, ?) ON CONFLICT DO NOTHING", args...); err != nil {
		return f, err
	}
	err = tx.row("SELECT id FROM folders WHERE source = ? AND folder = ?", args, &f.id)
	return f, err
}

func (tx *sqliteTx) source(name string) (id int64, err error) {
	if _, err := tx.exec("INSERT INTO sources (name) VALUES (?) ON CONFLICT DO NOTHING", name); err != nil {
		return 0, err
	}
	err = tx.row("SELECT id FROM sources WHERE name = ?", []any{name}, &id)
	return id, err
}

// standing returns where an entry stands, or ErrNotFound.
func (tx *sqliteTx) standing(f folderID, key string) (standingRow, error) {
	if r, ok := tx.recent[entryKey{f.id, key}]; ok {
		return r, nil
	}
	var r standingRow
	err := tx.row(`SELECT id, state, document, duplicate, filed, outcome, quarantine IS NOT NULL
		FROM entries WHERE folder = ? AND key = ?`, []any{f.id, key},
		&r.id, (*stateColumn)(&r.state), &r.document, &r.duplicate,
		(*timeColumn)(&r.filed), (*timeColumn)(&r.outcome), &r.quarantined)
	return r, err
}

// add records a new entry; false if it is known.
func (tx *sqliteTx) add(f folderID, e Entry) (bool, error) {
	if _, known := tx.recent[entryKey{f.id, e.Key}]; known {
		return false, nil
	}
	next := standing{}.after(e)
	res, err := tx.exec(`INSERT INTO entries (source, folder, key, folder_path, state, size, received, document, title,
		message_id, filed, location, sha256, content, strict, original, duplicate, exact, attempts, retry_at, cause, updated, outcome, quarantine)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
		append([]any{f.source, f.id, e.Key}, values(e, next)...)...)
	if err != nil {
		return false, err
	}
	n, err := res.RowsAffected()
	if err != nil || n == 0 {
		return false, err
	}
	id, err := res.LastInsertId()
	if err != nil {
		return false, err
	}
	tx.moves = append(tx.moves, move{f.source, e.State, 1})
	tx.remember(f, e.Key, standingRow{id, next})
	return true, nil
}

// put records an entry that stood in r and stands in next now.
func (tx *sqliteTx) put(f folderID, r standingRow, e Entry, next standing) error {
	of := "title = ?6, message_id = ?7, location = ?9, "
	if r.stays(next) {
		of = ""
	}
	_, err := tx.exec(`UPDATE entries SET folder_path = ?1, state = ?2, size = ?3, received = ?4, document = ?5, `+of+`
		filed = ?8, sha256 = ?10, content = ?11, strict = ?12, original = ?13, duplicate = ?14, exact = ?15, attempts = ?16, retry_at = ?17,
		cause = ?18, updated = ?19, outcome = ?20, quarantine = ?21 WHERE id = ?22`,
		append(values(e, next), r.id)...)
	if err != nil {
		return err
	}
	if r.state != e.State {
		tx.moves = append(tx.moves, move{f.source, r.state, -1}, move{f.source, e.State, 1})
	}
	tx.remember(f, e.Key, standingRow{r.id, next})
	return nil
}

// remove removes an entry that stood in r.
func (tx *sqliteTx) remove(f folderID, key string, r standingRow) error {
	if _, err := tx.exec("DELETE FROM entries WHERE id = ?", r.id); err != nil {
		return err
	}
	tx.moves = append(tx.moves, move{f.source, r.state, -1})
	delete(tx.recent, entryKey{f.id, key})
	return nil
}

func (tx *sqliteTx) remember(f folderID, key string, r standingRow) {
	at := entryKey{f.id, key}
	if r.state.Final() {
		delete(tx.recent, at)
		return
	}
	if len(tx.recent) >= recentSize {
		clear(tx.recent)
	}
	tx.recent[at] = r
}

// entry returns an entry, or ErrNotFound.
func (tx *sqliteTx) entry(at place, key string) (e Entry, err error) {
	var id int64
	err = tx.row(entryQuery, []any{at.source, at.folder, key}, entryFields(&e, &id)...)
	return e, err
}

// values returns the columns from folder_path on.
func values(e Entry, s standing) []any {
	var quarantine []byte
	if s.quarantined {
		quarantine = quarantineHash(e.Source, e.Folder, e.Key)
	}
	if e.State != Prepared {
		e.Likeness = Likeness{}
	}
	return []any{
		e.FolderPath, stateCode(e.State), e.Size, micros(e.Received), e.DocumentID, e.Title,
		e.MessageID, micros(e.Filed), e.Location, hash(e.SHA256),
		hash(e.Likeness.Content), hash(e.Likeness.Strict), e.Likeness.Original, e.Duplicate, e.Exact, int64(e.Attempts), micros(e.RetryAt),
		e.Cause, micros(e.Updated), micros(s.outcome), quarantine,
	}
}

// document returns the filed document or its tombstone, or ErrNotFound.
func (tx *sqliteTx) document(id string) (d Document, err error) {
	err = tx.row(documentQuery, []any{id}, documentFields(&d)...)
	return d, err
}

// addDocument records the document that an entry filed.
func (tx *sqliteTx) addDocument(f folderID, entry int64, d Document) error {
	_, err := tx.exec(`INSERT INTO documents (id, source, entry, title, received, location, filed, sha256,
		message_id, content, strict, original, description) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		d.ID, f.source, entry, d.Title, micros(d.Received), d.Location, micros(d.Filed), hash(d.SHA256),
		d.MessageID, hash(d.Likeness.Content), hash(d.Likeness.Strict), d.Likeness.Original, hash(d.Description))
	return tx.broken(err)
}

// bury puts a tombstone in the place of a document.
func (tx *sqliteTx) bury(d Document) error {
	source, err := tx.source(d.Source)
	if err != nil {
		return err
	}
	if _, err := tx.exec("DELETE FROM documents WHERE id = ?", d.ID); err != nil {
		return err
	}
	if _, err := tx.exec("DELETE FROM refilings WHERE id = ?", d.ID); err != nil {
		return err
	}
	_, err = tx.exec(`INSERT INTO tombstones (id, source, location, sha256, forgotten) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT DO UPDATE SET source = excluded.source, location = excluded.location,
		sha256 = excluded.sha256, forgotten = excluded.forgotten`,
		d.ID, source, d.Location, hash(d.SHA256), micros(d.Forgotten))
	return err
}

// refile notes that a document is about to be replaced.
func (tx *sqliteTx) refile(d Document) error {
	res, err := tx.exec(`INSERT INTO refilings (id, name, title, message_id, content, strict, original, sha256)
		SELECT id, ?2, ?3, ?4, ?5, ?6, ?7, ?8 FROM documents WHERE id = ?1
		ON CONFLICT DO UPDATE SET name = excluded.name, title = excluded.title, message_id = excluded.message_id,
		content = excluded.content, strict = excluded.strict, original = excluded.original, sha256 = excluded.sha256`,
		d.ID, d.Source, d.Title, d.MessageID, hash(d.Likeness.Content), hash(d.Likeness.Strict), d.Likeness.Original, hash(d.SHA256))
	return tx.affected(res, err)
}

// refiled notes what a document is from now on, and its entries.
func (tx *sqliteTx) refiled(d Document, entries []int64) error {
	res, err := tx.exec(`UPDATE documents SET title = ?, location = ?, message_id = ?, content = ?, strict = ?, original = ?,
		sha256 = ?, description = ? WHERE id = ?`,
		d.Title, d.Location, d.MessageID, hash(d.Likeness.Content), hash(d.Likeness.Strict), d.Likeness.Original, hash(d.SHA256), hash(d.Description), d.ID)
	if err := tx.affected(res, err); err != nil {
		return err
	}
	for _, id := range entries {
		if _, err := tx.exec("UPDATE entries SET location = ?1, title = CASE WHEN duplicate THEN title ELSE ?2 END WHERE id = ?3", d.Location, d.Title, id); err != nil {
			return err
		}
	}
	_, err = tx.exec("DELETE FROM refilings WHERE id = ?", d.ID)
	return err
}

// affected returns ErrNotFound if a statement changed nothing.
func (tx *sqliteTx) affected(res sql.Result, err error) error {
	if err != nil {
		return err
	}
	n, err := res.RowsAffected()
	if err == nil && n == 0 {
		err = ErrNotFound
	}
	return err
}

// strip takes from entries what says what their messages were about.
func (tx *sqliteTx) strip(entries []int64) error {
	for _, id := range entries {
		if _, err := tx.exec("UPDATE entries SET title = '', message_id = '', location = '' WHERE id = ?", id); err != nil {
			return err
		}
	}
	return nil
}

func (tx *sqliteTx) setCursor(f folderID, cursor, rules string) error {
	_, err := tx.exec("UPDATE folders SET cursor = ?, rules = ? WHERE id = ? AND (cursor <> ? OR rules <> ?)",
		cursor, rules, f.id, cursor, rules)
	return err
}

func micros(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UnixMicro()
}

func hash(sum [32]byte) any {
	if sum == ([32]byte{}) {
		return nil
	}
	return sum[:]
}

// timeColumn scans what micros wrote.
type timeColumn time.Time

func (c *timeColumn) Scan(v any) error {
	switch v := v.(type) {
	case nil:
		*c = timeColumn{}
		return nil
	case int64:
		*c = timeColumn(time.UnixMicro(v).UTC())
		return nil
	}
	return fmt.Errorf("time is a %T", v)
}

// hashColumn scans what hash wrote.
type hashColumn [32]byte

func (c *hashColumn) Scan(v any) error {
	b, ok := v.([]byte)
	switch {
	case v == nil:
		*c = hashColumn{}
		return nil
	case ok && len(b) == len(c):
		*c = hashColumn(b)
		return nil
	}
	return fmt.Errorf("hash is a %T of %d bytes", v, len(b))
}

// stateColumn scans a state.
type stateColumn State

func (c *stateColumn) Scan(v any) error {
	code, _ := v.(int64)
	s, err := stateOf(code)
	*c = stateColumn(s)
	return err
}
