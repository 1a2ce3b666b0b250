package outlook

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"regexp"
	"slices"
	"strings"

	"postroom/ingest/message"
	"postroom/ingest/message/tnef"
	"postroom/ingest/message/tnef/codepage"
	"postroom/ingest/message/tnef/rtf"
)

// Values of PidTagNativeBody (MS-OXCMSG 2.2.1.56.2).
const (
	nativePlain  = 1
	nativeRTF    = 2
	nativeHTML   = 3
	nativeSigned = 4
)

// body is the text of a message, in up to three forms.
type body struct {
	native int32
	page   int32         // code page of the HTML, or of what there was instead
	shown  *message.Part // that the text is of, nil if it is of TNEF

	// html and rtf write PidTagHtml and PidTagRtfCompressed; nil if there is none.
	html, rtf func(io.Writer) error
	// text opens what the HTML says, in UTF-8.
	text func() (io.Reader, error)
	// plain is PidTagBody in UTF-8. Without it the text is made of text, else of
	// unpacked, the RTF.
	plain    io.Reader
	unpacked func() (io.Reader, error)
}

// body sets the text of the message (MS-OXCMAIL 2.2.3.3): plain text, and HTML or
// RTF with it. A message of the calendar has RTF that wraps the HTML, since it must
// not have HTML (2.2.3.3.2.1); any other has the HTML alone, whose bytes are those
// of the sender, so that nothing has to tell which of two is the newer.
func (c *converter) body(o *object, m *message.Message, l *layout, root *message.Part, class, place string) error {
	b := &body{native: nativePlain}
	if err := c.plainText(b, m, l); err != nil {
		return err
	}
	if err := c.richText(b, m, l, place); err != nil {
		return err
	}
	switch {
	case b.html != nil && ofCalendar(class):
		b.native = nativeRTF
		o.stream(pidTagRtfCompressed, func(w io.Writer) error {
			return rtf.Compress(stopper{c.ctx, w}, func(w io.Writer) error {
				text, err := b.text()
				if err != nil {
					return err
				}
				return rtf.Encapsulate(w, text)
			})
		})
		o.bool(pidTagRtfInSync, true)
	case b.html != nil:
		b.native = nativeHTML
		o.stream(pidTagHTML, b.html)
	case b.rtf != nil:
		b.native = nativeRTF
		o.stream(pidTagRtfCompressed, b.rtf)
		o.bool(pidTagRtfInSync, true)
	case b.plain == nil:
		return o.err
	}
	if b.plain == nil && b.text == nil {
		if err := c.rtfBody(b, place); err != nil {
			return err
		}
	}
	if b.plain != nil || b.text != nil {
		o.stream(pidTagBody, func(w io.Writer) error {
			lw := newLineWriter(stopper{c.ctx, w})
			var err error
			if b.plain != nil {
				_, err = io.Copy(lw, b.plain)
			} else {
				var text io.Reader
				if text, err = b.text(); err == nil {
					err = htmlText(lw, text)
				}
			}
			if err != nil {
				return err
			}
			return lw.end()
		})
	}
	if root != nil && root.Protection() == message.ClearSigned {
		b.native = nativeSigned
	}
	if b.page == 0 {
		b.page = utf8Page
	}
	o.int32(pidTagInternetCodepage, b.page)
	o.int32(pidTagNativeBody, b.native)
	if b.shown != nil {
		o.text(pidTagBodyContentID, b.shown.ContentID)
		o.text(pidTagBodyContentLocation, b.shown.Location)
	}
	return o.err
}

// ofCalendar reports whether a message is a meeting or an appointment.
func ofCalendar(class string) bool {
	class = strings.ToLower(class)
	return strings.HasPrefix(class, "ipm.schedule.meeting.") || class == "ipm.appointment" || strings.HasPrefix(class, "ipm.appointment.")
}

// plainText finds the plain text: that of the message goes first.
func (c *converter) plainText(b *body, m *message.Message, l *layout) error {
	if l.Plain != nil {
		t, r, err := open(m, l.Plain)
		if err != nil {
			return err
		}
		if r != nil {
			if flowedText(l.Plain) {
				r = reflow(r, strings.EqualFold(l.Plain.Params["delsp"], "yes"))
			}
			b.plain, b.shown, b.page = r, l.Plain, codePages[t.Charset]
			return nil
		}
	}
	w := l.tnef
	if w == nil || !present(w.Properties, tnef.PidTagBody) {
		return nil
	}
	p := w.Properties.Get(tnef.PidTagBody)
	if t := p.Tag.Type(); t != tnef.TypeString && t != tnef.TypeString8 {
		return nil
	}
	r, err := p.OpenText(w.CodePage)
	b.plain, b.page = r, int32(w.CodePage)
	return err
}

// richText finds the text with its formatting: HTML before RTF, and what stands in
// the message before what TNEF has.
func (c *converter) richText(b *body, m *message.Message, l *layout, place string) error {
	if l.pieces != nil {
		b.shown, b.page = l.pieces[0].Part, utf8Page
		b.text = func() (io.Reader, error) { return l.aggregated(m), nil }
		b.html = c.copier(b.text)
		return nil
	}
	if l.HTML != nil {
		if ok, err := c.htmlPart(b, m, l.HTML, place); ok || err != nil {
			return err
		}
	}
	if w := l.tnef; w != nil {
		if ok, err := c.richTNEF(b, w); ok || err != nil {
			return err
		}
	}
	p := l.Other
	switch {
	case p == nil:
		return nil
	case isEnriched(p):
		b.shown, b.page = p, utf8Page
		c.lose(place, "the text, which is %s, is now HTML", p.Type)
		rich := p.Type == "text/richtext"
		b.text = func() (io.Reader, error) {
			_, r, err := m.OpenText(p)
			return enriched(r, rich), err
		}
		b.html = c.copier(b.text)
	case isRTF(p):
		b.shown = p
		b.unpacked = func() (io.Reader, error) { return m.Open(p), nil }
		b.rtf = func(w io.Writer) error {
			return rtf.Compress(stopper{c.ctx, w}, func(w io.Writer) error {
				_, err := io.Copy(w, m.Open(p))
				return err
			})
		}
	}
	return nil
}

// copier writes what open opens.
func (c *converter) copier(open func() (io.Reader, error)) func(io.Writer) error {
	return func(w io.Writer) error {
		r, err := open()
		if err == nil {
			_, err = io.Copy(stopper{c.ctx, w}, r)
		}
		return err
	}
}

func isEnriched(p *message.Part) bool {
	return p.Type == "text/enriched" || p.Type == "text/richtext"
}

func isRTF(p *message.Part) bool { return p.Type == "text/rtf" || p.Type == "application/rtf" }

// htmlPart takes the HTML of the message, false if it is empty.
func (c *converter) htmlPart(b *body, m *message.Message, p *message.Part, place string) (bool, error) {
	t, r, err := open(m, p)
	if r == nil || err != nil {
		return false, err
	}
	b.shown = p
	b.text = func() (io.Reader, error) {
		_, r, err := m.OpenText(p)
		return r, err
	}
	if b.page = codePages[t.Charset]; b.page == 0 {
		// Windows has no code page for it, or none that HTML may be in.
		c.lose(place, "the HTML is now in UTF-8, as Windows has no code page for %s", t.Charset)
		b.page = utf8Page
		b.html = func(w io.Writer) error {
			text, err := b.text()
			if err != nil {
				return err
			}
			return c.transcode(w, text)
		}
		return true, nil
	}
	b.html = c.copier(func() (io.Reader, error) { return m.Open(p), nil })
	if b.page == 28591 {
		b.html = func(w io.Writer) error {
			f := &c1Finder{w: stopper{c.ctx, w}}
			_, err := io.Copy(f, m.Open(p))
			if f.found {
				b.page = 1252
			}
			return err
		}
	}
	return true, nil
}

// richTNEF takes the text that TNEF has in HTML or RTF, false if it has none.
func (c *converter) richTNEF(b *body, w *winmail) (bool, error) {
	if p := w.Properties.Get(tnef.PidTagHTML); p != nil && p.Values[0].Size() > 0 {
		return true, c.htmlTNEF(b, w, p)
	}
	p := w.Properties.Get(tnef.PidTagRtfCompressed)
	if p == nil || p.Values[0].Size() == 0 {
		return false, nil
	}
	v := p.Values[0]
	whole, err := soundRTF(v)
	if errors.Is(err, errDamagedRTF) {
		return false, nil // a loss that unmapped names
	}
	if err != nil {
		return false, err
	}
	b.shown, b.page = nil, w.internetCodePage()
	b.rtf = func(w io.Writer) error {
		_, err := io.Copy(stopper{c.ctx, w}, whole())
		return err
	}
	b.unpacked = func() (io.Reader, error) {
		if v.Size() > c.options.Memory {
			return nil, nil
		}
		data, err := v.Bytes()
		if err != nil {
			return nil, err
		}
		// What is too large, rtfText leaves out; other damage was looked for.
		doc, _ := rtf.Decompress(data, int(c.options.Memory)+1)
		return bytes.NewReader(doc), nil
	}
	return true, nil
}

// internetCodePage is PidTagInternetCodepage, else that of all text.
func (w *winmail) internetCodePage() int32 {
	if n, err := w.Properties.Get(tnef.PidTagInternetCodepage).Int(); err == nil && codepage.Known(codepage.ID(n)) {
		return int32(n)
	}
	return int32(w.CodePage)
}

// htmlTNEF takes the HTML that TNEF has: its bytes, or a text (MS-OXCMSG
// 2.2.1.56.9).
func (c *converter) htmlTNEF(b *body, w *winmail, p *tnef.Property) error {
	v := p.Values[0]
	b.shown, b.page = nil, w.internetCodePage()
	switch p.Tag.Type() {
	case tnef.TypeString:
		b.page = int32(codepage.UTF16LE)
	case tnef.TypeString8:
		b.page = int32(w.CodePage)
	}
	head := make([]byte, min(3, v.Size()))
	if _, err := io.ReadFull(v.Open(), head); err != nil {
		return err
	}
	switch {
	case bytes.HasPrefix(head, []byte("\xEF\xBB\xBF")):
		b.page = utf8Page
	case bytes.HasPrefix(head, []byte("\xFF\xFE")):
		b.page = int32(codepage.UTF16LE)
	}
	page := codepage.ID(b.page)
	b.text = func() (io.Reader, error) { return withoutNUL(codepage.NewReader(page, v.Open())), nil }
	if page != codepage.UTF16LE && page != 1201 {
		b.html = c.copier(func() (io.Reader, error) { return withoutNUL(v.Open()), nil })
		return nil
	}
	b.page = utf8Page
	b.html = func(w io.Writer) error {
		text, err := b.text()
		if err != nil {
			return err
		}
		return c.transcode(w, text)
	}
	return nil
}

// withoutNUL leaves out NULs, as they end a text.
func withoutNUL(r io.Reader) io.Reader { return &nulReader{r: r} }

type nulReader struct{ r io.Reader }

func (n *nulReader) Read(p []byte) (int, error) {
	for {
		k, err := n.r.Read(p)
		kept := p[:0]
		for _, b := range p[:k] {
			if b != 0 {
				kept = append(kept, b)
			}
		}
		if len(kept) > 0 || err != nil || len(p) == 0 {
			return len(kept), err
		}
	}
}

// rtfBody makes plain text of RTF.
func (c *converter) rtfBody(b *body, place string) error {
	r, err := b.unpacked()
	if err != nil {
		return err
	}
	if r != nil {
		text, kind, ok, err := rtfText(r, c.options.Memory)
		if err != nil {
			return err
		}
		if ok {
			if kind == rtf.HTML {
				b.text = func() (io.Reader, error) { return strings.NewReader(text), nil }
			} else {
				b.plain = strings.NewReader(text)
			}
			return nil
		}
	}
	c.lose(place, "there is no plain text beside the RTF: it is damaged, or of more than %d bytes", c.options.Memory)
	return nil
}

// open returns a text as UTF-8, nil if it is empty.
func open(m *message.Message, p *message.Part) (message.Text, io.Reader, error) {
	t, r, err := m.OpenText(p)
	if err != nil {
		return t, nil, err
	}
	if short, ok := r.(*bytes.Reader); ok {
		if short.Len() == 0 {
			r = nil
		}
		return t, r, nil
	}
	b := bufio.NewReader(r)
	if _, err := b.Peek(1); errors.Is(err, io.EOF) {
		return t, nil, nil
	} else if err != nil {
		return t, nil, err
	}
	return t, b, nil
}

// c1Finder finds the bytes that are control characters in ISO-8859-1, where
// windows-1252 has letters and quotes: then that is what is meant.
type c1Finder struct {
	w     io.Writer
	found bool
}

func (f *c1Finder) Write(p []byte) (int, error) {
	f.found = f.found || slices.ContainsFunc(p, func(b byte) bool { return b >= 0x80 && b < 0xA0 })
	return f.w.Write(p)
}

// metaCharset finds the charset that HTML declares for itself.
var metaCharset = regexp.MustCompile(`(?i)(<meta\b[^>]*\bcharset\s*=\s*["']?)[^\s"'/>;]+`)

// transcode writes HTML that has become UTF-8, and says so in it.
func (c *converter) transcode(w io.Writer, text io.Reader) error {
	r, err := declareUTF8(text)
	if err == nil {
		_, err = io.Copy(stopper{c.ctx, w}, r)
	}
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
		if isBlank(b[0]) {
			t.space = true
			b = b[1:]
			continue
		}
		// Words with one blank between them are taken together.
		n := 1
		for n < len(b) && (!isBlank(b[n]) || b[n] == ' ' && n+1 < len(b) && !isBlank(b[n+1])) {
			n++
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
