// Package spool holds the raw bytes of messages while they are being filed.
//
// Small messages stay in memory, within a budget shared by all; larger ones, and
// all once the budget is spent, go to a temporary file. Nothing in the spool
// needs to survive: what is not filed is fetched again.
package spool

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sync/semaphore"
)

const (
	small  = 512 << 10 // a message up to this size may stay in memory
	budget = 8 << 20   // for all messages in memory together
	prefix = "message-"
)

// ErrTooLarge is returned by Take for a message past the limit.
var ErrTooLarge = errors.New("message is larger than the limit")

// Spool hands out blobs. It may be used concurrently.
type Spool struct {
	dir     string
	budget  *semaphore.Weighted
	buffers sync.Pool // *[]byte of len small, to be copied with
}

// Open returns a spool that keeps its files in dir, which is made if missing.
// Files that an earlier process left there are removed, so only one process
// may use dir.
func Open(dir string) (*Spool, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make spool: %w", err)
	}
	left, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read spool: %w", err)
	}
	for _, f := range left {
		if strings.HasPrefix(f.Name(), prefix) {
			if err := os.Remove(filepath.Join(dir, f.Name())); err != nil {
				return nil, fmt.Errorf("clean spool: %w", err)
			}
		}
	}
	return &Spool{
		dir:    dir,
		budget: semaphore.NewWeighted(budget),
		buffers: sync.Pool{New: func() any {
			b := make([]byte, 64<<10)
			return &b
		}},
	}, nil
}

// A ReadError is an error of the reader that Take was given, as opposed to one
// of the spool itself.
type ReadError struct{ Err error }

func (e *ReadError) Error() string { return e.Err.Error() }
func (e *ReadError) Unwrap() error { return e.Err }

// Take reads r to its end and returns what it read. size is the number of bytes
// expected, or -1; limit the most bytes to take. An error of r is returned as a
// *ReadError.
func (s *Spool) Take(r io.Reader, size, limit int64) (*Blob, error) {
	if size > limit {
		return nil, ErrTooLarge
	}
	b := &Blob{spool: s}
	h := sha256.New()
	in := io.TeeReader(&source{r}, h)
	if err := s.fill(b, in, size, limit); err != nil {
		b.Close()
		return nil, err
	}
	h.Sum(b.sum[:0])
	return b, nil
}

// source marks the errors of a reader.
type source struct{ r io.Reader }

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF {
		err = &ReadError{err}
	}
	return n, err
}

func (s *Spool) fill(b *Blob, in io.Reader, size, limit int64) error {
	reserve := int64(small)
	if size >= 0 {
		reserve = size
	}
	var head bytes.Buffer
	if reserve <= small && s.budget.TryAcquire(reserve) {
		b.reserved = reserve
		if size >= 0 {
			head.Grow(int(size) + bytes.MinRead)
		}
		if _, err := head.ReadFrom(io.LimitReader(in, b.reserved+1)); err != nil {
			return err
		}
		if more := small - b.reserved; int64(head.Len()) > b.reserved && s.budget.TryAcquire(more) {
			b.reserved += more // it is larger than expected
			if _, err := head.ReadFrom(io.LimitReader(in, b.reserved+1-int64(head.Len()))); err != nil {
				return err
			}
		}
		if n := int64(head.Len()); n <= b.reserved {
			if n > limit {
				return ErrTooLarge
			}
			b.mem, b.size = head.Bytes(), n
			if spare := b.reserved - int64(head.Cap()); spare > 0 {
				s.budget.Release(spare)
				b.reserved -= spare
			}
			return nil
		}
	}
	f, err := os.CreateTemp(s.dir, prefix)
	if err != nil {
		return fmt.Errorf("spool message: %w", err)
	}
	b.file = f
	if _, err := f.Write(head.Bytes()); err != nil {
		return fmt.Errorf("spool message: %w", err)
	}
	s.release(b)
	buf := s.buffers.Get().(*[]byte)
	defer s.buffers.Put(buf)
	n, err := io.CopyBuffer(struct{ io.Writer }{f}, io.LimitReader(in, limit-int64(head.Len())+1), *buf)
	b.size = int64(head.Len()) + n
	if err != nil {
		if e := (*ReadError)(nil); errors.As(err, &e) {
			return e
		}
		return fmt.Errorf("spool message: %w", err)
	}
	if b.size > limit {
		return ErrTooLarge
	}
	return nil
}

func (s *Spool) release(b *Blob) {
	if b.reserved > 0 {
		s.budget.Release(b.reserved)
		b.reserved = 0
	}
}

// Blob is the raw bytes of one message. Its methods may be called concurrently,
// except Close.
type Blob struct {
	spool    *Spool
	mem      []byte
	file     *os.File
	keep     bool // the file is not the spool's to remove
	size     int64
	sum      [sha256.Size]byte
	reserved int64
}

// File returns a blob over a file that somebody else keeps.
func File(path string) (*Blob, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	b := &Blob{file: f, keep: true}
	h := sha256.New()
	if b.size, err = io.Copy(h, f); err != nil {
		f.Close()
		return nil, err
	}
	h.Sum(b.sum[:0])
	return b, nil
}

// Kept returns the path of the file that a blob made by File is over, else "".
func (b *Blob) Kept() string {
	if b.keep {
		return b.file.Name()
	}
	return ""
}

// Size returns the number of bytes.
func (b *Blob) Size() int64 { return b.size }

// Held reports whether the bytes are in memory.
func (b *Blob) Held() bool { return b.file == nil }

// SHA256 returns the hash of the bytes.
func (b *Blob) SHA256() [sha256.Size]byte { return b.sum }

// ReadAt implements io.ReaderAt.
func (b *Blob) ReadAt(p []byte, off int64) (int, error) {
	if b.file != nil {
		return b.file.ReadAt(p, off)
	}
	return bytes.NewReader(b.mem).ReadAt(p, off)
}

// Reader returns a reader of the bytes from the beginning.
func (b *Blob) Reader() *io.SectionReader { return io.NewSectionReader(b, 0, b.size) }

// Close gives the bytes up. It is safe to call more than once.
func (b *Blob) Close() error {
	if b.spool != nil {
		b.spool.release(b)
	}
	b.mem = nil
	f := b.file
	if f == nil {
		return nil
	}
	b.file = nil
	err := f.Close()
	if !b.keep {
		err = errors.Join(err, os.Remove(f.Name()))
	}
	return err
}
