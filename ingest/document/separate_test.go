package document

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
)

// part writes a part: header fields, separated by " | ", and a body.
func part(header, body string) string {
	return strings.ReplaceAll(header, " | ", "\r\n") + "\r\n\r\n" + body
}

// multi writes a multipart.
func multi(subtype string, parts ...string) string {
	boundary := fmt.Sprintf("b%d", len(strings.Join(parts, "")))
	return "Content-Type: multipart/" + subtype + "; boundary=" + boundary + "\r\n\r\n--" + boundary + "\r\n" +
		strings.Join(parts, "\r\n--"+boundary+"\r\n") + "\r\n--" + boundary + "--\r\n"
}

func encoded(header, content string) string {
	text := base64.StdEncoding.EncodeToString([]byte(content))
	var lines []string
	for len(text) > 76 {
		lines = append(lines, text[:76])
		text = text[76:]
	}
	return part(header+" | Content-Transfer-Encoding: base64", strings.Join(append(lines, text), "\r\n"))
}

var (
	plain    = part("Content-Type: text/plain", "Text")
	htmlPart = part("Content-Type: text/html", `<p>Text <img src="cid:logo@x"> <a href="cid:pdf@x">`)
	logo     = encoded("Content-Type: image/png; name=logo.png | Content-ID: <logo@x>", "a picture")
	scan     = encoded("Content-Type: application/pdf; name=scan.pdf", "%PDF-1.7")
	nested   = "Subject: Offer 7\r\nFrom: a@b.example\r\n" + multi("mixed", plain, scan)
)

// separations say which files mail becomes, besides message.eml: name, media type
// and content. One that is a copy, for it stays in the message, has a star.
var separations = []struct{ name, mail, want string }{
	{"no attachment", "Subject: a\r\n" + plain, ""},
	{"alternatives", multi("alternative", plain, htmlPart), ""},
	{"an attachment", multi("mixed", plain, scan), "scan.pdf application/pdf %PDF-1.7"},
	{"no text", "Subject: a\r\n" + scan, "scan.pdf application/pdf %PDF-1.7"},
	{"named after its type", multi("mixed", plain, encoded("Content-Type: application/pdf", "a"), encoded("Content-Type: image/jpeg", "b"), encoded("Content-Type: x/y", "c"), part("Content-Type: text/xml", "d")),
		"attachment.pdf application/pdf a; attachment.jpg image/jpeg b; attachment.bin x/y c; attachment.xml text/xml d"},
	{"named as files of ours", multi("mixed", plain, part("Content-Type: a/b; name=message.eml", "a"), part("Content-Type: a/b; name=Document.JSON", "b"), part("Content-Type: a/b; name=original.eml", "c"), part("Content-Type: a/b; name=message.msg", "d")),
		"message (2).eml a/b a; Document (2).JSON a/b b; original (2).eml a/b c; message (2).msg a/b d"},
	{"the same name", multi("mixed", plain, scan, scan), "scan.pdf application/pdf %PDF-1.7; scan (2).pdf application/pdf %PDF-1.7"},
	{"unsafe names", multi("mixed", plain, part(`Content-Type: a/b; name="C:\\Users\\x\\a.txt"`, "a"), part(`Content-Type: a/b; name="../../etc/passwd"`, "b"), part(`Content-Type: a/b; name="Offer 12/26.pdf"`, "c"), part(`Content-Type: a/b; name="con.txt"`, "d")),
		"a.txt a/b a; passwd a/b b; Offer 12_26.pdf a/b c; _con.txt a/b d"},
	{"name that is not ASCII", multi("mixed", plain, part("Content-Type: a/b | Content-Disposition: attachment; filename*=utf-8''%C3%84.txt", "a")), "Ä.txt a/b a"},
	{"description with a name", multi("mixed", plain, part("Content-Type: application/octet-stream | Content-Description: fax 7.tif", "a")), "fax 7.tif application/octet-stream a"},
	{"text in its charset", multi("mixed", plain, part("Content-Type: text/csv; charset=iso-8859-1; name=a.csv | Content-Transfer-Encoding: quoted-printable", "Gr=FC=DFe;=\r\n1")), "a.csv text/csv Gr\xfc\xdfe;1"},
	{"text attached", multi("mixed", plain, part("Content-Type: text/plain | Content-Disposition: attachment; filename=a.txt", "a\r\nb")), "a.txt text/plain a\r\nb"},
	{"picture that the HTML shows", multi("related", htmlPart, logo), ""},
	{"picture shown, in mixed", multi("mixed", htmlPart, logo), ""},
	{"picture shown, without a type", multi("related", htmlPart, strings.Replace(logo, "image/png", "application/octet-stream", 1)), ""},
	{"picture that nothing shows", multi("related", part("Content-Type: text/html", "<p>"), logo), "logo.png image/png a picture"},
	{"document that the HTML links to", multi("related", htmlPart, encoded("Content-Type: application/pdf; name=scan.pdf | Content-ID: <pdf@x>", "a")), "scan.pdf application/pdf a"},
	{"document marked inline (scanners)", multi("mixed", plain, strings.Replace(scan, "\r\n", "\r\nContent-Disposition: inline\r\n", 1)), "scan.pdf application/pdf %PDF-1.7"},
	{"document as an alternative", multi("alternative", plain, htmlPart, scan), "scan.pdf application/pdf %PDF-1.7"},
	{"text beneath", multi("mixed", plain, scan, plain), "scan.pdf application/pdf %PDF-1.7"},
	{"calendar as an alternative", multi("alternative", plain, part("Content-Type: text/calendar; method=REQUEST", "BEGIN:VCALENDAR")), ""},
	{"calendar attached", multi("mixed", plain, part("Content-Type: text/calendar", "BEGIN:VCALENDAR")), "attachment.ics text/calendar BEGIN:VCALENDAR"},
	{"business card", multi("mixed", plain, part("Content-Type: text/x-vcard; name=a.vcf", "BEGIN:VCARD")), "a.vcf text/x-vcard BEGIN:VCARD"},
	{"empty file", multi("mixed", plain, part("Content-Type: a/b; name=empty.txt", "")), "empty.txt a/b "},
	{"empty part", multi("mixed", plain, part("Content-Type: a/b", "")), ""},
	{"message", multi("mixed", plain, part("Content-Type: message/rfc822", nested)), "Offer 7.eml message/rfc822 " + strings.TrimSuffix(nested, "\r\n") + "\r\n"},
	{"message with a name", multi("mixed", plain, part("Content-Type: message/rfc822; name=\"AW: x.y\"", "Subject: a\r\n\r\nb")), "AW_ x.y.eml message/rfc822 Subject: a\r\n\r\nb"},
	{"message with the name of a file", multi("mixed", plain, part("Content-Type: message/rfc822; name=x.EML", "Subject: a\r\n\r\nb")), "x.EML message/rfc822 Subject: a\r\n\r\nb"},
	{"message with a long subject", multi("mixed", plain, part("Content-Type: message/rfc822", "Subject: "+strings.Repeat("漢", 80)+"\r\n\r\nb")), strings.Repeat("漢", 65) + ".eml message/rfc822 Subject: " + strings.Repeat("漢", 80) + "\r\n\r\nb"},
	{"message without a subject", multi("mixed", plain, part("Content-Type: message/rfc822", "From: a@b.example\r\n\r\nb")), "attachment.eml message/rfc822 From: a@b.example\r\n\r\nb"},
	{"message in base64", multi("mixed", plain, encoded("Content-Type: message/rfc822", "Subject: a\n\nb")), "a.eml message/rfc822 Subject: a\n\nb"},
	{"digest", multi("digest", "\r\nSubject: a\r\n\r\nb", "Subject: c\r\n\r\nd"), "a.eml message/rfc822 Subject: a\r\n\r\nb; c.eml message/rfc822 Subject: c\r\n\r\nd"},
	{"report", multi("report; report-type=delivery-status", plain, part("Content-Type: message/delivery-status", "Reporting-MTA: dns;a"), part("Content-Type: message/rfc822", "Subject: a\r\n\r\nb")), "a.eml message/rfc822 Subject: a\r\n\r\nb"},
	{"AppleDouble", multi("mixed", plain, multi("appledouble", encoded("Content-Type: application/applefile; name=a.pdf", "fork"), encoded("Content-Type: application/pdf; name=a.pdf", "a"))), "a.pdf application/pdf a"},
	{"signed", multi("signed; protocol=\"application/pkcs7-signature\"", multi("mixed", plain, scan), part("Content-Type: application/pkcs7-signature; name=smime.p7s", "sig")), "scan.pdf* application/pdf %PDF-1.7"},
	{"signed, with a footer", multi("mixed", multi("signed", plain, part("Content-Type: application/pgp-signature", "sig")), scan), "scan.pdf* application/pdf %PDF-1.7"},
	{"encrypted (RFC 3156)", multi("encrypted; protocol=\"application/pgp-encrypted\"", part("Content-Type: application/pgp-encrypted", "Version: 1"), part("Content-Type: application/octet-stream; name=encrypted.asc", "x")), ""},
	{"encrypted (RFC 8551)", encoded("Content-Type: application/pkcs7-mime; smime-type=enveloped-data; name=smime.p7m", "x"), ""},
	{"encrypted, with a footer", multi("mixed", encoded("Content-Type: application/pkcs7-mime; smime-type=enveloped-data; name=smime.p7m", "x"), plain), ""},
	{"signed file", multi("mixed", plain, encoded("Content-Type: application/pkcs7-mime; name=IT01.xml.p7m", "x")), "IT01.xml.p7m* application/pkcs7-mime x"},
	{"detached signature of nothing", multi("mixed", plain, part("Content-Type: application/pkcs7-signature; name=smime.p7s", "sig")), "smime.p7s application/pkcs7-signature sig"},
	{"uuencoded in the text", part("Content-Type: text/plain", "a\r\nbegin 644 cat.txt\r\n#0V%T\r\n`\r\nend\r\nb\r\n"), "cat.txt* text/plain Cat"},
	{"uuencoded in a text that is attached", multi("mixed", plain, part("Content-Type: text/plain; name=log.txt", "begin 644 cat.txt\r\n#0V%T\r\n`\r\nend")), "log.txt text/plain begin 644 cat.txt\r\n#0V%T\r\n`\r\nend"},
	{"base64 with a footer", multi("mixed", plain, encoded("Content-Type: application/pdf; name=scan.pdf", "%PDF-1.7")+"\r\n\r\n_____\r\nThis list is for you."), "scan.pdf* application/pdf %PDF-1.7"},
	{"base64 with a word after it", multi("mixed", plain, encoded("Content-Type: application/pdf; name=scan.pdf", "%PDF-1.71")+"\r\n\r\nfooter"), "scan.pdf* application/pdf %PDF-1.71"},
	{"base64 that is none", multi("mixed", plain, part("Content-Type: application/pdf; name=scan.pdf | Content-Transfer-Encoding: base64", "This is no base64, but words.")), "scan.pdf application/pdf This is no base64, but words."},
	{"no end line", strings.TrimSuffix(multi("mixed", plain, scan), "--\r\n"), "scan.pdf application/pdf %PDF-1.7"},
	{"cut off", multi("mixed", plain, scan)[:len(multi("mixed", plain, scan))-len("\r\n--b123--\r\n")], "scan.pdf application/pdf %PDF-1.7"},
	{"header without an end", multi("mixed", plain, "Content-Type: application/pdf; name=scan.pdf"), "scan.pdf application/pdf "},
	{"no TNEF", multi("mixed", plain, encoded("Content-Type: application/ms-tnef; name=winmail.dat", "x")), "winmail.dat application/ms-tnef x"},
}

func TestSeparate(t *testing.T) {
	for _, tt := range separations {
		t.Run(tt.name, func(t *testing.T) {
			for _, eol := range []string{"\r\n", "\n"} {
				mail := strings.ReplaceAll(tt.mail, "\r\n", eol)
				want := strings.ReplaceAll(tt.want, "\r\n", eol)
				d := whole(t, []byte(mail))
				altered := string(contentOf(t, d.Files[0]))
				var got []string
				for _, f := range d.Files[1 : len(d.Files)-1] {
					star := "*"
					if strings.Contains(altered, "File: "+f.Name+eol) {
						star = ""
					}
					got = append(got, fmt.Sprintf("%s%s %s %s", f.Name, star, f.MediaType, contentOf(t, f)))
				}
				if s := strings.Join(got, "; "); s != want {
					t.Errorf("%q\nwant %q\n%q", s, want, d.Notes)
				}
				if !strings.Contains(want, "*") && len(got) > 0 == (altered == mail) {
					t.Errorf("message.eml:\n%s", altered)
				}
			}
		})
	}
}

func TestStub(t *testing.T) {
	mail := "Subject: a\r\n" + multi("mixed", plain,
		encoded("Content-Type: application/pdf;\r\n name=scan.pdf | Content-Description: last week's | Content-Disposition: attachment", "%PDF-1.7"))
	d := mustMake(t, rawInput([]byte(mail)), Rules{SeparateAttachments: true})
	boundary := mail[strings.Index(mail, "--b") : strings.Index(mail, "--b")+5]
	want := "Content-Type: text/plain; charset=utf-8\r\n" +
		"Content-Transfer-Encoding: 7bit\r\n" +
		"Content-Disposition: inline\r\n" +
		"X-Postroom-Stub: 1\r\n" +
		"Content-Description: last week's\r\n" +
		"\r\n" +
		"[This attachment was filed as a file of its own.]\r\n" +
		"File: scan.pdf\r\n" +
		"Media type: application/pdf\r\n" +
		"Size: 8 bytes\r\n" +
		"SHA-256: 86edbaa24831badfa0a8b04bb410141e2ee4182b6d0014493fe262a7a331c20b\r\n" +
		"\r\n" +
		"Content-Type: application/pdf;\r\n name=scan.pdf\r\n" +
		"Content-Disposition: attachment\r\n" +
		"Content-Transfer-Encoding: base64"
	got := string(contentOf(t, d.Files[0]))
	_, got, _ = strings.Cut(got, "Text\r\n"+boundary)
	_, got, _ = strings.Cut(got, "\r\n")
	got, _, _ = strings.Cut(got, "\r\n"+boundary)
	if got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

func TestKeepOriginal(t *testing.T) {
	d := mustMake(t, rawInput([]byte(plain)), Rules{KeepOriginal: true})
	if len(d.Files) != 2 || d.Files[1].Name != "original.eml" || string(contentOf(t, d.Files[1])) != plain {
		t.Errorf("%+v", d.Files)
	}
}

func TestNotesAreBounded(t *testing.T) {
	var b strings.Builder
	for i := range 100 {
		fmt.Fprintf(&b, "begin 644 %d.txt\r\n#0V%%T\r\n`\r\nend\r\n", i)
	}
	d := mustMake(t, rawInput([]byte(part("Content-Type: text/plain", b.String()))), Rules{SeparateAttachments: true})
	if len(d.Files) != 101 || len(d.Notes) != 21 || d.Notes[20] != "80 more of the kind" {
		t.Errorf("%d files, %d notes: %q", len(d.Files), len(d.Notes), d.Notes[len(d.Notes)-1])
	}
}
