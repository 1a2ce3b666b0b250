package rtf

import (
	"bytes"
	"errors"
	"unicode/utf16"

	"postroom/ingest/message/tnef/codepage"
)

// Kind says what an RTF document was before it became one (MS-OXRTFEX 2.2.3.1).
type Kind int

const (
	// Native: written as RTF; nothing is wrapped in it.
	Native Kind = iota
	// HTML: wraps HTML (\fromhtml1).
	HTML
	// PlainText: wraps plain text (\fromtext).
	PlainText
)

func (k Kind) String() string {
	switch k {
	case HTML:
		return "HTML"
	case PlainText:
		return "plain text"
	}
	return "native RTF"
}

// ErrDamaged says that the RTF could be read in part only.
var ErrDamaged = errors.New("RTF is damaged")

// maxDepth bounds the nesting of groups.
const maxDepth = 4096

// KindOf tells whether doc wraps HTML or plain text: the control word that says
// so is among its first ten tokens, before any text (MS-OXRTFEX 2.2.3.1).
func KindOf(doc []byte) Kind {
	s := scanner{in: doc}
	for i := 0; i < 10; i++ {
		t := s.next()
		switch {
		case t.kind == tokenEnd:
			return Native
		case t.kind == tokenText:
			// Line ends count as text here, but are none (RTF 1.9.1,
			// "Formal syntax").
			if len(bytes.Trim(t.text, "\r\n\x00 ")) > 0 {
				return Native
			}
			i--
		case t.kind == tokenWord && t.word == "fromhtml":
			return HTML
		case t.kind == tokenWord && t.word == "fromtext":
			return PlainText
		case i == 0 && t.kind != tokenOpen, i == 1 && t.word != "rtf":
			return Native
		}
	}
	return Native
}

// Deencapsulate gives the HTML or plain text that doc wraps, in UTF-8
// (MS-OXRTFEX 2.2.3.2, 2.2.3.3). Of native RTF it gives the text without its
// formatting, which is a poor man's rendering and no original.
//
// The HTML is the author's: a charset that it states in itself is that of long
// ago and not UTF-8. With ErrDamaged the result is what could be read.
func Deencapsulate(doc []byte) (text string, kind Kind, err error) {
	r := reader{s: scanner{in: doc}, kind: KindOf(doc), ansi: codepage.Windows1252, deff: -1}
	if !bytes.HasPrefix(bytes.TrimLeft(doc, "\xef\xbb\xbf\r\n \t\x00"), []byte(`{\rtf`)) {
		return "", Native, errors.Join(ErrDamaged, errors.New(`it does not begin with {\rtf`))
	}
	err = r.run()
	r.flush()
	return r.out.String(), r.kind, err
}

// A reader walks the tokens of a document once and writes what belongs to the
// original.
type reader struct {
	s    scanner
	kind Kind
	out  bytes.Buffer

	ansi  codepage.ID         // \ansicpg: the code page of all that has no font
	deff  int                 // \deff
	fonts map[int]codepage.ID // font table

	group group
	stack []group

	run8   []byte      // text not decoded yet: a character may be several escapes
	run8cp codepage.ID // its code page
	high   rune        // a high surrogate that waits for its other half
	skip   int         // characters to pass over after \u
	font   int         // the font table's current entry
}

// A destination is where the text of a group goes.
type destination uint8

const (
	destBody    destination = iota
	destTag                 // htmltag: verbatim HTML
	destFonts               // font table
	destNowhere             // anything else
)

type group struct {
	dest    destination
	htmlrtf bool // what is for readers of RTF alone (MS-OXRTFEX 2.1.3.1)
	font    int
	uc      int
	star    bool // \* was read: an unknown destination may be ignored
	fresh   bool // nothing but \* was read since the group began
}

func (r *reader) run() error {
	r.group = group{uc: 1, font: -1, fresh: true}
	for {
		t := r.s.next()
		switch t.kind {
		case tokenEnd:
			if len(r.stack) > 0 {
				return errors.Join(ErrDamaged, errors.New("it ends inside a group"))
			}
			return nil
		case tokenOpen:
			if len(r.stack) >= maxDepth {
				return errors.Join(ErrDamaged, errors.New("its groups are nested too deep"))
			}
			r.skip = 0
			r.stack = append(r.stack, r.group)
			r.group.star, r.group.fresh = false, true
		case tokenClose:
			r.skip = 0
			if len(r.stack) == 0 {
				return errors.Join(ErrDamaged, errors.New("it closes a group that it never opened"))
			}
			if r.stack[len(r.stack)-1].dest != r.group.dest {
				r.flush()
			}
			r.group = r.stack[len(r.stack)-1]
			r.stack = r.stack[:len(r.stack)-1]
			if len(r.stack) == 0 {
				return nil // what follows is not of the document
			}
		case tokenText:
			r.group.fresh = false
			r.text(t.text)
		case tokenByte:
			r.group.fresh = false
			if r.skip > 0 {
				r.skip--
				continue
			}
			r.bytes(t.b)
		case tokenBinary:
			if r.skip > 0 {
				r.skip--
			}
		case tokenWord:
			r.word(t)
		}
	}
}

// text takes plain text; line ends in it mean nothing.
func (r *reader) text(b []byte) {
	for len(b) > 0 && r.skip > 0 {
		if b[0] != '\r' && b[0] != '\n' {
			r.skip--
		}
		b = b[1:]
	}
	if !r.visible() {
		return
	}
	for len(b) > 0 {
		i := bytes.IndexAny(b, "\r\n\x00")
		if i < 0 {
			i = len(b)
		}
		if i > 0 {
			r.bytes(b[:i]...)
		}
		b = b[min(i+1, len(b)):]
	}
}

func (r *reader) visible() bool {
	switch r.group.dest {
	case destTag:
		return !r.group.htmlrtf
	case destBody:
		return !r.group.htmlrtf
	}
	return false
}

// bytes takes characters in the code page that holds at this place.
func (r *reader) bytes(b ...byte) {
	if !r.visible() {
		return
	}
	cp := r.codepage()
	if cp != r.run8cp || r.high != 0 {
		r.flush()
		r.run8cp = cp
	}
	r.run8 = append(r.run8, b...)
}

// codepage is that of the current font; the content of HTML tags has the
// document's (MS-OXRTFEX 2.2.3.2).
func (r *reader) codepage() codepage.ID {
	if r.group.dest != destTag {
		f := r.group.font
		if f < 0 {
			f = r.deff
		}
		if cp, ok := r.fonts[f]; ok && cp != 0 {
			return cp
		}
	}
	return r.ansi
}

func (r *reader) flush() {
	if r.high != 0 {
		r.high = 0
		r.out.WriteRune('\uFFFD')
	}
	if len(r.run8) > 0 {
		r.out.WriteString(codepage.Decode(r.run8cp, r.run8))
		r.run8 = r.run8[:0]
	}
}

func (r *reader) unicode(n int) {
	if !r.visible() {
		return
	}
	c := rune(uint16(n)) // it is written as a signed number
	if r.high != 0 {
		if both := utf16.DecodeRune(r.high, c); both != '\uFFFD' {
			r.high = 0
			r.out.WriteRune(both)
			return
		}
	}
	r.flush()
	switch {
	case c >= 0xD800 && c < 0xDC00:
		r.high = c
	case utf16.IsSurrogate(c):
		r.out.WriteRune('\uFFFD')
	case c != 0:
		r.out.WriteRune(c)
	}
}

// symbols are the control words that stand for characters, as HTML and as text
// (MS-OXRTFEX 2.1.3.1.4.2).
var symbols = map[string]struct{ html, text string }{
	"par": {"\r\n", "\r\n"}, "line": {"\r\n", "\r\n"}, "tab": {"\t", "\t"},
	"sect": {"\r\n", "\r\n"}, "page": {"\r\n", "\r\n"}, "row": {"\r\n", "\r\n"}, "cell": {"\t", "\t"},
	"lquote": {"&lsquo;", "‘"}, "rquote": {"&rsquo;", "’"}, "ldblquote": {"&ldquo;", "“"}, "rdblquote": {"&rdquo;", "”"},
	"bullet": {"&bull;", "•"}, "endash": {"&ndash;", "–"}, "emdash": {"&mdash;", "—"},
	"emspace": {"&emsp;", "\u2003"}, "enspace": {"&ensp;", "\u2002"},
	"~": {"&nbsp;", "\u00A0"}, "_": {"&shy;", "\u00AD"}, "\r": {"\r\n", "\r\n"}, "\n": {"\r\n", "\r\n"},
}

// elsewhere are destinations without \* whose text is not of the body.
var elsewhere = map[string]bool{
	"colortbl": true, "stylesheet": true, "info": true, "pict": true, "object": true, "header": true, "footer": true,
	"headerl": true, "headerr": true, "headerf": true, "footerl": true, "footerr": true, "footerf": true,
	"footnote": true, "annotation": true, "xe": true, "tc": true, "rxe": true, "txe": true, "bkmkstart": true,
	"bkmkend": true, "private": true, "revtbl": true, "listtable": true, "listoverridetable": true, "filetbl": true,
	"fldinst": true, "generator": true, "themedata": true, "colorschememapping": true, "datastore": true,
	"latentstyles": true, "nonshppict": true,
}

func (r *reader) word(t token) {
	if r.skip > 0 && len(t.word) == 1 && !letter(t.word[0]) {
		r.skip-- // an escaped character
		return
	}
	r.skip = 0
	fresh, star := r.group.fresh, r.group.star
	if t.word == "*" {
		r.group.star = fresh
		return
	}
	r.group.fresh = false
	if star && fresh {
		r.flush()
		r.group.star = false
		if t.word == "htmltag" && r.kind == HTML && r.group.dest == destBody {
			r.group.dest = destTag
		} else {
			r.group.dest = destNowhere
		}
		return
	}
	switch t.word {
	case "fonttbl":
		r.group.dest = destFonts
		return
	case "htmlrtf":
		if r.kind == HTML {
			r.group.htmlrtf = !t.has || t.n != 0
		}
		return
	case "ansicpg":
		if t.has && t.n > 0 && codepage.Known(codepage.ID(t.n)) {
			r.ansi = codepage.ID(t.n)
		}
		return
	case "mac", "pc", "pca":
		if len(r.stack) == 1 {
			r.ansi = map[string]codepage.ID{"mac": 10000, "pc": 437, "pca": 850}[t.word]
		}
		return
	case "deff":
		r.deff = t.n
		return
	case "f":
		if r.group.dest == destFonts {
			r.font = t.n
		}
		r.group.font = t.n
		return
	case "fcharset":
		if r.group.dest == destFonts {
			r.setFont(charsets[t.n], false)
		}
		return
	case "cpg":
		if r.group.dest == destFonts && codepage.Known(codepage.ID(t.n)) {
			r.setFont(codepage.ID(t.n), true)
		}
		return
	case "plain":
		r.group.font = -1
		return
	case "uc":
		r.group.uc = max(0, min(t.n, 64))
		return
	case "u":
		if t.has {
			r.unicode(t.n)
			r.skip = r.group.uc
		}
		return
	}
	if fresh && elsewhere[t.word] && len(r.stack) > 1 {
		r.group.dest = destNowhere
		return
	}
	if !r.visible() {
		return
	}
	switch t.word {
	case "{", "}", `\`:
		r.bytes(t.word[0])
		return
	}
	if s, ok := symbols[t.word]; ok {
		r.flush()
		if r.kind == HTML {
			r.out.WriteString(s.html)
		} else {
			r.out.WriteString(s.text)
		}
	}
}

func (r *reader) setFont(cp codepage.ID, sure bool) {
	if r.fonts == nil {
		r.fonts = map[int]codepage.ID{}
	}
	if _, there := r.fonts[r.font]; !there || sure {
		if len(r.fonts) < 1<<16 {
			r.fonts[r.font] = cp
		}
	}
}

// charsets are the code pages of \fcharset (RTF 1.9.1, "Font table"). 1 and 2,
// default and symbol, have none of their own.
var charsets = map[int]codepage.ID{
	0: 1252, 77: 10000, 128: 932, 129: 949, 130: 949, 134: 936, 136: 950, 161: 1253, 162: 1254, 163: 1258, 177: 1255,
	178: 1256, 186: 1257, 204: 1251, 222: 874, 238: 1250, 254: 437, 255: 850,
}
