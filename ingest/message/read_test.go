package message

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/rogpeppe/go-internal/txtar"
)

var update = flag.Bool("update", false, "write the trees of testdata/read anew")

// mustRead reads a message and checks what is true of every tree.
func mustRead(t testing.TB, raw string, limits Limits) *Message {
	t.Helper()
	once := &counter{r: strings.NewReader(raw)}
	m, err := Read(context.Background(), once, int64(len(raw)), limits)
	if err != nil {
		t.Fatal(err)
	}
	if once.n != int64(len(raw)) {
		t.Fatalf("%d bytes read of %d", once.n, len(raw))
	}
	checkTree(t, m, int64(len(raw)))
	for p := range m.All() {
		at := p.Whole.Start
		for _, f := range p.Header.Fields {
			line := raw[f.Range.Start:f.Range.End]
			if f.Range.Start < at || f.Range.End > p.Body.Start || !strings.Contains(line, ":") || !strings.HasPrefix(strings.TrimLeft(line, " \t"), f.Name) {
				t.Fatalf("field %s %v %q in the header of %v", f.Name, f.Range, line, p.Whole)
			}
			at = f.Range.End
		}
	}
	return m
}

// counter counts the bytes that are read.
type counter struct {
	r io.ReaderAt
	n int64
}

func (c *counter) ReadAt(p []byte, off int64) (int, error) {
	n, err := c.r.ReadAt(p, off)
	c.n += int64(n)
	return n, err
}

// checkTree checks that the ranges of the parts tile the message: the root is all
// of it, and the parts of a part lie in its body, in order, without overlap.
func checkTree(t testing.TB, m *Message, size int64) {
	t.Helper()
	if m.Whole != (Range{0, size}) {
		t.Fatalf("the root is %v of %d bytes", m.Whole, size)
	}
	for p := range m.All() {
		if p.Header == nil {
			t.Fatalf("part %v without a header", p.Whole)
		}
		if !(p.Whole.Start <= p.Body.Start && p.Body.Start <= p.Body.End && p.Body.End <= p.Whole.End) {
			t.Fatalf("body %v of part %v", p.Body, p.Whole)
		}
		for _, f := range p.Header.Fields {
			if f.Range.Start >= f.Range.End {
				t.Fatalf("field %s %v", f.Name, f.Range)
			}
		}
		at := p.Body.Start
		if p.Preamble != (Range{}) {
			if p.Preamble.Start != at || p.Preamble.End < at {
				t.Fatalf("preamble %v of body %v", p.Preamble, p.Body)
			}
			at = p.Preamble.End
		}
		for i, c := range p.Parts {
			if c.Whole.Start < at {
				t.Fatalf("part %v begins before %d", c.Whole, at)
			}
			// What is between parts is a boundary line, or text between its end
			// line and the next; in a text, text.
			gap := m.slice(t, Range{at, c.Whole.Start})
			if p.IsMultipart() && !bytes.Contains(gap, []byte("--")) {
				t.Fatalf("no boundary line before part %d of %v: %q", i, p.Whole, gap)
			}
			if p.IsMessage() && len(gap) > 0 {
				t.Fatalf("%q before the message of %v", gap, p.Whole)
			}
			at = c.Whole.End
		}
		if p.Epilogue != (Range{}) {
			if p.Epilogue.Start < at || p.Epilogue.End > p.Body.End || p.Epilogue.End < p.Epilogue.Start {
				t.Fatalf("epilogue %v of body %v after %d", p.Epilogue, p.Body, at)
			}
			at = p.Epilogue.End
		}
		if at > p.Body.End {
			t.Fatalf("parts of %v end at %d", p.Body, at)
		}
		if p.IsMessage() && len(p.Parts) > 0 && at != p.Body.End {
			t.Fatalf("bytes after the message of %v", p.Body)
		}
	}
}

func (m *Message) slice(t testing.TB, r Range) []byte {
	t.Helper()
	b, err := io.ReadAll(m.Raw(r))
	if err != nil || int64(len(b)) != r.Len() {
		t.Fatalf("raw %v: %d bytes, %v", r, len(b), err)
	}
	return b
}

// dump writes a tree as the files of testdata/read have it.
func dump(t testing.TB, w *strings.Builder, m *Message, p *Part, indent string) {
	t.Helper()
	fmt.Fprintf(w, "%s%s", indent, p.Type)
	for _, v := range []struct{ name, value string }{
		{"charset", p.Charset}, {"disposition", p.Disposition}, {"name", p.Name}, {"id", p.ContentID}, {"location", p.Location},
		{"boundary", p.Params["boundary"]},
	} {
		if v.value != "" {
			fmt.Fprintf(w, " %s=%q", v.name, v.value)
		}
	}
	if p.Encoding != Identity {
		fmt.Fprintf(w, " %s", p.Encoding)
	}
	if prot := p.Protection(); prot != Unprotected {
		fmt.Fprintf(w, " (%s)", prot)
	}
	fmt.Fprintln(w)
	indent += "  "
	for _, n := range append(append([]string(nil), p.Header.Notes...), p.Notes...) {
		fmt.Fprintf(w, "%s! %s\n", indent, n)
	}
	for _, f := range p.Header.Fields {
		if strings.HasPrefix(f.Name, "X-") || f.Name == "Subject" {
			fmt.Fprintf(w, "%s%s: %s\n", indent, f.Name, p.Header.FieldText(f))
		}
	}
	if p.Preamble.Len() > 0 {
		fmt.Fprintf(w, "%spreamble %q\n", indent, m.slice(t, p.Preamble))
	}
	if len(p.Parts) == 0 || !p.IsMultipart() && !p.IsMessage() {
		b, err := io.ReadAll(m.Open(p))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(w, "%s%q\n", indent, b)
		if strings.HasPrefix(p.Type, "text/") {
			text, err := m.Text(p, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			if text.String != string(b) {
				fmt.Fprintf(w, "%stext %s %q\n", indent, text.Charset, text.String)
			}
			for _, n := range text.Notes {
				fmt.Fprintf(w, "%s! text: %s\n", indent, n)
			}
		}
	}
	for _, c := range p.Parts {
		dump(t, w, m, c, indent)
	}
	if p.Epilogue.Len() > 0 {
		fmt.Fprintf(w, "%sepilogue %q\n", indent, m.slice(t, p.Epilogue))
	}
}

// unescape makes mail of the lines of a fixture: lines end with CRLF unless its
// comment has a line "lines end with LF" or "CR"; \xHH, \r, \n, \\ stand for bytes; a
// backslash at the end of a line takes the line end away.
func unescape(comment, s string) string {
	eol := "\r\n"
	switch {
	case strings.Contains(comment, "Lines end with LF"):
		eol = "\n"
	case strings.Contains(comment, "Lines end with CR."):
		eol = "\r"
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\n':
			b.WriteString(eol)
		case s[i] != '\\' || i+1 == len(s):
			b.WriteByte(s[i])
		default:
			i++
			switch s[i] {
			case 'x':
				c, _ := unhex(s[i+1], s[i+2])
				b.WriteByte(c)
				i += 2
			case 'r':
				b.WriteByte('\r')
			case 'n':
				b.WriteByte('\n')
			case 't':
				b.WriteByte('\t')
			case 's':
				b.WriteByte(' ')
			case '\n':
			default:
				b.WriteByte(s[i])
			}
		}
	}
	return b.String()
}

// TestRead reads the mail of each file in testdata/read. A file has a comment that
// says which rule it is for, and sections "NAME" with mail followed by "NAME:" with
// the tree that is expected.
func TestRead(t *testing.T) {
	files, err := filepath.Glob("testdata/read/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("fixtures: %v, %v", files, err)
	}
	for _, file := range files {
		a, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var out txtar.Archive
		out.Comment = a.Comment
		for i, f := range a.Files {
			if strings.HasSuffix(f.Name, ":") {
				continue
			}
			out.Files = append(out.Files, f)
			t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar")+"/"+strings.ReplaceAll(f.Name, " ", "_"), func(t *testing.T) {
				m := mustRead(t, unescape(string(a.Comment), string(f.Data)), Limits{})
				var b strings.Builder
				dump(t, &b, m, &m.Part, "")
				out.Files = append(out.Files, txtar.File{Name: f.Name + ":", Data: []byte(b.String())})
				if *update {
					return
				}
				if i+1 >= len(a.Files) || a.Files[i+1].Name != f.Name+":" {
					t.Fatalf("no tree is expected of it; it is\n%s", b.String())
				}
				if want := string(a.Files[i+1].Data); b.String() != want {
					t.Errorf("the tree is\n%swant\n%s", b.String(), want)
				}
			})
		}
		if *update {
			if err := os.WriteFile(file, txtar.Format(&out), 0o666); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// fixtureMail returns the mail of a file of fixtures.
func fixtureMail(t testing.TB, file string) []string {
	a, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, f := range a.Files {
		if !strings.HasSuffix(f.Name, ":") {
			out = append(out, unescape(string(a.Comment), string(f.Data)))
		}
	}
	return out
}

func TestReadError(t *testing.T) {
	disk := errors.New("disk")
	for _, tt := range []struct {
		name string
		raw  io.ReaderAt
		size int64
		want error
	}{
		{"of the bytes", badReaderAt{disk}, 10, disk},
		{"fewer bytes than said", strings.NewReader("Subject: x\r\n\r\n"), 100, io.ErrUnexpectedEOF},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := Read(context.Background(), tt.raw, tt.size, Limits{}); !errors.Is(err, tt.want) {
				t.Error(err)
			}
		})
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Read(ctx, strings.NewReader("x"), 1, Limits{}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	m := mustRead(t, "Content-Transfer-Encoding: base64\r\n\r\nQUJD\r\n", Limits{})
	m.raw = badReaderAt{disk}
	if _, err := io.ReadAll(m.Open(&m.Part)); !errors.Is(err, disk) {
		t.Error(err)
	}
	if _, err := m.Text(&m.Part, 10); !errors.Is(err, disk) {
		t.Error(err)
	}
}

type badReaderAt struct{ err error }

func (b badReaderAt) ReadAt([]byte, int64) (int, error) { return 0, b.err }

// TestLines checks that lines do not depend on how the bytes arrive or on where
// the buffer ends.
func TestLines(t *testing.T) {
	raw := "a\r\nb\nc\rd\r\r\ne\r\r\n\r\n\nlast line\r\n" + strings.Repeat("x", 100) + "\r\nend\r"
	var want []string
	lines := func(r io.Reader, size int) (out []string) {
		l := newLineReader(context.Background(), r, size)
		cur, at := "", int64(0)
		for f := l.next(); f != nil; f = l.next() {
			if f.start != at {
				t.Fatalf("fragment at %d, want %d", f.start, at)
			}
			if f.first != (cur == "" || strings.HasSuffix(cur, "|")) && f.first {
				t.Fatalf("a line begins in %q", cur)
			}
			at = f.end()
			cur += string(f.data)
			if f.last {
				out = append(out, fmt.Sprintf("%s|%d", cur, f.eol))
				cur = ""
			}
		}
		if at != int64(len(raw)) {
			t.Fatalf("%d bytes of %d", at, len(raw))
		}
		return out
	}
	want = lines(strings.NewReader(raw), 1<<10)
	if got := strings.Join(want[:9], " "); got != "a|2 b|1 c|1 d|3 e|3 |2 |1 last line|2 "+strings.Repeat("x", 100)+"|2" {
		t.Errorf("lines %s", got)
	}
	for size := 3; size < 140; size++ {
		for name, r := range map[string]io.Reader{"whole": strings.NewReader(raw), "bytes": iotest.OneByteReader(strings.NewReader(raw))} {
			if got := lines(r, size); strings.Join(got, "\n") != strings.Join(want, "\n") {
				t.Fatalf("buffer of %d, %s: %q, want %q", size, name, got, want)
			}
		}
	}
}

func TestLimits(t *testing.T) {
	deep := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n", i, i)
		}
		return b.String() + "\r\ntext\r\n"
	}
	messages := func(n int) string { return strings.Repeat("Content-Type: message/rfc822\r\n\r\n", n) + "\r\ntext\r\n" }
	many := "Content-Type: multipart/mixed; boundary=b\r\n\r\n" + strings.Repeat("--b\r\n\r\nx\r\n", 50) + "--b--\r\nend\r\n"
	wide := "Content-Type: multipart/mixed; boundary=b\r\n\r\n" + strings.Repeat("--b\r\nX: "+strings.Repeat("y", 1000)+"\r\n\r\nx\r\n", 50) + "--b--\r\nend\r\n"
	for _, tt := range []struct {
		name, raw string
		limits    Limits
		parts     int
		note      string
	}{
		{"depth", deep(20), Limits{Depth: 10}, 11, "nested deeper than 10: kept as it is"},
		{"depth not reached", deep(9), Limits{Depth: 10}, 10, "multipart without its end line"},
		{"depth of messages", messages(20), Limits{Depth: 10}, 11, "nested deeper than 10: kept as it is"},
		{"depth by default", deep(100), Limits{}, 65, "nested deeper than 64: kept as it is"},
		{"parts", many, Limits{Parts: 10}, 11, "more than 10 parts: the rest is kept as it is"},
		{"memory", wide, Limits{Memory: 5000}, 7, "headers of more than 5000 bytes: the rest is kept as it is"},
		{"uuencoded files", strings.Repeat("\r\nbegin 644 a\r\n#86)C\r\n`\r\nend\r\n", 10), Limits{Parts: 5}, 5, "more than 5 parts: further files in the text are left in it"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := mustRead(t, tt.raw, tt.limits)
			n := 0
			var notes []string
			for p := range m.All() {
				n++
				notes = append(notes, p.Notes...)
			}
			if n != tt.parts {
				t.Errorf("%d parts, want %d", n, tt.parts)
			}
			if !strings.Contains(strings.Join(notes, "\n"), tt.note) {
				t.Errorf("notes %q, want %q", notes, tt.note)
			}
		})
	}
	m := mustRead(t, many, Limits{Parts: 10})
	rest := m.Parts[len(m.Parts)-1]
	if got := string(m.slice(t, rest.Body)); strings.Count(got, "--b\r\n") != 40 || !strings.HasSuffix(got, "\r\nx") {
		t.Errorf("the rest is %q", got)
	}
	if got := string(m.slice(t, m.Epilogue)); got != "end\r\n" {
		t.Errorf("epilogue %q", got)
	}
	m = mustRead(t, "Subject: "+strings.Repeat("s", 5000)+"\r\nContent-Type: text/html\r\n\r\n<p>\r\n", Limits{Header: 2000})
	if m.Type != "text/html" || len(m.Header.Raw("Subject")) != 999 || len(m.Header.Notes) != 1 {
		t.Errorf("a long field hides those after it: %s, %d, %q", m.Type, len(m.Header.Raw("Subject")), m.Header.Notes)
	}
	m = mustRead(t, strings.Repeat("X-Y: z\r\n", 3000)+"Subject: s\r\n\r\n", Limits{})
	if len(m.Header.Fields) != 3001 || m.Header.Text("Subject") != "s" {
		t.Errorf("%d fields", len(m.Header.Fields))
	}
}

func TestReadContent(t *testing.T) {
	inner := "Subject: inner\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n\r\none\r\n--c--\r\n"
	outer := "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\n" + chunks(encode64(inner), 76)
	m := mustRead(t, outer, Limits{})
	if !m.Nested() || len(m.Parts) != 0 {
		t.Fatalf("nested %v, parts %d", m.Nested(), len(m.Parts))
	}
	content, err := io.ReadAll(m.Open(&m.Part))
	if err != nil || string(content) != inner {
		t.Fatalf("%q, %v", content, err)
	}
	n, err := ReadContent(context.Background(), &m.Part, bytes.NewReader(content), int64(len(content)), Limits{})
	if err != nil || n.Header.Text("Subject") != "inner" || len(n.Parts) != 1 {
		t.Fatalf("%+v, %v", n, err)
	}
	body := "--c\r\n\r\none\r\n--c\r\nContent-Type: text/html\r\n\r\ntwo\r\n--c--\r\n"
	m = mustRead(t, "Content-Type: multipart/mixed; boundary=c\r\nContent-Transfer-Encoding: base64\r\n\r\n"+chunks(encode64(body), 76), Limits{})
	if !m.Nested() {
		t.Fatal("a multipart in base64 is not nested")
	}
	if content, err = io.ReadAll(m.Open(&m.Part)); err != nil || string(content) != body {
		t.Fatalf("%q, %v", content, err)
	}
	n, err = ReadContent(context.Background(), &m.Part, bytes.NewReader(content), int64(len(content)), Limits{})
	if err != nil || len(n.Parts) != 2 || n.Parts[1].Type != "text/html" {
		t.Fatalf("%+v, %v", n, err)
	}
	checkTree(t, n, int64(len(content)))
}

func chunks(s string, n int) string {
	var b strings.Builder
	for len(s) > n {
		b.WriteString(s[:n] + "\r\n")
		s = s[n:]
	}
	return b.String() + s + "\r\n"
}
