package yamledit_test

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"postroom/internal/yamledit"
)

// edited is the file after the change of the mapping at a marker «, which is no part of
// the file.
func edited(t *testing.T, text string, change func(*yamledit.Text, *yamledit.Mapping) error) (string, *yamledit.Text) {
	t.Helper()
	before, after, _ := strings.Cut(text, "«")
	line := strings.Count(before, "\n") + 1
	column := len([]rune(strings.TrimPrefix(before[strings.LastIndexByte(before, '\n')+1:], "\ufeff"))) + 1
	f, err := yamledit.Parse([]byte(before + after))
	if err != nil {
		t.Fatal(err)
	}
	m, err := f.Mapping(line, column)
	if err != nil {
		t.Fatal(err)
	}
	if err := change(f, m); err != nil {
		t.Fatal(err)
	}
	b, err := f.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return string(b), f
}

// toExchange is what is done to a source.
func toExchange(_ *yamledit.Text, m *yamledit.Mapping) error {
	var errs []error
	errs = append(errs, m.Set("type", "exchange"), m.Set("credentials", "contoso"))
	if m.Has("mailbox") {
		errs = append(errs, m.Set("mailbox", "a@b.c"))
	} else {
		errs = append(errs, m.Insert("credentials", "mailbox", "a@b.c"))
	}
	return errors.Join(append(errs, m.Remove("server", "tls", "watch", "connections"))...)
}

func TestMapping(t *testing.T) {
	for name, row := range map[string]struct{ text, want string }{
		"block": {
			"sources:\n  - «name: a   # the name\n    type: imap  # old\n    credentials: legacy\n\n    # where it is\n    server: s # that\n    tls: none\n\n    # how\n    format: msg   \n  - name: b\n",
			"sources:\n  - name: a   # the name\n    type: exchange  # old\n    credentials: contoso\n    mailbox: a@b.c\n\n\n    # how\n    format: msg   \n  - name: b\n",
		},
		"a comment stays that is about a key that stays": {
			"- «name: a\n  type: imap\n  credentials: x\n  # both\n  server: s\n  format: msg\n",
			"- name: a\n  type: exchange\n  credentials: contoso\n  mailbox: a@b.c\n  # both\n  format: msg\n",
		},
		"first and last": {
			"- «server: s\n  type: imap\n  credentials: x\n  tls: none\n# end\n",
			"- type: exchange\n  credentials: contoso\n  mailbox: a@b.c\n# end\n",
		},
		"first, with a comment below": {
			"- «server: s # s\n  # t\n  type: imap\n  credentials: x",
			"- \n  # t\n  type: exchange\n  credentials: contoso\n  mailbox: a@b.c",
		},
		"no line end": {
			"- «type: imap\n  credentials: x\n  mailbox: y\n  server: s",
			"- type: exchange\n  credentials: contoso\n  mailbox: a@b.c",
		},
		"CR LF, a mark, and columns after letters that are long": {
			"\ufeffx: ä # ö\r\ns: [ü, «{type: \"imap\", credentials: 'x', server: \"é\"}]\r\ny: 1\r\n",
			"\ufeffx: ä # ö\r\ns: [ü, {type: exchange, credentials: contoso, mailbox: a@b.c}]\r\ny: 1\r\n",
		},
		"CR LF in block style": {
			"- «type: imap # a\r\n  credentials: x # b\r\n  server: s # c\r\n",
			"- type: exchange # a\r\n  credentials: contoso # b\r\n  mailbox: a@b.c\r\n",
		},
		"values on lines of their own, and of several lines": {
			"- «type:\n    imap\n  server: 'a\n    b'\n  credentials:\n    x # x\n  tls:\n    |\n    none\n\n    # text\n  # about the folders\n  folders:\n  - a\n  - b\n",
			"- type:\n    exchange\n  credentials:\n    contoso # x\n  mailbox: a@b.c\n  # about the folders\n  folders:\n  - a\n  - b\n",
		},
		"flow": {
			"sources: [«{server: s, name: a, type: imap, credentials: x, tls: none}, {name: b}]\n",
			"sources: [{name: a, type: exchange, credentials: contoso, mailbox: a@b.c}, {name: b}]\n",
		},
		"flow on lines, with comments": {
			"- «{\n    name: a, # a\n    server: s, # s\n    # t\n    type: imap, # t\n    credentials: x, # x\n    tls: none,\n  }\n",
			"- {\n    name: a, # a\n    # t\n    type: exchange, # t\n    credentials: contoso, mailbox: a@b.c, # x\n    \n  }\n",
		},
		"JSON": {
			"{\"sources\": [«{\"type\":\"imap\",\"server\":\"s\",\"credentials\":\"x\"}]}",
			"{\"sources\": [{\"type\":\"exchange\",\"credentials\":\"contoso\", \"mailbox\": \"a@b.c\"}]}",
		},
	} {
		t.Run(name, func(t *testing.T) {
			if got, _ := edited(t, row.text, toExchange); got != row.want {
				t.Errorf("got\n%q\nwant\n%q", got, row.want)
			}
		})
	}
}

func TestItems(t *testing.T) {
	for name, row := range map[string]struct{ text, want string }{
		"block":       {"«a:\n  # x\n  - b/c # c\n  - 'd'\n  - e\n", "a:\n  # x\n  - b/c # c\n  - 'new'\n  - e\n"},
		"same column": {"«a:\n- b\n- d\nc: 1\n", "a:\n- b\n- 'new'\nc: 1\n"},
		"flow":        {"«a: [b, \"d\" , e] # x\n", "a: [b, 'new' , e] # x\n"},
		"lines":       {"«a: [\n  b,\n  d # d\n]\n", "a: [\n  b,\n  'new' # d\n]\n"},
	} {
		t.Run(name, func(t *testing.T) {
			got, _ := edited(t, row.text, func(_ *yamledit.Text, m *yamledit.Mapping) error { return m.SetItem("a", 1, "'new'") })
			if got != row.want {
				t.Errorf("got\n%q\nwant\n%q", got, row.want)
			}
		})
	}
}

func TestLists(t *testing.T) {
	item := []yamledit.Pair{{"name", "c"}, {"type", "entra"}}
	for name, row := range map[string]struct{ text, want string }{
		"block":            {"«k:\n  -   name: a\n      type: b # x\n  # end\n\ns: 1\n", "k:\n  -   name: a\n      type: b # x\n  -   name: c\n      type: entra\n  # end\n\ns: 1\n"},
		"same column":      {"«k:\n- name: a\ns: 1\n", "k:\n- name: a\n- name: c\n  type: entra\ns: 1\n"},
		"dash alone":       {"«k:\n  -\n    name: a\ns: 1\n", "k:\n  -\n    name: a\n  - name: c\n    type: entra\ns: 1\n"},
		"empty":            {"«k: [ ]\ns: 1\n", "k: [{name: c, type: entra} ]\ns: 1\n"},
		"flow":             {"«k: [{name: a}]\r\ns: 1\r\n", "k: [{name: a}, {name: c, type: entra}]\r\ns: 1\r\n"},
		"flow on lines":    {"«k: [\n  {name: a}, # a\n]\ns: 1\n", "k: [\n  {name: a}, {name: c, type: entra} # a\n]\ns: 1\n"},
		"none":             {"# head\n\n«v: 1\n\n# the sources\ns: 1\n", "# head\n\nv: 1\n\nk:\n  - name: c\n    type: entra\n\n# the sources\ns: 1\n"},
		"none, at the top": {"\ufeff# head\r\n«s: 1", "\ufeff# head\r\nk:\r\n  - name: c\r\n    type: entra\r\n\r\ns: 1"},
		"none, in flow":    {"«{v: 1, s: 1}", "{v: 1, k: [{name: c, type: entra}], s: 1}"},
	} {
		t.Run(name, func(t *testing.T) {
			got, _ := edited(t, row.text, func(f *yamledit.Text, _ *yamledit.Mapping) error {
				m, err := f.Root()
				if err != nil {
					return err
				}
				if m.Has("k") {
					return m.AppendTo("k", item)
				}
				return m.InsertList("s", "k", item)
			})
			if got != row.want {
				t.Errorf("got\n%q\nwant\n%q", got, row.want)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	for _, text := range []string{"a: !x b", "a: &x b", "? a\n: b", "a: 'b", "a: \xff"} {
		f, err := yamledit.Parse([]byte(text))
		if err == nil {
			_, err = f.Root()
		}
		if !errors.Is(err, yamledit.ErrLayout) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestFlow: a mapping that ends in keys which are removed has no comma left behind,
// unless it had one, and JSON stays JSON.
func TestFlow(t *testing.T) {
	for text, want := range map[string]string{
		"- «{name: a, type: imap, credentials: x, server: s, tls: t}\n":                "- {name: a, type: exchange, credentials: contoso, mailbox: a@b.c}\n",
		"- «{name: a, type: imap, credentials: x, server: s, tls: t, }\n":              "- {name: a, type: exchange, credentials: contoso, mailbox: a@b.c, }\n",
		"- «{name: a, type: imap, credentials: x, server: s, watch: [a, b], tls: t}":   "- {name: a, type: exchange, credentials: contoso, mailbox: a@b.c}",
		"- «{type: imap, credentials: x, # c\n   server: s, # s\n   tls: t # t\n  }\n": "- {type: exchange, credentials: contoso, mailbox: a@b.c # c\n    # s\n    # t\n  }\n",
		`[«{"type":"imap","credentials":"x","server":"s","tls":"t"}]`:                  `[{"type":"exchange","credentials":"contoso", "mailbox": "a@b.c"}]`,
		`{"sources": [«{"type":"imap","server":"s","credentials":"x"}]}`:               `{"sources": [{"type":"exchange","credentials":"contoso", "mailbox": "a@b.c"}]}`,
	} {
		if got, _ := edited(t, text, toExchange); got != want {
			t.Errorf("%s\nbecomes\n%s\nwant\n%s", text, got, want)
		}
	}
	const list = `«{"version": 1, "credentials": [{"name": "x"}], "sources": ["a"]}`
	got, _ := edited(t, list, func(_ *yamledit.Text, m *yamledit.Mapping) error {
		return errors.Join(m.AppendTo("credentials", []yamledit.Pair{{"name", "'y \"*\\'"}}), m.InsertList("sources", "more", []yamledit.Pair{{"secret", `"${env:A}"`}}), m.SetItem("sources", 0, "'b'"))
	})
	if want := `{"version": 1, "credentials": [{"name": "x"}, {"name": "y \"*\\"}], "more": [{"secret": "${env:A}"}], "sources": ["b"]}`; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestDiff has patch make the new file of the old one.
func TestDiff(t *testing.T) {
	if _, err := exec.LookPath("patch"); err != nil {
		t.Log("patch is not installed: the diff is compared only")
	}
	text := "a: 1\nsecret: x\nsources:\n  # first\n  - «name: a\n    type: imap\n    credentials: x\n    server: s\n    f: 1\n    g: 1\n    h: 1\n    i: 1\n    j: 1\n    k: 1\n    l: 1\n    tls: none\n  - name: other"
	plain := strings.Replace(text, "«", "", 1)
	var spans []yamledit.Span
	got, f := edited(t, text, func(f *yamledit.Text, m *yamledit.Mapping) error {
		spans = m.Shown(func(string, string) bool { return false })
		root, err := f.Root()
		if err != nil {
			return err
		}
		return errors.Join(toExchange(f, m), root.InsertList("sources", "credentials", []yamledit.Pair{{"name", "c"}}))
	})
	diff, err := f.Diff("config.yaml", spans)
	if err != nil {
		t.Fatal(err)
	}
	const want = "--- config.yaml\n+++ config.yaml\n@@ -2,0 +3,3 @@\n+credentials:\n+  - name: c\n+\n@@ -5,6 +8,6 @@\n   - name: a\n-    type: imap\n-    credentials: x\n-    server: s\n+    type: exchange\n+    credentials: contoso\n+    mailbox: a@b.c\n     f: 1\n     g: 1\n"
	if !strings.HasPrefix(diff, "--- config.yaml\n+++ config.yaml\n@@ -2,0 +3,3 @@\n+credentials:\n") || strings.Contains(diff, "secret") || strings.Contains(diff, "other") {
		t.Errorf("got\n%s\nwant something like\n%s", diff, want)
	}
	if _, err := exec.LookPath("patch"); err == nil {
		dir := t.TempDir()
		file := filepath.Join(dir, "config.yaml")
		if err := os.WriteFile(file, []byte(plain), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("patch", "-s", file)
		cmd.Stdin = strings.NewReader(diff)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s\n%s", err, out, diff)
		}
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if string(b) != got {
			t.Errorf("patch makes\n%s\nof\n%s", b, diff)
		}
	}
}

var styles = flag.Uint64("styles", 300, "how many files are changed, each in a style of its own")

// generated is a file of a style, of which one source is to be changed.
type generated struct {
	text         string
	start, end   int // of the source
	line, column int
	kept         []string // comments that have to stay
}

// generate makes a file with sources in a style that the seed chooses.
func generate(seed uint64) generated {
	r := rand.New(rand.NewPCG(seed, 1))
	var g generated
	pick := func(all ...string) string { return all[r.IntN(len(all))] }
	comments := 0
	comment := func() string {
		comments++
		return fmt.Sprintf("# c%d: [x] {y} 'z\"", comments)
	}
	var b strings.Builder
	b.WriteString(pick("", "\ufeff", "# head: ä\n", "---\n", "# head\n\n"))
	b.WriteString("version: 1" + pick("", " ", " # v") + "\n" + pick("", "\n", "\n# more\n"))
	flowAll := r.IntN(4) == 0
	dash := strings.Repeat(" ", r.IntN(4))
	pad := strings.Repeat(" ", 1+r.IntN(3))
	indent := dash + " " + pad
	b.WriteString("sources:")
	if flowAll {
		b.WriteString(" [")
	}
	b.WriteString(pick("", " # all") + "\n")
	n := 1 + r.IntN(4)
	target := r.IntN(n)
	for i := range n {
		keys := [][2]string{{"name", fmt.Sprintf("s%d", i)}, {"type", pick("imap", "'imap'", `"imap"`)}, {"credentials", pick("legacy", "'le#gacy'", `"l: e"`)},
			{"server", pick("imap.example.com", `"imap.example.com:993"`, "'a''b'")}}
		for _, more := range [][2]string{{"tls", "none"}, {"watch", "true"}, {"connections", "3"}, {"mailbox", "x@y.z"}, {"format", "msg"}, {"title", pick(`"{subject} # no comment"`, "'it''s'", "a#b")}} {
			if r.IntN(2) == 0 {
				keys = append(keys, more)
			}
		}
		r.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
		removed := func(key string) bool { return strings.Contains("server tls watch connections", key) }
		keep := func(key, c string) string {
			if i == target && !removed(key) {
				g.kept = append(g.kept, c)
			}
			return c
		}
		flow := flowAll || r.IntN(4) == 0
		if !flowAll {
			b.WriteString(dash + "-" + pad)
		} else {
			b.WriteString("  ")
		}
		if i == target {
			g.start = b.Len()
			text := strings.TrimPrefix(b.String(), "\ufeff")
			g.line = strings.Count(text, "\n") + 1
			g.column = len([]rune(text[strings.LastIndexByte(text, '\n')+1:])) + 1
		}
		if flow {
			lines := r.IntN(2) == 0
			b.WriteString("{")
			for k, kv := range keys {
				b.WriteString(kv[0] + ": " + kv[1])
				if k < len(keys)-1 || r.IntN(4) == 0 {
					b.WriteString(pick(",", " ,"))
				}
				if lines {
					if r.IntN(3) == 0 {
						b.WriteString(" " + keep(kv[0], comment()))
					}
					b.WriteString("\n" + indent + " ")
				} else if k < len(keys)-1 {
					b.WriteString(" ")
				}
			}
			b.WriteString("}")
			if i == target {
				g.end = b.Len()
			}
			if flowAll && i < n-1 {
				b.WriteString(",")
			}
			b.WriteString(pick("", " # done") + "\n")
			continue
		}
		for k, kv := range keys {
			if k > 0 {
				b.WriteString(indent)
			}
			switch r.IntN(8) {
			case 0:
				b.WriteString(kv[0] + ":" + pick("", " # below") + "\n" + indent + "  " + kv[1])
			case 1:
				b.WriteString(kv[0] + ":   " + kv[1] + "   ")
			default:
				b.WriteString(kv[0] + ": " + kv[1])
			}
			if r.IntN(3) == 0 {
				b.WriteString(" " + keep(kv[0], comment()))
			}
			if i == target {
				g.end = b.Len()
			}
			b.WriteString("\n")
			if k < len(keys)-1 {
				switch r.IntN(6) {
				case 0:
					b.WriteString("\n")
				case 1: // about the next key
					b.WriteString(indent + keep(keys[k+1][0], comment()) + "\n")
				}
			}
		}
		if r.IntN(4) == 0 {
			b.WriteString(pick("\n", "# between\n", indent+"# at the end\n"))
		}
	}
	if flowAll {
		b.WriteString("]\n")
	}
	if r.IntN(3) == 0 {
		b.WriteString("log: {level: info}   # the end\n")
	}
	g.text = b.String()
	if r.IntN(3) == 0 {
		cr := func(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }
		g.start, g.end = len(cr(g.text[:g.start])), len(cr(g.text[:g.end]))
		g.text = cr(g.text)
	}
	if r.IntN(5) == 0 {
		g.text = strings.TrimRight(g.text, "\r\n")
	}
	return g
}

func parsed(t *testing.T, text string) map[string]any {
	t.Helper()
	var v map[string]any
	text = strings.ReplaceAll(strings.TrimPrefix(text, "\ufeff"), "\r\n", "\n")
	if err := yaml.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return v
}

// TestStyles: of a file in whatever style nothing changes but what is to, neither
// what it means nor a byte.
func TestStyles(t *testing.T) {
	for seed := range *styles {
		g := generate(seed)
		f, err := yamledit.Parse([]byte(g.text))
		if err != nil {
			t.Fatalf("seed %d: %v in\n%s", seed, err, g.text)
		}
		m, err := f.Mapping(g.line, g.column)
		if err != nil {
			t.Fatalf("seed %d: %v in\n%s", seed, err, g.text)
		}
		if err := toExchange(f, m); err != nil {
			t.Fatalf("seed %d: %v in\n%s", seed, err, g.text)
		}
		b, err := f.Bytes()
		if err != nil {
			t.Fatalf("seed %d: %v in\n%s", seed, err, g.text)
		}
		got := string(b)
		if !strings.HasPrefix(got, g.text[:g.start]) || !strings.HasSuffix(got, g.text[g.end:]) {
			t.Fatalf("seed %d: something else has changed:\n%s\n->\n%s", seed, g.text, got)
		}
		for _, c := range g.kept {
			if !strings.Contains(got, c) {
				t.Fatalf("seed %d: %q is gone:\n%s\n->\n%s", seed, c, g.text, got)
			}
		}
		want := parsed(t, g.text)
		var source map[string]any
		var old map[string]any
		name := ""
		for _, s := range want["sources"].([]any) {
			s := s.(map[string]any)
			if strings.Contains(g.text[g.start:g.end], "name: "+s["name"].(string)) || strings.Contains(strings.Join(strings.Fields(g.text[g.start:g.end]), " "), s["name"].(string)) {
				source, name = s, s["name"].(string)
			}
		}
		old = source
		for _, key := range []string{"server", "tls", "watch", "connections"} {
			delete(old, key)
		}
		source["type"], source["credentials"], source["mailbox"] = "exchange", "contoso", "a@b.c"
		if result := parsed(t, got); !reflect.DeepEqual(result, want) {
			t.Fatalf("seed %d, source %s: means\n%v\nwant\n%v\nin\n%s\nof\n%s", seed, name, result, want, got, g.text)
		}
		if strings.Contains(g.text, "\r\n") && strings.Contains(strings.ReplaceAll(got, "\r\n", ""), "\n") {
			t.Fatalf("seed %d: line ends differ:\n%q", seed, got)
		}
	}
}

// FuzzParse: whatever a file holds, it is read or refused, and without a change it
// stays as it is.
func FuzzParse(f *testing.F) {
	for seed := range uint64(20) {
		f.Add([]byte(generate(seed).text))
	}
	for _, s := range []string{"", "-", "{", "a: |\n  b\n c", "a: |+2 # x\n\n\n", "\ufeff", "\r\n", "? ", "{a: {b: [", "- - - a: 1", "a:\n- b: 1\n  c: >\n   x\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		text, err := yamledit.Parse(data)
		if err != nil {
			if !errors.Is(err, yamledit.ErrLayout) {
				t.Error(err)
			}
			return
		}
		if b, err := text.Bytes(); err != nil || string(b) != string(data) {
			t.Errorf("%q becomes %q, %v", data, b, err)
		}
		m, err := text.Root()
		if err != nil {
			return
		}
		keys := m.Keys()
		if len(keys) > 1 {
			if err := errors.Join(m.Set(keys[0], "x"), m.Insert(keys[0], "new", "y"), m.Remove(keys[1:]...)); err != nil {
				return
			}
			b, err := text.Bytes()
			if err == nil && len(b) > 0 {
				_, _ = yamledit.Parse(b)
			}
		}
	})
}
