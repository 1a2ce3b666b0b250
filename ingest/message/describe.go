package message

import (
	"strings"
)

// describe reads what the header says of the part. In a digest the default type
// is that of a message.
func (p *Part) describe(digest bool) {
	h := p.Header
	p.Type, p.Encoding = "text/plain", Identity
	if digest {
		p.Type = "message/rfc822"
	}

	disposition, _ := h.field("Content-Disposition", func(v string) bool { return dispositionOf(v) != "" })
	cd := parseParameterized(disposition, h.charset)
	p.Disposition, p.DispositionParams = dispositionOf(disposition), cd.params

	value, n := h.field("Content-Type", func(v string) bool { return validType(typeOf(v)) })
	if n > 1 {
		note(&p.Notes, "Content-Type stands %d times", n)
	}
	ct := parseParameterized(value, h.charset)
	p.Params = ct.params
	if b, ok := ct.plain["boundary"]; ok {
		p.Params["boundary"] = strings.TrimRight(b, " \t")
	}
	p.Name = cd.params["filename"]
	for _, other := range []string{cd.params["name"], ct.params["name"], ct.params["filename"]} {
		if p.Name == "" {
			p.Name = other
		}
	}
	switch {
	case n == 0:
	case validType(ct.value):
		p.Type = ct.value
		if ct.odd {
			note(&p.Notes, "Content-Type is malformed")
		}
	case ct.value == "text":
		p.Type = "text/plain"
		note(&p.Notes, "Content-Type is malformed")
	default:
		note(&p.Notes, "Content-Type is malformed")
		switch {
		case ct.value == "multipart" && p.Params["boundary"] != "":
			p.Type = "multipart/mixed"
		case ct.value != "" || p.Name != "" || p.Disposition == "attachment":
			p.Type = "application/octet-stream"
		}
	}
	p.Charset = strings.ToLower(strings.Trim(strings.TrimSpace(p.Params["charset"]), `"'`))

	value, n = h.field("Content-Transfer-Encoding", func(v string) bool { _, known, _ := encodingOf(v); return known })
	if n > 1 {
		note(&p.Notes, "Content-Transfer-Encoding stands %d times", n)
	}
	if n > 0 {
		e, known, exact := encodingOf(value)
		p.Encoding = e
		switch {
		case !known:
			note(&p.Notes, "transfer encoding %.40q is unknown: the body is kept as it is", Decode(value))
		case !exact:
			note(&p.Notes, "transfer encoding %.40q is taken as %s", Decode(value), e)
		}
	}
	p.ContentID = unbracket(h.Raw("Content-ID"))
	p.Location = strings.Join(strings.Fields(decodeText(h.Raw("Content-Location"), h.charset)), "")
}

// typeOf returns the media type of a Content-Type.
func typeOf(v string) string {
	t, _ := parameterHead(v)
	return t
}

// dispositionOf returns the first token of a Content-Disposition.
func dispositionOf(v string) string {
	d, _ := parameterHead(v)
	return d
}

// validType reports whether t is type/subtype.
func validType(t string) bool {
	typ, subtype, ok := strings.Cut(t, "/")
	return ok && typ != "" && subtype != "" && !strings.ContainsAny(t, "()<>@,;:\\\"[]?=") && !strings.Contains(subtype, "/")
}

// encodingOf reads a Content-Transfer-Encoding (RFC 2045 6.1), also one that is
// spelt as some writers do. Exact is true when it is spelt as it should be.
func encodingOf(v string) (e Encoding, known, exact bool) {
	head, _, _ := strings.Cut(v, ";")
	var b strings.Builder
	for i := 0; i < len(head) && b.Len() < 40; i++ {
		switch c := head[i] | 0x20; {
		case head[i] == '(':
			i = skipComment(head, i) - 1
		case 'a' <= c && c <= 'z', '0' <= head[i] && head[i] <= '9':
			b.WriteByte(c)
		}
	}
	v = strings.ToLower(strings.TrimSpace(v))
	switch s := b.String(); s {
	case "7bit", "8bit", "binary":
		return Identity, true, v == s
	case "", "7bits", "8bits", "none", "identity", "ascii", "usascii", "7", "8", "plain", "raw":
		return Identity, true, false
	case "base64":
		return Base64, true, v == s
	case "b64", "base", "xbase64":
		return Base64, true, false
	case "quotedprintable":
		return QuotedPrintable, true, v == "quoted-printable"
	case "qp", "quotedprintable7bit", "quotedprintible", "quoteprintable", "printable", "xquotedprintable":
		return QuotedPrintable, true, false
	case "xuuencode", "uuencode", "xuue", "uue", "xuu":
		return UUEncode, true, v == "x-uuencode"
	case "xbinhex", "binhex", "binhex40", "xbinhex40", "macbinhex40", "xmacbinhex40", "binhex4", "hqx":
		return BinHex, true, v == "x-binhex40"
	}
	return Identity, false, false
}

// unbracket returns an identifier without its angle brackets.
func unbracket(s string) string {
	if i := strings.IndexByte(s, '<'); i >= 0 {
		s = s[i+1:]
		if j := strings.IndexByte(s, '>'); j >= 0 {
			s = s[:j]
		}
	}
	return strings.TrimSpace(s)
}
