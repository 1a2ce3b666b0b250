package mailgen

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"image/png"
	"io"
	"mime"
	"net/mail"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-message"
	"golang.org/x/text/encoding/htmlindex"
)

const sample = 400

func charsetReader(charset string, r io.Reader) (io.Reader, error) {
	if charset == "iso-8859-1" || charset == "us-ascii" {
		charset = "windows-1252" // a superset, which is what the index knows them as
	}
	e, err := htmlindex.Get(charset)
	if err != nil {
		return nil, err
	}
	return e.NewDecoder().Reader(r), nil
}

func TestSameSeedSameMail(t *testing.T) {
	a, b, other := New(7), New(7), New(8)
	for i := range 50 {
		x, y, z := a.Next(), b.Next(), other.Next()
		if !bytes.Equal(x.Raw, y.Raw) || x.MessageID != y.MessageID || !x.Date.Equal(y.Date) {
			t.Fatalf("mail %d differs", i)
		}
		if bytes.Equal(x.Raw, z.Raw) || x.MessageID == z.MessageID {
			t.Fatalf("mail %d of another seed is the same", i)
		}
	}
}

func TestHeader(t *testing.T) {
	words := mime.WordDecoder{CharsetReader: charsetReader}
	address := regexp.MustCompile(`[\w.-]+@[\w.-]+`)
	reserved := regexp.MustCompile(`@([a-z0-9-]+\.)*example\.(com|org|net)$`)
	ids := map[string]bool{}
	var last time.Time
	g := New(1, Small())
	for i := range sample {
		m := g.Next()
		parsed, err := mail.ReadMessage(bytes.NewReader(m.Raw))
		if err != nil {
			t.Fatalf("mail %d: %v", i, err)
		}
		subject, err := words.DecodeHeader(parsed.Header.Get("Subject"))
		if err != nil || subject != m.Subject {
			t.Errorf("mail %d: subject %q, %v; want %q", i, subject, err, m.Subject)
		}
		header, _, _ := bytes.Cut(m.Raw, []byte("\r\n\r\n"))
		for line := range bytes.SplitSeq(header, []byte("\r\n")) {
			if len(line) > 78 {
				t.Errorf("mail %d: header line of %d bytes: %q", i, len(line), line)
			}
		}
		if !bytes.HasPrefix(header, []byte("Received: ")) {
			t.Errorf("mail %d begins with %.20q, want the trace", i, header)
		}
		if date, err := parsed.Header.Date(); err != nil || !date.Equal(m.Date) {
			t.Errorf("mail %d: date %v, %v; want %v", i, date, err, m.Date)
		}
		if id := parsed.Header.Get("Message-Id"); id != m.MessageID || ids[id] {
			t.Errorf("mail %d: message id %q, want %q and unique", i, id, m.MessageID)
		}
		ids[m.MessageID] = true
		if !m.Date.After(last) {
			t.Errorf("mail %d: %v is not after %v", i, m.Date, last)
		}
		last = m.Date
		if !strings.HasPrefix(m.Folder, "Inbox") {
			t.Errorf("mail %d: folder %q", i, m.Folder)
		}
		for _, field := range []string{"From", "To", "Message-Id"} {
			for _, a := range address.FindAllString(parsed.Header.Get(field), -1) {
				if !reserved.MatchString(a) {
					t.Errorf("mail %d: %s: %s may be somebody's", i, field, a)
				}
			}
		}
	}
}

func TestEncodedWords(t *testing.T) {
	word := regexp.MustCompile(`=\?[^ ]*\?=`)
	for _, l := range languages {
		for _, format := range l.subjects {
			subject := fmt.Sprintf(format, "INV-123456")
			words := mime.WordDecoder{CharsetReader: charsetReader}
			encoded := l.header(subject)
			for _, w := range word.FindAllString(encoded, -1) {
				if len(w) > maxEncodedWord {
					t.Errorf("%s: %q has %d bytes", l.charset, w, len(w))
				}
				if _, err := words.Decode(w); err != nil {
					t.Errorf("%s: %q: %v", l.charset, w, err)
				}
			}
			if decoded, err := words.DecodeHeader(encoded); err != nil || decoded != subject {
				t.Errorf("%s: %q, %v; want %q", l.charset, decoded, err, subject)
			}
		}
	}
}

func TestLinesEndInCRLF(t *testing.T) {
	g := New(2, Small())
	for i := range sample {
		raw := g.Next().Raw
		if !bytes.HasSuffix(raw, []byte("\r\n")) {
			t.Errorf("mail %d ends in %q", i, raw[len(raw)-4:])
		}
		if n := bytes.Count(raw, []byte("\r\n")); bytes.Count(raw, []byte("\n")) != n || bytes.Count(raw, []byte("\r")) != n {
			t.Errorf("mail %d has line ends other than CRLF", i)
		}
	}
}

func TestSizes(t *testing.T) {
	count := map[string]int{}
	g := New(3)
	for range sample {
		switch n := len(g.Next().Raw); {
		case 3<<10 <= n && n <= 26<<10:
			count["small"]++
		case 45<<10 <= n && n <= 330<<10:
			count["medium"]++
		case 900<<10 <= n && n <= 55<<17:
			count["large"]++
		default:
			t.Errorf("mail of %d bytes", n)
		}
	}
	for class, share := range map[string]float64{"small": 0.70, "medium": 0.25, "large": 0.05} {
		if got := float64(count[class]) / sample; got < share*0.6 || got > share*1.4 {
			t.Errorf("%s: %.2f of all, want about %.2f", class, got, share)
		}
	}

	total := 0
	g = New(3, Moderate())
	for range 2 * sample {
		n := len(g.Next().Raw)
		total += n
		if n > 5<<19 {
			t.Errorf("mail of %d bytes, moderate", n)
		}
	}
	if mean := total / (2 * sample); mean < 100_000 || mean > 140_000 {
		t.Errorf("moderate mail has %d bytes on average, want about 120,000", mean)
	}

	g = New(3, Small())
	for range sample {
		if n := len(g.Next().Raw); n < 1<<10 || n > 18<<10 {
			t.Errorf("small mail of %d bytes", n)
		}
	}
}

func TestStarting(t *testing.T) {
	start := time.Date(2030, 5, 6, 7, 8, 9, 10, time.UTC)
	m := New(1, Starting(start)).Next()
	if m.Date.Before(start) || m.Date.After(start.Add(time.Hour)) {
		t.Errorf("first mail of %v, want soon after %v", m.Date, start)
	}
}

// TestContent walks every part of every mail, of which some are large, and counts
// what there is.
func TestContent(t *testing.T) {
	seen := map[string]int{}
	small, mixed := New(4, Small()), New(4)
	for i := range sample {
		m := small.Next()
		if i%10 == 0 {
			m = mixed.Next()
		}
		e, err := message.Read(bytes.NewReader(m.Raw))
		if err != nil && !message.IsUnknownCharset(err) {
			t.Fatalf("mail %d: %v", i, err)
		}
		walk(t, e, seen)
		for line := range bytes.SplitSeq(m.Raw, []byte("\r\n")) {
			if len(line) > 998 {
				seen["long line"]++
			}
			if len(line) > 0 && line[0] == '.' {
				seen["leading dot"]++
			}
			if string(line) == "." {
				seen["lone dot"]++
			}
		}
	}
	want := []string{
		"multipart/mixed", "multipart/alternative", "multipart/related", "text/plain", "text/html",
		"image/png", "application/pdf", "message/rfc822", "7bit", "8bit", "quoted-printable", "base64",
		"long line", "leading dot", "lone dot", "name beyond ASCII",
	}
	for _, l := range languages {
		want = append(want, "charset "+l.charset)
	}
	for _, what := range want {
		if seen[what] == 0 {
			t.Errorf("no %s in %d mails", what, sample)
		}
	}
}

func walk(t *testing.T, e *message.Entity, seen map[string]int) {
	t.Helper()
	mediaType, params, err := e.Header.ContentType()
	if err != nil {
		t.Fatal(err)
	}
	seen[mediaType]++
	seen[e.Header.Get("Content-Transfer-Encoding")]++
	if parts := e.MultipartReader(); parts != nil {
		for {
			child, err := parts.NextPart()
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil && !message.IsUnknownCharset(err) {
				t.Fatal(err)
			}
			walk(t, child, seen)
		}
	}
	content, err := io.ReadAll(e.Body)
	if err != nil {
		t.Fatal(err)
	}
	if len(content) == 0 {
		t.Errorf("empty %s", mediaType)
	}
	if _, disposition, err := e.Header.ContentDisposition(); err == nil && strings.ContainsFunc(disposition["filename"], func(r rune) bool { return r > '~' }) {
		seen["name beyond ASCII"]++
	}
	switch mediaType {
	case "message/rfc822":
		inner, err := message.Read(bytes.NewReader(content))
		if err != nil && !message.IsUnknownCharset(err) {
			t.Fatal(err)
		}
		walk(t, inner, seen)
	case "image/png":
		if _, err := png.Decode(bytes.NewReader(content)); err != nil {
			t.Errorf("logo: %v", err)
		}
	case "application/pdf":
		checkPDF(t, content)
	case "text/plain", "text/html":
		charset := params["charset"]
		seen["charset "+charset]++
		checkText(t, charset, content)
	}
}

// checkText fails unless the text is of its charset and says something.
func checkText(t *testing.T, charset string, content []byte) {
	t.Helper()
	r, err := charsetReader(charset, bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(r)
	if err != nil || bytes.ContainsRune(text, '\uFFFD') {
		t.Errorf("text in %s: %v: %q", charset, err, text)
	}
	if !regexp.MustCompile(`(ORD|INV|CLM)-\d{6}`).Match(text) {
		t.Errorf("text without a reference: %q", text)
	}
}

var (
	startxref = regexp.MustCompile(`startxref\n(\d+)\n%%EOF\n$`)
	entry     = regexp.MustCompile(`(?m)^(\d{10}) 00000 n $`)
	stream    = regexp.MustCompile(`/Length (\d+) >>\nstream\n`)
)

// checkPDF follows the cross-reference table and the lengths of the streams.
func checkPDF(t *testing.T, b []byte) {
	t.Helper()
	if !bytes.HasPrefix(b, []byte("%PDF-1.4\n")) {
		t.Fatalf("PDF begins with %q", b[:9])
	}
	number := func(digits []byte) int {
		n, err := strconv.Atoi(string(digits))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	last := startxref.FindSubmatch(b)
	if last == nil {
		t.Fatal("PDF without startxref")
	}
	table := b[number(last[1]):]
	if !bytes.HasPrefix(table, []byte("xref\n0 7\n0000000000 65535 f \n")) {
		t.Fatalf("cross-reference table begins with %q", table[:20])
	}
	entries := entry.FindAllSubmatch(table, -1)
	if len(entries) != 6 {
		t.Fatalf("cross-reference table of %d objects, want 6", len(entries))
	}
	for i, e := range entries {
		object := b[number(e[1]):]
		if !bytes.HasPrefix(object, fmt.Appendf(nil, "%d 0 obj\n", i+1)) {
			t.Errorf("object %d is not at its offset", i+1)
		}
		if at := stream.FindSubmatchIndex(object); i >= 4 {
			if at == nil {
				t.Fatalf("object %d has no stream", i+1)
			}
			end := object[at[1]+number(object[at[2]:at[3]]):]
			if !bytes.HasPrefix(end, []byte("\nendstream\nendobj\n")) {
				t.Errorf("stream of object %d does not end at its length", i+1)
			}
		}
	}
}

func TestWriteLargeHasTheSize(t *testing.T) {
	for _, size := range []int64{4000, 4001, 4077, 4078, 100_000, 1_000_003} {
		var b bytes.Buffer
		if err := New(5).WriteLarge(&b, size); err != nil {
			t.Fatal(err)
		}
		if int64(b.Len()) != size {
			t.Errorf("%d bytes, want %d", b.Len(), size)
		}
		e, err := message.Read(&b)
		if err != nil {
			t.Fatal(err)
		}
		var text, attached int
		parts := e.MultipartReader()
		for {
			p, err := parts.NextPart()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil && !message.IsUnknownCharset(err) {
				t.Fatal(err)
			}
			content, err := io.ReadAll(p.Body)
			if err != nil {
				t.Fatal(err)
			}
			if mediaType, _, _ := p.Header.ContentType(); mediaType == "text/plain" {
				text = len(content)
			} else {
				attached = len(content)
			}
		}
		if text == 0 || attached < int(size-3000)*57/78 {
			t.Errorf("size %d: text of %d bytes, attachment of %d", size, text, attached)
		}
	}
	if err := New(5).WriteLarge(io.Discard, 100); err == nil {
		t.Error("100 bytes: no error")
	}
}

func TestWriteLargeIsDeterministic(t *testing.T) {
	sum := func(seed uint64) [32]byte {
		h := sha256.New()
		if err := New(seed).WriteLarge(h, 3_000_000); err != nil {
			t.Fatal(err)
		}
		return [32]byte(h.Sum(nil))
	}
	first, again := sum(1), sum(1)
	if first != again {
		t.Error("same seed, other mail")
	}
	if first == sum(2) {
		t.Error("other seed, same mail")
	}
}

func TestWriteLargeKeepsMemoryFlat(t *testing.T) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if err := New(6).WriteLarge(io.Discard, 150_000_000); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if allocated := after.TotalAlloc - before.TotalAlloc; allocated > 4<<20 {
		t.Errorf("allocated %d bytes", allocated)
	}
}

func TestWriteLargeReportsAFullDisk(t *testing.T) {
	full := errors.New("disk is full")
	if err := New(6).WriteLarge(failing{full}, 1_000_000); !errors.Is(err, full) {
		t.Errorf("error %v, want %v", err, full)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

func BenchmarkNext(b *testing.B) {
	g := New(1)
	var total int64
	for b.Loop() {
		total += int64(len(g.Next().Raw))
	}
	b.SetBytes(total / int64(b.N))
}

func BenchmarkWriteLarge(b *testing.B) {
	g := New(1)
	const size = 150_000_000
	b.SetBytes(size)
	for b.Loop() {
		if err := g.WriteLarge(io.Discard, size); err != nil {
			b.Fatal(err)
		}
	}
}
