package outlook_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"mime"
	"mime/quotedprintable"
	"strings"
	"testing"
	"time"

	"golang.org/x/text/encoding/htmlindex"

	"postroom/ingest/outlook"
	"postroom/internal/mailgen"
)

// maker makes random mail: right in its form, and of all that mail can have.
type maker struct {
	r          *rand.Rand
	boundaries int
}

func (g *maker) n(n int) int            { return g.r.IntN(n) }
func (g *maker) one(s ...string) string { return s[g.n(len(s))] }
func (g *maker) maybe(n int) bool       { return g.n(n) == 0 }

// scripts are words and a charset, besides UTF-8, that has them.
var scripts = []struct {
	charset string
	words   string
}{
	{"us-ascii", "invoice order the of for paid goods 4711 10% a=b c:\\temp x;y (draft) \"quoted\" it's"},
	{"iso-8859-1", "Größe Rechnung façade über naïve señor Ærø"},
	{"windows-1252", "“Preis” 10 € – Œuvre naïve…"},
	{"iso-8859-2", "Łódź žluťoučký kůň őrült"},
	{"koi8-r", "счёт заказ номер привет"},
	{"windows-1253", "τιμολόγιο παραγγελία"},
	{"shift_jis", "請求書 注文 日本語 カタカナ"},
	{"iso-2022-jp", "請求書 注文 日本語"},
	{"gbk", "发票 订单 中文"},
	{"big5", "發票 訂單 中文"},
	{"euc-kr", "송장 주문 한국어"},
	{"windows-1255", "חשבונית הזמנה"},
	{"utf-8", "😀 𝒳 ﷽ zürich 日本 счёт"},
}

// words returns some words of a script, and a charset that has them.
func (g *maker) words(n int) (text, charset string) {
	s := scripts[g.n(len(scripts))]
	list := strings.Fields(s.words)
	var out []string
	for range n {
		out = append(out, list[g.n(len(list))])
	}
	if g.maybe(3) {
		return strings.Join(out, " "), "utf-8"
	}
	return strings.Join(out, " "), s.charset
}

// in returns a text in a charset.
func in(charset, text string) []byte {
	if charset == "us-ascii" || charset == "utf-8" {
		return []byte(text)
	}
	e, err := htmlindex.Get(charset)
	if err != nil {
		panic(err)
	}
	b, err := e.NewEncoder().Bytes([]byte(text))
	if err != nil {
		panic(fmt.Sprint(charset, text, err))
	}
	return b
}

// header returns a text as a header has it.
func (g *maker) header(n int) string {
	text, charset := g.words(n)
	if charset == "us-ascii" {
		return text
	}
	encoder := mime.BEncoding
	if g.maybe(2) && charset != "iso-2022-jp" {
		encoder = mime.QEncoding
	}
	var out []string
	for i, w := range strings.Fields(text) {
		if i > 0 {
			w = " " + w // white space between encoded words is none
		}
		out = append(out, encoder.Encode(charset, string(in(charset, w))))
		if !strings.HasPrefix(out[i], "=?") { // it is plain ASCII
			out[i] = "=?us-ascii?q?" + strings.ReplaceAll(strings.NewReplacer("=", "=3D", "?", "=3F", "_", "=5F").Replace(w), " ", "_") + "?="
		}
	}
	return strings.Join(out, g.one(" ", "\r\n ", "\r\n\t"))
}

// phrase is a display name in encoded words, which may not have all characters
// that those in a text may (RFC 2047 5).
func (g *maker) phrase() string {
	text, charset := g.words(1 + g.n(3))
	var out []string
	for i, w := range strings.Fields(text) {
		if i > 0 {
			w = " " + w
		}
		out = append(out, "=?"+charset+"?b?"+base64.StdEncoding.EncodeToString(in(charset, w))+"?=")
	}
	return strings.Join(out, g.one(" ", "\r\n "))
}

func (g *maker) mailbox() string {
	email := fmt.Sprintf("%s%d@%s", g.one("anna", "b.c", "order+x", "d_e", "'o"), g.n(100), g.one("example.com", "mail.example.org", "xn--e1afmkfd.example"))
	switch g.n(7) {
	case 0:
		return email
	case 1:
		return "<" + email + ">"
	case 2:
		return `"` + g.one("Berg, Anna", "A. Berg (Köln) at work", `The \"Boss\"`, "sales@example.com", "x") + `" <` + email + ">"
	case 3:
		return "Anna Berg <" + email + ">"
	case 4:
		return email + " (Anna Berg)"
	}
	return g.phrase() + "\r\n <" + email + ">"
}

func (g *maker) mailboxes() string {
	var list []string
	for range 1 + g.n(4) {
		if g.maybe(6) {
			list = append(list, g.one("Team", `"The, Team"`, "=?utf-8?q?Gr=C3=BCppe?=")+": "+g.mailbox()+", "+g.mailbox()+";")
		} else {
			list = append(list, g.mailbox())
		}
	}
	if g.maybe(12) {
		return "undisclosed-recipients:;"
	}
	return strings.Join(list, ",\r\n ")
}

func (g *maker) id() string {
	return fmt.Sprintf("<%x.%d@example.com>", g.r.Uint64(), g.n(1000))
}

// mail returns a message. Depth is how many messages it is in.
func (g *maker) mail(depth int) string {
	var h []string
	add := func(name, value string) { h = append(h, name+": "+value) }
	if g.maybe(2) {
		add("Received", "from a.example\r\n\tby b.example with ESMTP id "+fmt.Sprint(g.n(1000))+";\r\n\tThu, 1 Jan 2026 00:00:00 +0000")
	}
	if !g.maybe(20) {
		add("From", g.mailbox())
	}
	if g.maybe(5) {
		add("Sender", g.mailbox())
	}
	for _, name := range []string{"To", "Cc", "Bcc", "Reply-To"} {
		if g.maybe(2) {
			add(name, g.mailboxes())
		}
	}
	if !g.maybe(10) {
		add(g.one("Subject", "SUBJECT", "subject"), g.one("", "RE: ", "AW: RE: ", "[List] ")+g.header(1+g.n(12)))
	}
	if !g.maybe(15) {
		at := time.Unix(1_600_000_000+int64(g.n(200_000_000)), 0).In(time.FixedZone("", 900*(g.n(97)-48)))
		add("Date", at.Format(g.one(time.RFC1123Z, "2 Jan 2006 15:04:05 -0700")))
	}
	if !g.maybe(10) {
		add("Message-ID", g.id())
	}
	if g.maybe(3) {
		first := g.id()
		add("In-Reply-To", first)
		add("References", g.id()+"\r\n "+first)
	}
	for name, values := range map[string][]string{
		"Importance": {"High", "low"}, "X-Priority": {"1 (Highest)", "5"}, "Sensitivity": {"Private", "company-confidential"},
		"Keywords": {"Red, Blue", "=?utf-8?q?gr=C3=BCn?="}, "List-Unsubscribe": {"<mailto:a@example.com>"}, "Auto-Submitted": {"auto-generated"},
		"Disposition-Notification-To": {"a@example.com"}, "Thread-Topic": {"topic"}, "X-Auto-Response-Suppress": {"DR, NDR"},
		"Content-Language": {"de-DE"}, "Expires": {"Thu, 1 Jan 2026 00:00:00 +0000"}, "X-Message-Flag": {"Follow up"},
	} {
		if g.r.IntN(6) == 0 {
			add(name, values[g.n(len(values))])
		}
	}
	for i := range g.n(4) {
		add(fmt.Sprintf("X-Own-%d", i), g.header(1+g.n(30)))
	}
	g.r.Shuffle(len(h), func(i, j int) { h[i], h[j] = h[j], h[i] })
	head := strings.Join(h, "\r\n")
	if head != "" {
		head += "\r\n"
	}
	return head + "MIME-Version: 1.0\r\n" + g.root(depth)
}

func (g *maker) root(depth int) string {
	switch g.n(14) {
	case 0:
		return g.signed(depth)
	case 1:
		return "Content-Type: application/pkcs7-mime; smime-type=" + g.one("enveloped-data", "signed-data") + "; name=smime.p7m\r\n" +
			"Content-Transfer-Encoding: base64\r\nContent-Disposition: attachment; filename=smime.p7m\r\n\r\n" + g.base64(g.noise(200))
	case 2:
		return g.file(depth, false)
	}
	return g.body(depth, g.n(4))
}

// signed is a message that is signed as a whole: whatever is in it stays as it is.
func (g *maker) signed(depth int) string {
	b := g.boundary()
	return "Content-Type: multipart/signed; protocol=\"application/pkcs7-signature\";\r\n\tmicalg=sha-256; boundary=\"" + b + "\"\r\n\r\n" +
		g.one("", "preamble\r\n") + "--" + b + "\r\n" + g.body(depth, 1) + "\r\n--" + b +
		"\r\nContent-Type: application/pkcs7-signature; name=smime.p7s\r\nContent-Transfer-Encoding: base64\r\n\r\n" + g.base64(g.noise(100)) + "--" + b + "--\r\n" + g.one("", "epilogue\r\n")
}

func (g *maker) boundary() string {
	g.boundaries++
	return fmt.Sprintf("b%d_%s", g.boundaries, g.one("x", "=_y", "'z'", "----w"))
}

func (g *maker) multipart(kind string, parts ...string) string {
	b := g.boundary()
	var out strings.Builder
	fmt.Fprintf(&out, "Content-Type: multipart/%s; boundary=\"%s\"\r\n\r\n", kind, b)
	for _, p := range parts {
		out.WriteString("--" + b + "\r\n" + p + "\r\n")
	}
	return out.String() + "--" + b + "--\r\n"
}

// body is a text with files.
func (g *maker) body(depth, files int) string {
	text := g.text()
	var parts []string
	for range files {
		parts = append(parts, g.file(depth, true))
	}
	if len(parts) == 0 {
		return text
	}
	return g.multipart("mixed", append([]string{text}, parts...)...)
}

func (g *maker) text() string {
	prose, charset := g.prose()
	plain := g.leaf("plain", prose, charset)
	page := func(ids []string) string {
		text, charset := g.html(ids)
		return g.leaf("html", text, charset)
	}
	switch g.n(4) {
	case 0:
		return plain
	case 1:
		return g.multipart("alternative", plain, page(nil))
	case 2:
		return page(nil)
	}
	var ids, pictures []string
	for i := range 1 + g.n(3) {
		id := fmt.Sprintf("part%d.%x@example.com", i, g.n(1000))
		ids = append(ids, id)
		pictures = append(pictures, "Content-Type: image/"+g.one("png", "jpeg", "gif")+g.named("name", fmt.Sprintf("picture%d.png", i))+
			"\r\nContent-ID: <"+id+">\r\nContent-Disposition: inline"+g.named("filename", fmt.Sprintf("picture%d.png", i))+
			"\r\nContent-Transfer-Encoding: base64\r\n\r\n"+g.base64(g.noise(300)))
	}
	html := page(ids)
	if g.maybe(2) {
		return g.multipart("alternative", plain, g.multipart("related", append([]string{html}, pictures...)...))
	}
	return g.multipart("related", append([]string{g.multipart("alternative", plain, html)}, pictures...)...)
}

// prose is some paragraphs in one script.
func (g *maker) prose() (text, charset string) {
	text, charset = g.words(5)
	for range g.n(20) {
		text += g.one(" ", " ", "\r\n", "\r\n\r\n", "\t") + text[:strings.IndexAny(text+" ", " \r\n\t")]
	}
	if g.maybe(3) {
		text += strings.Repeat(" long", 300)
	}
	return text + g.one("", "\r\n", "\r\n\r\n", "  \r\n"), charset
}

func (g *maker) html(ids []string) (text, charset string) {
	text, charset = g.prose()
	text = "<html><head><title>t</title></head><body><p>" + strings.NewReplacer("<", "&lt;", "&", "&amp;").Replace(text) + "</p>\r\n"
	for _, id := range ids {
		text += g.one("<img src=\"cid:"+id+"\">", "<img src=cid:"+id+" alt=x>", "<td style=\"background:url(cid:"+id+")\">")
	}
	return text + "</body></html>", charset
}

// leaf is a text as a part.
func (g *maker) leaf(kind, text, charset string) string {
	b := in(charset, text)
	head := "Content-Type: text/" + kind + "; charset=" + charset
	switch {
	case g.maybe(2):
		return head + "\r\nContent-Transfer-Encoding: base64\r\n\r\n" + g.base64(b)
	case charset == "us-ascii" && !strings.Contains(text, strings.Repeat(" long", 100)):
		return head + "\r\n\r\n" + text
	}
	var out bytes.Buffer
	w := quotedprintable.NewWriter(&out)
	_, _ = w.Write(b) // to memory
	_ = w.Close()
	return head + "\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n" + out.String()
}

func (g *maker) noise(most int) []byte {
	b := make([]byte, g.n(most))
	for i := range b {
		b[i] = byte(g.r.Uint32())
	}
	return b
}

func (g *maker) base64(b []byte) string {
	s := base64.StdEncoding.EncodeToString(b)
	var out strings.Builder
	for len(s) > 76 {
		out.WriteString(s[:76] + "\r\n")
		s = s[76:]
	}
	return out.String() + s + "\r\n"
}

// named is a parameter in one of the ways that are in use.
func (g *maker) named(name, value string) string {
	switch g.n(3) {
	case 0:
		return mime.FormatMediaType("x/y", map[string]string{name: value})[len("x/y"):]
	case 1:
		return "; " + name + "=\"" + mime.BEncoding.Encode("utf-8", value) + "\""
	}
	if strings.ContainsFunc(value, func(r rune) bool { return r > 0x7F }) {
		return mime.FormatMediaType("x/y", map[string]string{name: value})[len("x/y"):]
	}
	return "; " + name + "=\"" + value + "\""
}

// file is an attachment: a file or, if it may be, a message.
func (g *maker) file(depth int, message bool) string {
	if message && depth < 3 && g.maybe(4) {
		return "Content-Type: message/rfc822\r\n" + g.one("", "Content-Disposition: attachment\r\n") + "\r\n" + g.mail(depth+1)
	}
	text, _ := g.words(1 + g.n(4))
	name := strings.Trim(strings.NewReplacer(":", "", "\\", "", "\"", "", "%", "").Replace(text), " .;=")
	if name == "" || strings.Contains(name, "=?") {
		name = "file"
	}
	name += g.one(".pdf", ".docx", ".bin", ".tar.gz", ".p7m", ".zip")
	if strings.HasSuffix(name, ".p7m") && !message {
		name += ".bin" // it would be a message in S/MIME
	}
	kind := g.one("application/pdf", "application/octet-stream", "image/png", "text/csv; charset=iso-8859-1", "application/vnd.ms-excel")
	head := "Content-Type: " + kind + g.named("name", name) + "\r\nContent-Disposition: attachment" + g.named("filename", name) + "\r\n"
	if g.maybe(5) {
		head += "Content-Description: " + g.header(2) + "\r\n"
	}
	if g.maybe(5) {
		head += "Content-ID: <" + fmt.Sprint(g.n(1000)) + "@example.com>\r\n"
	}
	return head + "Content-Transfer-Encoding: base64\r\n\r\n" + g.base64(g.noise(5000))
}

// TestMailIsTheSame: random mail is the same in every field after it was converted
// to .msg and back, and again.
func TestMailIsTheSame(t *testing.T) {
	excepted := map[string]int{}
	for seed := range uint64(300) {
		g := &maker{r: rand.New(rand.NewPCG(seed, 1))}
		raw := []byte(g.mail(0))
		if differences := roundTrip(t, raw, excepted); len(differences) > 0 || t.Failed() {
			t.Fatalf("mail %d: %s\n%s", seed, strings.Join(differences, "\n"), raw)
		}
	}
	for reason := range excepted {
		switch reason {
		case exTextMade, exTextSpace, exName:
		default:
			t.Errorf("right mail needs the exception: %s", reason)
		}
	}
	t.Log(excepted)
}

// TestMailOfBusiness is TestMailIsTheSame for the mail of a mailroom.
func TestMailOfBusiness(t *testing.T) {
	excepted := map[string]int{}
	g := mailgen.New(3, mailgen.Moderate())
	for i := range 150 {
		m := g.Next()
		if differences := roundTrip(t, m.Raw, excepted); len(differences) > 0 || t.Failed() {
			t.Fatalf("mail %d (%s): %s", i, m.Subject, strings.Join(differences, "\n"))
		}
	}
	t.Log(excepted)
}

// TestMailTwice: the same file makes the same bytes, and mail that was written so
// is written so again.
func TestMailTwice(t *testing.T) {
	for seed := range uint64(100) {
		g := &maker{r: rand.New(rand.NewPCG(seed, 2))}
		b, _ := convert(t, []byte(g.mail(0)), outlook.Options{})
		one, _ := back(t, b)
		two, _ := back(t, b)
		if !bytes.Equal(one, two) {
			t.Fatalf("mail %d: the same file made other bytes", seed)
		}
		excepted := map[string]int{}
		if differences := roundTrip(t, one, excepted); len(differences) > 0 {
			t.Fatalf("mail %d, again: %s\n%s", seed, strings.Join(differences, "\n"), one)
		}
	}
}
