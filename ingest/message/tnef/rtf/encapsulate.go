package rtf

import (
	"bufio"
	"errors"
	"fmt"
	"html"
	"io"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// prologue begins RTF that wraps HTML (MS-OXRTFEX 2.2.3.1): what says so must be
// among its first words.
const prologue = `{\rtf1\ansi\ansicpg1252\fromhtml1 \fbidis \deff0{\fonttbl` + "\r\n" + `{\f0\fswiss Arial;}{\f1\fmodern Courier New;}}` + "\r\n" +
	`{\colortbl\red0\green0\blue0;\red0\green0\blue255;}` + "\r\n" + `\uc1\pard\plain\deftab360 \f0\fs20 `

// Encapsulate writes HTML, which is given in UTF-8, as RTF that wraps it
// (MS-OXRTFEX 2.1.3): Deencapsulate gives it back byte for byte, and what shows RTF
// alone shows its text, paragraphs and emphasis. Characters that are not ASCII are
// \u escapes; bytes that are no UTF-8 become U+FFFD. It reads and writes streams:
// the memory it needs does not depend on the length.
func Encapsulate(w io.Writer, text io.Reader) error {
	e := &encapsulator{r: bufio.NewReaderSize(text, 32<<10), w: bufio.NewWriterSize(w, 32<<10)}
	e.put(prologue)
	if err := e.text(); err != nil {
		return fmt.Errorf("encapsulate HTML: %w", err)
	}
	e.put("}\r\n")
	return e.w.Flush()
}

type encapsulator struct {
	r *bufio.Reader
	w *bufio.Writer // keeps its first error, which Flush returns
	// blank: a paragraph ended and nothing was shown since.
	blank bool
}

func (e *encapsulator) put(s string) { e.w.WriteString(s) }

// onlyRTF writes what HTML has not (MS-OXRTFEX 2.1.3.1.2).
func (e *encapsulator) onlyRTF(s string) { e.put(`\htmlrtf ` + s + `\htmlrtf0 `) }

// peek returns the bytes that come next, as many as there are up to n.
func (e *encapsulator) peek(n int) ([]byte, error) {
	b, err := e.r.Peek(n)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return b, err
}

// longestName is the longest name of an element or a character that is known.
const longestName = 32

// text writes what is outside of tags.
func (e *encapsulator) text() error {
	for {
		b, err := e.peek(longestName + 3)
		if err != nil || len(b) == 0 {
			return err
		}
		switch {
		case b[0] == '<' && len(b) > 1 && (letter(b[1]) || strings.IndexByte("/!?", b[1]) >= 0):
			err = e.tag(string(b))
		case b[0] == '&' && reference(b) > 0:
			n := reference(b)
			name := string(b[:n])
			e.put(`{\*\htmltag84 ` + name + `}`)
			e.put(`\htmlrtf `)
			for _, r := range html.UnescapeString(name) {
				e.rune(r)
			}
			e.put(`\htmlrtf0 `)
			_, err = e.r.Discard(n)
			e.blank = false
		case b[0] == '\r' || b[0] == '\n' || b[0] == '\t':
			// White space that RTF would show otherwise.
			e.put(`{\*\htmltag84 `)
			if err = e.char(); err == nil {
				e.put(`}`)
				e.onlyRTF(` `)
			}
		default:
			if b[0] != ' ' {
				e.blank = false
			}
			err = e.char()
		}
		if err != nil {
			return err
		}
	}
}

// reference returns the length of a character reference at the beginning of b, 0
// if there is none (HTML 13.5).
func reference(b []byte) int {
	for i, c := range b[1:] {
		switch {
		case c == ';' && i > 0:
			return i + 2
		case !letter(c) && !digit(c) && !(c == '#' && i == 0):
			return 0
		}
	}
	return 0
}

// char copies one character of the HTML.
func (e *encapsulator) char() error {
	r, _, err := e.r.ReadRune()
	if err != nil {
		return err
	}
	if r == '\r' {
		next, err := e.peek(1)
		if err != nil {
			return err
		}
		if len(next) == 1 && next[0] == '\n' {
			e.put(`\par `)
			_, err = e.r.Discard(1)
			return err
		}
	}
	e.rune(r)
	return nil
}

func (e *encapsulator) rune(r rune) {
	switch {
	case r == '{' || r == '}' || r == '\\':
		e.put(`\` + string(r))
	case r == '\t':
		e.put(`\tab `)
	case r < ' ' || r == 0x7F:
		fmt.Fprintf(e.w, `\'%02x`, r)
	case r < utf8.RuneSelf:
		e.w.WriteByte(byte(r))
	case r < 0x10000:
		fmt.Fprintf(e.w, `\u%d?`, int16(r))
	default:
		high, low := utf16.EncodeRune(r)
		fmt.Fprintf(e.w, `\u%d?\u%d?`, int16(high), int16(low))
	}
}

// element is what becomes of a tag.
type element struct {
	begin, end    int    // parameter of \htmltag (MS-OXRTFEX 2.1.3.1.1)
	before, after string // RTF that stands for the tags
	block         bool   // it is a paragraph: a line ends before and after
	verbatim      bool   // what is in it is neither shown nor read as HTML
}

// elements are those that show in RTF, or whose contents do not.
var elements = map[string]element{
	"html": {begin: 19, end: 27}, "head": {begin: 34, end: 41}, "body": {begin: 50, end: 58},
	"p": {begin: 64, end: 72, block: true}, "div": {begin: 96, end: 104, block: true},
	"br": {begin: 116, end: 116, before: `\line `},
	"h1": {begin: 64, end: 72, block: true, before: `\b `, after: `\b0 `}, "h2": {begin: 64, end: 72, block: true, before: `\b `, after: `\b0 `},
	"h3": {begin: 64, end: 72, block: true, before: `\b `, after: `\b0 `}, "h4": {begin: 64, end: 72, block: true, before: `\b `, after: `\b0 `},
	"h5": {begin: 64, end: 72, block: true}, "h6": {begin: 64, end: 72, block: true},
	"blockquote": {begin: 64, end: 72, block: true}, "pre": {begin: 64, end: 72, block: true, before: `\f1 `, after: `\f0 `},
	"ul": {begin: 64, end: 72, block: true}, "ol": {begin: 64, end: 72, block: true}, "li": {begin: 64, end: 72, block: true, before: `\bullet  `},
	"table": {begin: 64, end: 72, block: true}, "tr": {begin: 64, end: 72, block: true}, "td": {begin: 64, end: 72, after: `\tab `}, "th": {begin: 64, end: 72, after: `\tab `},
	"hr": {begin: 64, end: 72, block: true},
	"b":  {begin: 148, end: 156, before: `\b `, after: `\b0 `}, "strong": {begin: 148, end: 156, before: `\b `, after: `\b0 `},
	"i": {begin: 148, end: 156, before: `\i `, after: `\i0 `}, "em": {begin: 148, end: 156, before: `\i `, after: `\i0 `},
	"u": {begin: 148, end: 156, before: `\ul `, after: `\ulnone `}, "a": {begin: 148, end: 156, before: `\ul\cf1 `, after: `\ulnone\cf0 `},
	"style": {begin: 241, end: 249, verbatim: true}, "script": {begin: 241, end: 249, verbatim: true}, "title": {begin: 177, end: 185, verbatim: true},
}

// tag writes a tag, comment or declaration, of which ahead is the beginning.
func (e *encapsulator) tag(ahead string) error {
	closing := ahead[1] == '/'
	name := strings.TrimPrefix(ahead[1:], "/")
	n := 0
	for n < len(name) && (letter(name[n]) || digit(name[n])) {
		n++
	}
	name = strings.ToLower(name[:n])
	el, known := elements[name]
	if !known {
		el.begin, el.end = 148, 156
	}
	number := el.begin
	if closing {
		number = el.end
	}
	if closing && el.after != "" {
		e.onlyRTF(el.after)
	}
	if el.block && !e.blank {
		e.onlyRTF(`\par `)
		e.blank = true
	}
	fmt.Fprintf(e.w, `{\*\htmltag%d `, number)
	end := ">"
	if strings.HasPrefix(ahead, "<!--") {
		end = "-->"
	}
	if err := e.through(end, end == ">"); err != nil {
		return err
	}
	if el.verbatim && !closing {
		if err := e.until("</" + name); err != nil {
			return err
		}
	}
	e.put(`}`)
	if !closing && el.before != "" {
		e.onlyRTF(el.before)
	}
	return nil
}

// through copies up to the end mark, and that too; quoted, unless it stands in
// the quotes of an attribute.
func (e *encapsulator) through(mark string, quoted bool) error {
	var quote, before byte
	for {
		b, err := e.peek(len(mark))
		if err != nil || len(b) == 0 {
			return err
		}
		switch c := b[0]; {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case string(b) == mark:
			for range mark {
				if err := e.char(); err != nil {
					return err
				}
			}
			return nil
		case quoted && before == '=' && (c == '"' || c == '\''):
			quote = c
		}
		if b[0] > ' ' {
			before = b[0]
		}
		if err := e.char(); err != nil {
			return err
		}
	}
}

// until copies up to the mark, whatever its letter case.
func (e *encapsulator) until(mark string) error {
	for {
		b, err := e.peek(len(mark))
		if err != nil || len(b) == 0 || strings.EqualFold(string(b), mark) {
			return err
		}
		if err := e.char(); err != nil {
			return err
		}
	}
}
