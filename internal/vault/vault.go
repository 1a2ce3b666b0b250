// Package vault keeps small secrets at rest: encrypted, bound to this machine,
// and each to its name.
//
// A vault is the folder "vault" in the folder of the state:
//
//	values.json   the values, each sealed under its name; replaced whole
//	key           32 random bytes, of mode 0600; not on Windows
//	lock          locked while something is changed
//
// On Windows a value is sealed by the Data Protection API with the machine's key,
// and the folder is closed to all but the system, administrators and the owner of
// the state. Elsewhere it is sealed by AES-256-GCM with a key that HKDF (RFC 5869)
// derives from the file and from /etc/machine-id: a copy of the files is of no use
// on another machine. Whoever is root here, or the user that postroom runs as, can
// read everything, as the service itself must.
package vault

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/gofrs/flock"

	"postroom/internal/durable"
	"postroom/internal/secret"
)

// MaxSize is how many bytes a value has at most.
const MaxSize = 64 << 10

// maxFile bounds the file of the values.
const maxFile = 32 << 20

// ErrUnknown is that no value of the name is kept.
var ErrUnknown = errors.New("no such value is kept")

// UnreadableError is that a value, or all of them, are kept and cannot be read.
type UnreadableError struct {
	// Path is the file, Reason what is wrong with it.
	Path, Reason string
	// Remedy says what to do before any value can be set. It is empty if one value
	// alone is concerned, or each by itself: then it helps to set that anew.
	Remedy string
}

func (e *UnreadableError) Error() string {
	if e.Remedy == "" {
		return e.Path + ": " + e.Reason
	}
	return e.Path + ": " + e.Reason + "; " + e.Remedy
}

// startAnew is what to do when nothing in the vault can be read any more. To keep
// another value there would be to give up the others without a word.
const startAnew = "put back a copy of this file; if there is none, move the folder vault in state_dir away, then set each secret again (postroom secret set NAME) and sign in again (postroom sign-in --credentials NAME)"

// Vault is the vault of a folder. Its methods may be called concurrently, by
// several processes too.
type Vault struct {
	state, dir string
	// machine returns what identifies the machine.
	machine func() ([]byte, error)
}

// In returns the vault in the folder of the state. It touches nothing: the vault
// is made with the first value.
func In(stateDir string) *Vault {
	return &Vault{state: stateDir, dir: filepath.Join(stateDir, "vault"), machine: machineID}
}

// Dir is the folder of the vault.
func (v *Vault) Dir() string { return v.dir }

// Entry tells of a value that is kept.
type Entry struct {
	Name    string
	Changed time.Time
}

// contents are those of the file of the values.
type contents struct {
	Version int               `json:"version"`
	Values  map[string]sealed `json:"values"`
}

// sealed is one value.
type sealed struct {
	// Key tells the keys of two machines apart, and nothing about them.
	Key     string    `json:"key,omitempty"`
	Data    []byte    `json:"data"`
	Changed time.Time `json:"changed"`
}

const version = 1

func (v *Vault) file() string { return filepath.Join(v.dir, "values.json") }

// Get returns the value of the name. The error is [ErrUnknown] if there is none,
// and an [*UnreadableError] if it is not to be read here.
func (v *Vault) Get(name string) (secret.Value, error) {
	all, err := v.read()
	if err != nil {
		return secret.Value{}, err
	}
	value, ok := all.Values[name]
	if !ok {
		return secret.Value{}, ErrUnknown
	}
	return v.open(name, value)
}

// List returns the names that begin with the prefix, in order. It needs no key.
func (v *Vault) List(prefix string) ([]Entry, error) {
	all, err := v.read()
	if err != nil {
		return nil, err
	}
	var found []Entry
	for name, value := range all.Values {
		if strings.HasPrefix(name, prefix) {
			found = append(found, Entry{name, value.Changed})
		}
	}
	slices.SortFunc(found, func(a, b Entry) int { return strings.Compare(a.Name, b.Name) })
	return found, nil
}

// Ready returns the [*UnreadableError] for which Set would keep no value, nil if
// there is none.
func (v *Vault) Ready() error {
	all, err := v.read()
	if err != nil {
		return err
	}
	return v.ready(len(all.Values) == 0)
}

// Set keeps the value under the name, in place of one that is there. When it
// returns nil the value survives power loss. While the others cannot be read, for
// a reason that is not theirs alone, nothing is set: the error is an
// [*UnreadableError] with a remedy.
func (v *Vault) Set(ctx context.Context, name string, value secret.Value) error {
	return v.change(ctx, func(all *contents) error { return v.put(all, name, value) })
}

// Delete forgets the value of the name. The error is [ErrUnknown] if there is none.
func (v *Vault) Delete(ctx context.Context, name string) error {
	return v.change(ctx, func(all *contents) error {
		if _, ok := all.Values[name]; !ok {
			return ErrUnknown
		}
		delete(all.Values, name)
		return nil
	})
}

// Update keeps what f makes of the value of the name, while nobody else changes
// the vault: f should be quick. If it returns an error nothing is changed, and
// that is the error; so it is if f returns what it was given. The errors of Get
// are met before f is called.
func (v *Vault) Update(ctx context.Context, name string, f func(old secret.Value) (secret.Value, error)) error {
	return v.change(ctx, func(all *contents) error {
		value, ok := all.Values[name]
		if !ok {
			return ErrUnknown
		}
		old, err := v.open(name, value)
		if err != nil {
			return err
		}
		fresh, err := f(old)
		if err != nil {
			return err
		}
		if fresh.Reveal() == old.Reveal() {
			return errUnchanged
		}
		return v.put(all, name, fresh)
	})
}

// errUnchanged ends a change that is none.
var errUnchanged = errors.New("unchanged")

func (v *Vault) put(all *contents, name string, value secret.Value) error {
	if len(value.Reveal()) > MaxSize {
		return fmt.Errorf("the value has more than %d KiB", MaxSize>>10)
	}
	key, data, err := v.seal(name, []byte(value.Reveal()), len(all.Values) == 0)
	if err != nil {
		return err
	}
	all.Values[name] = sealed{Key: key, Data: data, Changed: time.Now().UTC().Truncate(time.Second)}
	return nil
}

// associated is what a sealed value is bound to.
func associated(name string) []byte { return []byte("postroom vault 1\x00" + name) }

// read returns what is kept, nothing if there is no vault.
func (v *Vault) read() (*contents, error) {
	all := &contents{Version: version, Values: map[string]sealed{}}
	f, err := os.Open(v.file())
	if errors.Is(err, fs.ErrNotExist) {
		return all, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the vault: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read the vault: %w", err)
	}
	var got contents
	switch err := json.Unmarshal(data, &got); {
	case err != nil || got.Version < 1 || len(data) > maxFile:
		return nil, &UnreadableError{v.file(), "the file is damaged, and nothing in it can be read", startAnew}
	case got.Version > version:
		return nil, &UnreadableError{v.file(), fmt.Sprintf("it is of version %d, and this postroom understands version %d", got.Version, version), "use a newer postroom"}
	}
	if got.Values == nil {
		got.Values = all.Values
	}
	return &got, nil
}

// change replaces the contents by what f makes of them.
func (v *Vault) change(ctx context.Context, f func(*contents) error) (err error) {
	if err := v.make(); err != nil {
		return fmt.Errorf("make the vault: %w", err)
	}
	// Its owner is that of the state, whoever makes it.
	name := filepath.Join(v.dir, "lock")
	if err := v.touch(name); err != nil {
		return fmt.Errorf("lock the vault: %w", err)
	}
	lock := flock.New(name)
	if _, err := lock.TryLockContext(ctx, 20*time.Millisecond); err != nil {
		return fmt.Errorf("lock the vault %s: %w", v.dir, err)
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	all, err := v.read()
	if err != nil {
		return err
	}
	if err := f(all); errors.Is(err, errUnchanged) {
		return nil
	} else if err != nil {
		return err
	}
	data, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return err
	}
	if err := v.write(v.file(), append(data, '\n')); err != nil {
		return fmt.Errorf("write the vault: %w", err)
	}
	return nil
}

// make makes the folder.
func (v *Vault) make() error {
	if err := os.MkdirAll(v.state, 0o700); err != nil {
		return err
	}
	err := os.Mkdir(v.dir, 0o700)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(protect(v.dir, v.state), durable.SyncDir(v.state))
}

// touch makes an empty file unless it is there.
func (v *Vault) touch(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(own(f, v.dir), f.Close())
}

// write replaces a file of the vault durably, whole or not at all.
func (v *Vault) write(path string, data []byte) error {
	return durable.WriteFileAs(path, bytes.NewReader(data), func(f *os.File) error {
		return errors.Join(f.Chmod(0o600), own(f, v.dir))
	})
}
