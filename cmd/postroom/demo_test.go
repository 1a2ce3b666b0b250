package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func runDemo(t *testing.T, args ...string) result {
	t.Helper()
	var out, errs bytes.Buffer
	status := run(t.Context(), append([]string{"demo", "--once", "--messages", "2"}, args...), nil, &out, &errs)
	return result{status, out.String(), errs.String()}
}

func TestDemoTouchesNoFilesOfOthers(t *testing.T) {
	write := func(dir, name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"config.yaml", "password", "pop3-password", "client-secret", "imap-ca.pem", "letter.txt", ".hidden"} {
		dir := t.TempDir()
		write(dir, name, "mine")
		r := runDemo(t, "--dir", dir)
		if r.status != exitUsage || !strings.Contains(r.err, "--dir") {
			t.Errorf("%s: %+v", name, r)
		}
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != "mine" {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
			t.Errorf("%s: left %v, %v", name, left, err)
		}
	}

	file := filepath.Join(t.TempDir(), "file")
	write(filepath.Dir(file), "file", "mine")
	if r := runDemo(t, "--dir", file); r.status != exitUsage || !strings.Contains(r.err, "--dir") {
		t.Errorf("a file: %+v", r)
	}
	for _, n := range []string{"-1", "1000001", "1000000000000"} {
		if r := runDemo(t, "--dir", t.TempDir(), "--messages", n); r.status != exitUsage || !strings.Contains(r.err, "1000000") {
			t.Errorf("%s messages: %+v", n, r)
		}
	}

	// Its own folder it takes again, unless somebody has changed what it wrote.
	dir := filepath.Join(t.TempDir(), "new")
	for range 2 {
		if r := runDemo(t, "--dir", dir); r.status != 0 {
			t.Fatalf("%+v", r)
		}
	}
	write(dir, "letter.txt", "mine")
	if r := runDemo(t, "--dir", dir); r.status != 0 {
		t.Errorf("with a file beside its own: %+v", r)
	}
	for _, name := range []string{"config.yaml", "password", "pop3-password", "client-secret", "imap-ca.pem"} {
		before, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		write(dir, name, "mine")
		if r := runDemo(t, "--dir", dir); r.status != exitUsage || !strings.Contains(r.err, name) {
			t.Errorf("%s changed: %+v", name, r)
		}
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != "mine" {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		write(dir, name, string(before))
	}
	f, err := openDemoFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	if r := runDemo(t, "--dir", dir); r.status != exitFailed || !strings.Contains(r.err, "another demo") {
		t.Errorf("beside another: %+v", r)
	}
	if err := f.close(); err != nil {
		t.Error(err)
	}
}

// TestDemoLeavesOneFolder: what a demo without --dir filed can be looked at, and
// does not pile up.
func TestDemoLeavesOneFolder(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	t.Setenv("TMP", tmp)
	of := func() []string {
		t.Helper()
		found, err := filepath.Glob(filepath.Join(tmp, demoTemporary+"*"))
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	first := runDemo(t)
	if dirs := of(); first.status != 0 || len(dirs) != 1 || !strings.Contains(first.out, "The documents are in "+dirs[0]) {
		t.Fatalf("%v: %+v", of(), first)
	}
	kept := of()[0]
	if err := os.WriteFile(filepath.Join(kept, "letter.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(tmp, demoTemporary+"other"), 0o700); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if r := runDemo(t); r.status != 0 {
			t.Fatalf("%+v", r)
		}
		// The one that somebody put a file into, the one that is no demo's, and the last.
		if dirs := of(); len(dirs) != 3 {
			t.Errorf("%q", dirs)
		}
	}
}
