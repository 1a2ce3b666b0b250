package outlook_test

import (
	"crypto/sha256"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"postroom/ingest/outlook"
	"postroom/internal/corpus"
)

var update = flag.Bool("update", false, "write testdata/bytes.txt anew")

// TestBytesStay holds the files that are made of mail to what they were: a change
// that is not meant to alter them does not. One that is writes testdata/bytes.txt
// anew. Of the corpus there is a line for each archive that was at hand then.
func TestBytesStay(t *testing.T) {
	const golden = "testdata/bytes.txt"
	sum := func(raw []byte) [sha256.Size]byte {
		b, _ := convert(t, raw, outlook.Options{Mailbox: "box@example.com"})
		return sha256.Sum256(b)
	}
	was := map[string]string{}
	old, err := os.ReadFile(golden)
	if err != nil && !*update {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(old)) {
		sum, name, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		was[name] = sum
	}
	is := map[string]string{}
	for _, mail := range append(ownMail(t), corpus.Mail{Name: "letter", Raw: letter()}) {
		is[mail.Name] = fmt.Sprintf("%.8x", sum(mail.Raw))
	}
	for _, a := range corpus.Read(t) {
		name, all := fmt.Sprintf("archive %x", a.SHA256[:8]), sha256.New()
		for _, mail := range a.Mail {
			fmt.Fprintf(all, "%s %x\n", mail.Name, sum(mail.Raw))
		}
		if was[name] != "" || *update { // another archive is none of these
			is[name] = fmt.Sprintf("%.8x", all.Sum(nil))
		}
	}
	for name, sum := range was {
		if strings.HasPrefix(name, "archive ") && is[name] == "" {
			is[name] = sum // it is not at hand
		}
	}
	if *update {
		var b strings.Builder
		for _, name := range slices.Sorted(maps.Keys(is)) {
			fmt.Fprintf(&b, "%s %s\n", is[name], name)
		}
		if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	for name := range is {
		if was[name] != is[name] {
			t.Errorf("%s: the file was %s, is %s", name, was[name], is[name])
		}
	}
	for name := range was {
		if is[name] == "" {
			t.Errorf("%s: there is no such mail", name)
		}
	}
}
