//go:build !windows

package durable

import (
	"errors"
	"os"
	"syscall"
)

// FoldersSync reports that a folder is a file that can be synced.
const FoldersSync = true

// SyncDir makes the names in a folder survive a loss of power.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// NoSpace is what the system says when a disk is full.
const NoSpace = syscall.ENOSPC

// Full reports whether err says that a disk, or what a user may have of it, is
// full.
func Full(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// Patiently calls the operation. On Windows it calls it again for a moment while
// another program has one of the files open.
func Patiently(operation func() error) error { return operation() }

// giveOwner gives the file the owner and the group of another.
func giveOwner(f *os.File, like os.FileInfo) error {
	want, ok := like.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if have, ok := info.Sys().(*syscall.Stat_t); ok && have.Uid == want.Uid && have.Gid == want.Gid {
		return nil
	}
	return f.Chown(int(want.Uid), int(want.Gid))
}
