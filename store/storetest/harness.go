// Package storetest is the suite that every document repository passes.
//
// A driver's test is a [Harness] around the place where the driver keeps
// documents and one call of [Run].
package storetest

import (
	"crypto/sha256"
	"fmt"
	"testing"

	"postroom/store"
)

// Harness is one place for documents, empty at first.
type Harness interface {
	// Open opens the repository at this place. The suite closes it before it
	// opens it again.
	Open(t *testing.T) store.Repository

	// List returns everything that someone who looks into the repository without
	// the driver would take for a document, whole or not, by location. It is
	// called while documents are being put.
	List(t *testing.T) map[string]Stored

	// Leftovers counts what takes up space in the repository and belongs to no
	// document.
	Leftovers(t *testing.T) int
}

// Crasher is implemented by a harness that can let a process die.
type Crasher interface {
	// Crash leaves what a process leaves that dies in the middle of putting a
	// document that the place does not hold. The repository is not open.
	Crash(t *testing.T)
}

// Stored is a document as it lies in the repository.
type Stored struct {
	// Description is document.json, or what the driver makes document.json
	// from.
	Description []byte
	// Files are the contents of the document's files by name.
	Files map[string][]byte
}

// Document returns the document that the description describes, or an error if
// it is not whole: all files, no others, each with its size and SHA-256.
func (s Stored) Document() (*store.Document, error) {
	d, err := store.ParseDocument(s.Description)
	if err != nil {
		return nil, err
	}
	if len(s.Files) != len(d.Files) {
		return nil, fmt.Errorf("%d files stored, %d described", len(s.Files), len(d.Files))
	}
	for _, f := range d.Files {
		content, ok := s.Files[f.Name]
		switch {
		case !ok:
			return nil, fmt.Errorf("file %q is missing", f.Name)
		case int64(len(content)) != f.Size:
			return nil, fmt.Errorf("file %q has %d bytes, described are %d", f.Name, len(content), f.Size)
		case sha256.Sum256(content) != f.SHA256:
			return nil, fmt.Errorf("file %q has another SHA-256 than described", f.Name)
		}
	}
	return d, nil
}
