//go:build unix

package main

import (
	"encoding/json"
	"errors"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"postroom/internal/testcert"
)

// TestCheckPlaces: what stands where something is to be written, or may not be
// written, is said with its key and a remedy, and the sources are checked all the
// same.
func TestCheckPlaces(t *testing.T) {
	program := buildProgram(t)
	for _, tt := range []struct {
		name     string
		old, new string // in the configuration
		want     string
	}{
		{"file for repository", "./documents", "./file", "repository.path: DIR/file is a file, not a folder"},
		{"file above repository", "./documents", "./file/documents", "repository.path: DIR/file"},
		{"repository cannot be made", "./documents", "./closed/a/documents", "repository.path: DIR/closed cannot be written to: permission denied"},
		{"repository closed", "./documents", "./closed", "repository.path: open repository DIR/closed"},
		{"file for state", "./state", "./file", "state_dir: DIR/file is a file, not a folder"},
		{"file for spool", "version: 1", "version: 1\nspool: ./file", "spool: DIR/file is a file"},
		{"closed folder for spool", "version: 1", "version: 1\nspool: ./closed", "spool: DIR/closed cannot be written to: permission denied"},
		{"ledger in a closed folder", "version: 1", "version: 1\nledger: sqlite:./closed/x/ledger.db", "ledger: DIR/closed cannot be written to: permission denied"},
		{"folder for log", "version: 1", "version: 1\nlog: {file: ./log}", "log.file: DIR/log is a folder"},
		{"no folder for log", "version: 1", "version: 1\nlog: {file: ./missing/postroom.log}", "log.file: there is no folder DIR/missing"},
		{"closed folder for log", "version: 1", "version: 1\nlog: {file: ./closed/postroom.log}", "log.file: open DIR/closed/"},
		{"closed log", "version: 1", "version: 1\nlog: {file: ./closed-file}", "log.file: open DIR/closed-file"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o, _ := ownedOffice(t)
			o.configure("server: 127.0.0.1:1\ntls: none\nallow_plaintext: true")
			o.replaceConfig(strings.Replace("state_dir: ./state\n"+o.file("config.yaml"), tt.old, tt.new, 1))
			for _, name := range []string{"file", "closed-file"} {
				if err := os.WriteFile(filepath.Join(o.dir, name), nil, 0o400); err != nil {
					t.Fatal(err)
				}
			}
			for _, dir := range []string{"closed", "documents"} {
				if err := os.Mkdir(filepath.Join(o.dir, dir), 0o555); err != nil {
					t.Fatal(err)
				}
			}
			// Only what the row is about is wrong.
			if err := os.Chmod(filepath.Join(o.dir, "documents"), 0o777); err != nil {
				t.Fatal(err)
			}
			r := o.program(program, "check")
			if r.status != 1 || strings.Contains(r.out, "all well") {
				t.Errorf("status %d", r.status)
			}
			want := strings.ReplaceAll(tt.want, "DIR", o.dir)
			contains(t, r.out, want, "source office", "FAILED  tcp")
			for line := range strings.Lines(r.out) {
				if strings.Contains(line, "FAILED") && !strings.Contains(line, want) && !strings.Contains(line, "tcp") {
					t.Errorf("also failed: %s", line)
				}
			}
			if strings.Count(r.out, "what to do:") != 2 {
				t.Errorf("no remedy:\n%s", r.out)
			}
			for _, dir := range []string{"state", "closed", "log"} {
				if left, err := os.ReadDir(filepath.Join(o.dir, dir)); err != nil || len(left) > 0 {
					t.Errorf("check has left %v in %s, %v", left, dir, err)
				}
			}
		})
	}
}

// TestRunAndCheckAgree: what run cannot open it names as check does.
func TestRunAndCheckAgree(t *testing.T) {
	program := buildProgram(t)
	for _, tt := range []struct {
		name, state string
		want        string
	}{
		{"closed state", "./closed", "state_dir: DIR/closed cannot be written to: permission denied"},
		{"file for state", "./file", "state_dir: DIR/file is a file, not a folder"},
		{"file above state", "./file/state", "state_dir: DIR/file"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o, uid := ownedOffice(t)
			o.configure("server: 127.0.0.1:1\ntls: none\nallow_plaintext: true")
			o.replaceConfig("state_dir: " + tt.state + "\n" + o.file("config.yaml"))
			closed := filepath.Join(o.dir, "closed")
			if err := errors.Join(
				os.WriteFile(filepath.Join(o.dir, "file"), nil, 0o644),
				os.Mkdir(closed, 0o555), os.Chown(closed, uid, -1),
				os.Mkdir(filepath.Join(o.dir, "documents"), 0o755), os.Chown(filepath.Join(o.dir, "documents"), uid, -1),
			); err != nil {
				t.Fatal(err)
			}
			want := strings.ReplaceAll(tt.want, "DIR", o.dir)
			_, said, found := strings.Cut(o.program(program, "check").out, want)
			_, remedy, _ := strings.Cut(said, "what to do:")
			remedy, _, _ = strings.Cut(strings.TrimSpace(remedy), "\n")
			if !found || remedy == "" {
				t.Fatalf("check does not say %q with a remedy", want)
			}
			r := o.program(program, "run", "--once")
			if r.status != 1 {
				t.Errorf("status %d", r.status)
			}
			contains(t, r.err, want, "what to do: "+remedy)
		})
	}
}

// TestCheckFoldersOfSources: a folder of a source into which no document can be
// added is found before a message comes.
func TestCheckFoldersOfSources(t *testing.T) {
	program := buildProgram(t)
	for _, folder := range []string{"office", "office/2026", "office/2026/03", "office/2026/03/04"} {
		t.Run(folder, func(t *testing.T) {
			o, uid := ownedOffice(t)
			o.configure("server: 127.0.0.1:1\ntls: none\nallow_plaintext: true")
			documents := filepath.Join(o.dir, "documents")
			if err := os.MkdirAll(filepath.Join(documents, "office/2026/03/04"), 0o755); err != nil {
				t.Fatal(err)
			}
			for _, dir := range []string{"", "office", "office/2026", "office/2026/03", "office/2026/03/04"} {
				if err := os.Chown(filepath.Join(documents, dir), uid, -1); err != nil {
					t.Fatal(err)
				}
			}
			if r := o.program(program, "check"); strings.Contains(r.out, "cannot be written to") {
				t.Errorf("before: %s", r.out)
			}
			if err := os.Chmod(filepath.Join(documents, folder), 0o555); err != nil {
				t.Fatal(err)
			}
			r := o.program(program, "check")
			contains(t, r.out, "FAILED  folder", "repository.path: "+filepath.Join(documents, folder)+" cannot be written to", "what to do:")
		})
	}
}

// TestUnreadableAuthority: a file of certificates that postroom may not read is
// named, with who is to read it, and only what names it fails.
func TestUnreadableAuthority(t *testing.T) {
	program := buildProgram(t)
	o, uid := ownedOffice(t)
	o.configure("server: 127.0.0.1:1\nca_file: ./ca.pem")
	o.add("  - {name: other, type: imap, credentials: office, server: 127.0.0.1:1}\n")
	certificate, err := testcert.New(testcert.Template{})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(o.dir, "ca.pem")
	mode := os.FileMode(0o600) // root's
	if os.Getuid() == uid {
		mode = 0
	}
	documents := filepath.Join(o.dir, "documents")
	if err := errors.Join(os.WriteFile(file, certificate.Authority, mode), os.Mkdir(documents, 0o755), os.Chown(documents, uid, -1)); err != nil {
		t.Fatal(err)
	}
	who := "user " + strconv.Itoa(uid)
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		who = "user " + u.Username
	}
	r := o.program(program, "check")
	if r.status != 1 || strings.Count(r.out, "FAILED") != 2 {
		t.Errorf("check: %+v", r)
	}
	contains(t, r.out, "FAILED  open", file, "permission denied", "what to do:  let "+who+", as which postroom runs, read that file", "FAILED  tcp")
	r = o.program(program, "run", "--once", "--json")
	var got struct{ Sources []summary }
	if err := json.Unmarshal([]byte(r.out), &got); err != nil || r.status != 1 || len(got.Sources) != 2 {
		t.Fatalf("run: %v, %+v", err, r)
	}
	contains(t, r.err, "let "+who+", as which postroom runs, read that file")
	if of := got.Sources[0].Error; !strings.Contains(of, file) || !strings.Contains(of, "permission denied") {
		t.Errorf("the source that names it: %q", of)
	}
	if of := got.Sources[1].Error; strings.Contains(of, file) || !strings.Contains(of, "127.0.0.1:1") {
		t.Errorf("the other source: %q", of)
	}
}
