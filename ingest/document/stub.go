package document

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"postroom/ingest/message"
)

// describesBody reports whether a field says something of the body that a stub
// takes the place of.
func describesBody(name string) bool {
	switch strings.ToLower(name) {
	case "content-type", "content-transfer-encoding", "content-disposition", "content-md5", "content-length":
		return true
	}
	return false
}

const (
	// stubField marks a stub, and says which version of the format it has.
	stubField = "X-Postroom-Stub: 1"
	stubTitle = "[This attachment was filed as a file of its own.]"
)

// stub returns the edits that put a stub in the place of the part that f was, in
// order, and the length of its text. The fields that describe the body go to the
// text, as they stand; the others stay.
func (s *separator) stub(f *file) (edits []edit, length int64, err error) {
	p := f.part
	eol, blank, err := s.headerEnd(p)
	if err != nil {
		return nil, 0, err
	}
	var moved []message.Range
	for _, field := range p.Header.Fields {
		if describesBody(field.Name) {
			moved = append(moved, field.Range)
		}
	}
	var text bytes.Buffer
	for _, line := range []string{
		stubTitle,
		"File: " + f.name,
		"Media type: " + f.mediaType,
		fmt.Sprintf("Size: %d bytes", f.size),
		fmt.Sprintf("SHA-256: %x", f.sum),
	} {
		text.WriteString(line + eol)
	}
	for i, r := range moved {
		if i == 0 {
			text.WriteString(eol)
		}
		if _, err := io.Copy(&text, s.m.Raw(r)); err != nil {
			return nil, 0, err
		}
		if !endsLine(text.Bytes()) {
			text.WriteString(eol)
		}
	}
	body := text.Bytes()
	if next, err := s.peek(message.Range{Start: p.Body.End, End: min(p.Body.End+1, s.m.Whole.End)}); err != nil {
		return nil, 0, err
	} else if endsLine(next) {
		// The last line may have another line end than the stub.
		body = bytes.TrimSuffix(bytes.TrimSuffix(body, []byte("\n")), []byte("\r"))
	}

	encoding := "7bit"
	if bytes.ContainsFunc(body, func(r rune) bool { return r >= 0x80 }) {
		encoding = "8bit"
	}
	fields := strings.Join([]string{
		"Content-Type: text/plain; charset=utf-8", "Content-Transfer-Encoding: " + encoding, "Content-Disposition: inline", stubField, "",
	}, eol)
	for i, r := range moved {
		if i > 0 {
			fields = ""
		}
		edits = append(edits, edit{r, []byte(fields)})
	}
	if len(moved) == 0 {
		at := p.Whole.Start
		if n := len(p.Header.Fields); n > 0 {
			at = p.Header.Fields[n-1].Range.End
			last, err := s.peek(message.Range{Start: max(at-1, 0), End: at})
			if err != nil {
				return nil, 0, err
			}
			if !endsLine(last) {
				fields = eol + fields
			}
		}
		edits = append(edits, edit{message.Range{Start: at, End: at}, []byte(fields)})
	}
	length = int64(len(body))
	if !blank {
		body = append([]byte(eol), body...)
	}
	return append(edits, edit{p.Body, body}), length, nil
}

// headerEnd returns the line end in use at the end of a part's header, and
// whether an empty line ends the header.
func (s *separator) headerEnd(p *message.Part) (eol string, blank bool, err error) {
	tail, err := s.peek(message.Range{Start: max(p.Body.Start-6, p.Whole.Start), End: p.Body.Start})
	if err != nil {
		return "", false, err
	}
	before := tail
	if len(tail) == 0 {
		if before, err = s.peek(message.Range{Start: max(p.Whole.Start-2, 0), End: p.Whole.Start}); err != nil {
			return "", false, err
		}
	}
	switch {
	case bytes.HasSuffix(before, []byte("\r\n")), !endsLine(before):
		eol = "\r\n"
	default:
		eol = string(before[len(before)-1:])
	}
	// CR CR LF is one line end.
	rest, ok := bytes.CutSuffix(tail, []byte("\r\r\n"))
	if !ok {
		rest, ok = bytes.CutSuffix(tail, []byte(eol))
	}
	return eol, ok && (len(rest) == 0 || endsLine(rest)), nil
}

func endsLine(b []byte) bool {
	return len(b) > 0 && (b[len(b)-1] == '\n' || b[len(b)-1] == '\r')
}

// peek reads a few bytes.
func (s *separator) peek(r message.Range) ([]byte, error) { return io.ReadAll(s.m.Raw(r)) }
