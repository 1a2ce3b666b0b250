// Package store is the contract between the engine and a document repository.
//
// A driver (store/filesystem, …) implements [Repository]. Every driver passes
// the suite in store/storetest; docs/adding-a-repository.md is the guide for
// writing one.
package store

import (
	"context"
	"errors"
	"io"
	"time"
)

// ErrNotFound is returned by Find when the repository does not hold the document.
var ErrNotFound = errors.New("document not found")

// ErrRefused is wrapped by the error of a Put when the fault lies with the
// document itself, so that trying again will not help: an unsafe or repeated
// file name, no files, a bad id, content that is not what was announced
// (ErrContent, too), or a place that something else holds. Every other error is
// the repository's trouble.
var ErrRefused = errors.New("document refused")

// ErrContent is wrapped by the error of a Put whose file did not have the size
// or SHA-256 it was announced with.
var ErrContent = errors.New("content differs from its announced size or SHA-256")

// Repository keeps whole documents. Its methods may be called concurrently,
// also for the same document; a driver may group the costly part of several
// Puts (one sync for many documents).
type Repository interface {
	// Put files a document. A nil error means that all of it survives a loss of
	// power. An error means that nothing of it is visible, now or after a
	// restart. Putting a document whose Key is already there changes nothing
	// and returns the receipt of the one that is there.
	//
	// Put reads every file once, verifies its size and SHA-256, and returns an
	// error wrapping ErrContent if they differ. When the context ends before the
	// document is durable, Put may return nil or the context's error, but keeps
	// to the above.
	Put(ctx context.Context, d *Document) (Receipt, error)

	// Find returns the receipt of the document, or an error wrapping
	// ErrNotFound. It finds a document if and only if all of it is there and
	// survives a loss of power; a Put of the same document that is under way is
	// waited for. A document that is there in part, because somebody has damaged
	// it, is an error wrapping ErrRefused.
	Find(ctx context.Context, k Key) (Receipt, error)

	// Close waits for the calls under way and releases the repository. Calls
	// after it return an error.
	Close() error
}

// Prober is implemented by repositories that can check whether they can be
// written to. Probe leaves nothing behind. Warnings are for a person.
type Prober interface {
	Probe(ctx context.Context) (warnings []string, err error)
}

// Key names a document. The ID alone identifies it; source and date tell a
// driver where to look, and are the same at every try of the same document.
type Key struct {
	ID       string // 64 lower-case hex digits
	Source   string
	Received time.Time
}

// Receipt tells where a document is.
type Receipt struct {
	// Location is the place in the repository's own terms: for a file system
	// the slash-separated path of the document's folder below the root.
	Location string
	// Description is the SHA-256 of what the repository keeps to describe the
	// document: for a file system of document.json. With it every change of the
	// document is found, see [Verifier]. Zero if the repository has none.
	Description [32]byte
}

// Role is what a file is to its document.
type Role string

const (
	RoleMessage    Role = "message"
	RoleAttachment Role = "attachment"
	RoleOriginal   Role = "original"
)

// Document is what is filed. Absent values are zero.
type Document struct {
	ID          string
	Title       string
	Class       string
	Permissions string
	Properties  []Property
	Origin      Origin
	Filed       time.Time
	Files       []File // at least one
	Notes       []string
}

// Key returns the key of the document.
func (d *Document) Key() Key {
	return Key{ID: d.ID, Source: d.Origin.Source, Received: d.Origin.Received}
}

// Property is a named value. Names may repeat.
type Property struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Origin is where a document comes from. Size and SHA256 are those of the raw
// bytes received.
type Origin struct {
	Source    string
	Type      string
	Mailbox   string
	Folder    string
	ServerID  string
	MessageID string
	Received  time.Time
	Wire      string
	Size      int64
	SHA256    [32]byte
}

// File is one file of a document.
type File struct {
	// Name is a file name safe on every system, unique in its document without
	// regard to case. A driver refuses a name that is not (see
	// internal/filename).
	Name      string
	Role      Role
	MediaType string
	Size      int64
	SHA256    [32]byte
	// Open returns the content from its beginning. It may be called again.
	Open func() (io.ReadCloser, error)
	// Held says that the content is in memory, as it was when SHA256 was
	// computed: it needs no other look.
	Held bool
}
