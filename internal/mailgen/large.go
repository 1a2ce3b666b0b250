package mailgen

import (
	"fmt"
	"io"
	"strings"

	"github.com/emersion/go-message"
)

// WriteLarge writes the next mail of the generator, of exactly size bytes, most
// of which are one attachment, in memory that does not grow with it. It refuses
// a size of less than some 2 KB.
func (g *Generator) WriteLarge(w io.Writer, size int64) error {
	l := g.letter()
	text := g.text(l, l.words.transfer[0], []string{l.words.greeting, "", l.ref})
	scan := attachment("application/octet-stream", "attachment", l.ref+".bin", nil)
	body := g.multipart("mixed", text, scan)
	body.header = g.envelope(l, body.header)

	// What is written without the attachment's rows, and without padding for
	// what does not fill a row, has the length of the rest.
	var rest length
	body.parts[1].header = padded(scan.header, 0)
	if err := body.write(&rest); err != nil {
		return fmt.Errorf("write large mail: %w", err)
	}
	content := size - int64(rest)
	if content < 0 {
		return fmt.Errorf("write large mail: %d bytes are too few, at least %d are needed", size, rest)
	}

	body.parts[1].header = padded(scan.header, content%base64RowText)
	body.parts[1].content = func() io.Reader { return io.LimitReader(g.noise, content/base64RowText*base64Row) }
	if err := body.write(w); err != nil {
		return fmt.Errorf("write large mail: %w", err)
	}
	return nil
}

// padded returns the header with a field that has n bytes of padding.
func padded(h message.Header, n int64) message.Header {
	h = h.Copy()
	h.AddRaw([]byte("X-Padding: " + strings.Repeat("-", int(n)) + "\r\n"))
	return h
}

// length counts what is written to it.
type length int64

func (l *length) Write(b []byte) (int, error) {
	*l += length(len(b))
	return len(b), nil
}
