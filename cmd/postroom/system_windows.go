package main

import (
	"io/fs"
	"os"
	"os/user"
)

// reloadSignal is nil: Windows has none; postroom service reload asks instead.
var reloadSignal os.Signal

// ownedBySelf reports that the file belongs to the user of this process: the
// folder of temporary files is the user's own.
func ownedBySelf(fs.FileInfo) bool { return true }

// ownerOf names who may read the folder that postroom keeps its state in.
func ownerOf(string) string { return "an administrator" }

// thisUser names the user of this process.
func thisUser() string {
	u, err := user.Current()
	if err != nil {
		return "the user"
	}
	return "user " + u.Username
}

// writable is not asked: a folder has the rights of the one that it is in.
func writable(string) error { return nil }
