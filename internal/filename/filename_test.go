package filename_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"postroom/internal/filename"
)

func TestCheckRefuses(t *testing.T) {
	for _, tt := range []struct{ name, why string }{
		{"", "empty"},
		{".", "dot"},
		{"..", "dot"},
		{".profile", "dot"},
		{"report.", "dot"},
		{" report", "space"},
		{"report ", "space"},
		{"report\u00a0", "space"},
		{"\u0301report", "combining"},
		{"../report", "U+002F"},
		{"a/../b", "U+002F"},
		{`a\b`, "U+005C"},
		{"C:report", "U+003A"},
		{"what?", "U+003F"},
		{"a*b", "U+002A"},
		{`a"b`, "U+0022"},
		{"a<b", "U+003C"},
		{"a>b", "U+003E"},
		{"a|b", "U+007C"},
		{"a\x00b", "U+0000"},
		{"a\nb", "U+000A"},
		{"a\x7fb", "U+007F"},
		{"a\u0085b", "U+0085"},
		{"a\u2028b", "U+2028"},
		{"a\u2029b", "U+2029"},
		{"a\u202eb", "U+202E"},
		{"a\u2066b", "U+2066"},
		{"a\u200eb", "U+200E"},
		{"a\u061cb", "U+061C"},
		{"a\u200bb", "U+200B"},
		{"a\ufeffb", "U+FEFF"},
		{"a\u3164b", "U+3164"},
		{"a\xffb", "UTF-8"},
		{"e\u0301", "normalisation"},
		{"CON", "device"},
		{"nul.txt", "device"},
		{"Aux .tar.gz", "device"},
		{"com0", "device"},
		{"COM9.log", "device"},
		{"lpt¹", "device"},
		{"COM³.x", "device"},
		{"conin$", "device"},
		{"CONOUT$.txt", "device"},
		{strings.Repeat("a", 101), "longer"},
		{strings.Repeat("ä", 100) + "a", "longer"},
		{strings.Repeat("語", 67), "longer"},
	} {
		err := filename.Check(tt.name)
		if err == nil {
			t.Errorf("Check(%q) = nil, want an error that says %q", tt.name, tt.why)
		} else if !strings.Contains(err.Error(), tt.why) {
			t.Errorf("Check(%q) = %v, want it to say %q", tt.name, err, tt.why)
		}
	}
}

func TestCheckAccepts(t *testing.T) {
	for _, name := range []string{
		"a", "message.eml", "Rechnung Nr. 7 (Kopie).pdf", "C#.txt", "100%.txt", "a~b~c", "~$open.docx",
		"console.log", "com10", "COM", "nulls.txt", "x.con", "Ünïcödé.txt", "請求書.pdf", "👍🏽.png", "חשבונית.pdf",
		"a  b.txt", "REPORT~1.PDF", "-rf", strings.Repeat("a", 100), strings.Repeat("ä", 100),
	} {
		if err := filename.Check(name); err != nil {
			t.Errorf("Check(%q) = %v, want nil", name, err)
		}
	}
}

func TestClean(t *testing.T) {
	for _, tt := range []struct{ name, want string }{
		{"invoice.pdf", "invoice.pdf"},
		{"", "fallback"},
		{"..", "fallback"},
		{" . . ", "fallback"},
		{"\u200b\u202e", "fallback"},
		{"../../etc/passwd", "_.._etc_passwd"},
		{`C:\temp\a.txt`, "C__temp_a.txt"},
		{"a/b", "a_b"},
		{"Re: what?", "Re_ what_"},
		{"folded\r\n\tsubject", "folded subject"},
		{"line\u2028break", "line break"},
		{"invoice\u202efdp.exe", "invoicefdp.exe"},
		{"zero\u200bwidth", "zerowidth"},
		{"e\u200d\u0301", "é"},
		{"e\u0301te\u0301", "été"},
		{"bad\xff\xfebytes", "bad\uFFFDbytes"},
		{"half\xed\xa0\x80surrogate", "half\uFFFDsurrogate"},
		{"trailing. . .", "trailing"},
		{".hidden", "hidden"},
		{"\u0301lone", "lone"},
		{"CON", "_CON"},
		{"nul.tar.gz", "_nul.tar.gz"},
		{"Com¹.txt", "_Com¹.txt"},
		{"aux .txt", "_aux .txt"},
		{"a~b", "a~b"},
		{strings.Repeat("a", 300) + ".pdf", strings.Repeat("a", 96) + ".pdf"},
		{strings.Repeat("a", 95) + "  tail.pdf", strings.Repeat("a", 95) + ".pdf"},
		{strings.Repeat("語", 100) + ".docx", strings.Repeat("語", 65) + ".docx"},
		{strings.Repeat("a", 98) + "🇩🇪" + strings.Repeat("b", 9), strings.Repeat("a", 98) + "🇩🇪"},
		{strings.Repeat("a", 99) + "🇩🇪", strings.Repeat("a", 99)},
		{strings.Repeat("a", 99) + "q\u0323\u0307b", strings.Repeat("a", 99)},
		{"x." + strings.Repeat("y", 120), "x." + strings.Repeat("y", 98)},
		{"CON" + strings.Repeat(" ", 120) + ".txt", "_CON.txt"},
	} {
		if got := filename.Clean(tt.name, "fallback"); got != tt.want {
			t.Errorf("Clean(%q) = %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestCleanFallback(t *testing.T) {
	for _, tt := range []struct{ fallback, want string }{
		{"attachment.bin", "attachment.bin"},
		{"NUL", "_NUL"},
		{"a/b", "a_b"},
		{"..", "unnamed"},
		{"", "unnamed"},
	} {
		if got := filename.Clean("", tt.fallback); got != tt.want {
			t.Errorf("Clean(%q, %q) = %q, want %q", "", tt.fallback, got, tt.want)
		}
	}
}

func TestCleanTitle(t *testing.T) {
	for _, tt := range []struct{ title, want string }{
		{"", "untitled"},
		{"AW: Angebot 4/7", "AW_ Angebot 4_7"},
		{strings.Repeat("long ", 30) + "v1.pdf", strings.TrimSpace(strings.Repeat("long ", 16))},
		{strings.Repeat("語", 80), strings.Repeat("語", 66)},
		{"lpt1", "_lpt1"},
	} {
		if got := filename.CleanTitle(tt.title, "untitled"); got != tt.want {
			t.Errorf("CleanTitle(%q) = %q, want %q", tt.title, got, tt.want)
		}
	}
}

// An abusive pile of combining marks is one grapheme longer than any name.
func TestCleanCutsInsideAnEndlessGrapheme(t *testing.T) {
	got := filename.Clean("a"+strings.Repeat("\u0323\u0307", 500)+".pdf", "fallback")
	if err := filename.Check(got); err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(got, ".pdf") || utf8.RuneCountInString(got) < 90 {
		t.Errorf("Clean kept %q, want as much as fits and the extension", got)
	}
}
