package main

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"postroom/ingest"
	"postroom/internal/dovecot"
)

// verified is what verify --json says.
type verified struct {
	Findings []ingest.Finding
	Verified ingest.Verified
	Rebuilt  ingest.Rebuilt
}

func (o *office) verify(status int, args ...string) verified {
	o.t.Helper()
	r := o.run(append([]string{"verify", "--json"}, args...)...)
	var v verified
	if err := json.Unmarshal([]byte(r.out), &v); err != nil || r.status != status {
		o.t.Fatalf("status %d, want %d: %v\n%s%s", r.status, status, err, r.out, r.err)
	}
	return v
}

func (o *office) history() []historyLine {
	o.t.Helper()
	r := o.run("history", "--json")
	var h struct{ History []historyLine }
	if err := json.Unmarshal([]byte(r.out), &h); err != nil || r.status != 0 {
		o.t.Fatalf("history: status %d, %v\n%s", r.status, err, r.err)
	}
	return h.History
}

func (o *office) renumber(folder string) {
	o.t.Helper()
	if err := o.server.Renumber("office", folder); err != nil {
		o.t.Fatal(err)
	}
}

func newSmallOffice(t *testing.T, messages int) *office {
	t.Helper()
	o := newOffice(t, dovecot.Options{})
	o.folder("INBOX/Sub")
	o.configure(`folders: [Inbox, Inbox/Sub]`)
	for i := range messages {
		o.send([]string{"INBOX", "INBOX/Sub"}[i%2], note(i))
	}
	if s := o.once(); s.Filed != messages {
		t.Fatalf("%+v", s)
	}
	return o
}

func TestVerifyCommand(t *testing.T) {
	o := newSmallOffice(t, 6)
	if v := o.verify(0); len(v.Findings) != 0 || v.Verified.Documents != 6 || v.Verified.Files != 12 || v.Verified.Unsealed != 0 {
		t.Errorf("%+v", v)
	}
	contains(t, o.run("verify", "--source", "office").out, "6 documents re-read, 12 files", "0 findings")
	location := o.history()[0].Location
	name := filepath.Join(o.dir, "documents", filepath.FromSlash(location), "message.eml")
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, append(whole, 'x'), 0o600); err != nil {
		t.Fatal(err)
	}
	if v := o.verify(1); len(v.Findings) != 1 || v.Findings[0].Path != location+"/message.eml" || v.Findings[0].Kind != "altered" {
		t.Errorf("%+v", v)
	}
	r := o.run("verify")
	contains(t, r.out, "altered  "+location+"/message.eml: ", "what to do: ", "1 finding")
	contains(t, r.err, "not as it was filed")
	if err := os.WriteFile(name, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	for args, status := range map[string]int{"verify --source nobody": 2, "verify --rebuild-ledger --source office": 2, "verify more": 2} {
		if r := o.run(strings.Fields(args)...); r.status != status {
			t.Errorf("%s: status %d, want %d", args, r.status, status)
		}
	}
	// The empty folder below a disk that is not mounted is not a repository
	// from which everything is missing.
	documents := filepath.Join(o.dir, "documents")
	if err := errors.Join(os.Rename(documents, documents+".away"), os.Mkdir(documents, 0o700)); err != nil {
		t.Fatal(err)
	}
	r = o.run("verify")
	if r.status != 1 || r.out != "" {
		t.Errorf("status %d\n%s", r.status, r.out)
	}
	contains(t, r.err, "mounted")
}

func TestVerifyBeforeTheFirstRun(t *testing.T) {
	o := newOffice(t, dovecot.Options{})
	o.configure(`folders: [Inbox]`)
	r := o.run("verify")
	if r.status != 1 {
		t.Errorf("status %d", r.status)
	}
	contains(t, r.err, "nothing has been filed", "--rebuild-ledger")
}

// With a ledger made anew, whatever was wrong with the old one, nothing is filed
// again.
func TestRebuildLedger(t *testing.T) {
	for _, tt := range []struct {
		name   string
		damage func(t *testing.T, path string)
	}{
		{"whole", func(*testing.T, string) {}},
		{"lost", func(t *testing.T, path string) {
			if err := errors.Join(os.Remove(path), os.Remove(path+".closed")); err != nil {
				t.Fatal(err)
			}
		}},
		{"damaged", func(t *testing.T, path string) {
			if err := os.WriteFile(path, bytes.Repeat([]byte("damage"), 5000), 0o600); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := newSmallOffice(t, 20)
			forgotten := o.history()[3]
			if r := o.run("forget", "--yes", forgotten.Document); r.status != 0 {
				t.Fatalf("forget: %d %s", r.status, r.err)
			}
			path := filepath.Join(o.dir, "state", "postroom.db")
			tt.damage(t, path)
			v := o.verify(0, "--rebuild-ledger")
			if v.Rebuilt.Documents != 19 || len(v.Findings) != 0 {
				t.Errorf("%+v", v)
			}
			want := 0
			if tt.name != "whole" {
				want = 1 // nobody knows any more that it was forgotten
			}
			if s := o.once(); s.Filed != want || s.Duplicates != 0 {
				t.Errorf("after the ledger was made anew: %+v", s)
			}
			o.renumber("INBOX")
			if s := o.once(); s.Filed != 0 || s.Duplicates != 10-1+want && s.Duplicates != 10 {
				t.Errorf("after a change of UIDVALIDITY: %+v", s)
			}
			o.verify(0)
			kept, err := filepath.Glob(path + ".before-*")
			if err != nil || len(kept) != 1 && tt.name != "lost" {
				t.Errorf("kept %q, %v", kept, err)
			}
			if left, err := filepath.Glob(path + ".rebuilt*"); err != nil || len(left) != 0 {
				t.Errorf("left %q, %v", left, err)
			}
		})
	}
}

// What is forgotten stays so, under another key and in another folder, and on its
// server it stays, too.
func TestForgetCommand(t *testing.T) {
	o := newOffice(t, dovecot.Options{})
	o.folder("INBOX/Sub")
	o.configure("folders: [Inbox, Inbox/Sub]")
	for i := range 6 {
		o.send("INBOX", note(i))
	}
	o.once()
	h := o.history()
	d := h[slices.IndexFunc(h, func(l historyLine) bool { return l.Title == "Order 2" })]
	if r := o.run("forget", d.Document[:12]); r.status != 2 || !strings.Contains(r.err, "--yes") {
		t.Errorf("without a terminal: status %d, %s", r.status, r.err)
	}
	for name, want := range map[string]string{"zz": "first 12 digits", d.Document[:11]: "first 12 digits", strings.Repeat("0", 12): "postroom history --json"} {
		r := o.run("forget", "--yes", name)
		if status := map[bool]int{true: exitFailed, false: exitUsage}[len(name) == 12]; r.status != status || !strings.Contains(r.err, want) {
			t.Errorf("forget %s: status %d, %s", name, r.status, r.err)
		}
	}
	o.verify(0)
	before := time.Now().Truncate(time.Second)
	if r := o.run("forget", "--yes", "documents/"+d.Location+"/"); r.status != 0 {
		t.Fatalf("status %d, %s", r.status, r.err)
	}
	if _, err := os.Stat(filepath.Join(o.dir, "documents", filepath.FromSlash(d.Location))); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it is still there: %v", err)
	}
	if v := o.verify(0); v.Verified.Documents != 5 {
		t.Errorf("%+v", v)
	}
	if r := o.run("history"); strings.Contains(r.out, d.Title) || strings.Count(r.out, "forgotten") != 1 {
		t.Errorf("the history still has its title:\n%s", r.out)
	}
	for _, l := range o.history() {
		when := l.Forgotten.UTC().Format(time.DateTime)
		switch {
		case l.Outcome != "forgotten":
			if !l.Forgotten.IsZero() {
				t.Errorf("%+v", l)
			}
		case l.Forgotten.Before(before) || l.Forgotten.After(time.Now()) || !l.At.Equal(d.At) || l.Reason != "its document was removed for good on "+when:
			t.Errorf("%+v", l)
		}
	}
	o.configure("folders: [Inbox, Inbox/Sub]\nafter_filing: delete")
	o.renumber("INBOX")
	o.deliver("INBOX/Sub", note(2))
	if s := o.once(); s.Filed != 0 || s.Duplicates != 5 {
		t.Errorf("%+v", s)
	}
	if n := len(o.contents("INBOX")) + len(o.contents("INBOX/Sub")); n != 2 {
		t.Errorf("%d messages are left on the server, want the two of what was forgotten", n)
	}
	delete(o.sent, d.SHA256)
	o.judge()
	if r := o.run("forget", "--yes", d.Document); r.status != 0 {
		t.Errorf("forgotten again: status %d, %s", r.status, r.err)
	}
}

// A daemon is asked to forget; meanwhile the repository is verified and state is
// backed up.
func TestKeepingBesideADaemon(t *testing.T) {
	o := newSmallOffice(t, 6)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan result, 1)
	go func() { done <- o.runUntil(ctx, "run") }()
	deadline := time.Now().Add(time.Minute)
	for o.run("quarantine", "retry").status != 0 || !o.daemonAnswers() {
		if time.Now().After(deadline) {
			t.Fatal("the daemon does not answer")
		}
	}
	o.verify(0)
	if r := o.run("verify", "--rebuild-ledger"); r.status != 1 || !strings.Contains(r.err, "at work") {
		t.Errorf("rebuilt beside the daemon: status %d, %s", r.status, r.err)
	}
	if r := o.run("backup", filepath.Join(o.dir, "b.tar")); r.status != 0 {
		t.Errorf("backup: status %d, %s", r.status, r.err)
	}
	d := o.history()[0]
	if r := o.run("forget", "--yes", d.Document); r.status != 0 {
		t.Errorf("forget: status %d, %s", r.status, r.err)
	}
	if v := o.verify(0); v.Verified.Documents != 5 {
		t.Errorf("%+v", v)
	}
	stop()
	if r := <-done; r.status != 0 {
		t.Errorf("daemon: status %d, %s", r.status, r.err)
	}
}

func (o *office) daemonAnswers() bool {
	_, err := os.Stat(filepath.Join(o.dir, "state", "control.sock"))
	return err == nil
}

// quarantine delivers a message that is put into quarantine: the place of its
// document is taken meanwhile.
func (o *office) quarantine(raw []byte) {
	o.t.Helper()
	place := filepath.Join(o.dir, "documents", "office", "2026", "03", "04", "taken~"+documentID(o.t, o, raw)[:12])
	if err := errors.Join(os.MkdirAll(place, 0o750), os.WriteFile(filepath.Join(place, "document.json"), []byte("{}"), 0o600)); err != nil {
		o.t.Fatal(err)
	}
	o.deliver("INBOX", raw)
	if s := o.once(); s.Quarantined != 1 {
		o.t.Fatalf("%+v", s)
	}
	if err := os.RemoveAll(place); err != nil {
		o.t.Fatal(err)
	}
}

// A message that was given up in quarantine does not come again.
func TestDiscardedDoesNotComeAgain(t *testing.T) {
	o := newOffice(t, dovecot.Options{})
	o.configure(`folders: [Inbox]`)
	o.send("INBOX", note(1))
	o.quarantine(note(70))
	r := o.run("quarantine", "list", "--json")
	var list struct{ Quarantine []struct{ ID string } }
	if err := json.Unmarshal([]byte(r.out), &list); err != nil || len(list.Quarantine) != 1 {
		t.Fatalf("%v\n%s", err, r.out)
	}
	if r := o.run("quarantine", "discard", list.Quarantine[0].ID); r.status != 0 {
		t.Fatal(r.err)
	}
	o.renumber("INBOX")
	if s := o.once(); s.Filed != 0 || s.Quarantined != 0 || s.Duplicates != 1 {
		t.Errorf("%+v", s)
	}
	if n := len(o.contents("INBOX")); n != 2 {
		t.Errorf("%d messages on the server", n)
	}
	if v := o.verify(0, "--rebuild-ledger"); v.Rebuilt.Discarded != 2 {
		t.Errorf("%+v", v)
	}
	o.renumber("INBOX")
	if s := o.once(); s.Filed != 0 || s.Quarantined != 0 {
		t.Errorf("after the ledger was made anew: %+v", s)
	}
}

// A backup, unpacked into an empty state_dir, files nothing twice, whatever was
// filed since.
func TestBackupAndRestore(t *testing.T) {
	o := newSmallOffice(t, 8)
	o.quarantine(note(70))
	file := filepath.Join(o.dir, "backup.tar")
	r := o.run("backup", file)
	if r.status != 0 {
		t.Fatalf("status %d, %s", r.status, r.err)
	}
	contains(t, r.err, "1 message in quarantine")
	if r := o.run("backup", file); r.status != 1 || !strings.Contains(r.err, "another name") {
		t.Errorf("a second one to the same file: status %d, %s", r.status, r.err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm()&0o077 != 0 || info.Size() == 0 {
		t.Errorf("%v, %v", info, err)
	}
	if left, err := filepath.Glob(filepath.Join(o.dir, "state", "backup-*")); err != nil || len(left) != 0 {
		t.Errorf("left %q, %v", left, err)
	}
	before := len(o.history())
	for i := range 4 {
		o.send("INBOX/Sub", note(100+i))
	}
	o.run("run", "--once")

	state := filepath.Join(o.dir, "state")
	if err := os.RemoveAll(state); err != nil {
		t.Fatal(err)
	}
	unpack(t, file, state)
	if n := len(o.history()); n != before {
		t.Errorf("%d lines of history restored, want %d", n, before)
	}
	if r := o.run("quarantine", "list"); strings.Count(r.out, "\n") != 2 {
		t.Errorf("quarantine restored:\n%s", r.out)
	}
	if r := o.run("run", "--once"); r.status != 0 {
		t.Errorf("after restoring: status %d, %s", r.status, r.err)
	}
	o.judge()
	if v := o.verify(0); v.Verified.Documents != 12 {
		t.Errorf("%+v", v)
	}
	id := o.quarantined()
	raw := o.run("quarantine", "export", id, "-")
	if raw.out != string(note(70)) {
		t.Errorf("%d bytes in quarantine", len(raw.out))
	}
	if r := o.run("backup", filepath.Join(o.dir, "none", "b.tar")); r.status != 1 {
		t.Errorf("into no folder: status %d", r.status)
	}
}

// What is quarantined while a backup is being written is in it whole, as the
// ledger in it says; of what is missing, that is said.
func TestBackupWhileMessagesAreQuarantined(t *testing.T) {
	o := newOffice(t, dovecot.Options{})
	o.configure(`folders: [Inbox]`)
	o.quarantine(note(70))
	c, err := (&settings{config: filepath.Join(o.dir, "config.yaml")}).load(io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	b := &backingUp{config: c, tar: tar.NewWriter(&out), written: make(map[string]bool)}
	if err := b.folder(t.Context(), quarantineDir(c), "quarantine"); err != nil {
		t.Fatal(err)
	}
	o.quarantine(note(71))
	if err := errors.Join(b.ledger(t.Context(), filepath.Join(t.TempDir(), "copy.db")), b.tar.Close()); err != nil {
		t.Fatal(err)
	}
	var names []string
	for r := tar.NewReader(&out); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
	}
	if emls := strings.Count(strings.Join(names, "\n"), ".eml"); emls != 2 || b.messages != 2 || len(b.lost) != 0 || len(names) != 7 {
		t.Errorf("%d messages, lost %q, files %q", b.messages, b.lost, names)
	}

	raws, err := filepath.Glob(filepath.Join(quarantineDir(c), "*.eml"))
	if err != nil || len(raws) != 2 {
		t.Fatalf("%q, %v", raws, err)
	}
	if err := os.Remove(raws[0]); err != nil {
		t.Fatal(err)
	}
	r := o.run("backup", "-")
	if r.status != 0 || !strings.HasPrefix(r.out, "quarantine/") {
		t.Errorf("status %d", r.status)
	}
	contains(t, r.err, filepath.Base(raws[0])+" is missing in quarantine", "retry")
}

func (o *office) quarantined() string {
	o.t.Helper()
	for _, h := range o.history() {
		if h.Outcome == "quarantined" {
			r := o.run("quarantine", "list", "--json")
			var list struct{ Quarantine []struct{ ID string } }
			if err := json.Unmarshal([]byte(r.out), &list); err != nil || len(list.Quarantine) != 1 {
				o.t.Fatalf("%v\n%s", err, r.out)
			}
			return list.Quarantine[0].ID
		}
	}
	o.t.Fatal("nothing is in quarantine")
	return ""
}

func unpack(t *testing.T, file, dir string) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(dir, filepath.FromSlash(h.Name))
		if h.Typeflag == tar.TypeDir {
			err = os.MkdirAll(name, h.FileInfo().Mode())
		} else if err = os.MkdirAll(filepath.Dir(name), 0o700); err == nil {
			var content []byte
			if content, err = io.ReadAll(r); err == nil {
				err = os.WriteFile(name, content, h.FileInfo().Mode())
			}
		}
		if err != nil {
			t.Fatal(fmt.Errorf("unpack %s: %w", h.Name, err))
		}
	}
}
