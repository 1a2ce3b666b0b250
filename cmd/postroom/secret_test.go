package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"postroom/internal/dovecot"
)

// typing runs a command to which something is typed.
func (o *office) typing(text string, args ...string) result {
	o.t.Helper()
	var out, errs bytes.Buffer
	status := run(o.t.Context(), append(args, "--config", filepath.Join(o.dir, "config.yaml")), strings.NewReader(text), &out, &errs)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.out.Write(out.Bytes())
	o.out.Write(errs.Bytes())
	return result{status, out.String(), errs.String()}
}

// remedies follows what is said to do about a vault that cannot be read.
func (o *office) remedies() {
	vault := filepath.Join(o.dir, "state", "vault")
	aside := func() error { return os.Rename(vault, filepath.Join(o.t.TempDir(), "vault")) }
	set := func() error { return nil }
	key := filepath.Join(vault, "key")
	for _, row := range []struct {
		damage func() error
		remedy string
		follow func() error
	}{
		{func() error { return os.WriteFile(key, []byte(strings.Repeat("k", 32)), 0o600) },
			"set it again: postroom secret set office.imap --config " + filepath.Join(o.dir, "config.yaml"), set},
		{func() error { return os.WriteFile(key, nil, 0o600) }, "move the folder vault in state_dir away", aside},
		{func() error { return os.Remove(key) }, "move the folder vault in state_dir away", aside},
		{func() error { return os.Truncate(filepath.Join(vault, "values.json"), 30) }, "move the folder vault in state_dir away", aside},
	} {
		if err := row.damage(); err != nil {
			o.t.Fatal(err)
		}
		check, list := o.run("check", "--offline"), o.run("secret", "list")
		if check.status != exitUsage || list.status != exitFailed {
			o.t.Errorf("%+v, %+v", check, list)
		}
		contains(o.t, check.err, row.remedy)
		contains(o.t, list.out+list.err, row.remedy)
		if strings.Contains(row.remedy, "away") {
			r := o.typing(marker+"\n", "secret", "set", "another")
			if r.status != exitFailed || strings.Contains(check.err+list.out, "set it again") {
				o.t.Errorf("%+v, %+v, %+v", r, check, list)
			}
			contains(o.t, r.err, row.remedy)
		}
		if err := row.follow(); err != nil {
			o.t.Fatal(err)
		}
		if r := o.typing(marker+"\n", "secret", "set", "office.imap"); r.status != 0 {
			o.t.Errorf("%+v", r)
		}
		if check, list := o.run("check", "--offline"), o.run("secret", "list"); check.status != 0 || list.status != 0 {
			o.t.Errorf("%+v, %+v", check, list)
		}
	}
}

// A password that is kept signs in, and one that is set anew is taken up by a
// running daemon.
func TestSecret(t *testing.T) {
	o := newOffice(t, dovecot.Options{})
	o.configure("poll_interval: 1s")
	o.replaceConfig(strings.Replace(o.file("config.yaml"), "${env:POSTROOM_TEST_PASSWORD}", "${secret:office.imap}", 1) + "log: {file: ./postroom.log}\n")
	r := o.run("check", "--offline")
	if r.status != exitUsage {
		t.Errorf("%+v", r)
	}
	contains(t, r.err, "config.yaml:7:15: password: no secret office.imap is kept; set it: postroom secret set office.imap --config "+filepath.Join(o.dir, "config.yaml"))

	for name, row := range map[string]struct {
		args []string
		text string
	}{
		"no name": {[]string{"set"}, "x"}, "empty": {[]string{"set", "a"}, "\n"}, "not UTF-8": {[]string{"set", "a"}, "\xff"},
		"a path": {[]string{"set", "../a"}, "x"}, "nothing to do": {nil, ""}, "large": {[]string{"set", "a"}, strings.Repeat("x", 70_000)},
	} {
		if r := o.typing(row.text, append([]string{"secret"}, row.args...)...); r.status != exitUsage || r.err == "" {
			t.Errorf("%s: %+v", name, r)
		}
	}
	if o.file("state/vault/values.json") != "" {
		t.Error("something was kept")
	}

	if r := o.typing("not the password\n", "secret", "set", "office.imap"); r.status != 0 {
		t.Fatalf("%+v", r)
	}
	o.send("INBOX", note(1))
	if s := o.once(); s.Filed != 0 || s.Error == "" {
		t.Errorf("%+v", s)
	}
	stop := o.start()
	o.eventually("postroom.log", "started", 1)
	if r := o.typing(marker+"\n", "secret", "set", "office.imap"); r.status != 0 || !strings.Contains(r.out, "for the running daemon too") {
		t.Errorf("%+v", r)
	}
	o.await(1)
	stop()

	r = o.run("secret", "list", "--json")
	var list struct{ Secrets []secretLine }
	if err := json.Unmarshal([]byte(r.out), &list); err != nil || len(list.Secrets) != 1 || list.Secrets[0].Name != "office.imap" || list.Secrets[0].Error != "" {
		t.Errorf("%+v, %v", r, err)
	}
	contains(t, o.run("secret", "list").out, "office.imap  2")
	o.remedies()
	if r := o.run("secret", "delete", "office.imap"); r.status != 0 {
		t.Errorf("%+v", r)
	}
	if r := o.run("secret", "delete", "office.imap"); r.status != exitFailed || !strings.Contains(r.err, "no secret office.imap is kept") {
		t.Errorf("%+v", r)
	}
	if r := o.run("check", "--offline"); r.status != exitUsage {
		t.Errorf("%+v", r)
	}
}
