package outlook

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"postroom/ingest/message/mapi"
	"postroom/ingest/message/tnef/codepage"
	"postroom/ingest/outlook/cfb"
)

// ErrNotMessage is the error of Open for a compound file that holds no message,
// such as a document of Word.
var ErrNotMessage = errors.New("the file holds no Outlook message")

// File is a .msg file that is read (MS-OXMSG).
type File struct {
	r     io.ReaderAt
	size  int64
	root  *cfb.Entry
	names map[uint16]propertyName // of named properties, by identifier
	ids   map[propertyName]uint16 // texts in lower case
}

// Open reads the structure of a .msg file of that size: of Outlook of any version
// or of another program, in Unicode or in 8-bit text, in a compound file of
// version 3 or 4. What is written against the rules is read as far as it says
// without doubt what is meant.
//
// The error is ErrNotMessage, a *cfb.FormatError, or one of r, which must stay
// readable, and the same, while the File is used. Memory goes with the number of
// properties, recipients and attachments, not with their size.
func Open(r io.ReaderAt, size int64) (*File, error) {
	c, err := cfb.OpenLenient(r, size)
	if err != nil {
		return nil, fmt.Errorf("open .msg: %w", err)
	}
	f := &File{r: r, size: size, root: c.Root}
	if !isMessage(c.Root) {
		return nil, fmt.Errorf("open .msg: %w", ErrNotMessage)
	}
	if f.names, err = readNames(c.Root.Entry("__nameid_version1.0")); err != nil {
		return nil, fmt.Errorf("open .msg: named properties: %w", err)
	}
	f.ids = make(map[propertyName]uint16, len(f.names))
	for id, n := range f.names {
		n.text = strings.ToLower(n.text)
		if first, there := f.ids[n]; !there || id < first {
			f.ids[n] = id
		}
	}
	return f, nil
}

// isMessage reports whether a storage has properties in it.
func isMessage(e *cfb.Entry) bool {
	for _, c := range e.Entries {
		if c.IsStorage() {
			continue
		}
		if _, _, ok := streamTag(c.Name); ok || strings.EqualFold(c.Name, "__properties_version1.0") {
			return true
		}
	}
	return false
}

// streamTag reads the name of a stream or storage of a property, and whether it
// is one value of several.
func streamTag(name string) (t tag, value bool, ok bool) {
	const prefix = "__substg1.0_"
	if len(name) < len(prefix)+8 || !strings.EqualFold(name[:len(prefix)], prefix) {
		return 0, false, false
	}
	n, err := strconv.ParseUint(name[len(prefix):len(prefix)+8], 16, 32)
	return tag(n), len(name) > len(prefix)+8, err == nil
}

// readAll returns the content of a stream of at most limit bytes, nothing if there
// is none; cut reports that there is more.
func readAll(e *cfb.Entry, limit int64) (b []byte, cut bool, err error) {
	if e == nil {
		return nil, false, nil
	}
	r, err := e.Open()
	if err != nil {
		return nil, false, err
	}
	n := min(r.Size(), limit)
	b = make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, false, fmt.Errorf("stream %s: %w", e.Name, err)
	}
	return b, n < r.Size(), nil
}

// readNames reads the names of named properties (MS-OXMSG 2.2.3.1). The streams
// by which names are looked up (2.2.3.2) say nothing more, and some programs
// leave them out.
func readNames(s *cfb.Entry) (map[uint16]propertyName, error) {
	if s == nil || !s.IsStorage() {
		return nil, nil
	}
	var streams [3][]byte
	for i, name := range []string{"__substg1.0_00020102", "__substg1.0_00030102", "__substg1.0_00040102"} {
		b, _, err := readAll(s.Entry(name), 8<<20)
		if err != nil {
			return nil, err
		}
		streams[i] = b
	}
	guids, entries, texts := streams[0], streams[1], streams[2]
	le := binary.LittleEndian
	names := map[uint16]propertyName{}
	for ; len(entries) >= 8 && len(names) < maxNames; entries = entries[8:] {
		value, kind, index := le.Uint32(entries), le.Uint16(entries[4:]), le.Uint16(entries[6:])
		var name propertyName
		switch i := int(kind >> 1); {
		case i == 1:
			name.set = psMAPI
		case i == 2:
			name.set = psPublicStrings
		case i >= 3 && 16*(i-2) <= len(guids):
			name.set = guid(guids[16*(i-3):])
		default:
			continue
		}
		if kind&1 == 0 {
			name.lid = value
		} else {
			if int64(value)+4 > int64(len(texts)) {
				continue
			}
			b := texts[value+4:]
			n := le.Uint32(texts[value:])
			if int64(n) > int64(len(b)) || n > 1<<10 {
				continue
			}
			if name.text = decodeUTF16(b[:n]); name.text == "" {
				continue
			}
		}
		if index < maxNames {
			names[0x8000+index] = name
		}
	}
	return names, nil
}

// decodeUTF16 returns UTF-16LE as UTF-8, without NUL.
func decodeUTF16(b []byte) string { return strings.ReplaceAll(mapi.DecodeUTF16(b), "\x00", "") }

// Bounds of what is read of an object.
const (
	maxProperties = 1 << 16            // identifiers that there are
	maxString     = 64 << 10           // bytes of a text
	maxField      = 4 << 20            // bytes of one that becomes a header field which may be long
	maxHeaders    = 2*maxTransport + 2 // bytes of transport headers in UTF-16
)

// item is a message, recipient or attachment that is read. What of it is damaged
// is as if it were not there, what is too long is cut; both are told to damaged.
type item struct {
	f           *File
	entries     map[tag]*cfb.Entry // streams and storages of properties
	values      map[tag]uint64     // of fixed size
	at          *cfb.Entry
	recipients  []*cfb.Entry
	attachments []*cfb.Entry
	page        codepage.ID // of text in 8 bits
	utf8        bool        // which may be UTF-8 instead
	damaged     func(error)
}

// Sizes of the header of a stream of properties (MS-OXMSG 2.4.1).
const (
	headOfRoot     = 32
	headOfEmbedded = 24
	headOfOther    = 8
)

// newItem reads an object. The error is one of the file, or of the stream of
// properties.
func (f *File) newItem(e *cfb.Entry, head int, page codepage.ID, damaged func(error)) (*item, error) {
	it := &item{f: f, at: e, entries: map[tag]*cfb.Entry{}, values: map[tag]uint64{}, page: page, damaged: damaged}
	type numbered struct {
		n uint64
		e *cfb.Entry
	}
	var recipients, attachments []numbered
	for _, c := range e.Entries {
		if t, several, ok := streamTag(c.Name); ok {
			if _, there := it.entries[t]; !there && !several {
				it.entries[t] = c
			}
			continue
		}
		if !c.IsStorage() {
			continue
		}
		name := strings.ToLower(c.Name)
		for prefix, list := range map[string]*[]numbered{"__recip_version1.0_#": &recipients, "__attach_version1.0_#": &attachments} {
			if rest, ok := strings.CutPrefix(name, prefix); ok {
				n, err := strconv.ParseUint(rest, 16, 64)
				if err != nil {
					n = 1 << 63 // after the others
				}
				*list = append(*list, numbered{n, c})
			}
		}
	}
	for _, list := range []struct {
		from []numbered
		to   *[]*cfb.Entry
	}{{recipients, &it.recipients}, {attachments, &it.attachments}} {
		slices.SortStableFunc(list.from, func(a, b numbered) int {
			switch {
			case a.n < b.n:
				return -1
			case a.n > b.n:
				return 1
			}
			return 0
		})
		for _, n := range list.from {
			*list.to = append(*list.to, n.e)
		}
	}
	b, _, err := readAll(e.Entry("__properties_version1.0"), int64(head)+16*maxProperties)
	if err != nil {
		return nil, err
	}
	for b = b[min(head, len(b)):]; len(b) >= 16; b = b[16:] {
		t := tag(binary.LittleEndian.Uint32(b))
		if _, there := it.values[t]; !there {
			it.values[t] = binary.LittleEndian.Uint64(b[8:])
		}
	}
	if head != headOfOther {
		it.page = it.codePage(page)
	}
	return it, nil
}

const (
	pidTagMessageCodepage tag = 0x3FFD0003

	typeString8  = 0x001E
	typeStrings8 = 0x101E
)

// codePage is that of the texts in 8 bits (MS-OXCMSG 2.2.1.4): of Windows. The
// code page of Internet mail tells the script at least, and the locale the
// language.
func (it *item) codePage(above codepage.ID) codepage.ID {
	if v, ok := it.int32(pidTagMessageCodepage); ok && v > 0 && codepage.Known(codepage.ID(v)) && v != int32(codepage.UTF16LE) {
		return codepage.ID(v)
	}
	page, _ := it.int32(pidTagInternetCodepage)
	it.utf8 = page == utf8Page
	if p := windowsPages[page]; p != 0 {
		return p
	}
	if v, ok := it.int32(pidTagMessageLocaleID); ok {
		if p := localePages[v&0x3FF]; p != 0 {
			return p
		}
	}
	return above
}

// decode returns text in 8 bits.
func (it *item) decode(b []byte) string {
	page := it.page
	if it.utf8 && utf8.Valid(b) {
		page = codepage.UTF8
	}
	return codepage.DecodeLoose(page, b)
}

// windowsPages are the code pages of Windows for those of Internet mail that are
// of another script than that of Western Europe.
var windowsPages = map[int32]codepage.ID{
	874: 874, 932: 932, 936: 936, 949: 949, 950: 950, 1250: 1250, 1251: 1251, 1253: 1253, 1254: 1254, 1255: 1255, 1256: 1256, 1257: 1257, 1258: 1258,
	20866: 1251, 21866: 1251, 20932: 932, 20936: 936, 28592: 1250, 28595: 1251, 28596: 1256, 28597: 1253, 28598: 1255, 28599: 1254,
	28594: 1257, 28603: 1257, 38598: 1255, 50220: 932, 50221: 932, 50222: 932, 51932: 932, 50225: 949, 51949: 949, 51936: 936, 52936: 936, 54936: 936,
}

// localePages are the code pages of languages that are not written in that of
// Western Europe (MS-LCID 2.2).
var localePages = map[int32]codepage.ID{
	0x01: 1256, 0x02: 1251, 0x04: 950, 0x05: 1250, 0x08: 1253, 0x0D: 1255, 0x0E: 1250, 0x11: 932, 0x12: 949,
	0x15: 1250, 0x18: 1250, 0x19: 1251, 0x1A: 1250, 0x1B: 1250, 0x1E: 874, 0x1F: 1254, 0x22: 1251, 0x23: 1251,
	0x24: 1250, 0x25: 1257, 0x26: 1257, 0x27: 1257, 0x29: 1256, 0x2A: 1258, 0x2F: 1251,
}

func (it *item) int32(t tag) (int32, bool) {
	v, ok := it.values[t]
	return int32(uint32(v)), ok
}

func (it *item) bool(t tag) bool { return it.values[t]&0xFFFF != 0 }

// time returns a time, zero if there is none.
func (it *item) time(t tag) time.Time { return mapi.Time(it.values[t]) }

// string returns a text of at most limit bytes as it is stored, whichever of the
// types of text it is in.
func (it *item) string(t tag, limit int64) string {
	t &^= 0xFFFF
	wide := it.entries[t|typeString]
	e := wide
	if e == nil {
		e = it.entries[t|typeString8]
	}
	b, cut, err := readAll(e, limit)
	if err != nil {
		it.damaged(err)
		return ""
	}
	if cut {
		it.damaged(&cfb.FormatError{What: fmt.Sprintf("%s has more than %d bytes", e.Name, limit)})
	}
	if wide != nil {
		return decodeUTF16(b)
	}
	for len(b) > 0 && b[len(b)-1] == 0 {
		b = b[:len(b)-1]
	}
	return strings.ReplaceAll(it.decode(b), "\x00", "")
}

// line returns a text as one line.
func (it *item) line(t tag) string { return oneLine(it.string(t, maxString)) }

// field returns a text that becomes a header field as one line.
func (it *item) field(t tag) string { return oneLine(it.string(t, maxField)) }

// bytes returns a binary value of at most limit bytes, nothing if it is longer.
func (it *item) bytes(t tag, limit int64) []byte {
	b, cut, err := readAll(it.entries[t], limit)
	if err != nil {
		it.damaged(err)
		return nil
	}
	if cut {
		return nil
	}
	return b
}

// maxValues is how many values of a property are read.
const maxValues = 1000

// lines returns a property of several texts (MS-OXMSG 2.1.4.2), each as one line.
func (it *item) lines(t tag) (out []string) {
	t &^= 0xFFFF
	for _, typ := range []tag{typeStrings, typeStrings8} {
		e := it.entries[t|typ]
		if e == nil {
			continue
		}
		size := e.Size / 4
		for i := range min(size, maxValues) {
			b, _, err := readAll(it.at.Entry(fmt.Sprintf("%s-%08X", streamName(t|typ), i)), maxString)
			if err != nil {
				it.damaged(err)
				continue
			}
			s := ""
			if typ == typeStrings {
				s = decodeUTF16(b)
			} else {
				s = it.decode(b)
			}
			if s = oneLine(s); s != "" {
				out = append(out, s)
			}
		}
		return out
	}
	return nil
}

// named returns the tag of a named property without its type, 0 if the file has
// none of that name.
func (it *item) named(name propertyName) tag {
	name.text = strings.ToLower(name.text)
	return tag(it.f.ids[name]) << 16
}

func (it *item) namedLine(name propertyName) string {
	if t := it.named(name); t != 0 {
		return it.line(t)
	}
	return ""
}

// addressee is a person as MAPI knows one.
type addressee struct {
	name  string
	email string // an address of Internet mail; empty if there is none
	group string // that the address is in; empty if none
}

// person reads a group of properties (MS-OXCMAIL 2.1.3.1.1). Without a directory
// in which to look up what is no address of Internet mail, one that has been
// looked up before goes first.
func (it *item) person(g group) (a addressee) {
	a.name = it.line(g.name)
	kind, email := it.line(g.kind), it.line(g.email)
	a.email = it.line(g.smtp)
	if !isAddress(a.email) && (strings.EqualFold(kind, "SMTP") || kind == "") {
		a.email = email
	}
	if !isAddress(a.email) {
		b := it.bytes(g.entry, maxString)
		if one, ok := readOneOff(b, it.page); ok {
			if a.name == "" {
				a.name = one.name
			}
			a.email = one.email
		}
	}
	if !isAddress(a.email) {
		key := strings.TrimRight(string(it.bytes(g.search, maxString)), "\x00")
		if rest, ok := strings.CutPrefix(key, "SMTP:"); ok {
			a.email = strings.ToLower(rest)
		}
	}
	for _, s := range []string{email, a.name} { // whatever the type says
		if !isAddress(a.email) {
			a.email = strings.Trim(s, "'<>")
		}
	}
	if !isAddress(a.email) {
		a.email = ""
		if a.name == "" {
			a.name = oneLine(email)
		}
	}
	if strings.EqualFold(strings.Trim(a.name, `'"<>`), a.email) {
		a.name = ""
	}
	return a
}

// isAddress reports whether a text has the form of an address, local@domain.
func isAddress(s string) bool {
	at := strings.LastIndexByte(s, '@')
	if at <= 0 || at == len(s)-1 || len(s) > 900 || strings.ContainsAny(s[at:], " \t\r\n<>,;()\"\\") {
		return false
	}
	if local := s[:at]; len(local) > 2 && local[0] == '"' && local[len(local)-1] == '"' {
		return !strings.ContainsAny(local[1:len(local)-1], "\r\n\"\\")
	}
	return !strings.ContainsAny(s[:at], " \t\r\n<>,;()[]\"\\:")
}

// readOneOff reads the entry identifier of an address that is in no address book.
func readOneOff(b []byte, page codepage.ID) (a addressee, ok bool) {
	one, ok := mapi.ParseOneOff(b, page)
	if a.name = oneLine(one.Name); strings.EqualFold(oneLine(one.Type), "SMTP") || isAddress(oneLine(one.Address)) {
		a.email = oneLine(one.Address)
	}
	return a, ok
}

// readFlatEntries reads a FlatEntryList (MS-OXCDATA 2.3.3) of one-off entry
// identifiers; what is none is an empty addressee.
func readFlatEntries(b []byte, page codepage.ID) (out []addressee) {
	if len(b) < 8 {
		return nil
	}
	n := binary.LittleEndian.Uint32(b)
	b = b[8:]
	for range min(n, maxObjects) {
		if len(b) < 4 {
			break
		}
		size := int64(binary.LittleEndian.Uint32(b))
		if b = b[4:]; size > int64(len(b)) {
			break
		}
		a, _ := readOneOff(b[:size], page)
		out = append(out, a)
		b = b[min(int((size+3)&^3), len(b)):]
	}
	return out
}
