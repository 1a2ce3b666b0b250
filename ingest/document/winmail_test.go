package document

import (
	"encoding/base64"
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"postroom/ingest/message/tnef"
)

// stream is TNEF (MS-OXTNEF 2.1.3) in the making.
type stream []byte

func newStream() stream {
	return binary.LittleEndian.AppendUint16(binary.LittleEndian.AppendUint32(nil, tnef.Signature), 1)
}

func (s stream) attribute(level tnef.Level, id tnef.AttributeID, data []byte) stream {
	s = append(s, byte(level))
	s = binary.LittleEndian.AppendUint32(s, uint32(id))
	s = binary.LittleEndian.AppendUint32(s, uint32(len(data)))
	s = append(s, data...)
	var sum uint16
	for _, c := range data {
		sum += uint16(c)
	}
	return binary.LittleEndian.AppendUint16(s, sum)
}

func (s stream) attachment(name string, data []byte, properties ...[]byte) stream {
	s = s.attribute(tnef.LevelAttachment, tnef.AttAttachRendData, make([]byte, 14))
	s = s.attribute(tnef.LevelAttachment, tnef.AttAttachTitle, append([]byte(name), 0))
	if data != nil {
		s = s.attribute(tnef.LevelAttachment, tnef.AttAttachData, data)
	}
	if len(properties) > 0 {
		s = s.attribute(tnef.LevelAttachment, tnef.AttAttachment, propertyList(properties...))
	}
	return s
}

func propertyList(properties ...[]byte) []byte {
	return append(binary.LittleEndian.AppendUint32(nil, uint32(len(properties))), slices.Concat(properties...)...)
}

func integer(tag tnef.Tag, v uint32) []byte {
	return binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, uint32(tag)), v)
}

func variable(tag tnef.Tag, v []byte) []byte {
	b := binary.LittleEndian.AppendUint32(nil, uint32(tag))
	b = binary.LittleEndian.AppendUint32(b, 1)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(v)))
	b = append(b, v...)
	return append(b, make([]byte, (4-len(v)%4)%4)...)
}

func winmailPart(content string) string {
	return encoded("Content-Type: application/ms-tnef; name=winmail.dat", content)
}

func TestWinmail(t *testing.T) {
	inner := newStream().attribute(tnef.LevelMessage, tnef.AttSubject, []byte("Offer\x00"))
	s := newStream().
		attribute(tnef.LevelMessage, tnef.AttBody, []byte("The text\x00")).
		attachment("scan.pdf", []byte("%PDF-1.7")).
		attachment("scan.pdf", []byte("another")).
		attachment("empty.txt", []byte{}, integer(tnef.PidTagAttachMethod, tnef.MethodFile)).
		attachment("Offer 7", nil, integer(tnef.PidTagAttachMethod, tnef.MethodMessage),
			variable(tnef.PidTagAttachDataObject, append(tnef.IIDMessage[:], inner...))).
		attachment("logo.png", []byte("picture"), integer(tnef.PidTagAttachFlags, 4), integer(tnef.PidTagAttachmentHidden, 1)).
		attachment("on a share.doc", nil, integer(tnef.PidTagAttachMethod, tnef.MethodReference))
	contents := []string{"scan.pdf application/pdf %PDF-1.7", "scan (2).pdf application/pdf another", "empty.txt text/plain ", "Offer 7.tnef application/ms-tnef " + string(inner)}
	text := "winmail.txt text/plain The text"
	const copies = "the files made of what is in winmail.dat are copies: the message holds all of it, too"
	missing := []string{`winmail.dat names the file "on a share.doc", which is not in it`, copies}
	// Of the last of two files of the same name a part is there.
	cut := newStream().attachment("scan.pdf", []byte("%PDF-1.7"))
	cut = cut.attachment("scan.pdf", []byte("cut short"))[:len(cut)+len(newStream().attachment("scan.pdf", []byte("cut short")))-6-2-6]
	for _, tt := range []struct {
		name, mail string
		want       []string
		notes      []string
		same       bool // the message is not altered
	}{
		{"beside a text", multi("mixed", plain, winmailPart(string(s))), contents, missing, true},
		{"alone", "Subject: a\r\n" + winmailPart(string(s)), append(slices.Clone(contents), text), missing, true},
		{"beside an empty text", multi("mixed", part("Content-Type: text/plain", "\r\n \r\n"), winmailPart(string(s[:6]))), nil, nil, true},
		{"by its name", multi("mixed", plain, encoded("Content-Type: application/octet-stream; name=WINMAIL.DAT", string(newStream().attachment("a", []byte("b"))))),
			[]string{"a application/octet-stream b"}, []string{strings.Replace(copies, "winmail.dat", "WINMAIL.DAT", 1)}, true},
		{"without a name", multi("mixed", plain, encoded("Content-Type: application/ms-tnef", string(newStream().attachment("a", []byte("b"))))),
			[]string{"a application/octet-stream b"}, []string{copies}, true},
		{"with nothing in it", multi("mixed", plain, winmailPart(string(newStream()))), nil, nil, true},
		{"binary", multi("mixed", plain, part("Content-Type: application/ms-tnef; name=winmail.dat | Content-Transfer-Encoding: binary", string(newStream().attachment("a", []byte("b"))))),
			[]string{"a application/octet-stream b"}, []string{copies}, true},
		{"base64 with something after it", multi("mixed", plain, winmailPart(string(newStream().attachment("a", []byte("b"))))+"\r\n\r\n______\r\nA footer of a list."),
			[]string{"a application/octet-stream b"}, []string{copies}, true},
		{"none", multi("mixed", plain, winmailPart("no TNEF")), []string{"winmail.dat application/ms-tnef no TNEF"}, nil, false},
		{"damaged", multi("mixed", plain, winmailPart(string(newStream().attachment("a", []byte("b")))+strings.Repeat("?", 100))),
			[]string{"winmail.dat application/ms-tnef " + string(newStream().attachment("a", []byte("b"))) + strings.Repeat("?", 100), "a application/octet-stream b"},
			[]string{"winmail.dat is damaged (TNEF at byte "}, false},
		{"cut short", multi("mixed", plain, winmailPart(string(cut))),
			[]string{"winmail.dat application/ms-tnef " + string(cut), "scan.pdf application/pdf %PDF-1.7", "scan (2).pdf application/pdf cut"},
			[]string{"winmail.dat is damaged (TNEF at byte ", "scan (2).pdf is incomplete: 6 bytes are missing in winmail.dat"}, false},
		{"nothing but damage", multi("mixed", plain, winmailPart(string(newStream())+strings.Repeat("?", 100)), winmailPart(string(newStream())+strings.Repeat("!", 100))),
			[]string{"winmail.dat application/ms-tnef " + string(newStream()) + strings.Repeat("?", 100), "winmail (2).dat application/ms-tnef " + string(newStream()) + strings.Repeat("!", 100)},
			[]string{"winmail.dat is damaged (TNEF at byte 6: ", "winmail (2).dat is damaged (TNEF at byte 6: "}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := whole(t, []byte(tt.mail))
			var got []string
			for _, f := range d.Files[1 : len(d.Files)-1] {
				got = append(got, f.Name+" "+f.MediaType+" "+string(contentOf(t, f)))
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("%q\nwant %q", got, tt.want)
			}
			if !slices.EqualFunc(d.Notes, tt.notes, func(got, want string) bool { return strings.HasPrefix(got, want) }) {
				t.Errorf("notes %q, want %q", d.Notes, tt.notes)
			}
			if said := strings.Contains(strings.Join(d.Notes, "\n"), "what could be read of it is filed beside it"); said != (tt.name == "damaged" || tt.name == "cut short") {
				t.Errorf("notes %q", d.Notes)
			}
			if same := string(contentOf(t, d.Files[0])) == tt.mail; same != tt.same {
				t.Errorf("same: %v", same)
			}
		})
	}
}

func TestCleanBase64(t *testing.T) {
	content := make([]byte, 3*blockSize+7)
	for i := range content {
		content[i] = byte(i * i >> 3)
	}
	text := base64.StdEncoding.EncodeToString(content)
	var lines strings.Builder
	for i := 0; i < len(text); i += 61 {
		lines.WriteString(text[i:min(i+61, len(text))] + "\r\n ")
	}
	raw := "before" + lines.String()
	m := mustRead(t, []byte(raw))
	body := m.Whole
	body.Start += 6
	c, err := cleanBase64(t.Context(), strings.NewReader(raw), body, make([]byte, 1000))
	if err != nil || c == nil || c.size != int64(len(content)) || !c.seekable() {
		t.Fatalf("%+v, %v", c, err)
	}
	for _, off := range []int{0, 1, blockSize - 1, blockSize, 3*blockSize + 5, 2 * blockSize, len(content) - 1} {
		for _, n := range []int{0, 1, 5, blockSize + 3} {
			p := make([]byte, n)
			got, err := c.ReadAt(p, int64(off))
			want := content[off:min(off+n, len(content))]
			if string(p[:got]) != string(want) || (err == nil) != (got == n) {
				t.Errorf("%d bytes at %d: %d, %v", n, off, got, err)
			}
		}
	}
	for _, s := range []string{"QUJD!", "QUJD\r\n--", "QUI=QUI=", "QUJDR", "QUI===", "Q\x00UJD"} {
		m := mustRead(t, []byte(s))
		if c, err := cleanBase64(t.Context(), strings.NewReader(s), m.Whole, make([]byte, 2)); c != nil || err != nil {
			t.Errorf("%q: %v, %v", s, c, err)
		}
	}
}

// TestWinmailIsRecognisedByItsBytes: nothing of what TNEF holds is left out of the
// content of a message, or taken for what another server makes of it.
func TestWinmailIsRecognisedByItsBytes(t *testing.T) {
	stream := func(body, file string) stream {
		return newStream().attribute(tnef.LevelMessage, tnef.AttBody, []byte(body+"\x00")).attachment("scan.pdf", []byte(file))
	}
	identify := func(mail string) Fingerprint {
		f, err := Identify(t.Context(), mustRead(t, []byte(mail)))
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	first := identify(multi("mixed", plain, winmailPart(string(stream("Text", "%PDF-1.7")))))
	for what, mail := range map[string]string{
		"text":                      multi("mixed", plain, winmailPart(string(stream("Test", "%PDF-1.7")))),
		"attachment":                multi("mixed", plain, winmailPart(string(stream("Text", "%PDF-1.4")))),
		"a property that is unseen": multi("mixed", plain, winmailPart(string(stream("Text", "%PDF-1.7").attribute(tnef.LevelMessage, tnef.AttMessageID, []byte("1\x00"))))),
		"nothing, taken apart":      multi("mixed", plain, scan),
	} {
		if f := identify(mail); f.Content == first.Content {
			t.Errorf("messages that differ in %s are the same", what)
		}
	}
	if f := identify(strings.ReplaceAll(multi("mixed", plain, winmailPart(string(stream("Text", "%PDF-1.7")))), "winmail.dat\r\n", "winmail.dat\r\nContent-Description: x\r\n")); f != first {
		t.Error("the same TNEF is not recognised")
	}
}
