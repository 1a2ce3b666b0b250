package message

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"time"
)

// Bounds of what is kept of a header section unless Limits say otherwise; the
// rest of it is passed over.
const (
	maxHeader = 1 << 20
	maxFields = 10_000
)

// Field is one header field as it stands in the message, unfolded.
type Field struct {
	Name  string
	Raw   []byte // the value without the line ends of the folding, otherwise untouched
	Range Range  // the field with its name, folding and line end
}

// Header is a header section (RFC 5322 2.2, RFC 2045 3), in order.
type Header struct {
	Fields []Field
	// Notes say what was not as it should be.
	Notes []string
	// Cut is true if the header section has more than was kept of it (see Limits):
	// Fields lacks those after the bound, or the end of a long value is missing.
	// The bytes are there all the same: between Whole.Start and Body.Start of the
	// part, and a Range is that of a whole field.
	Cut bool

	charset string // of the Content-Type: what raw 8-bit text is likely to be in
}

// ReadHeader reads the header section from r, which is read beyond its end. It
// accepts what real servers send: a byte order mark, an mbox "From " line, lines
// without a colon, bare LF or CR, an end without an empty line. Ranges count
// from the beginning of r. The error is one of r.
func ReadHeader(r io.Reader) (*Header, error) {
	limited := &io.LimitedReader{R: r, N: 2 * maxHeader}
	lines := newLineReader(context.Background(), limited, 16<<10)
	defer lines.release()
	h := &headerReader{limit: maxHeader, kind: rootHeader}
	for f := lines.next(); f != nil; f = lines.next() {
		if _, done := h.add(f); done {
			break
		}
	}
	h.cut = h.cut || limited.N == 0 && lines.pos == lines.end
	header, _ := h.finish(lines.off + int64(lines.pos))
	if err := lines.readErr(); err != nil {
		return header, err
	}
	return header, nil
}

// headerKind says whose header section is read.
type headerKind int

const (
	partHeader   headerKind = iota // of a body part
	rootHeader                     // of the message: a byte order mark and an mbox line may be before it
	nestedHeader                   // of a message in a message: an empty line too
)

// headerReader takes the lines of a header section.
//
// A line that is no field either belongs to the field before it (its folding is
// broken) or is the first of a body that no empty line sets off. Which of the two
// shows at the next field, or at the end: until then such lines are pending.
type headerReader struct {
	kind  headerKind
	limit int64 // of bytes in buf

	buf     []byte // values, one after the other
	fields  []pendingField
	last    int   // length of the value of the last field without pending lines
	pending int64 // offset of the first pending line, if odd > 0
	odd     int   // pending lines
	oddCut  bool  // not all of them is in buf
	skip    bool  // the rest of the line is passed over
	joins   bool  // the rest of the line belongs to the last field
	drops   bool  // a field that is not kept goes on
	lines   int

	bounded int    // fields when bound was read
	bound   string // the boundary that is declared

	blank                            int64 // end of the empty lines before the first field
	cut, more, junk, bom, mbox, lead bool
}

type pendingField struct {
	name         string
	value        int // offset in buf
	length       int
	start, after int64
}

// add takes a fragment. Done is true when the header section has ended, at the
// offset body.
func (h *headerReader) add(f *fragment) (body int64, done bool) {
	line := f.data
	if !f.first {
		switch {
		case h.joins:
			h.append(line)
			h.after(f.end())
		case h.odd > 0 && !h.skip:
			h.append(line)
		}
		return 0, false
	}
	h.skip, h.joins = false, false
	start := f.start
	h.lines++
	if h.lines == 1 && h.kind != partHeader {
		if rest, ok := bytes.CutPrefix(line, []byte("\xef\xbb\xbf")); ok {
			line, h.bom = rest, true
			start += 3
		}
		if bytes.HasPrefix(line, []byte("From ")) || bytes.HasPrefix(line, []byte(">From ")) {
			h.mbox, h.skip = true, true
			h.blank = f.end()
			return 0, false
		}
		// The first field, indented by mistake.
		if t := bytes.TrimLeft(line, " \t"); len(t) < len(line) && knownField(t) {
			line, h.junk = t, true
		}
	}
	if len(line) == 0 && f.last {
		if h.kind == nestedHeader && len(h.fields) == 0 && h.odd == 0 && h.lines <= 2 && !h.lead {
			h.lead = true
			h.blank = f.end()
			return 0, false
		}
		return f.end(), true
	}
	if h.lead && len(h.fields) == 0 && h.odd == 0 && !knownField(line) {
		return h.blank, true // the empty line was the end
	}
	if line[0] == ' ' || line[0] == '\t' {
		switch {
		case h.drops:
			h.skip = true
		case h.odd > 0:
			h.append(line)
			h.odd++
		case len(h.fields) > 0:
			h.append(line)
			h.after(f.end())
			h.joins = true
		default:
			h.junk, h.skip = true, true
			h.blank = f.end()
		}
		return 0, false
	}
	name, value, ok := bytes.Cut(line, []byte(":"))
	name = bytes.TrimRight(name, " \t")
	if ok && validName(name) && (h.odd == 0 || knownName(name)) {
		h.confirm()
		h.drops = len(h.fields) == maxFields || int64(len(h.buf)) >= h.limit
		if h.drops {
			h.more, h.skip = true, true
			return 0, false
		}
		h.fields = append(h.fields, pendingField{name: string(name), value: len(h.buf), start: start, after: f.end()})
		h.append(value)
		h.joins = true
		return 0, false
	}
	if n := len(h.fields); n > 0 && h.odd == 0 && !h.drops && h.unfinished(&h.fields[n-1], line) {
		h.append([]byte(" "))
		h.append(line)
		h.after(f.end())
		h.joins, h.junk = true, true
		return 0, false
	}
	if h.odd == 0 {
		h.pending = start
		if n := len(h.fields); n > 0 {
			h.last = h.fields[n-1].length
		}
	}
	h.odd++
	if h.drops {
		h.skip = true
		return 0, false
	}
	h.append([]byte(" "))
	h.append(line)
	return 0, false
}

// mayBound reports whether the line is the first boundary line of the multipart
// that the header so far declares.
func (h *headerReader) mayBound(line []byte) bool {
	if h.bounded != len(h.fields) {
		h.bounded, h.bound = len(h.fields), ""
		for _, f := range h.fields {
			if strings.EqualFold(f.name, "Content-Type") {
				ct := parseParameterized(string(h.buf[f.value:f.value+f.length]), "")
				if h.bound = ct.plain["boundary"]; !hasPrefixFold(ct.value, "multipart/") {
					h.bound = ""
				}
				break
			}
		}
	}
	return h.bound != "" && string(line[2:]) == h.bound
}

// unfinished reports whether the line must belong to a field with parameters,
// although it is not indented.
func (h *headerReader) unfinished(f *pendingField, line []byte) bool {
	value := bytes.TrimRight(h.buf[f.value:f.value+f.length], " \t")
	if len(value) == 0 && hasPrefixFold(f.name, "X-") {
		return true
	}
	if !hasPrefixFold(f.name, "Content-") {
		return false
	}
	if len(value) > 0 && value[len(value)-1] == ';' {
		return true
	}
	name, _, ok := bytes.Cut(line, []byte("="))
	switch strings.ToLower(strings.TrimSpace(string(name))) {
	case "boundary", "charset", "name", "filename":
		return ok
	}
	return false
}

// append adds to the value of the last field, as far as the limits go: a field
// may need no more than half of what a header section may, so that those after
// it are read too.
func (h *headerReader) append(b []byte) {
	room := h.limit - int64(len(h.buf))
	if n := len(h.fields); n > 0 {
		room = min(room, h.limit/2-int64(h.fields[n-1].length))
	}
	if int64(len(b)) > room {
		b = b[:max(room, 0)]
		if h.odd > 0 {
			h.oddCut = true
		} else {
			h.cut = true
		}
	}
	h.buf = append(h.buf, b...)
	if n := len(h.fields); n > 0 {
		h.fields[n-1].length += len(b)
	}
}

func (h *headerReader) after(end int64) {
	if n := len(h.fields); n > 0 {
		h.fields[n-1].after = end
	}
}

// confirm takes pending lines as part of the field before them.
func (h *headerReader) confirm() {
	if h.odd > 0 {
		h.junk = true
		if len(h.fields) == 0 {
			h.buf = h.buf[:0]
		} else {
			h.cut = h.cut || h.oddCut
		}
		h.odd, h.oddCut = 0, false
	}
}

// finish returns the header and the offset of the body, given the end of the
// header section.
func (h *headerReader) finish(end int64) (*Header, int64) {
	if h.odd > 0 {
		if len(h.fields) > 0 {
			f := &h.fields[len(h.fields)-1]
			f.length = h.last
		}
		end = h.pending
	}
	out := &Header{Fields: make([]Field, 0, len(h.fields)), Cut: h.cut || h.more}
	for _, f := range h.fields {
		out.Fields = append(out.Fields, Field{
			Name:  f.name,
			Raw:   h.buf[f.value : f.value+f.length : f.value+f.length],
			Range: Range{f.start, min(f.after, end)},
		})
	}
	for _, n := range []struct {
		is   bool
		note string
	}{
		{h.bom, "byte order mark before the header"},
		{h.mbox, `mbox "From " line before the header`},
		{h.lead && len(h.fields) > 0, "empty line before the header"},
		{h.more && !h.cut, "more header fields than are read"},
		{h.cut, "header is longer than is read"},
		{h.junk, "header lines that are no fields"},
		{h.odd > 0 && len(h.fields) > 0, "no empty line between header and body"},
	} {
		if n.is {
			out.Notes = append(out.Notes, n.note)
		}
	}
	if ct := out.Raw("Content-Type"); ct != "" {
		out.charset = strings.ToLower(parseParameterized(ct, "").params["charset"])
	}
	return out, end
}

// cost is what the header needs in memory, about.
func (h *headerReader) cost() int64 { return int64(len(h.buf)) + 96*int64(len(h.fields)) }

// validName reports whether name is a field name by RFC 5322 2.2.
func validName(name []byte) bool {
	for _, c := range name {
		if c <= ' ' || c >= 0x7f {
			return false
		}
	}
	return len(name) > 0
}

// knownField reports whether the line begins a field that mail has, as text with
// a colon may not.
func knownField(line []byte) bool {
	name, _, ok := bytes.Cut(line[:min(len(line), 200)], []byte(":"))
	name = bytes.TrimRight(name, " \t")
	return ok && validName(name) && knownName(name)
}

func knownName(name []byte) bool {
	switch strings.ToLower(string(name[:min(len(name), 20)])) {
	case "from", "to", "cc", "bcc", "subject", "date", "sender", "received", "importance", "priority", "precedence",
		"sensitivity", "references", "keywords", "comments", "status", "organization", "expires", "encoding", "lines",
		"newsgroups", "path", "distribution", "approved", "encrypted", "errors":
		return true
	}
	// Content-Type, X-Mailer, DKIM-Signature and the like.
	letters := true
	for _, c := range name {
		if c != '-' && c != '_' && (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') {
			letters = false
		}
	}
	return letters && bytes.IndexByte(name, '-') > 0 && name[len(name)-1] != '-'
}

// Raw returns the first field of that name as it stands, trimmed, or "".
func (h *Header) Raw(name string) string {
	for _, f := range h.Fields {
		if strings.EqualFold(f.Name, name) {
			return strings.TrimSpace(string(f.Raw))
		}
	}
	return ""
}

// Values returns all fields of that name as they stand, trimmed.
func (h *Header) Values(name string) []string {
	var out []string
	for _, f := range h.Fields {
		if strings.EqualFold(f.Name, name) {
			out = append(out, strings.TrimSpace(string(f.Raw)))
		}
	}
	return out
}

// Text returns the first field of that name as text: encoded words (RFC 2047)
// decoded; raw 8-bit bytes taken as UTF-8 (RFC 6532), else as in the charset of
// the body, else guessed.
func (h *Header) Text(name string) string { return decodeText(h.Raw(name), h.charset) }

// FieldText returns a field of the header as text, as Text does.
func (h *Header) FieldText(f Field) string {
	return strings.TrimSpace(decodeText(string(f.Raw), h.charset))
}

// Decode decodes the encoded words (RFC 2047) and raw 8-bit bytes of a header
// value. What cannot be decoded stays as it is.
func Decode(raw string) string { return decodeText(raw, "") }

// AddressList returns the addresses of all fields of that name (RFC 5322 3.4).
func (h *Header) AddressList(name string) []Address {
	var out []Address
	for _, f := range h.Fields {
		if strings.EqualFold(f.Name, name) {
			out = append(out, parseAddresses(string(f.Raw), h.charset)...)
		}
	}
	return out
}

// Addresses returns the addresses of all fields of that name as
// "Name <address>", or the text of a field that holds none.
func (h *Header) Addresses(name string) []string {
	var out []string
	for _, f := range h.Fields {
		if !strings.EqualFold(f.Name, name) {
			continue
		}
		list := parseAddresses(string(f.Raw), h.charset)
		found := false
		for _, a := range list {
			found = found || a.Address != ""
		}
		if !found {
			if text := strings.TrimSpace(decodeText(string(f.Raw), h.charset)); text != "" {
				out = append(out, text)
			}
			continue
		}
		for _, a := range list {
			out = append(out, a.String())
		}
	}
	return out
}

// MessageIDs returns the message identifiers of all fields of that name
// (Message-ID, In-Reply-To, References: RFC 5322 3.6.4), each with its brackets,
// as they stand but for white space inside. Text that is no identifier is left
// out; a field without brackets is one identifier if it has no white space.
func (h *Header) MessageIDs(name string) []string {
	var out []string
	for _, v := range h.Values(name) {
		if !strings.Contains(v, "<") {
			if v = strings.TrimSuffix(v, ">"); v != "" && !strings.ContainsAny(v, " \t") {
				out = append(out, "<"+v+">")
			}
			continue
		}
		for v != "" {
			_, after, ok := strings.Cut(v, "<")
			if !ok {
				break
			}
			end := strings.IndexAny(after, "<>")
			id := after
			if end >= 0 {
				id, after = after[:end], after[end:]
			} else {
				after = ""
			}
			if id = strings.Join(strings.Fields(id), ""); id != "" {
				out = append(out, "<"+id+">")
			}
			v = after
		}
	}
	return out
}

// Date returns the date of the Date field in UTC, zero if there is none that can
// be read.
func (h *Header) Date() time.Time {
	t, _ := ParseDate(h.Raw("Date"))
	return t
}

// Arrived returns the newest date of the Received fields (RFC 5321 4.4) in UTC,
// zero if there is none that can be read.
func (h *Header) Arrived() time.Time {
	var newest time.Time
	for _, f := range h.Fields {
		if !strings.EqualFold(f.Name, "Received") {
			continue
		}
		i := bytes.LastIndexByte(f.Raw, ';')
		if i < 0 {
			i = lastWeekday(f.Raw) - 1
		}
		if i < -1 {
			continue
		}
		if t, ok := ParseDate(string(f.Raw[i+1:])); ok && t.After(newest) {
			newest = t
		}
	}
	return newest
}

// field returns the first field of that name that ok accepts, else the first of
// all, and how many there are.
func (h *Header) field(name string, ok func(string) bool) (value string, n int) {
	good := false
	for _, f := range h.Fields {
		if !strings.EqualFold(f.Name, name) {
			continue
		}
		n++
		if v := strings.TrimSpace(string(f.Raw)); n == 1 || !good && ok(v) {
			value, good = v, ok(v)
		}
	}
	return value, n
}

// note adds a note once; beyond a few, no more.
func note(notes *[]string, format string, args ...any) {
	n := format
	if len(args) > 0 {
		n = fmt.Sprintf(format, args...)
	}
	if len(*notes) >= 20 {
		return
	}
	for _, old := range *notes {
		if old == n {
			return
		}
	}
	*notes = append(*notes, n)
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}
