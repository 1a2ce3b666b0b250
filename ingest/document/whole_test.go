package document

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/tools/txtar"

	"postroom/ingest/message"
	"postroom/internal/corpus"
	"postroom/internal/mailgen"
	"postroom/store"
)

// rawInput is a message of which nothing else is known.
func rawInput(raw []byte) Input {
	return Input{
		Source: "a", Type: "imap", Fetched: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		Raw: bytes.NewReader(raw), Size: int64(len(raw)), SHA256: sha256.Sum256(raw),
	}
}

func contentOf(t testing.TB, f store.File) []byte {
	t.Helper()
	r, err := f.Open()
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if int64(len(b)) != f.Size || sha256.Sum256(b) != f.SHA256 {
		t.Fatalf("%s has %d bytes and not the size or SHA-256 that are announced: %d", f.Name, len(b), f.Size)
	}
	return b
}

func readAll(t testing.TB, r io.Reader) []byte {
	t.Helper()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func mustRead(t testing.TB, raw []byte) *message.Message {
	t.Helper()
	m, err := message.Read(context.Background(), bytes.NewReader(raw), int64(len(raw)), message.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// whole makes a document of a message and checks that the message file and the
// attachments together hold every byte of it: outside of the stubs the message
// file is the message; a stub has the header of the part that was there; and the
// content of that part is the file that the stub names. It returns the document.
func whole(t testing.TB, raw []byte) *store.Document {
	t.Helper()
	rules := Rules{SeparateAttachments: true, KeepOriginal: true}
	d := mustMake(t, rawInput(raw), rules)
	d.Filed = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	if err := d.Check(); err != nil {
		t.Fatal(err)
	}
	again := mustMake(t, rawInput(raw), rules)
	again.Filed = d.Filed
	one, err := store.MarshalDocument(d)
	if err != nil {
		t.Fatal(err)
	}
	two, err := store.MarshalDocument(again)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(one, two) {
		t.Fatalf("made twice:\n%s\n%s", one, two)
	}
	files := map[string]store.File{}
	for i, f := range d.Files {
		want := store.RoleAttachment
		switch i {
		case 0:
			want = store.RoleMessage
		case len(d.Files) - 1:
			want = store.RoleOriginal
		}
		if f.Role != want {
			t.Fatalf("file %d, %s, has the role %s", i, f.Name, f.Role)
		}
		contentOf(t, f)
		files[f.Name] = f
	}
	if got := contentOf(t, d.Files[len(d.Files)-1]); !bytes.Equal(got, raw) {
		t.Fatal("the original is not the original")
	}
	altered := contentOf(t, d.Files[0])

	before, after := mustRead(t, raw), mustRead(t, altered)
	for p := range before.All() {
		checkSum(t, before, p)
	}
	var oldOutside, newOutside []byte // what is not in a part that was replaced
	oldEnd, newEnd := int64(0), int64(0)
	var walk func(p, q *message.Part)
	walk = func(p, q *message.Part) {
		isStub := len(q.Header.Values("X-Postroom-Stub")) > len(p.Header.Values("X-Postroom-Stub"))
		if len(p.Parts) == len(q.Parts) && !isStub {
			for i := range p.Parts {
				walk(p.Parts[i], q.Parts[i])
			}
			return
		}
		if !isStub {
			t.Fatalf("%s at %v has %d parts, then %d", p.Type, p.Whole, len(p.Parts), len(q.Parts))
		}
		oldOutside = append(oldOutside, raw[oldEnd:p.Whole.Start]...)
		newOutside = append(newOutside, altered[newEnd:q.Whole.Start]...)
		oldEnd, newEnd = p.Whole.End, q.Whole.End
		if oldEnd < int64(len(raw)) && raw[oldEnd] == '-' {
			// The line end before the boundary line was the last of the content.
			newEnd += int64(len(altered[newEnd:]) - len(bytes.TrimLeft(altered[newEnd:], "\r\n")))
		}

		stub := strings.ReplaceAll(strings.ReplaceAll(string(altered[q.Body.Start:q.Body.End]), "\r\n", "\n"), "\r", "\n")
		lines := strings.Split(stub, "\n")
		if len(lines) < 5 || lines[0] != stubTitle {
			t.Fatalf("stub %q", stub)
		}
		f, ok := files[strings.TrimPrefix(lines[1], "File: ")]
		if !ok || lines[2] != "Media type: "+f.MediaType || lines[3] != fmt.Sprintf("Size: %d bytes", f.Size) || lines[4] != fmt.Sprintf("SHA-256: %x", f.SHA256) {
			t.Fatalf("stub %q names no file of %+v", stub, d.Files)
		}
		delete(files, f.Name)
		if got, want := contentOf(t, f), readAll(t, before.Open(p)); !bytes.Equal(got, want) {
			t.Fatalf("%s is %.100q, want %.100q", f.Name, got, want)
		}
		// The header: the fields that stayed, and those that are in the stub.
		want := headerLines(raw[p.Whole.Start:p.Body.Start])
		got := headerLines(altered[q.Whole.Start:q.Body.Start])
		for _, line := range []string{"Content-Type: text/plain; charset=utf-8", "Content-Transfer-Encoding: 7bit", "Content-Transfer-Encoding: 8bit", "Content-Disposition: inline", "X-Postroom-Stub: 1"} {
			if i := slices.Index(got, line); i >= 0 {
				got = slices.Delete(got, i, i+1)
			}
		}
		for _, line := range lines[5:] {
			if line != "" {
				got = append(got, line)
			}
		}
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Fatalf("header of %s was\n%q\nis\n%q", f.Name, want, got)
		}
	}
	walk(&before.Part, &after.Part)
	oldOutside = append(oldOutside, raw[oldEnd:]...)
	newOutside = append(newOutside, altered[newEnd:]...)
	if !bytes.Equal(oldOutside, newOutside) {
		t.Fatalf("outside of the stubs the message was\n%.2000q\nis\n%.2000q", oldOutside, newOutside)
	}
	if before.Protected() != nil && !bytes.Equal(altered, raw) {
		t.Fatal("a protected message is altered")
	}
	return d
}

// checkSum checks what is said of a part in short: as it is read, and whether
// base64 is exact as it is counted character by character.
func checkSum(t testing.TB, m *message.Message, p *message.Part) {
	t.Helper()
	for range 2 {
		got, err := m.Sum(context.Background(), p)
		if err != nil {
			t.Fatal(err)
		}
		b := readAll(t, m.Open(p))
		want := message.Sum{Size: int64(len(b)), SHA256: sha256.Sum256(b), Exact: true}
		if p.Encoding == message.Base64 {
			clean, err := cleanBase64(context.Background(), m.Raw(m.Whole), p.Body, make([]byte, 100))
			if err != nil {
				t.Fatal(err)
			}
			want.Exact = clean != nil && clean.size == want.Size
		}
		if got != want {
			t.Fatalf("%s at %v is %+v, want %+v", p.Type, p.Body, got, want)
		}
	}
}

// headerLines returns the lines of a header that are not empty.
func headerLines(b []byte) []string {
	return slices.DeleteFunc(strings.FieldsFunc(string(b), func(r rune) bool { return r == '\r' || r == '\n' }), func(s string) bool { return s == "" })
}

// TestWholeOfFixtures makes documents of the mail by which the reader is tested.
func TestWholeOfFixtures(t *testing.T) {
	for _, file := range fixtures(t) {
		for name, raw := range fixtureMail(t, file) {
			t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar")+"/"+name, func(t *testing.T) {
				whole(t, raw)
				complete(t, raw)
			})
		}
	}
}

func fixtures(t testing.TB) []string {
	files, err := filepath.Glob("../message/testdata/read/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no fixtures: %v", err)
	}
	return files
}

// fixtureMail returns the mail in a file of fixtures, with line ends of CRLF.
func fixtureMail(t testing.TB, file string) map[string][]byte {
	a, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]byte{}
	for _, f := range a.Files {
		if !strings.HasSuffix(f.Name, ":") {
			f.Data = escapes.ReplaceAllFunc(f.Data, func(b []byte) []byte {
				n, err := strconv.ParseUint(string(b[2:]), 16, 8)
				if err != nil {
					t.Fatal(err)
				}
				return []byte{byte(n)}
			})
			out[f.Name] = bytes.ReplaceAll(f.Data, []byte("\n"), []byte("\r\n"))
			out[f.Name+" with LF"] = f.Data
			out[f.Name+" with CR"] = bytes.ReplaceAll(f.Data, []byte("\n"), []byte("\r"))
		}
	}
	return out
}

var escapes = regexp.MustCompile(`\\x[0-9a-f]{2}`)

// TestWholeOfGenerated makes documents of mail of a mailroom.
func TestWholeOfGenerated(t *testing.T) {
	g := mailgen.New(1, mailgen.Small())
	separated, inline := 0, 0
	for range 500 {
		mail := g.Next()
		d := whole(t, mail.Raw)
		if len(d.Files) > 2 {
			separated++
			for _, n := range d.Notes {
				t.Errorf("%s: %s", mail.Subject, n)
			}
		}
		if bytes.Contains(contentOf(t, d.Files[0]), []byte("Content-Type: image/")) {
			inline++
		}
	}
	t.Logf("%d with attachments, %d with pictures in the text", separated, inline)
	if separated < 50 || inline < 20 {
		t.Error("too few of them to show anything")
	}
}

// TestWholeOfCorpus makes documents of real and damaged mail, see corpus.
func TestWholeOfCorpus(t *testing.T) {
	messages, files, damaged := 0, 0, 0
	for _, a := range corpus.Read(t) {
		for _, mail := range a.Mail {
			messages++
			t.Run(mail.Name, func(t *testing.T) {
				d := whole(t, mail.Raw)
				complete(t, mail.Raw)
				files += len(d.Files) - 2
				for _, n := range d.Notes {
					if strings.Contains(n, "too damaged") {
						t.Log(n)
						damaged++
					}
				}
			})
		}
	}
	t.Logf("%d messages, %d attachments, %d messages too damaged to be altered", messages, files, damaged)
}

func FuzzMake(f *testing.F) {
	for _, file := range fixtures(f) {
		for _, raw := range fixtureMail(f, file) {
			f.Add(raw)
		}
	}
	for _, tt := range separations {
		f.Add([]byte(tt.mail))
	}
	f.Add([]byte(opaque(signedData(0x100, der(0x124, der(4, multi("mixed", plain, scan)))))))
	f.Add([]byte("Content-Type: a/b\r\nSubject: a\r\r\n-"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if len(raw) > 64<<10 {
			return
		}
		whole(t, raw)
		complete(t, raw)
		plain := mustMake(t, rawInput(raw), Rules{})
		if len(plain.Files) != 1 || !reflect.DeepEqual(contentOf(t, plain.Files[0]), raw) && len(raw) > 0 {
			t.Fatal("not the message alone")
		}
	})
}
