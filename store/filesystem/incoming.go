package filesystem

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/gofrs/flock"

	"postroom/internal/durable"
)

// lockFile is the file in incoming whose lock the one user of the repository
// holds.
const lockFile = "lock"

// occupy makes the incoming folder and takes its lock.
func occupy(root *os.Root) (_ *flock.Flock, err error) {
	if err := root.Mkdir(incoming, folderMode); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	if info, err := root.Lstat(incoming); err != nil {
		return nil, err
	} else if !info.IsDir() {
		return nil, fmt.Errorf("%s is not a folder", incoming)
	}
	lock := flock.New(filepath.Join(root.Name(), incoming, lockFile),
		flock.SetFlag(os.O_RDWR|os.O_CREATE), flock.SetPermissions(fileMode))
	locked, err := lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", path.Join(incoming, lockFile), err)
	}
	if !locked {
		return nil, ErrInUse
	}
	return lock, nil
}

// recover brings to an end what an earlier process left on its way, and removes
// the rest of it.
func (r *Repository) recover() error {
	if err := r.finishReplacing(); err != nil {
		return err
	}
	return sweep(r.root)
}

// sweep removes everything but the lock and the identity from the incoming
// folder.
func sweep(root *os.Root) error {
	entries, err := fs.ReadDir(root.FS(), incoming)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() == lockFile || e.Name() == identityFile {
			continue
		}
		name := path.Join(incoming, e.Name())
		if err := durable.Patiently(func() error { return root.RemoveAll(name) }); err != nil {
			return err
		}
	}
	return nil
}

// makePath makes the folder and those above it that are missing, durably.
func makePath(name string) error {
	info, err := os.Stat(name)
	switch {
	case err == nil && !info.IsDir():
		return errors.New("it is a file, not a folder")
	case err == nil:
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	parent := filepath.Dir(name)
	if err := makePath(parent); err != nil {
		return err
	}
	if err := os.Mkdir(name, folderMode); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncPath(parent)
}

// syncPath makes the names in a folder outside of any repository durable.
func syncPath(name string) error {
	if !durable.FoldersSync {
		return nil
	}
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
