package filesystem

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"postroom/store"
)

var (
	_ store.Reader = (*Repository)(nil)
	_ store.Reader = (*Archive)(nil)
)

// OpenFile implements [store.Reader]. A file that is open stays open when its
// document is removed or replaced.
func (r *Repository) OpenFile(ctx context.Context, location, name string) (io.ReadCloser, error) {
	if err := r.enter(); err != nil {
		return nil, fmt.Errorf("open file %q of document at %s: %w", name, location, err)
	}
	defer r.life.RUnlock()
	return archive{r.root}.OpenFile(ctx, location, name)
}

func (a archive) OpenFile(ctx context.Context, location, name string) (io.ReadCloser, error) {
	f, err := a.openFile(ctx, location, name)
	if err != nil {
		return nil, fmt.Errorf("open file %q of document at %s: %w", name, location, err)
	}
	return f, nil
}

func (a archive) openFile(ctx context.Context, location, name string) (io.ReadCloser, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if _, _, err := split(location); err != nil {
		return nil, fmt.Errorf("%w: %w", store.ErrNotFound, err)
	}
	if !fs.ValidPath(name) || strings.Contains(name, "/") {
		return nil, fmt.Errorf("%w: no file can have that name", store.ErrNotFound)
	}
	f, err := a.open(path.Join(location, name))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errNoFile) {
		return nil, fmt.Errorf("%w: %w", store.ErrNotFound, err)
	}
	if err != nil {
		return nil, err
	}
	return f, nil
}

// split returns the day folder of a document's location and the digits of the id
// that it is for.
func split(location string) (day, id string, err error) {
	day, name := path.Split(location)
	id, ok := folderID(name)
	if !ok || !fs.ValidPath(location) || strings.Count(location, "/") != 4 || strings.HasPrefix(location, incoming+"/") {
		return "", "", fmt.Errorf("%s is not where a document can be", location)
	}
	return path.Clean(day), id, nil
}
