package outlook

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"

	"postroom/ingest/message"
)

// Values of PidTagNativeBody (MS-OXCMSG 2.2.1.56.2).
const (
	nativePlain  = 1
	nativeHTML   = 3
	nativeSigned = 4
)

// body sets the text of the message (MS-OXCMAIL 2.2.3.3).
func (c *converter) body(o *object, m *message.Message, l *message.Layout, root *message.Part, place string) error {
	plain := l.Plain
	if plain == nil && l.HTML == nil && l.Other != nil && (l.Other.Type == "text/enriched" || l.Other.Type == "text/richtext") {
		plain = l.Other
	}
	native, page := int32(nativePlain), int32(0)
	shown := plain
	if l.HTML != nil {
		native, shown = nativeHTML, l.HTML
		var err error
		if page, err = c.html(o, m, l.HTML, place); err != nil {
			return err
		}
	}
	switch {
	case plain != nil:
		t, r, err := m.OpenText(plain)
		if err != nil {
			return err
		}
		if page == 0 {
			if page = codePages[t.Charset]; page == 0 {
				page = utf8Page
			}
		}
		if plain == l.Other {
			r = enriched(r)
		}
		o.stream(pidTagBody, func(w io.Writer) error {
			lw := &lineWriter{w: stopper{c.ctx, w}}
			if _, err := io.Copy(lw, r); err != nil {
				return err
			}
			return lw.end()
		})
	case l.HTML != nil:
		_, r, err := m.OpenText(l.HTML)
		if err != nil {
			return err
		}
		o.stream(pidTagBody, func(w io.Writer) error {
			lw := &lineWriter{w: stopper{c.ctx, w}}
			if err := htmlText(lw, r); err != nil {
				return err
			}
			return lw.end()
		})
	}
	if shown == nil {
		return o.err
	}
	if root.Protection() == message.ClearSigned {
		native = nativeSigned
	}
	o.int32(pidTagInternetCodepage, page)
	o.int32(pidTagNativeBody, native)
	o.text(pidTagBodyContentID, shown.ContentID)
	o.text(pidTagBodyContentLocation, shown.Location)
	return o.err
}

// html sets PidTagHtml to the bytes of the part, and returns their code page.
func (c *converter) html(o *object, m *message.Message, p *message.Part, place string) (page int32, err error) {
	t, text, err := m.OpenText(p)
	if err != nil {
		return 0, err
	}
	page = codePages[t.Charset]
	if page == 0 {
		// Windows has no code page for it, or none that HTML may be in.
		c.lose(place, "the HTML is now in UTF-8, as Windows has no code page for %s", t.Charset)
		o.stream(pidTagHTML, func(w io.Writer) error { return c.transcode(w, text) })
		return utf8Page, o.err
	}
	windows := false
	o.stream(pidTagHTML, func(w io.Writer) error {
		_, err := io.Copy(&c1Finder{w: stopper{c.ctx, w}, found: &windows}, m.Open(p))
		return err
	})
	if page == 28591 && windows {
		page = 1252
	}
	return page, o.err
}

// c1Finder finds the bytes that are control characters in ISO-8859-1, where
// windows-1252 has letters and quotes: then that is what is meant.
type c1Finder struct {
	w     io.Writer
	found *bool
}

func (f *c1Finder) Write(p []byte) (int, error) {
	if !*f.found {
		for _, b := range p {
			if b >= 0x80 && b < 0xA0 {
				*f.found = true
				break
			}
		}
	}
	return f.w.Write(p)
}

// metaCharset finds the charset that HTML declares for itself.
var metaCharset = regexp.MustCompile(`(?i)(<meta\b[^>]*\bcharset\s*=\s*["']?)[^\s"'/>;]+`)

// transcode writes HTML that has become UTF-8, and says so in it.
func (c *converter) transcode(w io.Writer, text io.Reader) error {
	head := make([]byte, 8<<10)
	n, err := io.ReadFull(text, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	out := stopper{c.ctx, w}
	if _, err := out.Write(metaCharset.ReplaceAll(head[:n], []byte("${1}utf-8"))); err != nil {
		return err
	}
	_, err = io.Copy(out, text)
	return err
}

const utf8Page = 65001

// codePages has the code pages of Windows (PidTagInternetCodepage) for charsets
// by their names in message.Text. HTML in UTF-7, -16 and -32 Outlook does not read.
var codePages = map[string]int32{
	"us-ascii": 20127, "utf-8": utf8Page,
	"iso-8859-1": 28591, "iso-8859-2": 28592, "iso-8859-3": 28593, "iso-8859-4": 28594, "iso-8859-5": 28595,
	"iso-8859-6": 28596, "iso-8859-7": 28597, "iso-8859-8": 28598, "iso-8859-8-i": 38598, "iso-8859-9": 28599,
	"iso-8859-13": 28603, "iso-8859-15": 28605,
	"windows-874": 874, "windows-1250": 1250, "windows-1251": 1251, "windows-1252": 1252, "windows-1253": 1253,
	"windows-1254": 1254, "windows-1255": 1255, "windows-1256": 1256, "windows-1257": 1257, "windows-1258": 1258,
	"ibm437": 437, "ibm850": 850, "ibm852": 852, "ibm855": 855, "ibm00858": 858, "ibm860": 860, "ibm862": 862,
	"ibm863": 863, "ibm865": 865, "ibm866": 866,
	"koi8-r": 20866, "koi8-u": 21866, "macintosh": 10000, "x-mac-cyrillic": 10007,
	"shift_jis": 932, "euc-jp": 51932, "iso-2022-jp": 50220,
	"euc-kr": 949, "iso-2022-kr": 50225,
	"gbk": 936, "gb2312": 936, "gb18030": 54936, "hz-gb-2312": 52936, "big5": 950,
}

// longestTag is the longest tag or text of HTML that is read as one.
const longestTag = 256 << 10

// htmlText writes HTML as plain text: its text with white space as a browser
// shows it, a line for each block. What follows a tag that is too long is left
// out; the HTML itself has it.
func htmlText(w io.Writer, r io.Reader) error {
	z := html.NewTokenizer(r)
	z.SetMaxBuf(longestTag)
	var out strings.Builder
	skip, pre := atom.Atom(0), 0
	lines, space, any := 0, false, false // what is due before the next text
	for {
		kind := z.Next()
		switch kind {
		case html.ErrorToken:
			if err := z.Err(); !errors.Is(err, io.EOF) && !errors.Is(err, html.ErrBufferExceeded) {
				return err
			}
			if !any {
				out.WriteByte(' ')
			}
			_, err := io.WriteString(w, out.String())
			return err
		case html.TextToken:
			if skip != 0 {
				continue
			}
			for _, c := range string(z.Text()) {
				if pre == 0 && (c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f') {
					space = true
					continue
				}
				if any && lines > 0 {
					out.WriteString(strings.Repeat("\n", min(lines, 2)))
				} else if any && space {
					out.WriteByte(' ')
				}
				lines, space, any = 0, false, true
				out.WriteRune(c)
			}
		case html.StartTagToken, html.SelfClosingTagToken, html.EndTagToken:
			name, _ := z.TagName()
			a := atom.Lookup(name)
			end := kind == html.EndTagToken
			switch a {
			case atom.Script, atom.Style, atom.Title, atom.Template:
				if end && skip == a {
					skip = 0
				} else if kind == html.StartTagToken && skip == 0 {
					skip = a
				}
			case atom.Br:
				lines++
				if any && lines > 1 {
					lines = 2
				}
			case atom.Pre:
				if !end {
					pre++
				} else if pre > 0 {
					pre--
				}
				lines = max(lines, 1)
			case atom.P, atom.H1, atom.H2, atom.H3, atom.H4, atom.H5, atom.H6, atom.Blockquote, atom.Ul, atom.Ol, atom.Table:
				lines = 2
			case atom.Div, atom.Tr, atom.Hr, atom.Dt, atom.Dd, atom.Section, atom.Article, atom.Header, atom.Footer, atom.Center, atom.Form:
				lines = max(lines, 1)
			case atom.Td, atom.Th:
				space = true
			case atom.Li:
				lines = max(lines, 1)
				if !end && skip == 0 {
					if any {
						out.WriteString(strings.Repeat("\n", min(lines, 2)))
					}
					out.WriteString("* ")
					lines, space, any = 0, false, true
				}
			}
		}
		if out.Len() > 16<<10 {
			if _, err := io.WriteString(w, out.String()); err != nil {
				return err
			}
			out.Reset()
		}
	}
}

// enriched returns the text of text/enriched (RFC 1896) without its formatting.
func enriched(r io.Reader) io.Reader { return &enrichedReader{r: r} }

type enrichedReader struct {
	r    io.Reader
	tag  []byte // of a command that is being read, nil outside of one
	out  bytes.Buffer
	hide bool // in a <param>
	err  error
}

func (e *enrichedReader) Read(p []byte) (int, error) {
	buf := make([]byte, 4<<10)
	for e.out.Len() == 0 && e.err == nil {
		n, err := e.r.Read(buf)
		for _, b := range buf[:n] {
			e.put(b)
		}
		e.err = err
	}
	if e.out.Len() > 0 {
		return e.out.Read(p)
	}
	return 0, e.err
}

func (e *enrichedReader) put(b byte) {
	switch {
	case e.tag == nil && b == '<':
		e.tag = []byte{}
	case e.tag == nil:
		if !e.hide {
			e.out.WriteByte(b)
		}
	case b == '<' && len(e.tag) == 0: // "<<" is a "<"
		e.tag = nil
		if !e.hide {
			e.out.WriteByte('<')
		}
	case b == '>':
		switch strings.ToLower(string(e.tag)) {
		case "param":
			e.hide = true
		case "/param":
			e.hide = false
		}
		e.tag = nil
	case len(e.tag) < 60: // the longest name of a command
		e.tag = append(e.tag, b)
	}
}
