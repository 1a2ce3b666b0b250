package document

import (
	"bufio"
	"bytes"
	"errors"
	"html"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxMarkup is how many bytes of HTML are looked at for its text.
const maxMarkup = 16 << 20

// plainText returns at most limit bytes of what a reader of the HTML sees as
// text, without control characters: white space is collapsed, blocks begin on a
// line of their own. Any input is HTML.
func plainText(r io.Reader, limit int) (text, error) {
	bounded := &io.LimitedReader{R: r, N: maxMarkup}
	h := htmlReader{in: bufio.NewReader(bounded), limit: limit}
	if err := h.read(); err != nil && !errors.Is(err, io.EOF) {
		return text{}, err
	}
	h.flush()
	s := strings.TrimSpace(cut(h.out.String(), limit))
	return text{s, h.full() || bounded.N == 0}, nil
}

// htmlReader takes the text out of HTML.
type htmlReader struct {
	in    *bufio.Reader
	limit int

	out   strings.Builder
	run   []byte // text that was not written yet, with its character references
	space bool   // white space comes before what follows
	lines int    // line ends that come before what follows
	pre   int    // how many pre elements are open
}

func (h *htmlReader) full() bool { return h.out.Len() > h.limit }

// maxRun is about how much text is unescaped at once.
const maxRun = 4 << 10

// between reports whether no character reference, and no character, is of both
// the run and c, which follows it; in a run that is too long it is not asked.
func (h *htmlReader) between(c byte) bool {
	const longest = 40 // of a character reference
	switch {
	case c <= ' ', c == '&', len(h.run) >= 4*maxRun:
		return true
	}
	return utf8.RuneStart(c) && bytes.IndexByte(h.run[len(h.run)-longest:], '&') < 0
}

func (h *htmlReader) read() error {
	for !h.full() {
		c, err := h.in.ReadByte()
		if err != nil {
			return err
		}
		if c == '<' {
			next, err := h.in.Peek(1)
			if len(next) == 1 && (next[0] == '/' || next[0] == '!' || next[0] == '?' || isLetter(next[0])) {
				h.flush()
				if err := h.tag(); err != nil {
					return err
				}
				continue
			}
			if err != nil && !errors.Is(err, io.EOF) {
				return err
			}
		}
		if len(h.run) >= maxRun && h.between(c) {
			h.flush()
		}
		h.run = append(h.run, c)
	}
	return nil
}

// flush writes the run.
func (h *htmlReader) flush() {
	for _, r := range html.UnescapeString(valid(string(h.run))) {
		switch {
		case h.pre > 0 && r == '\n':
			h.lines++
			h.space = false
		case unicode.IsSpace(r):
			h.space = true
		case unicode.IsControl(r), r == '\u00ad', r == '\u200b', r == '\ufeff':
			// Soft hyphens and spaces without width: not seen, and in the way of a
			// match.
		default:
			h.write(r)
		}
	}
	h.run = h.run[:0]
}

func (h *htmlReader) write(r rune) {
	switch {
	case h.out.Len() == 0:
	case h.lines > 0:
		h.out.WriteString("\n\n"[:min(h.lines, 2)])
	case h.space:
		h.out.WriteByte(' ')
	}
	h.lines, h.space = 0, false
	h.out.WriteRune(r)
}

// tag takes a tag, of which the first bracket was read.
func (h *htmlReader) tag() error {
	if b, err := h.in.Peek(3); err == nil && string(b) == "!--" {
		return h.comment()
	}
	var name []byte
	closing, named := false, true
	quote := byte(0)
	last := byte(0) // but white space
	for first := true; ; first = false {
		c, err := h.in.ReadByte()
		switch {
		case err != nil:
			return err
		case first && c == '/':
			closing = true
			continue
		case quote != 0:
			if c == quote {
				quote = 0
			}
			continue
		case c == '>':
			return h.element(strings.ToLower(string(name)), closing)
		case (c == '"' || c == '\'') && last == '=':
			quote = c
		}
		named = named && (isLetter(c) || '0' <= c && c <= '9')
		if named && len(name) < 16 {
			name = append(name, c)
		}
		if c > ' ' {
			last = c
		}
	}
}

// comment takes a comment, of which the first bracket was read.
func (h *htmlReader) comment() error {
	if _, err := h.in.Discard(len("!--")); err != nil {
		return err
	}
	// "<!-->" and "<!--->" are whole.
	last := [2]byte{'-', '-'}
	for {
		c, err := h.in.ReadByte()
		if err != nil {
			return err
		}
		if c == '>' && last == [2]byte{'-', '-'} {
			return nil
		}
		last = [2]byte{last[1], c}
	}
}

// element acts on a tag that was read.
func (h *htmlReader) element(name string, closing bool) error {
	switch name {
	case "script", "style", "title", "template", "noscript":
		if !closing {
			return h.skip(name)
		}
	case "p", "h1", "h2", "h3", "h4", "h5", "h6", "table", "ul", "ol", "dl", "blockquote":
		h.lines = max(h.lines, 2)
	case "pre":
		if h.lines = max(h.lines, 2); !closing {
			h.pre++
		} else {
			h.pre = max(h.pre-1, 0)
		}
	case "br":
		h.lines++
	case "div", "tr", "li", "dt", "dd", "hr", "section", "article", "header", "footer", "main", "nav", "aside", "address",
		"form", "fieldset", "center", "caption", "figure", "figcaption", "body":
		h.lines = max(h.lines, 1)
	case "td", "th":
		h.space = true
	}
	return nil
}

// skip passes over the content of an element, and its end tag.
func (h *htmlReader) skip(name string) error {
	end := "</" + name
	at := 0 // bytes of end that were read
	for {
		c, err := h.in.ReadByte()
		if err != nil {
			return err
		}
		switch lower := c | 0x20; {
		case at == len(end) && (c <= ' ' || c == '>' || c == '/'):
			for c != '>' {
				if c, err = h.in.ReadByte(); err != nil {
					return err
				}
			}
			return nil
		case at < 2 && at < len(end) && c == end[at], at >= 2 && at < len(end) && lower == end[at]:
			at++
		case c == '<':
			at = 1
		default:
			at = 0
		}
	}
}

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }
