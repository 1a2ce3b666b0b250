package main

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"postroom/internal/dovecot"
)

// mountAt mounts an empty file system of the size over the folder. It returns
// false to who may not mount; the other tests then stand for this one.
func mountAt(t *testing.T, dir, size string) bool {
	t.Helper()
	err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size)
	if errors.Is(err, unix.EPERM) {
		return false
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// EINVAL: the test has unmounted it.
		if err := unix.Unmount(dir, 0); err != nil && !errors.Is(err, unix.EINVAL) {
			t.Error(err)
		}
	})
	return true
}

// TestCheckFullDisk: too little room to file anything is an error.
func TestCheckFullDisk(t *testing.T) {
	o := newOffice(t, dovecot.Options{})
	o.configure("")
	documents := filepath.Join(o.dir, "documents")
	if err := os.Mkdir(documents, 0o750); err != nil {
		t.Fatal(err)
	}
	if !mountAt(t, documents, "1m") {
		return
	}
	r := o.run("check")
	if r.status != 1 {
		t.Errorf("%+v", r)
	}
	contains(t, r.out, "FAILED", "repository.path: ", "MB of free space", "make room", "source office")
}

// TestUnmountedRepository is TestRepositoryNotMounted with a disk that is.
func TestUnmountedRepository(t *testing.T) {
	o := newOffice(t, dovecot.Options{})
	o.configure("after_filing: delete")
	documents := filepath.Join(o.dir, "documents")
	if err := os.Mkdir(documents, 0o750); err != nil {
		t.Fatal(err)
	}
	if !mountAt(t, documents, "50m") {
		return
	}
	o.send("INBOX", note(1))
	if s := o.once(); s.Filed != 1 {
		t.Fatalf("%+v", s)
	}
	if err := unix.Unmount(documents, 0); err != nil {
		t.Fatal(err)
	}
	o.send("INBOX", note(2))
	for _, command := range [][]string{{"run", "--once"}, {"run"}, {"check"}} {
		r := o.run(command...)
		if r.status != 1 {
			t.Errorf("%q: %+v", command, r)
		}
		contains(t, r.out+r.err, "mounted?")
	}
	if left, err := os.ReadDir(documents); err != nil || len(left) > 0 {
		t.Errorf("left %v below the mount, %v", left, err)
	}
	if n := len(o.contents("INBOX")); n != 1 {
		t.Errorf("%d messages are left on the server, want 1", n)
	}
}
