package mailhost_test

import (
	"encoding/base64"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"postroom/internal/mailhost"
)

var update = flag.Bool("update", false, "write testdata/retired.golden anew")

// online is how Exchange greets on the server of that name.
func online(protocol, server string) string {
	var raw []byte
	for _, r := range server {
		raw = append(raw, byte(r), 0)
	}
	return "The Microsoft Exchange " + protocol + " service is ready. [" + base64.StdEncoding.EncodeToString(raw) + "]"
}

// TestRetired holds which services are known, and all that is said of each.
func TestRetired(t *testing.T) {
	const user = "invoices@contoso.com"
	for kind, all := range map[string][]mailhost.SignIn{
		"Microsoft 365": {
			{Host: "outlook.office365.com", User: user}, {Host: "Outlook.Office365.com.", User: user}, {Host: "outlook.office.com", User: user},
			{Host: "imap.outlook.com", User: user}, {Host: "podc51007.outlook.com", User: user}, {Host: "outlook.office365.us", User: user},
			{Host: "outlook-dod.office365.us", User: user}, {Host: "webmail.apps.mil", User: user},
			{Host: "mail.contoso.com", User: user, Greeting: "* OK " + online("IMAP4", "SI2PR04CA0005.apcprd04.prod.outlook.com")},
			{Host: "10.1.2.3", User: user, Greeting: "+OK " + online("POP3", "AM0P190CA0001.EURP190.PROD.OUTLOOK.COM")},
		},
		"21Vianet": {
			{Host: "partner.outlook.cn", User: user}, {Host: "smtp.partner.outlook.cn", User: user},
			{Host: "x", User: user, Greeting: "* OK " + online("IMAP4", "BJXPR01CA0001.CHNPR01.prod.partner.outlook.cn")},
		},
		"Outlook.com": {
			{Host: "imap-mail.outlook.com", User: "someone@outlook.com"}, {Host: "pop-mail.outlook.com", User: "someone@contoso.com"}, {Host: "pop3.live.com", User: "x"},
			{Host: "outlook.office365.com", User: "someone@hotmail.co.uk"}, {Host: "outlook.office365.com", User: "someone@Live.com"},
		},
		"Google": {
			{Host: "imap.gmail.com", User: user}, {Host: "pop.gmail.com", User: user}, {Host: "imap.googlemail.com", User: user}, {Host: "IMAP.GMAIL.COM", User: user},
			{Host: "x", Greeting: "* OK Gimap ready for requests from 192.0.2.1 a1b2c3"}, {Host: "x", Greeting: "+OK Gpop ready for requests from 192.0.2.1 a1b2c3"},
		},
		"": {
			{Host: "imap.example.com", User: user}, {Host: "", User: user}, {Host: "10.1.2.3"}, {Host: "notgmail.com"}, {Host: "outlook.com.example.com"}, {Host: "gmail.com.example.com"},
			{Host: "imap.example.com", User: "someone@outlook.com"}, // a gateway, perhaps
			{Host: "mail.contoso.com", Greeting: "* OK The Microsoft Exchange IMAP4 service is ready."},
			{Host: "mail.contoso.com", Greeting: "* OK " + online("IMAP4", "EX01.contoso.local")},
			{Host: "mail.contoso.com", Greeting: "* OK The Microsoft Exchange IMAP4 service is ready. [=]"},
			{Host: "mail.contoso.com", Greeting: "* OK The Microsoft Exchange IMAP4 service is ready. [AAA=]"},
			{Host: "mail.contoso.com", Greeting: "* OK proxy of outlook.office365.com, not Gimap ready "},
		},
	} {
		for _, s := range all {
			s.Protocol, s.Source = "IMAP", "invoices"
			r, ok := s.Retired()
			if ok != (kind != "") || ok && !strings.HasPrefix(r.What, map[string]string{"21Vianet": "Microsoft 365 in China (21Vianet) "}[kind]) {
				t.Errorf("%+v: %v, %+v", s, ok, r)
			}
			if kind != "" && kind != "21Vianet" && !strings.HasPrefix(r.What, kind+" lets") {
				t.Errorf("%+v: %s, want %s", s, r.What, kind)
			}
			if r.Always != (ok && kind != "Google") {
				t.Errorf("%+v: always %v", s, r.Always)
			}
		}
	}

	var all strings.Builder
	for _, s := range []mailhost.SignIn{
		{Protocol: "IMAP", Host: "outlook.office365.com", Source: "invoices", User: user, Credentials: "contoso"},
		{Protocol: "POP3", Host: "outlook.office365.com", Source: "invoices", User: user},
		{Protocol: "IMAP", Host: "outlook.office365.com", Source: "shared", User: `boss@contoso.com\shared`, Credentials: "our tenant's"},
		{Protocol: "IMAP", Host: "partner.outlook.cn", Source: "invoices", User: user, Credentials: "contoso"},
		{Protocol: "IMAP", Host: "imap-mail.outlook.com", Source: "mine", User: "someone@outlook.com", Credentials: "contoso"},
		{Protocol: "POP3", Host: "pop.gmail.com", Source: "orders", User: "orders@gmail.com", Credentials: "contoso"},
	} {
		r, _ := s.Retired()
		fmt.Fprintf(&all, "%s at %s as %s, with %q:\n%s\n\n", s.Protocol, s.Host, s.User, s.Credentials, r)
	}
	const golden = "testdata/retired.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(all.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if all.String() != string(want) {
		t.Errorf("said:\n%swant:\n%s", all.String(), want)
	}
}

func TestMayBeAppPassword(t *testing.T) {
	for password, want := range map[string]bool{
		"abcdefghijklmnop": true, "abcd efgh ijkl mnop": true, "": false, "Abcdefghijklmnop": false, "abcdefghijklmno": false,
		"abcdefghijklmnopq": false, "abcd1234efgh5678": false, "abcd  efgh ijkl mnop": false,
	} {
		if mailhost.MayBeAppPassword(password) != want {
			t.Errorf("%q: %v", password, !want)
		}
	}
}
