package message

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
)

// repeated is head, then unit n times, then tail, without being in memory.
type repeated struct {
	head, unit string
	n          int64
	tail       string
}

func (r repeated) Size() int64 {
	return int64(len(r.head)) + int64(len(r.unit))*r.n + int64(len(r.tail))
}

func (r repeated) ReadAt(p []byte, off int64) (n int, err error) {
	if off >= r.Size() {
		return 0, io.EOF
	}
	for n < len(p) {
		at := off + int64(n)
		switch body := int64(len(r.unit)) * r.n; {
		case at < int64(len(r.head)):
			n += copy(p[n:], r.head[at:])
		case at < int64(len(r.head))+body:
			i := (at - int64(len(r.head))) % int64(len(r.unit))
			left := int64(len(r.head)) + body - at
			c := copy(p[n:], r.unit[i:])
			n += int(min(int64(c), left))
		case at < r.Size():
			n += copy(p[n:], r.tail[at-int64(len(r.head))-body:])
		default:
			return n, io.EOF
		}
	}
	return n, nil
}

// unit returns lines of so many bytes at least, for repeated to be fast.
func unit(line string) string { return strings.Repeat(line, 8<<10/len(line)+1) }

func lines(head, line string, size int64, tail string) repeated {
	u := unit(line)
	return repeated{head, u, size/int64(len(u)) + 1, tail}
}

const (
	mb        = 1 << 20
	valueSize = 256 << 10
)

// hostile is input whose cost would be felt if it were not linear in its size:
// each would keep a reader that goes back over what it has read for hours.
func hostile() map[string]repeated {
	nested := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n", i, i)
		}
		return b.String()
	}
	return map[string]repeated{
		"a million header lines":          lines("", "X: y\r\n", 6_000_000, "\r\ntext\r\n"),
		"header lines that are none":      lines("Subject: x\r\n", "what is this\r\n", 4*mb, "\r\ntext\r\n"),
		"header lines like boundaries":    lines("Content-Type: multipart/mixed; x="+strings.Repeat("y", 100_000)+"; boundary=b\r\n", "--x\r\nX: y\r\n", 4*mb, "\r\n"),
		"folding":                         lines("Subject: x\r\n", " y\r\n", 4*mb, "\r\ntext\r\n"),
		"a line of 100 MB":                lines("Subject: x\r\n\r\n", "x", 100*mb, ""),
		"a header line of 100 MB":         lines("Subject: ", "x", 100*mb, "\r\n\r\ntext"),
		"CR":                              lines("Subject: x\r\n\r\n", "\r", 4*mb, ""),
		"CR without LF":                   lines("Subject: x\r\n\r\n", "x\r", 4*mb, ""),
		"hyphens":                         lines("Content-Type: multipart/mixed; boundary=b\r\n\r\n", "-", 4*mb, ""),
		"100,000 boundary lines":          lines("Content-Type: multipart/mixed; boundary=b\r\n\r\n", "--b\r\n", 500_000, "--b--\r\n"),
		"boundary lines of a digest":      lines("Content-Type: multipart/digest; boundary=b\r\n\r\n", "--b\r\nFrom: a@b.c\r\n", 2*mb, ""),
		"end lines":                       lines("Content-Type: multipart/mixed; boundary=b\r\n\r\n", "--b--\r\n", 4*mb, ""),
		"parts after the end line":        lines("Content-Type: multipart/mixed; boundary=b\r\n\r\n", "--b\r\n\r\nx\r\n--b--\r\n", 4*mb, ""),
		"lines like boundary lines":       lines(nested(64), "--b0x\r\n", 4*mb, ""),
		"multiparts without end":          {unit: unit("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"), n: 2000},
		"multiparts of other boundaries":  {head: nested(20_000)},
		"messages in messages":            lines("", "Content-Type: message/rfc822\r\n\r\n", 4*mb, ""),
		"boundary lines that are guessed": lines("Content-Type: multipart/mixed\r\n\r\n", "--x\r\n--y\r\nContent-Type: multipart/mixed\r\n\r\n", 4*mb, ""),
		"uuencode that does not begin":    lines("\r\n", "begin 644 a\r\n", 4*mb, ""),
		"uuencoded files":                 lines("\r\n", "begin 644 a\r\n#0V%T\r\n`\r\nend\r\n", 4*mb, ""),
		"BinHex that does not begin":      lines("\r\n", "(This file must be converted with BinHex 4.0)\r\n", 4*mb, ""),
		"base64 on a line":                lines("Content-Transfer-Encoding: base64\r\n\r\n", "QUJD", 4*mb, ""),
		"base64 padding":                  lines("Content-Transfer-Encoding: base64\r\n\r\n", "=", 4*mb, ""),
		"equals signs":                    lines("Content-Transfer-Encoding: quoted-printable\r\n\r\n", "=", 4*mb, ""),
		"spaces in quoted-printable":      lines("Content-Transfer-Encoding: quoted-printable\r\n\r\n", " ", 4*mb, ""),
		"runs of BinHex":                  lines("Content-Type: application/mac-binhex40\r\n\r\n(This file must be converted with BinHex 4.0)\r\n:", "!)!)!)!)\r\n", 4*mb, ":"),
		"references":                      lines("Content-Type: text/html\r\n\r\n", "=a", 4*mb, ""),
		"references in quotes":            lines("Content-Type: text/html\r\n\r\n", "=\"='", 4*mb, ""),
		"references by identifier":        lines("Content-Type: text/html\r\n\r\n", "cid:", 4*mb, ""),
		"references with entities":        lines("Content-Type: text/html\r\n\r\n", "=&", 8*mb, ""),
		"references with numbers":         lines("Content-Type: text/html\r\n\r\n", "=&#", 8*mb, ""),
		"escapes":                         lines("Content-Type: text/plain; charset=iso-2022-jp\r\n\r\n", "\x1b", 4*mb, ""),
		"utf-7":                           lines("Content-Type: text/plain; charset=utf-7\r\n\r\n", "+", 4*mb, ""),
	}
}

// TestHostile reads what is meant to take long, in every way there is. That it
// does not is seen by its end.
func TestHostile(t *testing.T) {
	for name, raw := range hostile() {
		t.Run(name, func(t *testing.T) {
			m, err := Read(context.Background(), raw, raw.Size(), Limits{})
			if err != nil {
				t.Fatal(err)
			}
			if m.Whole.End != raw.Size() {
				t.Fatalf("%d bytes of %d", m.Whole.End, raw.Size())
			}
			other := &Part{ContentID: "x", Location: "http://example.com/x"}
			l := m.Layout()
			m.Protected()
			n := 0
			for p := range m.All() {
				if n++; n > 100 || p.IsMultipart() || p.IsMessage() {
					continue
				}
				if _, err := io.Copy(io.Discard, m.Open(p)); err != nil {
					t.Fatal(err)
				}
				if p == l.HTML {
					if _, err := m.References(p, []*Part{other}); err != nil {
						t.Fatal(err)
					}
				}
			}
		})
	}
}

// TestHostileValues decodes long values that are all beginnings.
func TestHostileValues(t *testing.T) {
	for _, s := range []string{"=?", "=?a?Q?", "=?utf-8?Q?=20", "?=", "=?utf-8?B?", "=?a?q?x?=20", "(", "\"", "<", "<a@b", "a,", "a@b ", ":", "\\", "\"\\\"", "(a,", "=?a?q?,", "<a@b> <", " ", "; a", ";a*1=", ";a*=%", "a=\"", "a=\"\\", "='", "a=b ", "charset =", "\xe4", "\xc3\xa4", "\x1b$B", "a=(", "Mon,", ".", " @"} {
		for _, v := range []string{strings.Repeat(s, valueSize/len(s)), "a/b;x=" + strings.Repeat(s, valueSize/len(s)), "To: a " + strings.Repeat(s, valueSize/len(s)) + ">"} {
			Decode(v)
			ParseAddresses(v)
			ParseDate(v)
			parseParameterized(v, "")
			h := &Header{Fields: []Field{{Name: "References", Raw: []byte(v)}, {Name: "Received", Raw: []byte(v)}}}
			h.MessageIDs("References")
			h.Arrived()
		}
	}
}

// large is a message of 150 MB with parts in parts.
func large() repeated {
	line := strings.Repeat("QUJD", 19) + "\r\n"
	return lines("Subject: large\r\nContent-Type: multipart/mixed; boundary=outer\r\n\r\n"+
		"--outer\r\nContent-Type: multipart/alternative; boundary=inner\r\n\r\n--inner\r\n\r\ntext\r\n--inner\r\nContent-Type: text/html\r\n\r\n<p>text\r\n--inner--\r\n"+
		"--outer\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner\r\nContent-Type: multipart/mixed; boundary=third\r\n\r\n"+
		"--third\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n", line, 150*mb, "--third--\r\n--outer--\r\n")
}

// allocated returns how many bytes f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// TestMemory checks that what is allocated in all, freed or not, does not depend
// on the size of bodies.
func TestMemory(t *testing.T) {
	raw := large()
	lookupCharset("utf-8") // the table is made once
	var m *Message
	var err error
	if n := allocated(func() { m, err = Read(context.Background(), raw, raw.Size(), Limits{}) }); err != nil || n > 512<<10 {
		t.Errorf("reading %d bytes allocated %d, %v", raw.Size(), n, err)
	}
	leaf := m.Parts[1].Parts[0].Parts[0]
	if leaf.Encoding != Base64 {
		t.Fatalf("%+v", leaf)
	}
	var size int64
	if n := allocated(func() { size, err = io.Copy(io.Discard, m.Open(leaf)) }); err != nil || n > 512<<10 || size < 100*mb {
		t.Errorf("decoding %d bytes allocated %d, %v", size, n, err)
	}
	for _, charset := range []string{"", "utf-8", "us-ascii", "iso-8859-1", "iso-2022-jp", "gb18030"} {
		text := lines("Content-Type: text/html; charset="+charset+"\r\n\r\n", "<a href=\"http://example.com/\">text</a>\r\n", 4*mb, "<img src=cid:a>")
		m, err := Read(context.Background(), text, text.Size(), Limits{})
		if err != nil {
			t.Fatal(err)
		}
		part := &Part{ContentID: "a"}
		if n := allocated(func() {
			refs, err := m.References(&m.Part, []*Part{part})
			if err != nil || !refs[part] {
				t.Errorf("references %v, %v", refs, err)
			}
		}); n > mb {
			t.Errorf("references in %s of %d bytes allocated %d", charset, text.Size(), n)
		}
	}
	for name, raw := range hostile() {
		if n := allocated(func() { _, err = Read(context.Background(), raw, raw.Size(), Limits{}) }); err != nil || n > 44*mb {
			t.Errorf("%s: reading %d bytes allocated %d, %v", name, raw.Size(), n, err)
		}
	}
}

func BenchmarkRead(b *testing.B) {
	raw := large()
	b.SetBytes(raw.Size())
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Read(context.Background(), raw, raw.Size(), Limits{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	for _, bench := range []struct {
		e    Encoding
		line string
	}{
		{Base64, strings.Repeat("QUJD", 19) + "\r\n"},
		{QuotedPrintable, "A line of text with =C3=A4 and such, of a length that is usual in mail=\r\n"},
		{UUEncode, "M" + strings.Repeat("0V%T", 15) + "\r\n"},
	} {
		b.Run(string(bench.e), func(b *testing.B) {
			raw := lines("", bench.line, 32*mb, "")
			b.SetBytes(raw.Size())
			b.ReportAllocs()
			for b.Loop() {
				if _, err := io.Copy(io.Discard, newDecoder(context.Background(), io.NewSectionReader(raw, 0, raw.Size()), bench.e)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkReadSmall reads a usual message: text, HTML, a small attachment.
func BenchmarkReadSmall(b *testing.B) {
	raw := "Received: from a.example by b.example; Fri, 2 Jan 2026 03:04:05 +0100\r\nFrom: John Doe <john@example.com>\r\nTo: mary@example.com\r\nSubject: =?utf-8?Q?K=C3=A4se?=\r\n" +
		"Message-ID: <1@example.com>\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"outer\"\r\n\r\n--outer\r\nContent-Type: multipart/alternative; boundary=\"inner\"\r\n\r\n" +
		"--inner\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" + strings.Repeat("A line of text that is as long as usual.\r\n", 50) +
		"--inner\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n" + strings.Repeat("<p>A line of text that is as long as usual.</p>=\r\n", 50) +
		"\r\n--inner--\r\n--outer\r\nContent-Type: application/pdf; name=\"a.pdf\"\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: attachment; filename=\"a.pdf\"\r\n\r\n" +
		strings.Repeat(strings.Repeat("QUJD", 19)+"\r\n", 200) + "--outer--\r\n"
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Read(context.Background(), strings.NewReader(raw), int64(len(raw)), Limits{}); err != nil {
			b.Fatal(err)
		}
	}
}
