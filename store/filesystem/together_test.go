package filesystem_test

import (
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"postroom/store/filesystem"
)

// The syncs of a document run at the same time: here each waits for all.
func TestSyncsOfADocumentRunTogether(t *testing.T) {
	f := folder(t.TempDir())
	want := int32(3) // two files and their description
	if filesystem.FoldersSync {
		want++
	}
	synctest.Test(t, func(t *testing.T) {
		var under atomic.Int32
		var opened atomic.Bool
		all := make(chan struct{})
		r, err := filesystem.OpenSyncing(string(f), func(file *os.File) error {
			if opened.Load() && strings.Contains(filepath.ToSlash(file.Name()), ".incoming/") {
				if under.Add(1) == want {
					close(all)
				}
				<-all
			}
			return file.Sync()
		})
		if err != nil {
			t.Fatal(err)
		}
		defer closeRepository(t, r)
		opened.Store(true)
		f.put(t, r, killDocument(1))
		if n := under.Load(); n != want {
			t.Errorf("%d syncs in .incoming, want %d", n, want)
		}
	})
}
