package imap_test

import (
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postroom/internal/dovecot"
	"postroom/internal/imaptest"
	"postroom/internal/secret"
	"postroom/internal/testcert"
	"postroom/sources"
	"postroom/sources/imap"
)

// TestConnectFailures holds what goes wrong before sign-in, and that each error
// says what to do.
func TestConnectFailures(t *testing.T) {
	server := dovecot.Start(t, dovecot.Options{})
	secure := func(template testcert.Template, version uint16) (addr, caFile string) {
		certificate, err := testcert.New(template)
		if err != nil {
			t.Fatal(err)
		}
		config, err := certificate.Server()
		if err != nil {
			t.Fatal(err)
		}
		if version != 0 {
			config.MinVersion, config.MaxVersion = tls.VersionTLS10, version
		}
		script, err := imaptest.StartScript(imaptest.Script{TLS: config, Messages: five()})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := script.Close(); err != nil {
				t.Error(err)
			}
		})
		caFile = filepath.Join(t.TempDir(), "ca.pem")
		if err := os.WriteFile(caFile, certificate.Authority, 0o600); err != nil {
			t.Fatal(err)
		}
		return script.Addr(), caFile
	}
	plain := func(script imaptest.Script) string {
		s, err := imaptest.StartScript(script)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
		return s.Addr()
	}
	// A port that was closed just now is soon another server's.
	const refusing = "127.0.0.1:1"
	hostname, hostnameCA := secure(testcert.Template{Hosts: []string{"mail.example.com", "imap.example.com"}}, 0)
	expiry := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	expired, expiredCA := secure(testcert.Template{NotBefore: expiry.AddDate(-1, 0, 0), NotAfter: expiry}, 0)
	tomorrow, tomorrowCA := secure(testcert.Template{NotBefore: time.Now().Add(24 * time.Hour)}, 0)
	old, oldCA := secure(testcert.Template{}, tls.VersionTLS11)
	for _, row := range []struct {
		name    string
		options imap.Options
		step    string
		class   sources.Class
		// remedy is a part of it.
		remedy string
	}{
		{"unknown authority", imap.Options{Server: server.IMAPS()}, "tls", sources.Permanent, "ca_file"},
		{"another authority in ca_file", imap.Options{Server: server.IMAPS(), CAFile: hostnameCA}, "tls", sources.Permanent, `issuer, "CN=`},
		{"BYE with a code", imap.Options{Server: plain(imaptest.Script{Greeting: "* BYE [ALERT] go away"}), TLS: "none", AllowPlaintext: true}, "sign-in", sources.Temporary, "ended the connection"},
		{"BYE with UNAVAILABLE", imap.Options{Server: plain(imaptest.Script{Greeting: "* BYE [UNAVAILABLE] later"}), TLS: "none", AllowPlaintext: true}, "sign-in", sources.Temporary, "maintenance"},
		{"BYE with a code before TLS", imap.Options{Server: plain(imaptest.Script{Greeting: "* BYE [ALERT] go away"}), TLS: "starttls"}, "tls", sources.Temporary, "ended the connection"},
		{"NO as greeting", imap.Options{Server: plain(imaptest.Script{Greeting: "* NO not now"}), TLS: "none", AllowPlaintext: true}, "sign-in", sources.Temporary, "before any sign-in"},
		{"NO as greeting before TLS", imap.Options{Server: plain(imaptest.Script{Greeting: "* NO not now"}), TLS: "starttls"}, "tls", sources.Temporary, "before any sign-in"},
		{"another host's certificate", imap.Options{Server: hostname, CAFile: hostnameCA}, "tls", sources.Permanent, "mail.example.com, imap.example.com"},
		{"expired certificate", imap.Options{Server: expired, CAFile: expiredCA}, "tls", sources.Permanent, "2026-01-02"},
		{"certificate of tomorrow", imap.Options{Server: tomorrow, CAFile: tomorrowCA}, "tls", sources.Permanent, "clock"},
		{"TLS 1.1 only", imap.Options{Server: old, CAFile: oldCA}, "tls", sources.Permanent, "TLS 1."},
		{"TLS on a plaintext port", imap.Options{Server: server.IMAP(), CAFile: server.CAFile()}, "tls", sources.Permanent, "starttls"},
		{"STARTTLS on a TLS port", imap.Options{Server: server.IMAPS(), TLS: "starttls", CAFile: server.CAFile()}, "tls", sources.Permanent, "TLS port: use tls: implicit"},
		{"no TLS on a TLS port", imap.Options{Server: server.IMAPS(), TLS: "none", AllowPlaintext: true}, "tls", sources.Permanent, "TLS port: use tls: implicit"},
		{"STARTTLS refused", imap.Options{Server: plain(imaptest.Script{Answer: func(c imaptest.Command) (imaptest.Reply, bool) {
			return imaptest.Reply{Send: "TAG NO not here\r\n"}, c.Text == "STARTTLS"
		}}), TLS: "starttls"}, "tls", sources.Permanent, "never falls back"},
		{"data before TLS", imap.Options{Server: plain(imaptest.Script{Answer: func(c imaptest.Command) (imaptest.Reply, bool) {
			return imaptest.Reply{Send: "TAG OK go\r\n* CAPABILITY IMAP4rev1\r\nT1 OK injected\r\n"}, c.Text == "STARTTLS"
		}}), TLS: "starttls"}, "tls", sources.Permanent, ""},
		{"PREAUTH before TLS", imap.Options{Server: plain(imaptest.Script{Greeting: "* PREAUTH hello"}), TLS: "starttls"}, "tls", sources.Temporary, "implicit"},
		{"BYE as greeting", imap.Options{Server: plain(imaptest.Script{Greeting: "* BYE busy"}), TLS: "none", AllowPlaintext: true}, "sign-in", sources.Temporary, "busy"},
		{"BYE before TLS", imap.Options{Server: plain(imaptest.Script{Greeting: "* BYE busy"}), TLS: "starttls"}, "tls", sources.Temporary, "busy"},
		{"a POP3 server", imap.Options{Server: server.POP3(), TLS: "starttls"}, "tls", sources.Permanent, "pop3"},
		{"a web server", imap.Options{Server: plain(imaptest.Script{Greeting: "HTTP/1.1 400 Bad Request"}), TLS: "starttls"}, "tls", sources.Permanent, "993"},
		{"no greeting", imap.Options{Server: plain(imaptest.Script{Greeting: "none"}), TLS: "starttls"}, "tls", sources.Temporary, "implicit"},
		{"nothing listens", imap.Options{Server: refusing}, "tcp", sources.Temporary, "993"},
		{"no such host", imap.Options{Server: "mail.invalid"}, "name", sources.Temporary, "DNS"},
		{"password without TLS", imap.Options{Server: plain(imaptest.Script{Capabilities: "IMAP4rev1 LOGINDISABLED"}), TLS: "none", AllowPlaintext: true}, "sign-in", sources.Permanent, "starttls"},
	} {
		t.Run(row.name, func(t *testing.T) {
			timeouts := imap.Timeouts{Silence: 5 * time.Minute, Connect: 5 * time.Minute}
			if row.name == "no greeting" {
				timeouts = imap.Timeouts{Silence: time.Second, Connect: 5 * time.Second}
			}
			s := open(t, imap.Config{
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
			if remedy := sources.RemedyOf(last.Err); !strings.Contains(remedy, row.remedy) || row.remedy == "" && remedy != "" {
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

func TestStartTLS(t *testing.T) {
	server := dovecot.Start(t, dovecot.Options{})
	s := open(t, imap.Config{
		Options: imap.Options{Server: server.IMAP(), TLS: "starttls", CAFile: server.CAFile()},
		Name:    "test", Username: "user", Password: secret.New("secret"),
	})
	var details []string
	s.Probe(background(t), func(step sources.Step) {
		if step.Err != nil {
			t.Errorf("%s: %v", step.Name, step.Err)
		}
		details = append(details, step.Name+": "+step.Detail)
	})
	if all := strings.Join(details, "\n"); !strings.Contains(all, "tls: TLS 1.3") || !strings.Contains(all, "more days") {
		t.Errorf("steps:\n%s", all)
	}
}

func TestPlaintextNeedsPermission(t *testing.T) {
	_, err := imap.Open(imap.Config{Options: imap.Options{Server: "localhost", TLS: "none"}, Name: "test"})
	if err == nil || !strings.Contains(sources.RemedyOf(err), "allow_plaintext") {
		t.Errorf("%v, remedy %q", err, sources.RemedyOf(err))
	}
}

func TestOptionsAreChecked(t *testing.T) {
	good := imap.Options{Server: "imap.example.com:1993", TLS: "implicit", Folders: []string{"Inbox", "A/**"}, FiledFolder: "Inbox/Filed"}
	if problems := good.CheckOptions(); len(problems) > 0 {
		t.Errorf("%+v", problems)
	}
	for _, row := range []struct {
		key    string
		change func(*imap.Options)
	}{
		{"server", func(o *imap.Options) { o.Server = "" }},
		{"server", func(o *imap.Options) { o.Server = "imap.example.com:99999" }},
		{"server", func(o *imap.Options) { o.Server = "https://imap.example.com" }},
		{"tls", func(o *imap.Options) { o.TLS = "none" }},
		{"folders", func(o *imap.Options) { o.Folders = []string{"A//B"} }},
		{"exclude_folders", func(o *imap.Options) { o.ExcludeFolders = []string{"100%"} }},
		{"filed_folder", func(o *imap.Options) { o.FiledFolder = "/" }},
		{"failed_folder", func(o *imap.Options) { o.FailedFolder = "INBOX" }},
	} {
		options := good
		row.change(&options)
		problems := options.CheckOptions()
		if len(problems) != 1 || problems[0].Key != row.key || problems[0].Message == "" {
			t.Errorf("%+v: problems %+v, want one with %s", options, problems, row.key)
		}
	}
}

// The steps of a check end with the first that fails, here a folder.
func TestProbeNamesFolders(t *testing.T) {
	server := dovecot.Start(t, dovecot.Options{SpecialUse: map[string]string{"Entwürfe": `\Drafts`, "Müll": `\Trash`}})
	if err := server.Deliver("user", "Rechnungen", []byte("Subject: x\r\n\r\n"), time.Now(), false); err != nil {
		t.Fatal(err)
	}
	for folder, remedy := range map[string]string{"Rechnungem": "Rechnungen", "Entwürfe": "remove it"} {
		s := open(t, imap.Config{
			Options: imap.Options{Server: server.IMAPS(), CAFile: server.CAFile(), Folders: []string{folder}},
			Name:    "test", Username: "user", Password: secret.New("secret"),
		})
		var last sources.Step
		s.Probe(background(t), func(step sources.Step) { last = step })
		if last.Name != "folder" || !strings.Contains(sources.RemedyOf(last.Err), remedy) {
			t.Errorf("%s: last step %+v, remedy %q", folder, last, sources.RemedyOf(last.Err))
		}
	}
	s := open(t, imap.Config{
		Options: imap.Options{Server: server.IMAPS(), CAFile: server.CAFile(), Folders: []string{"*"}},
		Name:    "test", Username: "user", Password: secret.New("secret"),
	})
	folders, err := s.Folders(background(t))
	if got := fmt.Sprint(folders); err != nil || got != "[{Inbox Inbox} {Rechnungen Rechnungen}]" && got != "[{Rechnungen Rechnungen} {Inbox Inbox}]" {
		t.Errorf("folders %v, %v; want those without a special use", folders, err)
	}
}

// TestSilenceInsteadOfTLS: a port that says nothing to TLS is not waited for as
// long as a slow sign-in is, and has a remedy.
func TestSilenceInsteadOfTLS(t *testing.T) {
	server, err := imaptest.StartScript(imaptest.Script{Greeting: "none"})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	s := open(t, imap.Config{
		Options: imap.Options{Server: server.Addr()}, Name: "test", Username: "user", Password: secret.New("secret"),
		Timeouts: imap.Timeouts{Connect: 3 * time.Second},
	})
	var last sources.Step
	s.Probe(background(t), func(step sources.Step) { last = step })
	if last.Name != "tls" || last.Err == nil || !strings.Contains(last.Err.Error(), "does not answer within 1s") ||
		!strings.Contains(sources.RemedyOf(last.Err), "is port") {
		t.Errorf("the last step is %q: %v, %s", last.Name, last.Err, sources.RemedyOf(last.Err))
	}
}
