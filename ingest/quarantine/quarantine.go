// Package quarantine keeps the raw bytes of messages that could not be filed,
// with the reason, until a person decides.
//
// Each is two files, ID.eml and ID.json. The ledger says which messages are in
// quarantine; the files hold what is needed to show them and to try again.
package quarantine

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"postroom/ingest/spool"
	"postroom/internal/durable"
)

// Record describes a quarantined message.
type Record struct {
	ID       string    `json:"id"`
	Source   string    `json:"source"`
	Folder   string    `json:"folder"` // path
	FolderID string    `json:"folder_id,omitempty"`
	Key      string    `json:"key"`
	Received time.Time `json:"received,omitzero"`
	Wire     string    `json:"wire,omitempty"`
	Size     int64     `json:"size"`
	SHA256   string    `json:"sha256"`
	Subject  string    `json:"subject,omitempty"`
	From     string    `json:"from,omitempty"`
	Reason   string    `json:"reason"`
	Attempts int       `json:"attempts"`
	At       time.Time `json:"at"`
	Notes    []string  `json:"notes,omitempty"`

	// Rules and Version are the rules of the source, and the version of postroom,
	// under which it was last tried.
	Rules   string `json:"rules,omitempty"`
	Version string `json:"version,omitempty"`
}

// Quarantine is a folder of quarantined messages. It may be used concurrently,
// for different ids.
type Quarantine struct {
	dir string
	dry *dry // nil: it is written to
}

// Open returns the quarantine in dir, which is made when the first message
// comes.
func Open(dir string) *Quarantine { return &Quarantine{dir: dir} }

// ReadOnly returns the quarantine as one that nothing changes: what is kept or
// removed there stays as it is, and what is renamed is found by its new id.
func (q *Quarantine) ReadOnly() *Quarantine {
	return &Quarantine{dir: q.dir, dry: &dry{names: make(map[string]string)}}
}

// dry is what was renamed in a quarantine that is not written to.
type dry struct {
	mu    sync.Mutex
	names map[string]string // by the new id
}

func (q *Quarantine) path(id, ext string) string {
	if q.dry != nil {
		q.dry.mu.Lock()
		defer q.dry.mu.Unlock()
		if name, ok := q.dry.names[id]; ok {
			id = name
		}
	}
	return filepath.Join(q.dir, id+ext)
}

// Keep writes the message and its record, replacing an earlier one of that id.
// When it returns nil, both survive a loss of power. A nil raw keeps the record
// alone.
func (q *Quarantine) Keep(r Record, raw *spool.Blob) error {
	if q.dry != nil {
		return nil
	}
	if err := os.MkdirAll(q.dir, 0o700); err != nil {
		return fmt.Errorf("make quarantine: %w", err)
	}
	meta, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encode quarantine record: %w", err)
	}
	// The message last: where it is, its record is.
	if err := durable.WriteFile(q.path(r.ID, ".json"), bytes.NewReader(meta), 0o600); err != nil {
		return fmt.Errorf("quarantine message: %w", err)
	}
	if eml := q.path(r.ID, ".eml"); raw != nil && raw.Kept() != eml {
		if err := durable.WriteFile(eml, raw.Reader(), 0o600); err != nil {
			return fmt.Errorf("quarantine message: %w", err)
		}
	}
	return nil
}

// ErrDamaged: what is kept of a message is not what was kept.
var ErrDamaged = errors.New("the copy in quarantine is damaged")

// Take returns a message with its record. The error wraps fs.ErrNotExist if its
// raw bytes are not here, ErrDamaged if they or the record have been altered.
func (q *Quarantine) Take(id string) (Record, *spool.Blob, error) {
	raw, err := q.Raw(id)
	if err != nil {
		return Record{}, nil, err
	}
	r, err := q.Record(id)
	sum := raw.SHA256()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = fmt.Errorf("%w: %s has no record", ErrDamaged, id)
	case err == nil && (r.Size != raw.Size() || r.SHA256 != hex.EncodeToString(sum[:])):
		err = fmt.Errorf("%w: %s is not the message that was kept", ErrDamaged, id)
	}
	if err != nil {
		return r, nil, errors.Join(err, raw.Close())
	}
	return r, raw, nil
}

// Record returns the record of the message; an error wrapping fs.ErrNotExist if
// there is none.
func (q *Quarantine) Record(id string) (Record, error) {
	var r Record
	b, err := os.ReadFile(q.path(id, ".json"))
	if err != nil {
		return r, fmt.Errorf("read quarantine record: %w", err)
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return r, fmt.Errorf("%w: record of %s: %w", ErrDamaged, id, err)
	}
	r.ID = id
	return r, nil
}

// Has reports whether the message's raw bytes are here.
func (q *Quarantine) Has(id string) (bool, error) {
	_, err := os.Stat(q.path(id, ".eml"))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// Raw returns the raw bytes of the message.
func (q *Quarantine) Raw(id string) (*spool.Blob, error) {
	b, err := spool.File(q.path(id, ".eml"))
	if err != nil {
		return nil, fmt.Errorf("read quarantined message: %w", err)
	}
	return b, nil
}

// IDs returns the ids of which there is anything here, in order.
func (q *Quarantine) IDs() ([]string, error) {
	files, err := os.ReadDir(q.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list quarantine: %w", err)
	}
	var ids []string
	for _, f := range files {
		id, ext, _ := strings.Cut(f.Name(), ".")
		if id != "" && (ext == "eml" || ext == "json") && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// Export writes the raw bytes to w.
func (q *Quarantine) Export(id string, w io.Writer) error {
	b, err := q.Raw(id)
	if err != nil {
		return err
	}
	defer b.Close()
	if _, err := io.Copy(w, b.Reader()); err != nil {
		return fmt.Errorf("export quarantined message: %w", err)
	}
	return nil
}

// Rename gives a message another id. Renaming one that is not here is no error.
func (q *Quarantine) Rename(from, to string) error {
	if q.dry != nil {
		return q.alias(from, to)
	}
	for _, ext := range []string{".json", ".eml"} {
		if err := durable.Patiently(func() error { return os.Rename(q.path(from, ext), q.path(to, ext)) }); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("rename quarantined message: %w", err)
		}
	}
	if err := durable.SyncDir(q.dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("rename quarantined message: %w", err)
	}
	return nil
}

// alias is Rename where nothing is written.
func (q *Quarantine) alias(from, to string) error {
	if _, err := q.Record(from); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	q.dry.mu.Lock()
	defer q.dry.mu.Unlock()
	name := from
	if earlier, ok := q.dry.names[from]; ok {
		name = earlier
	}
	q.dry.names[to] = name
	return nil
}

// Remove removes the message. Removing one that is not here is no error.
func (q *Quarantine) Remove(id string) error {
	if q.dry != nil {
		return nil
	}
	for _, ext := range []string{".eml", ".json"} {
		if err := durable.Patiently(func() error { return os.Remove(q.path(id, ext)) }); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove quarantined message: %w", err)
		}
	}
	return nil
}
