package message

import (
	"bytes"
)

// fileFinder finds the files that stand in a text: uuencode and BinHex 4.0.
//
// As text may look like either, a file begins only where the line after its
// first agrees, and ends at the last line that does.
type fileFinder struct {
	r    *reader
	part *Part // whose body the lines are of

	kind   Encoding // of the file that is being read; empty outside of one
	begun  bool     // its first data line was there
	zero   bool     // the line of length 0 was there
	bad    int      // lines since good that are no data
	name   string
	start  int64 // of the line that begins it
	data   int64 // of the first data line
	good   int64 // end of the last data line, without its line end
	next   int64 // the same with it
	binhex binhexDecoder
	found  []*Part
}

// badLines is how many lines in a row may be damaged in a file.
const badLines = 2

func newFileFinder(r *reader, p *Part) *fileFinder {
	ff := &fileFinder{r: r, part: p}
	return ff
}

func (ff *fileFinder) line(f *fragment) {
	line, whole := f.whole()
	if !whole {
		if f.first {
			line = nil
		} else {
			return
		}
	}
	trimmed := bytes.TrimRight(line, " \t")
	switch ff.kind {
	case UUEncode:
		switch {
		case string(trimmed) == "end" && (ff.begun || ff.zero):
			ff.end(f.start, f.start+int64(len(line)))
		case ff.uuLine(line):
			ff.begun = true
			ff.bad = 0
			ff.good, ff.next = f.start+int64(len(line)), f.end()
			ff.zero = ff.zero || uuValue(line[0]) == 0
		default:
			if _, again := uuBegin(line); again || !ff.begun && len(trimmed) > 0 {
				ff.abandon()
				ff.line(f)
				return
			}
			if ff.bad++; ff.bad > badLines {
				ff.abandon()
			}
		}
		return
	case BinHex:
		done := ff.binhexLine(trimmed, f)
		if done || ff.kind != "" {
			return
		}
	}
	if len(line) == 0 {
		return
	}
	if line[0] == 'b' && ff.part.Encoding != BinHex {
		if name, ok := uuBegin(line); ok {
			ff.open(UUEncode, f)
			ff.name = name
			return
		}
	}
	if line[0] == '(' && bytes.HasPrefix(line, binhexMark) && ff.part.Encoding != UUEncode {
		ff.open(BinHex, f)
		ff.binhex = binhexDecoder{}
		return
	}
	if line[0] == ':' && ff.part.Encoding == BinHex {
		// As a transfer encoding, without the line that says so.
		ff.open(BinHex, f)
		ff.start = f.start
		ff.binhex = binhexDecoder{}
		ff.binhexLine(trimmed, f)
	}
}

func (ff *fileFinder) open(kind Encoding, f *fragment) {
	ff.kind = kind
	ff.begun, ff.zero, ff.bad, ff.name = false, false, 0, ""
	ff.start, ff.data = f.start, f.end()
	ff.good, ff.next = ff.data, ff.data
}

// uuLine reports whether the line is data, more strictly for the first.
func (ff *fileFinder) uuLine(line []byte) bool {
	if ff.zero || !uuData(line) {
		return false
	}
	if !ff.begun {
		n := uuValue(line[0])
		return n == 0 || (len(line)-1)*4 >= (n+2)/3*4*3
	}
	return true
}

// binhexLine takes a line after the mark; false if it is none of BinHex.
func (ff *fileFinder) binhexLine(line []byte, f *fragment) bool {
	if len(line) == 0 && f.first && f.last {
		return true
	}
	ok := len(line) > 0 && (ff.begun || line[0] == ':')
	for i, c := range line {
		if c != ':' && binhexValue[c] == 255 || c == ':' && i > 0 && i < len(line)-1 {
			ok = false
		}
	}
	if !ok {
		if ff.begun {
			if ff.bad++; ff.bad > badLines {
				ff.abandon()
				return false
			}
			return true
		}
		ff.kind = ""
		return false
	}
	if !ff.begun {
		ff.data = f.start
	}
	last := line[len(line)-1] == ':' && (ff.begun || len(line) > 1)
	ff.begun, ff.bad = true, 0
	ff.good, ff.next = f.start+int64(len(line)), f.end()
	if len(ff.binhex.fork.head) < 300 && !ff.binhex.fork.ready() {
		ff.binhex.line(&fragment{data: line, first: true})
	}
	if last {
		ff.name = ff.binhex.fork.name()
		ff.end(ff.good, ff.good)
	}
	return true
}

// abandon ends a file whose end line is missing at its last data line.
func (ff *fileFinder) abandon() {
	if ff.begun {
		if ff.kind == BinHex {
			ff.name = ff.binhex.fork.name()
		}
		note(&ff.part.Notes, "a file in the text has no end")
		ff.end(ff.good, ff.good)
	}
	ff.kind = ""
}

// end records the file whose data ends at data and which itself ends at whole.
func (ff *fileFinder) end(data, whole int64) {
	kind := ff.kind
	ff.kind = ""
	name := decodeText(ff.name, ff.part.Charset)
	if ff.part.Encoding != Identity {
		// The part itself is so encoded: the first file is its content.
		if ff.part.data == (Range{}) {
			ff.part.data = Range{ff.data, data}
			if ff.part.Name == "" {
				ff.part.Name = name
			}
		}
		return
	}
	if ff.r.parts >= ff.r.limits.Parts {
		note(&ff.part.Notes, "more than %d parts: further files in the text are left in it", ff.r.limits.Parts)
		return
	}
	ff.r.parts++
	ff.found = append(ff.found, &Part{
		Header:   &Header{},
		Whole:    Range{ff.start, whole},
		Body:     Range{ff.data, data},
		Type:     "application/octet-stream",
		Encoding: kind,
		Name:     name,
	})
}

// finish is called when the body of the part has ended.
func (ff *fileFinder) finish() {
	if ff.kind != "" {
		ff.abandon()
	}
	end := ff.part.Body.End
	for _, p := range ff.found {
		// A boundary line may own the last line end.
		p.Whole.End, p.Body.End = min(p.Whole.End, end), min(p.Body.End, end)
	}
	ff.part.Parts = ff.found
}
