package simulation

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"time"

	"postroom/store"
)

// repository is a process's view of the repository. As one that keeps documents
// in folders does, it looks for a document where its key says: under its source
// and date.
type repository struct{ p *process }

// filed is a document in the repository.
type filed struct {
	store.Key
	box     *box
	raw     string
	receipt store.Receipt
}

func (r repository) Put(ctx context.Context, d *store.Document) (store.Receipt, error) {
	w := r.p.world
	raw, err := readFile(d)
	if err != nil {
		return store.Receipt{}, err
	}
	b, c := r.p.whose(d.Origin.Source, raw)
	var receipt store.Receipt
	name := fmt.Sprintf("put %s %s", b, digest(raw))
	err = r.p.do(ctx, operation{kind: onRepository, box: b, name: name, message: true}, func(fate) error {
		k := d.Key()
		if known := w.documents[d.ID]; known != nil {
			if known.Source != k.Source || !known.Received.Equal(k.Received) {
				w.violated(Twice, []string{digest(raw)}, "document %.12s of %s is put under %s %v, and is under %s %v already",
					d.ID, b, k.Source, k.Received, known.Source, known.Received)
			}
			receipt = known.receipt
			return nil
		}
		if c != nil && time.Now().Before(c.refused) {
			return fmt.Errorf("put %.12s: %w", d.ID, store.ErrRefused)
		}
		receipt = store.Receipt{Location: k.Source + "/" + d.ID}
		if w.slips(LosesDocument, name) {
			return nil
		}
		if w.slips(CutsDocument, name) {
			raw = raw[:len(raw)/2]
		}
		w.documents[d.ID] = &filed{k, b, raw, receipt}
		return nil
	})
	if err != nil {
		return store.Receipt{}, err
	}
	return receipt, nil
}

func (r repository) Find(ctx context.Context, k store.Key) (store.Receipt, error) {
	var receipt store.Receipt
	b, _ := r.p.whose(k.Source, "")
	err := r.p.do(ctx, operation{kind: onRepository, box: b, name: "find " + k.ID[:12], message: true}, func(fate) error {
		d := r.p.world.documents[k.ID]
		if d == nil || r.p.world.slips(DeniesDocument, "find") || d.Source != k.Source || !d.Received.Equal(k.Received) {
			return fmt.Errorf("find %.12s: %w", k.ID, store.ErrNotFound)
		}
		receipt = d.receipt
		return nil
	})
	return receipt, err
}

func (r repository) Close() error { return nil }

// whose returns the mailbox that is, or was, called so, and what is known of
// the bytes there, nil if nothing is.
func (p *process) whose(source, raw string) (*box, *content) {
	p.world.mu.Lock()
	defer p.world.mu.Unlock()
	for _, b := range p.world.boxes {
		if b.called(source) {
			return b, b.known[raw]
		}
	}
	panic("no mailbox is called " + source)
}

// readFile returns the bytes of the only file of a document.
func readFile(d *store.Document) (string, error) {
	if len(d.Files) != 1 {
		return "", fmt.Errorf("document has %d files: %w", len(d.Files), store.ErrRefused)
	}
	f := d.Files[0]
	in, err := f.Open()
	if err != nil {
		return "", err
	}
	defer in.Close()
	raw, err := io.ReadAll(in)
	if err != nil {
		return "", err
	}
	if int64(len(raw)) != f.Size || sha256.Sum256(raw) != f.SHA256 {
		return "", store.ErrContent
	}
	return string(raw), nil
}

// digest names bytes in a trace.
func digest(raw string) string {
	sum := sha256.Sum256([]byte(raw))
	return fmt.Sprintf("%x", sum[:4])
}
