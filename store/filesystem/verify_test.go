package filesystem_test

import (
	"context"
	"errors"
	"os"
	"path"
	"path/filepath"
	"slices"
	"testing"

	"postroom/store"
	"postroom/store/filesystem"
	"postroom/store/storetest"
)

// Alter implements storetest.Alterer.
func (f folder) Alter(t *testing.T, location, name string, content []byte) {
	t.Helper()
	at := filepath.Join(string(f), filepath.FromSlash(location), name)
	err := os.Remove(at)
	if content != nil || errors.Is(err, os.ErrNotExist) {
		err = os.WriteFile(at, content, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// A repository is read beside the process that has it open, and everything that
// has no place in it is found.
func TestReadBeside(t *testing.T) {
	f := folder(t.TempDir())
	r := f.Open(t)
	defer closeRepository(t, r)
	location := f.put(t, r, storetest.NewDocument("first"))
	day := path.Dir(location)
	strange := []string{
		"note.txt", path.Join(path.Dir(day), "note.txt"), path.Join(path.Dir(day), "3"), path.Join(day, "folder"),
		path.Join(day, "file~0123456789ab"), path.Join(day, "upper~0123456789AB"),
	}
	for _, name := range strange {
		if err := os.WriteFile(filepath.Join(string(f), filepath.FromSlash(name)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(string(f), "invoices", "2026", "01", "04"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(string(f), "lost+found"), 0o000); err != nil {
		t.Fatal(err)
	}
	identity := r.(*filesystem.Repository).Identity()
	a, err := filesystem.Read(string(f), identity)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for p, err := range a.Places(context.Background()) {
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, p.Location)
	}
	want := append(strange, location)
	slices.Sort(want)
	slices.Sort(found)
	if !slices.Equal(found, want) {
		t.Errorf("found\n%q, want\n%q", found, want)
	}
	report, err := a.Verify(context.Background(), path.Join(day, "file~0123456789ab"))
	if err != nil || len(report.Flaws) != 1 || report.Flaws[0].Kind != store.Altered {
		t.Errorf("a file in the place of a folder: %+v, %v", report, err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}

	id := filepath.Join(string(f), filesystem.Incoming, "repository.id")
	whole, err := os.ReadFile(id)
	if err != nil {
		t.Fatal(err)
	}
	for i := range whole {
		altered := slices.Clone(whole)
		altered[i] ^= 1
		if i == len(whole)-1 {
			altered[i] = ' '
		}
		if err := os.WriteFile(id, altered, 0o600); err != nil {
			t.Fatal(err)
		}
		if a, err := filesystem.Read(string(f), identity); err == nil {
			a.Close()
			t.Errorf("byte %d of the identity is altered, and it is read", i)
		}
	}
	if err := os.WriteFile(id, whole, 0o600); err != nil {
		t.Fatal(err)
	}
}

// What leads out of a document's folder is not followed.
func TestVerifyFollowsNoLink(t *testing.T) {
	f := folder(t.TempDir())
	r := f.Open(t)
	defer closeRepository(t, r)
	d := storetest.NewDocument("linked")
	location := f.put(t, r, d)
	file := filepath.Join(string(f), filepath.FromSlash(location), d.Files[0].Name)
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.Rename(file, outside); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, file); err != nil {
		t.Fatal(err)
	}
	report, err := r.(store.Verifier).Verify(context.Background(), location)
	if err != nil || len(report.Flaws) != 1 || report.Flaws[0].Kind != store.Altered || report.Flaws[0].File != d.Files[0].Name {
		t.Errorf("%+v, %v", report, err)
	}
}

// A process that dies in the middle of a removal leaves the document in
// .incoming, from where the next one removes it.
func TestRemoveFails(t *testing.T) {
	f := folder(t.TempDir())
	broken := false
	r, err := filesystem.OpenSyncing(string(f), func(file *os.File) error {
		if broken {
			return errors.New("no sync")
		}
		return file.Sync()
	})
	if err != nil {
		t.Fatal(err)
	}
	d := storetest.NewDocument("removed")
	location := f.put(t, r, d)
	broken = true
	if err := r.Remove(context.Background(), d.ID, location); filesystem.FoldersSync && err == nil {
		t.Error("removed without a sync")
	}
	broken = false
	if err := r.Remove(context.Background(), d.ID, location); err != nil {
		t.Error(err)
	}
	closeRepository(t, r)
	r = f.Open(t).(*filesystem.Repository)
	defer closeRepository(t, r)
	if n := f.Leftovers(t) + len(f.List(t)); n != 0 {
		t.Errorf("%d things are left", n)
	}
}
