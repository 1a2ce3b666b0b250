package codepage_test

import (
	"testing"
	"unicode/utf8"

	"postroom/ingest/message/tnef/codepage"
)

func TestDecode(t *testing.T) {
	for _, c := range []struct {
		cp         codepage.ID
		in, strict string
		loose      string
	}{
		{1252, "\x80\xe4", "€ä", "€ä"},
		{20127, "a\x92", "a’", "a’"},
		{437, "\x84", "ä", "ä"},
		{850, "\x84", "ä", "ä"},
		{1201, "\x00a\x04\x1f", "aП", "aП"},
		{1200, "a\x00\x1f\x04", "aП", "aП"},
		{20866, "\xf0", "П", "П"},
		{38598, "\xf9", "ש", "ש"},
		{50220, "\x1b$B%F\x1b(B", "テ", "テ"},
		{54936, "\x81\x30\x81\x30", "\u0080", "\u0080"},
		{65001, "ä\xff", "ä\uFFFD", "ä\uFFFD"},
		{874, "5 €", "5 โ\uFFFDฌ", "5 €"},
		{4242, "\xe4", "ä", "ä"},
		{0, "\xe4", "ä", "ä"},
	} {
		if got := codepage.Decode(c.cp, []byte(c.in)); got != c.strict {
			t.Errorf("%d: %q became %q, want %q", c.cp, c.in, got, c.strict)
		}
		if got := codepage.DecodeLoose(c.cp, []byte(c.in)); got != c.loose {
			t.Errorf("%d, loosely: %q became %q, want %q", c.cp, c.in, got, c.loose)
		}
	}
	if codepage.Known(0) || codepage.Known(4242) || !codepage.Known(1252) {
		t.Error("what is known is not")
	}
}

func FuzzDecode(f *testing.F) {
	for _, cp := range []uint32{0, 932, 936, 949, 950, 1200, 1252, 50220, 52936, 54936, 65001} {
		f.Add(cp, []byte("a\x81\x30\x81\x30\x1b$B\xff~{"))
	}
	f.Fuzz(func(t *testing.T, cp uint32, b []byte) {
		s := codepage.Decode(codepage.ID(cp), b)
		if !utf8.ValidString(s) {
			t.Fatalf("%q is not UTF-8", s)
		}
		if len(s) > 3*len(b)+3 {
			t.Fatalf("%d bytes of %d", len(s), len(b))
		}
	})
}
