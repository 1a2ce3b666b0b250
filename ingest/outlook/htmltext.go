package outlook

import (
	"bytes"
	"errors"
	"io"
	"sync"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// longestTag is the longest tag or text of HTML that is read as one; HTML that is
// not longer is in memory while it is read.
const longestTag = 256 << 10

// htmlReaders are those that are not in use.
var htmlReaders = sync.Pool{New: func() any { return &htmlReader{} }}

// htmlText writes HTML as plain text: its text with white space as a browser
// shows it, a line for each block. What follows a tag that is too long is left
// out; the HTML itself has it.
func htmlText(w io.Writer, r io.Reader) error {
	h := htmlReaders.Get().(*htmlReader)
	defer func() {
		*h = htmlReader{held: h.held, plain: h.plain, text: textWriter{buf: h.text.buf[:0]}}
		htmlReaders.Put(h)
	}()
	h.text.w = w
	h.held.Reset()
	if _, err := h.held.ReadFrom(io.LimitReader(r, longestTag)); err != nil {
		return err
	}
	if h.held.Len() == longestTag {
		if err := h.stream(io.MultiReader(&h.held, r)); err != nil {
			return err
		}
	} else {
		h.page(h.held.Bytes())
	}
	h.text.flush()
	return h.text.err
}

// htmlReader reads HTML for its text.
type htmlReader struct {
	text textWriter
	skip atom.Atom // the element that is being passed over

	held  bytes.Buffer
	plain []byte // of unescape
}

// stream reads HTML of any length.
func (h *htmlReader) stream(r io.Reader) error {
	z := html.NewTokenizer(r)
	z.SetMaxBuf(longestTag)
	for h.text.err == nil && h.token(z) {
	}
	if err := z.Err(); err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, html.ErrBufferExceeded) {
		return err
	}
	return nil
}

// token takes the next token; false if there is none.
func (h *htmlReader) token(z *html.Tokenizer) bool {
	switch kind := z.Next(); kind {
	case html.ErrorToken:
		return false
	case html.TextToken:
		if h.skip == 0 {
			h.text.text(z.Text())
		}
	case html.StartTagToken, html.SelfClosingTagToken, html.EndTagToken:
		name, _ := z.TagName()
		h.tag(atom.Lookup(name), kind)
	}
	return true
}

func (h *htmlReader) tag(a atom.Atom, kind html.TokenType) {
	t, end := &h.text, kind == html.EndTagToken
	switch a {
	case atom.Script, atom.Style, atom.Title, atom.Template:
		if end && h.skip == a {
			h.skip = 0
		} else if kind == html.StartTagToken && h.skip == 0 {
			h.skip = a
		}
	case atom.Br:
		t.lines = min(t.lines+1, 2)
	case atom.Pre:
		if !end {
			t.pre++
		} else if t.pre > 0 {
			t.pre--
		}
		t.lines = max(t.lines, 1)
	case atom.P, atom.H1, atom.H2, atom.H3, atom.H4, atom.H5, atom.H6, atom.Blockquote, atom.Ul, atom.Ol, atom.Table:
		t.lines = 2
	case atom.Div, atom.Tr, atom.Hr, atom.Dt, atom.Dd, atom.Section, atom.Article, atom.Header, atom.Footer, atom.Center, atom.Form:
		t.lines = max(t.lines, 1)
	case atom.Td, atom.Th:
		t.space = true
	case atom.Li:
		t.lines = max(t.lines, 1)
		if !end && h.skip == 0 {
			t.word([]byte("*"))
			t.space = true
		}
	}
}

// page reads HTML as stream does, several times as fast: it finds the ends of
// texts and of ordinary tags itself, and leaves the rest to the tokenizer. No
// token of it is as long as longestTag.
func (h *htmlReader) page(b []byte) {
	for len(b) > 0 && h.text.err == nil {
		if n := textLen(b); n > 0 {
			if h.skip == 0 {
				h.text.text(h.unescape(b[:n]))
			}
			b = b[n:]
			continue
		}
		name, n := plainTag(b)
		if n > 0 {
			kind := html.StartTagToken
			if b[1] == '/' {
				kind = html.EndTagToken
			}
			a := element(name)
			switch {
			case kind == html.EndTagToken || a != atom.Template && !rawElements[a]:
				h.tag(a, kind)
				b = b[n:]
				continue
			case (a == atom.Style || a == atom.Title) && b[n-2] != '/':
				h.tag(a, kind)
				b = b[n:]
				b = b[unshownLen(b, name):]
				continue
			}
		}
		z := html.NewTokenizer(bytes.NewReader(b))
		more := h.token(z)
		used := len(z.Raw())
		if n > 0 && more && rawElements[element(name)] {
			// The text in such an element, or its end tag.
			more = h.token(z)
			used += len(z.Raw())
		}
		if !more {
			return
		}
		b = b[used:]
	}
}

// rawElements are the elements that have no tags in them.
var rawElements = map[atom.Atom]bool{
	atom.Iframe: true, atom.Noembed: true, atom.Noframes: true, atom.Noscript: true, atom.Plaintext: true,
	atom.Script: true, atom.Style: true, atom.Textarea: true, atom.Title: true, atom.Xmp: true,
}

// unshownLen returns how much of b is in an element of that name, whose content has
// no tags and is not shown.
func unshownLen(b, name []byte) int {
	for n := 0; ; n++ {
		i := bytes.IndexByte(b[n:], '<')
		if i < 0 {
			return len(b)
		}
		n += i
		end := n + len("</") + len(name)
		if end < len(b) && b[n+1] == '/' && bytes.EqualFold(b[n+2:end], name) && (isBlank(b[end]) || b[end] == '/' || b[end] == '>') {
			return n
		}
	}
}

// element returns the element of that name, which is not longer than maxTagName.
func element(name []byte) atom.Atom {
	var lower [maxTagName]byte
	for i, c := range name {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		lower[i] = c
	}
	return atom.Lookup(lower[:len(name)])
}

// unescape returns a text with its line ends and character references as the
// tokenizer does.
func (h *htmlReader) unescape(b []byte) []byte {
	if h.text.pre > 0 && bytes.IndexByte(b, '\r') >= 0 {
		b = bytes.ReplaceAll(bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n")), []byte("\r"), []byte("\n"))
	}
	if bytes.IndexByte(b, '&') < 0 {
		return b
	}
	h.plain = h.plain[:0]
	for rest := b; ; {
		i := bytes.IndexByte(rest, '&')
		if i < 0 {
			h.plain = append(h.plain, rest...)
			return h.plain
		}
		h.plain = append(h.plain, rest[:i+1]...)
		switch rest = rest[i+1:]; {
		case len(rest) > 0 && isBlank(rest[0]):
		case bytes.HasPrefix(rest, []byte("amp;")):
			rest = rest[len("amp;"):]
		default:
			return []byte(html.UnescapeString(string(b)))
		}
	}
}

// textLen returns the length of the text that b begins with.
func textLen(b []byte) int {
	for n := 0; ; n++ {
		i := bytes.IndexByte(b[n:], '<')
		if i < 0 || n+i+1 == len(b) {
			return len(b)
		}
		n += i
		if c := b[n+1]; isLetter(c) || c == '/' || c == '!' || c == '?' {
			return n
		}
	}
}

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

// maxTagName is the longest name of a tag that is read as a plain one.
const maxTagName = 16

// plainTag returns the name and the length of a tag that b begins with; 0 if that
// is none, or has no end.
func plainTag(b []byte) (name []byte, n int) {
	i := 1
	if len(b) > 1 && b[1] == '/' {
		i = 2
	}
	start := i
	if i >= len(b) || !isLetter(b[i]) {
		return nil, 0
	}
	for i < len(b) && !isBlank(b[i]) && b[i] != '/' && b[i] != '>' {
		i++
	}
	name = b[start:i]
	if len(name) > maxTagName {
		return nil, 0
	}
	for {
		// HTML 13.2.5.32 to 13.2.5.40, as the tokenizer has them.
		for i < len(b) && isBlank(b[i]) {
			i++
		}
		if i >= len(b) {
			return name, 0
		}
		if b[i] == '>' {
			return name, i + 1
		}
		key := i
		for i < len(b) && !isBlank(b[i]) && b[i] != '/' && b[i] != '>' && (b[i] != '=' || i == key) {
			i++
		}
		for i < len(b) && isBlank(b[i]) {
			i++
		}
		if i >= len(b) {
			return name, 0
		}
		if b[i] == '/' {
			i++
			continue
		}
		if b[i] != '=' {
			continue
		}
		for i++; i < len(b) && isBlank(b[i]); {
			i++
		}
		if i >= len(b) {
			return name, 0
		}
		switch q := b[i]; q {
		case '>':
		case '"', '\'':
			end := bytes.IndexByte(b[i+1:], q)
			if end < 0 {
				return name, 0
			}
			i += end + 2
		default:
			for i < len(b) && !isBlank(b[i]) && b[i] != '>' {
				i++
			}
		}
	}
}
