package filesystem_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"strings"
	"testing"

	"postroom/store"
	"postroom/store/filesystem"
	"postroom/store/storetest"
)

func TestRepository(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Harness { return folder(t.TempDir()) })
}

// folder is the path of a repository.
type folder string

func (f folder) Open(t *testing.T) store.Repository {
	t.Helper()
	r, err := filesystem.Open(string(f))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// List reads the tree without any knowledge but the promised layout, and fails
// the test if there is anything else.
func (f folder) List(t *testing.T) map[string]storetest.Stored {
	t.Helper()
	found := make(map[string]storetest.Stored)
	tree := os.DirFS(string(f))
	err := fs.WalkDir(tree, ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name == ".incoming" {
			return fs.SkipDir
		}
		const levels = 4 // SOURCE/YYYY/MM/DD/TITLE~ID
		depth := strings.Count(name, "/")
		switch {
		case depth == levels+1:
			content, err := fs.ReadFile(tree, name)
			if err != nil {
				return err
			}
			s := found[path.Dir(name)]
			if path.Base(name) == store.DocumentFile {
				s.Description = content
			} else {
				s.Files[path.Base(name)] = content
			}
			found[path.Dir(name)] = s
		case !e.IsDir() || depth > levels:
			t.Errorf("%s has no place in a repository", name)
		case depth == levels:
			found[name] = storetest.Stored{Files: make(map[string][]byte)}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	return found
}

func (f folder) Leftovers(t *testing.T) int {
	t.Helper()
	entries, err := fs.ReadDir(os.DirFS(string(f)), ".incoming")
	if errors.Is(err, fs.ErrNotExist) {
		return 0
	}
	if err != nil {
		t.Error(err)
	}
	n := 0
	for _, e := range entries {
		if e.Name() != "lock" && e.Name() != "repository.id" {
			n++
		}
	}
	return n
}

func (f folder) put(t *testing.T, r store.Repository, d *store.Document) string {
	t.Helper()
	receipt, err := r.Put(context.Background(), d)
	if err != nil {
		t.Fatalf("Put: %v", err)
	}
	return receipt.Location
}

func closeRepository(t *testing.T, r store.Repository) {
	t.Helper()
	if err := r.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}
