package document

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"postroom/internal/corpus"
)

var update = flag.Bool("update", false, "write testdata/fingerprints.txt anew")

// pages are HTML that is read differently by readers that differ in anything.
var pages = []string{
	"", "a<", "a</", "a</>b", "a<b", "<p>a</p><p>b</p>", "a < b &lt; c &amp;lt; &#8364;&euro;&notanentity;&amp", "a&nbsp;b&shy;c&#8203;d&#0;",
	"<style>a<b</style>b", "<SCRIPT type='x'>'</scrip>'</Script >b", "<script>never ends", "<script/>a</script>b", "<title>t</title>a<title>never",
	"a<!-- <p>b --- -- > -->c", "a<!-->b<!--->c", "a<!--never ends", "a<!DOCTYPE x>b<?xml y?>c<![if !mso]>d<![endif]>e<![CDATA[f]]>",
	"<a href=\"x>y\" title='>'>b</a>", "<a href=x\"y>b</a>c", "<a title=\">never ends", "<a href=never",
	"<a href='http://a.example/'>http://a.example</a>", "<a href='http://a.example'>a.example</a>", "<a href='mailto:a@b.example'>a@b.example</a>",
	"<a href='http://a.example/x'>here</a>", "<a href=1>a<a href=2>b</a>c</a>d", "<a href=1>open to the end", "<A HREF=' h t t p : / / x '>a</A>",
	"<a href=1 href=2>a</a>", "<a name=x>a</a>", "<a href=''>a</a>", "<a href=1/>a", "<a href=&amp;1&copy=2>a</a>",
	"<img src=cid:a@b><img src=' c i d : a '/><img alt=x src=y src=z></img src=q>", "<image src=x>", "<IMG\nSRC\n=\n\"x\n y\">",
	"<textarea><b>a</b></textarea>b", "<noscript><img src=a>b</noscript>c", "<noframes><b>a</noframes>b", "<iframe><p>a</iframe>b", "<xmp><p>a</xmp>b",
	"<noembed><p>a</noembed>b", "<plaintext><p>a</plaintext>b", "<template>a</template>b", "<pre>\na\n  b</pre>c",
	"<style>a</style></style>b<style>c", "<title><b>a</b>&lt;</title>b<svg><title>c</title>d</svg><svg><style>x</style></svg>", "</script>a<script>b",
	"a\x00b<p\x00>c", "a\r\nb\rc", "\xff\xfe", "gr\xfc\xdfe", "\u00e9 e\u0301 \u1100\u1161 \ufeff\u200b\u00ad", "<1>a<_>b<p1>c<p:q>d<o:p>e</o:p>",
	"<a href=1 <img src=2>a</a>b", "<td>a</td><td>b</td>", "<script><!--<script></script>a</script>b", "<script><!--</script>--></script>b",
}

// pageMail is a page as mail, as it stands and encoded.
func pageMail(page string) (mail []string) {
	for _, charset := range []string{"; charset=utf-8", ""} {
		mail = append(mail, "Subject: a\r\n"+part("Content-Type: text/html"+charset, page))
	}
	return append(mail, "Subject: a\r\n"+multi("alternative", plain, part("Content-Type: text/html; charset=utf-8 | Content-Transfer-Encoding: base64", base64.StdEncoding.EncodeToString([]byte(page)))))
}

// goldenMail is mail of every kind by name.
func goldenMail(t testing.TB) map[string][]byte {
	all := map[string][]byte{"nothing": nil}
	for _, file := range fixtures(t) {
		for name, raw := range fixtureMail(t, file) {
			all[strings.TrimSuffix(filepath.Base(file), ".txtar")+"/"+name] = raw
		}
	}
	for _, tt := range separations {
		all["separate/"+tt.name] = []byte(tt.mail)
	}
	large := []string{
		strings.Repeat("e\u0301", 40<<10), strings.Repeat("<p>x\r\n &amp; y", 20<<10), "<a href=1>" + strings.Repeat("a<b>", 3000) + "</a>",
		strings.Repeat(" ", 70<<10) + "\u0301", "<a " + strings.Repeat("x", 1<<20) + " href=1>a</a><p>b", strings.Repeat("&#65;\u00ad", 20<<10),
		"a<!--" + strings.Repeat("-", 1<<20) + "-->b", "<script>" + strings.Repeat("x<", 600<<10) + "</script>b", strings.Repeat("a\u0300\u0301\u0302", 20<<10),
	}
	for i, page := range append(slices.Clone(pages), large...) {
		for k, mail := range pageMail(page) {
			all[fmt.Sprintf("page/%d.%d", i, k)] = []byte(mail)
		}
	}
	return all
}

// TestFingerprintsStay holds the fingerprints to what they were when documents
// were filed by them: they may change with identityVersion alone.
func TestFingerprintsStay(t *testing.T) {
	var got bytes.Buffer
	mail := goldenMail(t)
	for _, name := range slices.Sorted(maps.Keys(mail)) {
		f, err := Identify(context.Background(), mustRead(t, mail[name]))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&got, "%s\t%q %x %x\n", name, f.MessageID, f.Content[:8], f.Strict[:8])
	}
	known := map[string]bool{}
	const golden = "testdata/fingerprints.txt"
	want, err := os.ReadFile(golden)
	if err != nil && !*update {
		t.Fatal(err)
	}
	for _, archive := range corpus.Read(t) {
		sum := sha256.New()
		for _, m := range archive.Mail {
			f, err := Identify(context.Background(), mustRead(t, m.Raw))
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(sum, "%s %q %x %x\n", m.Name, f.MessageID, f.Content, f.Strict)
		}
		line := fmt.Sprintf("corpus %x\t%x\n", archive.SHA256[:8], sum.Sum(nil))
		known[line] = true
		if *update {
			got.WriteString(line)
		}
	}
	if *update {
		if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	old := strings.SplitAfter(string(want), "\n")
	now := strings.SplitAfter(got.String(), "\n")
	for line := range known {
		if !slices.Contains(old, line) && slices.ContainsFunc(old, func(s string) bool { return strings.HasPrefix(s, line[:len("corpus ")+16]) }) {
			t.Errorf("of the corpus the fingerprints are %s", line)
		}
	}
	old = slices.DeleteFunc(old, func(s string) bool { return strings.HasPrefix(s, "corpus ") })
	for i := range max(len(old), len(now)) {
		var a, b string
		if i < len(old) {
			a = old[i]
		}
		if i < len(now) {
			b = now[i]
		}
		if a != b {
			t.Errorf("fingerprint was %sis %s", a, b)
		}
	}
}
