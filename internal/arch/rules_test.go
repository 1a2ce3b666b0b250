package arch

import (
	"slices"
	"strings"
	"testing"
)

// house is a made-up graph of packages, in which imports of a test begin with
// "test:".
func house(imports map[string][]string) graph {
	g := graph{}
	for path, all := range imports {
		p := &pkg{ImportPath: path}
		for _, i := range all {
			if inTest, ok := strings.CutPrefix(i, "test:"); ok {
				p.XTestImports = append(p.XTestImports, inTest)
			} else {
				p.Imports = append(p.Imports, i)
			}
		}
		g[path] = p
	}
	return g
}

func TestRulesAllow(t *testing.T) {
	g := house(map[string][]string{
		"postroom/cmd/postroom":          {"postroom/ingest", "postroom/sources/imap", "postroom/store/s3", "github.com/spf13/viper"},
		"postroom/ingest":                {"postroom/ingest/ledger", "postroom/sources", "postroom/store", "postroom/internal/secret", "test:postroom/ingest", "test:postroom/sources/sourcetest"},
		"postroom/ingest/outlook":        {"postroom/ingest/outlook/cfb", "postroom/ingest/message", "postroom/ingest/message/tnef", "test:postroom/ingest/message", "postroom/internal/filename"},
		"postroom/sources/imap":          {"postroom/sources", "postroom/sources/imap/wire", "postroom/internal/secret", "test:postroom/sources/imap", "test:postroom/sources/sourcetest"},
		"postroom/sources/imap/wire":     {"postroom/sources/imap/wire/token"},
		"postroom/store/s3":              {"postroom/store", "test:postroom/store/storetest", "test:postroom/store/s3"},
		"postroom/internal/graph/client": {"github.com/microsoftgraph/msgraph-sdk-go/users"},
		"postroom/internal/bench":        {"postroom/ingest/message", "postroom/ingest/outlook", "postroom/ingest/outlook/cfb", "postroom/internal/secret"},
		"github.com/other/module":        {"github.com/microsoftgraph/msgraph-sdk-go", "github.com/spf13/viper"},
	})
	if found := violations(g, rules); len(found) > 0 {
		t.Errorf("found\n%s", strings.Join(found, "\n"))
	}
}

func TestRulesForbid(t *testing.T) {
	for _, tt := range []struct{ importer, imported string }{
		{"postroom/sources", "postroom/store"},
		{"postroom/sources", "postroom/sources/imap"},
		{"postroom/store", "postroom/ingest"},
		{"postroom/sources/imap", "postroom/sources/pop3"},
		{"postroom/sources/imap", "postroom/store"},
		{"postroom/sources/imap", "postroom/ingest/message"},
		{"postroom/sources/imap", "postroom/sources/sourcetest"},
		{"postroom/sources/imap", "test:postroom/sources/pop3"},
		{"postroom/sources/imap", "test:postroom/store/storetest"},
		{"postroom/sources/imap2", "postroom/sources/imap"},
		{"postroom/store/s3", "postroom/sources"},
		{"postroom/store/s3", "postroom/store/filesystem"},
		{"postroom/store/s3", "postroom/cmd/postroom/config"},
		{"postroom/internal/secret", "postroom/sources"},
		{"postroom/internal/secret", "test:postroom/store"},
		{"postroom/internal/secret", "postroom/ingest/outlook"},
		{"postroom/internal/bench", "postroom/ingest"},
		{"postroom/internal/bench", "postroom/ingest/document"},
		{"postroom/ingest", "postroom/sources/imap"},
		{"postroom/ingest", "postroom/sources/sourcetest"},
		{"postroom/ingest", "postroom/cmd/postroom/config"},
		{"postroom/ingest/document", "test:postroom/store/filesystem"},
		{"postroom/ingest/message", "postroom/sources"},
		{"postroom/ingest/message", "postroom/ingest/ledger"},
		{"postroom/ingest/outlook/cfb", "postroom/ingest/message"},
		{"postroom/ingest/outlook/cfb", "test:postroom/ingest/message"},
		{"postroom/ingest/outlook", "postroom/ingest/document"},
		{"postroom/ingest/outlook", "test:postroom/ingest/ledger"},
		{"postroom/ingest/outlook/cfb", "postroom/ingest/message/tnef"},
		{"postroom/sources/exchange", "github.com/microsoftgraph/msgraph-sdk-go"},
		{"postroom/cmd/postroom", "github.com/microsoftgraph/msgraph-sdk-go/models"},
		{"postroom/internal/graphtest", "test:github.com/microsoftgraph/msgraph-sdk-go-core"},
		{"postroom/ingest", "github.com/spf13/viper"},
	} {
		g := house(map[string][]string{tt.importer: {"fmt", "postroom/internal/secret", tt.imported}})
		found := violations(g, rules)
		imported, _ := strings.CutPrefix(tt.imported, "test:")
		if len(found) == 0 || !strings.HasPrefix(found[0], tt.importer+" may not import "+imported) {
			t.Errorf("%s importing %s: found %q", tt.importer, tt.imported, found)
		}
	}
}

func TestChain(t *testing.T) {
	g := house(map[string][]string{
		"postroom/cmd/postroom":   {"fmt", "postroom/internal/demo"},
		"postroom/internal/demo":  {"postroom/cmd/postroom", "example.com/standin"},
		"example.com/standin":     {"net", "testing"},
		"postroom/internal/clean": {"fmt", "test:testing"},
	})
	got := g.chain("postroom/cmd/postroom", "testing")
	want := []string{"postroom/cmd/postroom", "postroom/internal/demo", "example.com/standin", "testing"}
	if !slices.Equal(got, want) {
		t.Errorf("chain %q, want %q", got, want)
	}
	if got := g.chain("postroom/internal/clean", "testing"); got != nil {
		t.Errorf("chain %q, want none", got)
	}

	g["example.com/standin"] = &pkg{ImportPath: "example.com/standin", Imports: []string{"x/t"}, ImportMap: map[string]string{"x/t": "vendor/x/t"}}
	g["vendor/x/t"] = &pkg{ImportPath: "vendor/x/t", Imports: []string{"testing"}}
	if got := g.chain("postroom/cmd/postroom", "testing"); len(got) != 5 {
		t.Errorf("chain through a vendored package: %q", got)
	}
}

func TestLicenceTitle(t *testing.T) {
	for text, want := range map[string]bool{
		"                    GNU GENERAL PUBLIC LICENSE\n                       Version 3\n": true,
		"GNU AFFERO GENERAL PUBLIC LICENSE\n":                                                true,
		"GNU LESSER GENERAL PUBLIC LICENSE\n":                                                true,
		"means either the GNU General Public License, Version 2.0":                           false,
		"MIT License\n\nnot the GNU GENERAL PUBLIC LICENSE, which differs":                   false,
	} {
		if gpl.MatchString(text) != want {
			t.Errorf("%q: %v, want %v", text, !want, want)
		}
	}
}
