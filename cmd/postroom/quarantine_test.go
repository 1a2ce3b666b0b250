package main

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"postroom/ingest"
	"postroom/internal/dovecot"
)

const needsNumber = `
folders: [Inbox]
poll_interval: 1h
failed_folder: Inbox/Failed
document: {properties: [{name: Number, read: subject, match: 'NUMBER', required: true}]}
`

// TestQuarantineAfterAChangeOfTheRules: what waits is said everywhere, and is
// filed by itself once the rule that refused it has changed.
func TestQuarantineAfterAChangeOfTheRules(t *testing.T) {
	o := newOffice(t, dovecot.Options{})
	o.configure(strings.Replace(needsNumber, "NUMBER", `Order (1)$`, 1))
	o.send("INBOX", note(1))
	o.send("INBOX", note(2))
	o.send("INBOX", note(3))
	if s := o.once(); s.Filed != 1 || s.Quarantined != 2 {
		t.Errorf("%+v", s)
	}
	r := o.run("run", "--once", "--json")
	contains(t, r.out, `"in_quarantine": 2`)
	contains(t, r.err, "source office: 2 messages wait in quarantine for a person: postroom quarantine list")
	if r.status != 0 {
		t.Errorf("status %d", r.status)
	}
	contains(t, o.run("quarantine", "list").out, "ATTEMPTS", `"Number"`)
	r = o.run("check")
	contains(t, r.out, "quarantine", "2 messages wait for a person", "the oldest since 20")
	if r.status != 0 {
		t.Errorf("check: %+v", r)
	}
	attempts := func() (out []int) {
		var list struct{ Quarantine []struct{ Attempts int } }
		if err := json.Unmarshal([]byte(o.run("quarantine", "list", "--json").out), &list); err != nil {
			t.Error(err)
		}
		for _, q := range list.Quarantine {
			out = append(out, q.Attempts)
		}
		return out
	}
	if got := attempts(); !slices.Equal(got, []int{1, 1}) {
		t.Errorf("attempts: %v", got)
	}

	o.configure(strings.Replace(needsNumber, "NUMBER", `Order ([12])$`, 1))
	said, sum, text := o.dry("INBOX")
	contains(t, text.out, "file         Inbox", `"Order 2"`, "quarantine   Inbox", `"Order 3"`)
	if sum.Filed != 1 || sum.Quarantined != 1 {
		t.Errorf("%+v", sum)
	}
	o.compare(said, sum)
	if got := attempts(); !slices.Equal(got, []int{2}) {
		t.Errorf("attempts: %v", got)
	}
	if s := o.once(); s.Filed+s.Quarantined != 0 {
		t.Errorf("%+v", s)
	}

	// The daemon takes the change up, and the message.
	stop := o.start()
	o.replaceConfig(strings.Replace(o.file("config.yaml"), "Order ([12])$", `Order (\d)$`, 1))
	o.await(3)
	stop()
	o.judge()
	contains(t, o.run("quarantine", "list", "--json").out, `"quarantine": []`)
	contains(t, o.run("check").out, "quarantine   empty")
}

// TestRetryTakesUpTheRulesFirst: what the file says is what a message is tried
// under, also in the moment before a daemon has noticed.
func TestRetryTakesUpTheRulesFirst(t *testing.T) {
	o := newOffice(t, dovecot.Options{})
	o.configure(strings.Replace(needsNumber, "NUMBER", `Order (1)$`, 1))
	o.send("INBOX", note(2))
	o.once()
	var list struct{ Quarantine []struct{ ID string } }
	if err := json.Unmarshal([]byte(o.run("quarantine", "list", "--json").out), &list); err != nil || len(list.Quarantine) != 1 {
		t.Fatalf("%+v, %v", list, err)
	}
	id := list.Quarantine[0].ID
	// What cannot be an id is wrong usage; what is none has failed.
	for _, verb := range []string{"show", "retry", "discard"} {
		for wrong, want := range map[string]string{"zz": "12 digits", id + "0": "12 digits", "0123456789ab": "postroom quarantine list"} {
			r := o.run("quarantine", verb, wrong)
			if status := map[bool]int{true: exitFailed, false: exitUsage}[len(wrong) == 12]; r.status != status || !strings.Contains(r.err, want) {
				t.Errorf("%s %s: %+v", verb, wrong, r)
			}
		}
	}
	stop := o.start()
	deadline := time.Now().Add(patience)
	for !o.daemonAnswers() {
		if time.Now().After(deadline) {
			t.Fatal("the daemon does not answer")
		}
	}
	o.replaceConfig(strings.Replace(o.file("config.yaml"), "Order (1)$", `Order (\d)$`, 1))
	for range 2 { // filed, and filed already
		if r := o.run("quarantine", "retry", id); r.status != 0 || !strings.Contains(r.out, id+"  filed  office/") {
			t.Errorf("%+v", r)
		}
	}
	stop()
	o.judge()
}

func TestTooManyInQuarantine(t *testing.T) {
	for _, w := range []ingest.Waiting{{Messages: ingest.QuarantineMessages + 1}, {Messages: 1, Bytes: ingest.QuarantineBytes + 1}} {
		if f := quarantineFinding(w, nil); f.OK || f.Error == "" || f.Remedy == "" {
			t.Errorf("%+v", f)
		}
	}
	for _, w := range []ingest.Waiting{{}, {Messages: ingest.QuarantineMessages, Bytes: ingest.QuarantineBytes}} {
		if f := quarantineFinding(w, nil); !f.OK {
			t.Errorf("%+v", f)
		}
	}
}

// TestHistoryNamesWhatADuplicateDuplicates, for people and for programs.
func TestHistoryNamesWhatADuplicateDuplicates(t *testing.T) {
	o := newSmallOffice(t, 0)
	o.send("INBOX", note(1))
	o.once()
	o.deliver("INBOX/Sub", note(1))
	if s := o.once(); s.Duplicates != 1 {
		t.Fatalf("%+v", s)
	}
	h := o.history()
	i := slices.IndexFunc(h, func(l historyLine) bool { return l.Outcome == "duplicate" })
	if len(h) != 2 || i < 0 || h[i].DuplicateOf == "" || h[i].DuplicateOf != h[1-i].Document || h[i].Location != h[1-i].Location {
		t.Fatalf("%+v", h)
	}
	for line := range strings.Lines(o.run("history").out) {
		if strings.Contains(line, "duplicate") && !strings.Contains(line, filepath.ToSlash(h[i].Location)) {
			t.Errorf("%q does not name the document", line)
		}
	}
}
