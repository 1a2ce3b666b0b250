package message

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"golang.org/x/text/transform"
)

// Text is the content of a text part as UTF-8.
type Text struct {
	String string
	Cut    bool // there is more than String
	// Charset is the charset that it was read in, by its IANA name in lower case;
	// it differs from that of the part where this is missing, unknown or does not
	// fit.
	Charset string
	Notes   []string // what was guessed, for a person
}

// surveyed is how much of a text is looked at to judge its charset, beginning
// with its first byte that is not ASCII.
const surveyed = 16 << 10

// Text returns the content of a text part as UTF-8, at most limit bytes of it: in
// its charset if that is known and fits; of HTML without one in that of its meta
// element; else in the one that was guessed. Files that stand in the text are
// left out (they are Parts), as is a byte order mark. Line ends are as they
// stand. The error is one of the raw bytes.
func (m *Message) Text(p *Part, limit int64) (Text, error) {
	if s, err := m.short(p); s != nil || err != nil {
		t := s.opened()
		t.cut(string(s.decoded()), limit)
		return t, err
	}
	t, r, err := m.OpenText(p)
	if err != nil {
		return t, err
	}
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return t, err
	}
	t.cut(string(b), limit)
	return t, nil
}

// cut sets the text.
func (t *Text) cut(s string, limit int64) {
	if int64(len(s)) > limit {
		t.Cut = true
		s = s[:limit]
		for n := 0; n < 3 && !validEnd(s); n++ {
			s = s[:len(s)-1]
		}
	}
	t.String = s
}

// maxHeld is the longest text that is decoded once only, to be in memory while
// its charset is judged, and until another text is read.
const maxHeld = 128 << 10

// maxLent is how many such texts are held until a borrowed message is given back.
const maxLent = 4

// shortText is the content of a text part, and as UTF-8.
type shortText struct {
	part    *Part
	buf     bytes.Buffer
	content []byte
	text    []byte
	charset string
	notes   []string
}

// opened returns the text without String.
func (s *shortText) opened() Text {
	if s == nil {
		return Text{}
	}
	return Text{Charset: s.charset, Notes: slices.Clone(s.notes)}
}

func (s *shortText) decoded() []byte {
	if s == nil {
		return nil
	}
	return s.text
}

// shortTexts are those that are not in use.
var shortTexts = sync.Pool{New: func() any { return &shortText{} }}

// short returns the text of a part with a short body, nil if its content is not
// short.
func (m *Message) short(p *Part) (*shortText, error) {
	if p.Body.Len() > maxHeld {
		return nil, nil
	}
	if last := m.last.Load(); last != nil && last.part == p {
		return last, nil
	}
	t := shortTexts.Get().(*shortText)
	t.buf.Reset()
	if _, err := t.buf.ReadFrom(io.LimitReader(m.openText(p), maxHeld+1)); err != nil || t.buf.Len() > maxHeld {
		shortTexts.Put(t)
		return nil, err
	}
	s := surveys.Get().(*survey)
	defer surveys.Put(s)
	s.reset()
	s.Write(t.buf.Bytes())
	s.end()
	if m.lent != nil && len(*m.lent) < maxLent {
		t.content = t.buf.Bytes()
		*m.lent = append(*m.lent, t)
	} else {
		content := bytes.Clone(t.buf.Bytes())
		shortTexts.Put(t)
		t = &shortText{content: content}
	}
	t.part = p
	c := s.choose(p, &t.notes)
	t.charset, t.text = c.name, t.content
	if (s.high || !c.superset()) && (c.name != "utf-8" || s.broken) {
		t.text = []byte(c.decode(t.content))
	}
	t.text = bytes.TrimPrefix(t.text, []byte("\ufeff"))
	m.last.Store(t)
	return t, nil
}

// validEnd reports whether b does not end within a character.
func validEnd(b string) bool {
	for i := 1; i <= 4 && i <= len(b); i++ {
		switch c := b[len(b)-i]; {
		case c < 0x80:
			return i == 1
		case c >= 0xf0:
			return i == 4
		case c >= 0xe0:
			return i == 3
		case c >= 0xc0:
			return i == 2
		}
	}
	return len(b) == 0
}

// OpenText is Text for a text of any length: String is left empty, and r is the
// text as a stream. It reads the content once before, to judge its charset; the
// memory it needs does not depend on the length.
func (m *Message) OpenText(p *Part) (t Text, r io.Reader, err error) {
	if s, err := m.short(p); s != nil || err != nil {
		return s.opened(), bytes.NewReader(s.decoded()), err
	}
	s := surveys.Get().(*survey)
	defer surveys.Put(s)
	s.reset()
	if _, err := io.Copy(s, m.openText(p)); err != nil {
		return t, nil, err
	}
	s.end()
	c := s.choose(p, &t.Notes)
	t.Charset = c.name
	r = transform.NewReader(m.openText(p), c.decoder())
	return t, &bomSkipper{r: r}, nil
}

// openText opens a text without the files in it.
func (m *Message) openText(p *Part) io.Reader {
	if len(p.Parts) == 0 || p.Encoding != Identity {
		return m.Open(p)
	}
	at := p.Body.Start
	var pieces []io.Reader
	for _, f := range p.Parts {
		pieces = append(pieces, m.Raw(Range{at, f.Whole.Start}))
		at = f.Whole.End
	}
	return io.MultiReader(append(pieces, m.Raw(Range{at, p.Body.End}))...)
}

// bomSkipper passes UTF-8 on without a byte order mark at its beginning.
type bomSkipper struct {
	r    io.Reader
	rest []byte
	seen bool
}

func (b *bomSkipper) Read(p []byte) (int, error) {
	if !b.seen {
		b.seen = true
		head := make([]byte, 3)
		n, err := io.ReadFull(b.r, head)
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return 0, err
		}
		b.rest = bytes.TrimPrefix(head[:n], []byte("\xef\xbb\xbf"))
	}
	if len(b.rest) > 0 {
		n := copy(p, b.rest)
		b.rest = b.rest[n:]
		return n, nil
	}
	return b.r.Read(p)
}

// survey is a writer that gathers what tells the charset of a text.
type survey struct {
	head   []byte // the beginning
	sample []byte // from the first byte that is not ASCII on
	high   bool   // there is one
	broken bool   // it is not UTF-8
	runes  int    // characters of several bytes, while it is; at most manyRunes
	tail   []byte // a character that is not complete yet
}

// surveys are those that are not in use.
var surveys = sync.Pool{New: func() any { return &survey{} }}

func (s *survey) reset() { *s = survey{head: s.head[:0], sample: s.sample[:0]} }

func (s *survey) Write(b []byte) (int, error) {
	if room := 4<<10 - len(s.head); room > 0 {
		s.head = append(s.head, b[:min(room, len(b))]...)
	}
	at := 0
	if !s.high {
		at = plainLen(b)
		s.high = at < len(b)
	}
	if room := surveyed - len(s.sample); s.high && room > 0 {
		s.sample = append(s.sample, b[at:min(at+room, len(b))]...)
	}
	if s.high && !s.broken {
		s.utf8(b[at:])
	}
	return len(b), nil
}

func (s *survey) utf8(b []byte) {
	if len(s.tail) > 0 {
		n := min(4-len(s.tail), len(b))
		joined := append(append([]byte(nil), s.tail...), b[:n]...)
		size := runeSize(joined[0])
		if len(joined) < size {
			s.tail = joined
			return
		}
		if !utf8.Valid(joined[:size]) {
			s.broken = true
			return
		}
		s.runes++
		b = b[size-len(s.tail):]
		s.tail = nil
	}
	cut := len(b)
	for i := 1; i <= 3 && i <= len(b); i++ {
		if c := b[len(b)-i]; c >= 0xc0 {
			if runeSize(c) > i {
				cut = len(b) - i
			}
			break
		} else if c < 0x80 {
			break
		}
	}
	s.tail = append(s.tail, b[cut:]...)
	if !utf8.Valid(b[:cut]) {
		s.broken = true
		return
	}
	for i := 0; i < cut && s.runes < manyRunes; i++ {
		if b[i] >= 0xc0 {
			s.runes++
		}
	}
}

// manyRunes are so many characters of several bytes that they do not fit UTF-8 by
// chance.
const manyRunes = 4

// plainLen returns how many bytes b begins with that are ASCII, and begin no
// escape sequence.
func plainLen(b []byte) int {
	n := 0
	for n+8 <= len(b) && binary.LittleEndian.Uint64(b[n:])&0x8080808080808080 == 0 {
		n += 8
	}
	for n < len(b) && b[n] < 0x80 {
		n++
	}
	if esc := bytes.IndexByte(b[:n], 0x1b); esc >= 0 {
		return esc
	}
	return n
}

// end is called after the last byte.
func (s *survey) end() {
	if len(s.tail) > 0 {
		s.broken = true
	}
}

func runeSize(lead byte) int {
	switch {
	case lead >= 0xf0:
		return 4
	case lead >= 0xe0:
		return 3
	case lead >= 0xc0:
		return 2
	}
	return 1
}

// choose returns the charset to read the text in.
func (s *survey) choose(p *Part, notes *[]string) *charset {
	name := "declared charset " + p.Charset
	c := lookupCharset(p.Charset)
	if (c == nil || c.decoder == nil) && p.Type == "text/html" {
		if meta := metaCharset(s.head); meta != "" {
			if mc := lookupCharset(meta); mc != nil && mc.decoder != nil && !strings.HasPrefix(mc.name, "utf-16") && !strings.HasPrefix(mc.name, "utf-32") {
				c, name = mc, "charset "+meta+" of the meta element"
			}
		}
	}
	var guess string
	switch bom := guessCharset(s.head[:min(len(s.head), 4)]); {
	case strings.HasPrefix(bom, "utf-") && len(s.head) >= 2 && s.head[0] >= 0xef || strings.HasPrefix(bom, "utf-32"):
		guess = bom // a byte order mark
	case guessUTF16(s.head) != "":
		guess = guessUTF16(s.head)
	case s.high && !s.broken && s.runes > 0:
		guess = "utf-8"
	case s.high && c != nil && c.decoder != nil && c.single && !c.ascii && guessUnicode(s.sample) == "":
		return c // any bytes fit
	case s.high:
		guess = guessCharset(s.sample)
		if guess == "utf-8" && s.broken {
			guess = guessLegacy(s.sample) // further on it is not
		}
	default:
		guess = "us-ascii"
	}
	g := lookupCharset(guess)
	switch {
	case c == nil || c.decoder == nil:
		switch {
		case p.Charset != "":
			note(notes, "charset %.40q is not known: read as %s", Decode(p.Charset), g.name)
		case guess != "us-ascii":
			note(notes, "no charset is declared: read as %s", g.name)
		}
		return g
	case strings.HasPrefix(guess, "utf-16") || strings.HasPrefix(guess, "utf-32"):
		if strings.HasPrefix(c.name, "utf-16") || strings.HasPrefix(c.name, "utf-32") {
			return g // it shows in which order
		}
		note(notes, "%.80s does not fit: read as %s", Decode(name), g.name)
		return g
	case strings.HasPrefix(c.name, "utf-16") || strings.HasPrefix(c.name, "utf-32"):
		if (guess == "us-ascii" || guess == "utf-8") && bytes.IndexByte(s.head, 0) < 0 {
			note(notes, "%.80s does not fit: read as %s", Decode(name), g.name)
			return g
		}
		return c
	case !s.high:
		return c
	case c.ascii || c.name == "utf-8" && s.broken:
		// Single bytes of something else in much that is UTF-8 are damage.
		if c.name == "utf-8" && s.mostlyUTF8() {
			note(notes, "some bytes are not of the %.80s", Decode(name))
			return c
		}
		note(notes, "%.80s does not fit: read as %s", Decode(name), g.name)
		return g
	case c.single && c.name != "utf-8" && guess == "utf-8" && s.runes >= manyRunes:
		note(notes, "%.80s does not fit: read as %s", Decode(name), g.name)
		return g
	case !c.single && c.name != "utf-8":
		if bad := strings.Count(c.decode(s.sample), "\ufffd"); bad > 1 {
			if guess == "utf-8" || bad*20 > len(s.sample) && guess != "windows-1252" {
				note(notes, "%.80s does not fit: read as %s", Decode(name), g.name)
				return g
			}
			note(notes, "some bytes are not of the %.80s", Decode(name))
		}
	}
	return c
}

// mostlyUTF8 reports whether the sample has more characters of UTF-8 than bytes
// that are none.
func (s *survey) mostlyUTF8() bool {
	good, bad := 0, 0
	for _, r := range string(s.sample) {
		switch {
		case r == '\ufffd':
			bad++
		case r >= 0x80:
			good++
		}
	}
	return good > 2*bad
}

// metaCharset returns the charset that HTML declares (HTML 4.2.5.4), "" if none.
func metaCharset(head []byte) string {
	lower := bytes.ToLower(head)
	for i := 0; ; {
		k := bytes.Index(lower[i:], []byte("<meta"))
		if k < 0 {
			return ""
		}
		i += k + 5
		tag := lower[i:]
		if end := bytes.IndexByte(tag, '>'); end >= 0 {
			tag = tag[:end]
		}
		_, v, ok := bytes.Cut(tag, []byte("charset"))
		if !ok {
			continue
		}
		v = bytes.TrimLeft(v, " \t\r\n")
		if len(v) == 0 || v[0] != '=' {
			continue
		}
		v = bytes.TrimLeft(v[1:], " \t\r\n\"'")
		if end := bytes.IndexAny(v, " \t\r\n\"';/>"); end >= 0 {
			v = v[:end]
		}
		if len(v) > 0 && len(v) <= 40 {
			return string(v)
		}
	}
}
