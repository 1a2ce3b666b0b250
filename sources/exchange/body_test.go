package exchange

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"net/mail"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"postroom/internal/graph"
)

// The end of the last part is found wherever the reads are cut.
func TestEnding(t *testing.T) {
	long := strings.Repeat("x", 3000)
	for name, row := range map[string]struct {
		message string
		whole   bool
	}{
		"no parts":           {"Subject: x\r\n\r\nbody", true},
		"header only":        {"Subject: x\r\n", true},
		"empty":              {"", true},
		"parts":              {"Content-Type: multipart/mixed; boundary=\"b=1\"\r\n\r\n--b=1\r\n\r\nx\r\n--b=1--\r\n", true},
		"folded":             {"content-type:\r\n multipart/mixed;\r\n\tboundary=b1\r\nSubject: y\r\n\r\n--b1\r\n\r\n" + long + "\r\n--b1--", true},
		"epilogue":           {"Content-Type: multipart/mixed; boundary=b1\n\n--b1\n\nx\n--b1--\nepilogue " + long, true},
		"cut":                {"Content-Type: multipart/mixed; boundary=b1\r\n\r\n--b1\r\n\r\n" + long + "\r\n--b1-", false},
		"cut in a part":      {"Content-Type: multipart/mixed; boundary=b1\r\n\r\n--b1\r\n\r\nx", false},
		"inner end only":     {"Content-Type: multipart/mixed; boundary=b1\r\n\r\n--b1\r\nContent-Type: multipart/mixed; boundary=b2\r\n\r\n--b2\r\n--b2--\r\n", false},
		"cut in the header":  {"Content-Type: multipart/mixed; boundary=b1\r\nSubject: x", false},
		"broken type":        {"Content-Type: multipart/mixed; boundary\r\n\r\nx", true},
		"of another field":   {"X-Content-Type: multipart/mixed; boundary=b1\r\n\r\nx", true},
		"quoted in the body": {"Subject: x\r\n\r\nContent-Type: multipart/mixed; boundary=b1\r\n\r\nx", true},
	} {
		for _, cut := range []int{1, 2, 7, 100, 1 << 20} {
			var e ending
			for p := []byte(row.message); len(p) > 0; {
				n := min(cut, len(p))
				e.write(p[:n])
				p = p[n:]
			}
			if e.whole() != row.whole {
				t.Errorf("%s in reads of %d: whole %v, want %v", name, cut, e.whole(), row.whole)
			}
		}
	}
}

func TestBase64Lines(t *testing.T) {
	for _, n := range []int{0, 1, 56, 57, 58, 512 * 57, 512*57 + 1, 200_000} {
		want := bytes.Repeat([]byte{0xfb, 0, 7}, n/3+1)[:n]
		var b bytes.Buffer
		if err := copyBase64(&b, iotest.HalfReader(bytes.NewReader(want))); err != nil {
			t.Fatal(err)
		}
		for line := range strings.SplitSeq(strings.TrimSuffix(b.String(), "\r\n"), "\r\n") {
			if len(line) > 76 {
				t.Fatalf("a line of %d characters", len(line))
			}
		}
		got, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(b.String(), "\r\n", ""))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes come back as %d, %v", n, len(got), err)
		}
	}
	if err := copyBase64(io.Discard, iotest.ErrReader(io.ErrClosedPipe)); err != io.ErrClosedPipe {
		t.Errorf("a read that fails gives %v", err)
	}
}

// What Graph tells of a header makes a header again, whatever it holds.
func TestMessageHead(t *testing.T) {
	address := func(name, address string) *graph.Address {
		a := new(graph.Address)
		a.Email.Name, a.Email.Address = name, address
		return a
	}
	msg := &graph.Message{To: []*graph.Address{address("Größe, Anna", "anna@example.com"), nil, address("", "b@example.com")}, Importance: "high"}
	msg.From, msg.Sender = address("A", "a@example.com"), address("A", "a@example.com")
	msg.Subject, msg.MessageID, msg.Sent.Time = "Rechnung 5 €\r\nBcc: x@example.com", "<1@example.com>", time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	msg.Headers = []graph.Header{
		{Name: "Received", Value: "from a by b; " + strings.Repeat("word ", 60)}, {Name: "To", Value: "Größe, Anna <anna@example.com>"},
		{Name: "MIME-Version", Value: "1.0"}, {Name: "Content-Type", Value: "multipart/signed"}, {Name: "X-Bad Name", Value: "x"}, {Name: "", Value: "x"},
		{Name: "X-Injected", Value: "a\r\nBcc: y@example.com\r\n\r\nbody"},
	}
	head := messageHead(msg)
	parsed, err := mail.ReadMessage(bytes.NewReader(append(head, "\r\n"...)))
	if err != nil {
		t.Fatalf("%v in\n%s", err, head)
	}
	to, err := parsed.Header.AddressList("To")
	if err != nil || len(to) != 2 || to[0].Name != "Größe, Anna" {
		t.Errorf("to %v, %v", to, err)
	}
	for _, name := range []string{"Bcc", "Sender", "Content-Type", "Mime-Version", "X-Bad"} {
		if got := parsed.Header.Get(name); got != "" {
			t.Errorf("field %s: %q", name, got)
		}
	}
	for name, want := range map[string]string{"Date": "Fri, 02 Jan 2026 03:04:05 +0000", "Message-Id": "<1@example.com>", "Importance": "high", "From": `"A" <a@example.com>`} {
		if got := parsed.Header.Get(name); got != want {
			t.Errorf("field %s: %q, want %q", name, got, want)
		}
	}
	for line := range strings.SplitSeq(string(head), "\r\n") {
		if len(line) > 200 {
			t.Errorf("a line of %d characters", len(line))
		}
	}
}

func TestCursorText(t *testing.T) {
	c := cursor{Kind: changesCursor, Link: "https://graph.microsoft.com/v1.0/users('a')/x?$skiptoken=<&>", Done: []string{hash("a"), hash("b")}, Round: 5}
	text := c.text()
	if strings.ContainsFunc(string(text), func(r rune) bool { return r < ' ' || r > '~' }) {
		t.Errorf("not printable: %q", text)
	}
	if back := parseCursor(text, changesCursor); fmt.Sprint(back) != fmt.Sprint(c) {
		t.Errorf("%+v comes back as %+v", c, back)
	}
	if back := parseCursor(text, sweepCursor); back.Link != "" || back.Kind != sweepCursor {
		t.Errorf("a cursor of another kind is taken for %+v", back)
	}
}
