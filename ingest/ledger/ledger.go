// Package ledger is the record of what has been filed and what is still owed.
//
// Every message that the engine has begun to handle has one [Entry], keyed by
// (source, folder, key). Its [State] only moves forward:
//
//	begun ──▶ prepared ──▶ filed ──▶ settled
//	  │ │        │           (a duplicate goes from begun to filed)
//	  │ └────────┴──▶ quarantined ──▶ parked ──▶ discarded
//	  └──▶ vanished, discarded
//
// A failure is not a state: an entry that failed keeps its state and carries
// the cause, the number of attempts and the time of the next one, so that
// nothing ever forgets how far it had come. Retrying a quarantined message
// takes it back to begun. A message that is known to be given up, or whose
// document was forgotten, goes from begun, or prepared, to discarded at once.
//
// The errors named here come wrapped; compare with [errors.Is].
package ledger

import (
	"context"
	"errors"
	"iter"
	"time"
)

var (
	// ErrHeld: another worker holds the lease.
	ErrHeld = errors.New("folder is held by another worker")
	// ErrFenced: the lease was lost; drop everything done under it.
	ErrFenced = errors.New("lease was lost to another worker")
	// ErrNotFound: there is no such entry or document.
	ErrNotFound = errors.New("not in the ledger")
	// ErrClaimed: another message that is still under way has prepared the same
	// document. Try again once it is done.
	ErrClaimed = errors.New("document is being filed from another message")
	// ErrTransition: the state of the entry does not allow this step.
	ErrTransition = errors.New("step not allowed in this state")
	// ErrLocked: another process holds the ledger.
	ErrLocked = errors.New("ledger is in use by another process")
	// ErrNewer: the ledger was written by a newer version of postroom.
	ErrNewer = errors.New("ledger was written by a newer version")
)

// State is how far a message has come.
type State string

const (
	Begun       State = "begun"       // seen, nothing kept yet
	Prepared    State = "prepared"    // its document is determined; may be in the repository
	Filed       State = "filed"       // durable in the repository, or a duplicate; disposition owed
	Settled     State = "settled"     // filed and disposed of
	Quarantined State = "quarantined" // kept in quarantine; move to the failed folder owed
	Parked      State = "parked"      // kept in quarantine; nothing owed
	Discarded   State = "discarded"   // a person gave it up
	Vanished    State = "vanished"    // left its folder before it could be filed
)

// Final reports that nothing is owed any more.
func (s State) Final() bool {
	return s == Settled || s == Parked || s == Discarded || s == Vanished
}

// Entry is one message in the ledger.
type Entry struct {
	Source, Folder, Key string // Folder is the folder's ID
	FolderPath          string
	State               State

	// Size and Received are those of the listing until the message has been
	// fetched. Size -1 and zero Received: unknown.
	Size     int64
	Received time.Time

	// From Prepared on, and for a duplicate. An entry advanced to Filed without
	// a time in Filed gets the present one.
	DocumentID string
	Title      string
	MessageID  string
	Filed      time.Time // when the document, or the duplicate, was recorded as filed
	Location   string    // in the repository
	SHA256     [32]byte  // of the raw bytes
	Likeness   Likeness  // kept while it is Prepared; its document has it then

	// Description is given with the step to Filed, and kept with the document
	// alone: see [Document]. An entry that is read has none.
	Description [32]byte

	// Duplicate is set when DocumentID had been filed from another message.
	// Exact: its raw bytes were the same.
	Duplicate, Exact bool

	Attempts int       // number of the try under way, else of the next
	RetryAt  time.Time // not before; zero: at once
	Cause    string    // of the last failure or the quarantine, for a person
	Updated  time.Time // last change; set by the ledger
}

// QuarantineID is the name by which people address a quarantined message: 12
// hex digits, derived from source, folder and key.
func (e *Entry) QuarantineID() string { return quarantineID(e.Source, e.Folder, e.Key) }

// Document is what the ledger knows of a filed document.
type Document struct {
	ID       string
	Source   string
	Title    string
	Received time.Time
	Location string
	Filed    time.Time

	// Of the message that it was filed from.
	MessageID string
	SHA256    [32]byte // of the raw bytes
	Likeness  Likeness

	// Description is the SHA-256 of what the repository keeps as the document's
	// description, see store.Receipt; zero: unknown.
	Description [32]byte

	// Forgotten is set on a tombstone: when the document was removed for good.
	// Of such a one nothing else is known but ID, Source, SHA256, Likeness and,
	// while it has yet to be removed from the repository, Location.
	Forgotten time.Time
}

// Likeness is what tells whether two messages are the same although their bytes
// differ. Zero is not known.
type Likeness struct {
	Content  [32]byte // what a server keeps when it renders a message anew
	Strict   [32]byte // and what it may make itself
	Original bool     // no server rendered the bytes on request
}

// Ledger remembers every message ever begun. Its methods may be called
// concurrently. When a method that changes something returns nil, the change
// survives a loss of power; when it returns an error that is not one of this
// package, that of a context included, the change may have been recorded or
// not, but never in part. Times are kept to the microsecond, in UTC; texts are
// kept byte for byte, however long.
type Ledger interface {
	// Lease takes the folder for this process. At most one lease on a folder is
	// alive; a lease that is not renewed within ttl is lost. ErrHeld if another
	// worker has it.
	Lease(ctx context.Context, source, folder string, ttl time.Duration) (Lease, error)

	// Rename carries all that is known of a source over to a new name, at once,
	// and returns the number of entries. Entries and cursors that the new name
	// has already stay as they are, as do those of the old name for the same
	// messages; else the old name begins anew. Updated does not change, but
	// QuarantineID, which is derived from the name, does. ErrHeld while a folder
	// of either is leased.
	Rename(ctx context.Context, from, to string) (int, error)

	// Forget leaves a tombstone in the place of the document d.ID, whether that
	// is known or not, with the Source, SHA256 and Location of d, and d.Forgotten
	// or else the present time. The entries that filed it or are duplicates of it
	// stay, without Title, MessageID and Location. Forgetting a document again
	// replaces its tombstone: without a Location once nothing is left of it.
	Forget(ctx context.Context, d Document) error

	// Refile records that the document d.ID, which has been filed, is about to be
	// replaced in the repository by d, of which Source, Title, MessageID, SHA256 and
	// Likeness are kept: see [DocumentQuery]. All else stays as it is until
	// Refiled. Done again it replaces what was recorded. ErrNotFound if no such
	// document has been filed, or it was forgotten.
	Refile(ctx context.Context, d Document) error

	// Refiled records what the document d.ID is from now on: its Title, Location,
	// MessageID, SHA256, Likeness and Description are those of d, the entry that
	// filed it has that Title and Location, and duplicates of it that Location. It
	// is not about to be replaced any more. ErrNotFound as for Refile.
	Refiled(ctx context.Context, d Document) error

	// Reader's Close also loses every lease.
	Reader
}

// Reader answers what is in a ledger. Its methods may be called concurrently,
// and while an iterator of Entries is under way.
type Reader interface {
	// Document returns the filed document or its tombstone, or ErrNotFound.
	Document(ctx context.Context, id string) (Document, error)

	// Like returns documents filed from the source of which the message has the
	// same raw bytes, the same content, or the same Message-ID as one with these;
	// what is zero is like nothing. Oldest first, at most MostAlike.
	Like(ctx context.Context, source string, sha256, content [32]byte, messageID string) ([]Document, error)

	// Documents yields the filed documents, or the tombstones, that match, by id.
	// It yields what the ledger holds when it starts. An error ends it.
	Documents(ctx context.Context, q DocumentQuery) iter.Seq2[Document, error]

	// Discarded returns an entry of the source in state Discarded whose raw bytes
	// had this SHA-256, or ErrNotFound; for a zero one always.
	Discarded(ctx context.Context, source string, sum [32]byte) (Entry, error)

	// Entry returns the entry, or ErrNotFound.
	Entry(ctx context.Context, source, folder, key string) (Entry, error)

	// Entries yields the entries that match, oldest Updated first, those changed
	// in one step in the order they were begun. It yields what the ledger holds
	// when it starts. An error ends it.
	Entries(ctx context.Context, q Query) iter.Seq2[Entry, error]

	// Count returns the number of entries by state, without the states that no
	// entry is in; of all sources if source is empty.
	Count(ctx context.Context, source string) (map[State]int, error)

	// Close ends the use of the ledger, after which every method returns an
	// error. It is safe to call more than once.
	Close() error
}

// MostAlike bounds what Like returns.
const MostAlike = 100

// Query selects entries. Zero fields select everything.
type Query struct {
	Source string
	States []State
	// Since selects entries filed, or quarantined, at or after it.
	Since time.Time
	// QuarantineID selects the entry with that id, if it was ever quarantined.
	QuarantineID string
	// Limit is the most entries to yield, the newest of them; 0: no limit.
	Limit int
}

// DocumentQuery selects documents. Zero fields select everything.
type DocumentQuery struct {
	Source string
	// IDPrefix selects by the first digits of the id.
	IDPrefix string
	// Forgotten selects the tombstones instead of the documents.
	Forgotten bool
	// Refiling selects, of the documents that are about to be replaced, what
	// [Ledger.Refile] was given: with the Received and Filed of the document, and
	// without Location and Description.
	Refiling bool
	// After selects what comes after this id, and Limit the most to yield; 0: no
	// limit. Who does much between two documents asks for them page by page, as
	// an iterator under way keeps the ledger from tidying up.
	After string
	Limit int
}

// Lease is the right to change one folder's entries. Every method but Release
// returns ErrFenced once the lease is lost. Prepare and Advance return
// ErrNotFound for an entry that was not begun in the folder. Methods may be
// called concurrently.
type Lease interface {
	// Cursor returns the cursor kept last and the rules it was kept under; both
	// empty if there is none.
	Cursor(ctx context.Context) (cursor, rules string, err error)
	// SetCursor keeps the cursor. Nothing is written if it is what is kept.
	SetCursor(ctx context.Context, cursor, rules string) error

	// Begin records the messages that are new in state Begun with one attempt,
	// leaves those that are known as they are, and returns the entries of all,
	// in the order given. A key is not empty.
	Begin(ctx context.Context, listed []Listed) (entries []Entry, err error)

	// Drop removes the entries of the keys, as if they had never been begun, if
	// they are Begun and were never anything else but Prepared. ErrTransition, and
	// nothing is removed, if one may not be; a key that is not known is no error.
	Drop(ctx context.Context, keys ...string) error

	// Owed returns up to limit entries of the folder that are not final and
	// whose RetryAt is not after now, by key, beginning after the key given.
	Owed(ctx context.Context, now time.Time, after string, limit int) ([]Entry, error)

	// NextDue returns the earliest RetryAt of the folder's entries that are not
	// final; zero if there is none. Entries without a RetryAt, which are owed at
	// once, do not count.
	NextDue(ctx context.Context) (time.Time, error)

	// Prepare records state Prepared and claims the document named by
	// e.DocumentID for the entry, which is no duplicate then. If that document
	// has been filed from another message, or was forgotten, nothing is recorded
	// and it, or its tombstone, is returned. ErrClaimed if another entry that is still prepared has claimed
	// it. Preparing a prepared entry again is allowed and replaces what it held.
	// ErrTransition if the entry may not be prepared or names no document.
	Prepare(ctx context.Context, e Entry) (filed *Document, err error)

	// Advance records the entries as they are given, one after the other.
	// ErrTransition, and nothing is recorded, if one may not move to its state
	// from the one it is in. An entry advanced to its present state is updated.
	//
	// Only Prepare claims: an entry that moves to, or stays in, Prepared, Filed
	// or Settled keeps the document that it prepared, or ErrTransition. A
	// duplicate moves to Filed without a claim; ErrNotFound if no document that
	// it names has been filed. Advancing to Filed keeps the document, unless the
	// entry is a duplicate; advancing a prepared entry to anything else, or to a
	// duplicate, gives up its claim.
	//
	// While an entry names the same document, its title, Message-ID and location
	// stay as they were when it was filed, whatever it is given with: only Forget
	// and Refiled change them.
	Advance(ctx context.Context, entries ...Entry) error

	// Renew keeps the lease for another ttl.
	Renew(ctx context.Context) error
	// Release gives the lease up. It is safe to call more than once.
	Release(ctx context.Context) error
}

// Listed is a message that a listing returned.
type Listed struct {
	Key        string
	FolderPath string
	Size       int64
	Received   time.Time
}
