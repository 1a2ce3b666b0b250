package tnef_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"postroom/ingest/message/tnef"
	"postroom/ingest/message/tnef/codepage"
	"postroom/ingest/message/tnef/rtf"
)

// mela is RTF in its uncompressed form (MS-OXRTFCP 2.1.3.1).
func mela(s string) []byte {
	b := u32(uint32(len(s) + 12))
	b = append(append(b, u32(uint32(len(s)))...), "MELA\x00\x00\x00\x00"...)
	return append(b, s...)
}

func body(t *testing.T, ps ...prop) tnef.Body {
	t.Helper()
	b, err := open(t, newStream().codepage(1252).props(ps...).b).Body()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestBody(t *testing.T) {
	b := body(t, p(tnef.PidTagBody, wide("täxt")), p(0x1000001E, z("t?xt")), p(tnef.PidTagHTML, []byte("<p>\xf4\xc5\xcb\xd3\xd4")), p(tnef.PidTagInternetCodepage, u32(20866)))
	is(t, "text", b.Text, "täxt")
	is(t, "HTML", b.HTML, "<p>Текст")
	is(t, "code page", b.HTMLCodePage, 20866)

	for name, c := range map[string]struct {
		p    prop
		want string
		cp   codepage.ID
	}{
		"of no code page": {p(tnef.PidTagHTML, []byte("<p>\xe4\x00")), "<p>ä", 1252},
		"UTF-8 mark":      {p(tnef.PidTagHTML, []byte("\xef\xbb\xbf<p>ä")), "<p>ä", 65001},
		"UTF-16 mark":     {p(tnef.PidTagHTML, append([]byte{0xFF, 0xFE}, wide("<p>ä")...)), "<p>ä", 1200},
		"string":          {p(0x1013001F, wide("<p>ä")), "<p>ä", 1200},
		"8-bit string":    {p(0x1013001E, z("<p>\xe4")), "<p>ä", 1252},
	} {
		b := body(t, c.p)
		is(t, name, b.HTML, c.want)
		is(t, name+": code page", b.HTMLCodePage, c.cp)
	}
	b = body(t, p(tnef.PidTagHTML, []byte("<p>\xe4")), p(tnef.PidTagInternetCodepage, u32(4242)))
	is(t, "unknown code page", b.HTML, "<p>ä")
	is(t, "notes", len(b.Notes), 1)
}

func TestBodyInRTFOnly(t *testing.T) {
	b := body(t, p(tnef.PidTagRtfCompressed, mela(`{\rtf1\ansi\ansicpg1252\fromhtml1 {\*\htmltag64 <p>}\htmlrtf \par\htmlrtf0 \'e4{\*\htmltag72 </p>}}`)))
	is(t, "HTML", b.HTML, "<p>ä</p>")
	is(t, "kind", b.RTFKind, rtf.HTML)
	is(t, "from RTF", b.HTMLFromRTF, true)
	is(t, "text", b.Text, "")

	b = body(t, p(tnef.PidTagRtfCompressed, mela(`{\rtf1\ansi\fromtext eins\par zwei}`)))
	is(t, "text", b.Text, "eins\r\nzwei")
	is(t, "from RTF", b.TextFromRTF, true)

	b = body(t, p(tnef.PidTagRtfCompressed, mela(`{\rtf1\ansi{\fonttbl{\f0 Arial;}}\b bold\b0  text}`)))
	is(t, "text", b.Text, "bold text")
	is(t, "kind", b.RTFKind, rtf.Native)

	// What the message has itself is not replaced.
	b = body(t, p(tnef.PidTagBody, wide("own")), p(tnef.PidTagHTML, []byte("own")), p(tnef.PidTagRtfCompressed, mela(`{\rtf1\ansi\fromhtml1 other}`)))
	is(t, "text", b.Text, "own")
	is(t, "HTML", b.HTML, "own")
	is(t, "RTF", string(b.RTF), `{\rtf1\ansi\fromhtml1 other}`)

	b = body(t, p(tnef.PidTagBody, wide("own")), p(tnef.PidTagRtfCompressed, []byte("no RTF at all, really")))
	is(t, "text beside damage", b.Text, "own")
	is(t, "notes", len(b.Notes), 1)
}

func TestBodyTooLarge(t *testing.T) {
	head := append(append(append(u32(1), u32(uint32(tnef.PidTagHTML))...), u32(1)...), u32(tnef.MaxBody+4)...)
	e := endless{head: newStream().b, run: tnef.MaxBody + 4, tail: u16(0)}
	e.head = append(append(append(e.head, 1), u32(uint32(tnef.AttMsgProps))...), u32(uint32(len(head))+tnef.MaxBody+4)...)
	e.head = append(e.head, head...)
	m, err := tnef.Open(e, e.size())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Body(); !errors.Is(err, tnef.ErrTooLarge) {
		t.Error(err)
	}
}

// FuzzOpen: no input makes Open or what it returns panic or hang, everything is
// found again at its place, and nothing is made up.
func FuzzOpen(f *testing.F) {
	f.Add([]byte{})
	f.Add(everything())
	f.Add(nested(3))
	f.Add(newStream().codepage(932).msg(tnef.AttFrom, []byte("\x04\x00\x10\x00\x02\x00\x02\x00a\x00b\x00")).
		props(p(tnef.PidTagRtfCompressed, mela(`{\rtf1\ansi\fromhtml1{\*\htmltag <p>}}`)), p(tnef.PidTagHTML, []byte("<p>"))).b)
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := tnef.Open(bytes.NewReader(b), int64(len(b)))
		if m == nil {
			if err == nil {
				t.Fatal("neither message nor error")
			}
			if len(b) >= 4 && binary.LittleEndian.Uint32(b) == tnef.Signature {
				t.Fatalf("the stream has the signature: %v", err)
			}
			return
		}
		walk(t, m, b, 0)
	})
}

func walk(t *testing.T, m *tnef.Message, b []byte, depth int) {
	var total int64

	for _, a := range m.Attributes {
		if _, err := a.Bytes(); err != nil {
			t.Fatal(err)
		}
		total += a.Size()
	}
	value := func(v tnef.Value) {
		d, err := v.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		if int64(len(d)) != v.Size() || v.Missing < 0 {
			t.Fatalf("%d bytes of %d, %d missing", len(d), v.Size(), v.Missing)
		}
	}
	properties := func(ps tnef.Properties) {
		for i := range ps {
			q := &ps[i]
			for _, v := range q.Values {
				value(v)
				d, _ := v.Bytes()
				if q.From == 0 && !bytes.Contains(b, d) {
					t.Fatalf("%v is not in the stream", q.Tag)
				}
			}
			q.Text(m.CodePage)
			q.Int()
			q.Time()
			ps.Get(q.Tag)
			if q.Name != nil {
				ps.Named(*q.Name)
			}
		}
	}
	properties(m.Properties)
	for _, r := range m.Recipients {
		properties(r.Properties)
	}
	if _, err := m.Body(); err != nil {
		t.Fatal(err)
	}
	for i, a := range m.Attachments {
		if a.Number != i {
			t.Fatalf("attachment %d has the number %d", i, a.Number)
		}
		for _, x := range a.Attributes {
			total += x.Size()
		}
		properties(a.Properties)
		value(a.Data())
		value(a.Rendering())
		n, err := a.Message()
		if err != nil && n == nil && !errors.Is(err, tnef.ErrNoMessage) && !errors.Is(err, tnef.ErrDepth) {
			t.Fatal(err)
		}
		if n != nil {
			if depth > tnef.MaxDepth {
				t.Fatal("too deep")
			}
			walk(t, n, b, depth+1)
		}
	}
	if total > int64(len(b)) {
		t.Fatalf("%d bytes of attributes in %d bytes", total, len(b))
	}
	for _, note := range m.Notes {
		if strings.TrimSpace(note) == "" {
			t.Fatal("an empty note")
		}
	}
}
