package exchange

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"strings"
	"sync"
)

// body is the body of one message being delivered. It ends well only if all
// that the server announced has arrived: the length, and the last boundary of a
// message of several parts, without which Graph is known to end now and then.
type body struct {
	source *Source
	doing  string
	key    string
	from   io.Reader
	size   int64
	ctx    context.Context
	// before is where the message ended the last time it was cut.
	before int64

	mu    sync.Mutex
	ended bool
	read  int64
	err   error
	parts ending
}

var errDelivered = errors.New("the message has been delivered already")

func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.ended:
		return 0, errDelivered
	case b.err != nil:
		return 0, b.err
	}
	n, err := b.from.Read(p)
	b.read += int64(n)
	b.parts.write(p[:n])
	switch {
	case err == nil:
		return n, nil
	case err != io.EOF:
		if b.ctx.Err() != nil {
			err = context.Cause(b.ctx)
		}
	case b.size >= 0 && b.read != b.size:
		err = fmt.Errorf("the answer ends after %d of %d bytes: %w", b.read, b.size, io.ErrUnexpectedEOF)
	case !b.parts.whole() && b.read != b.before:
		b.source.rememberCut(b.key, b.read)
		err = fmt.Errorf("the message ends after %d bytes, before the end of its last part: %w", b.read, io.ErrUnexpectedEOF)
	}
	if err != io.EOF {
		err = b.source.explain(b.doing, fmt.Errorf("message %s: %w", b.key, err))
	}
	b.err = err
	return n, err
}

// end makes every later Read fail.
func (b *body) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ended = true
}

// maxHead is how much of a message is looked at for its boundary.
const maxHead = 64 << 10

// ending watches a message go by for the line that ends its last part (RFC 2046
// 5.1.1).
type ending struct {
	head    []byte
	decided bool
	last    []byte // "--boundary--", nil if the message has no parts
	tail    []byte
	found   bool
}

func (e *ending) write(p []byte) {
	if e.found || e.decided && e.last == nil {
		return
	}
	if !e.decided {
		e.head = append(e.head, p...)
		if end := endOfHead(e.head); end < 0 && len(e.head) < maxHead {
			return
		}
		p, e.decided = e.head, true
		if e.last = lastLine(e.head); e.last == nil {
			e.head = nil
			return
		}
	}
	window := append(e.tail, p...)
	e.found = bytes.Contains(window, e.last)
	e.tail, e.head = bytes.Clone(window[max(0, len(window)-len(e.last)):]), nil
}

// whole reports whether the message, which has ended, has ended where it should.
func (e *ending) whole() bool {
	if !e.decided {
		// All of it is header.
		return lastLine(append(e.head, "\r\n\r\n"...)) == nil
	}
	return e.found || e.last == nil
}

// endOfHead returns where the head of a message ends, or -1.
func endOfHead(p []byte) int {
	for _, blank := range []string{"\r\n\r\n", "\n\n"} {
		if i := bytes.Index(p, []byte(blank)); i >= 0 {
			return i
		}
	}
	return -1
}

// lastLine returns the line that ends the last part, or nil for a message that
// has no parts, or whose head is not understood.
func lastLine(head []byte) []byte {
	end := endOfHead(head)
	if end < 0 {
		return nil
	}
	var field strings.Builder
	in := false
	for line := range strings.SplitSeq(string(head[:end]), "\n") {
		line = strings.TrimSuffix(line, "\r")
		switch {
		case strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t"):
			if in {
				field.WriteString(line)
			}
			continue
		case field.Len() > 0:
			in = false
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		if in = ok && strings.EqualFold(strings.TrimSpace(name), "Content-Type"); in {
			field.WriteString(value)
		}
	}
	kind, parameters, err := mime.ParseMediaType(field.String())
	if err != nil || !strings.HasPrefix(kind, "multipart/") || parameters["boundary"] == "" {
		return nil
	}
	return []byte("--" + parameters["boundary"] + "--")
}
