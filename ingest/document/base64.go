package document

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"sync"

	"postroom/ingest/message"
)

// blockChars is how many characters of base64 a block has.
const blockChars = 64 << 10

const blockSize = blockChars / 4 * 3

// maxBlock is how many bytes a block may take with its white space, to be read
// where it is.
const maxBlock = 1 << 20

// clean is base64 (RFC 2045 6.8) with nothing in it that is none: decoding it
// loses nothing. It can be read from anywhere, and concurrently.
type clean struct {
	raw    io.ReaderAt
	blocks []int64 // where each begins; then the end
	size   int64   // of what it stands for

	mu    sync.Mutex
	at    int    // of block
	block []byte // decoded; nil if none was
}

// classes of characters
const (
	digit64 = iota + 1
	padding64
	white64
)

var class64 = func() (t [256]byte) {
	for _, c := range "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/" {
		t[c] = digit64
	}
	t['='] = padding64
	for _, c := range " \t\r\n" {
		t[c] = white64
	}
	return t
}()

// cleanBase64 returns the base64 of a range, nil if there is something else in
// it. It reads it into buf.
func cleanBase64(ctx context.Context, raw io.ReaderAt, r message.Range, buf []byte) (*clean, error) {
	c := &clean{raw: raw, blocks: []int64{r.Start}}
	digits, padding := int64(0), 0
	for off := r.Start; off < r.End; {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		b := buf[:min(int64(len(buf)), r.End-off)]
		if n, err := raw.ReadAt(b, off); n < len(b) {
			if err == nil || errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
		for i, x := range b {
			switch class64[x] {
			case digit64:
				if padding > 0 {
					return nil, nil
				}
				if digits++; digits%blockChars == 0 {
					c.blocks = append(c.blocks, off+int64(i)+1)
				}
			case padding64:
				padding++
			case white64:
			default:
				return nil, nil
			}
		}
		off += int64(len(b))
	}
	rest := digits % 4
	if rest == 1 || padding > 2 {
		return nil, nil
	}
	c.blocks = append(c.blocks, r.End)
	c.size = digits/4*3 + max(rest-1, 0)
	return c, nil
}

// seekable reports whether reading from anywhere costs little.
func (c *clean) seekable() bool {
	for i := range c.blocks[1:] {
		if c.blocks[i+1]-c.blocks[i] > maxBlock {
			return false
		}
	}
	return true
}

// ReadAt implements io.ReaderAt for what the base64 stands for.
func (c *clean) ReadAt(p []byte, off int64) (n int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for n < len(p) {
		at := off + int64(n)
		if at >= c.size {
			return n, io.EOF
		}
		block, err := c.load(int(at / blockSize))
		if err != nil {
			return n, err
		}
		n += copy(p[n:], block[at%blockSize:])
	}
	return n, nil
}

func (c *clean) load(i int) ([]byte, error) {
	if c.block != nil && c.at == i {
		return c.block, nil
	}
	c.block = nil
	raw := make([]byte, c.blocks[i+1]-c.blocks[i])
	if n, err := c.raw.ReadAt(raw, c.blocks[i]); n < len(raw) {
		if err == nil || errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	digits := raw[:0]
	for _, x := range raw {
		if class64[x] == digit64 {
			digits = append(digits, x)
		}
	}
	block := make([]byte, base64.RawStdEncoding.DecodedLen(len(digits)))
	if _, err := base64.RawStdEncoding.Decode(block, digits); err != nil {
		return nil, err
	}
	c.at, c.block = i, block
	return block, nil
}
