package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/gofrs/flock"

	"postroom/internal/durable"
)

const (
	// demoRecord is the file that says which files of a folder the demo wrote,
	// each with its SHA-256.
	demoRecord = ".postroom-demo.json"
	// demoLock is the file whose lock the demo at work in a folder holds.
	demoLock = ".postroom-demo.lock"
	// demoTemporary begins the name of each folder that a demo without --dir
	// makes among the temporary files.
	demoTemporary = "postroom-demo-"
)

// demoFolder is a folder that a demo has to itself.
type demoFolder struct {
	path string
	lock *flock.Flock
}

// errNotDemos is wrapped by the error for a folder that is not the demo's.
var errNotDemos = errors.New("not a folder of the demo")

// openDemoFolder takes the folder: one that is missing or empty, or that holds
// what an earlier demo wrote, unchanged. Any other it leaves as it is.
func openDemoFolder(dir string) (*demoFolder, error) {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := os.MkdirAll(dir, 0o750); err != nil {
			return nil, err
		}
	case errors.Is(err, syscall.ENOTDIR):
		return nil, fmt.Errorf("%s is %w: it is a file; choose a new or empty folder for --dir", dir, errNotDemos)
	case err != nil:
		return nil, err
	case len(entries) > 1 || len(entries) == 1 && entries[0].Name() != demoLock:
		if _, err := readDemoRecord(dir); err != nil {
			return nil, err
		}
	}
	lock := flock.New(filepath.Join(dir, demoLock), flock.SetPermissions(0o600))
	locked, err := lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	if !locked {
		return nil, fmt.Errorf("another demo is at work in %s: stop it first, or choose another --dir", dir)
	}
	return &demoFolder{dir, lock}, nil
}

func (f *demoFolder) close() error { return f.lock.Unlock() }

// readDemoRecord returns the sums of the files that an earlier demo wrote into
// the folder, by name. The error wraps errNotDemos if there was none, or one of
// the files is not as the demo wrote it.
func readDemoRecord(dir string) (map[string]string, error) {
	text, err := os.ReadFile(filepath.Join(dir, demoRecord))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s is %w: it holds other files, which the demo does not touch; choose a new or empty folder for --dir", dir, errNotDemos)
	}
	if err != nil {
		return nil, err
	}
	sums := make(map[string]string)
	if err := json.Unmarshal(text, &sums); err != nil {
		return nil, fmt.Errorf("%s is %w: %s cannot be read: %w; choose a new or empty folder for --dir", dir, errNotDemos, demoRecord, err)
	}
	for name, want := range sums {
		if !filepath.IsLocal(name) || filepath.Base(name) != name {
			return nil, fmt.Errorf("%s is %w: %s names %q; choose a new or empty folder for --dir", dir, errNotDemos, demoRecord, name)
		}
		content, err := os.ReadFile(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if sumOf(content) != want {
			return nil, fmt.Errorf("%s is %w any more: %s was changed, and the demo would overwrite it; choose a new or empty folder for --dir", dir, errNotDemos, name)
		}
	}
	return sums, nil
}

func sumOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// write writes the demo's files in place of those of an earlier demo. It
// replaces no other: whenever it is cut short, each file there is one that the
// record names, as it names it.
func (f *demoFolder) write(files map[string][]byte) error {
	if _, err := os.Lstat(filepath.Join(f.path, demoRecord)); err == nil {
		earlier, err := readDemoRecord(f.path)
		if err != nil {
			return err
		}
		for name := range earlier {
			if err := os.Remove(filepath.Join(f.path, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	sums := make(map[string]string)
	for name, content := range files {
		sums[name] = sumOf(content)
	}
	record, err := json.MarshalIndent(sums, "", "  ")
	if err != nil {
		return err
	}
	if err := durable.WriteFile(filepath.Join(f.path, demoRecord), bytes.NewReader(append(record, '\n')), 0o600); err != nil {
		return err
	}
	for name, content := range files {
		file, err := os.OpenFile(filepath.Join(f.path, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		_, err = file.Write(content)
		if err := errors.Join(err, file.Close()); err != nil {
			return err
		}
	}
	return nil
}

// clearTemporary removes the folders that earlier demos without --dir left
// among the temporary files: all that are the demo's, unchanged, hold nothing
// that it did not make, and in which none is at work.
func clearTemporary() error {
	found, err := filepath.Glob(filepath.Join(os.TempDir(), demoTemporary+"*"))
	if err != nil {
		return err
	}
	var errs []error
	for _, dir := range found {
		// A folder of somebody else, or that is no longer as the demo left it, is
		// none of this demo's business.
		if !holdsOnlyDemo(dir) {
			continue
		}
		f, err := openDemoFolder(dir)
		if err != nil {
			continue
		}
		errs = append(errs, f.close(), os.RemoveAll(dir))
	}
	return errors.Join(errs...)
}

func holdsOnlyDemo(dir string) bool {
	info, err := os.Lstat(dir)
	if err != nil || !info.IsDir() || !ownedBySelf(info) {
		return false
	}
	record, err := readDemoRecord(dir)
	if err != nil {
		return false
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return false
	}
	for _, e := range entries {
		switch name := e.Name(); {
		case name == demoRecord || name == demoLock || e.IsDir() && (name == "documents" || name == "state"):
		case record[name] != "":
		default:
			return false
		}
	}
	return true
}
