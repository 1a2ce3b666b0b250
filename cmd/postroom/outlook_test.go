package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"postroom/ingest/message"
	"postroom/ingest/outlook"
	"postroom/ingest/outlook/cfb"
	"postroom/internal/dovecot"
	"postroom/internal/mailgen"
	"postroom/store"
)

// buffer is a file in memory.
type buffer struct{ b []byte }

func (f *buffer) WriteAt(p []byte, off int64) (int, error) {
	if end := int(off) + len(p); end > len(f.b) {
		f.b = slices.Grow(f.b, end-len(f.b))[:end]
	}
	return copy(f.b[off:], p), nil
}

// inOutlook converts mail.
func inOutlook(t *testing.T, raw []byte, o outlook.Options) []byte {
	t.Helper()
	m, err := message.Read(t.Context(), bytes.NewReader(raw), int64(len(raw)), message.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	f := new(buffer)
	if _, err := outlook.Convert(t.Context(), f, m, o); err != nil {
		t.Fatal(err)
	}
	return f.b
}

// stream reads a stream of a file in Outlook's format.
func stream(t *testing.T, msg []byte, path ...string) []byte {
	t.Helper()
	f, err := cfb.Open(bytes.NewReader(msg), int64(len(msg)))
	if err != nil {
		t.Fatal(err)
	}
	e := f.Root
	for _, name := range path {
		if e = e.Entry(name); e == nil {
			t.Fatalf("no %q", path)
		}
	}
	r, err := e.Open()
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, r.Size())
	if _, err := r.ReadAt(b, 0); err != nil && len(b) > 0 {
		t.Fatal(err)
	}
	return b
}

// utf16 is text as such a file has it.
func utf16(s string) []byte {
	var b []byte
	for _, r := range s {
		b = append(b, byte(r), byte(r>>8)) // of the basic plane
	}
	return b
}

// Streams of a file in Outlook's format (MS-OXMSG 2.1.3).
const (
	subjectStream   = "__substg1.0_0037001F"
	contentStream   = "__substg1.0_37010102"
	firstAttachment = "__attach_version1.0_#00000000"
)

// read reads a file of the only document.
func (o *office) read(name string) []byte {
	o.t.Helper()
	found, err := filepath.Glob(filepath.Join(o.dir, "documents/office/*/*/*/*", name))
	if err != nil || len(found) != 1 {
		o.t.Fatalf("%s: %q, %v", name, found, err)
	}
	b, err := os.ReadFile(found[0])
	if err != nil {
		o.t.Fatal(err)
	}
	return b
}

func files(d *store.Document) string {
	var out []string
	for _, f := range d.Files {
		out = append(out, f.Name+" "+string(f.Role)+" "+f.MediaType)
	}
	return strings.Join(out, "; ")
}

// format: msg holds from the server to the disk, with whatever else is asked for,
// and a document can be filed anew from it and back.
func TestFormatMsg(t *testing.T) {
	const msg = "message.msg message application/vnd.ms-outlook"
	o := newOffice(t, dovecot.Options{})
	o.configure("folders: [Inbox]\nformat: msg")
	o.deliver("INBOX", []byte(order))
	if s := o.once(); s.Filed != 1 || s.Quarantined+s.Failed != 0 {
		t.Fatalf("%+v", s)
	}
	d := o.only()
	if files(d) != msg || d.Origin.Size != int64(len(order)) || d.Origin.SHA256 != sha256.Sum256([]byte(order)) {
		t.Errorf("%s; %+v", files(d), d.Origin)
	}
	got := o.read("message.msg")
	received := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	if !bytes.Equal(got, inOutlook(t, []byte(order), outlook.Options{Received: received, Mailbox: "office"})) {
		t.Error("message.msg is not the message converted, as received by the server in the mailbox")
	}
	if s := stream(t, got, subjectStream); !bytes.Equal(s, utf16("Order")) {
		t.Errorf("subject is %q", s)
	}
	if a := stream(t, got, firstAttachment, contentStream); string(a) != "%PDF-1.7" {
		t.Errorf("attachment is %q", a)
	}
	if s := o.once(); s.Filed+s.Duplicates != 0 {
		t.Errorf("again: %+v", s)
	}

	contains(t, o.refile(0, d.ID), "unchanged")
	o.configure("folders: [Inbox]\nformat: msg\nseparate_attachments: true\nkeep_original: true")
	contains(t, o.refile(0, d.ID), "(files)")
	d = o.only()
	if files(d) != msg+"; order.pdf attachment application/pdf; original.eml original message/rfc822" {
		t.Errorf("separated: %s", files(d))
	}
	got = o.read("message.msg")
	if bytes.Contains(got, []byte("%PDF")) || !bytes.Contains(got, []byte("order.pdf")) && !bytes.Contains(got, utf16("order.pdf")) {
		t.Error("the attachment is in message.msg, or its stub is not")
	}
	if string(o.read("order.pdf")) != "%PDF-1.7" || string(o.read("original.eml")) != order {
		t.Error("attachment or original are not as sent")
	}
	o.configure("folders: [Inbox]")
	contains(t, o.refile(0, d.ID), "(files)")
	if string(o.read("message.eml")) != order {
		t.Error("back in message.eml, it is another message")
	}
	o.configure("folders: [Inbox]\nformat: msg")
	if err := o.server.Expunge("office", "INBOX", 1); err != nil {
		t.Fatal(err)
	}
	contains(t, o.refile(0, d.ID), "(files, notes)", "original.eml is kept although keep_original is false")
	if files(o.only()) != msg+"; original.eml original message/rfc822" || string(o.read("original.eml")) != order {
		t.Error("the one copy of the message is not kept")
	}
}

// What is filed as message.msg alone cannot be filed anew once its server has it no
// more, and stays.
func TestFormatMsgAlone(t *testing.T) {
	o := newOffice(t, dovecot.Options{})
	o.configure("folders: [Inbox]\nformat: msg")
	o.deliver("INBOX", []byte(order))
	o.once()
	d := o.only()
	if err := o.server.Expunge("office", "INBOX", 1); err != nil {
		t.Fatal(err)
	}
	o.configure("folders: [Inbox]")
	contains(t, o.refile(1, d.ID), "is as it was", "it was filed as message.msg and keep_original was not set", "keep_original: true")
	if files(o.only()) != "message.msg message application/vnd.ms-outlook" {
		t.Error("it is not as it was")
	}
}

// The messages of a mailroom become what the conversion makes of each, also in a
// dry run, which tells the sizes and leaves nothing behind.
func TestFormatMsgOfAMailroom(t *testing.T) {
	o := newOffice(t, dovecot.Options{})
	o.configure("folders: [Inbox]\nformat: msg")
	mail := mailgen.New(5, mailgen.Moderate())
	want := make(map[[32]byte][]byte)
	for range 40 {
		raw := mail.Next().Raw
		o.deliver("INBOX", raw)
		want[sha256.Sum256(raw)] = raw
	}
	decisions, s, _ := o.dry("INBOX")
	if s.Filed != 40 {
		t.Fatalf("%+v", s)
	}
	sizes := make(map[string]int64)
	for _, d := range decisions {
		if len(d.Files) != 1 || d.Files[0].Name != "message.msg" || d.Files[0].MediaType != "application/vnd.ms-outlook" {
			t.Fatalf("%+v", d)
		}
		sizes[d.Document] = d.Files[0].Size
	}
	if s := o.once(); s.Filed != 40 {
		t.Fatalf("%+v", s)
	}
	for _, d := range o.filed() {
		raw := want[d.Origin.SHA256]
		if sum := sha256.Sum256(inOutlook(t, raw, outlook.Options{Received: d.Origin.Received, Mailbox: "office"})); len(d.Files) != 1 || sum != d.Files[0].SHA256 {
			t.Errorf("%s: message.msg is not the message converted", d.Title)
		}
		if sizes[d.ID] != d.Files[0].Size {
			t.Errorf("%s has %d bytes, the dry run said %d", d.Title, d.Files[0].Size, sizes[d.ID])
		}
		for _, note := range d.Notes {
			if len(d.Notes) > 45 || strings.Contains(note, "\n") {
				t.Errorf("%q", d.Notes)
			}
		}
	}
	o.verify(0)
	if left := spooled(t, o); left > 0 {
		t.Errorf("%d files in the spool", left)
	}
}

// killOnceFiled runs the program once and kills it when more than n documents are
// filed. It reports whether it was still running.
func (o *office) killOnceFiled(program string, n int) bool {
	o.t.Helper()
	cmd := exec.Command(program, "run", "--once", "--config", filepath.Join(o.dir, "config.yaml"))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		o.t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case err := <-ended:
			if err != nil {
				o.t.Fatalf("%v\n%s", err, out.Bytes())
			}
			return false
		case <-time.After(time.Millisecond):
		}
		found, err := filepath.Glob(filepath.Join(o.dir, "documents/office/*/*/*/*"))
		if err != nil {
			o.t.Fatal(err)
		}
		if len(found) > n {
			break
		}
	}
	if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		o.t.Fatal(err)
	}
	return <-ended != nil
}

// spooled returns how many files there are in the spool.
func spooled(t *testing.T, o *office) int {
	t.Helper()
	left, err := os.ReadDir(filepath.Join(o.dir, "state", "spool"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return len(left)
}

// What a dry run says of separated messages is what a run files.
func TestFormatMsgSeparatedInADryRun(t *testing.T) {
	o := newOffice(t, dovecot.Options{})
	o.configure("folders: [Inbox]\nformat: msg\nseparate_attachments: true\nkeep_original: true")
	mail := mailgen.New(7, mailgen.Small())
	for range 20 {
		o.deliver("INBOX", mail.Next().Raw)
	}
	described := func(d *store.Document) string { return fmt.Sprint(files(d), d.Notes) }
	decisions, _, _ := o.dry("INBOX")
	said := make(map[string]string)
	for _, d := range decisions {
		of := &store.Document{Notes: d.Notes}
		for _, f := range d.Files {
			of.Files = append(of.Files, store.File{Name: f.Name, Role: f.Role, MediaType: fmt.Sprint(f.MediaType, " ", f.Size)})
		}
		said[d.Document] = described(of)
	}
	o.once()
	several := 0
	for _, d := range o.filed() {
		for i := range d.Files {
			d.Files[i].MediaType += fmt.Sprint(" ", d.Files[i].Size)
		}
		if got := described(d); said[d.ID] != got {
			t.Errorf("filed is\n%s\nsaid was\n%s", got, said[d.ID])
		}
		if len(d.Files) > 2 {
			several++
		}
	}
	if len(said) != 20 || several == 0 {
		t.Errorf("%d messages, %d with attachments", len(said), several)
	}
}

// Messages that Exchange Online renders become files of Outlook's as well.
func TestFormatMsgOfExchange(t *testing.T) {
	b := newBranch(t, 11, "format: msg\nkeep_original: true")
	b.fill(11, 8)
	if s := b.once(); s.Filed != 8 || s.Quarantined+s.Failed != 0 {
		t.Fatalf("%+v", s)
	}
	for _, d := range b.filed() {
		found, err := filepath.Glob(filepath.Join(b.dir, "documents/invoices/*/*/*/*~"+d.ID[:12], "original.eml"))
		if err != nil || len(found) != 1 {
			t.Fatalf("%q, %v", found, err)
		}
		raw, err := os.ReadFile(found[0])
		if err != nil {
			t.Fatal(err)
		}
		want := sha256.Sum256(inOutlook(t, raw, outlook.Options{Received: d.Origin.Received, Mailbox: "invoices@contoso.example"}))
		if d.Files[0].Name != "message.msg" || d.Files[0].SHA256 != want || d.Origin.Wire != "rendered" {
			t.Errorf("%s: %s, or message.msg is not the message converted", d.Title, files(d))
		}
		contains(t, b.refile(0, d.ID), "unchanged")
	}
	b.verify(0)
}

// What waits in quarantine is filed in the format of now.
func TestFormatMsgFromQuarantine(t *testing.T) {
	o := newOffice(t, dovecot.Options{})
	required := "\ndocument:\n  properties: [{name: Ticket, read: \"header:X-Ticket\", required: %v}]"
	o.configure("folders: [Inbox]\nformat: msg" + fmt.Sprintf(required, true))
	o.deliver("INBOX", []byte(order))
	if s := o.once(); s.Quarantined != 1 {
		t.Fatalf("%+v", s)
	}
	o.configure("folders: [Inbox]\nformat: msg" + fmt.Sprintf(required, false))
	if s := o.once(); s.Filed != 1 {
		t.Fatalf("%+v", s)
	}
	if d := o.only(); d.Files[0].Name != "message.msg" {
		t.Errorf("%s", files(d))
	}
	if !bytes.Equal(o.read("message.msg"), inOutlook(t, []byte(order), outlook.Options{Received: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC), Mailbox: "office"})) {
		t.Error("message.msg is not the message converted")
	}
}

// The program is killed again and again: each message is filed once, whole, and
// nothing stays in the spool after the next run.
func TestFormatMsgKilled(t *testing.T) {
	program := buildProgram(t)
	o := newOffice(t, dovecot.Options{})
	o.configure("folders: [Inbox]\nformat: msg\nseparate_attachments: true")
	mail := mailgen.New(6, mailgen.Moderate())
	want := make(map[string]bool)
	for tries, killed := 0, 0; killed < 5; tries++ {
		if tries == 50 {
			t.Fatalf("only %d kills in %d tries", killed, tries)
		}
		for range 20 {
			raw := mail.Next().Raw
			o.deliver("INBOX", raw)
			want[sum(raw)] = true
		}
		if o.killOnceFiled(program, len(o.filed())+4*killed) {
			killed++
		}
		t.Logf("%d filed, %d in the spool", len(o.filed()), spooled(t, o)) // each whole
	}
	o.once()
	if left := spooled(t, o); left > 0 {
		t.Errorf("%d files in the spool", left)
	}
	for _, d := range o.filed() {
		if h := hex.EncodeToString(d.Origin.SHA256[:]); !want[h] || d.Files[0].Name != "message.msg" {
			t.Errorf("%s was filed twice, or never sent: %s", d.Title, files(d))
		} else {
			delete(want, h)
		}
	}
	if len(want) > 0 {
		t.Errorf("%d messages were not filed", len(want))
	}
	o.verify(0)
}

// A ledger made anew of message.msg alone knows the bytes that were received.
func TestRebuildOfMsg(t *testing.T) {
	for _, tt := range []struct {
		source    string
		lost      bool
		bytesOnly int
	}{
		{"format: msg", true, 1},
		{"format: msg", false, 0},
		{"format: msg\nkeep_original: true", true, 0},
	} {
		o := newOffice(t, dovecot.Options{})
		o.configure("folders: [Inbox]\n" + tt.source)
		o.deliver("INBOX", []byte(order))
		o.once()
		path := filepath.Join(o.dir, "state", "postroom.db")
		if tt.lost {
			if err := errors.Join(os.Remove(path), os.Remove(path+".closed")); err != nil {
				t.Fatal(err)
			}
		}
		if v := o.verify(0, "--rebuild-ledger"); v.Rebuilt.Documents != 1 || v.Rebuilt.BytesOnly != tt.bytesOnly {
			t.Errorf("%s: %+v", tt.source, v.Rebuilt)
		}
		o.renumber("INBOX")
		if s := o.once(); s.Filed != 0 || s.Duplicates != 1 {
			t.Errorf("%s: the same bytes: %+v", tt.source, s)
		}
		o.deliver("INBOX", []byte(orderAgain))
		if s := o.once(); s.Filed != tt.bytesOnly || s.Duplicates != 1-tt.bytesOnly {
			t.Errorf("%s: another rendering: %+v", tt.source, s)
		}
		o.verify(0)
	}
}
