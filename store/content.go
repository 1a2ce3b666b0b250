package store

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"sync"
)

// Copy reads the file once and writes it to w. It returns an error that wraps
// ErrContent and ErrRefused if the content has not the size and, unless it is
// Held, the SHA-256 that the file announces; w then holds at most Size+1 bytes.
// It ends with the context's error when the context ends between two reads.
func (f *File) Copy(ctx context.Context, w io.Writer) (err error) {
	r, err := f.Open()
	if err != nil {
		return fmt.Errorf("open file %q: %w", f.Name, err)
	}
	defer func() {
		if e := r.Close(); e != nil && err == nil {
			err = fmt.Errorf("close file %q: %w", f.Name, e)
		}
	}()
	hash := sha256.New()
	if !f.Held {
		w = io.MultiWriter(w, hash)
	}
	buffer := buffers.Get().(*[32 << 10]byte)
	defer buffers.Put(buffer)
	n, err := io.CopyBuffer(struct{ io.Writer }{w}, io.LimitReader(reader{ctx, r}, f.Size+1), buffer[:])
	switch {
	case err != nil:
		return fmt.Errorf("copy file %q: %w", f.Name, err)
	case n > f.Size:
		return f.differs("more bytes than the announced %d", f.Size)
	case n < f.Size:
		return f.differs("%d bytes instead of %d", n, f.Size)
	case !f.Held && [32]byte(hash.Sum(nil)) != f.SHA256:
		return f.differs("another SHA-256")
	}
	return nil
}

var buffers = sync.Pool{New: func() any { return new([32 << 10]byte) }}

func (f *File) differs(format string, args ...any) error {
	return fmt.Errorf("%w: file %q has %s: %w", ErrRefused, f.Name, fmt.Sprintf(format, args...), ErrContent)
}

// reader reads until its context ends.
type reader struct {
	ctx context.Context
	io.Reader
}

func (r reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(p)
}
