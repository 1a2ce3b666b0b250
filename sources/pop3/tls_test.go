package pop3_test

import (
	"crypto/tls"
	"net"
	"strings"
	"testing"
	"time"

	"postroom/internal/dovecot"
	"postroom/internal/poptest"
	"postroom/internal/secret"
	"postroom/internal/testcert"
	"postroom/sources"
	"postroom/sources/pop3"
)

// TestConnectFailures holds what goes wrong before sign-in, and that each error
// says what to do.
func TestConnectFailures(t *testing.T) {
	server := dovecot.Start(t, dovecot.Options{})
	secure := func(template testcert.Template, version uint16) pop3.Options {
		s := start(t, poptest.Options{Certificate: template, MaxTLS: version})
		return pop3.Options{Server: s.Addr(), CAFile: s.CAFile()}
	}
	plain := func(conduct poptest.Conduct, encryption string) pop3.Options {
		s := start(t, poptest.Options{Plain: true, Conduct: conduct})
		return pop3.Options{Server: s.Addr(), CAFile: s.CAFile(), TLS: encryption, AllowPlaintext: encryption == "none"}
	}
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refusing := closed.Addr().String()
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	expiry := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, row := range []struct {
		name    string
		options pop3.Options
		step    string
		class   sources.Class
		// remedy is a part of it.
		remedy string
	}{
		{"unknown authority", pop3.Options{Server: server.POP3S()}, "tls", sources.Permanent, "ca_file"},
		{"another authority in ca_file", pop3.Options{Server: server.POP3S(), CAFile: secure(testcert.Template{}, 0).CAFile}, "tls", sources.Permanent, `issuer, "CN=`},
		{"another host's certificate", secure(testcert.Template{Hosts: []string{"mail.example.com", "pop.example.com"}}, 0), "tls", sources.Permanent, "mail.example.com, pop.example.com"},
		{"expired certificate", secure(testcert.Template{NotBefore: expiry.AddDate(-1, 0, 0), NotAfter: expiry}, 0), "tls", sources.Permanent, "2026-01-02"},
		{"certificate of tomorrow", secure(testcert.Template{NotBefore: time.Now().Add(24 * time.Hour)}, 0), "tls", sources.Permanent, "clock"},
		{"TLS 1.1 only", secure(testcert.Template{}, tls.VersionTLS11), "tls", sources.Permanent, "TLS 1."},
		{"TLS on a plaintext port", pop3.Options{Server: server.POP3(), CAFile: server.CAFile()}, "tls", sources.Permanent, "starttls"},
		{"STLS on a TLS port", pop3.Options{Server: server.POP3S(), TLS: "starttls", CAFile: server.CAFile()}, "tls", sources.Permanent, "TLS port: use tls: implicit"},
		{"no TLS on a TLS port", pop3.Options{Server: server.POP3S(), TLS: "none", AllowPlaintext: true}, "tls", sources.Permanent, "TLS port: use tls: implicit"},
		{"an IMAP server", pop3.Options{Server: server.IMAP(), TLS: "starttls"}, "tls", sources.Permanent, "type: imap"},
		{"an IMAP server under TLS", pop3.Options{Server: server.IMAPS(), CAFile: server.CAFile()}, "tls", sources.Permanent, "type: imap"},
		{"a web server", plain(poptest.Conduct{Greeting: "HTTP/1.1 400 Bad Request"}, "starttls"), "tls", sources.Permanent, "995"},
		{"no greeting", plain(poptest.Conduct{Greeting: "none"}, "starttls"), "tls", sources.Temporary, "implicit"},
		{"silence instead of TLS", plain(poptest.Conduct{Greeting: "none"}, "implicit"), "tls", sources.Temporary, "is port"},
		{"nothing listens", pop3.Options{Server: refusing}, "tcp", sources.Temporary, "995"},
		{"no such host", pop3.Options{Server: "mail.invalid"}, "name", sources.Temporary, "DNS"},
	} {
		t.Run(row.name, func(t *testing.T) {
			timeouts := pop3.Timeouts{Silence: 5 * time.Minute, Connect: 5 * time.Minute}
			if row.name == "no greeting" || row.name == "silence instead of TLS" {
				timeouts = pop3.Timeouts{Silence: time.Second, Connect: 5 * time.Second}
			}
			s := open(t, pop3.Config{
				Options: row.options, Name: "test", Username: "user", Password: secret.New("secret"), Timeouts: timeouts,
			})
			var last sources.Step
			s.Probe(background(t), func(step sources.Step) { last = step })
			if last.Name != row.step || last.Err == nil {
				t.Fatalf("the last step is %q: %s, %v; want %q to fail", last.Name, last.Detail, last.Err, row.step)
			}
			if sources.ClassOf(last.Err) != row.class {
				t.Errorf("class %v, want %v: %v", sources.ClassOf(last.Err), row.class, last.Err)
			}
			if remedy := sources.RemedyOf(last.Err); !strings.Contains(remedy, row.remedy) {
				t.Errorf("remedy %q, want one with %q; error: %v", remedy, row.remedy, last.Err)
			}
			if host, _, _ := strings.Cut(row.options.Server, ":"); !strings.Contains(last.Err.Error(), host) {
				t.Errorf("error %v does not name %s", last.Err, host)
			}
			if _, err := s.Folders(background(t)); err == nil || sources.ClassOf(err) != row.class {
				t.Errorf("folders: %v", err)
			}
		})
	}
}

func TestSTLSWithDovecot(t *testing.T) {
	server := dovecot.Start(t, dovecot.Options{})
	s := open(t, pop3.Config{
		Options: pop3.Options{Server: server.POP3(), TLS: "starttls", CAFile: server.CAFile()},
		Name:    "test", Username: "user", Password: secret.New("secret"), AfterFiling: sources.Delete,
	})
	var details []string
	s.Probe(background(t), func(step sources.Step) {
		if step.Err != nil {
			t.Errorf("%s: %v", step.Name, step.Err)
		}
		details = append(details, step.Name+": "+step.Detail)
	})
	if all := strings.Join(details, "\n"); !strings.Contains(all, "tls: TLS 1.3") || !strings.Contains(all, "more days") || !strings.Contains(all, "deleted") {
		t.Errorf("steps:\n%s", all)
	}
}

// A check says what it costs that a server gives no ids.
func TestProbeWithoutIDs(t *testing.T) {
	_, s := misbehaving(t, poptest.Conduct{NoUIDL: true}, letters(2))
	var last sources.Step
	s.Probe(background(t), func(step sources.Step) { last = step })
	if last.Err != nil || !strings.Contains(last.Detail, "UIDL") || !strings.Contains(last.Detail, "after_filing: delete") {
		t.Errorf("%+v", last)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	good := pop3.Options{Server: "pop.example.com:1995", TLS: "implicit"}
	if problems := good.CheckOptions(); len(problems) > 0 {
		t.Errorf("%+v", problems)
	}
	for _, row := range []struct {
		key    string
		change func(*pop3.Options)
	}{
		{"server", func(o *pop3.Options) { o.Server = "" }},
		{"server", func(o *pop3.Options) { o.Server = "pop.example.com:99999" }},
		{"server", func(o *pop3.Options) { o.Server = "https://pop.example.com" }},
		{"tls", func(o *pop3.Options) { o.TLS = "none" }},
	} {
		options := good
		row.change(&options)
		problems := options.CheckOptions()
		if len(problems) != 1 || problems[0].Key != row.key || problems[0].Message == "" {
			t.Errorf("%+v: problems %+v, want one with %s", options, problems, row.key)
		}
	}
	if _, err := pop3.Open(pop3.Config{Options: pop3.Options{Server: "x", CAFile: "no/such/file"}}); sources.ClassOf(err) != sources.Permanent || sources.RemedyOf(err) == "" {
		t.Errorf("a missing ca_file: %v", err)
	}
}
