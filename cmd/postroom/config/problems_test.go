package config_test

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/rogpeppe/go-internal/txtar"

	"postroom/cmd/postroom/config"
	"postroom/internal/testcert"
	"postroom/sources/exchange"
	"postroom/sources/imap"
	"postroom/sources/pop3"
)

var update = flag.Bool("update", false, "write what the tests find as what they want")

func drivers() []config.Driver {
	return []config.Driver{
		{Type: "exchange", Options: func() any { return new(exchange.Options) }},
		{Type: "imap", Options: func() any { return new(imap.Options) }},
		{Type: "pop3", Options: func() any { return new(pop3.Options) }},
	}
}

// marker is a secret that must appear in no message.
const marker = "hunter2-marker"

// setEnvironment sets the variables that the tests' configurations name.
func setEnvironment(t *testing.T) {
	t.Setenv("BOX_PASSWORD", marker)
	t.Setenv("MARKER", marker)
	t.Setenv("MARKER_TAB", marker+"\t")
	t.Setenv("EMPTY", "")
}

// authority is a certificate in PEM.
var authority = sync.OnceValue(func() string {
	c, err := testcert.New(testcert.Template{})
	if err != nil {
		panic(err)
	}
	return string(c.Authority)
})

// write writes the files, by their slash-separated names, into a new folder and
// returns it. The word CERTIFICATE alone stands for a certificate in PEM.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, data := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if strings.TrimSpace(data) == "CERTIFICATE" {
			data = authority()
		}
		if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// lines returns the problems, one a line, with paths from dir.
func lines(dir string, problems []config.Problem) string {
	var b strings.Builder
	for _, p := range problems {
		p.Position.File = filepath.ToSlash(p.Position.File)
		line := strings.ReplaceAll(p.String(), filepath.ToSlash(dir)+"/", "")
		b.WriteString(strings.ReplaceAll(line, dir+string(filepath.Separator), "") + "\n")
	}
	return b.String()
}

// TestProblems loads every configuration of testdata/problems and compares what
// is wrong with it with the file "want", in full.
func TestProblems(t *testing.T) {
	names, err := filepath.Glob("testdata/problems/*.txtar")
	if err != nil || len(names) == 0 {
		t.Fatalf("no test cases: %v", err)
	}
	schema := compileSchema(t)
	for _, name := range names {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			setEnvironment(t)
			archive, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			files := make(map[string]string)
			for _, f := range archive.Files {
				// Pictures of control characters stand for those.
				files[f.Name] = strings.NewReplacer("␍", "\r", "␀", "\x00").Replace(string(f.Data))
			}
			want := files["want"]
			delete(files, "want")
			dir := write(t, files)
			c, err := config.Load(filepath.Join(dir, "config.yaml"), drivers())
			var problems config.Problems
			if !errors.As(err, &problems) || c != nil {
				t.Fatalf("Load returned %v, %v, want nothing and Problems", c, err)
			}
			got := lines(dir, problems)
			if *update {
				last := len(archive.Files) - 1
				archive.Files[last].Data = []byte(got)
				if err := os.WriteFile(name, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got != want {
				t.Errorf("problems are\n%swant\n%s", got, want)
			}
			if strings.Contains(got, marker) {
				t.Errorf("a secret is in\n%s", got)
			}
			checkForm(t, got)

			switch verdict := schemaVerdict(t, archive.Comment); {
			case verdict == "-":
			case (validate(t, schema, files["config.yaml"]) != nil) != (verdict == "refuses"):
				t.Errorf("the schema %s it, unlike it should: %v", map[bool]string{true: "passes", false: "refuses"}[verdict == "refuses"], validate(t, schema, files["config.yaml"]))
			}
		})
	}
}

// checkForm checks that every problem is of the form file:line:column: wrong;
// allowed.
func checkForm(t *testing.T, problems string) {
	t.Helper()
	form := regexp.MustCompile(`^[^:]+:[1-9]\d*:[1-9]\d*: .+(; .+|not built yet)$`)
	for line := range strings.Lines(problems) {
		if !form.MatchString(strings.TrimSuffix(line, "\n")) {
			t.Errorf("not of the form file:line:column: what is wrong; what is allowed:\n%s", line)
		}
	}
}

func schemaVerdict(t *testing.T, comment []byte) string {
	t.Helper()
	_, verdict, ok := bytes.Cut(comment, []byte("schema: "))
	if !ok {
		t.Fatal("the comment does not say what the schema does")
	}
	return strings.TrimSpace(string(verdict))
}

// decodeYAML returns a YAML text as an editor sees it.
func decodeYAML(t *testing.T, text string) any {
	t.Helper()
	var value any
	if err := yaml.UnmarshalWithOptions([]byte(text), &value, yaml.AllowDuplicateMapKey()); err != nil {
		t.Fatalf("decode YAML: %v", err)
	}
	return value
}
