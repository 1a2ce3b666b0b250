//go:build linux

package main

import (
	"bytes"
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
	for name, rules := range map[string]string{"whole": "", "separated": "separate_attachments: true\nkeep_original: true"} {
		t.Run(name, func(t *testing.T) { largeMessage(t, rules) })
	}
}

func largeMessage(t *testing.T, rules string) {
	o := newOffice(t, dovecot.Options{})
	o.configure(rules)
	var raw bytes.Buffer
	if err := mailgen.New(1).WriteLarge(&raw, 150<<20); err != nil {
		t.Fatal(err)
	}
	o.send("INBOX", raw.Bytes())
	cmd := exec.Command(buildProgram(t), "run", "--once", "--config", filepath.Join(o.dir, "config.yaml"))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() { ended <- cmd.Wait() }()
	peak, err := peakUntil(ended, cmd.Process.Pid)
	if err != nil {
		t.Fatalf("%v\n%s", err, out.Bytes())
	}
	if rules == "" {
		o.judge()
	} else if docs := o.filed(); len(docs) != 1 || len(docs[0].Files) < 3 || docs[0].Origin.Size != int64(raw.Len()) {
		t.Errorf("%d documents", len(docs))
	}
	t.Logf("peak RSS %.1f MB", float64(peak)/1e6)
	if peak == 0 || peak > 64e6 {
		t.Errorf("peak RSS %d bytes, limit 64 MB", peak)
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
