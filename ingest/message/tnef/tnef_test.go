package tnef_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"postroom/ingest/message/tnef"
	"postroom/ingest/message/tnef/codepage"
)

// The attributes of the sample of MS-OXTNEF 3.1, with the checksums it prints.
func TestSampleOfTheSpecification(t *testing.T) {
	sent := time.Date(2004, 2, 17, 11, 25, 35, 0, time.UTC)
	b := newStream().
		msg(tnef.AttTnefVersion, u32(0x00010000)).
		codepage(1252).
		msg(tnef.AttMessageClass, z("IPM.Microsoft Mail.Note")).
		msg(tnef.AttPriority, u16(2)).
		msg(tnef.AttSubject, z("Simple subject")).
		msg(tnef.AttDateSent, dtr(sent)).
		msg(tnef.AttMessageID, z("757BB19CDE936A4087D90BB784C58E3B")).
		props(p(tnef.PidTagClientSubmitTime, fileTime(sent.Add(8*time.Hour)))).b
	m := open(t, b)
	noNotes(t, m)
	is(t, "key", m.Key, 0x1234)
	for id, want := range map[tnef.AttributeID]uint16{
		tnef.AttTnefVersion: 0x0001, tnef.AttOemCodepage: 0x00E8, tnef.AttMessageClass: 0x0831, tnef.AttPriority: 0x0002,
		tnef.AttSubject: 0x057A, tnef.AttDateSent: 0x0137, tnef.AttMessageID: 0x0751,
	} {
		found := false
		for _, a := range m.Attributes {
			if a.ID == id {
				found = true
				is(t, "checksum of "+id.String(), a.Sum, want)
			}
		}
		is(t, id.String()+" is there", found, true)
	}
	is(t, "class", m.Class, "IPM.Note")
	is(t, "subject", m.Subject, "Simple subject")
	is(t, "sent", m.Sent.Time, sent.Add(8*time.Hour))
	is(t, "no zone", m.Sent.NoZone, false)
	key, err := m.Properties.Get(tnef.PidTagSearchKey).Values[0].Bytes()
	if err != nil || len(key) != 16 || key[0] != 0x75 || key[15] != 0x3B {
		t.Errorf("search key: % x, %v", key, err)
	}
}

// What only attributes say becomes properties.
func TestAttributesFallBack(t *testing.T) {
	at := time.Date(2003, 5, 23, 17, 26, 17, 0, time.UTC)
	name, addr := "Ada Byron\x00", "SMTP:ada@example.com\x00"
	from := append(append(u16(4), u16(uint16(16+len(name)+len(addr)))...), append(u16(uint16(len(name))), u16(uint16(len(addr)))...)...)
	from = append(append(append(from, name...), addr...), make([]byte, 16)...)
	owner := append(append(u16(6), "Owner\x00"...), append(u16(uint16(len(addr))), addr...)...)
	b := newStream().codepage(1252).
		msg(tnef.AttMessageClass, z("IPM.Microsoft Schedule.MtgReq")).
		msg(tnef.AttSubject, z("caf\xe9")).
		msg(tnef.AttFrom, from).
		msg(tnef.AttOwner, owner).
		msg(tnef.AttBody, z("text\r\n")).
		msg(tnef.AttDateSent, dtr(at)).
		msg(tnef.AttDateRecd, dtr(at.Add(time.Minute))).
		msg(tnef.AttDateModified, dtr(at.Add(time.Hour))).
		msg(tnef.AttDateStart, dtr(at)).
		msg(tnef.AttPriority, u16(1)).
		msg(tnef.AttMessageStatus, []byte{0x20 | 0x80}).
		msg(tnef.AttAidOwner, u32(77)).
		msg(tnef.AttRequestRes, u16(1)).b
	m := open(t, b)
	noNotes(t, m)
	is(t, "class", m.Class, "IPM.Schedule.Meeting.Request")
	is(t, "subject", m.Subject, "café")
	is(t, "sender", m.Sender, tnef.Address{Name: "Ada Byron", Type: "SMTP", Email: "ada@example.com", SMTP: "ada@example.com"})
	is(t, "from", m.From.Name, "Owner")
	is(t, "sent", m.Sent, tnef.Date{Time: at, NoZone: true})
	is(t, "received", m.Received.Time, at.Add(time.Minute))
	is(t, "modified", m.Modified.Time, at.Add(time.Hour))
	for tag, want := range map[tnef.Tag]int64{
		tnef.PidTagImportance: 2, tnef.PidTagMessageFlags: 0x01 | 0x02 | 0x10, tnef.PidTagOwnerAppointmentID: 77,
		tnef.PidTagResponseRequested: 1,
	} {
		n, err := m.Properties.Get(tag).Int()
		if err != nil || n != want {
			t.Errorf("%v: %d, %v, want %d", tag, n, err, want)
		}
	}
	start, err := m.Properties.Get(tnef.PidTagStartDate).Time()
	if err != nil || !start.Equal(at) {
		t.Errorf("start %v, %v", start, err)
	}
	body, err := m.Body()
	if err != nil || body.Text != "text\r\n" {
		t.Errorf("body %q, %v", body.Text, err)
	}
	for _, q := range m.Properties {
		if q.From == 0 {
			t.Errorf("%v does not tell its attribute", q.Tag)
		}
	}
	// The owner of an answer is who it is for, not who it is from.
	m = open(t, newStream().msg(tnef.AttMessageClass, z("IPM.Microsoft Schedule.MtgRespP")).msg(tnef.AttOwner, owner).b)
	if m.Properties.Get(tnef.PidTagReceivedRepresentingName) == nil || m.From.Name != "" {
		t.Error("attOwner of an answer is who received the request")
	}
}

func TestDamagedOldAttributesAreLeftOut(t *testing.T) {
	for id, datas := range map[tnef.AttributeID][][]byte{
		tnef.AttFrom:      {nil, {4, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF}, make([]byte, 8)},
		tnef.AttOwner:     {nil, {9}, {9, 0, 'x'}, {1, 0, 'x', 9, 0}},
		tnef.AttDateSent:  {nil, make([]byte, 14), dtr(time.Date(2004, 2, 17, 0, 0, 0, 0, time.UTC))[:11], append(u16(2004), 2, 0, 31, 0, 0, 0, 0, 0, 0, 0, 0, 0)},
		tnef.AttPriority:  {nil, {9, 0}},
		tnef.AttMessageID: {nil, []byte("zz"), []byte("123")},
		tnef.AttAidOwner:  {{1}},
	} {
		for _, data := range datas {
			m := open(t, newStream().msg(id, data).b)
			if len(m.Properties) != 0 || !m.Sent.IsZero() {
				t.Errorf("%v % x became %v", id, data, m.Properties)
			}
			is(t, "attributes", len(m.Attributes), 1)
		}
	}
}

func TestUnicodeWins(t *testing.T) {
	s8 := func(tag tnef.Tag) tnef.Tag { return tag&^0xFFFF | tnef.Tag(tnef.TypeString8) }
	m := open(t, newStream().codepage(1252).msg(tnef.AttSubject, z("num?r")).
		props(p(s8(tnef.PidTagSubject), z("num?r")), p(tnef.PidTagSubject, wide("numerów"))).b)
	is(t, "subject", m.Subject, "numerów")

	// attSubject is 8-bit; the two halves of the subject are not.
	m = open(t, newStream().codepage(1252).msg(tnef.AttSubject, z("RE: num?r")).
		props(p(tnef.PidTagSubjectPrefix, wide("RE: ")), p(tnef.PidTagNormalizedSubject, wide("numerów"))).b)
	is(t, "subject of two halves", m.Subject, "RE: numerów")

	// The 8-bit whole stands against 8-bit halves.
	m = open(t, newStream().codepage(1252).msg(tnef.AttSubject, z("RE: x")).
		props(p(s8(tnef.PidTagNormalizedSubject), z("x"))).b)
	is(t, "subject of 8 bits", m.Subject, "RE: x")

	m = open(t, newStream().codepage(1252).att(tnef.AttAttachRendData, rendData(1, -1, 0)).
		att(tnef.AttAttachTitle, z("QUARTE~1.DOC")).att(tnef.AttAttachData, []byte("x")).
		att(tnef.AttAttachment, list(p(s8(tnef.PidTagAttachLongFilename), z("Quart?.doc")), p(tnef.PidTagAttachLongFilename, wide("Quartalę.doc")))).b)
	a := m.Attachments[0]
	is(t, "long name", a.LongName, "Quartalę.doc")
	is(t, "name", a.Name, "QUARTE~1.DOC")
	is(t, "file name", a.FileName(), "Quartalę.doc")
}

func TestCodePages(t *testing.T) {
	for _, c := range []struct {
		name string
		cp   uint32
		in   string
		out  string
		used codepage.ID
	}{
		{"Western", 1252, "na\xefve \x80", "naïve €", 1252},
		{"Cyrillic", 1251, "\xcf\xf0\xe8", "При", 1251},
		{"Japanese", 932, "\x83e\x83\x58\x83\x67", "テスト", 932},
		{"Simplified Chinese", 936, "\xb2\xe2\xca\xd4", "测试", 936},
		{"Traditional Chinese", 950, "\xb4\xfa\xb8\xd5", "測試", 950},
		{"Korean", 949, "\xc5\xd7\xbd\xba\xc6\xae", "테스트", 949},
		{"UTF-8", 65001, "żółw", "żółw", 65001},
		{"UTF-8 under a wrong label", 874, "5 €", "5 €", 874},
		{"Thai", 874, "\xa1", "ก", 874},
		{"unknown", 4242, "\xe9", "é", 1252},
		{"none", 0, "\xe9", "é", 1252},
	} {
		s := newStream()
		if c.cp != 0 {
			s.codepage(c.cp)
		}
		m := open(t, s.att(tnef.AttAttachRendData, rendData(1, -1, 0)).att(tnef.AttAttachTitle, z(c.in)).b)
		is(t, c.name, m.Attachments[0].Name, c.out)
		is(t, c.name+": code page", m.CodePage, c.used)
		is(t, c.name+": notes", len(m.Notes), map[bool]int{true: 1}[c.cp == 4242])
	}
	m := open(t, newStream().props(p(tnef.PidTagInternetCodepage, u32(1251)), p(0x0037001E, z("\xcf"))).b)
	is(t, "code page of a property", m.Subject, "П")
}

func TestProperties(t *testing.T) {
	set := tnef.GUID{0x08, 0x20, 0x06, 0, 0, 0, 0, 0, 0xC0, 0, 0, 0, 0, 0, 0, 0x46}
	is(t, "GUID", set.String(), "{00062008-0000-0000-C000-000000000046}")
	b := newStream().codepage(1252).props(
		p(0x00010002, u16(0xFFFE)),
		p(0x00020003, u32(0xFFFFFFFD)),
		p(0x0003000B, u16(1)),
		p(0x00040014, u64(1<<40)),
		p(0x00050040, fileTime(time.Unix(1e9, 0))),
		p(0x00060007, u64(0x40E3880000000000)), // 40000 days
		p(0x00070048, set[:]),
		p(0x00080001, nil),
		p(0x00090102, []byte("abc"), []byte("de")), // several values of one that has one
		p(0x000A001E),                              // and none
		p(0x000B101F, wide("eins"), wide("zwei")),
		p(0x000C1002, u16(1), u16(2), u16(3)),
		p(0x000D1003, u32(4), u32(5)),
		p(0x000E1040, u64(1), u64(2)),
		p(0x000F000A, u32(0x8004010F)), // an error in place of a value
		prop{tag: 0x8001001F, name: &tnef.Name{Set: set, ID: 0x8554}, values: [][]byte{wide("16.0")}},
		prop{tag: 0x8002001E, name: &tnef.Name{Set: set, Text: "X-Header"}, values: [][]byte{z("value")}},
		prop{tag: 0x8003000D, name: &tnef.Name{Set: set, Text: "obj"}, iid: &tnef.IIDStorage, values: [][]byte{[]byte("12345")}},
		p(0x0037001F, wide("end")),
	).b
	m := open(t, b)
	noNotes(t, m)
	is(t, "properties", len(m.Properties), 19)
	is(t, "the last one", m.Subject, "end")
	ints := map[uint16]int64{1: -2, 2: -3, 3: 1, 4: 1 << 40}
	for id, want := range ints {
		n, err := m.Properties.Get(tnef.Tag(id) << 16).Int()
		if err != nil || n != want {
			t.Errorf("%#x: %d, %v", id, n, err)
		}
	}
	for id, want := range map[uint16]time.Time{5: time.Unix(1e9, 0).UTC(), 6: time.Date(2009, 7, 6, 0, 0, 0, 0, time.UTC)} {
		v, err := m.Properties.Get(tnef.Tag(id) << 16).Time()
		if err != nil || !v.Equal(want) {
			t.Errorf("%#x: %v, %v", id, v, err)
		}
	}
	for i, want := range map[int]string{7: "", 8: "abc|de", 9: "", 10: "e\x00i\x00n\x00s\x00\x00\x00|z\x00w\x00e\x00i\x00\x00\x00",
		11: "\x01\x00|\x02\x00|\x03\x00", 12: "\x04\x00\x00\x00|\x05\x00\x00\x00", 17: "12345"} {
		var parts []string
		for _, v := range m.Properties[i].Values {
			b, err := v.Bytes()
			if err != nil {
				t.Fatal(err)
			}
			parts = append(parts, string(b))
		}
		is(t, m.Properties[i].Tag.String(), strings.Join(parts, "|"), want)
	}
	is(t, "interface", m.Properties[17].Values[0].Interface, tnef.IIDStorage)
	if m.Properties.Get(0x000F0003) != nil || m.Properties.Get(0x000A001E) != nil {
		t.Error("an error or nothing was taken for a value")
	}
	if q := m.Properties.Named(tnef.Name{Set: set, ID: 0x8554}); q == nil || q.Tag != 0x8001001F {
		t.Error("no property of that number")
	}
	q := m.Properties.Named(tnef.Name{Set: set, Text: "x-header"})
	if s, err := q.Text(1252); err != nil || s != "value" {
		t.Errorf("property of a text: %q, %v", s, err)
	}
	if m.Properties.Named(tnef.Name{Set: tnef.GUID{1}, ID: 0x8554}) != nil {
		t.Error("a name of another set was found")
	}
	if m.Properties.Get(0x8001001F) != nil {
		t.Error("a named property was found by its number")
	}
	if _, err := q.Int(); err == nil {
		t.Error("a string is no integer")
	}
}

func TestTimesOutOfRange(t *testing.T) {
	for _, v := range []uint64{0, 1<<63 - 1, 1<<64 - 1, 2650467744000000000} {
		m := open(t, newStream().props(p(tnef.PidTagClientSubmitTime, u64(v))).b)
		is(t, "sent", m.Sent, tnef.Date{})
	}
	for _, v := range []uint64{0x7FF8000000000000, 0x7FF0000000000000, 0xFFEFFFFFFFFFFFFF} { // NaN, infinite, huge
		m := open(t, newStream().props(p(0x00390007, u64(v))).b)
		is(t, "sent", m.Sent, tnef.Date{})
	}
}

func TestRecipients(t *testing.T) {
	oneOff := append(make([]byte, 4), 0x81, 0x2B, 0x1F, 0xA4, 0xBE, 0xA3, 0x10, 0x19, 0x9D, 0x6E, 0x00, 0xDD, 0x01, 0x0F, 0x54, 0x02, 0, 0, 0x01, 0x90)
	oneOff = append(append(append(oneOff, wide("Żaneta")...), wide("SMTP")...), wide("z@example.com")...)
	oneOff8 := append(append(bytes.Clone(oneOff[:22]), 0, 0), "Zoe\x00SMTP\x00zoe@example.com\x00"...)
	table := u32(5)
	for _, row := range [][]prop{
		{p(tnef.PidTagRecipientType, u32(1)), p(tnef.PidTagDisplayName, wide("Ada")), p(tnef.PidTagAddressType, wide("SMTP")), p(tnef.PidTagEmailAddress, wide("ada@example.com"))},
		{p(tnef.PidTagRecipientType, u32(0x10000002)), p(tnef.PidTagDisplayName, wide("Ex")), p(tnef.PidTagAddressType, wide("EX")), p(tnef.PidTagEmailAddress, wide("/O=X/CN=EX")), p(tnef.PidTagSMTPAddress, wide("ex@example.com"))},
		{p(tnef.PidTagRecipientType, u32(3)), p(tnef.PidTagEntryID, oneOff)},
		{p(tnef.PidTagEntryID, oneOff8)},
		{p(tnef.PidTagRecipientType, u32(1)), p(tnef.PidTagSearchKey, z("SMTP:KEY@EXAMPLE.COM"))},
	} {
		table = append(table, list(row...)...)
	}
	m := open(t, newStream().msg(tnef.AttRecipTable, table).b)
	noNotes(t, m)
	want := []tnef.Recipient{
		{Kind: tnef.To, Address: tnef.Address{Name: "Ada", Type: "SMTP", Email: "ada@example.com", SMTP: "ada@example.com"}},
		{Kind: tnef.Cc, Address: tnef.Address{Name: "Ex", Type: "EX", Email: "/O=X/CN=EX", SMTP: "ex@example.com"}},
		{Kind: tnef.Bcc, Address: tnef.Address{Name: "Żaneta", Type: "SMTP", Email: "z@example.com", SMTP: "z@example.com"}},
		{Kind: tnef.To, Address: tnef.Address{Name: "Zoe", Type: "SMTP", Email: "zoe@example.com", SMTP: "zoe@example.com"}},
		{Kind: tnef.To, Address: tnef.Address{SMTP: "KEY@EXAMPLE.COM"}},
	}
	is(t, "recipients", len(m.Recipients), len(want))
	for i, r := range m.Recipients {
		is(t, "kind", r.Kind, want[i].Kind)
		is(t, "address", r.Address, want[i].Address)
	}
	// A count that lies keeps the rows that are there.
	binary.LittleEndian.PutUint32(table, 1<<31)
	b := newStream().msg(tnef.AttRecipTable, table).b
	m, err := tnef.Open(bytes.NewReader(b), int64(len(b)))
	var damage *tnef.FormatError
	if !errors.As(err, &damage) || len(m.Recipients) != 5 {
		t.Errorf("%d recipients, %v", len(m.Recipients), err)
	}
}

func TestAttachments(t *testing.T) {
	at := time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)
	b := newStream().codepage(1252).
		att(tnef.AttAttachRendData, rendData(1, 7, 1)).
		att(tnef.AttAttachData, []byte("first")).
		att(tnef.AttAttachTitle, z("first.txt")).
		att(tnef.AttAttachMetaFile, []byte("wmf")).
		att(tnef.AttAttachCreateDate, dtr(at)).
		att(tnef.AttAttachModifyDate, dtr(at.Add(time.Hour))).
		attachment(1,
			p(tnef.PidTagAttachDataBinary, []byte("second")),
			p(tnef.PidTagAttachLongFilename, wide("zweite Datei.txt")),
			p(tnef.PidTagAttachFilename, wide("ZWEITE~1.TXT")),
			p(tnef.PidTagAttachMimeTag, wide("text/plain")),
			p(tnef.PidTagAttachContentID, wide("<a@b>")),
			p(tnef.PidTagAttachContentLocation, wide("http://example.com/x")),
			p(tnef.PidTagAttachMethod, u32(1)),
			p(tnef.PidTagAttachFlags, u32(4)),
			p(tnef.PidTagAttachmentHidden, u16(1)),
			p(tnef.PidTagRenderingPosition, u32(0xFFFFFFFF)),
			p(tnef.PidTagCreationTime, fileTime(at)),
			p(tnef.PidTagLastModificationTime, fileTime(at)),
		).
		attachment(1, p(tnef.PidTagAttachMethod, u32(2)), p(tnef.PidTagAttachLongPathname, wide(`\\server\file.txt`))).
		// OLE: a stub as attribute, the storage as property.
		att(tnef.AttAttachRendData, rendData(2, 3, 0)).
		att(tnef.AttAttachData, []byte("stub")).
		att(tnef.AttAttachment, list(prop{tag: tnef.PidTagAttachDataObject, iid: &tnef.IIDStorage, values: [][]byte{[]byte("storage")}})).b
	m := open(t, b)
	noNotes(t, m)
	is(t, "attachments", len(m.Attachments), 4)
	a := m.Attachments[0]
	is(t, "data", contents(t, a), "first")
	is(t, "name", a.FileName(), "first.txt")
	is(t, "method", a.Method, tnef.MethodFile)
	is(t, "position", a.RenderingPosition, 7)
	is(t, "MacBinary", a.MacBinary, true)
	is(t, "created", a.Created, tnef.Date{Time: at, NoZone: true})
	is(t, "modified", a.Modified.Time, at.Add(time.Hour))
	is(t, "rendering", a.Rendering().Size(), 3)

	a = m.Attachments[1]
	is(t, "number", a.Number, 1)
	is(t, "data", contents(t, a), "second")
	is(t, "size", a.Size(), 6)
	is(t, "name", a.FileName(), "zweite Datei.txt")
	is(t, "short name", a.Name, "ZWEITE~1.TXT")
	is(t, "type", a.MediaType, "text/plain")
	is(t, "content id", a.ContentID, "a@b")
	is(t, "content location", a.ContentLocation, "http://example.com/x")
	is(t, "flags", a.Flags, 4)
	is(t, "hidden", a.Hidden, true)
	is(t, "position", a.RenderingPosition, -1)
	is(t, "MacBinary", a.MacBinary, false)
	is(t, "created", a.Created, tnef.Date{Time: at})

	a = m.Attachments[2]
	is(t, "method", a.Method, tnef.MethodReference)
	is(t, "path", a.Path, `\\server\file.txt`)
	is(t, "data", contents(t, a), "")

	a = m.Attachments[3]
	is(t, "method", a.Method, tnef.MethodOLE)
	is(t, "data", contents(t, a), "storage")
	is(t, "interface", a.Data().Interface, tnef.IIDStorage)
	if _, err := a.Message(); !errors.Is(err, tnef.ErrNoMessage) {
		t.Errorf("a storage as a message: %v", err)
	}
	for _, a := range m.Attachments {
		first, _ := io.ReadAll(a.Open())
		again, _ := io.ReadAll(a.Open())
		is(t, "read again", string(again), string(first))
	}
}

// Writers that announce no attachment, or put two under one announcement, or
// leave the type out of identifiers.
func TestAttachmentsWithoutAnnouncement(t *testing.T) {
	m := open(t, newStream().
		att(tnef.AttAttachTitle, z("a.txt")).att(tnef.AttAttachData, []byte("a")).
		att(tnef.AttAttachData, []byte("b")).att(tnef.AttAttachTitle, z("b.txt")).b)
	is(t, "attachments", len(m.Attachments), 2)
	for i, want := range []string{"a", "b"} {
		is(t, "data", contents(t, m.Attachments[i]), want)
		is(t, "name", m.Attachments[i].FileName(), want+".txt")
	}
	is(t, "notes", len(m.Notes), 2)

	m = open(t, newStream().att(0x00009002, rendData(1, -1, 0)).att(0x0000800F, []byte("this")).b)
	is(t, "data", contents(t, m.Attachments[0]), "this")
	is(t, "notes", len(m.Notes), 2)
}

func nested(depth int) []byte {
	s := newStream()
	if depth == 0 {
		return s.msg(tnef.AttSubject, z("\xcf")).b
	}
	return s.attachment(1, p(tnef.PidTagAttachMethod, u32(tnef.MethodMessage)),
		prop{tag: tnef.PidTagAttachDataObject, iid: &tnef.IIDMessage, values: [][]byte{nested(depth - 1)}}).b
}

func TestNestedMessages(t *testing.T) {
	inner := nested(0)
	for name, att := range map[string]*stream{
		"object":             newStream().codepage(1251).attachment(1, p(tnef.PidTagAttachMethod, u32(5)), prop{tag: tnef.PidTagAttachDataObject, iid: &tnef.IIDMessage, values: [][]byte{inner}}),
		"object without IID": newStream().codepage(1251).attachment(1, p(tnef.PidTagAttachMethod, u32(5)), p(tnef.PidTagAttachDataObject, inner)),
		"binary":             newStream().codepage(1251).attachment(1, p(tnef.PidTagAttachMethod, u32(5)), p(tnef.PidTagAttachDataBinary, inner)),
		"attribute, method after the data": newStream().codepage(1251).att(tnef.AttAttachRendData, rendData(1, -1, 0)).att(tnef.AttAttachData, inner).
			att(tnef.AttAttachment, list(p(tnef.PidTagAttachMethod, u32(5)))),
	} {
		a := open(t, att.b).Attachments[0]
		is(t, name+" is a message", a.IsMessage(), true)
		m, err := a.Message()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		is(t, name+": code page of the message around it", m.Subject, "П")
	}

	m := open(t, nested(tnef.MaxDepth+1))
	var err error
	depth := 0
	for ; err == nil; depth++ {
		m, err = m.Attachments[0].Message()
	}
	if !errors.Is(err, tnef.ErrDepth) || depth != tnef.MaxDepth {
		t.Errorf("at depth %d: %v", depth, err)
	}
}

func TestChecksum(t *testing.T) {
	b := newStream().msg(tnef.AttSubject, z("x")).att(tnef.AttAttachRendData, rendData(1, -1, 0)).att(tnef.AttAttachData, []byte("data")).b
	b[len(b)-1]++
	m := open(t, b)
	is(t, "data", contents(t, m.Attachments[0]), "data")
	if len(m.Notes) != 1 || !strings.Contains(m.Notes[0], "checksum of attAttachData") {
		t.Errorf("notes %q", m.Notes)
	}
	a := m.Attachments[0].Attributes[1]
	if a.Checksum == a.Sum {
		t.Error("the checksums do not differ")
	}
}

func TestTrailer(t *testing.T) {
	whole := newStream().msg(tnef.AttSubject, z("x")).b
	for _, c := range []struct {
		trailer string
		err     bool
		notes   int
	}{
		{"", false, 0}, {"\r\n", false, 1}, {"\n", false, 1}, {strings.Repeat("\x00", 300), false, 1}, {"garbage", false, 1},
		{"-- \r\nThis is a mailing list footer", true, 0}, {strings.Repeat("\x00", 1000), true, 0}, {"\x01\x02\x03", true, 0},
	} {
		b := append(bytes.Clone(whole), c.trailer...)
		m, err := tnef.Open(bytes.NewReader(b), int64(len(b)))
		is(t, "error after "+c.trailer, err != nil, c.err)
		is(t, "subject", m.Subject, "x")
		is(t, "notes", len(m.Notes), c.notes)
	}
}

func TestNotTNEF(t *testing.T) {
	for _, s := range []string{"", "x", "\x78\x9f\x3e", "From: x\r\n\r\ntext", "\x22\x3e\x9f\x78\x00\x00"} {
		m, err := tnef.Open(strings.NewReader(s), int64(len(s)))
		if !errors.Is(err, tnef.ErrSignature) || m != nil {
			t.Errorf("%q: %v", s, err)
		}
	}
}

func everything() []byte {
	return newStream().codepage(1252).msg(tnef.AttSubject, z("subject")).
		props(p(tnef.PidTagInternetMessageID, wide("<a@b>")), prop{tag: 0x8000001F, name: &tnef.Name{Text: "n"}, values: [][]byte{wide("v")}}, p(0x00011003, u32(1), u32(2))).
		msg(tnef.AttRecipTable, append(u32(1), list(p(tnef.PidTagDisplayName, wide("Ada")))...)).
		att(tnef.AttAttachRendData, rendData(1, -1, 0)).att(tnef.AttAttachTitle, z("a")).att(tnef.AttAttachData, []byte("first attachment")).
		attachment(1, p(tnef.PidTagAttachFilename, wide("b")), p(tnef.PidTagAttachDataBinary, []byte("second attachment"))).b
}

// Cut anywhere, a stream gives what came before, says so, and what was whole
// stays whole.
func TestCutAnywhere(t *testing.T) {
	b := everything()
	first := bytes.Index(b, []byte("first attachment"))
	second := bytes.Index(b, []byte("second attachment"))
	for n := 6; n < len(b); n++ {
		m, err := tnef.Open(bytes.NewReader(b[:n]), int64(n))
		if m == nil {
			t.Fatalf("cut at %d: nothing, %v", n, err)
		}
		for i, c := range []struct {
			at   int
			want string
		}{{first, "first attachment"}, {second, "second attachment"}} {
			if n <= c.at {
				continue
			}
			if len(m.Attachments) <= i {
				t.Fatalf("cut at %d: %d attachments", n, len(m.Attachments))
			}
			have := min(len(c.want), n-c.at)
			is(t, "data", contents(t, m.Attachments[i]), c.want[:have])
			is(t, "missing", m.Attachments[i].Data().Missing > 0, have < len(c.want))
			if have < len(c.want) && err == nil {
				t.Errorf("cut at %d: no error", n)
			}
		}
		var damage *tnef.FormatError
		if err != nil && (!errors.As(err, &damage) || damage.Offset > int64(n)) {
			t.Errorf("cut at %d: %v", n, err)
		}
	}
}

// Numbers that lie are errors, cost no memory and take no time.
func TestLies(t *testing.T) {
	huge := u32(0xFFFFFFFF)
	for name, b := range map[string][]byte{
		"count of properties":     newStream().msg(tnef.AttMsgProps, huge).b,
		"no count of properties":  newStream().msg(tnef.AttMsgProps, nil).b,
		"count of null values":    newStream().msg(tnef.AttMsgProps, bytes.Join([][]byte{u32(2), u32(0x00011001), huge}, nil)).b,
		"count of values":         newStream().msg(tnef.AttMsgProps, bytes.Join([][]byte{u32(1), u32(0x00011003), huge, u32(1)}, nil)).b,
		"count of strings":        newStream().msg(tnef.AttMsgProps, bytes.Join([][]byte{u32(1), u32(0x0001001E), huge, u32(1), u32(1)}, nil)).b,
		"length of a string":      newStream().msg(tnef.AttMsgProps, bytes.Join([][]byte{u32(1), u32(0x0001001E), u32(1), huge, u32(1)}, nil)).b,
		"length of a name":        newStream().msg(tnef.AttMsgProps, bytes.Join([][]byte{u32(1), u32(0x8001001E), make([]byte, 16), u32(1), huge}, nil)).b,
		"a name too long":         newStream().msg(tnef.AttMsgProps, bytes.Join([][]byte{u32(1), u32(0x8001001E), make([]byte, 16), u32(1), u32(70000), make([]byte, 80000)}, nil)).b,
		"kind of a name":          newStream().msg(tnef.AttMsgProps, bytes.Join([][]byte{u32(1), u32(0x8001001E), make([]byte, 16), u32(7)}, nil)).b,
		"type":                    newStream().msg(tnef.AttMsgProps, bytes.Join([][]byte{u32(1), u32(0x00010FFF), u32(0)}, nil)).b,
		"recipients":              newStream().msg(tnef.AttRecipTable, huge).b,
		"no count of recipients":  newStream().msg(tnef.AttRecipTable, []byte{1}).b,
		"recipients of no fields": newStream().msg(tnef.AttRecipTable, append(bytes.Clone(huge), make([]byte, 64)...)).b,
		"length of an attribute":  bytes.Join([][]byte{newStream().b, {1}, u32(uint32(tnef.AttSubject)), huge}, nil),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		m, err := tnef.Open(bytes.NewReader(b), int64(len(b)))
		runtime.ReadMemStats(&after)
		var damage *tnef.FormatError
		if !errors.As(err, &damage) || m == nil {
			t.Errorf("%s: %v", name, err)
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > 64<<20 {
			t.Errorf("%s: %d bytes were allocated", name, n)
		}
	}
}

// As many attributes and properties as a few megabytes hold are all kept.
func TestManyAttributesAndProperties(t *testing.T) {
	const n = 100_000
	s := newStream()
	ps := make([]prop, n)
	for i := range ps {
		ps[i] = p(0x00010003, u32(1))
	}
	s.props(ps...)
	for range n {
		s.msg(tnef.AttSubject, z("x")).att(tnef.AttAttachTitle, z("x"))
	}
	s.att(tnef.AttAttachment, list(ps...))
	m := open(t, s.b)
	is(t, "properties", len(m.Properties), n+1)
	is(t, "attributes", len(m.Attributes), n+1)
	is(t, "attachments", len(m.Attachments), 1)
	is(t, "properties of the attachment", len(m.Attachments[0].Properties), n+1)
}

// The first of two attributes counts, unless it says nothing.
func TestAttributeTwice(t *testing.T) {
	at := time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)
	m := open(t, newStream().msg(tnef.AttSubject, z("one")).msg(tnef.AttSubject, z("two")).
		msg(tnef.AttDateSent, make([]byte, 14)).msg(tnef.AttDateSent, dtr(at)).b)
	is(t, "subject", m.Subject, "one")
	is(t, "sent", m.Sent.Time, at)
}

// endless is a reader of a stream that no memory holds: a head, a run of one
// byte, a tail.
type endless struct {
	head, tail []byte
	run        int64
}

func (e endless) size() int64 { return int64(len(e.head)) + e.run + int64(len(e.tail)) }

var xs = bytes.Repeat([]byte("x"), 64<<10)

func (e endless) ReadAt(b []byte, off int64) (n int, err error) {
	for n < len(b) {
		at := off + int64(n)
		end := int64(len(e.head)) + e.run
		switch {
		case at < int64(len(e.head)):
			n += copy(b[n:], e.head[at:])
		case at < end:
			n += copy(b[n:], xs[:min(int64(len(xs)), end-at)])
		case at < e.size():
			n += copy(b[n:], e.tail[at-end:])
		default:
			return n, io.EOF
		}
	}
	return n, nil
}

func TestLargeAttachmentTakesNoMemory(t *testing.T) {
	const run = 150e6
	sum := uint64(run) * 'x'
	tail := append(u16(uint16(sum)), newStream().att(tnef.AttAttachTitle, z("large.bin")).b[6:]...)
	asAttribute := newStream().att(tnef.AttAttachRendData, rendData(1, -1, 0)).b
	asAttribute = append(append(append(asAttribute, 2), u32(uint32(tnef.AttAttachData))...), u32(run)...)
	asProperty := append(newStream().b, 2)
	props := append(append(append(u32(1), u32(uint32(tnef.PidTagAttachDataObject))...), u32(1)...), u32(run+16)...)
	props = append(props, tnef.IIDStorage[:]...)
	asProperty = append(append(asProperty, u32(uint32(tnef.AttAttachment))...), u32(uint32(run+len(props)))...)
	asProperty = append(asProperty, props...)
	for _, c := range props {
		sum += uint64(c)
	}
	tail2 := append(u16(uint16(sum)), newStream().att(tnef.AttAttachTitle, z("large.bin")).b[6:]...)
	for name, e := range map[string]endless{"attribute": {asAttribute, tail, run}, "property": {asProperty, tail2, run}} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		m, err := tnef.Open(e, e.size())
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		is(t, "name", m.Attachments[0].FileName(), "large.bin")
		is(t, "size", m.Attachments[0].Size(), run)
		n, err := io.Copy(io.Discard, m.Attachments[0].Open())
		runtime.ReadMemStats(&after)
		if err != nil || n != run {
			t.Errorf("%s: %d bytes, %v", name, n, err)
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
			t.Errorf("%s: %d bytes were allocated", name, n)
		}
		if _, err := m.Attachments[0].Data().Bytes(); !errors.Is(err, tnef.ErrTooLarge) {
			t.Errorf("%s: %v", name, err)
		}
		for _, note := range m.Notes {
			if strings.Contains(note, "checksum") {
				t.Errorf("%s: %s", name, note)
			}
		}
	}
}

// failing fails at an offset.
type failing struct {
	io.ReaderAt
	at int64
}

var errDisk = errors.New("the disk is gone")

func (f failing) ReadAt(b []byte, off int64) (int, error) {
	if off+int64(len(b)) > f.at {
		return 0, errDisk
	}
	return f.ReaderAt.ReadAt(b, off)
}

// A fault of the reader is no fault of the stream.
func TestReaderFails(t *testing.T) {
	b := everything()
	_, err := tnef.Open(failing{bytes.NewReader(b), 3}, int64(len(b)))
	var damage *tnef.FormatError
	if !errors.Is(err, errDisk) || errors.As(err, &damage) {
		t.Error(err)
	}
	_, err = tnef.Open(bytes.NewReader(b[:40]), int64(len(b))) // shorter than was said
	if !errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &damage) {
		t.Error(err)
	}
}
