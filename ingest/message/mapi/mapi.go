// Package mapi reads and writes the values that TNEF and .msg files have in
// common.
package mapi

import (
	"bytes"
	"encoding/binary"
	"time"
	"unicode/utf16"

	"postroom/ingest/message/tnef/codepage"
)

// epoch is 1601-01-01 in seconds before 1970.
const epoch = 11644473600

// Time returns a FILETIME (MS-DTYP 2.3.3) in UTC; zero for 0, and from the year
// 10000 on, as some are that say never.
func Time(v uint64) time.Time {
	const year10000 = 2650467744000000000
	if v == 0 || v >= year10000 {
		return time.Time{}
	}
	return time.Unix(int64(v/1e7)-epoch, int64(v%1e7)*100).UTC()
}

// FileTime returns a time as FILETIME, 0 if it is zero or none that Time returns.
func FileTime(t time.Time) uint64 {
	s := t.Unix() + epoch
	if t.IsZero() || s <= 0 || t.Year() > 9999 {
		return 0
	}
	return uint64(s)*1e7 + uint64(t.Nanosecond()/100)
}

// DecodeUTF16 returns UTF-16LE as UTF-8, without a byte order mark. An odd byte at
// the end is passed over, what is no character is U+FFFD.
func DecodeUTF16(b []byte) string {
	units := make([]uint16, len(b)/2)
	for i := range units {
		units[i] = binary.LittleEndian.Uint16(b[2*i:])
	}
	if len(units) > 0 && units[0] == 0xFEFF {
		units = units[1:]
	}
	return string(utf16.Decode(units))
}

// AppendUTF16 appends a text in UTF-16LE; what is no UTF-8 in it is U+FFFD.
func AppendUTF16(b []byte, s string) []byte {
	for _, r := range s {
		b = AppendRune(b, r)
	}
	return b
}

// AppendRune appends a character in UTF-16LE.
func AppendRune(b []byte, r rune) []byte {
	if r < 0x10000 {
		return append(b, byte(r), byte(r>>8))
	}
	hi, lo := utf16.EncodeRune(r)
	return append(b, byte(hi), byte(hi>>8), byte(lo), byte(lo>>8))
}

// OneOff is the entry identifier of somebody who is in no address book (MS-OXCDATA
// 2.2.5.1).
type OneOff struct {
	Name, Type, Address string
}

// oneOffProvider tells such identifiers from others.
var oneOffProvider = []byte{0x81, 0x2B, 0x1F, 0xA4, 0xBE, 0xA3, 0x10, 0x19, 0x9D, 0x6E, 0x00, 0xDD, 0x01, 0x0F, 0x54, 0x02}

const (
	headOfOneOff = 24
	wideOneOff   = 0x8000 // a flag: in Unicode
)

// ParseOneOff reads such an identifier, false if it is none. In one without Unicode
// page is what texts are in.
func ParseOneOff(b []byte, page codepage.ID) (o OneOff, ok bool) {
	if len(b) < headOfOneOff || !bytes.Equal(b[4:20], oneOffProvider) {
		return o, false
	}
	wide := binary.LittleEndian.Uint16(b[22:])&wideOneOff != 0
	b = b[headOfOneOff:]
	for _, s := range []*string{&o.Name, &o.Type, &o.Address} {
		if wide {
			n := 0
			for n+1 < len(b) && (b[n] != 0 || b[n+1] != 0) {
				n += 2
			}
			*s, b = DecodeUTF16(b[:n]), b[min(n+2, len(b)):]
			continue
		}
		n := bytes.IndexByte(b, 0)
		if n < 0 {
			n = len(b)
		}
		*s, b = codepage.DecodeLoose(page, b[:n]), b[min(n+1, len(b)):]
	}
	return o, true
}

// Bytes returns the identifier in Unicode, for mail without rich text. NUL in a
// text is left out.
func (o OneOff) Bytes() []byte {
	b := make([]byte, 4, headOfOneOff+6+2*(len(o.Name)+len(o.Type)+len(o.Address)))
	b = append(b, oneOffProvider...)
	b = binary.LittleEndian.AppendUint32(b, (wideOneOff|1)<<16)
	for _, s := range []string{o.Name, o.Type, o.Address} {
		for _, r := range s {
			if r != 0 {
				b = AppendRune(b, r)
			}
		}
		b = append(b, 0, 0)
	}
	return b
}
