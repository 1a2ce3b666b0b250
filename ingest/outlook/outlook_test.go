package outlook_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime/quotedprintable"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"postroom/ingest/message"
	"postroom/ingest/outlook"
	"postroom/internal/corpus"
)

// file is a file in memory.
type file struct{ b []byte }

func (f *file) WriteAt(p []byte, off int64) (int, error) {
	if end := int(off) + len(p); end > len(f.b) {
		f.b = slices.Grow(f.b, end-len(f.b))[:end]
	}
	return copy(f.b[off:], p), nil
}

func read(t testing.TB, raw []byte) *message.Message {
	t.Helper()
	m, err := message.Read(context.Background(), bytes.NewReader(raw), int64(len(raw)), message.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func convert(t testing.TB, raw []byte, o outlook.Options) ([]byte, outlook.Report) {
	t.Helper()
	f := &file{}
	report, err := outlook.Convert(context.Background(), f, read(t, raw), o)
	if err != nil {
		t.Fatal(err)
	}
	if report.Size != int64(len(f.b)) {
		t.Errorf("the report says %d bytes, there are %d", report.Size, len(f.b))
	}
	return f.b, report
}

func crlf(b []byte) []byte { return bytes.ReplaceAll(b, []byte("\n"), []byte("\r\n")) }

// TestRules converts the mail of each fixture, which is named after the paragraph
// of the rule: MS-OXCMAIL, unless it says another. Its section properties has a
// line for each property that there has to be, with its value; "KEY !" is one that
// there must not be, "KEY ~ TEXT" one that has the text in it, and "loss TEXT" a
// loss that the report has.
func TestRules(t *testing.T) {
	fixtures, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(fixtures) == 0 {
		t.Fatal("no fixtures", err)
	}
	for _, name := range fixtures {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			raw, want := fixture(t, name)
			b, report := convert(t, raw, outlook.Options{Mailbox: "box@example.com"})
			c := readMsg(t, b)
			losses := fmt.Sprint(report.Losses)
			checks, said := 0, 0
			for rule := range strings.Lines(want) {
				rule = strings.TrimRight(rule, "\n")
				if rule == "" || strings.HasPrefix(rule, "#") {
					continue
				}
				checks++
				key, value, _ := strings.Cut(rule, " ")
				got, ok := c.values[key]
				got = line(got)
				part, contains := strings.CutPrefix(value, "~ ")
				switch {
				case key == "loss":
					said++
					if !strings.Contains(losses, value) {
						t.Errorf("no loss %q in %s", value, losses)
					}
				case value == "!":
					if ok {
						t.Errorf("%s is %q", key, got)
					}
				case !ok:
					t.Errorf("%s is missing", key)
				case contains:
					if !strings.Contains(got, part) {
						t.Errorf("%s is %q, without %q", key, got, part)
					}
				case got != value:
					t.Errorf("%s is %q, not %q", key, got, value)
				}
			}
			if checks == 0 {
				t.Error("nothing is checked")
			}
			if len(report.Losses) != said {
				t.Errorf("losses: %s", losses)
			}
			if t.Failed() || testing.Verbose() && os.Getenv("DUMP") != "" {
				t.Log(c.dump())
			}
		})
	}
}

// another returns a function that has files looked at by another program, at the
// end of the test. It is not part of the project: msgcheck.py in ../shared/tools
// beside the repository, or POSTROOM_MSGCHECK.
func another(t *testing.T) func(name string, b []byte) {
	program := os.Getenv("POSTROOM_MSGCHECK")
	if program == "" {
		program = filepath.Join("..", "..", "..", "shared", "tools", "msgcheck.py")
	}
	if _, err := os.Stat(program); err != nil {
		t.Logf("no %s: what is written is not compared with its rules; POSTROOM_MSGCHECK says where it is", program)
		return func(string, []byte) {}
	}
	dir := t.TempDir()
	n := 0
	t.Cleanup(func() {
		out, err := exec.Command("python3", "-c", everyFile, program, dir).CombinedOutput()
		if err != nil {
			t.Error(err)
		}
		if good := fmt.Sprintf("%d files\n", n); string(out) != good {
			t.Errorf("not %s%s", good, out)
		}
	})
	return func(name string, b []byte) {
		t.Helper()
		name = fmt.Sprintf("%04d %s.msg", n, strings.ReplaceAll(name, "/", " "))
		n++
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// everyFile runs the program for each file in a directory, and prints what it says
// of those that have errors or warnings, and how many files there are.
const everyFile = `
import contextlib, io, os, runpy, sys
program, folder = sys.argv[1:]
files = sorted(os.listdir(folder))
for name in files:
    sys.argv = [program, os.path.join(folder, name)]
    out = io.StringIO()
    code = 0
    with contextlib.redirect_stdout(out):
        try:
            runpy.run_path(program)
        except SystemExit as e:
            code = e.code
    if code or "OK: 0 errors, 0 warnings" not in out.getvalue():
        print(name, out.getvalue())
print(len(files), "files")
`

// TestCorpus converts real and damaged mail of others.
func TestCorpus(t *testing.T) {
	check := another(t)
	n := 0
	for _, a := range corpus.Need(t) {
		for _, mail := range a.Mail {
			n++
			t.Run(mail.Name, func(t *testing.T) {
				b, _ := convert(t, mail.Raw, outlook.Options{})
				readMsg(t, b)
				check(t.Name(), b)
			})
		}
	}
	if n == 0 {
		t.Error("nothing was read")
	}
	t.Logf("%d messages", n)
}

// TestAnotherChecker has the fixtures, and files of the sizes at which something
// changes, looked at by another program.
func TestAnotherChecker(t *testing.T) {
	check := another(t)
	fixtures, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range fixtures {
		raw, _ := fixture(t, name)
		b, _ := convert(t, raw, outlook.Options{Mailbox: "box@example.com"})
		check(filepath.Base(name), b)
	}
	for _, size := range []int{0, 1, 63, 64, 65, 4095, 4096, 4097, 65536, 7 << 20, 16 << 20} {
		raw := append([]byte("Content-Type: application/octet-stream; name=a.bin\r\nContent-Disposition: attachment\r\n\r\n"), bytes.Repeat([]byte("x"), size)...)
		b, _ := convert(t, raw, outlook.Options{})
		c := readMsg(t, b)
		if got := len(c.raw["attach0/37010102"]); got != size {
			t.Errorf("an attachment of %d bytes has %d", size, got)
		}
		check(fmt.Sprint(size), b)
	}
}

func TestTheSameBytes(t *testing.T) {
	raw := []byte("From: a@example.com\r\nTo: b@example.com\r\nSubject: x\r\nMessage-ID: <1@example.com>\r\nX-A: 1\r\nX-B: 2\r\nKeywords: a, b\r\n\r\ntext\r\n")
	one, _ := convert(t, raw, outlook.Options{})
	two, _ := convert(t, raw, outlook.Options{})
	if !bytes.Equal(one, two) {
		t.Error("the same message made other bytes")
	}
}

func TestOptions(t *testing.T) {
	raw := []byte("From: a@example.com\r\nReceived: x; Fri, 2 Jan 2026 03:04:05 +0000\r\nDate: Thu, 1 Jan 2026 00:00:00 +0000\r\n\r\nx\r\n")
	b, _ := convert(t, raw, outlook.Options{Unread: true, Received: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)})
	c := readMsg(t, b)
	for key, want := range map[string]string{"0E070003": "2", "0E060040": "2026-03-04T05:06:07Z", "30070040": "2026-03-04T05:06:07Z", "00390040": "2026-01-01T00:00:00Z"} {
		if c.values[key] != want {
			t.Errorf("%s is %s, not %s", key, c.values[key], want)
		}
	}
	if _, ok := c.values["0076001F"]; ok {
		t.Error("there is a receiver, although the mailbox is not known")
	}
	b, _ = convert(t, raw, outlook.Options{})
	if c := readMsg(t, b); c.values["0E060040"] != "2026-01-02T03:04:05Z" || c.values["0E070003"] != "3" {
		t.Error(c.dump())
	}
}

// large is a message with an attachment of that many bytes, in base64, that is
// made while it is read.
type large struct {
	head, tail string
	lines      int64
}

const base64Line = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWZnaGlqa2xtbm9wcXJzdHV2d3h5ejAxMjM0\r\n" // 57 bytes

func (l *large) size() int64 {
	return int64(len(l.head)) + l.lines*int64(len(base64Line)) + int64(len(l.tail))
}

func (l *large) ReadAt(p []byte, off int64) (n int, err error) {
	body := int64(len(l.head)) + l.lines*int64(len(base64Line))
	for n < len(p) {
		switch at := off + int64(n); {
		case at < int64(len(l.head)):
			n += copy(p[n:], l.head[at:])
		case at < body:
			n += copy(p[n:], base64Line[(at-int64(len(l.head)))%int64(len(base64Line)):min(int64(len(base64Line)), int64(len(base64Line)))])
		case at < l.size():
			n += copy(p[n:], l.tail[at-body:])
		default:
			return n, io.EOF
		}
	}
	return n, nil
}

// counter counts what is written.
type counter struct{ end int64 }

func (c *counter) WriteAt(p []byte, off int64) (int, error) {
	c.end = max(c.end, off+int64(len(p)))
	return len(p), nil
}

func largeMessage(t testing.TB, bytes int64) *message.Message {
	l := &large{
		head:  "Subject: large\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\ntext\r\n--b\r\nContent-Type: application/pdf; name=a.pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n",
		tail:  "--b--\r\n",
		lines: bytes / 57,
	}
	m, err := message.Read(context.Background(), l, l.size(), message.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestMemory: an attachment is never in memory.
func TestMemory(t *testing.T) {
	used := func(size int64) int64 {
		m := largeMessage(t, size)
		r := testing.Benchmark(func(b *testing.B) {
			for range b.N {
				w := &counter{}
				if _, err := outlook.Convert(context.Background(), w, m, outlook.Options{}); err != nil {
					b.Fatal(err)
				}
				if w.end < size/57*57 {
					b.Fatalf("%d bytes of %d", w.end, size)
				}
			}
		})
		return r.AllocedBytesPerOp()
	}
	if small, big := used(1<<20), used(150<<20); big > small+256<<10 {
		t.Errorf("%d bytes of memory for an attachment of 1 MiB, %d for one of 150 MiB", small, big)
	}
}

// TestMemoryOfMessages: of attached messages that are encoded, one at a time is in
// memory; one that is too large is a file.
func TestMemoryOfMessages(t *testing.T) {
	inner := "U3ViamVjdDogaW5uZXINCg0K\r\n" + strings.Repeat(base64Line, 20_000) // 1.1 MiB
	var raw strings.Builder
	raw.WriteString("Content-Type: multipart/mixed; boundary=b\r\n\r\n")
	for range 30 {
		raw.WriteString("--b\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\n" + inner)
	}
	raw.WriteString("--b--\r\n")
	m := read(t, []byte(raw.String()))
	w := newPeak()
	report, err := outlook.Convert(context.Background(), w, m, outlook.Options{})
	if err != nil || len(report.Losses) > 0 {
		t.Fatal(err, report.Losses)
	}
	if w.growth() > 12<<20 {
		t.Errorf("%d bytes of memory for 30 messages of 1 MiB", w.growth())
	}
	b, report := convert(t, []byte(raw.String()), outlook.Options{Memory: 1 << 20})
	if c := readMsg(t, b); c.values["attach29/37050003"] != "1" || c.values["attach29/3707001F"] != "ATT00030.eml" || len(c.raw["attach29/37010102"]) != 20_000*57+18 {
		t.Error(c.values["attach29/3707001F"], len(c.raw["attach29/37010102"]))
	}
	if len(report.Losses) != 30 {
		t.Error(report.Losses)
	}
}

// TestMemoryOfNestedMessages: those that a message is in count too.
func TestMemoryOfNestedMessages(t *testing.T) {
	raw := strings.Repeat("Content-Type: message/rfc822\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n", 60) +
		"Subject: inner\r\n\r\n" + strings.Repeat(strings.Repeat("x", 70)+"\r\n", 3<<20/72)
	m := read(t, []byte(raw))
	w := newPeak()
	report, err := outlook.Convert(context.Background(), w, m, outlook.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Losses) != 1 || !strings.Contains(report.Losses[0].What, "with those that it is in of more than 8388608 bytes") {
		t.Error(report.Losses)
	}
	if w.growth() > 20<<20 {
		t.Errorf("%d bytes of memory for 60 messages of 3 MiB, each in the one before", w.growth())
	}
}

// peak looks at the memory in use at some of the writes, beyond that before.
type peak struct {
	first, most uint64
	writes      int
}

func (p *peak) WriteAt(b []byte, _ int64) (int, error) {
	if p.writes++; p.writes%40 != 1 {
		return len(b), nil
	}
	p.most = max(p.most, inUse())
	return len(b), nil
}

func newPeak() *peak {
	first := inUse()
	return &peak{first: first, most: first}
}

func inUse() uint64 {
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return s.HeapAlloc
}

func (p *peak) growth() uint64 { return p.most - p.first }

func TestContextEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	m := largeMessage(t, 10<<20)
	cancel()
	if _, err := outlook.Convert(ctx, &counter{}, m, outlook.Options{}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

var errDisk = errors.New("disk full")

type full struct{}

func (full) WriteAt([]byte, int64) (int, error) { return 0, errDisk }

func TestErrorOfTheFile(t *testing.T) {
	for _, size := range []int64{100, 1 << 20} {
		if _, err := outlook.Convert(context.Background(), full{}, largeMessage(t, size), outlook.Options{}); !errors.Is(err, errDisk) {
			t.Error(err)
		}
	}
}

// TestTooMany: MS-OXMSG 2.2.1 and 2.2.2 allow 2048 recipients and attachments.
func TestTooMany(t *testing.T) {
	var raw bytes.Buffer
	raw.WriteString("Content-Type: multipart/mixed; boundary=b\r\n")
	for i := range 2100 {
		fmt.Fprintf(&raw, "To: p%d@example.com\r\n", i)
	}
	raw.WriteString("\r\n")
	for i := range 2100 {
		fmt.Fprintf(&raw, "--b\r\nContent-Type: application/pdf; name=%d.pdf\r\n\r\n%d\r\n", i, i)
	}
	raw.WriteString("--b--\r\n")
	b, report := convert(t, raw.Bytes(), outlook.Options{})
	c := readMsg(t, b)
	if len(report.Losses) != 2 {
		t.Error(report.Losses)
	}
	if _, ok := c.values["recip2048/3003001F"]; ok || c.values["recip2047/3003001F"] != "p2047@example.com" {
		t.Error("not 2048 recipients")
	}
	if !strings.Contains(c.values["007D001F"], "p2099@example.com") {
		t.Error("the last recipient is not in the transport headers")
	}
	if got := c.raw["attach2047/37010102"]; !bytes.Equal(got, raw.Bytes()) {
		t.Errorf("the last attachment has %d bytes, not those of the message", len(got))
	}
	another(t)("many", b)
}

// TestLongHeader: what the reader does not keep of a header is in the transport
// headers, of the message and of those in it.
func TestLongHeader(t *testing.T) {
	secret := "X-MS-Exchange-Organization-Secret: 1\r\n 2\r\n"
	last := "Subject: last\r\nTo: b@example.com,\r\n c@example.com\r\n"
	wrap := func(head string) string { return "Subject: outer\r\nContent-Type: message/rfc822\r\n\r\n" + head }
	for _, tt := range []struct {
		name, raw, at, want string
		without             string
		losses              []string
	}{
		{"fields", strings.Repeat("X: y\r\n", 10_001) + secret + last, "", strings.Repeat("X: y\\r\\n", 10_001) + line(last), "Secret",
			[]string{"1 header fields are left out", "longer than is read"}},
		{"bytes", strings.Repeat("X: "+strings.Repeat("x", 400<<10)+"\r\n", 4) + last, "", line(last), "", []string{"longer than is read"}},
		{"long value", "X: " + strings.Repeat("x", 700<<10) + "end\r\n" + last, "", "xend\\r\\n" + line(last), "", []string{"longer than is read"}},
		{"attached", wrap(strings.Repeat("X: y\r\n", 10_001) + secret + last), "attach0/3701000D/", line(secret + last), "", []string{"longer than is read"}},
		{"too long", strings.Repeat("X: "+strings.Repeat("x", 900)+"\r\n", 5000) + last, "", "xx\\r\\n", "Subject", []string{"longer than is read", "more than 4 MiB"}},
		{"no empty line", "Subject: x\r\n" + strings.Repeat(strings.Repeat("x", 70)+"\r\n", 3<<20/72), "", "Subject: x\\r\\n", "xx", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b, report := convert(t, []byte(tt.raw+"\r\ntext\r\n"), outlook.Options{})
			got := line(readMsg(t, b).values[tt.at+"007D001F"])
			if !strings.HasSuffix(got, tt.want) || tt.without != "" && strings.Contains(got, tt.without) {
				t.Errorf("%d bytes, which end with %q", len(got), got[max(0, len(got)-200):])
			}
			if len(report.Losses) != len(tt.losses) {
				t.Error(report.Losses)
			}
			for _, l := range tt.losses {
				if !slices.ContainsFunc(report.Losses, func(r outlook.Loss) bool { return strings.Contains(r.What, l) && (r.Place == "") == (tt.at == "") }) {
					t.Errorf("no loss %q in %s", l, report.Losses)
				}
			}
		})
	}
}

// TestTooManyNames: a file can have 32,767 named properties, of which header fields
// leave some.
func TestTooManyNames(t *testing.T) {
	var raw bytes.Buffer
	raw.WriteString("Content-Type: multipart/digest; boundary=b\r\n\r\n")
	for i := range 170 {
		raw.WriteString("--b\r\n\r\n")
		for j := range 200 {
			fmt.Fprintf(&raw, "X-%d-%d: 1\r\n", i, j)
		}
		raw.WriteString("\r\ntext\r\n")
	}
	raw.WriteString("--b--\r\n")
	b, report := convert(t, raw.Bytes(), outlook.Options{})
	c := readMsg(t, b)
	if len(c.names) != 0x7FFF-4096 {
		t.Errorf("%d named properties", len(c.names))
	}
	if len(report.Losses) != 1 || !strings.Contains(report.Losses[0].What, "28671") {
		t.Error(report.Losses)
	}
	if !strings.Contains(c.values["attach169/3701000D/007D001F"], "X-169-199") {
		t.Error("the last field is not in the transport headers")
	}
	another(t)("names", b)
}

// FuzzConvert: any mail makes a file that is as it has to be.
func FuzzConvert(f *testing.F) {
	fixtures, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range fixtures {
		raw, _ := fixture(f, name)
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		b, _ := convert(t, raw, outlook.Options{Memory: 64 << 10})
		readMsg(t, b)
	})
}

// letter is a newsletter of 50 kB of HTML with a picture in it.
func letter() []byte {
	var page bytes.Buffer
	page.WriteString("<html><head><style>td {color: #333}</style></head>\r\n<body><img src=\"cid:logo\" width=\"120\">\r\n<table>\r\n")
	for i := range 220 {
		fmt.Fprintf(&page, "<tr><td style=\"padding: 4px; border-bottom: 1px solid #ddd\"><a href=\"https://www.example.com/item?id=%d&amp;from=letter\">", i*7919)
		page.WriteString("Lieferung für März größer total &amp; Straße shipment please geprüft Übersicht contract nächste</a></td></tr>\r\n")
	}
	page.WriteString("</table></body></html>\r\n")
	var mail bytes.Buffer
	mail.WriteString("Received: from mx.example.com by mail.example.org; Mon, 5 Jan 2026 08:00:00 +0000\r\n" +
		"From: =?utf-8?q?B=C3=BCro?= <office@example.com>\r\nTo: Accounts <accounts@example.org>, box@example.org\r\nSubject: RE: Letter\r\n" +
		"Date: Mon, 5 Jan 2026 08:00:00 +0000\r\nMessage-ID: <1@example.com>\r\nMIME-Version: 1.0\r\nX-Mailer: letters\r\n" +
		"Content-Type: multipart/related; boundary=b\r\n\r\n--b\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n")
	q := quotedprintable.NewWriter(&mail)
	_, _ = q.Write(page.Bytes()) // a bytes.Buffer takes all
	_ = q.Close()
	mail.WriteString("\r\n--b\r\nContent-Type: image/png; name=logo.png\r\nContent-ID: <logo>\r\nContent-Transfer-Encoding: base64\r\n\r\n" +
		strings.Repeat(base64Line, 360) + "--b--\r\n")
	return mail.Bytes()
}

// sink is a file that is not kept.
type sink struct{}

func (sink) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }

func BenchmarkConvert(b *testing.B) {
	// Reading is a part of converting: the text is not yet decoded.
	b.Run("letter", func(b *testing.B) {
		mail := letter()
		b.SetBytes(int64(len(mail)))
		b.ReportAllocs()
		for b.Loop() {
			if _, err := outlook.Convert(context.Background(), sink{}, read(b, mail), outlook.Options{}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("large", func(b *testing.B) {
		m := largeMessage(b, 22<<20)
		b.SetBytes(m.Whole.Len())
		for b.Loop() {
			if _, err := outlook.Convert(context.Background(), sink{}, m, outlook.Options{}); err != nil {
				b.Fatal(err)
			}
		}
	})
}
