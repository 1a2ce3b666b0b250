package store

import (
	"errors"
	"fmt"
	"regexp"

	"postroom/internal/filename"
)

var (
	idPattern     = regexp.MustCompile(`^[0-9a-f]{64}$`)
	sourcePattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$`)
)

// Check returns nil if a repository can take d, or an error that wraps
// ErrRefused and says why not. A driver's Put begins with it. It does not open
// the files.
func (d *Document) Check() error {
	if err := d.check(); err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return nil
}

func (d *Document) check() error {
	if err := d.Key().check(); err != nil {
		return err
	}
	if len(d.Files) == 0 {
		return errors.New("document has no files")
	}
	names := filename.NewSet(DocumentFile)
	for i := range d.Files {
		f := &d.Files[i]
		if err := f.check(); err != nil {
			return err
		}
		if names.Has(f.Name) {
			return fmt.Errorf("file name %q is reserved or used twice", f.Name)
		}
		names.Add(f.Name)
	}
	return nil
}

func (f *File) check() error {
	if err := filename.Check(f.Name); err != nil {
		return err
	}
	switch f.Role {
	case RoleMessage, RoleAttachment, RoleOriginal:
	default:
		return fmt.Errorf("file %q has the unknown role %q", f.Name, f.Role)
	}
	if f.Size < 0 {
		return fmt.Errorf("file %q has the size %d", f.Name, f.Size)
	}
	if f.Open == nil {
		return fmt.Errorf("file %q cannot be opened", f.Name)
	}
	return nil
}

// Check returns nil if k can be the key of a document, or an error that wraps
// ErrRefused and says why not. A driver's Find begins with it.
func (k Key) Check() error {
	if err := k.check(); err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return nil
}

func (k Key) check() error {
	if !idPattern.MatchString(k.ID) {
		return fmt.Errorf("id %q is not 64 lower-case hex digits", k.ID)
	}
	if !sourcePattern.MatchString(k.Source) {
		return fmt.Errorf("source name %q is not 1 to 63 letters, digits, _ or -", k.Source)
	}
	if err := filename.Check(k.Source); err != nil {
		return fmt.Errorf("source name: %w", err)
	}
	if year := k.Received.UTC().Year(); k.Received.IsZero() || year < 1 || year > 9999 {
		return fmt.Errorf("date received %v is missing or not in the years 1 to 9999", k.Received)
	}
	return nil
}
