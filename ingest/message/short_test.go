package message

import (
	"io"
	"strings"
	"sync"
	"testing"
)

// TestShortText: a part has the same content and text whatever was read before,
// by others too.
func TestShortText(t *testing.T) {
	raw := "Content-Type: multipart/mixed; boundary=b\r\n\r\n" +
		"--b\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n77u/R3LDvMOfZQ==\r\n" +
		"--b\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nGr=FC=DFe\r\n" +
		"--b\r\nContent-Type: text/plain\r\n\r\na\r\nbegin 644 a\r\n#0V%T\r\n`\r\nend\r\nb\r\n--b--\r\n"
	m, err := Read(t.Context(), strings.NewReader(raw), int64(len(raw)), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	want := []struct{ content, text, charset string }{
		{"\ufeffGrüße", "Grüße", "utf-8"},
		{"Gr\xfc\xdfe", "Grüße", "iso-8859-1"},
		{"a\r\nbegin 644 a\r\n#0V%T\r\n`\r\nend\r\nb", "a\r\n\r\nb", "us-ascii"},
	}
	var wait sync.WaitGroup
	for i := range 8 {
		wait.Go(func() {
			for j := range 30 {
				n := (i + j) % len(want)
				p := m.Parts[n]
				if b, err := io.ReadAll(m.Open(p)); err != nil || string(b) != want[n].content {
					t.Errorf("content of part %d: %q, %v", n, b, err)
				}
				text, r, err := m.OpenText(p)
				if err != nil {
					t.Error(err)
					return
				}
				if b, err := io.ReadAll(r); err != nil || string(b) != want[n].text || text.Charset != want[n].charset {
					t.Errorf("text of part %d: %q in %s, %v", n, b, text.Charset, err)
				}
				if short, err := m.Text(p, 2); err != nil || short.String != want[n].text[:len(short.String)] || !short.Cut {
					t.Errorf("short text of part %d: %+v, %v", n, short, err)
				}
			}
		})
	}
	wait.Wait()
}
