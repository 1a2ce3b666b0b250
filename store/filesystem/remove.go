package filesystem

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"postroom/store"
)

// Remove implements [store.Remover]. The document is moved to .incoming first,
// so that it disappears whole; what a process that dies leaves there is removed
// by the next Open.
func (r *Repository) Remove(ctx context.Context, id, location string) error {
	if err := r.enter(); err != nil {
		return fmt.Errorf("remove document %s: %w", id, err)
	}
	defer r.life.RUnlock()
	if err := r.remove(ctx, id, location); err != nil {
		return fmt.Errorf("remove document %s: %w", id, err)
	}
	return nil
}

func (r *Repository) remove(ctx context.Context, id, location string) error {
	day, short, err := split(location)
	if err != nil || !strings.HasPrefix(id, short) {
		return fmt.Errorf("%w: %s is not where it can be", store.ErrRefused, location)
	}
	of := path.Join(day, short)
	if err := r.turns.take(ctx, of); err != nil {
		return err
	}
	defer r.turns.give(of)
	if err := r.present(); err != nil {
		return err
	}
	_, err = r.root.Lstat(location)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		// An earlier process may have died before the sync.
		return r.syncUpward(day)
	case err != nil:
		return err
	}
	// A damaged document may be removed, which has no other id.
	if description, err := r.root.ReadFile(path.Join(location, store.DocumentFile)); err == nil {
		if d, err := store.ParseDocument(description); err == nil && d.ID != id {
			return fmt.Errorf("%w: folder %s holds the document %s, whose id begins alike", store.ErrRefused, location, d.ID)
		}
	}
	stage := path.Join(incoming, strconv.FormatUint(r.staged.Add(1), 10))
	if err := r.rename(location, stage); err != nil {
		return err
	}
	if err := r.syncFolder(day); err != nil {
		// A second sync could succeed without having written the move.
		if e := r.rename(stage, location); e != nil {
			r.broken.Store(true)
			err = errors.Join(err, e)
		}
		return err
	}
	r.days.forget(day, path.Base(location))
	return r.discard(stage)
}

// syncUpward makes the names in the folder, or in what is left of the folders
// above it, durable.
func (r *Repository) syncUpward(folder string) error {
	for name := range upward(folder) {
		err := r.syncFolder(name)
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
