package filesystem

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"postroom/store"
)

// Find is that of [store.Repository], but for documents that are being filed just
// now: it may miss one, and a loss of power may undo one that it finds.
func (a *Archive) Find(ctx context.Context, k store.Key) (store.Receipt, error) {
	receipt, err := a.find(ctx, k)
	if err != nil {
		return store.Receipt{}, fmt.Errorf("find document %s: %w", k.ID, err)
	}
	return receipt, nil
}

func (a *Archive) find(ctx context.Context, k store.Key) (store.Receipt, error) {
	if err := errors.Join(k.Check(), ctx.Err()); err != nil {
		return store.Receipt{}, err
	}
	day := dayFolder(k)
	name, err := a.days.find(day, k.ID[:shortID])
	if err != nil {
		return store.Receipt{}, err
	}
	if name == "" {
		return store.Receipt{}, store.ErrNotFound
	}
	return a.receipt(k, path.Join(day, name))
}

// listDay returns the names in a day folder.
func (a *Archive) listDay(folder string) ([]string, error) {
	names, err := a.names(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return names, err
}

// Place returns the location that the document has, or would have, in any
// repository.
func Place(d *store.Document) string {
	return path.Join(dayFolder(d.Key()), documentFolder(d))
}
