// Package filesystem keeps documents as folders of ordinary files.
//
// Below the repository's path a document is
//
//	SOURCE/YYYY/MM/DD/TITLE~ID/
//
// with the UTC date on which it was received, its title made safe for every
// file system, and the first 12 hex digits of its id. The folder holds the
// document's files and document.json (see [store.MarshalDocument]). The only
// other thing below the path is .incoming/, which holds the lock, the identity
// of the repository and documents on their way.
//
// # How a document becomes visible
//
// Put builds the folder in .incoming, and syncs its files and itself together.
// One goroutine, the committer, takes all folders that are ready, renames them
// into their places, and syncs each folder that a name was added to, once for
// all. Only then do their Puts return. A rename is atomic on ext4, XFS, Btrfs
// and NTFS, so a document is there whole or not at all. Where folders cannot be
// synced (Windows), the file system's journal alone decides when a rename
// survives a loss of power.
//
// A process that dies may leave folders in .incoming, which the next Open
// removes, and a rename that is not yet synced, which is synced before Find or
// Put rely on it. What it was about to replace, the next Open finishes, so that
// the one or the other document is there: see Replace.
//
// Only one process at a time may have a repository open. Removing documents
// from outside meanwhile is allowed; changing them is not.
package filesystem

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/gofrs/flock"

	"postroom/internal/durable"
	"postroom/store"
)

// ErrInUse is wrapped by the error of Open when another process, or this one,
// has the repository open.
var ErrInUse = errors.New("repository is in use by another process")

var (
	// errClosed is returned by every call after Close.
	errClosed = errors.New("repository is closed")
	// errBroken is returned by every call once what is visible cannot be relied
	// on.
	errBroken = errors.New("a failure of the disk could not be undone; check the disk and restart")
)

// Modes of what is created, before the process's umask.
const (
	fileMode   fs.FileMode = 0o640
	folderMode fs.FileMode = 0o750
)

// spareSyncs bounds the syncs that run at the same time beside one of each Put.
const spareSyncs = 8

// Repository is a [store.Repository], and what the small interfaces beside that
// ask for. Make one with Open.
type Repository struct {
	path     string
	root     *os.Root
	lock     *flock.Flock
	identity string
	sync     syncer
	// spare has room for the syncs under way beside one of each Put.
	spare chan struct{}

	// exchange swaps two folders at once, or returns errors.ErrUnsupported.
	exchange func(root *os.Root, a, b string) error

	staged    atomic.Uint64 // folders made in .incoming so far
	turns     *turns
	days      *days
	committer *committer

	life   sync.RWMutex // read-held by every call under way
	closed bool
	broken atomic.Bool
}

var (
	_ store.Repository = (*Repository)(nil)
	_ store.Prober     = (*Repository)(nil)
	_ store.Verifier   = (*Repository)(nil)
	_ store.Remover    = (*Repository)(nil)
)

// Open opens the repository at path, a folder that is made if it is missing,
// and removes what an earlier process left unfinished. Close it after use.
func Open(path string) (*Repository, error) {
	return open(path, "", (*os.File).Sync)
}

// Reopen is Open for the repository of the identity. If another folder or none is
// at path, as when its disk is not mounted, the error wraps ErrAnother, and
// nothing is made.
func Reopen(path, identity string) (*Repository, error) {
	return open(path, identity, (*os.File).Sync)
}

// syncer makes what was written to a file or folder durable.
type syncer func(*os.File) error

// open is Open, or Reopen with an identity.
func open(name, identity string, sync syncer) (_ *Repository, err error) {
	name, err = filepath.Abs(name)
	if err != nil {
		return nil, fmt.Errorf("open repository: %w", err)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("open repository %s: %w", name, err)
		}
	}()
	if identity == "" {
		if err := makePath(name); err != nil {
			return nil, err
		}
	}
	root, err := openRoot(name)
	if err != nil {
		return nil, err
	}
	if identity != "" {
		if err := expect(root, identity); err != nil {
			return nil, errors.Join(err, root.Close())
		}
	}
	lock, err := occupy(root)
	if err != nil {
		return nil, errors.Join(err, root.Close())
	}
	r := &Repository{
		path: name, root: root, lock: lock, identity: identity, sync: sync,
		spare: make(chan struct{}, spareSyncs), turns: newTurns(), exchange: exchange,
	}
	if err := r.recover(); err != nil {
		return nil, errors.Join(err, lock.Unlock(), root.Close())
	}
	if identity == "" {
		if r.identity, err = r.identify(); err != nil {
			return nil, errors.Join(fmt.Errorf("give it an identity: %w", err), lock.Unlock(), root.Close())
		}
	}
	r.days = newDays(maxRemembered, r.listDay)
	r.committer = startCommitter(r)
	return r, nil
}

// Close implements [store.Repository]. Later calls of Close do nothing.
func (r *Repository) Close() error {
	r.life.Lock()
	defer r.life.Unlock()
	if r.closed {
		return nil
	}
	r.closed = true
	r.committer.stop()
	if err := errors.Join(r.lock.Unlock(), r.root.Close()); err != nil {
		return fmt.Errorf("close repository %s: %w", r.path, err)
	}
	return nil
}

// enter begins a call; leave it with r.life.RUnlock.
func (r *Repository) enter() error {
	r.life.RLock()
	switch {
	case r.closed:
		r.life.RUnlock()
		return errClosed
	case r.broken.Load():
		r.life.RUnlock()
		return errBroken
	}
	return nil
}

// Find implements [store.Repository].
func (r *Repository) Find(ctx context.Context, k store.Key) (store.Receipt, error) {
	if err := k.Check(); err != nil {
		return store.Receipt{}, fmt.Errorf("find document: %w", err)
	}
	if err := r.enter(); err != nil {
		return store.Receipt{}, fmt.Errorf("find document %s: %w", k.ID, err)
	}
	defer r.life.RUnlock()
	receipt, err := r.find(ctx, k)
	if err != nil {
		return store.Receipt{}, fmt.Errorf("find document %s: %w", k.ID, err)
	}
	return receipt, nil
}

func (r *Repository) find(ctx context.Context, k store.Key) (store.Receipt, error) {
	if err := r.turns.take(ctx, turn(k)); err != nil {
		return store.Receipt{}, err
	}
	defer r.turns.give(turn(k))
	return r.lookUp(k)
}

// Put implements [store.Repository].
func (r *Repository) Put(ctx context.Context, d *store.Document) (store.Receipt, error) {
	if err := d.Check(); err != nil {
		return store.Receipt{}, fmt.Errorf("put document: %w", err)
	}
	if err := r.enter(); err != nil {
		return store.Receipt{}, fmt.Errorf("put document %s: %w", d.ID, err)
	}
	defer r.life.RUnlock()
	receipt, err := r.put(ctx, d)
	if err != nil {
		return store.Receipt{}, fmt.Errorf("put document %s: %w", d.ID, err)
	}
	return receipt, nil
}

func (r *Repository) put(ctx context.Context, d *store.Document) (store.Receipt, error) {
	k := d.Key()
	if err := r.turns.take(ctx, turn(k)); err != nil {
		return store.Receipt{}, err
	}
	defer r.turns.give(turn(k))

	receipt, err := r.lookUp(k)
	if !errors.Is(err, store.ErrNotFound) {
		return receipt, err
	}
	if err := r.present(); err != nil {
		return store.Receipt{}, err
	}
	stage := path.Join(incoming, strconv.FormatUint(r.staged.Add(1), 10))
	receipt.Description, err = r.stage(ctx, d, stage)
	if err == nil {
		receipt.Location = path.Join(dayFolder(k), documentFolder(d))
		err = r.committer.commit(stage, receipt.Location)
	}
	if err != nil {
		return store.Receipt{}, errors.Join(err, r.discard(stage))
	}
	r.days.add(dayFolder(k), documentFolder(d))
	return receipt, nil
}

// discard removes what was staged.
func (r *Repository) discard(stage string) error {
	return durable.Patiently(func() error { return r.root.RemoveAll(stage) })
}
