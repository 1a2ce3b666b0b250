package ledger

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// NewMemory returns an empty ledger that keeps nothing beyond its process: for
// tests and simulations.
func NewMemory() Ledger { return newMemory(time.Now) }

func newMemory(now func() time.Time) *memory {
	return &memory{
		now:       now,
		leases:    newLeases(now),
		folders:   make(map[place]*memoryFolder),
		documents: make(map[string]Document),
		forgotten: make(map[string]Document),
		refiling:  make(map[string]Document),
		claims:    make(map[string]*memoryEntry),
	}
}

type memory struct {
	now    func() time.Time
	leases *leases

	mu        sync.RWMutex
	closed    bool
	folders   map[place]*memoryFolder
	entries   []*memoryEntry // in the order begun
	documents map[string]Document
	forgotten map[string]Document // tombstones
	refiling  map[string]Document // about to be replaced
	discarded []*memoryEntry
	claims    map[string]*memoryEntry // by the document claimed
}

type memoryFolder struct {
	cursor, rules string
	entries       map[string]*memoryEntry
	open          []string // sorted keys of the entries that are not final
}

type memoryEntry struct {
	Entry
	standing standing
}

func (m *memory) Lease(ctx context.Context, source, folder string, ttl time.Duration) (Lease, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	at := place{source, folder}
	h, err := m.leases.take(at, ttl)
	if err != nil {
		return nil, fmt.Errorf("lease folder: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return &memoryLease{hold: h, m: m, f: m.folder(at)}, nil
}

func (m *memory) Document(ctx context.Context, id string) (Document, error) {
	defer m.mu.RUnlock()
	if err := m.read(ctx); err != nil {
		return Document{}, err
	}
	if d, ok := m.document(id); ok {
		return d, nil
	}
	return Document{}, ErrNotFound
}

// document returns the filed document or its tombstone. It needs mu.
func (m *memory) document(id string) (Document, bool) {
	if d, ok := m.documents[id]; ok {
		return d, true
	}
	d, ok := m.forgotten[id]
	return d, ok
}

func (m *memory) Documents(ctx context.Context, q DocumentQuery) iter.Seq2[Document, error] {
	return func(yield func(Document, error) bool) {
		found, err := m.selected(ctx, q)
		for _, d := range found {
			if err = ctx.Err(); err != nil || !yield(d, nil) {
				break
			}
		}
		if err != nil {
			yield(Document{}, err)
		}
	}
}

// selected returns the documents that match, in the order of Documents.
func (m *memory) selected(ctx context.Context, q DocumentQuery) ([]Document, error) {
	defer m.mu.RUnlock()
	if err := m.read(ctx); err != nil {
		return nil, err
	}
	from := m.documents
	if q.Forgotten {
		from = m.forgotten
	} else if q.Refiling {
		from = m.refiling
	}
	var found []Document
	for _, id := range slices.Sorted(maps.Keys(from)) {
		d := from[id]
		if (q.Source == "" || d.Source == q.Source) && strings.HasPrefix(id, q.IDPrefix) && id > q.After {
			found = append(found, d)
		}
	}
	if q.Limit > 0 && len(found) > q.Limit {
		found = found[:q.Limit]
	}
	return found, nil
}

func (m *memory) Discarded(ctx context.Context, source string, sum [32]byte) (Entry, error) {
	defer m.mu.RUnlock()
	if err := m.read(ctx); err != nil {
		return Entry{}, err
	}
	for _, e := range m.discarded {
		if e.Source == source && e.SHA256 == sum && sum != ([32]byte{}) {
			return e.Entry, nil
		}
	}
	return Entry{}, ErrNotFound
}

func (m *memory) Forget(ctx context.Context, d Document) error {
	if d.ID == "" {
		return errNoID
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return errClosed
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	m.forgotten[d.ID] = d.tombstone(m.now())
	delete(m.documents, d.ID)
	delete(m.refiling, d.ID)
	for _, e := range m.entries {
		if e.DocumentID == d.ID && (e.State == Filed || e.State == Settled) {
			e.Title, e.MessageID, e.Location = "", "", ""
		}
	}
	return nil
}

func (m *memory) Refile(ctx context.Context, d Document) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	was, err := m.toRefile(ctx, d.ID)
	if err != nil {
		return err
	}
	m.refiling[d.ID] = was.refiling(d)
	return nil
}

func (m *memory) Refiled(ctx context.Context, d Document) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	was, err := m.toRefile(ctx, d.ID)
	if err != nil {
		return err
	}
	was.Title, was.Location, was.MessageID, was.SHA256 = d.Title, d.Location, d.MessageID, d.SHA256
	was.Likeness, was.Description = d.Likeness, d.Description
	m.documents[d.ID] = was
	delete(m.refiling, d.ID)
	for _, e := range m.entries {
		if e.DocumentID != d.ID || e.State != Filed && e.State != Settled {
			continue
		}
		e.Location = d.Location
		if !e.Duplicate {
			e.Title = d.Title
		}
	}
	return nil
}

// toRefile returns the filed document. It needs mu.
func (m *memory) toRefile(ctx context.Context, id string) (Document, error) {
	if m.closed {
		return Document{}, errClosed
	}
	if err := ctx.Err(); err != nil {
		return Document{}, err
	}
	d, ok := m.documents[id]
	if !ok {
		return Document{}, ErrNotFound
	}
	return d, nil
}

func (m *memory) Like(ctx context.Context, source string, sha256, content [32]byte, messageID string) ([]Document, error) {
	defer m.mu.RUnlock()
	if err := m.read(ctx); err != nil {
		return nil, err
	}
	var alike []Document
	var none [32]byte
	for _, e := range m.entries {
		d, filed := m.documents[e.DocumentID]
		if filed && !e.Duplicate && (e.State == Filed || e.State == Settled) && d.Source == source &&
			(d.SHA256 == sha256 && sha256 != none || d.Likeness.Content == content && content != none || d.MessageID == messageID && messageID != "") {
			alike = append(alike, d)
		}
	}
	slices.SortStableFunc(alike, func(a, b Document) int { return a.Filed.Compare(b.Filed) })
	return alike[:min(len(alike), MostAlike)], nil
}

func (m *memory) Entry(ctx context.Context, source, folder, key string) (Entry, error) {
	defer m.mu.RUnlock()
	if err := m.read(ctx); err != nil {
		return Entry{}, err
	}
	if f := m.folders[place{source, folder}]; f != nil {
		if e := f.entries[key]; e != nil {
			return e.Entry, nil
		}
	}
	return Entry{}, ErrNotFound
}

func (m *memory) Entries(ctx context.Context, q Query) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		found, err := m.matching(ctx, q)
		if err != nil {
			yield(Entry{}, err)
			return
		}
		for _, e := range found {
			if err := ctx.Err(); err != nil {
				yield(Entry{}, err)
				return
			}
			if !yield(e, nil) {
				return
			}
		}
	}
}

// matching returns copies of the entries that match, in the order of Entries.
func (m *memory) matching(ctx context.Context, q Query) ([]Entry, error) {
	defer m.mu.RUnlock()
	if err := m.read(ctx); err != nil {
		return nil, err
	}
	since := instant(q.Since)
	var found []Entry
	for _, e := range m.entries {
		s := e.standing
		if (q.Source == "" || e.Source == q.Source) &&
			(len(q.States) == 0 || slices.Contains(q.States, e.State)) &&
			(since.IsZero() || !s.outcome.IsZero() && !s.outcome.Before(since)) &&
			(q.QuarantineID == "" || s.quarantined && e.QuarantineID() == q.QuarantineID) {
			found = append(found, e.Entry)
		}
	}
	slices.SortStableFunc(found, func(a, b Entry) int { return a.Updated.Compare(b.Updated) })
	if q.Limit > 0 && len(found) > q.Limit {
		found = found[len(found)-q.Limit:]
	}
	return found, nil
}

func (m *memory) Count(ctx context.Context, source string) (map[State]int, error) {
	defer m.mu.RUnlock()
	if err := m.read(ctx); err != nil {
		return nil, err
	}
	count := make(map[State]int)
	for _, e := range m.entries {
		if source == "" || e.Source == source {
			count[e.State]++
		}
	}
	return count, nil
}

func (m *memory) Rename(ctx context.Context, from, to string) (int, error) {
	if from == to {
		return 0, ctx.Err()
	}
	lift, err := m.leases.bar(from, to)
	if err != nil {
		return 0, fmt.Errorf("rename source: %w", err)
	}
	defer lift()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return 0, errClosed
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	n := 0
	for at, f := range m.folders {
		if at.source == from {
			n += m.carry(f, at.folder, to)
		}
	}
	for id, d := range m.documents {
		if d.Source == from {
			d.Source = to
			m.documents[id] = d
		}
	}
	for id, d := range m.forgotten {
		if d.Source == from {
			d.Source = to
			m.forgotten[id] = d
		}
	}
	return n, nil
}

// carry moves what is known of a folder to the same folder of another source
// and returns the number of entries.
func (m *memory) carry(f *memoryFolder, folder, to string) int {
	dest := m.folder(place{to, folder})
	if dest.cursor == "" && dest.rules == "" {
		dest.cursor, dest.rules = f.cursor, f.rules
	}
	f.cursor, f.rules = "", ""
	n := 0
	for key, e := range f.entries {
		if dest.entries[key] != nil {
			continue
		}
		n++
		e.Source = to
		dest.entries[key] = e
		delete(f.entries, key)
		if !e.State.Final() {
			dest.open = append(dest.open, key)
		}
	}
	slices.Sort(dest.open)
	f.open = slices.DeleteFunc(f.open, func(key string) bool { return f.entries[key] == nil })
	return n
}

// folder returns the folder, made if it is not there. It needs mu.
func (m *memory) folder(at place) *memoryFolder {
	f := m.folders[at]
	if f == nil {
		f = &memoryFolder{entries: make(map[string]*memoryEntry)}
		m.folders[at] = f
	}
	return f
}

func (m *memory) Close() error {
	m.leases.end()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	return nil
}

// read locks for reading, also when it returns an error.
func (m *memory) read(ctx context.Context) error {
	m.mu.RLock()
	if m.closed {
		return errClosed
	}
	return ctx.Err()
}

type memoryLease struct {
	*hold
	m *memory
	f *memoryFolder
}

// write locks for writing, also when it returns an error.
func (l *memoryLease) write(ctx context.Context) error {
	l.m.mu.Lock()
	if err := l.check(); err != nil {
		return err
	}
	return ctx.Err()
}

func (l *memoryLease) Cursor(ctx context.Context) (cursor, rules string, err error) {
	defer l.m.mu.Unlock()
	if err := l.write(ctx); err != nil {
		return "", "", err
	}
	return l.f.cursor, l.f.rules, nil
}

func (l *memoryLease) SetCursor(ctx context.Context, cursor, rules string) error {
	defer l.m.mu.Unlock()
	if err := l.write(ctx); err != nil {
		return err
	}
	l.f.cursor, l.f.rules = cursor, rules
	return nil
}

func (l *memoryLease) Begin(ctx context.Context, listed []Listed) ([]Entry, error) {
	defer l.m.mu.Unlock()
	if err := l.write(ctx); err != nil {
		return nil, err
	}
	if err := checkKeys(listed); err != nil {
		return nil, err
	}
	now := instant(l.m.now())
	entries := make([]Entry, len(listed))
	for i, m := range listed {
		known := l.f.entries[m.Key]
		if known == nil {
			known = &memoryEntry{Entry: begun(l.at.source, l.at.folder, m, now)}
			l.f.entries[m.Key] = known
			l.m.entries = append(l.m.entries, known)
			l.record(known, known.Entry, standing{}.after(known.Entry))
		}
		entries[i] = known.Entry
	}
	return entries, nil
}

func (l *memoryLease) Drop(ctx context.Context, keys ...string) error {
	defer l.m.mu.Unlock()
	if err := l.write(ctx); err != nil {
		return err
	}
	for _, key := range keys {
		if e := l.f.entries[key]; e != nil && !e.standing.droppable() {
			return fmt.Errorf("drop entry %q: %w", key, ErrTransition)
		}
	}
	for _, key := range keys {
		e := l.f.entries[key]
		if e == nil {
			continue
		}
		delete(l.f.entries, key)
		l.m.entries = slices.DeleteFunc(l.m.entries, func(o *memoryEntry) bool { return o == e })
		if i, open := slices.BinarySearch(l.f.open, key); open {
			l.f.open = slices.Delete(l.f.open, i, i+1)
		}
	}
	return nil
}

func (l *memoryLease) Owed(ctx context.Context, now time.Time, after string, limit int) ([]Entry, error) {
	defer l.m.mu.Unlock()
	if err := l.write(ctx); err != nil {
		return nil, err
	}
	now = instant(now)
	var owed []Entry
	i, found := slices.BinarySearch(l.f.open, after)
	if found {
		i++
	}
	for _, key := range l.f.open[i:] {
		if len(owed) >= limit {
			break
		}
		if e := l.f.entries[key]; !e.RetryAt.After(now) {
			owed = append(owed, e.Entry)
		}
	}
	return owed, nil
}

func (l *memoryLease) NextDue(ctx context.Context) (time.Time, error) {
	defer l.m.mu.Unlock()
	if err := l.write(ctx); err != nil {
		return time.Time{}, err
	}
	var due time.Time
	for _, key := range l.f.open {
		at := l.f.entries[key].RetryAt
		if !at.IsZero() && (due.IsZero() || at.Before(due)) {
			due = at
		}
	}
	return due, nil
}

func (l *memoryLease) Prepare(ctx context.Context, e Entry) (*Document, error) {
	defer l.m.mu.Unlock()
	if err := l.write(ctx); err != nil {
		return nil, err
	}
	known := l.begun(e)
	if known == nil {
		return nil, fmt.Errorf("prepare entry %q: %w", e.Key, ErrNotFound)
	}
	e, next, err := known.standing.prepare(e, instant(l.m.now()))
	if err != nil {
		return nil, fmt.Errorf("prepare entry %q: %w", e.Key, err)
	}
	if d, ok := l.m.document(e.DocumentID); ok {
		return &d, nil
	}
	if by := l.m.claims[e.DocumentID]; by != nil && by != known {
		return nil, fmt.Errorf("prepare entry %q: %w", e.Key, ErrClaimed)
	}
	l.record(known, e, next)
	return nil, nil
}

// Advance tries the steps on copies first, so that a refused one leaves nothing.
func (l *memoryLease) Advance(ctx context.Context, entries ...Entry) error {
	defer l.m.mu.Unlock()
	if err := l.write(ctx); err != nil {
		return err
	}
	now := instant(l.m.now())
	tried := make(map[string]standing)
	filed := make(map[string]Document)
	recorded := make([]memoryEntry, len(entries))
	for i, e := range entries {
		known := l.begun(e)
		if known == nil {
			return fmt.Errorf("advance entry %q: %w", e.Key, ErrNotFound)
		}
		s, ok := tried[e.Key]
		if !ok {
			s = known.standing
		}
		e, next, err := s.advance(e, now)
		if err != nil {
			return fmt.Errorf("advance entry %q: %w", e.Key, err)
		}
		if s.files(next) {
			filed[e.DocumentID] = e.filedDocument()
		}
		if s.names(next) {
			_, before := l.m.documents[e.DocumentID]
			_, now := filed[e.DocumentID]
			if !before && !now {
				return fmt.Errorf("advance entry %q: document of a duplicate: %w", e.Key, ErrNotFound)
			}
		}
		tried[e.Key] = next
		recorded[i] = memoryEntry{e, next}
	}
	for _, r := range recorded {
		l.record(l.f.entries[r.Key], r.Entry, r.standing)
	}
	maps.Copy(l.m.documents, filed)
	return nil
}

// begun returns the entry in this folder, nil if it was never begun.
func (l *memoryLease) begun(e Entry) *memoryEntry {
	if l.at != (place{e.Source, e.Folder}) {
		return nil
	}
	return l.f.entries[e.Key]
}

// record changes an entry and what is found by its state.
func (l *memoryLease) record(known *memoryEntry, e Entry, next standing) {
	if known.standing.state == Prepared {
		delete(l.m.claims, known.standing.document)
	}
	if next.state == Prepared {
		l.m.claims[next.document] = known
	}
	i, open := slices.BinarySearchFunc(l.f.open, e.Key, cmp.Compare)
	switch {
	case open && e.State.Final():
		l.f.open = slices.Delete(l.f.open, i, i+1)
	case !open && !e.State.Final():
		l.f.open = slices.Insert(l.f.open, i, e.Key)
	}
	if e.State != Prepared {
		e.Likeness = Likeness{}
	}
	if e.State == Discarded {
		l.m.discarded = append(l.m.discarded, known)
	}
	e.Description = [32]byte{}
	if known.standing.stays(next) {
		e.Title, e.MessageID, e.Location = known.Title, known.MessageID, known.Location
	}
	known.Entry, known.standing = e, next
}

// checkKeys refuses an empty key, before which nothing could begin.
func checkKeys(listed []Listed) error {
	for _, m := range listed {
		if m.Key == "" {
			return errors.New("begin entries: a key is empty")
		}
	}
	return nil
}
