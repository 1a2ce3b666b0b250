//go:build unix

package control

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

func TestSocketIsPrivate(t *testing.T) {
	old := unix.Umask(0)
	defer unix.Umask(old)
	dir := t.TempDir()
	l, err := Listen(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	info, err := os.Stat(filepath.Join(dir, socketName))
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != fs.ModeSocket|0o600 {
		t.Errorf("mode %v", info.Mode())
	}
}

func TestSocketIsGoneAfterClose(t *testing.T) {
	dir := t.TempDir()
	l, err := Listen(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(filepath.Join(dir, socketName)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("socket is still there: %v", err)
	}
}

// leaveBehind leaves a socket as a killed daemon does.
func leaveBehind(t *testing.T, dir string) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: filepath.Join(dir, socketName)})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestSocketOfAKilledDaemon(t *testing.T) {
	dir := t.TempDir()
	leaveBehind(t, dir)
	if _, err := Dial(dir); !errors.Is(err, ErrNoDaemon) {
		t.Errorf("Dial: %v, want ErrNoDaemon", err)
	}
	l, err := Listen(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := Dial(dir)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

func TestOfManyDaemonsOneListens(t *testing.T) {
	dir := t.TempDir()
	leaveBehind(t, dir)
	var (
		daemons   sync.WaitGroup
		mu        sync.Mutex
		listeners []net.Listener
	)
	for range 16 {
		daemons.Go(func() {
			l, err := Listen(dir)
			if errors.Is(err, ErrInUse) {
				return
			}
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			listeners = append(listeners, l)
		})
	}
	daemons.Wait()
	if len(listeners) != 1 {
		t.Errorf("%d daemons listen, want 1", len(listeners))
	}
	for _, l := range listeners {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestStateDirectoryWithALongPath(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("d", 100), strings.Repeat("e", 100))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := Listen(dir)
	if runtime.GOOS != "linux" {
		if err == nil || !strings.Contains(err.Error(), "shorter state directory") {
			t.Errorf("error %v, want one that says what to do", err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(dir); !errors.Is(err, ErrInUse) {
		t.Errorf("second Listen: %v, want ErrInUse", err)
	}
	c, err := Dial(dir)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(filepath.Join(dir, socketName)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("socket is still there: %v", err)
	}
}

func TestListenWithoutStateDirectory(t *testing.T) {
	_, err := Listen(filepath.Join(t.TempDir(), "missing"))
	if !errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrNoDaemon) {
		t.Errorf("error %v, want fs.ErrNotExist", err)
	}
}
