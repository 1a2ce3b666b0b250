package outlook

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"regexp"
	"strings"

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
	plain, rich := l.Plain, l.HTML
	if plain == nil && rich == nil && l.Other != nil && (l.Other.Type == "text/enriched" || l.Other.Type == "text/richtext") {
		plain = l.Other
	}
	native, page := int32(nativePlain), int32(0)
	var shown *message.Part
	var text io.Reader
	if rich != nil {
		t, r, err := open(m, rich)
		if err != nil {
			return err
		}
		if r != nil {
			native, shown, text = nativeHTML, rich, r
			if page = codePages[t.Charset]; page == 0 {
				// Windows has no code page for it, or none that HTML may be in.
				c.lose(place, "the HTML is now in UTF-8, as Windows has no code page for %s", t.Charset)
				page = utf8Page
				o.stream(pidTagHTML, func(w io.Writer) error { return c.transcode(w, r) })
				if _, text, err = open(m, rich); err != nil {
					return err
				}
			} else {
				page = c.html(o, m, rich, page)
			}
		}
	}
	if plain != nil {
		t, r, err := open(m, plain)
		if err != nil {
			return err
		}
		if r != nil && shown == nil {
			shown = plain
			if page = codePages[t.Charset]; page == 0 {
				page = utf8Page
			}
		}
		if r != nil {
			rich, text = nil, r
			if plain == l.Other {
				text = enriched(r)
			}
		}
	}
	if shown == nil {
		return o.err
	}
	o.stream(pidTagBody, func(w io.Writer) error {
		lw := newLineWriter(stopper{c.ctx, w})
		var err error
		if rich != nil {
			err = htmlText(lw, text)
		} else {
			_, err = io.Copy(lw, text)
		}
		if err != nil {
			return err
		}
		return lw.end()
	})
	if root.Protection() == message.ClearSigned {
		native = nativeSigned
	}
	o.int32(pidTagInternetCodepage, page)
	o.int32(pidTagNativeBody, native)
	o.text(pidTagBodyContentID, shown.ContentID)
	o.text(pidTagBodyContentLocation, shown.Location)
	return o.err
}

// open returns a text as UTF-8, nil if it is empty.
func open(m *message.Message, p *message.Part) (message.Text, io.Reader, error) {
	t, r, err := m.OpenText(p)
	if err != nil {
		return t, nil, err
	}
	b := bufio.NewReader(r)
	if _, err := b.Peek(1); errors.Is(err, io.EOF) {
		return t, nil, nil
	} else if err != nil {
		return t, nil, err
	}
	return t, b, nil
}

// html sets PidTagHtml to the bytes of the part, and returns their code page.
func (c *converter) html(o *object, m *message.Message, p *message.Part, page int32) int32 {
	windows := false
	o.stream(pidTagHTML, func(w io.Writer) error {
		_, err := io.Copy(&c1Finder{w: stopper{c.ctx, w}, found: &windows}, m.Open(p))
		return err
	})
	if page == 28591 && windows {
		return 1252
	}
	return page
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

// textWriter writes words with the white space that is due before them.
type textWriter struct {
	w     io.Writer
	buf   []byte
	lines int // line ends that are due
	space bool
	any   bool // there was a word
	pre   int  // white space stands for itself
	err   error
}

func isBlank(c byte) bool {
	return c <= ' ' && (c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f')
}

func (t *textWriter) text(b []byte) {
	if t.pre > 0 {
		if len(b) > 0 {
			t.word(b)
		}
		return
	}
	for len(b) > 0 {
		n := 0
		for n < len(b) && !isBlank(b[n]) {
			n++
		}
		if n == 0 {
			t.space = true
			b = b[1:]
			continue
		}
		t.word(b[:n])
		b = b[n:]
	}
}

func (t *textWriter) word(b []byte) {
	switch {
	case !t.any:
	case t.lines > 0:
		t.buf = append(t.buf, "\n\n"[:t.lines]...)
	case t.space:
		t.buf = append(t.buf, ' ')
	}
	t.lines, t.space, t.any = 0, false, true
	t.buf = append(t.buf, b...)
	if len(t.buf) > 4<<10 {
		t.flush()
	}
}

func (t *textWriter) flush() {
	if t.err == nil {
		_, t.err = t.w.Write(t.buf)
	}
	t.buf = t.buf[:0]
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
