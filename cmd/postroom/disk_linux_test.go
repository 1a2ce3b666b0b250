package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"postroom/internal/mailgen"
)

// disk is a small disk of its own.
type disk struct {
	t    *testing.T
	path string
}

// mount makes a folder of the office a disk of some megabytes.
func (o *office) mount(folder string, megabytes int) *disk {
	o.t.Helper()
	d := &disk{o.t, filepath.Join(o.dir, folder)}
	if err := os.MkdirAll(d.path, 0o700); err != nil {
		o.t.Fatal(err)
	}
	err := unix.Mount("none", d.path, "tmpfs", 0, fmt.Sprintf("size=%dm,mode=700", megabytes))
	if errors.Is(err, unix.EPERM) {
		o.t.Skip("only root may mount a disk; the tests of ingest and store/filesystem cover the same failures without one")
	}
	if err != nil {
		o.t.Fatal(err)
	}
	o.t.Cleanup(func() {
		if err := unix.Unmount(d.path, unix.MNT_DETACH); err != nil {
			o.t.Error(err)
		}
	})
	return d
}

func (d *disk) remount(options string, flags uintptr) {
	d.t.Helper()
	if err := unix.Mount("none", d.path, "tmpfs", unix.MS_REMOUNT|flags, options); err != nil {
		d.t.Fatal(err)
	}
}

// await waits until a condition holds.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !holds(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("after %v: not %s", patience, what)
		}
	}
}

// A daemon whose disk fails it goes on where it was once the disk is sound.
func TestDiskInTrouble(t *testing.T) {
	t.Parallel()
	for _, folder := range []string{"documents", "state"} {
		t.Run(folder+" full", func(t *testing.T) {
			o := newTroubled(t, false)
			o.folder("INBOX/Filed") // or looking for it and the daemon would both make it
			d := o.mount(folder, 2)
			mail := mailgen.New(7, mailgen.Moderate())
			total := 0
			for total < 8<<20 {
				m := mail.Next().Raw
				total += len(m)
				o.send("INBOX", m)
			}
			o.daemon(func() {
				if folder == "documents" {
					await(t, "nearly full", func() bool {
						var s unix.Statfs_t
						return unix.Statfs(d.path, &s) == nil && int64(s.Bavail)*s.Bsize < 300<<10
					})
				}
				time.Sleep(3 * time.Second) // several polls
				o.nothingDisposedOfEarly()
				d.remount("size=64m", 0)
				await(t, "filed", o.done)
			})
			o.says("no space left on device")
			o.nothingDisposedOfEarly()
			o.judge()
		})
		t.Run(folder+" read-only", func(t *testing.T) {
			o := newTroubled(t, false)
			d := o.mount(folder, 64)
			o.fill(20)
			o.run("run", "--once")
			o.fill(20)
			d.remount("", unix.MS_RDONLY)
			r := o.run("run", "--once")
			if r.status != 1 || !strings.Contains(r.err, "read-only file system") || !strings.Contains(r.err, d.path) {
				t.Errorf("%+v", r)
			}
			if n := len(o.contents("INBOX")); n != 20 {
				t.Errorf("%d messages are left in the inbox, want all 20", n)
			}
			o.nothingDisposedOfEarly()
			d.remount("", 0)
			if r := o.run("run", "--once"); r.status != 0 {
				t.Errorf("%+v", r)
			}
			o.nothingDisposedOfEarly()
			o.judge()
		})
	}
}

// says checks that the commands have said it.
func (o *office) says(what string) {
	o.t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	if !strings.Contains(o.out.String(), what) {
		o.t.Errorf("nothing was said of %q:\n%s", what, o.out.String())
	}
}

// A ledger that another program keeps locked holds everything up, and only as
// long as that.
func TestLockedLedger(t *testing.T) {
	t.Parallel()
	o := newTroubled(t, false)
	o.fill(20)
	o.daemon(func() {
		await(t, "filed", o.done)
		db, err := sql.Open("sqlite", filepath.Join(o.dir, "state", "postroom.db"))
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		conn, err := db.Conn(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.ExecContext(context.Background(), "PRAGMA busy_timeout = 5000; BEGIN IMMEDIATE"); err != nil {
			t.Fatal(err)
		}
		o.fill(20)
		time.Sleep(8 * time.Second) // longer than a lock is waited for
		if n := len(o.contents("INBOX")); n != 20 {
			t.Errorf("%d messages are left in the inbox, want all 20", n)
		}
		if _, err := conn.ExecContext(context.Background(), "ROLLBACK"); err != nil {
			t.Fatal(err)
		}
		await(t, "filed", o.done)
	})
	o.nothingDisposedOfEarly()
	o.judge()
}
