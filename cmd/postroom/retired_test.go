package main

import (
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"postroom/cmd/postroom/config"
	"postroom/internal/dovecot"
)

// That a password cannot work is said before anything is tried, by check and once in
// the log, with the command to run.
func TestRetiredPasswords(t *testing.T) {
	o := newOffice(t, dovecot.Options{})
	o.replaceConfig(`version: 1
repository: {type: filesystem, path: ./documents}
credentials:
  - {name: box, type: password, username: invoices@contoso.com, password: "${env:POSTROOM_TEST_PASSWORD}"}
  - {name: app, type: password, username: orders@gmail.com, password: "${env:POSTROOM_TEST_APP_PASSWORD}"}
  - {name: contoso, type: entra, tenant_id: contoso.com, client_id: 22222222-2222-2222-2222-222222222222, client_secret: "${env:POSTROOM_TEST_PASSWORD}"}
sources:
  - {name: invoices, type: imap, credentials: box, server: "outlook.office365.com:993"}
  - {name: drop, type: pop3, credentials: box, server: pop.gmail.com}
  - {name: orders, type: imap, credentials: app, server: imap.gmail.com}
  - {name: own, type: imap, credentials: box, server: imap.contoso.com}
  - {name: modern, type: imap, credentials: contoso, mailbox: invoices@contoso.com, server: outlook.office365.com}
`)
	t.Setenv("POSTROOM_TEST_APP_PASSWORD", "abcd efgh ijkl mnop")
	r := o.run("check", "--offline")
	contains(t, r.out, "5 sources, 2 warnings", "config.yaml:8:5: source invoices: Microsoft 365 lets nobody sign in over IMAP with a password",
		"1 October 2022", "postroom migrate --source invoices --mailbox invoices@contoso.com --credentials contoso\n",
		"source drop: Google lets nobody sign in over POP3", "app password", "all well")
	if r.status != 0 {
		t.Errorf("status %d\n%s", r.status, r.err)
	}

	c, err := config.Load(o.dir+"/config.yaml", configDrivers())
	if err != nil {
		t.Fatal(err)
	}
	core, logged := observer.New(zap.WarnLevel)
	warnOfPasswords(zap.New(core), c.Sources)
	var told []string
	for _, entry := range logged.All() {
		fields := entry.ContextMap()
		told = append(told, fields["source"].(string))
		if !strings.Contains(fields["reason"].(string), "switched off") && !strings.Contains(fields["reason"].(string), "ended") || fields["remedy"] == "" {
			t.Errorf("%v", fields)
		}
	}
	if got := strings.Join(told, " "); got != "invoices drop" {
		t.Errorf("logged about %q", got)
	}
}
