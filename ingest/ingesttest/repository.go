package ingesttest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"sync"

	"postroom/store"
)

// Repository is a repository in memory.
type Repository struct {
	world *World

	mu        sync.Mutex
	documents map[string]stored
	refuse    func(*store.Document) bool
}

type stored struct {
	receipt store.Receipt
	doc     store.Document
	files   map[string][]byte
}

// Refuse makes the repository refuse documents.
func (r *Repository) Refuse(f func(*store.Document) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refuse = f
}

// Documents returns the files of every document, by id and name.
func (r *Repository) Documents() map[string]map[string][]byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make(map[string]map[string][]byte)
	for id, s := range r.documents {
		out[id] = s.files
	}
	return out
}

func (r *Repository) holds(raw []byte) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.documents {
		for _, b := range s.files {
			if bytes.Equal(b, raw) {
				return true
			}
		}
	}
	return false
}

// Put implements store.Repository.
func (r *Repository) Put(_ context.Context, d *store.Document) (store.Receipt, error) {
	var receipt store.Receipt
	err := r.world.do("put", func() error {
		r.mu.Lock()
		defer r.mu.Unlock()
		if s, ok := r.documents[d.ID]; ok {
			receipt = s.receipt
			return nil
		}
		if r.refuse != nil && r.refuse(d) {
			return fmt.Errorf("put %s: %w", d.ID, store.ErrRefused)
		}
		s := stored{receipt: store.Receipt{Location: d.Origin.Source + "/" + d.ID}, doc: *d, files: make(map[string][]byte)}
		for _, f := range d.Files {
			in, err := f.Open()
			if err != nil {
				return err
			}
			b, err := io.ReadAll(in)
			in.Close()
			if err != nil {
				return err
			}
			if int64(len(b)) != f.Size || sha256.Sum256(b) != f.SHA256 {
				return fmt.Errorf("put %s: %w", f.Name, store.ErrContent)
			}
			s.files[f.Name] = b
		}
		r.documents[d.ID] = s
		receipt = s.receipt
		return nil
	})
	return receipt, err
}

// Find implements store.Repository.
func (r *Repository) Find(_ context.Context, k store.Key) (store.Receipt, error) {
	var s stored
	err := r.world.do("find", func() error {
		r.mu.Lock()
		defer r.mu.Unlock()
		var ok bool
		if s, ok = r.documents[k.ID]; !ok || !s.doc.Origin.Received.Equal(k.Received) || s.doc.Origin.Source != k.Source {
			return fmt.Errorf("find %s: %w", k.ID, store.ErrNotFound)
		}
		return nil
	})
	return s.receipt, err
}

// Close implements store.Repository.
func (r *Repository) Close() error { return nil }
