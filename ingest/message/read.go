package message

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
)

// maxBoundary is the longest boundary that is looked for. RFC 2046 5.1.1 allows
// 70 characters.
const maxBoundary = 900

// state is where in an entity the next line is.
type state int

const (
	inHeader   state = iota
	inLeaf           // in a body without parts
	inPreamble       // before the first boundary line
	inPart           // in the part above it on the stack
	inEpilogue       // after the end line
)

// frame is an entity that is being read. On the stack of the reader each frame
// is in the one below it.
type frame struct {
	part   *Part
	state  state
	header *headerReader
	digest bool // the default type of the part is message/rfc822

	boundary string // of a multipart; empty if it has none
	guessed  string // one that was found in the body instead
	closed   bool   // the end line was read
	rest     bool   // the part above it is what is past a bound
	epilogue int64  // offset after the last end line

	candidate      []byte // what may be a boundary line, if the next line agrees
	candidateStart int64
	candidateEnd   int64

	files *fileFinder // in a text
	seen  bool        // the first line that is not empty was looked at
}

// reader builds the tree in one pass over the lines.
type reader struct {
	limits Limits
	lines  *lineReader
	size   int64
	root   *Part
	stack  []*frame
	parts  int
	memory int64
	bounds map[string]int // boundaries of the frames on the stack, and of how many
	eol    int64          // bytes of the line end before the current line, as far as a boundary line owns it
}

func newReader(ctx context.Context, raw io.ReaderAt, size int64, limits Limits) *reader {
	for _, v := range []struct {
		field    *int64
		standard int64
	}{{&limits.Header, maxHeader}, {&limits.Memory, 8 * maxHeader}} {
		if *v.field <= 0 {
			*v.field = v.standard
		}
	}
	if limits.Depth <= 0 {
		limits.Depth = 64
	}
	if limits.Parts <= 0 {
		limits.Parts = 10_000
	}
	return &reader{
		limits: limits,
		bounds: map[string]int{},
		lines:  newLineReader(ctx, io.NewSectionReader(raw, 0, size), scanSize),
		size:   size,
	}
}

func (r *reader) run() error {
	defer r.lines.release()
	for f := r.lines.next(); f != nil; f = r.lines.next() {
		r.line(f)
		if top := r.stack[len(r.stack)-1]; top.state == inLeaf && top.files == nil && (top.seen || top.part.Encoding != Base64) {
			r.lines.pass() // no other line says anything
		}
	}
	if err := r.lines.readErr(); err != nil {
		return err
	}
	if end := r.lines.off + int64(r.lines.end); end != r.size {
		return fmt.Errorf("%w: %d bytes of %d", io.ErrUnexpectedEOF, end, r.size)
	}
	r.closeTo(0, r.size, r.size)
	return nil
}

// hint tells the header of a message in which charset its raw 8-bit text is
// likely to be, where its own Content-Type does not: that of the first text.
func hint(p *Part) {
	for c := range p.All() {
		if p.Header.charset != "" {
			break
		}
		if strings.HasPrefix(c.Type, "text/") {
			p.Header.charset = c.Charset
		}
	}
}

// line takes a line, or a piece of one.
func (r *reader) line(f *fragment) {
	if line, ok := f.whole(); ok && len(line) > 2 && line[0] == '-' && line[1] == '-' && r.boundary(f) {
		r.eol = 0
		return
	}
	top := r.stack[len(r.stack)-1]
	switch top.state {
	case inHeader:
		if body, done := top.header.add(f); done {
			r.headerEnds(top, body)
			r.eol = 0
			if body <= f.start {
				r.line(f) // the line is of the body already
			} else if top.part.Body.Start <= f.start {
				r.eol = int64(min(f.eol, 2))
			}
			return
		}
	case inPreamble:
		r.guess(top, f)
		if top.state == inPart {
			return
		}
	case inLeaf:
		r.body(top, f)
	}
	r.eol = 0
	if f.last {
		r.eol = int64(min(f.eol, 2))
	}
}

// body looks at a line of a body without parts.
func (r *reader) body(top *frame, f *fragment) {
	if top.files != nil {
		top.files.line(f)
	}
	if top.part.Encoding != Base64 || top.seen || !f.first || len(f.data) == 0 {
		return
	}
	top.seen = true
	if line := bytes.TrimRight(f.data, " \t"); len(line) > 0 && notBase64(line) {
		if message := top.part.IsMessage(); message && !knownField(line) {
			return
		}
		top.part.Encoding = Identity
		note(&top.part.Notes, "declared as base64, which it is not")
		if top.part.IsMessage() {
			r.descend(top, f)
		} else if top.part.Type == "text/plain" {
			top.files = newFileFinder(r, top.part)
			top.files.line(f)
		}
	}
}

// descend makes a part that turns out to hold a message its parent, at the first
// line of that.
func (r *reader) descend(top *frame, f *fragment) {
	if !r.enter(top, top.part.Body.Start, nestedHeader) {
		return
	}
	child := r.stack[len(r.stack)-1]
	child.header.add(f)
}

// boundary acts on a boundary line; false if the line is none.
func (r *reader) boundary(f *fragment) bool {
	line := bytes.TrimRight(f.data, " \t")
	top := r.stack[len(r.stack)-1]
	if top.state == inHeader && top.header.mayBound(line) {
		// The body begins without an empty line before its first boundary line.
		r.headerEnds(top, f.start)
		r.eol = 0
	}
	if open := bytes.TrimRight(bytes.TrimSuffix(line[2:], []byte("--")), " \t"); r.bounds[string(line[2:])] == 0 && r.bounds[string(open)] == 0 {
		return false
	}
	at, end := -1, false
	for i := len(r.stack) - 1; i >= 0 && at < 0; i-- {
		if fr := r.stack[i]; !fr.closed {
			if ok, e := fr.matches(line); ok {
				if fr.rest && !e {
					return false
				}
				at, end = i, e
			}
		}
	}
	// After its end line a multipart goes on if nothing else has such a boundary.
	for i := len(r.stack) - 1; i >= 0 && at < 0; i-- {
		if fr := r.stack[i]; fr.closed && !fr.rest {
			if ok, e := fr.matches(line); ok && !e {
				at = i
				fr.closed = false
				note(&fr.part.Notes, "parts after the end line")
			}
		}
	}
	if at < 0 {
		return false
	}
	fr := r.stack[at]
	start := r.closeTo(at+1, f.start-r.eol, f.start)
	if fr.state == inPreamble {
		fr.part.Preamble = Range{fr.part.Body.Start, max(start, fr.part.Body.Start)}
		if fr.part.Encoding != Identity {
			note(&fr.part.Notes, "transfer encoding %s of a multipart is ignored", fr.part.Encoding)
			fr.part.Encoding = Identity
		}
	}
	if end {
		fr.state, fr.closed = inEpilogue, true
		fr.epilogue = f.end()
		return true
	}
	fr.state = inPart
	r.begin(fr, f.end(), partHeader)
	return true
}

// matches reports whether the line, which has no white space at its end, is a
// boundary line of the multipart, and whether it is its end line.
func (fr *frame) matches(line []byte) (ok, end bool) {
	for _, b := range [2]string{fr.boundary, fr.guessed} {
		if b == "" || len(line) < 2+len(b) || string(line[2:2+len(b)]) != b {
			continue
		}
		switch string(bytes.TrimLeft(line[2+len(b):], " \t")) {
		case "":
			return true, false
		case "--":
			return true, true
		}
	}
	return false, false
}

// guess looks for the boundary line of a multipart that has not declared it, or
// not as it is: a line that begins like one before a line of a part's header.
func (r *reader) guess(top *frame, f *fragment) {
	line, ok := f.whole()
	if !ok {
		top.candidate = nil
		return
	}
	if top.candidate != nil {
		if hasPrefixFold(string(line[:min(len(line), 8)]), "Content-") && knownField(line) {
			top.guessed = string(top.candidate)
			r.bounds[top.guessed]++
			top.candidate = nil
			if top.boundary == "" {
				note(&top.part.Notes, "no boundary is declared; the one that is used was guessed")
			} else {
				note(&top.part.Notes, "boundary lines are not as declared")
			}
			top.part.Encoding = Identity
			top.part.Preamble = Range{top.part.Body.Start, top.candidateStart}
			top.state = inPart
			r.begin(top, top.candidateEnd, partHeader)
			r.line(f)
			return
		}
		top.candidate = nil
	}
	if line = bytes.TrimRight(line, " \t"); len(line) > 4 && len(line) < maxBoundary && line[0] == '-' && line[1] == '-' &&
		bytes.IndexByte(line, ' ') < 0 && !bytes.HasSuffix(line, []byte("--")) {
		top.candidate = append([]byte(nil), line[2:]...)
		top.candidateStart = max(f.start-r.eol, top.part.Body.Start)
		top.candidateEnd = f.end()
	}
}

// begin begins a part of a multipart or message at that offset; what is past a
// bound becomes a leaf.
func (r *reader) begin(parent *frame, at int64, kind headerKind) {
	p := &Part{Whole: Range{at, at}, Body: Range{at, at}, Type: "text/plain", Encoding: Identity}
	fr := &frame{part: p}
	if parent == nil {
		r.root = p
	} else {
		parent.part.Parts = append(parent.part.Parts, p)
		fr.digest = parent.part.Type == "multipart/digest"
	}
	r.stack = append(r.stack, fr)
	r.parts++
	over := ""
	switch {
	case parent == nil:
	case r.parts > r.limits.Parts:
		over = fmt.Sprintf("more than %d parts: the rest is kept as it is", r.limits.Parts)
	case r.memory >= r.limits.Memory:
		over = fmt.Sprintf("headers of more than %d bytes: the rest is kept as it is", r.limits.Memory)
	}
	if over != "" {
		parent.rest = true
		p.Header = &Header{}
		p.Type = "application/octet-stream"
		note(&p.Notes, "%s", over)
		fr.state = inLeaf
		return
	}
	fr.state = inHeader
	fr.header = &headerReader{kind: kind, limit: min(r.limits.Header, max(r.limits.Memory-r.memory, 4<<10))}
}

// beginWith begins with a root whose header stands elsewhere.
func (r *reader) beginWith(h *Header) {
	p := &Part{Header: h}
	r.root = p
	r.parts++
	fr := &frame{part: p}
	r.stack = append(r.stack, fr)
	p.describe(false)
	p.Encoding = Identity
	r.open(fr)
}

// headerEnds is called when the header of the top frame has been read.
func (r *reader) headerEnds(fr *frame, end int64) {
	p := fr.part
	r.memory += fr.header.cost()
	separated := end
	p.Header, end = fr.header.finish(end)
	fr.header = nil
	p.Body = Range{end, end}
	if fr.digest && isMessageHeader(p.Header) {
		// A message in place of a part with a message (RFC 2046 5.1.5 wants an
		// empty line before it).
		h := p.Header
		p.Header = &Header{}
		p.describe(true)
		p.Body.Start = p.Whole.Start
		note(&p.Notes, "message of a digest without a header of its part")
		if r.enter(fr, p.Whole.Start, nestedHeader) {
			child := r.stack[len(r.stack)-1]
			child.header = nil
			child.part.Header, child.part.Body = h, Range{end, end}
			child.part.describe(false)
			r.open(child)
		}
		return
	}
	p.describe(fr.digest)
	if p.IsMessage() {
		p.Body = Range{separated, separated} // what was no field is not the header of the message
	}
	r.open(fr)
}

// isMessageHeader reports whether a header is that of a message and not of a
// part.
func isMessageHeader(h *Header) bool {
	is := false
	for _, f := range h.Fields {
		if hasPrefixFold(f.Name, "Content-") {
			return false
		}
		switch strings.ToLower(f.Name) {
		case "from", "subject", "date", "message-id", "to":
			is = true
		}
	}
	return is
}

// open chooses how the body of a described part is read.
func (r *reader) open(fr *frame) {
	p := fr.part
	fr.state = inLeaf
	switch {
	case p.IsMultipart():
		b := p.Params["boundary"]
		switch {
		case len(r.stack) > r.limits.Depth:
			note(&p.Notes, "nested deeper than %d: kept as it is", r.limits.Depth)
			return
		case b == "":
			note(&p.Notes, "multipart without a boundary")
		case len(b) > maxBoundary:
			note(&p.Notes, "boundary of %d characters is not looked for", len(b))
			b = ""
		case len(b) > 70:
			note(&p.Notes, "boundary is longer than 70 characters")
		}
		fr.boundary = b
		r.bounds[b]++
		fr.state = inPreamble
	case p.IsMessage() && p.Encoding == Identity:
		r.enter(fr, p.Body.Start, nestedHeader)
	case p.IsMessage():
	case p.Encoding == UUEncode, p.Encoding == BinHex, p.Encoding == Identity && (p.Type == "text/plain" || p.Type == "application/mac-binhex40"):
		fr.files = newFileFinder(r, p)
	}
}

// enter begins the message in a message/rfc822; false if that is past the depth.
func (r *reader) enter(fr *frame, at int64, kind headerKind) bool {
	if len(r.stack) > r.limits.Depth {
		note(&fr.part.Notes, "nested deeper than %d: kept as it is", r.limits.Depth)
		fr.state = inLeaf
		return false
	}
	fr.state = inPart
	r.begin(fr, at, kind)
	return r.stack[len(r.stack)-1].state == inHeader
}

// closeTo ends the frames from index n on. Their bodies end at end, but not
// before they begin; line is where the line begins that ends them. It returns
// where the last of them ended.
func (r *reader) closeTo(n int, end, line int64) int64 {
	for i := len(r.stack) - 1; i >= n; i-- {
		end = r.close(r.stack[i], end, line)
		r.stack[i] = nil
		r.stack = r.stack[:i]
	}
	return end
}

func (r *reader) close(fr *frame, end, line int64) int64 {
	p := fr.part
	if fr.state == inHeader {
		depth := len(r.stack)
		r.headerEnds(fr, line)
		if len(r.stack) > depth {
			// The header was all there is of a message or part.
			end = r.closeTo(depth, end, line)
		}
	}
	end = max(end, p.Body.Start)
	switch {
	case fr.state == inPreamble:
		p.Preamble = Range{p.Body.Start, end}
		note(&p.Notes, "multipart without boundary lines")
	case p.IsMessage() && p.Encoding != Identity:
		note(&p.Notes, "message is encoded as %s, which RFC 2046 5.2.1 does not allow", p.Encoding)
	case fr.closed:
		p.Epilogue = Range{min(fr.epilogue, end), end}
	case fr.state == inPart && p.IsMultipart():
		// A boundary line that nothing follows was meant as the end line.
		if n := len(p.Parts); n > 1 {
			if c := p.Parts[n-1]; len(c.Header.Fields) == 0 && c.Whole.Len() <= 4 && len(c.Parts) == 0 {
				p.Parts = p.Parts[:n-1]
				p.Epilogue = c.Whole
			}
		}
		note(&p.Notes, "multipart without its end line")
	}
	for _, b := range [2]string{fr.boundary, fr.guessed} {
		if r.bounds[b]--; r.bounds[b] <= 0 {
			delete(r.bounds, b)
		}
	}
	p.Body.End, p.Whole.End = end, end
	if fr.files != nil {
		fr.files.finish()
	}
	return end
}
