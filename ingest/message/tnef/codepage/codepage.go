// Package codepage decodes text by Windows code page identifiers, the way MAPI
// and RTF name character sets.
package codepage

import (
	"io"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/korean"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/traditionalchinese"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"
)

// ID is a Windows code page identifier.
type ID uint32

// Code pages that are named in code.
const (
	Windows1252 ID = 1252
	UTF16LE     ID = 1200
	UTF8        ID = 65001
)

var encodings = map[ID]encoding.Encoding{
	37: charmap.CodePage037, 437: charmap.CodePage437, 850: charmap.CodePage850, 852: charmap.CodePage852,
	855: charmap.CodePage855, 858: charmap.CodePage858, 860: charmap.CodePage860, 862: charmap.CodePage862,
	863: charmap.CodePage863, 865: charmap.CodePage865, 866: charmap.CodePage866, 874: charmap.Windows874,
	932: japanese.ShiftJIS, 936: simplifiedchinese.GBK, 949: korean.EUCKR, 950: traditionalchinese.Big5,
	1047: charmap.CodePage1047, 1140: charmap.CodePage1140,
	UTF16LE: unicode.UTF16(unicode.LittleEndian, unicode.IgnoreBOM),
	1201:    unicode.UTF16(unicode.BigEndian, unicode.IgnoreBOM),
	1250:    charmap.Windows1250, 1251: charmap.Windows1251, Windows1252: charmap.Windows1252, 1253: charmap.Windows1253,
	1254: charmap.Windows1254, 1255: charmap.Windows1255, 1256: charmap.Windows1256, 1257: charmap.Windows1257,
	1258: charmap.Windows1258, 10000: charmap.Macintosh, 10007: charmap.MacintoshCyrillic,
	// US-ASCII: what is above it is no ASCII, and most likely of Windows.
	20127: charmap.Windows1252,
	20866: charmap.KOI8R, 21866: charmap.KOI8U, 20932: japanese.EUCJP, 20936: simplifiedchinese.GBK,
	20949: korean.EUCKR,
	28591: charmap.ISO8859_1, 28592: charmap.ISO8859_2, 28593: charmap.ISO8859_3, 28594: charmap.ISO8859_4,
	28595: charmap.ISO8859_5, 28596: charmap.ISO8859_6, 28597: charmap.ISO8859_7, 28598: charmap.ISO8859_8,
	28599: charmap.ISO8859_9, 28603: charmap.ISO8859_13, 28605: charmap.ISO8859_15, 38598: charmap.ISO8859_8,
	50220: japanese.ISO2022JP, 50221: japanese.ISO2022JP, 50222: japanese.ISO2022JP,
	51932: japanese.EUCJP, 51936: simplifiedchinese.GBK, 51949: korean.EUCKR, 52936: simplifiedchinese.HZGB2312,
	54936: simplifiedchinese.GB18030, UTF8: unicode.UTF8,
}

// Known reports whether the code page can be decoded.
func Known(cp ID) bool { return encodings[cp] != nil }

// Decode turns text in the code page cp into UTF-8. What does not belong to the
// code page becomes U+FFFD. An unknown code page is taken for Windows-1252,
// which gives every byte a character.
func Decode(cp ID, b []byte) string {
	e := encodings[cp]
	if e == nil {
		e = charmap.Windows1252
	}
	if cp == UTF8 {
		return strings.ToValidUTF8(string(b), "\uFFFD")
	}
	s, err := e.NewDecoder().Bytes(b)
	if err != nil {
		// The decoders replace what they do not know; one that stops short
		// all the same must not lose the rest.
		return strings.ToValidUTF8(string(b), "\uFFFD")
	}
	return string(s)
}

// NewReader is Decode for a stream: it gives UTF-8, without a byte order mark.
func NewReader(cp ID, r io.Reader) io.Reader {
	var d transform.Transformer
	switch e := encodings[cp]; {
	case cp == UTF8:
		d = unicode.UTF8BOM.NewDecoder()
	case e == nil:
		d = charmap.Windows1252.NewDecoder()
	case cp == UTF16LE:
		d = unicode.UTF16(unicode.LittleEndian, unicode.UseBOM).NewDecoder()
	default:
		d = e.NewDecoder()
	}
	return transform.NewReader(r, d)
}

// DecodeLoose is Decode for text whose label is not to be trusted: bytes that
// the code page does not have, but that are UTF-8 as a whole, are read as that.
func DecodeLoose(cp ID, b []byte) string {
	s := Decode(cp, b)
	if strings.ContainsRune(s, utf8.RuneError) && utf8.Valid(b) {
		return string(b)
	}
	return s
}
