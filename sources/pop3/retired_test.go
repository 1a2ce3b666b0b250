package pop3_test

import (
	"strings"
	"testing"

	"postroom/internal/poptest"
	"postroom/internal/secret"
	"postroom/sources"
)

// A refused password says what became of passwords at the service, which is known by
// its greeting if its host has another name.
func TestRetiredPassword(t *testing.T) {
	const online = "+OK The Microsoft Exchange POP3 service is ready. [UwBJADIAUABSADAANABDAEEAMAAwADAANQAuAGEAcABjAHAAcgBkADAANAAuAHAAcgBvAGQALgBvAHUAdABsAG8AbwBrAC4AYwBvAG0A]"
	for name, row := range map[string]struct {
		conduct poptest.Conduct
		remedy  string
	}{
		"Exchange Online":          {poptest.Conduct{Greeting: online}, "postroom migrate --source test --mailbox user@contoso.com --credentials contoso"},
		"which offers no password": {poptest.Conduct{Greeting: online, Capabilities: []string{"SASL XOAUTH2", "UIDL"}}, "postroom migrate --source test"},
		"Google":                   {poptest.Conduct{Greeting: "+OK Gpop ready for requests from 192.0.2.1 a1"}, "app password"},
		"another":                  {poptest.Conduct{}, "check user name and password"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config(start(t, poptest.Options{Plain: true, Conduct: row.conduct}))
			cfg.Username, cfg.Password, cfg.Migration = "user@contoso.com", secret.New("hidden-password"), "contoso"
			_, err := open(t, cfg).Folders(t.Context())
			if sources.ClassOf(err) != sources.SignIn || !strings.Contains(sources.RemedyOf(err), row.remedy) {
				t.Errorf("%v (%v), remedy %q", err, sources.ClassOf(err), sources.RemedyOf(err))
			}
		})
	}
}
