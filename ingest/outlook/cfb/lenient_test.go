package cfb_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
	"unicode/utf16"

	"postroom/ingest/outlook/cfb"
)

func openLenient(t testing.TB, b []byte) *cfb.File {
	t.Helper()
	f, err := cfb.OpenLenient(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// version4 writes a file with sectors of 4096 bytes (MS-CFB 2.2) that holds the
// streams and storages of the tree. Siblings are a list.
func version4(root *tree) []byte {
	const size = 4096
	le := binary.LittleEndian
	var sectors [][]byte
	var fat []uint32
	chain := func(b []byte) uint32 {
		if len(b) == 0 {
			return endOfChain
		}
		start := uint32(len(fat))
		for part := range slices.Chunk(b, size) {
			sectors = append(sectors, append(bytes.Clone(part), make([]byte, size-len(part))...))
			fat = append(fat, uint32(len(fat)+1))
		}
		fat[len(fat)-1] = endOfChain
		return start
	}
	var entries [][]byte
	var mini []byte
	var miniFAT []uint32
	var add func(t *tree, kind byte) uint32
	add = func(t *tree, kind byte) uint32 {
		e := make([]byte, 128)
		id := uint32(len(entries))
		entries = append(entries, e)
		name := utf16.Encode([]rune(t.name))
		for i, u := range name {
			le.PutUint16(e[2*i:], u)
		}
		le.PutUint16(e[64:], uint16(2*len(name)+2))
		e[66], e[67] = kind, 1
		le.PutUint32(e[68:], noStream)
		le.PutUint32(e[72:], noStream)
		le.PutUint32(e[76:], noStream)
		copy(e[80:], t.class[:])
		next := noStream
		order := slices.Clone(t.entries)
		slices.SortFunc(order, func(a, b *tree) int {
			if c := len(utf16.Encode([]rune(a.name))) - len(utf16.Encode([]rune(b.name))); c != 0 {
				return c
			}
			return bytes.Compare([]byte(a.name), []byte(b.name))
		})
		for _, c := range slices.Backward(order) {
			kind := byte(2)
			if c.entries != nil {
				kind = 1
			}
			n := add(c, kind)
			le.PutUint32(entries[n][72:], next)
			next = n
		}
		le.PutUint32(e[76:], next)
		if kind != 2 {
			return id
		}
		start := endOfChain
		switch n := len(t.content); {
		case n == 0:
		case n < 4096:
			start = uint32(len(miniFAT))
			for part := range slices.Chunk(t.content, 64) {
				mini = append(append(mini, part...), make([]byte, 64-len(part))...)
				miniFAT = append(miniFAT, uint32(len(miniFAT)+1))
			}
			miniFAT[len(miniFAT)-1] = endOfChain
		default:
			start = chain(t.content)
		}
		le.PutUint32(e[116:], start)
		le.PutUint64(e[120:], uint64(len(t.content)))
		return id
	}
	add(&tree{name: "Root Entry", class: root.class, entries: root.entries}, 5)
	le.PutUint32(entries[0][116:], chain(mini))
	le.PutUint64(entries[0][120:], uint64(len(mini)))
	for len(entries)%(size/128) != 0 {
		e := make([]byte, 128)
		copy(e[68:], bytes.Repeat([]byte{0xFF}, 12))
		entries = append(entries, e)
	}
	table := func(list []uint32) (b []byte) {
		for _, v := range list {
			b = le.AppendUint32(b, v)
		}
		for len(b)%size != 0 {
			b = le.AppendUint32(b, freeSector)
		}
		return b
	}
	directory := chain(bytes.Join(entries, nil))
	mf := chain(table(miniFAT))
	h := make([]byte, size)
	copy(h, "\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")
	for at, v := range map[int]uint16{24: 0x3E, 26: 4, 28: 0xFFFE, 30: 12, 32: 6} {
		le.PutUint16(h[at:], v)
	}
	n := (len(fat) + size/4) / (size / 4) // with entries of its own
	for at, v := range map[int]uint32{40: uint32(len(entries) / (size / 128)), 44: uint32(n), 48: directory, 56: 4096, 60: mf, 64: uint32((len(miniFAT)*4 + size - 1) / size), 68: endOfChain} {
		le.PutUint32(h[at:], v)
	}
	for i := range 109 {
		v := freeSector
		if i < n {
			v = uint32(len(fat))
			fat = append(fat, 0xFFFFFFFD)
		}
		le.PutUint32(h[76+4*i:], v)
	}
	out := append(h, bytes.Join(sectors, nil)...)
	return append(out, table(fat)...)
}

func TestLenientReadsWhatIsWritten(t *testing.T) {
	for seed := range uint64(50) {
		want := randomTree(rand.New(rand.NewPCG(seed, 1)), "", 3)
		f := openLenient(t, encode(t, want))
		if len(f.Faults) > 0 {
			t.Errorf("seed %d: %q", seed, f.Faults)
		}
		compare(t, f.Root, want)
	}
	want := &tree{entries: []*tree{{name: "big", content: content(rand.New(rand.NewPCG(1, 1)), 16<<20)}, {name: "b", content: []byte("x")}}}
	compare(t, openLenient(t, encode(t, want)).Root, want) // with DIFAT
}

// TestVersion4 has both readers read files of version 4.
func TestVersion4(t *testing.T) {
	for seed := range uint64(20) {
		want := randomTree(rand.New(rand.NewPCG(seed, 4)), "", 2)
		b := version4(want)
		f, err := cfb.Open(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		compare(t, f.Root, want)
		f = openLenient(t, b)
		if len(f.Faults) > 0 {
			t.Errorf("seed %d: %q", seed, f.Faults)
		}
		compare(t, f.Root, want)
	}
}

// TestLenient breaks rules in a file all of which can be read all the same.
func TestLenient(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	want := &tree{entries: []*tree{
		{name: "big", content: content(r, 5000)},
		{name: "big2", content: content(r, 5000)},
		{name: "small", content: content(r, 100)},
		{name: "empty"},
		{name: "storage", entries: []*tree{{name: "in", content: []byte("x")}}},
	}}
	good := encode(t, want)
	le := binary.LittleEndian
	sector := func(n uint32) int { return int(n+1) * 512 }
	dir, fat := sector(le.Uint32(good[48:])), sector(le.Uint32(good[76:]))
	entry := func(i int) int { return dir + i*128 }
	put32 := func(at int, v uint32) func([]byte) []byte {
		return func(b []byte) []byte { le.PutUint32(b[at:], v); return b }
	}
	put16 := func(at int, v uint16) func([]byte) []byte {
		return func(b []byte) []byte { le.PutUint16(b[at:], v); return b }
	}
	sectors := len(good)/512 - 1
	for name, damage := range map[string]func([]byte) []byte{
		"class":                   put16(8, 1),
		"minor version":           put16(24, 0x3B),
		"major version":           put16(26, 4),
		"byte order":              put16(28, 0),
		"reserved":                put16(34, 1),
		"directory sectors":       put32(40, 9),
		"FAT sectors":             put32(44, 9),
		"transaction":             put32(52, 7),
		"cutoff":                  put32(56, 0),
		"mini FAT sectors":        put32(64, 9),
		"first DIFAT sector":      put32(68, freeSector),
		"DIFAT sectors":           put32(72, 9),
		"FAT marks itself":        put32(fat+4*(sectors-1), freeSector),
		"entry beyond the end":    put32(fat+4*sectors, 3),
		"colour":                  func(b []byte) []byte { b[entry(1)+67] = 9; return b },
		"root name":               put16(entry(0), 'r'),
		"another colour":          func(b []byte) []byte { b[entry(1)+67] ^= 1; return b },
		"size of a storage":       put32(entry(5)+120, 2),
		"time of a stream":        put16(entry(1)+100, 1),
		"large size":              put32(entry(1)+124, 1),
		"blank":                   put32(entry(7)+68, 0),
		"another entry":           func(b []byte) []byte { b[entry(7)+66] = 3; return b },
		"mini stream size":        func(b []byte) []byte { b[entry(0)+120]++; return b },
		"a chain that is longer":  put32(fat+4*9, endOfChain-2),
		"bytes after the end":     func(b []byte) []byte { return append(b, "more"...) },
		"child twice":             put32(entry(6)+68, 1),
		"an entry that is none":   put32(entry(6)+68, 77),
		"cut within the last one": func(b []byte) []byte { return b[:len(b)-400] },
	} {
		t.Run(name, func(t *testing.T) {
			b := damage(bytes.Clone(good))
			if bytes.Equal(b, good) {
				t.Fatal("nothing is broken")
			}
			compare(t, openLenient(t, b).Root, want)
		})
	}
}

// TestLenientDamage breaks what leaves a doubt: the stream that it is in cannot be
// opened, and those that are whole can.
func TestLenientDamage(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	good := encode(t, &tree{entries: []*tree{{name: "a", content: content(r, 5000)}, {name: "b", content: content(r, 5000)}, {name: "c", content: content(r, 200)}, {name: "d", content: content(r, 200)}}})
	le := binary.LittleEndian
	sector := func(n uint32) int { return int(n+1) * 512 }
	dir, fat, mini := sector(le.Uint32(good[48:])), sector(le.Uint32(good[76:])), sector(le.Uint32(good[60:]))
	for name, c := range map[string]struct {
		at    int
		value uint32
		bad   string
	}{
		"loop":                  {fat + 4*3, 0, "a"},
		"overlap":               {fat + 4*12, 2, "b"},
		"too short":             {fat + 4*3, endOfChain, "a"},
		"free":                  {fat + 4*3, freeSector, "a"},
		"beyond the end":        {fat + 4*3, 5000, "a"},
		"mini loop":             {mini + 4, 0, "c"},
		"mini overlap":          {dir + 4*128 + 116, 0, "d"},
		"mini beyond":           {dir + 4*128 + 116, 900, "d"},
		"larger than the file":  {dir + 2*128 + 120, 1 << 31, "b"},
		"larger than its chain": {dir + 2*128 + 120, 5600, "b"},
	} {
		t.Run(name, func(t *testing.T) {
			b := bytes.Clone(good)
			le.PutUint32(b[c.at:], c.value)
			f := openLenient(t, b)
			if len(f.Faults) == 0 {
				t.Error("no fault")
			}
			for _, e := range f.Root.Entries {
				_, err := e.Open()
				var format *cfb.FormatError
				if bad := errors.As(err, &format); bad != (e.Name == c.bad) {
					t.Errorf("%s: %v", e.Name, err)
				}
			}
		})
	}
	for _, c := range []struct {
		name   string
		damage func([]byte)
	}{
		{"signature", func(b []byte) { b[0] = 0 }},
		{"sectors", func(b []byte) { b[30] = 7 }},
		{"root", func(b []byte) { b[dir+66] = 1 }},
		{"directory", func(b []byte) { le.PutUint32(b[48:], 5000) }},
	} {
		b := bytes.Clone(good)
		c.damage(b)
		var format *cfb.FormatError
		if _, err := cfb.OpenLenient(bytes.NewReader(b), int64(len(b))); !errors.As(err, &format) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

var errRead = errors.New("cannot be read")

type broken struct {
	r  io.ReaderAt
	at int64
}

func (b broken) ReadAt(p []byte, off int64) (int, error) {
	if off <= b.at && b.at < off+int64(len(p)) {
		return 0, errRead
	}
	return b.r.ReadAt(p, off)
}

// TestLenientErrors: an error of the file is returned, not taken for damage.
func TestLenientErrors(t *testing.T) {
	b := encode(t, &tree{entries: []*tree{{name: "a", content: make([]byte, 5000)}, {name: "b", content: make([]byte, 100)}}})
	le := binary.LittleEndian
	for _, at := range []uint32{le.Uint32(b[48:]), le.Uint32(b[60:]), le.Uint32(b[76:])} {
		if _, err := cfb.OpenLenient(broken{bytes.NewReader(b), int64(at+1)*512 + 4}, int64(len(b))); !errors.Is(err, errRead) {
			t.Errorf("sector %d: %v", at, err)
		}
	}
}

// FuzzOpenLenient: any input is read or refused; what is read is no more than the
// input, and all that Open reads without a fault is the same.
func FuzzOpenLenient(f *testing.F) {
	r := rand.New(rand.NewPCG(9, 10))
	for _, of := range []*tree{{}, {entries: []*tree{
		{name: "small", content: content(r, 65)},
		{name: "storage", entries: []*tree{{name: "in", content: content(r, 1)}, {name: "b"}}},
		{name: "big", content: make([]byte, 4096)},
	}}} {
		f.Add(encode(f, of))
		f.Add(version4(of))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		file, err := cfb.OpenLenient(bytes.NewReader(b), int64(len(b)))
		strict, bad := cfb.Open(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			if bad == nil && len(strict.Faults) == 0 {
				t.Errorf("a file without a fault is refused: %v", err)
			}
			return
		}
		list := func(file *cfb.File) (out []string, total int64) {
			for todo := []*cfb.Entry{file.Root}; len(todo) > 0; {
				e := todo[len(todo)-1]
				todo = append(todo[:len(todo)-1], e.Entries...)
				if e.IsStorage() {
					out = append(out, e.Name)
					continue
				}
				c, err := e.Open()
				if err != nil {
					continue
				}
				content, err := io.ReadAll(c)
				total += int64(len(content))
				out = append(out, fmt.Sprintf("%s %x %v", e.Name, content, err))
			}
			return out, total
		}
		a, total := list(file)
		if total > int64(len(b)) {
			t.Errorf("%d bytes of content in %d", total, len(b))
		}
		if bad == nil && len(strict.Faults) == 0 {
			if s, _ := list(strict); !slices.Equal(a, s) {
				t.Errorf("read are\n%q\nand\n%q", a, s)
			}
		}
	})
}
