package pop3

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"postroom/sources"
)

// maxHeader is how much of a message's header Headers yields.
const maxHeader = 256 << 10

// Headers implements [sources.Lister]. A header of more than 256 KiB is cut.
func (s *Source) Headers(ctx context.Context, _ sources.Folder, yield func(sources.Ref, []byte) error) error {
	ctx, done, err := s.begin(ctx, "read headers")
	if err != nil {
		return err
	}
	defer done()
	held, err := s.session(ctx, true)
	if err != nil {
		return err
	}
	defer func() { s.keep(held) }()
	if err := held.load(ctx); err != nil {
		return err
	}
	all := held.drop
	var without []entry
	err = held.follow(ctx, "read headers", func() error {
		err := held.stream(len(all.listed), nil, func(i int) string { return fmt.Sprintf("TOP %d 0", all.listed[i].number) },
			func(i int, answer *body, refused *refusal) error {
				if refused != nil {
					without = append(without, all.at(int32(i)))
					return nil
				}
				return held.yield(all.at(int32(i)), answer, yield)
			})
		if err != nil {
			return err
		}
		size := func(i int) int64 { return without[i].size }
		return held.stream(len(without), size, func(i int) string { return fmt.Sprintf("RETR %d", without[i].number) },
			func(i int, answer *body, refused *refusal) error {
				if refused != nil {
					return nil // it is no longer there, or fetching it will say why
				}
				return held.yield(without[i], answer, yield)
			})
	})
	return bare(err)
}

// yield hands over the header at the beginning of an answer.
func (c *session) yield(e entry, answer io.Reader, yield func(sources.Ref, []byte) error) error {
	var header []byte
	buf := make([]byte, 8<<10)
	for len(header) < maxHeader {
		n, err := answer.Read(buf)
		header = append(header, buf[:n]...)
		if end := endOfHeader(header); end >= 0 {
			header = header[:end]
			break
		}
		if err == io.EOF {
			break
		} else if err != nil {
			return err
		}
	}
	header = header[:min(len(header), maxHeader)]
	if err := yield(sources.Ref{Key: e.key, Size: e.size}, header); err != nil {
		c.unusable = true
		return &callerError{err}
	}
	return nil
}

// endOfHeader returns the length of the header with its blank line, -1 if there is
// no end yet.
func endOfHeader(b []byte) int {
	for _, blank := range []string{"\r\n\r\n", "\n\n"} {
		if i := bytes.Index(b, []byte(blank)); i >= 0 {
			return i + len(blank)
		}
	}
	return -1
}
