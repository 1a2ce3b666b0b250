package message

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
)

// scanSize is how much of the input is in memory at a time, and so the longest
// line that is seen as a whole.
const scanSize = 64 << 10

// fragment is a line, or a piece of a line that is longer than the buffer.
type fragment struct {
	start int64  // offset of data
	data  []byte // without the line end; valid until the next fragment is read
	eol   int    // bytes of the line end that follows; 0 at the end of the input
	first bool   // data begins a line
	last  bool   // data ends a line
}

// end is the offset after the line end.
func (f *fragment) end() int64 { return f.start + int64(len(f.data)+f.eol) }

// whole returns the line without its end if it is one fragment.
func (f *fragment) whole() ([]byte, bool) { return f.data, f.first && f.last }

// lineReader splits a stream into lines. A line ends with CRLF, LF, CR, or with
// the CR CR LF that a twofold conversion leaves.
type lineReader struct {
	ctx  context.Context // asked at every filling of the buffer
	r    io.Reader
	buf  []byte
	pos  int   // buf[pos:end] is unread
	end  int   //
	lf   int   // index of the first LF at or after pos, else end; stale if < pos
	off  int64 // of buf[0]
	err  error // of r; io.EOF too
	mid  bool  // the next fragment continues a line
	frag fragment
	seen int64 // offset up to which pass has looked

	block *[scanSize]byte // that buf is of; nil once it was released
}

// blocks are buffers that are not in use.
var blocks = sync.Pool{New: func() any { return new([scanSize]byte) }}

// newLineReader returns the lines of r, of which it has size bytes, at most
// scanSize, in memory at a time.
func newLineReader(ctx context.Context, r io.Reader, size int) *lineReader {
	block := blocks.Get().(*[scanSize]byte)
	return &lineReader{ctx: ctx, r: r, buf: block[:size:size], lf: -1, block: block}
}

// release gives the buffer back. No line may be read, or used, afterwards.
func (l *lineReader) release() {
	if l.block != nil {
		blocks.Put(l.block)
		l.block, l.buf, l.pos, l.end = nil, nil, 0, 0
	}
}

// fill moves what is unread to the front and reads until the buffer is full.
func (l *lineReader) fill() {
	if l.pos > 0 {
		copy(l.buf, l.buf[l.pos:l.end])
		l.off += int64(l.pos)
		l.end -= l.pos
		l.pos = 0
	}
	l.lf = -1
	if l.ctx.Err() != nil {
		l.err = l.ctx.Err()
		return
	}
	n, err := io.ReadFull(l.r, l.buf[l.end:])
	l.end += n
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.EOF
	}
	l.err = err
}

// pass passes over lines that do not begin with "--", as far as they are in the
// buffer; but not over the last before one that does.
func (l *lineReader) pass() {
	if l.mid || l.off+int64(l.pos) < l.seen {
		return
	}
	b := l.buf[l.pos:l.end]
	to := bytes.Index(b, []byte("--"))
	if to < 0 {
		to = len(b)
	}
	l.seen = l.off + int64(l.pos+to)
	if last := bytes.LastIndexByte(b[:to], '\n'); last > 0 {
		l.pos += bytes.LastIndexByte(b[:last], '\n') + 1
	}
}

// next returns the next fragment, or nil at the end or at an error, which is
// then in l.err.
func (l *lineReader) next() *fragment {
	for {
		if l.err != nil && !errors.Is(l.err, io.EOF) {
			return nil
		}
		if l.pos == l.end {
			if l.err != nil {
				return nil
			}
			l.fill()
			continue
		}
		if l.lf < l.pos {
			if i := bytes.IndexByte(l.buf[l.pos:l.end], '\n'); i >= 0 {
				l.lf = l.pos + i
			} else {
				l.lf = l.end
			}
		}
		if i := bytes.IndexByte(l.buf[l.pos:l.lf], '\r'); i >= 0 {
			cr := l.pos + i
			if cr+2 >= l.end && l.err == nil {
				if l.pos > 0 {
					l.fill()
					continue
				}
				if cr > 0 {
					return l.emit(cr, 0, false)
				}
			}
			eol := 1
			if cr+1 < l.end && l.buf[cr+1] == '\n' {
				eol = 2
			} else if cr+2 < l.end && l.buf[cr+1] == '\r' && l.buf[cr+2] == '\n' {
				eol = 3
			}
			return l.emit(cr, eol, true)
		}
		if l.lf < l.end {
			return l.emit(l.lf, 1, true)
		}
		switch {
		case l.err != nil:
			return l.emit(l.end, 0, true)
		case l.pos > 0 || l.end < len(l.buf):
			l.fill()
		default:
			return l.emit(l.end, 0, false)
		}
	}
}

func (l *lineReader) emit(to, eol int, last bool) *fragment {
	l.frag = fragment{start: l.off + int64(l.pos), data: l.buf[l.pos:to], eol: eol, first: !l.mid, last: last}
	l.pos = to + eol
	l.mid = !last
	return &l.frag
}

// readErr is the error that ended the lines, nil at the end of the input.
func (l *lineReader) readErr() error {
	if errors.Is(l.err, io.EOF) {
		return nil
	}
	return l.err
}
