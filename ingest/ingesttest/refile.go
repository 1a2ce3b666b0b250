package ingesttest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"

	"postroom/ingest/ledger"
	"postroom/store"
)

// Refile implements ledger.Ledger.
func (l *Ledger) Refile(ctx context.Context, d ledger.Document) error {
	return l.world.do("refile", func() error { return l.Ledger.Refile(ctx, d) })
}

// Refiled implements ledger.Ledger.
func (l *Ledger) Refiled(ctx context.Context, d ledger.Document) error {
	return l.world.do("refiled", func() error { return l.Ledger.Refiled(ctx, d) })
}

// Replace implements store.Replacer. The location has the title in it.
func (r *Repository) Replace(_ context.Context, d *store.Document) (store.Receipt, error) {
	var receipt store.Receipt
	err := r.world.do("replace", func() error {
		next := stored{doc: *d, files: make(map[string][]byte)}
		for i := range d.Files {
			var b bytes.Buffer
			if err := d.Files[i].Copy(context.Background(), &b); err != nil {
				return err
			}
			next.files[d.Files[i].Name] = b.Bytes()
		}
		description, err := store.MarshalDocument(d)
		if err != nil {
			return err
		}
		receipt = store.Receipt{Location: d.Origin.Source + "/" + d.Title + "~" + d.ID, Description: sha256.Sum256(description)}
		next.receipt = receipt
		r.mu.Lock()
		defer r.mu.Unlock()
		if _, ok := r.documents[d.ID]; !ok {
			return fmt.Errorf("replace %s: %w", d.ID, store.ErrNotFound)
		}
		r.documents[d.ID] = next
		return nil
	})
	return receipt, err
}

func (r *Repository) at(location string) (stored, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.documents {
		if s.receipt.Location == location {
			return s, nil
		}
	}
	return stored{}, fmt.Errorf("%s: %w", location, store.ErrNotFound)
}

// OpenFile implements store.Reader.
func (r *Repository) OpenFile(_ context.Context, location, name string) (in io.ReadCloser, err error) {
	err = r.world.do("open file", func() error {
		s, err := r.at(location)
		if err != nil {
			return err
		}
		content, ok := s.files[name]
		if !ok {
			return fmt.Errorf("%s: %w", name, store.ErrNotFound)
		}
		in = io.NopCloser(bytes.NewReader(content))
		return nil
	})
	return in, err
}

// Verify implements store.Verifier.
func (r *Repository) Verify(_ context.Context, location string) (report store.Report, err error) {
	err = r.world.do("verify", func() error {
		s, err := r.at(location)
		if err != nil {
			return err
		}
		text, err := store.MarshalDocument(&s.doc)
		if err != nil {
			return err
		}
		report.Description, report.Files = sha256.Sum256(text), 1+len(s.files)
		report.Document, err = store.ParseDocument(text)
		return err
	})
	return report, err
}

// Places implements store.Verifier.
func (r *Repository) Places(_ context.Context, sources ...string) iter.Seq2[store.Place, error] {
	r.mu.Lock()
	defer r.mu.Unlock()
	var places []store.Place
	for _, id := range slices.Sorted(maps.Keys(r.documents)) {
		if s := r.documents[id]; len(sources) == 0 || slices.Contains(sources, s.doc.Origin.Source) {
			places = append(places, store.Place{Location: s.receipt.Location, ID: id})
		}
	}
	return func(yield func(store.Place, error) bool) {
		for _, p := range places {
			if !yield(p, nil) {
				return
			}
		}
	}
}
