package config

import (
	"os"
	"path/filepath"
	"testing"
)

func TestFingerprintOf(t *testing.T) {
	dir := t.TempDir()
	main := filepath.Join(dir, "config.yaml")
	write := func(name, text string) {
		t.Helper()
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		// As editors do: a new file takes the place of the old one.
		if err := os.WriteFile(name+"~", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(name+"~", name); err != nil {
			t.Fatal(err)
		}
	}
	seen := map[Fingerprint]string{}
	changed := func(what string) {
		t.Helper()
		f := FingerprintOf(main)
		if before, ok := seen[f]; ok {
			t.Errorf("%s: the fingerprint is that of %s", what, before)
		}
		seen[f] = what
		if FingerprintOf(main) != f {
			t.Errorf("%s: another fingerprint of the same files", what)
		}
	}
	changed("no file")
	write("config.yaml", "version: 1\n")
	changed("a main file")
	write("config.yaml", "version: 1\ninclude: [\"d/*.yaml\", one.yaml]\n")
	changed("includes that match nothing")
	write("d/a.yaml", "sources: []\n")
	changed("an included file")
	write("d/b.yaml", "sources: []\n")
	changed("another")
	write("d/b.yaml", "sources: [ ]\n")
	changed("another, changed by a byte")
	write("one.yaml", "")
	changed("one that was missing")
	if err := os.Remove(filepath.Join(dir, "d/b.yaml")); err != nil {
		t.Fatal(err)
	}
	changed("one that was removed")
	write("config.yaml", "version: 1\ninclude: [\n")
	changed("a main file with an error")
	before := FingerprintOf(main)
	write("d/unrelated.txt", "x")
	if FingerprintOf(main) != before {
		t.Error("an unrelated file counts")
	}
}
