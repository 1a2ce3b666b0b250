package imap

import (
	"errors"
	"io"
)

// errHandedOver is returned by a body that is read after deliver has returned.
var errHandedOver = errors.New("the message body is no longer available")

// body is the body of a message as it arrives. It is at its end only when all
// bytes that the server announced have been read.
type body struct {
	literal io.Reader
	left    int64
	// explain gives the error with which the connection ended.
	explain func(error) error
	err     error
}

func (b *body) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	if b.left == 0 {
		return 0, io.EOF
	}
	n, err := b.literal.Read(p)
	b.left -= int64(n)
	if err == io.EOF {
		if b.left == 0 {
			return n, nil
		}
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		b.err = b.explain(err)
	}
	return n, b.err
}

// release makes further reads fail, and reports whether the connection ended
// while the body was read.
func (b *body) release() (failed bool) {
	failed = b.err != nil
	b.err = errHandedOver
	return failed
}
