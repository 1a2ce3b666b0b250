package document

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"postroom/ingest/message"
	"postroom/store"
)

// mail is a message of which every word can be read.
const mail = "From: =?utf-8?Q?J=C3=BCrgen?= <j@example.com>, Scanner\r\n" +
	"To: a@example.com, Group: B <b@example.com>, c@example.com;\r\n" +
	"Cc: \"Doe, John\" <d@example.com>\r\n" +
	"Subject: =?utf-8?Q?Rechnung_INV-0042_=E2=82=AC?=\r\n" +
	"Date: Thu, 1 Jan 2026 10:00:00 +0200\r\n" +
	"Message-ID: <3@example.com>\r\nIn-Reply-To: <2@example.com>\r\nReferences: <1@example.com>\r\n <2@example.com>\r\n" +
	"X-Priority: 1 (Highest)\r\nSensitivity: Company-Confidential\r\n" +
	"X-Ticket:\r\nX-Ticket: =?utf-8?Q?T=0D=0A_1?=\r\n" +
	"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=m\r\n\r\n" +
	"--m\r\nContent-Type: multipart/related; boundary=r\r\n\r\n" +
	"--r\r\nContent-Type: text/html; charset=iso-8859-1\r\n\r\n" +
	"<html><head><title>t</title><style>p {}</style></head><body><p>Sch\xf6ne&nbsp;Gr&uuml;&szlig;e<br>No 7<img src=\"cid:logo\"></body></html>\r\n" +
	"--r\r\nContent-Type: image/png; name=logo.png\r\nContent-ID: <logo>\r\n\r\nx\r\n--r--\r\n" +
	"--m\r\nContent-Type: application/pdf\r\nContent-Disposition: inline; filename=\"scan 1.pdf\"\r\n\r\nx\r\n" +
	"--m\r\nContent-Type: image/png; name=photo.png\r\nContent-ID: <other>\r\n\r\nx\r\n" +
	"--m\r\nContent-Type: application/octet-stream\r\n\r\nno name\r\n--m--\r\n"

func valuesOf(t testing.TB, raw string) Values {
	t.Helper()
	m, err := message.Read(context.Background(), strings.NewReader(raw), int64(len(raw)), message.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return Values{Header: m.Header, Message: m, Mailbox: "box@example.com", Folder: "Inbox/Sub", Received: time.Date(2026, 3, 4, 5, 6, 7, 0, time.FixedZone("", 3600))}
}

// one returns the value of a single rule.
func one(t testing.TB, raw string, rule Property) (string, error) {
	t.Helper()
	rule.Name = "P"
	properties, _, err := Evaluate([]Property{rule}, valuesOf(t, raw))
	if len(properties) == 0 {
		return "", err
	}
	if len(properties) != 1 || properties[0].Name != "P" {
		t.Fatalf("%+v", properties)
	}
	return properties[0].Value, err
}

func TestWords(t *testing.T) {
	want := map[string]string{
		"from":             "Jürgen <j@example.com>; Scanner",
		"to":               "a@example.com; B <b@example.com>; c@example.com",
		"cc":               "Doe, John <d@example.com>",
		"subject":          "Rechnung INV-0042 €",
		"body":             "Schöne Grüße\nNo 7",
		"date":             "2026-01-01T08:00:00Z",
		"importance":       "high",
		"sensitivity":      "confidential",
		"message_id":       "<3@example.com>",
		"in_reply_to":      "<2@example.com>",
		"conversation":     "<1@example.com>",
		"mailbox":          "box@example.com",
		"folder":           "Inbox/Sub",
		"attachment_names": "scan 1.pdf; photo.png",
		"header:x-TICKET":  "T 1", // the first that is not empty; no line ends
		"header:Absent":    "",
		"header:Subject":   "Rechnung INV-0042 €",
	}
	for _, word := range Words() {
		if _, ok := want[word]; !ok {
			t.Errorf("%s is not tested", word)
		}
	}
	for word, want := range want {
		if got, err := one(t, mail, Property{Read: word}); got != want || err != nil {
			t.Errorf("%s is %q, %v, want %q", word, got, err, want)
		}
	}
}

// A message that says nothing has no values but those that everything has.
func TestWordsOfNothing(t *testing.T) {
	for _, word := range append(Words(), "header:Subject") {
		want := map[string]string{
			"date": "2026-03-04T04:06:07Z", "importance": "normal", "sensitivity": "normal", "mailbox": "box@example.com", "folder": "Inbox/Sub",
		}[word]
		if got, err := one(t, "", Property{Read: word}); got != want || err != nil {
			t.Errorf("%s is %q, %v, want %q", word, got, err, want)
		}
	}
}

func TestFieldsRead(t *testing.T) {
	for _, test := range []struct{ word, header, want string }{
		// MS-OXCMAIL 2.2.3.2.5
		{"importance", "Importance: Low\nX-Priority: 1", "low"},
		{"importance", "Importance: what\nPriority: Urgent", "high"},
		{"importance", "X-Priority: 4", "low"},
		{"importance", "X-Priority: 3 (Normal)\nX-MSMail-Priority: High", "normal"},
		{"importance", "X-Priority: 2(High)", "high"},
		{"importance", "X-MSMail-Priority: High", "high"},
		{"importance", "Priority: non-urgent", "low"},
		{"importance", "Priority: list", "normal"},
		// MS-OXCMAIL 2.2.3.2.6
		{"sensitivity", "Sensitivity: PERSONAL", "personal"},
		{"sensitivity", "Sensitivity: Private", "private"},
		{"sensitivity", "Sensitivity: secret", "normal"},
		// RFC 5322 3.6.4
		{"message_id", "Message-ID: bare@example.com", "<bare@example.com>"},
		{"message_id", "Message-ID: none at all", "none at all"},
		{"in_reply_to", "In-Reply-To: Your mail of Monday <a@b> <c@d>", "<a@b>"},
		{"conversation", "Message-ID: <a@b>", "<a@b>"},
		{"conversation", "Message-ID: <c@d>\nIn-Reply-To: <a@b>", "<a@b>"},
		{"conversation", "Message-ID: <e@f>\nIn-Reply-To: <c@d>\nReferences: <a@b> <c@d>", "<a@b>"},
		{"date", "Date: nonsense", "2026-03-04T04:06:07Z"},
		{"from", "From: nobody", "nobody"},
		{"from", "Sender: a@b.c", ""},
		{"subject", "Subject: =?utf-8?Q?a=0D=0Ab=00=1Bc?=", "a b c"},
		{"subject", "Subject: Stra\xdfe 7", "Straße 7"},
	} {
		raw := strings.ReplaceAll(test.header, "\n", "\r\n") + "\r\n\r\n"
		if got, err := one(t, raw, Property{Read: test.word}); got != test.want || err != nil {
			t.Errorf("%s of %q is %q, %v, want %q", test.word, test.header, got, err, test.want)
		}
	}
}

func TestEvaluate(t *testing.T) {
	expr := regexp.MustCompile
	for _, test := range []struct {
		rule Property
		want string
	}{
		{Property{Value: " Finance "}, " Finance "},
		{Property{Read: "subject", Match: expr(`INV-(\d+)`)}, "0042"},
		{Property{Read: "subject", Match: expr(`INV-\d+`)}, "INV-0042"},
		{Property{Read: "subject", Match: expr(`(?:INV|ORD)-(\d)(\d)`)}, "0"},
		{Property{Read: "subject", Match: expr(`(?i)rechnung( )inv`), Default: "blank"}, "blank"},
		{Property{Read: "subject", Match: expr(`(ORD)|INV`)}, ""},
		{Property{Read: "subject", Match: expr(`ORD`)}, ""},
		{Property{Read: "subject", Match: expr(`ORD`), Default: "none"}, "none"},
		{Property{Read: "subject", Match: expr(`ORD`), Default: "none", Required: true}, "none"},
		{Property{Read: "subject", Default: "none"}, "Rechnung INV-0042 €"},
		{Property{Read: "subject", Match: expr(`^inv`)}, ""},
		{Property{Read: "body", Match: expr(`No\s(\d+)`), Required: true}, "7"},
		{Property{Read: "header:absent", Default: "none"}, "none"},
		{Property{Read: "importance", Default: "none"}, "high"},
	} {
		if got, err := one(t, mail, test.rule); got != test.want || err != nil {
			t.Errorf("%+v is %q, %v, want %q", test.rule, got, err, test.want)
		}
	}
	got, notes, err := Evaluate([]Property{{Name: "b", Read: "from"}, {Name: "c", Read: "header:absent"}, {Name: "a", Value: "1"}, {Name: "a", Value: "2"}}, valuesOf(t, mail))
	want := []store.Property{{Name: "b", Value: "Jürgen <j@example.com>; Scanner"}, {Name: "a", Value: "1"}, {Name: "a", Value: "2"}}
	if !reflect.DeepEqual(got, want) || err != nil || notes != nil {
		t.Errorf("%+v, %q, %v, want %+v", got, notes, err, want)
	}
}

func TestRequired(t *testing.T) {
	plain := "Subject: " + strings.Repeat("ä", 150) + "\r\n\r\nprivate matters\r\n"
	never := regexp.MustCompile("never")
	for _, test := range []struct {
		raw  string
		rule Property
		want string
	}{
		{plain, Property{Read: "from"}, "the message has no from"},
		{plain, Property{Read: "message_id"}, "the message has no Message-ID"},
		{plain, Property{Read: "attachment_names"}, "the message has no attachment names"},
		{"\r\n", Property{Read: "body"}, "the message has no text"},
		{plain, Property{Read: "header:X-Ticket"}, "the message has no header field X-Ticket, or an empty one"},
		{plain, Property{Read: "subject", Match: never}, `its match finds nothing in the subject "` + strings.Repeat("ä", 100) + `…"`},
		{mail, Property{Read: "header:X-Ticket", Match: never}, `its match finds nothing in the header field X-Ticket "T 1"`},
		{plain, Property{Read: "body", Match: never}, "its match finds nothing in the text"},
		{"\r\n" + strings.Repeat("a\r\n", MaxValue), Property{Read: "body", Match: never}, "its match finds nothing in the first 64 KiB of the text"},
	} {
		test.rule.Required = true
		_, err := one(t, test.raw, test.rule)
		var missing *MissingError
		want := `the required property "P" has no value: ` + test.want + "; change document.properties of the source, or discard the message"
		if !errors.As(err, &missing) || missing.Property != "P" || err.Error() != want {
			t.Errorf("%+v: %v, want %s", test.rule, err, want)
		}
	}
}

// A value is bounded, ends with a whole character, and a note says so.
func TestBounds(t *testing.T) {
	long := strings.Repeat("ä", MaxValue)
	words := strings.Repeat("<p>ä", MaxValue)
	typed := func(kind, text string) string {
		return "Content-Type: text/" + kind + "; charset=utf-8\r\n\r\n" + text
	}
	for _, test := range []struct {
		raw  string
		rule Property
		size int
		note string
	}{
		{typed("plain", long), Property{Read: "body"}, MaxValue, "holds only the first 64 KiB"},
		{typed("plain", "x"+long), Property{Read: "body"}, MaxValue - 1, "holds only the first 64 KiB"},
		{typed("html", words), Property{Read: "body"}, MaxValue - 2, "holds only the first 64 KiB"},
		{typed("plain", long), Property{Read: "body", Match: regexp.MustCompile("^.")}, 2, ""},
		{typed("plain", long), Property{Read: "body", Match: regexp.MustCompile("x")}, 0, "is not in the first 64 KiB"},
		{"X-Long: " + long + "\r\n\r\n", Property{Read: "header:X-Long"}, MaxValue, "holds only the first 64 KiB"},
		{"X-Long: " + long + "END\r\n\r\n", Property{Read: "header:X-Long", Match: regexp.MustCompile("E(ND)")}, 2, ""},
	} {
		test.rule.Name = "P"
		properties, notes, err := Evaluate([]Property{test.rule}, valuesOf(t, test.raw))
		if err != nil {
			t.Fatal(err)
		}
		value := ""
		if len(properties) == 1 {
			value = properties[0].Value
		}
		if len(value) != test.size || !utf8.ValidString(value) || strings.Join(notes, "") != "" && test.note == "" || !strings.Contains(strings.Join(notes, ""), test.note) {
			t.Errorf("%s, match %v: %d bytes, notes %q, want %d, %q", test.rule.Read, test.rule.Match, len(value), notes, test.size, test.note)
		}
	}
}

func TestBody(t *testing.T) {
	part := func(kind, text string) string {
		return "--b\r\nContent-Type: text/" + kind + "\r\n\r\n" + text + "\r\n"
	}
	multi := func(kind string, parts ...string) string {
		return "Content-Type: multipart/" + kind + "; boundary=b\r\n\r\n" + strings.Join(parts, "") + "--b--\r\n"
	}
	for name, test := range map[string][2]string{
		"plain":              {"\r\n a\r\n\tb\rc\x00\x1b \r\n\r\n", "a\n\tb\nc"},
		"alternatives":       {multi("alternative", part("plain", "plain"), part("html", "<p>html")), "plain"},
		"empty alternative":  {multi("alternative", part("plain", " \r\n"), part("html", "<p>html")), "html"},
		"further texts":      {multi("mixed", part("plain", "one"), part("html", "<p>two"), part("plain", "three")), "one\ntwo\nthree"},
		"attached":           {multi("mixed", part("plain", "one"), "--b\r\nContent-Type: text/plain\r\nContent-Disposition: attachment\r\n\r\nno\r\n"), "one"},
		"quoted-printable":   {"Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n<b>Gr=C3=BC=\r\n=C3=9Fe</b>", "Grüße"},
		"nothing to be read": {"Content-Type: application/pdf\r\n\r\n%PDF", ""},
	} {
		if got, err := one(t, test[0], Property{Read: "body"}); got != test[1] || err != nil {
			t.Errorf("%s: %q, %v, want %q", name, got, err, test[1])
		}
	}
}

func TestPlainText(t *testing.T) {
	for html, want := range map[string]string{
		"":                                       "",
		" a \n\t b ":                             "a b",
		"a<b>b</b>c":                             "abc",
		"a<br>b<BR/>c":                           "a\nb\nc",
		"<p>a</p><p>b</p>":                       "a\n\nb",
		"<div><div>a</div></div><div>b":          "a\nb",
		"<br><br><br>a<br><br><br><br>b":         "a\n\nb",
		"<tr><td>a</td><td>b</td></tr><tr>c":     "a b\nc",
		"a < b &lt; c &amp;lt; &#8364;&euro;":    "a < b < c &lt; €€",
		"a&nbsp;b&shy;c&#8203;d&#0;":             "a bcd\ufffd",
		"<style>a<b</style>b":                    "b",
		"<SCRIPT type='x'>'</scrip>'</Script >b": "b",
		"<script>never ends":                     "",
		"a<!-- <p>b --- -- > -->c":               "ac",
		"a<!-->b<!--->c":                         "abc",
		"a<!DOCTYPE x>b<?xml y?>c<![if !mso]>":   "abc",
		"<a href=\"x>y\" title='>'>b</a>":        "b",
		"<a href=x\"y>b</a>":                     "b",
		"<a title=\">never ends":                 "",
		"a<":                                     "a<",
		"a</":                                    "a</",
		"<pre>a\n  b</pre>c":                     "a\nb\n\nc",
		"</pre>a\nb":                             "a b",
		"<customelementwithaverylongname>a":      "a",
	} {
		got, err := plainText(strings.NewReader(html), 1000)
		if got.string != want || got.cut || err != nil {
			t.Errorf("%q: %q, %v, %v, want %q", html, got.string, got.cut, err, want)
		}
	}
	got, err := plainText(strings.NewReader("<p>"+strings.Repeat("ä", 600)), 1001)
	if len(got.string) != 1000 || !got.cut || err != nil {
		t.Errorf("%d bytes, %v, %v", len(got.string), got.cut, err)
	}
	got, err = plainText(strings.NewReader(strings.Repeat("&auml;", 8<<10)), 1<<20)
	if got.string != strings.Repeat("ä", 8<<10) || got.cut || err != nil {
		t.Errorf("%d bytes, %v, %v", len(got.string), got.cut, err)
	}
	got, err = plainText(strings.NewReader("<!--"+strings.Repeat(" ", maxMarkup)+"-->a"), 1000)
	if got.string != "" || !got.cut || err != nil {
		t.Errorf("beyond the bound: %q, %v, %v", got.string, got.cut, err)
	}
	fault := errors.New("fault")
	if _, err := plainText(faulty{fault}, 1000); !errors.Is(err, fault) {
		t.Error(err)
	}
}

type faulty struct{ err error }

func (f faulty) Read([]byte) (int, error)          { return 0, f.err }
func (f faulty) ReadAt([]byte, int64) (int, error) { return 0, f.err }

// What cannot be read is an error, not an absent value.
func TestUnreadable(t *testing.T) {
	in := valuesOf(t, mail)
	fault := errors.New("fault")
	broken := &breakable{raw: mail}
	m, err := message.Read(context.Background(), broken, int64(len(mail)), message.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	in.Message = m
	broken.err = fault
	for _, word := range []string{"body", "attachment_names"} {
		_, _, err := Evaluate([]Property{{Name: "P", Read: word, Default: "x"}}, in)
		var missing *MissingError
		if !errors.Is(err, fault) || errors.As(err, &missing) {
			t.Errorf("%s: %v", word, err)
		}
	}
}

type breakable struct {
	raw string
	err error
}

func (b *breakable) ReadAt(p []byte, at int64) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	return strings.NewReader(b.raw).ReadAt(p, at)
}

func TestTitleHasTheWordsOfProperties(t *testing.T) {
	in := input(t, mail)
	for _, word := range append(TitleWords(), "header:X-Ticket") {
		want, _, err := Evaluate([]Property{{Name: "P", Read: word}}, in.Values(nil))
		if err != nil || len(want) != 1 {
			t.Fatalf("%s: %v, %v", word, want, err)
		}
		if got := Expand("{"+word+"}", in); got != want[0].Value {
			t.Errorf("%s is %q in a title, %q in a property", word, got, want[0].Value)
		}
	}
}

func FuzzEvaluate(f *testing.F) {
	f.Add([]byte(mail), `INV-(\d+)`)
	f.Add([]byte("Content-Type: text/html\n\n<p>a<!--"), "a|(b)")
	var rules []Property
	for _, word := range append(Words(), "header:X-Ticket") {
		rules = append(rules, Property{Name: word, Read: word}, Property{Name: word, Read: word, Default: "none"})
	}
	f.Fuzz(func(t *testing.T, raw []byte, match string) {
		all := rules
		if re, err := regexp.Compile(match); err == nil && len(match) < 100 {
			all = append(all[:len(all):len(all)], Property{Name: "match", Read: "subject", Match: re}, Property{Name: "required", Read: "body", Match: re, Required: true})
		}
		in := valuesOf(t, string(raw))
		first, notes, err := Evaluate(all, in)
		var missing *MissingError
		if err != nil && !errors.As(err, &missing) {
			t.Fatal(err)
		}
		for _, p := range first {
			if p.Value == "" || len(p.Value) > MaxValue || !utf8.ValidString(p.Value) {
				t.Errorf("%s: %d bytes, %.100q", p.Name, len(p.Value), p.Value)
			}
			if p.Name != "body" && p.Name != "required" && strings.ContainsFunc(p.Value, func(r rune) bool { return r < ' ' || r == 0x7f }) {
				t.Errorf("%s has a control character: %.100q", p.Name, p.Value)
			}
		}
		again, notesAgain, errAgain := Evaluate(all, in)
		if !reflect.DeepEqual(first, again) || !reflect.DeepEqual(notes, notesAgain) || fmt.Sprint(err) != fmt.Sprint(errAgain) {
			t.Error("not the same at the second call")
		}
	})
}
