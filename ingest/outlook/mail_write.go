package outlook

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"mime/quotedprintable"
	"strings"
	"unicode/utf8"
)

// output counts what is written, and ends writing when the context does.
type output struct {
	ctx context.Context
	w   io.Writer
	n   int64
}

func (o *output) Write(p []byte) (int, error) {
	if err := o.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := o.w.Write(p)
	o.n += int64(n)
	return n, err
}

// mailPart is a part of a mail that is to be written (RFC 2045 2.4).
type mailPart struct {
	head     string // its header fields, without an empty line
	transfer string // the widest encoding that is in it: 7bit, 8bit or binary; "" is 7bit
	parts    []*mailPart
	kind     string // Content-Type of a multipart without its boundary
	body     func(w io.Writer) error
}

// wider returns the wider of two encodings.
func wider(a, b string) string {
	rank := map[string]int{"8bit": 1, "binary": 2}
	if rank[b] > rank[a] {
		return b
	}
	return a
}

// multipart returns an entity of others, or the only one of them itself.
func multipart(kind string, parts ...*mailPart) *mailPart {
	if len(parts) == 1 {
		return parts[0]
	}
	e := &mailPart{kind: kind, parts: parts}
	for _, p := range parts {
		e.transfer = wider(e.transfer, p.transfer)
	}
	return e
}

// entity writes an entity, of which the header that comes before its own fields
// is written.
func (m *mailWriter) entity(e *mailPart) error {
	if e.kind == "" {
		if _, err := io.WriteString(m.out, e.head+"\r\n"); err != nil {
			return err
		}
		return e.body(m.out)
	}
	// No line of a part can be the boundary: what is encoded has no "=_", and the
	// rest is part of the file that was hashed.
	m.boundaries++
	boundary := fmt.Sprintf("=_%s_%d", m.hash, m.boundaries)
	head := e.head + foldField("Content-Type", e.kind+`; boundary="`+boundary+`"`)
	if e.transfer != "" {
		head += "Content-Transfer-Encoding: " + e.transfer + "\r\n"
	}
	for i, p := range e.parts {
		e.parts[i] = nil // it may hold a text
		if _, err := io.WriteString(m.out, head+"\r\n--"+boundary+"\r\n"); err != nil {
			return err
		}
		if err := m.entity(p); err != nil {
			return err
		}
		head = ""
	}
	_, err := io.WriteString(m.out, "\r\n--"+boundary+"--\r\n")
	return err
}

// scan is what a text is like.
type scan struct {
	size    int64
	high    int64 // bytes from 0x80 on
	longest int64 // line, in bytes
	bare    bool  // CR or LF alone
	control bool  // NUL and other control characters that mail may not keep
	utf8    bool
	zeros   int64
}

// scanText reads a text to its end. The error is one of r or of the context.
func scanText(ctx context.Context, r io.Reader) (scan, error) {
	s := scan{utf8: true}
	buf := make([]byte, 32<<10)
	var line int64
	cr := false
	keep := 0 // bytes of a character that is cut off
	for {
		if err := ctx.Err(); err != nil {
			return s, err
		}
		n, err := r.Read(buf[keep:])
		for _, c := range buf[keep : keep+n] {
			switch {
			case c >= 0x80:
				s.high++
			case c >= ' ' && c < 0x7F:
			case c == 0:
				s.zeros++
				s.control = true
			case c != '\r' && c != '\n' && c != '\t' && c != 0x1B:
				s.control = true
			}
			switch {
			case c == '\n':
				s.bare = s.bare || !cr
				s.longest = max(s.longest, line)
				line, cr = 0, false
				continue
			case cr:
				s.bare = true
			}
			if cr = c == '\r'; !cr {
				line++
			}
		}
		s.size += int64(n)
		if s.utf8 && s.high > 0 {
			b := buf[:keep+n]
			keep = 0
			for len(b) > 0 {
				if b[0] < utf8.RuneSelf {
					b = b[1:]
					continue
				}
				if !utf8.FullRune(b) && err == nil {
					keep = copy(buf, b)
					break
				}
				r, size := utf8.DecodeRune(b)
				if r == utf8.RuneError && size == 1 {
					s.utf8 = false
					break
				}
				b = b[size:]
			}
		}
		switch {
		case err == io.EOF:
			s.bare = s.bare || cr
			s.longest = max(s.longest, line)
			return s, nil
		case err != nil:
			return s, err
		}
	}
}

// maxLine is the longest line of mail without its line end (RFC 5322 2.1.1).
const maxLine = 998

// encoding returns how the text is to be encoded for mail.
func (s scan) encoding() string {
	switch {
	case s.bare || s.zeros > 0 || s.high*3 > s.size:
		return "base64"
	case s.high > 0 || s.longest > maxLine || s.control:
		return "quoted-printable"
	}
	return "7bit"
}

// raw returns the transfer encoding that what is not encoded needs.
func (s scan) raw() string {
	switch {
	case s.bare || s.zeros > 0 || s.longest > maxLine:
		return "binary"
	case s.high > 0:
		return "8bit"
	}
	return ""
}

// encode copies r to w in a transfer encoding (RFC 2045 6).
func encode(w io.Writer, r io.Reader, encoding string) error {
	switch encoding {
	case "quoted-printable":
		q := quotedprintable.NewWriter(w)
		if _, err := io.Copy(q, r); err != nil {
			return err
		}
		return q.Close()
	case "base64":
		return encodeBase64(w, r)
	}
	_, err := io.Copy(w, r)
	return err
}

// encodeBase64 writes lines of 76 characters (RFC 2045 6.8).
func encodeBase64(w io.Writer, r io.Reader) error {
	const in, lines = 57, 400
	buf := make([]byte, in*lines)
	out := make([]byte, 0, 78*lines)
	for {
		n, err := io.ReadFull(r, buf)
		out = out[:0]
		for b := buf[:n]; len(b) > 0; {
			k := min(in, len(b))
			out = base64.StdEncoding.AppendEncode(out, b[:k])
			out = append(out, '\r', '\n')
			b = b[k:]
		}
		if _, err := w.Write(out); err != nil {
			return err
		}
		switch err {
		case nil:
		case io.EOF, io.ErrUnexpectedEOF:
			return nil
		default:
			return err
		}
	}
}

// wideReader reads UTF-16LE as UTF-8. NUL is left out.
type wideReader struct {
	r    io.Reader
	in   []byte
	rest int // bytes in in that were not looked at
	high rune
	buf  []byte
	out  []byte // what of buf is not read yet
	err  error
}

func newWideReader(r io.Reader) *wideReader { return &wideReader{r: r, in: make([]byte, 8<<10)} }

func (w *wideReader) Read(p []byte) (int, error) {
	for len(w.out) == 0 && w.err == nil {
		n, err := w.r.Read(w.in[w.rest:])
		n += w.rest
		out := w.buf[:0]
		b := w.in[:n]
		for ; len(b) >= 2; b = b[2:] {
			u := rune(b[0]) | rune(b[1])<<8
			switch {
			case u >= 0xD800 && u < 0xDC00:
				if w.high != 0 {
					out = utf8.AppendRune(out, utf8.RuneError)
				}
				w.high = u
				continue
			case u >= 0xDC00 && u < 0xE000:
				if w.high == 0 {
					u = utf8.RuneError
				} else {
					u = 0x10000 + (w.high-0xD800)<<10 + (u - 0xDC00)
				}
			case w.high != 0:
				out = utf8.AppendRune(out, utf8.RuneError)
			}
			w.high = 0
			if u != 0 {
				out = utf8.AppendRune(out, u)
			}
		}
		w.rest = copy(w.in, b)
		if w.err = err; err != nil && w.high != 0 {
			out = utf8.AppendRune(out, utf8.RuneError)
		}
		w.buf, w.out = out, out
	}
	if len(w.out) > 0 {
		n := copy(p, w.out)
		w.out = w.out[n:]
		return n, nil
	}
	return 0, w.err
}

// crlfReader reads a text with the line ends CR LF.
type crlfReader struct {
	r   io.Reader
	in  []byte
	buf []byte
	out []byte // what of buf is not read yet
	cr  bool   // the last byte was one
	err error
}

func newCRLFReader(r io.Reader) *crlfReader { return &crlfReader{r: r, in: make([]byte, 8<<10)} }

func (c *crlfReader) Read(p []byte) (int, error) {
	for len(c.out) == 0 && c.err == nil {
		n, err := c.r.Read(c.in)
		out := c.buf[:0]
		for _, b := range c.in[:n] {
			switch {
			case b == '\n' && c.cr:
			case b == '\r' || b == '\n':
				out = append(out, '\r', '\n')
			default:
				out = append(out, b)
			}
			c.cr = b == '\r'
		}
		c.buf, c.out, c.err = out, out, err
	}
	if len(c.out) > 0 {
		n := copy(p, c.out)
		c.out = c.out[n:]
		return n, nil
	}
	return 0, c.err
}

// Header fields.

// foldField returns a header field of ASCII with its line ends, in lines of at
// most 76 characters where it has blanks to fold at (RFC 5322 2.2.3), and of at
// most 998 in any case.
func foldField(name, value string) string {
	var b strings.Builder
	b.WriteString(name)
	b.WriteByte(':')
	column := len(name) + 1
	for i, word := range strings.Split(value, " ") {
		for len(word) > 900 { // nothing that is right has such words
			b.WriteString("\r\n " + word[:900])
			word, column = word[900:], 901
		}
		if i > 0 && column+1+len(word) > 76 && word != "" {
			b.WriteString("\r\n")
			column = 0
		}
		b.WriteString(" " + word)
		column += 1 + len(word)
	}
	return strings.TrimRight(b.String(), " ") + "\r\n"
}

// textField returns a header field whose value is a text (RFC 5322 3.6.5), "" if
// it is empty.
func textField(name, text string) string {
	if text = oneLine(text); text == "" {
		return ""
	}
	return foldField(name, encodeText(text))
}

// encodeText returns a text as it may stand in a header: in encoded words
// (RFC 2047) unless it is plain ASCII.
func encodeText(s string) string {
	if isPlain(s) {
		return s
	}
	return encodedWords(s)
}

// isPlain reports whether a text may stand in a header as it is.
func isPlain(s string) bool {
	word := 0
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ' || c > '~':
			return false
		case c == ' ':
			word = 0
		default:
			if word++; word > 900 {
				return false
			}
		}
	}
	return !strings.Contains(s, "=?")
}

// encodedWords returns a text as encoded words with a blank between them. They
// may stand in a phrase too (RFC 2047 5).
func encodedWords(s string) string {
	const most = 52 // of the 75 that a word may have, so that a line with the name of the field has 76
	safe := func(c byte) bool {
		return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '!' || c == '*' || c == '+' || c == '-' || c == '/'
	}
	s = strings.ToValidUTF8(s, "\uFFFD")
	others := 0
	for i := range len(s) {
		if !safe(s[i]) && s[i] != ' ' {
			others++
		}
	}
	var words []string
	if others*3 > len(s) {
		for len(s) > 0 {
			n := min(most/4*3, len(s))
			for n < len(s) && !utf8.RuneStart(s[n]) {
				n--
			}
			words = append(words, "=?utf-8?b?"+base64.StdEncoding.EncodeToString([]byte(s[:n]))+"?=")
			s = s[n:]
		}
		return strings.Join(words, " ")
	}
	var word []byte
	for len(s) > 0 {
		_, size := utf8.DecodeRuneInString(s)
		var c []byte
		for _, b := range []byte(s[:size]) {
			switch {
			case b == ' ':
				c = append(c, '_')
			case safe(b):
				c = append(c, b)
			default:
				c = fmt.Appendf(c, "=%02X", b)
			}
		}
		if len(word)+len(c) > most {
			words = append(words, "=?utf-8?q?"+string(word)+"?=")
			word = word[:0]
		}
		word = append(word, c...)
		s = s[size:]
	}
	return strings.Join(append(words, "=?utf-8?q?"+string(word)+"?="), " ")
}

// phrase returns a display name as it may stand in an address field (RFC 5322
// 3.2.5).
func phrase(s string) string {
	switch {
	case !isPlain(s):
		return encodedWords(s)
	case strings.ContainsAny(s, `()<>[]:;@\,."`) || strings.Contains(s, "  "):
		return quote(s)
	}
	return s
}

func quote(s string) string { return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"` }

// token reports whether a text is a token (RFC 2045 5.1).
func token(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c > '~' || strings.IndexByte(`()<>@,;:\"/[]?=`, c) >= 0 {
			return false
		}
	}
	return s != ""
}

// parameter returns a parameter of a header field of MIME with the semicolon
// before it: of what is not ASCII, or long, in parts and in UTF-8 (RFC 2231).
func parameter(name, value string) string {
	value = strings.ToValidUTF8(value, "\uFFFD")
	if isPlain(value) && len(value) <= 60 {
		if token(value) {
			return "; " + name + "=" + value
		}
		return "; " + name + "=" + quote(value)
	}
	var parts []string
	var part []byte
	for s := value; len(s) > 0; {
		_, size := utf8.DecodeRuneInString(s)
		var c []byte
		for _, b := range []byte(s[:size]) {
			if b < 0x80 && token(string(rune(b))) && b != '*' && b != '\'' && b != '%' {
				c = append(c, b)
			} else {
				c = fmt.Appendf(c, "%%%02X", b)
			}
		}
		if len(part)+len(c) > 54 {
			parts = append(parts, string(part))
			part = part[:0]
		}
		part = append(part, c...)
		s = s[size:]
	}
	parts = append(parts, string(part))
	if len(parts) == 1 {
		return "; " + name + "*=utf-8''" + parts[0]
	}
	var b strings.Builder
	for i, p := range parts {
		fmt.Fprintf(&b, "; %s*%d*=", name, i)
		if i == 0 {
			b.WriteString("utf-8''")
		}
		b.WriteString(p)
	}
	return b.String()
}
