package ledger

import (
	"context"
	"database/sql"
	"fmt"
)

// schema returns the steps from an empty database to the schema of now. Step n,
// counted from 1, leads to version n; a step that was released never changes.
func schema() []string { return []string{schema1, schema2, schema3, schema4, schema5} }

// Times are microseconds since 1970, UTC; NULL is the zero time. The states are
// those of stateCode: from 10 on, nothing is owed. Only what is owed is in
// entries_open and entries_due, so that they stay small; entries_claim is what
// lets one message at a time prepare a document.
const schema1 = `
CREATE TABLE sources (
	id   INTEGER PRIMARY KEY,
	name TEXT NOT NULL UNIQUE
);
CREATE TABLE folders (
	id     INTEGER PRIMARY KEY,
	source INTEGER NOT NULL REFERENCES sources (id),
	folder TEXT NOT NULL,
	cursor TEXT NOT NULL DEFAULT '',
	rules  TEXT NOT NULL DEFAULT '',
	UNIQUE (source, folder)
);
CREATE TABLE entries (
	id          INTEGER PRIMARY KEY,
	source      INTEGER NOT NULL REFERENCES sources (id),
	folder      INTEGER NOT NULL REFERENCES folders (id),
	key         TEXT NOT NULL,
	folder_path TEXT NOT NULL,
	state       INTEGER NOT NULL,
	size        INTEGER NOT NULL,
	received    INTEGER,
	document    TEXT NOT NULL,
	title       TEXT NOT NULL,
	message_id  TEXT NOT NULL,
	filed       INTEGER,
	location    TEXT NOT NULL,
	sha256      BLOB,
	duplicate   INTEGER NOT NULL,
	exact       INTEGER NOT NULL,
	attempts    INTEGER NOT NULL,
	retry_at    INTEGER,
	cause       TEXT NOT NULL,
	updated     INTEGER NOT NULL,
	outcome     INTEGER, -- when it was filed or quarantined
	quarantine  BLOB,    -- its quarantine id, once it was ever quarantined
	UNIQUE (folder, key)
);
CREATE INDEX entries_open ON entries (folder, key) WHERE state < 10;
CREATE INDEX entries_due ON entries (folder, retry_at) WHERE state < 10 AND retry_at IS NOT NULL;
CREATE UNIQUE INDEX entries_claim ON entries (document) WHERE state = 2;
CREATE INDEX entries_final ON entries (updated) WHERE state >= 10;
CREATE INDEX entries_final_source ON entries (source, updated) WHERE state >= 10;
CREATE INDEX entries_outcome ON entries (source, outcome) WHERE outcome IS NOT NULL;
CREATE INDEX entries_quarantine ON entries (quarantine) WHERE quarantine IS NOT NULL;
CREATE TABLE documents (
	id       TEXT NOT NULL PRIMARY KEY,
	source   INTEGER NOT NULL REFERENCES sources (id),
	entry    INTEGER NOT NULL REFERENCES entries (id), -- that filed it
	title    TEXT NOT NULL,
	received INTEGER,
	location TEXT NOT NULL,
	filed    INTEGER,
	sha256   BLOB
);
CREATE TABLE counts (
	source INTEGER NOT NULL REFERENCES sources (id),
	state  INTEGER NOT NULL,
	n      INTEGER NOT NULL,
	PRIMARY KEY (source, state)
) WITHOUT ROWID;
`

// What messages are recognised by across protocols. The first bytes of a hash
// are enough for an index.
const schema2 = `
ALTER TABLE entries ADD COLUMN content BLOB;
ALTER TABLE entries ADD COLUMN strict BLOB;
ALTER TABLE entries ADD COLUMN original INTEGER NOT NULL DEFAULT 0;
ALTER TABLE documents ADD COLUMN message_id TEXT NOT NULL DEFAULT '';
ALTER TABLE documents ADD COLUMN content BLOB;
ALTER TABLE documents ADD COLUMN strict BLOB;
ALTER TABLE documents ADD COLUMN original INTEGER NOT NULL DEFAULT 0;
UPDATE documents SET message_id = coalesce((SELECT message_id FROM entries e WHERE e.id = documents.entry), '');
CREATE INDEX documents_sha256 ON documents (source, substr(sha256, 1, 8)) WHERE sha256 IS NOT NULL;
CREATE INDEX documents_content ON documents (source, substr(content, 1, 8)) WHERE content IS NOT NULL;
CREATE INDEX documents_message_id ON documents (source, message_id) WHERE message_id <> '';
`

// A document that is forgotten is in tombstones and not in documents. The index
// finds what a person gave up when it comes again.
const schema3 = `
ALTER TABLE documents ADD COLUMN description BLOB;
CREATE TABLE tombstones (
	id        TEXT NOT NULL PRIMARY KEY,
	source    INTEGER NOT NULL REFERENCES sources (id),
	location  TEXT NOT NULL,
	sha256    BLOB,
	forgotten INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX entries_discarded ON entries (source, sha256) WHERE state = 12;
`

// A document that is about to be replaced in the repository, and what it will be.
// name is that of the source in its key there, which stays when the source is
// renamed.
const schema4 = `
CREATE TABLE refilings (
	id         TEXT NOT NULL PRIMARY KEY,
	name       TEXT NOT NULL,
	title      TEXT NOT NULL,
	message_id TEXT NOT NULL,
	content    BLOB,
	strict     BLOB,
	original   INTEGER NOT NULL
) WITHOUT ROWID;
`

// What replaces a document may be made of other bytes than those it was filed
// from.
const schema5 = `
ALTER TABLE refilings ADD COLUMN sha256 BLOB;
UPDATE refilings SET sha256 = (SELECT sha256 FROM documents d WHERE d.id = refilings.id);
`

// migrate brings the database at path up to date, one transaction per step. Its
// pages are checked before, unless nothing has touched it since it was closed.
func migrate(ctx context.Context, conn *sql.Conn, path string, untouched bool, steps []string) error {
	version, err := schemaVersion(ctx, conn, len(steps))
	if err != nil {
		return err
	}
	if !untouched {
		if err := checkPages(ctx, conn, path); err != nil {
			return err
		}
	}
	if version > 0 && version < len(steps) {
		if err := backup(ctx, conn, path, version); err != nil {
			return fmt.Errorf("back up before migration: %w", err)
		}
	}
	if _, err := conn.ExecContext(ctx, "PRAGMA journal_mode = WAL"); err != nil {
		return fmt.Errorf("set journal mode: %w", err)
	}
	for ; version < len(steps); version++ {
		if err := migrateStep(ctx, conn, steps[version], version+1); err != nil {
			return fmt.Errorf("migrate to schema version %d: %w", version+1, err)
		}
	}
	return nil
}

func migrateStep(ctx context.Context, conn *sql.Conn, step string, version int) error {
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // without effect after Commit
	marks := fmt.Sprintf("PRAGMA application_id = %d; PRAGMA user_version = %d", applicationID, version)
	for _, s := range []string{step, marks} {
		if _, err := tx.ExecContext(ctx, s); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// stateCode returns how the schema writes a state.
func stateCode(s State) int64 {
	switch s {
	case Begun:
		return 1
	case Prepared:
		return 2
	case Filed:
		return 3
	case Quarantined:
		return 4
	case Settled:
		return 10
	case Parked:
		return 11
	case Discarded:
		return 12
	case Vanished:
		return 13
	}
	return 0
}

// stateOf is the reverse of stateCode.
func stateOf(code int64) (State, error) {
	for _, s := range []State{Begun, Prepared, Filed, Quarantined, Settled, Parked, Discarded, Vanished} {
		if stateCode(s) == code {
			return s, nil
		}
	}
	return "", fmt.Errorf("unknown state %d", code)
}
