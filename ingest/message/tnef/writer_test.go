package tnef_test

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"
	"unicode/utf16"

	"postroom/ingest/message/tnef"
)

// stream writes TNEF (MS-OXTNEF 2.1.3) for tests.
type stream struct{ b []byte }

func newStream() *stream {
	s := &stream{}
	s.b = binary.LittleEndian.AppendUint32(s.b, tnef.Signature)
	s.b = binary.LittleEndian.AppendUint16(s.b, 0x1234)
	return s
}

func (s *stream) attr(level tnef.Level, id tnef.AttributeID, data []byte) *stream {
	s.b = append(s.b, byte(level))
	s.b = binary.LittleEndian.AppendUint32(s.b, uint32(id))
	s.b = binary.LittleEndian.AppendUint32(s.b, uint32(len(data)))
	s.b = append(s.b, data...)
	var sum uint16
	for _, c := range data {
		sum += uint16(c)
	}
	s.b = binary.LittleEndian.AppendUint16(s.b, sum)
	return s
}

func (s *stream) msg(id tnef.AttributeID, data []byte) *stream {
	return s.attr(tnef.LevelMessage, id, data)
}
func (s *stream) att(id tnef.AttributeID, data []byte) *stream {
	return s.attr(tnef.LevelAttachment, id, data)
}
func (s *stream) codepage(cp uint32) *stream {
	return s.msg(tnef.AttOemCodepage, append(u32(cp), 0, 0, 0, 0))
}
func (s *stream) props(ps ...prop) *stream { return s.msg(tnef.AttMsgProps, list(ps...)) }

func (s *stream) attachment(rend uint16, ps ...prop) *stream {
	s.att(tnef.AttAttachRendData, rendData(rend, -1, 0))
	return s.att(tnef.AttAttachment, list(ps...))
}

func u16(v uint16) []byte { return binary.LittleEndian.AppendUint16(nil, v) }
func u32(v uint32) []byte { return binary.LittleEndian.AppendUint32(nil, v) }
func u64(v uint64) []byte { return binary.LittleEndian.AppendUint64(nil, v) }
func z(s string) []byte   { return append([]byte(s), 0) }

func wide(s string) (b []byte) {
	for _, u := range utf16.Encode([]rune(s + "\x00")) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}

func rendData(kind uint16, position int32, flags uint32) []byte {
	b := u16(kind)
	b = append(b, u32(uint32(position))...)
	b = append(b, 0, 0, 0, 0)
	return append(b, u32(flags)...)
}

func dtr(t time.Time) (b []byte) {
	for _, n := range []int{t.Year(), int(t.Month()), t.Day(), t.Hour(), t.Minute(), t.Second(), int(t.Weekday())} {
		b = append(b, u16(uint16(n))...)
	}
	return b
}

func fileTime(t time.Time) []byte { return u64(uint64(t.Unix()+11644473600) * 1e7) }

// prop is a property to write: variable and multiple ones with all their values.
type prop struct {
	tag    tnef.Tag
	name   *tnef.Name
	iid    *tnef.GUID
	values [][]byte
}

func p(tag tnef.Tag, values ...[]byte) prop { return prop{tag: tag, values: values} }

func pad(b []byte) []byte {
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

func (p prop) append(b []byte) []byte {
	b = append(b, u32(uint32(p.tag))...)
	if p.name != nil {
		b = append(b, p.name.Set[:]...)
		if p.name.Text == "" {
			b = append(append(b, u32(0)...), u32(p.name.ID)...)
		} else {
			text := wide(p.name.Text)
			b = append(append(b, u32(1)...), u32(uint32(len(text)))...)
			b = append(b, pad(text)...)
		}
	}
	variable := false
	switch p.tag.Type() &^ tnef.TypeMultiple {
	case tnef.TypeUnspecified, tnef.TypeObject, tnef.TypeString8, tnef.TypeString, tnef.TypeBinary:
		variable = true
	}
	if variable || p.tag.Type()&tnef.TypeMultiple != 0 {
		b = append(b, u32(uint32(len(p.values)))...)
	}
	for _, v := range p.values {
		if p.iid != nil {
			v = append(p.iid[:], v...)
		}
		if variable {
			b = append(b, u32(uint32(len(v)))...)
		}
		b = append(b, pad(bytes.Clone(v))...)
	}
	return b
}

func list(ps ...prop) []byte {
	b := u32(uint32(len(ps)))
	for _, p := range ps {
		b = p.append(b)
	}
	return b
}

func open(t *testing.T, b []byte) *tnef.Message {
	t.Helper()
	m, err := tnef.Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func is[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func noNotes(t *testing.T, m *tnef.Message) {
	t.Helper()
	for _, n := range m.Notes {
		t.Errorf("note: %s", n)
	}
}

func contents(t *testing.T, a *tnef.Attachment) string {
	t.Helper()
	b, err := a.Data().Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
