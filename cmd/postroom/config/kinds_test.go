package config

import (
	"path/filepath"
	"reflect"
	"testing"
	"time"
)

func TestKinds(t *testing.T) {
	dir := t.TempDir()
	day := 24 * time.Hour
	tests := []struct {
		kind    string
		allowed map[string]any
		refused []string
	}{
		{"duration", map[string]any{
			"30s": 30 * time.Second, "1h30m": 90 * time.Minute, "1d": day, "2d12h": 60 * time.Hour, "1.5h": 90 * time.Minute, "0d1s": time.Second,
		}, []string{"5", "1.5d", "-1d", "d", "1d-5h5", "1d1d", "99999999d", "1w", "1 h", "99999999h"}},
		{"size", map[string]any{
			"1": int64(1), "5B": int64(5), "2kB": int64(2e3), "2KB": int64(2e3), "150MB": int64(150e6), "150 MB": int64(150e6), "1GB": int64(1e9),
			"1KiB": int64(1 << 10), "1MiB": int64(1 << 20), "1GiB": int64(1 << 30),
		}, []string{"0", "-1", "MB", "1mb", "1TB", "1.5MB", "1  MB", "99999999999999GB", "1MB "}},
		{"date", map[string]any{
			"2024-02-29":                time.Date(2024, 2, 29, 0, 0, 0, 0, time.UTC),
			"2024-01-31T08:00:00+02:00": time.Date(2024, 1, 31, 6, 0, 0, 0, time.UTC),
		}, []string{"2023-02-29", "31.01.2024", "2024-1-1", "2024-01-31T08:00:00", "today"}},
		{"path", map[string]any{
			"a/b": filepath.Join(dir, "a", "b"), "./a/../c": filepath.Join(dir, "c"), filepath.Join(dir, "x"): filepath.Join(dir, "x"), "a~": filepath.Join(dir, "a~"),
		}, []string{"~", "~/x"}},
		{"ledger", map[string]any{
			"sqlite:x.db": "sqlite:" + filepath.Join(dir, "x.db"), "postgres://u:p@h/d": "postgres://u:p@h/d",
		}, []string{"sqlite:", "x.db", "postgres://", "mysql://h/d", "postgres:x"}},
		{"hostport", map[string]any{"h": "h", "h.example.com:993": "h.example.com:993", "[::1]:993": "[::1]:993", "::1": "::1"},
			[]string{"h:", "h:0", "h:65536", "h:imap", "imap://h", ":993", "a b", "u@h", "h/x"}},
		{"listen", map[string]any{"127.0.0.1:8460": "127.0.0.1:8460", ":1": ":1", "[::1]:80": "[::1]:80"},
			[]string{"127.0.0.1", "h:0", "h:x", "http://h:80"}},
		{"url", map[string]any{"http://h:3128": "http://h:3128", "SOCKS5://h": "SOCKS5://h", "": ""}, []string{"h:3128", "ftp://h", "http://"}},
		{"https", map[string]any{"https://h/x": "https://h/x"}, []string{"http://h", "https://", "h"}},
		{"template", map[string]any{"": "", "a {subject} {{b}} {header:X-Y}": "a {subject} {{b}} {header:X-Y}"},
			[]string{"{", "}", "{subject", "{}", "{Subject}", "{header:}", "{header:a b}", "a } b"}},
		{"read", map[string]any{"attachment_names": "attachment_names", "header:X-Ticket": "header:X-Ticket"},
			[]string{"header:", "header:Ä", "header:a:b", "From", "x"}},
		{"name", map[string]any{"a": "a", "A-b_9": "A-b_9", "com0": "com0", "CONSOLE": "CONSOLE"},
			[]string{"", "-a", "_a", "a b", "a.b", "ä", "con", "Prn", "AUX", "nul", "com1", "LPT9", "a\n"}},
		{"address", map[string]any{"a@b.example": "a@b.example"}, []string{"a", "A <a@b>", "a@", "a@b, c@d"}},
		{"guid", map[string]any{"0aF11111-1111-1111-1111-111111111111": "0aF11111-1111-1111-1111-111111111111"},
			[]string{"1111", "g1111111-1111-1111-1111-111111111111", "{11111111-1111-1111-1111-111111111111}"}},
		{"folder", map[string]any{"Inbox/A%2FB%25": "Inbox/A%2FB%25"}, []string{"a//b", "/a", "a/", "%", "%zz"}},
		{"pattern", map[string]any{"*": "*", "A/**": "A/**"}, []string{"a//b", "**/a", "%41"}},
		{"bool", map[string]any{"true": true, "False": false}, []string{"yes", "1", ""}},
		{"int", map[string]any{"7": 7, "-7": -7}, []string{"0x7", "1_000", "7.0", "99999999999999999999"}},
	}
	for _, test := range tests {
		k, ok := kindOf(test.kind, reflect.TypeFor[string]())
		if !ok {
			t.Fatalf("kind %s is unknown", test.kind)
		}
		for text, want := range test.allowed {
			if got, err := k.parse(text, dir); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("%s %q is %v, %v, want %v", test.kind, text, got, err, want)
			}
		}
		for _, text := range test.refused {
			if got, err := k.parse(text, dir); err == nil {
				t.Errorf("%s %q is allowed, as %v", test.kind, text, got)
			}
		}
	}
}
