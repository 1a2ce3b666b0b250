package document

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"postroom/ingest/message"
	"postroom/sources"
)

// OnlyUnread is what leaves out a message that has been read, which may be marked
// as unread again.
const OnlyUnread = "only.unread"

// Filter says which messages of a source are filed: those that pass every field
// that is set. The zero Filter takes all.
type Filter struct {
	// Unread takes unread messages only.
	Unread bool
	// Since takes messages received then or later; zero for any.
	Since time.Time
	// MaxSize takes messages of at most so many raw bytes; 0 for any.
	MaxSize int64
	// From takes messages of which one address in From matches one of the
	// globs, Subject those whose subject does; empty for any. A message without
	// has an empty one.
	From, Subject []Glob
}

// estimate is how far the true size of a message may be below what its server
// says. Exchange tells what it takes in its own store.
const estimate = 2

// Listed decides by what a listing knows. LeftOut names the key of the
// configuration by which the message is left out, such as "only.since"; empty if
// it is not. Undecided means that the message itself must be looked at, with
// Delivered.
func (f *Filter) Listed(ref sources.Ref) (leftOut string, undecided bool) {
	switch {
	case f.Unread && ref.Seen:
		return OnlyUnread, false
	case f.before(ref.Received):
		return "only.since", false
	case f.MaxSize > 0 && ref.Size/estimate > f.MaxSize:
		return "only.max_size", false
	}
	return "", !f.Since.IsZero() && ref.Received.IsZero() || f.MaxSize > 0 || len(f.From) > 0 || len(f.Subject) > 0
}

// Delivered decides by the message: its header, its raw bytes (-1 if they have
// not been counted) and when it was received (zero if that is not known); what
// is not known leaves no message out. LeftOut is as for Listed. Unread is for
// Listed alone to decide, since the message may have been read meanwhile.
func (f *Filter) Delivered(h *message.Header, size int64, received time.Time) (leftOut string) {
	switch {
	case f.before(received):
		return "only.since"
	case f.MaxSize > 0 && size > f.MaxSize:
		return "only.max_size"
	case !f.from(h):
		return "only.from"
	case len(f.Subject) > 0 && !anyMatches(f.Subject, oneLine(h.Text("Subject"))):
		return "only.subject"
	}
	return ""
}

// before reports whether a message received then is too old.
func (f *Filter) before(received time.Time) bool {
	return !f.Since.IsZero() && !received.IsZero() && received.Before(f.Since)
}

func (f *Filter) from(h *message.Header) bool {
	if len(f.From) == 0 {
		return true
	}
	addresses := h.AddressList("From")
	for _, a := range addresses {
		if anyMatches(f.From, oneLine(a.Address)) {
			return true
		}
	}
	return len(addresses) == 0 && anyMatches(f.From, "")
}

// Key identifies what the filter takes for good, as printable text: a message
// that one filter has left out need not be looked at again under another of the
// same key. It depends on the meaning alone: not on the order of globs, their
// case, or those that take all. Unread is not in it: what it leaves out is to be
// looked at again. The key of a filter that leaves nothing else out is "all".
func (f *Filter) Key() string {
	var meaning strings.Builder
	if !f.Since.IsZero() {
		fmt.Fprintf(&meaning, "since %s\n", f.Since.UTC().Format(time.RFC3339Nano))
	}
	if f.MaxSize > 0 {
		fmt.Fprintf(&meaning, "max_size %d\n", f.MaxSize)
	}
	for _, glob := range sorted(f.From) {
		fmt.Fprintf(&meaning, "from %q\n", glob)
	}
	for _, glob := range sorted(f.Subject) {
		fmt.Fprintf(&meaning, "subject %q\n", glob)
	}
	if meaning.Len() == 0 {
		return "all"
	}
	sum := sha256.Sum256([]byte(meaning.String()))
	return "only-" + hex.EncodeToString(sum[:16])
}

// sorted returns the globs in one order, each once; none if one takes all.
func sorted(globs []Glob) []string {
	var out []string
	for _, g := range globs {
		if g.folded == "*" {
			return nil
		}
		out = append(out, g.folded)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Glob is a pattern for a whole text, regardless of case: "*" stands for any
// characters, "?" for one.
type Glob struct {
	folded string
	runes  []rune
}

// NewGlob returns the glob of a pattern. Every text is one.
func NewGlob(pattern string) Glob {
	folded := fold(pattern)
	runes := slices.CompactFunc([]rune(folded), func(a, b rune) bool { return a == '*' && b == '*' })
	return Glob{string(runes), runes}
}

// NewGlobs returns the globs of patterns.
func NewGlobs(patterns []string) []Glob {
	var globs []Glob
	for _, p := range patterns {
		globs = append(globs, NewGlob(p))
	}
	return globs
}

// Match reports whether s matches, of which the first MaxValue bytes are looked
// at. Its time is bounded by the product of the lengths of glob and text.
func (g Glob) Match(s string) bool { return g.match([]rune(fold(cut(s, MaxValue)))) }

func anyMatches(globs []Glob, s string) bool {
	text := []rune(fold(cut(s, MaxValue)))
	return slices.ContainsFunc(globs, func(g Glob) bool { return g.match(text) })
}

// match tries the text after each asterisk at every place, but never again what
// is before the last asterisk that was reached.
func (g Glob) match(text []rune) bool {
	p, t := 0, 0
	star, from := -1, 0 // the last asterisk, and where the text after it was tried
	for t < len(text) {
		switch {
		case p < len(g.runes) && g.runes[p] == '*':
			star, from = p, t
			p++
		case p < len(g.runes) && (g.runes[p] == '?' || g.runes[p] == text[t]):
			p++
			t++
		case star >= 0:
			from++
			p, t = star+1, from
		default:
			return false
		}
	}
	for p < len(g.runes) && g.runes[p] == '*' {
		p++
	}
	return p == len(g.runes)
}

// fold returns s so that texts are equal if they differ only in case, or in how
// their accents are encoded. The number of characters does not depend on case.
func fold(s string) string {
	return strings.Map(func(r rune) rune {
		least := r
		for next := unicode.SimpleFold(r); next != r; next = unicode.SimpleFold(next) {
			least = min(least, next)
		}
		return least
	}, norm.NFC.String(valid(s)))
}
