package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"postroom/internal/dovecot"
	"postroom/internal/faultnet"
	"postroom/internal/mailgen"
)

// TestPOP3 takes a maildrop through the commands.
func TestPOP3(t *testing.T) {
	o := newOffice(t, dovecot.Options{})
	o.configure("type: pop3\nafter_filing: delete")
	for i := range 5 {
		o.send("INBOX", fmt.Appendf(nil, "Received: by mx.example.com; Fri, %d Jan 2026 03:04:05 +0000\r\nSubject: letter %d\r\n"+
			"From: a@example.com\r\nMessage-ID: <%d@example.com>\r\nDate: Mon, 3 Jan 2000 04:05:06 +0000\r\n\r\n.\r\n..x\r\n", i+2, i, i))
	}

	r := o.run("check")
	contains(t, r.out, "source office (pop3)", "tcp", "TLS 1.3", "signed in as office", "Inbox, 5 messages", "messages are deleted", "all well")
	if r.status != 0 {
		t.Errorf("check: %+v", r)
	}

	r = o.run("folders", "--source", "office", "--json")
	var tree struct{ Folders []folderLine }
	if err := json.Unmarshal([]byte(r.out), &tree); err != nil || len(tree.Folders) != 1 || tree.Folders[0].Path != "Inbox" ||
		*tree.Folders[0].Messages != 5 || !tree.Folders[0].Read {
		t.Errorf("folders: %v %+v", err, r)
	}

	r = o.run("run", "--once", "--dry-run")
	if n := len(o.contents("INBOX")); n != 5 || r.status != 0 {
		t.Errorf("dry run: %d left, %+v", n, r)
	}

	if s := o.once(); s.Filed != 5 || s.Failed != 0 || s.Quarantined != 0 {
		t.Errorf("%+v", s)
	}
	o.judge()
	if n := len(o.contents("INBOX")); n != 0 {
		t.Errorf("%d messages were not deleted", n)
	}
	for _, d := range o.filed() {
		if d.Origin.Type != "pop3" || d.Origin.Folder != "Inbox" || d.Origin.Wire != "original" || !strings.HasPrefix(d.Origin.Received.Format("2006-01-02 15:04:05"), "2026-01-0") {
			t.Errorf("%+v", d.Origin)
		}
	}

	// Mail that stays is filed once, and what is new is found among it.
	o.configure("type: pop3")
	for i := range 3 {
		o.send("INBOX", fmt.Appendf(nil, "Subject: stays %d\r\nMessage-ID: <s%d@example.com>\r\n\r\nx\r\n", i, i))
		if s := o.once(); s.Filed != 1 || s.Duplicates != 0 {
			t.Errorf("message %d that stays: %+v", i, s)
		}
	}
	o.judge()
	if s := o.once(); s.Filed != 0 || s.Duplicates != 0 || len(o.contents("INBOX")) != 3 {
		t.Errorf("with nothing new: %+v", s)
	}

	o.configure("type: pop3\nafter_filing: move")
	if r := o.run("check", "--offline"); r.status != exitUsage || !strings.Contains(r.err, "move cannot be done on pop3; allowed: keep, delete") {
		t.Errorf("%+v", r)
	}
}

// A maildrop is emptied in few sessions: each one begins with a listing of all that is
// left.
func TestPOP3DeletesTogether(t *testing.T) {
	o := newOffice(t, dovecot.Options{})
	proxy, err := faultnet.Start(o.server.POP3())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := proxy.Close(); err != nil {
			t.Error(err)
		}
	})
	o.configure("type: pop3\nserver: " + proxy.Addr() + "\ntls: none\nallow_plaintext: true\nafter_filing: delete")
	for i := range 1000 {
		o.send("INBOX", fmt.Appendf(nil, "Subject: %d\r\nMessage-ID: <%d@example.com>\r\n\r\nx\r\n", i, i))
	}
	if s := o.once(); s.Filed != 1000 {
		t.Errorf("%+v", s)
	}
	o.judge()
	if n := len(o.contents("INBOX")); n != 0 {
		t.Errorf("%d messages were not deleted", n)
	}
	// One to sign in for the first time, one to list, fetch and delete.
	if n := proxy.Stats().Connections; n > 2 {
		t.Errorf("%d sessions", n)
	}
}

// Whatever happens to the connection, every message of a maildrop is filed once,
// octet for octet, and none is deleted before.
func TestPOP3FaultsOfTheWire(t *testing.T) {
	o := newOffice(t, dovecot.Options{})
	proxy, err := faultnet.Start(o.server.POP3())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := proxy.Close(); err != nil {
			t.Error(err)
		}
	})
	o.configure("type: pop3\nserver: " + proxy.Addr() + "\ntls: none\nallow_plaintext: true\nafter_filing: delete")
	mail := mailgen.New(21, mailgen.Small())
	try := func(t *testing.T, plan faultnet.Plan) {
		defer func(parent *testing.T) { o.t = parent }(o.t)
		o.t = t
		for range 30 {
			o.send("INBOX", mail.Next().Raw)
		}
		proxy.Use(plan)
		for runs := 1; len(o.contents("INBOX")) > 0; runs++ {
			if runs > maxRuns {
				t.Fatalf("after %d runs %d messages are left", maxRuns, len(o.contents("INBOX")))
			}
			o.run("run", "--once")
			o.accountForAll()
		}
		o.judge()
	}
	try(t, nil)
	sound := proxy.Stats()
	for _, fault := range []struct {
		name  string
		fault faultnet.Fault
	}{{"FIN", faultnet.FIN}, {"RST", faultnet.RST}} {
		for _, after := range []int64{10, 300, 3_000, 30_000} {
			t.Run(fmt.Sprintf("%s after %d bytes", fault.name, after), func(t *testing.T) {
				try(t, often(down(faultnet.Line{Fault: fault.fault, After: after})))
			})
		}
		// A session ends with QUIT, and the answer to it.
		for _, before := range []int64{2, 20, 200} {
			t.Run(fmt.Sprintf("%s %d bytes before the end of the commands", fault.name, before), func(t *testing.T) {
				try(t, often(up(faultnet.Line{Fault: fault.fault, After: sound.Up - before})))
			})
			t.Run(fmt.Sprintf("%s %d bytes before the end of the answers", fault.name, before), func(t *testing.T) {
				try(t, often(down(faultnet.Line{Fault: fault.fault, After: sound.Down - before})))
			})
		}
	}
}
