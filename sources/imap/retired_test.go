package imap_test

import (
	"strings"
	"testing"

	"postroom/internal/imaptest"
	"postroom/internal/secret"
	"postroom/sources"
	"postroom/sources/imap"
)

// A refused password says what became of passwords at the service, which is known by
// its greeting if its host has another name.
func TestRetiredPassword(t *testing.T) {
	const (
		online     = "* OK The Microsoft Exchange IMAP4 service is ready. [UwBJADIAUABSADAANABDAEEAMAAwADAANQAuAGEAcABjAHAAcgBkADAANAAuAHAAcgBvAGQALgBvAHUAdABsAG8AbwBrAC4AYwBvAG0A]"
		onPremises = "* OK The Microsoft Exchange IMAP4 service is ready."
		command    = "postroom migrate --source invoices --mailbox invoices@contoso.com --credentials contoso"
	)
	refuses := func(c imaptest.Command) (imaptest.Reply, bool) {
		return imaptest.Reply{Send: "TAG NO LOGIN failed.\r\n"}, strings.HasPrefix(c.Text, "LOGIN") || strings.HasPrefix(c.Text, "AUTHENTICATE")
	}
	for name, row := range map[string]struct {
		script imaptest.Script
		remedy string
	}{
		"Exchange Online":          {imaptest.Script{Greeting: online, Answer: refuses}, command},
		"which offers no password": {imaptest.Script{Greeting: online, Capabilities: "IMAP4rev1 LOGINDISABLED AUTH=XOAUTH2"}, command},
		"Exchange on premises":     {imaptest.Script{Greeting: onPremises, Answer: refuses}, "check user name and password"},
		"Google":                   {imaptest.Script{Greeting: "* OK Gimap ready for requests from 192.0.2.1 a1", Answer: refuses}, "app password"},
	} {
		t.Run(name, func(t *testing.T) {
			server, err := imaptest.StartScript(row.script)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := server.Close(); err != nil {
					t.Error(err)
				}
			})
			s := open(t, imap.Config{
				Options: imap.Options{Server: server.Addr(), TLS: "none", AllowPlaintext: true},
				Name:    "invoices", Username: "invoices@contoso.com", Password: secret.New("hidden-password"), Migration: "contoso",
			})
			_, err = s.Folders(background(t))
			if sources.ClassOf(err) != sources.SignIn || !strings.Contains(sources.RemedyOf(err), row.remedy) {
				t.Errorf("%v (%v), remedy %q", err, sources.ClassOf(err), sources.RemedyOf(err))
			}
		})
	}
}
