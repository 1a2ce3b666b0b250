package config_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"postroom/cmd/postroom/config"
)

// TestNoValueIsShown puts a secret where it should not be, in every shape, and
// checks that what is said of it does not repeat it.
func TestNoValueIsShown(t *testing.T) {
	const password = "hunter2-marker"
	credentials := func(body string) string { return head + "credentials:\n  - name: box\n    type: password\n" + body }
	entra := func(body string) string {
		return head + "credentials:\n  - name: corp\n    type: entra\n    tenant_id: contoso.com\n    client_id: 22222222-2222-2222-2222-222222222222\n" + body
	}
	source := func(body string) string {
		return head + box + "sources:\n  - {name: one, type: imap, credentials: box, " + body + "}\n"
	}
	tests := map[string]string{
		// The shape is wrong.
		"list":                   credentials("    password: [SECRET]\n"),
		"mapping":                credentials("    password: {SECRET: x}\n"),
		"set":                    credentials("    password: {SECRET}\n"),
		"block list":             credentials("    password:\n      - SECRET\n"),
		"block mapping":          credentials("    password:\n      SECRET: x\n"),
		"tag":                    credentials("    password: !SECRET\n"),
		"tag before":             credentials("    password: !SECRET x\n"),
		"value after a tag":      credentials("    password: !x SECRET\n"),
		"tag with a brace":       credentials("    password: !SEC{RET SECRET\n"),
		"tag in flow":            head + "credentials: [{name: box, type: password, username: u, password: !SECRET}]\n",
		"verbatim tag":           credentials("    password: !<SECRET>\n"),
		"anchor":                 credentials("    password: &SECRET\n"),
		"anchor before":          credentials("    password: &SECRET x\n"),
		"alias":                  credentials("    password: *SECRET\n"),
		"merge key":              credentials("    <<: SECRET\n"),
		"complex key":            credentials("    ? SECRET\n    : x\n"),
		"no end of the quote":    credentials("    password: \"SECRET\n"),
		"no end, single":         credentials("    password: 'SECRET\n"),
		"after the quote":        credentials("    password: \"x\" SECRET\n"),
		"no end of the bracket":  credentials("    password: [SECRET\n"),
		"no end of the brace":    credentials("    password: {SECRET\n"),
		"other bracket":          credentials("    password: SECRET]\n    x: ]\n"),
		"escape":                 credentials("    password: \"\\SECRET\"\n"),
		"escape within":          credentials("    password: \"SECRET\\q\"\n"),
		"at sign":                credentials("    password: @SECRET\n"),
		"backquote":              credentials("    password: `SECRET`\n"),
		"percent":                credentials("    password: %SECRET\n"),
		"directive":              "%SECRET 1\n" + head,
		"YAML directive":         "%YAML SECRET\n---\n" + head,
		"colon":                  credentials("    password: a: SECRET\n"),
		"colon after":            credentials("    password: SECRET: a\n"),
		"tab":                    credentials("    password:\tSECRET\n"),
		"tab indent":             credentials("\tpassword: SECRET\n"),
		"tab within":             credentials("    username: \"SECRET\\t\"\n    password: x\n"),
		"indented too far":       credentials("      password: SECRET\n"),
		"indented too little":    credentials("   password: SECRET\n"),
		"not indented":           credentials("password: SECRET\n"),
		"next line":              credentials("    password:\nSECRET\n"),
		"no colon":               credentials("    password SECRET\n"),
		"no space":               credentials("    password:SECRET\n"),
		"no colon, in flow":      head + "credentials: [{name: box, type: password, username: u, password SECRET}]\n",
		"no space, in flow":      head + "credentials: [{name: box, type: password, username: u, password:SECRET}]\n",
		"comma, in flow":         head + "credentials: [{name: box, type: password, username: u, password: a,SECRET}]\n",
		"comma, letters only":    head + "credentials: [{name: box, type: password, username: u, password: a,SECRETletters}]\n",
		"comma, type missing":    head + "credentials: [{name: box, username: u, password: a,SECRETletters}]\n",
		"brace, in flow":         head + "credentials: [{name: box, type: password, username: u, password: a}SECRET}]\n",
		"comma and brace":        entra("    client_secret: {a,SECRET}\n"),
		"duplicate":              credentials("    username: u\n    password: SECRET\n    password: SECRET\n"),
		"duplicate of another":   credentials("    username: u\n    password: x\n    SECRET: x\n    SECRET: x\n"),
		"literal":                credentials("    username: |\n      SECRET\n      x\n"),
		"bad literal":            credentials("    password: |SECRET\n"),
		"control character":      credentials("    password: SECRET\x01\n"),
		"not UTF-8":              credentials("    password: SECRET\xff\n"),
		"carriage return":        credentials("    password: SECRET\rx\n"),
		"second document":        credentials("    password: x\n--- SECRET\n"),
		"after the end":          credentials("    password: x\n... SECRET\n"),
		"a text at the top":      "SECRET\n",
		"a list at the top":      "- SECRET\n",
		"reference without end":  credentials("    password: ${SECRET\n"),
		"unknown reference":      credentials("    password: ${SECRET}\n"),
		"dollar":                 credentials("    password: a${SECRET}b\n"),
		"reference, no kind":     credentials("    password: ${env}${SECRET:x}\n"),
		"nested reference":       credentials("    password: '${env:${SECRET}}'\n"),
		"empty reference":        credentials("    password: ${:SECRET}\n"),
		"odd variable":           credentials("    password: ${env:SECRET!}\n"),
		"odd file":               credentials("    password: ${file:SECRET!}\n"),
		"file of another":        credentials("    password: ${file:https://u:SECRET@x}\n"),
		"reference to a secret":  credentials("    password: ${file:${env:MARKER}}\n"),
		"number":                 credentials("    username: 12345\n    password: SECRET\n"),
		"client secret, list":    entra("    client_secret: [SECRET]\n"),
		"certificate password":   entra("    client_secret: x\n    client_certificate_password: SECRET\n"),
		"wrong flow":             entra("    flow: device_code\n    client_secret: SECRET\n"),
		"both":                   entra("    client_certificate: x\n    client_secret: SECRET\n"),
		"authority":              entra("    client_secret: x\n    cloud: custom\n    graph_endpoint: https://u:SECRET@h\n    authority_host: SECRET\n"),
		"client id":              entra("    client_id: SECRET\n"),
		"flow":                   entra("    flow: SECRET\n"),
		"key of another type":    entra("    password: SECRET\n"),
		"type":                   head + "credentials: [{name: box, type: SECRET, username: u, password: x}]\n",
		"no type":                head + "credentials: [{name: box, username: u, password: SECRET}]\n",
		"mapping for list":       head + "credentials: {box: {password: SECRET}}\n",
		"text for list":          head + "credentials: SECRET\n",
		"text for an item":       head + "credentials: [SECRET]\n",
		"odd name":               head + "credentials: [{name: SECRET, type: password, password: x}, {name: SECRET, type: password, username: u, password: x}]\n",
		"unknown key":            head + "passwort: SECRET\n",
		"version":                "version: SECRET\nrepository: {type: filesystem, path: ./documents}\n",
		"repository":             "version: 1\nrepository: SECRET\n",
		"repository type":        "version: 1\nrepository: {type: SECRET, path: ./documents}\n",
		"path":                   head + "state_dir: \"SECRET\\t\"\n",
		"path with a user":       head + "state_dir: smb://u:SECRET@host/share\n",
		"home":                   head + "state_dir: ~/SECRET\n",
		"ledger":                 head + "ledger: postgres://u:SECRET@\n",
		"ledger, odd port":       head + "ledger: postgres://u:SECRET@host:x/d\n",
		"ledger, escape":         head + "ledger: postgres://u:%zzSECRET@host/d\n",
		"ledger, other kind":     head + "ledger: mysql://u:SECRET@host/d\n",
		"ledger, list":           head + "ledger: [postgres://u:SECRET@host/d]\n",
		"ledger, not built":      head + "ledger: postgres://u:SECRET@host/d\n",
		"proxy":                  head + "proxy: ftp://u:SECRET@host\n",
		"proxy, port":            head + "proxy: http://u:SECRET@host:99999\n",
		"proxy, escape":          head + "proxy: http://u:%SECRET@host\n",
		"proxy, mapping":         head + "proxy: {url: \"http://u:SECRET@host\"}\n",
		"include":                head + "include: [\"https://u:SECRET@host/x.yaml\"]\n",
		"include, odd":           head + "include: [\"SECRET!.yaml\"]\n",
		"include, by reference":  head + "include: [\"${env:MARKER}\", \"${env:MARKER}/*.yaml\"]\n",
		"include, text":          head + "include: SECRET\n",
		"listen":                 head + "status: {listen: \"SECRET\"}\n",
		"log":                    head + "log: {level: SECRET, format: SECRET}\n",
		"server":                 source("server: \"imap://u:SECRET@h\""),
		"server with a user":     source("server: \"u:SECRET@h\""),
		"server, odd":            source("server: \"SECRET!\""),
		"server, port":           source("server: \"h:SECRET\""),
		"server, brackets":       source("server: \"[SECRET]\""),
		"credentials":            source("server: x, credentials: SECRET"),
		"credentials, once":      head + box + "sources: [{name: one, type: imap, server: x, credentials: SECRET}]\n",
		"source name":            head + box + "sources: [{name: \"SECRET!\", type: imap, credentials: box, server: x, poll_interval: 0s}]\n",
		"source type":            head + box + "sources: [{name: one, type: SECRET, credentials: box, server: x}]\n",
		"duration":               source("server: x, poll_interval: SECRET"),
		"bool":                   source("server: x, watch: SECRET"),
		"int":                    source("server: x, connections: SECRET"),
		"folder":                 source("server: x, folders: [\"SECRET//a\"], failed_folder: \"SECRET%\", exclude_folders: [\"**/SECRET\"]"),
		"folder, twice":          source("server: x, folders: [SECRET], failed_folder: SECRET, exclude_folders: [SECRET]"),
		"date and size":          source("server: x, only: {since: SECRET, max_size: SECRET, unread: SECRET, from: SECRET}"),
		"document":               source("server: x, document: {title: \"{SECRET}\", properties: [{name: a, read: SECRET}, {name: b, read: subject, match: \"(SECRET\"}, {name: c, value: SECRET, default: SECRET}]}"),
		"in a defaults":          head + box + "defaults: {password: SECRET, poll_interval: SECRET, SECRET: x, SECRET: y}\n",
		"outgoing":               head + "outgoing: {global: {type: smtp, server: \"smtp://u:SECRET@h\", credentials: SECRET, from: SECRET, password: SECRET}, notify: [SECRET]}\n",
		"formerly":               source("server: x, formerly: [\"SECRET!\", one]"),
		"in an included file":    head + "include: [more.yaml]\n",
		"disabled, in clear":     head + "credentials: [{name: box, type: password, username: u, password: SECRET}]\nsources: [{name: a, type: imap, enabled: false, credentials: box, server: x, format: msg}]\n",
		"warned of, in clear":    credentials("    username: u\n    password: SECRET\n"),
		"ledger and proxy clear": head + "proxy: http://u:SECRET@h\n",
	}
	for name, text := range tests {
		t.Run(name, func(t *testing.T) {
			setEnvironment(t)
			dir := write(t, map[string]string{
				"config.yaml": strings.ReplaceAll(text, "SECRET", password),
				"more.yaml":   "credentials:\n  - {name: box, type: password, username: u, passwd: " + password + ", password: !" + password + "}\n  - " + password + "\n" + password + ": x\n",
			})
			c, err := config.Load(filepath.Join(dir, "config.yaml"), drivers())
			var problems config.Problems
			if err == nil {
				problems = c.Warnings
			} else if !errors.As(err, &problems) {
				t.Fatalf("Load returned %v", err)
			}
			if len(problems) == 0 {
				t.Error("nothing is wrong with it")
			}
			for _, p := range problems {
				if strings.Contains(p.Message, password) || strings.Contains(p.Message, "hunter2") {
					t.Errorf("a secret is in %v", p)
				}
			}
			checkForm(t, lines(dir, problems))
		})
	}
}
