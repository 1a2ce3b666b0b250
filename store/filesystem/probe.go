package filesystem

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"

	"postroom/internal/durable"
)

// lowSpace is the number of free bytes below which Probe warns.
const lowSpace = 1_000_000_000

// volume is what the operating system says of the file system that holds the
// repository.
type volume struct {
	network string // the kind, if it is on another machine or may be
	free    uint64 // bytes that this user may still write
}

// Free returns how many bytes this user may still write to the file system of the
// file or folder.
func Free(name string) (uint64, error) {
	v, err := inspect(name)
	if err != nil {
		return 0, fmt.Errorf("free space of %s: %w", name, err)
	}
	return v.free, nil
}

// Probe implements [store.Prober]. It warns of network file systems, of file
// systems that do not tell upper from lower case where that is not usual, and
// of less than 1 GB of space.
func (r *Repository) Probe(ctx context.Context) (warnings []string, err error) {
	if err := r.enter(); err != nil {
		return nil, fmt.Errorf("probe repository %s: %w", r.path, err)
	}
	defer r.life.RUnlock()
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("probe repository %s: %w", r.path, err)
	}
	warnings, err = r.probe()
	if err != nil {
		return nil, fmt.Errorf("probe repository %s: %w", r.path, err)
	}
	return warnings, nil
}

func (r *Repository) probe() (warnings []string, err error) {
	v, err := inspect(r.path)
	if err != nil {
		return nil, err
	}
	if v.network != "" {
		warnings = append(warnings, fmt.Sprintf(
			"%s is on a network file system (%s): a document can be incomplete after a failure there; use a local disk", r.path, v.network))
	}
	if v.free < lowSpace {
		warnings = append(warnings, fmt.Sprintf("%s has only %d MB of free space", r.path, v.free/1_000_000))
	}
	blind, err := r.probeWrite()
	if err != nil {
		return nil, err
	}
	if blind && !usuallyCaseBlind {
		warnings = append(warnings, fmt.Sprintf("%s does not tell upper from lower case", r.path))
	}
	return warnings, nil
}

// write makes a new file, durably.
func (r *Repository) write(name, content string) error {
	f, err := r.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return err
	}
	if _, err = f.WriteString(content); err == nil {
		err = r.sync(f)
	}
	return errors.Join(err, f.Close())
}

// probeWrite writes a file and removes it. It reports whether the file could
// also be found by its name in capitals.
func (r *Repository) probeWrite() (caseBlind bool, err error) {
	name := "probe" + strconv.FormatUint(r.staged.Add(1), 10)
	file := path.Join(incoming, name)
	defer func() {
		e := durable.Patiently(func() error { return r.root.Remove(file) })
		if e != nil && !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}()
	if err := r.write(file, "postroom was here\n"); err != nil {
		return false, err
	}
	_, err = r.root.Lstat(path.Join(incoming, strings.ToUpper(name)))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
