package pop3

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
	"strings"

	"postroom/sources"
)

const (
	// maxSingle is how many messages a cursor names one by one.
	maxSingle = 2048
	// groups is into how many groups the messages of a larger maildrop fall.
	groups = 1024
)

// covered is what a cursor says: which messages have been listed. It has the same
// size however many there are.
//
// Up to maxSingle messages are named each, by the first eight bytes of the SHA-256
// of its key. More fall into groups, by that number, and of each group the cursor
// has the sum: a group in which anything has come or gone is listed as a whole, and
// the ledger tells what is new of it.
type covered struct {
	single map[uint64]bool
	sums   []uint64 // nil while single is in use
}

func hashOf(key []byte) uint64 {
	sum := sha256.Sum256(key)
	return binary.BigEndian.Uint64(sum[:8])
}

func (c *covered) add(h uint64) {
	switch {
	case c.sums != nil:
		c.sums[h%groups] += h
	case c.single[h]:
	case len(c.single) < maxSingle:
		if c.single == nil {
			c.single = make(map[uint64]bool)
		}
		c.single[h] = true
	default:
		c.sums = make([]uint64, groups)
		for old := range c.single {
			c.sums[old%groups] += old
		}
		c.sums[h%groups] += h
		c.single = nil
	}
}

// remove takes back one that was added.
func (c *covered) remove(h uint64) {
	if c.sums != nil {
		c.sums[h%groups] -= h
		return
	}
	delete(c.single, h)
}

func (c *covered) clone() covered {
	return covered{maps.Clone(c.single), slices.Clone(c.sums)}
}

// compare splits the messages of a maildrop, given by the hashes of their keys, into
// those that are covered and the positions of the others.
func (c *covered) compare(hashes []uint64) (still covered, left []int32) {
	var now []uint64
	if c.sums != nil {
		now = make([]uint64, groups)
		for _, h := range hashes {
			now[h%groups] += h
		}
	}
	for i, h := range hashes {
		if c.single[h] || now != nil && now[h%groups] == c.sums[h%groups] {
			still.add(h)
		} else {
			left = append(left, int32(i))
		}
	}
	return still, left
}

// cursor returns the text: the kind, the numbers in Base64, and a checksum, so that
// what is no cursor of this driver covers nothing.
func (c *covered) cursor() sources.Cursor {
	kind, numbers := "each", c.sums
	if c.sums == nil {
		numbers = slices.Sorted(maps.Keys(c.single))
	} else {
		kind = "sums"
	}
	raw := make([]byte, 0, 8*len(numbers))
	for _, n := range numbers {
		raw = binary.BigEndian.AppendUint64(raw, n)
	}
	text := kind + ";" + base64.RawURLEncoding.EncodeToString(raw)
	return sources.Cursor(fmt.Sprintf("%s;%08x", text, crc32.ChecksumIEEE([]byte(text))))
}

// parseCursor reads a cursor. One that cannot be read covers nothing.
func parseCursor(cursor sources.Cursor) covered {
	parts := strings.Split(string(cursor), ";")
	if len(parts) != 3 || fmt.Sprintf("%08x", crc32.ChecksumIEEE([]byte(parts[0]+";"+parts[1]))) != parts[2] {
		return covered{}
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || len(raw)%8 != 0 {
		return covered{}
	}
	var c covered
	switch {
	case parts[0] == "sums" && len(raw) == 8*groups:
		c.sums = make([]uint64, groups)
		for i := range c.sums {
			c.sums[i] = binary.BigEndian.Uint64(raw[8*i:])
		}
	case parts[0] == "each" && len(raw) <= 8*maxSingle:
		for ; len(raw) > 0; raw = raw[8:] {
			c.add(binary.BigEndian.Uint64(raw))
		}
	}
	return c
}
