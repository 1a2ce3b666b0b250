package document

import (
	"io"
	"path"
	"strings"

	"postroom/ingest/message"
	"postroom/internal/filename"
)

// types are media types and the ending of a file name that stands for each. Of
// several types the first is that of an ending. The tables of operating systems
// differ, and a document must not depend on where it is made.
var types = []struct{ media, ending string }{
	{"text/plain", ".txt"},
	{"application/xml", ".xml"},
	{"text/calendar", ".ics"},
	{"text/vcard", ".vcf"},
	{"application/rtf", ".rtf"},
	{"audio/wav", ".wav"},
	{"application/pdf", ".pdf"},
	{"application/zip", ".zip"},
	{"application/x-zip-compressed", ".zip"},
	{"application/gzip", ".gz"},
	{"application/x-gzip", ".gz"},
	{"application/x-7z-compressed", ".7z"},
	{"application/json", ".json"},
	{"application/msword", ".doc"},
	{"application/vnd.ms-excel", ".xls"},
	{"application/vnd.ms-powerpoint", ".ppt"},
	{"application/vnd.ms-outlook", ".msg"},
	{"application/vnd.openxmlformats-officedocument.wordprocessingml.document", ".docx"},
	{"application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", ".xlsx"},
	{"application/vnd.openxmlformats-officedocument.presentationml.presentation", ".pptx"},
	{"application/vnd.oasis.opendocument.text", ".odt"},
	{"application/vnd.oasis.opendocument.spreadsheet", ".ods"},
	{"application/vnd.oasis.opendocument.presentation", ".odp"},
	{"application/postscript", ".ps"},
	{"application/mac-binhex40", ".hqx"},
	{"application/ms-tnef", ".tnef"},
	{"application/vnd.ms-tnef", ".tnef"},
	{"application/pgp-signature", ".asc"},
	{"application/pgp-keys", ".asc"},
	{"application/pkcs7-mime", ".p7m"},
	{"application/x-pkcs7-mime", ".p7m"},
	{"application/pkcs7-signature", ".p7s"},
	{"application/x-pkcs7-signature", ".p7s"},
	{"application/ics", ".ics"},
	{"audio/mpeg", ".mp3"},
	{"audio/mp4", ".m4a"},
	{"audio/ogg", ".ogg"},
	{"audio/x-wav", ".wav"},
	{"audio/amr", ".amr"},
	{"image/bmp", ".bmp"},
	{"image/gif", ".gif"},
	{"image/heic", ".heic"},
	{"image/jpeg", ".jpg"},
	{"image/jpg", ".jpg"},
	{"image/pjpeg", ".jpg"},
	{"image/png", ".png"},
	{"image/x-png", ".png"},
	{"image/svg+xml", ".svg"},
	{"image/tiff", ".tif"},
	{"image/webp", ".webp"},
	{"message/rfc822", ".eml"},
	{"message/global", ".eml"},
	{"message/news", ".eml"},
	{"message/delivery-status", ".txt"},
	{"text/html", ".html"},
	{"text/css", ".css"},
	{"text/csv", ".csv"},
	{"text/markdown", ".md"},
	{"text/richtext", ".txt"},
	{"text/enriched", ".txt"},
	{"text/rtf", ".rtf"},
	{"text/x-vcard", ".vcf"},
	{"text/directory", ".vcf"},
	{"text/rfc822-headers", ".txt"},
	{"text/xml", ".xml"},
	{"video/mp4", ".mp4"},
	{"video/mpeg", ".mpg"},
	{"video/quicktime", ".mov"},
}

// endings is types by media type, typesOf by ending.
var endings, typesOf = func() (endings, typesOf map[string]string) {
	endings, typesOf = map[string]string{}, map[string]string{}
	for _, t := range types {
		endings[t.media] = t.ending
		if typesOf[t.ending] == "" {
			typesOf[t.ending] = t.media
		}
	}
	return endings, typesOf
}()

const unknownType = "application/octet-stream"

// typeOfName returns the media type that the ending of a file name stands for.
func typeOfName(name string) string {
	if typ := typesOf[strings.ToLower(path.Ext(name))]; typ != "" {
		return typ
	}
	return unknownType
}

// mediaType returns typ if it can be one (RFC 6838 4.2), else that of any bytes.
func mediaType(typ string) string {
	if len(typ) > 255 || !strings.Contains(typ, "/") {
		return unknownType
	}
	for i := range len(typ) {
		if c := typ[i]; c <= ' ' || c >= 0x7f {
			return unknownType
		}
	}
	return typ
}

// nameless returns a file name for what has none.
func nameless(typ string) string {
	ending, ok := endings[typ]
	if !ok {
		ending = ".bin"
		if strings.HasPrefix(typ, "text/") {
			ending = ".txt"
		}
	}
	return "attachment" + ending
}

// partName returns the safe file name of a part, not yet one that is unique.
func partName(m *message.Message, p *message.Part) string {
	if p.IsMessage() {
		return messageName(m, p)
	}
	name := pathless(p.Name)
	if name == "" && len(p.Header.Fields) > 0 {
		// A description that looks like a name is one (Lotus Notes, fax servers).
		if d := p.Header.Text("Content-Description"); typeOfName(d) != unknownType {
			name = pathless(d)
		}
	}
	return filename.Clean(name, nameless(p.Type))
}

// messageName returns the name of a message that is attached: its own, else its
// subject.
func messageName(m *message.Message, p *message.Part) string {
	name := pathless(p.Name)
	if strings.HasSuffix(strings.ToLower(name), ".eml") {
		return filename.Clean(name, "attachment.eml")
	}
	if name == "" {
		var h *message.Header
		if len(p.Parts) > 0 {
			h = p.Parts[0].Header
		} else if read, err := message.ReadHeader(io.LimitReader(m.Open(p), 1<<20)); err == nil {
			h = read
		}
		if h != nil {
			name = h.Text("Subject")
		}
	}
	return filename.Clean(filename.CleanTitle(name, "attachment")+".eml", "attachment.eml")
}

// pathless returns a file name without the folders of the machine it comes from
// (RFC 2183 2.3). A slash that is no part of a path stays.
func pathless(name string) string {
	name = strings.TrimSpace(name)
	drive := len(name) > 2 && name[1] == ':' && (name[2] == '\\' || name[2] == '/')
	switch {
	case drive, strings.HasPrefix(name, `\\`), strings.HasPrefix(name, "/"), strings.HasPrefix(name, "file://"),
		strings.HasPrefix(name, "../"), strings.HasPrefix(name, `..\`):
		return name[strings.LastIndexAny(name, `/\`)+1:]
	}
	return name
}
