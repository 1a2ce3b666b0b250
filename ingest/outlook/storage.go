package outlook

import (
	"context"
	"errors"
	"fmt"
	"io"

	"postroom/ingest/outlook/cfb"
)

// maxStorages is how deep storages are nested that are copied.
const maxStorages = 64

// copyStorage copies a storage of another compound file, with its class. The error
// is one of a file or the context, or a *cfb.FormatError: they are nested too deep.
func copyStorage(ctx context.Context, to *cfb.Storage, from *cfb.Entry, depth int) error {
	if depth > maxStorages {
		return &cfb.FormatError{What: fmt.Sprintf("storages are nested deeper than %d", maxStorages)}
	}
	to.SetClass(from.Class)
	for _, e := range from.Entries {
		if e.IsStorage() {
			sub, err := to.Storage(e.Name)
			if err == nil {
				err = copyStorage(ctx, sub, e, depth+1)
			}
			if err != nil {
				return err
			}
			continue
		}
		r, err := e.Open()
		if err != nil {
			return err
		}
		s, err := to.Stream(e.Name)
		if err != nil {
			return err
		}
		if n, err := io.Copy(stopper{ctx, s}, r); err != nil {
			return err
		} else if n < e.Size {
			return io.ErrUnexpectedEOF
		}
		if err := s.Close(); err != nil {
			return err
		}
	}
	return nil
}

// saveStorage writes a storage as a compound file of its own. It is written twice:
// the header, which comes first, is known at the end.
func saveStorage(ctx context.Context, w io.Writer, e *cfb.Entry) error {
	first := &sequence{}
	if err := copyFile(ctx, first, e); err != nil {
		return err
	}
	if _, err := w.Write(first.head); err != nil {
		return err
	}
	return copyFile(ctx, &sequence{w: w, at: int64(len(first.head))}, e)
}

// sequence is a file that is written from one end to the other, but for its head.
type sequence struct {
	w    io.Writer
	at   int64
	head []byte
}

func (s *sequence) WriteAt(p []byte, off int64) (int, error) {
	switch {
	case off == 0:
		s.head = append([]byte(nil), p...)
		return len(p), nil
	case s.w == nil:
		return len(p), nil
	case off != s.at:
		return 0, errors.New("a compound file is not written in one pass")
	}
	n, err := s.w.Write(p)
	s.at += int64(n)
	return n, err
}

func copyFile(ctx context.Context, w io.WriterAt, e *cfb.Entry) error {
	out := cfb.NewWriter(w)
	if err := copyStorage(ctx, out.Root(), e, 0); err != nil {
		return err
	}
	return out.Close()
}
