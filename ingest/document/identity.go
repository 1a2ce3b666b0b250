package document

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
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
	content.add("date", date(root.Header.Date()))
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
	w := &squeezer{w: d}
	for _, p := range parts {
		if p == nil {
			continue
		}
		if err := i.text(w, p); err != nil {
			return fmt.Errorf("read text: %w", err)
		}
	}
	return w.flush()
}

func (i *fingerprinter) text(w io.Writer, p *message.Part) error {
	_, r, err := i.m.OpenText(p)
	if err != nil {
		return err
	}
	r = until{i.ctx, r}
	if p.Type == "text/html" {
		return visible(w, r)
	}
	_, err = io.Copy(w, r)
	return err
}

// visible writes what a reader of HTML sees, and where its links and pictures
// lead. Where a link only repeats its own text it may have been made of plain
// text, and is left out.
func visible(w io.Writer, r io.Reader) error {
	z := html.NewTokenizer(r)
	z.SetMaxBuf(1 << 20)
	hidden := 0 // elements open whose text is not shown
	var link string
	var text strings.Builder
	closeLink := func() error {
		said, to := compact(text.String()), compact(link)
		link = ""
		text.Reset()
		if to == "" || to == said || strings.TrimPrefix(to, "mailto:") == said || strings.TrimSuffix(to, "/") == said || "http://"+said == to {
			return nil
		}
		_, err := io.WriteString(w, "\x00"+to+"\x00")
		return err
	}
	for {
		kind := z.Next()
		switch kind {
		case html.ErrorToken:
			err := z.Err()
			if errors.Is(err, html.ErrBufferExceeded) {
				// One tag of a megabyte: what follows counts as it stands.
				_, err = io.Copy(w, io.MultiReader(strings.NewReader(string(z.Buffered())), r))
			}
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return errors.Join(err, closeLink())
		case html.TextToken:
			if hidden > 0 {
				continue
			}
			t := string(z.Text())
			if link != "" && text.Len() < 4096 {
				text.WriteString(t)
			}
			if _, err := io.WriteString(w, t); err != nil {
				return err
			}
		case html.StartTagToken, html.SelfClosingTagToken, html.EndTagToken:
			name, more := z.TagName()
			tag := atom.Lookup(name)
			switch tag {
			case atom.Style, atom.Script, atom.Title:
				if kind == html.StartTagToken {
					hidden++
				} else if kind == html.EndTagToken && hidden > 0 {
					hidden--
				}
			case atom.A:
				if err := closeLink(); err != nil {
					return err
				}
			}
			for more && kind != html.EndTagToken {
				var key, value []byte
				key, value, more = z.TagAttr()
				switch {
				case tag == atom.A && string(key) == "href":
					link = string(value)
				case tag == atom.Img && string(key) == "src":
					if _, err := io.WriteString(w, "\x00"+compact(string(value))+"\x00"); err != nil {
						return err
					}
				}
			}
		}
	}
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
	h := sha256.New()
	if _, err := io.Copy(h, until{i.ctx, i.m.Open(p)}); err != nil {
		return "", "", fmt.Errorf("read attachment: %w", err)
	}
	return fmt.Sprintf("%x %s", h.Sum(nil), name), "", nil
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

func compact(s string) string { return squeeze(s, "") }

// blank reports whether a rune is white space, or cannot be seen.
func blank(r rune) bool {
	return unicode.IsSpace(r) || r == '\u200b' || r == '\ufeff' || r == '\u00ad'
}

// squeezer passes text on in its composed form, without white space.
type squeezer struct {
	w    io.Writer
	rest []byte
}

func (s *squeezer) Write(p []byte) (int, error) {
	s.rest = append(s.rest, p...)
	if len(s.rest) < 64<<10 {
		return len(p), nil
	}
	// Up to where neither a rune nor a combination is cut.
	cut := norm.NFC.LastBoundary(s.rest)
	if cut <= 0 {
		cut = len(s.rest)
	}
	_, err := io.WriteString(s.w, compact(string(s.rest[:cut])))
	s.rest = append(s.rest[:0], s.rest[cut:]...)
	return len(p), err
}

func (s *squeezer) flush() error {
	_, err := io.WriteString(s.w, compact(string(s.rest)))
	s.rest = nil
	return err
}

// digest hashes named values so that none runs into the next.
type digest struct {
	all, one hash.Hash
	n        uint64
}

func newDigest() *digest { return &digest{all: sha256.New()} }

func (d *digest) begin(name string) {
	d.one, d.n = sha256.New(), 0
	io.WriteString(d.one, name)
	d.one.Write([]byte{0})
}

func (d *digest) Write(p []byte) (int, error) {
	d.n += uint64(len(p))
	return d.one.Write(p)
}

func (d *digest) end() {
	d.all.Write(binary.BigEndian.AppendUint64(nil, d.n))
	d.all.Write(d.one.Sum(nil))
}

func (d *digest) add(name, value string) {
	d.begin(name)
	io.WriteString(d, value)
	d.end()
}

func (d *digest) sum() [32]byte { return [32]byte(d.all.Sum(nil)) }
