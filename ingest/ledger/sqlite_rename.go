package ledger

import "errors"

// rename carries a source over to a new name and returns the number of entries.
func (tx *sqliteTx) rename(from, to string) (int64, error) {
	clear(tx.recent)
	var old, other int64
	err := tx.row("SELECT id FROM sources WHERE name = ?", []any{from}, &old)
	if errors.Is(err, ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	err = tx.row("SELECT id FROM sources WHERE name = ?", []any{to}, &other)
	if errors.Is(err, ErrNotFound) {
		return tx.renameWhole(old, to)
	}
	if err != nil {
		return 0, err
	}
	return tx.merge(old, other, to)
}

// renameWhole gives a source a name that no other has.
func (tx *sqliteTx) renameWhole(source int64, to string) (n int64, err error) {
	if _, err := tx.exec("UPDATE sources SET name = ? WHERE id = ?", to, source); err != nil {
		return 0, err
	}
	if err := tx.requarantine(source, to); err != nil {
		return 0, err
	}
	err = tx.row("SELECT coalesce(sum(n), 0) FROM counts WHERE source = ?", []any{source}, &n)
	return n, err
}

// merge carries what is known of the source old over to the source to, which is
// there already: first the folders that only old has, then what is in those
// that both have.
func (tx *sqliteTx) merge(old, to int64, name string) (int64, error) {
	var n int64
	for _, step := range []struct {
		query   string
		carries bool
	}{
		{`UPDATE folders SET source = ?2 WHERE source = ?1
			AND folder NOT IN (SELECT folder FROM folders WHERE source = ?2)`, false},
		{`UPDATE entries SET source = ?2 WHERE source = ?1
			AND folder IN (SELECT id FROM folders WHERE source = ?2)`, true},
		{`UPDATE OR IGNORE entries SET source = ?2, folder = (
				SELECT b.id FROM folders a JOIN folders b ON b.source = ?2 AND b.folder = a.folder
				WHERE a.id = entries.folder)
			WHERE source = ?1`, true},
		{`UPDATE folders AS b SET cursor = a.cursor, rules = a.rules FROM folders a
			WHERE a.source = ?1 AND b.source = ?2 AND b.folder = a.folder AND b.cursor = '' AND b.rules = ''`, false},
		{`UPDATE folders SET cursor = '', rules = '' WHERE source = ?1`, false},
		{`UPDATE documents SET source = ?2 WHERE source = ?1`, false},
		{`UPDATE tombstones SET source = ?2 WHERE source = ?1`, false},
		{`DELETE FROM counts WHERE source IN (?1, ?2)`, false},
		{`INSERT INTO counts (source, state, n)
			SELECT source, state, count(*) FROM entries WHERE source IN (?1, ?2) GROUP BY source, state`, false},
	} {
		res, err := tx.exec(step.query, old, to)
		if err != nil {
			return 0, err
		}
		if step.carries {
			carried, err := res.RowsAffected()
			if err != nil {
				return 0, err
			}
			n += carried
		}
	}
	return n, tx.requarantine(to, name)
}

// requarantine derives the quarantine ids of a source from its new name.
func (tx *sqliteTx) requarantine(source int64, name string) error {
	type row struct {
		id          int64
		folder, key string
	}
	var found []row
	err := tx.rows(`SELECT e.id, f.folder, e.key
		FROM entries e INDEXED BY entries_quarantine CROSS JOIN folders f ON f.id = e.folder
		WHERE e.quarantine IS NOT NULL AND e.source = ?`, []any{source},
		func(scan func(...any) error) error {
			var r row
			err := scan(&r.id, &r.folder, &r.key)
			found = append(found, r)
			return err
		})
	if err != nil {
		return err
	}
	for _, r := range found {
		id := quarantineHash(name, r.folder, r.key)
		if _, err := tx.exec("UPDATE entries SET quarantine = ? WHERE id = ?", id, r.id); err != nil {
			return err
		}
	}
	return nil
}
