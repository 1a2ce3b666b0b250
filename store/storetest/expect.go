package storetest

import (
	"bytes"
	"context"
	"fmt"
	"testing"

	"postroom/store"
)

func put(t *testing.T, r store.Repository, d *store.Document) store.Receipt {
	t.Helper()
	receipt, err := r.Put(context.Background(), d)
	if err != nil {
		t.Fatalf("Put: %v", err)
	}
	if receipt.Location == "" {
		t.Fatal("Put returned no location")
	}
	return receipt
}

func closeRepository(t *testing.T, r store.Repository) {
	t.Helper()
	if err := r.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
}

// expect fails the test unless the repository holds exactly the documents, each
// whole, at the place that Find returns, and nothing else.
func expect(t *testing.T, h Harness, r store.Repository, want ...*store.Document) {
	t.Helper()
	listed := h.List(t)
	if len(listed) != len(want) {
		t.Errorf("repository holds %d documents, want %d", len(listed), len(want))
	}
	for _, w := range want {
		receipt, err := r.Find(context.Background(), w.Key())
		if err != nil {
			t.Errorf("Find of %q: %v", w.Title, err)
			continue
		}
		got, err := listed[receipt.Location].Document()
		if err != nil {
			t.Errorf("document %q at %s is not whole: %v", w.Title, receipt.Location, err)
			continue
		}
		if err := same(got, w); err != nil {
			t.Errorf("document %q at %s: %v", w.Title, receipt.Location, err)
		}
	}
	if n := h.Leftovers(t); n != 0 {
		t.Errorf("%d things are left over, want none", n)
	}
}

// same compares what is stored with what was put by their descriptions.
func same(got, want *store.Document) error {
	w, err := store.MarshalDocument(want)
	if err != nil {
		return err
	}
	// JSON cannot hold invalid UTF-8; what can be read back counts.
	if want, err = store.ParseDocument(w); err != nil {
		return err
	}
	if w, err = store.MarshalDocument(want); err != nil {
		return err
	}
	g, err := store.MarshalDocument(got)
	if err != nil {
		return err
	}
	if !bytes.Equal(g, w) {
		return fmt.Errorf("description is\n%s\nwant\n%s", g, w)
	}
	return nil
}
