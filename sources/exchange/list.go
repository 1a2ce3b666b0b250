package exchange

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"postroom/internal/graph"
	"postroom/sources"
)

// linkKept is for how long the link of a round is kept when the next one has
// brought nothing: the ledger need not be written for it, but the server forgets
// old links.
const linkKept = time.Hour

// List implements [sources.Source]. With nothing new it costs one request. The
// first messages are had at once. Graph gives no order to a listing of changes,
// and begins with the newest, mostly: what it gives is put in order block by
// block, of Config.Block messages or a little more. The next block is read while
// the messages of the one before are still being fetched.
func (s *Source) List(ctx context.Context, folder sources.Folder, after sources.Cursor) (sources.Listing, error) {
	doing := fmt.Sprintf("list folder %q", folder.Path)
	ctx, done, err := s.bind(ctx, doing)
	if err != nil {
		return nil, err
	}
	defer done()
	if !s.noDelta.Load() {
		began := parseCursor(after, changesCursor)
		l := &listing{source: s, folder: folder, doing: doing, began: began, link: began.Link, done: slices.Clone(began.Done)}
		err := l.load(ctx)
		if err == nil {
			return l, nil
		}
		if !graph.NoDelta(err) {
			return nil, err
		}
		s.noDelta.Store(true)
	}
	return s.sweepFolder(ctx, folder, doing, after)
}

// listing implements [sources.Listing] by the changes of a folder.
type listing struct {
	source *Source
	folder sources.Folder
	doing  string
	began  cursor

	// link led to the block at hand; done is what of it has been returned, and
	// block what has not.
	link  string
	done  []string
	block []sources.Ref
	// next leads to the next block, or end to what changes later.
	next, end string

	// ahead is the next block, once it is being read.
	ahead *block

	restarted bool
	returned  bool
}

// block is the listing as it will be with its next block at hand.
type block struct {
	listing
	err  error
	read chan struct{} // closed when it has been read
}

// readAhead begins to read the next block, if little is left of the one at hand.
func (l *listing) readAhead(most int) {
	if l.next == "" || l.ahead != nil || len(l.block) > 2*most {
		return
	}
	ctx, done, err := l.source.bind(context.Background(), l.doing)
	if err != nil {
		return // whoever asks for more is told
	}
	b := &block{listing: *l, read: make(chan struct{})}
	b.link, b.done, b.block = l.next, nil, nil
	l.ahead = b
	go func() {
		defer done()
		defer close(b.read)
		b.err = b.load(ctx)
	}()
}

// advance goes on to the next block.
func (l *listing) advance(ctx context.Context) error {
	if b := l.ahead; b != nil {
		select {
		case <-b.read:
		case <-ctx.Done():
			return l.source.explain(l.doing, context.Cause(ctx))
		}
		l.ahead = nil
		if b.err == nil {
			*l = b.listing
			return nil
		}
		// It is asked for once more, by who needs it now.
	}
	before := *l
	l.link, l.done = l.next, nil
	err := l.load(ctx)
	if err != nil {
		*l = before
	}
	return err
}

// load reads the block that link leads to.
func (l *listing) load(ctx context.Context) error {
	s := l.source
	var items []*graph.Item
	seen := make(map[string]bool)
	for link := l.link; ; link = l.next {
		page, err := s.box.Changes(ctx, l.folder.ID, link, s.cfg.PageSize)
		if link != "" && !l.restarted && forgotten(err) {
			// The server no longer knows the link: the listing begins anew, once.
			s.log.Info("the server has forgotten how far the folder was listed; it is listed anew", zap.String("folder", l.folder.Path), zap.Error(err))
			l.restarted, l.link, l.done = true, "", nil
			return l.load(ctx)
		}
		if err != nil {
			return s.noFolder(l.folder, l.doing, err)
		}
		l.next, l.end = page.Next, page.Delta
		switch {
		case l.next == "" && l.end == "":
			return s.failure(sources.Temporary, l.doing, errors.New("the answer has neither a next page nor an end"))
		case l.next != "" && (seen[l.next] || len(seen) > maxPages):
			return s.failure(sources.Temporary, l.doing, errors.New("the pages of the listing go round in a circle"))
		}
		seen[l.next] = true
		items = append(items, page.Items...)
		if l.next == "" || len(items) >= s.cfg.Block {
			l.block = s.refs(items, l.done)
			return nil
		}
	}
}

// maxPages bounds the pages of a block, of which many may be empty.
const maxPages = 1000

// forgotten reports whether the server no longer knows a link, or never did.
func forgotten(err error) bool {
	var answer *graph.Error
	return graph.CursorLost(err) || errors.Is(err, graph.ErrForeignLink) || errors.As(err, &answer) && answer.Status == 400
}

// noFolder explains an error of a listing. When the folder is not there, where
// it was found is forgotten.
func (s *Source) noFolder(folder sources.Folder, doing string, err error) error {
	var answer *graph.Error
	missing := graph.NotFound(err) || errors.As(err, &answer) && answer.Has("ErrorInvalidIdMalformed", "ErrorInvalidFolderId", "ErrorInvalidId")
	if !missing {
		return s.explain(doing, err)
	}
	s.folders.forget()
	return s.failure(sources.NotFound, doing, err).WithRemedy("the folder %q has been deleted; if it is gone for good, remove it from folders", folder.Path)
}

// refs returns the messages among the items, oldest first, each once, without drafts,
// those that are no longer there, and those whose hash is in done.
func (s *Source) refs(items []*graph.Item, done []string) []sources.Ref {
	last := make(map[string]int, len(items))
	for i, item := range items {
		last[item.ID] = i
	}
	skip := make(map[string]bool, len(done))
	for _, h := range done {
		skip[h] = true
	}
	refs := make([]sources.Ref, 0, len(items))
	for i, item := range items {
		if last[item.ID] != i || item.Removed != nil || bool(item.Draft) || len(skip) > 0 && skip[hash(item.ID)] {
			continue
		}
		if !validKey(item.ID) {
			s.log.Error("the server lists an item whose id cannot be used; it is not read", zap.Int("length", len(item.ID)))
			continue
		}
		refs = append(refs, sources.Ref{Key: item.ID, Size: -1, Received: item.Received.Time, Seen: bool(item.Read)})
	}
	slices.SortStableFunc(refs, func(a, b sources.Ref) int { return a.Received.Compare(b.Received) })
	return refs
}

// validKey reports whether a key can be the id of a message: base64, in either
// alphabet. Ids may differ in letter case alone.
func validKey(key string) bool {
	if len(key) < 8 || len(key) > 1000 {
		return false
	}
	for _, r := range key {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_', r == '+', r == '/', r == '=':
		default:
			return false
		}
	}
	return true
}

// Next implements [sources.Listing].
func (l *listing) Next(ctx context.Context, most int) ([]sources.Ref, error) {
	ctx, done, err := l.source.bind(ctx, l.doing)
	if err != nil {
		return nil, err
	}
	defer done()
	for len(l.block) == 0 && l.next != "" {
		if err := l.advance(ctx); err != nil {
			return nil, err
		}
	}
	if len(l.block) == 0 {
		return nil, nil
	}
	refs := l.block[:min(max(most, 1), len(l.block))]
	l.block = l.block[len(refs):]
	for _, ref := range refs {
		l.done = append(l.done, hash(ref.Key))
	}
	l.returned = true
	l.readAhead(max(most, 1))
	return slices.Clip(refs), nil
}

// Remaining implements [sources.Listing].
func (l *listing) Remaining() int {
	if l.next != "" {
		return -1
	}
	return len(l.block)
}

// Cursor implements [sources.Listing]. What changes later is listed again by
// itself, so that nothing needs to be kept of again.
func (l *listing) Cursor([]string) sources.Cursor {
	now := time.Now()
	switch {
	case len(l.block) > 0:
		return cursor{Kind: changesCursor, Link: l.link, Done: l.done}.text()
	case l.next != "":
		return cursor{Kind: changesCursor, Link: l.next}.text()
	case !l.returned && !l.restarted && l.began.Round != 0 && now.Sub(time.Unix(l.began.Round, 0)).Abs() < linkKept:
		return l.began.text()
	}
	return cursor{Kind: changesCursor, Link: l.end, Round: now.Unix()}.text()
}
