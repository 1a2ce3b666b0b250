package outlook_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"postroom/internal/corpus"
	"postroom/internal/mailgen"
)

// ownMail returns the mail of all fixtures, and some that is generated.
func ownMail(t *testing.T) (all []corpus.Mail) {
	for _, dir := range []string{"testdata", filepath.Join("..", "message", "testdata")} {
		err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
			if err != nil || filepath.Ext(name) != ".txtar" {
				return err
			}
			a, err := txtar.ParseFile(name)
			if err != nil {
				return err
			}
			found := false
			for _, f := range a.Files {
				base := strings.TrimSuffix(filepath.Base(name), ".txtar")
				switch {
				case dir != "testdata" && !strings.HasSuffix(f.Name, ":"):
					all = append(all, corpus.Mail{Name: "message/" + base + "/" + f.Name, Raw: unescape(t, string(a.Comment), f.Data)})
				case dir == "testdata" && f.Name == "mail":
					raw := crlf(f.Data)
					if filepath.Dir(name) == dir {
						raw, _ = fixture(t, name)
					}
					all = append(all, corpus.Mail{Name: "outlook/" + base, Raw: raw})
				default:
					continue
				}
				found = true
			}
			if !found {
				t.Errorf("no mail in %s", name)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	all = append(all, corpus.Mail{Name: "attached without recipients", Raw: crlf([]byte("Content-Type: message/rfc822\n\nDate: Thu, 1 Jan 2026 00:00:00 +0000\n\nx\n"))})
	// Sizes at which something changes in a compound file.
	for _, size := range []int{0, 1, 63, 64, 65, 4095, 4096, 4097, 64 << 10, 7 << 20, 16 << 20} {
		head := "Subject: size\r\nContent-Type: application/octet-stream; name=a.bin\r\nContent-Disposition: attachment\r\n\r\n"
		all = append(all, corpus.Mail{Name: fmt.Sprintf("size/%d", size), Raw: append([]byte(head), bytes.Repeat([]byte("0123456789abc"), size/13+1)[:size]...)})
	}
	g := mailgen.New(5, mailgen.Small())
	for i := range 100 {
		all = append(all, corpus.Mail{Name: fmt.Sprintf("generated/%d", i), Raw: g.Next().Raw})
	}
	return all
}

// unescape returns mail as the fixtures of package message have it.
func unescape(t *testing.T, comment string, s []byte) (raw []byte) {
	t.Helper()
	eol := "\r\n"
	switch {
	case strings.Contains(comment, "Lines end with LF"):
		eol = "\n"
	case strings.Contains(comment, "Lines end with CR."):
		eol = "\r"
	}
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\n':
			raw = append(raw, eol...)
		case s[i] != '\\' || i+1 == len(s):
			raw = append(raw, s[i])
		default:
			i++
			switch s[i] {
			case 'x':
				b, err := hex.DecodeString(string(s[i+1 : i+3]))
				if err != nil {
					t.Fatal(err)
				}
				raw = append(raw, b...)
				i += 2
			case 'r', 'n', 't', 's':
				raw = append(raw, map[byte]byte{'r': '\r', 'n': '\n', 't': '\t', 's': ' '}[s[i]])
			case '\n':
			default:
				raw = append(raw, s[i])
			}
		}
	}
	return raw
}
