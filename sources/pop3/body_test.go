package pop3

import (
	"bufio"
	"bytes"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// FuzzBody sends any message as RFC 1939 3 says, in pieces of any size, and reads it
// into room of any size: it arrives as it was, and what follows it is left.
func FuzzBody(f *testing.F) {
	for _, raw := range []string{"", "a", ".", "..\r\n.", "\r", "\n.\r\n", "\r\n.\r\n\r\n..\r", strings.Repeat(".\r\n", 40), ".\r.\n.\r\n"} {
		f.Add([]byte(raw), uint8(1), uint8(16))
		f.Add([]byte(raw), uint8(3), uint8(200))
	}
	f.Fuzz(func(t *testing.T, raw []byte, room, size uint8) {
		if !bytes.HasSuffix(raw, []byte("\r\n")) && len(raw) > 0 {
			raw = append(bytes.Clone(raw), "\r\n"...)
		}
		var wire bytes.Buffer
		for line := range bytes.SplitAfterSeq(raw, []byte("\r\n")) {
			if bytes.HasPrefix(line, []byte(".")) {
				wire.WriteByte('.')
			}
			wire.Write(line)
		}
		const answer = "+OK 1 id\r\n"
		wire.WriteString(".\r\n" + answer)
		for name, r := range map[string]io.Reader{
			"whole": bytes.NewReader(wire.Bytes()), "by one": iotest.OneByteReader(bytes.NewReader(wire.Bytes())),
		} {
			c := &client{r: bufio.NewReaderSize(r, max(16, int(size)))}
			b := &body{
				c: c, next: func(int64) (bool, error) { return true, nil }, done: func() error { return nil },
				explain: func(err error) error { return err },
			}
			var got bytes.Buffer
			p := make([]byte, max(1, room))
			for {
				n, err := b.Read(p)
				got.Write(p[:n])
				if err == io.EOF {
					break
				}
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
			}
			if !bytes.Equal(got.Bytes(), raw) {
				t.Fatalf("%s: got %q, want %q", name, got.Bytes(), raw)
			}
			if rest, err := io.ReadAll(c.r); err != nil || string(rest) != answer {
				t.Errorf("%s: %q is left, %v", name, rest, err)
			}
			// Cut anywhere, it is an error.
			for _, cut := range []int{0, 1, wire.Len() / 2, wire.Len() - len(answer) - 1} {
				c := &client{r: bufio.NewReader(bytes.NewReader(wire.Bytes()[:max(0, cut)]))}
				b := &body{c: c, next: b.next, done: b.done, explain: b.explain}
				if _, err := io.ReadAll(b); err == nil {
					t.Errorf("%s: cut at %d of %d: no error", name, cut, wire.Len())
				}
			}
		}
	})
}
