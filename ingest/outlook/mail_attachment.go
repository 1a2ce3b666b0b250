package outlook

import (
	"bytes"
	"fmt"
	"io"
	"path"
	"strings"

	"postroom/ingest/outlook/cfb"
)

// attached is an attachment that is to be written.
type attached struct {
	name   string
	mime   string
	report bool // it says for programs what a report says
	inline bool
	entity *mailPart

	instance *cfb.Entry // the message, if it is an instance of a series that differs
	charset  string
	open     func() (io.Reader, error) // of a file by value
}

// Methods of attachments besides (MS-OXCMSG 2.2.2.9).
const (
	methodReference        = 2
	methodReferenceResolve = 3
	methodReferenceOnly    = 4
	methodOLE              = 6
	methodWebReference     = 7
)

const (
	pidTagAttachPathname      tag = 0x3708001F
	pidTagAttachLongPathname  tag = 0x370D001F
	pidTagAttachTransportName tag = 0x370C001F
)

// maxAttachments is how many attachments of a message are read.
const maxAttachments = 1 << 14

// embedded returns the storage of the message that is attached, nil if there is
// none.
func (it *item) embedded() *cfb.Entry {
	e := it.entries[pidTagAttachDataObject]
	if e == nil || !e.IsStorage() {
		return nil
	}
	if v, ok := it.int32(pidTagAttachMethod); ok && v != embeddedMessage || !isMessage(e) {
		return nil
	}
	return e
}

// attachments returns what is attached to a message (MS-OXCMAIL 2.1.3.4).
func (m *mailWriter) attachments(it *item, place string, depth int, t *texts) (out []*attached, err error) {
	list := it.attachments
	if len(list) > maxAttachments {
		return nil, fmt.Errorf("the message has %d attachments, more than %d", len(list), maxAttachments)
	}
	for i, e := range list {
		a, err := it.f.newItem(e, headOfOther, it.page, m.damaged(place))
		if err != nil {
			return nil, fmt.Errorf("attachment %d: %w", i+1, err)
		}
		f, err := m.attachment(a, i, place, depth, t)
		if err != nil {
			return nil, fmt.Errorf("attachment %d: %w", i+1, err)
		}
		out = append(out, f)
	}
	return out, nil
}

func (m *mailWriter) attachment(a *item, n int, place string, depth int, t *texts) (*attached, error) {
	f := &attached{}
	for _, t := range []tag{pidTagAttachLongFilename, pidTagAttachFilename, pidTagAttachTransportName} {
		f.name = either(f.name, a.line(t))
	}
	display := a.line(pidTagDisplayName)
	method, known := a.int32(pidTagAttachMethod)
	data, object := a.entries[pidTagAttachDataBinary], a.entries[pidTagAttachDataObject]
	if e := a.embedded(); e != nil {
		if depth < maxNesting {
			f, err := m.nested(a, e, either(display, f.name), place, depth)
			if err == nil && a.isInstance() {
				f.instance = e
			}
			return f, err
		}
		m.lose(place, "an attached message is a compound file: it is nested deeper than %d", maxNesting)
	}
	if f.name == "" {
		f.name = display
	}
	f.mime = mediaType(a.line(pidTagAttachMimeTag))
	f.report = reportKind(f.mime) != ""
	open := func() (io.Reader, error) { return strings.NewReader(""), nil }
	switch {
	case data != nil && !data.IsStorage():
		if _, err := data.Open(); err != nil {
			return nil, fmt.Errorf("%q: %w", f.name, err)
		}
		open = func() (io.Reader, error) { return data.Open() }
		f.open, f.charset = open, a.line(pidTagTextAttachmentCharset)
		if bytes.Equal(a.bytes(pidTagAttachEncoding, 64), macBinaryOID) {
			m.lose(place, "%q is in MacBinary: the file of a Macintosh with what belongs to it", f.name)
			f.mime = "application/macbinary"
		}
	case object != nil && object.IsStorage():
		f.mime = "application/x-ole-storage"
		if method == methodOLE || known {
			m.lose(place, "%q is an object of another program (OLE): it is attached as a compound file", f.name)
		}
		if path.Ext(f.name) == "" {
			f.name = either(f.name, fmt.Sprintf("object%d", n+1)) + ".ole"
		}
		if err := saveStorage(m.out.ctx, io.Discard, object); err != nil {
			return nil, fmt.Errorf("%q: %w", f.name, err)
		}
		return m.storageFile(f, a, object), nil
	case object != nil:
		open = func() (io.Reader, error) { return object.Open() }
	case method == methodReference || method == methodReferenceResolve || method == methodReferenceOnly || method == methodWebReference:
		at := either(a.line(pidTagAttachLongPathname), a.line(pidTagAttachPathname))
		m.lose(place, "%q is a link to a file that is elsewhere: %s", either(f.name, display), at)
		url := shortcut(at)
		open = func() (io.Reader, error) { return strings.NewReader(url), nil }
		if f.name == "" {
			f.name = path.Base(strings.ReplaceAll(at, `\`, "/"))
		}
		f.name = strings.TrimSuffix(f.name, path.Ext(f.name)) + ".URL"
		f.mime = "application/octet-stream"
	default:
		if method != byValue {
			m.lose(place, "%q has no content", either(f.name, display))
		}
	}
	f.name = either(f.name, fmt.Sprintf("ATT%05d", n+1))
	if f.mime == "" {
		f.mime = typeOfName(f.name)
	}

	id := strings.Trim(a.line(pidTagAttachContentID), "<>")
	location := link(a.line(pidTagAttachContentLocation))
	flags, _ := a.int32(pidTagAttachFlags)
	if t.html != nil {
		marked := flags&4 != 0 || a.bool(pidTagAttachmentHidden)
		f.inline = contentID(id) != "" && t.references.has(id, "") || marked && t.references.has("", location)
	}
	encoding := "base64"
	if strings.HasPrefix(f.mime, "message/") {
		// These are not encoded (RFC 2045 6.4), and line ends are none of their content.
		lines := through(open, func(r io.Reader) io.Reader { return newCRLFReader(r) })
		r, err := lines()
		if err != nil {
			return nil, err
		}
		s, err := scanText(m.out.ctx, r)
		if err != nil {
			return nil, err
		}
		if s.zeros == 0 && s.longest <= maxLine {
			open = lines
		}
		if encoding = either(s.raw(), "7bit"); encoding == "binary" {
			encoding, f.mime = "base64", "application/octet-stream"
		}
	}
	f.entity = &mailPart{
		head: m.fileHead(f, a, display, id, location) + "Content-Transfer-Encoding: " + encoding + "\r\n",
		body: func(w io.Writer) error {
			r, err := open()
			if err != nil {
				return err
			}
			return encode(w, r, encoding)
		},
	}
	if encoding == "8bit" {
		f.entity.transfer = encoding
	}
	return f, nil
}

// fileHead returns the header fields of a file but for its encoding (MS-OXCMAIL
// 2.1.3.4.2).
func (m *mailWriter) fileHead(f *attached, a *item, display, id, location string) string {
	kind := f.mime + parameter("name", f.name)
	if charset := a.line(pidTagTextAttachmentCharset); strings.HasPrefix(f.mime, "text/") && token(charset) {
		kind = f.mime + "; charset=" + charset + parameter("name", f.name)
	}
	if own := a.namedLine(pidNameContentType); own != "" && isPlain(own) && strings.HasPrefix(strings.ToLower(own), f.mime) &&
		(len(own) == len(f.mime) || own[len(f.mime)] == ';') && !strings.HasPrefix(f.mime, "text/") {
		kind = own
	}
	disposition := "attachment"
	if f.inline {
		disposition = "inline"
	}
	disposition += parameter("filename", f.name)
	if at := mailDate(a.time(pidTagCreationTime)); at != "" {
		disposition += `; creation-date="` + at + `"`
	}
	if at := mailDate(a.time(pidTagLastModificationTime)); at != "" {
		disposition += `; modification-date="` + at + `"`
	}
	head := foldField("Content-Type", kind) + foldField("Content-Disposition", disposition)
	if display != "" && display != f.name {
		head += textField("Content-Description", display)
	}
	head += contentID(id)
	if location != "" {
		head += foldField("Content-Location", location)
	}
	if base := link(a.line(pidTagAttachContentBase)); base != "" {
		head += foldField("Content-Base", base)
	}
	return head
}

// nested returns a message that is attached (MS-OXCMAIL 2.1.3.4.5).
func (m *mailWriter) nested(a *item, e *cfb.Entry, name, place string, depth int) (*attached, error) {
	in := fmt.Sprintf("attached message %.100q", either(name, "without a subject"))
	if place != "" {
		in = place + ", " + in
	}
	look, err := a.f.newItem(e, headOfEmbedded, a.page, func(error) {})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", in, err)
	}
	transfer, err := m.transfer(look, depth+1)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", in, err)
	}
	head := "Content-Type: message/rfc822\r\n"
	if transfer != "" {
		head += "Content-Transfer-Encoding: " + transfer + "\r\n"
	}
	head += foldField("Content-Disposition", "attachment"+nestedName(name, look))
	return &attached{name: name, entity: &mailPart{
		head:     head,
		transfer: transfer,
		body: func(io.Writer) error {
			it, err := a.f.newItem(e, headOfEmbedded, a.page, m.damaged(in))
			if err != nil {
				return fmt.Errorf("%s: %w", in, err)
			}
			return m.message(it, in, depth+1)
		},
	}}, nil
}

// nestedName returns the parameter for the name of a message that is attached. One
// that is its subject is none: it is in the message.
func nestedName(name string, it *item) string {
	if name == "" || name == it.line(pidTagSubject) {
		return ""
	}
	return parameter("filename", name)
}

// mediaType returns a type as it may stand in Content-Type, "" if it may not
// (MS-OXCMAIL 2.1.3.4.2.2).
func mediaType(s string) string {
	s, _, _ = strings.Cut(s, ";")
	s = strings.ToLower(strings.TrimSpace(s))
	major, minor, _ := strings.Cut(s, "/")
	switch {
	case !token(major) || !token(minor) || len(s) > 200:
		return ""
	case major == "multipart", s == "application/applefile", s == "application/mac-binhex40",
		s == "message/rfc822", s == "message/global", s == "message/partial", s == "message/external-body":
		return "application/octet-stream"
	}
	return s
}

// typeOfName returns the type of a file by its name.
func typeOfName(name string) string {
	ext := strings.ToLower(strings.TrimPrefix(path.Ext(name), "."))
	found := ""
	for kind, e := range endings {
		if e == ext && ext != "" && (found == "" || preferred[kind] || kind < found && !preferred[found]) {
			found = kind
		}
	}
	if mediaType(found) == "" {
		return "application/octet-stream"
	}
	return mediaType(found)
}

// preferred are the types of files whose ending several types have.
var preferred = map[string]bool{
	"image/jpeg": true, "image/png": true, "text/plain": true, "text/vcard": true, "text/xml": true, "application/rtf": true,
	"application/pkcs7-mime": true, "application/pkcs7-signature": true, "application/octet-stream": true,
}

// shortcut returns a link as a file (.URL).
func shortcut(at string) string {
	if !strings.Contains(at, "://") {
		slashes := strings.ReplaceAll(at, `\`, "/")
		if !strings.HasPrefix(slashes, "//") {
			slashes = "///" + strings.TrimPrefix(slashes, "/")
		}
		at = "file:" + slashes
	}
	return "[InternetShortcut]\r\nURL=" + at + "\r\n"
}

// storageFile makes a file of a storage.
func (m *mailWriter) storageFile(f *attached, a *item, e *cfb.Entry) *attached {
	f.entity = &mailPart{
		head: m.fileHead(f, a, "", "", "") + "Content-Transfer-Encoding: base64\r\n",
		body: func(w io.Writer) error {
			r, stop := io.Pipe()
			done := make(chan struct{})
			go func() {
				defer close(done)
				_ = stop.CloseWithError(saveStorage(m.out.ctx, stop, e)) // it is the error of r
			}()
			err := encodeBase64(w, r)
			_ = r.Close() // nothing more is read
			<-done
			return err
		},
	}
	return f
}
