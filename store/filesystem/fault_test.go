package filesystem_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"postroom/store"
	"postroom/store/filesystem"
	"postroom/store/storetest"
)

var errDisk = errors.New("disk error")

// faulty is a syncer that fails where it is told to.
type faulty struct {
	mu   sync.Mutex
	fail func(path string, folder bool) bool
}

func (f *faulty) set(fail func(path string, folder bool) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail = fail
}

func (f *faulty) sync(file *os.File) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail != nil && f.fail(filepath.ToSlash(file.Name()), info.IsDir()) {
		return errDisk
	}
	return file.Sync()
}

// After an error of the disk at any sync nothing is visible, and the document
// can be put once the disk works again.
func TestSyncFails(t *testing.T) {
	faults := map[string]func(path string, folder bool) bool{
		"of a file":        func(path string, _ bool) bool { return strings.HasSuffix(path, "message.eml") },
		"of document.json": func(path string, _ bool) bool { return strings.HasSuffix(path, "document.json") },
	}
	if filesystem.FoldersSync {
		faults["of the staged folder"] = func(path string, folder bool) bool {
			return folder && strings.Contains(path, ".incoming/")
		}
		faults["of the day"] = func(path string, folder bool) bool { return folder && strings.HasSuffix(path, "/02") }
		faults["of the year"] = func(path string, folder bool) bool { return folder && strings.HasSuffix(path, "/2026") }
		faults["of the root"] = func(path string, folder bool) bool {
			return folder && !strings.Contains(path, "invoices") && !strings.Contains(path, ".incoming")
		}
	}
	for name, fail := range faults {
		t.Run(name, func(t *testing.T) {
			f := folder(t.TempDir())
			var disk faulty
			r, err := filesystem.OpenSyncing(string(f), disk.sync)
			if err != nil {
				t.Fatal(err)
			}
			defer closeRepository(t, r)

			disk.set(fail)
			d := storetest.NewDocument("unlucky")
			for range 2 {
				if _, err := r.Put(context.Background(), d); !errors.Is(err, errDisk) {
					t.Fatalf("Put: %v, want the disk's error", err)
				}
				if n := len(f.List(t)); n != 0 {
					t.Fatalf("%d documents are visible, want none", n)
				}
				if n := f.Leftovers(t); n != 0 {
					t.Errorf("%d things are left in .incoming", n)
				}
			}
			again := false
			disk.set(func(path string, folder bool) bool {
				again = again || fail(path, folder)
				return false
			})
			if _, err := r.Find(context.Background(), d.Key()); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("Find: %v, want ErrNotFound", err)
			}
			location := f.put(t, r, d)
			if !again {
				t.Error("what could not be synced was not synced again")
			}
			if _, err := f.List(t)[location].Document(); err != nil {
				t.Error(err)
			}
		})
	}
}

// An error of the disk fails all documents that share the sync, and only them.
func TestSyncFailsForGroup(t *testing.T) {
	if !filesystem.FoldersSync {
		return // nothing is shared there
	}
	f := folder(t.TempDir())
	var disk faulty
	r, err := filesystem.OpenSyncing(string(f), disk.sync)
	if err != nil {
		t.Fatal(err)
	}
	defer closeRepository(t, r)
	before := f.put(t, r, storetest.NewDocument("before"))

	disk.set(func(path string, folder bool) bool { return folder && strings.HasSuffix(path, "/02") })
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			if _, err := r.Put(context.Background(), killDocument(i*5)); !errors.Is(err, errDisk) {
				t.Errorf("Put: %v, want the disk's error", err)
			}
		})
	}
	wg.Wait()
	disk.set(nil)
	listed := f.List(t)
	if _, ok := listed[before]; !ok || len(listed) != 1 {
		t.Errorf("%d documents are visible, want the one put before", len(listed))
	}
	for i := range 64 {
		f.put(t, r, killDocument(i*5))
	}
}

// When not even the way back works, nothing is said to be filed any more.
func TestSyncFailsForGood(t *testing.T) {
	if !filesystem.FoldersSync {
		return // a sync that fails leaves nothing to undo there
	}
	f := folder(t.TempDir())
	var disk faulty
	r, err := filesystem.OpenSyncing(string(f), disk.sync)
	if err != nil {
		t.Fatal(err)
	}
	disk.set(func(path string, folder bool) bool {
		if !folder || !strings.HasSuffix(path, "/02") {
			return false
		}
		if err := os.RemoveAll(filepath.Join(string(f), ".incoming")); err != nil {
			t.Error(err)
		}
		return true
	})
	d, other := storetest.NewDocument("stuck"), storetest.NewDocument("other")
	if _, err := r.Put(context.Background(), d); !errors.Is(err, errDisk) {
		t.Errorf("Put: %v, want the disk's error", err)
	}
	disk.set(nil)
	if _, err := r.Find(context.Background(), d.Key()); err == nil || errors.Is(err, store.ErrNotFound) {
		t.Errorf("Find: %v, want an error other than ErrNotFound", err)
	}
	if _, err := r.Put(context.Background(), other); err == nil {
		t.Error("Put of another document = nil, want an error")
	}
	closeRepository(t, r)

	r = f.Open(t).(*filesystem.Repository)
	defer closeRepository(t, r)
	f.put(t, r, d)
	f.put(t, r, other)
	if n := len(f.List(t)); n != 2 {
		t.Errorf("repository holds %d documents, want 2", n)
	}
}

// When a document becomes visible all of it has been synced; when Put returns,
// so has every folder that a name was added to.
func TestSyncOrder(t *testing.T) {
	if !filesystem.FoldersSync {
		return // the order cannot be seen there
	}
	f := folder(filepath.Join(t.TempDir(), "new"))
	var mu sync.Mutex
	var ever, lately []os.FileInfo // lately: since the last Put
	among := func(synced []os.FileInfo, name string) bool {
		info, err := os.Stat(name)
		if err != nil {
			t.Error(err)
			return false
		}
		for _, s := range synced {
			if os.SameFile(s, info) {
				return true
			}
		}
		return false
	}
	check := func() {
		for location, stored := range f.List(t) {
			whole := filepath.Join(string(f), location)
			names := []string{whole, filepath.Join(whole, store.DocumentFile)}
			for name := range stored.Files {
				names = append(names, filepath.Join(whole, name))
			}
			for _, name := range names {
				if !among(ever, name) {
					t.Errorf("%s was visible before it was synced", name)
				}
			}
		}
	}
	r, err := filesystem.OpenSyncing(string(f), func(file *os.File) error {
		mu.Lock()
		defer mu.Unlock()
		check()
		info, err := file.Stat()
		if err != nil {
			return err
		}
		ever, lately = append(ever, info), append(lately, info)
		return file.Sync()
	})
	if err != nil {
		t.Fatal(err)
	}
	defer closeRepository(t, r)
	for i := range 6 {
		mu.Lock()
		lately = nil
		mu.Unlock()
		location := f.put(t, r, killDocument(i))
		for at := filepath.Dir(location); ; at = filepath.Dir(at) {
			if !among(lately, filepath.Join(string(f), at)) {
				t.Errorf("folder %s was not synced after a name was added to it", at)
			}
			if at == "." || i > 4 { // the sixth is of the first one's day
				break
			}
		}
	}
}

// What a process left visible that died before it could sync is synced before
// it is relied on.
func TestFindSyncsWhatItFinds(t *testing.T) {
	if !filesystem.FoldersSync {
		return
	}
	f := folder(t.TempDir())
	d := storetest.NewDocument("left by another")
	r := f.Open(t)
	f.put(t, r, d)
	closeRepository(t, r)

	var disk faulty
	broken, err := filesystem.OpenSyncing(string(f), disk.sync)
	if err != nil {
		t.Fatal(err)
	}
	defer closeRepository(t, broken)
	disk.set(func(path string, folder bool) bool { return folder })
	if _, err := broken.Find(context.Background(), d.Key()); !errors.Is(err, errDisk) {
		t.Errorf("Find when the folders cannot be synced: %v, want the disk's error", err)
	}
	disk.set(nil)
	if _, err := broken.Find(context.Background(), d.Key()); err != nil {
		t.Errorf("Find: %v", err)
	}
}
