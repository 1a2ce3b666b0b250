package filesystem

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"postroom/store"
)

// Archive is a repository opened for reading alone. It is a [store.Verifier].
type Archive struct {
	archive
	days *days
}

var _ store.Verifier = (*Archive)(nil)

// Read opens the repository of the identity at path for reading, also beside the
// process that has it open. It changes nothing. The error wraps ErrAnother if
// another folder or none is there; without an identity any folder will do.
func Read(path, identity string) (*Archive, error) {
	name, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("read repository: %w", err)
	}
	root, err := openRoot(name)
	if err == nil && identity != "" {
		if err = expect(root, identity); err == nil {
			err = exactIdentity(root, identity)
		}
		if err != nil {
			err = errors.Join(err, root.Close())
		}
	}
	if err != nil {
		return nil, fmt.Errorf("read repository %s: %w", name, err)
	}
	a := &Archive{archive: archive{root}}
	a.days = newDays(maxRemembered, a.listDay)
	return a, nil
}

// exactIdentity returns an error if the file of the identity is not as it was
// written, though it can be read.
func exactIdentity(root *os.Root, identity string) error {
	text, err := root.ReadFile(path.Join(incoming, identityFile))
	if err == nil && !bytes.Equal(text, []byte(identity+"\n")) {
		err = fmt.Errorf("%s was altered: put it back from a backup", path.Join(incoming, identityFile))
	}
	return err
}

// Close ends the reading.
func (a *Archive) Close() error { return a.root.Close() }

// Verify implements [store.Verifier].
func (r *Repository) Verify(ctx context.Context, location string) (store.Report, error) {
	if err := r.enter(); err != nil {
		return store.Report{}, fmt.Errorf("verify document at %s: %w", location, err)
	}
	defer r.life.RUnlock()
	return archive{r.root}.Verify(ctx, location)
}

// Places implements [store.Verifier].
func (r *Repository) Places(ctx context.Context, sources ...string) iter.Seq2[store.Place, error] {
	return func(yield func(store.Place, error) bool) {
		if err := r.enter(); err != nil {
			yield(store.Place{}, fmt.Errorf("list documents: %w", err))
			return
		}
		defer r.life.RUnlock()
		archive{r.root}.Places(ctx, sources...)(yield)
	}
}

// archive reads a repository.
type archive struct{ root *os.Root }

func (a archive) Verify(ctx context.Context, location string) (store.Report, error) {
	r, err := a.verify(ctx, location)
	if err != nil {
		return r, fmt.Errorf("verify document at %s: %w", location, err)
	}
	return r, nil
}

func (a archive) verify(ctx context.Context, location string) (r store.Report, err error) {
	info, err := a.root.Lstat(location)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return r, fmt.Errorf("%w: %w", store.ErrNotFound, err)
	case err != nil:
		return r, err
	case !info.IsDir():
		r.Add(store.Altered, "", "it is not a folder")
		return r, nil
	}
	names, err := a.names(location)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w: %w", store.ErrNotFound, err) // removed meanwhile
	}
	if err != nil {
		return r, err
	}
	description, err := a.description(location)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		r.Add(store.Missing, store.DocumentFile, "it is not there")
		return r, nil
	case errors.Is(err, errNoFile):
		r.Add(store.Altered, store.DocumentFile, err.Error())
		return r, nil
	case err != nil:
		return r, err
	}
	r.Description = sha256.Sum256(description)
	r.Files, r.Bytes = 1, int64(len(description))
	if r.Document, err = store.ParseDocument(description); err != nil {
		r.Add(store.Altered, store.DocumentFile, err.Error())
		return r, nil
	}
	if day := dayFolder(r.Document.Key()); day != path.Dir(location) {
		r.Add(store.Unknown, "", "it does not belong here, but to "+day)
	}
	known := map[string]bool{store.DocumentFile: true}
	for _, f := range r.Document.Files {
		known[f.Name] = true
		if err := a.verifyFile(ctx, location, f, &r); err != nil {
			return r, err
		}
	}
	for _, name := range names {
		if !known[name] {
			r.Add(store.Unknown, name, store.DocumentFile+" does not name it")
		}
	}
	return r, nil
}

// errNoFile says that something has the name of a file and is none.
var errNoFile = errors.New("it is not a file")

// maxDescription is the most bytes of a description that are read.
const maxDescription = 64 << 20

func (a archive) description(location string) ([]byte, error) {
	f, err := a.open(path.Join(location, store.DocumentFile))
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(f, maxDescription))
	return text, errors.Join(err, f.Close())
}

// open opens a regular file; another error than fs.ErrNotExist or errNoFile means
// that it could not be read.
func (a archive) open(name string) (*os.File, error) {
	info, err := a.root.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errNoFile
	}
	return a.root.Open(name)
}

// verifyFile reads a file of the document and adds to the report what is wrong
// with it.
func (a archive) verifyFile(ctx context.Context, location string, f store.File, r *store.Report) error {
	file, err := a.open(path.Join(location, f.Name))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		r.Add(store.Missing, f.Name, "it is not there")
		return nil
	case errors.Is(err, errNoFile):
		r.Add(store.Altered, f.Name, err.Error())
		return nil
	case err != nil && !fs.ValidPath(f.Name):
		r.Add(store.Altered, store.DocumentFile, fmt.Sprintf("it names a file %q, which cannot be", f.Name))
		return nil
	case err != nil:
		return err
	}
	f.Open = func() (io.ReadCloser, error) { return file, nil }
	counted := new(counter)
	err = f.Copy(ctx, counted)
	r.Files++
	r.Bytes += int64(*counted)
	if errors.Is(err, store.ErrContent) {
		r.Add(store.Altered, f.Name, "its size or SHA-256 is not what "+store.DocumentFile+" says")
		return nil
	}
	return err
}

// counter counts what is written.
type counter int64

func (c *counter) Write(b []byte) (int, error) {
	*c += counter(len(b))
	return len(b), nil
}

// systemFolders are what a file system keeps at its own top.
var systemFolders = []string{"lost+found", "System Volume Information", "$RECYCLE.BIN"}

// levels match the names of the folders above documents, below the source's.
var levels = []*regexp.Regexp{
	regexp.MustCompile(`^[0-9]{4}$`), regexp.MustCompile(`^[0-9]{2}$`), regexp.MustCompile(`^[0-9]{2}$`),
}

func (a archive) Places(ctx context.Context, sources ...string) iter.Seq2[store.Place, error] {
	return func(yield func(store.Place, error) bool) {
		names, err := a.names(".")
		if err != nil {
			yield(store.Place{}, fmt.Errorf("list documents: %w", err))
			return
		}
		for _, name := range names {
			if name == incoming || slices.Contains(systemFolders, name) || len(sources) > 0 && !slices.Contains(sources, name) {
				continue
			}
			more, err := a.walk(ctx, name, levels, func(p store.Place) bool { return yield(p, nil) })
			if err != nil {
				yield(store.Place{}, fmt.Errorf("list documents: %w", err))
			}
			if err != nil || !more {
				return
			}
		}
	}
}

// walk tells of what is in the folder, below which there are the levels and then
// documents. A folder that is gone when it is read has nothing in it.
func (a archive) walk(ctx context.Context, name string, levels []*regexp.Regexp, tell func(store.Place) bool) (more bool, err error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	info, err := a.root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	if !info.IsDir() {
		return tell(store.Place{Location: name}), nil
	}
	names, err := a.names(name)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	for _, below := range names {
		at := path.Join(name, below)
		switch id, ok := folderID(below); {
		case len(levels) > 0 && levels[0].MatchString(below):
			more, err = a.walk(ctx, at, levels[1:], tell)
		case len(levels) == 0 && ok:
			more = tell(store.Place{Location: at, ID: id})
		default:
			more = tell(store.Place{Location: at})
		}
		if err != nil || !more {
			return false, err
		}
	}
	return true, nil
}

// names returns the names in a folder, in order.
func (a archive) names(folder string) ([]string, error) {
	f, err := a.root.Open(folder)
	if err != nil {
		return nil, err
	}
	names, err := f.Readdirnames(-1)
	slices.SortFunc(names, strings.Compare)
	return names, errors.Join(err, f.Close())
}
