package outlook

import (
	"bytes"
	"strings"
	"testing"
)

var pagesOfHTML = []string{
	"", "a", "<p>a</p><p>b</p>", "a < b &lt; c &amp;lt; &#8364;&euro;&notanentity;&amp", "a&nbsp;b\x00c&#0;", "<", "</", "a</", "</>a", "</ x>a", "<a", "<!", "<?x?>a",
	"<style>a<b</style>b", "<SCRIPT type='x'>'</scrip>'</Script >b", "<script>never", "<script/>a</script>b", "<title></title>a<title>&lt;b</title>c",
	"<script><!--<script></script>a</script>b", "a<!-- <p>b --- -- > -->c", "a<!-->b<!--->c<!--x", "a<!DOCTYPE x>b<![if !mso]>c<![CDATA[d]]>e",
	"<a href=\"x>y\" title='>'>b</a>", "<a href=x\"y>b</a>c", "<a title=\">never", "<a href=never", "<a b = 'c' d= e =f / g/h=/>i", "<br/><br /><BR>a", "<p/a><p=b><p ='>'>c",
	"<pre>\r\na\r  b\n&#13;\r\n</pre>c\r\nd", "<template>a<style>b</style></template>c", "<template/>a", "<template><style>b</style>", "<textarea>&amp;<b></textarea>c", "<plaintext>a<b>",
	"<ul><li>a<li>b</ul>c<td>d<th>e", "<xmp><b></xmp><iframe><p>a</iframe>b<noscript>c</noscript>", "<titleX>a</titleX><averylongnameofatag>a</averylongnameofatag>",
	"<svg><style/>a</svg>", "<p\x00>a", "\xff<\xc3>", "a<1>b<_>c", "<p><style></style><p>a", "<title>a</title\n>b</style>c",
}

// FuzzHTMLText: HTML in memory has the text that it has as a stream.
func FuzzHTMLText(f *testing.F) {
	for _, page := range pagesOfHTML {
		f.Add([]byte(page))
	}
	f.Add([]byte(strings.Join(pagesOfHTML[1:25], " ")))
	f.Fuzz(func(t *testing.T, page []byte) {
		if len(page) >= longestTag {
			return
		}
		var got, want bytes.Buffer
		if err := htmlText(&got, bytes.NewReader(page)); err != nil {
			t.Fatal(err)
		}
		h := htmlReader{text: textWriter{w: &want}}
		if err := h.stream(bytes.NewReader(page)); err != nil {
			t.Fatal(err)
		}
		h.text.flush()
		if got.String() != want.String() {
			t.Errorf("%q: %q in memory, %q as a stream", page, got.String(), want.String())
		}
	})
}

// TestLineWriter: what is no UTF-8 is U+FFFD wherever it stands, and lines end with CR
// LF.
func TestLineWriter(t *testing.T) {
	for n := range 20 {
		head := strings.Repeat("a", n)
		for in, want := range map[string]string{
			"\x85": "\uFFFD", "\x9f\xc2": "\uFFFD\uFFFD", "\n\r\n\r": "\r\n\r\n\r\n", "ä€😀\x7f\x1f\x00": "ä€😀\x7f\x1f", "~ ": "~ ",
		} {
			var b bytes.Buffer
			l := newLineWriter(&b)
			text := head + in + head
			for _, piece := range []string{text[:len(text)/2], text[len(text)/2:]} {
				if _, err := l.Write([]byte(piece)); err != nil {
					t.Fatal(err)
				}
			}
			if err := l.end(); err != nil {
				t.Fatal(err)
			}
			if got := decodeUTF16(b.Bytes()); got != head+want+head {
				t.Errorf("%q: %q", text, got)
			}
		}
	}
}
