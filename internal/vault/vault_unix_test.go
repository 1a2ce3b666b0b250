//go:build !windows

package vault

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"postroom/internal/secret"
)

// on returns the vault as another machine sees it.
func on(v *Vault, machine string) *Vault {
	return &Vault{state: v.state, dir: v.dir, machine: func() ([]byte, error) { return []byte(machine), nil }}
}

func TestAnotherMachine(t *testing.T) {
	here := on(In(t.TempDir()), "here")
	must(t, here.Set(t.Context(), "a", secret.New(hidden)))
	there := on(here, "there")
	_, err := there.Get("a")
	unreadable(t, err, "another machine")
	must(t, there.Set(t.Context(), "b", secret.New("new")))
	get(t, there, "b", "new")
	get(t, here, "a", hidden)
	must(t, there.Set(t.Context(), "a", secret.New("again")))
	get(t, there, "a", "again")
}

// What an error says to do helps, and until it is done nothing is set that would
// bury what is kept.
func TestRemedies(t *testing.T) {
	for name, row := range map[string]struct {
		damage  func(v *Vault) error
		word    string
		repair  func(v *Vault) error
		remains bool
	}{
		"key of all":     {func(v *Vault) error { return os.Chmod(v.keyFile(), 0o644) }, "chmod 600", func(v *Vault) error { return os.Chmod(v.keyFile(), 0o600) }, true},
		"damaged key":    {func(v *Vault) error { return os.WriteFile(v.keyFile(), []byte("short"), 0o600) }, "move the folder vault", moveAway, false},
		"missing key":    {func(v *Vault) error { return os.Remove(v.keyFile()) }, "move the folder vault", moveAway, false},
		"damaged values": {func(v *Vault) error { return os.Truncate(v.file(), 20) }, "move the folder vault", moveAway, false},
	} {
		t.Run(name, func(t *testing.T) {
			v := In(t.TempDir())
			must(t, v.Ready())
			must(t, v.Set(t.Context(), "secret/a", secret.New(hidden)))
			must(t, v.Set(t.Context(), "sign-in/b", secret.New(hidden)))
			must(t, v.Ready())
			must(t, row.damage(v))
			before, err := os.ReadFile(v.file())
			must(t, err)
			_, err = v.Get("secret/a")
			set := v.Set(t.Context(), "secret/c", secret.New("new"))
			again := v.Set(t.Context(), "secret/a", secret.New("new"))
			for _, err := range []error{err, set, again, v.Ready()} {
				unreadable(t, err, row.word)
				if e := new(UnreadableError); errors.As(err, &e) && e.Remedy == "" {
					t.Errorf("%v: no remedy", err)
				}
			}
			if after, err := os.ReadFile(v.file()); err != nil || !bytes.Equal(before, after) {
				t.Errorf("the values are not as they were, %v", err)
			}
			must(t, row.repair(v))
			must(t, v.Ready())
			if row.remains {
				get(t, v, "secret/a", hidden)
				get(t, v, "sign-in/b", hidden)
			}
			must(t, v.Set(t.Context(), "secret/a", secret.New("new")))
			must(t, v.Set(t.Context(), "sign-in/b", secret.New("new")))
			get(t, v, "secret/a", "new")
			get(t, v, "sign-in/b", "new")
		})
	}

	// A copy of the key helps as well.
	v := In(t.TempDir())
	must(t, v.Set(t.Context(), "a", secret.New(hidden)))
	must(t, os.Rename(v.keyFile(), v.keyFile()+".copy"))
	unreadable(t, v.Ready(), "put back a copy")
	must(t, os.Rename(v.keyFile()+".copy", v.keyFile()))
	get(t, v, "a", hidden)
}

func moveAway(v *Vault) error { return os.Rename(v.dir, v.dir+".old") }

func TestModes(t *testing.T) {
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	v := In(filepath.Join(t.TempDir(), "state"))
	must(t, v.Set(t.Context(), "a", secret.New(hidden)))
	for path, want := range map[string]os.FileMode{v.state: 0o700, v.dir: 0o700, v.file(): 0o600, v.keyFile(): 0o600, filepath.Join(v.dir, "lock"): 0o600} {
		info, err := os.Stat(path)
		must(t, err)
		if info.Mode().Perm() != want {
			t.Errorf("%s has mode %04o, want %04o", path, info.Mode().Perm(), want)
		}
	}
	must(t, os.Chmod(v.keyFile(), 0o640))
	_, err := v.Get("a")
	unreadable(t, err, "chmod 600")
	must(t, os.Chmod(v.keyFile(), 0o600))
	must(t, os.WriteFile(v.keyFile(), []byte("short"), 0o600))
	_, err = v.Get("a")
	unreadable(t, err, "damaged", "move the folder vault")
}

// What root writes belongs to the owner of the state, who reads it.
func TestOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		return // then everything is the user's own
	}
	state := filepath.Join(t.TempDir(), "state")
	must(t, os.Mkdir(state, 0o700))
	must(t, os.Chown(state, 54320, 54321))
	v := In(state)
	for range 2 {
		must(t, v.Set(t.Context(), "a", secret.New(hidden)))
	}
	for _, path := range []string{v.dir, v.file(), v.keyFile(), filepath.Join(v.dir, "lock")} {
		info, err := os.Stat(path)
		must(t, err)
		if stat := info.Sys().(*syscall.Stat_t); stat.Uid != 54320 || stat.Gid != 54321 {
			t.Errorf("%s belongs to %d:%d", path, stat.Uid, stat.Gid)
		}
	}
}
