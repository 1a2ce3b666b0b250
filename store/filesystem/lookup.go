package filesystem

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"

	"postroom/store"
)

// lookUp returns the receipt of the document, or an error wrapping
// store.ErrNotFound. The caller has taken the key's turn.
func (r *Repository) lookUp(k store.Key) (store.Receipt, error) {
	day := dayFolder(k)
	name, err := r.days.find(day, k.ID[:shortID])
	if err != nil {
		return store.Receipt{}, err
	}
	if name == "" {
		return store.Receipt{}, store.ErrNotFound
	}
	location := path.Join(day, name)
	if _, err := r.root.Lstat(location); errors.Is(err, fs.ErrNotExist) {
		r.days.forget(day, name)
		return store.Receipt{}, store.ErrNotFound
	}
	return archive{r.root}.receipt(k, location)
}

// receipt returns the receipt of the document, which is in the folder if it is
// anywhere.
func (a archive) receipt(k store.Key, location string) (store.Receipt, error) {
	id, description, err := a.whole(location)
	if err != nil {
		return store.Receipt{}, fmt.Errorf("folder %s: %w", location, err)
	}
	if id != k.ID {
		return store.Receipt{}, fmt.Errorf("%w: folder %s already holds the document %s, whose id begins alike", store.ErrRefused, location, id)
	}
	return store.Receipt{Location: location, Description: description}, nil
}

// whole returns the id of the document in the folder, and the SHA-256 of its
// description, after comparing its files
// with its description by name and size. What is no whole document stands in
// the way of this document alone, so the error then wraps store.ErrRefused.
func (a archive) whole(folder string) (id string, sum [32]byte, err error) {
	damaged := func(err error) (string, [32]byte, error) {
		return "", sum, fmt.Errorf("%w: it is no whole document: %w", store.ErrRefused, err)
	}
	if info, err := a.root.Lstat(folder); err != nil {
		return "", sum, err
	} else if !info.IsDir() {
		return damaged(errors.New("not a folder"))
	}
	description, err := a.root.ReadFile(path.Join(folder, store.DocumentFile))
	if errors.Is(err, fs.ErrNotExist) {
		return damaged(err)
	}
	if err != nil {
		return "", sum, err
	}
	d, err := store.ParseDocument(description)
	if err != nil {
		return damaged(err)
	}
	for _, f := range d.Files {
		info, err := a.root.Lstat(path.Join(folder, f.Name))
		if errors.Is(err, fs.ErrNotExist) {
			return damaged(err)
		}
		if err != nil {
			return "", sum, err
		}
		if !info.Mode().IsRegular() || info.Size() != f.Size {
			return damaged(fmt.Errorf("file %q is not a file of %d bytes", f.Name, f.Size))
		}
	}
	return d.ID, sha256.Sum256(description), nil
}

// listDay returns the names in a day folder after making them durable: an
// earlier process may have died between a rename and its sync.
func (r *Repository) listDay(folder string) (names []string, err error) {
	f, err := r.root.Open(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() {
		if e := f.Close(); e != nil && err == nil {
			err = e
		}
	}()
	for name := range upward(folder) {
		if err := r.syncFolder(name); err != nil {
			return nil, err
		}
	}
	names, err = f.Readdirnames(-1)
	if err != nil && err != io.EOF {
		return nil, err
	}
	return names, nil
}
