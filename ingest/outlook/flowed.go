package outlook

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"

	"postroom/ingest/message"
)

// flowedText reports whether plain text is of format=flowed.
func flowedText(p *message.Part) bool { return strings.EqualFold(p.Params["format"], "flowed") }

// reflow returns text of format=flowed with each paragraph as one line (RFC 3676
// 4): lines that end with a space go on in the next one of the same quotation,
// and delSp says that this space is not of the text.
func reflow(r io.Reader, delSp bool) io.Reader {
	return &flowedReader{r: bufio.NewReaderSize(r, 16<<10), delSp: delSp}
}

type flowedReader struct {
	r     *bufio.Reader
	delSp bool
	out   bytes.Buffer
	err   error

	middle bool // the next piece is not the first of its line
	open   bool // the line before is not ended yet
	depth  int  // of its quotation
}

func (f *flowedReader) Read(p []byte) (int, error) {
	for f.out.Len() == 0 && f.err == nil {
		f.piece()
	}
	if f.out.Len() > 0 {
		return f.out.Read(p)
	}
	return 0, f.err
}

// piece reads a line, or a part of one that is very long.
func (f *flowedReader) piece() {
	line, err := f.r.ReadSlice('\n')
	full := errors.Is(err, bufio.ErrBufferFull)
	if !full {
		f.err = err
	}
	if len(line) == 0 {
		f.end()
		return
	}
	text, ended := bytes.CutSuffix(line, []byte("\n"))
	text = bytes.TrimSuffix(text, []byte("\r"))
	if !f.middle {
		depth := 0
		for depth < len(text) && text[depth] == '>' {
			depth++
		}
		text = bytes.TrimPrefix(text[depth:], []byte(" ")) // stuffed
		signature := string(text) == "-- "
		if f.open && (depth != f.depth || signature) {
			f.end()
		}
		if !f.open && depth > 0 {
			f.out.WriteString(strings.Repeat(">", depth))
			if len(text) > 0 {
				f.out.WriteByte(' ')
			}
		}
		f.open, f.depth = true, depth
		if signature {
			f.out.Write(text)
			f.end()
			return
		}
	}
	f.middle = full
	flows := ended && bytes.HasSuffix(text, []byte(" "))
	if flows && f.delSp {
		text = text[:len(text)-1]
	}
	f.out.Write(text)
	switch {
	case ended && !flows:
		f.end()
	case !ended && !full:
		f.open = false // the text ends without a line end
	}
}

func (f *flowedReader) end() {
	if f.open {
		f.out.WriteString("\r\n")
	}
	f.open = false
}
