package outlook_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"postroom/ingest/message"
	"postroom/ingest/outlook"
	"postroom/ingest/outlook/cfb"
)

func TestNotAMessage(t *testing.T) {
	f := &file{}
	w := cfb.NewWriter(f)
	if err := errors.Join(w.Root().Put("WordDocument", []byte("x")), w.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := outlook.Open(bytes.NewReader(f.b), int64(len(f.b))); !errors.Is(err, outlook.ErrNotMessage) {
		t.Error(err)
	}
	var format *cfb.FormatError
	for _, b := range []string{"", "Subject: x\r\n\r\n", strings.Repeat("x", 5000)} {
		if _, err := outlook.Open(strings.NewReader(b), int64(len(b))); !errors.As(err, &format) {
			t.Errorf("%q: %v", b, err)
		}
	}
}

// TestOLE: an object of another program is a compound file as it has to be, with
// all that was in the storage.
func TestOLE(t *testing.T) {
	raw, report := back(t, build(t, "001A001F IPM.Note\nattach0/37050003 6\nattach0/3001001F Picture\nattach0/3701000D storage\n"))
	wellFormed(t, raw, report)
	m := read(t, raw)
	a := m.Layout().Attachments
	if len(a) != 1 || a[0].Name != "Picture.ole" || a[0].Type != "application/x-ole-storage" || len(report.Losses) != 1 {
		t.Fatal(a, report.Losses)
	}
	b, err := io.ReadAll(m.Open(a[0].Part))
	if err != nil {
		t.Fatal(err)
	}
	f, err := cfb.Open(bytes.NewReader(b), int64(len(b)))
	if err != nil || len(f.Faults) > 0 {
		t.Fatal(err, f)
	}
	for _, e := range []struct {
		e    *cfb.Entry
		want string
	}{{f.Root.Entry("\x01Ole10Native"), "native data"}, {f.Root.Entry("inner").Entry("CONTENTS"), strings.Repeat("x", 5000)}} {
		r, err := e.e.Open()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); err != nil || string(got) != e.want {
			t.Errorf("%s: %d bytes, %v", e.e.Name, len(got), err)
		}
	}
}

// TestDeep: messages that are nested deeper than the bound are files.
func TestDeep(t *testing.T) {
	var lines strings.Builder
	path := ""
	for range 40 {
		fmt.Fprintf(&lines, "%s001A001F IPM.Note\n%s1000001F level\n%sattach0/37050003 5\n%sattach0/3701000D\n", path, path, path, path)
		path += "attach0/3701000D/"
	}
	lines.WriteString(path + "001A001F IPM.Note\n")
	raw, report := back(t, build(t, lines.String()))
	n := 0
	for p := range read(t, raw).All() {
		if p.IsMessage() {
			n++
		}
	}
	if n != 32 || len(report.Losses) != 2 || !strings.Contains(fmt.Sprint(report.Losses), "nested deeper than 32") {
		t.Error(n, report.Losses)
	}
}

// TestMailErrors: damage and errors end the conversion, and say where.
func TestMailErrors(t *testing.T) {
	b := build(t, "001A001F IPM.Note\n1000001F "+strings.Repeat("text ", 3000)+"\nattach0/37050003 1\nattach0/3707001F big.bin\nattach0/37010102 "+strings.Repeat("data", 3000)+"\n")
	f, err := outlook.Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := f.WriteMail(ctx, io.Discard); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	for n := range 4 {
		if _, err := f.WriteMail(context.Background(), &fullWriter{left: n * 5000}); !errors.Is(err, errDisk) {
			t.Error(err)
		}
	}
	bad := 0
	for at := 0; at < len(b); at += 512 {
		r := brokenReader{bytes.NewReader(b), int64(at)}
		f, err := outlook.Open(r, int64(len(b)))
		if err == nil {
			_, err = f.WriteMail(context.Background(), io.Discard)
		}
		if errors.Is(err, errDisk) {
			bad++
		} else {
			t.Errorf("sector %d: %v", at/512, err)
		}
	}
	// A chain that is cut: of the text, of the attachment.
	damaged := map[string]bool{}
	var format *cfb.FormatError
	for at := len(b) - 512; at < len(b); at += 4 { // the FAT
		c := bytes.Clone(b)
		copy(c[at:], "\xfe\xff\xff\xff")
		f, err := outlook.Open(bytes.NewReader(c), int64(len(c)))
		if err == nil {
			_, err = f.WriteMail(context.Background(), io.Discard)
		}
		switch {
		case err == nil:
		case errors.Is(err, outlook.ErrNotMessage):
		case errors.As(err, &format):
			for _, what := range []string{"the text:", `attachment 1: "big.bin":`} {
				if strings.Contains(err.Error(), what) {
					damaged[what] = true
				}
			}
		default:
			t.Fatalf("offset %d: %v", at, err)
		}
	}
	if len(damaged) != 2 {
		t.Error(damaged)
	}
}

type fullWriter struct{ left int }

func (f *fullWriter) Write(p []byte) (int, error) {
	if f.left -= len(p); f.left < 0 {
		return 0, errDisk
	}
	return len(p), nil
}

// brokenReader is a file of which a sector cannot be read.
type brokenReader struct {
	r  io.ReaderAt
	at int64
}

func (b brokenReader) ReadAt(p []byte, off int64) (int, error) {
	if off < b.at+512 && b.at < off+int64(len(p)) {
		return 0, errDisk
	}
	return b.r.ReadAt(p, off)
}

// asked is a context that counts how often it was asked.
type asked struct {
	context.Context
	times int64
}

func (a *asked) Err() error {
	a.times++
	return nil
}

// firstWrite keeps how often the context was asked before the first write.
type firstWrite struct {
	ctx    *asked
	before int64
}

func (f *firstWrite) Write(p []byte) (int, error) {
	if f.before == 0 {
		f.before = f.ctx.times
	}
	return len(p), nil
}

// TestContextInTexts: it is asked while texts are looked at, before they are written.
func TestContextInTexts(t *testing.T) {
	const size = 4 << 20
	for _, kind := range []string{"text/plain", "text/html", "application/pdf"} {
		b, _ := convert(t, []byte("Content-Type: "+kind+"\r\n\r\n"+strings.Repeat("some text of a message\r\n", size/24)), outlook.Options{})
		f, err := outlook.Open(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		w := &firstWrite{ctx: &asked{Context: context.Background()}}
		if _, err := f.WriteMail(w.ctx, w); err != nil {
			t.Fatal(err)
		}
		looked := w.before - int64(len(b))>>15 // the whole file is read before
		if some := int64(size) >> 15 / 2; (looked >= some) != (kind != "application/pdf") {
			t.Errorf("%s: it was asked %d times", kind, looked)
		}
	}
}

// TestHostileReferences: the work does not go with the square of what may be links.
func TestHostileReferences(t *testing.T) {
	for _, s := range []string{"=", "(", "cid:", "= ", "=\""} {
		html := "<img src=\"cid:first\">" + strings.Repeat(s, 2<<20/len(s))
		b, _ := convert(t, []byte("Content-Type: multipart/related; boundary=b\r\n\r\n--b\r\nContent-Type: text/html\r\n\r\n"+html+
			"\r\n--b\r\nContent-Type: image/png\r\nContent-ID: <first>\r\n\r\nx\r\n--b--\r\n"), outlook.Options{})
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		raw, _ := back(t, b)
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > 200<<20 {
			t.Errorf("%q: %d bytes of memory in all", s, n)
		}
		if !bytes.Contains(raw, []byte("multipart/related")) {
			t.Errorf("%q: the picture is not inline", s)
		}
	}
}

// TestMailMemory: neither texts nor attachments are in memory.
func TestMailMemory(t *testing.T) {
	used := func(size int64) int64 {
		f := &file{}
		w := cfb.NewWriter(f)
		stream := func(s *cfb.Storage, name string, size int64) {
			st, err := s.Stream(name)
			for n := int64(0); n < size && err == nil; n += 1 << 16 {
				_, err = st.Write(bytes.Repeat([]byte("<p>text"), 1<<16/7)[:1<<16/14*14])
			}
			if err := errors.Join(err, st.Close()); err != nil {
				t.Fatal(err)
			}
		}
		stream(w.Root(), "__substg1.0_1000001F", size/8)
		stream(w.Root(), "__substg1.0_10130102", size/8)
		a, err := w.Root().Storage("__attach_version1.0_#00000000")
		if err != nil {
			t.Fatal(err)
		}
		stream(a, "__substg1.0_37010102", size)
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		r := testing.Benchmark(func(b *testing.B) {
			for range b.N {
				f, err := outlook.Open(bytes.NewReader(f.b), int64(len(f.b)))
				if err != nil {
					b.Fatal(err)
				}
				if report, err := f.WriteMail(context.Background(), io.Discard); err != nil || report.Size < size {
					b.Fatal(err, report)
				}
			}
		})
		return r.AllocedBytesPerOp()
	}
	if small, big := used(1<<20), used(24<<20); big > small+256<<10 {
		t.Errorf("%d bytes of memory for a file of 1 MiB, %d for one of 24 MiB", small, big)
	}
}

// TestRandomDamage: whatever is broken in a file, it is read or refused.
func TestRandomDamage(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for seed := range uint64(60) {
		g := &maker{r: rand.New(rand.NewPCG(seed, 3))}
		b, _ := convert(t, []byte(g.mail(0)), outlook.Options{})
		for range 20 {
			c := bytes.Clone(b)
			for range 1 + r.IntN(4) {
				copy(c[r.IntN(len(c)):], [][]byte{{0xFF, 0xFF, 0xFF, 0xFF}, {0}, {1}, {0xFE, 0xFF, 0xFF, 0xFF}, {0, 0, 0, 0}, {0xFF, 0xFF, 0xFF, 0x7F}}[r.IntN(6)])
			}
			if r.IntN(4) == 0 {
				c = c[:r.IntN(len(c))]
			}
			tryOpen(t, c)
		}
	}
}

// tryOpen converts what may be a message, and checks what comes of it.
func tryOpen(t *testing.T, b []byte) {
	t.Helper()
	f, err := outlook.Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return
	}
	out := &limited{most: 200*len(b) + 1<<20}
	report, err := f.WriteMail(context.Background(), out)
	if errors.Is(err, errTooMuch) {
		t.Fatalf("%d bytes became more than %d", len(b), out.most)
	}
	if err != nil {
		return
	}
	if _, err := message.Read(context.Background(), bytes.NewReader(out.b.Bytes()), int64(out.b.Len()), message.Limits{}); err != nil {
		t.Fatal(err)
	}
	wellFormed(t, out.b.Bytes(), report)
}

var errTooMuch = errors.New("too much")

type limited struct {
	b    bytes.Buffer
	most int
}

func (l *limited) Write(p []byte) (int, error) {
	if l.b.Len()+len(p) > l.most {
		return 0, errTooMuch
	}
	return l.b.Write(p)
}

// FuzzOpenMsg: any file is read or refused, without memory or time that its size
// does not explain; what is written is right in its form.
func FuzzOpenMsg(f *testing.F) {
	for _, pattern := range []string{"testdata/*.txtar", "testdata/mail/*.txtar"} {
		fixtures, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, name := range fixtures {
			a, err := txtar.ParseFile(name)
			if err != nil {
				f.Fatal(err)
			}
			switch section := a.Files[0]; section.Name {
			case "mail":
				b, _ := convert(f, crlf(section.Data), outlook.Options{Mailbox: "box@example.com"})
				f.Add(b)
			case "msg":
				f.Add(build(f, string(section.Data)))
			}
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		tryOpen(t, b)
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > 64<<20+400*uint64(len(b)) {
			t.Errorf("%d bytes were allocated for %d", n, len(b))
		}
	})
}

// TestSignedIsUnaltered: the signed bytes of a message are those of the mail, for
// any line ends and bytes that it has.
func TestSignedIsUnaltered(t *testing.T) {
	body := "preamble \r\n--b\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: 8bit\r\n\r\nGr\xfcn \t\nbare\rlines\r\n\r\n--b\r\n" +
		"Content-Type: application/pkcs7-signature\r\n\r\nMIIB\r\n--b--\r\nepilogue"
	head := "Content-Type: multipart/signed; protocol=\"application/pkcs7-signature\"; boundary=b\r\n\r\n"
	for _, raw := range []string{
		"From: a@example.com\r\nSubject: x\r\n" + head + body,
		"From: a@example.com\nSubject: x\n" + strings.ReplaceAll(head+body, "\r\n", "\n"),
		"Content-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\nContent-Type: message/rfc822\r\n\r\nSubject: in\r\n" + head + body + "\r\n--o--\r\n",
	} {
		b, _ := convert(t, []byte(raw), outlook.Options{})
		is, _ := back(t, b)
		want := body
		if !strings.Contains(raw, "\r\n") {
			want = strings.ReplaceAll(body, "\r\n", "\n")
		}
		if !bytes.Contains(is, []byte(want)) {
			t.Errorf("the signed bytes are not in\n%q", is)
		}
		if m := read(t, is); m.Type == "multipart/mixed" && (m.Parts[1].Header.Raw("Content-Transfer-Encoding") != "binary" || m.Header.Raw("Content-Transfer-Encoding") != "binary") {
			t.Error("8-bit content is not said to be there")
		}
	}
}

// TestEncodedContent: of what is encrypted, the bytes are those of the mail.
func TestEncodedContent(t *testing.T) {
	der := append([]byte{0x30, 0x80}, bytes.Repeat([]byte{1, 2, 3}, 1000)...)
	raw := "From: a@example.com\r\nContent-Type: application/x-pkcs7-mime; smime-type=enveloped-data; name=smime.p7m\r\nContent-Transfer-Encoding: base64\r\n\r\n" + base64.StdEncoding.EncodeToString(der)
	b, _ := convert(t, []byte(raw), outlook.Options{})
	is, _ := back(t, b)
	m := read(t, is)
	got, err := io.ReadAll(m.Open(&m.Part))
	if err != nil || sha256.Sum256(got) != sha256.Sum256(der) || m.Type != "application/x-pkcs7-mime" || m.Params["smime-type"] != "enveloped-data" {
		t.Error(m.Type, m.Params, len(got), err)
	}
}

// TestSealed: what is encrypted with OpenPGP is so again.
func TestSealed(t *testing.T) {
	raw := "From: a@example.com\r\nContent-Type: multipart/encrypted; boundary=b;\r\n protocol=\"application/pgp-encrypted\"\r\n\r\n--b\r\nContent-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n" +
		"--b\r\nContent-Type: application/octet-stream; name=encrypted.asc\r\n\r\n-----BEGIN PGP MESSAGE-----\r\n\r\nhQ\r\n-----END PGP MESSAGE-----\r\n--b--\r\n"
	b, _ := convert(t, []byte(raw), outlook.Options{})
	is, _ := back(t, b)
	m := read(t, is)
	if m.Type != "multipart/encrypted" || m.Params["protocol"] != "application/pgp-encrypted" || len(m.Parts) != 2 || m.Parts[0].Type != "application/pgp-encrypted" {
		t.Errorf("%s", is)
	}
}

func BenchmarkWriteMail(b *testing.B) {
	for _, size := range []int64{50 << 10, 22 << 20} {
		b.Run(fmt.Sprint(size>>10, "k"), func(b *testing.B) {
			w := &file{}
			if _, err := outlook.Convert(context.Background(), w, largeMessage(b, size), outlook.Options{}); err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(w.b)))
			for b.Loop() {
				f, err := outlook.Open(bytes.NewReader(w.b), int64(len(w.b)))
				if err == nil {
					_, err = f.WriteMail(context.Background(), io.Discard)
				}
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestLongPlace: the place of a loss names an attached message by the beginning of
// its name.
func TestLongPlace(t *testing.T) {
	b := build(t, "001A001F IPM.Note\nattach0/37050003 5\nattach0/3001001F "+strings.Repeat("x", 5000)+"\nattach0/3701000D\nattach0/3701000D/001A001F IPM.Task\n")
	_, report := back(t, b)
	if want := fmt.Sprintf("attached message %q", strings.Repeat("x", 100)); len(report.Losses) != 1 || report.Losses[0].Place != want {
		t.Error(report.Losses)
	}
}
