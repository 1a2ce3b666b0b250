package outlook

import (
	"bytes"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"postroom/ingest/message"
	"postroom/ingest/message/tnef"
)

// file is what becomes an attachment.
type file struct {
	part *message.Part
	m    *message.Message // that the part is of

	open func() io.Reader // its content
	mime string
	name string // as it gives itself; empty if it does not
	kind string // the whole Content-Type, of S/MIME

	packed bool             // it is a message, which unpack finds
	held   int64            // bytes of it that are in memory
	nested *message.Message // whose part is attached as a message
	root   *message.Part
	inline bool
	cid    string // its Content-ID, where the part has none

	mac    *macintosh // of a Macintosh
	ending string     // the type that it has an extension for, where that is not mime

	tnef *tnef.Attachment // it is in winmail.dat
	of   *tnef.Message    // which is this
}

// contents says what a message is made of: its class, its text, its attachments.
func (c *converter) contents(m *message.Message, root *message.Part, place string) (class string, l *layout, files []*file, err error) {
	class = classOf(root)
	// S/MIME (MS-OXOSMIME 2.1): the message has one attachment, which is all of it.
	switch protection := root.Protection(); {
	case protection == message.ClearSigned && len(root.Parts) > 0:
		f := &file{part: root, m: m, mime: "multipart/signed", name: "smime.p7m", kind: oneLine(root.Header.Raw("Content-Type"))}
		if f.open, err = entity(m, root); err != nil {
			return "", nil, nil, err
		}
		return class + ".SMIME.MultipartSigned", &layout{Layout: root.Parts[0].Layout()}, []*file{f}, nil
	case protection != message.Unprotected && !root.IsMultipart():
		f := &file{part: root, m: m, mime: "application/pkcs7-mime", name: "smime.p7m", kind: oneLine(root.Header.Raw("Content-Type"))}
		f.open = func() io.Reader { return m.Open(root) }
		return class + ".SMIME", &layout{Layout: &message.Layout{}}, []*file{f}, nil
	}

	if l, err = c.arrange(m, root, place); err != nil {
		return "", nil, nil, err
	}
	c.special(root, place)
	for _, a := range l.Attachments {
		files = append(files, c.file(m, a.Part, place))
	}
	texts := slices.Concat(l.More, l.Alternatives)
	if l.Other != nil && !l.other() {
		texts = append(texts, l.Other)
	}
	for _, p := range texts {
		if p.Type == "text/calendar" { // of which meeting says what is lost
			files = append(files, c.file(m, p, place))
			continue
		}
		if !isTNEF(p) && (place != "" || c.options.Known == nil || !c.options.Known(p)) {
			c.lose(place, "a text that is not the message's own (%s) is an attachment", p.Type)
		}
		files = append(files, c.file(m, p, place))
	}
	if p := l.Other; l.other() && isEnriched(p) {
		_, r, err := m.OpenText(p)
		if err != nil {
			return "", nil, nil, err
		}
		e := enriched(r, p.Type == "text/richtext")
		if _, err := io.Copy(stopper{c.ctx, io.Discard}, e); err != nil {
			return "", nil, nil, err
		}
		if e.unended {
			c.lose(place, "a part of the text is hidden by a command that has no end: the text is an attachment too")
			files = append(files, c.file(m, p, place))
		}
	}
	slices.SortStableFunc(files, func(a, b *file) int { return int(a.part.Whole.Start - b.part.Whole.Start) })
	if files, err = c.appleFiles(m, root, files, place); err != nil {
		return "", nil, nil, err
	}
	if err := c.inline(m, l, files); err != nil {
		return "", nil, nil, err
	}
	for _, p := range signed(root) {
		c.lose(place, "a part of the message is signed: it is taken apart, and kept whole in signed.eml")
		files = append(files, &file{part: p, m: m, mime: "message/rfc822", name: "signed.eml", open: func() io.Reader { return m.Raw(p.Whole) }})
	}
	if n := len(files); n > maxObjects {
		c.lose(place, "%d attachments more than the %d that a message can have are in message.eml alone, which is the whole message", n-maxObjects+1, maxObjects)
		files = append(files[:maxObjects-1], &file{part: root, m: m, mime: "message/rfc822", name: "message.eml", open: func() io.Reader { return m.Raw(root.Whole) }})
	}
	if l.tnef, class, files, err = c.takeTNEF(m, root.Header, l, class, files, place); err != nil {
		return "", nil, nil, err
	}
	rich, err := l.tnef.rich()
	if err != nil || !rich || !l.other() || slices.ContainsFunc(files, func(f *file) bool { return f.part == l.Other }) {
		return class, l, files, err
	}
	if len(files) == maxObjects {
		c.lose(place, "the text, which is %s, is left out, as winmail.dat has one that is shown: there is no room for a further attachment", l.Other.Type)
		return class, l, files, nil
	}
	c.lose(place, "the text, which is %s, is an attachment, as winmail.dat has one that is shown", l.Other.Type)
	return class, l, append(files, c.file(m, l.Other, place)), nil
}

// special names what is converted as ordinary mail although it is more.
func (c *converter) special(root *message.Part, place string) {
	for p := range within(root) {
		if p.Type == "multipart/encrypted" {
			c.lose(place, "what is encrypted with OpenPGP is an attachment")
		}
	}
}

// within returns the part and those in it, but not those of messages in it.
func within(p *message.Part) func(yield func(*message.Part) bool) {
	return func(yield func(*message.Part) bool) { walk(p, yield) }
}

func walk(p *message.Part, yield func(*message.Part) bool) bool {
	if !yield(p) {
		return false
	}
	if p.IsMessage() {
		return true
	}
	for _, c := range p.Parts {
		if !walk(c, yield) {
			return false
		}
	}
	return true
}

// signed returns the outermost parts that are signed and have the text of the
// message or its attachments in them.
func signed(root *message.Part) (out []*message.Part) {
	if root.IsMessage() {
		return nil
	}
	if root.Protection() == message.ClearSigned && len(root.Parts) > 0 {
		return []*message.Part{root}
	}
	for _, p := range root.Parts {
		out = append(out, signed(p)...)
	}
	return out
}

// entity returns the raw bytes of the part of a message without the header of
// the message: fields of MIME and body, as they stand.
func entity(m *message.Message, p *message.Part) (func() io.Reader, error) {
	var head bytes.Buffer
	for _, f := range p.Header.Fields {
		if name := strings.ToLower(f.Name); name != "mime-version" && !strings.HasPrefix(name, "content-") {
			continue
		}
		if _, err := io.Copy(&head, m.Raw(f.Range)); err != nil {
			return nil, err
		}
	}
	end := "\r\n"
	if !bytes.Contains(head.Bytes(), []byte(end)) {
		end = "\n"
	}
	head.WriteString(end)
	return func() io.Reader { return io.MultiReader(bytes.NewReader(head.Bytes()), m.Raw(p.Body)) }, nil
}

// file returns what a part becomes (MS-OXCMAIL 2.2.3.4).
func (c *converter) file(m *message.Message, p *message.Part, place string) *file {
	f := &file{part: p, m: m, mime: p.Type, name: p.Name, open: func() io.Reader { return m.Open(p) }}
	switch {
	case p.IsMessage():
		f.packed, f.name = true, ""
		return f
	case p.IsMultipart():
		c.lose(place, "a %s that could not be taken apart is attached as it stands", p.Type)
		f.mime, f.open = "message/rfc822", func() io.Reader { return m.Raw(p.Whole) }
		if f.name == "" {
			f.name = "part.eml"
		}
	case p.Type == "message/external-body":
		c.externalBody(f)
	case p.Type == "application/ms-tnef", p.Type == "application/vnd.ms-tnef":
		f.mime = "application/octet-stream"
	case p.Type == "application/pkcs7-mime", p.Type == "application/x-pkcs7-mime":
		f.kind = oneLine(p.Header.Raw("Content-Type"))
	}
	if f.name == "" {
		f.name = p.Header.Text("Content-Description")
	}
	return f
}

// unpack finds the message that an attachment is (MS-OXCMAIL 2.2.3.4.3), and its
// name. What cannot be read as one stays a file. One that is encoded is in memory
// from now on.
func (c *converter) unpack(f *file, place string) error {
	p := f.part
	switch {
	case len(p.Parts) == 1:
		f.nested, f.root = f.m, p.Parts[0]
	case p.Nested():
		// Those that it is in are in memory too.
		room := c.options.Memory - c.held
		raw, err := io.ReadAll(io.LimitReader(f.m.Open(p), room+1))
		if err != nil {
			return err
		}
		if int64(len(raw)) > room {
			c.lose(place, "an attached message is a file: it is encoded as %s, and with those that it is in of more than %d bytes", p.Encoding, c.options.Memory)
			break
		}
		f.held = int64(len(raw))
		if f.nested, err = message.ReadContent(c.ctx, p, bytes.NewReader(raw), int64(len(raw)), c.options.Limits); err != nil {
			return err
		}
		f.root = &f.nested.Part
	default:
		c.lose(place, "an attached message is a file: it is nested too deep, or damaged")
	}
	names := []string{p.Params["name"], p.DispositionParams["filename"], p.Header.Text("Content-Description"), ""}
	if f.root != nil {
		names[3] = f.root.Header.Text("Subject")
	}
	for _, n := range names {
		f.name = either(f.name, oneLine(n))
	}
	if f.nested == nil && !strings.HasSuffix(strings.ToLower(f.name), ".eml") {
		f.name += ".eml"
	}
	return nil
}

// externalBody makes a link of what says where a file is (MS-OXCMAIL 2.2.3.5).
func (c *converter) externalBody(f *file) {
	p, m := f.part, f.m
	if !strings.EqualFold(p.Params["access-type"], "anon-ftp") {
		f.open = func() io.Reader { return m.Raw(p.Whole) }
		return
	}
	mode := ""
	switch strings.ToLower(p.Params["mode"]) {
	case "ascii":
		mode = ";type=a"
	case "image":
		mode = ";type=i"
	}
	name := oneLine(p.Params["name"])
	link := "[InternetShortcut]\r\nURL=ftp://" + oneLine(p.Params["site"]) + "/" + strings.Trim(oneLine(p.Params["directory"]), "/") + "/" + name + mode + "\r\n"
	f.open = func() io.Reader { return strings.NewReader(link) }
	f.name = strings.TrimSuffix(name, path.Ext(name)) + ".URL"
}

// inline finds the pictures that the HTML shows (MS-OXCMAIL 2.2.3.4.1.4.1). One
// that it does not would be hidden from the reader.
func (c *converter) inline(m *message.Message, l *layout, files []*file) error {
	for _, p := range l.pieces {
		for _, f := range files {
			if f.part == p.Part && p.picture != "" {
				f.inline, f.cid = true, p.picture
			}
		}
	}
	var parts []*message.Part
	for _, a := range l.Attachments {
		if a.Related && (a.ContentID != "" || a.Location != "") && pictures[a.Type] {
			parts = append(parts, a.Part)
		}
	}
	if len(parts) == 0 {
		return nil
	}
	for _, text := range l.texts() {
		refs, err := m.References(text, parts)
		if err != nil {
			return err
		}
		for _, f := range files {
			f.inline = f.inline || refs[f.part]
		}
	}
	return nil
}

// pictures are the types that Outlook shows within a text.
var pictures = map[string]bool{
	"image/jpeg": true, "image/jpg": true, "image/pjpeg": true, "image/gif": true, "image/bmp": true,
	"image/png": true, "image/x-png": true,
}

// attachment writes an attachment.
func (c *converter) attachment(parent *object, n int, f *file, place string) error {
	if err := c.ctx.Err(); err != nil {
		return err
	}
	if f.tnef != nil {
		return c.attachTNEF(parent, n, f.of, f.tnef, place)
	}
	if parent.err != nil {
		return parent.err
	}
	at, err := parent.at.Storage(fmt.Sprintf("__attach_version1.0_#%08X", n))
	if err != nil {
		return err
	}
	if f.packed {
		if err := c.unpack(f, place); err != nil {
			return err
		}
	}
	o := newObject(&c.names, at)
	p := f.part
	o.int32(pidTagAttachNumber, int32(n))
	o.int32(pidTagObjectType, 7)
	o.int32(pidTagRenderingPosition, -1)
	o.text(pidTagAttachMimeTag, f.mime)
	base, ext := fileName(f.name)
	if f.nested != nil {
		if base == "" {
			base = "ATT" + fmt.Sprintf("%05d", n+1)
		}
		o.text(pidTagDisplayName, either(f.name, base))
	} else {
		if base == "" {
			base = fmt.Sprintf("ATT%05d", n+1)
		}
		if ext == "" {
			ext = endings[either(f.ending, f.mime)]
		}
		o.text(pidTagDisplayName, c.displayName(p, base, ext))
	}
	long := base
	if ext != "" {
		long += "." + ext
	}
	o.text(pidTagAttachLongFilename, long)
	o.text(pidTagAttachFilename, shortName(long, n+1))
	if ext != "" {
		o.text(pidTagAttachExtension, "."+ext)
	}
	o.text(pidTagAttachContentID, either(p.ContentID, f.cid))
	o.text(pidTagAttachContentLocation, p.Location)
	if strings.HasPrefix(f.mime, "text/") {
		o.text(pidTagTextAttachmentCharset, p.Charset)
	}
	if p.Header != nil {
		o.text(pidTagAttachContentBase, oneLine(p.Header.Text("Content-Base")))
		o.text(pidTagAttachPayloadClass, oneLine(p.Header.Text("X-Payload-Class")))
		o.text(pidTagAttachPayloadProvider, oneLine(p.Header.Text("X-Payload-Provider-GUID")))
	}
	f.mac.write(c, o)
	if f.kind != "" {
		if t, ok := o.named(pidNameContentType, typeString); ok {
			o.text(t, f.kind)
		}
		o.binary(pidTagAttachTag, mimeTag)
	}
	for _, d := range []struct {
		t    tag
		name string
	}{{pidTagCreationTime, "creation-date"}, {pidTagLastModificationTime, "modification-date"}} {
		if v, ok := message.ParseDate(p.DispositionParams[d.name]); ok {
			o.time(d.t, v)
		}
	}
	if f.inline {
		o.int32(pidTagAttachFlags, 4) // rendered in the body
		o.int32(pidTagAttachmentFlags, 8)
		o.bool(pidTagAttachmentHidden, true)
	}
	var size int64
	if f.nested != nil {
		o.int32(pidTagAttachMethod, embeddedMessage)
		size = p.Body.Len()
		if err := c.embed(o, f, place); err != nil {
			return err
		}
	} else {
		o.int32(pidTagAttachMethod, byValue)
		size = o.stream(pidTagAttachDataBinary, func(w io.Writer) error {
			_, err := io.Copy(stopper{c.ctx, w}, f.open())
			return err
		})
	}
	o.int32(pidTagAttachSize, int32(min(size, 1<<31-1)))
	return o.finish(make([]byte, 8))
}

func (c *converter) embed(o *object, f *file, place string) error {
	at := o.storage(pidTagAttachDataObject)
	if o.err != nil {
		return o.err
	}
	in := fmt.Sprintf("attached message %.100q", either(f.name, "without a subject"))
	if place != "" {
		in = place + ", " + in
	}
	c.held += f.held
	_, err := c.message(f.nested, f.root, at, in)
	c.held -= f.held
	return err
}

// mimeTag is PidTagAttachTag of what is MIME (MS-OXCMSG 2.2.2.15).
var mimeTag = []byte{0x2A, 0x86, 0x48, 0x86, 0xF7, 0x14, 0x03, 0x0A, 0x04}

// displayName is PidTagDisplayName of a file: what describes it, else its name.
func (c *converter) displayName(p *message.Part, base, ext string) string {
	name := ""
	if p.Header != nil {
		name, _ = fileName(p.Header.Text("Content-Description"))
	}
	name = either(name, base)
	if ext != "" {
		name += "." + ext
	}
	return name
}

func either(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// longest is the longest base of a file name, in characters.
const longest = 200

// fileName returns base and extension of a name without what a file name may not
// have (MS-OXCMAIL 2.2.3.4.1.1).
func fileName(name string) (base, ext string) {
	name = strings.Map(func(r rune) rune {
		switch {
		case r < ' ' || r == 0x7F || unicode.Is(unicode.Bidi_Control, r):
			return -1
		case strings.ContainsRune(`"/:<>|\*?`, r):
			return '_'
		case unicode.Is(unicode.Z, r):
			return ' '
		}
		return r
	}, strings.ToValidUTF8(name, "\uFFFD"))
	base = name
	if i := strings.LastIndexByte(name, '.'); i >= 0 && utf8.RuneCountInString(name[i+1:]) <= 30 {
		base, ext = name[:i], strings.Trim(name[i+1:], " .")
	}
	if r := []rune(base); len(r) > longest {
		base = string(r[:longest])
	}
	return strings.Trim(base, " ."), ext
}

// shortName returns the name of 8.3 characters for a long one (MS-OXCMAIL
// 2.2.3.4.1.1).
func shortName(long string, n int) string {
	base, ext := long, ""
	if i := strings.LastIndexByte(long, '.'); i >= 0 {
		base, ext = long[:i], long[i+1:]
	}
	clean := func(s string) string {
		return strings.Map(func(r rune) rune {
			switch {
			case strings.ContainsRune("+,=[];", r):
				return '_'
			case strings.ContainsRune(" .'*?", r), r > 126, r < ' ':
				return -1
			}
			return r
		}, s)
	}
	b, e := clean(base), clean(ext)
	if b == "" {
		b = fmt.Sprintf("ATT%05d", n)
	}
	if len(e) > 3 {
		e = e[:3]
	}
	if len(b) > 8 {
		b = b[:6] + "~1"
	}
	if e != "" {
		b += "." + e
	}
	return b
}

// endings are extensions for files that have none.
var endings = map[string]string{
	"application/msword": "doc", "application/octet-stream": "bin", "application/pdf": "pdf",
	"application/pgp-encrypted": "pgp", "application/pgp-signature": "asc", "application/pgp-keys": "asc",
	"application/pkcs7-mime": "p7m", "application/x-pkcs7-mime": "p7m",
	"application/pkcs7-signature": "p7s", "application/x-pkcs7-signature": "p7s",
	"application/rtf": "rtf", "application/xml": "xml", "application/zip": "zip", "application/json": "json",
	"application/vnd.ms-excel": "xls", "application/vnd.ms-powerpoint": "ppt",
	"application/vnd.openxmlformats-officedocument.presentationml.presentation": "pptx",
	"application/vnd.openxmlformats-officedocument.spreadsheetml.sheet":         "xlsx",
	"application/vnd.openxmlformats-officedocument.wordprocessingml.document":   "docx",
	"audio/mpeg": "mp3", "audio/wav": "wav",
	"image/bmp": "bmp", "image/gif": "gif", "image/jpeg": "jpg", "image/jpg": "jpg", "image/pjpeg": "jpg",
	"image/png": "png", "image/x-png": "png", "image/svg+xml": "svg", "image/tiff": "tif", "image/webp": "webp",
	"message/delivery-status": "txt", "message/disposition-notification": "txt", "message/rfc822": "eml",
	"text/calendar": "ics", "text/csv": "csv", "text/enriched": "txt", "text/html": "html", "text/plain": "txt",
	"text/rfc822-headers": "txt", "text/richtext": "txt", "text/rtf": "rtf", "text/vcard": "vcf", "text/x-vcard": "vcf",
	"text/xml": "xml", "video/mp4": "mp4",
}
