// Package durable writes files that survive a loss of power.
package durable

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// WriteFile writes the whole of r to the file, replacing it at once or, on an
// error, not at all. When it returns nil, the file and its name survive a loss
// of power.
func WriteFile(path string, r io.Reader, mode os.FileMode) error {
	return WriteFileAs(path, r, func(f *os.File) error { return f.Chmod(mode) })
}

// WriteFileLike is WriteFile with the mode and the owner of another file. The
// error wraps [os.ErrPermission] if only another user may give the owner. On
// Windows a file has the owner that new ones have in its folder.
func WriteFileLike(path string, r io.Reader, like os.FileInfo) error {
	return WriteFileAs(path, r, func(f *os.File) error {
		if err := giveOwner(f, like); err != nil {
			return err
		}
		return f.Chmod(like.Mode().Perm())
	})
}

// WriteFileAs is WriteFile for a file that needs more than a mode, such as an
// owner: prepare is given the new file before anything is in it, when it is of
// mode 0600.
func WriteFileAs(path string, r io.Reader, prepare func(*os.File) error) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	if err := prepare(f); err != nil {
		return err
	}
	if _, err := io.Copy(f, r); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := Patiently(func() error { return os.Rename(f.Name(), path) }); err != nil {
		return err
	}
	if err := SyncDir(dir); err != nil {
		return fmt.Errorf("sync folder: %w", err)
	}
	return nil
}
