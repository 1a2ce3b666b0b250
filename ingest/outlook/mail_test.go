package outlook_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"postroom/ingest/message"
	"postroom/ingest/outlook"
	"postroom/internal/corpus"
)

// back converts a .msg file to mail.
func back(t testing.TB, b []byte) ([]byte, outlook.Report) {
	t.Helper()
	f, err := outlook.Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	report, err := f.WriteMail(context.Background(), &out)
	if err != nil {
		t.Fatal(err)
	}
	if report.Size != int64(out.Len()) {
		t.Errorf("the report says %d bytes, there are %d", report.Size, out.Len())
	}
	return out.Bytes(), report
}

// wellFormed checks the form of mail: lines that end in CR LF, of at most 998
// characters, in ASCII but for what says otherwise. Signed content stands as it
// was, and is not looked at.
func wellFormed(t testing.TB, raw []byte, report outlook.Report) {
	t.Helper()
	wide := strings.Contains(fmt.Sprint(report.Losses), "RFC 6532")
	m := read(t, raw)
	if m.Protection() == message.ClearSigned {
		raw = raw[:m.Body.Start]
	}
	for p := range m.All() {
		if p.Protection() == message.ClearSigned {
			return
		}
		wide = wide || strings.HasPrefix(p.Type, "message/") && !p.IsMessage() && p.Header.Raw("Content-Transfer-Encoding") == "8bit"
		if len(p.Notes) > 0 || p.Header != nil && len(p.Header.Notes) > 0 {
			t.Errorf("a part of type %s: %q %q", p.Type, p.Notes, p.Header.Notes)
		}
	}
	for i, line := range bytes.SplitAfter(raw, []byte("\n")) {
		text, ok := bytes.CutSuffix(line, []byte("\r\n"))
		if !ok && len(line) > 0 && i < bytes.Count(raw, []byte("\n")) || bytes.ContainsAny(text, "\r\n\x00") || len(text) > 998 {
			t.Errorf("line %d, of %d bytes, is not as RFC 5322 2.1 has it: %.100q", i+1, len(line), line)
		}
		if i := bytes.IndexFunc(text, func(r rune) bool { return r >= 0x80 }); i >= 0 && !wide {
			t.Errorf("line %d is not in ASCII: %.100q", i+1, text)
		}
	}
}

// comparison tells how the mail that became of a mail differs from it.
type comparison struct {
	t        testing.TB
	was, is  *message.Message
	excepted map[string]int // by the reasons below
	found    []string
}

// Reasons why mail may differ after the round trip.
const (
	exTextMade     = "plain text is made of HTML where the mail has no other"
	exTextSpace    = "NUL in a text is left out, and a text that is white space alone may be"
	exEnriched     = "text/enriched is the plain text, and a file"
	exName         = "a file without a name, or with one that no file can have, gets one"
	exType         = "a type that may not be encoded or stand alone is application/octet-stream"
	exEncoded      = "an attached message that cannot be taken apart is a file"
	exHeaderBytes  = "bytes in a header that are in no declared charset are read by guess"
	exNoAddress    = "a person without an address has one that is nobody's"
	exOrganisation = "fields of an Exchange organisation are left out"
	exRemade       = "a multipart that Convert takes apart is mixed"
	exExternal     = "message/external-body is a link"
	exInline       = "a picture is inline where the HTML shows it, wherever it stands"
	exUTF8         = "HTML in a charset that Windows has no code page for is UTF-8"
	exLineEnds     = "a delivery status has line ends CR LF"
	exReport       = "a delivery status of which properties say all is made of them"
	exPieces       = "a text in pieces, with files between them, is HTML"
	exTNEF         = "winmail.dat is what is in it"
	exSigned       = "a signed part below the root is taken apart and is signed.eml"
)

func (c *comparison) differ(format string, args ...any) {
	c.found = append(c.found, fmt.Sprintf(format, args...))
}

func (c *comparison) except(reason string) { c.excepted[reason]++ }

func (c *comparison) content(m *message.Message, p *message.Part) []byte {
	b, err := io.ReadAll(m.Open(p))
	if err != nil {
		c.t.Fatal(err)
	}
	return b
}

// text returns a text with line ends LF.
func (c *comparison) text(m *message.Message, p *message.Part) string {
	if p == nil {
		return ""
	}
	t, err := m.Text(p, 64<<20)
	if err != nil {
		c.t.Fatal(err)
	}
	return strings.ReplaceAll(lineFeeds(t.String), "\x00", "")
}

func lineFeeds(s string) string { return strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(s) }

var addressFields = []string{"From", "Sender", "Reply-To", "To", "Cc", "Bcc", "Disposition-Notification-To", "Resent-From", "Resent-To"}

func ascii(b []byte) bool {
	return !bytes.ContainsFunc(b, func(r rune) bool { return r >= utf8.RuneSelf })
}

// headers compares header fields: each by its name and decoded value, addresses
// by their parts.
func (c *comparison) headers(path string, was, is *message.Header, top bool) {
	type value struct {
		name, text string
		raw        []byte
	}
	list := func(h *message.Header) (out []value) {
		for _, f := range h.Fields {
			name := strings.ToLower(f.Name)
			switch {
			case outlook.OfBody[name]:
			case top && outlook.IsOrganisational(name):
				c.except(exOrganisation)
			default:
				out = append(out, value{name, outlook.OneLine(h.FieldText(f)), f.Raw})
			}
		}
		return out
	}
	a, b := list(was), list(is)
	for i := range max(len(a), len(b)) {
		switch {
		case i >= len(a):
			c.differ("%sheader: %s is new: %q", path, b[i].name, b[i].text)
		case i >= len(b):
			c.differ("%sheader: %s is missing: %q", path, a[i].name, a[i].text)
		case a[i].name != b[i].name:
			c.differ("%sheader: %s: %q, was %s: %q", path, b[i].name, b[i].text, a[i].name, a[i].text)
			return
		case a[i].text == b[i].text:
		case !utf8.Valid(a[i].raw):
			c.except(exHeaderBytes)
		case !ascii(a[i].raw) && a[i].name == "date":
			// The same moment, without a comment.
		case !ascii(a[i].raw) && slices.ContainsFunc(addressFields, func(s string) bool { return strings.EqualFold(s, a[i].name) }):
			// The same addresses, otherwise quoted.
		default:
			c.differ("%sheader: %s: %q, was %q", path, b[i].name, b[i].text, a[i].text)
		}
	}
	for _, name := range addressFields {
		x, y := was.AddressList(name), is.AddressList(name)
		for i := range x {
			x[i].Raw = ""
		}
		for i := range y {
			y[i].Raw = ""
			if i < len(x) && x[i].Address == "" && y[i].Address == "unknown@address.invalid" {
				y[i].Address = ""
				c.except(exNoAddress)
			}
		}
		if !slices.Equal(x, y) {
			c.differ("%s%s: %v, was %v", path, name, y, x)
		}
	}
	if !was.Date().Equal(is.Date()) {
		c.differ("%sdate: %v, was %v", path, is.Date(), was.Date())
	}
	for _, name := range []string{"Message-ID", "In-Reply-To", "References"} {
		if x, y := was.MessageIDs(name), is.MessageIDs(name); !slices.Equal(x, y) {
			c.differ("%s%s: %v, was %v", path, name, y, x)
		}
	}
}

// attachment is what is compared of one.
type attachment struct {
	name, kind string
	sum        [32]byte
	inline     bool
	part       *message.Part
	m          *message.Message
}

// attachments lists what the message has beside its text, in the order of the
// message. Pictures that the HTML shows come first.
func (c *comparison) attachments(m *message.Message, l *message.Layout) (out []attachment) {
	parts := slices.Clone(l.Attachments)
	for _, p := range slices.Concat(l.More, l.Alternatives) {
		parts = append(parts, message.Attachment{Part: p})
	}
	if l.Other != nil {
		parts = append(parts, message.Attachment{Part: l.Other})
	}
	slices.SortStableFunc(parts, func(a, b message.Attachment) int { return int(a.Whole.Start - b.Whole.Start) })
	shown := map[*message.Part]bool{}
	if l.HTML != nil {
		var candidates []*message.Part
		for _, a := range parts {
			if a.ContentID != "" || a.Location != "" {
				candidates = append(candidates, a.Part)
			}
		}
		var err error
		if shown, err = m.References(l.HTML, candidates); err != nil {
			c.t.Fatal(err)
		}
	}
	for _, a := range parts {
		out = append(out, attachment{name: a.Name, kind: a.Type, sum: sha256.Sum256(c.content(m, a.Part)), inline: shown[a.Part] && a.Related, part: a.Part, m: m})
	}
	slices.SortStableFunc(out, func(a, b attachment) int {
		switch {
		case a.inline == b.inline:
			return 0
		case a.inline:
			return -1
		}
		return 1
	})
	return out
}

// messages compares the messages of which was and is are the roots.
func (c *comparison) messages(path string, was, is *message.Part) {
	c.headers(path, was.Header, is.Header, path == "")
	switch p := was.Protection(); {
	case p == message.ClearSigned && len(was.Parts) > 0, p != message.Unprotected && !was.IsMultipart():
		if is.Type != was.Type || is.Protection() != p {
			c.differ("%sit is %s %s, was %s %s", path, is.Protection(), is.Type, p, was.Type)
			return
		}
		a, b := c.content(c.was, was), c.content(c.is, is)
		if was.IsMultipart() {
			a, b = c.raw(c.was, was.Body), c.raw(c.is, is.Body)
		}
		if !bytes.Equal(a, b) {
			c.differ("%sprotected content: %d bytes, were %d, or others", path, len(b), len(a))
		}
		return
	}
	l, k := was.Layout(), is.Layout()
	if hasTNEF(l) && !hasTNEF(k) {
		c.except(exTNEF)
		return
	}
	if l.HTML == nil && k.HTML != nil && len(l.More)+len(l.Attachments) > 0 || l.HTML == nil && k.HTML != nil && l.Other != nil {
		c.except(exPieces)
		return
	}
	c.texts(path, l, k)
	c.files(path, l, k)
}

func hasTNEF(l *message.Layout) bool {
	return slices.ContainsFunc(l.Attachments, func(a message.Attachment) bool { return strings.HasSuffix(a.Name, "winmail.dat") })
}

func (c *comparison) raw(m *message.Message, r message.Range) []byte {
	b, err := io.ReadAll(m.Raw(r))
	if err != nil {
		c.t.Fatal(err)
	}
	return b
}

func (c *comparison) texts(path string, l, k *message.Layout) {
	if l.Plain == nil && l.HTML == nil && l.Other != nil {
		c.except(exEnriched)
		return
	}
	a, b := c.text(c.was, l.Plain), c.text(c.is, k.Plain)
	html, rich := c.text(c.was, l.HTML), c.text(c.is, k.HTML)
	switch {
	case a == b:
	case a == "" && html != "":
		c.except(exTextMade)
	case strings.TrimSpace(a) == "" && strings.TrimSpace(b) == "":
		c.except(exTextSpace)
	default:
		c.differ("%splain text: %.200q, was %.200q", path, b, a)
	}
	if html == rich {
		if html != "" && !bytes.Equal(c.content(c.was, l.HTML), c.content(c.is, k.HTML)) {
			c.except(exUTF8)
		}
		return
	}
	if l.HTML == nil {
		c.differ("%sHTML: %.200q is new", path, rich)
		return
	}
	t, err := c.was.Text(l.HTML, 1<<20)
	if err != nil {
		c.t.Fatal(err)
	}
	if slices.Contains([]string{"utf-7", "utf-16", "utf-16le", "utf-16be", "utf-32", "utf-32le", "utf-32be", "iso-2022-cn", "iso-8859-10", "iso-8859-14", "iso-8859-16"}, t.Charset) {
		c.except(exUTF8)
		return
	}
	c.differ("%sHTML (%s): %.200q, was %.200q", path, t.Charset, rich, html)
}

func (c *comparison) files(path string, l, k *message.Layout) {
	was, is := c.attachments(c.was, l), c.attachments(c.is, k)
	if n := len(is); n == len(was)+1 && is[n-1].name == "signed.eml" {
		is = is[:n-1]
		c.except(exSigned)
	}
	if len(was) != len(is) {
		var a, b []string
		for _, x := range was {
			a = append(a, x.name+" "+x.kind)
		}
		for _, x := range is {
			b = append(b, x.name+" "+x.kind)
		}
		c.differ("%s%d attachments %q, were %d %q", path, len(is), b, len(was), a)
		return
	}
	for i, a := range was {
		b := is[i]
		in := fmt.Sprintf("%sattachment %d: ", path, i+1)
		if a.part.IsMessage() && len(a.part.Parts) == 1 && b.part.IsMessage() && len(b.part.Parts) == 1 {
			c.messages(in, a.part.Parts[0], b.part.Parts[0])
			continue
		}
		if a.sum != b.sum {
			switch {
			case a.part.Type == "message/external-body":
				c.except(exExternal)
			case a.part.IsMultipart():
				c.except(exRemade)
			case strings.HasPrefix(a.kind, "message/") && lineFeeds(string(c.content(c.was, a.part))) == lineFeeds(string(c.content(c.is, b.part))):
				c.except(exLineEnds)
			case strings.HasPrefix(a.kind, "message/") && a.kind == b.kind && b.part.Disposition == "":
				c.except(exReport)
			case a.part.Nested() && b.part.IsMessage():
				c.except(exEncoded)
			default:
				c.differ("%s%s (%s) has other bytes", in, a.name, a.kind)
			}
		}
		if a.inline != b.inline {
			c.except(exInline)
		}
		if x, y := a.part, b.part; !x.IsMultipart() && (x.ContentID != y.ContentID || x.Location != y.Location && !strings.ContainsAny(x.Location, " \t") ||
			strings.HasPrefix(x.Type, "text/") && x.Charset != y.Charset) {
			c.differ("%s%s: %q %q %q, was %q %q %q", in, a.name, y.ContentID, y.Location, y.Charset, x.ContentID, x.Location, x.Charset)
		}
		base, ext := outlook.FileName(a.name)
		name := base
		if ext != "" {
			name += "." + ext
		}
		if b.name != name {
			if base == "" || ext == "" || a.part.IsMessage() || a.part.Type == "message/external-body" || a.part.IsMultipart() {
				c.except(exName)
			} else {
				c.differ("%sname %q, was %q", in, b.name, a.name)
			}
		}
		if a.kind != b.kind {
			if b.kind == "application/octet-stream" && (strings.HasPrefix(a.kind, "message/") || a.kind == "application/applefile" || strings.HasSuffix(a.kind, "ms-tnef") || a.kind == "application/mac-binhex40") || a.part.IsMultipart() {
				c.except(exType)
			} else {
				c.differ("%stype %s, was %s", in, b.kind, a.kind)
			}
		}
	}
}

// roundTrip converts a mail to .msg and back, and compares.
func roundTrip(t testing.TB, raw []byte, excepted map[string]int) (differences []string) {
	t.Helper()
	b, _ := convert(t, raw, outlook.Options{})
	is, report := back(t, b)
	wellFormed(t, is, report)
	c := &comparison{t: t, was: read(t, raw), is: read(t, is), excepted: excepted}
	c.messages("", &c.was.Part, &c.is.Part)
	return c.found
}

// TestMailOfCorpus: the mail of others is the same after it was converted to .msg
// and back.
func TestMailOfCorpus(t *testing.T) {
	excepted := map[string]int{}
	n, bad := 0, 0
	for _, a := range corpus.Need(t) {
		for _, mail := range a.Mail {
			n++
			t.Run(mail.Name, func(t *testing.T) {
				for _, d := range roundTrip(t, mail.Raw, excepted) {
					t.Error(d)
				}
				if t.Failed() {
					bad++
				}
			})
		}
	}
	if n == 0 {
		t.Error("nothing was read")
	}
	t.Logf("%d messages, %d differ; exceptions: %v", n, bad, excepted)
}

// TestLongSubject: a long subject is the same after .msg and back, also where there
// are no transport headers that have it.
func TestLongSubject(t *testing.T) {
	for _, word := range []string{"word ", "Wörter ", "x"} {
		subject := strings.TrimSpace(strings.Repeat(word, 100_000/len([]rune(word))))
		fold := strings.ReplaceAll(subject, " ", "\r\n ")
		for _, head := range []string{"Subject: " + fold, "From: a@example.com\r\nSubject: " + fold + "\r\nDate: Thu, 1 Jan 2026 00:00:00 +0000"} {
			b, _ := convert(t, []byte(head+"\r\n\r\ntext\r\n"), outlook.Options{})
			is, report := back(t, b)
			if got := read(t, is).Header.Text("Subject"); got != subject {
				t.Errorf("a subject of %d bytes (%.10s) has %d, %v", len(subject), word, len(got), report.Losses)
			}
			wellFormed(t, is, report)
		}
	}
}
