package pop3

import (
	"context"
	"slices"

	"postroom/sources"
)

// List implements [sources.Source]. It costs a session, with one or two round trips
// for what is in the maildrop, whatever that is.
func (s *Source) List(ctx context.Context, _ sources.Folder, after sources.Cursor) (sources.Listing, error) {
	ctx, done, err := s.begin(ctx, "list messages")
	if err != nil {
		return nil, err
	}
	defer done()
	held, err := s.session(ctx, true)
	if err != nil {
		return nil, err
	}
	if err := held.load(ctx); err != nil {
		held.abort()
		return nil, err
	}
	before := parseCursor(after)
	l := &listing{drop: held.drop}
	l.covered, l.left = before.compare(held.drop.hashes)
	if len(l.left) == 0 {
		// Nobody will ask for more: others may have the maildrop.
		held.leave()
		l.drop = nil
		return l, nil
	}
	s.keep(held)
	return l, nil
}

// listing implements [sources.Listing].
type listing struct {
	drop *maildrop
	// left are the positions in drop of the messages not yet returned.
	left []int32
	// covered grows by what Next returns.
	covered covered
}

// Next implements [sources.Listing].
func (l *listing) Next(ctx context.Context, most int) ([]sources.Ref, error) {
	n := min(max(1, most), len(l.left))
	if n == 0 {
		return nil, nil
	}
	refs := make([]sources.Ref, n)
	for i, position := range l.left[:n] {
		e := l.drop.at(position)
		refs[i] = sources.Ref{Key: e.key, Size: e.size}
		l.covered.add(l.drop.hashes[position])
	}
	l.left = l.left[n:]
	return slices.Clip(refs), nil
}

// Remaining implements [sources.Listing].
func (l *listing) Remaining() int { return len(l.left) }

// Cursor implements [sources.Listing].
func (l *listing) Cursor(again []string) sources.Cursor {
	if len(again) == 0 {
		return l.covered.cursor()
	}
	c := l.covered.clone()
	for _, key := range again {
		c.remove(hashOf([]byte(key)))
	}
	return c.cursor()
}
