package message

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
)

// TestOpenAt: what is read from anywhere is what is read from the beginning.
func TestOpenAt(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	data := make([]byte, 100_000)
	for i := range data {
		data[i] = byte(rnd.Uint32())
	}
	fold := func(s string, n int, end string) string {
		var b strings.Builder
		for ; len(s) > n; s = s[n:] {
			b.WriteString(s[:n] + end)
		}
		return b.String() + s
	}
	code := base64.StdEncoding.EncodeToString
	for name, c := range map[string]struct {
		encoding, body string
		held           bool
	}{
		"lines":              {"base64", fold(code(data), 76, "\r\n") + "\r\n", false},
		"odd lines":          {"base64", fold(code(data[:99_998]), 61, " \n\t"), false},
		"one line":           {"base64", code(data[:99_999]), false},
		"short":              {"base64", "eA==", false},
		"nothing":            {"base64", "", false},
		"without padding":    {"base64", strings.TrimRight(code(data[:4000]), "="), false},
		"noise":              {"base64", fold(code(data), 76, "\r\n*\r\n"), true},
		"padding within":     {"base64", fold(code(data[:1000])+code(data), 76, "\r\n"), true},
		"much white space":   {"base64", "eHl6" + strings.Repeat(" \r\n", 200_000) + "eHl6", true},
		"identity":           {"binary", string(data), false},
		"quoted-printable":   {"quoted-printable", "=41\r\n=\r\nb", true},
		"a part of a group":  {"base64", "eHl6e", true},
		"more than its size": {"base64", "eHl6=====", true},
	} {
		raw := "Content-Type: application/pdf\r\nContent-Transfer-Encoding: " + c.encoding + "\r\n\r\n" + c.body
		m, err := Read(context.Background(), strings.NewReader(raw), int64(len(raw)), Limits{})
		if err != nil {
			t.Fatal(err)
		}
		want, err := io.ReadAll(m.Open(&m.Part))
		if err != nil {
			t.Fatal(err)
		}
		r, size, err := m.OpenAt(&m.Part, 1<<20)
		if err != nil || size != int64(len(want)) {
			t.Errorf("%s: %d bytes instead of %d, %v", name, size, len(want), err)
			continue
		}
		got, err := io.ReadAll(io.NewSectionReader(r, 0, size))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: other bytes, %v", name, err)
		}
		for range 200 {
			if size == 0 {
				break
			}
			off := rnd.Int64N(size)
			b := make([]byte, rnd.Int64N(size-off)+1)
			if n, err := r.ReadAt(b, off); n != len(b) || err != nil && !errors.Is(err, io.EOF) || !bytes.Equal(b, want[off:][:n]) {
				t.Fatalf("%s: %d of %d bytes at %d, %v", name, n, len(b), off, err)
			}
		}
		if n, err := r.ReadAt(make([]byte, 1), size); n != 0 || !errors.Is(err, io.EOF) {
			t.Errorf("%s: %d bytes after the end, %v", name, n, err)
		}
		r, _, err = m.OpenAt(&m.Part, 1)
		if err != nil || (r == nil) != c.held {
			t.Errorf("%s: held %v, %v", name, r == nil, err)
		}
	}
}
