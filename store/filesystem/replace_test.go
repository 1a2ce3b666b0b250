package filesystem_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"postroom/store"
	"postroom/store/filesystem"
	"postroom/store/storetest"
)

// aside is a folder in whose repository documents are moved aside to be replaced.
type aside struct{ folder }

func (f aside) Open(t *testing.T) store.Repository {
	t.Helper()
	r := f.folder.Open(t).(*filesystem.Repository)
	r.MoveAside()
	return r
}

func (f aside) CrashReplacing(t *testing.T, title string, n int) bool {
	return f.crashReplacing(t, title, n, true)
}

func (f folder) CrashReplacing(t *testing.T, title string, n int) bool {
	return f.crashReplacing(t, title, n, false)
}

func TestRepositoryWithoutSwapping(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Harness { return aside{folder(t.TempDir())} })
}

// Environment of a child process that dies.
const (
	childTitle = "POSTROOM_TEST_TITLE"
	childStep  = "POSTROOM_TEST_STEP"
	childAside = "POSTROOM_TEST_ASIDE"
)

// dieReplacing replaces a document and kills this process instead of the sync
// whose number it is told, which comes after each move and before the next.
func dieReplacing() {
	n, err := strconv.Atoi(os.Getenv(childStep))
	if err != nil {
		panic(err)
	}
	var mu sync.Mutex // files are synced at the same time
	counting := false
	r, err := filesystem.OpenSyncing(os.Getenv(childPath), func(f *os.File) error {
		mu.Lock()
		defer mu.Unlock()
		if counting {
			if n--; n == 0 {
				die()
			}
		}
		return f.Sync()
	})
	if err == nil {
		if os.Getenv(childAside) != "" {
			r.MoveAside()
		}
		counting = true
		_, err = r.Replace(context.Background(), storetest.Replacement(os.Getenv(childTitle)))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func die() {
	p, err := os.FindProcess(os.Getpid())
	if err == nil {
		err = p.Kill()
	}
	if err != nil {
		panic(err)
	}
	select {}
}

func (f folder) crashReplacing(t *testing.T, title string, n int, aside bool) (died bool) {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(program)
	c.Env = append(os.Environ(), childTask+"=replace and die", childPath+"="+string(f), childTitle+"="+title, childStep+"="+strconv.Itoa(n))
	if aside {
		c.Env = append(c.Env, childAside+"=yes")
	}
	c.Stderr = os.Stderr
	err = c.Run()
	var exit *exec.ExitError
	if died = errors.As(err, &exit) && !exit.Exited(); err != nil && !died {
		t.Fatalf("replacing: %v", err)
	}
	f.oneOfTwo(t, filesystem.SwapsFolders && !aside)
	return died
}

// oneOfTwo checks what somebody sees of the document that is replaced, before any
// repair: it, or what replaces it, whole. Only where folders cannot be swapped may
// there be neither.
func (f folder) oneOfTwo(t *testing.T, always bool) {
	t.Helper()
	n := 0
	for location, stored := range f.List(t) {
		d, err := stored.Document()
		if err != nil {
			t.Errorf("%s is not whole: %v", location, err)
			continue
		}
		if d.ID == storetest.Replacement("").ID {
			n++
		}
	}
	if n > 1 || n == 0 && always {
		t.Errorf("the document is there %d times", n)
	}
}

// replaceOverAndOver replaces a document until the process is killed.
func replaceOverAndOver(r *filesystem.Repository) error {
	if os.Getenv(childAside) != "" {
		r.MoveAside()
	}
	for i := 0; ; i++ {
		if _, err := r.Replace(context.Background(), storetest.Replacement(fmt.Sprint("title ", i%3))); err != nil {
			return err
		}
		fmt.Println(i % 3)
	}
}

// A process that replaces a document is killed at random moments.
func TestKilledReplacing(t *testing.T) {
	for _, aside := range []bool{false, true} {
		t.Run(fmt.Sprint("aside ", aside), func(t *testing.T) {
			if aside {
				t.Setenv(childAside, "yes")
			}
			f := folder(t.TempDir())
			r := f.Open(t)
			f.put(t, r, storetest.Replacement(""))
			closeRepository(t, r)
			for range 12 {
				p := start(t, "replace", f)
				for range 1 + rand.IntN(30) {
					if _, ok := p.line(); !ok {
						break
					}
				}
				p.kill()
				f.oneOfTwo(t, filesystem.SwapsFolders && !aside)
				r := f.Open(t)
				if n := len(f.List(t)); n != 1 || f.Leftovers(t) != 0 {
					t.Errorf("%d documents, %d things left over", n, f.Leftovers(t))
				}
				f.oneOfTwo(t, true)
				found, err := r.Find(context.Background(), storetest.Replacement("").Key())
				if err != nil {
					t.Fatal(err)
				}
				d, err := f.List(t)[found.Location].Document()
				if err != nil || filepath.Base(found.Location) != d.Title+"~"+d.ID[:12] {
					t.Errorf("at %s is %+v, %v", found.Location, d, err)
				}
				closeRepository(t, r)
			}
		})
	}
}

// After an error of the disk at any sync the document is there as it was, and can
// be replaced once the disk works again; if it never does, the next process finds
// the one or the other.
func TestSyncFailsReplacing(t *testing.T) {
	ctx := context.Background()
	is, next := storetest.Replacement(""), storetest.Replacement("another title")
	for _, aside := range []bool{false, true} {
		for _, forGood := range []bool{false, true} {
			steps := 0
			for failed := true; failed; steps++ {
				f := folder(t.TempDir())
				var disk faulty
				r, err := filesystem.OpenSyncing(string(f), disk.sync)
				if err != nil {
					t.Fatal(err)
				}
				if aside {
					r.MoveAside()
				}
				was := f.put(t, r, is)
				n := 0
				disk.set(func(string, bool) bool {
					n++
					return n == steps+1 || forGood && n > steps+1
				})
				_, err = r.Replace(ctx, next)
				failed = errors.Is(err, errDisk)
				if err != nil && !failed {
					t.Fatal(err)
				}
				disk.set(nil)
				found, findErr := r.Find(ctx, is.Key())
				what := fmt.Sprintf("aside %v, for good %v, step %d", aside, forGood, steps+1)
				switch {
				case forGood && errors.Is(findErr, store.ErrNotFound):
					t.Errorf("%s: %v", what, findErr)
				case !failed && (findErr != nil || found.Location == was):
					t.Errorf("%s: replaced, and Find = %v, %v", what, found, findErr)
				case failed && !forGood && (findErr != nil || found.Location != was || f.Leftovers(t) != 0):
					t.Errorf("%s: Find = %v, %v, %d things left over", what, found, findErr, f.Leftovers(t))
				}
				if failed && !forGood {
					if _, err := r.Replace(ctx, next); err != nil {
						t.Errorf("%s: again: %v", what, err)
					}
				}
				closeRepository(t, r)
				r = f.Open(t).(*filesystem.Repository)
				f.oneOfTwo(t, true)
				if _, err := r.Find(ctx, is.Key()); err != nil || f.Leftovers(t) != 0 {
					t.Errorf("%s: after opening again: %v, %d things left over", what, err, f.Leftovers(t))
				}
				closeRepository(t, r)
			}
			if steps < 4 {
				t.Errorf("%d steps", steps)
			}
		}
	}
}

// What takes the place of the new title keeps it, and the document stays as it
// was.
func TestReplaceWhereSomethingIs(t *testing.T) {
	for _, open := range []func(folder, *testing.T) store.Repository{folder.Open, func(f folder, t *testing.T) store.Repository { return aside{f}.Open(t) }} {
		f := folder(t.TempDir())
		r := open(f, t)
		d := storetest.Replacement("")
		location := f.put(t, r, d)
		if _, err := r.Find(context.Background(), d.Key()); err != nil {
			t.Fatal(err)
		}
		taken := filepath.Join(string(f), filepath.Dir(location), "taken~"+d.ID[:12])
		if err := errors.Join(os.Mkdir(taken, 0o750), os.WriteFile(filepath.Join(taken, "x"), nil, 0o600)); err != nil {
			t.Fatal(err)
		}
		if _, err := r.(store.Replacer).Replace(context.Background(), storetest.Replacement("taken")); err == nil {
			t.Error("replaced")
		}
		if err := os.RemoveAll(taken); err != nil {
			t.Fatal(err)
		}
		if found, err := r.Find(context.Background(), d.Key()); err != nil || found.Location != location || f.Leftovers(t) != 0 {
			t.Errorf("Find = %v, %v", found, err)
		}
		f.oneOfTwo(t, true)
		closeRepository(t, r)
	}
}
