// Package filename makes and checks file names that are safe on Windows, Linux
// and macOS alike.
//
// A safe name
//
//   - is valid UTF-8 in normalisation form C, so that every system compares it
//     alike;
//   - has at most [MaxCharacters] characters and [MaxBytes] bytes;
//   - holds none of <>:"/\|?*, no control character, no line or paragraph
//     separator and no character that cannot be seen but changes what can
//     (bidirectional controls, zero-width and other format characters, Hangul
//     fillers);
//   - neither begins nor ends with a dot or a space, and does not begin with a
//     combining mark;
//   - is no Windows device, with or without an extension (NUL, com1.txt).
package filename

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Limits of a file name and of a title, in Unicode characters and in bytes of
// UTF-8.
const (
	MaxCharacters      = 100
	MaxBytes           = 200
	MaxTitleCharacters = 80
	MaxTitleBytes      = 200
)

// Check returns nil if name is safe, or an error that says why it is not.
func Check(name string) error {
	switch {
	case name == "":
		return errors.New("file name is empty")
	case !utf8.ValidString(name):
		return fmt.Errorf("file name %q is not UTF-8", name)
	case len(name) > MaxBytes || utf8.RuneCountInString(name) > MaxCharacters:
		return fmt.Errorf("file name %q is longer than %d characters or %d bytes", name, MaxCharacters, MaxBytes)
	case !norm.NFC.IsNormalString(name):
		return fmt.Errorf("file name %q is not in Unicode normalisation form C", name)
	}
	for _, r := range name {
		if reserved(r) || breaks(r) || invisible(r) {
			return fmt.Errorf("file name %q holds the character %U", name, r)
		}
	}
	switch {
	case trim(name) != name:
		return fmt.Errorf("file name %q begins or ends with a dot, a space or a combining mark", name)
	case device(name):
		return fmt.Errorf("file name %q is the name of a Windows device", name)
	}
	return nil
}

func reserved(r rune) bool { return strings.ContainsRune(`<>:"/\|?*`, r) }

// breaks reports a character that moves the cursor instead of printing.
func breaks(r rune) bool { return unicode.In(r, unicode.Cc, unicode.Zl, unicode.Zp) }

func invisible(r rune) bool {
	switch r {
	case '\u115F', '\u1160', '\u3164', '\uFFA0': // Hangul fillers are letters
		return true
	}
	return unicode.Is(unicode.Cf, r)
}

// trim takes away what a name may not begin or end with.
func trim(name string) string {
	name = strings.TrimLeftFunc(name, func(r rune) bool { return edge(r) || unicode.IsMark(r) })
	return strings.TrimRightFunc(name, edge)
}

func edge(r rune) bool { return r == '.' || unicode.IsSpace(r) }

// device reports that Windows would open a device instead of a file. It looks
// at the part before the first dot only, without regard to spaces at its end.
func device(name string) bool {
	stem, _, _ := strings.Cut(name, ".")
	stem = strings.ToUpper(strings.TrimRight(stem, " "))
	switch stem {
	case "CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$":
		return true
	}
	for _, port := range []string{"COM", "LPT"} {
		if n, ok := strings.CutPrefix(stem, port); ok && utf8.RuneCountInString(n) == 1 {
			return strings.Contains("0123456789¹²³", n)
		}
	}
	return false
}

// extension returns what people take for one: a dot and up to 16 letters and
// digits.
func extension(name string) string {
	i := strings.LastIndexByte(name, '.')
	if i <= 0 || utf8.RuneCountInString(name[i:]) > 17 {
		return ""
	}
	for _, r := range name[i+1:] {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			return ""
		}
	}
	return name[i:]
}
