package spool

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"testing/iotest"
)

func random(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(n)})
	r.Read(b)
	return b
}

func TestTake(t *testing.T) {
	for _, n := range []int{0, 1, 511, 512, 513, small - 1, small, small + 1, 3 << 20} {
		for _, size := range []int64{int64(n), -1, 0, int64(n) / 2, 2 * int64(n)} {
			dir := t.TempDir()
			s, err := Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			want := random(n)
			b, err := s.Take(iotest.HalfReader(bytes.NewReader(want)), size, 1<<30)
			if err != nil {
				t.Fatalf("%d bytes announced as %d: %v", n, size, err)
			}
			for range 2 { // it can be read again
				got, err := io.ReadAll(b.Reader())
				if err != nil || !bytes.Equal(got, want) {
					t.Errorf("%d bytes announced as %d: read %d, %v", n, size, len(got), err)
				}
			}
			if b.Size() != int64(n) || b.SHA256() != sha256.Sum256(want) {
				t.Errorf("%d bytes announced as %d: size %d or hash wrong", n, size, b.Size())
			}
			if n <= small && size == int64(n) && b.mem == nil && n > 0 {
				t.Errorf("%d bytes went to a file", n)
			}
			if err := errors.Join(b.Close(), b.Close()); err != nil {
				t.Error(err)
			}
			empty(t, dir)
			if !s.budget.TryAcquire(budget) {
				t.Errorf("%d bytes announced as %d: the budget was not given back", n, size)
			}
		}
		if n > small {
			break
		}
	}
}

func empty(t *testing.T, dir string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 0 {
		t.Errorf("left in the spool: %v, %v", left, err)
	}
}

func TestBudgetSpentGoesToFiles(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	var blobs []*Blob
	for range 2 * budget / small {
		b, err := s.Take(bytes.NewReader(random(small)), small, 1<<30)
		if err != nil {
			t.Fatal(err)
		}
		blobs = append(blobs, b)
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != budget/small {
		t.Errorf("%d files, %v", len(files), err)
	}
	for _, b := range blobs {
		if got, err := io.ReadAll(b.Reader()); err != nil || !bytes.Equal(got, random(small)) {
			t.Error("content differs", err)
		}
		b.Close()
	}
	empty(t, dir)
}

func TestTakeRefuses(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{11, small + 11, 3 << 20} {
		for _, size := range []int64{-1, 1, int64(n)} {
			if _, err := s.Take(bytes.NewReader(random(n)), size, int64(n)-1); !errors.Is(err, ErrTooLarge) {
				t.Errorf("%d bytes announced as %d: %v", n, size, err)
			}
			broken := errors.New("connection reset")
			_, err := s.Take(io.MultiReader(bytes.NewReader(random(n)), iotest.ErrReader(broken)), size, 1<<30)
			if read := (*ReadError)(nil); !errors.As(err, &read) || !errors.Is(err, broken) {
				t.Errorf("%d bytes announced as %d: %v", n, size, err)
			}
		}
	}
	empty(t, dir)
	if !s.budget.TryAcquire(budget) {
		t.Error("the budget was not given back")
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	s.budget.Release(budget)
	_, err = s.Take(bytes.NewReader(random(3<<20)), -1, 1<<30)
	if read := (*ReadError)(nil); err == nil || errors.As(err, &read) {
		t.Errorf("a spool without a folder: %v", err)
	}
}

func TestOpenCleans(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{prefix + "1", "other"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Open(dir); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 || left[0].Name() != "other" {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "kept.eml")
	want := random(100_000)
	if err := os.WriteFile(name, want, 0o600); err != nil {
		t.Fatal(err)
	}
	b, err := File(name)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(b.Reader())
	if err != nil || !bytes.Equal(got, want) || b.Size() != 100_000 || b.SHA256() != sha256.Sum256(want) || b.Kept() != name {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(name); err != nil {
		t.Error("the file was removed:", err)
	}
}

// What a message of unknown or wrongly told size takes of the budget is what it
// needs.
func TestTakeOfUnknownSize(t *testing.T) {
	for _, size := range []int64{-1, 100_000 - 7, 400_000} {
		dir := t.TempDir()
		s, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		var blobs []*Blob
		for range budget / small {
			b, err := s.Take(bytes.NewReader(random(100_000)), size, 1<<30)
			if err != nil {
				t.Fatal(err)
			}
			if !b.Held() || b.reserved < 100_000 {
				t.Errorf("announced as %d: in memory %v, %d are reserved", size, b.Held(), b.reserved)
			}
			blobs = append(blobs, b)
		}
		if size < 100_000 && !s.budget.TryAcquire(budget/2) {
			t.Errorf("announced as %d: %d messages of 100 kB take more than half of the budget", size, len(blobs))
		} else if size < 100_000 {
			s.budget.Release(budget / 2)
		}
		for _, b := range blobs {
			if err := b.Close(); err != nil {
				t.Error(err)
			}
		}
		empty(t, dir)
		if !s.budget.TryAcquire(budget) {
			t.Errorf("announced as %d: the budget was not given back", size)
		}
	}
}
