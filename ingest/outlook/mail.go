package outlook

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"postroom/ingest/message"
	"postroom/ingest/message/tnef/codepage"
	"postroom/ingest/message/tnef/rtf"
	"postroom/ingest/outlook/cfb"
)

// maxNesting is how deep messages are nested that are written as messages.
const maxNesting = 32

// WriteMail writes the message as Internet mail (RFC 5322, MIME) to w, as
// MS-OXCMAIL 2.1 maps it.
//
// The header is that of PidTagTransportMessageHeaders as it stands, without the
// fields of the old body; what it lacks, or all of it, is made of properties. A
// person without an address of Internet mail keeps the name, with an address that
// can be nobody's. Plain text and HTML are alternatives, in UTF-8 or the charset
// that they are stored in; pictures that the HTML shows are related to it;
// attachments have the bytes that are stored, attached messages are messages at any
// depth. A meeting or appointment has a calendar beside its text (MS-OXCICAL): the
// one that is attached, else one that is made of properties. Of S/MIME (classes
// IPM.Note.SMIME and IPM.Note.SMIME.MultipartSigned) the protected bytes are written
// as they stand, so that signatures stay valid. What a mail cannot have
// Report.Losses names. Report.Class is that of the file, Report.Size that of the mail.
//
// The same file makes the same bytes. But for signed content, which stands as it
// is, lines end in CR LF, have at most 998 characters, and are ASCII unless a
// delivery status, which may not be encoded, or an address is not. Memory depends on the number
// of properties, recipients and attachments; texts and attachments are streams,
// but for a text in RTF, of which at most 64 MiB are read.
//
// The error is one of the context, of the file, of w; or a *cfb.FormatError: a
// text or an attachment is damaged. After an error w holds nothing of use.
func (f *File) WriteMail(ctx context.Context, w io.Writer) (Report, error) {
	m := &mailWriter{out: &output{ctx: ctx, w: w}}
	err := m.file(f)
	if err == nil {
		err = m.err
	}
	m.said.Size = m.out.n
	if err != nil {
		return m.said, fmt.Errorf("convert .msg to mail: %w", err)
	}
	return m.said, nil
}

// mailWriter writes a message as mail.
type mailWriter struct {
	out        *output
	hash       string // of the file, in boundaries
	boundaries int
	said       Report
	err        error // of the file, while small properties were read
}

// lose takes a loss into the report.
func (m *mailWriter) lose(place, format string, args ...any) {
	switch n := len(m.said.Losses); {
	case n < maxLosses:
		m.said.Losses = append(m.said.Losses, Loss{place, fmt.Sprintf(format, args...)})
	case n == maxLosses:
		m.said.Losses = append(m.said.Losses, Loss{"", "and more than that"})
	}
}

func (m *mailWriter) file(f *File) error {
	h := sha256.New()
	if _, err := io.Copy(&output{ctx: m.out.ctx, w: h}, io.NewSectionReader(f.r, 0, f.size)); err != nil {
		return err
	}
	m.hash = hex.EncodeToString(h.Sum(nil)[:12])
	it, err := f.newItem(f.root, headOfRoot, codepage.Windows1252, m.damaged(""))
	if err != nil {
		return err
	}
	m.said.Class = it.line(pidTagMessageClass)
	return m.message(it, "", 0)
}

// message writes a message.
func (m *mailWriter) message(it *item, place string, depth int) error {
	original, text, err := m.original(it)
	if err != nil {
		return err
	}
	header, err := m.header(it, place, original, text)
	if err != nil {
		return err
	}
	e, _, err := m.protected(it, original)
	if e == nil && err == nil {
		e, err = m.body(it, place, depth, original)
	}
	if err == nil {
		err = m.err
	}
	if err != nil {
		return err
	}
	if _, err := io.WriteString(m.out, header+"MIME-Version: 1.0\r\n"); err != nil {
		return err
	}
	return m.entity(e)
}

// isSMIME reports whether the class is that of a message in S/MIME (MS-OXCMAIL
// 2.1.3.2.1).
func isSMIME(class string) bool {
	class = strings.ToLower(class)
	return strings.HasSuffix(class, ".smime") || strings.HasSuffix(class, ".smime.multipartsigned")
}

// protected returns the entity that a message in S/MIME is, nil if it is none
// (MS-OXOSMIME 2.1): it has one attachment, which is all of it.
// Raw is what of it is written as it stands, nil if it is encoded.
func (m *mailWriter) protected(it *item, original *message.Message) (e *mailPart, raw *cfb.Entry, err error) {
	if !isSMIME(it.line(pidTagMessageClass)) || len(it.attachments) != 1 {
		return nil, nil, nil
	}
	a, err := it.f.newItem(it.attachments[0], headOfOther, it.page, m.damaged(""))
	if err != nil {
		return nil, nil, err
	}
	data := a.entries[pidTagAttachDataBinary]
	if data == nil || data.IsStorage() || data.Size == 0 {
		return nil, nil, nil
	}
	start, _, err := readAll(data, 64<<10)
	if err != nil {
		return nil, nil, err
	}
	declared := a.namedLine(pidNameContentType)
	if declared == "" && original != nil {
		declared = oneLine(original.Header.Raw("Content-Type"))
	}
	media, _, _ := strings.Cut(declared, ";")
	media = strings.ToLower(strings.TrimSpace(media))
	open := func(from int64) func(io.Writer) error {
		return func(w io.Writer) error {
			r, err := data.Open()
			if err == nil {
				_, err = r.Seek(from, io.SeekStart)
			}
			if err == nil {
				_, err = io.Copy(w, r)
			}
			return err
		}
	}
	if start[0] == 0x30 { // ASN.1: a SEQUENCE
		if media != "application/pkcs7-mime" && media != "application/x-pkcs7-mime" || !isPlain(declared) {
			declared = "application/pkcs7-mime" + smimeType(start) + "; name=smime.p7m"
		}
		return &mailPart{
			head: foldField("Content-Type", declared) + foldField("Content-Transfer-Encoding", "base64") +
				foldField("Content-Disposition", "attachment; filename=smime.p7m"),
			body: func(w io.Writer) error {
				r, err := data.Open()
				if err != nil {
					return err
				}
				return encodeBase64(w, r)
			},
		}, nil, nil
	}
	if bytes.HasPrefix(start, []byte("--")) && media == "multipart/signed" && isPlain(declared) {
		return &mailPart{head: foldField("Content-Type", declared), body: open(0)}, data, nil
	}
	p, err := message.Read(m.out.ctx, bytes.NewReader(start), int64(len(start)), message.Limits{})
	if err != nil {
		return nil, nil, err
	}
	switch p.Type {
	case "multipart/signed", "application/pkcs7-mime", "application/x-pkcs7-mime":
	default:
		return nil, nil, nil
	}
	e = &mailPart{body: open(p.Body.Start)}
	for _, f := range p.Header.Fields {
		name := strings.ToLower(f.Name)
		if !ofBody[name] || name == "mime-version" {
			continue // the others are in the header of the message
		}
		lines := string(start[f.Range.Start:f.Range.End])
		if !standsAsIs(lines) {
			return nil, nil, nil
		}
		e.head += lineEnds(lines)
	}
	return e, data, nil
}

// smimeType returns the parameter of that name for a ContentInfo (RFC 8551
// 3.2.2), by its type (RFC 5652 3).
func smimeType(der []byte) string {
	i := bytes.Index(der[:min(len(der), 32)], []byte{0x06, 0x09, 0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x07})
	if i < 0 || i+10 >= len(der) {
		return ""
	}
	switch der[i+10] {
	case 2:
		return "; smime-type=signed-data"
	case 3:
		return "; smime-type=enveloped-data"
	}
	return ""
}

// transfer returns the encoding that a message needs in which nothing but signed
// content is not ASCII: 8bit, binary, or "".
func (m *mailWriter) transfer(it *item, depth int) (string, error) {
	e, raw, err := m.protected(it, nil)
	switch {
	case err != nil:
		return "", err
	case raw != nil:
		r, err := raw.Open()
		if err != nil {
			return "", err
		}
		s, err := scanText(m.out.ctx, r)
		return s.raw(), err
	case e != nil || depth >= maxNesting:
		return "", nil
	}
	widest := ""
	for _, a := range it.attachments {
		sub, err := it.f.newItem(a, headOfOther, it.page, func(error) {})
		if err != nil {
			return "", err
		}
		if e := sub.embedded(); e != nil {
			nested, err := it.f.newItem(e, headOfEmbedded, it.page, func(error) {})
			if err != nil {
				return "", err
			}
			t, err := m.transfer(nested, depth+1)
			if err != nil {
				return "", err
			}
			widest = wider(widest, t)
		}
	}
	return widest, nil
}

// body returns the entity that holds texts and attachments (MS-OXCMAIL 2.1.3.3,
// 2.1.3.4).
func (m *mailWriter) body(it *item, place string, depth int, original *message.Message) (*mailPart, error) {
	m.special(it, place)
	t, err := m.texts(it, place)
	if err != nil {
		return nil, err
	}
	files, err := m.attachments(it, place, depth, t)
	if err != nil {
		return nil, err
	}
	if t.rtf {
		files = append(files, &attached{name: "message.rtf", entity: rtfEntity(it)})
	}
	var related, mixed []*mailPart
	var versions []*mailPart
	calendar, files, err := m.calendar(it, place, t.plain, files)
	if err != nil {
		return nil, err
	}
	for _, v := range []*text{t.plain, t.html, calendar} {
		if v != nil {
			versions = append(versions, v.entity())
		}
	}
	class := it.line(pidTagMessageClass)
	if isReport(class) && !slices.ContainsFunc(files, func(f *attached) bool { return f.report }) {
		made, err := m.report(it, place)
		switch {
		case err != nil:
			return nil, err
		case made != nil:
			files = append([]*attached{made}, files...)
		default:
			m.lose(place, "a report (%s) that does not tell whom it is about: its text and attachments are written", class)
		}
	}
	report := reportType(class, original, files)
	kind := "multipart/mixed"
	if report != "" {
		kind = "multipart/report; report-type=" + report
	}
	if len(versions) == 0 {
		if root := alone(original, files); root != nil {
			return root, nil
		}
		if root := sealed(original, files); root != nil {
			return root, nil
		}
		versions = append(versions, (&text{kind: "text/plain", encoding: "7bit", charset: "us-ascii", open: func() (io.Reader, error) { return strings.NewReader(""), nil }}).entity())
	}
	related = append(related, multipart("multipart/alternative", versions...))
	for _, f := range files {
		if f.inline {
			related = append(related, f.entity)
		} else {
			mixed = append(mixed, f.entity)
		}
	}
	return multipart(kind, append([]*mailPart{multipart(`multipart/related; type="`+typeOf(versions)+`"`, related...)}, mixed...)...), nil
}

// typeOf is the type of the root of a multipart/related (RFC 2387 3.1).
func typeOf(versions []*mailPart) string {
	if len(versions) > 1 {
		return "multipart/alternative"
	}
	return "text/html"
}

// alone returns the only file of a message without a text where the message was
// nothing but that, as its transport headers tell.
func alone(original *message.Message, files []*attached) *mailPart {
	if original == nil || len(files) != 1 || files[0].inline || files[0].mime == "" || original.Type != files[0].mime {
		return nil
	}
	return files[0].entity
}

// sealed returns what is encrypted with OpenPGP (RFC 3156 4), if the message was
// that and its two parts are all there is.
func sealed(original *message.Message, files []*attached) *mailPart {
	if original == nil || original.Type != "multipart/encrypted" || len(files) != 2 || files[0].mime != "application/pgp-encrypted" {
		return nil
	}
	return multipart(`multipart/encrypted; protocol="application/pgp-encrypted"`, files[0].entity, files[1].entity)
}

// reportType returns the kind of report (RFC 6522 3) that a message with those
// attachments is, "" if it is none.
func reportType(class string, original *message.Message, files []*attached) string {
	if !isReport(class) && (original == nil || original.Type != "multipart/report") {
		return ""
	}
	for _, f := range files {
		if kind := reportKind(f.mime); kind != "" {
			return kind
		}
	}
	return ""
}

// special names what a message is that is more than mail.
func (m *mailWriter) special(it *item, place string) {
	class := it.line(pidTagMessageClass)
	upper := strings.ToUpper(class) + "."
	switch {
	case isSMIME(class):
		m.lose(place, "a message in S/MIME (%s) without its protected content: its text and attachments are written", class)
	case methodOf(it) != "": // it is a calendar
	case upper == ".", strings.HasPrefix(upper, "IPM.NOTE."), upper == "IPM.", strings.HasPrefix(upper, "IPM.POST."), isReport(class):
	default:
		m.lose(place, "an item of class %s: its text and attachments are written, and no other of its properties", class)
	}
}

// text is a version of the text of a message.
type text struct {
	kind, charset, encoding string
	open                    func() (io.Reader, error)
	id, location            string
	loose                   bool // it is in UTF-8 rather than in charset if it can be
}

func (t *text) entity() *mailPart {
	kind := t.kind
	if t.charset != "" {
		kind += "; charset=" + t.charset
	}
	head := foldField("Content-Type", kind) + "Content-Transfer-Encoding: " + t.encoding + "\r\n"
	if t.id != "" {
		head += contentID(t.id)
	}
	if t.location != "" {
		head += foldField("Content-Location", t.location)
	}
	return &mailPart{head: head, body: func(w io.Writer) error {
		r, err := t.open()
		if err != nil {
			return err
		}
		return encode(w, r, t.encoding)
	}}
}

// contentID returns the field of that name, "" if the identifier cannot be one.
func contentID(id string) string {
	id = strings.Trim(oneLine(id), "<>")
	if id == "" || !isPlain(id) || strings.ContainsAny(id, " <>") {
		return ""
	}
	return foldField("Content-ID", "<"+id+">")
}

// link returns a URL that can stand in a field, else "".
func link(s string) string {
	if !isPlain(s) || strings.Contains(s, " ") {
		return ""
	}
	return s
}

// texts are the versions of the text of a message.
type texts struct {
	plain, html *text
	rtf         bool // it is RTF that was nothing else before
	references  *references
}

const (
	pidTagBodyHTML  tag = 0x1013001F
	pidTagBodyHTML8 tag = 0x1013001E
	pidTagBody8     tag = 0x1000001E
)

// texts finds the text (MS-OXCMAIL 2.1.3.3): HTML as it is stored, or in RTF;
// and the plain text beside it.
func (m *mailWriter) texts(it *item, place string) (*texts, error) {
	out := &texts{references: &references{}}
	html, err := it.storedHTML(m.out.ctx, out.references)
	if err != nil {
		return nil, fmt.Errorf("the HTML: %w", err)
	}
	plain, err := it.storedPlain(m.out.ctx)
	if err != nil {
		return nil, fmt.Errorf("the text: %w", err)
	}
	if html == nil && it.entries[pidTagCompressedRTF] != nil {
		s, kind, none, err := it.rtf()
		var format *cfb.FormatError
		switch {
		case errors.As(err, &format):
			return nil, fmt.Errorf("the RTF: %w", err)
		case err != nil && none:
			m.lose(place, "the text in RTF cannot be read (%v)", err)
		case err != nil:
			m.lose(place, "the text in RTF is damaged (%v)", err)
		}
		switch {
		case none:
		case kind == rtf.HTML:
			if html, err = madeText(m.out.ctx, "text/html", metaCharset.ReplaceAllString(s, "${1}utf-8"), out.references); err != nil {
				return nil, err
			}
		default:
			if plain == nil {
				if plain, err = madeText(m.out.ctx, "text/plain", s, nil); err != nil {
					return nil, err
				}
			}
			if kind == rtf.Native {
				out.rtf = true
				m.lose(place, "the text is formatted in RTF: it is written as plain text, and attached as message.rtf")
			}
		}
	}
	shown := html
	if shown == nil {
		shown = plain
	}
	if shown != nil {
		shown.id, shown.location = it.line(pidTagBodyContentID), link(it.line(pidTagBodyContentLocation))
	}
	out.plain, out.html = plain, html
	return out, nil
}

// madeText is a text that is in memory.
func madeText(ctx context.Context, kind, s string, refs *references) (*text, error) {
	if s == "" {
		return nil, nil
	}
	t := &text{kind: kind, charset: "utf-8", open: func() (io.Reader, error) { return newCRLFReader(strings.NewReader(s)), nil }}
	return t, t.look(ctx, refs, nil)
}

// look reads the text to find out how it is to be encoded, and what it refers to.
func (t *text) look(ctx context.Context, refs *references, judge func(scan)) error {
	r, err := t.open()
	if err != nil {
		return err
	}
	if refs != nil {
		r = io.TeeReader(r, refs)
	}
	s, err := scanText(ctx, r)
	if err != nil {
		return err
	}
	t.encoding = s.encoding()
	if t.loose && s.utf8 {
		t.charset = "utf-8"
	}
	if judge != nil {
		judge(s)
	}
	return nil
}

// opener returns how a stream is opened, nil if it is empty or not there.
func opener(e *cfb.Entry) func() (io.Reader, error) {
	if e == nil || e.IsStorage() || e.Size == 0 {
		return nil
	}
	return func() (io.Reader, error) { return e.Open() }
}

func through(open func() (io.Reader, error), f func(io.Reader) io.Reader) func() (io.Reader, error) {
	return func() (io.Reader, error) {
		r, err := open()
		if err != nil {
			return nil, err
		}
		return f(r), nil
	}
}

// storedPlain returns the plain text, nil if there is none. In place of one that
// would be empty stands a blank (MS-OXMSG 2.1.3).
func (it *item) storedPlain(ctx context.Context) (*text, error) {
	t := &text{kind: "text/plain"}
	size := int64(0)
	if open := opener(it.entries[pidTagBody]); open != nil {
		t.charset = "utf-8"
		t.open = through(open, func(r io.Reader) io.Reader { return newCRLFReader(newWideReader(r)) })
		size = it.entries[pidTagBody].Size / 2
	} else if open := opener(it.entries[pidTagBody8]); open != nil {
		t.charset = pageNames[int32(it.page)]
		t.open = through(open, func(r io.Reader) io.Reader { return newCRLFReader(withoutNUL(r)) })
		t.loose = it.utf8
		size = it.entries[pidTagBody8].Size
	} else {
		return nil, nil
	}
	if size > 2 {
		return t, t.look(ctx, nil, nil)
	}
	r, err := t.open()
	if err != nil {
		return nil, err
	}
	if b, err := io.ReadAll(r); err != nil || strings.TrimSpace(string(b)) == "" {
		return nil, err
	}
	return t, t.look(ctx, nil, nil)
}

// storedHTML returns the HTML as it is stored, nil if there is none.
func (it *item) storedHTML(ctx context.Context, refs *references) (*text, error) {
	t := &text{kind: "text/html"}
	if t.open = opener(it.entries[pidTagHTML]); t.open != nil {
		return t, t.look(ctx, refs, func(s scan) { t.charset = it.htmlCharset(s) })
	}
	if open := opener(it.entries[pidTagBodyHTML8]); open != nil {
		t.charset = pageNames[int32(it.page)]
		t.loose = it.utf8
		t.open = through(open, withoutNUL)
		return t, t.look(ctx, refs, nil)
	}
	if open := opener(it.entries[pidTagBodyHTML]); open != nil {
		t.charset = "utf-8"
		t.open = through(open, func(r io.Reader) io.Reader { return newWideReader(r) })
		return t, t.look(ctx, refs, nil)
	}
	return nil, nil
}

// htmlCharset returns the charset of HTML (PidTagInternetCodepage), "" if it is
// not known: then the HTML may say so itself.
func (it *item) htmlCharset(s scan) string {
	page, ok := it.int32(pidTagInternetCodepage)
	name := pageNames[page]
	switch {
	case s.zeros*3 > s.size:
		return "utf-16le"
	case s.high == 0 && (name == "" || page == utf8Page || page == 20127 || page == 1200 || page == 1201):
		return "us-ascii"
	case page == 1200, page == 1201, page == 20127, page == utf8Page, !ok, name == "":
		if s.utf8 {
			return "utf-8"
		}
		return pageNames[int32(it.page)]
	}
	return name
}

// pageNames has the charsets of code pages by the names of mail.
var pageNames = func() map[int32]string {
	set := map[int32]string{
		37: "ibm037", 874: "windows-874", 936: "gbk", 1047: "ibm1047", 1140: "ibm01140", 1200: "utf-16le", 1201: "utf-16be",
		1361: "johab", 20932: "euc-jp", 20936: "gb2312", 20949: "euc-kr", 38596: "iso-8859-6-i", 50221: "iso-2022-jp", 50222: "iso-2022-jp",
		50227: "iso-2022-cn", 51936: "gb2312", 51949: "euc-kr", 65000: "utf-7", 949: "euc-kr", 12000: "utf-32le", 12001: "utf-32be",
	}
	for name, page := range codePages {
		if old, ok := set[page]; !ok || name < old && page != 936 {
			set[page] = name
		}
	}
	return set
}()

// rtfEntity is the text of a message in RTF as a file.
func rtfEntity(it *item) *mailPart {
	return &mailPart{
		head: foldField("Content-Type", "application/rtf; name=message.rtf") + "Content-Transfer-Encoding: base64\r\n" +
			foldField("Content-Disposition", "attachment; filename=message.rtf"),
		body: func(w io.Writer) error {
			doc, err := it.rtfDocument() // of which what could be read is written
			if len(doc) == 0 {
				return err
			}
			return encodeBase64(w, bytes.NewReader(doc))
		},
	}
}

// references finds what HTML in a charset that has ASCII in it refers to: what
// follows "cid:" (RFC 2392), and the values of attributes.
type references struct {
	ids    map[string]bool
	values map[string]bool
	window []byte
	work   int // bytes of values that were looked at
}

// Bounds of references.
const (
	maxReferences = 1 << 12
	longestLink   = 2 << 10
	mostWork      = 64 << 20 // after which nothing more is looked for
)

func (r *references) Write(p []byte) (int, error) {
	if r.ids == nil {
		r.ids, r.values = map[string]bool{}, map[string]bool{}
	}
	for rest := p; len(rest) > 0 && r.work < mostWork; {
		n := min(len(rest), 32<<10)
		r.window = append(r.window, rest[:n]...)
		rest = rest[n:]
		if len(r.window) > 64<<10 {
			r.find(false)
		}
	}
	return len(p), nil
}

// find looks through the window, and keeps of it what may go on.
func (r *references) find(end bool) {
	w := r.window
	done := 0
	for i := 0; i < len(w) && r.work < mostWork; i++ {
		c := w[i]
		if c != '=' && c != '(' && c != ':' {
			continue
		}
		if !end && len(w)-i < longestLink+8 {
			break
		}
		done = i + 1
		if c == ':' {
			if i >= 3 && strings.EqualFold(string(w[i-3:i]), "cid") {
				r.take(r.ids, r.delimited(w[i+1:]), true)
			}
			continue
		}
		r.take(r.values, r.delimited(bytes.TrimLeft(w[i+1:min(len(w), i+1+longestLink)], " \t\r\n\"'")), false)
	}
	if end {
		r.window = nil
		return
	}
	from := max(done-4, 0)
	if keep := len(w) - longestLink - 16; from < keep {
		from = keep
	}
	r.window = append(w[:0], w[from:]...)
}

// delimited returns the value that b begins with.
func (r *references) delimited(b []byte) string {
	b = b[:min(len(b), longestLink)]
	if n := bytes.IndexAny(b, " \t\r\n\"'<>()"); n >= 0 {
		b = b[:n]
	}
	r.work += len(b)
	return string(b)
}

func (r *references) take(set map[string]bool, s string, id bool) {
	if s == "" || len(set) >= maxReferences {
		return
	}
	if strings.ContainsRune(s, '&') {
		s = strings.NewReplacer("&amp;", "&", "&#64;", "@").Replace(s)
	}
	set[s] = true
	if id && strings.ContainsRune(s, '%') {
		set[unescape(s)] = true
	}
}

// unescape decodes what is percent-encoded in a URL.
func unescape(s string) string {
	var b []byte
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err == nil {
				b = append(b, byte(n))
				i += 2
				continue
			}
		}
		b = append(b, s[i])
	}
	if !utf8.Valid(b) {
		return s
	}
	return string(b)
}

// has reports whether the HTML, which was written, refers to a file.
func (r *references) has(id, location string) bool {
	if len(r.window) > 0 {
		r.find(true)
	}
	return id != "" && r.ids[id] || location != "" && r.values[location]
}
