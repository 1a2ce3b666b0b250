package rtf_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"

	"postroom/ingest/message/tnef/rtf"
)

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The examples of MS-OXRTFCP 3.
func TestExamplesOfTheSpecification(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"2d000000 2b000000 4c5a4675 f1c5c7a7 03000a0072637067313235423 20af32068656c0900206277 05b06c647d0a800fa0",
			"{\\rtf1\\ansi\\ansicpg1252\\pard hello world}\r\n"},
		{"1a000000 1c000000 4c5a4675 e2d44b51 410004205758595a0d6e7d010eb0", "{\\rtf1 WXYZWXYZWXYZWXYZWXYZ}"},
	} {
		got, err := rtf.Decompress(unhex(t, c.in), math.MaxInt32)
		if err != nil || string(got) != c.want {
			t.Errorf("got %q, %v, want %q", got, err, c.want)
		}
	}
}

const dictionary = `{\rtf1\ansi\mac\deff0\deftab720{\fonttbl;}{\f0\fnil \froman \fswiss \fmodern \fscript \fdecor MS Sans SerifSymbolArialTimes New RomanCourier{\colortbl\red0\green0\blue0` + "\r\n" + `\par \pard\plain\f0\fs20\b\i\u\tab\tx`

// compress is a plain writer of MS-OXRTFCP 2.3.3.2.
func compress(in []byte) []byte {
	var ring [4096]byte
	at := copy(ring[:], dictionary)
	filled := at
	var out, tokens []byte
	var control byte
	count := 0
	token := func(ref bool, b ...byte) {
		if ref {
			control |= 1 << count
		}
		tokens = append(tokens, b...)
		if count++; count == 8 {
			out = append(append(out, control), tokens...)
			control, count, tokens = 0, 0, nil
		}
	}
	put := func(b byte) {
		ring[at] = b
		at = (at + 1) % 4096
		filled = min(filled+1, 4096)
	}
	for i := 0; i < len(in); {
		best, from := 0, 0
		for s := 0; s < filled; s++ {
			if s == at {
				continue
			}
			n := 0
			for n < 17 && i+n < len(in) && (s+n)%4096 != at && (s+n)%4096 < filled && ring[(s+n)%4096] == in[i+n] {
				n++
			}
			if n > best {
				best, from = n, s
			}
		}
		if best < 2 {
			token(false, in[i])
			put(in[i])
			i++
			continue
		}
		token(true, byte(from>>4), byte(from<<4|(best-2)))
		for ; best > 0; best-- {
			put(in[i])
			i++
		}
	}
	token(true, byte(at>>4), byte(at<<4))
	if count > 0 {
		out = append(append(out, control), tokens...)
	}
	head := binary.LittleEndian.AppendUint32(nil, uint32(len(out)+12))
	head = binary.LittleEndian.AppendUint32(head, uint32(len(in)))
	head = append(head, "LZFu"...)
	head = binary.LittleEndian.AppendUint32(head, rtf.Checksum(out))
	return append(head, out...)
}

func TestDecompress(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{0, 1, 7, 8, 9, 100, 4000, 9000} {
		in := make([]byte, n)
		for i := range in {
			in[i] = `\par bcd`[rnd.IntN(8)]
		}
		packed := compress(in)
		got, err := rtf.Decompress(packed, n)
		if err != nil || !bytes.Equal(got, in) {
			t.Fatalf("%d bytes: %d, %v", n, len(got), err)
		}
		if n == 0 {
			continue
		}
		if got, err := rtf.Decompress(packed, n-1); !errors.Is(err, rtf.ErrTooLarge) || !bytes.Equal(got, in[:n-1]) {
			t.Errorf("%d bytes, one less allowed: %d, %v", n, len(got), err)
		}
		// Padding after it is not of it.
		if got, err := rtf.Decompress(append(packed, 0, 0, 0), n); err != nil || !bytes.Equal(got, in) {
			t.Errorf("%d bytes and padding: %d, %v", n, len(got), err)
		}
		packed[len(packed)-1]++ // the length in the last reference, which means nothing
		if got, err := rtf.Decompress(packed, n); !errors.Is(err, rtf.ErrChecksum) || !bytes.Equal(got, in) {
			t.Errorf("%d bytes, wrong checksum: %d, %v", n, len(got), err)
		}
		for cut := 16; cut < len(packed); cut++ {
			got, err := rtf.Decompress(packed[:cut], n)
			if !errors.Is(err, rtf.ErrTruncated) || !bytes.HasPrefix(in, got) {
				t.Fatalf("%d bytes cut at %d: %d, %v", n, cut, len(got), err)
			}
		}
	}
}

func TestDecompressWithoutCompression(t *testing.T) {
	head := func(size, raw uint32) []byte {
		b := binary.LittleEndian.AppendUint32(nil, size)
		return append(binary.LittleEndian.AppendUint32(b, raw), "MELA\x00\x00\x00\x00"...)
	}
	for _, c := range []struct {
		in   []byte
		want string
		err  error
	}{
		{append(head(17, 5), "hello"...), "hello", nil},
		{append(head(19, 5), "hello\x00\x00"...), "hello", nil}, // padded
		{append(head(0, 5), "hello"...), "hello", nil},          // COMPSIZE is wrong
		{append(head(22, 10), "hello"...), "hello", rtf.ErrTruncated},
		{head(12, 0), "", nil},
		{[]byte("short"), "", rtf.ErrFormat},
		{[]byte("neither one nor the other"), "", rtf.ErrFormat},
	} {
		got, err := rtf.Decompress(c.in, 100)
		if string(got) != c.want || !errors.Is(err, c.err) || err == nil != (c.err == nil) {
			t.Errorf("%q: %q, %v", c.in, got, err)
		}
	}
}

func TestDeencapsulate(t *testing.T) {
	html := func(s string) string { return `{\rtf1\ansi\ansicpg1252\fromhtml1 \deff0 ` + s + "}" }
	for _, c := range []struct {
		name, in, want string
		kind           rtf.Kind
	}{
		{"tags and text", html(`{\*\htmltag18 <html>}{\*\htmltag50 <body>}\htmlrtf \pard\plain\htmlrtf0 text{\*\htmltag58 </body>}`), "<html><body>text</body>", rtf.HTML},
		{"for RTF only", html(`a\htmlrtf b{\b c}\htmlrtf0 d`), "ad", rtf.HTML},
		{"for RTF only, to the end of a group", html(`a{\htmlrtf b}c`), "ac", rtf.HTML},
		{"for RTF only, inside a tag", html(`{\*\htmltag64 <p>\htmlrtf x\htmlrtf0 </p>}`), "<p></p>", rtf.HTML},
		{"a tag within what is for RTF", html(`\htmlrtf {\*\htmltag64 <p>}\htmlrtf0 x`), "x", rtf.HTML},
		{"line ends", html("a\r\nb{\\*\\htmltag4 \\par }{\\*\\htmltag84 \n<br>}\\line c\\tab d"), "ab\r\n<br>\r\nc\td", rtf.HTML},
		{"references", html(`{\*\htmltag84 &#8217;}\htmlrtf \'92\htmlrtf0 s a & b &lt;`), "&#8217;s a & b &lt;", rtf.HTML},
		{"rewritten links", html(`{\*\htmltag64 <a href="x">}{\*\mhtmltag64 <a href="http://y/x">}z`), `<a href="x">z`, rtf.HTML},
		{"symbols", html(`\lquote\rquote\ldblquote\rdblquote\bullet\endash\emdash\~\_`), "&lsquo;&rsquo;&ldquo;&rdquo;&bull;&ndash;&mdash;&nbsp;&shy;", rtf.HTML},
		{"escapes", html(`{\*\htmltag64 <style>a \{b:c\\d\}</style>}\{\}\\`), `<style>a {b:c\d}</style>{}\`, rtf.HTML},
		{"code page of the document", `{\rtf1\ansi\ansicpg1251\fromhtml1 \'cf{\*\htmltag64 \'cf}}`, "ПП", rtf.HTML},
		{"code page of the font", html(`{\fonttbl{\f0\fcharset0 A;}{\f1\fcharset204 B;}{\f2\fcharset0\cpg1253 C;}{\f3\fcharset2 Symbol;}}\f1 \'cf{\f0 \'cf}\'cf\f2 \'e1\f3 \'e4`), "ПÏПαä", rtf.HTML},
		{"a tag has the code page of the document", html(`{\fonttbl{\f1\fcharset204 B;}}\f1 \'cf{\*\htmltag64 \'cf}`), "ПÏ", rtf.HTML},
		{"default font", `{\rtf1\ansi\ansicpg1252\fromhtml1 \deff1{\fonttbl{\f1\fcharset204 B;}}\'cf\f9 \'cf\plain \'cf}`, "ПÏП", rtf.HTML},
		{"a font chosen for RTF only", html(`{\fonttbl{\f1\fcharset204 B;}}\htmlrtf {\f1 \htmlrtf0 \'cf\htmlrtf }\htmlrtf0 \'cf`), "ПÏ", rtf.HTML},
		{"two bytes", `{\rtf1\ansi\ansicpg936\fromhtml1 \'b2\'e2\'ca\'d4}`, "测试", rtf.HTML},
		{"two bytes, one of them plain", `{\rtf1\ansi\ansicpg932\fromhtml1 \'83e\'83X\'83g}`, "テスト", rtf.HTML},
		{"two bytes, one of them a backslash", `{\rtf1\ansi\ansicpg932\fromhtml1 \'83\'5c}`, "ソ", rtf.HTML},
		{"Unicode", html(`\u8364?\u-4051 ?x`), "€\uf02dx", rtf.HTML},
		{"Unicode without a substitute", html(`\uc0\u8364 5`), "€5", rtf.HTML},
		{"Unicode with a substitute of two", html(`\uc2\u27979\'b2\'e2x{\uc1\u8364?}\u8364??y`), "测x€€y", rtf.HTML},
		{"Unicode beyond the first plane", html(`\u-10180?\u-8311?`), "🎉", rtf.HTML},
		{"half a character", html(`\u-10180?x\u-8311?\u-10180?`), "\uFFFDx\uFFFD\uFFFD", rtf.HTML},
		{"unknown destinations", html(`{\*\formatConverter converted from html;}{\info{\title T}}{\colortbl;\red1;}{\stylesheet{\s0 Normal;}}x{\pict\bin4 }}}} 00}y`), "xy", rtf.HTML},
		{"an unknown destination within one", html(`{\*\x {\*\htmltag64 <p>}}y`), "y", rtf.HTML},
		{"a file name ends", html(`x`) + "\x00\x00trailing", "x", rtf.HTML},
		{"plain text", `{\rtf1\ansi\ansicpg1252\fromtext \fbidis \deff0{\fonttbl{\f0\fswiss Arial;}}` + "\r\n" + `\uc1\pard\plain one\par` + "\r\n" + `two\tab \'e4 \lquote <&>\rquote\par}`, "one\r\ntwo\tä ‘<&>’\r\n", rtf.PlainText},
		{"plain text has no tags", `{\rtf1\fromtext {\*\htmltag64 <p>}\htmlrtf x}`, "x", rtf.PlainText},
		{"native", `{\rtf1\ansi{\fonttbl{\f0 Arial;}}{\field{\*\fldinst HYPERLINK "http://x"}{\fldrslt link}}\b x\b0}`, "linkx", rtf.Native},
		{"the word comes after text", `{\rtf1\ansi text \fromhtml1 {\*\htmltag64 <p>}}`, "text ", rtf.Native},
		{"the word comes too late", `{\rtf1\ansi\a\b\c\d\e\g\h\i\j\k\fromhtml1 {\*\htmltag64 <p>}x}`, "x", rtf.Native},
	} {
		got, kind, err := rtf.Deencapsulate([]byte(c.in))
		if got != c.want || kind != c.kind || err != nil {
			t.Errorf("%s:\n got %q (%v), %v\nwant %q (%v)", c.name, got, kind, err, c.want, c.kind)
		}
	}
}

func TestDeencapsulateDamaged(t *testing.T) {
	deep := `{\rtf1\fromtext a` + strings.Repeat("{", 1<<20) + "b"
	for in, want := range map[string]string{
		"": "", "no RTF": "", `{\rtf1\fromtext a{b`: "ab", `{\rtf1\fromtext a\`: "a", `{\rtf1\fromtext a\'e`: "ae",
		`{\rtf1\fromtext a\bin99999999999 bc`: "a", deep: "a", `{\rtf1\fromtext a\u`: "a",
	} {
		got, _, err := rtf.Deencapsulate([]byte(in))
		if got != want || !errors.Is(err, rtf.ErrDamaged) {
			t.Errorf("%.40q: %q, %v", in, got, err)
		}
	}
}

func FuzzDecompress(f *testing.F) {
	f.Add(compress([]byte(`{\rtf1\ansi\fromhtml1 hello hello hello}`)))
	f.Add(bytes.Repeat([]byte{0xB2}, 32))
	f.Add([]byte("\x10\x00\x00\x00\x04\x00\x00\x00MELA\x00\x00\x00\x00abcd"))
	f.Fuzz(func(t *testing.T, b []byte) {
		const limit = 1 << 16
		out, err := rtf.Decompress(b, limit)
		if len(out) > limit || len(out) > 9*len(b) {
			t.Fatalf("%d bytes of %d", len(out), len(b))
		}
		if err == nil && out == nil && len(b) < 16 {
			t.Fatal("nothing without an error")
		}
		b = b[:min(len(b), 200)] // the writer above is slow
		back, err := rtf.Decompress(compress(b), len(b))
		if err != nil || !bytes.Equal(back, b) {
			t.Fatalf("compressed and decompressed: %d of %d bytes, %v", len(back), len(b), err)
		}
	})
}

func FuzzDeencapsulate(f *testing.F) {
	f.Add([]byte(`{\rtf1\ansi\ansicpg932\fromhtml1\deff0{\fonttbl{\f0\fcharset128 A;}}{\*\htmltag64 <p>}\htmlrtf x\htmlrtf0\u-10180?\'83\'5c\bin2 ab}`))
	f.Add([]byte(`{\rtf1\fromtext a\par b\tab{\*\x y}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		out, kind, err := rtf.Deencapsulate(b)
		if !utf8.ValidString(out) {
			t.Fatalf("%q is not UTF-8", out)
		}
		if len(out) > 8*len(b)+8 {
			t.Fatalf("%d bytes of %d", len(out), len(b))
		}
		if err == nil && kind != rtf.KindOf(b) {
			t.Fatalf("%v and %v", kind, rtf.KindOf(b))
		}
	})
}
