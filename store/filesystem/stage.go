package filesystem

import (
	"context"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"postroom/internal/durable"
	"postroom/store"
)

// stage writes the document into the new folder, durably. What it wrote when it
// fails remains.
func (r *Repository) stage(ctx context.Context, d *store.Document, folder string) error {
	if err := r.root.Mkdir(folder, folderMode); err != nil {
		return err
	}
	for _, f := range inWritingOrder(d.Files) {
		err := r.write(path.Join(folder, f.Name), func(w io.Writer) error { return f.Copy(ctx, w) })
		if err != nil {
			return err
		}
	}
	description, err := store.MarshalDocument(d)
	if err != nil {
		return err
	}
	err = r.write(path.Join(folder, store.DocumentFile), func(w io.Writer) error {
		_, err := w.Write(description)
		return err
	})
	if err != nil {
		return err
	}
	return r.syncFolder(folder)
}

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

// write makes a new file, durably.
func (r *Repository) write(name string, content func(io.Writer) error) (err error) {
	f, err := r.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return err
	}
	defer func() {
		if e := f.Close(); e != nil && err == nil {
			err = e
		}
	}()
	if err := content(f); err != nil {
		return err
	}
	if err := r.sync(f); err != nil {
		return fmt.Errorf("sync %s: %w", name, err)
	}
	return nil
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
