// Package sources is the contract between the engine and a mailbox.
//
// A driver (sources/imap, …) implements [Source] for one kind of server. It
// yields the messages of a folder, hands over their bytes as the server holds
// them, and applies a disposition once the engine says that a message is safe.
// A driver never decides what is filed, never writes to disk and never drops a
// message: whatever it cannot deliver it reports, classed by [Class].
//
// Every driver passes the suite in sources/sourcetest. docs/adding-a-source.md
// is the guide for writing one.
package sources

import (
	"context"
	"io"
	"time"
)

// Source is one mailbox. Its methods may be called concurrently; a driver
// bounds the connections it opens to the number it was configured with and
// makes callers wait for one. A lost connection is reopened by the next call.
//
// Every method honours its context: it returns soon after the context ends,
// whatever the server does. Errors are [*Error] values, or wrap one.
type Source interface {
	// Folders resolves the configured folder patterns to the folders that exist
	// now, in the order they were configured, each once. When some patterns
	// cannot be resolved it returns the folders that could be, together with an
	// error that joins one *Error of class NotFound per pattern.
	Folders(ctx context.Context) ([]Folder, error)

	// List begins a listing of the messages that are in the folder and not
	// covered by the cursor. The zero Cursor covers nothing. A cursor that is no
	// longer valid (UIDVALIDITY changed, sync state expired) is no error: the
	// listing then starts anew, and the engine recognises what it has filed.
	List(ctx context.Context, folder Folder, after Cursor) (Listing, error)

	// Fetch hands over the messages named by refs, in any order, each at most
	// once, by calling deliver, which may be called concurrently. It groups and
	// pipelines its requests: one round trip a message is a defect.
	//
	// A message that cannot be delivered while the connection is sound is
	// delivered with Err set, and so is one over which the connection ends even
	// when it is asked for alone, while others arrive or, if refs names no other,
	// the server can be reached; Err is of class Gone only if the server confirms
	// that the message is no longer in the folder. A nil return means that the
	// server answered for all refs; one that was then not delivered is listed
	// but withheld (Exchange does this for hours) and will be asked for again.
	// A non-nil return says nothing about refs not delivered. When deliver
	// returns an error, Fetch stops and returns it.
	Fetch(ctx context.Context, folder Folder, refs []Ref, deliver func(Ref, *Message) error) error

	// Settle applies the action to the messages of the keys and calls done for
	// each, one at a time, with nil once the server has confirmed. It may be
	// repeated for the same keys without harm; a message that is no longer in
	// the folder is settled. It touches no other message: not even those that
	// somebody else has marked as deleted. Keys for which done was not called
	// when Settle returns a non-nil error are not settled as far as is known.
	Settle(ctx context.Context, folder Folder, keys []string, action Action, done func(key string, err error)) error

	// Close ends the connections. Calls under way return soon with an error.
	Close() error
}

// Folder is a folder that exists on the server.
type Folder struct {
	// ID identifies the folder within its source for as long as the server
	// allows (a rename may keep it); the ledger keys by it.
	ID string
	// Path is the folder as it is written in a configuration.
	Path string
}

// Cursor marks how far a folder has been listed. It is opaque outside its
// driver, and printable text. It only saves work: the ledger, not the cursor,
// decides what has been filed.
type Cursor string

// Listing is a listing under way. It is used by one goroutine. It holds no
// connection between calls, so Fetch and Settle may be called meanwhile.
type Listing interface {
	// Next returns further messages, oldest first, at most max of them and at
	// least one; no messages and a nil error at the end.
	Next(ctx context.Context, max int) ([]Ref, error)
	// Remaining is the number of messages not yet returned, or -1 if unknown.
	Remaining() int
	// Cursor returns the cursor that covers what the given cursor covered and
	// all that Next has returned, except the keys of again, which a later List
	// is to yield once more. A driver whose listing reports every later change
	// of a message (a delta listing) may cover those too.
	Cursor(again []string) Cursor
}

// Ref names one message in its folder, with what the listing knows of it.
type Ref struct {
	// Key identifies the message within its folder. It never changes and is
	// never reused for another message. Printable text of at most 1,000 bytes.
	Key string
	// Size is the size in bytes as the server tells it, an estimate on some
	// servers; -1 if unknown.
	Size int64
	// Received is the server's date of arrival; zero if the listing does not know.
	Received time.Time
	// Seen reports that the message has been read. False on protocols without
	// such a mark.
	Seen bool
}

// Wire tells where the bytes of a message come from.
type Wire string

const (
	// Original: the bytes that the server holds.
	Original Wire = "original"
	// Rendered: made by the server on request, as Microsoft Graph does.
	Rendered Wire = "rendered"
	// Reconstructed: made by the driver from parts, when the server could not
	// render the message.
	Reconstructed Wire = "reconstructed"
)

// Message is one message being handed over.
type Message struct {
	// Received is the server's date of arrival; zero on protocols without one.
	Received time.Time
	// Seen is as in Ref, at the time of the fetch.
	Seen bool
	// Size is the exact number of bytes of Body, or -1 if unknown beforehand.
	Size int64
	Wire Wire
	// Notes say what could not be kept as it was. They are complete once Body has
	// been read to its end.
	Notes []string
	// Body streams the bytes. It returns io.EOF only when every byte that the
	// server announced has been read; a body that ends early returns an error.
	// It is valid until deliver returns, and need not be read.
	Body io.Reader
	// Err is set, and Body nil, when this message alone cannot be delivered.
	Err error
}

// Verb is what is done to a message on its server once it is safe.
type Verb string

const (
	Keep     Verb = "keep"
	MarkRead Verb = "mark_read"
	Move     Verb = "move"
	Delete   Verb = "delete"
)

// Action is a disposition.
type Action struct {
	Verb Verb
	// Target is the path of the folder to move to, created when missing. Only
	// with Move.
	Target string
	// Permanent asks for a deletion past the server's deleted items. Only with
	// Delete.
	Permanent bool
}

// Waiter is implemented by sources that can tell of new mail as it arrives.
type Waiter interface {
	// Wait returns nil when the folder may have changed since the call, or for
	// no reason at all; an error when it cannot wait. It gives up its
	// connection, returning nil, when another call needs it.
	Wait(ctx context.Context, folder Folder) error
}

// Gatherer is implemented by sources for which one Settle costs much, whatever the
// number of its keys.
type Gatherer interface {
	// SettleTogether is how many messages are gathered, while more are fetched,
	// before they are settled.
	SettleTogether() int
}

// Lister is implemented by sources that can show what the mailbox holds.
type Lister interface {
	// Tree returns every folder of the mailbox, parents before children.
	Tree(ctx context.Context) ([]FolderInfo, error)
	// Headers calls yield with the header of each message of the folder,
	// oldest first. It changes nothing on the server.
	Headers(ctx context.Context, folder Folder, yield func(Ref, []byte) error) error
}

// FolderInfo describes a folder to a person.
type FolderInfo struct {
	Folder
	// Messages is the number of messages, or -1 if unknown.
	Messages int
	// Use is the special use (RFC 6154: "drafts", "sent", "junk", "trash",
	// "archive", "all", "flagged", "important"), "inbox", "outbox", "sync" (sync
	// issues), or empty.
	Use string
	// Selectable is false for a folder that only holds other folders.
	Selectable bool
}

// Prober is implemented by sources that can check their connection step by
// step. Probe calls report for each step, in order, and stops after the first
// that fails. It changes nothing on the server.
type Prober interface {
	Probe(ctx context.Context, report func(Step))
}

// Step is one step of a check.
type Step struct {
	// Name is one of "name", "tcp", "tls", "sign-in", "permission", "folder",
	// "disposition"; "warning" is what passes now and will not for long.
	Name string
	// Detail says what was found, for a person.
	Detail string
	// Err is nil if the step passed. Its remedy, if it is an *Error, says what
	// to do.
	Err error
}
