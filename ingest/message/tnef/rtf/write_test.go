package rtf_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"

	"postroom/ingest/message/tnef/rtf"
)

func pack(t testing.TB, in []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	err := rtf.Compress(&b, func(w io.Writer) error {
		_, err := w.Write(in)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// The examples of MS-OXRTFCP 3.2, and nothing (2.3.3.2, step 8).
func TestCompressExamplesOfTheSpecification(t *testing.T) {
	for in, want := range map[string]string{
		"{\\rtf1\\ansi\\ansicpg1252\\pard hello world}\r\n": "2d0000002b0000004c5a4675f1c5c7a703000a007263706731323542320af32068656c090020627705b06c647d0a800fa0",
		"{\\rtf1 WXYZWXYZWXYZWXYZWXYZ}":                     "1a0000001c0000004c5a4675e2d44b51410004205758595a0d6e7d010eb0",
		"":                                                  "10000000000000004c5a467502000d00",
	} {
		got := hex.EncodeToString(pack(t, []byte(in)))
		if in == "" {
			// The checksum is no example of the specification.
			got = got[:24] + got[32:]
		}
		if got != want {
			t.Errorf("%q:\n got %s\nwant %s", in, got, want)
		}
	}
}

func TestCompressedIsDecompressed(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	random := func(n int, alphabet string) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = alphabet[rnd.IntN(len(alphabet))]
		}
		return b
	}
	var every strings.Builder
	for i := range 256 {
		every.WriteByte(byte(i))
	}
	for _, n := range []int{0, 1, 2, 7, 8, 16, 17, 18, 4095, 4096, 4097, 65535, 65536, 70000, 300000} {
		for _, alphabet := range []string{"a", "ab", `\par {}0123`, every.String()} {
			in := random(n, alphabet)
			packed := pack(t, in)
			got, err := rtf.Decompress(packed, n+1)
			if err != nil || !bytes.Equal(got, in) {
				t.Fatalf("%d bytes of %d letters: %d, %v", n, len(alphabet), len(got), err)
			}
			if n > 1000 && len(alphabet) < 3 && len(packed) > n/3 {
				t.Errorf("%d bytes of %d letters are %d compressed", n, len(alphabet), len(packed))
			}
			// In pieces it is the same.
			var pieces bytes.Buffer
			err = rtf.Compress(&pieces, func(w io.Writer) error {
				for rest := in; len(rest) > 0; {
					k := min(len(rest), 1+len(rest)%977)
					if _, err := w.Write(rest[:k]); err != nil {
						return err
					}
					rest = rest[k:]
				}
				return nil
			})
			if err != nil || !bytes.Equal(pieces.Bytes(), packed) {
				t.Fatalf("%d bytes in pieces: %d and %d, %v", n, pieces.Len(), len(packed), err)
			}
		}
	}
}

var errWrite = errors.New("disk full")

func TestCompressErrors(t *testing.T) {
	write := func(w io.Writer) error { _, err := w.Write([]byte("text")); return err }
	if err := rtf.Compress(failing{}, write); !errors.Is(err, errWrite) {
		t.Error(err)
	}
	if err := rtf.Compress(io.Discard, func(io.Writer) error { return errWrite }); !errors.Is(err, errWrite) {
		t.Error(err)
	}
	n := 0
	other := func(w io.Writer) error { n++; _, err := w.Write(bytes.Repeat([]byte("x"), n)); return err }
	if err := rtf.Compress(io.Discard, other); !errors.Is(err, rtf.ErrUnstable) {
		t.Error(err)
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errWrite }

func wrap(t testing.TB, html string) string {
	t.Helper()
	var b bytes.Buffer
	if err := rtf.Encapsulate(&b, strings.NewReader(html)); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// there: HTML that is wrapped and unwrapped is the same.
func there(t testing.TB, html string) {
	t.Helper()
	doc := wrap(t, html)
	got, kind, err := rtf.Deencapsulate([]byte(doc))
	if err != nil || kind != rtf.HTML || got != html {
		t.Errorf("%q\nbecame %q (%v, %v)\nin %s", html, got, kind, err, doc)
	}
	for i := range len(doc) {
		if doc[i] >= 0x80 || doc[i] == 0 {
			t.Fatalf("byte %#x is no ASCII", doc[i])
		}
	}
}

func TestEncapsulate(t *testing.T) {
	for _, html := range []string{
		"", "text", "<html><head><title>a {b} \\c</title></head>\r\n<body>\r\n<p>One</p>\r\n<p>Two</p></body></html>\r\n",
		"bare\nline\rends\r\n\r\r\n\n", "\ttab\t<b\ttitle=\"\t\">\t</b>", "a  b   c ", "\x00\x01\x1f\x7f",
		"&lt;&amp;&nbsp;&#8217;&#x41;&unknown;& &; &a", "ä€测试🎉\uFFFD\u2028\uFEFF", "<p title='a > b' x=\"{}\\\">text</p>",
		"<!-- <p> { } \\ -- > ä --><!DOCTYPE html><?xml?>", "<style>p{margin:0}</style><script>if(a<b){\"</p>\"}</script>x",
		"<STYLE>a</STYLE>b", "<a href=\"x", "<style>a", "<!-- x", "<", "a < b > c", "</p", "<é>", "<br/><hr><li>x<td>y</td>",
		"{\\*\\htmltag64 <p>}\\htmlrtf x\\htmlrtf0 \\'e4\\u8364?", "a?b\u00a0?", strings.Repeat("long ", 50000),
	} {
		there(t, html)
	}
	if got := wrap(t, "\xff\xfea"); !strings.Contains(got, `\u-3?\u-3?a`) {
		t.Errorf("no UTF-8: %q", got)
	}
}

// What shows RTF alone shows the text.
func TestEncapsulatedText(t *testing.T) {
	doc := wrap(t, "<html><head><style>p{}</style><title>no</title></head><body><p>One &amp; <b>two</b></p>\r\n<p>&quot;Three&quot;<br>four</p></body></html>")
	// Without the word, \htmlrtf and \htmltag mean nothing.
	text, kind, err := rtf.Deencapsulate([]byte(strings.Replace(doc, `\fromhtml1`, "", 1)))
	if err != nil || kind != rtf.Native || strings.Join(strings.Fields(text), " ") != `One & two "Three" four` || strings.Count(text, "\r\n") < 3 {
		t.Errorf("%q, %v, %v", text, kind, err)
	}
}

func TestEncapsulateErrors(t *testing.T) {
	if err := rtf.Encapsulate(failing{}, strings.NewReader("x")); !errors.Is(err, errWrite) {
		t.Error(err)
	}
	for _, head := range []string{"", "x", "<p", "<style>", "<!-- "} {
		r := io.MultiReader(strings.NewReader(head), iotest.ErrReader(errWrite))
		if err := rtf.Encapsulate(io.Discard, r); !errors.Is(err, errWrite) {
			t.Errorf("%q: %v", head, err)
		}
	}
}

func FuzzEncapsulate(f *testing.F) {
	f.Add("<p style='a'>{x}\\\r\n&amp;\u20ac</p>")
	f.Fuzz(func(t *testing.T, html string) { there(t, strings.ToValidUTF8(html, "\uFFFD")) })
}

func FuzzCompress(f *testing.F) {
	f.Add([]byte(`{\rtf1\ansi\par\par\par}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		got, err := rtf.Decompress(pack(t, in), len(in)+1)
		if err != nil || !bytes.Equal(got, in) {
			t.Fatalf("%d of %d bytes, %v", len(got), len(in), err)
		}
	})
}
