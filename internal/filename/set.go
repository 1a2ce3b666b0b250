package filename

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// Fold returns what all names that some file system may take for the same name
// have in common. It is coarser than any one system: it folds case as Unicode
// does in full (ß and SS), as NTFS does (one character to one upper-case
// character), and disregards how accents are composed.
func Fold(name string) string {
	return norm.NFD.String(cases.Fold().String(strings.ToUpper(norm.NFC.String(name))))
}

// Set is the names in use in one folder. It is not safe for concurrent use.
type Set struct {
	// next is, per folded name, the number to try next.
	next map[string]int
}

// NewSet returns a set that holds the reserved names.
func NewSet(reserved ...string) *Set {
	s := &Set{next: make(map[string]int)}
	for _, name := range reserved {
		s.next[Fold(name)] = 2
	}
	return s
}

// Has reports whether name, or one that differs from it only as [Fold] says, is
// in the set.
func (s *Set) Has(name string) bool { return s.next[Fold(name)] != 0 }

// Add adds name to the set and returns it. If it is taken, Add adds and returns
// the first that is free of "name (2).ext", "name (3).ext" and so on, cut to
// the limits of a safe name. A safe name remains one.
func (s *Set) Add(name string) string {
	key := Fold(name)
	if s.next[key] == 0 {
		s.next[key] = 2
		return name
	}
	for {
		other := numbered(name, s.next[key])
		s.next[key]++
		if !s.Has(other) {
			s.next[Fold(other)] = 2
			return other
		}
	}
}

func numbered(name string, n int) string {
	ext := extension(name)
	tail := fmt.Sprintf(" (%d)%s", n, ext)
	stem := name[:len(name)-len(ext)]
	l := limit{MaxCharacters - utf8.RuneCountInString(tail), MaxBytes - len(tail)}
	return trim(l.prefix(stem)) + tail
}
