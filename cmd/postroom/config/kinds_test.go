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
		}, []string{"5", "1.5d", "-1d", "d", "1d-5h5", "1d1d", "99999999d", "1w", "1 h", "99999999h", "9999999999999h", "1", "", "1e3s", "+1d"}},
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
		}, []string{"~", "~/x", "http://x/y", "file:///x", "file:x", "S3://b"}},
		{"ledger", map[string]any{
			"sqlite:x.db": "sqlite:" + filepath.Join(dir, "x.db"), "postgres://u:p@h/d": "postgres://u:p@h/d",
		}, []string{"sqlite:", "sqlite://x.db", "sqlite:///x.db", "x.db", "postgres://", "mysql://h/d", "postgres:x"}},
		{"hostport", map[string]any{"h": "h", "h.example.com:993": "h.example.com:993", "[::1]:993": "[::1]:993", "::1": "::1", "[::1]": "[::1]", "[fe80::1%eth0]:993": "[fe80::1%eth0]:993", "1.2.3.4": "1.2.3.4",
			"1.2.3.4:993": "1.2.3.4:993", "mail_1.example.com.": "mail_1.example.com.", "3com.example": "3com.example", "xn--h-zfa": "xn--h-zfa"},
			[]string{"h:", "h:0", "h:65536", "h:imap", "h:+993", "imap://h", ":993", "a b", "u@h", "h/x", "[::1", "::1]", "[h]", "[1.2.3.4]", "[::1]993", "[::1]:", "-h", "h-", "a..b", ".h", "1.2.3.256", "1::2::3", "h\u00e4", "h?x"}},
		{"listen", map[string]any{"127.0.0.1:8460": "127.0.0.1:8460", ":1": ":1", "[::1]:80": "[::1]:80"},
			[]string{"127.0.0.1", "h:0", "h:x", "http://h:80", "::1", "[::1]", "", ":", ":x"}},
		{"url", map[string]any{"http://h:3128": "http://h:3128", "SOCKS5://h": "SOCKS5://h", "": ""}, []string{"h:3128", "ftp://h", "http://", "http://-h", "http://h:0", "http://h:70000", "http://[::1"}},
		{"https", map[string]any{"https://h/x": "https://h/x"}, []string{"http://h", "https://", "h", "https://u@h", "https://h?x", "https://h#x"}},
		{"template", map[string]any{"": "", "a {subject} {{b}} {header:X-Y}": "a {subject} {{b}} {header:X-Y}"},
			[]string{"{", "}", "{subject", "{}", "{Subject}", "{header:}", "{header:a b}", "a } b"}},
		{"read", map[string]any{"attachment_names": "attachment_names", "header:X-Ticket": "header:X-Ticket"},
			[]string{"header:", "header:Ä", "header:a:b", "From", "x"}},
		{"name", map[string]any{"a": "a", "A-b_9": "A-b_9", "COM": "COM", "com10": "com10", "LPTx": "LPTx", "CONSOLE": "CONSOLE", "CONIN": "CONIN"},
			[]string{"", "-a", "_a", "a b", "a.b", "ä", "con", "Prn", "AUX", "nul", "com0", "com1", "COM9", "lpt0", "LPT9", "COM¹", "LPT³", "CONIN$", "CONOUT$", "a\n"}},
		{"address", map[string]any{"a@b.example": "a@b.example"}, []string{"a", "A <a@b>", "a@", "a@b, c@d"}},
		{"guid", map[string]any{"0aF11111-1111-1111-1111-111111111111": "0aF11111-1111-1111-1111-111111111111"},
			[]string{"1111", "g1111111-1111-1111-1111-111111111111", "{11111111-1111-1111-1111-111111111111}"}},
		{"folder", map[string]any{"Inbox/A%2FB%25": "Inbox/A%2FB%25", "A%2AB": "A%2AB"}, []string{"a//b", "/a", "a/", "%", "%zz", "%2", "*", "a/*", "a/**", "a*b", "a\tb"}},
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

func TestCheckPath(t *testing.T) {
	// The answers are those on Linux and on Windows.
	tests := []struct {
		path           string
		linux, windows bool
	}{
		{"a", true, true},
		{"./a/b", true, true},
		{"/a", true, false},
		{"//server/share", true, true},
		{`\\server\share`, false, true},
		{`C:\temp`, false, true},
		{"C:/temp", false, true},
		{"c:temp", false, false},
		{"C:", false, false},
		{`\temp`, false, false},
		{`a\b`, false, true},
		{`.\a`, false, true},
		{`a/b\c`, true, true},
		{"a:b", false, false},
		{"ab:c", true, false},
		{`C:\a:b`, false, false},
		{"~", false, false},
		{"~/a", false, false},
		{`~\a`, false, false},
		{"~a", true, true},
		{"a~1", true, true},
		{"http://x/y", false, false},
		{"s3://bucket", false, false},
		{"FILE:/x", false, false},
	}
	for _, test := range tests {
		for windows, want := range map[bool]bool{false: test.linux, true: test.windows} {
			if err := checkPath(test.path, windows); (err == nil) != want {
				t.Errorf("path %s, on Windows %t: %v, want allowed %t", test.path, windows, err, want)
			}
		}
	}
}
