package imap

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"postroom/sources"
)

const (
	// compared is how many bytes of two messages of the same date and size are
	// compared, from the beginning: the header, and of most messages all.
	compared = 64 << 10
	// maxSpans bounds the ranges of dates of one search.
	maxSpans = 8
	day      = 24 * time.Hour
)

// likeness is what is known of a message without reading it, as a copy has it too
// (RFC 9051 6.4.7).
type likeness struct {
	// received is INTERNALDATE in Unix seconds.
	received int64
	// size is RFC822.SIZE.
	size int64
}

// fingerprint is what tells messages apart.
type fingerprint struct {
	likeness
	// hash is that of the first bytes, as many as compared says.
	hash [sha256.Size]byte
}

// wholeError is an error that is none of some message, so that fewer messages
// would not help.
type wholeError struct{ error }

func (e *wholeError) Unwrap() error { return e.error }

// copy moves messages to the target with COPY and UID EXPUNGE. COPY is no safe
// thing to repeat, and a try before this one may have got no further: its answer
// was lost, or the program ended. No mark on the message can tell, as anybody may
// set one. So the target is looked at first, and what is there already is only
// removed here.
//
// Only what is known to be in the target is removed: what was found there, and
// what the answer to COPY names.
func (t *settlement) copy(ctx context.Context, set goimap.UIDSet) (goimap.UIDSet, error) {
	if err := t.home(ctx); err != nil {
		return nil, err
	}
	originals, err := t.likenesses(ctx, t.folder.Path, set)
	if err != nil {
		return nil, err
	}
	if len(originals) == 0 {
		return t.listed(ctx, set)
	}
	there, copies, err := t.lookInTarget(ctx, originals)
	if err != nil {
		return nil, err
	}
	var missing goimap.UIDSet
	for uid := range originals {
		if !there.Contains(uid) {
			missing.AddNum(uid)
		}
	}
	if len(missing) > 0 {
		data, err := t.sendCopies(ctx, missing)
		if err != nil {
			return nil, err
		}
		copied := missing
		if len(data.SourceUIDs) > 0 {
			// Without COPYUID the OK stands for all of them: COPY does all or
			// nothing (RFC 9051 6.4.7).
			copied = minus(missing, minus(missing, data.SourceUIDs))
			copies.add(data.UIDValidity, data.DestUIDs)
		}
		there.AddSet(copied)
	}
	if err := t.expunge(ctx, there); err != nil {
		return nil, err
	}
	left, err := t.listed(ctx, set)
	if err == nil && len(copies.UIDSet) > 0 && count(minus(there, left)) == count(there) {
		t.source.account(t.action.Target, copies)
	}
	return left, err
}

// home selects the folder again if another has been selected since.
func (t *settlement) home(ctx context.Context) error {
	if !t.has(t.folder.Path, true) {
		if err := t.open(ctx, t.folder.Path, true, time.Time{}); err != nil {
			return &wholeError{err}
		}
	}
	if t.selected.validity != t.validity {
		return &wholeError{t.source.error(sources.Temporary, t.doing, errors.New("the folder was renumbered meanwhile (UIDVALIDITY)"))}
	}
	return nil
}

// sendCopies performs COPY. The copies have the flags of the originals, so that
// first they are no longer to be marked as deleted.
func (t *settlement) sendCopies(ctx context.Context, set goimap.UIDSet) (data *goimap.CopyData, err error) {
	err = t.toTarget(ctx, func(client *imapclient.Client, target string) error {
		var copying *imapclient.CopyCommand
		return t.unmarked(client, set, target, func() { copying = client.Copy(set, target) }, func() error {
			data, err = copying.Wait()
			return err
		})
	})
	return data, err
}

// numberedSet is a set of UIDs of a folder with this UIDVALIDITY.
type numberedSet struct {
	validity uint32
	goimap.UIDSet
}

// add adds UIDs, and forgets those of another UIDVALIDITY.
func (s *numberedSet) add(validity uint32, set goimap.UIDSet) {
	if s.validity != validity {
		*s = numberedSet{validity: validity}
	}
	s.AddSet(set)
}

// account keeps in mind that the messages of the target are copies of messages
// that have been removed: they are copies of no other.
func (s *Source) account(target string, copies numberedSet) {
	s.mu.Lock()
	defer s.mu.Unlock()
	made := s.copies[target]
	made.add(copies.validity, slices.Clone(copies.UIDSet))
	s.copies[target] = made
}

// unaccounted returns the messages of the target that may be copies.
func (s *Source) unaccounted(target string, validity uint32, set goimap.UIDSet) goimap.UIDSet {
	s.mu.Lock()
	defer s.mu.Unlock()
	if made := s.copies[target]; made.validity == validity {
		return minus(set, made.UIDSet)
	}
	return set
}

// lookInTarget returns which of the originals have a copy in the target, and the
// copies. As many originals have one as there are copies like them. The folder is
// selected again when it returns without error.
func (t *settlement) lookInTarget(ctx context.Context, originals map[goimap.UID]likeness) (there goimap.UIDSet, copies numberedSet, err error) {
	wanted := make(map[likeness]bool, len(originals))
	for _, l := range originals {
		wanted[l] = true
	}
	candidates, validity, err := t.candidates(ctx, wanted)
	if err != nil {
		return nil, copies, &wholeError{err}
	}
	copies.validity = validity
	if err := t.home(ctx); err != nil {
		return nil, copies, err
	}
	if len(candidates) == 0 {
		return nil, copies, nil
	}
	byFingerprint := make(map[fingerprint][]goimap.UID)
	alike := make(map[likeness]bool)
	for uid, p := range candidates {
		alike[p.likeness] = true
		byFingerprint[p] = append(byFingerprint[p], uid)
	}
	suspects := make(map[goimap.UID]likeness)
	for uid, l := range originals {
		if alike[l] {
			suspects[uid] = l
		}
	}
	prints, err := t.fingerprints(ctx, t.folder.Path, suspects)
	if err != nil {
		return nil, copies, err
	}
	for uid, p := range prints {
		if same := byFingerprint[p]; len(same) > 0 {
			there.AddNum(uid)
			copies.AddNum(same[0])
			byFingerprint[p] = same[1:]
		}
	}
	return there, copies, nil
}

// candidates returns the messages of the target of a wanted likeness that are not
// known to be copies of others, none if there is no such folder. It leaves the
// target selected, or nothing.
func (t *settlement) candidates(ctx context.Context, wanted map[likeness]bool) (map[goimap.UID]fingerprint, uint32, error) {
	target := t.action.Target
	var found goimap.UIDSet
	err := t.openAnd(ctx, target, false, func(client *imapclient.Client) func() error {
		return t.sendSearch(client, spanning(wanted), &found)
	})
	if sources.ClassOf(err) == sources.NotFound {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	if err := t.checkSet(target, found); err != nil {
		return nil, 0, err
	}
	validity := t.selected.validity
	found = t.source.unaccounted(target, validity, found)
	alike := make(map[goimap.UID]likeness)
	for len(found) > 0 {
		var page goimap.UIDSet
		page, found = split(found, maxPage)
		described, err := t.likenesses(ctx, target, page)
		if err != nil {
			return nil, 0, err
		}
		for uid, l := range described {
			if wanted[l] {
				alike[uid] = l
			}
		}
	}
	prints, err := t.fingerprints(ctx, target, alike)
	return prints, validity, err
}

// spanning returns criteria that all messages of a wanted likeness match, and few
// others: at most maxSpans ranges of dates. A server compares dates without
// regard to time and zone, so that each range has a day more at both ends.
func spanning(wanted map[likeness]bool) *goimap.SearchCriteria {
	var dates []int64
	for l := range wanted {
		dates = append(dates, l.received)
	}
	slices.Sort(dates)
	// The widest gaps, wide enough to be worth it, separate the ranges.
	var gaps []int
	for i := 1; i < len(dates); i++ {
		if dates[i]-dates[i-1] > int64(4*day/time.Second) {
			gaps = append(gaps, i)
		}
	}
	slices.SortFunc(gaps, func(i, j int) int {
		return int(dates[j] - dates[j-1] - dates[i] + dates[i-1])
	})
	gaps = gaps[:min(len(gaps), maxSpans-1)]
	slices.Sort(gaps)
	var spans []goimap.SearchCriteria
	begin := 0
	for _, end := range append(gaps, len(dates)) {
		spans = append(spans, goimap.SearchCriteria{
			Since:  time.Unix(dates[begin], 0).UTC().Add(-day),
			Before: time.Unix(dates[end-1], 0).UTC().Add(2 * day),
		})
		begin = end
	}
	return anyOf(spans)
}

// anyOf returns criteria that match what any of some matches, at least one.
func anyOf(some []goimap.SearchCriteria) *goimap.SearchCriteria {
	if len(some) == 1 {
		return &some[0]
	}
	half := len(some) / 2
	return &goimap.SearchCriteria{Or: [][2]goimap.SearchCriteria{{*anyOf(some[:half]), *anyOf(some[half:])}}}
}

// likenesses returns those of messages of the selected folder, as far as the
// server tells them.
func (c *conn) likenesses(ctx context.Context, path string, set goimap.UIDSet) (map[goimap.UID]likeness, error) {
	found := make(map[goimap.UID]likeness)
	items := &goimap.FetchOptions{UID: true, RFC822Size: true, InternalDate: true}
	for _, chunk := range chunks(set, maxPage) {
		err := c.follow(ctx, fmt.Sprintf("list folder %q", path), func(client *imapclient.Client) error {
			cmd := client.Fetch(chunk, items)
			for msg := cmd.Next(); msg != nil; msg = cmd.Next() {
				var (
					uid   goimap.UID
					l     = likeness{size: -1}
					dated bool
				)
				for item := msg.Next(); item != nil; item = msg.Next() {
					switch item := item.(type) {
					case imapclient.FetchItemDataUID:
						uid = item.UID
					case imapclient.FetchItemDataRFC822Size:
						l.size = item.Size
					case imapclient.FetchItemDataInternalDate:
						l.received, dated = item.Time.Unix(), true
					}
				}
				if set.Contains(uid) && l.size >= 0 && dated {
					found[uid] = l
				}
			}
			return cmd.Close()
		})
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}

// fingerprints returns those of messages of the selected folder, as far as the
// server hands the messages out.
func (c *conn) fingerprints(ctx context.Context, path string, messages map[goimap.UID]likeness) (map[goimap.UID]fingerprint, error) {
	found := make(map[goimap.UID]fingerprint)
	var set goimap.UIDSet
	for uid := range messages {
		set.AddNum(uid)
	}
	items := &goimap.FetchOptions{UID: true, BodySection: []*goimap.FetchItemBodySection{
		{Peek: true, Partial: &goimap.SectionPartial{Size: compared}},
	}}
	for _, chunk := range chunks(set, settleBatch) {
		err := c.follow(ctx, fmt.Sprintf("compare messages of folder %q", path), func(client *imapclient.Client) error {
			cmd := client.Fetch(chunk, items)
			for msg := cmd.Next(); msg != nil; msg = cmd.Next() {
				var (
					uid  goimap.UID
					hash [sha256.Size]byte
					read bool
				)
				for item := msg.Next(); item != nil; item = msg.Next() {
					switch item := item.(type) {
					case imapclient.FetchItemDataUID:
						uid = item.UID
					case imapclient.FetchItemDataBodySection:
						if item.Literal == nil {
							continue
						}
						// A server may send more than it was asked for, not all.
						c.stream.bottom.Allow(min(item.Literal.Size(), 2*compared))
						sum := sha256.New()
						n, err := io.Copy(sum, io.LimitReader(item.Literal, compared))
						if err == nil && n != min(item.Literal.Size(), compared) {
							err = io.ErrUnexpectedEOF
						}
						if err != nil {
							c.fail()
							return errors.Join(err, cmd.Close())
						}
						read = true
						sum.Sum(hash[:0])
					}
				}
				if l, ok := messages[uid]; ok && read {
					found[uid] = fingerprint{l, hash}
				}
			}
			return cmd.Close()
		})
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}
