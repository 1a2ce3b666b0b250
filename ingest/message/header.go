// Package message reads mail as it is, however broken.
//
// It changes nothing and never refuses: what cannot be understood is left as
// raw bytes, and a note says so.
package message

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"mime"
	"net/mail"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/emersion/go-message/charset"
	"golang.org/x/text/encoding/charmap"
)

// Bounds of what ReadHeader keeps; the rest of the header is passed over.
const (
	maxHeader = 1 << 20
	maxFields = 2000
)

// Field is one header field as it stands in the message, unfolded.
type Field struct {
	Name string
	Raw  []byte // without the line ends of the folding, otherwise untouched
}

// Header is the header section of a message (RFC 5322 2.2), in order.
type Header struct {
	Fields []Field
	// Notes say what was not as it should be.
	Notes []string
}

// ReadHeader reads the header section from r. It accepts what real servers
// send: a byte order mark, an mbox "From " line, lines without a colon (which it
// passes over), bare LF or CR, an end without an empty line. The error is one of
// r.
func ReadHeader(r io.Reader) (*Header, error) {
	h := &Header{}
	limited := &io.LimitedReader{R: r, N: maxHeader}
	br := bufio.NewReaderSize(limited, 32<<10)
	if bom, _ := br.Peek(3); bytes.Equal(bom, []byte("\xef\xbb\xbf")) {
		br.Discard(3)
		h.Notes = append(h.Notes, "byte order mark before the header")
	}
	odd := 0
	for first := true; ; first = false {
		line, err := readLine(br)
		if err != nil && !errors.Is(err, io.EOF) {
			return h, err
		}
		end := err != nil
		switch {
		case len(line) == 0 && !end:
			end = true
		case len(line) == 0:
		case line[0] == ' ' || line[0] == '\t':
			if n := len(h.Fields); n > 0 {
				h.Fields[n-1].Raw = append(h.Fields[n-1].Raw, line...)
			} else {
				odd++
			}
		case first && bytes.HasPrefix(line, []byte("From ")):
			h.Notes = append(h.Notes, `mbox "From " line before the header`)
		default:
			name, value, ok := bytes.Cut(line, []byte(":"))
			name = bytes.TrimRight(name, " \t")
			if !ok || !validName(name) {
				odd++
				break
			}
			if len(h.Fields) == maxFields {
				end = true
				h.Notes = append(h.Notes, "more header fields than are read")
				break
			}
			h.Fields = append(h.Fields, Field{Name: string(name), Raw: bytes.Clone(value)})
		}
		if end {
			break
		}
	}
	if limited.N == 0 {
		h.Notes = append(h.Notes, "header is longer than is read")
	}
	if odd > 0 {
		h.Notes = append(h.Notes, "header lines that are no fields")
	}
	return h, nil
}

// readLine returns the next line without its end, which is CRLF, LF or CR.
func readLine(br *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		b, err := br.ReadByte()
		if err != nil {
			return line, err
		}
		switch b {
		case '\n':
			return line, nil
		case '\r':
			if next, err := br.Peek(1); err == nil && next[0] == '\n' {
				br.Discard(1)
			}
			return line, nil
		}
		line = append(line, b)
	}
}

// validName reports whether name is a field name by RFC 5322 2.2.
func validName(name []byte) bool {
	for _, c := range name {
		if c <= ' ' || c >= 0x7f {
			return false
		}
	}
	return len(name) > 0
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

// Text returns the first field of that name as text: encoded words (RFC 2047)
// decoded, raw 8-bit bytes taken as UTF-8 (RFC 6532) or else as Windows-1252.
func (h *Header) Text(name string) string { return Decode(h.Raw(name)) }

// Decode decodes the encoded words of a header value. What cannot be decoded
// stays as it is.
func Decode(raw string) string {
	if !utf8.ValidString(raw) {
		if s, err := charmap.Windows1252.NewDecoder().String(raw); err == nil {
			raw = s
		}
	}
	if !strings.Contains(raw, "=?") {
		return raw
	}
	d := mime.WordDecoder{CharsetReader: charset.Reader}
	if s, err := d.DecodeHeader(raw); err == nil {
		return s
	}
	return raw
}

// Addresses returns the addresses of all fields of that name as
// "Name <address>", or the text of a field that cannot be parsed.
func (h *Header) Addresses(name string) []string {
	p := mail.AddressParser{WordDecoder: &mime.WordDecoder{CharsetReader: charset.Reader}}
	var out []string
	for _, f := range h.Fields {
		if !strings.EqualFold(f.Name, name) {
			continue
		}
		raw := strings.TrimSpace(string(f.Raw))
		list, err := p.ParseList(raw)
		if err != nil {
			if raw != "" {
				out = append(out, Decode(raw))
			}
			continue
		}
		for _, a := range list {
			if a.Name == "" {
				out = append(out, a.Address)
			} else {
				out = append(out, a.Name+" <"+a.Address+">")
			}
		}
	}
	return out
}

// Date returns the date of the Date field, zero if there is none that can be
// read.
func (h *Header) Date() time.Time {
	t, err := mail.ParseDate(h.Raw("Date"))
	if err != nil {
		return time.Time{}
	}
	return t.UTC()
}

// Arrived returns the newest date of the Received fields (RFC 5321 4.4), zero
// if there is none that can be read.
func (h *Header) Arrived() time.Time {
	var newest time.Time
	for _, f := range h.Fields {
		if !strings.EqualFold(f.Name, "Received") {
			continue
		}
		i := bytes.LastIndexByte(f.Raw, ';')
		if i < 0 {
			continue
		}
		if t, err := mail.ParseDate(strings.TrimSpace(string(f.Raw[i+1:]))); err == nil && t.After(newest) {
			newest = t
		}
	}
	return newest.UTC()
}
