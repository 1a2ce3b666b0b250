//go:build unix

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
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
		{"repository cannot be made", "./documents", "./closed/a/documents", "repository.path: mkdir DIR/closed/"},
		{"repository closed", "./documents", "./closed", "repository.path: open repository DIR/closed"},
		{"file for state", "./state", "./file", "state_dir: DIR/file is a file, not a folder"},
		{"file for spool", "version: 1", "version: 1\nspool: ./file", "spool: DIR/file is a file"},
		{"closed folder for spool", "version: 1", "version: 1\nspool: ./closed", "spool: open DIR/closed/"},
		{"ledger in a closed folder", "version: 1", "version: 1\nledger: sqlite:./closed/x/ledger.db", "ledger: mkdir DIR/closed/"},
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
