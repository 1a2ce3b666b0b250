//go:build unix

package main

import (
	"io/fs"
	"os"
	"os/user"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// reloadSignal asks the daemon to take up its changed configuration.
var reloadSignal os.Signal = syscall.SIGHUP

// ownedBySelf reports that the file belongs to the user of this process.
func ownedBySelf(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == os.Geteuid()
}

// ownerOf names who may read the folder that postroom keeps its state in.
func ownerOf(folder string) string {
	info, err := os.Stat(folder)
	if err != nil {
		return "root"
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || stat.Uid == 0 {
		return "root"
	}
	id := strconv.FormatUint(uint64(stat.Uid), 10)
	if u, err := user.LookupId(id); err == nil {
		id = u.Username
	}
	return "root, or as user " + id + ", to whom state_dir belongs"
}

// thisUser names the user of this process.
func thisUser() string {
	id := strconv.Itoa(os.Geteuid())
	if u, err := user.LookupId(id); err == nil {
		return "user " + u.Username
	}
	return "user " + id
}

// writable says whether names can be added to the folder.
func writable(dir string) error {
	return unix.Faccessat(unix.AT_FDCWD, dir, unix.W_OK|unix.X_OK, unix.AT_EACCESS)
}
