package ingest

import (
	"context"
	"errors"
	"fmt"

	"postroom/ingest/document"
	"postroom/ingest/message"
	"postroom/ingest/spool"
	"postroom/sources"
	"postroom/store"
)

// errNoOriginal says that a repository does not hold a message byte for byte as
// it was received.
var errNoOriginal = errors.New("the repository does not hold its message as it was received")

// original returns the file of the document that is its message as it was
// received, nil if there is none: original.eml, or message.eml from which nothing
// was separated.
func original(d *store.Document) *store.File {
	for i := range d.Files {
		f := &d.Files[i]
		if f.Role != store.RoleAttachment && f.Size == d.Origin.Size && f.SHA256 == d.Origin.SHA256 && f.SHA256 != ([32]byte{}) {
			return f
		}
	}
	return nil
}

// whyNoOriginal says why the document has no such file, as the first half of a
// sentence.
func whyNoOriginal(d *store.Document) string {
	for i := range d.Files {
		if f := &d.Files[i]; f.Role == store.RoleMessage && f.MediaType != document.MailType {
			return "it was filed as " + f.Name
		}
	}
	return "its attachments were separated"
}

// readBack spools a message as it was received from its document in the
// repository. The error wraps errNoOriginal if it is not there as such.
func readBack(ctx context.Context, r store.Reader, s *spool.Spool, location string, d *store.Document) (*spool.Blob, error) {
	f := original(d)
	if f == nil {
		return nil, errNoOriginal
	}
	in, err := r.OpenFile(ctx, location, f.Name)
	if errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("%w: %w", errNoOriginal, err)
	}
	if err != nil {
		return nil, err
	}
	raw, err := s.Take(in, f.Size, f.Size)
	switch e := in.Close(); {
	case errors.Is(err, spool.ErrTooLarge):
		return nil, fmt.Errorf("%w: %s was altered", errNoOriginal, f.Name)
	case err != nil:
		return nil, errors.Join(err, e)
	case e != nil:
		return nil, errors.Join(e, raw.Close())
	case raw.SHA256() != d.Origin.SHA256:
		return nil, errors.Join(fmt.Errorf("%w: %s was altered", errNoOriginal, f.Name), raw.Close())
	}
	return raw, nil
}

// recognised reads a message and returns what it is recognised by.
func recognised(ctx context.Context, raw *spool.Blob) (m *message.Message, f document.Fingerprint, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = &messageError{fmt.Errorf("internal error while reading the message: %v", r)}
		}
	}()
	if m, err = message.Read(ctx, raw, raw.Size(), message.Limits{}); err != nil {
		return nil, f, err
	}
	f, err = document.Identify(ctx, m)
	return m, f, err
}

// isOriginal reports whether the message has the bytes that its server holds.
func isOriginal(d *store.Document) bool { return d.Origin.Wire == string(sources.Original) }
