package main

import (
	"os"
	"path/filepath"
	"testing"

	"postroom/internal/dovecot"
)

// TestRepositoryNotMounted: nothing is filed into the folder below a disk that
// is not mounted, and everything once it is.
func TestRepositoryNotMounted(t *testing.T) {
	o := newOffice(t, dovecot.Options{})
	o.configure("after_filing: delete")
	documents, away := filepath.Join(o.dir, "documents"), filepath.Join(o.dir, "away")
	move := func(from, to string) {
		t.Helper()
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	o.send("INBOX", note(1))
	if s := o.once(); s.Filed != 1 {
		t.Fatalf("%+v", s)
	}
	o.send("INBOX", note(2))
	move(documents, away)
	for _, bare := range []bool{false, true} {
		if bare {
			if err := os.Mkdir(documents, 0o750); err != nil {
				t.Fatal(err)
			}
		}
		for _, command := range [][]string{{"run", "--once"}, {"run"}, {"check"}} {
			r := o.run(command...)
			if r.status != 1 {
				t.Errorf("%q: %+v", command, r)
			}
			contains(t, r.out+r.err, "repository.path: ", documents, "not the repository that was used before", "what to do:", "mounted?", "repositories.json")
		}
	}
	if left, err := os.ReadDir(documents); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
	if err := os.Remove(documents); err != nil {
		t.Fatal(err)
	}
	move(away, documents)
	if s := o.once(); s.Filed != 1 {
		t.Errorf("%+v", s)
	}
	o.judge()

	// While the daemon runs.
	o.configure("after_filing: delete\npoll_interval: 1s")
	o.add("log: {file: ./postroom.log}\n")
	stop := o.start()
	o.eventually("postroom.log", "started", 1)
	move(documents, away)
	if err := os.Mkdir(documents, 0o750); err != nil {
		t.Fatal(err)
	}
	o.send("INBOX", note(3))
	o.appears("postroom.log", "not the repository that was used before")
	if r := o.run("check"); r.status != 1 {
		t.Errorf("%+v", r)
	} else {
		contains(t, r.out, "repository.path: ", "not the repository that was used before", "mounted?")
	}
	stop()
	if n := len(o.contents("INBOX")); n != 1 {
		t.Errorf("%d messages are left on the server, want 1", n)
	}
	if err := os.Remove(documents); err != nil {
		t.Fatal(err)
	}
	move(away, documents)
	o.once()
	o.judge()

	// A new one begins when it is asked for, or is put at another path.
	move(documents, away)
	if err := os.Remove(filepath.Join(o.dir, "state", identitiesFile)); err != nil {
		t.Fatal(err)
	}
	o.deliver("INBOX", note(4))
	if s := o.once(); s.Filed != 1 {
		t.Errorf("%+v", s)
	}
	// State that was lost does not matter to a repository that is there.
	if err := os.RemoveAll(filepath.Join(o.dir, "state")); err != nil {
		t.Fatal(err)
	}
	o.deliver("INBOX", note(5))
	if s := o.once(); s.Filed != 1 {
		t.Errorf("%+v", s)
	}
}
