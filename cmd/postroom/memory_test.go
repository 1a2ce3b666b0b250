//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postroom/internal/dovecot"
	"postroom/internal/mailgen"
)

// TestLargeMessageNeedsLittleMemory files a message of 150 MB in a process of
// its own and looks at the most memory that held.
func TestLargeMessageNeedsLittleMemory(t *testing.T) {
	var raw bytes.Buffer
	if err := mailgen.New(1).WriteLarge(&raw, 150<<20); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, rules string
		files       int
	}{
		{"whole", "", 1},
		{"separated", "separate_attachments: true\nkeep_original: true", 3},
		{"msg", "format: msg", 1},
		{"msg, separated", "format: msg\nseparate_attachments: true\nkeep_original: true", 3},
	} {
		t.Run(tt.name, func(t *testing.T) { largeMessage(t, raw.Bytes(), tt.rules, tt.files) })
	}
}

func largeMessage(t *testing.T, raw []byte, rules string, files int) {
	o := newOffice(t, dovecot.Options{})
	o.configure(rules)
	o.send("INBOX", raw)
	peak := peakOf(t, exec.Command(buildProgram(t), "run", "--once", "--config", filepath.Join(o.dir, "config.yaml")))
	if rules == "" {
		o.judge()
	} else if docs := o.filed(); len(docs) != 1 || len(docs[0].Files) != files || docs[0].Origin.Size != int64(len(raw)) {
		t.Errorf("%d documents", len(docs))
	}
	littleMemory(t, peak)
}

func littleMemory(t *testing.T, peak int64) {
	t.Helper()
	t.Logf("peak RSS %.1f MB", float64(peak)/1e6)
	if peak == 0 || peak > 64e6 {
		t.Errorf("peak RSS %d bytes, limit 64 MB", peak)
	}
}

// peakOf runs a command and returns the most memory that it held.
func peakOf(t *testing.T, cmd *exec.Cmd) int64 {
	t.Helper()
	var out bytes.Buffer
	cmd.Stderr = &out
	if cmd.Stdout == nil {
		cmd.Stdout = &out
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() { ended <- cmd.Wait() }()
	peak, err := peakUntil(ended, cmd.Process.Pid)
	if err != nil {
		t.Fatalf("%v\n%s", err, out.Bytes())
	}
	return peak
}

// TestConvertNeedsLittleMemory converts messages of 150 MB, from files and from
// standard input.
func TestConvertNeedsLittleMemory(t *testing.T) {
	program := buildProgram(t)
	dir, made := t.TempDir(), t.TempDir()
	for i := range 2 {
		f, err := os.Create(filepath.Join(dir, fmt.Sprintf("large %d.eml", i)))
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(mailgen.New(uint64(i)).WriteLarge(f, 150<<20), f.Close()); err != nil {
			t.Fatal(err)
		}
	}
	one := filepath.Join(dir, "large 0.eml")
	for name, args := range map[string][]string{
		"file": {one, filepath.Join(made, "one.msg")}, "separated": {"--separate-attachments", one, filepath.Join(made, "one")},
		"standard streams": {"-", "-"}, "tree": {dir, filepath.Join(made, "all")},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command(program, append([]string{"convert"}, args...)...)
			if args[0] == "-" {
				in, err := os.Open(one)
				if err != nil {
					t.Fatal(err)
				}
				defer in.Close()
				out, err := os.Create(filepath.Join(made, "standard.msg"))
				if err != nil {
					t.Fatal(err)
				}
				defer out.Close()
				cmd.Stdin, cmd.Stdout = in, out
			}
			littleMemory(t, peakOf(t, cmd))
		})
	}
	peak := peakOf(t, exec.Command(program, "convert", filepath.Join(made, "one.msg"), filepath.Join(made, "back.eml")))
	littleMemory(t, peak)
	peak = peakOf(t, exec.Command(program, "convert", "--separate-attachments", filepath.Join(made, "one.msg"), filepath.Join(made, "back")))
	littleMemory(t, peak)
	var sums []string
	for _, name := range []string{"one.msg", "standard.msg", "all/large 0.msg"} {
		b, err := os.ReadFile(filepath.Join(made, filepath.FromSlash(name)))
		if err != nil || len(b) < 100<<20 {
			t.Fatalf("%s: %d bytes, %v", name, len(b), err)
		}
		sums = append(sums, sum(b))
	}
	if sums[0] != sums[1] || sums[0] != sums[2] {
		t.Error("the same message became different files")
	}
}

// peakUntil returns the most memory that a process held until it ended. The
// kernel's own figure at the end counts what the parent held at the fork.
func peakUntil(ended <-chan error, pid int) (peak int64, err error) {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-ended:
			return peak, err
		case <-tick.C:
		}
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			continue // it has just ended
		}
		for line := range strings.Lines(string(status)) {
			var kilobytes int64
			if _, err := fmt.Sscanf(line, "VmHWM: %d kB", &kilobytes); err == nil {
				peak = max(peak, kilobytes<<10)
			}
		}
	}
}
