package filesystem_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"postroom/store"
	"postroom/store/filesystem"
	"postroom/store/storetest"
)

// No more than 1 MB fits until there is room.
func TestFull(t *testing.T) {
	t.Run("file", func(t *testing.T) {
		if os.Getenv(childTask) == limited {
			testFull(t, t.TempDir(), unix.EFBIG, limitFiles(t))
			return
		}
		// The limit holds for all files of a process, those of go test included.
		program, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		c := exec.Command(program, "-test.run=^TestFull$/^file$", "-test.v")
		c.Env = append(os.Environ(), childTask+"="+limited)
		output, err := c.CombinedOutput()
		if err != nil || !bytes.Contains(output, []byte("--- PASS: TestFull/file")) {
			t.Errorf("%v\n%s", err, output)
		}
	})
	t.Run("disk", func(t *testing.T) {
		path := t.TempDir()
		room, err := mountSmall(t, path)
		if errors.Is(err, unix.EPERM) {
			return // only root may mount; the other test covers the same way out
		}
		if err != nil {
			t.Fatal(err)
		}
		testFull(t, path, unix.ENOSPC, room)
	})
}

func testFull(t *testing.T, path string, want error, room func()) {
	f := folder(path)
	r := f.Open(t)
	defer closeRepository(t, r)
	small := storetest.NewDocument("small")
	f.put(t, r, small)

	large := storetest.NewDocument("large")
	large.Files = append(large.Files, storetest.NewFile("scan.pdf", store.RoleAttachment, bytes.Repeat([]byte("%PDF"), 1<<19)))
	for range 3 {
		if _, err := r.Put(context.Background(), large); !errors.Is(err, want) || errors.Is(err, store.ErrRefused) {
			t.Fatalf("Put: %v, want %v and not ErrRefused", err, want)
		}
		if n := len(f.List(t)); n != 1 {
			t.Errorf("%d documents are visible, want 1", n)
		}
		if n := f.Leftovers(t); n != 0 {
			t.Errorf("%d things are left in .incoming", n)
		}
	}
	room()
	location := f.put(t, r, large)
	if _, err := f.List(t)[location].Document(); err != nil {
		t.Error(err)
	}
	if _, err := r.Find(context.Background(), small.Key()); err != nil {
		t.Errorf("Find: %v", err)
	}
}

// limitFiles lets this process write no file of more than 1 MB until room is
// called.
func limitFiles(t *testing.T) (room func()) {
	t.Helper()
	signal.Ignore(syscall.SIGXFSZ)
	t.Cleanup(func() { signal.Reset(syscall.SIGXFSZ) })
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &before); err != nil {
		t.Fatal(err)
	}
	set := func(limit unix.Rlimit) {
		if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &limit); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(func() { set(before) })
	set(unix.Rlimit{Cur: 1 << 20, Max: before.Max})
	return func() { set(before) }
}

// mountSmall mounts a disk of 1 MB.
func mountSmall(t *testing.T, path string) (room func(), err error) {
	t.Helper()
	if err := unix.Mount("none", path, "tmpfs", 0, "size=1m"); err != nil {
		return nil, err
	}
	t.Cleanup(func() {
		if err := unix.Unmount(path, 0); err != nil {
			t.Error(err)
		}
	})
	return func() {
		if err := unix.Mount("none", path, "tmpfs", unix.MS_REMOUNT, "size=16m"); err != nil {
			t.Error(err)
		}
	}, nil
}

func TestProbeWarnsOfLowSpace(t *testing.T) {
	path := t.TempDir()
	_, err := mountSmall(t, path)
	if errors.Is(err, unix.EPERM) {
		return // only root may mount
	}
	if err != nil {
		t.Fatal(err)
	}
	r, err := filesystem.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer closeRepository(t, r)
	warnings, err := r.Probe(context.Background())
	if err != nil || len(warnings) != 1 {
		t.Errorf("Probe of a disk of 1 MB = %q, %v, want one warning", warnings, err)
	}
}

// A disk that is read-only is an error with its path.
func TestReadOnly(t *testing.T) {
	path := t.TempDir()
	_, err := mountSmall(t, path)
	if errors.Is(err, unix.EPERM) {
		return // only root may mount
	}
	if err != nil {
		t.Fatal(err)
	}
	remount := func(flags uintptr) {
		if err := unix.Mount("none", path, "tmpfs", unix.MS_REMOUNT|flags, ""); err != nil {
			t.Error(err)
		}
	}
	closeRepository(t, folder(path).Open(t))
	remount(unix.MS_RDONLY)
	defer remount(0)
	if _, err := filesystem.Open(path); !errors.Is(err, unix.EROFS) || !strings.Contains(err.Error(), path) {
		t.Errorf("Open: %v, want %v and the path", err, unix.EROFS)
	}
}
