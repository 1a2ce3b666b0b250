//go:build unix

package service

import (
	"net"
	"path/filepath"
	"regexp"
	"testing"
	"time"
)

func TestNotifierTellsSystemd(t *testing.T) {
	address := filepath.Join(t.TempDir(), "notify")
	systemd, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: address})
	if err != nil {
		t.Fatal(err)
	}
	defer systemd.Close()
	t.Setenv("NOTIFY_SOCKET", address)
	t.Setenv("WATCHDOG_PID", "")
	t.Setenv("WATCHDOG_USEC", "60000000")

	n, err := NewNotifier()
	if err != nil {
		t.Fatal(err)
	}
	if n.ProgressEvery() != 30*time.Second {
		t.Errorf("ProgressEvery %v, want 30s", n.ProgressEvery())
	}
	for _, tt := range []struct {
		name string
		tell func() error
		want string
	}{
		{"ready", n.Ready, `^READY=1$`},
		{"status", func() error { return n.Status("2 sources") }, `^STATUS=2 sources$`},
		{"progress", n.Progress, `^WATCHDOG=1$`},
		{"reloading", n.Reloading, `^RELOADING=1\nMONOTONIC_USEC=[0-9]+\n$`},
		{"stopping", n.Stopping, `^STOPPING=1$`},
	} {
		if err := tt.tell(); err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		if err := systemd.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 1024)
		got, err := systemd.Read(b)
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		if !regexp.MustCompile(tt.want).Match(b[:got]) {
			t.Errorf("%s: sent %q, want %s", tt.name, b[:got], tt.want)
		}
	}
}

func TestNotifierReportsADeadSocket(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "missing"))
	t.Setenv("WATCHDOG_USEC", "")
	n, err := NewNotifier()
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Ready(); err == nil {
		t.Error("no error")
	}
}
