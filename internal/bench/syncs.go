package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// dearSync is how much longer a sync takes than on this machine, in [syncs].
const dearSync = 8 * time.Millisecond

// slowly is the program on a disk whose syncs take longer: strace lets each
// fsync and fdatasync wait after it is done, several at once as a disk does that
// writes what is there in one go. Other system calls are not looked at.
func slowly(p program, by time.Duration) program {
	command := p.command
	p.command = func(h *hall, dir string, from server, m *mailbox) ([]string, error) {
		c, err := command(h, dir, from, m)
		// With -D the program, not strace, is the child that is measured.
		return append([]string{
			"strace", "-D", "-f", "--seccomp-bpf", "-o", os.DevNull, "-e", "trace=fsync,fdatasync",
			"-e", fmt.Sprintf("inject=fsync,fdatasync:delay_exit=%d", by.Microseconds()),
		}, c...), err
	}
	return p
}

// syncs measures filing on a disk whose syncs take long.
func syncs(ctx context.Context, s settings, dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	load, err := loadAverage()
	if err != nil {
		return err
	}
	if err := build(ctx, dir); err != nil {
		return err
	}
	h, err := newHall(ctx, s, dir)
	if err != nil {
		return err
	}
	defer h.close()
	copied := &entry{program: slowly(copyFiles(filepath.Join(dir, originals)), dearSync), mailbox: h.all, limit: patience}
	filing := func(from server) []*entry {
		return []*entry{
			{program: slowly(postroom, dearSync), from: from, mailbox: h.all, limit: patience},
			{program: slowly(mbsync, dearSync), from: from, mailbox: h.all, limit: patience},
		}
	}
	plain, secure := append([]*entry{copied}, filing(h.plain())...), filing(h.secure())
	if err := h.compete(s.rounds, append(plain[:len(plain):len(plain)], secure...)); err != nil {
		return err
	}
	var out strings.Builder
	fmt.Fprintf(&out, "Load average before: %s.\n\n", load)
	section(&out, fmt.Sprintf("Without TLS, a sync takes %v longer", dearSync), plain)
	section(&out, fmt.Sprintf("TLS 1.3, a sync takes %v longer", dearSync), secure)
	_, err = fmt.Print(out.String())
	return err
}
