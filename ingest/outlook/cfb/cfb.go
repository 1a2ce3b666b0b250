// Package cfb writes and reads compound files (MS-CFB): the container of .msg
// and of other files of Microsoft Office, a tree of storages and streams.
//
// Writer writes version 3 (sectors of 512 bytes) in one pass from the beginning
// to the end, but for the header, which comes last. Open reads files of versions
// 3 and 4 and says of each rule of MS-CFB that is broken that it is; OpenLenient
// reads those of the world.
package cfb

import (
	"errors"
	"fmt"
	"unicode"
	"unicode/utf16"
)

// CLSID is a class identifier as it stands in a file (MS-DTYP 2.3.4.2).
type CLSID [16]byte

// MaxSize is the size in bytes that a file of version 3 may have. It stays below
// the bytes at the end of 2 GiB that programs lock (MS-CFB 2.8).
const MaxSize = 1<<31 - 512

// MaxName is the longest name of a storage or stream in units of UTF-16.
const MaxName = 31

// Errors of a Writer.
var (
	// ErrTooLarge: the file would exceed MaxSize.
	ErrTooLarge = errors.New("compound file would exceed 2 GiB")
	// ErrName: a name that no storage or stream can have, or that another has.
	ErrName = errors.New("not a name in a compound file")
)

const (
	signature = "\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"

	sectorSize = 512
	miniSize   = 64
	cutoff     = 4096 // a stream of less is in the mini stream
	entrySize  = 128

	inHeader = 109 // FAT sectors that the header lists

	freeSector  uint32 = 0xFFFFFFFF
	endOfChain  uint32 = 0xFFFFFFFE
	fatSector   uint32 = 0xFFFFFFFD
	difatSector uint32 = 0xFFFFFFFC
	maxRegular  uint32 = 0xFFFFFFFA
	noStream    uint32 = 0xFFFFFFFF

	typeFree    = 0
	typeStorage = 1
	typeStream  = 2
	typeRoot    = 5

	red   = 0
	black = 1

	rootName = "Root Entry"
)

// key is a name as names are compared (MS-CFB 2.6.4): first by length, then by
// units of UTF-16 in upper case.
type key string

// keyOf returns the key of a name that is given in UTF-16.
func keyOf(name []uint16) key {
	var held [longestKey]byte // longer ones are none of a file
	return key(appendKey(held[:0], name))
}

// longestKey is how long the key of a name of a file can be.
const longestKey = 2 + 2*MaxName

func appendKey(b []byte, name []uint16) []byte {
	b = append(b, byte(len(name)>>8), byte(len(name)))
	for _, u := range name {
		if u < unicode.MaxASCII {
			if 'a' <= u && u <= 'z' {
				u -= 'a' - 'A'
			}
			b = append(b, 0, byte(u))
			continue
		}
		// Halves of surrogate pairs are left as they are.
		if r := unicode.ToUpper(rune(u)); r < 0x10000 && !utf16.IsSurrogate(rune(u)) {
			u = uint16(r)
		}
		b = append(b, byte(u>>8), byte(u))
	}
	return b
}

// appendName appends a name in UTF-16.
func appendName(units []uint16, name string) ([]uint16, error) {
	for _, r := range name {
		switch r {
		case '/', '\\', ':', '!', 0:
			return nil, fmt.Errorf(`%w: / \ : ! and NUL cannot be in %q`, ErrName, name)
		}
		units = utf16.AppendRune(units, r)
	}
	switch {
	case name == "":
		return nil, fmt.Errorf("%w: it is empty", ErrName)
	case len(units) > MaxName:
		return nil, fmt.Errorf("%w: %q is longer than %d characters", ErrName, name, MaxName)
	}
	return units, nil
}
