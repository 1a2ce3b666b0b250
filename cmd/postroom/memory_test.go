//go:build linux

package main

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"postroom/internal/dovecot"
	"postroom/internal/mailgen"
)

// buildProgram builds postroom without the race detector, which needs several
// times the memory.
func buildProgram(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "postroom")
	if out, err := exec.Command("go", "build", "-o", name, ".").CombinedOutput(); err != nil {
		t.Fatalf("build postroom: %v\n%s", err, out)
	}
	return name
}

// TestLargeMessageNeedsLittleMemory files a message of 150 MB in a process of
// its own and looks at the most memory that held.
func TestLargeMessageNeedsLittleMemory(t *testing.T) {
	o := newOffice(t, dovecot.Options{})
	o.configure("")
	var raw bytes.Buffer
	if err := mailgen.New(1).WriteLarge(&raw, 150<<20); err != nil {
		t.Fatal(err)
	}
	o.send("INBOX", raw.Bytes())
	cmd := o.program(buildProgram(t), "run", "--once")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	o.judge()
	peak := cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss << 10
	t.Logf("peak RSS %.1f MB", float64(peak)/1e6)
	if limit := int64(64e6); peak > limit {
		t.Errorf("peak RSS %d bytes, limit %d", peak, limit)
	}
}
