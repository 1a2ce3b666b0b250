package storetest_test

import (
	"context"
	"errors"
	"os"
	"sync"
	"testing"

	"postroom/store"
	"postroom/store/storetest"
)

// pile is the simplest repository that can pass the suite: one thing at a time,
// contents in unnamed files, all else in memory.
type pile struct {
	dir    string
	mu     sync.Mutex
	stored map[string]piled // by id
}

type piled struct {
	description []byte
	files       map[string]string // paths by name
}

func TestPile(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Harness {
		return &pile{dir: t.TempDir(), stored: make(map[string]piled)}
	})
}

func (p *pile) Open(*testing.T) store.Repository { return &opened{pile: p} }

func (p *pile) List(t *testing.T) map[string]storetest.Stored {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := make(map[string]storetest.Stored)
	for id, document := range p.stored {
		s := storetest.Stored{Description: document.description, Files: make(map[string][]byte)}
		for name, path := range document.files {
			content, err := os.ReadFile(path)
			if err != nil {
				t.Error(err)
			}
			s.Files[name] = content
		}
		list[id] = s
	}
	return list
}

func (p *pile) Leftovers(*testing.T) int { return 0 }

type opened struct {
	pile   *pile
	closed bool
}

var errClosed = errors.New("closed")

func (o *opened) Put(ctx context.Context, d *store.Document) (store.Receipt, error) {
	if err := d.Check(); err != nil {
		return store.Receipt{}, err
	}
	o.pile.mu.Lock()
	defer o.pile.mu.Unlock()
	if receipt, err := o.find(ctx, d.ID); !errors.Is(err, store.ErrNotFound) {
		return receipt, err
	}
	document := piled{files: make(map[string]string)}
	for i := range d.Files {
		path, err := o.pile.write(ctx, &d.Files[i])
		if err != nil {
			return store.Receipt{}, err
		}
		document.files[d.Files[i].Name] = path
	}
	var err error
	if document.description, err = store.MarshalDocument(d); err != nil {
		return store.Receipt{}, err
	}
	o.pile.stored[d.ID] = document
	return store.Receipt{Location: d.ID}, nil
}

func (p *pile) write(ctx context.Context, f *store.File) (path string, err error) {
	w, err := os.CreateTemp(p.dir, "")
	if err != nil {
		return "", err
	}
	return w.Name(), errors.Join(f.Copy(ctx, w), w.Close())
}

func (o *opened) Find(ctx context.Context, k store.Key) (store.Receipt, error) {
	if err := k.Check(); err != nil {
		return store.Receipt{}, err
	}
	o.pile.mu.Lock()
	defer o.pile.mu.Unlock()
	return o.find(ctx, k.ID)
}

func (o *opened) find(ctx context.Context, id string) (store.Receipt, error) {
	if o.closed {
		return store.Receipt{}, errClosed
	}
	if err := ctx.Err(); err != nil {
		return store.Receipt{}, err
	}
	if _, ok := o.pile.stored[id]; !ok {
		return store.Receipt{}, store.ErrNotFound
	}
	return store.Receipt{Location: id}, nil
}

func (o *opened) Close() error {
	o.pile.mu.Lock()
	defer o.pile.mu.Unlock()
	o.closed = true
	return nil
}
