package cfb_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"

	"postroom/ingest/outlook/cfb"
)

// file is a file in memory.
type file struct{ b []byte }

func (f *file) WriteAt(p []byte, off int64) (int, error) {
	if end := int(off) + len(p); end > len(f.b) {
		f.b = slices.Grow(f.b, end-len(f.b))[:end]
	}
	return copy(f.b[off:], p), nil
}

// tree is what is written: a storage, or a stream if entries is nil.
type tree struct {
	name    string
	class   cfb.CLSID
	entries []*tree
	content []byte
	chunk   int // bytes of a Write; 0 for all at once
}

func write(t testing.TB, s *cfb.Storage, of *tree) {
	t.Helper()
	s.SetClass(of.class)
	for _, e := range of.entries {
		if e.entries != nil {
			sub, err := s.Storage(e.name)
			if err != nil {
				t.Fatal(err)
			}
			write(t, sub, e)
			continue
		}
		st, err := s.Stream(e.name)
		if err != nil {
			t.Fatal(err)
		}
		chunk := e.chunk
		if chunk == 0 {
			chunk = max(len(e.content), 1)
		}
		for part := range slices.Chunk(e.content, chunk) {
			if _, err := st.Write(part); err != nil {
				t.Fatal(err)
			}
		}
		if st.Size() != int64(len(e.content)) {
			t.Fatalf("%s has %d bytes, not %d", e.name, st.Size(), len(e.content))
		}
		if err := st.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func encode(t testing.TB, root *tree) []byte {
	t.Helper()
	f := &file{}
	w := cfb.NewWriter(f)
	write(t, w.Root(), root)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if w.Size() != int64(len(f.b)) {
		t.Fatalf("size %d, %d bytes were written", w.Size(), len(f.b))
	}
	return f.b
}

func open(t testing.TB, b []byte) *cfb.File {
	t.Helper()
	f, err := cfb.Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	for _, fault := range f.Faults {
		t.Error(fault)
	}
	return f
}

func compare(t testing.TB, e *cfb.Entry, want *tree) {
	t.Helper()
	if e.Class != want.class {
		t.Errorf("%s has class %x, not %x", want.name, e.Class, want.class)
	}
	if len(e.Entries) != len(want.entries) {
		t.Fatalf("%s has %d entries, not %d", want.name, len(e.Entries), len(want.entries))
	}
	for _, w := range want.entries {
		c := e.Entry(w.name)
		if c == nil || c.Name != w.name || c.IsStorage() != (w.entries != nil) {
			t.Fatalf("%s/%s: %+v", want.name, w.name, c)
		}
		if c.IsStorage() {
			compare(t, c, w)
			continue
		}
		r, err := c.Open()
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, w.content) {
			t.Errorf("%s/%s: %d bytes, not the %d that were written", want.name, w.name, len(got), len(w.content))
		}
	}
}

func content(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := 0; i < n; i += 8 {
		var v [8]byte
		binary.LittleEndian.PutUint64(v[:], r.Uint64())
		copy(b[i:], v[:])
	}
	return b
}

// sizes of streams at which something changes.
var sizes = []int{0, 1, 63, 64, 65, 127, 128, 511, 512, 513, 4032, 4095, 4096, 4097, 4607, 4608, 4609, 32768, 65535, 65536, 65537, 70000}

func randomTree(r *rand.Rand, name string, depth int) *tree {
	t := &tree{name: name, entries: []*tree{}}
	if r.IntN(2) == 0 {
		copy(t.class[:], content(r, 16))
	}
	taken := map[string]bool{}
	for range r.IntN(20) {
		n := 1 + r.IntN(cfb.MaxName)
		var b strings.Builder
		for b.Len() < n {
			b.WriteRune([]rune("abcXYZ019_. #-")[r.IntN(14)])
		}
		name := b.String()
		if r.IntN(4) == 0 && n > 2 {
			name = string([]rune("äÖжЯ日\U0001F600")[r.IntN(6)]) + name[:len(name)-2]
		}
		if k := strings.ToUpper(name); taken[k] {
			continue
		} else {
			taken[k] = true
		}
		if depth > 0 && r.IntN(4) == 0 {
			t.entries = append(t.entries, randomTree(r, name, depth-1))
			continue
		}
		size := sizes[r.IntN(len(sizes))]
		if r.IntN(3) == 0 {
			size = r.IntN(12000)
		}
		t.entries = append(t.entries, &tree{name: name, content: content(r, size), chunk: []int{0, 1 + r.IntN(5000)}[r.IntN(2)]})
	}
	return t
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	for seed := range uint64(50) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			want := randomTree(rand.New(rand.NewPCG(seed, 1)), "", 3)
			b := encode(t, want)
			compare(t, open(t, b).Root, want)
			if again := encode(t, want); !bytes.Equal(b, again) {
				t.Error("the same calls wrote other bytes")
			}
		})
	}
}

func TestSizes(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, a := range sizes {
		for _, b := range []int{0, 1, 64, 4095, 4096, 5000} {
			want := &tree{entries: []*tree{{name: "a", content: content(r, a)}, {name: "b", content: content(r, b)}, {name: "c", content: content(r, 1)}}}
			compare(t, open(t, encode(t, want)).Root, want)
		}
	}
	compare(t, open(t, encode(t, &tree{})).Root, &tree{})
}

func TestThousandsOfEntries(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for n := 1; n < 70; n++ {
		want := &tree{}
		for i := range n {
			want.entries = append(want.entries, &tree{name: fmt.Sprint(i)})
		}
		compare(t, open(t, encode(t, want)).Root, want)
	}
	want := &tree{}
	for i := range 6000 {
		want.entries = append(want.entries, &tree{name: fmt.Sprintf("__attach_%x", i*7919%6000), content: content(r, i%300)})
	}
	f := open(t, encode(t, want))
	for i, e := range f.Root.Entries[1:] {
		if a, b := f.Root.Entries[i].Name, e.Name; len(a) > len(b) || len(a) == len(b) && strings.ToUpper(a) >= strings.ToUpper(b) {
			t.Fatalf("%s before %s", a, b)
		}
	}
	compare(t, f.Root, want)
}

// TestDIFAT: beyond 109 FAT sectors (6.8 MiB) the rest is listed in sectors of
// its own (MS-CFB 2.5), one for each 127.
func TestDIFAT(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	random := content(r, 16<<20)
	for _, c := range []struct{ fat, difat uint32 }{{109, 0}, {110, 1}, {236, 1}, {237, 2}} {
		// As much as so many FAT sectors can have entries for: all sectors but
		// those of FAT, DIFAT, directory, mini stream and mini FAT. And one more.
		full := c.fat*128 - c.fat - c.difat - 3
		for _, sectors := range []uint32{full - 1, full, full + 1} {
			root := &tree{entries: []*tree{{name: "big", content: random[:sectors*512]}, {name: "small", content: random[:100]}}}
			b := encode(t, root)
			compare(t, open(t, b).Root, root)
			fat, difat := binary.LittleEndian.Uint32(b[44:]), binary.LittleEndian.Uint32(b[72:])
			if more := sectors > full; !more && (fat != c.fat || difat != c.difat) || more && fat != c.fat+1 {
				t.Errorf("%d FAT sectors and %d DIFAT sectors in a file with %d sectors of data, not %d and %d", fat, difat, sectors, c.fat, c.difat)
			}
		}
	}
}

// discard forgets what is written.
type discard struct{ end int64 }

func (d *discard) WriteAt(p []byte, off int64) (int, error) {
	d.end = max(d.end, off+int64(len(p)))
	return len(p), nil
}

func TestMemoryDoesNotGrowWithStreams(t *testing.T) {
	block := make([]byte, 32<<10)
	used := func(n int) uint64 {
		w := cfb.NewWriter(&discard{})
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		st, err := w.Root().Stream("big")
		if err != nil {
			t.Fatal(err)
		}
		for range n {
			if _, err := st.Write(block); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(st.Close(), w.Close()); err != nil {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		return after.TotalAlloc - before.TotalAlloc
	}
	if small, large := used(100), used(20_000); large > small+64<<10 {
		t.Errorf("%d bytes of memory for a stream of 3 MiB, %d for one of 640 MiB", small, large)
	}
}

func TestTooLarge(t *testing.T) {
	for _, size := range []int64{2 << 30, cfb.MaxSize - 4096} {
		d := &discard{}
		w := cfb.NewWriter(d)
		st, err := w.Root().Stream("big")
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.CopyN(st, zeros{}, size)
		if err == nil {
			err = st.Close()
		}
		if err == nil {
			err = w.Close() // the tables have no room
		}
		if !errors.Is(err, cfb.ErrTooLarge) {
			t.Errorf("%d bytes: %v", size, err)
		}
		if err := w.Close(); !errors.Is(err, cfb.ErrTooLarge) {
			t.Errorf("Close: %v", err)
		}
		if d.end > cfb.MaxSize {
			t.Errorf("%d bytes were written", d.end)
		}
	}

	// The largest file that is written is as large as may be.
	for limit := int64(100_000); limit < 102_000; limit += 512 {
		f := &file{}
		w := cfb.NewWriter(f)
		w.SetLimit(limit / 512 * 512)
		size := limit/512*512 - 3*512
		var err error
		if err = w.Root().Put("a", make([]byte, size-512)); err == nil {
			err = w.Close()
		}
		if err == nil && int64(len(f.b)) > limit {
			t.Errorf("%d bytes, the limit is %d", len(f.b), limit)
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestNames(t *testing.T) {
	w := cfb.NewWriter(&file{})
	root := w.Root()
	for _, bad := range []string{"", "a/b", `a\b`, "a:b", "a!b", "a\x00b", strings.Repeat("x", 32), strings.Repeat("\U0001F600", 16)} {
		if err := root.Put(bad, nil); !errors.Is(err, cfb.ErrName) {
			t.Errorf("stream %q: %v", bad, err)
		}
		if _, err := root.Storage(bad); !errors.Is(err, cfb.ErrName) {
			t.Errorf("storage %q: %v", bad, err)
		}
	}
	for _, name := range []string{strings.Repeat("x", 31), "Straße", "\x01CompObj"} {
		if err := root.Put(name, nil); err != nil {
			t.Error(err)
		}
	}
	if err := root.Put("STRAßE", nil); !errors.Is(err, cfb.ErrName) {
		t.Errorf("a name that differs only in case: %v", err)
	}
}

func TestOrderOfCalls(t *testing.T) {
	w := cfb.NewWriter(&file{})
	st, err := w.Root().Stream("a")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Root().Stream("b"); err == nil {
		t.Error("two streams can be open")
	}
	if err := w.Close(); err == nil {
		t.Error("the file can be closed while a stream is open")
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := st.Write([]byte("x")); err == nil {
		t.Error("a closed stream can be written")
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Root().Stream("b"); err == nil {
		t.Error("a closed file can be written")
	}
}

// failing is a file whose n-th write fails.
type failing struct {
	file
	n int
}

var errDisk = errors.New("disk full")

func (f *failing) WriteAt(p []byte, off int64) (int, error) {
	if f.n--; f.n == 0 {
		return 0, errDisk
	}
	return f.file.WriteAt(p, off)
}

func TestErrorsOfTheFile(t *testing.T) {
	for n := 1; ; n++ {
		f := &failing{n: n}
		w := cfb.NewWriter(f)
		put := w.Root().Put("a", make([]byte, 200<<10))
		if put == nil {
			put = w.Root().Put("b", make([]byte, 10))
		}
		closed := w.Close()
		if f.n > 0 {
			if put != nil || closed != nil {
				t.Fatal(put, closed)
			}
			if n < 4 {
				t.Errorf("only %d writes", n-1)
			}
			return
		}
		if !errors.Is(closed, errDisk) || put != nil && !errors.Is(put, errDisk) {
			t.Errorf("write %d failed: %v, %v", n, put, closed)
		}
	}
}

// TestFaults breaks each rule in a file that is as it has to be.
func TestFaults(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	good := encode(t, &tree{entries: []*tree{
		{name: "big", content: content(r, 5000)},
		{name: "big2", content: content(r, 5000)},
		{name: "small", content: content(r, 100)},
		{name: "empty"},
		{name: "storage", entries: []*tree{{name: "in", content: []byte("x")}}},
	}})
	le := binary.LittleEndian
	sector := func(n uint32) int { return int(n+1) * 512 }
	dir := sector(le.Uint32(good[48:]))
	fat := sector(le.Uint32(good[76:]))
	mini := sector(le.Uint32(good[60:]))
	entry := func(i int) int { return dir + i*128 }
	put32 := func(at int, v uint32) func([]byte) { return func(b []byte) { le.PutUint32(b[at:], v) } }
	put16 := func(at int, v uint16) func([]byte) { return func(b []byte) { le.PutUint16(b[at:], v) } }
	sectors := len(good)/512 - 1
	for _, c := range []struct {
		rule   string
		damage func([]byte)
		want   string
	}{
		{"2.2 signature", put16(0, 0), "signature"},
		{"2.2 class", put16(8, 1), "class identifier"},
		{"2.2 minor version", put16(24, 0x3B), "minor version"},
		{"2.2 major version", put16(26, 5), "version 5"},
		{"2.2 byte order", put16(28, 0xFEFF), "byte order"},
		{"2.2 sector shift", put16(30, 12), "version 3 with sectors"},
		{"2.2 mini sector shift", put16(32, 7), "mini stream"},
		{"2.2 reserved", put16(34, 1), "reserved"},
		{"2.2 directory sectors", put32(40, 1), "directory sectors"},
		{"2.2 FAT sectors", put32(44, 2), "FAT sectors"},
		{"2.2 transaction", put32(52, 1), "transaction"},
		{"2.2 cutoff", put32(56, 512), "mini stream"},
		{"2.2 mini FAT sectors", put32(64, 2), "mini FAT sectors"},
		{"2.2 first DIFAT sector", put32(68, freeSector), "first DIFAT"},
		{"2.2 DIFAT sectors", put32(72, 1), "DIFAT sectors"},
		{"2.3 FAT marks itself", put32(fat+4*(sectors-1), endOfChain), "FAT sector"},
		{"2.3 loop", put32(fat+4*3, 0), "used twice"},
		{"2.3 cross link", put32(fat+4*9, 12), "used twice"},
		{"2.3 too short", put32(fat+4*3, endOfChain), "bytes in"},
		{"2.3 free in a chain", put32(fat+4*3, freeSector), "ffffffff"},
		{"2.3 beyond the end", put32(fat+4*3, 5000), "of"},
		{"2.3 entry beyond the end", put32(fat+4*sectors, endOfChain), "not there"},
		{"2.4 mini loop", put32(mini, 0), "used twice"},
		{"2.4 mini leak", put32(mini+4*3, endOfChain), "is used: false"},
		{"2.6.1 type", func(b []byte) { b[entry(1)+66] = 3 }, "type 3"},
		{"2.6.1 colour", func(b []byte) { b[entry(1)+67] = 2 }, "colour 2"},
		{"2.6.1 name length", put16(entry(1)+64, 7), "name of 7 bytes"},
		{"2.6.1 name end", put16(entry(1)+62, 7), "does not end"},
		{"2.6.1 illegal character", put16(entry(1), '/'), "character 0x2f"},
		{"2.6.1 class of a stream", put16(entry(1)+80, 1), "class, state or times"},
		{"2.6.1 time of a stream", put16(entry(1)+100, 1), "class, state or times"},
		{"2.6.1 child of a stream", put32(entry(1)+76, 2), "has entries"},
		{"2.6.1 size of a storage", put32(entry(5)+120, 2), "storage"},
		{"2.6.1 large size", put32(entry(1)+124, 1), "32 bits"},
		{"2.6.2 root name", put16(entry(0), 'r'), "root entry is named"},
		{"2.6.2 root type", func(b []byte) { b[entry(0)+66] = 1 }, "root entry is missing"},
		{"2.6.2 root siblings", put32(entry(0)+68, 1), "has siblings"},
		{"2.6.2 root time", put32(entry(0)+100, 1), "creation time"},
		{"2.6.2 second root", func(b []byte) { b[entry(1)+66] = 5 }, "type 5"},
		{"2.6.3 blank", put32(entry(7)+68, 0), "not blank"},
		{"2.6.3 blank name", put32(entry(7), 'x'), "not blank"},
		{"2.6.4 order", put16(entry(3), 'a'), "out of order"},
		{"2.6.4 two places", put32(entry(6)+68, 1), "two places"},
		{"2.6.4 no entry", put32(entry(6)+68, 77), "is none"},
		{"2.6.4 free entry", put32(entry(6)+68, 7), "is none"},
		{"2.6.4 orphan", put32(entry(5)+76, noStream), "in no storage"},
		{"2.6.4 black height", func(b []byte) { b[entry(6)+67] = 0 }, "red root"},
		{"empty stream", put32(entry(4)+116, 0), "empty stream"},
		{"mini stream size", func(b []byte) { b[entry(0)+120]++ }, "mini stream has"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			b := bytes.Clone(good)
			c.damage(b)
			if bytes.Equal(b, good) {
				t.Fatal("nothing is broken")
			}
			f, err := cfb.Open(bytes.NewReader(b), int64(len(b)))
			said := fmt.Sprint(err)
			if f != nil {
				said += strings.Join(f.Faults, "\n")
			}
			if !strings.Contains(said, c.want) {
				t.Errorf("said is %q", said)
			}
		})
	}
	// A node of the deepest level that is black, one above it that is red.
	for i := 1; i <= 5; i++ {
		b := bytes.Clone(good)
		b[entry(i)+67] ^= 1
		if f, err := cfb.Open(bytes.NewReader(b), int64(len(b))); err != nil || len(f.Faults) == 0 {
			t.Errorf("entry %d has the other colour: %v, no fault", i, err)
		}
	}
	for _, n := range []int{0, 100, 511, 512, 1024, len(good) - 512, len(good) - 1} {
		if f, err := cfb.Open(bytes.NewReader(good[:n]), int64(n)); err == nil && len(f.Faults) == 0 {
			t.Errorf("%d bytes of the file have no fault", n)
		}
	}
}

const (
	freeSector uint32 = 0xFFFFFFFF
	endOfChain uint32 = 0xFFFFFFFE
	noStream   uint32 = 0xFFFFFFFF
)

// FuzzOpen: any input is read or refused, and what is listed can be read in time
// and memory that go with its size.
func FuzzOpen(f *testing.F) {
	r := rand.New(rand.NewPCG(9, 10))
	f.Add(encode(f, &tree{}))
	f.Add(encode(f, &tree{entries: []*tree{
		{name: "small", content: content(r, 65)},
		{name: "empty"},
		{name: "storage", entries: []*tree{{name: "in", content: content(r, 1)}, {name: "b"}}},
		{name: "big", content: make([]byte, 4096)},
	}}))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		file, err := cfb.Open(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		var total int64
		for todo := []*cfb.Entry{file.Root}; len(todo) > 0; {
			e := todo[len(todo)-1]
			todo = append(todo[:len(todo)-1], e.Entries...)
			if e.IsStorage() {
				continue
			}
			c, err := e.Open()
			if err != nil {
				continue
			}
			n, err := io.Copy(io.Discard, c)
			if total += n; err == nil && n != e.Size {
				t.Errorf("%d bytes of %d", n, e.Size)
			}
			if err != nil && len(file.Faults) == 0 {
				t.Errorf("no fault, but %v", err)
			}
		}
		if total > int64(len(b)) {
			t.Errorf("%d bytes of content in %d", total, len(b))
		}
	})
}

func BenchmarkWrite(b *testing.B) {
	for _, size := range []int{100, 22 << 20} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			block := make([]byte, size)
			b.SetBytes(int64(size))
			for b.Loop() {
				w := cfb.NewWriter(&discard{})
				for i := range 60 {
					if err := w.Root().Put(fmt.Sprint("s", i), block[:100]); err != nil {
						b.Fatal(err)
					}
				}
				if err := errors.Join(w.Root().Put("big", block), w.Close()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
