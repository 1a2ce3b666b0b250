package message

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"sync"
)

// OpenAt returns the content of a part, as Open does, to be read from anywhere,
// and its size. It is nil if that would take more than that many bytes of memory:
// content in any encoding but base64, and base64 with damage in it, is held.
// Otherwise the memory it needs does not depend on the content. It reads the part
// once.
func (m *Message) OpenAt(p *Part, memory int64) (content io.ReaderAt, size int64, err error) {
	switch p.Encoding {
	case Identity:
		return m.Raw(p.Body), p.Body.Len(), nil
	case Base64:
		x, err := m.indexBase64(p.Body)
		if err != nil {
			return nil, 0, err
		}
		if x != nil {
			return x, x.size, nil
		}
	}
	b, err := io.ReadAll(io.LimitReader(m.Open(p), memory+1))
	if err != nil {
		return nil, 0, err
	}
	if int64(len(b)) > memory {
		return nil, 0, nil
	}
	return bytes.NewReader(b), int64(len(b)), nil
}

// A piece is that many characters of base64, and at most that many bytes with the
// white space among them.
const (
	pieceChars = 16 << 10
	pieceSize  = pieceChars / 4 * 3
	maxPiece   = 256 << 10
)

// base64Index is base64 (RFC 2045 6.8) with nothing in it that is none.
type base64Index struct {
	raw    io.ReaderAt
	starts []int64 // where each piece begins; then the end
	size   int64

	mu   sync.Mutex
	at   int // the piece that is decoded
	data []byte
}

// indexBase64 returns nil for base64 that has to be decoded from its beginning.
func (m *Message) indexBase64(r Range) (*base64Index, error) {
	x := &base64Index{raw: m.raw, starts: []int64{r.Start}, at: -1}
	digits, padding := int64(0), 0
	buf := make([]byte, 32<<10)
	for off := r.Start; off < r.End; {
		b := buf[:min(int64(len(buf)), r.End-off)]
		if _, err := io.ReadFull(m.Raw(Range{off, r.End}), b); err != nil {
			return nil, err
		}
		for i, c := range b {
			switch {
			case c == '=':
				padding++
			case c == ' ' || c == '\t' || c == '\r' || c == '\n':
			case padding > 0 || !isBase64(c):
				return nil, nil
			default:
				if digits++; digits%pieceChars == 0 {
					x.starts = append(x.starts, off+int64(i)+1)
				}
			}
		}
		off += int64(len(b))
		if off-x.starts[len(x.starts)-1] > maxPiece {
			return nil, nil
		}
	}
	rest := digits % 4
	if rest == 1 || padding > 2 {
		return nil, nil
	}
	x.starts = append(x.starts, r.End)
	x.size = digits/4*3 + max(rest-1, 0)
	return x, nil
}

func isBase64(c byte) bool {
	return 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '+' || c == '/'
}

// ReadAt implements io.ReaderAt.
func (x *base64Index) ReadAt(p []byte, off int64) (n int, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for n < len(p) {
		at := off + int64(n)
		if at >= x.size {
			return n, io.EOF
		}
		if err := x.load(int(at / pieceSize)); err != nil {
			return n, err
		}
		n += copy(p[n:], x.data[at%pieceSize:])
	}
	return n, nil
}

func (x *base64Index) load(i int) error {
	if x.at == i {
		return nil
	}
	x.at = -1
	raw := make([]byte, x.starts[i+1]-x.starts[i])
	if n, err := x.raw.ReadAt(raw, x.starts[i]); n < len(raw) {
		if err == nil || errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	digits := raw[:0]
	for _, c := range raw {
		if isBase64(c) {
			digits = append(digits, c)
		}
	}
	x.data = append(x.data[:0], make([]byte, base64.RawStdEncoding.DecodedLen(len(digits)))...)
	if _, err := base64.RawStdEncoding.Decode(x.data, digits); err != nil {
		return err
	}
	x.at = i
	return nil
}
