package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"github.com/gofrs/flock"

	"postroom/internal/durable"
)

const (
	// roomPrefix begins the name of a room.
	roomPrefix = ".postroom-convert-"
	// roomLock is the file in a room whose lock is held as long as it is in use.
	roomLock = "in-use"
)

// room is a folder for what is not finished, on the disk that it is made for.
type room struct {
	path string
	lock *flock.Flock // nil where the file system has no locks
}

// openRoom makes a room in the folder, and removes those that processes which
// were killed have left there.
func openRoom(at string) (*room, error) { return openRoomNamed(at, roomPrefix) }

// openRoomNamed is openRoom for rooms whose names begin otherwise.
func openRoomNamed(at, prefix string) (*room, error) {
	sweepRooms(at, prefix)
	for {
		path, err := os.MkdirTemp(at, prefix)
		if err != nil {
			return nil, err
		}
		path = filepath.Clean(path) // as those of the files in it are
		r := &room{path: path, lock: flock.New(filepath.Join(path, roomLock), flock.SetPermissions(0o600))}
		locked, err := r.lock.TryLock()
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			// Nobody can tell that it is in use, so nobody must sweep it.
			r.lock = nil
			return r, os.RemoveAll(filepath.Join(path, roomLock))
		}
		_, there := os.Lstat(filepath.Join(path, roomLock))
		if locked && there == nil {
			return r, nil
		}
		// Another process has swept it before it was locked.
		if err := r.close(); err != nil {
			return nil, err
		}
	}
}

// close removes the room and what is in it.
func (r *room) close() error {
	remove := func() error { return os.RemoveAll(r.path) }
	switch {
	case r.lock == nil:
		return remove()
	case runtime.GOOS == "windows": // where no open file can be removed
		return errors.Join(r.lock.Unlock(), remove())
	}
	// Whoever waits for the lock, to make a room of it, sees then that it is gone.
	return errors.Join(remove(), r.lock.Unlock())
}

// sweepRooms removes the rooms in the folder that nobody uses any more: of these
// the lock can be had, or they are empty. Others, and what is left of one that
// cannot be removed, are no trouble to anybody.
func sweepRooms(at, prefix string) {
	found, err := os.ReadDir(at)
	if err != nil {
		return
	}
	for _, e := range found {
		if !e.IsDir() || !strings.HasPrefix(e.Name(), prefix) {
			continue
		}
		path := filepath.Join(at, e.Name())
		name := filepath.Join(path, roomLock)
		info, err := os.Lstat(name)
		if errors.Is(err, fs.ErrNotExist) {
			os.Remove(path) // if it is empty
			continue
		}
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		lock := flock.New(name, flock.SetFlag(os.O_RDWR))
		if locked, err := lock.TryLock(); err == nil && locked {
			(&room{path, lock}).close()
		}
	}
}

// withoutFile returns an error of the file system without the names that it has.
func withoutFile(err error) error {
	var (
		file *fs.PathError
		link *os.LinkError
	)
	switch {
	case errors.As(err, &file):
		return file.Err
	case errors.As(err, &link):
		return link.Err
	}
	return err
}

// cannotWrite is the error for a file, or folder, that cannot be written: it says
// what to do, and names nothing that is removed again.
func cannotWrite(name string, err error) error {
	why := withoutFile(err)
	remedy := ""
	switch {
	case errors.Is(why, fs.ErrPermission):
		remedy = fmt.Sprintf(": let %s write there, or name another OUT", thisUser())
	case errors.Is(why, syscall.EROFS):
		remedy = ": that file system is mounted read-only; name another OUT"
	case durable.Full(why):
		remedy = ": the disk or the quota is full; make room, or name another OUT"
	}
	return fmt.Errorf("%s cannot be written: %w%s", quoted(name), why, remedy)
}
