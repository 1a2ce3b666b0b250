package filesystem_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postroom/store"
	"postroom/store/filesystem"
	"postroom/store/storetest"
)

func TestLocation(t *testing.T) {
	f := folder(t.TempDir())
	r := f.Open(t)
	defer closeRepository(t, r)
	for i, tt := range []struct {
		title    string
		received time.Time
		want     string
	}{
		{"Invoice 7", time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), "invoices/2026/01/02/Invoice 7~"},
		{"", time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), "invoices/2026/01/02/untitled~"},
		{"Re: a/b?", time.Date(2026, 12, 31, 23, 59, 59, 0, time.UTC), "invoices/2026/12/31/Re_ a_b_~"},
		{"CON", time.Date(1999, 1, 1, 0, 30, 0, 0, time.FixedZone("", 3600)), "invoices/1998/12/31/_CON~"},
		{"a~b", time.Date(987, 6, 5, 0, 0, 0, 0, time.UTC), "invoices/0987/06/05/a~b~"},
		{strings.Repeat("x", 200), time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC), "invoices/2026/01/02/" + strings.Repeat("x", 80) + "~"},
	} {
		d := storetest.NewDocument(fmt.Sprint(i))
		d.Title, d.Origin.Received = tt.title, tt.received
		if got, want := f.put(t, r, d), tt.want+d.ID[:12]; got != want {
			t.Errorf("location is %q, want %q", got, want)
		}
	}
}

func TestOpenMakesPath(t *testing.T) {
	f := folder(filepath.Join(t.TempDir(), "a", "b"))
	r := f.Open(t)
	f.put(t, r, storetest.NewDocument("first"))
	closeRepository(t, r)
}

func TestOpenFails(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	occupied := t.TempDir()
	if err := os.WriteFile(filepath.Join(occupied, ".incoming"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{file, filepath.Join(file, "below"), occupied} {
		if _, err := filesystem.Open(name); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("Open(%q): %v, want an error that names it", name, err)
		}
	}
}

// A file that is really named like another's short name on NTFS is written
// before the other gets that name.
func TestShortNames(t *testing.T) {
	f := folder(t.TempDir())
	r := f.Open(t)
	defer closeRepository(t, r)
	d := storetest.NewDocument("short names")
	var opened []string
	for _, name := range []string{"report of the year.pdf", "REPORT~1.PDF", "message~2.eml and more"} {
		file := storetest.NewFile(name, store.RoleAttachment, []byte(name))
		open := file.Open
		file.Open = func() (io.ReadCloser, error) {
			opened = append(opened, name)
			return open()
		}
		d.Files = append(d.Files, file)
	}
	location := f.put(t, r, d)
	if opened[0] != "REPORT~1.PDF" {
		t.Errorf("files were written in the order %q, want REPORT~1.PDF first", opened)
	}
	if _, err := f.List(t)[location].Document(); err != nil {
		t.Error(err)
	}
}

// Two ids that begin alike on the same day.
func TestCollision(t *testing.T) {
	f := folder(t.TempDir())
	r := f.Open(t)
	defer closeRepository(t, r)
	first, second := storetest.NewDocument("first"), storetest.NewDocument("second")
	second.ID = first.ID[:12] + second.ID[12:]
	location := f.put(t, r, first)
	if _, err := r.Put(context.Background(), second); err == nil || !strings.Contains(err.Error(), location) {
		t.Errorf("Put: %v, want an error that names %s", err, location)
	}
	if _, err := r.Find(context.Background(), second.Key()); err == nil {
		t.Error("Find of the other document = nil, want an error")
	}
	if d, err := f.List(t)[location].Document(); err != nil || d.ID != first.ID {
		t.Errorf("the first document has changed: %v", err)
	}
}

// Folders that were changed from outside are named, never overwritten and never
// taken for the document.
func TestDamaged(t *testing.T) {
	for name, damage := range map[string]func(folder string) error{
		"no description":     func(d string) error { return os.Remove(filepath.Join(d, store.DocumentFile)) },
		"broken description": func(d string) error { return os.WriteFile(filepath.Join(d, store.DocumentFile), []byte("{"), 0o600) },
		"file missing":       func(d string) error { return os.Remove(filepath.Join(d, "message.eml")) },
		"file cut":           func(d string) error { return os.Truncate(filepath.Join(d, "message.eml"), 3) },
		"empty": func(d string) error {
			return errors.Join(os.RemoveAll(d), os.Mkdir(d, 0o700))
		},
		"a file": func(d string) error {
			return errors.Join(os.RemoveAll(d), os.WriteFile(d, nil, 0o600))
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := folder(t.TempDir())
			r := f.Open(t)
			d := storetest.NewDocument("damaged")
			location := f.put(t, r, d)
			if err := damage(filepath.Join(string(f), location)); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if _, err := r.Find(context.Background(), d.Key()); !errors.Is(err, store.ErrRefused) || errors.Is(err, store.ErrNotFound) || !strings.Contains(err.Error(), location) {
					t.Errorf("Find: %v, want an error that names %s", err, location)
				}
				if _, err := r.Put(context.Background(), d); !errors.Is(err, store.ErrRefused) || !strings.Contains(err.Error(), location) {
					t.Errorf("Put: %v, want ErrRefused that names %s", err, location)
				}
				closeRepository(t, r)
				r = f.Open(t)
			}
			closeRepository(t, r)
		})
	}
}

// A document removed from outside is gone, and can be put again.
func TestRemoved(t *testing.T) {
	f := folder(t.TempDir())
	r := f.Open(t)
	defer closeRepository(t, r)
	d := storetest.NewDocument("removed")
	location := f.put(t, r, d)
	for _, gone := range []string{location, "invoices"} {
		if err := os.RemoveAll(filepath.Join(string(f), gone)); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Find(context.Background(), d.Key()); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("Find: %v, want ErrNotFound", err)
		}
		d.Title = "put again"
		location = f.put(t, r, d)
		if _, err := f.List(t)[location].Document(); err != nil {
			t.Error(err)
		}
	}
}

// A wait for another Put of the same document ends with the context.
func TestWaitEndsWithContext(t *testing.T) {
	f := folder(t.TempDir())
	r := f.Open(t)
	defer closeRepository(t, r)
	d := storetest.NewDocument("slow")
	slow := *d
	reading, goOn := make(chan struct{}), make(chan struct{})
	slow.Files = []store.File{d.Files[0]}
	slow.Files[0].Open = func() (io.ReadCloser, error) {
		close(reading)
		<-goOn
		return d.Files[0].Open()
	}
	done := make(chan error)
	go func() {
		_, err := r.Put(context.Background(), &slow)
		done <- err
	}()
	<-reading
	ctx, cancel := context.WithCancel(context.Background())
	waited := make(chan error)
	go func() {
		_, err := r.Find(ctx, d.Key())
		waited <- err
	}()
	cancel()
	if err := <-waited; !errors.Is(err, context.Canceled) {
		t.Errorf("Find: %v, want context.Canceled", err)
	}
	close(goOn)
	if err := <-done; err != nil {
		t.Errorf("Put: %v", err)
	}
}
