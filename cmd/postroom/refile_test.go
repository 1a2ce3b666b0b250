package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"postroom/internal/dovecot"
	"postroom/store"
)

// refile files the document anew and returns what is printed.
func (o *office) refile(status int, id string) string {
	o.t.Helper()
	r := o.run("refile", id)
	if r.status != status {
		o.t.Fatalf("refile: status %d, want %d\n%s%s", r.status, status, r.out, r.err)
	}
	return r.out + r.err
}

// only returns the one document there is, after a look at whether all is well.
func (o *office) only() *store.Document {
	o.t.Helper()
	docs := o.filed()
	if len(docs) != 1 {
		o.t.Fatalf("%d documents", len(docs))
	}
	if v := o.verify(0); v.Verified.Documents != 1 || v.Verified.Unsealed != 0 {
		o.t.Fatalf("%+v", v)
	}
	return docs[0]
}

const anew = `document:
  class: Order
  title: "{subject} anew"
  permissions: Accounts only
  properties: [{name: Sender, read: from}]
`

func TestRefileCommand(t *testing.T) {
	o := newOffice(t, dovecot.Options{})
	o.folder("INBOX/Sub")
	o.configure("folders: [Inbox, Inbox/Sub]")
	o.deliver("INBOX", []byte(order))
	o.once()
	o.deliver("INBOX/Sub", []byte(order))
	if s := o.once(); s.Duplicates != 1 {
		t.Fatalf("%+v", s)
	}
	was := o.only()
	contains(t, o.refile(0, was.ID[:12]), "unchanged")
	if now := o.only(); len(now.Notes) != 0 {
		t.Errorf("%+v", now)
	}

	o.configure("folders: [Inbox, Inbox/Sub]\nseparate_attachments: true\nkeep_original: true\n" + anew)
	contains(t, o.refile(0, was.ID), "filed anew", "Order anew~"+was.ID[:12], "(title, class, permissions, properties, files)")
	now := o.only()
	if now.Title != "Order anew" || now.Class != "Order" || now.Permissions != "Accounts only" || len(now.Properties) != 1 || len(now.Files) != 3 ||
		now.ID != was.ID || now.Origin != was.Origin || !now.Filed.Equal(was.Filed) || len(now.Notes) != 1 || !strings.HasPrefix(now.Notes[0], "filed anew ") {
		t.Errorf("filed anew is %+v", now)
	}
	h := o.history()
	if len(h) != 2 {
		t.Fatalf("%+v", h)
	}
	for _, l := range h {
		if !strings.Contains(l.Location, "Order anew~") || l.Outcome == "filed" && l.Title != "Order anew" {
			t.Errorf("history: %+v", l)
		}
	}
	contains(t, o.refile(0, h[0].Location), "unchanged")
	if again := o.only(); !slices.Equal(again.Notes, now.Notes) {
		t.Errorf("notes %q, before %q", again.Notes, now.Notes)
	}
	if s := o.once(); s.Filed != 0 || s.Duplicates != 0 {
		t.Errorf("%+v", s)
	}
	o.renumber("INBOX")
	if s := o.once(); s.Filed != 0 || s.Duplicates != 1 {
		t.Errorf("after a change of UIDVALIDITY: %+v", s)
	}

	// And back, from the original.
	o.configure("folders: [Inbox, Inbox/Sub]")
	contains(t, o.refile(0, was.ID), "filed anew")
	if back := o.only(); back.Title != was.Title || len(back.Files) != 1 || back.Files[0].SHA256 != was.Files[0].SHA256 {
		t.Errorf("%+v", back)
	}

	o.configure("folders: [Inbox, Inbox/Sub]\ndocument:\n  properties: [{name: Ticket, read: \"header:X-Ticket\", required: true}]")
	contains(t, o.refile(1, was.ID), "quarantine", "Ticket")
	o.only()
	contains(t, o.refile(exitUsage, "zz"), "first 12 digits")
	contains(t, o.refile(exitUsage, was.ID[:11]), "first 12 digits")
	contains(t, o.refile(exitFailed, strings.Repeat("0", 12)), "postroom history --json")
	if r := o.run("forget", "--yes", was.ID); r.status != 0 {
		t.Fatal(r.err)
	}
	contains(t, o.refile(1, was.ID), "forgotten")
	if v := o.verify(0); v.Verified.Documents != 0 {
		t.Errorf("%+v", v)
	}
}

// A message that the repository does not hold as it was received is fetched again,
// also from where there is a copy; if it is nowhere, the document stays.
func TestRefileFromTheServer(t *testing.T) {
	o := newOffice(t, dovecot.Options{})
	o.folder("INBOX/Sub")
	folders := "folders: [Inbox, Inbox/Sub]\n"
	separated := folders + "separate_attachments: true"
	o.configure(separated)
	o.deliver("INBOX", []byte(order))
	o.once()
	was := o.only()
	if len(was.Files) != 2 {
		t.Fatalf("%+v", was)
	}
	if err := o.server.Expunge("office", "INBOX", 1); err != nil {
		t.Fatal(err)
	}
	o.configure(folders + anew)
	contains(t, o.refile(1, was.ID), "is as it was", "Inbox", "no longer in the folder", "keep_original: true")
	if now := o.only(); now.Title != was.Title || len(now.Files) != 2 {
		t.Errorf("%+v", now)
	}
	o.deliver("INBOX/Sub", []byte(order))
	if s := o.once(); s.Duplicates != 1 {
		t.Fatalf("%+v", s)
	}
	contains(t, o.refile(0, was.ID), "filed anew")
	if now := o.only(); len(now.Files) != 1 || now.Files[0].SHA256 != was.Origin.SHA256 {
		t.Errorf("%+v", now)
	}
	// From then on nothing of it is lost, and no server is needed.
	if err := o.server.Expunge("office", "INBOX/Sub", 1); err != nil {
		t.Fatal(err)
	}
	o.configure(separated)
	contains(t, o.refile(0, was.ID), "filed anew", "postroom: original.eml is kept although keep_original is false")
	if now := o.only(); files(now) != "message.eml message message/rfc822; order.pdf attachment application/pdf; original.eml original message/rfc822" {
		t.Errorf("%+v", now)
	}
	contains(t, o.refile(0, was.ID), "unchanged", "original.eml is kept although")
	o.configure(folders)
	contains(t, o.refile(0, was.ID), "filed anew")
	if now := o.only(); len(now.Files) != 1 || now.Files[0].SHA256 != was.Origin.SHA256 {
		t.Errorf("%+v", now)
	}
}

// A message that postroom moved is found where it moved it; nothing is done to it
// there.
func TestRefileOfWhatWasMoved(t *testing.T) {
	o := newOffice(t, dovecot.Options{})
	moves := "folders: [Inbox]\nafter_filing: move\nfiled_folder: Inbox/Filed\n"
	o.configure(moves + "separate_attachments: true")
	o.deliver("INBOX", note(1))
	o.deliver("INBOX", []byte(order))
	o.once()
	var id string
	for _, d := range o.filed() {
		if d.Title == "Order" {
			id = d.ID
		}
	}
	o.configure(moves)
	contains(t, o.refile(0, id), "filed anew")
	for _, d := range o.filed() {
		if d.ID == id && (len(d.Files) != 1 || d.Files[0].SHA256 != d.Origin.SHA256) {
			t.Errorf("%+v", d)
		}
	}
	o.verify(0)
}

// What somebody has changed in a document is not lost.
func TestRefileOfWhatWasChanged(t *testing.T) {
	o := newOffice(t, dovecot.Options{})
	o.configure("folders: [Inbox]")
	o.deliver("INBOX", []byte(order))
	o.once()
	was := o.only()
	o.configure("folders: [Inbox]\n" + anew)
	at := filepath.Join(o.dir, "documents", filepath.FromSlash(o.history()[0].Location))
	more := filepath.Join(at, "mine.txt")
	if err := os.WriteFile(more, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	contains(t, o.refile(1, was.ID), "mine.txt", "move it elsewhere")
	if err := os.Remove(more); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(at, "document.json")
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(strings.Replace(string(text), "Order", "Mine!", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	contains(t, o.refile(1, was.ID), "document.json", "lost")
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
	o.refile(0, was.ID)
	if now := o.only(); now.Class != "Order" {
		t.Errorf("%+v", now)
	}
	if _, err := os.Stat(at); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the old one: %v", err)
	}
}

// A daemon is asked to file anew while it files the same messages from another
// folder.
func TestRefileBesideADaemon(t *testing.T) {
	o := newSmallOffice(t, 12)
	ids := make([]string, 0, 12)
	for _, l := range o.history() {
		ids = append(ids, l.Document)
	}
	o.configure("folders: [Inbox, Inbox/Sub]\npoll_interval: 1s\n" + anew)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan result, 1)
	go func() { done <- o.runUntil(ctx, "run") }()
	deadline := time.Now().Add(time.Minute)
	for !o.daemonAnswers() || o.run("quarantine", "retry").status != 0 {
		if time.Now().After(deadline) {
			t.Fatal("the daemon does not answer")
		}
	}
	for i, id := range ids {
		o.deliver("INBOX/Sub", note(i))
		contains(t, o.refile(0, id), "filed anew")
		if v := o.verify(0); v.Verified.Documents != 12 {
			t.Errorf("%+v", v)
		}
	}
	for recorded := 0; recorded < 24; recorded = len(o.history()) {
		if time.Now().After(deadline) {
			t.Fatalf("%d messages recorded", recorded)
		}
	}
	stop()
	if r := <-done; r.status != 0 {
		t.Errorf("daemon: status %d, %s", r.status, r.err)
	}
	o.judge()
	for _, l := range o.history() {
		if !strings.Contains(l.Location, " anew~") {
			t.Errorf("%+v", l)
		}
	}
	o.verify(0)
}

// What the file says is what a document is filed anew under, also in the moment
// before a daemon has noticed.
func TestRefileTakesUpTheRulesFirst(t *testing.T) {
	o := newSmallOffice(t, 1)
	id := o.history()[0].Document
	o.configure("folders: [Inbox, Inbox/Sub]\npoll_interval: 1h")
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan result, 1)
	go func() { done <- o.runUntil(ctx, "run") }()
	deadline := time.Now().Add(time.Minute)
	for !o.daemonAnswers() || o.run("quarantine", "retry").status != 0 {
		if time.Now().After(deadline) {
			t.Fatal("the daemon does not answer")
		}
	}
	for i := range 3 {
		o.configure(fmt.Sprintf("folders: [Inbox, Inbox/Sub]\npoll_interval: 1h\ndocument: {title: \"{subject} %d\"}", i))
		contains(t, o.refile(0, id), "filed anew", fmt.Sprintf(" %d~", i))
	}
	contains(t, o.refile(0, id), "unchanged")
	stop()
	if r := <-done; r.status != 0 {
		t.Errorf("daemon: status %d, %s", r.status, r.err)
	}
	o.verify(0)
}
