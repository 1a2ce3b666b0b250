package graphtest

import (
	"bytes"
	"encoding/base64"
	"io"
	"mime"
	"mime/quotedprintable"
	"regexp"
	"strings"

	"golang.org/x/text/encoding/htmlindex"
)

// part is a part of a message, as the mailbox reads it when mail arrives.
type part struct {
	header []field
	// body is the raw body, without the header.
	body   []byte
	typ    string // media type in lower case
	params map[string]string
	parts  []*part
}

type field struct{ name, value string }

// maxDepth bounds how deep parts are nested; what is deeper is not taken apart.
const maxDepth = 30

// parseMIME takes a message apart. Anything is a message.
func parseMIME(raw []byte) *part { return parsePart(raw, "text/plain", 0) }

func parsePart(raw []byte, byDefault string, depth int) *part {
	p := &part{typ: byDefault}
	p.header, p.body = splitHeader(raw)
	if value := p.get("Content-Type"); value != "" {
		typ, params, err := mime.ParseMediaType(value)
		if typ == "" || err != nil && params == nil {
			typ, _, _ = strings.Cut(value, ";")
			typ = strings.ToLower(strings.TrimSpace(typ))
			params = looseParams(value)
		}
		if strings.Contains(typ, "/") {
			p.typ, p.params = typ, params
		}
	}
	if boundary := p.params["boundary"]; strings.HasPrefix(p.typ, "multipart/") && boundary != "" && depth < maxDepth {
		inner := "text/plain"
		if p.typ == "multipart/digest" {
			inner = "message/rfc822"
		}
		for _, b := range splitParts(p.body, boundary) {
			p.parts = append(p.parts, parsePart(b, inner, depth+1))
		}
	}
	if p.typ == "message/rfc822" && depth < maxDepth && !p.encoded() {
		p.parts = []*part{parsePart(p.body, "text/plain", depth+1)}
	}
	return p
}

var looseParam = regexp.MustCompile(`(?i);\s*([a-z*0-9-]+)\s*=\s*(?:"([^"]*)"|([^\s;"]+))`)

func looseParams(value string) map[string]string {
	params := make(map[string]string)
	for _, m := range looseParam.FindAllStringSubmatch(value, -1) {
		params[strings.ToLower(m[1])] = m[2] + m[3]
	}
	return params
}

// splitHeader returns the unfolded fields and what follows them.
func splitHeader(raw []byte) ([]field, []byte) {
	var fields []field
	for len(raw) > 0 {
		line, rest := cutLine(raw)
		if len(line) == 0 {
			return fields, rest
		}
		if (line[0] == ' ' || line[0] == '\t') && len(fields) > 0 {
			fields[len(fields)-1].value += " " + strings.TrimSpace(string(line))
			raw = rest
			continue
		}
		name, value, ok := strings.Cut(string(line), ":")
		if !ok || strings.ContainsAny(strings.TrimRight(name, " \t"), " \t") {
			if strings.HasPrefix(string(line), "From ") && len(fields) == 0 {
				raw = rest
				continue
			}
			return fields, raw
		}
		fields = append(fields, field{strings.TrimSpace(name), strings.TrimSpace(value)})
		raw = rest
	}
	return fields, nil
}

// cutLine returns the first line without its end, and the rest.
func cutLine(raw []byte) (line, rest []byte) {
	n := bytes.IndexByte(raw, '\n')
	if n < 0 {
		return raw, nil
	}
	return bytes.TrimSuffix(raw[:n], []byte("\r")), raw[n+1:]
}

// splitParts returns the parts between the boundary's lines.
func splitParts(body []byte, boundary string) [][]byte {
	var parts [][]byte
	delimiter := []byte("--" + boundary)
	from := -1
	for at := 0; at < len(body); {
		line, rest := cutLine(body[at:])
		next := len(body) - len(rest)
		if after, ok := bytes.CutPrefix(line, delimiter); ok {
			after = bytes.TrimRight(after, " \t")
			if last := string(after) == "--"; last || len(after) == 0 {
				if from >= 0 {
					parts = append(parts, trimLineEnd(body[from:max(from, at)]))
				}
				if from = next; last {
					return parts
				}
			}
		}
		at = next
	}
	if from >= 0 {
		parts = append(parts, body[from:])
	}
	return parts
}

func trimLineEnd(b []byte) []byte {
	return bytes.TrimSuffix(bytes.TrimSuffix(b, []byte("\n")), []byte("\r"))
}

// get returns the first field of the name, unfolded.
func (p *part) get(name string) string {
	for _, f := range p.header {
		if strings.EqualFold(f.name, name) {
			return f.value
		}
	}
	return ""
}

var words = &mime.WordDecoder{CharsetReader: func(charset string, r io.Reader) (io.Reader, error) {
	e, err := htmlindex.Get(charset)
	if err != nil {
		return nil, err
	}
	return e.NewDecoder().Reader(r), nil
}}

// decodeWords decodes encoded words (RFC 2047); what cannot be decoded stays.
func decodeWords(text string) string {
	if decoded, err := words.DecodeHeader(text); err == nil {
		return strings.ToValidUTF8(decoded, "\ufffd")
	}
	return strings.ToValidUTF8(text, "\ufffd")
}

// text returns a field's decoded text.
func (p *part) text(name string) string { return decodeWords(p.get(name)) }

// encoded reports whether the body is in a transfer encoding that changes bytes.
func (p *part) encoded() bool {
	switch strings.ToLower(p.get("Content-Transfer-Encoding")) {
	case "base64", "quoted-printable":
		return true
	}
	return false
}

// content returns the decoded body.
func (p *part) content() []byte {
	switch strings.ToLower(p.get("Content-Transfer-Encoding")) {
	case "base64":
		return decodeBase64(p.body)
	case "quoted-printable":
		decoded, err := io.ReadAll(quotedprintable.NewReader(bytes.NewReader(p.body)))
		if err != nil {
			return p.body
		}
		return decoded
	}
	return p.body
}

// decodeBase64 decodes all of base64's letters up to the padding.
func decodeBase64(b []byte) []byte {
	clean := make([]byte, 0, len(b))
	for _, c := range b {
		if c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '+' || c == '/' {
			clean = append(clean, c)
		}
	}
	if len(clean)%4 == 1 {
		clean = clean[:len(clean)-1]
	}
	decoded := make([]byte, base64.RawStdEncoding.DecodedLen(len(clean)))
	n, err := base64.RawStdEncoding.Decode(decoded, clean)
	if err != nil {
		return decoded[:n]
	}
	return decoded
}

// utf8 returns the content of a text in UTF-8, and whether it could be
// converted.
func (p *part) utf8() ([]byte, bool) {
	content := p.content()
	charset := p.params["charset"]
	switch strings.ToLower(charset) {
	case "", "us-ascii", "utf-8", "utf8":
		return bytes.ToValidUTF8(content, []byte("\ufffd")), true
	}
	e, err := htmlindex.Get(charset)
	if err != nil {
		return content, false
	}
	decoded, err := e.NewDecoder().Bytes(content)
	if err != nil {
		return content, false
	}
	return decoded, true
}

// disposition returns the word of Content-Disposition, in lower case.
func (p *part) disposition() string {
	word, _, _ := strings.Cut(p.get("Content-Disposition"), ";")
	return strings.ToLower(strings.TrimSpace(word))
}

// name returns the file name that a part gives itself.
func (p *part) name() string {
	value := p.get("Content-Disposition")
	_, params, err := mime.ParseMediaType(value)
	if err != nil {
		params = looseParams(value)
	}
	if params["filename"] != "" {
		return decodeWords(params["filename"])
	}
	return decodeWords(p.params["name"])
}

// contentID returns Content-ID without brackets.
func (p *part) contentID() string { return strings.Trim(p.get("Content-ID"), "<> ") }

// sealed reports whether nothing in the part may be changed: a signature covers
// it or it is encrypted.
func (p *part) sealed() bool {
	switch p.typ {
	case "multipart/signed", "multipart/encrypted", "application/pkcs7-mime", "application/x-pkcs7-mime":
		return true
	}
	return false
}

// isText reports whether the part is text that a mail program shows.
func (p *part) isText() bool {
	return (p.typ == "text/plain" || p.typ == "text/html") && p.disposition() != "attachment" && p.name() == ""
}
