package filename_test

import (
	"fmt"
	"strings"
	"testing"
	"unicode"

	"postroom/internal/filename"
)

func TestSetAdd(t *testing.T) {
	s := filename.NewSet("document.json")
	for _, tt := range []struct{ name, want string }{
		{"scan.pdf", "scan.pdf"},
		{"SCAN.PDF", "SCAN (2).PDF"},
		{"scan.pdf", "scan (3).pdf"},
		{"scan (2).pdf", "scan (2) (2).pdf"},
		{"Document.JSON", "Document (2).JSON"},
		{"straße", "straße"},
		{"STRASSE", "STRASSE (2)"},
		{"été", "été"},
		{"ÉTÉ", "ÉTÉ (2)"},
		{"Kiſte", "Kiſte"},
		{"kiste", "kiste (2)"},
		{"no extension", "no extension"},
		{"no extension", "no extension (2)"},
		{strings.Repeat("a", 96) + ".pdf", strings.Repeat("a", 96) + ".pdf"},
		{strings.Repeat("A", 96) + ".pdf", strings.Repeat("A", 92) + " (2).pdf"},
	} {
		if got := s.Add(tt.name); got != tt.want {
			t.Errorf("Add(%q) = %q, want %q", tt.name, got, tt.want)
		}
		if !s.Has(tt.want) {
			t.Errorf("Has(%q) = false after it was added", tt.want)
		}
	}
	if s.Has("other.pdf") {
		t.Error(`Has("other.pdf") = true, want false`)
	}
}

func TestSetAddManyAlike(t *testing.T) {
	s := filename.NewSet()
	seen := make(map[string]bool)
	for range 20_000 {
		name := s.Add("image001.png")
		if seen[name] {
			t.Fatalf("Add returned %q twice", name)
		}
		seen[name] = true
	}
	if last := fmt.Sprintf("image001 (%d).png", 20_000); !seen[last] {
		t.Errorf("%q was not used", last)
	}
}

// No two characters that some system takes for one may fold differently.
func TestFoldIsCoarserThanEverySystem(t *testing.T) {
	for r := rune(1); r <= unicode.MaxRune; r++ {
		for _, other := range []rune{unicode.SimpleFold(r), unicode.ToUpper(r)} {
			if other == r {
				continue
			}
			if a, b := filename.Fold(string(r)), filename.Fold(string(other)); a != b {
				t.Errorf("Fold(%U) = %q, Fold(%U) = %q", r, a, other, b)
			}
		}
	}
}
