package message

import (
	"bytes"
	"context"
	"io"
	"path/filepath"
	"sort"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"golang.org/x/text/transform"

	"postroom/internal/corpus"
)

// TestCorpus reads real and damaged mail of others.
func TestCorpus(t *testing.T) {
	messages, parts := 0, 0
	for _, a := range corpus.Need(t) {
		for _, mail := range a.Mail {
			raw := mail.Raw
			messages++
			t.Run(mail.Name, func(t *testing.T) {
				parts += exercise(t, raw, Limits{})
				m, err := Read(context.Background(), bytes.NewReader(raw), int64(len(raw)), Limits{})
				if err != nil {
					t.Fatal(err)
				}
				if len(m.Header.Fields) == 0 && bytes.Contains(raw, []byte("\nSubject:")) {
					t.Error("no header")
				}
			})
		}
	}
	if messages == 0 || parts < messages {
		t.Error("nothing was read")
	}
	t.Logf("%d messages, %d parts", messages, parts)
}

// exercise reads a message, and all that can be asked of it, and checks what is
// true of every message. It returns the number of parts.
func exercise(t testing.TB, raw []byte, limits Limits) int {
	t.Helper()
	m := mustRead(t, string(raw), limits)
	seen := map[*Part]int{}
	leaves := 0
	n := 0
	for p := range m.All() {
		n++
		for _, f := range p.Header.Fields {
			if !utf8.ValidString(decodeText(string(f.Raw), p.Header.charset)) {
				t.Fatalf("%s is not UTF-8: %q", f.Name, f.Raw)
			}
		}
		if !utf8.ValidString(p.Name) {
			t.Fatalf("name %q", p.Name)
		}
		for _, a := range p.Header.AddressList("To") {
			if !utf8.ValidString(a.Name + a.Address + a.Group) {
				t.Fatalf("address %q", a)
			}
		}
		p.Header.Date()
		p.Header.Arrived()
		p.Header.MessageIDs("References")
		p.Protection()
		if len(p.Parts) > 0 && (p.IsMultipart() || p.IsMessage()) {
			if p.IsMessage() && p != &m.Part {
				continue
			}
			continue
		}
		first, err := io.ReadAll(m.Open(p))
		if err != nil {
			t.Fatal(err)
		}
		again, err := io.ReadAll(io.MultiReader(m.Open(p)))
		if err != nil || !bytes.Equal(first, again) {
			t.Fatalf("a second reading of %v differs: %v", p.Whole, err)
		}
		if p.Encoding == Identity && int64(len(first)) != p.Body.Len() {
			t.Fatalf("%d bytes of %v", len(first), p.Body)
		}
		text, err := m.Text(p, 1<<20)
		if err != nil || !utf8.ValidString(text.String) {
			t.Fatalf("text of %v: %v, %q", p.Whole, err, text.String)
		}
		if lookupCharset(text.Charset) == nil {
			t.Fatalf("charset %q", text.Charset)
		}
		if p.Nested() {
			inner, err := ReadContent(context.Background(), p, bytes.NewReader(first), int64(len(first)), limits)
			if err != nil {
				t.Fatal(err)
			}
			checkTree(t, inner, int64(len(first)))
		}
	}
	// A layout has every leaf, and every message as a whole, once.
	l := m.Layout()
	var parts []*Part
	for _, p := range []*Part{l.Plain, l.HTML, l.Other} {
		if p != nil {
			seen[p]++
		}
	}
	for _, p := range append(append([]*Part(nil), l.More...), l.Alternatives...) {
		seen[p]++
	}
	for _, a := range l.Attachments {
		seen[a.Part]++
		parts = append(parts, a.Part)
	}
	var count func(p *Part)
	count = func(p *Part) {
		if !p.IsMultipart() || len(p.Parts) == 0 {
			leaves++
			if seen[p] != 1 {
				t.Fatalf("part %v %s is %d times in the layout", p.Whole, p.Type, seen[p])
			}
		}
		if !p.IsMessage() {
			for _, c := range p.Parts {
				count(c)
			}
		}
	}
	count(&m.Part)
	if len(seen) != leaves {
		t.Fatalf("%d parts in the layout of %d", len(seen), leaves)
	}
	if l.HTML != nil {
		if _, err := m.References(l.HTML, parts); err != nil {
			t.Fatal(err)
		}
	}
	m.Protected()
	return n
}

func FuzzRead(f *testing.F) {
	files, err := filepath.Glob("testdata/read/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		for _, raw := range fixtureMail(f, file) {
			f.Add([]byte(raw), uint8(64), uint8(200))
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte, depth, parts uint8) {
		if len(raw) > 64<<10 {
			return
		}
		exercise(t, raw, Limits{Depth: int(depth), Parts: int(parts)})
	})
}

func FuzzDecode(f *testing.F) {
	for _, s := range []string{"QUJD\r\nREVG=\r\n", "a=20=\r\nb \r\n", "begin 644 a\r\n#0V%T\r\n`\r\nend\r\n", binhex("a", "data", ""), "Gr+APwA3w-e", "\x1b$BCm\x1b(B"} {
		f.Add([]byte(s), uint8(3))
	}
	f.Fuzz(func(t *testing.T, raw []byte, size uint8) {
		if len(raw) > 4<<10 {
			return
		}
		for _, e := range []Encoding{Base64, QuotedPrintable, UUEncode, BinHex} {
			want, err := io.ReadAll(newDecoder(context.Background(), bytes.NewReader(raw), e))
			if err != nil {
				t.Fatal(err)
			}
			r := newDecoder(context.Background(), bytes.NewReader(raw), e)
			var got []byte
			p := make([]byte, int(size)+1)
			for {
				n, err := r.Read(p)
				got = append(got, p[:n]...)
				if err != nil {
					break
				}
			}
			if !bytes.Equal(got, want) {
				t.Fatalf("%s: %q in pieces, %q at once", e, got, want)
			}
			if e != BinHex && len(want) > 2*len(raw)+64 {
				t.Fatalf("%s: %d bytes of %d", e, len(want), len(raw))
			}
		}
	})
}

func FuzzCharset(f *testing.F) {
	var all []*charset
	seen := map[string]bool{"": true}
	for _, c := range charsets() {
		if !seen[c.name] {
			seen[c.name] = true
			all = append(all, c)
		}
	}
	sort.Slice(all, func(i, j int) bool { return all[i].name < all[j].name })
	for i := range all {
		f.Add([]byte("Gr+APwA3w-e ~{<:~} \x1b$BCm\x1b(B \x0e0!\x0f \xe4\x82\xa0\x00"), uint8(i))
	}
	f.Fuzz(func(t *testing.T, raw []byte, which uint8) {
		for _, c := range []*charset{all[int(which)%len(all)], lookupCharset(guessCharset(raw))} {
			got, err := io.ReadAll(transform.NewReader(iotest.OneByteReader(bytes.NewReader(raw)), c.decoder()))
			if want := c.decode(raw); err != nil || string(got) != want || !utf8.ValidString(want) {
				t.Fatalf("%s: %q in pieces, %q at once: %v", c.name, got, want, err)
			}
		}
	})
}

func FuzzHeader(f *testing.F) {
	for _, s := range []string{
		"=?utf-8?Q?a=C3?= =?utf-8?Q?=A4?=", "Doe, John <john@example.com>, staff: a@b, c@d;", "text/plain; name*0*=utf-8''%41; name*1=\"b\\\"c\" (d)",
		"Fri, 2 Jan 2026 03:04:05 +0100 (CET)", "<a@b> <c @ d>", "\x82\xb1\x82\xf1",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if !utf8.ValidString(Decode(s)) {
			t.Fatalf("%q is not UTF-8", Decode(s))
		}
		for _, a := range ParseAddresses(s) {
			if !utf8.ValidString(a.String()+a.Group) || a.String() == "" || !strings.Contains(s, strings.TrimSpace(strings.Split(a.Raw, ",")[0])) {
				t.Fatalf("%+v of %q", a, s)
			}
		}
		if d, ok := ParseDate(s); ok && (d.Year() < 1 || d.Year() > 9999) {
			t.Fatal(d)
		}
		p := parseParameterized(s, "")
		for name, v := range p.params {
			if !utf8.ValidString(v) {
				t.Fatalf("%s is not UTF-8: %q", name, v)
			}
		}
		encodingOf(s)
	})
}
