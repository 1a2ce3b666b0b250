package rtf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
)

// ErrUnstable: what was written the second time differs from the first.
var ErrUnstable = errors.New("RTF is not the same when it is written again")

// Compress writes RTF as a value of PidTagRtfCompressed (MS-OXRTFCP 2.3). As sizes
// and checksum stand before the contents, it has the RTF written twice, by two
// calls of write that must write the same. The memory it needs does not depend on
// the length. The error is one of w or of write, ErrTooLarge past 2 GiB, or
// ErrUnstable.
func Compress(w io.Writer, write func(io.Writer) error) error {
	pass := func(w io.Writer) (*compressor, error) {
		c := newCompressor(w)
		if err := write(c); err != nil {
			return nil, err
		}
		return c, c.end()
	}
	first, err := pass(io.Discard)
	if err != nil {
		return err
	}
	if first.size > math.MaxInt32 || first.raw > math.MaxInt32 {
		return fmt.Errorf("compress RTF of %d bytes: %w", first.raw, ErrTooLarge)
	}
	head := binary.LittleEndian.AppendUint32(nil, uint32(first.size)+headerSize-4)
	head = binary.LittleEndian.AppendUint32(head, uint32(first.raw))
	head = binary.LittleEndian.AppendUint32(head, typeCompressed)
	head = binary.LittleEndian.AppendUint32(head, first.sum())
	if _, err := w.Write(head); err != nil {
		return err
	}
	second, err := pass(w)
	if err != nil {
		return err
	}
	if second.size != first.size || second.raw != first.raw || second.sum() != first.sum() {
		return ErrUnstable
	}
	return nil
}

const (
	longestMatch = 17
	// farthest is how far back a reference may point: a ring further is the place
	// that is written next, which marks the end.
	farthest = dictionarySize - 1
	// maxTries bounds the matches that are looked at for one place.
	maxTries = 256
	// window is how much input is held.
	window = 64 << 10
)

// compressor compresses what is written to it (MS-OXRTFCP 2.3.3.2).
type compressor struct {
	w    io.Writer
	crc  uint32
	size int64 // of the contents written
	raw  int64

	buf  []byte // initial dictionary and input; what is too far back is dropped
	base int    // position of buf[0], counted from the initial dictionary
	at   int    // index in buf of what is compressed next

	// last has, for each pair of bytes, the position after the one where it
	// was last; prev the one before that, for each position of the ring.
	last []int32
	prev [dictionarySize]int32
	seen int // positions below are in last and prev

	run     [1 + 16]byte // control byte and up to eight tokens
	n       int          // bytes of it
	control byte         // bit of the next token
}

func newCompressor(w io.Writer) *compressor {
	c := &compressor{w: w, crc: math.MaxUint32, last: make([]int32, 1<<16), n: 1, control: 1}
	c.buf = append(make([]byte, 0, window), initialDictionary...)
	c.at = len(c.buf)
	return c
}

func (c *compressor) sum() uint32 { return ^c.crc }

func (c *compressor) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		if c.base > 1<<30 {
			return 0, fmt.Errorf("compress RTF: %w", ErrTooLarge)
		}
		k := min(len(p), cap(c.buf)-len(c.buf))
		c.buf = append(c.buf, p[:k]...)
		c.raw += int64(k)
		p = p[k:]
		if len(c.buf) == cap(c.buf) {
			if err := c.compress(longestMatch); err != nil {
				return 0, err
			}
			drop := c.at - dictionarySize
			c.base += drop
			c.at -= drop
			c.buf = c.buf[:copy(c.buf, c.buf[drop:])]
		}
	}
	return n, nil
}

// end compresses what is left, and marks the end.
func (c *compressor) end() error {
	if c.raw == 0 {
		// Nothing is a null byte (MS-OXRTFCP 2.3.3.2, step 8).
		c.buf = append(c.buf, 0)
	}
	if err := c.compress(1); err != nil {
		return err
	}
	return c.reference(c.base+c.at, 0, true)
}

// compress makes tokens of the input while there are that many bytes of it.
func (c *compressor) compress(need int) error {
	for len(c.buf)-c.at >= need {
		from, n := c.match()
		var err error
		if n < 2 {
			n = 1
			err = c.literal(c.buf[c.at])
		} else {
			err = c.reference(from, n-2, false)
		}
		if err != nil {
			return err
		}
		c.at += n
	}
	return nil
}

// match returns position and length of the longest match, the oldest of several.
func (c *compressor) match() (from, n int) {
	here := c.base + c.at
	for ; c.seen < here; c.seen++ {
		i := c.seen - c.base
		if i+1 >= len(c.buf) {
			break
		}
		pair := binary.LittleEndian.Uint16(c.buf[i:])
		c.prev[c.seen%dictionarySize] = c.last[pair]
		c.last[pair] = int32(c.seen + 1)
	}
	most := min(longestMatch, len(c.buf)-c.at)
	if most < 2 {
		return 0, 0
	}
	ahead := c.buf[c.at : c.at+most]
	p := int(c.last[binary.LittleEndian.Uint16(ahead)]) - 1
	for tries := 0; p >= 0 && here-p <= farthest && tries < maxTries; tries++ {
		old := c.buf[p-c.base:]
		k := 2
		for k < most && old[k] == ahead[k] {
			k++
		}
		if k >= n {
			from, n = p, k
		}
		p = int(c.prev[p%dictionarySize]) - 1
	}
	return from, n
}

func (c *compressor) literal(b byte) error {
	c.run[c.n] = b
	c.n++
	return c.token(false)
}

func (c *compressor) reference(from, length int, last bool) error {
	binary.BigEndian.PutUint16(c.run[c.n:], uint16(from%dictionarySize<<4|length))
	c.n += 2
	c.run[0] |= c.control
	return c.token(last)
}

func (c *compressor) token(last bool) error {
	if c.control <<= 1; c.control != 0 && !last {
		return nil
	}
	b := c.run[:c.n]
	c.crc = crc32.Update(c.crc, crc32.IEEETable, b)
	c.size += int64(len(b))
	_, err := c.w.Write(b)
	c.run[0], c.n, c.control = 0, 1, 1
	return err
}
