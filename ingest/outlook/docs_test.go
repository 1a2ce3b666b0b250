package outlook_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestDocumentedRules: the table in docs/formats.md says by which paragraph each
// rule is, and each fixture is of a paragraph that stands there.
func TestDocumentedRules(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("..", "..", "docs", "formats.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, text, ok := strings.Cut(string(b), "\n| of the mail | becomes | properties | by |\n")
	if !ok {
		t.Fatal("docs/formats.md has no table of rules")
	}
	text, _, _ = strings.Cut(text, "\n\n")
	paths, err := filepath.Glob(filepath.Join("testdata", "*.txtar"))
	if err != nil || len(paths) == 0 {
		t.Fatal(paths, err)
	}
	found := make(map[string]bool)
	var rules []string
	for row := range strings.Lines(text) {
		cells := strings.Split(strings.TrimSpace(row), " | ")
		if strings.HasPrefix(row, "|---") {
			continue
		}
		if len(cells) < 4 && !strings.Contains(row, "| |") {
			t.Errorf("no property or paragraph: %s", row)
		}
		rules = append(rules, strings.Split(strings.Trim(cells[len(cells)-1], "| "), ", ")...)
	}
	// What a calendar becomes, and what is kept, have tables of their own.
	own := regexp.MustCompile(`^(MS-OXCICAL|MS-OXOCAL|MS-OXCMAIL|kept|empty)\b`)
	for _, path := range paths {
		name := strings.TrimSuffix(filepath.Base(path), ".txtar")
		documented := own.MatchString(name)
		for _, rule := range rules {
			if name == rule || strings.HasPrefix(name, rule+"-") || strings.HasPrefix(name, rule+".") {
				documented, found[rule] = true, true
			}
		}
		if !documented {
			t.Errorf("docs/formats.md does not name the paragraph of %s", name)
		}
	}
	for _, rule := range rules {
		if !found[rule] {
			t.Errorf("docs/formats.md names %s, of which there is no fixture", rule)
		}
	}
}
