package document

import (
	"errors"
	"io"
	"sort"

	"postroom/ingest/message"
)

// edit replaces a range of bytes by others.
type edit struct {
	message.Range
	with []byte
}

// spliced is raw bytes with edits, without being in memory. It is read as raw
// is.
type spliced struct {
	raw      io.ReaderAt
	segments []segment
	edits    []edit
	shifts   []int64 // by how much each edit, and those before it, move what follows
	size     int64
}

// segment is bytes of a splice: with, or if it is nil raw bytes.
type segment struct {
	start int64 // in the splice
	raw   message.Range
	with  []byte
}

// splice returns size raw bytes with the edits, which are in order and do not
// overlap.
func splice(raw io.ReaderAt, size int64, edits []edit) *spliced {
	s := &spliced{raw: raw, edits: edits}
	at, shift := int64(0), int64(0)
	keep := func(to int64) {
		if to > at {
			s.segments = append(s.segments, segment{start: s.size, raw: message.Range{Start: at, End: to}})
			s.size += to - at
		}
	}
	for _, e := range edits {
		keep(e.Start)
		if len(e.with) > 0 {
			s.segments = append(s.segments, segment{start: s.size, with: e.with})
			s.size += int64(len(e.with))
		}
		at = e.End
		shift += int64(len(e.with)) - e.Len()
		s.shifts = append(s.shifts, shift)
	}
	keep(size)
	return s
}

// moved returns where a range of the raw bytes is in the splice, with the edits
// at its beginning and at its end. No edit reaches over one of these.
func (s *spliced) moved(r message.Range) message.Range {
	first := sort.Search(len(s.edits), func(i int) bool { return s.edits[i].Start >= r.Start })
	after := sort.Search(len(s.edits), func(i int) bool { return s.edits[i].End > r.End })
	shift := func(n int) int64 {
		if n == 0 {
			return 0
		}
		return s.shifts[n-1]
	}
	return message.Range{Start: r.Start + shift(first), End: r.End + shift(after)}
}

// ReadAt implements io.ReaderAt.
func (s *spliced) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, errors.New("read before the beginning")
	}
	i := sort.Search(len(s.segments), func(i int) bool { return s.segments[i].start > off }) - 1
	for ; n < len(p); i++ {
		at := off + int64(n)
		if at >= s.size {
			return n, io.EOF
		}
		g := s.segments[i]
		at -= g.start
		if g.with != nil {
			n += copy(p[n:], g.with[at:])
			continue
		}
		b := p[n:]
		b = b[:min(int64(len(b)), g.raw.Len()-at)]
		k, err := s.raw.ReadAt(b, g.raw.Start+at)
		n += k
		if k < len(b) {
			if err == nil || errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return n, err
		}
	}
	return n, nil
}
