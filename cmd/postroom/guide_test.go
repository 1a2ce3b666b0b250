package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"postroom/cmd/postroom/config"
	"postroom/internal/testcert"
)

const guideFile = "../../docs/exchange-online.md"

// guide returns the text of the guide to Exchange Online.
func guide(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(guideFile)
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(text), "\r\n", "\n")
}

// TestGuideConfigurations: whoever copies a configuration from the guide has one
// that postroom takes, without a warning of its keys.
func TestGuideConfigurations(t *testing.T) {
	authority, err := testcert.New(testcert.Template{})
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?ms)^( *)```yaml\n(.*?)^ *```$").FindAllStringSubmatch(guide(t), -1)
	if len(blocks) < 5 {
		t.Fatalf("%d configurations found", len(blocks))
	}
	for _, block := range blocks {
		text := regexp.MustCompile("(?m)^"+block[1]).ReplaceAllString(block[2], "")
		dir := t.TempDir()
		files := map[string]string{"company-ca.pem": string(authority.Authority)}
		for _, name := range regexp.MustCompile(`\$\{file:([^}]+)\}`).FindAllStringSubmatch(text, -1) {
			files[name[1]] = marker
		}
		// The rest of a file that the guide shows in parts.
		rest := ""
		if !strings.Contains(text, "version:") {
			rest = "version: 1\nrepository: {type: filesystem, path: ./documents}\n"
		}
		if !strings.Contains(text, "sources:") {
			rest += "sources:\n"
			for _, name := range regexp.MustCompile(`(?m)^  - name: (\S+)$`).FindAllStringSubmatch(text, -1) {
				rest += "  - {name: " + name[1] + ", type: exchange, credentials: " + name[1] + ", mailbox: a@contoso.com}\n"
			}
		}
		files["config.yaml"] = rest + text
		for name, content := range files {
			path := filepath.Join(dir, filepath.FromSlash(name))
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		c, err := config.Load(filepath.Join(dir, "config.yaml"), configDrivers())
		if err != nil {
			t.Errorf("%v\n%s", err, text)
			continue
		}
		if len(c.Warnings) > 0 || len(c.Sources) == 0 {
			t.Errorf("warnings %v, %d sources\n%s", c.Warnings, len(c.Sources), text)
		}
	}
}

// TestGuideErrors: the texts that the guide explains are those that check
// prints, and none of why connecting, signing in or reading failed is missing.
func TestGuideErrors(t *testing.T) {
	var source strings.Builder
	for _, pattern := range []string{"../../sources/*.go", "../../sources/exchange/*.go", "../../sources/imap/*.go", "../../internal/graph/*.go", "../../internal/oauth/*.go", "../../internal/mailhost/*.go", "config/*.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatal(pattern, err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			source.Write(text)
		}
	}
	said := strings.ReplaceAll(source.String(), `\"`, `"`)
	_, tables, ok := strings.Cut(guide(t), "\n## What `check` says\n")
	if !ok {
		t.Fatal("the guide has no table of errors")
	}
	var explained []string
	for _, row := range regexp.MustCompile(`(?m)^\| (.*?) \|`).FindAllStringSubmatch(tables, -1) {
		for _, code := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(row[1], -1) {
			explained = append(explained, code[1])
			for part := range strings.SplitSeq(code[1], "…") {
				if part = strings.Trim(part, " :()"); part != "" && !strings.Contains(said, part) {
					t.Errorf("the guide explains %q, which nothing says", code[1])
				}
			}
		}
	}
	if len(explained) < 60 {
		t.Errorf("%d texts explained", len(explained))
	}
	for _, kind := range []string{`\bset\(\w+, (?:fmt\.Sprintf\()?"([^"]+)"`, `\be\.Summary = (?:true, )?"([^"]+)"`, `\bfail\("[^"]*"[^,]*,\s*"([^"]+)"`, `\breturn sources\.\w+, "([^"]+)"`} {
		found := regexp.MustCompile(kind).FindAllStringSubmatch(source.String(), -1)
		if len(found) < 3 {
			t.Errorf("%d texts look like %s", len(found), kind)
		}
		for _, text := range found {
			begin, _, _ := strings.Cut(text[1], "%")
			begin, _, _ = strings.Cut(begin, ":")
			if !slices.ContainsFunc(explained, func(e string) bool {
				return strings.Contains(e, strings.TrimSpace(begin)) || strings.HasPrefix(begin, e)
			}) {
				t.Errorf("the guide does not explain %q", text[1])
			}
		}
	}
}
