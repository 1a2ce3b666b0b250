package filesystem_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"postroom/store"
	"postroom/store/filesystem"
	"postroom/store/storetest"
)

// TestReopen: a repository is known again wherever it is, and nothing else is
// taken for it or changed.
func TestReopen(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "documents")
	open := func(name string) string {
		t.Helper()
		r, err := filesystem.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer closeRepository(t, r)
		return r.Identity()
	}
	id := open(name)
	if len(id) != 32 || open(name) != id {
		t.Errorf("identity %q, then %q", id, open(name))
	}
	reopen := func(name string) error {
		t.Helper()
		expected := filesystem.Expect(name, id)
		r, err := filesystem.Reopen(name, id)
		if (expected == nil) != (err == nil) || errors.Is(expected, filesystem.ErrAnother) != errors.Is(err, filesystem.ErrAnother) {
			t.Errorf("Expect: %v, Reopen: %v", expected, err)
		}
		if err == nil {
			if r.Identity() != id {
				t.Errorf("identity %q, want %q", r.Identity(), id)
			}
			closeRepository(t, r)
		}
		return err
	}
	if err := reopen(name); err != nil {
		t.Error(err)
	}
	moved := filepath.Join(dir, "moved")
	if err := os.Rename(name, moved); err != nil {
		t.Fatal(err)
	}
	if err := reopen(moved); err != nil {
		t.Error(err)
	}

	if err := reopen(name); !errors.Is(err, filesystem.ErrAnother) || !strings.Contains(err.Error(), name) {
		t.Errorf("no folder: %v", err)
	}
	if _, err := os.Stat(name); err == nil {
		t.Error("Reopen has made the folder")
	}
	if err := os.Mkdir(name, 0o750); err != nil {
		t.Fatal(err)
	}
	if err := reopen(name); !errors.Is(err, filesystem.ErrAnother) {
		t.Errorf("an empty folder: %v", err)
	}
	if left, err := os.ReadDir(name); err != nil || len(left) > 0 {
		t.Errorf("Reopen has left %v, %v", left, err)
	}
	if open(name) == id {
		t.Error("two repositories have the same identity")
	}
	if err := reopen(name); !errors.Is(err, filesystem.ErrAnother) {
		t.Errorf("another repository: %v", err)
	}
	marker := filepath.Join(moved, ".incoming", "repository.id")
	if err := os.WriteFile(marker, nil, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := filesystem.Open(moved); err == nil || !strings.Contains(err.Error(), "repository.id is damaged") {
		t.Errorf("a damaged identity: %v", err)
	}
	if err := os.Remove(marker); err != nil {
		t.Fatal(err)
	}
	open(moved)
}

// TestPutSeesThatTheRepositoryHasGone: nothing is filed into what took its place,
// and filing goes on once it is back.
func TestPutSeesThatTheRepositoryHasGone(t *testing.T) {
	dir := t.TempDir()
	f := folder(filepath.Join(dir, "documents"))
	r := f.Open(t)
	defer closeRepository(t, r)
	f.put(t, r, storetest.NewDocument("first"))
	away := filepath.Join(dir, "away")
	refused := func(what string) {
		t.Helper()
		_, err := r.Put(context.Background(), storetest.NewDocument("second"))
		if !errors.Is(err, filesystem.ErrAnother) || errors.Is(err, store.ErrRefused) || !strings.Contains(err.Error(), string(f)) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := os.Rename(string(f), away); err != nil {
		t.Fatal(err)
	}
	refused("nothing at the path")
	if err := os.MkdirAll(filepath.Join(string(f), ".incoming"), 0o750); err != nil {
		t.Fatal(err)
	}
	refused("another folder at the path")
	if err := errors.Join(os.RemoveAll(string(f)), os.Rename(away, string(f))); err != nil {
		t.Fatal(err)
	}
	f.put(t, r, storetest.NewDocument("second"))
	marker := filepath.Join(string(f), ".incoming", "repository.id")
	if err := os.Rename(marker, away); err != nil {
		t.Fatal(err)
	}
	_, err := r.Put(context.Background(), storetest.NewDocument("third"))
	if !errors.Is(err, filesystem.ErrAnother) {
		t.Errorf("without its identity: %v", err)
	}
	if err := os.Rename(away, marker); err != nil {
		t.Fatal(err)
	}
	f.put(t, r, storetest.NewDocument("third"))
}
