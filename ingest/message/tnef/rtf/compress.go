// Package rtf reads and writes the RTF of mail bodies as Outlook keeps them: compressed
// (MS-OXRTFCP), and often only a wrapping of the HTML or plain text that the
// mail was written in (MS-OXRTFEX).
package rtf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// The header of compressed RTF (MS-OXRTFCP 2.1.3.1.1).
const (
	headerSize       = 16
	typeCompressed   = 0x75465A4C // "LZFu"
	typeUncompressed = 0x414C454D // "MELA"
)

// dictionarySize is the size of the ring of recent output that references point
// into (MS-OXRTFCP 2.1.3.1.4).
const dictionarySize = 4096

// initialDictionary is what the ring holds before the first byte (MS-OXRTFCP
// 2.1.2.1).
const initialDictionary = `{\rtf1\ansi\mac\deff0\deftab720{\fonttbl;}{\f0\fnil \froman \fswiss \fmodern \fscript \fdecor ` +
	`MS Sans SerifSymbolArialTimes New RomanCourier{\colortbl\red0\green0\blue0` + "\r\n" +
	`\par \pard\plain\f0\fs20\b\i\u\tab\tx`

// Errors of Decompress.
var (
	// ErrFormat: the data is no compressed RTF.
	ErrFormat = errors.New("not compressed RTF")
	// ErrChecksum: the data was decompressed, but its checksum is another.
	ErrChecksum = errors.New("checksum of compressed RTF does not match")
	// ErrTruncated: the data ends before its own end; what came before is there.
	ErrTruncated = errors.New("compressed RTF is cut short")
	// ErrTooLarge: the RTF exceeds the limit; its beginning is there.
	ErrTooLarge = errors.New("RTF is too large")
)

// Decompress gives the RTF that a value of PidTagRtfCompressed holds (MS-OXRTFCP
// 2.1.3.1, 2.2.3), of at most limit bytes. It is at most nine times as long as the
// data.
//
// With ErrChecksum, ErrTruncated and ErrTooLarge the result is what could be
// decompressed.
func Decompress(data []byte, limit int) ([]byte, error) {
	if len(data) < headerSize {
		return nil, fmt.Errorf("%w: %d bytes are shorter than its header", ErrFormat, len(data))
	}
	size := int64(binary.LittleEndian.Uint32(data)) // of what follows this field
	raw := int64(binary.LittleEndian.Uint32(data[4:]))
	kind := binary.LittleEndian.Uint32(data[8:])
	sum := binary.LittleEndian.Uint32(data[12:])
	contents := data[headerSize:]
	// COMPSIZE counts the twelve bytes of the header that follow it.
	var short error
	switch want := size - (headerSize - 4); {
	case want > int64(len(contents)):
		short = fmt.Errorf("%w: %d of %d bytes", ErrTruncated, len(contents), want)
	case want >= 0:
		contents = contents[:want]
	}
	switch kind {
	case typeUncompressed:
		if raw > int64(len(contents)) {
			// COMPSIZE is wrong in some writers; RAWSIZE tells.
			contents = data[headerSize:]
		}
		if raw > int64(len(contents)) {
			return contents, fmt.Errorf("%w: %d of %d bytes", ErrTruncated, len(contents), raw)
		}
		if raw > int64(limit) {
			return contents[:limit], ErrTooLarge
		}
		return contents[:raw], nil
	case typeCompressed:
	default:
		return nil, fmt.Errorf("%w: type %#08x", ErrFormat, kind)
	}
	out, ended := expand(contents, raw, limit)
	switch {
	case len(out) > limit:
		return out[:limit], ErrTooLarge
	case short != nil:
		return out, short
	case !ended && int64(len(out)) < raw:
		return out, fmt.Errorf("%w: %d of %d bytes come of it", ErrTruncated, len(out), raw)
	case Checksum(contents) != sum:
		return out, ErrChecksum
	}
	return out, nil
}

// expand decompresses (MS-OXRTFCP 2.2.3.2). It ends at the reference to the
// place that is written next, which is the mark of the end, and says whether it
// met it; it stops soon after limit. RAWSIZE is not believed, but what exceeds it is dropped, since some
// writers pad the last run with NUL.
func expand(in []byte, raw int64, limit int) (out []byte, ended bool) {
	var ring [dictionarySize]byte
	at := copy(ring[:], initialDictionary)
	put := func(b byte) {
		out = append(out, b)
		ring[at] = b
		at = (at + 1) % dictionarySize
	}
	// Each control byte says of the eight tokens after it, lowest bit first,
	// whether they are references or literals.
	for i := 0; i < len(in) && len(out) <= limit; {
		control := in[i]
		i++
		for bit := 0; bit < 8; bit++ {
			if control>>bit&1 == 0 {
				if i >= len(in) {
					return cut(out, raw), false
				}
				put(in[i])
				i++
				continue
			}
			if i+1 >= len(in) {
				return cut(out, raw), false
			}
			ref := int(binary.BigEndian.Uint16(in[i:]))
			i += 2
			from, n := ref>>4, ref&0xF+2
			if from == at {
				return cut(out, raw), true
			}
			for ; n > 0; n-- {
				put(ring[from])
				from = (from + 1) % dictionarySize
			}
		}
	}
	return cut(out, raw), false
}

// cut drops trailing NULs that exceed the size which the header states.
func cut(out []byte, raw int64) []byte {
	for int64(len(out)) > raw && out[len(out)-1] == 0 {
		out = out[:len(out)-1]
	}
	return out
}

// Checksum is the CRC of compressed contents (MS-OXRTFCP 2.1.3.2): that of
// IEEE 802.3 without inversion before and after.
func Checksum(b []byte) uint32 { return ^crc32.Update(^uint32(0), crc32.IEEETable, b) }
