package exchange

import (
	"context"
	"errors"
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

	block     []change
	next      string
	restarted bool
}

// change is a message with when it was changed.
type change struct {
	sources.Ref
	at time.Time
}

// mark tells one state of a message from another. The server's times are to the
// second.
func (c change) mark() string {
	return hash(fmt.Sprint(c.Key, " ", c.at.UTC().Format(time.RFC3339Nano), " ", c.Seen))
}

func (l *sweeping) load(ctx context.Context) error {
	s := l.source
	q := graph.Query{OrderBy: []string{"lastModifiedDateTime asc"}, Fields: []string{"lastModifiedDateTime"}, Size: int32(s.cfg.PageSize)}
	if !l.before.Since.IsZero() {
		q.Filter = fmt.Sprintf("lastModifiedDateTime ge %s", l.before.Since.UTC().Format(time.RFC3339))
	}
	var items []*graph.Item
	seen := make(map[string]bool)
	for link := l.cursor.Link; ; link = l.next {
		page, err := s.box.Messages(ctx, l.folder.ID, link, q)
		if link != "" && !l.restarted && forgotten(err) {
			l.restarted, l.cursor.Link, l.cursor.Done = true, "", nil
			return l.load(ctx)
		}
		if err != nil {
			return s.noFolder(l.folder, l.doing, err)
		}
		l.next = page.Next
		if l.next != "" && (seen[l.next] || len(seen) > maxPages) {
			return s.failure(sources.Temporary, l.doing, errors.New("the pages of the listing go round in a circle"))
		}
		seen[l.next] = true
		items = append(items, page.Items...)
		if l.next == "" || len(items) >= s.cfg.Block {
			break
		}
	}
	at := make(map[string]time.Time, len(items))
	for _, item := range items {
		at[item.ID] = item.Modified.Time
	}
	known := make(map[string]bool, len(l.before.Recent))
	for _, mark := range l.before.Recent {
		known[mark] = true
	}
	l.block = nil
	for _, ref := range s.refs(items, l.cursor.Done) {
		if c := (change{ref, at[ref.Key]}); !known[c.mark()] {
			l.block = append(l.block, c)
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
	for len(l.block) == 0 && l.next != "" {
		before := *l
		l.cursor.Link, l.cursor.Done = l.next, nil
		if err := l.load(ctx); err != nil {
			*l = before
			return nil, err
		}
	}
	var refs []sources.Ref
	for _, c := range l.block[:min(max(most, 1), len(l.block))] {
		refs = append(refs, c.Ref)
		l.cursor.Done = append(l.cursor.Done, hash(c.Key))
		l.cursor.note(c)
	}
	l.block = l.block[len(refs):]
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
	return len(l.block)
}

// Cursor implements [sources.Listing].
func (l *sweeping) Cursor([]string) sources.Cursor {
	c := l.cursor
	switch {
	case len(l.block) > 0:
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
