package tnef

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"postroom/ingest/message/mapi"
	"postroom/ingest/message/tnef/codepage"
)

// Type is the type of a property's values (MS-OXCDATA 2.11.1).
type Type uint16

const (
	TypeUnspecified Type = 0x0000
	TypeNull        Type = 0x0001
	TypeInteger16   Type = 0x0002
	TypeInteger32   Type = 0x0003
	TypeFloating32  Type = 0x0004
	TypeFloating64  Type = 0x0005
	TypeCurrency    Type = 0x0006
	TypeFloatTime   Type = 0x0007
	TypeErrorCode   Type = 0x000A
	TypeBoolean     Type = 0x000B
	TypeObject      Type = 0x000D
	TypeInteger64   Type = 0x0014
	TypeString8     Type = 0x001E
	TypeString      Type = 0x001F // UTF-16, little-endian
	TypeTime        Type = 0x0040 // 100 ns since 1601-01-01 UTC
	TypeGUID        Type = 0x0048
	TypeServerID    Type = 0x00FB
	TypeRestriction Type = 0x00FD
	TypeRuleAction  Type = 0x00FE
	TypeBinary      Type = 0x0102
	// TypeMultiple is the flag of several values (MS-OXCDATA 2.11.1).
	TypeMultiple Type = 0x1000
)

// size is what a value takes, without padding; variable when it says so itself.
func (t Type) size() (n int64, variable, ok bool) {
	switch t &^ TypeMultiple {
	case TypeNull:
		return 0, false, true
	case TypeInteger16, TypeBoolean:
		return 2, false, true
	case TypeInteger32, TypeFloating32, TypeErrorCode:
		return 4, false, true
	case TypeFloating64, TypeCurrency, TypeFloatTime, TypeInteger64, TypeTime:
		return 8, false, true
	case TypeGUID:
		return 16, false, true
	case TypeUnspecified, TypeObject, TypeString8, TypeString, TypeBinary, TypeServerID, TypeRestriction, TypeRuleAction:
		return 0, true, true
	}
	return 0, false, false
}

// A Tag is the identifier of a property in its upper 16 bits and the type of its
// values in the lower (MS-OXCDATA 2.9).
type Tag uint32

func (t Tag) ID() uint16     { return uint16(t >> 16) }
func (t Tag) Type() Type     { return Type(t) }
func (t Tag) String() string { return fmt.Sprintf("%#08x", uint32(t)) }

// A GUID as it stands in the stream: its first three fields are little-endian
// (MS-DTYP 2.3.4.2).
type GUID [16]byte

func (g GUID) String() string {
	return fmt.Sprintf("{%08X-%04X-%04X-%X-%X}", binary.LittleEndian.Uint32(g[:]), binary.LittleEndian.Uint16(g[4:]),
		binary.LittleEndian.Uint16(g[6:]), g[8:10], g[10:])
}

// Interfaces of values of TypeObject (MS-OXTNEF 2.1.3.4).
var (
	IIDMessage = GUID{0x07, 0x03, 0x02, 0, 0, 0, 0, 0, 0xC0, 0, 0, 0, 0, 0, 0, 0x46} // a TNEF stream
	IIDStorage = GUID{0x0B, 0, 0, 0, 0, 0, 0, 0, 0xC0, 0, 0, 0, 0, 0, 0, 0x46}       // a compound file (MS-CFB)
	IIDStream  = GUID{0x0C, 0, 0, 0, 0, 0, 0, 0, 0xC0, 0, 0, 0, 0, 0, 0, 0x46}       // bytes
)

// A Name names a property whose identifier, 0x8000 or above, means nothing
// outside of its message (MS-OXTNEF 2.1.3.4, NamedPropSpec).
type Name struct {
	Set GUID
	// ID is the name when Text is empty.
	ID   uint32
	Text string
}

// A Property is one encapsulated property (MS-OXTNEF 2.1.3.4), or one made of an
// attribute.
type Property struct {
	Tag  Tag
	Name *Name // of named properties
	// Values are one, unless the type is multiple; some writers give several all
	// the same, or none.
	Values []Value
	// From is the attribute that the property was made of, in the form that its
	// type asks for; 0 for an encapsulated property.
	From AttributeID
}

// Properties are in order of the stream; an identifier may occur twice.
type Properties []Property

// Get gives the property of that identifier, of whatever type: a Unicode one
// before an 8-bit one, an encapsulated one before one of an attribute. Named
// properties are found by Named. nil: there is none, or none with a value.
func (ps Properties) Get(tag Tag) *Property {
	var found *Property
	for i := range ps {
		p := &ps[i]
		if p.Tag.ID() != tag.ID() || p.Name != nil || len(p.Values) == 0 || p.Tag.Type() == TypeErrorCode {
			continue
		}
		if found == nil || p.Tag.Type() == TypeString && found.Tag.Type() != TypeString {
			found = p
		}
	}
	return found
}

// Named gives the property of that name: its text is compared without regard to
// case, as MAPI does for strings of internet headers.
func (ps Properties) Named(name Name) *Property {
	for i := range ps {
		n := ps[i].Name
		if n == nil || n.Set != name.Set || len(ps[i].Values) == 0 {
			continue
		}
		if n.Text != "" && strings.EqualFold(n.Text, name.Text) || n.Text == "" && name.Text == "" && n.ID == name.ID {
			return &ps[i]
		}
	}
	return nil
}

// A Value is a range of the stream, or bytes made of one.
type Value struct {
	// Interface is that of a TypeObject; its 16 bytes are not of the contents.
	Interface GUID
	// Missing is how many bytes the stream should have and does not.
	Missing int64

	r      io.ReaderAt
	off, n int64
}

func made(b []byte) Value { return Value{r: bytes.NewReader(b), n: int64(len(b))} }

// Size is the number of bytes, without padding.
func (v Value) Size() int64 { return v.n }

// Open gives the bytes as they stand. It may be called any number of times.
func (v Value) Open() *io.SectionReader {
	if v.r == nil {
		return io.NewSectionReader(bytes.NewReader(nil), 0, 0)
	}
	return io.NewSectionReader(v.r, v.off, v.n)
}

// Bytes reads all bytes, at most MaxBody, else ErrTooLarge.
func (v Value) Bytes() ([]byte, error) { return v.bytes(MaxBody) }

func (v Value) bytes(limit int64) ([]byte, error) {
	if v.n > limit {
		return nil, fmt.Errorf("%d bytes: %w", v.n, ErrTooLarge)
	}
	b := make([]byte, v.n)
	if _, err := io.ReadFull(v.Open(), b); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	return b, nil
}

// errType says that a property is of another type than was asked for.
var errType = errors.New("property is of another type")

// fixed reads the first value, which must be small.
func (p *Property) fixed() ([]byte, error) {
	if p == nil || len(p.Values) == 0 {
		return nil, errType
	}
	return p.Values[0].bytes(maxText)
}

// Int is the first value of an integer, a boolean or an error code.
func (p *Property) Int() (int64, error) {
	b, err := p.fixed()
	if err != nil {
		return 0, err
	}
	switch t := p.Tag.Type() &^ TypeMultiple; {
	case t == TypeInteger16 && len(b) >= 2:
		return int64(int16(binary.LittleEndian.Uint16(b))), nil
	case t == TypeBoolean && len(b) >= 2:
		if binary.LittleEndian.Uint16(b) != 0 {
			return 1, nil
		}
		return 0, nil
	case (t == TypeInteger32 || t == TypeErrorCode) && len(b) >= 4:
		return int64(int32(binary.LittleEndian.Uint32(b))), nil
	case (t == TypeInteger64 || t == TypeCurrency) && len(b) >= 8:
		return int64(binary.LittleEndian.Uint64(b)), nil
	}
	return 0, errType
}

// Time is the first value of a time, in UTC. The zero time: it has none, or is
// not before the year 10000.
func (p *Property) Time() (time.Time, error) {
	b, err := p.fixed()
	if err != nil {
		return time.Time{}, err
	}
	switch t := p.Tag.Type() &^ TypeMultiple; {
	case t == TypeTime && len(b) >= 8:
		return mapi.Time(binary.LittleEndian.Uint64(b)), nil
	case t == TypeFloatTime && len(b) >= 8:
		// Days since 1899-12-30 (MS-OXCDATA 2.11.1).
		days := math.Float64frombits(binary.LittleEndian.Uint64(b))
		if !(days > -600000 && days < 2900000) {
			return time.Time{}, nil
		}
		whole := math.Floor(days)
		day := time.Date(1899, 12, 30, 0, 0, 0, 0, time.UTC).AddDate(0, 0, int(whole))
		return day.Add(time.Duration((days - whole) * float64(24*time.Hour))).Round(time.Millisecond), nil
	}
	return time.Time{}, errType
}

// Text is the first value of a string in UTF-8, up to its terminating NUL; cp is
// the code page of 8-bit strings, Message.CodePage mostly.
func (p *Property) Text(cp codepage.ID) (string, error) {
	s, err := p.text(cp, maxText)
	if i := strings.IndexByte(s, 0); i >= 0 {
		s = s[:i]
	}
	return s, err
}

// text is Text with all of its NULs but the last ones.
func (p *Property) text(cp codepage.ID, limit int64) (string, error) {
	if p == nil || len(p.Values) == 0 {
		return "", errType
	}
	b, err := p.Values[0].bytes(limit)
	if err != nil {
		return "", err
	}
	switch p.Tag.Type() &^ TypeMultiple {
	case TypeString:
		return strings.TrimRight(mapi.DecodeUTF16(b), "\x00"), nil
	case TypeString8:
		return codepage.DecodeLoose(cp, bytes.TrimRight(b, "\x00")), nil
	}
	return "", errType
}

// Texts are all values of a string, each as Text.
func (p *Property) Texts(cp codepage.ID) (list []string, err error) {
	for _, v := range p.Values {
		one := Property{Tag: p.Tag, Values: []Value{v}}
		s, err := one.Text(cp)
		if err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	return list, nil
}

// OpenText is Text for a string of any length, as a stream. NULs at its end are
// left in it.
func (p *Property) OpenText(cp codepage.ID) (io.Reader, error) {
	if p == nil || len(p.Values) == 0 {
		return nil, errType
	}
	if p.Values[0].n <= maxText {
		s, err := p.text(cp, maxText)
		return strings.NewReader(s), err
	}
	switch p.Tag.Type() &^ TypeMultiple {
	case TypeString:
		return codepage.NewReader(codepage.UTF16LE, p.Values[0].Open()), nil
	case TypeString8:
		return codepage.NewReader(cp, p.Values[0].Open()), nil
	}
	return nil, errType
}

// properties reads the list of properties at off, which ends before end
// (MS-OXTNEF 2.1.3.4, MsgPropertyList), and gives where it ends. Damage is noted
// and ends the list, unless short says that the damage is known; the error is one
// of the reader.
func (d *decoder) properties(off, end int64, short bool) (ps Properties, next int64, err error) {
	l := list{d: d, off: off, end: end}
	count := l.uint32("a count of properties")
	for i := uint32(0); i < count && l.err == nil; i++ {
		if d.props >= maxProperties {
			l.fail("there are more than %d properties", maxProperties)
			break
		}
		d.props++
		p := l.property()
		if l.err == nil || len(p.Values) > 0 {
			ps = append(ps, p)
		}
	}
	var damage *FormatError
	if errors.As(l.err, &damage) {
		d.broken(damage.Offset, "%s", damage.What)
		return ps, end, nil
	}
	return ps, l.off, l.err
}

// A list is a cursor over properties. Its first error is kept and ends it.
type list struct {
	d        *decoder
	off, end int64
	err      error
}

func (l *list) fail(format string, args ...any) {
	if l.err == nil {
		l.err = &FormatError{l.off, fmt.Sprintf(format, args...)}
	}
}

func (l *list) need(n int64, what string) bool {
	if l.err == nil && n > l.end-l.off {
		l.fail("%s goes %d bytes past the end of its attribute", what, n-(l.end-l.off))
	}
	return l.err == nil
}

// take gives n bytes; they are good until the next call.
func (l *list) take(n int64, what string) []byte {
	if !l.need(n, what) {
		return nil
	}
	b, err := l.d.w.bytes(l.off, n)
	if err != nil {
		l.err = err
		return nil
	}
	l.off += n
	return b
}

func (l *list) uint32(what string) uint32 {
	if b := l.take(4, what); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

// pad passes over what fills n bytes up to a multiple of four. The last value of
// a list may lack it.
func (l *list) pad(n int64) {
	if l.err == nil {
		l.off = min(l.off+(4-n%4)%4, l.end)
	}
}

func (l *list) property() Property {
	p := Property{Tag: Tag(l.uint32("a property"))}
	if l.err == nil && p.Tag.ID() >= 0x8000 {
		p.Name = l.name()
	}
	size, variable, ok := p.Tag.Type().size()
	if l.err == nil && !ok {
		l.fail("the type of property %v is unknown", p.Tag)
	}
	count := uint32(1)
	if variable || p.Tag.Type()&TypeMultiple != 0 {
		count = l.uint32("a count of values")
	}
	if ok && !variable && size == 0 {
		count = min(count, 1) // null takes no bytes, however often
	}
	for i := uint32(0); i < count && l.err == nil; i++ {
		if l.d.values >= maxValues {
			l.fail("there are more than %d values", maxValues)
			break
		}
		l.d.values++
		n := size
		if variable {
			n = int64(l.uint32("a length"))
		}
		if l.err != nil {
			break
		}
		v := Value{r: l.d.w.r, off: l.off, n: min(n, l.end-l.off)}
		v.Missing = n - v.n
		if p.Tag.Type()&^TypeMultiple == TypeObject && v.n >= 16 {
			if b := l.take(16, "an interface"); b != nil {
				copy(v.Interface[:], b)
			}
			v.off, v.n = l.off, v.n-16
		}
		if v.Missing == 0 {
			l.off = v.off + v.n
		} else if variable && v.n > 0 {
			p.Values = append(p.Values, v) // what there is of it
		}
		if v.Missing > 0 {
			l.fail("property %v goes %d bytes past the end of its attribute", p.Tag, v.Missing)
			break
		}
		l.pad(n)
		p.Values = append(p.Values, v)
	}
	return p
}

// name reads a NamedPropSpec.
func (l *list) name() *Name {
	n := &Name{}
	copy(n.Set[:], l.take(16, "the set of a named property"))
	switch kind := l.uint32("the kind of a name"); {
	case l.err != nil:
	case kind == 0:
		n.ID = l.uint32("a name")
	case kind == 1:
		size := int64(l.uint32("the length of a name"))
		if size > maxName {
			l.fail("a name has %d bytes", size)
			break
		}
		b := l.take(size, "a name")
		n.Text, _, _ = strings.Cut(mapi.DecodeUTF16(b), "\x00")
		l.pad(size)
	default:
		l.fail("a name of kind %d is unknown", kind)
	}
	return n
}

// unhex reads what attMessageID and its like hold: binary as hexadecimal text.
func unhex(b []byte) []byte {
	b = bytes.TrimRight(b, "\x00")
	out := make([]byte, hex.DecodedLen(len(b)))
	n, err := hex.Decode(out, b)
	if err != nil {
		return nil
	}
	return out[:n]
}
