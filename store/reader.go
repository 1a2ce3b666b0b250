package store

import (
	"context"
	"io"
)

// Reader is implemented by what can read the files of documents back: by a
// repository, or by what a driver opens to read one beside the process that files
// into it.
type Reader interface {
	// OpenFile opens a file of the document at the location, from its beginning.
	// The content is not compared with anything: whoever relies on it computes
	// its SHA-256. The error wraps ErrNotFound if the document, or a file of that
	// name in it, is not there. The content stays as it was when it was opened,
	// also if the document is removed or replaced meanwhile, or reading it is an
	// error.
	OpenFile(ctx context.Context, location, name string) (io.ReadCloser, error)
}
