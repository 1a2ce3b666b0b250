package graphtest_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"math/rand/v2"
	"net/mail"
	"slices"
	"strings"
	"testing"

	"postroom/internal/graphtest"
	"postroom/internal/mailgen"
)

func packed(t *testing.T, text string) io.Reader {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &b
}

// Exchange hands out other bytes than arrived, and the same ones every time.
func TestRender(t *testing.T) {
	mails := mailgen.New(3, mailgen.Small())
	for range 200 {
		m := mails.Next()
		got := graphtest.Render(m.Raw)
		if bytes.Equal(got, m.Raw) || !bytes.Equal(got, graphtest.Render(m.Raw)) {
			t.Fatalf("rendered as it came, or differently:\n%s", got)
		}
		read, err := mail.ReadMessage(bytes.NewReader(got))
		if err != nil {
			t.Fatalf("%v:\n%s", err, got)
		}
		date, err := read.Header.Date()
		if id := strings.TrimSpace(read.Header.Get("Message-ID")); err != nil || !date.Equal(m.Date) || id != m.MessageID {
			t.Errorf("%v, %v for %v, %s for %s", err, date, m.Date, id, m.MessageID)
		}
		for line := range bytes.Lines(got) {
			if len(line) > 1000 || !bytes.HasSuffix(line, []byte("\r\n")) {
				t.Fatalf("line %q", line)
			}
		}
	}
}

func TestRenderOddMail(t *testing.T) {
	for name, test := range map[string]struct{ raw, has, lacks string }{
		"no Message-ID":  {"Subject: x\r\n\r\nx", "Message-ID:\r\n\t<", ""},
		"meta":           {"Content-Type: text/html\r\n\r\n<html><head></head><body><p>x</p></body></html>", "", "<p>x</p></body></html>\r\n\r\n"},
		"bare LF":        {"Subject: x\n\ny\n", "Subject: x\r\n", ""},
		"no header":      {"\r\nonly text", "X-MS-Has-Attach: \r\n", ""},
		"empty":          {"", "MIME-Version: 1.0", ""},
		"no boundary":    {"Content-Type: multipart/mixed\r\n\r\nx", "multipart/mixed", ""},
		"signed":         {"Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\nexact  bytes \r\n--b\r\n\r\nsig\r\n--b--\r\n", "--b\r\n\r\nexact  bytes \r\n--b", ""},
		"broken address": {"From: <<x\r\n\r\n", "From: <<x\r\n", ""},
		"long subject":   {"Subject: " + strings.Repeat("\u00fc", 200) + "\r\n\r\n", "?=\r\n =?utf-8?", ""},
	} {
		got := string(graphtest.Render([]byte(test.raw)))
		if !strings.Contains(got, test.has) || test.lacks != "" && strings.Contains(got, test.lacks) {
			t.Errorf("%s:\n%s", name, got)
		}
	}
}

// Whatever is delivered is rendered.
func TestRenderDamagedMail(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for n := range 2000 {
		raw := []byte(parts)
		if n%2 == 0 {
			raw = sample(n)
		}
		for range 1 + random.IntN(8) {
			at := random.IntN(len(raw) - 30)
			length := random.IntN(30)
			switch random.IntN(3) {
			case 0:
				raw[at] = byte(random.IntN(256))
			case 1:
				raw = slices.Delete(raw, at, at+length)
			case 2:
				raw = slices.Insert(raw, at, slices.Clone(raw[at:at+length])...)
			}
			if len(raw) < 100 {
				break
			}
		}
		if got := graphtest.Render(raw); !bytes.Equal(got, graphtest.Render(raw)) || !bytes.Contains(got, []byte("MIME-Version: 1.0\r\n")) {
			t.Fatalf("%q", raw)
		}
	}
}
