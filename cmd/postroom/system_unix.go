//go:build unix

package main

import (
	"io/fs"
	"os"
	"syscall"
)

// reloadSignal asks the daemon to take up its changed configuration.
var reloadSignal os.Signal = syscall.SIGHUP

// ownedBySelf reports that the file belongs to the user of this process.
func ownedBySelf(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == os.Geteuid()
}
