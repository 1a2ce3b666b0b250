package message

import (
	"bytes"
	"strings"
	"sync"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/encoding/ianaindex"
	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/korean"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/traditionalchinese"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/encoding/unicode/utf32"
	"golang.org/x/text/transform"
)

// charset is a way of reading bytes as text.
type charset struct {
	name    string // as IANA has it, in lower case
	decoder func() transform.Transformer
	ascii   bool // has no bytes from 0x80 on
	single  bool // any bytes are text in it, so that fitting says nothing
}

// superset reports whether ASCII, without the bytes of ISO 2022, is itself in
// the charset; that others are not is not said.
func (c *charset) superset() bool {
	return c.ascii || c.name == "utf-8" || c.single && (strings.HasPrefix(c.name, "iso-8859-") || strings.HasPrefix(c.name, "windows-"))
}

// decode returns b as UTF-8, with U+FFFD for what is no text in the charset.
func (c *charset) decode(b []byte) string {
	t := c.decoder()
	t.Reset()
	block := blocks.Get().(*[scanSize]byte)
	defer blocks.Put(block)
	var out strings.Builder
	for rest := b; ; {
		nDst, nSrc, err := t.Transform(block[:], rest, true)
		rest = rest[nSrc:]
		switch {
		case err == transform.ErrShortDst:
			out.Write(block[:nDst])
		case err != nil:
			return strings.ToValidUTF8(string(b), "\ufffd")
		case out.Len() == 0:
			return string(block[:nDst])
		default:
			out.Write(block[:nDst])
			return out.String()
		}
	}
}

// The charsets of golang.org/x/text and the names by which mail calls them,
// besides those of the IANA and WHATWG tables. Names are compared without case
// and punctuation.
var charsets = sync.OnceValue(func() map[string]*charset {
	table := map[string]*charset{}
	add := func(c *charset, names ...string) {
		for _, n := range append(names, c.name) {
			table[charsetKey(n)] = c
		}
	}
	enc := func(name string, e encoding.Encoding, names ...string) *charset {
		_, single := e.(*charmap.Charmap)
		c := &charset{name: name, decoder: func() transform.Transformer { return &tolerant{e.NewDecoder()} }, single: single}
		add(c, names...)
		return c
	}
	enc("us-ascii", charmap.Windows1252, "ascii", "ansi_x3.4-1968", "iso646-us", "iso_646.irv:1991", "cp367", "us", "646", "usascii", "x-ascii").ascii = true
	enc("utf-8", unicode.UTF8, "utf8", "unicode-1-1-utf-8", "x-utf_8j", "utf8mb4", "utf-8n", "cp65001", "65001", "unicode-2-0-utf-8")
	enc("utf-16", unicode.UTF16(unicode.BigEndian, unicode.UseBOM), "unicode", "iso-10646-ucs-2", "ucs-2", "csunicode", "iso-10646")
	enc("utf-16le", unicode.UTF16(unicode.LittleEndian, unicode.UseBOM), "cp1200", "ucs-2le", "unicodelittle")
	enc("utf-16be", unicode.UTF16(unicode.BigEndian, unicode.UseBOM), "cp1201", "ucs-2be", "unicodebig")
	enc("utf-32", utf32.UTF32(utf32.BigEndian, utf32.UseBOM), "ucs-4", "iso-10646-ucs-4")
	enc("utf-32le", utf32.UTF32(utf32.LittleEndian, utf32.UseBOM), "cp12000", "ucs-4le")
	enc("utf-32be", utf32.UTF32(utf32.BigEndian, utf32.UseBOM), "cp12001", "ucs-4be")
	add(&charset{name: "utf-7", decoder: func() transform.Transformer { return &utf7Decoder{} }},
		"unicode-1-1-utf-7", "x-unicode-2-0-utf-7", "csutf7", "cp65000", "65000", "unicode-2-0-utf-7")

	// Mail says iso-8859-1 and means windows-1252, whose printable characters
	// are in the place of control characters (as HTML has it); the same for
	// iso-8859-9 and -11.
	enc("windows-1252", charmap.Windows1252, "cp1252", "1252", "ansi", "x-cp1252", "windows1252", "win-1252", "x-ansi", "ms-ansi", "cp-1252")
	for _, n := range []string{"iso-8859-1", "latin1", "l1", "iso8859-1", "8859-1", "iso_8859-1:1987", "iso-ir-100", "cp819", "ibm819", "iso-8859", "iso-latin-1", "x-iso-8859-1", "latin-1", "cs-iso-latin1", "iso-8851-1", "iso8559-1", "iso-8559-1"} {
		table[charsetKey(n)] = &charset{name: "iso-8859-1", decoder: table["windows1252"].decoder, single: true}
	}
	for name, e := range map[string]encoding.Encoding{
		"windows-1250": charmap.Windows1250, "windows-1251": charmap.Windows1251, "windows-1253": charmap.Windows1253,
		"windows-1254": charmap.Windows1254, "windows-1255": charmap.Windows1255, "windows-1256": charmap.Windows1256,
		"windows-1257": charmap.Windows1257, "windows-1258": charmap.Windows1258, "windows-874": charmap.Windows874,
	} {
		n := strings.TrimPrefix(name, "windows-")
		enc(name, e, "cp"+n, n, "win"+n, "x-cp"+n, "ms"+n)
	}
	enc("windows-874", charmap.Windows874, "tis-620", "iso-8859-11", "tis620.2533", "dos-874", "cp874", "ms874")
	for name, e := range map[string]encoding.Encoding{
		"ibm037": charmap.CodePage037, "ibm437": charmap.CodePage437, "ibm850": charmap.CodePage850, "ibm852": charmap.CodePage852,
		"ibm855": charmap.CodePage855, "ibm00858": charmap.CodePage858, "ibm860": charmap.CodePage860,
		"ibm862": charmap.CodePage862, "ibm863": charmap.CodePage863, "ibm865": charmap.CodePage865,
		"ibm866": charmap.CodePage866, "ibm1047": charmap.CodePage1047, "ibm01140": charmap.CodePage1140,
	} {
		n := strings.TrimLeft(strings.TrimPrefix(name, "ibm"), "0")
		enc(name, e, "cp"+n, "ibm"+n, "ibm-"+n, "cp0"+n, "cp00"+n, "oem"+n, "dos-"+n)
	}
	for n, e := range map[string]encoding.Encoding{
		"2": charmap.ISO8859_2, "3": charmap.ISO8859_3, "4": charmap.ISO8859_4, "5": charmap.ISO8859_5, "6": charmap.ISO8859_6,
		"7": charmap.ISO8859_7, "8": charmap.ISO8859_8, "9": charmap.Windows1254, "10": charmap.ISO8859_10,
		"13": charmap.ISO8859_13, "14": charmap.ISO8859_14, "15": charmap.ISO8859_15, "16": charmap.ISO8859_16,
		"6-e": charmap.ISO8859_6E, "6-i": charmap.ISO8859_6I, "8-e": charmap.ISO8859_8E, "8-i": charmap.ISO8859_8I,
	} {
		enc("iso-8859-"+n, e, "iso8859-"+n, "8859-"+n, "x-iso-8859-"+n)
	}
	enc("iso-8859-15", charmap.ISO8859_15, "latin9", "latin-9", "l9")
	enc("koi8-r", charmap.KOI8R, "koi8", "koi", "koi8r", "cp20866", "20866")
	enc("koi8-u", charmap.KOI8U, "koi8-ru", "cp21866", "21866")
	enc("macintosh", charmap.Macintosh, "mac", "macroman", "x-mac-roman", "x-macroman", "cp10000")
	enc("x-mac-cyrillic", charmap.MacintoshCyrillic, "maccyrillic", "x-mac-ukrainian", "cp10007")

	enc("shift_jis", japanese.ShiftJIS, "sjis", "x-sjis", "cp932", "ms932", "windows-31j", "windows-932", "932", "ms_kanji", "csshiftjis", "shift-jis", "x-ms-cp932", "ibm932", "shift_jis-2004", "mskanji")
	enc("euc-jp", japanese.EUCJP, "eucjp", "x-euc-jp", "x-euc", "ujis", "cp51932", "51932", "cp20932", "eucjp-ms", "euc_jp")
	iso2022 := func(name string, names ...string) {
		add(&charset{name: name, decoder: func() transform.Transformer { return newISO2022() }}, names...)
	}
	iso2022("iso-2022-jp", "jis", "csiso2022jp", "cp50220", "50220", "cp50221", "50221", "cp50222", "50222", "iso2022jp", "iso-2022-jp-ms", "cp50220raw", "iso-2022-jp-1", "iso-2022-jp-3", "iso-2022-jp-2004", "iso-2022-jp_ms")
	iso2022("iso-2022-jp-2")
	iso2022("iso-2022-kr", "csiso2022kr", "cp50225", "50225", "iso2022kr")
	iso2022("iso-2022-cn", "cp50227", "50227", "iso-2022-cn-ext", "x-cp50227")
	enc("euc-kr", korean.EUCKR, "cp949", "ms949", "uhc", "x-windows-949", "windows-949", "949", "ks_c_5601-1987", "ks_c_5601", "ksc5601", "ksc_5601", "ks_c_5601-1989", "ks_c_5601_1987", "korean", "iso-ir-149", "cp51949", "51949", "kscs5601", "cseuckr", "euckr")
	enc("gbk", simplifiedchinese.GBK, "cp936", "ms936", "936", "windows-936", "x-gbk")
	enc("gb2312", simplifiedchinese.GBK, "gb_2312-80", "euc-cn", "euccn", "x-euc-cn", "chinese", "csgb2312", "iso-ir-58", "gb2312-80", "cp20936", "cn-gb", "gb", "gb2312-1980", "gb_2312", "x-cp20936", "_gb2312")
	enc("gb18030", simplifiedchinese.GB18030, "gb18030-2000", "gb18030-2005", "cp54936", "54936", "gb-18030")
	enc("hz-gb-2312", simplifiedchinese.HZGB2312, "hz", "hzgb2312", "cp52936", "52936")
	enc("big5", traditionalchinese.Big5, "big5-hkscs", "cp950", "950", "ms950", "windows-950", "big-5", "x-x-big5", "cn-big5", "csbig5", "big5-eten", "big5hkscs", "x-big5", "big5-tw", "chinesebig5")

	// Names that say that nothing is known (RFC 1428 3 and habits).
	for _, n := range []string{"unknown-8bit", "x-unknown", "unknown", "default", "x-user-defined", "user-defined", "x-default", "none", "binary", "8bit", "7bit", "_autodetect", "_autodetect_all", "_autodetect_kr", "_iso-2022-jp$esc", "charset", "default_charset", "x-unknown-8bit", "undefined", "null", "iso"} {
		table[charsetKey(n)] = &charset{name: ""}
	}
	return table
})

// charsetKey is a name without what writers disagree about.
func charsetKey(name string) string {
	var b strings.Builder
	for i := 0; i < len(name) && i < 64; i++ {
		switch c := name[i]; {
		case 'A' <= c && c <= 'Z':
			b.WriteByte(c + 'a' - 'A')
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
			b.WriteByte(c)
		}
	}
	return b.String()
}

// lookupCharset returns the charset of that name, nil if it is unknown. One
// without a decoder says that it is not known to the writer either.
func lookupCharset(name string) *charset {
	if name == "" {
		return nil
	}
	if c := charsets()[charsetKey(name)]; c != nil {
		return c
	}
	name = strings.ToLower(strings.Trim(name, " \t'\""))
	e, err := ianaindex.MIME.Encoding(name)
	if err != nil || e == nil {
		if e, err = htmlindex.Get(name); err != nil || e == encoding.Replacement {
			return nil
		}
	}
	if n, err := ianaindex.MIME.Name(e); err == nil && n != "" {
		// Under the name that the table has.
		if c := charsets()[charsetKey(n)]; c != nil {
			return c
		}
		name = strings.ToLower(n)
	}
	_, single := e.(*charmap.Charmap)
	return &charset{name: name, decoder: func() transform.Transformer { return &tolerant{e.NewDecoder()} }, single: single}
}

// tolerant goes on where a decoder gives up, as some do over a character that is
// cut off at the end, with U+FFFD.
type tolerant struct{ transform.Transformer }

func (t *tolerant) Transform(dst, src []byte, atEOF bool) (nDst, nSrc int, err error) {
	for {
		d, s, err := t.Transformer.Transform(dst[nDst:], src[nSrc:], atEOF)
		nDst, nSrc = nDst+d, nSrc+s
		if err == nil || err == transform.ErrShortDst || err == transform.ErrShortSrc && !atEOF {
			return nDst, nSrc, err
		}
		if len(dst)-nDst < utf8.UTFMax {
			return nDst, nSrc, transform.ErrShortDst
		}
		nDst += utf8.EncodeRune(dst[nDst:], utf8.RuneError)
		if err == transform.ErrShortSrc {
			return nDst, len(src), nil
		}
		nSrc = min(nSrc+1, len(src))
	}
}

// guessCharset returns the name of the charset that the text is most likely in.
// It is one that lookupCharset knows.
func guessCharset(b []byte) string {
	if g := guessUnicode(b); g != "" {
		return g
	}
	return guessLegacy(b)
}

// guessUnicode is guessCharset for what shows its charset; "" if it does not.
func guessUnicode(b []byte) string {
	switch {
	case bytes.HasPrefix(b, []byte("\xef\xbb\xbf")):
		return "utf-8"
	case bytes.HasPrefix(b, []byte("\xff\xfe\x00\x00")):
		return "utf-32le"
	case bytes.HasPrefix(b, []byte("\x00\x00\xfe\xff")):
		return "utf-32be"
	case bytes.HasPrefix(b, []byte("\xff\xfe")):
		return "utf-16le"
	case bytes.HasPrefix(b, []byte("\xfe\xff")):
		return "utf-16be"
	}
	if e := guessUTF16(b); e != "" {
		return e
	}
	if bytes.IndexByte(b, 0x1b) >= 0 {
		if bytes.Contains(b, []byte("\x1b$)C")) {
			return "iso-2022-kr"
		}
		for _, esc := range []string{"\x1b$B", "\x1b$@", "\x1b(J", "\x1b(I", "\x1b$(", "\x1b$A"} {
			if bytes.Contains(b, []byte(esc)) {
				return "iso-2022-jp"
			}
		}
	}
	if utf8.Valid(b) {
		return "utf-8"
	}
	return ""
}

// guessUTF16 finds UTF-16 without a byte order mark by the zeros of its ASCII.
func guessUTF16(b []byte) string {
	if len(b) < 4 || bytes.IndexByte(b, 0) < 0 {
		return ""
	}
	var zero [2]int
	for i, c := range b {
		if c == 0 {
			zero[i&1]++
		}
	}
	switch half := len(b) / 2; {
	case zero[1] > half*2/3 && zero[0] < half/10+1:
		return "utf-16le"
	case zero[0] > half*2/3 && zero[1] < half/10+1:
		return "utf-16be"
	}
	return ""
}

// guessLegacy tells the charsets that were used before UTF-8 apart, by which
// bytes are frequent in the languages they are for. Short texts and the charsets
// of Central Europe cannot be told from windows-1252.
func guessLegacy(b []byte) string {
	var high, letters, upper, lower, c1 int
	for _, c := range b {
		switch {
		case c >= 0xe0:
			lower++
			high++
		case c >= 0xc0:
			upper++
			high++
		case c >= 0x80:
			high++
			if c < 0xa0 {
				c1++
			}
		case c|0x20 >= 'a' && c|0x20 <= 'z':
			letters++
		}
	}
	type pairs struct{ all, typical, bad int }
	count := func(lead func(c byte) int, trail func(c byte) bool) (p pairs) {
		for i := 0; i < len(b); i++ {
			if b[i] < 0x80 {
				continue
			}
			switch kind := lead(b[i]); {
			case kind == 0:
				p.bad++
			case kind == 3: // a character of one byte
			case i+1 == len(b):
			case !trail(b[i+1]):
				p.bad++
			default:
				p.all++
				if kind == 2 {
					p.typical++
				}
				i++
			}
		}
		return p
	}
	in := func(c, from, to byte) bool { return from <= c && c <= to }
	euc := func(c byte) bool { return in(c, 0xa1, 0xfe) }
	grade := func(ok, typical bool) int {
		switch {
		case typical:
			return 2
		case ok:
			return 1
		}
		return 0
	}
	sjis := count(func(c byte) int {
		if in(c, 0xa1, 0xdf) {
			return 3
		}
		return grade(in(c, 0x81, 0x9f) || in(c, 0xe0, 0xfc), in(c, 0x82, 0x83))
	}, func(c byte) bool { return in(c, 0x40, 0x7e) || in(c, 0x80, 0xfc) })
	eucjp := count(func(c byte) int { return grade(euc(c) || c == 0x8e, in(c, 0xa4, 0xa5)) }, euc)
	euckr := count(func(c byte) int { return grade(euc(c), in(c, 0xb0, 0xc8)) }, euc)
	gb := count(func(c byte) int { return grade(euc(c), in(c, 0xb0, 0xd7)) }, euc)
	big5 := count(func(c byte) int { return grade(in(c, 0xa1, 0xf9), in(c, 0xa4, 0xc6)) },
		func(c byte) bool { return in(c, 0x40, 0x7e) || in(c, 0xa1, 0xfe) })
	good := func(p pairs, percent int) bool {
		return p.bad == 0 && p.all >= 2 && p.typical*100 >= p.all*percent
	}
	dense := high*100 >= letters*40
	switch {
	case good(eucjp, 30) && c1 == 0:
		return "euc-jp"
	case good(sjis, 30) && (c1 > 0 || dense):
		return "shift_jis"
	case dense && good(euckr, 90) && c1 == 0:
		return "euc-kr"
	case dense && good(gb, 70) && c1 == 0:
		return "gb18030"
	case dense && good(big5, 60) && c1 == 0:
		return "big5"
	case dense && upper+lower >= 4 && (upper+lower)*10 >= high*8:
		// Words in which most letters are high: Cyrillic. Lower case, which
		// prevails, is in the upper half of windows-1251, the lower of KOI8.
		if upper > lower {
			return "koi8-r"
		}
		return "windows-1251"
	}
	return "windows-1252"
}

// utf7Decoder decodes UTF-7 (RFC 2152).
type utf7Decoder struct {
	shifted bool
	first   bool // nothing since the "+"
	bits    uint32
	n       uint
	high    uint16 // surrogate that waits for its second half
}

func (d *utf7Decoder) Reset() { *d = utf7Decoder{} }

func (d *utf7Decoder) Transform(dst, src []byte, atEOF bool) (nDst, nSrc int, err error) {
	for nSrc < len(src) {
		if len(dst)-nDst < 2*utf8.UTFMax {
			return nDst, nSrc, transform.ErrShortDst
		}
		c := src[nSrc]
		nSrc++
		put := func(r rune) { nDst += utf8.EncodeRune(dst[nDst:], r) }
		if !d.shifted {
			switch {
			case c == '+':
				d.shifted, d.first = true, true
				d.bits, d.n = 0, 0
			case c >= 0x80:
				put(utf8.RuneError)
			default:
				put(rune(c))
			}
			continue
		}
		if v := base64Value[c]; v < 64 {
			d.first = false
			d.bits, d.n = d.bits<<6|uint32(v), d.n+6
			if d.n >= 16 {
				d.n -= 16
				u := uint16(d.bits >> d.n)
				switch {
				case d.high != 0:
					if r := utf16.DecodeRune(rune(d.high), rune(u)); r != utf8.RuneError {
						put(r)
						d.high = 0
						break
					}
					put(utf8.RuneError)
					d.high = 0
					fallthrough
				default:
					if u >= 0xd800 && u < 0xdc00 {
						d.high = u
					} else {
						put(rune(u)) // EncodeRune makes U+FFFD of a lone surrogate
					}
				}
			}
			continue
		}
		d.shifted = false
		if d.high != 0 {
			put(utf8.RuneError)
			d.high = 0
		}
		switch {
		case c == '-' && d.first:
			put('+')
		case c == '-':
		case c == '+':
			d.shifted, d.first = true, true
			d.bits, d.n = 0, 0
		case c >= 0x80:
			put(utf8.RuneError)
		default:
			put(rune(c))
		}
	}
	if atEOF && d.high != 0 {
		if len(dst)-nDst < utf8.UTFMax {
			return nDst, nSrc, transform.ErrShortDst
		}
		nDst += utf8.EncodeRune(dst[nDst:], utf8.RuneError)
		d.high = 0
	}
	return nDst, nSrc, nil
}

// iso2022 decodes the charsets that switch by escape sequences: ISO-2022-JP
// (RFC 1468), -JP-1 and -JP-2 (RFC 1554, 2237), -KR (RFC 1557), -CN (RFC 1922; without
// CNS 11643), and their habitual extensions, by the 8-bit forms of their sets.
type iso2022 struct {
	g0, g1, g2 byte // final bytes of the designations
	wide       [2]bool
	out        bool // shifted out: G1
	decoders   map[string]*encoding.Decoder
}

func newISO2022() *iso2022 {
	d := &iso2022{decoders: map[string]*encoding.Decoder{}}
	d.Reset()
	return d
}

func (d *iso2022) Reset() {
	d.g0, d.g1, d.g2, d.out = 'B', 'C', 0, false
	d.wide = [2]bool{false, true}
}

func (d *iso2022) put(dst []byte, name string, e encoding.Encoding, b ...byte) int {
	dec := d.decoders[name]
	if dec == nil {
		dec = e.NewDecoder()
		d.decoders[name] = dec
	}
	dec.Reset()
	n, _, err := dec.Transform(dst, b, true)
	if err != nil {
		return utf8.EncodeRune(dst, utf8.RuneError)
	}
	return n
}

// double writes the character of two bytes of a set.
func (d *iso2022) double(dst []byte, set, a, b byte) int {
	a, b = a|0x80, b|0x80
	switch set {
	case '@', 'B':
		return d.put(dst, "jp", japanese.EUCJP, a, b)
	case 'D':
		return d.put(dst, "jp", japanese.EUCJP, 0x8f, a, b)
	case 'A':
		return d.put(dst, "cn", simplifiedchinese.GBK, a, b)
	case 'C':
		return d.put(dst, "kr", korean.EUCKR, a, b)
	}
	return utf8.EncodeRune(dst, utf8.RuneError)
}

func (d *iso2022) Transform(dst, src []byte, atEOF bool) (nDst, nSrc int, err error) {
	for nSrc < len(src) {
		if len(dst)-nDst < 16 {
			return nDst, nSrc, transform.ErrShortDst
		}
		rest := src[nSrc:]
		c := rest[0]
		switch {
		case c == 0x1b:
			n, short := d.escape(rest)
			if short && !atEOF {
				return nDst, nSrc, transform.ErrShortSrc
			}
			if n == 0 {
				// ESC N x: one character of G2 (RFC 1554 2).
				if len(rest) >= 3 && rest[1] == 'N' {
					e := encoding.Encoding(charmap.ISO8859_1)
					if d.g2 == 'F' {
						e = charmap.ISO8859_7
					}
					nDst += d.put(dst[nDst:], "g2"+string(d.g2), e, rest[2]|0x80)
					nSrc += 3
					continue
				}
				nDst += utf8.EncodeRune(dst[nDst:], utf8.RuneError)
				n = 1
			}
			nSrc += n
			continue
		case c == 0x0e:
			d.out = true
			nSrc++
			continue
		case c == 0x0f:
			d.out = false
			nSrc++
			continue
		case c < 0x21 || c == 0x7f:
			if c == '\n' || c == '\r' {
				// A line begins in ASCII; a missing return to it is common.
				d.g0, d.wide[0], d.out = 'B', false, false
			}
			dst[nDst] = c
			nDst++
			nSrc++
			continue
		case c >= 0x80:
			// Not of this charset: half-width katakana as in Shift_JIS.
			if c >= 0xa1 && c <= 0xdf {
				nDst += utf8.EncodeRune(dst[nDst:], 0xff61+rune(c-0xa1))
			} else {
				nDst += utf8.EncodeRune(dst[nDst:], utf8.RuneError)
			}
			nSrc++
			continue
		}
		set, wide := d.g0, d.wide[0]
		if d.out {
			set, wide = d.g1, d.wide[1]
		}
		switch {
		case wide:
			if len(rest) < 2 {
				if !atEOF {
					return nDst, nSrc, transform.ErrShortSrc
				}
				nDst += utf8.EncodeRune(dst[nDst:], utf8.RuneError)
				nSrc++
				continue
			}
			if rest[1] < 0x21 || rest[1] > 0x7e {
				nDst += utf8.EncodeRune(dst[nDst:], utf8.RuneError)
				nSrc++
				continue
			}
			nDst += d.double(dst[nDst:], set, c, rest[1])
			nSrc += 2
		case set == 'I':
			if c <= 0x5f {
				nDst += utf8.EncodeRune(dst[nDst:], 0xff61+rune(c-0x21))
			} else {
				nDst += utf8.EncodeRune(dst[nDst:], utf8.RuneError)
			}
			nSrc++
		case set == 'J' && c == 0x5c:
			nDst += utf8.EncodeRune(dst[nDst:], '¥')
			nSrc++
		case set == 'J' && c == 0x7e:
			nDst += utf8.EncodeRune(dst[nDst:], '‾')
			nSrc++
		default:
			dst[nDst] = c
			nDst++
			nSrc++
		}
	}
	return nDst, nSrc, nil
}

// escape takes the escape sequence at the beginning of b: its length, 0 if there
// is none, and whether more of b is needed to tell.
func (d *iso2022) escape(b []byte) (n int, short bool) {
	if len(b) < 2 {
		return 0, true
	}
	at := func(i int) byte {
		if i < len(b) {
			return b[i]
		}
		short = true
		return 0
	}
	switch b[1] {
	case '(':
		switch f := at(2); f {
		case 'B', 'J', 'I', 'H':
			d.g0, d.wide[0] = f, false
			return 3, false
		}
	case '$':
		switch f := at(2); f {
		case '@', 'A', 'B':
			d.g0, d.wide[0] = f, true
			return 3, false
		case '(':
			switch f := at(3); f {
			case '@', 'A', 'B', 'C', 'D':
				d.g0, d.wide[0] = f, true
				return 4, false
			}
		case ')':
			switch f := at(3); f {
			case 'A', 'C', 'G', 'E':
				d.g1, d.wide[1] = f, true
				return 4, false
			}
		}
	case '.':
		switch f := at(2); f {
		case 'A', 'F':
			d.g2 = f
			return 3, false
		}
	case 'N':
		at(2)
	}
	return 0, short
}
