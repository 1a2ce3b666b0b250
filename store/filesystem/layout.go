package filesystem

import (
	"iter"
	"path"
	"strings"

	"postroom/internal/filename"
	"postroom/store"
)

// Incoming is the folder below the root that is no source's. Whatever is on its
// way there when a repository is opened is removed.
const Incoming = ".incoming"

const incoming = Incoming

// shortID is the number of the id's hex digits in a folder's name.
const shortID = 12

// dayFolder returns the folder below the root that holds the document's folder.
func dayFolder(k store.Key) string {
	return path.Join(k.Source, k.Received.UTC().Format("2006/01/02"))
}

// documentFolder returns the name of the document's folder.
func documentFolder(d *store.Document) string {
	return filename.CleanTitle(d.Title, "untitled") + "~" + d.ID[:shortID]
}

// folderID returns the digits of the id in the name of a document's folder, or
// false if it is not named like one.
func folderID(name string) (string, bool) {
	i := strings.LastIndexByte(name, '~')
	if i < 0 {
		return "", false
	}
	id := name[i+1:]
	return id, len(id) == shortID && strings.Trim(id, "0123456789abcdef") == ""
}

// upward yields name and the folders above it, up to the root.
func upward(name string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for yield(name) && name != "." {
			name = path.Dir(name)
		}
	}
}

// turn returns what the keys of all documents that would compete for a folder
// have in common.
func turn(k store.Key) string {
	return path.Join(dayFolder(k), k.ID[:shortID])
}
