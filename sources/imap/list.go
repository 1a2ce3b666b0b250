package imap

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"postroom/sources"
)

const (
	// maxPage bounds the messages of one Next, and with it one answer.
	maxPage = 5000
	// maxMessages bounds a folder: a range takes a server few bytes to send.
	maxMessages = 20_000_000
)

// List implements [sources.Source]. With nothing new it costs two round trips,
// or one on a server without ESEARCH whose counters stand still.
func (s *Source) List(ctx context.Context, folder sources.Folder, after sources.Cursor) (sources.Listing, error) {
	ctx, done, err := s.pool.bind(ctx)
	if err != nil {
		return nil, s.explain("list messages", err)
	}
	defer done()
	start := time.Now()
	held, err := s.beginFolder(ctx, folder.Path, false, start)
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
		s.remember(folder, now)
		return l, nil
	}
	all, err := held.search(ctx, folder.Path, &goimap.SearchCriteria{})
	if err != nil {
		return nil, err
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
	s.remember(folder, now)
	return l, nil
}

// remember keeps the counters of the folder at its last listing, for Wait.
func (s *Source) remember(folder sources.Folder, now counters) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.states[folder.Path] = now
}

// search returns the UIDs of the selected folder that match.
func (c *conn) search(ctx context.Context, path string, criteria *goimap.SearchCriteria) (goimap.UIDSet, error) {
	var options *goimap.SearchOptions
	if c.caps.Has(goimap.CapESearch) {
		options = &goimap.SearchOptions{ReturnAll: true}
	}
	var set goimap.UIDSet
	err := c.run(ctx, fmt.Sprintf("list folder %q", path), func(client *imapclient.Client) error {
		data, err := client.UIDSearch(criteria, options).Wait()
		if err != nil {
			return err
		}
		switch all := data.All.(type) {
		case nil:
		case goimap.UIDSet:
			set = all
		default:
			return fmt.Errorf("sequence numbers in answer to UID SEARCH")
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, r := range set {
		if r.Start == 0 || r.Stop == 0 {
			return nil, c.source.error(sources.Temporary, fmt.Sprintf("list folder %q", path), errors.New("the server lists the UID 0"))
		}
	}
	return set, nil
}

// listing implements [sources.Listing].
type listing struct {
	source *Source
	folder sources.Folder
	start  time.Time
	// left are the messages not yet returned.
	left goimap.UIDSet
	// covered grows by what Next returns.
	covered covered
	// counters are those of the folder when it was searched.
	counters counters
}

// Next implements [sources.Listing].
func (l *listing) Next(ctx context.Context, most int) ([]sources.Ref, error) {
	if len(l.left) == 0 {
		return nil, nil
	}
	s := l.source
	ctx, done, err := s.pool.bind(ctx)
	if err != nil {
		return nil, s.explain("list messages", err)
	}
	defer done()
	page, rest := split(l.left, max(1, min(most, maxPage)))
	held, err := s.beginFolder(ctx, l.folder.Path, false, l.start)
	if err != nil {
		return nil, err
	}
	defer held.release()
	if held.selected.validity != l.covered.validity {
		return nil, s.error(sources.Temporary, fmt.Sprintf("list folder %q", l.folder.Path),
			errors.New("the folder was renumbered meanwhile (UIDVALIDITY)"))
	}
	refs := make([]sources.Ref, 0, count(page))
	each(page, func(uid goimap.UID) {
		refs = append(refs, sources.Ref{Key: key{l.covered.validity, uid}.String(), Size: -1})
	})
	for _, chunk := range chunks(page, maxPage) {
		if err := held.describeMessages(ctx, l.folder.Path, chunk, page, refs); err != nil {
			return nil, err
		}
	}
	l.left = rest
	l.covered.set = slices.Clone(l.covered.set)
	l.covered.set.AddSet(page)
	return refs, nil
}

// describeMessages fills in what the server tells of the messages in chunk.
// refs are those of page, in its order.
func (c *conn) describeMessages(ctx context.Context, path string, chunk, page goimap.UIDSet, refs []sources.Ref) error {
	items := &goimap.FetchOptions{UID: true, RFC822Size: true, InternalDate: true, Flags: true}
	return c.run(ctx, fmt.Sprintf("list folder %q", path), func(client *imapclient.Client) error {
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
func (l *listing) Remaining() int { return int(min(count(l.left), 1<<31-1)) }

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
	if len(back) > 0 || len(l.left) > 0 {
		c.next, c.exists = 0, 0
	} else if l.counters.next != 0 {
		c.next, c.exists = l.counters.next, l.counters.exists
	}
	return c.cursor()
}
