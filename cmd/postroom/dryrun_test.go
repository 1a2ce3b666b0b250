package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"postroom/cmd/postroom/config"
	"postroom/ingest"
	"postroom/ingest/ledger"
	"postroom/internal/dovecot"
	"postroom/internal/mailgen"
	"postroom/store"
)

// tree is what is below a folder: every file with its content, size and time of
// change, every folder with its time of change.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		out[path] = fmt.Sprint(info.Mode(), " ", info.ModTime())
		if e.Type().IsRegular() {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			out[path] += fmt.Sprintf(" %x", sha256.Sum256(b))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func sameTree(t *testing.T, before, after map[string]string) {
	t.Helper()
	for path, was := range before {
		if after[path] != was {
			t.Errorf("%s was %q, is %q", path, was, after[path])
		}
	}
	for path := range after {
		if _, ok := before[path]; !ok {
			t.Errorf("%s is new", path)
		}
	}
}

// mailbox returns every message of the folders with its flags, \Recent included,
// as another client sees them.
func (o *office) mailbox(folders ...string) []string {
	o.t.Helper()
	var out []string
	for _, folder := range folders {
		err := o.server.Do("office", func(c *imapclient.Client) error {
			selected, err := c.Select(folder, &goimap.SelectOptions{ReadOnly: true}).Wait()
			if err != nil {
				return err
			}
			out = append(out, fmt.Sprintf("%s: %d messages, %d recent, UIDVALIDITY %d, next %d", folder, selected.NumMessages, selected.NumRecent, selected.UIDValidity, selected.UIDNext))
			if selected.NumMessages == 0 {
				return nil
			}
			var all goimap.SeqSet
			all.AddRange(1, 0)
			messages, err := c.Fetch(all, &goimap.FetchOptions{UID: true, Flags: true}).Collect()
			for _, m := range messages {
				slices.Sort(m.Flags)
				out = append(out, fmt.Sprintf("%s %d %v", folder, m.UID, m.Flags))
			}
			return err
		})
		if err != nil {
			o.t.Fatal(err)
		}
	}
	return out
}

type dryReport struct {
	Sources []struct {
		summary
		Messages []ingest.Decision
	}
}

// dry makes a dry run, checks that it changes nothing anywhere, and returns what
// it says of the one source.
func (o *office) dry(folders ...string) ([]ingest.Decision, summary, result) {
	o.t.Helper()
	before, mail := tree(o.t, o.dir), o.mailbox(folders...)
	scratch := o.t.TempDir()
	o.t.Setenv("TMPDIR", scratch)
	r := o.run("run", "--once", "--dry-run", "--json")
	text := o.run("run", "--once", "--dry-run")
	sameTree(o.t, before, tree(o.t, o.dir))
	if now := o.mailbox(folders...); !slices.Equal(now, mail) {
		o.t.Errorf("the mailbox was\n%s\nand is\n%s", strings.Join(mail, "\n"), strings.Join(now, "\n"))
	}
	if left, err := os.ReadDir(scratch); err != nil || len(left) > 0 {
		o.t.Errorf("left behind: %v, %v", left, err)
	}
	var got dryReport
	if err := json.Unmarshal([]byte(r.out), &got); err != nil || len(got.Sources) != 1 {
		o.t.Fatalf("status %d, %v:\n%s\n%s", r.status, err, r.out, r.err)
	}
	lines := func(s string) []string { return slices.Sorted(strings.SplitSeq(s, "\n")) }
	if text.status != r.status || !slices.Equal(lines(text.err), lines(r.err)) {
		o.t.Errorf("status %d and %d, on standard error\n%sand\n%s", text.status, r.status, text.err, r.err)
	}
	s := got.Sources[0]
	if ok := s.Failed == 0 && s.Quarantined == 0 && s.Error == ""; ok != (r.status == 0) {
		o.t.Errorf("exit status %d for %+v", r.status, s.summary)
	}
	told := make(map[string]bool)
	for _, d := range s.Messages {
		if at := d.Folder + " " + d.Key; told[at] {
			o.t.Errorf("%s is told of again: %+v", at, d)
		} else {
			told[at] = true
		}
		contains(o.t, text.out, outcomeWords[d.Outcome], d.Key)
	}
	return s.Messages, s.summary, text
}

// compare runs for good and compares what happens with every message with what
// the dry run said.
func (o *office) compare(said []ingest.Decision, summed summary) {
	o.t.Helper()
	known := make(map[string]bool)
	for _, l := range o.history() {
		known[l.Folder+" "+l.ServerID+" "+l.At.String()] = true
	}
	s := o.once()
	s.Seconds, summed.Seconds = 0, 0
	if s != summed {
		o.t.Errorf("the run came to %+v, the dry run to %+v", s, summed)
	}
	documents := make(map[string]*store.Document)
	for _, d := range o.filed() {
		documents[d.ID] = d
	}
	done := make(map[string]historyLine)
	for _, l := range o.history() {
		if !known[l.Folder+" "+l.ServerID+" "+l.At.String()] {
			done[l.Folder+" "+l.ServerID] = l
		}
	}
	for _, d := range said {
		at := d.Folder + " " + d.Key
		l, did := done[at]
		delete(done, at)
		switch d.Outcome {
		case ingest.WouldFile, ingest.WouldDuplicate, ingest.WouldQuarantine:
			if l.Outcome != string(d.Outcome) || l.Document != d.Document || l.DuplicateOf != d.DuplicateOf || l.Reason != d.Reason ||
				l.Location != d.Location || !l.Received.Equal(d.Received) || l.Size != d.Size {
				o.t.Errorf("%s: said %+v, did %+v", at, d, l)
			}
		case ingest.IsGivenUp:
			if did && (l.Outcome != "discarded" || l.Reason != d.Reason) {
				o.t.Errorf("%s: said %+v, did %+v", at, d, l)
			}
		default:
			if did {
				o.t.Errorf("%s: said %+v, did %+v", at, d, l)
			}
		}
		if d.Outcome != ingest.WouldFile || d.Files == nil {
			continue // it is in the repository, and not read again
		}
		doc := documents[d.Document]
		if doc == nil {
			o.t.Errorf("%s: said %+v, and there is no such document", at, d)
			continue
		}
		var files []ingest.File
		for _, f := range doc.Files {
			files = append(files, ingest.File{Name: f.Name, Role: f.Role, MediaType: f.MediaType, Size: f.Size})
		}
		if !slices.Equal(files, d.Files) || !slices.Equal(doc.Properties, d.Properties) || !slices.Equal(doc.Notes, d.Notes) ||
			doc.Title != d.Title || doc.Class != d.Class || doc.Permissions != d.Permissions {
			o.t.Errorf("%s: said %+v, filed %+v", at, d, doc)
		}
	}
	for at, l := range done {
		o.t.Errorf("%s: %+v was not foretold", at, l)
	}
}

func outcomes(said []ingest.Decision) map[ingest.Outcome]int {
	out := make(map[ingest.Outcome]int)
	for _, d := range said {
		out[d.Outcome]++
	}
	return out
}

// TestDryRunAndRunAgree takes a mailbox through its life: before anything was
// filed, with all that can come of a message, after changes of the rules.
func TestDryRunAndRunAgree(t *testing.T) {
	o := newOffice(t, dovecot.Options{})
	source := `
folders: [Inbox, Inbox/Sub]
connections: 1
after_filing: move
filed_folder: Inbox/Filed
failed_folder: Inbox/Failed
separate_attachments: true
keep_original: true
only: {unread: true, max_size: 3MB, subject: ["*[A-Za-z]*", "Order*", "*"], from: ["*@*"]}
document:
  class: Letter
  title: "{subject}"
  permissions: Accounts only
  properties:
    - {name: Sender, read: from}
    - {name: Number, read: "header:X-Number", required: true}
`
	o.configure(source)
	o.folder("INBOX/Sub")
	mail := mailgen.New(7)
	for i := range 40 {
		raw := mail.Next().Raw
		if i%8 != 0 {
			raw = append(fmt.Appendf(nil, "X-Number: %d\r\n", i), raw...)
		}
		o.deliver([]string{"INBOX", "INBOX/Sub"}[i%2], raw)
	}
	from := func(n int, head, body string) []byte {
		return fmt.Appendf(nil, "X-Number: %d\r\nMessage-ID: <n%d@example.com>\r\nFrom: a@example.com\r\nSubject: Number %d\r\n%s\r\n%s\r\n", n, n, n, head, body)
	}
	// The same in the same folder twice, one with other headers in another, and
	// another with the same Message-ID.
	o.deliver("INBOX", from(1, "", "one"))
	o.deliver("INBOX/Sub", from(1, "", "one"))
	o.deliver("INBOX/Sub", from(2, "", "two"))
	o.deliver("INBOX", from(2, "", "another two"))
	o.deliver("INBOX", from(3, "", strings.Repeat("0123456789\r\n", 300_000)))
	o.deliver("INBOX", []byte("X-Number: 4\r\nSubject: nobody\r\n\r\n"))

	folders := []string{"INBOX", "INBOX/Sub"}
	said, sum, text := o.dry(folders...)
	n := outcomes(said)
	if len(said) != 46 || n[ingest.WouldDuplicate] != 1 || n[ingest.WouldQuarantine] != 5 || n[ingest.IsLeftOut] != 2 || n[ingest.WouldFile] != 38 {
		t.Errorf("%v", n)
	}
	contains(t, text.out, "leave out", "only.max_size", "only.from", "then        move to Inbox/Filed", "then        move to Inbox/Failed",
		"file        message.eml  message, message/rfc822", "original.eml", "property    Sender: ", "possible_duplicate_of", "the same bytes")
	contains(t, text.err, "would be quarantined", `"Number"`)
	for _, name := range []string{"state", "documents"} {
		if _, err := os.Stat(filepath.Join(o.dir, name)); err == nil {
			t.Errorf("%s is there", name)
		}
	}
	o.compare(said, sum)

	// Now with a past: what is filed, in quarantine or left out, and what is new.
	folders = append(folders, "INBOX/Filed", "INBOX/Failed")
	o.deliver("INBOX", from(5, "", "five"))
	o.deliver("INBOX/Sub", from(5, "", "five"))
	o.deliver("INBOX", from(1, "Received: from x by y; Mon, 2 Mar 2026 08:00:00 +0000\r\n", "one"))
	said, sum, _ = o.dry(folders...)
	if n := outcomes(said); n[ingest.WouldFile] != 1 || n[ingest.WouldDuplicate] != 2 || n[ingest.IsLeftOut] != 2 {
		t.Errorf("%v", n)
	}
	o.compare(said, sum)

	// Under other rules, on what has new keys.
	o.configure(strings.NewReplacer("after_filing: move", "after_filing: delete", "filed_folder: Inbox/Filed\n", "", "only: {unread: true, max_size: 3MB, ", "only: {",
		"keep_original: true", "keep_original: false", "folders: [Inbox,", `folders: [Inbox/Filed, Inbox,`).Replace(source))
	o.deliver("INBOX", from(6, "", "six"))
	o.deliver("INBOX/Sub", from(6, "Received: from x by y; Mon, 2 Mar 2026 08:00:00 +0000\r\n", "six"))
	if err := o.server.Renumber("office", "INBOX/Filed"); err != nil {
		t.Fatal(err)
	}
	said, sum, text = o.dry(folders...)
	contains(t, text.out, "then        delete", "then        keep as it is", "recognised by what it holds")
	o.compare(said, sum)

	said, sum, _ = o.dry(folders...)
	for _, d := range said {
		if d.Outcome != ingest.IsFiled && d.Outcome != ingest.IsQuarantined && d.Outcome != ingest.IsLeftOut || d.Outcome == ingest.IsFiled && d.Document == "" {
			t.Errorf("%+v", d)
		}
	}
	o.compare(said, sum)
}

func TestDryRunBesideTheDaemon(t *testing.T) {
	o := newOffice(t, dovecot.Options{})
	o.configure("folders: [Inbox]\npoll_interval: 1h")
	o.deliver("INBOX", note(1))
	stop := o.start()
	o.await(1)
	o.awaitHistory(1)
	o.deliver("INBOX", note(2))
	r := o.run("run", "--once", "--dry-run")
	contains(t, r.out, `file         Inbox`, `"Order 2"`, `filed        Inbox`, `"Order 1"`)
	if r.status != 0 || len(o.filed()) != 1 {
		t.Errorf("status %d, %d documents\n%s", r.status, len(o.filed()), r.err)
	}
	stop()
	if s := o.once(); s.Filed != 1 {
		t.Errorf("%+v", s)
	}
}

func TestDryRunInTrouble(t *testing.T) {
	o := newOffice(t, dovecot.Options{})
	o.configure("folders: [Inbox, Inbox/Sbu]")
	o.deliver("INBOX", note(1))
	said, sum, text := o.dry("INBOX")
	contains(t, text.err, "Sbu", "what to do")
	if len(said) != 1 || said[0].Outcome != ingest.WouldFile || sum.Error == "" || text.status != 1 {
		t.Errorf("%+v %+v", said, sum)
	}
	for _, args := range []string{"run --dry-run", "run --dry-run --json"} {
		if r := o.run(strings.Fields(args)...); r.status != 2 || !strings.Contains(r.err, "--dry-run needs --once") {
			t.Errorf("%s: status %d\n%s", args, r.status, r.err)
		}
	}
	if r := o.run("run", "--once", "--dry-run", "--source", "offce"); r.status != 2 {
		t.Errorf("status %d\n%s", r.status, r.err)
	}
}

// TestDryRunJSON: what is printed bit by bit is one object, also of no source and
// of no message.
func TestDryRunJSON(t *testing.T) {
	for _, messages := range [][]int{{}, {0}, {2, 0, 1}} {
		var out bytes.Buffer
		p := &decisions{out: &out, asJSON: true}
		p.begin()
		for i, n := range messages {
			p.source(&config.Source{Name: fmt.Sprint("source", i)})
			for range n {
				p.message(ingest.Decision{Folder: "In\"box\n", Outcome: ingest.WouldFail, Reason: "<why>"})
			}
			p.summary(ingest.Summary{Name: fmt.Sprint("source", i), Failed: n})
		}
		p.end()
		var got dryReport
		text := out.String()
		if err := json.Unmarshal([]byte(text), &got); err != nil || p.failure != nil || len(got.Sources) != len(messages) || strings.Count(text, `"name"`) != len(messages) {
			t.Fatalf("%v, %v\n%s", err, p.failure, text)
		}
		for i, s := range got.Sources {
			if s.Name != fmt.Sprint("source", i) || s.Failed != messages[i] || len(s.Messages) != messages[i] || s.Messages == nil ||
				len(s.Messages) > 0 && (s.Messages[0].Folder != "In\"box\n" || s.Messages[0].Reason != "<why>") {
				t.Errorf("%+v", s)
			}
		}
	}
}

// TestDryRunAfterCrashes: what was left unfinished is foretold too.
func TestDryRunAfterCrashes(t *testing.T) {
	o := newOffice(t, dovecot.Options{})
	o.configure("folders: [Inbox]\nafter_filing: move\nfiled_folder: Filed\nonly: {subject: [\"Order*\"]}")
	o.folder("Filed")
	program := buildProgram(t)
	o.once() // so that there is a ledger to look into, however early it is killed
	for n := range 3 {
		for i := range 300 {
			o.deliver("INBOX", note(n*300+i))
		}
		o.deliver("INBOX", note(n*300))
		o.killAfter(program, time.Duration(120+60*n)*time.Millisecond)
		said, sum, _ := o.dry("INBOX", "Filed")
		o.compare(said, sum)
	}
}

// TestDryRunUnderANewName: what is known and kept under the former name counts.
func TestDryRunUnderANewName(t *testing.T) {
	o := newOffice(t, dovecot.Options{})
	o.configure(strings.Replace(needsNumber, "NUMBER", `Order (1)$`, 1))
	for i := range 3 {
		o.deliver("INBOX", note(i))
	}
	o.once()
	o.deliver("INBOX", note(3))
	config := strings.Replace(o.file("config.yaml"), "name: office\n    type: imap", "name: archive\n    formerly: [office]\n    type: imap", 1)
	o.replaceConfig(strings.Replace(config, `Order (1)$`, `Order ([12])$`, 1))
	said, sum, _ := o.dry("INBOX", "INBOX/Failed")
	if n := outcomes(said); n[ingest.WouldFile] != 1 || n[ingest.WouldQuarantine] != 2 || n[ingest.IsFiled] != 1 {
		t.Errorf("%v", n)
	}
	o.compare(said, sum)
}

// TestDryRunOfWhatIsNotToBeFiled: forgotten and discarded messages are told of,
// by their old keys and by new ones.
func TestDryRunOfWhatIsNotToBeFiled(t *testing.T) {
	o := newOffice(t, dovecot.Options{})
	o.configure(strings.Replace(needsNumber, "NUMBER", `Order (1)$`, 1))
	for i := range 3 {
		o.deliver("INBOX", note(i))
	}
	o.once()
	for _, l := range o.history() {
		args := []string{"forget", "--yes", l.Document}
		if l.Outcome == "quarantined" {
			args = []string{"quarantine", "discard", (&ledger.Entry{Source: l.Source, Folder: l.Folder, Key: l.ServerID}).QuarantineID()}
		}
		if r := o.run(args...); r.status != 0 {
			t.Fatalf("%+v", r)
		}
	}
	o.deliver("INBOX", note(4))
	o.configure("folders: [Inbox, Inbox/Failed]")
	for i := range 2 {
		said, sum, _ := o.dry("INBOX", "INBOX/Failed")
		if n := outcomes(said); n[ingest.WouldFile] != 1 || n[ingest.IsGivenUp] != 3 || n[ingest.IsFiled] != i || len(said) != 4+i {
			t.Errorf("%v", n)
		}
		o.compare(said, sum)
		o.deliver("INBOX", note(5))
		if err := o.server.Renumber("office", "INBOX/Failed"); err != nil {
			t.Fatal(err)
		}
	}
}
