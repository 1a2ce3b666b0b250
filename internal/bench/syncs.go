package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
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
	text, err := inHall(ctx, s, dir, (*hall).slowSyncs)
	if err == nil {
		_, err = io.WriteString(os.Stdout, text)
	}
	return err
}

func (h *hall) slowSyncs() (string, error) {
	copied := &entry{program: slowly(copyFiles(filepath.Join(h.dir, originals)), dearSync), mailbox: h.all, limit: patience}
	filing := func(from server) []*entry {
		return []*entry{
			{program: slowly(postroom, dearSync), from: from, mailbox: h.all, limit: patience},
			{program: slowly(mbsync, dearSync), from: from, mailbox: h.all, limit: patience},
		}
	}
	plain, secure := append([]*entry{copied}, filing(h.imap())...), filing(h.imaps())
	if err := h.compete(h.rounds, slices.Concat(plain, secure)); err != nil {
		return "", err
	}
	var out strings.Builder
	section(&out, fmt.Sprintf("Without TLS, a sync takes %v longer", dearSync), plain)
	section(&out, fmt.Sprintf("TLS 1.3, a sync takes %v longer", dearSync), secure)
	return out.String(), nil
}
