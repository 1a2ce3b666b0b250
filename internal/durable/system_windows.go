package durable

import (
	"errors"
	"os"
	"time"

	"golang.org/x/sys/windows"
)

// FoldersSync reports that a folder is a file that can be synced. Windows refuses
// to flush a folder.
const FoldersSync = false

// SyncDir does nothing: NTFS keeps its names in a journal.
func SyncDir(string) error { return nil }

// NoSpace is what the system says when a disk is full.
const NoSpace = windows.ERROR_DISK_FULL

// Full reports whether err says that a disk, or what a user may have of it, is
// full.
func Full(err error) bool {
	return errors.Is(err, windows.ERROR_DISK_FULL) || errors.Is(err, windows.ERROR_HANDLE_DISK_FULL) ||
		errors.Is(err, windows.ERROR_DISK_QUOTA_EXCEEDED)
}

// Patiently calls the operation until it succeeds, at most ten times within 250
// ms, while it fails because another program, mostly a virus scanner, has one of
// the files open.
func Patiently(operation func() error) error {
	const tries, pause = 10, 25 * time.Millisecond
	for try := 1; ; try++ {
		err := operation()
		busy := errors.Is(err, windows.ERROR_ACCESS_DENIED) || errors.Is(err, windows.ERROR_SHARING_VIOLATION)
		if !busy || try == tries {
			return err
		}
		time.Sleep(pause)
	}
}

// giveOwner does nothing: the folder decides.
func giveOwner(*os.File, os.FileInfo) error { return nil }
