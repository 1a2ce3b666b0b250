package document

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"math"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"postroom/ingest/message"
)

// identityVersion is part of every document's id. It changes with the
// definition of the fingerprint.
const identityVersion = "2"

// ID returns the id of the document of a source's message, which depends on
// nothing but what the message holds. Distinct, if not empty, sets apart
// messages that are to be filed although they are the same.
func ID(source string, f Fingerprint, distinct string) string {
	h := sha256.New()
	for _, s := range []string{identityVersion, source, hex.EncodeToString(f.Content[:]), f.MessageID, distinct} {
		io.WriteString(h, s)
		h.Write([]byte{0})
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Fingerprint is what a message is recognised by. docs/formats.md has the
// definition and its reasons.
type Fingerprint struct {
	// MessageID is the first identifier of Message-ID in its brackets, without
	// white space; empty if there is none.
	MessageID string
	// Content covers what a server keeps when it renders the message anew.
	Content [32]byte
	// Strict covers Content and the versions of the text that a server may make
	// itself. Of two messages that differ in nothing else, it tells apart those
	// that no server has rendered.
	Strict [32]byte
	// Dated is that the message has a Date, which Content covers. Without it, and
	// without a Message-ID, a second message of the same text cannot be told from
	// the first, but by its raw bytes.
	Dated bool
}

// maxNesting bounds the messages within messages that are looked into; deeper
// ones count by their bytes.
const maxNesting = 16

// Identify returns the fingerprint of a message. Its memory does not depend on
// the size of the message. The error is one of the raw bytes or of the context.
func Identify(ctx context.Context, m *message.Message) (Fingerprint, error) {
	i := &fingerprinter{ctx: ctx, m: m}
	return i.message(&m.Part, 0)
}

type fingerprinter struct {
	ctx context.Context
	m   *message.Message
}

// message identifies the message of which root is the root part.
func (i *fingerprinter) message(root *message.Part, depth int) (f Fingerprint, err error) {
	if ids := root.Header.MessageIDs("Message-ID"); len(ids) > 0 {
		f.MessageID = ids[0]
	}
	content := newDigest()
	content.add("from", i.addresses(root, "From"))
	content.add("to", i.addresses(root, "To", "Cc"))
	sent := root.Header.Date()
	f.Dated = !sent.IsZero()
	content.add("date", date(sent))
	content.add("subject", squeeze(root.Header.Text("Subject"), " "))
	layout := root.Layout()
	shown := layout.HTML
	if shown == nil {
		shown = layout.Plain
	}
	if shown == nil {
		shown = layout.Other
	}
	if err := i.texts(content, append([]*message.Part{shown}, layout.More...)); err != nil {
		return f, err
	}
	var files, strictly []string
	for _, a := range layout.Attachments {
		file, s, err := i.file(a.Part, depth)
		if err != nil {
			return f, err
		}
		files, strictly = append(files, file), append(strictly, s)
	}
	slices.Sort(files)
	slices.Sort(strictly)
	for _, file := range files {
		content.add("file", file)
	}
	f.Content = content.sum()
	strict := newDigest()
	strict.add("content", string(f.Content[:]))
	for _, s := range strictly {
		strict.add("file", s)
	}
	others := slices.DeleteFunc(append([]*message.Part{layout.Plain, layout.Other}, layout.Alternatives...),
		func(p *message.Part) bool { return p == shown })
	if err := i.texts(strict, others); err != nil {
		return f, err
	}
	f.Strict = strict.sum()
	return f, nil
}

// addresses returns the addresses of fields in an order of their own, each once.
func (i *fingerprinter) addresses(root *message.Part, fields ...string) string {
	var all []string
	for _, field := range fields {
		for _, a := range root.Header.AddressList(field) {
			if strings.Contains(a.Address, "@") {
				all = append(all, strings.ToLower(a.Address))
			}
		}
	}
	slices.Sort(all)
	return strings.Join(slices.Compact(all), ",")
}

func date(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// texts adds the text of parts as one, without white space: servers break lines
// anew, and join texts.
func (i *fingerprinter) texts(d *digest, parts []*message.Part) error {
	d.begin("text")
	defer d.end()
	w := squeezers.Get().(*squeezer)
	defer squeezers.Put(w)
	w.w, w.rest = d, w.rest[:0]
	parts = slices.DeleteFunc(parts, func(p *message.Part) bool { return p == nil })
	length := int64(0)
	for _, p := range parts {
		length += p.Body.Len()
	}
	for _, p := range parts {
		if err := i.text(w, p, length <= maxPiece/4); err != nil {
			return fmt.Errorf("read text: %w", err)
		}
	}
	return w.flush()
}

// maxPage is the longest HTML that is held in memory.
const maxPage = 128 << 10

// text writes the text of a part. Short says that all texts together are shorter
// than a piece of a squeezer: where these are cut then does not depend on how the
// text is read.
func (i *fingerprinter) text(w *squeezer, p *message.Part, short bool) error {
	if err := i.ctx.Err(); err != nil {
		return err
	}
	html := p.Type == "text/html"
	if (short || html && p.Body.Len() <= maxPage) && (p.Encoding == message.Identity || p.Encoding == message.Base64 || p.Encoding == message.QuotedPrintable) {
		t, err := i.m.Text(p, math.MaxInt32)
		if err != nil {
			return err
		}
		if html {
			return visible(w, strings.NewReader(t.String))
		}
		_, err = w.WriteString(t.String)
		return err
	}
	_, r, err := i.m.OpenText(p)
	if err != nil {
		return err
	}
	r = until{i.ctx, r}
	if html {
		return visible(w, r)
	}
	_, err = io.Copy(w, r)
	return err
}

// numbered are names that Exchange gives to what has none.
var numbered = regexp.MustCompile(`(?i)^(att|image)\d{3,}(\.\w+)?$`)

// file returns what identifies an attachment, and strictly so: its name, and its
// content without its transfer encoding; of a message what identifies that.
func (i *fingerprinter) file(p *message.Part, depth int) (content, strict string, err error) {
	if p.IsMessage() && len(p.Parts) == 1 && depth < maxNesting {
		f, err := i.message(p.Parts[0], depth+1)
		return fmt.Sprintf("message %s %x", f.MessageID, f.Content), fmt.Sprintf("%x", f.Strict), err
	}
	name := squeeze(p.Name, " ")
	if numbered.MatchString(name) {
		name = ""
	}
	sum, err := i.m.Sum(i.ctx, p)
	if err != nil {
		return "", "", fmt.Errorf("read attachment: %w", err)
	}
	return hex.EncodeToString(sum.SHA256[:]) + " " + name, "", nil
}

// until reads until its context ends.
type until struct {
	ctx context.Context
	io.Reader
}

func (r until) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(p)
}

// squeeze returns the text in its composed form, with each run of white space
// replaced.
func squeeze(s, by string) string {
	return norm.NFC.String(strings.Join(strings.FieldsFunc(s, blank), by))
}

// blank reports whether a rune is white space, or cannot be seen.
func blank(r rune) bool {
	if r > 0xff && r < 0x1680 || r > 0x3000 && r != '\ufeff' {
		return false
	}
	return unicode.IsSpace(r) || r == '\u200b' || r == '\ufeff' || r == '\u00ad'
}

// appendCompact appends a text in its composed form, without white space.
func appendCompact(dst, text []byte) []byte {
	from := len(dst)
	ascii := true
	for i := 0; i < len(text); {
		c := text[i]
		if c < utf8.RuneSelf {
			if c != ' ' && (c < '\t' || c > '\r') {
				dst = append(dst, c)
			}
			i++
			continue
		}
		r, n := utf8.DecodeRune(text[i:])
		if !blank(r) {
			dst = append(dst, text[i:i+n]...)
			ascii = false
		}
		i += n
	}
	if !ascii && !norm.NFC.IsNormal(dst[from:]) {
		dst = append(dst[:from], norm.NFC.Bytes(dst[from:])...)
	}
	return dst
}

// maxPiece is how much text is put into its composed form at a time.
const maxPiece = 64 << 10

// squeezer passes text on in its composed form, without white space.
type squeezer struct {
	w    io.Writer
	rest []byte
	buf  []byte
}

// squeezers are those that are not in use.
var squeezers = sync.Pool{New: func() any { return &squeezer{} }}

func (s *squeezer) Write(p []byte) (int, error) {
	s.rest = append(s.rest, p...)
	return len(p), s.pass()
}

func (s *squeezer) WriteString(p string) (int, error) {
	s.rest = append(s.rest, p...)
	return len(p), s.pass()
}

// pass passes on what there is if it is a piece.
func (s *squeezer) pass() error {
	if len(s.rest) < maxPiece {
		return nil
	}
	// Up to where neither a rune nor a combination is cut.
	cut := norm.NFC.LastBoundary(s.rest)
	if cut <= 0 {
		cut = len(s.rest)
	}
	err := s.write(s.rest[:cut])
	s.rest = append(s.rest[:0], s.rest[cut:]...)
	return err
}

func (s *squeezer) write(b []byte) error {
	s.buf = appendCompact(s.buf[:0], b)
	_, err := s.w.Write(s.buf)
	return err
}

func (s *squeezer) flush() error {
	err := s.write(s.rest)
	s.rest = s.rest[:0]
	return err
}

// digest hashes named values so that none runs into the next.
type digest struct {
	all, one hash.Hash
	n        uint64
}

func newDigest() *digest { return &digest{all: sha256.New()} }

func (d *digest) begin(name string) {
	if d.one == nil {
		d.one = sha256.New()
	}
	d.one.Reset()
	d.n = 0
	io.WriteString(d.one, name)
	d.one.Write([]byte{0})
}

func (d *digest) Write(p []byte) (int, error) {
	d.n += uint64(len(p))
	return d.one.Write(p)
}

func (d *digest) end() {
	var b [8 + sha256.Size]byte
	d.all.Write(d.one.Sum(binary.BigEndian.AppendUint64(b[:0], d.n)))
}

func (d *digest) add(name, value string) {
	d.begin(name)
	io.WriteString(d, value)
	d.end()
}

func (d *digest) sum() [32]byte { return [32]byte(d.all.Sum(nil)) }
