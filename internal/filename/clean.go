package filename

import (
	"strings"
	"unicode/utf8"

	"github.com/rivo/uniseg"
	"golang.org/x/text/unicode/norm"
)

// Clean returns a safe name as near to name as can be, or to fallback if
// nothing of name can stay. A safe name is returned as it is.
//
// Invalid UTF-8 becomes U+FFFD, a character that Windows reserves an
// underscore, a run of control characters and line breaks one space; characters
// that cannot be seen are left out. A name that is too long is cut between two
// graphemes; a short extension is kept. A device's name gets an underscore in
// front.
func Clean(name, fallback string) string {
	l := limit{MaxCharacters, MaxBytes}
	return safe(either(name, fallback), l, extension)
}

// CleanTitle is [Clean] for a text that has no extension, such as a subject. It
// keeps at most [MaxTitleCharacters] characters and [MaxTitleBytes] bytes.
func CleanTitle(title, fallback string) string {
	l := limit{MaxTitleCharacters, MaxTitleBytes}
	return safe(either(title, fallback), l, func(string) string { return "" })
}

func either(name, fallback string) string {
	for _, s := range []string{name, fallback} {
		if s = tidy(s); s != "" {
			return s
		}
	}
	return "unnamed"
}

// tidy makes every character of name safe and trims it; the result may be
// empty, too long, or a device.
func tidy(name string) string {
	var b strings.Builder
	broken := false
	for _, r := range strings.ToValidUTF8(name, "\uFFFD") {
		if invisible(r) {
			continue
		}
		if breaks(r) {
			if !broken {
				b.WriteByte(' ')
			}
			broken = true
			continue
		}
		broken = false
		if reserved(r) {
			r = '_'
		}
		b.WriteRune(r)
	}
	return trim(norm.NFC.String(b.String()))
}

// safe brings a tidy name within the limit and away from the devices.
func safe(name string, l limit, extension func(string) string) string {
	name = l.cut(name, extension(name))
	if device(name) {
		name = "_" + name
		name = l.cut(name, extension(name))
	}
	return name
}

type limit struct{ characters, bytes int }

// cut shortens a tidy name that ends with tail so that it stays within the
// limit and still ends with tail.
func (l limit) cut(name, tail string) string {
	if utf8.RuneCountInString(name) <= l.characters && len(name) <= l.bytes {
		return name
	}
	stem := name[:len(name)-len(tail)]
	room := limit{l.characters - utf8.RuneCountInString(tail), l.bytes - len(tail)}
	return trim(room.prefix(stem)) + tail
}

// prefix returns the longest beginning of s within the limit that ends at the
// end of a grapheme; or of a character, if not even one grapheme fits.
func (l limit) prefix(s string) string {
	if end := l.reach(s, nextGrapheme); end > 0 {
		return s[:end]
	}
	return s[:l.reach(s, nextCharacter)]
}

func (l limit) reach(s string, next func(string) string) int {
	characters, bytes := 0, 0
	for bytes < len(s) {
		unit := next(s[bytes:])
		characters += utf8.RuneCountInString(unit)
		if characters > l.characters || bytes+len(unit) > l.bytes {
			break
		}
		bytes += len(unit)
	}
	return bytes
}

func nextGrapheme(s string) string {
	cluster, _, _, _ := uniseg.FirstGraphemeClusterInString(s, -1)
	return cluster
}

func nextCharacter(s string) string {
	_, n := utf8.DecodeRuneInString(s)
	return s[:n]
}
