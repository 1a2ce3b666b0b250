package message

import (
	"bufio"
	"bytes"
	"errors"
	"html"
	"io"
	"net/url"
	"strings"
	"sync"
)

// maxReference is the longest reference that is looked at.
const maxReference = 2 << 10

// References returns those of parts that the HTML of part p refers to: by
// Content-ID (RFC 2392) or Content-Location (RFC 2557). It reads the HTML in its
// charset, as a stream.
func (m *Message) References(p *Part, parts []*Part) (map[*Part]bool, error) {
	ids, locations := map[string]*Part{}, map[string]*Part{}
	for _, c := range parts {
		if c.ContentID != "" && ids[c.ContentID] == nil {
			ids[c.ContentID] = c
		}
		if c.Location != "" && locations[c.Location] == nil {
			locations[c.Location] = c
		}
	}
	found := map[*Part]bool{}
	if len(ids)+len(locations) == 0 {
		return found, nil
	}
	_, text, err := m.OpenText(p)
	if err != nil {
		return nil, err
	}
	base, _ := url.Parse(p.Location)
	err = eachReference(text, func(raw []byte) {
		id := len(raw) >= 4 && (raw[0]|0x20 == 'c' || raw[0] == '&')
		if !id && len(locations) == 0 {
			return
		}
		ref := html.UnescapeString(string(raw))
		if hasPrefixFold(ref, "cid:") {
			id := ref[len("cid:"):]
			for _, id := range []string{id, unescapePercent(id), strings.Trim(unescapePercent(id), "<>")} {
				if c := ids[id]; c != nil {
					found[c] = true
				}
			}
			return
		}
		if len(locations) == 0 {
			return
		}
		if c := locations[ref]; c != nil {
			found[c] = true
		} else if base != nil && p.Location != "" {
			if u, err := base.Parse(ref); err == nil {
				if c := locations[u.String()]; c != nil {
					found[c] = true
				}
			}
		}
	})
	return found, err
}

// eachReference calls f with what may be a URL in HTML: the values of attributes
// and of url() in style sheets, and whatever begins with cid:.
func eachReference(r io.Reader, f func([]byte)) error {
	br := readers.Get().(*bufio.Reader)
	defer func() {
		br.Reset(nil)
		readers.Put(br)
	}()
	br.Reset(r)
	value := make([]byte, 0, maxReference)
	var last [4]byte // the bytes before, in lower case
	run := 0         // bytes to come of a value without quotes that was looked at
	for {
		// What cannot be the beginning of a reference is passed over at once.
		if b, _ := br.Peek(br.Buffered()); len(b) > 4 {
			n := 0
			for n < len(b) && !beginsReference[b[n]] {
				n++
			}
			if n >= 4 {
				for i, c := range b[n-4 : n] {
					last[i] = lower(c)
				}
				run = max(run-n, 0)
				if _, err := br.Discard(n); err != nil {
					return err
				}
			}
		}
		c, err := br.ReadByte()
		if err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		last[0], last[1], last[2], last[3] = last[1], last[2], last[3], lower(c)
		if run > 0 {
			run--
			continue
		}
		value = value[:0]
		switch {
		case string(last[:]) == "cid:":
			value = append(value, "cid:"...)
		case c == '=' || c == '(':
		default:
			continue
		}
		// The value is looked at, but not taken: there may be others in it.
		b, err := br.Peek(maxReference)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if len(value) == 0 {
			for len(b) > 0 && (b[0] == ' ' || b[0] == '\n' || b[0] == '\r' || b[0] == '\t') {
				b = b[1:]
			}
			if len(b) > 0 && (b[0] == '"' || b[0] == '\'') {
				quote := b[0]
				if end := bytes.IndexByte(b[1:], quote); end >= 0 {
					f(bytes.TrimSpace(b[1 : 1+end]))
				}
				continue
			}
		}
		end := 0
		for end < len(b) && !endsReference[b[end]] {
			end++
		}
		run = end
		if end > 0 && end < maxReference {
			f(append(value, b[:end]...))
		}
	}
}

// readers are buffers that are not in use.
var readers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, 32<<10) }}

// beginsReference has the bytes at which a reference is looked for.
var beginsReference = [256]bool{'=': true, '(': true, ':': true}

// endsReference has the bytes at which a value without quotes ends.
var endsReference = [256]bool{' ': true, '\t': true, '\r': true, '\n': true, '"': true, '\'': true, '<': true, '>': true, ')': true}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}
