//go:build unix

package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"postroom/cmd/postroom/config"
)

func TestReferencedFile(t *testing.T) {
	const text = head + "credentials:\n  - name: box\n    type: password\n    username: u\n    password: ${file:key}\n"
	tests := []struct {
		name string
		make func(path string) error
		want string
	}{
		{"mode 0600", withMode(0o600), ""},
		{"mode 0400", withMode(0o400), ""},
		{"mode 0640", withMode(0o640), "file key can be read or written by others (mode 0640); allowed: mode 0600 or narrower (chmod 600)"},
		{"mode 0604", withMode(0o604), "file key can be read or written by others (mode 0604); allowed: mode 0600 or narrower (chmod 600)"},
		{"mode 0620", withMode(0o620), "file key can be read or written by others (mode 0620); allowed: mode 0600 or narrower (chmod 600)"},
		{"folder", func(path string) error { return os.Mkdir(path, 0o700) }, "file key cannot be read: it is not a regular file; allowed: a file that postroom can read"},
		{"pipe", func(path string) error { return syscall.Mkfifo(path, 0o600) }, "file key cannot be read: it is not a regular file; allowed: a file that postroom can read"},
		{"large", func(path string) error { return os.WriteFile(path, make([]byte, 1<<17), 0o600) }, "file key is larger than 64 KiB; allowed: a short text"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := write(t, map[string]string{"config.yaml": text})
			if err := test.make(filepath.Join(dir, "key")); err != nil {
				t.Fatal(err)
			}
			c, err := config.Load(filepath.Join(dir, "config.yaml"), drivers())
			if test.want == "" {
				if err != nil || c.Credentials["box"].Password.Reveal() != marker {
					t.Errorf("Load returned %v, %v", c, err)
				}
				return
			}
			var problems config.Problems
			if want := "config.yaml:7:15: password: " + test.want + "\n"; !errors.As(err, &problems) || lines(dir, problems) != want {
				t.Errorf("Load returned\n%v\nwant\n%s", err, want)
			}
		})
	}
}

// withMode returns a function that writes a file of the mode, whatever the umask.
func withMode(mode os.FileMode) func(string) error {
	return func(path string) error {
		return errors.Join(os.WriteFile(path, []byte(marker), 0o600), os.Chmod(path, mode))
	}
}

// TestSymbolicLinks checks that the repository is recognised under another name.
func TestSymbolicLinks(t *testing.T) {
	dir := write(t, map[string]string{"config.yaml": head + "spool: link/spool/new\n", "documents/x": ""})
	if err := os.Symlink("documents", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	_, err := config.Load(filepath.Join(dir, "config.yaml"), drivers())
	if err == nil || !strings.Contains(err.Error(), "3:8: spool is in the folder of the repository") {
		t.Errorf("Load returned %v", err)
	}
}
