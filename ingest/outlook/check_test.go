package outlook_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"io"
	"sort"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"postroom/ingest/outlook/cfb"
)

// checked is a .msg file that was read with the rules of MS-OXMSG: every property
// as PATH/TAG and its value.
type checked struct {
	t      testing.TB
	names  map[uint16]string // of named properties
	values map[string]string
	raw    map[string][]byte
	order  []string
}

// readMsg reads a .msg file. Each rule that it breaks is an error of the test.
func readMsg(t testing.TB, b []byte) *checked {
	t.Helper()
	f, err := cfb.Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	for _, fault := range f.Faults {
		t.Error(fault)
	}
	if f.Root.Class != (cfb.CLSID{0x0B, 0x0D, 2, 0, 0, 0, 0, 0, 0xC0, 0, 0, 0, 0, 0, 0, 0x46}) {
		t.Errorf("the root has class %x", f.Root.Class)
	}
	c := &checked{t: t, values: map[string]string{}, raw: map[string][]byte{}}
	c.readNames(f.Root.Entry("__nameid_version1.0"))
	c.message(f.Root, "", 32)
	return c
}

func (c *checked) content(e *cfb.Entry) []byte {
	c.t.Helper()
	if e == nil {
		c.t.Fatal("a stream is missing")
	}
	r, err := e.Open()
	if err != nil {
		c.t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		c.t.Fatal(err)
	}
	return b
}

// readNames reads the mapping of named properties (MS-OXMSG 2.2.3).
func (c *checked) readNames(s *cfb.Entry) {
	c.names = map[uint16]string{}
	if s == nil {
		c.t.Fatal("there is no mapping of named properties")
	}
	le := binary.LittleEndian
	guids := c.content(s.Entry("__substg1.0_00020102"))
	entries := c.content(s.Entry("__substg1.0_00030102"))
	texts := c.content(s.Entry("__substg1.0_00040102"))
	listed := 0
	for i := 0; i+8 <= len(entries); i += 8 {
		v, kind, index := le.Uint32(entries[i:]), le.Uint16(entries[i+4:]), le.Uint16(entries[i+6:])
		if int(index) != i/8 {
			c.t.Errorf("named property %d has index %d", i/8, index)
		}
		set := fmt.Sprint(kind >> 1)
		if g := int(kind>>1) - 3; g >= 0 {
			set = hex.EncodeToString(guids[16*g : 16*g+4])
		}
		hash, name := v, fmt.Sprintf("%04X", v)
		if kind&1 != 0 {
			if v%4 != 0 {
				c.t.Errorf("the name of named property %d is at %d", i/8, v)
			}
			n := int(le.Uint32(texts[v:]))
			b := texts[v+4 : int(v)+4+n]
			hash = ^crc32.Update(0xFFFFFFFF, crc32.IEEETable, b)
			name = fromUTF16(b)
		}
		c.names[0x8000+index] = set + ":" + name
		bucket := c.content(s.Entry(fmt.Sprintf("__substg1.0_%04X0102", 0x1000+(hash^uint32(kind))%0x1F)))
		found := 0
		for j := 0; j+8 <= len(bucket); j += 8 {
			if le.Uint32(bucket[j:]) == hash && le.Uint16(bucket[j+4:]) == kind && le.Uint16(bucket[j+6:]) == index {
				found++
			}
		}
		if found != 1 {
			c.t.Errorf("named property %s is %d times in its bucket", name, found)
		}
	}
	for _, e := range s.Entries {
		if n, err := strconv.ParseUint(strings.TrimPrefix(e.Name, "__substg1.0_")[:4], 16, 16); err == nil && n >= 0x1000 {
			listed += int(e.Size / 8)
		}
	}
	if listed != len(c.names) {
		c.t.Errorf("%d entries in buckets for %d named properties", listed, len(c.names))
	}
}

func fromUTF16(b []byte) string {
	var units []uint16
	for i := 0; i+1 < len(b); i += 2 {
		units = append(units, binary.LittleEndian.Uint16(b[i:]))
	}
	return string(utf16.Decode(units))
}

func (c *checked) set(key, value string) {
	c.values[key] = value
	c.order = append(c.order, key)
}

// properties reads the stream of properties of an object (MS-OXMSG 2.4).
func (c *checked) properties(s *cfb.Entry, path string, header int) (head []byte) {
	le := binary.LittleEndian
	all := c.content(s.Entry("__properties_version1.0"))
	if len(all) < header || (len(all)-header)%16 != 0 {
		c.t.Fatalf("%s: %d bytes of properties", path, len(all))
	}
	seen, streams := map[uint16]bool{}, map[string]bool{"__properties_version1.0": true}
	for b := all[header:]; len(b) > 0; b = b[16:] {
		tag, flags, size := le.Uint32(b), le.Uint32(b[4:]), le.Uint32(b[8:])
		id, typ := uint16(tag>>16), uint16(tag)
		key := fmt.Sprintf("%s%08X", path, tag)
		if id >= 0x8000 {
			name, ok := c.names[id]
			if !ok {
				c.t.Errorf("%s has no name", key)
			}
			key = fmt.Sprintf("%s%s:%04X", path, name, typ)
		}
		if seen[id] {
			c.t.Errorf("%s is set twice", key)
		}
		seen[id] = true
		if flags&^7 != 0 || flags&2 == 0 {
			c.t.Errorf("%s has flags %x", key, flags)
		}
		stream := fmt.Sprintf("__substg1.0_%08X", tag)
		switch typ {
		case 0x0003:
			c.set(key, fmt.Sprint(int32(size)))
			continue
		case 0x000B:
			if le.Uint64(b[8:]) > 1 {
				c.t.Errorf("%s is %x", key, b[8:16])
			}
			c.set(key, fmt.Sprint(size != 0))
			continue
		case 0x0005:
			c.set(key, fmt.Sprint(le.Uint64(b[8:])))
			continue
		case 0x0040:
			ft := le.Uint64(b[8:])
			c.set(key, time.Unix(int64(ft/1e7)-11644473600, int64(ft%1e7)*100).UTC().Format(time.RFC3339))
			continue
		case 0x0002, 0x0004, 0x0006, 0x0007, 0x0014:
			c.set(key, fmt.Sprintf("%x", le.Uint64(b[8:])))
			continue
		case 0x000D:
			if le.Uint32(b[12:]) == 4 && size == 0xFFFFFFFF {
				// Data of another application.
				streams[stream] = true
				c.foreign(s.Entry(stream), key)
				continue
			}
			if size != 0xFFFFFFFF || le.Uint32(b[12:]) != 1 {
				c.t.Errorf("%s has size %x %x", key, size, le.Uint32(b[12:]))
			}
			sub := s.Entry(stream)
			streams[stream] = true
			if sub == nil || !sub.IsStorage() {
				c.t.Fatalf("%s has no storage", key)
			}
			c.message(sub, key+"/", 24)
			continue
		}
		streams[stream] = true
		v := c.content(s.Entry(stream))
		c.raw[key] = v
		switch typ {
		case 0x001F:
			text := fromUTF16(v)
			if int(size) != len(v)+2 || len(v)%2 != 0 || strings.ContainsAny(text, "\x00") {
				c.t.Errorf("%s has size %d for %d bytes, %q", key, size, len(v), text)
			}
			c.set(key, text)
		case 0x0048, 0x00FB, 0x1002, 0x1003, 0x1004, 0x1005, 0x1006, 0x1007, 0x1014, 0x1040, 0x1048, 0x0102:
			if int(size) != len(v) {
				c.t.Errorf("%s has size %d for %d bytes", key, size, len(v))
			}
			c.set(key, hex.EncodeToString(v))
		case 0x101F:
			var list []string
			for i := 0; i < len(v)/4; i++ {
				one := fmt.Sprintf("%s-%08X", stream, i)
				streams[one] = true
				w := c.content(s.Entry(one))
				if int(le.Uint32(v[4*i:])) != len(w) || !bytes.HasSuffix(w, []byte{0, 0}) {
					c.t.Errorf("%s: length %d of value %d of %d bytes", key, le.Uint32(v[4*i:]), i, len(w))
				}
				list = append(list, strings.TrimSuffix(fromUTF16(w), "\x00"))
			}
			c.set(key, strings.Join(list, "|"))
		case 0x1102:
			var list []string
			for i := 0; i < len(v)/8; i++ {
				one := fmt.Sprintf("%s-%08X", stream, i)
				streams[one] = true
				w := c.content(s.Entry(one))
				if int(le.Uint64(v[8*i:])) != len(w) {
					c.t.Errorf("%s: length %d of value %d of %d bytes", key, le.Uint64(v[8*i:]), i, len(w))
				}
				list = append(list, hex.EncodeToString(w))
			}
			c.set(key, strings.Join(list, "|"))
		default:
			c.t.Errorf("%s has a type that is not written", key)
		}
	}
	for _, e := range s.Entries {
		if !streams[e.Name] && !strings.HasPrefix(e.Name, "__recip_version1.0_#") && !strings.HasPrefix(e.Name, "__attach_version1.0_#") &&
			(e.Name != "__nameid_version1.0" || path != "") {
			c.t.Errorf("%s%s is of no property", path, e.Name)
		}
	}
	return all[:header]
}

// foreign takes the streams in a storage that is of another application.
func (c *checked) foreign(s *cfb.Entry, path string) {
	if s == nil || !s.IsStorage() {
		c.t.Fatalf("%s has no storage", path)
	}
	c.set(path+"/CLSID", hex.EncodeToString(s.Class[:]))
	for _, e := range s.Entries {
		if e.IsStorage() {
			c.foreign(e, path+"/"+e.Name)
			continue
		}
		c.raw[path+"/"+e.Name] = c.content(e)
		c.set(path+"/"+e.Name, fmt.Sprintf("%d bytes", e.Size))
	}
}

func (c *checked) message(s *cfb.Entry, path string, header int) {
	le := binary.LittleEndian
	head := c.properties(s, path, header)
	attachments := 0
	for i, kind := range []string{"recip", "attach"} {
		n := 0
		for {
			e := s.Entry(fmt.Sprintf("__%s_version1.0_#%08X", kind, n))
			if e == nil {
				break
			}
			in := fmt.Sprintf("%s%s%d/", path, kind, n)
			c.properties(e, in, 8)
			if i == 0 {
				c.need(in+"0C150003", in+"30000003")
			} else {
				c.need(in+"37050003", in+"0E210003", in+"370B0003")
				switch c.values[in+"37050003"] {
				case "1":
					c.need(in + "37010102")
				case "5":
					c.need(in + "3701000D/001A001F")
				case "6":
					c.need(in + "3701000D/CLSID")
				case "2", "3", "4", "7":
					c.need(in + "370D001F")
				default:
					c.t.Errorf("%s has method %s", in, c.values[in+"37050003"])
				}
			}
			n++
		}
		if int(le.Uint32(head[8+4*i:])) != n || int(le.Uint32(head[16+4*i:])) != n {
			c.t.Errorf("%s: the header is % x with %d of %s", path, head, n, kind)
		}
		attachments = n
	}
	c.need(path+"001A001F", path+"340D0003", path+"0E070003")
	flags, err := strconv.Atoi(c.values[path+"0E070003"])
	if err != nil || flags&8 != 0 || flags&0x10 != 0 != (attachments > 0) || c.values[path+"0E1B000B"] != fmt.Sprint(attachments > 0) {
		c.t.Errorf("%s: flags %d with %d attachments", path, flags, attachments)
	}
}

func (c *checked) need(keys ...string) {
	for _, k := range keys {
		if _, ok := c.values[k]; !ok {
			c.t.Errorf("%s is missing", k)
		}
	}
}

// dump returns all properties, a line each.
func (c *checked) dump() string {
	sort.Strings(c.order)
	var b strings.Builder
	for _, k := range c.order {
		fmt.Fprintf(&b, "%s %s\n", k, line(c.values[k]))
	}
	return b.String()
}

func line(s string) string {
	return strings.NewReplacer("\r", `\r`, "\n", `\n`, "\t", `\t`).Replace(s)
}
