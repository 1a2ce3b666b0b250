//go:build !windows

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

// The folder for documents on their way may not be a link.
func TestLinkedIncoming(t *testing.T) {
	outside, path := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "precious"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(path, ".incoming")); err != nil {
		t.Fatal(err)
	}
	if _, err := filesystem.Open(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("Open: %v, want an error that names %s", err, path)
	}
	if _, err := os.Stat(filepath.Join(outside, "precious")); err != nil {
		t.Error(err)
	}
}

// A link that leads out of the repository is not followed.
func TestLinksOutside(t *testing.T) {
	outside := t.TempDir()
	f := folder(t.TempDir())
	if err := os.Symlink(outside, filepath.Join(string(f), "invoices")); err != nil {
		t.Fatal(err)
	}
	r := f.Open(t)
	defer closeRepository(t, r)
	d := storetest.NewDocument("escapes")
	if _, err := r.Put(context.Background(), d); err == nil {
		t.Error("Put through a link = nil, want an error")
	}
	if _, err := r.Find(context.Background(), d.Key()); err == nil || errors.Is(err, store.ErrNotFound) {
		t.Errorf("Find through a link: %v, want an error other than ErrNotFound", err)
	}
	entries, err := os.ReadDir(outside)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 0 {
		t.Errorf("%d things were written outside", len(entries))
	}
	if n := f.Leftovers(t); n != 0 {
		t.Errorf("%d things are left in .incoming", n)
	}
}

func TestProbeFails(t *testing.T) {
	f := folder(t.TempDir())
	r, err := filesystem.Open(string(f))
	if err != nil {
		t.Fatal(err)
	}
	defer closeRepository(t, r)
	if err := os.RemoveAll(filepath.Join(string(f), ".incoming")); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Probe(context.Background()); err == nil || !strings.Contains(err.Error(), string(f)) {
		t.Errorf("Probe: %v, want an error that names %s", err, f)
	}
}
