package imap

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
	"go.uber.org/zap"

	"postroom/sources"
)

const (
	// maxPage bounds the messages of one answer.
	maxPage = 5000
	// ahead is how many messages a Next asks the server about if fewer are
	// wanted, as each answer costs a round trip.
	ahead = 1024
	// maxMessages bounds a folder: a range takes a server few bytes to send.
	maxMessages = 20_000_000
)

// List implements [sources.Source]. With nothing new it costs one round trip; on
// a server without ESEARCH two, now and then, or when its counters have moved.
func (s *Source) List(ctx context.Context, folder sources.Folder, after sources.Cursor) (sources.Listing, error) {
	ctx, done, err := s.pool.bind(ctx)
	if err != nil {
		return nil, s.explain("list messages", err)
	}
	defer done()
	start := time.Now()
	var all goimap.UIDSet
	held, err := s.begin(ctx, wish{folder.Path, false}, func(c *conn) (err error) {
		if c.caps.Has(goimap.CapESearch) {
			// All that such a server sends is a few ranges: cheaper than a second
			// round trip to ask for it only if something has changed.
			all, err = c.openSearch(ctx, folder.Path)
			return err
		}
		return c.open(ctx, folder.Path, false, start)
	})
	if err != nil {
		return nil, err
	}
	defer held.release()

	now := held.selected.counters
	l := &listing{source: s, folder: folder, start: start, covered: parseCursor(after)}
	if l.covered.validity != now.validity {
		l.covered = covered{validity: now.validity}
	}
	cheap := held.caps.Has(goimap.CapESearch)
	before := l.covered
	fresh := start.Sub(before.searched) < s.cfg.Timeouts.Relist && !before.searched.After(start.Add(time.Minute))
	unchanged := now.next != 0 && now.next == before.next && now.exists == before.exists && !before.searched.IsZero()
	if !cheap && unchanged && fresh {
		s.remember(folder, now, start)
		return l, nil
	}
	if !cheap {
		if all, err = held.search(ctx, folder.Path, &goimap.SearchCriteria{}); err != nil {
			return nil, err
		}
	}
	if count(all) > maxMessages {
		return nil, s.error(sources.Permanent, fmt.Sprintf("list folder %q", folder.Path),
			fmt.Errorf("the server lists %d messages, more than the limit of %d", count(all), maxMessages))
	}
	l.left = minus(all, l.covered.set)
	if !cheap {
		l.counters, l.covered.searched = now, start.Truncate(time.Second)
	} else {
		l.covered.searched = time.Time{}
	}
	l.covered.next, l.covered.exists = 0, 0
	s.remember(folder, now, start)
	return l, nil
}

// look is how a folder was when it was last listed.
type look struct {
	counters
	at time.Time
}

// remember keeps how the folder was, for Wait and for listed.
func (s *Source) remember(folder sources.Folder, now counters, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.looks[folder.Path] = look{now, at}
}

// listed returns when the folder was last listed, the zero time if it has not
// been. Every message known by then is seen by a session that has selected the
// folder since, and keeps its UID in it (RFC 9051 2.3.1.1).
func (s *Source) listed(folder sources.Folder) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.looks[folder.Path].at
}

// search returns the UIDs of the selected folder that match.
func (c *conn) search(ctx context.Context, path string, criteria *goimap.SearchCriteria) (goimap.UIDSet, error) {
	var set goimap.UIDSet
	err := c.run(ctx, fmt.Sprintf("list folder %q", path), func(client *imapclient.Client) error {
		return c.sendSearch(client, criteria, &set)()
	})
	if err != nil {
		return nil, err
	}
	return set, c.checkSet(path, set)
}

// openSearch opens the folder anew and returns the UIDs in it, in one round
// trip.
func (c *conn) openSearch(ctx context.Context, path string) (goimap.UIDSet, error) {
	var set goimap.UIDSet
	err := c.openAnd(ctx, path, false, func(client *imapclient.Client) func() error {
		return c.sendSearch(client, &goimap.SearchCriteria{}, &set)
	})
	if err != nil {
		return nil, err
	}
	return set, c.checkSet(path, set)
}

// sendSearch sends UID SEARCH and returns what waits for the answer, which goes
// into set.
func (c *conn) sendSearch(client *imapclient.Client, criteria *goimap.SearchCriteria, set *goimap.UIDSet) (wait func() error) {
	var options *goimap.SearchOptions
	if c.caps.Has(goimap.CapESearch) {
		options = &goimap.SearchOptions{ReturnAll: true}
	}
	command := client.UIDSearch(criteria, options)
	return func() error {
		data, err := command.Wait()
		if err != nil {
			return err
		}
		switch all := data.All.(type) {
		case nil:
			*set = nil
		case goimap.UIDSet:
			*set = all
		default:
			return fmt.Errorf("sequence numbers in answer to UID SEARCH")
		}
		return nil
	}
}

// checkSet refuses what is no UID.
func (c *conn) checkSet(path string, set goimap.UIDSet) error {
	for _, r := range set {
		if r.Start == 0 || r.Stop == 0 {
			return c.source.error(sources.Temporary, fmt.Sprintf("list folder %q", path), errors.New("the server lists the UID 0"))
		}
	}
	return nil
}

// listing implements [sources.Listing].
type listing struct {
	source *Source
	folder sources.Folder
	start  time.Time
	// described are messages not yet returned that the server has been asked
	// about, and left those that it has not.
	described []sources.Ref
	left      goimap.UIDSet
	// covered grows by what Next returns.
	covered covered
	// counters are those of the folder when it was searched.
	counters counters
}

// Next implements [sources.Listing].
func (l *listing) Next(ctx context.Context, most int) ([]sources.Ref, error) {
	most = max(1, min(most, maxPage))
	if len(l.described) == 0 && len(l.left) > 0 {
		if err := l.describe(ctx, max(most, ahead)); err != nil {
			return nil, err
		}
	}
	if len(l.described) == 0 {
		return nil, nil
	}
	page := l.described[:min(most, len(l.described))]
	l.described = l.described[len(page):]
	l.covered.set = slices.Clone(l.covered.set)
	for _, ref := range page {
		k, err := parseKey(ref.Key)
		if err != nil {
			return nil, err
		}
		l.covered.set.AddNum(k.uid)
	}
	return slices.Clip(page), nil
}

// describe asks the server about the next n messages.
func (l *listing) describe(ctx context.Context, n int) error {
	s := l.source
	ctx, done, err := s.pool.bind(ctx)
	if err != nil {
		return s.explain("list messages", err)
	}
	defer done()
	page, rest := split(l.left, n)
	refs := make([]sources.Ref, 0, count(page))
	each(page, func(uid goimap.UID) {
		refs = append(refs, sources.Ref{Key: key{l.covered.validity, uid}.String(), Size: -1})
	})
	err = l.ask(ctx, page, refs)
	if broken(err) && ctx.Err() == nil {
		err = l.ask(ctx, page, refs)
	}
	if broken(err) && ctx.Err() == nil {
		// One message may be to blame that the server cannot describe, or not as
		// it should. What it is comes to light when they are fetched.
		s.log.Warn("the server breaks off when it describes messages; they are fetched without",
			zap.String("folder", l.folder.Path), zap.Int("messages", len(refs)), zap.Error(err))
		err = nil
	}
	if err != nil {
		return bare(err)
	}
	l.described, l.left = refs, rest
	return nil
}

// ask fills in what the server tells of the messages in page. An error is
// [broken] only if it is about them: the folder could be opened then.
func (l *listing) ask(ctx context.Context, page goimap.UIDSet, refs []sources.Ref) error {
	s := l.source
	held, err := s.beginFolder(ctx, l.folder.Path, false, l.start)
	if err != nil {
		return &callerError{err}
	}
	defer held.release()
	if held.selected.validity != l.covered.validity {
		return s.error(sources.Temporary, fmt.Sprintf("list folder %q", l.folder.Path),
			errors.New("the folder was renumbered meanwhile (UIDVALIDITY)"))
	}
	for _, chunk := range chunks(page, maxPage) {
		if err := held.describeMessages(ctx, l.folder.Path, chunk, page, refs); err != nil {
			return err
		}
	}
	return nil
}

// describeMessages fills in what the server tells of the messages in chunk.
// refs are those of page, in its order.
func (c *conn) describeMessages(ctx context.Context, path string, chunk, page goimap.UIDSet, refs []sources.Ref) error {
	items := &goimap.FetchOptions{UID: true, RFC822Size: true, InternalDate: true, Flags: true}
	// A server may have to read every message for its size: it may take its time
	// as long as it goes on answering.
	return c.follow(ctx, fmt.Sprintf("list folder %q", path), func(client *imapclient.Client) error {
		cmd := client.Fetch(chunk, items)
		for msg := cmd.Next(); msg != nil; msg = cmd.Next() {
			var (
				uid goimap.UID
				ref sources.Ref
			)
			ref.Size = -1
			for item := msg.Next(); item != nil; item = msg.Next() {
				switch item := item.(type) {
				case imapclient.FetchItemDataUID:
					uid = item.UID
				case imapclient.FetchItemDataRFC822Size:
					ref.Size = item.Size
				case imapclient.FetchItemDataInternalDate:
					ref.Received = item.Time
				case imapclient.FetchItemDataFlags:
					ref.Seen = slices.Contains(item.Flags, goimap.FlagSeen)
				}
			}
			if i, ok := rank(page, uid); ok {
				ref.Key = refs[i].Key
				refs[i] = ref
			}
		}
		return cmd.Close()
	})
}

// rank returns the position of uid among the UIDs of the set.
func rank(set goimap.UIDSet, uid goimap.UID) (int, bool) {
	n := 0
	for _, r := range set {
		if uid < r.Start {
			break
		}
		if uid <= r.Stop {
			return n + int(uid-r.Start), true
		}
		n += int(r.Stop-r.Start) + 1
	}
	return 0, false
}

// Remaining implements [sources.Listing].
func (l *listing) Remaining() int {
	return int(min(count(l.left)+uint64(len(l.described)), 1<<31-1))
}

// Cursor implements [sources.Listing].
func (l *listing) Cursor(again []string) sources.Cursor {
	var back goimap.UIDSet
	for _, text := range again {
		if k, err := parseKey(text); err == nil && k.validity == l.covered.validity {
			back.AddNum(k.uid)
		}
	}
	c := l.covered
	c.set = minus(c.set, back)
	if len(back) > 0 || l.Remaining() > 0 {
		c.next, c.exists = 0, 0
	} else if l.counters.next != 0 {
		c.next, c.exists = l.counters.next, l.counters.exists
	}
	return c.cursor()
}
