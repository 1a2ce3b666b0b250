package message

import (
	"bytes"
	"errors"
	"html"
	"io"
	"net/url"
	"strings"
)

// maxReference is the longest reference that is looked at.
const maxReference = 2 << 10

// References returns those of parts that the HTML of part p refers to: by
// Content-ID (RFC 2392) or Content-Location (RFC 2557). It reads the HTML in its
// charset, as a stream.
func (m *Message) References(p *Part, parts []*Part) (map[*Part]bool, error) {
	f := finder{ids: map[string]*Part{}, locations: map[string]*Part{}, found: map[*Part]bool{}}
	for _, c := range parts {
		if c.ContentID != "" && f.ids[c.ContentID] == nil {
			f.ids[c.ContentID] = c
		}
		if c.Location != "" && f.locations[c.Location] == nil {
			f.locations[c.Location] = c
		}
	}
	if len(f.ids)+len(f.locations) == 0 {
		return f.found, nil
	}
	if p.Location != "" {
		f.base, _ = url.Parse(p.Location)
	}
	short, err := m.short(p)
	if err != nil {
		return nil, err
	}
	if short != nil {
		f.find(short.text, 0, len(short.text))
		return f.found, nil
	}
	_, text, err := m.OpenText(p)
	if err != nil {
		return nil, err
	}
	return f.found, f.stream(text)
}

// finder finds the parts that HTML refers to.
type finder struct {
	ids, locations map[string]*Part
	base           *url.URL // of relative references; nil if there is none
	found          map[*Part]bool
}

// beforeReference is how much of what stands before a reference is looked at.
const beforeReference = 64

// stream looks at all of r.
func (f *finder) stream(r io.Reader) error {
	block := blocks.Get().(*[scanSize]byte)
	defer blocks.Put(block)
	window := block[:]
	for from, have := 0, 0; ; {
		n, err := io.ReadFull(r, window[have:])
		have += n
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			f.find(window[:have], from, have)
			return nil
		case err != nil:
			return err
		}
		to := have - maxReference - beforeReference
		f.find(window[:have], from, to)
		from, have = beforeReference, copy(window, window[to-beforeReference:have])
	}
}

// find looks at what is marked as a reference between two offsets of b: it does
// not read tags, as references are in styles, comments and damage too.
func (f *finder) find(b []byte, from, to int) {
	if len(f.ids) > 0 {
		each(b, ':', from, to, f.afterColon)
		each(b, '&', from, to, f.atEntity)
	}
	if len(f.locations) > 0 {
		each(b, '=', from, to, f.value)
		each(b, '(', from, to, f.value)
	}
}

// each calls look with the offset of each such character, as far as it is not
// within what look has taken, up to the offset that it returns.
func each(b []byte, c byte, from, to int, look func(b []byte, i int) int) {
	for from < to {
		i := bytes.IndexByte(b[from:to], c)
		if i < 0 {
			return
		}
		from = max(look(b, from+i), from+i+1)
	}
}

// afterColon looks at what may be a URL of the scheme cid.
func (f *finder) afterColon(b []byte, i int) int {
	if i < 3 || !hasPrefixFold(string(b[i-3:i]), "cid") {
		return i
	}
	end := i + 1 + wordLen(b[i+1:])
	f.id(b[i+1 : end])
	// In quotes it may have blanks in it.
	if quote, ok := quoteBefore(b[:i-3]); ok {
		f.id(quoted(b[i+1:], quote))
	}
	return end
}

// atEntity looks at what may be such a URL with character references in its
// scheme.
func (f *finder) atEntity(b []byte, i int) int {
	start := i
	for start > 0 && i-start < 3 && isLetter(b[start-1]) {
		start--
	}
	if start > 0 && !beforeValue[b[start-1]] {
		return i
	}
	value := b[start:min(len(b), start+maxReference)]
	const scheme = 64 // bytes that it may take
	// What follows may end the value, but then it is not this scheme either.
	if !mayBeginScheme(b[i+1:]) || !hasPrefixFold(html.UnescapeString(string(value[:min(len(value), scheme)])), "cid:") {
		return i
	}
	if quote, ok := quoteBefore(b[:start]); ok {
		value = quoted(value, quote)
	} else {
		value = value[:wordLen(value)]
	}
	if !hasPrefixFold(html.UnescapeString(string(value[:min(len(value), scheme)])), "cid:") {
		return i
	}
	f.id([]byte(html.UnescapeString(string(value))[len("cid:"):]))
	return i
}

// mayBeginScheme reports whether what follows an & may be a character reference to
// a letter, or to a colon: by its number, or as &colon;.
func mayBeginScheme(b []byte) bool { return len(b) > 0 && (b[0] == '#' || b[0] == 'c') }

// value looks at what may be a URL: the value of an attribute, or of url() in a
// style sheet.
func (f *finder) value(b []byte, i int) int {
	i++
	for i < len(b) && isBlank(b[i]) {
		i++
	}
	if i == len(b) {
		return i
	}
	if q := b[i]; q == '"' || q == '\'' {
		f.location(quoted(b[i+1:], q))
		return i // there may be others in it
	}
	end := i + wordLen(b[i:])
	f.location(b[i:end])
	return end
}

// wordLen returns the length of the value without quotes that b begins with.
func wordLen(b []byte) int {
	n := 0
	for n < len(b) && n < maxReference && !endsReference[b[n]] {
		n++
	}
	return n
}

// quoted returns what is before a quote, nothing if that is not there.
func quoted(b []byte, quote byte) []byte {
	return bytes.TrimSpace(b[:max(bytes.IndexByte(b[:min(len(b), maxReference)], quote), 0)])
}

// quoteBefore returns the quote that b ends with, but for blanks.
func quoteBefore(b []byte) (quote byte, ok bool) {
	i := len(b)
	for i > 0 && len(b)-i < beforeReference/2 && isBlank(b[i-1]) {
		i--
	}
	if i == 0 || b[i-1] != '"' && b[i-1] != '\'' {
		return 0, false
	}
	return b[i-1], true
}

// id takes what stands after cid:.
func (f *finder) id(raw []byte) {
	if len(raw) == 0 || len(raw) >= maxReference {
		return
	}
	id := html.UnescapeString(string(raw))
	for _, id := range []string{id, unescapePercent(id), strings.Trim(unescapePercent(id), "<>")} {
		if c := f.ids[id]; c != nil {
			f.found[c] = true
		}
	}
}

func (f *finder) location(raw []byte) {
	if len(raw) == 0 || len(raw) >= maxReference {
		return
	}
	ref := html.UnescapeString(string(raw))
	if c := f.locations[ref]; c != nil {
		f.found[c] = true
		return
	}
	if f.base == nil {
		return
	}
	if u, err := f.base.Parse(ref); err == nil {
		if c := f.locations[u.String()]; c != nil {
			f.found[c] = true
		}
	}
}

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

func isBlank(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

// beforeValue has the bytes that a value stands after.
var beforeValue = [256]bool{' ': true, '\t': true, '\r': true, '\n': true, '"': true, '\'': true, '=': true, '(': true}

// endsReference has the bytes at which a value without quotes ends.
var endsReference = [256]bool{' ': true, '\t': true, '\r': true, '\n': true, '"': true, '\'': true, '<': true, '>': true, ')': true}
