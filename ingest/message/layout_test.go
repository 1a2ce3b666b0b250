package message

import (
	"fmt"
	"io"
	"strings"
	"testing"
)

// tree builds mail from lines of "type [parameter] [header: value]..." whose
// indentation says what is in what; the text after " = " is the body.
func tree(spec string) string {
	lines := strings.Split(strings.TrimRight(spec, "\n"), "\n")
	var build func(i, indent int) (string, int)
	n := 0
	build = func(i, indent int) (string, int) {
		line, body, _ := strings.Cut(strings.TrimSpace(lines[i]), " = ")
		fields := strings.Split(line, " | ")
		var b strings.Builder
		n++
		boundary := fmt.Sprintf("b%d", n)
		multi := strings.HasPrefix(fields[0], "multipart/")
		if multi {
			fields[0] += "; boundary=" + boundary
		}
		b.WriteString("Content-Type: " + fields[0] + "\r\n")
		for _, f := range fields[1:] {
			b.WriteString(f + "\r\n")
		}
		b.WriteString("\r\n")
		i++
		for i < len(lines) && len(lines[i])-len(strings.TrimLeft(lines[i], "\t")) > indent {
			var child string
			child, i = build(i, indent+1)
			if multi {
				b.WriteString("--" + boundary + "\r\n")
			}
			b.WriteString(child + "\r\n")
		}
		if multi {
			b.WriteString("--" + boundary + "--")
		}
		b.WriteString(body)
		return b.String(), i
	}
	raw, _ := build(0, 0)
	return raw
}

func TestLayout(t *testing.T) {
	for _, tt := range []struct{ name, spec, want string }{
		{"plain", "text/plain = a", "plain=a"},
		{"HTML", "text/html = a", "html=a"},
		{"neither", "application/pdf | Content-Disposition: attachment; filename=a.pdf = a", "attached=a"},
		{"text as an attachment", "text/plain | Content-Disposition: attachment; filename=a.txt = a", "attached=a"},
		{"named text at the root", "text/plain; name=a.txt = a", "plain=a"},
		{"alternative", "multipart/alternative\n\ttext/plain = a\n\ttext/html = b", "plain=a html=b"},
		{"alternative, the wrong way round", "multipart/alternative\n\ttext/html = b\n\ttext/plain = a", "plain=a html=b"},
		{"alternative, the last of each", "multipart/alternative\n\ttext/plain = a\n\ttext/html = b\n\ttext/html = c", "plain=a html=c version=b"},
		{"alternative with a calendar", "multipart/alternative\n\ttext/plain = a\n\ttext/html = b\n\ttext/calendar; method=REQUEST = c", "plain=a html=b other=c"},
		{"alternative with a picture", "multipart/alternative\n\ttext/plain = a\n\timage/png = b", "plain=a version=b"},
		{"alternative with an attachment", "multipart/alternative\n\ttext/plain = a\n\tapplication/pdf | Content-Disposition: attachment; filename=x.pdf = b", "plain=a attached=b"},
		{"related", "multipart/related\n\ttext/html = a\n\timage/png | Content-ID: <i> = b", "html=a attached=b(related)"},
		{"related with start (RFC 2387 3.2)", "multipart/related; start=\"<r>\"\n\timage/png = b\n\ttext/html | Content-ID: <r> = a", "html=a attached=b(related)"},
		{"alternative in related", "multipart/related\n\tmultipart/alternative\n\t\ttext/plain = a\n\t\ttext/html = b\n\timage/png = c", "plain=a html=b attached=c(related)"},
		{"related in alternative", "multipart/alternative\n\ttext/plain = a\n\tmultipart/related\n\t\ttext/html = b\n\t\timage/png = c", "plain=a html=b attached=c(related)"},
		{"mixed in alternative (Apple Mail)", "multipart/alternative\n\ttext/plain = a\n\tmultipart/mixed\n\t\ttext/html = b\n\t\tapplication/pdf = c\n\t\ttext/html = d", "plain=a html=b more=d attached=c"},
		{"mixed in alternative, a file first", "multipart/alternative\n\ttext/plain = a\n\tmultipart/mixed\n\t\tapplication/pdf = c\n\t\ttext/html = b\n\t\ttext/plain = d", "plain=a html=b more=d attached=c"},
		{"mixed", "multipart/mixed\n\ttext/plain = a\n\tapplication/pdf = b\n\ttext/plain = c", "plain=a more=c attached=b"},
		{"text after an attachment", "multipart/mixed\n\tapplication/pdf = b\n\ttext/plain = a", "plain=a attached=b"},
		{"text with a name in mixed", "multipart/mixed\n\ttext/plain = a\n\ttext/plain; name=b.txt = b\n\ttext/csv = c", "plain=a attached=b attached=c"},
		{"inline text with a name", "multipart/mixed\n\ttext/plain = a\n\ttext/plain; name=b.txt | Content-Disposition: inline = b", "plain=a more=b"},
		{"HTML beneath plain", "multipart/mixed\n\ttext/plain = a\n\ttext/html = b", "plain=a more=b"},
		{"two alternatives", "multipart/mixed\n\tmultipart/alternative\n\t\ttext/plain = a\n\t\ttext/html = b\n\tmultipart/alternative\n\t\ttext/plain = c\n\t\ttext/html = d", "plain=a html=b more=d version=c"},
		{"message", "multipart/mixed\n\ttext/plain = a\n\tmessage/rfc822\n\t\ttext/plain = b", "plain=a attached=message"},
		{"digest", "multipart/digest\n\tmessage/rfc822\n\t\ttext/plain = b\n\tmessage/rfc822\n\t\ttext/plain = c", "attached=message attached=message"},
		{"signed", "multipart/signed\n\tmultipart/mixed\n\t\ttext/plain = a\n\t\tapplication/pdf = b\n\tapplication/pkcs7-signature = c", "plain=a attached=b attached=c(signature)"},
		{"encrypted", "multipart/encrypted\n\tapplication/pgp-encrypted = a\n\tapplication/octet-stream = b", "attached=a attached=b"},
		{"report", "multipart/report\n\ttext/plain = a\n\tmessage/delivery-status = b\n\ttext/rfc822-headers = c", "plain=a attached=b attached=c"},
		{"multipart without parts", "multipart/mixed = a", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := mustRead(t, tree(tt.spec), Limits{})
			l := m.Layout()
			var got []string
			show := func(name string, p *Part, marks string) {
				if p != nil {
					body := string(m.slice(t, p.Body))
					if p.IsMessage() {
						body = "message"
					}
					got = append(got, name+"="+strings.TrimSpace(body)+marks)
				}
			}
			show("plain", l.Plain, "")
			show("html", l.HTML, "")
			show("other", l.Other, "")
			for _, p := range l.More {
				show("more", p, "")
			}
			for _, p := range l.Alternatives {
				show("version", p, "")
			}
			for _, a := range l.Attachments {
				marks := ""
				if a.Related {
					marks += "(related)"
				}
				if a.Signature {
					marks += "(signature)"
				}
				show("attached", a.Part, marks)
			}
			if tt.name == "multipart without parts" {
				if len(l.Attachments) != 1 || l.Attachments[0].Part.Type != "multipart/mixed" {
					t.Errorf("%+v", l)
				}
				return
			}
			if s := strings.Join(got, " "); s != tt.want {
				t.Errorf("%s, want %s", s, tt.want)
			}
			exercise(t, []byte(tree(tt.spec)), Limits{})
		})
	}
}

// TestLayoutOfMessage asks a message in a message for its own layout.
func TestLayoutOfMessage(t *testing.T) {
	m := mustRead(t, tree("multipart/mixed\n\ttext/plain = a\n\tmessage/rfc822\n\t\tmultipart/mixed\n\t\t\ttext/html = b\n\t\t\timage/png = c"), Limits{})
	inner := m.Layout().Attachments[0].Parts[0]
	if l := inner.Layout(); l.HTML == nil || l.Plain != nil || len(l.Attachments) != 1 || l.Attachments[0].Type != "image/png" {
		t.Errorf("%+v", l)
	}
}

func TestReferences(t *testing.T) {
	for _, tt := range []struct{ name, header, html, want string }{
		{"cid (RFC 2392 2)", "", `<img src="cid:a@b">`, "a@b"},
		{"upper case", "", `<IMG SRC='CID:a@b'>`, "a@b"},
		{"without quotes", "", `<img src=cid:a@b>`, "a@b"},
		{"percent-encoded", "", `<img src="cid:a%40b">`, "a@b"},
		{"entities", "", `<img src="cid:a&#64;b">`, "a@b"},
		{"entities in the scheme", "", `<img src="c&#105;&#x64;&colon;a&#64;b"><img src=&#67;ID:c>`, "a@b c"},
		{"another scheme with entities", "", `<img src="&#120;cid&colon;a@b">cid&amp;colon;c`, ""},
		{"blanks", "", `<img src=" cid:d e">`, "d e"},
		{"blanks without quotes", "", `<img src=cid:d e>`, ""},
		{"style sheet", "", `<td style="background:url(cid:a@b)"><td style="background: url('cid:c')">`, "a@b c"},
		{"spaces", "", "<img src =\r\n \"cid:a@b\">", "a@b"},
		{"another", "", `<img src="cid:a@bc">`, ""},
		{"none", "", `<p>text`, ""},
		{"location (RFC 2557 8)", "", `<img src="http://example.com/x.png">`, "http://example.com/x.png"},
		{"relative location", "Content-Location: http://example.com/dir/a.html\r\n", `<img src="../x.png">`, "http://example.com/x.png"},
		{"quoted-printable", "Content-Transfer-Encoding: quoted-printable\r\n", "<img src=3D\"cid:a=\r\n@b\">", "a@b"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := mustRead(t, "Content-Type: text/html\r\n"+tt.header+"\r\n"+tt.html, Limits{})
			parts := []*Part{{ContentID: "a@b"}, {ContentID: "c"}, {ContentID: "d e"}, {Location: "http://example.com/x.png"}}
			refs, err := m.References(&m.Part, parts)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, p := range parts {
				if refs[p] {
					got = append(got, p.ContentID+p.Location)
				}
			}
			if s := strings.Join(got, " "); s != tt.want {
				t.Errorf("%q, want %q", s, tt.want)
			}
		})
	}
	html := "<img src=\"cid:c\">"
	wide := "\xff\xfe"
	for _, c := range html {
		wide += string([]byte{byte(c), 0})
	}
	m := mustRead(t, "Content-Type: text/html\r\nContent-Transfer-Encoding: base64\r\n\r\n"+encode64(wide), Limits{})
	part := &Part{ContentID: "c"}
	if refs, err := m.References(&m.Part, []*Part{part}); err != nil || !refs[part] {
		t.Errorf("in UTF-16: %v, %v", refs, err)
	}
}

// TestReferencesOfLongText has references wherever what is looked at together may
// begin or end.
func TestReferencesOfLongText(t *testing.T) {
	for at := scanSize - maxReference - 200; at < scanSize+200; at += 7 {
		html := strings.Repeat("x", at) + "<img src=\" cid:a b\">" + strings.Repeat("x", maxHeld) + "<img src=http://example.com/x.png>"
		m := mustRead(t, "Content-Type: text/html\r\n\r\n"+html, Limits{})
		parts := []*Part{{ContentID: "a b"}, {Location: "http://example.com/x.png"}, {ContentID: "b"}}
		refs, err := m.References(&m.Part, parts)
		if err != nil || !refs[parts[0]] || !refs[parts[1]] || len(refs) != 2 {
			t.Fatalf("at %d: %v, %v", at, refs, err)
		}
	}
}

// TestBorrow reads texts of messages that are borrowed, over and over.
func TestBorrow(t *testing.T) {
	for i := range 50 {
		var raw, want strings.Builder
		raw.WriteString("Content-Type: multipart/mixed; boundary=b\r\n\r\n")
		for k := range maxLent + 3 {
			text := strings.Repeat(string(rune('a'+(i+k)%26)), 1000*(k+1))
			want.WriteString(text)
			raw.WriteString("--b\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n" + text + "\r\n")
		}
		raw.WriteString("--b--\r\n")
		m, release := mustRead(t, raw.String(), Limits{}).Borrow()
		var all []io.Reader
		for _, p := range m.Parts {
			_, r, err := m.OpenText(p)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, r)
		}
		got, err := io.ReadAll(io.MultiReader(all...))
		if err != nil || string(got) != want.String() {
			t.Fatalf("%d bytes that are others, %v", len(got), err)
		}
		release()
	}
}

func TestProtected(t *testing.T) {
	signed := "multipart/signed; protocol=\"application/pgp-signature\"\n\ttext/plain = a\n\tapplication/pgp-signature = b"
	indented := "\t" + strings.ReplaceAll(signed, "\n", "\n\t")
	for _, tt := range []struct {
		name, spec string
		want       Protection
	}{
		{"signed", signed, ClearSigned},
		{"with a footer of a mailing list", "multipart/mixed\n" + indented + "\n\ttext/plain = footer", ClearSigned},
		{"in a message that is attached", "multipart/mixed\n\ttext/plain = a\n\tmessage/rfc822\n\t" + strings.ReplaceAll(indented, "\n", "\n\t"), Unprotected},
		{"not", "multipart/mixed\n\ttext/plain = a\n\tapplication/pgp-signature = b", Unprotected},
	} {
		m := mustRead(t, tree(tt.spec), Limits{})
		got := Unprotected
		if p := m.Protected(); p != nil {
			got = p.Protection()
		}
		if got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestCharsets(t *testing.T) {
	for _, name := range strings.Fields(`us-ascii ascii ANSI_X3.4-1968 utf-8 UTF8 utf-16 utf-16le utf-16be utf-32 utf-32le utf-32be utf-7 unicode-1-1-utf-7
		iso-8859-1 latin1 iso-8859-2 iso-8859-3 iso-8859-4 iso-8859-5 iso-8859-6 iso-8859-7 iso-8859-8 iso-8859-8-i iso-8859-9 iso-8859-10
		iso-8859-11 iso-8859-13 iso-8859-14 iso-8859-15 iso-8859-16 iso_8859-1 windows-1250 windows-1251 windows-1252 windows-1253 windows-1254
		windows-1255 windows-1256 windows-1257 windows-1258 windows-874 cp1252 cp-1252 tis-620 cp437 ibm437 cp850 cp-850 ibm850 cp852 cp855 cp858 ibm00858
		cp860 cp862 cp863 cp865 cp866 ibm866 ibm037 cp037 cp1047 ibm1140 koi8-r koi8-u macintosh x-mac-roman x-mac-cyrillic
		shift_jis sjis x-sjis cp932 ms932 windows-31j euc-jp iso-2022-jp iso-2022-jp-2 csISO2022JP euc-kr ks_c_5601-1987 cp949 ms949 uhc iso-2022-kr
		gb2312 gbk gb18030 cp936 hz-gb-2312 iso-2022-cn big5 big5-hkscs cp950`) {
		if c := lookupCharset(name); c == nil || c.decoder == nil {
			t.Errorf("%s is not known", name)
		} else if other := lookupCharset(c.name); other == nil || other.name != c.name {
			t.Errorf("%s has the name %s, which is another", name, c.name)
		} else if got := c.decode([]byte{}); got != "" {
			t.Errorf("nothing in %s is %q", name, got)
		}
	}
	for _, name := range []string{"unknown-8bit", "x-unknown", "binary", "x-user-defined"} {
		if c := lookupCharset(name); c == nil || c.decoder != nil {
			t.Errorf("%s is known", name)
		}
	}
	if lookupCharset("x-none") != nil || lookupCharset("") != nil {
		t.Error("a charset out of nothing")
	}
	for _, tt := range []struct{ charset, in, want string }{
		{"utf-7", "Hi Mom -+Jjo--!", "Hi Mom -☺-!"}, // RFC 2152
		{"utf-7", "+2D3eAA-", "😀"},
		{"utf-7", "A+ImIDkQ.", "A≢Α."},
		{"utf-7", "+2D3-x\xff", "\ufffdx\ufffd"},
		{"iso-2022-jp", "\x1b$BCm\nabc", "注\nabc"},
		{"iso-2022-jp", "\x1b(J\\~\x1b(I1\x1b(B", "¥‾ｱ"},
		{"iso-2022-jp", "\x1b$BC", "\ufffd"},
		{"iso-2022-jp", "\x1b$", "\ufffd$"},
		{"iso-2022-kr", "\x1b$)C\nA\x0e0!\x0fB", "\nA가B"},
		{"iso-2022-jp-2", "\x1b.F\x1bNa", "α"},
		{"cp850", "\x81", "ü"},
		{"ibm037", "\xc1", "A"},
	} {
		if got := lookupCharset(tt.charset).decode([]byte(tt.in)); got != tt.want {
			t.Errorf("%s %q: %q, want %q", tt.charset, tt.in, got, tt.want)
		}
	}
}

// TestTextStreams checks that a text is the same however long it is: its charset
// is judged by all of it.
func TestTextStreams(t *testing.T) {
	ascii := strings.Repeat("Only ASCII so far. ", 10_000)
	m := mustRead(t, "Content-Type: text/plain\r\n\r\n"+ascii+"Gr\xc3\xbc\xc3\x9fe", Limits{})
	if text, err := m.Text(&m.Part, 1<<20); err != nil || text.Charset != "utf-8" || text.String != ascii+"Grüße" || text.Cut {
		t.Errorf("%s, %q, %v", text.Charset, text.String[len(text.String)-10:], err)
	}
	m = mustRead(t, "Content-Type: text/plain\r\n\r\n"+strings.Repeat("ä", 100_000)+"\xe4", Limits{})
	if text, err := m.Text(&m.Part, 1<<20); err != nil || text.Charset == "utf-8" {
		t.Errorf("%s, %v", text.Charset, err)
	}
	for _, name := range []string{"windows-1251", "koi8-r", "big5", "iso-8859-7", "utf-7", "iso-2022-jp"} {
		m := mustRead(t, "Content-Type: text/plain; charset="+name+"\r\n\r\n+-", Limits{})
		if text, err := m.Text(&m.Part, 10); err != nil || text.Charset != name || len(text.Notes) > 0 {
			t.Errorf("%s: %+v, %v", name, text, err)
		}
	}
	m = mustRead(t, "Content-Type: text/plain; charset=utf-8\r\n\r\nKäse", Limits{})
	for limit, want := range map[int64]string{0: "", 1: "K", 2: "K", 3: "Kä", 4: "Käs", 5: "Käse", 6: "Käse"} {
		text, err := m.Text(&m.Part, limit)
		if err != nil || text.String != want || text.Cut != (limit < 5) {
			t.Errorf("%d bytes: %+v, %v", limit, text, err)
		}
	}
}
