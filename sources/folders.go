package sources

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Inbox is how the first segment of a path names the inbox, on every server
// and in every language.
const Inbox = "Inbox"

// Path is the way to a folder from the top of its mailbox, one decoded segment
// a level. Segments compare letter by letter; only the inbox, the first
// segment "inbox" in any letter case, is always [Inbox].
type Path []string

// ParsePath reads a path as it is written in a configuration: segments joined
// by "/", a slash inside a name as "%2F", a percent sign as "%25" and an asterisk,
// which would be a wildcard where a pattern may stand, as "%2A".
func ParsePath(s string) (Path, error) {
	parts := strings.Split(s, "/")
	path := make(Path, len(parts))
	for i, part := range parts {
		name, err := unescape(part)
		if err != nil {
			return nil, fmt.Errorf("parse folder path %q: %w", s, err)
		}
		path[i] = name
	}
	return path.canonical(), nil
}

var escaper = strings.NewReplacer("%", "%25", "/", "%2F", "*", "%2A")

// String returns the path as it is written in a configuration.
func (p Path) String() string {
	escaped := make([]string, len(p))
	for i, name := range p {
		escaped[i] = escaper.Replace(name)
	}
	return strings.Join(escaped, "/")
}

// Pattern returns the path as it is written where a pattern could stand: it
// selects this folder and no other.
func (p Path) Pattern() string { return strings.ReplaceAll(p.String(), "*", "%2A") }

// Equal reports whether both paths name the same folder.
func (p Path) Equal(q Path) bool { return slices.Equal(p.canonical(), q.canonical()) }

// Within reports whether p is the folder q or anywhere below it.
func (p Path) Within(q Path) bool { return len(p) >= len(q) && p[:len(q)].Equal(q) }

func (p Path) canonical() Path {
	if len(p) == 0 || p[0] == Inbox || !strings.EqualFold(p[0], Inbox) {
		return p
	}
	q := slices.Clone(p)
	q[0] = Inbox
	return q
}

func unescape(s string) (string, error) {
	if s == "" {
		return "", errors.New("a name between slashes is empty")
	}
	if !utf8.ValidString(s) {
		return "", errors.New("a name is not valid UTF-8")
	}
	if i := strings.IndexFunc(s, unicode.IsControl); i >= 0 {
		return "", errors.New("a name holds a control character")
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b.WriteByte(s[i])
			continue
		}
		switch rest := s[i:]; {
		case len(rest) >= 3 && strings.EqualFold(rest[:3], "%2F"):
			b.WriteByte('/')
		case len(rest) >= 3 && rest[:3] == "%25":
			b.WriteByte('%')
		case len(rest) >= 3 && strings.EqualFold(rest[:3], "%2A"):
			b.WriteByte('*')
		default:
			return "", errors.New("a name holds a bare percent sign: write %25")
		}
		i += 2
	}
	return b.String(), nil
}

// Pattern selects folders by their path. "*" stands for any run of characters
// within one level, so that a segment "*" is exactly one level; "X/**" is
// everything below X, but not X itself, and "**" every folder.
type Pattern struct {
	text  string
	parts []segment
	deep  bool
}

// segment is one level of a pattern: the decoded texts between its asterisks.
// One text is a literal name.
type segment []string

// ParsePattern reads a pattern as it is written in a configuration.
func ParsePattern(s string) (Pattern, error) {
	pattern := Pattern{text: s}
	parts := strings.Split(s, "/")
	if parts[len(parts)-1] == "**" {
		pattern.deep = true
		parts = parts[:len(parts)-1]
	}
	for i, part := range parts {
		if strings.Contains(part, "**") {
			return Pattern{}, fmt.Errorf("parse folder pattern %q: \"**\" may only be the last segment", s)
		}
		var seg segment
		for text := range strings.SplitSeq(part, "*") {
			if text == "" && strings.Contains(part, "*") {
				seg = append(seg, "")
				continue
			}
			name, err := unescape(text)
			if err != nil {
				return Pattern{}, fmt.Errorf("parse folder pattern %q: %w", s, err)
			}
			seg = append(seg, name)
		}
		if i == 0 && len(seg) == 1 && strings.EqualFold(seg[0], Inbox) {
			seg[0] = Inbox
		}
		pattern.parts = append(pattern.parts, seg)
	}
	return pattern, nil
}

// String returns the pattern as it was written.
func (p Pattern) String() string { return p.text }

// Literal returns the path that the pattern names in full, and false if it
// holds a wildcard.
func (p Pattern) Literal() (Path, bool) {
	head := p.literalHead()
	if p.deep || len(head) < len(p.parts) || len(head) == 0 {
		return nil, false
	}
	return head, true
}

// literalHead returns the segments before the first wildcard.
func (p Pattern) literalHead() Path {
	var head Path
	for _, seg := range p.parts {
		if len(seg) != 1 {
			break
		}
		head = append(head, seg[0])
	}
	return head
}

// Match reports whether the pattern selects the folder.
func (p Pattern) Match(path Path) bool {
	path = path.canonical()
	if p.deep && len(path) <= len(p.parts) || !p.deep && len(path) != len(p.parts) {
		return false
	}
	for i, seg := range p.parts {
		if !seg.match(path[i]) {
			return false
		}
	}
	return true
}

func (s segment) match(name string) bool {
	if len(s) == 1 {
		return s[0] == name
	}
	name, ok := strings.CutPrefix(name, s[0])
	if !ok {
		return false
	}
	last := s[len(s)-1]
	for _, text := range s[1 : len(s)-1] {
		i := strings.Index(name, text)
		if i < 0 {
			return false
		}
		name = name[i+len(text):]
	}
	return strings.HasSuffix(name, last)
}
