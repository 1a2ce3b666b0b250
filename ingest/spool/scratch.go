package spool

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
)

// Scratch is room for what is made of one message while that is being filed. It
// must not be used concurrently.
type Scratch struct {
	spool *Spool
	blobs []*Blob
}

// Scratch returns room in the spool. Close must be called.
func (s *Spool) Scratch() *Scratch { return &Scratch{spool: s} }

// Write returns what the function writes to w, which may be in any order. It
// returns how many bytes that are. A small blob is in memory, within the budget
// of all messages. An error of the function is returned as it is.
func (s *Scratch) Write(write func(w io.WriterAt) (size int64, err error)) (*Blob, error) {
	b := &Blob{spool: s.spool}
	if s.spool.budget.TryAcquire(small) {
		b.reserved = small
	}
	size, err := write(&scratchWriter{b})
	if err == nil {
		err = b.seal(size)
	}
	if err != nil {
		return nil, errors.Join(err, b.Close())
	}
	s.blobs = append(s.blobs, b)
	return b, nil
}

// Close gives up all that was written. It is safe to call more than once.
func (s *Scratch) Close() error {
	var errs []error
	for _, b := range s.blobs {
		errs = append(errs, b.Close())
	}
	s.blobs = nil
	return errors.Join(errs...)
}

// scratchWriter writes to a blob that is being made.
type scratchWriter struct{ b *Blob }

// WriteAt implements io.WriterAt.
func (w *scratchWriter) WriteAt(p []byte, off int64) (int, error) {
	b, end := w.b, off+int64(len(p))
	if b.file == nil && end <= b.reserved {
		if end > int64(cap(b.mem)) {
			more := make([]byte, len(b.mem), min(max(end, 2*int64(cap(b.mem))), b.reserved))
			copy(more, b.mem)
			b.mem = more
		}
		b.mem = b.mem[:max(end, int64(len(b.mem)))]
		return copy(b.mem[off:], p), nil
	}
	if err := b.spill(); err != nil {
		return 0, err
	}
	n, err := b.file.WriteAt(p, off)
	if err != nil {
		err = fmt.Errorf("write to spool: %w", err)
	}
	return n, err
}

// spill moves what is in memory to a file.
func (b *Blob) spill() error {
	if b.file != nil {
		return nil
	}
	f, err := os.CreateTemp(b.spool.dir, prefix)
	if err != nil {
		return fmt.Errorf("write to spool: %w", err)
	}
	b.file = f
	if _, err := f.Write(b.mem); err != nil {
		return fmt.Errorf("write to spool: %w", err)
	}
	b.mem = nil
	b.spool.release(b)
	return nil
}

// seal ends the making of a blob of that size.
func (b *Blob) seal(size int64) error {
	if b.file == nil {
		if size > int64(len(b.mem)) {
			return fmt.Errorf("write to spool: %d bytes of %d", len(b.mem), size)
		}
		b.mem = b.mem[:size:size]
		if spare := b.reserved - int64(cap(b.mem)); spare > 0 {
			b.spool.budget.Release(spare)
			b.reserved -= spare
		}
		b.size, b.sum = size, sha256.Sum256(b.mem)
		return nil
	}
	if err := b.file.Truncate(size); err != nil {
		return fmt.Errorf("write to spool: %w", err)
	}
	b.size = size
	h := sha256.New()
	buf := b.spool.buffers.Get().(*[]byte)
	defer b.spool.buffers.Put(buf)
	if _, err := io.CopyBuffer(struct{ io.Writer }{h}, b.Reader(), *buf); err != nil {
		return fmt.Errorf("read from spool: %w", err)
	}
	h.Sum(b.sum[:0])
	return nil
}
