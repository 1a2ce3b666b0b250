//go:build !windows

package vault

import (
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

	must(t, os.Remove(here.keyFile()))
	_, err = here.Get("a")
	unreadable(t, err, "missing")
	must(t, here.Set(t.Context(), "c", secret.New("new")))
	_, err = here.Get("a")
	unreadable(t, err, "another key")
	must(t, here.Set(t.Context(), "a", secret.New("again")))
	get(t, here, "a", "again")
}

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
	unreadable(t, err, "damaged")
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
