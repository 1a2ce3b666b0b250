package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"postroom/internal/dovecot"
)

// TestLogIsAFileOfItsOwn: wherever it is named, nothing that postroom keeps is
// taken for the log.
func TestLogIsAFileOfItsOwn(t *testing.T) {
	o := newOffice(t, dovecot.Options{})
	o.configure("")
	o.send("INBOX", note(1))
	if s := o.once(); s.Filed != 1 {
		t.Fatalf("filed %+v", s)
	}
	plain := o.file("config.yaml")
	if err := os.Link(filepath.Join(o.dir, "config.yaml"), filepath.Join(o.dir, "linked")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"linked", "config.yaml", "documents/postroom.log", "documents/.incoming/log",
		"state/postroom.db", "state/postroom.db-wal", "state/postroom.db-shm", "state/postroom.db-journal",
		"state/postroom.db.lock", "state/postroom.db.closed", "state/repositories.json", "state/control.sock",
		"state/quarantine/x.eml", "state/spool/log",
	} {
		before := o.file(name)
		for how, do := range map[string]func(t *testing.T) result{
			"flag":          func(*testing.T) result { return o.run("run", "--once", "--log-file", filepath.Join(o.dir, name)) },
			"flag of check": func(*testing.T) result { return o.run("check", "--log-file", filepath.Join(o.dir, name)) },
			"environment": func(t *testing.T) result {
				t.Setenv("POSTROOM_LOG_FILE", filepath.Join(o.dir, name))
				return o.run("run", "--once")
			},
			"configuration": func(*testing.T) result {
				o.replaceConfig(plain + "log: {file: ./" + name + "}\n")
				defer o.replaceConfig(plain)
				return o.run("run", "--once")
			},
		} {
			if how == "configuration" && name == "linked" {
				continue // it is that of the text before
			}
			t.Run(how+" "+name, func(t *testing.T) {
				if r := do(t); r.status != 2 || !strings.Contains(r.err, "log") {
					t.Errorf("status %d: %s", r.status, r.err)
				}
				if o.file(name) != before {
					t.Errorf("it was written to")
				}
			})
		}
	}
	for _, name := range []string{"postroom.log", "state/postroom.log"} {
		if r := o.run("run", "--once", "--log-file", filepath.Join(o.dir, name)); r.status != 0 {
			t.Errorf("a log of its own: %+v", r)
		}
	}
}
