package filesystem_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"postroom/store"
	"postroom/store/filesystem"
	"postroom/store/storetest"
)

// An archive finds what the repository does, says where a document would be, and
// changes nothing.
func TestFindBeside(t *testing.T) {
	f := folder(t.TempDir())
	r := f.Open(t)
	defer closeRepository(t, r)
	first, second := storetest.NewDocument("first"), storetest.NewDocument("second")
	location := f.put(t, r, first)
	a, err := filesystem.Read(string(f), "")
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	want, err := r.Find(t.Context(), first.Key())
	if err != nil {
		t.Fatal(err)
	}
	if got, err := a.Find(t.Context(), first.Key()); err != nil || got != want {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
	elsewhere := first.Key()
	elsewhere.Source = "other"
	for _, k := range []store.Key{second.Key(), elsewhere} {
		if got, err := a.Find(t.Context(), k); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%+v, %v", got, err)
		}
	}
	if filesystem.Place(first) != location {
		t.Errorf("%s would be at %s", location, filesystem.Place(first))
	}
	if got := f.put(t, r, second); got != filesystem.Place(second) {
		t.Errorf("%s would be at %s", got, filesystem.Place(second))
	}
	if err := os.Remove(filepath.Join(string(f), filepath.FromSlash(location), first.Files[0].Name)); err != nil {
		t.Fatal(err)
	}
	if got, err := a.Find(t.Context(), first.Key()); !errors.Is(err, store.ErrRefused) {
		t.Errorf("%+v, %v", got, err)
	}
}
