package store_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"postroom/store"
)

// What is held in memory is counted, and not hashed again.
func TestCopyOfHeldContent(t *testing.T) {
	f := store.File{Name: "message.eml", Size: 4, Held: true, Open: func() (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader("text")), nil
	}}
	var b strings.Builder
	if err := f.Copy(context.Background(), &b); err != nil || b.String() != "text" {
		t.Errorf("%q, %v", b.String(), err)
	}
	for _, size := range []int64{3, 5} {
		f.Size = size
		if err := f.Copy(context.Background(), io.Discard); !errors.Is(err, store.ErrContent) {
			t.Errorf("size %d: %v", size, err)
		}
	}
	f.Size, f.Held = 4, false
	if err := f.Copy(context.Background(), io.Discard); !errors.Is(err, store.ErrContent) {
		t.Errorf("with another SHA-256: %v", err)
	}
}
