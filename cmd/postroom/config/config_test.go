package config_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"postroom/cmd/postroom/config"
	"postroom/sources"
	"postroom/sources/imap"
)

const head = "version: 1\nrepository: {type: filesystem, path: ./documents}\n"

const box = "credentials:\n  - {name: box, type: password, username: u, password: \"${env:BOX_PASSWORD}\"}\n"

// load loads a configuration that must be valid.
func load(t *testing.T, files map[string]string) (*config.Config, string) {
	t.Helper()
	setEnvironment(t)
	dir := write(t, files)
	c, err := config.Load(filepath.Join(dir, "config.yaml"), drivers())
	if err != nil {
		t.Fatal(err)
	}
	return c, dir
}

func TestLoad(t *testing.T) {
	c, dir := load(t, map[string]string{"ca.pem": "CERTIFICATE", "config.yaml": "\ufeff" + head + `state_dir: var/state
ledger: sqlite:var/ledger.db
spool: var/spool
proxy: http://proxy.example.com:3128
log: {level: debug, format: json, file: log/postroom.log}
credentials:
  - {name: Box, type: password, username: u@example.com, password: "${env:BOX_PASSWORD}"}
  - name: corp
    type: entra
    tenant_id: contoso.com
    client_id: 22222222-2222-2222-2222-222222222222
    client_certificate: corp.pem
    client_certificate_password: ${env:BOX_PASSWORD}
    cloud: custom
    authority_host: https://login.example
    graph_endpoint: https://graph.example
defaults:
  poll_interval: 1d12h
  after_filing: move
  filed_folder: Done
  permanent: true
  watch: true
  document: {class: Letter, permissions: All}
sources:
  - name: Orders
    type: imap
    credentials: Box
    server: imap.example.com
  - name: invoices
    type: imap
    enabled: false
    formerly: [old-1, OLD_2]
    credentials: corp
    mailbox: invoices@example.com
    server: "[::1]:143"
    tls: starttls
    ca_file: ca.pem
    folders: [Inbox/Sub, "Inbox/Projects/**"]
    exclude_folders: ["Inbox/A%2FB"]
    failed_folder: Inbox/Failed
    watch: false
    connections: 10
    poll_interval: 30s
    format: msg
    separate_attachments: true
    keep_original: true
    after_filing: delete
    duplicates: file
    only: {unread: true, since: 2024-02-03, max_size: 150MB, from: ["*@supplier.com"], subject: ["INV-*", "?x"]}
    document:
      title: "{subject} {{x}} {header:X-Ticket}"
      properties:
        - {name: Department, value: Finance}
        - {name: Number, read: subject, match: 'INV-(\d+)', required: true}
        - {name: Number, read: cc, default: none}
`})
	at := func(line int) config.Position {
		return config.Position{File: filepath.Join(dir, "config.yaml"), Line: line, Column: 5}
	}
	if c.File != filepath.Join(dir, "config.yaml") || c.Dir != dir {
		t.Errorf("file is %s, folder %s", c.File, c.Dir)
	}
	if want := (config.Repository{Type: "filesystem", Path: filepath.Join(dir, "documents")}); c.Repository != want {
		t.Errorf("repository is %+v, want %+v", c.Repository, want)
	}
	for what, pair := range map[string][2]string{
		"state_dir": {c.StateDir, filepath.Join(dir, "var", "state")},
		"ledger":    {c.Ledger.Reveal(), "sqlite:" + filepath.Join(dir, "var", "ledger.db")},
		"proxy":     {c.Proxy.Reveal(), "http://proxy.example.com:3128"},
		"log.file":  {c.Log.File, filepath.Join(dir, "log", "postroom.log")},
		"log.level": {c.Log.Level, "debug"},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s is %q, want %q", what, pair[0], pair[1])
		}
	}
	for _, warning := range c.Warnings {
		// Of the source that is disabled, and its credentials.
		if !strings.HasSuffix(warning.Message, ": not built yet") {
			t.Errorf("warning: %v", warning)
		}
	}

	credentials := c.Credentials["Box"]
	if credentials == nil || credentials.Username != "u@example.com" || credentials.Password.Reveal() != marker {
		t.Fatalf("credentials are %+v", credentials)
	}
	corp := c.Credentials["corp"]
	if corp == nil || corp.Entra == nil || corp.Entra.ClientCertificate != filepath.Join(dir, "corp.pem") || corp.Entra.Flow != "client_credentials" {
		t.Fatalf("credentials are %+v", corp)
	}

	wants := []*config.Source{{
		Position: at(27), Name: "Orders", Type: "imap", Enabled: true, Credentials: credentials, Entra: "corp",
		PollInterval: 36 * time.Hour, Format: "eml", AfterFiling: "move", Duplicates: "skip",
		Document: config.DocumentRules{Class: "Letter", Title: "{subject}", Permissions: "All"},
		Options: &imap.Options{
			Server: "imap.example.com", TLS: "implicit", Folders: []string{"Inbox"}, FiledFolder: "Done", Watch: true, Connections: 2,
		},
	}, {
		Position: at(31), Name: "invoices", Type: "imap", Formerly: []string{"old-1", "OLD_2"}, Credentials: corp, Entra: "corp",
		Mailbox: "invoices@example.com", PollInterval: 30 * time.Second, Format: "msg",
		SeparateAttachments: true, KeepOriginal: true, AfterFiling: "delete", Permanent: true, Duplicates: "file",
		Only: config.Only{
			Unread: true, Since: time.Date(2024, 2, 3, 0, 0, 0, 0, time.UTC), MaxSize: 150e6,
			From: []string{"*@supplier.com"}, Subject: []string{"INV-*", "?x"},
		},
		Document: c.Sources[1].Document,
		Options: &imap.Options{
			Server: "[::1]:143", TLS: "starttls", CAFile: filepath.Join(dir, "ca.pem"),
			Folders: []string{"Inbox/Sub", "Inbox/Projects/**"}, ExcludeFolders: []string{"Inbox/A%2FB"},
			FailedFolder: "Inbox/Failed", Connections: 10,
		},
	}}
	for i, want := range wants {
		if !reflect.DeepEqual(c.Sources[i], want) {
			t.Errorf("source %d is\n%+v %+v, want\n%+v %+v", i, c.Sources[i], c.Sources[i].Options, want, want.Options)
		}
	}
	rules := c.Sources[1].Document
	number := rules.Properties[1]
	if rules.Class != "" || rules.Title != "{subject} {{x}} {header:X-Ticket}" || len(rules.Properties) != 3 ||
		rules.Properties[0] != (config.Property{Name: "Department", Value: "Finance"}) ||
		number.Match.String() != `INV-(\d+)` || !number.Required || number.Default != "" || number.Read != "subject" ||
		rules.Properties[2] != (config.Property{Name: "Number", Read: "cc", Default: "none"}) {
		t.Errorf("document is %+v", rules)
	}
}

func TestDefaults(t *testing.T) {
	c, dir := load(t, map[string]string{"config.yaml": head + box + "sources:\n  - {name: a, type: imap, credentials: box, server: x}\n"})
	if c.StateDir != filepath.Join(dir, "state") || c.Spool != filepath.Join(dir, "state", "spool") ||
		c.Ledger.Reveal() != "sqlite:"+filepath.Join(dir, "state", "postroom.db") || !c.Proxy.Empty() {
		t.Errorf("places are %s, %s, %s, %s", c.StateDir, c.Spool, c.Ledger.Reveal(), c.Proxy.Reveal())
	}
	if c.Status != (config.Status{Listen: "127.0.0.1:8460", SignIn: "none"}) || c.Log != (config.Log{Level: "info", Format: "text"}) {
		t.Errorf("status is %+v, log %+v", c.Status, c.Log)
	}
	s := c.Sources[0]
	if !s.Enabled || s.PollInterval != time.Minute || s.Format != "eml" || s.AfterFiling != "keep" || s.Duplicates != "skip" || s.Document.Title != "{subject}" {
		t.Errorf("source is %+v", s)
	}
	if o := s.Options.(*imap.Options); o.TLS != "implicit" || !reflect.DeepEqual(o.Folders, []string{"Inbox"}) || o.Connections != 2 || o.Watch {
		t.Errorf("options are %+v", o)
	}
}

func TestReferences(t *testing.T) {
	files := map[string]string{
		"plain":   "from file\n",
		"crlf":    "from file\r\n",
		"bom":     "\ufefffrom file",
		"two":     "a\n\n",
		"nested":  "${env:BOX_PASSWORD}",
		"sub/own": "sub",
	}
	for text, want := range map[string]string{
		"${env:BOX_PASSWORD}":                 marker,
		"a${env:BOX_PASSWORD}b${file:plain}c": "a" + marker + "bfrom filec",
		"${file:./crlf}":                      "from file",
		"${file:bom}":                         "from file",
		"${file:two}":                         "a\n",
		"${file:nested}":                      "${env:BOX_PASSWORD}",
		"$${env:BOX_PASSWORD}":                "${env:BOX_PASSWORD}",
		"$$ $ {x} $x ${env:BOX_PASSWORD}$":    "$$ $ {x} $x " + marker + "$",
		"a$${b}${file:sub/own}":               "a${b}sub",
	} {
		t.Run(text, func(t *testing.T) {
			files := map[string]string{
				"config.yaml": head + "include: [inner/c.yaml]\n",
				// Paths start at the folder of the main file here too.
				"inner/c.yaml": "credentials:\n  - {name: box, type: password, username: u, password: '" + text + "'}\n",
				"plain":        files["plain"], "crlf": files["crlf"], "bom": files["bom"], "two": files["two"],
				"nested": files["nested"], "sub/own": files["sub/own"],
			}
			c, _ := load(t, files)
			if got := c.Credentials["box"].Password.Reveal(); got != want {
				t.Errorf("the value is %q, want %q", got, want)
			}
		})
	}
}

func TestReferencesOfEveryType(t *testing.T) {
	for name, value := range map[string]string{"NAME": "Alpha", "YES": "true", "SEVEN": "7", "SPAN": "7m", "MEGA": "7MB", "DAY": "2024-01-02", "VERSION": "1"} {
		t.Setenv(name, value)
	}
	c, _ := load(t, map[string]string{"config.yaml": `version: ${env:VERSION}
repository: {type: filesystem, path: "./${env:NAME}"}
` + box + `sources:
  - name: ${env:NAME}
    type: imap
    enabled: false
    credentials: box
    server: ${env:NAME}.example.com
    folders: ["${env:NAME}/x"]
    watch: ${env:YES}
    connections: ${env:SEVEN}
    poll_interval: ${env:SPAN}
    only: {max_size: "${env:MEGA}", since: "${env:DAY}"}
`})
	s := c.Sources[0]
	o := s.Options.(*imap.Options)
	if s.Name != "Alpha" || o.Server != "Alpha.example.com" || o.Folders[0] != "Alpha/x" || !o.Watch || o.Connections != 7 ||
		s.PollInterval != 7*time.Minute || s.Only.MaxSize != 7e6 || s.Only.Since.Day() != 2 {
		t.Errorf("source is %+v, options %+v", s, o)
	}
}

func TestInclude(t *testing.T) {
	source := func(name string) string {
		return fmt.Sprintf("sources:\n  - {name: %s, type: imap, credentials: box, server: x, ca_file: ca.pem}\n", name)
	}
	outside := write(t, map[string]string{"ca.pem": "CERTIFICATE", "far.yaml": source("far")})
	c, dir := load(t, map[string]string{
		"config.yaml":            head + "include: [sources.d/*.yaml, sources.d/b.yaml, '*/deep/?.yaml', '" + filepath.ToSlash(outside) + "/f*.yaml', sources.d/.hid*.yaml]\n" + source("main"),
		"sources.d/b.yaml":       source("b"),
		"sources.d/a.yaml":       box + source("a"),
		"sources.d/c.yml":        "not: [read",
		"ca.pem":                 "CERTIFICATE",
		"sources.d/.#b.yaml":     "not: [read",
		"sources.d/.hid.yaml":    source("hidden"),
		"sources.d/x.yaml/y":     "a folder",
		"sources.d/deep/1.yaml":  source("deep"),
		"sources.d/deep/11.yaml": "not: [read",
	})
	var names []string
	for _, s := range c.Sources {
		names = append(names, s.Name)
		if got, want := s.Options.(*imap.Options).CAFile, filepath.Join(dir, "ca.pem"); got != want {
			t.Errorf("path in %s is %s, want %s", s.Position.File, got, want)
		}
	}
	if want := []string{"main", "a", "b", "deep", "far", "hidden"}; !reflect.DeepEqual(names, want) {
		t.Errorf("sources are %v, want %v", names, want)
	}
	if got, want := c.Sources[1].Position, (config.Position{File: filepath.Join(dir, "sources.d", "a.yaml"), Line: 4, Column: 5}); got != want {
		t.Errorf("position is %v, want %v", got, want)
	}
}

func TestWarnings(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"no sources", head, "config.yaml:1:1: no sources; nothing will be filed\n"},
		{"clear secret", head + "credentials:\n  - {name: a, type: password, username: u, password: hunter2-marker}\n  - name: b\n    type: password\n    username: u\n    password: '$${env:X}'\nsources: [{name: a, type: imap, credentials: a, server: x}]\n",
			"config.yaml:4:54: password: secret written in clear; better ${env:NAME} or ${file:PATH}\nconfig.yaml:8:15: password: secret written in clear; better ${env:NAME} or ${file:PATH}\n"},
		{"clear proxy", head + "proxy: http://user:hunter2-marker@proxy:3128\n", "config.yaml:1:1: no sources; nothing will be filed\nconfig.yaml:3:8: proxy: secret written in clear; better ${env:NAME} or ${file:PATH}\n"},
		{"proxy by reference", head + "proxy: http://user:${env:BOX_PASSWORD}@proxy:3128\n", "config.yaml:1:1: no sources; nothing will be filed\n"},
		{"id of a secret", head + "credentials:\n  - name: corp\n    type: entra\n    tenant_id: contoso.com\n    client_id: 22222222-2222-2222-2222-222222222222\n    client_secret: ${file:id}\n",
			"config.yaml:1:1: no sources; nothing will be filed\nconfig.yaml:8:20: client_secret: has the shape of an id; a secret has an id and a value, and only its Value signs in\n"},
		{"status", head + "status: {listen: '[::1]:8460'}\n", "config.yaml:1:1: no sources; nothing will be filed\nconfig.yaml:3:1: status: not built yet; it does nothing\n"},
		{"all disabled", head + box + "sources: [{name: a, type: imap, credentials: box, server: x, enabled: false}]\n", "config.yaml:1:1: no source is enabled; nothing will be filed\n"},
		{"not built, in use nowhere", head + box + `  - {name: goog, type: google, service_account_file: x.json}
  - {name: kept, type: password, username: u, password: "${secret:kept}"}
defaults: {format: msg}
sources:
  - {name: a, type: imap, credentials: box, server: x}
  - {name: b, type: pop3, credentials: box, server: x, enabled: false, mailbox: "${secret:b}", format: eml, document: {title: "{importance}"}, only: {since: 2024-01-01}}
  - {name: c, type: gmail, credentials: goog, mailbox: a@example.com, enabled: false}
`,
			"config.yaml:5:24: type: google: not built yet\nconfig.yaml:6:57: password: ${secret:NAME}: not built yet\n" +
				"config.yaml:10:81: mailbox: ${secret:NAME}: not built yet\n" +
				"config.yaml:11:21: type: gmail: not built yet\n"},
		{"folders", head + box + "sources: [{name: a, type: imap, credentials: box, server: x, folders: [Inbox, A/B], exclude_folders: [A], failed_folder: Done, after_filing: move, filed_folder: Done}]\n",
			"config.yaml:5:71: folders: exclude_folders leaves out a folder that is named here; it is not read\nconfig.yaml:5:122: failed_folder: the same as filed_folder; what failed cannot be told from what was filed\n"},
		{"filter", head + box + "sources: [{name: a, type: imap, credentials: box, server: x, only: {from: [supplier.com, 'a@b', '*.com', 'x?y']}}]\n",
			"config.yaml:5:76: only.from: fits no address with @, since it has neither @ nor * nor ?; for all addresses of a domain write *@ before it\n"},
		{"required with a default", head + box + "sources: [{name: a, type: imap, credentials: box, server: x, document: {properties: [{name: p, read: cc, required: true, default: d}, {name: p, read: cc, required: false, default: d}]}}]\n",
			"config.yaml:5:106: required has no effect beside default, which is a value; leave one of them out\n"},
		{"include", head + "include: [sources.d/*.yaml, comments.yaml]\n", "comments.yaml:1:1: the file holds nothing\nconfig.yaml:1:1: no sources; nothing will be filed\nconfig.yaml:3:11: include: no file matches\n"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c, dir := load(t, map[string]string{"config.yaml": test.text, "comments.yaml": "# nothing\n", "id": "33333333-3333-3333-3333-333333333333"})
			if got := lines(dir, c.Warnings); got != test.want {
				t.Errorf("warnings are\n%swant\n%s", got, test.want)
			}
		})
	}
}

func TestEncodings(t *testing.T) {
	wide := func(s string, big bool) string {
		var b strings.Builder
		for _, c := range []byte(s) {
			if big {
				b.WriteString(string([]byte{0, c}))
			} else {
				b.WriteString(string([]byte{c, 0}))
			}
		}
		return b.String()
	}
	tests := []struct{ name, data, want string }{
		{"UTF-16 LE", "\xff\xfe" + wide(head, false), "config.yaml:1:1: file is UTF-16 (little endian); save it as UTF-8\n"},
		{"UTF-16 BE", "\xfe\xff" + wide(head, true), "config.yaml:1:1: file is UTF-16 (big endian); save it as UTF-8\n"},
		{"UTF-16 LE without mark", wide(head, false), "config.yaml:1:1: file is UTF-16 (little endian, without byte order mark); save it as UTF-8\n"},
		{"UTF-16 BE without mark", wide(head, true), "config.yaml:1:1: file is UTF-16 (big endian, without byte order mark); save it as UTF-8\n"},
		{"UTF-32", "\xff\xfe\x00\x00v\x00\x00\x00", "config.yaml:1:1: file is UTF-32; save it as UTF-8\n"},
		{"Latin-1", head + "# ä\nspool: Gr\xf6\xdfe\n", "config.yaml:4:10: byte 0xF6 is not UTF-8; save the file as UTF-8\nconfig.yaml:4:11: byte 0xDF is not UTF-8; save the file as UTF-8\n"},
		{"NUL", head + "# äöü \x00\n", "config.yaml:3:7: control character U+0000; remove it\n"},
		{"control character", head + "spool: a\x1bb\n", "config.yaml:3:9: control character U+001B; remove it\n"},
		{"C1", head + "spool: \u0085\n", "config.yaml:3:8: control character U+0085; remove it\n"},
		{"CR", "version: 1\r# x\r", "config.yaml:1:11: carriage return without line feed; end lines with LF or CR LF\n"},
		{"large", head + strings.Repeat("# x\n", 1<<20), "config.yaml:1:1: file is larger than 4 MiB; split it with include\n"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := write(t, map[string]string{"config.yaml": test.data})
			_, err := config.Load(filepath.Join(dir, "config.yaml"), drivers())
			var problems config.Problems
			if !errors.As(err, &problems) {
				t.Fatalf("Load returned %v", err)
			}
			if got := lines(dir, problems); got != test.want {
				t.Errorf("problems are\n%swant\n%s", got, test.want)
			}
		})
	}
}

func TestVersion(t *testing.T) {
	for text, want := range map[string]string{
		"1": "", "2": "the version is newer; this postroom understands version 1", "0": "version: the value is unknown; allowed: 1",
		"-1": "version: the value is unknown; allowed: 1", "1.0": `version: the value is unknown (did you mean "1"?); allowed: 1`, "0x1": `version: the value is unknown (did you mean "1"?); allowed: 1`,
		"99999999999999999999": "version: wrong type (text); allowed: 1", "one": "version: wrong type (text); allowed: 1", "'1'": "version: wrong type (text); allowed: 1",
		"": "version: empty entry; allowed: 1; or leave the key out", "[1]": "version: wrong type (list); allowed: 1",
	} {
		dir := write(t, map[string]string{"config.yaml": "repository: {type: filesystem, path: ./documents}\nversion: " + text + "\n"})
		_, err := config.Load(filepath.Join(dir, "config.yaml"), drivers())
		if want == "" && err != nil || want != "" && (err == nil || !strings.HasSuffix(err.Error(), want)) {
			t.Errorf("version %s: Load returned %v, want %q", text, err, want)
		}
	}
}

func TestUnreadableFile(t *testing.T) {
	_, err := config.Load(filepath.Join(t.TempDir(), "config.yaml"), drivers())
	var problems config.Problems
	if !errors.Is(err, fs.ErrNotExist) || errors.As(err, &problems) {
		t.Errorf("Load returned %v, want an error that wraps fs.ErrNotExist", err)
	}
	if _, err := config.Load(t.TempDir(), drivers()); err == nil || errors.As(err, &problems) {
		t.Errorf("Load of a folder returned %v", err)
	}
}

// talkative is a driver's Options that quote their values, as they should not.
type talkative struct {
	Server string `yaml:"server" doc:"A server."`
	Colour string `yaml:"colour" doc:"A colour."`
}

func (o *talkative) CheckOptions() []sources.Problem {
	return []sources.Problem{
		{Key: "colour", Message: fmt.Sprintf("colour does not go with %q; allowed: none", o.Server)},
		{Message: "talks too much; allowed: less"},
	}
}

func TestChecker(t *testing.T) {
	setEnvironment(t)
	talk := []config.Driver{{Type: "talk", Options: func() any { return new(talkative) }}}
	for server, want := range map[string]string{
		"plain":                 "config.yaml:6:68: colour: the value does not fit; see what the key takes",
		"'${env:BOX_PASSWORD}'": "config.yaml:6:84: colour: the value does not fit; see what the key takes",
	} {
		dir := write(t, map[string]string{"config.yaml": head + box + "sources:\n  - {name: a, type: talk, credentials: box, server: " + server + ", colour: red}\n"})
		_, err := config.Load(filepath.Join(dir, "config.yaml"), talk)
		want = "config.yaml:6:5: talks too much; allowed: less\n" + want + "\n"
		var problems config.Problems
		if !errors.As(err, &problems) || lines(dir, problems) != want {
			t.Errorf("Load returned\n%v\nwant\n%s", err, want)
		}
	}
}

// TestSecretsAreHidden checks that a configuration may be printed.
func TestSecretsAreHidden(t *testing.T) {
	c, _ := load(t, map[string]string{"config.yaml": head + box + "proxy: http://u:${env:BOX_PASSWORD}@proxy\nsources: [{name: a, type: imap, credentials: box, server: x}]\n"})
	data, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, printed := range []string{fmt.Sprintf("%+v", c), fmt.Sprintf("%#v", *c.Credentials["box"]), fmt.Sprintf("%+v", *c.Sources[0].Credentials), string(data)} {
		if strings.Contains(printed, marker) {
			t.Errorf("a secret is in %s", printed)
		}
	}
	if !strings.Contains(string(data), `"Password":"***"`) {
		t.Errorf("the password is not in %s", data)
	}
}

// large returns a configuration of n sources, each with credentials of its own.
func large(n int) string {
	var b strings.Builder
	b.WriteString(head + "credentials:\n")
	for i := range n {
		fmt.Fprintf(&b, "  - {name: box%d, type: password, username: u%d, password: '${env:BOX_PASSWORD}'}\n", i, i)
	}
	b.WriteString("defaults: {watch: true, document: {class: Letter}}\nsources:\n")
	for i := range n {
		fmt.Fprintf(&b, "  - name: source%d\n    type: imap\n    credentials: box%d\n    server: imap.example.com\n    folders: [Inbox, 'Inbox/**']\n", i, i)
	}
	return b.String()
}

func TestManySources(t *testing.T) {
	start := time.Now()
	c, _ := load(t, map[string]string{"config.yaml": large(5000)})
	if len(c.Sources) != 5000 {
		t.Errorf("%d sources", len(c.Sources))
	}
	// A fifth of a second when the machine is idle; quadratic work takes minutes.
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("loading takes %v", took)
	}
}

func TestManyProblems(t *testing.T) {
	setEnvironment(t)
	text := strings.ReplaceAll(large(5000), "credentials: box", "credentials: bax")
	dir := write(t, map[string]string{"config.yaml": strings.ReplaceAll(text, "folders:", "folder:")})
	start := time.Now()
	_, err := config.Load(filepath.Join(dir, "config.yaml"), drivers())
	var problems config.Problems
	if !errors.As(err, &problems) || len(problems) != 10000 {
		t.Errorf("Load returned %d problems, want 10000", len(problems))
	}
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("loading takes %v", took)
	}
}

func BenchmarkLoad(b *testing.B) {
	b.Setenv("BOX_PASSWORD", marker)
	path := filepath.Join(b.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte(large(5000)), 0o600); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := config.Load(path, drivers()); err != nil {
			b.Fatal(err)
		}
	}
}
