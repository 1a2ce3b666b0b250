package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"

	"postroom/store"
)

// ReplaceCrasher is implemented by a harness of a repository that is a
// [store.Replacer], if it can let a process die.
type ReplaceCrasher interface {
	// CrashReplacing leaves what a process leaves that dies at the n-th step,
	// from 1, of putting Replacement(title) in the place of the document that the
	// place holds. It returns false if the process came to the end before. The
	// repository is not open.
	CrashReplacing(t *testing.T, title string, n int) (died bool)
}

// Replacement returns a document by which every other of these is replaced. It
// has a file more than the one for the empty title, and another one in its place.
func Replacement(title string) *store.Document {
	d := NewDocument("to be replaced")
	if title == "" {
		d.Files = append(d.Files, NewFile("gone.pdf", store.RoleAttachment, []byte("%PDF-1.7")))
		return d
	}
	d.Title, d.Class = title, "Order"
	d.Files = append([]store.File{NewFile("message.eml", store.RoleMessage, []byte("separated "+title))},
		NewFile("scan.pdf", store.RoleAttachment, bytes.Repeat([]byte(title), 5000)),
		NewFile("original.eml", store.RoleOriginal, []byte("original")))
	return d
}

func testReplace(t *testing.T, open func(t *testing.T) Harness) {
	h := open(t)
	r := h.Open(t)
	replacer, ok := r.(store.Replacer)
	if !ok {
		closeRepository(t, r)
		return // the ability is optional
	}
	ctx := context.Background()
	other := NewDocument("stays")
	put(t, r, other)
	is := Replacement("")
	if _, err := replacer.Replace(ctx, is); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Replace of what is not there: %v, want ErrNotFound", err)
	}
	expect(t, h, r, other)

	receipt := put(t, r, is)
	for _, title := range append([]string{is.Title, "another title", "ANOTHER title"}, hostileTitles()...) {
		d := Replacement(title)
		if title == "" {
			d.Title = ""
		}
		next, err := replacer.Replace(ctx, d)
		if err != nil || next.Location == "" {
			t.Fatalf("Replace by %q: %v, %v", title, next, err)
		}
		if sum := description(t, d); next == receipt && sum != description(t, is) {
			t.Errorf("Replace by %q returned the receipt of what was there", title)
		}
		is, receipt = d, next
		expect(t, h, r, is, other)
		if found, err := r.Find(ctx, is.Key()); err != nil || found != receipt {
			t.Errorf("Find = %v, %v, want %v", found, err, receipt)
		}
	}
	if same, err := replacer.Replace(ctx, is); err != nil || same != receipt {
		t.Errorf("Replace by the same: %v, %v, want %v", same, err, receipt)
	}
	expect(t, h, r, is, other)

	damaged := Replacement("damaged")
	damaged.Files[1].SHA256[0] ^= 1
	if _, err := replacer.Replace(ctx, damaged); !errors.Is(err, store.ErrContent) {
		t.Errorf("Replace with other content: %v, want ErrContent", err)
	}
	nothing := Replacement("nothing")
	nothing.Files = nil
	if _, err := replacer.Replace(ctx, nothing); !errors.Is(err, store.ErrRefused) {
		t.Errorf("Replace by nothing: %v, want ErrRefused", err)
	}
	failing := Replacement("failing")
	trouble := errors.New("trouble")
	failing.Files[2].Open = func() (io.ReadCloser, error) { return nil, trouble }
	if _, err := replacer.Replace(ctx, failing); !errors.Is(err, trouble) {
		t.Errorf("Replace with a file that cannot be opened: %v", err)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := replacer.Replace(ended, Replacement("late")); !errors.Is(err, context.Canceled) {
		t.Errorf("Replace with an ended context: %v", err)
	}
	expect(t, h, r, is, other)

	if reader, ok := r.(store.Reader); ok {
		in, err := reader.OpenFile(ctx, receipt.Location, "scan.pdf")
		if err != nil {
			t.Fatal(err)
		}
		d := Replacement("while it is open")
		if receipt, err = replacer.Replace(ctx, d); err == nil {
			got, err := io.ReadAll(in)
			if err == nil && !bytes.Equal(got, bytes.Repeat([]byte(is.Title), 5000)) {
				t.Errorf("an open file has %d other bytes", len(got))
			}
			is = d
		}
		if err := in.Close(); err != nil {
			t.Error(err)
		}
		expect(t, h, r, is, other)
	}
	closeRepository(t, r)
	r = h.Open(t)
	expect(t, h, r, is, other)
	if again := put(t, r, Replacement("")); again != receipt {
		t.Errorf("Put of what was replaced returned %v, want %v", again, receipt)
	}
	if alterer, ok := h.(Alterer); ok {
		replacer := r.(store.Replacer)
		alterer.Alter(t, receipt.Location, "of somebody.txt", []byte("x"))
		if _, err := replacer.Replace(ctx, Replacement("")); !errors.Is(err, store.ErrRefused) {
			t.Errorf("Replace of what has a file more: %v, want ErrRefused", err)
		}
		alterer.Alter(t, receipt.Location, "of somebody.txt", nil)
		alterer.Alter(t, receipt.Location, "scan.pdf", nil)
		if _, err := replacer.Replace(ctx, Replacement("")); !errors.Is(err, store.ErrRefused) {
			t.Errorf("Replace of what is not whole: %v, want ErrRefused", err)
		}
		alterer.Alter(t, receipt.Location, "scan.pdf", bytes.Repeat([]byte(is.Title), 5000))
	}
	expect(t, h, r, is, other)
	closeRepository(t, r)
	if _, err := r.(store.Replacer).Replace(ctx, Replacement("")); err == nil {
		t.Error("Replace in a closed repository")
	}
}

func description(t *testing.T, d *store.Document) string {
	t.Helper()
	text, err := store.MarshalDocument(d)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// testReplaceAtOnce replaces, puts and finds the same document at once.
func testReplaceAtOnce(t *testing.T, open func(t *testing.T) Harness) {
	h, r := start(t, open)
	replacer, ok := r.(store.Replacer)
	if !ok {
		return
	}
	ctx := context.Background()
	put(t, r, Replacement(""))
	var wg sync.WaitGroup
	for i := range 24 {
		wg.Go(func() {
			d := Replacement(fmt.Sprint("at once ", i))
			var err error
			switch i % 3 {
			case 0:
				_, err = replacer.Replace(ctx, d)
			case 1:
				_, err = r.Put(ctx, d)
			case 2:
				_, err = r.Find(ctx, d.Key())
			}
			if err != nil {
				t.Errorf("%d: %v", i, err)
			}
		})
	}
	wg.Wait()
	last := Replacement("last")
	if _, err := replacer.Replace(ctx, last); err != nil {
		t.Fatal(err)
	}
	expect(t, h, r, last)
}

// testReplaceCrash lets a process die at each step, with another title and with
// the same.
func testReplaceCrash(t *testing.T, open func(t *testing.T) Harness) {
	h := open(t)
	crasher, ok := h.(ReplaceCrasher)
	if !ok {
		return // the ability is optional
	}
	r := h.Open(t)
	is := Replacement("")
	put(t, r, is)
	stays := NewDocument("stays")
	put(t, r, stays)
	closeRepository(t, r)
	for _, title := range []string{"another title", is.Title} {
		steps := 0
		for died := true; died; steps++ {
			died = crasher.CrashReplacing(t, title, steps+1)
			r = h.Open(t)
			receipt, err := r.Find(context.Background(), is.Key())
			if err != nil {
				t.Fatalf("step %d: Find: %v", steps+1, err)
			}
			got, err := h.List(t)[receipt.Location].Document()
			if err != nil {
				t.Fatalf("step %d: %s is not whole: %v", steps+1, receipt.Location, err)
			}
			was, now := same(got, is), same(got, Replacement(title))
			if was != nil && now != nil || !died && now != nil {
				t.Fatalf("step %d: neither the one nor the other: %v, %v", steps+1, was, now)
			}
			// And again as it was, for the next step.
			if _, err := r.(store.Replacer).Replace(context.Background(), is); err != nil {
				t.Fatalf("step %d: Replace: %v", steps+1, err)
			}
			expect(t, h, r, is, stays)
			closeRepository(t, r)
		}
		if steps < 3 {
			t.Errorf("the process died at %d steps", steps)
		}
	}
}
