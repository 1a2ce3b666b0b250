package spool

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"testing"
)

// backwards writes b in pieces, the last one first, and some of it twice.
func backwards(b []byte) func(w io.WriterAt) (int64, error) {
	return func(w io.WriterAt) (int64, error) {
		const piece = 70_001
		for at := len(b) / piece * piece; at >= 0; at -= piece {
			for range 2 {
				if _, err := w.WriteAt(b[at:min(at+piece, len(b))], int64(at)); err != nil {
					return 0, err
				}
			}
		}
		return int64(len(b)), nil
	}
}

func TestScratch(t *testing.T) {
	for _, n := range []int{0, 1, 70_000, small - 1, small, small + 1, 3 << 20} {
		dir := t.TempDir()
		s, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		scratch := s.Scratch()
		want := random(n)
		a, err := scratch.Write(backwards(want))
		if err != nil {
			t.Fatal(err)
		}
		// One that is cut to less than what was written.
		b, err := scratch.Write(func(w io.WriterAt) (int64, error) {
			_, err := backwards(want)(w)
			return int64(n / 2), err
		})
		if err != nil {
			t.Fatal(err)
		}
		for blob, want := range map[*Blob][]byte{a: want, b: want[:n/2]} {
			for range 2 {
				got, err := io.ReadAll(blob.Reader())
				if err != nil || !bytes.Equal(got, want) {
					t.Errorf("%d bytes: %d were read, %v", n, len(got), err)
				}
			}
			if blob.Size() != int64(len(want)) || blob.SHA256() != sha256.Sum256(want) {
				t.Errorf("%d bytes: size %d, or the hash is wrong", n, blob.Size())
			}
		}
		if a.Held() != (n <= small) {
			t.Errorf("%d bytes: in memory %v", n, a.Held())
		}
		if a.Held() && (a.reserved < int64(cap(a.mem)) || a.reserved > int64(max(2*n, 140_000))) {
			t.Errorf("%d bytes: %d are reserved for %d in memory", n, a.reserved, cap(a.mem))
		}
		if err := errors.Join(scratch.Close(), scratch.Close()); err != nil {
			t.Error(err)
		}
		empty(t, dir)
		if !s.budget.TryAcquire(budget) {
			t.Errorf("%d bytes: the budget was not given back", n)
		}
	}
}

func TestScratchWithoutBudget(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	s.budget.TryAcquire(budget)
	scratch := s.Scratch()
	b, err := scratch.Write(backwards(random(1000)))
	if err != nil || b.Held() {
		t.Fatalf("in memory: %v", err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 {
		t.Fatalf("%v, %v", left, err)
	}
	if _, err := Open(dir); err != nil { // as the next process does
		t.Fatal(err)
	}
	empty(t, dir)
}

func TestScratchFails(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	scratch := s.Scratch()
	broken := errors.New("broken")
	for _, n := range []int{0, 1000, 3 << 20} {
		_, err := scratch.Write(func(w io.WriterAt) (int64, error) {
			if _, err := backwards(random(n))(w); err != nil {
				return 0, err
			}
			return int64(n), broken
		})
		if !errors.Is(err, broken) {
			t.Error(err)
		}
		if _, err := scratch.Write(func(w io.WriterAt) (int64, error) { return 1, nil }); err == nil {
			t.Error("no error for a byte that was not written")
		}
	}
	empty(t, dir)
	if !s.budget.TryAcquire(budget) {
		t.Error("the budget was not given back")
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := scratch.Write(backwards(random(1 + rand.IntN(10)))); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a spool without a folder: %v", err)
	}
}
