package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// printJSON prints a value as one JSON document.
func printJSON(out io.Writer, v any) error {
	enc := json.NewEncoder(out)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// emptyNotNull makes sure that an empty list prints as [].
func emptyNotNull[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

// printable returns text from a message so that it can do a terminal no harm,
// in one line of at most n runes.
func printable(s string, n int) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r):
			return -1
		}
		return r
	}, s)
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}

// quoted returns the name of a file or folder as it is or, if it has what would
// end the line, does something else to a terminal, or cannot be seen at its ends,
// in quotes and with escapes: so it stays the name.
func quoted(name string) string {
	odd := func(r rune) bool { return commands(r) || r == '\n' || r == '\t' || r == '\u2028' || r == '\u2029' }
	if strings.ContainsFunc(name, odd) || name != strings.TrimSpace(name) || !utf8.ValidString(name) {
		return strconv.Quote(name)
	}
	return name
}

// quoting returns the text with each of the names in it as quoted has it.
func quoting(text string, names ...string) string {
	names = slices.Clone(names)
	slices.SortFunc(names, func(a, b string) int { return len(b) - len(a) }) // one may be in another
	for _, name := range names {
		if q := quoted(name); name != "" && q != name {
			text = strings.ReplaceAll(text, name, q)
		}
	}
	return text
}

// inOneLine returns the text of an error, which may have several, as one line.
func inOneLine(text string) string { return strings.ReplaceAll(text, "\n", "; ") }

// terminal is where commands print to. What comes from outside, be it an answer
// of a server, the name of a folder or a subject, is in the errors and tables, and
// could tell a terminal what to do: control characters are printed as escapes,
// \u001b, as JSON has them.
type terminal struct{ out io.Writer }

// Write prints b, which begins and ends between two characters.
func (t *terminal) Write(b []byte) (int, error) {
	var safe []byte
	rest := b
	for len(rest) > 0 {
		r, size := utf8.DecodeRune(rest)
		switch {
		case r == utf8.RuneError && size == 1:
			safe = fmt.Appendf(safe, `\x%02x`, rest[0])
		case commands(r):
			safe = fmt.Appendf(safe, `\u%04x`, r)
		default:
			safe = append(safe, rest[:size]...)
		}
		rest = rest[size:]
	}
	n, err := t.out.Write(safe)
	if err != nil {
		return min(n, len(b)), err
	}
	return len(b), nil
}

// commands reports whether a terminal does something else with the character
// than print it: it is a control character, or changes the direction of what
// follows.
func commands(r rune) bool {
	return unicode.IsControl(r) && r != '\n' && r != '\t' || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069
}

// asIs returns where to print bytes that are not for a person.
func asIs(out io.Writer) io.Writer {
	if t, ok := out.(*terminal); ok {
		return t.out
	}
	return out
}
