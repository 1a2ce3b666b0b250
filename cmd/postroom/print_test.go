package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postroom/internal/imaptest"
)

// TestTerminal: what is printed can do a terminal no harm.
func TestTerminal(t *testing.T) {
	var out bytes.Buffer
	text := "a\tb\n\x1b[31mred\r\x07\x7f\u009b1m\u202eabc \xff é 日本 \u2066"
	n, err := (&terminal{&out}).Write([]byte(text))
	if want := "a\tb\n" + `\u001b[31mred\u000d\u0007\u007f\u009b1m\u202eabc \xff é 日本 \u2066`; err != nil || n != len(text) || out.String() != want {
		t.Errorf("%d, %v:\n%s\nwant\n%s", n, err, out.String(), want)
	}
	out.Reset()
	if err := printJSON(&terminal{&out}, text[:len(text)-10]); err != nil {
		t.Fatal(err)
	}
	var back string
	if err := json.Unmarshal(out.Bytes(), &back); err != nil || !strings.HasPrefix(back, "a\tb\n\x1b[31mred\r\x07\x7f\u009b1m\u202eabc ") {
		t.Errorf("%q, %v from %s", back, err, out.Bytes())
	}
}

// TestQuoted: a name that could be taken for something else is in quotes, as it is.
func TestQuoted(t *testing.T) {
	for name, want := range map[string]string{
		"Größe & Maß/日本 1.eml": "Größe & Maß/日本 1.eml", `C:\Users\a b`: `C:\Users\a b`, "a\u00a0b": "a\u00a0b", "": "",
		"a\nb": `"a\nb"`, "\x1b[31ma": `"\x1b[31ma"`, " a": `" a"`, "a\tb": `"a\tb"`, "a\xff": `"a\xff"`, "a\u202eb": `"a\u202eb"`, "a\u2028b": `"a\u2028b"`,
	} {
		if got := quoted(name); got != want {
			t.Errorf("%q: %s, want %s", name, got, want)
		}
	}
	if got, want := quoting("open in\na/b\nc: or in\na", "in\na", "in\na/b\nc", ""), `open "in\na/b\nc": or "in\na"`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestServerCannotCommandTheTerminal: no escape of a server comes through,
// whatever it is in.
func TestServerCannotCommandTheTerminal(t *testing.T) {
	const red = "\x1b[31mRED\x1b[0m"
	for name, script := range map[string]imaptest.Script{
		"BYE": {Greeting: "* BYE [UNAVAILABLE] " + red},
		"NO to LOGIN": {Answer: func(c imaptest.Command) (imaptest.Reply, bool) {
			return imaptest.Reply{Send: "TAG NO " + red + "\r\n"}, strings.HasPrefix(c.Text, "LOGIN") || strings.HasPrefix(c.Text, "AUTHENTICATE")
		}},
		"NO to LIST": {Answer: func(c imaptest.Command) (imaptest.Reply, bool) {
			return imaptest.Reply{Send: "TAG NO " + red + "\r\n"}, strings.HasPrefix(c.Text, "LIST")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			server, err := imaptest.StartScript(script)
			if err != nil {
				t.Fatal(err)
			}
			defer server.Close()
			t.Setenv("POSTROOM_TEST_PASSWORD", marker)
			o := &office{t: t, dir: t.TempDir()}
			o.configure("server: " + server.Addr() + "\ntls: none\nallow_plaintext: true")
			for _, args := range [][]string{{"run", "--once"}, {"folders", "--source", "office"}, {"check"}, {"run", "--once", "--log-format", "json"}} {
				r := o.run(args...)
				if r.status != 1 || strings.Contains(r.out+r.err, "\x1b") {
					t.Errorf("%q: status %d\n%q\n%q", args, r.status, r.out, r.err)
				}
				contains(t, r.out+r.err, "RED")
			}
		})
	}
}

// TestNotBuilt: what is promised and not there says so, and is not in the help.
func TestNotBuilt(t *testing.T) {
	t.Setenv("POSTROOM_TEST_PASSWORD", marker)
	o := &office{t: t, dir: t.TempDir()}
	o.configure("server: imap.example.com")
	for _, line := range []string{
		"status --json", "status --help",
	} {
		r := o.run(strings.Fields(line)...)
		if r.status != exitUsage || r.out != "" || !strings.Contains(r.err, "not built yet") {
			t.Errorf("%s: %+v", line, r)
		}
	}
	r := o.run("--help")
	if r.status != exitOK {
		t.Errorf("%+v", r)
	}
	for _, name := range notBuilt() {
		if strings.Contains(r.out, "\n  "+name+" ") {
			t.Errorf("the help shows %s:\n%s", name, r.out)
		}
	}
}

// TestUnknownSourceInHistory: a name that neither the configuration nor the
// ledger knows is wrong usage.
func TestUnknownSourceInHistory(t *testing.T) {
	t.Setenv("POSTROOM_TEST_PASSWORD", marker)
	server, err := imaptest.Start(imaptest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	o := &office{t: t, dir: t.TempDir()}
	o.configure("server: " + server.Addr() + "\nca_file: " + server.CAFile())
	history := func(source string, want int) {
		t.Helper()
		if r := o.run("history", "--source", source); r.status != want || want == exitUsage && !strings.Contains(r.err, `"`+source+`"`) {
			t.Errorf("%s: %+v", source, r)
		}
	}
	history("zz", exitUsage)
	history("office", exitOK)
	text := strings.NewReplacer("username: office", "username: "+server.Username(), "${env:POSTROOM_TEST_PASSWORD}", server.Password()).Replace(o.file("config.yaml"))
	o.replaceConfig(text)
	if err := server.Deliver("INBOX", note(1), time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)); err != nil {
		t.Fatal(err)
	}
	if r := o.run("run", "--once"); r.status != 0 {
		t.Fatalf("%+v", r)
	}
	o.replaceConfig(strings.Replace(text, "- name: office\n    type: imap", "- name: other\n    type: imap", 1))
	history("zz", exitUsage)
	history("other", exitOK)
	history("office", exitOK) // of earlier
}

// TestExportOfWhatNeverCame: of a message that the server does not deliver
// there are no bytes, and the error says so.
func TestExportOfWhatNeverCame(t *testing.T) {
	server, err := imaptest.StartScript(imaptest.Script{
		Messages: []imaptest.ScriptMessage{{UID: 1, Raw: "Subject: a\r\n\r\n"}},
		Answer: func(c imaptest.Command) (imaptest.Reply, bool) {
			return imaptest.Reply{Send: "* 1 FETCH (UID 1 RFC822.SIZE 9 BODY[] {3000000000}\r\n", Close: true}, strings.Contains(c.Text, "BODY")
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	t.Setenv("POSTROOM_TEST_PASSWORD", marker)
	o := &office{t: t, dir: t.TempDir()}
	o.configure("server: " + server.Addr() + "\ntls: none\nallow_plaintext: true")
	first := o.run("run", "--once")
	var list struct{ Quarantine []struct{ ID string } }
	r := o.run("quarantine", "list", "--json")
	if err := json.Unmarshal([]byte(r.out), &list); err != nil || len(list.Quarantine) != 1 {
		t.Fatalf("%v: %+v after %+v", err, r, first)
	}
	file := filepath.Join(o.dir, "exported.eml")
	for _, to := range []string{file, "-"} {
		r := o.run("quarantine", "export", list.Quarantine[0].ID, to)
		if r.status != exitFailed || r.out != "" || !strings.Contains(r.err, "the server never delivered it; there are no bytes to export") {
			t.Errorf("%+v", r)
		}
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("an empty file was left")
	}
}
