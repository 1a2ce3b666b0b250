package store

import (
	"context"
	"iter"
)

// Verifier is implemented by what can re-read a repository: by a repository, or
// by what a driver opens to read one beside the process that files into it. It
// changes nothing.
type Verifier interface {
	// Verify re-reads every file of the document at the location. What is wrong
	// with it is told in the report; an error, which wraps ErrNotFound if there
	// is nothing at the location, means that it could not be read.
	Verify(ctx context.Context, location string) (Report, error)

	// Places yields where there is anything: below the sources named, or in the
	// whole repository if none is. The driver's own working place is not among
	// them. An error ends it.
	Places(ctx context.Context, sources ...string) iter.Seq2[Place, error]
}

// Remover is implemented by a repository that can remove a document.
type Remover interface {
	// Remove removes the document for good. Nil means that nothing of it is
	// visible, now or after a loss of power; removing what is not there is no
	// error. ErrRefused is wrapped if another document is at the location, at
	// which then nothing changes.
	Remove(ctx context.Context, id, location string) error
}

// Report is what a document was found to be.
type Report struct {
	// Document is as it describes itself, without Open in its files; nil if its
	// description cannot be read.
	Document *Document
	// Description is the SHA-256 of the description; see Receipt.
	Description [32]byte
	Files       int   // read, the description included
	Bytes       int64 // read
	Flaws       []Flaw
}

// Flaw is something wrong with a document as it describes itself.
type Flaw struct {
	Kind Kind
	File string // its name in the document; empty: the document, which is not there or not in its place
	What string // for a person
}

// Kind is what is wrong.
type Kind string

const (
	Missing Kind = "missing" // it should be there
	Altered Kind = "altered" // it is not as it was filed
	Unknown Kind = "unknown" // it should not be there
)

// Place is where something is in a repository.
type Place struct {
	Location string
	// ID is the beginning of the id of the document that the location is for;
	// empty if it is for none.
	ID string
}

// Add adds a flaw.
func (r *Report) Add(k Kind, file, what string) {
	r.Flaws = append(r.Flaws, Flaw{Kind: k, File: file, What: what})
}
