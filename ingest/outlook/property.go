package outlook

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"postroom/ingest/message/mapi"
	"postroom/ingest/message/tnef"
	"postroom/ingest/outlook/cfb"
)

// tag is the identifier of a property and its type (MS-OXCDATA 2.9, 2.11.1).
type tag uint32

func (t tag) id() uint16 { return uint16(t >> 16) }

const (
	typeInt32   = 0x0003
	typeDouble  = 0x0005
	typeBool    = 0x000B
	typeObject  = 0x000D
	typeString  = 0x001F
	typeTime    = 0x0040
	typeBinary  = 0x0102
	typeStrings = 0x101F

	typeBinaries = 0x1102
)

// guid is a GUID as it stands in a file (MS-DTYP 2.3.4.2).
type guid [16]byte

// Property sets (MS-OXPROPS 1.3.2).
var (
	psMAPI            = guid{0x28, 0x03, 0x02, 0, 0, 0, 0, 0, 0xC0, 0, 0, 0, 0, 0, 0, 0x46}
	psPublicStrings   = guid{0x29, 0x03, 0x02, 0, 0, 0, 0, 0, 0xC0, 0, 0, 0, 0, 0, 0, 0x46}
	psInternetHeaders = guid{0x86, 0x03, 0x02, 0, 0, 0, 0, 0, 0xC0, 0, 0, 0, 0, 0, 0, 0x46}
	psetidCommon      = guid{0x08, 0x20, 0x06, 0, 0, 0, 0, 0, 0xC0, 0, 0, 0, 0, 0, 0, 0x46}
	// {96357F7F-59E1-47D0-99A7-46515C183B54}
	psetidAttachment = guid{0x7F, 0x7F, 0x35, 0x96, 0xE1, 0x59, 0xD0, 0x47, 0x99, 0xA7, 0x46, 0x51, 0x5C, 0x18, 0x3B, 0x54}
	psetidTask       = guid{0x03, 0x20, 0x06, 0, 0, 0, 0, 0, 0xC0, 0, 0, 0, 0, 0, 0, 0x46}
)

// propertyName is the name of a named property: a number, or a text.
type propertyName struct {
	set  guid
	lid  uint32
	text string
}

// names maps the named properties of a file to their identifiers (MS-OXMSG 2.2.3).
type names struct {
	list  []propertyName
	index map[propertyName]uint16
	guids []guid
	full  bool   // there were more than maxNames
	wide  []byte // of the last text
	// fieldsFull is whether there were header fields past maxFieldNames.
	fieldsFull bool
}

// maxNames is how many named properties a file can have: identifiers are from
// 0x8000 to 0xFFFE.
const maxNames = 0x7FFF

// maxFieldNames is how many there may be for another header field to be one: there
// has to be room for what is in no header.
const maxFieldNames = maxNames - 4096

// room reports whether so many further named properties are possible.
func (n *names) room(more int) bool { return len(n.list)+more <= maxNames }

// id returns the identifier of a name, false if there are too many.
func (n *names) id(name propertyName) (uint16, bool) {
	if id, ok := n.index[name]; ok {
		return id, true
	}
	if name.set == psInternetHeaders && len(n.list) >= maxFieldNames {
		n.fieldsFull = true
		return 0, false
	}
	if !n.room(1) {
		n.full = true
		return 0, false
	}
	if n.index == nil {
		n.index = map[propertyName]uint16{}
	}
	id := uint16(0x8000 + len(n.list))
	n.list = append(n.list, name)
	n.index[name] = id
	if name.set != psMAPI && name.set != psPublicStrings && !slices.Contains(n.guids, name.set) {
		n.guids = append(n.guids, name.set)
	}
	return id, true
}

// write writes the storage that maps them.
func (n *names) write(root *cfb.Storage) error {
	s, err := root.Storage("__nameid_version1.0")
	if err != nil {
		return err
	}
	le := binary.LittleEndian
	var guids, entries, texts []byte
	for _, g := range n.guids {
		guids = append(guids, g[:]...)
	}
	buckets := map[uint16][]byte{}
	for i, name := range n.list {
		kind := uint16(3+slices.Index(n.guids, name.set)) << 1
		switch name.set {
		case psMAPI:
			kind = 1 << 1
		case psPublicStrings:
			kind = 2 << 1
		}
		value, hash := name.lid, name.lid
		if name.text != "" {
			kind |= 1
			b := mapi.AppendUTF16(nil, name.text)
			value, hash = uint32(len(texts)), checksum(b)
			texts = le.AppendUint32(texts, uint32(len(b)))
			texts = append(texts, b...)
			texts = append(texts, make([]byte, -len(b)&3)...)
		}
		entry := func(b []byte, v uint32) []byte {
			return le.AppendUint16(le.AppendUint16(le.AppendUint32(b, v), kind), uint16(i))
		}
		entries = entry(entries, value)
		bucket := uint16(0x1000 + (hash^uint32(kind))%0x1F)
		buckets[bucket] = entry(buckets[bucket], hash)
	}
	for _, st := range []struct {
		name  string
		bytes []byte
	}{{"00020102", guids}, {"00030102", entries}, {"00040102", texts}} {
		if err := s.Put("__substg1.0_"+st.name, st.bytes); err != nil {
			return err
		}
	}
	for b := uint16(0x1000); b < 0x101F; b++ {
		if len(buckets[b]) > 0 {
			if err := s.Put(fmt.Sprintf("__substg1.0_%04X0102", b), buckets[b]); err != nil {
				return err
			}
		}
	}
	return nil
}

// checksum is the CRC of a name (MS-OXMSG 2.2.3.2.2): that of MS-OXRTFCP 2.1.3.2,
// which begins with 0 and is not inverted.
func checksum(b []byte) uint32 { return ^crc32.Update(math.MaxUint32, crc32.IEEETable, b) }

// object is a message, recipient or attachment that is being written: a storage
// with a stream for each long value and one that lists the properties (MS-OXMSG
// 2.4). Its first error stays in err, after which nothing is done.
type object struct {
	names   *names
	at      *cfb.Storage
	entries [][16]byte
	have    map[uint16]bool
	// reserved are not set for now: what is to set them comes later.
	reserved map[uint16]bool
	err      error
}

func newObject(n *names, at *cfb.Storage) *object {
	const usual = 32 // properties
	return &object{names: n, at: at, have: make(map[uint16]bool, usual), entries: make([][16]byte, 0, usual)}
}

// readOnly reports whether a property is computed from others.
func (t tag) readOnly() bool {
	switch t {
	case pidTagHasAttachments, pidTagAccess, pidTagAccessLevel, pidTagStoreSupportMask, pidTagObjectType, pidTagAttachSize, pidTagAttachNumber:
		return true
	}
	return false
}

func (o *object) entry(t tag, value uint64) {
	if o.reserved[t.id()] {
		return
	}
	if o.have[t.id()] && o.err == nil {
		o.err = fmt.Errorf("property %08X is set twice", uint32(t))
	}
	o.have[t.id()] = true
	flags := uint32(6) // readable and writable
	if t.readOnly() {
		flags = 2
	}
	var e [16]byte
	binary.LittleEndian.PutUint32(e[:], uint32(t))
	binary.LittleEndian.PutUint32(e[4:], flags)
	binary.LittleEndian.PutUint64(e[8:], value)
	o.entries = append(o.entries, e)
}

func (o *object) int32(t tag, v int32) { o.entry(t, uint64(uint32(v))) }

func (o *object) bool(t tag, v bool) {
	n := uint64(0)
	if v {
		n = 1
	}
	o.entry(t, n)
}

// time sets a time; one that FILETIME has not is left out.
func (o *object) time(t tag, v time.Time) {
	if ft := mapi.FileTime(v); ft > 0 {
		o.entry(t, ft)
	}
}

// text sets a text that is not empty.
func (o *object) text(t tag, s string) {
	if s = strings.ReplaceAll(s, "\x00", ""); s != "" {
		o.textOrEmpty(t, s)
	}
}

// textOrEmpty sets a text. Outlook writes few that are empty.
func (o *object) textOrEmpty(t tag, s string) {
	b := mapi.AppendUTF16(o.names.wide[:0], strings.ReplaceAll(s, "\x00", ""))
	o.names.wide = b
	o.put(t, "", b)
	o.entry(t, uint64(len(b)+2)) // the size counts a terminator, which is not written
}

func (o *object) binary(t tag, b []byte) {
	o.put(t, "", b)
	o.entry(t, uint64(len(b)))
}

// texts sets a property of several texts (MS-OXMSG 2.1.4.2).
func (o *object) texts(t tag, list []string) {
	if len(list) == 0 {
		return
	}
	var lengths []byte
	for i, s := range list {
		b := append(mapi.AppendUTF16(nil, strings.ReplaceAll(s, "\x00", "")), 0, 0)
		lengths = binary.LittleEndian.AppendUint32(lengths, uint32(len(b)))
		o.put(t, fmt.Sprintf("-%08X", i), b)
	}
	o.put(t, "", lengths)
	o.entry(t, uint64(len(lengths)))
}

// binaries sets a property of several values of bytes (MS-OXMSG 2.1.4.2). The
// error is one of reading them.
func (o *object) binaries(t tag, list []tnef.Value) error {
	var lengths []byte
	for i, v := range list {
		b, err := v.Bytes()
		if err != nil {
			return err
		}
		lengths = binary.LittleEndian.AppendUint64(lengths, uint64(len(b)))
		o.put(t, fmt.Sprintf("-%08X", i), b)
	}
	o.put(t, "", lengths)
	o.entry(t, uint64(len(lengths)))
	return nil
}

// stream sets a property of type binary or text to what f writes, and returns its
// size in bytes. The memory it needs does not depend on that.
func (o *object) stream(t tag, f func(io.Writer) error) int64 {
	if o.err != nil {
		return 0
	}
	s, err := o.at.Stream(streamName(t))
	if err == nil {
		if err = f(s); err == nil {
			err = s.Close()
		}
	}
	if err != nil {
		o.err = err
		return 0
	}
	size := s.Size()
	if t&0xFFFF == typeString {
		size += 2
	}
	o.entry(t, uint64(size))
	return s.Size()
}

// storage sets a property to a storage, which it returns.
func (o *object) storage(t tag) *cfb.Storage {
	if o.err != nil {
		return nil
	}
	s, err := o.at.Storage(streamName(t))
	if err != nil {
		o.err = err
		return nil
	}
	// Size and, as what is stored is a message, 1 (MS-OXMSG 2.4.2.2).
	o.entry(t, 1<<32|math.MaxUint32)
	return s
}

// foreign sets a property to a storage that f fills, with the data of another
// application (MS-OXMSG 2.2.2.2).
func (o *object) foreign(t tag, f func(*cfb.Storage) error) {
	if o.err != nil {
		return
	}
	s, err := o.at.Storage(streamName(t))
	if err == nil {
		err = f(s)
	}
	if err != nil {
		o.err = err
		return
	}
	o.entry(t, 4<<32|math.MaxUint32)
}

// named returns the tag of a named property; false if there are too many.
func (o *object) named(name propertyName, typ uint16) (tag, bool) {
	id, ok := o.names.id(name)
	return tag(id)<<16 | tag(typ), ok
}

func (o *object) put(t tag, suffix string, b []byte) {
	if o.err == nil && !o.reserved[t.id()] {
		o.err = o.at.Put(streamName(t)+suffix, b)
	}
}

// finish writes the stream of properties with the header that belongs to it.
func (o *object) finish(header []byte) error {
	if o.err != nil {
		return o.err
	}
	slices.SortFunc(o.entries, func(a, b [16]byte) int {
		return int(int64(binary.LittleEndian.Uint32(a[:])) - int64(binary.LittleEndian.Uint32(b[:])))
	})
	header = slices.Grow(header, 16*len(o.entries))
	for _, e := range o.entries {
		header = append(header, e[:]...)
	}
	return o.at.Put("__properties_version1.0", header)
}

func streamName(t tag) string {
	const prefix, digits = "__substg1.0_", "0123456789ABCDEF"
	name := [len(prefix) + 8]byte([]byte(prefix + "00000000"))
	for i := range 8 {
		name[len(prefix)+i] = digits[t>>(28-4*i)&0xF]
	}
	return string(name[:])
}

// lineWriter writes UTF-8 as UTF-16LE with the line ends CR LF. NUL is left out.
type lineWriter struct {
	w       io.Writer
	buf     []byte
	rest    []byte // of a character that is cut off
	cr, any bool
	block   *[]byte // that buf is of
}

// lineBuffers are those of line writers that are not in use.
var lineBuffers = sync.Pool{New: func() any {
	b := make([]byte, 0, 8<<10)
	return &b
}}

func newLineWriter(w io.Writer) *lineWriter {
	block := lineBuffers.Get().(*[]byte)
	return &lineWriter{w: w, buf: *block, block: block}
}

func (l *lineWriter) Write(p []byte) (int, error) {
	n := len(p)
	if len(l.rest) > 0 {
		p = append(l.rest, p...)
		l.rest = nil
	}
	for len(p) > 0 {
		if cap(l.buf)-len(l.buf) < 8 {
			if err := l.flush(); err != nil {
				return 0, err
			}
		}
		if i := widen(l.buf[len(l.buf):cap(l.buf)], p); i > 0 {
			l.buf = l.buf[:len(l.buf)+2*i]
			l.cr = false
			p = p[i:]
			continue
		}
		if len(p) < utf8.UTFMax && !utf8.FullRune(p) {
			l.rest = append([]byte(nil), p...)
			break
		}
		r, size := utf8.DecodeRune(p)
		p = p[size:]
		if at := len(l.buf); r >= utf8.RuneSelf && r < 0x10000 {
			l.buf = l.buf[:at+2]
			l.buf[at], l.buf[at+1] = byte(r), byte(r>>8)
			l.cr = false
		} else {
			l.rune(r)
		}
	}
	return n, nil
}

// widen writes what p begins with as UTF-16LE, as far as there is room, and it is
// ASCII without control characters; it returns how many these are.
func widen(to, p []byte) int {
	const high, blanks = 0x8080808080808080, 0x2020202020202020
	le := binary.LittleEndian
	n := min(len(p), len(to)/2)
	i := 0
	for ; i+8 <= n; i += 8 {
		v := le.Uint64(p[i:])
		if (v|(v-blanks))&high != 0 { // one is not below 0x80, or one below the blank
			break
		}
		le.PutUint64(to[2*i:], spread(uint32(v)))
		le.PutUint64(to[2*i+8:], spread(uint32(v>>32)))
	}
	for ; i < n && p[i] >= ' ' && p[i] < utf8.RuneSelf; i++ {
		to[2*i], to[2*i+1] = p[i], 0
	}
	return i
}

// spread puts a zero after each byte.
func spread(v uint32) uint64 {
	w := uint64(v)
	w = (w | w<<16) & 0x0000FFFF0000FFFF
	return (w | w<<8) & 0x00FF00FF00FF00FF
}

func (l *lineWriter) rune(r rune) {
	switch {
	case r == 0 || r == '\n' && l.cr:
		l.cr = false
		return
	case r == '\r' || r == '\n':
		l.buf = append(l.buf, '\r', 0, '\n', 0)
	default:
		l.buf = mapi.AppendRune(l.buf, r)
	}
	l.cr = r == '\r'
}

func (l *lineWriter) flush() error {
	l.any = l.any || len(l.buf) > 0
	_, err := l.w.Write(l.buf)
	l.buf = l.buf[:0]
	return err
}

// end writes what is left, after which nothing may be written. A text that would be empty is a blank, as Outlook may
// not open a file with one that is (MS-OXMSG 2.1.3).
func (l *lineWriter) end() error {
	if len(l.rest) > 0 {
		l.rest = nil
		l.rune(utf8.RuneError)
	}
	if !l.any && len(l.buf) == 0 {
		l.rune(' ')
	}
	err := l.flush()
	*l.block = l.buf[:0]
	lineBuffers.Put(l.block)
	l.block, l.buf = nil, nil
	return err
}
