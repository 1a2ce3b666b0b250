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

// TestForeignPaths checks that a path of another system is not taken for the
// name of something in the configuration's folder.
func TestForeignPaths(t *testing.T) {
	dir := write(t, map[string]string{"config.yaml": `version: 1
repository: {type: filesystem, path: C:\temp}
state_dir: .\state
spool: \\server\share
ledger: sqlite:C:/postroom.db
include: ["C:\\sources\\*.yaml", config.yaml/*.yaml]
credentials: [{name: a, type: password, username: u, password: "${file:C:/password}"}]
log: {file: ""}
`})
	_, err := config.Load(filepath.Join(dir, "config.yaml"), drivers())
	const foreign = " is a Windows path; this system separates folders by / and has no drives; allowed: "
	const ledger = "sqlite:PATH or postgres://USER:PASSWORD@HOST/DATABASE"
	want := "config.yaml:2:38: path: the value" + foreign + "a path\n" +
		"config.yaml:3:12: state_dir: the value" + foreign + "a path\n" +
		"config.yaml:4:8: spool: the value" + foreign + "a path\n" +
		"config.yaml:5:9: ledger: the value" + foreign + ledger + "\n" +
		"config.yaml:6:11: include: the pattern" + foreign + "a path in which * and ? stand for any characters of a name\n" +
		"config.yaml:6:34: include: the folder of the pattern cannot be read: not a directory; allowed: a path in which * and ? stand for any characters of a name\n" +
		"config.yaml:7:64: password: the path in the reference" + foreign + "a path\n"
	var problems config.Problems
	if !errors.As(err, &problems) || lines(dir, problems) != want {
		t.Errorf("Load returned\n%v\nwant\n%s", err, want)
	}
}

// TestSymbolicLinks checks that the repository is recognised under another name.
func TestSymbolicLinks(t *testing.T) {
	for _, text := range []string{"spool: link/spool/new", "spool: documents/../link", "log: {file: link/new.log}", "ledger: sqlite:link/new.db", "state_dir: link"} {
		dir := write(t, map[string]string{"config.yaml": head + text + "\n", "documents/x": ""})
		if err := os.Symlink("documents", filepath.Join(dir, "link")); err != nil {
			t.Fatal(err)
		}
		_, err := config.Load(filepath.Join(dir, "config.yaml"), drivers())
		if err == nil || !strings.Contains(err.Error(), " is in the folder of the repository") {
			t.Errorf("%s: Load returned %v", text, err)
		}
	}
	// A hard link is the same file.
	linked := write(t, map[string]string{"config.yaml": head + "ledger: sqlite:ledger.db\nlog: {file: other.log}\n", "ledger.db": ""})
	if err := os.Link(filepath.Join(linked, "ledger.db"), filepath.Join(linked, "other.log")); err != nil {
		t.Fatal(err)
	}
	if _, err := config.Load(filepath.Join(linked, "config.yaml"), drivers()); err == nil || !strings.Contains(err.Error(), "4:13: log.file: this is ledger too") {
		t.Errorf("Load returned %v", err)
	}
	// The repository itself is a link, to where the configuration is.
	dir := write(t, map[string]string{"config.yaml": "version: 1\nrepository: {type: filesystem, path: link}\nstate_dir: /nonexistent/state\n"})
	if err := os.Symlink(".", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	_, err := config.Load(filepath.Join(dir, "config.yaml"), drivers())
	if err == nil || !strings.Contains(err.Error(), "2:38: the configuration file is in the folder of the repository") {
		t.Errorf("Load returned %v", err)
	}
}

// TestIncludedTwice checks that a file is read once, whatever it is called.
func TestIncludedTwice(t *testing.T) {
	dir := write(t, map[string]string{
		"config.yaml": head + box + "include: [a.yaml, ./a.yaml, link.yaml, '*k.yaml']\n",
		"a.yaml":      "sources: [{name: a, type: imap, credentials: box, server: x}]\n",
	})
	if err := os.Symlink("a.yaml", filepath.Join(dir, "link.yaml")); err != nil {
		t.Fatal(err)
	}
	setEnvironment(t)
	c, err := config.Load(filepath.Join(dir, "config.yaml"), drivers())
	if err != nil || len(c.Sources) != 1 {
		t.Errorf("Load returned %v, %v", c, err)
	}
}
