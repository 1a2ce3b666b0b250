package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postroom/cmd/postroom/config"
	"postroom/internal/dovecot"
	"postroom/internal/graphtest"
	"postroom/internal/mailgen"
)

// move is an office whose mailbox moves from Dovecot to Exchange Online.
type move struct {
	*office
	cloud *graphtest.Server
	box   *graphtest.Mailbox
	text  string // of the configuration
}

// newMove configures the source of the lines, of type imap unless they say another.
func newMove(t *testing.T, options graphtest.Options, source string) *move {
	t.Helper()
	m := &move{office: newOffice(t, dovecot.Options{})}
	options.Limits.Grace = time.Minute
	m.cloud = graphtest.Start(t, options)
	m.box = m.cloud.AddMailbox("office@contoso.example", graphtest.MailboxOptions{Language: "fi"})
	m.cloud.ChangeApp(func(a *graphtest.App) { a.Secrets = []graphtest.Secret{{Value: marker}} })
	typ, server := "imap", m.server.IMAPS()
	if rest, ok := strings.CutPrefix(source, "type: pop3\n"); ok {
		typ, server, source = "pop3", m.server.POP3S(), rest
	}
	m.text = fmt.Sprintf(`# What the office files.
version: 1
repository: {type: filesystem, path: ./documents}
credentials:
  - {name: office, type: password, username: office, password: "${env:POSTROOM_TEST_PASSWORD}"}
  - name: contoso   # the tenant
    type: entra
    tenant_id: %s
    client_id: %s
    client_secret: ${env:POSTROOM_TEST_PASSWORD}
    cloud: custom
    authority_host: %s
    graph_endpoint: %s
    ca_file: ca.pem

sources:
  # The office, since 2019.
  - name: office      # do not rename
    type: %s
    credentials: office

    # the old server
    server: %s
    ca_file: %s
    %s
    # Accounting relies on that.
    document:
      properties: [{name: Sender, read: from}]
`, m.cloud.Tenant(), m.cloud.ClientID(), m.cloud.AuthorityURL(), m.cloud.GraphURL(), typ, server, m.server.CAFile(),
		strings.ReplaceAll(strings.TrimSpace(source), "\n", "\n    "))
	for name, text := range map[string]string{"config.yaml": m.text, "ca.pem": string(m.cloud.CAPEM())} {
		if err := os.WriteFile(filepath.Join(m.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

// plan is that of the one source.
func (m *move) plan(args ...string) (migratePlan, result) {
	m.t.Helper()
	r := m.run(append([]string{"migrate", "--source", "office", "--mailbox", "office@contoso.example", "--credentials", "contoso", "--json"}, args...)...)
	var report struct{ Sources []migratePlan }
	if err := json.Unmarshal([]byte(r.out), &report); err != nil || len(report.Sources) != 1 {
		m.t.Fatalf("status %d, %v:\n%s\n%s", r.status, err, r.out, r.err)
	}
	return report.Sources[0], r
}

// state is every file of the office, with its time.
func (m *move) state() map[string]string {
	m.t.Helper()
	files := make(map[string]string)
	err := filepath.WalkDir(m.dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		info, infoErr := e.Info()
		files[path] = fmt.Sprintf("%x", b)
		if infoErr == nil {
			files[path] += info.ModTime().String()
		}
		return errors.Join(err, infoErr)
	})
	if err != nil {
		m.t.Fatal(err)
	}
	return files
}

// TestMigratePlan: the plan tells what is what by headers, and changes nothing
// anywhere.
func TestMigratePlan(t *testing.T) {
	m := newMove(t, graphtest.Options{Seed: 31}, "folders: [Inbox, Sent, Projects/**]\nafter_filing: move\nfiled_folder: Filed")
	m.folder("Sent")
	m.folder("Projects")
	m.folder("Projects/A")
	m.folder("Filed")
	m.box.CreateFolder("inbox/Projects/A")
	mail := mailgen.New(31, mailgen.Small())
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	raw := func(id, subject, text string) []byte {
		if id != "" {
			id = "Message-ID: <" + id + ">\r\n"
		}
		return []byte("From: a@b.example\r\nTo: office@contoso.example\r\nDate: Wed, 4 Mar 2026 05:06:07 +0000\r\n" + id + "Subject: " + subject + "\r\n\r\n" + text + "\r\n")
	}
	for i := range 12 {
		message := mail.Next().Raw
		if i < 8 {
			m.deliver("INBOX", message)
		}
		m.box.Deliver("inbox", graphtest.Mail{Raw: message, Received: at})
	}
	m.deliver("Projects/A", raw("same@x", "a", "one"))
	m.deliver("INBOX", raw("", "without", "one"))
	if s := m.once(); s.Filed != 10 || s.Error != "" {
		t.Fatalf("%+v", s)
	}
	m.box.Deliver("inbox/Projects/A", graphtest.Mail{Raw: raw("same@x", "a", "one"), Received: at})
	m.box.Deliver("inbox", graphtest.Mail{Raw: raw("same@x", "a", "another"), Received: at})
	m.box.Deliver("inbox", graphtest.Mail{Raw: raw("given-by-exchange@x", "without", "one"), Received: at.Add(time.Hour)})
	m.box.Deliver("sentitems", graphtest.Mail{Raw: raw("new@x", "new", "new"), Received: at})

	before := m.state()
	m.cloud.Forget()
	p, r := m.plan()
	if r.status != exitOK || !p.Ready || !p.Provisional {
		t.Errorf("status %d, %+v\n%s", r.status, p.Problems, r.err)
	}
	// Of the generated messages some have no Message-ID, or one twice.
	if p.FiledAlready+p.New+p.Uncertain != 16 || p.FiledAlready < 6 || p.New < 3 || p.Uncertain < 2 {
		t.Errorf("%d filed already, %d new, %d uncertain", p.FiledAlready, p.New, p.Uncertain)
	}
	reasons := ""
	for _, u := range p.UncertainMessages {
		reasons += u.Subject + ": " + u.Reason + "\n"
	}
	contains(t, reasons, "without: its Message-ID is not known, and a message with this title was filed that had none", "a: 2 messages in the mailbox have this Message-ID, and 1 filed")
	news := ""
	for _, n := range p.NewMessages {
		news += n.Subject + "\n"
	}
	contains(t, news, "new\n")
	for _, line := range []string{
		"-    type: imap\n", "+    type: exchange\n", "+    credentials: contoso\n", "+    mailbox: office@contoso.example\n", "-    server: ", "     # the old server\n", "+    folders: [Inbox, Lähetetyt, 'Inbox/Projects/**']\n", "   - name: office      # do not rename\n",
	} {
		if !strings.Contains(p.Diff, line) {
			t.Errorf("no %q in the diff:\n%s", line, p.Diff)
		}
	}
	after := m.state()
	for path, is := range after {
		if before[path] != is {
			t.Errorf("%s was changed or made", path)
		}
	}
	if len(before) != len(after) {
		t.Errorf("%d files, were %d", len(after), len(before))
	}
	for _, q := range m.cloud.Requests() {
		if q.Method != "GET" && q.Kind != "token" {
			t.Errorf("request %s %s", q.Method, q.Kind)
		}
	}
	report := filepath.Join(t.TempDir(), "report.md")
	text := m.run("migrate", "--report", report, "--source", "office", "--mailbox", "office@contoso.example", "--credentials", "contoso")
	contains(t, text.out, "filed already  ", "provisional", "nothing was changed", "Lähetetyt", "same special use")
	if text.status != exitOK || text.err != "" {
		t.Errorf("%+v", text)
	}
	markdown, err := os.ReadFile(report)
	if err != nil {
		t.Fatal(err)
	}
	contains(t, string(markdown), "| office | imap | office@contoso.example |", "| ready |", "| Inbox | ", "| folders | Sent | Lähetetyt | same special use |", "### Uncertain", "+    type: exchange")
}

var migrateMessages = flag.Int("migrate-messages", 200, "how many messages are moved to Exchange Online")

// letter is a message that nothing else is like.
func letter(i int) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "From: Buyer <buyer%d@example.com>\r\nTo: office@contoso.example\r\nDate: %s\r\n", i%5, time.Date(2026, 1, 1, 0, i, 0, 0, time.UTC).Format(time.RFC1123Z))
	switch {
	case i%7 == 0: // without
	case i%10 < 2: // two have the same
		fmt.Fprintf(&b, "Message-ID: <pair-%d@example.com>\r\n", i/10)
	default:
		fmt.Fprintf(&b, "Message-ID: <%d@example.com>\r\n", i)
	}
	fmt.Fprintf(&b, "Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe_?= number %d\r\nMIME-Version: 1.0\r\n", i)
	text := fmt.Sprintf("Dear office,\r\n  order %d of %d pieces.\r\n", i, i*i)
	switch i % 3 {
	case 0:
		b.WriteString("Content-Type: text/plain; charset=utf-8\r\n\r\n" + text)
	case 1:
		b.WriteString("Content-Type: multipart/alternative; boundary=x\r\n\r\n--x\r\nContent-Type: text/plain\r\n\r\n" + text + "\r\n--x\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<html><body><p>" + text + "</p></body></html>\r\n--x--\r\n")
	default:
		b.WriteString("Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: text/plain\r\n\r\n" + text +
			"\r\n--x\r\nContent-Type: application/pdf; name=order.pdf\r\nContent-Disposition: attachment; filename=order.pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n" + base64.StdEncoding.EncodeToString([]byte(text)) + "\r\n--x--\r\n")
	}
	return []byte(b.String())
}

// eachOnce checks that each of the letters is one document.
func (m *move) eachOnce(n int) {
	m.t.Helper()
	filed := make(map[string]int)
	for _, d := range m.filed() {
		filed[d.Title]++
	}
	for i := range n {
		if title := fmt.Sprintf("Grüße number %d", i); filed[title] != 1 {
			m.t.Errorf("%q was filed %d times", title, filed[title])
		}
	}
	if len(filed) != n {
		m.t.Errorf("%d documents, want %d", len(filed), n)
	}
}

// TestMigrate: whatever was filed over IMAP or POP3 is filed once, also when the
// mailbox is Exchange Online's from then on, and back.
func TestMigrate(t *testing.T) {
	for typ, source := range map[string]string{"imap": "folders: [Inbox, Archive]\nafter_filing: mark_read", "pop3": "type: pop3\n"} {
		t.Run(typ, func(t *testing.T) {
			n := *migrateMessages
			if typ == "pop3" {
				n /= 4
			}
			m := newMove(t, graphtest.Options{Seed: 32}, source)
			m.folder("Archive")
			m.box.CreateFolder("archive")
			for i := range n {
				here, there := "INBOX", "inbox"
				if typ == "imap" && i%4 == 0 {
					here, there = "Archive", "archive"
				}
				if typ == "imap" && i%9 == 0 { // by a person
					there = "inbox"
				}
				if i%2 == 0 {
					m.deliver(here, letter(i))
				}
				m.box.Deliver(there, graphtest.Mail{Raw: letter(i), Received: time.Date(2026, 3, 4, 5, 6, i, 0, time.UTC)})
			}
			if s := m.once(); s.Filed != (n+1)/2 || s.Error != "" {
				t.Fatalf("%+v", s)
			}
			p, r := m.plan("--write")
			if r.status != exitOK || !p.Written || p.FiledAlready == 0 || p.FiledAlready+p.New+p.Uncertain != n {
				t.Fatalf("status %d: %+v\n%s", r.status, p, r.err)
			}
			file := filepath.Join(m.dir, "config.yaml")
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if backup, err := os.ReadFile(p.Backup); err != nil || string(backup) != m.text {
				t.Errorf("the backup %s: %v\n%s", p.Backup, err, backup)
			}
			before, _, _ := strings.Cut(m.text, "    type: "+typ)
			_, after, _ := strings.Cut(m.text, "    # Accounting")
			if !strings.HasPrefix(string(text), before) || !strings.HasSuffix(string(text), "    # Accounting"+after) {
				t.Errorf("more has changed than the source:\n%s", text)
			}
			if p, r := m.plan("--write"); r.status != exitOK || !p.Done || p.Written {
				t.Errorf("once more: %+v", p)
			}
			if again, err := os.ReadFile(file); err != nil || !bytes.Equal(again, text) {
				t.Errorf("once more, %v, the file is\n%s", err, again)
			}
			if s := m.once(); s.Filed != n/2 || s.Duplicates != (n+1)/2 || s.Error != "" {
				t.Errorf("%+v", s)
			}
			m.eachOnce(n)
			if s := m.once(); s.Filed+s.Duplicates != 0 || s.Error != "" {
				t.Errorf("then %+v", s)
			}
			if r := m.run("verify"); r.status != exitOK {
				t.Errorf("%+v", r)
			}
			if r := m.run("migrate", "--undo", "office"); r.status != exitOK {
				t.Errorf("%+v", r)
			}
			if back, err := os.ReadFile(file); err != nil || string(back) != m.text {
				t.Errorf("%v: back is\n%s", err, back)
			}
			if s := m.once(); s.Filed+s.Duplicates != 0 || s.Error != "" {
				t.Errorf("back, %+v", s)
			}
			m.eachOnce(n)
		})
	}
}

// TestMigrateProblems: what is to be done first is said, with how, and --write then
// writes nothing.
func TestMigrateProblems(t *testing.T) {
	m := newMove(t, graphtest.Options{Seed: 33}, "folders: [Inbox, Order, Sent]\nafter_filing: move\nfiled_folder: Filed")
	m.box.CreateFolder("inbox/Orders")
	m.cloud.ChangeApp(func(a *graphtest.App) { a.Roles = []string{"Mail.Read"} })
	before := m.state()
	p, r := m.plan("--write")
	if r.status != exitFailed || p.Ready || p.Written || len(p.Problems) != 2 {
		t.Fatalf("status %d: %+v", r.status, p)
	}
	if missing := p.Problems[0]; missing.Missing != "Mail.ReadWrite" || !strings.Contains(strings.Join(missing.Steps, "\n"), "New-ManagementRoleAssignment -Name 'postroom mail' -App $sp.Id -Role 'Application Mail.ReadWrite'") ||
		!strings.Contains(strings.Join(missing.Steps, "\n"), m.cloud.ClientID()) {
		t.Errorf("%+v", missing)
	}
	contains(t, p.Problems[1].Problem+p.Problems[1].Remedy, "folder Order has no counterpart in the mailbox office@contoso.example", "Inbox/Orders")
	m.cloud.ChangeApp(func(a *graphtest.App) {
		a.Roles, a.Mailboxes = []string{"Mail.ReadWrite"}, []string{"other@contoso.example"}
	})
	m.cloud.RevokeTokens()
	if p, _ := m.plan("--write"); len(p.Problems) != 1 || p.Problems[0].Missing != "Mail.ReadWrite" || p.Problems[0].Remedy == "" || p.Written {
		t.Errorf("%+v", p.Problems)
	}
	nowhere := filepath.Join(t.TempDir(), "no", "x.md")
	if r := m.run("migrate", "--source", "office", "--mailbox", "office@contoso.example", "--credentials", "contoso", "--write", "--report", nowhere); r.status != exitFailed || r.out != "" ||
		!strings.Contains(r.err, "report "+nowhere+" cannot be written: no such file or directory: make the folder "+filepath.Dir(nowhere)+", or name another FILE") {
		t.Errorf("%+v", r)
	}
	// A copy of the ledger that one which was killed has left; another one is in use.
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	if err := os.Mkdir(filepath.Join(tmp, pastPrefix+"1"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{roomLock, "postroom.db"} {
		if err := os.WriteFile(filepath.Join(tmp, pastPrefix+"1", name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	busy, err := openRoomNamed(tmp, pastPrefix+"busy")
	if err != nil {
		t.Fatal(err)
	}
	m.plan()
	if left, err := os.ReadDir(tmp); err != nil || len(left) != 1 || left[0].Name() != filepath.Base(busy.path) {
		t.Errorf("left: %v, %v", left, err)
	}
	if err := busy.close(); err != nil {
		t.Fatal(err)
	}
	if after := m.state(); !maps.Equal(before, after) {
		t.Error("something was written")
	}
	for _, row := range []struct {
		args []string
		want string
	}{
		{[]string{"migrate"}, "needs --source NAME or --all"},
		{[]string{"migrate", "--source", "office"}, "needs --credentials"},
		{[]string{"migrate", "--source", "offices", "--credentials", "contoso"}, `no source is named "offices"`},
		{[]string{"migrate", "--source", "office", "--credentials", "office"}, "Exchange Online needs type entra"},
		{[]string{"migrate", "--source", "office", "--credentials", "contoso"}, "name the mailbox with --mailbox"},
		{[]string{"migrate", "--source", "office", "--credentials", "fabrikam-2"}, "set FABRIKAM_2_TENANT_ID, FABRIKAM_2_CLIENT_ID, FABRIKAM_2_SECRET"},
		{[]string{"migrate", "--source", "office", "--credentials", "contoso", "--report", "x.txt"}, "allowed: .md, .json"},
		{[]string{"migrate", "--undo", "office", "--write"}, "goes with no other option"},
	} {
		if r := m.run(row.args...); r.status != exitUsage || !strings.Contains(r.err, row.want) {
			t.Errorf("%v: %+v; want %q", row.args, r, row.want)
		}
	}
	if r := m.run("migrate", "--all", "--mailbox", "office@contoso.example", "--credentials", "contoso"); r.status != exitFailed || !strings.Contains(r.out, "source office: from imap") {
		t.Errorf("%+v", r)
	}
	second := strings.Replace(m.text[strings.Index(m.text, "  - name: office      #"):], "name: office ", "name: second\n    mailbox: office@contoso.example ", 1)
	if err := os.WriteFile(filepath.Join(m.dir, "config.yaml"), []byte(m.text+second), 0o600); err != nil {
		t.Fatal(err)
	}
	r = m.run("migrate", "--all", "--credentials", "contoso")
	contains(t, r.out, "TO BE DONE FIRST: source office says no address\n  what to do: put mailbox: ADDRESS into the source, or use --source office --mailbox ADDRESS", "source second: from imap to the mailbox office@contoso.example")
	if r.status != exitFailed {
		t.Errorf("%+v", r)
	}
	if r := m.run("migrate", "--undo", "office"); r.status != exitOK || !strings.Contains(r.out, "nothing to undo") {
		t.Errorf("%+v", r)
	}
}

// TestMigrateLostFolders: a wildcard that selects nothing any more is to be seen to
// first, also when the old server is gone.
func TestMigrateLostFolders(t *testing.T) {
	m := newMove(t, graphtest.Options{Seed: 34}, "folders: [Inbox, 'Legacy/**', 'Orders 20*', 'Never/**']")
	m.folder("Legacy")
	m.folder("Legacy/A")
	m.folder("Orders 2025")
	m.deliver("Orders 2025", letter(1))
	if s := m.once(); s.Filed != 1 || s.Error != "" {
		t.Fatalf("%+v", s)
	}
	m.box.CreateFolder("inbox/Order 2025")
	p, r := m.plan("--write")
	if r.status != exitFailed || p.Ready || p.Written || len(p.Problems) != 2 {
		t.Fatalf("status %d: %+v", r.status, p.Problems)
	}
	contains(t, p.Problems[0].Problem, "Legacy/** in folders selects no folder of the mailbox office@contoso.example, and selected Legacy/A before")
	contains(t, p.Problems[1].Problem+p.Problems[1].Remedy, "Orders 20* in folders selects no folder", "did you mean Inbox/Order 2025?")
	file := filepath.Join(m.dir, "config.yaml")
	change := func(old, new string) {
		t.Helper()
		if !strings.Contains(m.text, old) {
			t.Fatalf("no %q", old)
		}
		m.text = strings.Replace(m.text, old, new, 1)
		if err := os.WriteFile(file, []byte(m.text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	change("server: "+m.server.IMAPS(), "server: 127.0.0.1:1")
	if p, _ := m.plan("--write"); p.Ready || len(p.Problems) != 1 || !strings.Contains(p.Problems[0].Problem, "selected Orders 2025 before") {
		t.Errorf("without the old server: %+v", p.Problems)
	}
	change("[Inbox, 'Legacy/**', 'Orders 20*', 'Never/**']", "['Never/**']")
	if p, _ := m.plan("--write"); p.Ready || p.Written || len(p.Problems) != 1 || !strings.Contains(p.Problems[0].Problem, "no folder of the mailbox office@contoso.example would be read") {
		t.Errorf("without any folder: %+v", p.Problems)
	}
}

// TestMigrateEdit: wherever it is cut short, the file is as it was or as it will be,
// and a source in a file of its own is changed there, with credentials that were
// missing.
func TestMigrateEdit(t *testing.T) {
	dir := t.TempDir()
	for key, value := range map[string]string{"NEW_TENANT_ID": "contoso.example", "NEW_CLIENT_ID": "22222222-2222-2222-2222-222222222222", "NEW_SECRET": marker} {
		t.Setenv(key, value)
	}
	if err := os.Mkdir(filepath.Join(dir, "sources.d"), 0o700); err != nil {
		t.Fatal(err)
	}
	path, included := filepath.Join(dir, "config.yaml"), filepath.Join(dir, "sources.d", "a.yaml")
	const source = "\ufeff# old ones\r\nsources:\r\n- {name: a, type: pop3, credentials: old, server: s.example} # a\r\n- name: b\r\n  type: imap\r\n  server: s.example   # b\r\n  credentials: old\r\n  exclude_folders: [x/y]\r\n"
	write := func(include string) *config.Config {
		t.Helper()
		for name, text := range map[string]string{
			path: "version: 1\nrepository: {type: filesystem, path: ./d}\ninclude: [" + include + "]\ncredentials:\n  - {name: old, type: password, username: u@x.example, password: '" + marker + "'}\n", included: source,
		} {
			if err := os.WriteFile(name, []byte(text), 0o640); err != nil {
				t.Fatal(err)
			}
		}
		c, err := config.Load(path, configDrivers())
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	c := write("sources.d/*.yaml")
	if box, err := mailboxOf(c.Sources[0]); box != "u@x.example" || err != nil {
		t.Errorf("mailbox %s, %v", box, err)
	}
	e, err := editSource(path, c, c.Sources[1], newSource{mailbox: "b@x.example", credentials: "new", folders: map[string]map[string]string{"exclude_folders": {"x/y": "x/ü ${}"}}})
	if err != nil {
		t.Fatal(err)
	}
	const want = "\ufeff# old ones\r\ncredentials:\r\n  - name: new\r\n    type: entra\r\n    tenant_id: \"${env:NEW_TENANT_ID}\"\r\n    client_id: \"${env:NEW_CLIENT_ID}\"\r\n    client_secret: \"${env:NEW_SECRET}\"\r\n\r\nsources:\r\n- {name: a, type: pop3, credentials: old, server: s.example} # a\r\n- name: b\r\n  type: exchange\r\n  credentials: new\r\n  mailbox: b@x.example\r\n  exclude_folders: ['x/ü $${}']\r\n"
	if string(e.new) != want {
		t.Errorf("got\n%q\nwant\n%q", e.new, want)
	}
	if strings.Contains(e.diff, marker) {
		t.Error("the diff has a secret")
	}
	info, err := os.Stat(included)
	if err != nil {
		t.Fatal(err)
	}
	backup, err := e.write(path, "b")
	if err != nil {
		t.Fatal(err)
	}
	now, err := os.Stat(included)
	if err != nil || now.Mode() != info.Mode() {
		t.Errorf("%v, mode %v", err, now.Mode())
	}
	if b, err := os.ReadFile(backup); err != nil || string(b) != source {
		t.Errorf("%v: backup %q", err, b)
	}
	// Cut short after the backup, or before it: the file is as it was.
	if err := os.WriteFile(included, []byte(source), 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := config.Load(path, configDrivers()); err != nil {
		t.Errorf("with the backup alone: %v", err)
	}
	if _, err := e.write(path, "b"); err != nil {
		t.Errorf("again: %v", err)
	}
	if _, err := e.write(path, "b"); !errors.Is(err, errChangedMeanwhile) {
		t.Errorf("of another file: %v", err)
	}
	back, from, err := undoing(path, e.config, e.source("b"))
	if err != nil || !strings.HasPrefix(from, included+".bak-") {
		t.Fatalf("%s, %v", from, err)
	}
	if text := strings.Replace(want, want[strings.Index(want, "- name: b"):], source[strings.Index(source, "- name: b"):], 1); string(back.new) != text {
		t.Errorf("back is\n%q\nwant\n%q", back.new, text)
	}
	backups, err := filepath.Glob(included + ".bak-*")
	if err != nil || len(backups) != 2 {
		t.Errorf("%v, %v", backups, err)
	}
	// A backup that would be included.
	for _, name := range backups {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	c = write("sources.d/*")
	if e, err = editSource(path, c, c.Sources[0], newSource{mailbox: "a@x.example", credentials: "new"}); err != nil {
		t.Fatal(err)
	}
	if _, err := e.write(path, "a"); err == nil || !strings.Contains(err.Error(), "sources.d/*.yaml") {
		t.Errorf("a backup that is included: %v", err)
	}
	if b, err := os.ReadFile(included); err != nil || string(b) != source {
		t.Errorf("%v: %q", err, b)
	}
	if left, err := os.ReadDir(filepath.Dir(included)); err != nil || len(left) != 1 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// TestMigrateNotWritten: what keeps a change from being written is a problem of the
// plan, which is there nevertheless, and nothing is left beside the file.
func TestMigrateNotWritten(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, strings.Repeat("a", 215)+".yaml") // no name is left for a backup in the making
	const text = "version: 1\nrepository: {type: filesystem, path: ./d}\ncredentials:\n- {name: old, type: password, username: u, password: '" + marker + "'}\n- {name: new, type: entra, tenant_id: contoso.example, client_id: 22222222-2222-2222-2222-222222222222, client_secret: '" + marker + "'}\nsources: [{name: a, type: imap, credentials: old, server: s.example}]\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(path, configDrivers())
	if err != nil {
		t.Fatal(err)
	}
	n := newSource{mailbox: "a@x.example", credentials: "new"}
	p := newPlan(c.Sources[0], n)
	if p.edit, err = editSource(path, c, c.Sources[0], n); err != nil {
		t.Fatal(err)
	}
	p.Ready = true
	p.writePlan(path)
	if p.Ready || p.Written || len(p.Problems) != 1 {
		t.Fatalf("%+v", p)
	}
	contains(t, p.Problems[0].Problem, "source a: the backup beside "+path+" cannot be written: ", ": see to the folder "+dir+"; nothing was changed")
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// TestMigrateSecrets: however a secret is written, no plan shows it.
func TestMigrateSecrets(t *testing.T) {
	for key, value := range map[string]string{"NEW_TENANT_ID": "contoso.example", "NEW_CLIENT_ID": "22222222-2222-2222-2222-222222222222", "NEW_SECRET": "x", "EDGE": "e"} {
		t.Setenv(key, value)
	}
	const hidden = "MARK hidden MARK"
	const block = "- name: a # old\n  type: imap # " + hidden + "\n  # the password: MARK\n  credentials: old\n  mailbox: a@x.example\n  server: s.example\n"
	for name, text := range map[string]string{
		"next line":  "credentials: [{name: old, type: password, username: u, password:\n  " + hidden + "}]\nsources:\n" + block,
		"continued":  "credentials: [{name: old, type: password, username: u, password: \"MARK hid\\\n  den MARK\"}]\nsources:\n" + block,
		"references": "credentials: [{name: old, type: password, username: u, password: \"${env:EDGE}" + hidden + "${env:EDGE}\"}]\nsources:\n" + strings.ReplaceAll(block, hidden, "e"+hidden+"e"),
		"quoted":     "credentials: [{name: old, type: password, username: u, 'password' : \"MARK \\\"hidden\\\" MARK\"}]\nsources:\n" + strings.ReplaceAll(block, hidden, `MARK "hidden" MARK`),
		"no end":     "sources:\n- {name: a, type: imap, credentials: old, mailbox: a@x.example, server: s.example} # MARK\ncredentials:\n- name: old\n  type: password\n  username: u\n  password: " + hidden,
		"json":       `"credentials": [{"name":"old","type":"password","username":"u","password":"` + hidden + `"}], "sources": [{"name":"a","type":"imap","credentials":"old","mailbox":"a@x.example","server":"s.example"}]`,
		"one line":   "credentials: [{name: old, type: password, username: u, password: password}]\nsources: [{name: a, type: imap, credentials: old, mailbox: a@x.example, server: s.example}]\n",
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "config.yaml")
			text = "version: 1\nrepository: {type: filesystem, path: ./d}\n" + text
			if name == "json" {
				text = `{"version": 1, "repository": {"type": "filesystem", "path": "./d"}, ` + strings.TrimPrefix(text, "version: 1\nrepository: {type: filesystem, path: ./d}\n") + "}\n"
			}
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			c, err := config.Load(path, configDrivers())
			if err != nil {
				t.Fatal(err)
			}
			p := newPlan(c.Sources[0], newSource{mailbox: "a@x.example", credentials: "new"})
			e, err := editSource(path, c, c.Sources[0], newSource{mailbox: "a@x.example", credentials: "new"})
			if err != nil {
				t.Fatal(err)
			}
			p.File, p.Diff = e.file, e.diff
			var all bytes.Buffer
			p.print(&all)
			report := migrateReport{Sources: []*migratePlan{p}}
			report.markdown(&all)
			if err := printJSON(&all, report); err != nil {
				t.Fatal(err)
			}
			if _, err := e.write(path, "a"); err != nil {
				t.Fatal(err)
			}
			back, _, err := undoing(path, e.config, e.source("a"))
			if err != nil {
				t.Fatal(err)
			}
			all.WriteString(back.diff)
			if s := all.String(); strings.Contains(s, "MARK") || strings.Contains(s, "hid") || strings.Contains(s, "password: password") {
				t.Errorf("a secret is shown:\n%s", s)
			}
			contains(t, e.diff, "exchange", "imap", "${env:NEW_SECRET}", "…")
			if name == "json" && !json.Valid(e.new) {
				t.Errorf("JSON becomes\n%s", e.new)
			}
		})
	}
}

// TestMigrateUnfinished: what is in quarantine, or was not disposed of, when the
// source is moved, is filed once all the same.
func TestMigrateUnfinished(t *testing.T) {
	m := newMove(t, graphtest.Options{Seed: 35}, "after_filing: move\nfiled_folder: Filed\nonly: {since: 2026-01-01}")
	file := filepath.Join(m.dir, "config.yaml")
	rewrite := func(old, new string) {
		t.Helper()
		b, err := os.ReadFile(file)
		if err != nil || !bytes.Contains(b, []byte(old)) {
			t.Fatalf("%v: no %q in\n%s", err, old, b)
		}
		if err := os.WriteFile(file, bytes.Replace(b, []byte(old), []byte(new), 1), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	rewrite("{name: Sender, read: from}", "{name: Sender, read: subject, match: 'number 1$', required: true}")
	for i := range 3 {
		m.deliver("INBOX", letter(i))
		m.box.Deliver("inbox", graphtest.Mail{Raw: letter(i), Received: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)})
	}
	if s := m.once(); s.Filed != 1 || s.Quarantined != 2 {
		t.Fatalf("%+v", s)
	}
	p, r := m.plan("--write")
	if r.status != exitOK || !p.Written || p.InQuarantine != 2 || p.FiledAlready != 1 || p.Uncertain != 2 {
		t.Fatalf("%+v\n%s", p, r.err)
	}
	rewrite("{name: Sender, read: subject, match: 'number 1$', required: true}", "{name: Sender, read: from}")
	if s := m.once(); s.Filed != 2 || s.Duplicates != 3 || s.Error != "" {
		t.Errorf("%+v", s)
	}
	m.eachOnce(3)
	if r := m.run("quarantine", "list"); strings.Contains(r.out, "number") {
		t.Errorf("%+v", r)
	}
	if n := len(m.box.Messages("Filed")); n != 3 {
		t.Errorf("%d messages are moved", n)
	}
	if s := m.once(); s.Error != "" || s.Filed+s.Duplicates != 0 {
		t.Errorf("then %+v", s)
	}
}

// TestMigrateBesideTheDaemon: a daemon that is filing takes the change up, and no
// message is filed twice or missed at the seam.
func TestMigrateBesideTheDaemon(t *testing.T) {
	const n = 120
	m := newMove(t, graphtest.Options{Seed: 36}, "after_filing: move\nfiled_folder: Filed\npoll_interval: 1s")
	m.folder("Filed")
	deliver := func(i int) {
		m.deliver("INBOX", letter(i))
		m.box.Deliver("inbox", graphtest.Mail{Raw: letter(i), Received: time.Date(2026, 3, 4, 5, 6, i, 0, time.UTC)})
	}
	for i := range n / 2 {
		deliver(i)
	}
	stop := m.start()
	deadline := time.Now().Add(2 * time.Minute)
	await := func(documents int) {
		t.Helper()
		for {
			found, err := filepath.Glob(filepath.Join(m.dir, "documents", "office", "*", "*", "*", "*", "document.json"))
			if err != nil {
				t.Fatal(err)
			}
			if len(found) >= documents {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%d documents, want %d", len(found), documents)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	await(1)
	if p, r := m.plan("--write"); !p.Written {
		t.Fatalf("%+v\n%s", p, r.err)
	}
	for i := n / 2; i < n; i++ {
		deliver(i) // some of which the old source may still file
	}
	await(n)
	stop()
	if s := m.once(); s.Error != "" || s.Filed != 0 {
		t.Errorf("%+v", s)
	}
	m.eachOnce(n)
	if left := len(m.box.Messages("inbox")); left != 0 {
		t.Errorf("%d messages are not moved", left)
	}
}
