//go:build unix

package owner

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
)

// adoptDir names the directory that a copy of this test adopts instead of
// running tests.
const adoptDir = "POSTROOM_TEST_ADOPT"

// identity is what the copy reports of itself.
type identity struct {
	UID, GID int
	Groups   []int
}

func TestMain(m *testing.M) {
	dir, ok := os.LookupEnv(adoptDir)
	if !ok {
		os.Exit(m.Run())
	}
	if err := adoptAndReport(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func adoptAndReport(dir string) error {
	if err := Adopt(dir); err != nil {
		return err
	}
	groups, err := os.Getgroups()
	if err != nil {
		return err
	}
	if os.Getuid() != 0 && syscall.Setuid(0) == nil {
		return errors.New("could become root again")
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(identity{os.Getuid(), os.Getgid(), groups})
}

// adopt has a copy of this process adopt the directory.
func adopt(t *testing.T, dir string) identity {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), adoptDir+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var id identity
	if err := json.Unmarshal(out, &id); err != nil {
		t.Fatal(err)
	}
	slices.Sort(id.Groups)
	return id
}

// self is the identity of a process that has adopted nothing.
func self(t *testing.T) identity {
	t.Helper()
	groups, err := os.Getgroups()
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(groups)
	return identity{os.Getuid(), os.Getgid(), groups}
}

func (id identity) equal(other identity) bool {
	return id.UID == other.UID && id.GID == other.GID && slices.Equal(id.Groups, other.Groups)
}

func TestAdoptLeavesTheProcessAsItIs(t *testing.T) {
	dir := t.TempDir()
	for _, tt := range []struct{ name, dir string }{
		{"a directory of its own", dir},
		{"no directory", filepath.Join(dir, "missing")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got, want := adopt(t, tt.dir), self(t); !got.equal(want) {
				t.Errorf("became %+v, want %+v", got, want)
			}
		})
	}
}

// TestAdoptOwner needs root to have anything to show: what it is for is that
// root gives itself up. Any other user must stay what it is.
func TestAdoptOwner(t *testing.T) {
	nobody, err := user.Lookup("nobody")
	if err != nil {
		t.Fatal(err)
	}
	known := identity{UID: number(t, nobody.Uid), GID: number(t, nobody.Gid)}
	groups, err := nobody.GroupIds()
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range groups {
		known.Groups = append(known.Groups, number(t, g))
	}
	slices.Sort(known.Groups)

	for _, tt := range []struct {
		name     string
		uid, gid int
		want     identity
	}{
		{"a user of the database", known.UID, 54321, known},
		{"a user without an entry", 54320, 54321, identity{54320, 54321, []int{54321}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := directory(t)
			want := self(t)
			if want.UID == 0 {
				want = tt.want
				if err := os.Chown(dir, tt.uid, tt.gid); err != nil {
					t.Fatal(err)
				}
			}
			if got := adopt(t, dir); !got.equal(want) {
				t.Errorf("became %+v, want %+v", got, want)
			}
			info, err := os.Stat(filepath.Join(dir, "file"))
			if err != nil {
				t.Fatal(err)
			}
			if stat := info.Sys().(*syscall.Stat_t); int(stat.Uid) != want.UID || int(stat.Gid) != want.GID {
				t.Errorf("file belongs to %d:%d, want %d:%d", stat.Uid, stat.Gid, want.UID, want.GID)
			}
		})
	}
}

func TestAdoptAFile(t *testing.T) {
	if os.Geteuid() != 0 {
		return // Adopt does nothing then, as shown above
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Adopt(file); err == nil {
		t.Error("no error")
	}
}

// directory returns a new directory that, unlike t.TempDir, others can reach.
func directory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "adopt")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func number(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
