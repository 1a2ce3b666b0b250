package exchange

import (
	"context"
	"fmt"
	"slices"
	"time"

	"postroom/internal/graph"
	"postroom/sources"
)

const (
	// overlap is how far a sweep goes back: messages may show up a little after
	// the time at which they are said to have been changed.
	overlap = 5 * time.Minute
	// wholeEvery is how often the whole folder is listed: a message that was
	// moved into it may keep the time of its last change.
	wholeEvery = 24 * time.Hour
)

// sweep is the part of a cursor in a cloud without a listing of changes. What
// was changed before Since has been listed.
type sweep struct {
	Since time.Time `json:"since,omitzero"`
	// Recent are the messages changed since then that have been listed: hashes of
	// key and time of change.
	Recent []string `json:"recent,omitempty"`
	// Whole is when the whole folder was last listed (Unix seconds).
	Whole int64 `json:"whole,omitempty"`
}

// sweepFolder begins a listing in a cloud without delta: of what was changed
// since the last one, and now and then of everything. The ledger recognises what
// it has.
func (s *Source) sweepFolder(ctx context.Context, folder sources.Folder, doing string, after sources.Cursor) (sources.Listing, error) {
	l := &sweeping{source: s, folder: folder, doing: doing, cursor: parseCursor(after, sweepCursor), started: time.Now()}
	l.before = l.cursor.sweep
	if time.Since(time.Unix(l.cursor.Whole, 0)).Abs() > wholeEvery {
		l.whole = true
		if l.cursor.Link == "" {
			l.before, l.cursor.sweep = sweep{Whole: l.cursor.Whole}, sweep{Whole: l.cursor.Whole}
		}
	}
	if err := l.load(ctx); err != nil {
		return nil, err
	}
	return l, nil
}

// sweeping implements [sources.Listing] by the times of change.
type sweeping struct {
	source  *Source
	folder  sources.Folder
	doing   string
	started time.Time
	// whole: the whole folder is being listed.
	whole bool
	// before is where the listing began, cursor how far it has come.
	before sweep
	cursor cursor

	page     []change
	next     string
	restart  bool
	returned bool
}

// change is a message with when it was changed.
type change struct {
	sources.Ref
	at time.Time
}

func (c change) mark() string { return hash(c.Key + " " + c.at.UTC().Format(time.RFC3339Nano)) }

func (l *sweeping) load(ctx context.Context) error {
	s := l.source
	q := graph.Query{OrderBy: []string{"lastModifiedDateTime asc"}, Fields: []string{"lastModifiedDateTime"}, Size: int32(s.cfg.PageSize)}
	if !l.before.Since.IsZero() {
		q.Filter = fmt.Sprintf("lastModifiedDateTime ge %s", l.before.Since.UTC().Format(time.RFC3339))
	}
	page, err := s.box.Messages(ctx, l.folder.ID, l.cursor.Link, q)
	if l.cursor.Link != "" && !l.restart && forgotten(err) {
		l.restart, l.cursor.Link, l.cursor.Done = true, "", nil
		page, err = s.box.Messages(ctx, l.folder.ID, "", q)
	}
	if err != nil {
		return s.noFolder(l.folder, l.doing, err)
	}
	l.next = page.Next
	at := make(map[string]time.Time, len(page.Items))
	for _, item := range page.Items {
		at[item.ID] = item.Modified.Time
	}
	l.page = nil
	for _, ref := range s.refs(page.Items, l.cursor.Done) {
		c := change{ref, at[ref.Key]}
		if !slices.Contains(l.before.Recent, c.mark()) {
			l.page = append(l.page, c)
		}
	}
	return nil
}

// Next implements [sources.Listing].
func (l *sweeping) Next(ctx context.Context, most int) ([]sources.Ref, error) {
	ctx, done, err := l.source.bind(ctx, l.doing)
	if err != nil {
		return nil, err
	}
	defer done()
	for len(l.page) == 0 && l.next != "" {
		link, before := l.cursor.Link, l.cursor.Done
		l.cursor.Link, l.cursor.Done = l.next, nil
		if err := l.load(ctx); err != nil {
			l.cursor.Link, l.cursor.Done = link, before
			return nil, err
		}
	}
	var refs []sources.Ref
	for _, c := range l.page[:min(max(most, 1), len(l.page))] {
		refs = append(refs, c.Ref)
		l.cursor.Done = append(l.cursor.Done, hash(c.Key))
		l.cursor.note(c)
		l.returned = true
	}
	l.page = l.page[len(refs):]
	return refs, nil
}

// note moves Since up to the message, less the overlap, and forgets those marks
// that are too old to matter.
func (s *sweep) note(c change) {
	if since := c.at.Add(-overlap); since.After(s.Since) {
		s.Since = since.Truncate(time.Second)
	}
	s.Recent = append(s.Recent, c.mark())
	// Marks are in order of their time, by and large: the last ones matter.
	if len(s.Recent) > 2000 {
		s.Recent = slices.Clone(s.Recent[len(s.Recent)-1000:])
	}
}

// Remaining implements [sources.Listing].
func (l *sweeping) Remaining() int {
	if l.next != "" {
		return -1
	}
	return len(l.page)
}

// Cursor implements [sources.Listing].
func (l *sweeping) Cursor(again []string) sources.Cursor {
	c := l.cursor
	switch {
	case len(l.page) > 0:
		return c.text()
	case l.next != "":
		c.Link, c.Done = l.next, nil
		return c.text()
	}
	c.Link, c.Done = "", nil
	if l.whole {
		c.Whole = l.started.Unix()
	}
	return c.text()
}
