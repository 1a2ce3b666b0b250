package document

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"postroom/ingest/message"
	"postroom/internal/filename"
	"postroom/store"
)

// separator makes files of the attachments of one message.
type separator struct {
	ctx    context.Context
	m      *message.Message
	layout *message.Layout
	parent map[*message.Part]*message.Part
	names  *filename.Set

	found   []*file // in order of the message
	altered *spliced
	without *message.Message       // altered, as it was read again
	stubs   map[*message.Part]bool // in without
	sum     [32]byte               // of altered
	notes   *notes
}

// file is one that is made of an attachment.
type file struct {
	part      *message.Part // that it is, or is in
	name      string
	mediaType string
	size      int64
	sum       [32]byte
	missing   int64 // bytes that it should have, and that are not there
	open      func() io.Reader
	// taken: a stub takes its place in the message file. Else it is a copy.
	taken bool
}

func newSeparator(ctx context.Context, m *message.Message) *separator {
	s := &separator{
		ctx: ctx, m: m, layout: m.Layout(),
		parent: map[*message.Part]*message.Part{},
		// The message may be of another format, and have another name.
		names: filename.NewSet(store.DocumentFile, messageFile, outlookFile, originalFile),
		notes: &notes{},
	}
	for p := range m.All() {
		for _, c := range p.Parts {
			s.parent[c] = p
		}
	}
	return s
}

func (s *separator) note(format string, args ...any) {
	s.notes.add(fmt.Sprintf(format, args...))
}

// files returns the files of the document, given the message as it was received.
func (s *separator) files(whole store.File) []store.File {
	if s.altered != nil {
		whole.Size, whole.SHA256, whole.Held = s.altered.size, s.sum, false
		whole.Open = func() (io.ReadCloser, error) {
			return io.NopCloser(io.NewSectionReader(s.altered, 0, s.altered.size)), nil
		}
	}
	files := []store.File{whole}
	for _, f := range s.found {
		files = append(files, store.File{
			Name: f.name, Role: store.RoleAttachment, MediaType: f.mediaType, Size: f.size, SHA256: f.sum,
			Open: func() (io.ReadCloser, error) { return io.NopCloser(f.open()), nil },
		})
	}
	return files
}

// separate finds the attachments and alters the message.
func (s *separator) separate() error {
	protected := s.m.Protected()
	if err := s.collect(protected == nil, 0); err != nil {
		return err
	}
	if protected != nil {
		kind, readable := "signed", len(s.found) > 0
		if k := protected.Protection(); k == message.Encrypted || k == message.Opaque && !readable {
			kind = "encrypted"
		}
		switch {
		case readable:
			s.note("the message is %s, and therefore not altered: the files beside it are copies of what can be read in it", kind)
		case kind == "encrypted":
			s.note("the message is encrypted, or cannot be read: its attachments are in it alone")
		}
		return nil
	}
	return s.alter()
}

// collect makes files of what is to be files. Take says that it may be taken out
// of the message; depth is how deep in signed content the message is.
func (s *separator) collect(take bool, depth int) error {
	parts, err := s.choose()
	if err != nil {
		return err
	}
	for _, p := range parts {
		if err := s.attachment(p, take); err != nil {
			return err
		}
	}
	if take || depth == maxSigned {
		return nil
	}
	for _, a := range s.layout.Attachments {
		if k := a.Protection(); (k == message.OpaqueSigned || k == message.Opaque) && s.stays(a.Part) {
			if err := s.signed(a.Part, depth); err != nil {
				return err
			}
		}
	}
	return nil
}

// choose returns the parts that are to be files, in order.
func (s *separator) choose() ([]*message.Part, error) {
	l := s.layout
	var parts, texts []*message.Part
	for _, a := range l.Attachments {
		if !a.Signature {
			parts = append(parts, a.Part)
		}
	}
	// What is offered in place of the text, but is none, is a file to a person.
	for _, p := range append(slices.Clone(l.Alternatives), l.Other) {
		if p != nil && !isText(p) {
			parts = append(parts, p)
		}
	}
	for _, p := range append(append([]*message.Part{l.HTML}, l.More...), l.Alternatives...) {
		if p != nil && p.Type == "text/html" && len(texts) < maxTexts {
			texts = append(texts, p)
		}
	}
	shown := map[*message.Part]bool{}
	for _, html := range texts {
		refs, err := s.m.References(html, parts)
		if err != nil {
			return nil, err
		}
		for p, is := range refs {
			shown[p] = shown[p] || is && isShown(p)
		}
	}
	chosen := map[*message.Part]bool{}
	for _, p := range parts {
		chosen[p] = !shown[p] && !s.stays(p)
	}
	parts = slices.DeleteFunc(parts, func(p *message.Part) bool {
		// A file that stands in an attached text is in the file that this becomes.
		up := s.parent[p]
		return !chosen[p] || isInText(p) && chosen[up] && up.Type != "application/mac-binhex40"
	})
	slices.SortStableFunc(parts, func(a, b *message.Part) int { return cmp.Compare(a.Whole.Start, b.Whole.Start) })
	return parts, nil
}

// maxTexts is how many texts are looked at for what they show.
const maxTexts = 100

// isText reports whether a version of the text is one that a mail program may
// show, rather than a file.
func isText(p *message.Part) bool {
	switch p.Type {
	case "text/plain", "text/html", "text/enriched", "text/richtext", "text/calendar", "text/rtf", "application/rtf",
		"text/x-amp-html", "text/watch-html", "text/markdown":
		return true
	}
	return strings.HasPrefix(p.Type, "text/") && p.Name == ""
}

// isShown reports whether HTML that refers to a part shows it, rather than links
// to it.
func isShown(p *message.Part) bool {
	typ := p.Type
	if typ == unknownType {
		typ = typeOfName(p.Name)
		if p.Name == "" {
			return true
		}
	}
	return strings.HasPrefix(typ, "image/") || strings.HasPrefix(typ, "font/") || strings.HasPrefix(typ, "application/font") ||
		typ == "text/css"
}

// isInText reports whether a part is a file that stands in a text.
func isInText(p *message.Part) bool {
	return (p.Encoding == message.UUEncode || p.Encoding == message.BinHex) && len(p.Header.Fields) == 0
}

// stays reports whether an attachment is of no use, or of none that is known, as
// a file, and stays in the message.
func (s *separator) stays(p *message.Part) bool {
	up := s.parent[p]
	attached := p.Name != "" || p.Disposition == "attachment"
	switch {
	case p.IsMultipart():
		// Without parts, or encoded, or past a bound.
		return true
	case up != nil && len(p.Header.Fields) == 0 && p.Type == unknownType && !isInText(p):
		// What is past a bound of the reader.
		return true
	case p.Protection() != message.Unprotected:
		// Nobody can read it as a file, unless it is a file that somebody signed.
		name := strings.ToLower(p.Name)
		return up == nil || name == "" || strings.HasPrefix(name, "smime.")
	case p.Body.Len() == 0:
		return p.Name == ""
	case p.IsMessage():
		return false
	case strings.HasPrefix(p.Type, "message/"), p.Type == "text/rfc822-headers":
		// Reports (RFC 3464, 8098), references, fragments.
		return !attached
	case p.Type == "application/applefile" && up != nil && up.Type == "multipart/appledouble":
		// The resource fork of the file beside it.
		return true
	}
	for ; up != nil; up = s.parent[up] {
		if up.Type == "multipart/encrypted" {
			return true
		}
	}
	return false
}

// attachment makes a file of a part. Take says that the part may be taken out of
// the message.
func (s *separator) attachment(p *message.Part, take bool) error {
	f := &file{
		part: p, mediaType: mediaType(p.Type),
		open:  func() io.Reader { return s.m.Open(p) },
		taken: take && !isInText(p) && p.Encoding != message.UUEncode && p.Encoding != message.BinHex,
	}
	if isInText(p) {
		f.mediaType = typeOfName(p.Name)
	}
	sum, err := s.m.Sum(s.ctx, p)
	if err != nil {
		return err
	}
	f.size, f.sum = sum.Size, sum.SHA256
	f.taken = f.taken && sum.Exact
	var contents []*file
	var damage error
	if isWinmail(p) {
		index, err := s.index(f)
		if err != nil {
			return err
		}
		var whole bool
		if contents, whole, damage, err = s.winmail(f, index); err != nil {
			return err
		}
		if whole {
			if take && len(contents) > 0 {
				s.note("the files made of what is in %s are copies: the message holds all of it, too", winmailName(p))
			}
			return s.copies(contents)
		}
	}
	f.name = s.names.Add(partName(s.m, p))
	s.found = append(s.found, f)
	switch {
	case damage == nil:
	case len(contents) > 0:
		s.note("%s is damaged (%v): what could be read of it is filed beside it", f.name, damage)
	default:
		s.note("%s is damaged (%v): no file in it could be read", f.name, damage)
	}
	switch {
	case f.taken || !take:
	case isInText(p):
		s.note("%s stands in a text of the message too", f.name)
	default:
		s.note("%s stays in the message too: not all that stands there can be decoded as %s", f.name, p.Encoding)
	}
	return s.copies(contents)
}

// index returns the base64 of a part if the content of f is all there is in it,
// else nil.
func (s *separator) index(f *file) (*clean, error) {
	if f.part.Encoding != message.Base64 {
		return nil, nil
	}
	block := blocks.Get().(*[blockLength]byte)
	defer blocks.Put(block)
	index, err := cleanBase64(s.ctx, s.m.Raw(s.m.Whole), f.part.Body, block[:])
	if err != nil || index == nil || index.size != f.size {
		return nil, err
	}
	return index, nil
}

// maxHeld is the longest content that is held in memory to be read from anywhere,
// where it can be in no other way.
const maxHeld = 4 << 20

// randomly returns the content of a part to be read from anywhere, nil if that
// would take too much memory.
func (s *separator) randomly(f *file, index *clean) (io.ReaderAt, error) {
	switch {
	case f.part.Encoding == message.Identity:
		return s.m.Raw(f.part.Body), nil
	case index != nil && index.seekable():
		return index, nil
	case f.size > maxHeld:
		return nil, nil
	}
	b, err := io.ReadAll(f.open())
	if err != nil {
		return nil, err
	}
	return bytes.NewReader(b), nil
}

// copies takes files that were found in one.
func (s *separator) copies(files []*file) error {
	for _, f := range files {
		f.name = s.names.Add(f.name)
		if f.missing > 0 {
			s.note("%s is incomplete: %d bytes are missing in %s", f.name, f.missing, winmailName(f.part))
		}
		if err := s.measure(f); err != nil {
			return err
		}
		s.found = append(s.found, f)
	}
	return nil
}

const blockLength = 32 << 10

// blocks are buffers to copy with that are not in use.
var blocks = sync.Pool{New: func() any { return new([blockLength]byte) }}

// measure reads the content of a file for its size and SHA-256.
func (s *separator) measure(f *file) (err error) {
	h := sha256.New()
	f.size, err = s.copy(h, f.open())
	h.Sum(f.sum[:0])
	return err
}

func (s *separator) copy(w io.Writer, r io.Reader) (n int64, err error) {
	block := blocks.Get().(*[blockLength]byte)
	defer blocks.Put(block)
	for {
		if err := s.ctx.Err(); err != nil {
			return n, err
		}
		k, err := r.Read(block[:])
		w.Write(block[:k])
		n += int64(k)
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}

// alter puts stubs in the place of what was taken. The result is read again: if
// it is not the same message but for the stubs, nothing is taken.
func (s *separator) alter() error {
	var edits []edit
	stubs := map[*message.Part]int64{} // and how long their texts are
	for _, f := range s.found {
		if !f.taken {
			continue
		}
		e, length, err := s.stub(f)
		if err != nil {
			return err
		}
		edits = append(edits, e...)
		stubs[f.part] = length
	}
	if len(stubs) == 0 {
		return nil
	}
	altered := splice(s.m.Raw(s.m.Whole), s.m.Whole.Len(), edits)
	again, err := message.Read(s.ctx, altered, altered.size, message.Limits{})
	if err != nil {
		return err
	}
	if !altered.same(&s.m.Part, &again.Part, stubs) {
		for _, f := range s.found {
			f.taken = false
		}
		s.note("the message is too damaged to be altered: files beside it are copies of what is in it")
		return nil
	}
	h := sha256.New()
	if _, err := s.copy(h, io.NewSectionReader(altered, 0, altered.size)); err != nil {
		return err
	}
	h.Sum(s.sum[:0])
	s.altered, s.without, s.stubs = altered, again, make(map[*message.Part]bool)
	var mark func(p, now *message.Part)
	mark = func(p, now *message.Part) {
		if _, ok := stubs[p]; ok {
			s.stubs[now] = true
			return
		}
		for i := range p.Parts {
			mark(p.Parts[i], now.Parts[i])
		}
	}
	mark(&s.m.Part, &again.Part)
	return nil
}

// same reports whether a part of the splice is the part that p became.
func (s *spliced) same(p, now *message.Part, stubs map[*message.Part]int64) bool {
	moved := s.moved(p.Whole)
	if length, ok := stubs[p]; ok {
		// The last line end of a stub may belong to the boundary line after it.
		short := moved.End - now.Whole.End
		return now.Whole.Start == moved.Start && short >= 0 && short <= 2 && now.Body.Len() == length-short &&
			now.Type == "text/plain" && now.Encoding == message.Identity && now.Name == "" && len(now.Parts) == 0 &&
			now.Header.Raw("X-Postroom-Stub") == "1"
	}
	if now.Whole != moved || now.Type != p.Type || now.Encoding != p.Encoding || now.Charset != p.Charset || now.Body != s.moved(p.Body) || len(now.Parts) != len(p.Parts) {
		return false
	}
	for i := range p.Parts {
		if !s.same(p.Parts[i], now.Parts[i], stubs) {
			return false
		}
	}
	return true
}
