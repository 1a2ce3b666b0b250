package message

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"math/rand/v2"
	"mime/quotedprintable"
	"strings"
	"testing"
	"testing/iotest"
)

func encode64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func decodeAll(t testing.TB, e Encoding, s string) string {
	t.Helper()
	b, err := io.ReadAll(newDecoder(context.Background(), strings.NewReader(s), e))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestDecode(t *testing.T) {
	full := chunks(encode64(strings.Repeat("0123456789 ", 40)), 76)
	want := strings.Repeat("0123456789 ", 40)
	footer := "_______________________________________________\r\nOrders mailing list\r\nOrders@example.com\r\n"
	for _, tt := range []struct {
		name string
		e    Encoding
		in   string
		want string
	}{
		{"RFC 2045 6.8", Base64, full, want},
		{"without line ends", Base64, strings.ReplaceAll(full, "\r\n", ""), want},
		{"bare LF", Base64, strings.ReplaceAll(full, "\r\n", "\n"), want},
		{"bare CR", Base64, strings.ReplaceAll(full, "\r\n", "\r"), want},
		{"white space at the ends", Base64, strings.ReplaceAll(full, "\r\n", " \t\r\n"), want},
		{"indented", Base64, "  " + strings.ReplaceAll(full, "\r\n", "\r\n  "), want},
		{"line noise", Base64, "QUJD!REVG\r\nR0*hJ\r\n", "ABCDEFGHI"},
		{"units across lines", Base64, "QU\r\nJDR\r\nEVGR0hJ\r\n", "ABCDEFGHI"},
		{"padding is missing", Base64, "QUJDRA", "ABCD"},
		{"half of the padding is missing", Base64, "QUJDRA=", "ABCD"},
		{"too much padding", Base64, "QUJDRA=====\r\n", "ABCD"},
		{"one character too many", Base64, "QUJDR", "ABC"},
		{"padding in the middle of a line", Base64, "QQ==Qg==Qw==", "ABC"},
		{"each line padded", Base64, encode64("The first line of it") + "\r\n" + encode64("The second line") + "\r\n" + encode64("The last.") + "\r\n", "The first line of itThe second lineThe last."},
		{"empty lines within", Base64, strings.Replace(full, "\r\n", "\r\n\r\n", 3), want},
		{"footer after padding", Base64, full + footer, want},
		{"footer after an empty line", Base64, encode64(strings.Repeat("x", 57)) + "\r\n\r\n" + footer, strings.Repeat("x", 57)},
		{"footer after full lines", Base64, encode64(strings.Repeat("x", 57)) + "\r\n" + footer, strings.Repeat("x", 57)},
		{"word after padding", Base64, full + "\r\nThanks\r\n", want},
		{"word of four letters after padding", Base64, full + "\r\nBest\r\nJohn\r\n", want},
		{"empty", Base64, "", ""},
		{"nothing but line ends", Base64, "\r\n\r\n", ""},

		{"RFC 2045 6.7", QuotedPrintable, "Now's the time =\r\nfor all folk to come=\r\n to the aid.\r\n", "Now's the time for all folk to come to the aid.\r\n"},
		{"lower case", QuotedPrintable, "=e4=C3=bc", "\xe4\xc3\xbc"},
		{"no digits", QuotedPrintable, "a=b=GG=4", "a=b=GG=4"},
		{"two equals signs", QuotedPrintable, "a==41", "a=A"},
		{"white space at the end (rule 3)", QuotedPrintable, "a \t\r\nb=20\r\nc=\t \r\nd", "a\r\nb \r\ncd"},
		{"soft line break at the end", QuotedPrintable, "abc=", "abc"},
		{"soft line break and a line end at the end", QuotedPrintable, "abc=\r\n", "abc"},
		{"bare LF stays", QuotedPrintable, "a\nb=\nc\n", "a\nbc\n"},
		{"bare CR stays", QuotedPrintable, "a\rb=\rc\r", "a\rbc\r"},
		{"line ends encoded", QuotedPrintable, "a=0D=0Ab=0A", "a\r\nb\n"},
		{"8-bit", QuotedPrintable, "\xfc=FC", "\xfc\xfc"},

		{"uuencode", UUEncode, "begin 644 cat.txt\r\n#0V%T\r\n`\r\nend\r\nmore\r\n", "Cat"},
		{"uuencode, spaces for zero", UUEncode, "#0V%T\r\n#    \r\n#\r\n", "Cat\x00\x00\x00"},
		{"uuencode, bad line", UUEncode, "begin 644 a\r\n#0V%T\r\nwhat is this doing here\r\n#0V%T\r\nend\r\n", "CatCat"},
		{"uuencode, checksum at the end", UUEncode, "#0V%TX\r\n", "Cat"},
		{"uuencode, no end", UUEncode, "begin 644 a\r\n#0V%T", "Cat"},

		{"BinHex", BinHex, binhex("a.txt", "Hello, \x90\x90 world"+strings.Repeat("z", 300), "resource"), "Hello, \x90\x90 world" + strings.Repeat("z", 300)},
		{"BinHex with text before", BinHex, "Text\r\n(This file must be converted with BinHex 4.0)\r\n\r\n" + binhex("a", "data", "r"), "data"},
		{"BinHex cut off", BinHex, binhex("a", strings.Repeat("data ", 100), "")[:200], strings.Repeat("data ", 100)[:125]},
		{"BinHex of nothing", BinHex, binhex("a", "", ""), ""},
	} {
		t.Run(fmt.Sprintf("%s/%s", tt.e, tt.name), func(t *testing.T) {
			if got := decodeAll(t, tt.e, tt.in); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

// binhex encodes a file in BinHex 4.0 (RFC 1741), with runs.
func binhex(name, data, resource string) string {
	var file []byte
	file = append(file, byte(len(name)))
	file = append(file, name...)
	file = append(file, 0)
	file = append(file, "TEXTttxt"...)
	file = append(file, 0, 0)
	for _, n := range []int{len(data), len(resource)} {
		file = append(file, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	}
	file = append(file, 0, 0)
	file = append(file, data...)
	file = append(file, 0, 0)
	file = append(file, resource...)
	file = append(file, 0, 0)
	var runs []byte
	for i := 0; i < len(file); {
		n := 1
		for i+n < len(file) && file[i+n] == file[i] && n < 255 {
			n++
		}
		runs = append(runs, file[i])
		if file[i] == 0x90 {
			runs, n = append(runs, 0), 1
		} else if n > 3 {
			runs = append(runs, 0x90, byte(n))
		} else {
			n = 1
		}
		i += n
	}
	const alphabet = "!\"#$%&'()*+,-012345689@ABCDEFGHIJKLMNPQRSTUVXYZ[`abcdefhijklmpqr"
	out := ":"
	for len(runs) > 0 {
		var b [3]byte
		n := copy(b[:], runs)
		runs = runs[n:]
		v := uint(b[0])<<16 | uint(b[1])<<8 | uint(b[2])
		for i := range n + 1 {
			out += string(alphabet[v>>(18-6*i)&63])
		}
	}
	return chunks(out+":", 64)
}

// TestDecodeStreams checks that what is decoded does not depend on how the bytes
// arrive, nor on lines longer than the buffer.
func TestDecodeStreams(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	data := make([]byte, 300_000)
	for i := range data {
		data[i] = byte(rnd.Uint32())
	}
	var qp bytes.Buffer
	w := quotedprintable.NewWriter(&qp)
	w.Write(data)
	w.Close()
	plain := encode64(string(data))
	for name, tt := range map[string]struct {
		e  Encoding
		in string
	}{
		"base64":                   {Base64, chunks(plain, 76)},
		"base64 on one line":       {Base64, plain},
		"base64 in odd lines":      {Base64, chunks(plain, 77)},
		"quoted-printable":         {QuotedPrintable, qp.String()},
		"quoted-printable, a line": {QuotedPrintable, strings.ReplaceAll(qp.String(), "=\r\n", "")},
		"binhex":                   {BinHex, binhex("x", string(data[:20_000]), "")},
	} {
		t.Run(name, func(t *testing.T) {
			want := data
			if tt.e == BinHex {
				want = data[:20_000]
			}
			if tt.e == QuotedPrintable {
				b, err := io.ReadAll(quotedprintable.NewReader(strings.NewReader(qp.String())))
				if err != nil {
					t.Fatal(err)
				}
				want = b
			}
			if got := decodeAll(t, tt.e, tt.in); got != string(want) {
				t.Errorf("%d bytes, want %d", len(got), len(want))
			}
			if err := iotest.TestReader(newDecoder(context.Background(), strings.NewReader(tt.in[:20_000]), tt.e), []byte(decodeAll(t, tt.e, tt.in[:20_000]))); err != nil {
				t.Error(err)
			}
		})
	}
}
