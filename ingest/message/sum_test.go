package message

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
)

func TestSum(t *testing.T) {
	lines := strings.Repeat(strings.Repeat("QUJD", 19)+"\r\n", 3000)
	abc := strings.Repeat("ABC", 19*3000)
	for _, tt := range []struct {
		encoding, body, content string
		exact                   bool
	}{
		{"base64", "", "", true},
		{"base64", "QUJD", "ABC", true},
		{"base64", "QUJD\r\n\r\n", "ABC", true},
		{"base64", lines + " QU JD\tQQ==\r\n", abc + "ABCA", true},
		{"base64", "QUJDQQ", "ABCA", true},
		{"base64", "QUJDQ", "ABC", false},
		{"base64", lines + "QUJD!", abc + "ABC", false},
		{"base64", "QQ==QUJD", "AABC", false},
		{"base64", "QUI===", "AB", false},
		{"base64", "QUJDQUI=\r\n\r\nfooter", "ABCAB", false},
		{"base64", "QUJDQUI=\r\n_____\r\nThis list is for you.", "ABCAB", false},
		{"base64", "QUI=\r\n\r\n=", "AB", true},
		{"base64", lines, abc, true},
		{"base64", strings.ReplaceAll(lines, "\r\n", "\n"), abc, true},
		{"base64", strings.ReplaceAll(lines, "\r\n", "\r"), abc, true},
		{"base64", strings.ReplaceAll(lines, "\r\n", "\r\r\n"), abc, true},
		{"base64", lines + "QUJDQUI=", abc + "ABCAB", true},
		{"base64", lines + "QUJD\r\n" + lines, abc + "ABC" + abc, true},
		{"base64", lines + "*" + lines[1:], abc + strings.Replace(abc, "ABC", "\x05\x09\x00", 1), false},
		{"quoted-printable", "a=20b=\r\nc d \r\n", "a bc d\r\n", true},
		{"8bit", abc, abc, true},
	} {
		m := mustRead(t, "Content-Type: a/b\r\nContent-Transfer-Encoding: "+tt.encoding+"\r\n\r\n"+tt.body, Limits{})
		s, err := m.Sum(t.Context(), &m.Part)
		b, readErr := io.ReadAll(m.Open(&m.Part))
		if err != nil || readErr != nil || s.Size != int64(len(b)) || s.SHA256 != sha256.Sum256(b) || s.Exact != tt.exact {
			t.Errorf("%s %.40q: %+v, %v, not %.40q, %v", tt.encoding, tt.body, s, err, b, tt.exact)
		}
		if tt.exact && string(b) != tt.content {
			t.Errorf("%s %.40q: %.40q, not %.40q", tt.encoding, tt.body, b, tt.content)
		}
	}
}

// counting counts the bytes that are read.
type counting struct {
	io.ReaderAt
	mu  sync.Mutex
	n   int
	err error
}

func (c *counting) ReadAt(p []byte, at int64) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return 0, c.err
	}
	n, err := c.ReaderAt.ReadAt(p, at)
	c.n += n
	return n, err
}

// TestSumReadsOnce: content is read once, but after an error again.
func TestSumReadsOnce(t *testing.T) {
	raw := "Content-Type: a/b\r\nContent-Transfer-Encoding: base64\r\n\r\n" + strings.Repeat(strings.Repeat("QUJD", 19)+"\r\n", 3000)
	c := &counting{ReaderAt: strings.NewReader(raw)}
	m, err := Read(t.Context(), c, int64(len(raw)), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	fault := errors.New("fault")
	c.err = fault
	if _, err := m.Sum(t.Context(), &m.Part); !errors.Is(err, fault) {
		t.Error(err)
	}
	c.err = nil
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := m.Sum(ended, &m.Part); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	c.n = 0
	first, err := m.Sum(t.Context(), &m.Part)
	if err != nil || first.Size != 57*3000 || int64(c.n) != m.Body.Len() {
		t.Errorf("%+v, %v after %d bytes", first, err, c.n)
	}
	if again, err := m.Sum(ended, &m.Part); again != first || err != nil || int64(c.n) != m.Body.Len() {
		t.Errorf("%+v, %v after %d bytes", again, err, c.n)
	}
}

// TestTogether reads one message from many goroutines at once, which share
// buffers.
func TestTogether(t *testing.T) {
	part := func(i int) string {
		return "--b\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: base64\r\n\r\n" +
			strings.Repeat(strings.Repeat(string("QRSTUVWX"[i%8])+"UJD", 19)+"\r\n", 100*i) + "\r\n"
	}
	raw := "Content-Type: multipart/mixed; boundary=b\r\n\r\n"
	for i := range 8 {
		raw += part(i)
	}
	raw += "--b--\r\n"
	m, err := Read(t.Context(), strings.NewReader(raw), int64(len(raw)), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, p := range m.Parts {
		b, err := io.ReadAll(m.Open(p))
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, string(b))
	}
	var all sync.WaitGroup
	for n := range 8 {
		all.Go(func() {
			for i := range 40 {
				k := (n + i) % len(m.Parts)
				p := m.Parts[k]
				s, err := m.Sum(t.Context(), p)
				if err != nil || s.SHA256 != sha256.Sum256([]byte(want[k])) {
					t.Errorf("part %d: %+v, %v", k, s, err)
				}
				text, err := m.Text(p, 1<<20)
				if err != nil || text.String != want[k] {
					t.Errorf("text %d differs: %v", k, err)
				}
				var b bytes.Buffer
				if _, err := io.Copy(&b, io.LimitReader(m.Open(p), 1000)); err != nil || b.String() != want[k][:min(1000, len(want[k]))] {
					t.Errorf("beginning of part %d differs: %v", k, err)
				}
				if _, err := Read(t.Context(), m.raw, m.Whole.Len(), Limits{}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
}

// TestLinesPassedOver: the body of a part ends where it should, wherever in the
// buffer its boundary line is.
func TestLinesPassedOver(t *testing.T) {
	for _, eol := range []string{"\r\n", "\n", "\r", "\r\r\n"} {
		for pad := range 40 {
			for _, line := range []string{"QUJD", "a -- b", "--", "-"} {
				body := strings.Repeat("x", pad) + eol + strings.Repeat(line+eol, (scanSize-80)/len(line+eol)) + eol + "last"
				head := "Content-Type: multipart/mixed; boundary=b" + eol + eol + "--b" + eol + "Content-Type: a/b" + eol + eol
				raw := head + body + eol + "--b" + eol + "Content-Type: c/d" + eol + eol + body + eol + "--b--" + eol + "end"
				m := mustRead(t, raw, Limits{})
				if len(m.Parts) != 2 {
					t.Fatalf("%q, %d, %q: %d parts", eol, pad, line, len(m.Parts))
				}
				for _, p := range m.Parts {
					if got := raw[p.Body.Start:p.Body.End]; strings.TrimSuffix(got, "\r") != body {
						t.Fatalf("%q, %d, %q: %d bytes that end with %q, not %d", eol, pad, line, len(got), got[max(0, len(got)-20):], len(body))
					}
				}
			}
		}
	}
}
