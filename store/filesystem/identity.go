package filesystem

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
)

// identityFile is the file in incoming that tells the repository from every
// other folder, above all from the empty one below a disk that is not mounted.
const identityFile = "repository.id"

// identityBytes is the length of an identity, which is written in hex.
const identityBytes = 16

// ErrAnother is wrapped by the error of Reopen and Put when what is at the path
// is not the repository that was opened before: nothing, an empty folder, or
// another repository.
var ErrAnother = errors.New("it is not the repository that was used before")

// Identity returns what tells this repository from every other: 32 hex digits,
// made when it was first opened. It moves with the folder and is in each copy of
// it.
func (r *Repository) Identity() string { return r.identity }

// readIdentity returns the identity of the repository. The error wraps
// fs.ErrNotExist if it has none.
func readIdentity(root *os.Root) (string, error) {
	text, err := root.ReadFile(path.Join(incoming, identityFile))
	if err != nil {
		return "", err
	}
	identity := strings.TrimSpace(string(text))
	if b, err := hex.DecodeString(identity); err != nil || len(b) != identityBytes {
		return "", fmt.Errorf("%s is damaged: put it back from a backup, or remove it to have another made", path.Join(incoming, identityFile))
	}
	return identity, nil
}

// Expect returns an error, which wraps ErrAnother, unless the repository of the
// identity is at path. It changes nothing, and may be called beside the process
// that has the repository open.
func Expect(path, identity string) error {
	root, err := openRoot(path)
	if err == nil {
		err = errors.Join(expect(root, identity), root.Close())
	}
	if err != nil {
		return fmt.Errorf("repository %s: %w", path, err)
	}
	return nil
}

// openRoot opens the folder of a repository that was used before.
func openRoot(name string) (*os.Root, error) {
	root, err := os.OpenRoot(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: there is no such folder", ErrAnother)
	}
	return root, err
}

// expect returns an error if the repository is not the one of the identity.
func expect(root *os.Root, identity string) error {
	found, err := readIdentity(root)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: there is no %s in it", ErrAnother, path.Join(incoming, identityFile))
	case err != nil:
		return err
	case found != identity:
		return fmt.Errorf("%w: its identity is %s, not %s", ErrAnother, found, identity)
	}
	return nil
}

// identify returns the identity of the repository, which it gives to one that
// has none. It is durable.
func (r *Repository) identify() (string, error) {
	identity, err := readIdentity(r.root)
	if errors.Is(err, fs.ErrNotExist) {
		b := make([]byte, identityBytes)
		rand.Read(b) // never fails
		identity = hex.EncodeToString(b)
		name := path.Join(incoming, identityFile)
		err = r.write(name+".new", identity+"\n")
		if err == nil {
			err = r.rename(name+".new", name)
		}
	}
	if err != nil {
		return "", err
	}
	// Also of an identity that was there: the process that made it may have died
	// before this.
	return identity, errors.Join(r.syncFolder(incoming), r.syncFolder("."))
}

// present returns an error if the path does not lead to the opened repository
// any more, because it was unmounted, moved or removed.
func (r *Repository) present() error {
	at, err := os.Stat(r.path)
	if err != nil {
		return fmt.Errorf("repository %s: %w (%w): mount or move it back", r.path, ErrAnother, err)
	}
	opened, err := r.root.Stat(".")
	if err != nil {
		return fmt.Errorf("repository %s: %w", r.path, err)
	}
	if !os.SameFile(at, opened) {
		return fmt.Errorf("repository %s: %w: another folder is there; mount or move it back, or restart postroom", r.path, ErrAnother)
	}
	if _, err := r.root.Lstat(path.Join(incoming, identityFile)); err != nil {
		return fmt.Errorf("repository %s: %w: its %s is missing: put it back, or restart postroom", r.path, ErrAnother, path.Join(incoming, identityFile))
	}
	return nil
}
