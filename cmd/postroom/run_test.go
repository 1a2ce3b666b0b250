package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postroom/internal/dovecot"
	"postroom/internal/mailgen"
	"postroom/internal/testcert"
)

func note(n int) []byte {
	return fmt.Appendf(nil, "Message-ID: <%d@example.com>\r\nSubject: Order %d\r\n\r\nText %d\r\n", n, n, n)
}

func TestFilesARealMailbox(t *testing.T) {
	o := newOffice(t, dovecot.Options{})
	o.configure(`
folders: [Inbox, "Inbox/**", "Größe & Maß/*"]
exclude_folders: [Inbox/Private]
document: {class: Order, permissions: Accounts only}
`)
	for _, f := range []string{"INBOX/Sub", "INBOX/Sub/Deep", "INBOX/Private", "INBOX/Private/Below", "Größe & Maß", "Größe & Maß/日本", "Größe & Maß/日本/Deep", "Elsewhere"} {
		o.folder(f)
	}
	mail := mailgen.New(1)
	for i := range 120 {
		raw := mail.Next().Raw
		switch i % 6 {
		case 0:
			o.send("INBOX/Sub", raw)
		case 1:
			o.send("INBOX/Sub/Deep", raw)
		case 2:
			o.send("Größe & Maß/日本", raw)
		default:
			o.send("INBOX", raw)
		}
	}
	o.send("INBOX", []byte("Subject: dots\r\n\r\n.\r\n..\r\n...\r\n"))
	o.send("INBOX", []byte("Subject: long\r\n\r\n"+strings.Repeat("x", 20_000)+"\r\n"))
	o.send("INBOX", []byte("Subject: 8-bit \xff\xfe\r\n\r\n\xff\x80\r\nno end of line"))
	for _, f := range []string{"INBOX/Private", "INBOX/Private/Below", "Größe & Maß", "Größe & Maß/日本/Deep", "Elsewhere"} {
		o.deliver(f, note(1000+len(f)))
	}

	if r := o.run("check"); r.status != 0 {
		t.Errorf("check: status %d\n%s%s", r.status, r.out, r.err)
	}
	if s := o.once(); s.Filed != 123 || s.Duplicates != 0 || s.Name != "office" {
		t.Errorf("first run: %+v", s)
	}
	o.judge()
	for _, d := range o.filed() {
		if d.Class != "Order" || d.Permissions != "Accounts only" || d.Origin.Wire != "original" || d.Origin.Type != "imap" ||
			d.Origin.Mailbox != "office" || !d.Origin.Received.Equal(time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)) {
			t.Fatalf("%+v", d)
		}
	}
	if s := o.once(); s.Filed != 0 || s.Duplicates != 0 {
		t.Errorf("second run: %+v", s)
	}
	for _, f := range []string{"INBOX", "Größe & Maß/日本"} {
		if err := o.server.Renumber("office", f); err != nil {
			t.Fatal(err)
		}
	}
	if s := o.once(); s.Filed != 0 || s.Duplicates != 83 {
		t.Errorf("after a change of UIDVALIDITY: %+v", s)
	}
	o.send("INBOX", note(1))
	if s := o.once(); s.Filed != 1 {
		t.Errorf("after a new message: %+v", s)
	}
	o.judge()
	for _, m := range o.contents("INBOX") {
		if m.Seen {
			t.Error("after_filing: keep has changed a flag")
		}
	}

	r := o.run("history", "--json")
	var h struct{ History []historyLine }
	if err := json.Unmarshal([]byte(r.out), &h); err != nil || r.status != 0 {
		t.Fatalf("history: status %d, %v", r.status, err)
	}
	outcomes := map[string]int{}
	for _, l := range h.History {
		outcomes[l.Outcome]++
		if _, err := os.Stat(filepath.Join(o.dir, "documents", filepath.FromSlash(l.Location), "document.json")); err != nil {
			t.Error(err)
		}
	}
	if outcomes["filed"] != 124 || outcomes["duplicate"] != 83 {
		t.Errorf("history: %v", outcomes)
	}
	r = o.run("folders", "--source", "office", "--json")
	contains(t, r.out, `"Inbox/Sub/Deep"`, `"Größe & Maß/日本"`)
	if r := o.run("history", "--since", "1h"); strings.Count(r.out, "\n") != 1+124+83 || r.status != 0 {
		t.Errorf("history --since 1h: status %d, %d lines", r.status, strings.Count(r.out, "\n"))
	}
	if r := o.run("history", "--since", "yesterday"); r.status != 2 {
		t.Errorf("history --since yesterday: status %d", r.status)
	}
}

func TestDispositionsOnARealServer(t *testing.T) {
	for _, tt := range []struct {
		source             string
		left, unseen, move int
	}{
		{"after_filing: keep", 6, 6, 0},
		{"after_filing: mark_read", 6, 1, 0},
		{"after_filing: move\nfiled_folder: Inbox/Filed/Größe", 1, 1, 5},
		{"after_filing: delete", 1, 1, 0},
	} {
		t.Run(strings.Fields(tt.source)[1], func(t *testing.T) {
			o := newOffice(t, dovecot.Options{})
			o.configure(tt.source + `
folders: [Inbox]`)
			for i := range 5 {
				o.send("INBOX", note(i))
			}
			if s := o.once(); s.Filed != 5 {
				t.Errorf("%+v", s)
			}
			// One that somebody else has marked as deleted, and that nobody files:
			// it arrives between two runs of another mailbox.
			o.deliver("INBOX", note(99))
			deleted := o.contents("INBOX")
			if err := o.server.MarkDeleted("office", "INBOX", uint32(len(deleted))); err != nil {
				t.Fatal(err)
			}
			left := o.contents("INBOX")
			unseen := 0
			for _, m := range left {
				if !m.Seen {
					unseen++
				}
			}
			if len(left) != tt.left || unseen != tt.unseen {
				t.Errorf("%d left, %d unseen, want %d and %d", len(left), unseen, tt.left, tt.unseen)
			}
			if tt.move > 0 {
				if n := len(o.contents("INBOX/Filed/Größe")); n != tt.move {
					t.Errorf("%d in the filed folder, want %d", n, tt.move)
				}
			}
			if s := o.run("run", "--once"); s.status != 0 {
				t.Errorf("second run: %+v", s)
			}
		})
	}
}

// TestClearErrors goes through what administrators get wrong.
func TestClearErrors(t *testing.T) {
	o := newOffice(t, dovecot.Options{})
	old := oldServer(t)
	for _, tt := range []struct {
		name, source string
		command      string
		status       int
		want         []string
	}{
		{"unknown folder", `folders: [Inbox, Inbox/Sbu]`, "run --once", 1, []string{"Sbu", "Inbox"}},
		{"unknown folder, checked", `folders: [Inbox/Sbu]`, "check", 1, []string{"FAILED", "folder", "Sbu", "what to do"}},
		{"wrong CA", "server: " + o.server.IMAPS(), "check", 1, []string{"FAILED", "tls", "ca_file"}},
		{"wrong CA, run", "server: " + o.server.IMAPS(), "run --once", 1, []string{"ca_file"}},
		{"TLS 1.1", "server: " + old + "\nca_file: " + o.server.CAFile(), "check", 1, []string{"FAILED", "tls", "1.2"}},
		{"plaintext without leave", "server: " + o.server.IMAP() + "\ntls: none", "check", 2, []string{"config.yaml:", "tls", "allow_plaintext"}},
		{"TLS on a plaintext port", "server: " + o.server.IMAP(), "check", 1, []string{"FAILED", "tls", "starttls"}},
		{"STARTTLS on a TLS port", "server: " + o.server.IMAPS() + "\ntls: starttls\nca_file: " + o.server.CAFile(), "check", 1, []string{"FAILED", "tls", "use tls: implicit"}},
		{"no CA file", "server: " + o.server.IMAPS() + "\nca_file: ./missing.pem", "check", 2, []string{"config.yaml:13:14: ca_file: ", "does not exist"}},
		{"no CA file, run", "server: " + o.server.IMAPS() + "\nca_file: ./missing.pem", "run --once", 2, []string{"config.yaml:13:14: ca_file: ", "does not exist"}},
		{"no CA file, offline", "server: " + o.server.IMAPS() + "\nca_file: ./missing.pem", "check --offline", 2, []string{"config.yaml:13:14: ca_file: ", "does not exist"}},
		{"bad CA file", "server: " + o.server.IMAPS() + "\nca_file: ./config.yaml", "check", 2, []string{"config.yaml:13:14: ca_file: ", "PEM"}},
		{"impossible filed folder", "after_filing: move\nfiled_folder: Filed%2F2026", "check", 1, []string{"FAILED", "disposition", "filed_folder", "Filed%2F2026", "what to do"}},
		{"impossible failed folder", "failed_folder: Inbox/a%2Fb", "check", 1, []string{"FAILED", "disposition", "failed_folder", "Inbox/a%2Fb", "what to do"}},
		{"nobody there", "server: 127.0.0.1:1", "check", 1, []string{"FAILED", "tcp", "what to do"}},
		{"no such host", "server: mail.invalid", "check", 1, []string{"FAILED", "name", "mail.invalid"}},
		{"misspelt key", "folderz: [Inbox]", "run --once", 2, []string{"config.yaml:12:5:", "folderz", `"folders"`}},
		{"key of another type", "mailbox: a@example.com\nrequire: 1", "check", 2, []string{"config.yaml:13:5", "require"}},
		{"YAML", "folders: [Inbox", "check", 2, []string{"config.yaml:"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o.configure(tt.source)
			r := o.run(strings.Fields(tt.command)...)
			if r.status != tt.status {
				t.Errorf("status %d, want %d", r.status, tt.status)
			}
			contains(t, r.out+r.err, tt.want...)
		})
	}
	t.Run("wrong password", func(t *testing.T) {
		t.Setenv("POSTROOM_TEST_PASSWORD", "MARKER-wr0ng")
		o.configure("")
		for _, command := range []string{"check", "run --once", "folders --source office"} {
			r := o.run(strings.Fields(command)...)
			if r.status != 1 {
				t.Errorf("%s: status %d", command, r.status)
			}
			contains(t, strings.ToLower(r.out+r.err), "password", strings.Split(o.server.IMAPS(), ":")[1])
			if strings.Contains(r.out+r.err, "wr0ng") {
				t.Errorf("%s prints the password", command)
			}
		}
	})
	t.Run("no such source", func(t *testing.T) {
		o.configure("")
		if r := o.run("run", "--once", "--source", "nobody"); r.status != 2 {
			t.Errorf("%+v", r)
		}
	})
	t.Run("no such command", func(t *testing.T) {
		for _, args := range [][]string{{"fly"}, {"run", "--fast"}, {"folders"}, {"quarantine", "show"}, {"run", "--json"}} {
			if r := o.run(args...); r.status != 2 || r.err == "" {
				t.Errorf("%q: %+v", args, r)
			}
		}
	})
	t.Run("no such configuration", func(t *testing.T) {
		os.Remove(filepath.Join(o.dir, "config.yaml"))
		if r := o.run("check"); r.status != 2 {
			t.Errorf("%+v", r)
		}
	})
}

// oldServer is a server that knows no TLS newer than 1.1.
func oldServer(t *testing.T) string {
	t.Helper()
	cert, err := testcert.New(testcert.Template{})
	if err != nil {
		t.Fatal(err)
	}
	config, err := cert.Server()
	if err != nil {
		t.Fatal(err)
	}
	config.MinVersion, config.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	l, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.(*tls.Conn).Handshake()
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return l.Addr().String()
}

func TestDaemon(t *testing.T) {
	o := newOffice(t, dovecot.Options{})
	o.folder("INBOX/Sub")
	o.configure("folders: [Inbox, Inbox/Sub]\nwatch: true\npoll_interval: 1h")
	o.send("INBOX", note(1))
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	done := make(chan result)
	go func() { done <- o.runUntil(ctx, "run") }()
	o.await(1)

	// A second process keeps away, and a command beside the daemon works.
	if r := o.run("run", "--once"); r.status != 1 {
		t.Errorf("a second process: %+v", r)
	} else {
		contains(t, r.err, "another postroom")
	}
	o.awaitHistory(1)
	if r := o.run("check"); r.status != 0 {
		t.Errorf("check beside the daemon: %+v", r)
	}
	if r := o.run("quarantine", "retry", "0123456789ab"); r.status != 1 || !strings.Contains(r.err, "0123456789ab") {
		t.Errorf("retry beside the daemon: %+v", r)
	}

	// Watched, and polled.
	for i := range 5 {
		o.send("INBOX", note(10+i))
		o.await(2 + i)
	}
	o.configure("folders: [Inbox, Inbox/Sub]\nwatch: true\npoll_interval: 1s")
	if r := o.run("service", "reload"); r.status != 0 {
		t.Errorf("reload: %+v", r)
	}
	o.send("INBOX/Sub", note(30))
	o.await(7)

	// A configuration with an error changes nothing; a good one is taken up.
	o.configure("folders: [Inbox")
	if r := o.run("service", "reload"); r.status != 2 {
		t.Errorf("reload of a broken file: %+v", r)
	}
	o.folder("Later")
	o.send("Later", note(40))
	o.configure("folders: [Inbox, Later]\npoll_interval: 1s")
	if r := o.run("service", "reload"); r.status != 0 {
		t.Errorf("reload: %+v", r)
	}
	o.await(8)

	// One that is good but cannot be opened is not taken up either.
	good, err := os.ReadFile(filepath.Join(o.dir, "config.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	bad := bytes.Replace(good, []byte("./documents"), []byte("./config.yaml/documents"), 1)
	if err := os.WriteFile(filepath.Join(o.dir, "config.yaml"), bad, 0o600); err != nil {
		t.Fatal(err)
	}
	if r := o.run("service", "reload"); r.status != 1 || !strings.Contains(r.err, "repository.path") || !strings.Contains(r.err, "stays in force") {
		t.Errorf("reload of what cannot be opened: %+v", r)
	}
	if err := os.WriteFile(filepath.Join(o.dir, "config.yaml"), good, 0o600); err != nil {
		t.Fatal(err)
	}
	o.send("Later", note(41))
	o.await(9)

	stop()
	if r := <-done; r.status != 0 {
		t.Errorf("stopped: %+v", r)
	}
	o.judge()
	if r := o.run("service", "reload"); r.status != 1 {
		t.Errorf("reload without a daemon: %+v", r)
	}
}

// await waits until n documents are filed.
func (o *office) await(n int) {
	o.t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		found, err := filepath.Glob(filepath.Join(o.dir, "documents", "office", "*", "*", "*", "*", "document.json"))
		if err != nil {
			o.t.Fatal(err)
		}
		if len(found) >= n {
			return
		}
		if time.Now().After(deadline) {
			o.t.Fatalf("%d documents after %v, want %d", len(found), patience, n)
		}
		<-tick.C
	}
}

// awaitHistory waits until the history beside a daemon has n lines: a document
// is in the repository a moment before the ledger says so.
func (o *office) awaitHistory(n int) {
	o.t.Helper()
	for deadline := time.Now().Add(patience); ; {
		r := o.run("history")
		if r.status == 0 && strings.Count(r.out, "\n") == 1+n {
			return
		}
		if time.Now().After(deadline) {
			o.t.Fatalf("history: %+v", r)
		}
	}
}

func TestQuarantine(t *testing.T) {
	o := newOffice(t, dovecot.Options{})
	o.configure("after_filing: delete\nfailed_folder: Inbox/Failed")
	for i := range 3 {
		o.send("INBOX", note(i))
	}
	if s := o.once(); s.Filed != 3 {
		t.Fatalf("%+v", s)
	}
	// The place of the next document is taken by something that is none.
	bad := note(7)
	id := documentID(t, o, bad)
	place := filepath.Join(o.dir, "documents", "office", "2026", "03", "04", "Order 7~"+id[:12])
	if err := os.MkdirAll(place, 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(place, "document.json"), []byte(`{"id":"`+strings.Repeat("0", 64)+`"}`), 0o640); err != nil {
		t.Fatal(err)
	}
	o.deliver("INBOX", bad)
	o.deliver("INBOX", note(8))
	o.sent[sum(note(8))]++
	r := o.run("run", "--once")
	if r.status != 1 {
		t.Errorf("%+v", r)
	}
	contains(t, r.err, "quarantined as")
	if n := len(o.contents("INBOX/Failed")); n != 1 {
		t.Errorf("%d messages in the failed folder", n)
	}
	r = o.run("quarantine", "list", "--json")
	var list struct {
		Quarantine []struct{ ID, Reason, Subject string }
	}
	if err := json.Unmarshal([]byte(r.out), &list); err != nil || len(list.Quarantine) != 1 {
		t.Fatalf("%v: %+v", err, r)
	}
	q := list.Quarantine[0]
	if q.Subject != "Order 7" || q.Reason == "" {
		t.Errorf("%+v", q)
	}
	contains(t, o.run("quarantine", "list").out, q.ID, "Order 7")
	history := strings.Split(o.run("history").out, "\n")
	document, reason := strings.Index(history[0], "DOCUMENT"), strings.Index(history[0], "REASON")
	for _, line := range history[1:] {
		if !strings.Contains(line, "quarantined") {
			continue
		}
		if why := strings.Fields(q.Reason)[0]; strings.TrimSpace(line[document:reason]) != "" || !strings.HasPrefix(line[reason:], why) {
			t.Errorf("the reason is not in its column:\n%s", strings.Join(history, "\n"))
		}
	}
	contains(t, o.run("quarantine", "show", q.ID).out, q.ID, "Order 7", "2026-03-04T05:06:07Z")
	file := filepath.Join(o.dir, "exported.eml")
	if r := o.run("quarantine", "export", q.ID, file); r.status != 0 {
		t.Errorf("%+v", r)
	}
	if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, bad) {
		t.Errorf("exported %q, %v", got, err)
	}
	if r := o.run("quarantine", "retry"); r.status != 1 {
		t.Errorf("retry with the place still taken: %+v", r)
	}
	if err := os.RemoveAll(place); err != nil {
		t.Fatal(err)
	}
	if r := o.run("quarantine", "retry", q.ID); r.status != 0 || !strings.Contains(r.out, "filed") {
		t.Errorf("retry: %+v", r)
	}
	o.sent[sum(bad)]++
	o.judge()
	if r := o.run("quarantine", "retry"); r.status != 0 || r.out != "nothing is in quarantine\n" {
		t.Errorf("nothing to retry: %+v", r)
	}
	if r := o.run("quarantine", "list", "--json"); strings.Contains(r.out, q.ID) || r.status != 0 {
		t.Errorf("%+v", r)
	}
	if r := o.run("quarantine", "show", q.ID); r.status != 1 {
		t.Errorf("%+v", r)
	}
}

func documentID(t *testing.T, o *office, raw []byte) string {
	t.Helper()
	other := newOffice(t, dovecot.Options{})
	other.configure("")
	other.deliver("INBOX", raw)
	if s := other.once(); s.Filed != 1 {
		t.Fatalf("%+v", s)
	}
	return other.filed()[0].ID
}

func TestDemo(t *testing.T) {
	dir := t.TempDir()
	var out, errs bytes.Buffer
	if status := run(t.Context(), []string{"demo", "--once", "--dir", dir, "--messages", "25"}, nil, &out, &errs); status != 0 {
		t.Fatalf("status %d\n%s%s", status, out.String(), errs.String())
	}
	o := &office{t: t, dir: dir}
	docs := o.filed()
	if len(docs) != 25 {
		t.Errorf("%d documents: %q", len(docs), titles(docs))
	}
	contains(t, out.String(), "25 messages", docs[0].ID[:12])

	// Without --once it goes on with what arrives, until it is stopped.
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	done := make(chan int)
	again := t.TempDir()
	go func() {
		done <- run(ctx, []string{"demo", "--dir", again, "--messages", "1"}, nil, &bytes.Buffer{}, &bytes.Buffer{})
	}()
	deadline := time.After(patience)
	for {
		found, err := filepath.Glob(filepath.Join(again, "documents", "*", "*", "*", "*", "*", "document.json"))
		if err != nil {
			t.Fatal(err)
		}
		if len(found) >= 3 {
			break
		}
		select {
		case <-deadline:
			t.Fatalf("%d documents", len(found))
		case <-time.After(50 * time.Millisecond):
		}
	}
	stop()
	if status := <-done; status != 0 {
		t.Errorf("status %d", status)
	}
}

func TestOfflineCommands(t *testing.T) {
	o := &office{t: t, dir: t.TempDir()}
	for _, args := range [][]string{{"version"}, {"schema"}, {"--help"}, {"help", "run"}} {
		var out, errs bytes.Buffer
		if status := run(t.Context(), args, nil, &out, &errs); status != 0 || out.Len() == 0 {
			t.Errorf("%q: status %d, %q", args, status, errs.String())
		}
	}
	var out bytes.Buffer
	run(t.Context(), []string{"schema"}, nil, &out, &out)
	want, err := os.ReadFile("../../config.schema.json")
	if err != nil || !bytes.Equal(out.Bytes(), want) {
		t.Errorf("config.schema.json is not what postroom schema prints: %v", err)
	}
	t.Setenv("POSTROOM_TEST_PASSWORD", "x")
	o.configure("server: imap.example.com")
	for _, args := range [][]string{{"check", "--offline"}, {"service", "unit", "--user", "nobody"}} {
		if r := o.run(args...); r.status != 0 {
			t.Errorf("%q: %+v", args, r)
		}
	}
	// What signs in nowhere needs no password.
	if err := os.Unsetenv("POSTROOM_TEST_PASSWORD"); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"history"}, {"quarantine", "list"}} {
		if r := o.run(args...); r.status != 0 || !strings.Contains(r.err, "nothing has been filed") {
			t.Errorf("%q before anything was filed: %+v", args, r)
		}
		r := o.run(append(args, "--json")...)
		var empty map[string][]any
		if err := json.Unmarshal([]byte(r.out), &empty); err != nil || r.status != 0 || len(empty) != 1 || len(empty[args[0]]) != 0 || empty[args[0]] == nil {
			t.Errorf("%q --json before anything was filed: %v, %+v", args, err, r)
		}
	}
	for _, args := range [][]string{{"service", "unit", "--user", "nobody"}} {
		if r := o.run(args...); r.status != 0 {
			t.Errorf("%q: %+v", args, r)
		}
	}
	if r := o.run("service", "unit", "--user", "root;x"); r.status != 2 || r.out != "" || !strings.Contains(r.err, "root;x") {
		t.Errorf("a user that is none: %+v", r)
	}
	for _, args := range [][]string{{"run", "--once"}, {"check", "--offline"}, {"folders", "--source", "office"}, {"quarantine", "retry"}} {
		if r := o.run(args...); r.status != 2 || !strings.Contains(r.err, "POSTROOM_TEST_PASSWORD") {
			t.Errorf("%q without the password: %+v", args, r)
		}
	}
	if err := os.Setenv("POSTROOM_TEST_PASSWORD", "x"); err != nil {
		t.Fatal(err)
	}
	if r := o.run("quarantine", "retry"); r.status != 0 {
		t.Errorf("retry before anything was filed: %+v", r)
	}
	if r := o.run("quarantine", "retry", "0123456789ab"); r.status != 1 || !strings.Contains(r.err, "nothing has been filed") {
		t.Errorf("retry before anything was filed: %+v", r)
	}
	if _, err := os.Stat(filepath.Join(o.dir, "state")); err == nil {
		t.Error("commands that only read have made a state directory")
	}
}
