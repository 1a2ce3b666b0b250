// Package message reads mail as it is, however broken.
//
// It changes nothing and never refuses: a message is a tree of parts over the
// byte ranges of its raw bytes. What cannot be understood is left as raw bytes,
// and a note says so.
package message

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"iter"
	"sync"
	"sync/atomic"
)

// Message is a mail as a tree of parts over the byte ranges of its raw bytes.
// The tree is never wrong about bytes: the parts of a part lie in its Body, in
// order and without overlap, and each can be read raw. What the tree says beyond
// that (types, names, charsets) is the best reading of what stands there, and
// Notes say where it had to be guessed. A Message does not change; its methods
// may be called concurrently.
type Message struct {
	Part // the root, of which Whole is the whole message
	raw  io.ReaderAt
	sums sums
	last atomic.Pointer[shortText] // the short text that was read last
	lent *[]*shortText             // those that go back to where they were taken; nil if they do not
}

// Borrow returns the message, and its parts, for the use of one goroutine until it
// calls release: what is held of texts is then used again for others, so nothing
// that was opened of it may be read any more.
func (m *Message) Borrow() (borrowed *Message, release func()) {
	lent := loans.Get().(*[]*shortText)
	borrowed = &Message{Part: m.Part, raw: m.raw, lent: lent}
	return borrowed, func() {
		borrowed.last.Store(nil)
		for _, t := range *lent {
			*t = shortText{buf: t.buf}
			shortTexts.Put(t)
		}
		clear(*lent)
		*lent = (*lent)[:0]
		loans.Put(lent)
	}
}

// loans are lists that are not in use.
var loans = sync.Pool{New: func() any { return new([]*shortText) }}

// Limits bound what Read keeps of hostile input. A zero field means the default.
// Past a bound the rest is one leaf that is kept raw, with a note.
type Limits struct {
	Depth  int   // of nesting; default 64
	Parts  int   // in all; default 10,000
	Header int64 // bytes of one header section that are kept; default 1 MiB
	Memory int64 // bytes of all header sections that are kept; default 8 MiB
}

// Range is a range of bytes of the raw message.
type Range struct{ Start, End int64 }

// Len returns the number of bytes.
func (r Range) Len() int64 { return r.End - r.Start }

// Part is an entity (RFC 2045 2.4): a header section and a body; or a file that
// stands in a text.
type Part struct {
	Header *Header // of this entity; without fields if it has none

	// Whole is header section, separating line and body: Whole.Start to Body.Start
	// is the header as it stands, with what was before it. Body is the body alone,
	// without the line end that belongs to the boundary line after it (RFC 2046
	// 5.1.1). Of a file in a text, Body is the lines between those that begin and
	// end it.
	Whole, Body Range
	// Preamble and Epilogue are the text of a multipart before the first and
	// after the last boundary line. The boundary lines are what else its Body
	// holds besides its Parts.
	Preamble, Epilogue Range

	// Type is the media type in lower case, with the defaults of RFC 2045 5.2 and
	// RFC 2046 5.1.5 where it is missing or cannot be read.
	Type string
	// Params are the parameters of Content-Type, names in lower case, values
	// decoded (RFC 2231, 2047), but for the boundary, which stands as it is.
	Params map[string]string
	// Charset is the charset as declared, in lower case; empty if none is.
	Charset  string
	Encoding Encoding
	// Disposition is "inline", "attachment" or another token in lower case, empty
	// if there is none; DispositionParams are its parameters, as Params.
	Disposition       string
	DispositionParams map[string]string
	// Name is the file name that the part gives itself (Content-Disposition,
	// else Content-Type, else the encoding), decoded, not yet safe; empty if
	// none.
	Name string
	// ContentID and Location are how HTML refers to the part, without brackets.
	ContentID, Location string

	// Parts are those of a multipart, the one message of a message/rfc822 or
	// message/global that is not encoded, or the files that stand in a text
	// (uuencode, BinHex).
	Parts []*Part
	// Notes say what is not as it should be, for a person. Those of Header are
	// not among them.
	Notes []string

	data Range // what is decoded, where it is not Body
}

// Encoding is how the bytes of a body are encoded.
type Encoding string

const (
	Identity        Encoding = "identity" // 7bit, 8bit, binary, none, or one that is unknown
	Base64          Encoding = "base64"
	QuotedPrintable Encoding = "quoted-printable"
	UUEncode        Encoding = "uuencode"
	BinHex          Encoding = "binhex" // RFC 1741; the data fork
)

// Read reads a message of that size. The error is one of raw or of the context:
// no input is refused. It reads the bytes once, from the beginning to the end,
// and keeps no body in memory; its time is linear in size. Parts refer to raw,
// which must stay readable, and the same, while they are used.
func Read(ctx context.Context, raw io.ReaderAt, size int64, limits Limits) (*Message, error) {
	r := newReader(ctx, raw, size, limits)
	r.begin(nil, 0, rootHeader)
	if err := r.run(); err != nil {
		return nil, fmt.Errorf("read message: %w", err)
	}
	hint(r.root)
	for p := range r.root.All() {
		if p.IsMessage() && len(p.Parts) > 0 {
			hint(p.Parts[0])
		}
	}
	return &Message{Part: *r.root, raw: raw}, nil
}

// ReadContent reads what a part for which Nested is true holds, given its
// decoded content, which the caller keeps: of a message/rfc822 the message, of a
// multipart its body. The root of a multipart has the header of p, with an empty
// range of its own. Otherwise it is as Read.
func ReadContent(ctx context.Context, p *Part, content io.ReaderAt, size int64, limits Limits) (*Message, error) {
	if !p.IsMultipart() {
		return Read(ctx, content, size, limits)
	}
	r := newReader(ctx, content, size, limits)
	r.beginWith(p.Header)
	if err := r.run(); err != nil {
		return nil, fmt.Errorf("read content of part: %w", err)
	}
	return &Message{Part: *r.root, raw: content}, nil
}

// Raw returns the bytes of a range of the message as they stand.
func (m *Message) Raw(r Range) *io.SectionReader {
	return io.NewSectionReader(m.raw, r.Start, r.Len())
}

// Open returns the content of a part: its body without its transfer encoding,
// as a stream, and never converted otherwise. Damage does not end it early: what
// is no encoding is passed over or passed on, as widely used programs do. It
// returns the same bytes at every call. The error of a Read is one of raw. The
// memory it needs does not depend on the content.
func (m *Message) Open(p *Part) io.Reader {
	if last := m.last.Load(); last != nil && last.part == p && p.Encoding != Identity {
		return bytes.NewReader(last.content)
	}
	return m.open(context.Background(), p)
}

func (m *Message) open(ctx context.Context, p *Part) io.Reader {
	if p.Encoding == Identity {
		return m.Raw(p.Body)
	}
	data := p.Body
	if p.data != (Range{}) {
		data = p.data
	}
	return newDecoder(ctx, m.Raw(data), p.Encoding)
}

// IsMultipart reports whether the type of the part is multipart, although it may
// have no parts that could be found.
func (p *Part) IsMultipart() bool { return hasPrefixFold(p.Type, "multipart/") }

// IsMessage reports whether the content of the part is a message: message/rfc822
// or message/global.
func (p *Part) IsMessage() bool { return isMessage(p.Type) }

func isMessage(typ string) bool {
	return typ == "message/rfc822" || typ == "message/global" || typ == "message/news"
}

// Nested reports whether the content of the part is a message or multipart that
// Read has not read because it is encoded; ReadContent does.
func (p *Part) Nested() bool {
	return (p.IsMessage() || p.IsMultipart()) && p.Encoding != Identity && len(p.Parts) == 0
}

// All returns the part and those in it, at any depth, in the order of the
// message.
func (p *Part) All() iter.Seq[*Part] {
	return func(yield func(*Part) bool) { p.all(yield) }
}

func (p *Part) all(yield func(*Part) bool) bool {
	if !yield(p) {
		return false
	}
	for _, c := range p.Parts {
		if !c.all(yield) {
			return false
		}
	}
	return true
}
