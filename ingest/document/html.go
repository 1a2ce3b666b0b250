package document

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"unicode"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// markup is told what HTML holds, in order. What it is given is good until it
// returns, and its error ends the reading.
type markup interface {
	// text is told of text, with its character references resolved. A long one
	// may come in pieces.
	text([]byte) error
	// tag is told of a tag; tag is 0 if HTML has no element of that name.
	tag(kind html.TokenType, tag atom.Atom, attributes attributes) error
}

// attributes returns the next attribute of a start tag, false after the last.
type attributes func() (key, value []byte, ok bool)

// readHTML reads HTML (WHATWG HTML 13.2.5), which any input is; comments and the
// like are passed over. Memory is bounded by longest, the most bytes that a tag,
// a text or a comment may have: a longer one ends the reading, with what was read
// of it, and rest is what follows. Else rest is nil. The error is one of r or m.
func readHTML(r io.Reader, longest int, m markup) (rest io.Reader, err error) {
	z := html.NewTokenizer(r)
	z.SetMaxBuf(longest)
	more := false
	next := func() (key, value []byte, ok bool) {
		if !more {
			return nil, nil, false
		}
		key, value, more = z.TagAttr()
		return key, value, true
	}
	for err == nil {
		switch kind := z.Next(); kind {
		case html.ErrorToken:
			switch err := z.Err(); {
			case errors.Is(err, html.ErrBufferExceeded):
				return io.MultiReader(bytes.NewReader(bytes.Clone(z.Buffered())), r), nil
			case errors.Is(err, io.EOF):
				return nil, nil
			default:
				return nil, err
			}
		case html.TextToken:
			err = m.text(z.Text())
		case html.StartTagToken, html.SelfClosingTagToken, html.EndTagToken:
			var name []byte
			name, more = z.TagName()
			err = m.tag(kind, atom.Lookup(name), next)
		}
	}
	return nil, err
}

// maxToken is the longest tag, text or comment that counts for the identity of a
// message as HTML; what follows a longer one counts as it stands.
const maxToken = 1 << 20

// visible writes what a reader of HTML sees, and where its links and pictures
// lead. Where a link only repeats its own text it may have been made of plain
// text, and is left out.
func visible(w io.Writer, r io.Reader) error {
	v := &visibleWriter{w: w}
	rest, err := readHTML(r, maxToken, v)
	if err == nil && rest != nil {
		_, err = io.Copy(w, rest)
	}
	return errors.Join(err, v.closeLink())
}

type visibleWriter struct {
	w      io.Writer
	hidden int    // elements open whose text is not shown
	link   []byte // where the open link leads; empty if none is open
	said   []byte // the text in it
	buf    []byte
}

func (v *visibleWriter) text(b []byte) error {
	if v.hidden > 0 {
		return nil
	}
	if len(v.link) > 0 && len(v.said) < 4096 {
		v.said = append(v.said, b...)
	}
	_, err := v.w.Write(b)
	return err
}

func (v *visibleWriter) tag(kind html.TokenType, tag atom.Atom, next attributes) error {
	switch tag {
	case atom.Style, atom.Script, atom.Title:
		switch {
		case kind == html.StartTagToken:
			v.hidden++
		case kind == html.EndTagToken && v.hidden > 0:
			v.hidden--
		}
		return nil
	case atom.A:
		if err := v.closeLink(); err != nil {
			return err
		}
	case atom.Img:
	default:
		return nil
	}
	if kind == html.EndTagToken {
		return nil
	}
	for key, value, ok := next(); ok; key, value, ok = next() {
		switch {
		case tag == atom.A && string(key) == "href":
			v.link = append(v.link[:0], value...)
		case tag == atom.Img && string(key) == "src":
			v.buf = appendCompact(v.buf[:0], value)
			if err := v.address(v.buf); err != nil {
				return err
			}
		}
	}
	return nil
}

// closeLink ends the link that is open.
func (v *visibleWriter) closeLink() error {
	if len(v.link) == 0 {
		return nil
	}
	v.buf = appendCompact(v.buf[:0], v.link)
	n := len(v.buf)
	v.buf = appendCompact(v.buf, v.said)
	to, said := v.buf[:n], v.buf[n:]
	v.link, v.said = v.link[:0], v.said[:0]
	if len(to) == 0 || bytes.Equal(to, said) || bytes.Equal(bytes.TrimPrefix(to, []byte("mailto:")), said) ||
		bytes.Equal(bytes.TrimSuffix(to, []byte("/")), said) || string(to) == "http://"+string(said) {
		return nil
	}
	return v.address(to)
}

func (v *visibleWriter) address(to []byte) error {
	for _, b := range [...][]byte{{0}, to, {0}} {
		if _, err := v.w.Write(b); err != nil {
			return err
		}
	}
	return nil
}

// maxMarkup is how many bytes of HTML are looked at for its text, maxShown the
// longest tag, text or comment in it.
const (
	maxMarkup = 16 << 20
	maxShown  = 4 << 20
)

// plainText returns at most limit bytes of what a reader of the HTML sees as
// text, without control characters: white space is collapsed, blocks begin on a
// line of their own. Any input is HTML.
func plainText(r io.Reader, limit int) (text, error) {
	bounded := &io.LimitedReader{R: r, N: maxMarkup}
	p := &plainWriter{limit: limit}
	rest, err := readHTML(bounded, maxShown, p)
	if err != nil && !errors.Is(err, errFull) {
		return text{}, err
	}
	s := strings.TrimSpace(cut(p.out.String(), limit))
	return text{s, err != nil || rest != nil || p.full() || bounded.N == 0}, nil
}

// errFull ends the reading of HTML of which there is text enough.
var errFull = errors.New("text is long enough")

// plainWriter takes the text out of HTML.
type plainWriter struct {
	limit  int
	out    strings.Builder
	hidden int  // elements open whose text is not shown
	space  bool // white space comes before what follows
	lines  int  // line ends that come before what follows
	pre    int  // how many pre elements are open
}

func (p *plainWriter) full() bool { return p.out.Len() > p.limit }

func (p *plainWriter) text(b []byte) error {
	if p.hidden > 0 {
		return nil
	}
	for _, r := range string(b) {
		switch {
		case p.pre > 0 && r == '\n':
			p.lines++
			p.space = false
		case unicode.IsSpace(r):
			p.space = true
		case unicode.IsControl(r), r == '\u00ad', r == '\u200b', r == '\ufeff':
			// Soft hyphens and spaces without width: not seen, and in the way of a
			// match.
		default:
			if p.write(r); p.full() {
				return errFull
			}
		}
	}
	return nil
}

func (p *plainWriter) write(r rune) {
	switch {
	case p.out.Len() == 0:
	case p.lines > 0:
		p.out.WriteString("\n\n"[:min(p.lines, 2)])
	case p.space:
		p.out.WriteByte(' ')
	}
	p.lines, p.space = 0, false
	p.out.WriteRune(r)
}

func (p *plainWriter) tag(kind html.TokenType, tag atom.Atom, _ attributes) error {
	end := kind == html.EndTagToken
	switch tag {
	case atom.Script, atom.Style, atom.Title, atom.Template, atom.Noscript, atom.Iframe, atom.Noembed, atom.Noframes:
		// HTML knows no empty elements of these, even if they are written so.
		if !end {
			p.hidden++
		} else {
			p.hidden = max(p.hidden-1, 0)
		}
		return nil
	}
	if p.hidden > 0 {
		return nil
	}
	switch tag {
	case atom.P, atom.H1, atom.H2, atom.H3, atom.H4, atom.H5, atom.H6, atom.Table, atom.Ul, atom.Ol, atom.Dl, atom.Blockquote:
		p.lines = max(p.lines, 2)
	case atom.Pre:
		if p.lines = max(p.lines, 2); !end {
			p.pre++
		} else {
			p.pre = max(p.pre-1, 0)
		}
	case atom.Br:
		p.lines++
	case atom.Div, atom.Tr, atom.Li, atom.Dt, atom.Dd, atom.Hr, atom.Section, atom.Article, atom.Header, atom.Footer, atom.Main,
		atom.Nav, atom.Aside, atom.Address, atom.Form, atom.Fieldset, atom.Center, atom.Caption, atom.Figure, atom.Figcaption, atom.Body:
		p.lines = max(p.lines, 1)
	case atom.Td, atom.Th:
		p.space = true
	}
	return nil
}
