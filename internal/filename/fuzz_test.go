package filename_test

import (
	"regexp"
	"strings"
	"testing"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"postroom/internal/filename"
)

// danger describes what a safe name must not match, in the words of Microsoft's
// "Naming Files, Paths, and Namespaces" and of Unicode's general categories,
// independently of the code under test.
var danger = regexp.MustCompile(strings.Join([]string{
	`^$`,
	`[<>:"/\\|?*]`,
	`[\p{Cc}\p{Cf}\p{Cs}]`,
	`[\p{Zl}\p{Zp}\x{115F}\x{1160}\x{3164}\x{FFA0}]`,
	`^[.\s\pZ\pM]`,
	`[.\s\pZ]$`,
	`(?i:^(CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(COM|LPT)[0-9¹²³]) *(\..*)?$)`,
}, "|"))

func verify(t *testing.T, name string, characters int) {
	t.Helper()
	if !utf8.ValidString(name) || !norm.NFC.IsNormalString(name) {
		t.Fatalf("%q is not normal UTF-8", name)
	}
	if at := danger.FindString(name); at != "" || name == "" {
		t.Fatalf("%q is dangerous at %q", name, at)
	}
	if len(name) > 200 || utf8.RuneCountInString(name) > characters || len(utf16.Encode([]rune(name))) > 255 {
		t.Fatalf("%q is too long", name)
	}
}

func FuzzClean(f *testing.F) {
	for _, seed := range []string{
		"", ".", "..", "message.eml", "../../x", "CON.txt", "lpt³ .a", "a\u202eb", "e\u200d\u0301", "\xff\xfe",
		"<\u0338", ">\u200d\u0338", "\u226e\u0327\u0338", strings.Repeat("👩‍👩‍👧", 40) + ".jpeg", "CON" + strings.Repeat(" ", 99) + ".x",
		strings.Repeat("\u0323", 300), "a" + strings.Repeat("\u0323\u034f", 120) + ".b", "\u1100\u1161\u11a8", ".\u0301.a", "a.\u0301b",
		"ι\x95\x84", // U+0345, a mark, is iota without regard to case
	} {
		f.Add(seed, "fallback")
	}
	f.Fuzz(func(t *testing.T, name, fallback string) {
		clean := filename.Clean(name, fallback)
		verify(t, clean, 100)
		if err := filename.Check(clean); err != nil {
			t.Fatalf("Check(Clean(%q)) = %v", name, err)
		}
		if again := filename.Clean(clean, "other"); again != clean {
			t.Fatalf("Clean(%q) = %q, cleaned again %q", name, clean, again)
		}
		if filename.Check(name) == nil && clean != name {
			t.Fatalf("Clean(%q) = %q, but it was safe", name, clean)
		}

		title := filename.CleanTitle(name, fallback)
		verify(t, title, 80)
		if again := filename.CleanTitle(title, "other"); again != title {
			t.Fatalf("CleanTitle(%q) = %q, cleaned again %q", name, title, again)
		}

		s := filename.NewSet()
		a, b, c := s.Add(clean), s.Add(clean), s.Add(filename.Clean(strings.ToUpper(clean), ""))
		verify(t, b, 100)
		if filename.Fold(a) == filename.Fold(b) || filename.Fold(b) == filename.Fold(c) || filename.Fold(a) == filename.Fold(c) {
			t.Fatalf("names %q, %q, %q are not unique", a, b, c)
		}
	})
}
