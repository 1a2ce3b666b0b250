package ingest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"postroom/ingest/ledger"
	"postroom/ingest/spool"
	"postroom/sources"
	"postroom/store"
)

// maxMoved is how many messages of a folder are fetched at most to find one that
// was moved there.
const maxMoved = 200

// fetchMoved fetches the message of a document from where postroom itself moves
// messages, where it may have a key that nobody knows. It is looked for by its size
// and date of arrival, which a move keeps, and known by its bytes.
func (e *Engine) fetchMoved(ctx context.Context, m *mailbox, src sources.Source, d ledger.Document, was *store.Document) (*spool.Blob, error) {
	targets := m.movesTo()
	if len(targets) == 0 {
		return nil, errors.New("nor does this source move messages anywhere")
	}
	folders, err := foldersAt(ctx, src, targets)
	if err != nil {
		return nil, err
	}
	for _, f := range folders {
		var found *spool.Blob
		err := m.inFolder(ctx, src, f, func(p *poll) (err error) {
			found, err = p.searchMoved(d, was)
			return err
		})
		if err != nil {
			return nil, err
		}
		if found != nil {
			return found, nil
		}
	}
	return nil, fmt.Errorf("nor is it in %s, where this source moves messages", strings.Join(targets, " or "))
}

// movesTo returns the paths of the folders that messages are moved to.
func (m *mailbox) movesTo() (paths []string) {
	if m.After.Verb == sources.Move {
		paths = append(paths, m.After.Target)
	}
	if m.FailedFolder != "" {
		paths = append(paths, m.FailedFolder)
	}
	return paths
}

// foldersAt returns those of the folders at these paths that exist.
func foldersAt(ctx context.Context, src sources.Source, paths []string) (folders []sources.Folder, err error) {
	lister, ok := src.(sources.Lister)
	if !ok {
		return nil, nil
	}
	tree, err := lister.Tree(ctx)
	if err != nil {
		return nil, err
	}
	for _, text := range paths {
		path, err := sources.ParsePath(text)
		if err != nil {
			return nil, err
		}
		for _, info := range tree {
			if at, err := sources.ParsePath(info.Path); err == nil && at.Equal(path) && info.Selectable {
				folders = append(folders, info.Folder)
			}
		}
	}
	return folders, nil
}

// searchMoved looks in the folder for the message of a document; nil if it is not
// there.
func (p *poll) searchMoved(d ledger.Document, was *store.Document) (found *spool.Blob, err error) {
	listing, err := p.src.List(p.ctx, p.folder, "")
	if err != nil {
		return nil, fmt.Errorf("list messages: %w", err)
	}
	var likely, possible []sources.Ref
	for {
		refs, err := listing.Next(p.ctx, chunk)
		if err != nil {
			return nil, fmt.Errorf("list messages: %w", err)
		}
		if len(refs) == 0 {
			break
		}
		for _, r := range refs {
			size := r.Size == was.Origin.Size
			date := !r.Received.IsZero() && r.Received.UTC().Truncate(time.Second).Equal(was.Origin.Received)
			switch {
			case size && date:
				likely = append(likely, r)
			case size || date:
				possible = append(possible, r)
			}
		}
	}
	// Those that came about when it did before others of its size.
	slices.SortStableFunc(possible, func(a, b sources.Ref) int {
		return cmp.Compare(a.Received.Sub(was.Origin.Received).Abs(), b.Received.Sub(was.Origin.Received).Abs())
	})
	likely = append(likely, possible...)
	for some := range slices.Chunk(likely[:min(len(likely), maxMoved)], 10) {
		if found, err = p.pick(some, d, was); found != nil || err != nil {
			return found, err
		}
	}
	return nil, nil
}

// pick returns the message of the document if it is one of those named; else nil.
func (p *poll) pick(refs []sources.Ref, d ledger.Document, was *store.Document) (found *spool.Blob, err error) {
	limit := p.e.MaxSize
	if isOriginal(was) {
		limit = was.Origin.Size
	}
	var mu sync.Mutex
	err = p.src.Fetch(p.ctx, p.folder, refs, func(_ sources.Ref, m *sources.Message) error {
		mu.Lock()
		defer mu.Unlock()
		if m.Err != nil || found != nil {
			return nil
		}
		raw, err := p.e.Spool.Take(m.Body, m.Size, limit)
		switch {
		case errors.Is(err, spool.ErrTooLarge):
			return nil // it is another one
		case err != nil:
			return err
		case same(p.ctx, raw, m.Wire, d, was) != nil:
			return raw.Close()
		}
		found = raw
		return nil
	})
	if err != nil && found != nil {
		return nil, errors.Join(err, found.Close())
	}
	return found, err
}
