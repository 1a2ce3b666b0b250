package message

import (
	"context"
	"crypto/sha256"
	"hash"
	"io"
	"sync"
)

// Sum is what a part holds, in short.
type Sum struct {
	Size   int64    // of its content, in bytes
	SHA256 [32]byte // of its content
	// Exact is false if the content is not all that stands in the body: base64
	// (RFC 2045 6.8) with something in it, or after it, that is none.
	Exact bool
}

// sums are those of the parts that were read for it.
type sums struct {
	mu sync.Mutex
	of map[*Part]Sum
}

// Sum returns the sum of a part's content, which is read the first time. The
// error is one of raw or of the context. Memory does not grow with the content.
func (m *Message) Sum(ctx context.Context, p *Part) (Sum, error) {
	m.sums.mu.Lock()
	s, ok := m.sums.of[p]
	m.sums.mu.Unlock()
	if ok {
		return s, nil
	}
	s, err := m.sum(ctx, p)
	if err != nil {
		return Sum{}, err
	}
	m.sums.mu.Lock()
	defer m.sums.mu.Unlock()
	if m.sums.of == nil {
		m.sums.of = map[*Part]Sum{}
	}
	m.sums.of[p] = s
	return s, nil
}

func (m *Message) sum(ctx context.Context, p *Part) (s Sum, err error) {
	h := hashes.Get().(hash.Hash)
	defer hashes.Put(h)
	h.Reset()
	r := m.open(ctx, p)
	d, ok := r.(*decoder)
	if !ok {
		s.Exact = true
		s.Size, err = copyRaw(ctx, h, r)
		h.Sum(s.SHA256[:0])
		return s, err
	}
	defer d.release()
	if s.Size, err = d.writeTo(h); err != nil {
		return s, err
	}
	h.Sum(s.SHA256[:0])
	if d.base == nil {
		s.Exact = true
		return s, nil
	}
	// What follows where the data ended.
	for f := d.lines.next(); f != nil && !d.base.other; f = d.lines.next() {
		d.base.count(f.data)
	}
	s.Exact = d.base.exact(s.Size)
	return s, d.lines.readErr()
}

var hashes = sync.Pool{New: func() any { return sha256.New() }}

// copyRaw copies bytes that are not encoded.
func copyRaw(ctx context.Context, w io.Writer, r io.Reader) (n int64, err error) {
	block := blocks.Get().(*[scanSize]byte)
	defer blocks.Put(block)
	for {
		if err := ctx.Err(); err != nil {
			return n, err
		}
		k, err := r.Read(block[:])
		if _, err := w.Write(block[:k]); err != nil {
			return n, err
		}
		n += int64(k)
		switch err {
		case nil:
		case io.EOF:
			return n, nil
		default:
			return n, err
		}
	}
}
