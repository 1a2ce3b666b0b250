package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"postroom/ingest/ledger"
	"postroom/internal/durable"
	"postroom/sources"
	"postroom/store/filesystem"
)

// place is a folder or file of the configuration that postroom writes to.
type place struct {
	key  string // of the configuration
	path string
	// try is the folder in path in which alone something may be tried, if not in
	// path itself. If it is missing, nothing is.
	try string
}

// scarce is the number of free bytes with which nothing can be relied on to be
// filed.
const scarce = 20_000_000

// folder returns the folder of the place or, if that is missing, the one in which
// it would be made.
func (p place) folder() (dir string, there bool, err error) {
	dir, there = p.path, true
	info, err := os.Stat(dir)
	for errors.Is(err, fs.ErrNotExist) && dir != filepath.Dir(dir) {
		dir, there = filepath.Dir(dir), false
		info, err = os.Stat(dir)
	}
	switch {
	case errors.Is(err, syscall.ENOTDIR):
		return dir, false, p.wrong(fmt.Errorf("%s lies in a file, not in a folder", p.path), "set %s to a folder that can be made", p.key)
	case err != nil:
		return dir, false, p.explain(err)
	case !info.IsDir():
		return dir, false, p.wrong(fmt.Errorf("%s is a file, not a folder", dir), "move that file away, or set %s to another folder", p.key)
	}
	return dir, there, nil
}

// usable is folder for one that can be written to or, if it is missing, be made.
// It leaves nothing behind: what it made would belong to whoever asks.
func (p place) usable() (dir string, there bool, err error) {
	if dir, there, err = p.folder(); err != nil {
		return dir, there, err
	}
	try := dir
	if there {
		try = filepath.Join(dir, p.try)
	}
	if err := tryFolder(try, there); err != nil && !(there && p.try != "" && errors.Is(err, fs.ErrNotExist)) {
		return dir, false, p.explain(fmt.Errorf("%s cannot be written to: %w", try, cause(err)))
	}
	return dir, there, nil
}

// cause is what the operating system says, without the name of a file that is
// of no interest.
func cause(err error) error {
	var of *fs.PathError
	if errors.As(err, &of) {
		return of.Err
	}
	return err
}

// checkFolder says whether a folder is usable, and there.
func (p place) checkFolder(step string) (f finding, there bool) {
	dir, there, err := p.usable()
	if err != nil {
		return findingOf(step, "", err), false
	}
	if free, err := filesystem.Free(dir); err != nil {
		return p.finding(step, err), there
	} else if free < scarce {
		return findingOf(step, "", p.wrong(fmt.Errorf("the disk of %s has only %.1f MB of free space", dir, float64(free)/1e6),
			"make room, or set %s to a folder on another disk", p.key)), there
	}
	if !there {
		return findingOf(step, "not there yet; the first run makes it in "+dir, nil), false
	}
	return findingOf(step, "can be written to", nil), true
}

// tryFolder makes and removes a file in the folder, or another folder.
func tryFolder(dir string, file bool) error {
	if !file {
		name, err := os.MkdirTemp(dir, ".check-*")
		if err != nil {
			return err
		}
		return os.Remove(name)
	}
	f, err := os.CreateTemp(dir, ".check-*")
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// checkFile says whether a file can be appended to, or be made.
func (p place) checkFile(step string) finding {
	info, err := os.Stat(p.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		dir := filepath.Dir(p.path)
		if info, err := os.Stat(dir); err != nil || !info.IsDir() {
			return findingOf(step, "", p.wrong(fmt.Errorf("there is no folder %s", dir), "make that folder, for the user that postroom runs as, or set %s to a file in another", p.key))
		}
		if err := tryFolder(dir, true); err != nil {
			return p.finding(step, err)
		}
		return findingOf(step, "not there yet; can be made", nil)
	case err == nil && info.IsDir():
		return findingOf(step, "", p.wrong(fmt.Errorf("%s is a folder, not a file", p.path), "set %s to a file in it", p.key))
	case err != nil:
		return p.finding(step, err)
	}
	f, err := os.OpenFile(p.path, os.O_APPEND|os.O_WRONLY, 0)
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		return p.finding(step, err)
	}
	return findingOf(step, p.path+" can be appended to", nil)
}

// explain adds to what the operating system, or who works with it, says of the
// place, the key and what to do.
func (p place) explain(err error) error {
	var remedy string
	switch {
	case err == nil:
		return nil
	case sources.RemedyOf(err) != "":
		return inKey(p.key, err)
	case errors.Is(err, filesystem.ErrInUse):
		remedy = "another postroom is at work there: stop it, or give each a repository of its own"
	case errors.Is(err, fs.ErrPermission):
		remedy = fmt.Sprintf("give %s, as which postroom runs, the right to write there, or set %s to another place", thisUser(), p.key)
	case errors.Is(err, syscall.EROFS):
		remedy = fmt.Sprintf("that file system is mounted read-only: mount it writable, or set %s to another place", p.key)
	case durable.Full(err):
		remedy = fmt.Sprintf("the disk or the quota is full: make room, or set %s to another disk", p.key)
	case errors.Is(err, ledger.ErrNewer):
		remedy = "start the version of postroom that wrote it, or a newer one"
	case p.key == "ledger":
		remedy = "if the ledger is damaged, put back the last backup of the state directory"
	default:
		remedy = fmt.Sprintf("set %s to a place that can be written to", p.key)
	}
	return (&sources.Error{Err: inKey(p.key, err)}).WithRemedy("%s", remedy)
}

func (p place) finding(step string, err error) finding { return findingOf(step, "", p.explain(err)) }

func (p place) wrong(err error, remedy string, args ...any) error {
	return (&sources.Error{Err: inKey(p.key, err)}).WithRemedy(remedy, args...)
}
