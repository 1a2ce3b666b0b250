//go:build unix

package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"postroom/internal/dovecot"
)

// TestHangUp: the signal makes the daemon open its log's file anew, also when
// the configuration has an error meanwhile.
func TestHangUp(t *testing.T) {
	o := newOffice(t, dovecot.Options{})
	o.configure("poll_interval: 1h")
	o.add("log: {file: ./postroom.log}\n")
	o.start()
	o.eventually("postroom.log", "started", 1)
	o.replaceConfig(o.file("config.yaml") + "sources: [")
	o.eventually("postroom.log", keptInForce, 1)
	if err := os.Rename(filepath.Join(o.dir, "postroom.log"), filepath.Join(o.dir, "postroom.log.1")); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	o.eventually("postroom.log", keptInForce, 1)
}

// ownedOffice is an office whose state belongs to another user than root, if
// the test runs as root.
func ownedOffice(t *testing.T) (o *office, uid int) {
	t.Helper()
	o = &office{t: t, dir: t.TempDir(), sent: make(map[string]int)}
	t.Setenv("POSTROOM_TEST_PASSWORD", marker)
	for _, dir := range []string{o.dir, filepath.Dir(o.dir)} {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	uid = os.Getuid()
	if uid == 0 {
		uid = 65534
	}
	for _, name := range []string{"state", "log"} {
		dir := filepath.Join(o.dir, name)
		if err := errors.Join(os.Mkdir(dir, 0o700), os.Chown(dir, uid, -1)); err != nil {
			t.Fatal(err)
		}
	}
	return o, uid
}

// program runs the program itself, which may become another user.
func (o *office) program(program string, args ...string) result {
	o.t.Helper()
	var out, errs bytes.Buffer
	cmd := exec.Command(program, append(args, "--config", filepath.Join(o.dir, "config.yaml"))...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil && !errors.As(err, new(*exec.ExitError)) {
		o.t.Fatal(err)
	}
	return result{cmd.ProcessState.ExitCode(), out.String(), errs.String()}
}

func TestRootKeepsTheOwner(t *testing.T) {
	program := buildProgram(t)
	o, uid := ownedOffice(t)
	o.configure("server: 127.0.0.1:1\ntls: none\nallow_plaintext: true")
	o.add("log: {file: ./log/postroom.log}\n")
	o.replaceConfig(strings.Replace(o.file("config.yaml"), "./documents", "./state-of/documents", 1))
	if err := errors.Join(os.Mkdir(filepath.Join(o.dir, "state-of"), 0o700), os.Chown(filepath.Join(o.dir, "state-of"), uid, -1)); err != nil {
		t.Fatal(err)
	}
	if r := o.program(program, "run", "--once"); r.status != 1 {
		t.Errorf("%+v", r)
	}
	if r := o.program(program, "quarantine", "retry"); r.status != 0 {
		t.Errorf("%+v", r)
	}
	for _, name := range []string{"log/postroom.log", "state/postroom.db", "state-of/documents"} {
		info, err := os.Stat(filepath.Join(o.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if got := int(info.Sys().(*syscall.Stat_t).Uid); got != uid {
			t.Errorf("%s belongs to user %d, want %d", name, got, uid)
		}
	}
}
