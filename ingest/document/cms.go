package document

import (
	"bytes"
	"errors"
	"io"

	"postroom/ingest/message"
)

// maxSigned is how deep signed content may be in signed content.
const maxSigned = 4

// signed makes copies of the attachments that are in signed data (RFC 8551
// 3.5.2), and of its text, which without S/MIME can be read nowhere else. What
// cannot be opened is left as it is.
func (s *separator) signed(p *message.Part, depth int) error {
	f := &file{part: p, open: func() io.Reader { return s.m.Open(p) }}
	sum, err := s.m.Sum(s.ctx, p)
	if err != nil {
		return err
	}
	f.size = sum.Size
	index, err := s.index(f)
	if err != nil {
		return err
	}
	der, err := s.randomly(f, index)
	if der == nil || err != nil {
		return err
	}
	content, err := signedContent(der, f.size)
	if content == nil || err != nil {
		return err
	}
	m, err := message.Read(s.ctx, content, content.size, message.Limits{})
	if err != nil {
		return err
	}
	in := newSeparator(s.ctx, m)
	in.names, in.notes = s.names, s.notes
	for _, text := range []*message.Part{in.layout.HTML, in.layout.Plain} {
		if text == nil {
			continue
		}
		c := &file{part: text, name: "smime" + endings[text.Type], mediaType: text.Type, open: func() io.Reader { return m.Open(text) }}
		if err := in.copies([]*file{c}); err != nil {
			return err
		}
		break
	}
	if err := in.collect(false, depth+1); err != nil {
		return err
	}
	s.found = append(s.found, in.found...)
	return nil
}

// signedContent returns what is signed in CMS signed data (RFC 5652 5.1), nil if
// the data are something else or have it not. It reads BER, in which content is
// in pieces of lengths that are not told before.
func signedContent(r io.ReaderAt, size int64) (*spliced, error) {
	b := &ber{r: r}
	top := element{end: size}
	info := b.child(&top, 0x30)
	b.oid(&info, "\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02") // signedData
	explicit := b.child(&info, 0xa0)
	data := b.child(&explicit, 0x30)
	b.skip(&data, 0x02)                                   // version
	b.skip(&data, 0x31)                                   // digestAlgorithms
	encap := b.child(&data, 0x30)                         // encapContentInfo
	b.oid(&encap, "\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01") // data
	holder := b.child(&encap, 0xa0)
	content := &spliced{raw: r}
	b.octets(&holder, content, 0)
	if b.err != nil {
		return nil, b.err
	}
	if b.bad || content.size == 0 {
		return nil, nil
	}
	return content, nil
}

// ber reads the elements of BER (X.690 8.1). Bad is set when they are not as
// they are asked for, err when they cannot be read.
type ber struct {
	r     io.ReaderAt
	count int // elements so far
	bad   bool
	err   error
}

// maxElements is how many elements there may be; writers make pieces of some KB.
const maxElements = 1 << 17

// read reads all of p at an offset.
func (b *ber) read(p []byte, at int64) {
	n, err := b.r.ReadAt(p, at)
	switch {
	case n == len(p):
	case errors.Is(err, io.EOF):
		b.bad = true
	default:
		b.err = err
	}
}

func (b *ber) failed() bool { return b.bad || b.err != nil }

// element is the content of one, from what is not read yet.
type element struct {
	at, end int64
	open    bool // its end is a mark, and before end
}

// next reads the tag and the length of the next element in e; its content then
// begins at e.at.
func (b *ber) next(e *element) (tag byte, content element) {
	if b.failed() {
		return 0, element{}
	}
	var buf [10]byte
	head := buf[:max(0, min(int64(len(buf)), e.end-e.at))]
	b.read(head, e.at)
	b.count++
	if b.failed() || len(head) < 2 || head[0]&0x1f == 0x1f || b.count > maxElements {
		b.bad = true
		return 0, element{}
	}
	tag = head[0]
	n, used := int64(head[1]), int64(2)
	switch {
	case n == 0x80:
		at := e.at + used
		e.at = at
		return tag, element{at: at, end: e.end, open: true}
	case n > 0x80:
		octets := n & 0x7f
		if octets > 6 || int64(len(head)) < used+octets {
			b.bad = true
			return 0, element{}
		}
		n = 0
		for _, c := range head[used : used+octets] {
			n = n<<8 | int64(c)
		}
		used += octets
	}
	at := e.at + used
	if n > e.end-at {
		b.bad = true
		return 0, element{}
	}
	e.at = at
	return tag, element{at: at, end: at + n}
}

// child enters the next element in e, which is not read on.
func (b *ber) child(e *element, tag byte) element {
	got, content := b.next(e)
	b.bad = b.bad || got != tag
	return content
}

func (b *ber) skip(e *element, tag byte) {
	c := b.child(e, tag)
	b.bad = b.bad || c.open
	e.at = c.end
}

func (b *ber) oid(e *element, want string) {
	c := b.child(e, 0x06)
	got := make([]byte, len(want))
	if b.failed() || c.open || c.end-c.at != int64(len(want)) {
		b.bad = true
		return
	}
	b.read(got, c.at)
	b.bad = b.bad || !bytes.Equal(got, []byte(want))
	e.at = c.end
}

// octets adds the octet string in e, which may be of pieces, to s.
func (b *ber) octets(e *element, s *spliced, depth int) {
	tag, c := b.next(e)
	switch {
	case b.failed():
	case tag == 0x04 && !c.open:
		if c.end > c.at {
			s.segments = append(s.segments, segment{start: s.size, raw: message.Range{Start: c.at, End: c.end}})
			s.size += c.end - c.at
		}
		e.at = c.end
	case tag == 0x24 && depth < maxSigned:
		for (c.open || c.at < c.end) && !b.failed() {
			if c.open && b.ends(&c) {
				break
			}
			b.octets(&c, s, depth+1)
		}
		e.at = c.at
	default:
		b.bad = true
	}
}

// ends reports whether the mark at the end of an element is next, and passes it.
func (b *ber) ends(e *element) bool {
	if e.end-e.at < 2 {
		b.bad = true
		return true
	}
	var mark [2]byte
	b.read(mark[:], e.at)
	if mark != [2]byte{} && !b.failed() {
		return false
	}
	e.at += 2
	return true
}
