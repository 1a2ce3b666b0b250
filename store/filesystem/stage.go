package filesystem

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"

	"postroom/internal/durable"
	"postroom/store"
)

// stage writes the document into the new folder, durably, and returns the
// SHA-256 of its description. What it wrote when it fails remains.
func (r *Repository) stage(ctx context.Context, d *store.Document, folder string) (sum [32]byte, err error) {
	description, err := store.MarshalDocument(d)
	if err != nil {
		return sum, err
	}
	if err := r.root.Mkdir(folder, folderMode); err != nil {
		return sum, err
	}
	root, err := r.root.OpenRoot(folder)
	if err != nil {
		return sum, err
	}
	s := &staging{root: root, name: folder, sync: r.sync, spare: r.spare}
	return sha256.Sum256(description), errors.Join(s.write(ctx, d, description), s.close())
}

// staging is a folder that a document is written into.
type staging struct {
	root  *os.Root
	name  string
	sync  syncer
	spare chan struct{} // see Repository
	open  []*os.File    // written, not yet synced
}

// syncedTogether is the most files of a document that are held open, to be
// synced at the same time.
const syncedTogether = 8

func (s *staging) write(ctx context.Context, d *store.Document, description []byte) error {
	for _, f := range inWritingOrder(d.Files) {
		if err := s.add(f.Name, func(w io.Writer) error { return f.Copy(ctx, w) }); err != nil {
			return err
		}
	}
	err := s.add(store.DocumentFile, func(w io.Writer) error {
		_, err := w.Write(description)
		return err
	})
	if err != nil {
		return err
	}
	if durable.FoldersSync {
		f, err := s.root.Open(".")
		if err != nil {
			return err
		}
		s.open = append(s.open, f)
	}
	return s.flush()
}

// add makes a new file.
func (s *staging) add(name string, content func(io.Writer) error) error {
	if len(s.open) == syncedTogether {
		if err := s.flush(); err != nil {
			return err
		}
	}
	f, err := s.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return err
	}
	s.open = append(s.open, f)
	return content(f)
}

// flush syncs what is open and closes it. Files are synced at the same time while
// few are: the file system needs one write of its journal for what it is asked
// for together. Beyond that more threads gain nothing and wait for each other.
func (s *staging) flush() error {
	errs := make([]error, len(s.open))
	var others sync.WaitGroup
	for i, f := range s.open {
		if i == len(s.open)-1 {
			errs[i] = s.syncFile(f)
			break
		}
		select {
		case s.spare <- struct{}{}:
			others.Go(func() {
				defer func() { <-s.spare }()
				errs[i] = s.syncFile(f)
			})
		default:
			errs[i] = s.syncFile(f)
		}
	}
	others.Wait()
	return errors.Join(append(errs, s.closeFiles())...)
}

func (s *staging) syncFile(f *os.File) error {
	if err := s.sync(f); err != nil {
		return fmt.Errorf("sync %s: %w", path.Join(s.name, filepath.Base(f.Name())), err)
	}
	return nil
}

func (s *staging) closeFiles() error {
	var errs []error
	for _, f := range s.open {
		errs = append(errs, f.Close())
	}
	s.open = nil
	return errors.Join(errs...)
}

// close gives up what is open.
func (s *staging) close() error { return errors.Join(s.closeFiles(), s.root.Close()) }

// inWritingOrder puts names in front that look like the short ones of MS-DOS:
// NTFS may give a file with a long name a second one such as REPORT~1.PDF, and
// takes care only of the files that are there already.
func inWritingOrder(files []store.File) []*store.File {
	var short, long []*store.File
	for i := range files {
		f := &files[i]
		if strings.Contains(f.Name, "~") && len(f.Name) <= len("FILENAME.EXT") {
			short = append(short, f)
		} else {
			long = append(long, f)
		}
	}
	return append(short, long...)
}

// syncFolder makes the names in a folder durable, where that can be done.
func (r *Repository) syncFolder(name string) (err error) {
	if !durable.FoldersSync {
		return nil
	}
	f, err := r.root.Open(name)
	if err != nil {
		return err
	}
	defer func() {
		if e := f.Close(); e != nil && err == nil {
			err = e
		}
	}()
	if err := r.sync(f); err != nil {
		return fmt.Errorf("sync folder %s: %w", name, err)
	}
	return nil
}
