package main

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"postroom/internal/dovecot"
	"postroom/internal/graphtest"
	"postroom/internal/secret"
	"postroom/internal/vault"
)

// person is an office whose mailbox is opened by a person who signs in.
type person struct {
	*office
	cloud *graphtest.Server
}

func newPerson(t *testing.T, seed uint64, sources ...string) *person {
	t.Helper()
	p := &person{cloud: graphtest.Start(t, graphtest.Options{Seed: seed, Resources: []string{mailResource}, Limits: graphtest.Limits{Grace: time.Minute}})}
	p.cloud.SetDeviceInterval(20 * time.Millisecond)
	p.cloud.ChangeApp(func(a *graphtest.App) {
		a.Public, a.Consented, a.Secrets, a.Roles = true, true, nil, nil
		a.Delegated = []string{"Mail.ReadWrite", "IMAP.AccessAsUser.All", "POP.AccessAsUser.All"}
	})
	p.office = newOffice(t, dovecot.Options{Tokens: func(token string) (string, bool) {
		user, _, ok := p.cloud.ValidUser(token, mailResource)
		return user, ok
	}})
	text := fmt.Sprintf(`version: 1
repository: {type: filesystem, path: ./documents}
credentials:
  - name: me
    type: entra
    flow: device_code
    tenant_id: %s
    client_id: %s
    cloud: custom
    authority_host: %s
    graph_endpoint: %s
    ca_file: ca.pem
defaults: {credentials: me}
sources:
`, p.cloud.Tenant(), p.cloud.ClientID(), p.cloud.AuthorityURL(), p.cloud.GraphURL())
	for _, typ := range sources {
		text += fmt.Sprintf("  - name: %s\n    type: %[1]s\n    mailbox: office\n", typ)
		if server := map[string]string{"imap": p.server.IMAPS(), "pop3": p.server.POP3S()}[typ]; server != "" {
			text += fmt.Sprintf("    server: %s\n    ca_file: %s\n", server, p.server.CAFile())
		}
	}
	for name, text := range map[string]string{"config.yaml": text, "ca.pem": string(p.cloud.CAPEM())} {
		if err := os.WriteFile(filepath.Join(p.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(p.noTokenAnywhere)
	return p
}

// noTokenAnywhere looks for tokens in all that was printed or written.
func (p *person) noTokenAnywhere() {
	looks := func(where string, text []byte) {
		for _, token := range []string{"1.refresh.", "eyJ", "device-"} {
			if bytes.Contains(text, []byte(token)) {
				p.t.Errorf("a token is in %s", where)
			}
		}
	}
	looks("what was printed", p.out.Bytes())
	err := filepath.WalkDir(p.dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		looks(path, b)
		return err
	})
	if err != nil {
		p.t.Error(err)
	}
}

// signIn runs sign-in, while a person enters the code.
func (p *person) signIn(user string) result {
	p.t.Helper()
	done := make(chan result, 1)
	go func() { done <- p.run("sign-in", "--credentials", "me") }()
	for {
		select {
		case r := <-done:
			return r
		case <-time.After(5 * time.Millisecond):
		}
		if code := p.cloud.UserCode(); code != "" {
			if err := p.cloud.EnterCode(code, user); err != nil {
				p.t.Error(err)
			}
		}
	}
}

// once polls all sources, and returns what became of each.
func (p *person) once() map[string]summary {
	p.t.Helper()
	all := make(map[string]summary)
	for _, s := range (&modern{office: p.office}).once() {
		all[s.Name] = s
	}
	return all
}

// A person signs in once, and all kinds of sources open the mailbox, until that is
// revoked.
func TestSignInAsAPerson(t *testing.T) {
	p := newPerson(t, 91, "exchange", "imap", "pop3")
	box := p.cloud.AddMailbox("office", graphtest.MailboxOptions{})
	p.cloud.AddMailbox("boss", graphtest.MailboxOptions{})
	command := "postroom sign-in --credentials me --config " + filepath.Join(p.dir, "config.yaml")
	receive := func(n int) {
		p.deliver("INBOX", note(n))
		box.Deliver("inbox", graphtest.Mail{Raw: note(n), Received: time.Now()})
	}
	receive(1)
	failing := func(words ...string) {
		t.Helper()
		r := p.run("check")
		if r.status != exitFailed {
			t.Errorf("check: status %d", r.status)
		}
		contains(t, r.out, append(words, command)...)
		for name, s := range p.once() {
			if s.Filed != 0 || s.Error == "" {
				t.Errorf("%s: %+v", name, s)
			}
			contains(t, s.Error, words...)
		}
	}
	failing("nobody has signed in for mailbox office")

	r := p.signIn("boss")
	if r.status != exitFailed {
		t.Errorf("as another person: %+v", r)
	}
	contains(t, r.err, "the person who signed in is boss, and mailbox is office", command)
	failing("nobody has signed in for mailbox office")

	r = p.signIn("Office")
	if r.status != 0 || strings.Count(r.out, "enter the code") != 1 {
		t.Fatalf("%+v", r)
	}
	contains(t, r.out, "/devicelogin", "signed in as Office, for sources exchange, imap, pop3")
	r = p.run("check")
	if r.status != 0 {
		t.Errorf("check: status %d\n%s%s", r.status, r.out, r.err)
	}
	contains(t, r.out, "as Office by application "+p.cloud.ClientID(), "it has IMAP.AccessAsUser.All", "it has POP.AccessAsUser.All", "the token has Mail.ReadWrite", "unless it is used")
	for name, s := range p.once() {
		if s.Filed != 1 || s.Failed != 0 || s.Error != "" {
			t.Errorf("%s: %+v", name, s)
		}
	}

	p.cloud.RevokeTokens()
	p.cloud.RevokeSignIns("office", 50173)
	receive(2)
	failing("the sign-in for mailbox office has been revoked")
	if r := p.signIn("office"); r.status != 0 {
		t.Fatalf("%+v", r)
	}
	for name, s := range p.once() {
		if s.Filed != 1 || s.Error != "" {
			t.Errorf("%s: %+v", name, s)
		}
	}

	// The tokens of a moment ago are still at hand, and so the sign-in is not
	// renewed by being used.
	err := vault.In(filepath.Join(p.dir, "state")).Update(t.Context(), "sign-in/me", func(old secret.Value) (secret.Value, error) {
		used := regexp.MustCompile(`"used":"[^"]*"`)
		return secret.New(used.ReplaceAllString(old.Reveal(), `"used":"`+time.Now().Add(-80*24*time.Hour).UTC().Format(time.RFC3339)+`"`)), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	contains(t, p.run("run", "--once", "--log-level", "warn").err, "the sign-in of a person ends soon", command)
	r = p.run("check")
	if n := strings.Count(r.out, "ok      warning      the sign-in \"office\" expires"); r.status != 0 || n != 3 {
		t.Errorf("check warns %d times, want 3:\n%s", n, r.out)
	}
	contains(t, r.out, "before then sign in as office: "+command)
}

// The state folder of another machine, or one restored from there, says what to do.
func TestSignInIsBoundToTheMachine(t *testing.T) {
	p := newPerson(t, 92, "exchange")
	p.cloud.AddMailbox("office", graphtest.MailboxOptions{})
	if r := p.signIn("office"); r.status != 0 {
		t.Fatalf("%+v", r)
	}
	key := filepath.Join(p.dir, "state", "vault", "key")
	if err := os.WriteFile(key, []byte(strings.Repeat("k", 32)), 0o600); err != nil {
		t.Fatal(err)
	}
	r := p.run("check")
	if r.status != exitFailed {
		t.Errorf("check: status %d", r.status)
	}
	contains(t, r.out, "cannot be read", "with another key", "postroom sign-in --credentials me")
	if r := p.signIn("office"); r.status != 0 {
		t.Errorf("%+v", r)
	}
	if s := p.once()["exchange"]; s.Error != "" {
		t.Errorf("%+v", s)
	}

	// Without its key the vault is left as it is until that is seen to.
	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}
	const remedy = "move the folder vault in state_dir away"
	r = p.run("sign-in", "--credentials", "me")
	if r.status != exitFailed || r.out != "" {
		t.Errorf("%+v", r)
	}
	contains(t, r.err, "the key of the vault is missing", remedy)
	if err := os.Rename(filepath.Dir(key), filepath.Join(p.dir, "old")); err != nil {
		t.Fatal(err)
	}
	if r := p.signIn("office"); r.status != 0 {
		t.Errorf("%+v", r)
	}
	if s := p.once()["exchange"]; s.Error != "" {
		t.Errorf("%+v", s)
	}
}

// A running daemon says what is missing, once, and goes on as soon as somebody has
// signed in: not at its next poll, which is put off for minutes.
func TestSignInBesideTheDaemon(t *testing.T) {
	p := newPerson(t, 94, "exchange")
	p.add("log: {file: ./postroom.log}\n")
	box := p.cloud.AddMailbox("office", graphtest.MailboxOptions{})
	box.Deliver("inbox", graphtest.Mail{Raw: note(1), Received: time.Now()})
	stop := p.start()
	p.eventually("postroom.log", "nobody has signed in for mailbox office", 1)
	if r := p.signIn("office"); r.status != 0 {
		t.Fatalf("%+v", r)
	}
	p.eventually("postroom.log", "  filed  ", 1)
	if log := p.file("postroom.log"); strings.Contains(log, "poll works again") || strings.Count(log, "nobody has signed in") != 1 {
		t.Errorf("it was the put off poll that filed:\n%s", log)
	}
	stop()
}

func TestSignInRefused(t *testing.T) {
	p := newPerson(t, 93, "exchange")
	config := p.file("config.yaml")
	for _, row := range []struct {
		args   []string
		from   string
		to     string
		status int
		words  []string
	}{
		{nil, "", "", exitUsage, []string{"--credentials NAME"}},
		{[]string{"--credentials", "you"}, "", "", exitUsage, []string{`no credentials are named "you"`}},
		{[]string{"--credentials", "me"}, "flow: device_code", "client_secret: x", exitUsage, []string{"flow: device_code"}},
		{[]string{"--credentials", "me"}, "  - name: exchange\n    type: exchange\n    mailbox: office\n", "  []\n", exitUsage, []string{"no source has the credentials me"}},
		{[]string{"--credentials", "me"}, "tenant_id: ", "tenant_id: fabrikam.example # ", exitFailed, []string{"there is no such tenant", "check tenant_id"}},
	} {
		p.replaceConfig(strings.Replace(config, row.from, row.to, 1))
		r := p.run(append([]string{"sign-in"}, row.args...)...)
		if r.status != row.status {
			t.Errorf("%v: %+v", row.args, r)
		}
		contains(t, r.err, row.words...)
	}
	p.replaceConfig(config)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for p.cloud.UserCode() == "" {
			time.Sleep(5 * time.Millisecond)
		}
		cancel()
	}()
	if r := p.runUntil(ctx, "sign-in", "--credentials", "me"); r.status != exitFailed || !strings.Contains(r.err, "nothing was changed") {
		t.Errorf("interrupted: %+v", r)
	}
	if p.file("state/vault/values.json") != "" {
		t.Error("something was kept")
	}
}
