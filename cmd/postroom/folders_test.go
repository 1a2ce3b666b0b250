package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"postroom/cmd/postroom/config"
	"postroom/internal/dovecot"
	"postroom/sources"
	"postroom/sources/imap"
)

// hardNames are names of folders that YAML, a reference or a pattern would take
// for something else.
var hardNames = []string{
	"Inbox", "Sub", "Größe & Maß", "日本", "a b", "a (b)", "a-b", "a.", "a_", "Sub/",
	"*", "**", "a*b", "*a", "%", "%2A", "%2F", "100%", "a%25", "a/b", "/", "a/*",
	"true", "False", "null", "Null", "~", "yes", "No", "on", "OFF", "y", "N", "1", "007", "1.5", "0x1f", "1e3", ".inf", "-.inf", ".nan",
	"2026-01-02", "12:30", "1_000", "0o17", "+1", "-1",
	"!", "!a", "!!str a", "&a", "&", "*a b", "#", "a #b", "#a", "a#", ": ", "a: b", "a:", ":a", "?", "? a", "- a", "-", "--", "---", "...",
	"|", ">", ">-", "@a", "`a", "a`", "a, b", ",", "[a]", "{a: b}", "a]", "}", "'", "''", "'a'", "a'b", `"`, `"a"`, `a"b`, `\`, `a\nb`, `\"`, "%YAML",
	" a", "a ", "  ", " ", "a\u00a0b", "\u00a0", "a\u202eb", "\ufeffa", "\u200b", "a\u2028b", "\U000e0001", "😀",
	"${env:HOME}", "$${env:HOME}", "$", "$$", "${", "a$${b", "${secret:x}", "$$${", "<<", "=", "a=b", "http://x",
}

// TestFoldersCanBePasted: every path that is printed selects exactly its folder
// when it is pasted into a configuration, into a list of either style.
func TestFoldersCanBePasted(t *testing.T) {
	var paths []sources.Path
	for _, name := range hardNames {
		if !strings.EqualFold(name, sources.Inbox) {
			paths = append(paths, sources.Path{name}, sources.Path{"a", name})
		}
		paths = append(paths, sources.Path{sources.Inbox, name}, sources.Path{name, "a"})
	}
	paths = append(paths, sources.Path{sources.Inbox})
	name := filepath.Join(t.TempDir(), "config.yaml")
	var printed []string
	for _, path := range paths {
		value, err := sources.InConfiguration(path.String())
		if err != nil {
			t.Fatal(err)
		}
		printed = append(printed, sources.YAML(value))
	}
	for style, list := range map[string]string{
		"flow":  "[" + strings.Join(printed, ", ") + "]",
		"block": "\n      - " + strings.Join(printed, "\n      - "),
	} {
		text := "version: 1\nrepository: {type: filesystem, path: d}\ncredentials: [{name: c, type: password, username: u, password: p}]\n" +
			"sources:\n  - name: s\n    type: imap\n    credentials: c\n    server: x\n    folders: " + list + "\n"
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := config.Load(name, configDrivers())
		if err != nil {
			t.Fatalf("%s: %v\n%s", style, err, text)
		}
		got := c.Sources[0].Options.(*imap.Options).Folders
		if len(got) != len(paths) {
			t.Fatalf("%s: %d folders, want %d", style, len(got), len(paths))
		}
		for i, text := range got {
			pattern, err := sources.ParsePattern(text)
			if err != nil {
				t.Errorf("%s: %q, printed as %s: %v", style, paths[i], printed[i], err)
				continue
			}
			for _, path := range paths {
				if want := path.Equal(paths[i]); pattern.Match(path) != want {
					t.Errorf("%s: %q, printed as %s, selects %q: %v", style, paths[i], printed[i], path, !want)
				}
			}
		}
	}
}

func TestFoldersOfARealServer(t *testing.T) {
	o := newOffice(t, dovecot.Options{})
	o.configure("folders: [Inbox]")
	names := []string{"true", "100% *", "!a, #b: [c]", "it's \"x\"", "${env:HOME}", "a  b"}
	for _, name := range names {
		o.folder(name)
	}
	r := o.run("folders", "--source", "office", "--json")
	var tree struct{ Folders []folderLine }
	if err := json.Unmarshal([]byte(r.out), &tree); err != nil || r.status != 0 {
		t.Fatalf("%v: %+v", err, r)
	}
	table := o.run("folders", "--source", "office").out
	found := 0
	for i, f := range tree.Folders {
		path := strings.ReplaceAll(f.Path, "$${", "${")
		parsed, err := sources.ParsePath(path)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(names, parsed[0]) {
			continue
		}
		found++
		contains(t, table, "\n"+sources.YAML(f.Path)+"  ")
		// Pasted, it is the one folder that is filed from.
		o.configure("after_filing: delete\nfolders: [" + sources.YAML(f.Path) + "]")
		o.deliver(parsed[0], note(i))
		if s := o.once(); s.Filed != 1 || s.Error != "" {
			t.Errorf("%s: %+v", f.Path, s)
		}
	}
	if found != len(names) {
		t.Errorf("%d folders found, want %d:\n%s", found, len(names), r.out)
	}
}
