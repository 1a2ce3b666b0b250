package config

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
)

// FuzzLoad checks that whatever a file holds, load returns a configuration or
// problems, each at a place in the file and on one line, that name no secret.
func FuzzLoad(f *testing.F) {
	// It has not the shape of any name, so that no message may show it, wherever
	// it stands.
	const secret = "hunter2=marker!"
	if err := os.Setenv("MARKER", secret); err != nil {
		f.Fatal(err)
	}
	example, err := os.ReadFile("../../../config.example.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(example)
	names, err := filepath.Glob("testdata/problems/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range names {
		archive, err := txtar.ParseFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(archive.Files[0].Data)
	}
	for _, s := range []string{"", "a", "- ", "{", "a: |\n", "a: >+2\n b", "? a\n: b", "\xff\xfe", "a:\r\n  b\r\n", "'", "\"\\x", "a: &b *b", "a: !b [c]\n", "- !a\n  b: c\n", "<<: *a\n", "a: [!b, &c, *d]\n"} {
		f.Add([]byte(s))
	}
	for _, s := range []string{
		"proxy: !S", "proxy: &S", "proxy: *S", "proxy: [S", "proxy: 'S", "proxy: \"S", "proxy: \"\\S\"", "S: x\nS: y", "? S", "%S", "log: {level: S, file: ${S}}",
		"credentials:\n  - {name: b, type: password, username: u, password S, pass: !S, S}\n  - name: S\n    type: S\nsources:\n  - {name: S, type: S, credentials: S, server: S}\n",
	} {
		f.Add([]byte(strings.ReplaceAll(s, "S", secret)))
	}
	g, err := newGrammar(nil)
	if err != nil {
		f.Fatal(err)
	}
	full := filepath.Join(f.TempDir(), "config.yaml")
	f.Fuzz(func(t *testing.T, data []byte) {
		// What is included would be read at random.
		data = bytes.ReplaceAll(data, []byte("include"), []byte("exclude"))
		start := time.Now()
		c, err := load(g, "config.yaml", full, data)
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("load takes %v", took)
		}
		var problems Problems
		if (c == nil) != errors.As(err, &problems) || err != nil && len(problems) == 0 {
			t.Fatalf("load returned %v, %v", c, err)
		}
		if c != nil {
			problems = c.Warnings
		}
		last := strings.Count(string(data), "\n") + strings.Count(string(data), "\r") + 1
		for _, p := range problems {
			if at := p.Position; at.File != "config.yaml" || at.Line < 1 || at.Line > last || at.Column < 1 {
				t.Errorf("no such place in %d lines: %v", last, p)
			}
			if p.Message == "" || strings.ContainsAny(p.Message, "\n\r\x00") {
				t.Errorf("message %q", p.Message)
			}
			if strings.Contains(p.Message, secret) {
				t.Errorf("a secret is in %v", p)
			}
		}
	})
}
