package cfb

import (
	"encoding/binary"
	"fmt"
	"io"
	"sort"
	"unicode/utf16"
)

// maxEntries is how many entries of a directory OpenLenient reads: 128 MiB of them.
const maxEntries = 1 << 20

// OpenLenient reads a compound file of that size that may break rules of MS-CFB,
// as those of old and of other programs do: as far as it says without doubt where
// something is, it is read. Faults list what is wrong, but not all that Open finds.
//
// No sector is used twice: of streams that overlap, or run in a circle, the first
// in the directory is whole, and Open of the others returns an error, as it does
// for one that is cut short. So all that can be read is no more than the file.
//
// The error is a *FormatError, or one of r. Memory goes with the number of entries
// and of fragments of streams, not with their size: the tables of a file are read
// as they are needed.
func OpenLenient(r io.ReaderAt, size int64) (*File, error) {
	if size < sectorSize {
		return nil, &FormatError{fmt.Sprintf("%d bytes are too few", size)}
	}
	h := make([]byte, sectorSize)
	if err := readAt(r, h, 0); err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	if string(h[:8]) != signature {
		return nil, &FormatError{"the signature is missing"}
	}
	shift := le.Uint16(h[30:])
	if shift != 9 && shift != 12 {
		return nil, &FormatError{fmt.Sprintf("sectors of 2^%d bytes", shift)}
	}
	l := &lenient{File: &File{r: r, sector: 1 << shift}, file: size}
	l.check(le.Uint16(h[26:]) == 3 && shift == 9 || le.Uint16(h[26:]) == 4 && shift == 12, "version %d with sectors of 2^%d bytes", le.Uint16(h[26:]), shift)
	l.check(le.Uint16(h[32:]) == 6 && le.Uint32(h[56:]) == cutoff, "sizes of the mini stream are none of MS-CFB")
	l.check(size%l.sector == 0, "the size is no multiple of %d", l.sector)
	sectors := max((size+l.sector-1)/l.sector-1, 0)
	if sectors > int64(maxRegular) {
		return nil, &FormatError{"too large"}
	}
	l.sectors = uint32(sectors)
	l.used = newBitset(l.sectors)
	if err := l.readFAT(h); err != nil {
		return nil, err
	}
	if err := l.readDirectory(le.Uint32(h[48:]), le.Uint16(h[26:]), le.Uint32(h[60:])); err != nil {
		return nil, err
	}
	return l.File, nil
}

// lenient is the state of OpenLenient.
type lenient struct {
	*File
	file     int64  // its size
	used     bitset // sectors
	table    *lazyTable
	ministr  *extents
	minis    uint32
	miniUsed bitset
	miniTab  *lazyTable
}

// bitset is a set of numbers.
type bitset []uint64

func newBitset(n uint32) bitset { return make(bitset, (int64(n)+63)/64) }

// add reports whether n was not in the set, in which it is from now on.
func (b bitset) add(n uint32) bool {
	if b[n/64]>>(n%64)&1 != 0 {
		return false
	}
	b[n/64] |= 1 << (n % 64)
	return true
}

// extents is the content of sectors in their order, kept as runs of sectors that
// lie beside each other.
type extents struct {
	r     io.ReaderAt
	first int64 // offset of sector 0
	size  int64 // of a sector
	runs  []extent
	total uint32 // sectors
}

// extent is a run that begins with the sector at, the index-th of the content.
type extent struct{ index, at uint32 }

func (e *extents) add(sector uint32) {
	if n := len(e.runs); n == 0 || sector != e.runs[n-1].at+(e.total-e.runs[n-1].index) {
		e.runs = append(e.runs, extent{e.total, sector})
	}
	e.total++
}

func (e *extents) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, &FormatError{"negative offset"}
	}
	if e.size == 0 || off >= int64(e.total)*e.size {
		if len(p) == 0 {
			return 0, nil
		}
		return 0, io.EOF
	}
	i := sort.Search(len(e.runs), func(i int) bool { return int64(e.runs[i].index)*e.size > off }) - 1
	for n < len(p) {
		if i == len(e.runs) {
			return n, io.EOF
		}
		end := e.total
		if i+1 < len(e.runs) {
			end = e.runs[i+1].index
		}
		run := e.runs[i]
		within := off - int64(run.index)*e.size
		k := min(int64(len(p)-n), int64(end-run.index)*e.size-within)
		m, err := e.r.ReadAt(p[n:n+int(k)], e.first+int64(run.at)*e.size+within)
		n, off = n+m, off+int64(m)
		if int64(m) < k {
			if err == nil || err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return n, err
		}
		i++
	}
	return n, nil
}

// lazyTable is a FAT or mini FAT that is read as it is needed, a block at a time.
type lazyTable struct {
	src    *extents
	n      int64 // entries
	blocks [32]struct {
		index int64 // of the block, plus 1
		data  []byte
	}
}

// get returns an entry; freeSector if there is none.
func (t *lazyTable) get(i uint32) (uint32, error) {
	if int64(i) >= t.n {
		return freeSector, nil
	}
	block := int64(i) * 4 / t.src.size
	b := &t.blocks[block%int64(len(t.blocks))]
	if b.index != block+1 {
		if b.data == nil {
			b.data = make([]byte, t.src.size)
		}
		b.index = 0
		n, err := t.src.ReadAt(b.data, block*t.src.size)
		if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
			return 0, err
		}
		for j := n; j < len(b.data); j++ {
			b.data[j] = 0xFF // of a file that is cut short
		}
		b.index = block + 1
	}
	return binary.LittleEndian.Uint32(b.data[int64(i)*4-block*t.src.size:]), nil
}

func (l *lenient) newExtents() *extents {
	return &extents{r: l.r, first: l.sector, size: l.sector}
}

func (l *lenient) readFAT(h []byte) error {
	le := binary.LittleEndian
	list := l.newExtents()
	each := uint32(l.sector / 4)
	need := (l.sectors + each - 1) / each
	take := func(v uint32) bool {
		if list.total >= need || v == freeSector {
			return false
		}
		if v >= l.sectors || !l.used.add(v) {
			l.check(false, "FAT sector %08x of %d", v, l.sectors)
			return false
		}
		list.add(v)
		return true
	}
	more := true
	for i := 0; i < inHeader && more; i++ {
		more = take(le.Uint32(h[76+4*i:]))
	}
	for next := le.Uint32(h[68:]); more && next < l.sectors; {
		if !l.used.add(next) {
			l.check(false, "DIFAT sector %d is used twice", next)
			break
		}
		b, err := l.readSector(next)
		if err != nil {
			return err
		}
		for i := 0; i < len(b)-4 && more; i += 4 {
			more = take(le.Uint32(b[i:]))
		}
		next = le.Uint32(b[len(b)-4:])
	}
	l.check(list.total == need, "%d FAT sectors for %d sectors", list.total, l.sectors)
	l.table = &lazyTable{src: list, n: int64(list.total) * int64(each)}
	return nil
}

// follow returns at most that many sectors of a chain. With an error of type
// *FormatError it returns those before.
func (l *lenient) follow(start, most uint32, use string) (*extents, error) {
	e := l.newExtents()
	for s := start; s != endOfChain && e.total < most; {
		switch {
		case s >= l.sectors:
			return e, &FormatError{fmt.Sprintf("%s: sector %08x of %d", use, s, l.sectors)}
		case !l.used.add(s):
			return e, &FormatError{fmt.Sprintf("%s: sector %d is used twice", use, s)}
		}
		e.add(s)
		var err error
		if s, err = l.table.get(s); err != nil {
			return e, err
		}
	}
	return e, nil
}

func (l *lenient) followMini(start, most uint32, use string) (*extents, error) {
	e := &extents{r: l.ministr, size: miniSize}
	for s := start; s != endOfChain && e.total < most; {
		switch {
		case s >= l.minis:
			return e, &FormatError{fmt.Sprintf("%s: mini sector %08x of %d", use, s, l.minis)}
		case !l.miniUsed.add(s):
			return e, &FormatError{fmt.Sprintf("%s: mini sector %d is used twice", use, s)}
		}
		e.add(s)
		var err error
		if s, err = l.miniTab.get(s); err != nil {
			return e, err
		}
	}
	return e, nil
}

// all is follow for what has no size of its own; what is wrong is a fault.
func (l *lenient) all(start uint32, use string) (*extents, error) {
	e, err := l.follow(start, l.sectors, use)
	if f, ok := err.(*FormatError); ok {
		l.check(false, "%s", f.What)
		err = nil
	}
	return e, err
}

func (l *lenient) readDirectory(first uint32, major uint16, miniFirst uint32) error {
	c, err := l.all(first, "directory")
	if err != nil {
		return err
	}
	if int64(c.total)*l.sector/entrySize > maxEntries {
		return &FormatError{fmt.Sprintf("a directory of more than %d entries", maxEntries)}
	}
	nodes := make([]node, 0, int64(c.total)*l.sector/entrySize)
	b := make([]byte, l.sector)
	for i := range int64(c.total) {
		n, err := c.ReadAt(b, i*l.sector)
		if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
			return err
		}
		clear(b[n:])
		for e := b; len(e) >= entrySize; e = e[entrySize:] {
			nodes = append(nodes, l.node(len(nodes), e[:entrySize], major))
		}
	}
	if len(nodes) == 0 || nodes[0].kind != typeRoot {
		return &FormatError{"the root entry is missing"}
	}
	root := &nodes[0]
	l.ministr = l.newExtents()
	if root.size > 0 {
		if l.ministr, err = l.all(root.start, "mini stream"); err != nil {
			return err
		}
	}
	l.minis = uint32(min(int64(l.ministr.total)*l.sector/miniSize, int64(maxRegular)))
	l.miniUsed = newBitset(l.minis)
	src := l.newExtents()
	if l.minis > 0 {
		if src, err = l.all(miniFirst, "mini FAT"); err != nil {
			return err
		}
	}
	l.miniTab = &lazyTable{src: src, n: int64(src.total) * l.sector / 4}

	l.Root = root.entry
	root.seen = true
	for todo := []*node{root}; len(todo) > 0; {
		parent := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		l.children(nodes, parent, func(n *node) {
			parent.entry.Entries = append(parent.entry.Entries, n.entry)
			if n.kind == typeStorage {
				todo = append(todo, n)
			}
		})
	}
	for i := range nodes {
		if n := &nodes[i]; n.seen && n.kind == typeStream {
			if err := l.content(n); err != nil {
				return err
			}
		}
	}
	return nil
}

// node reads an entry of the directory; what is none is free.
func (l *lenient) node(i int, b []byte, major uint16) node {
	le := binary.LittleEndian
	n := node{
		kind: b[66], left: le.Uint32(b[68:]), right: le.Uint32(b[72:]), child: le.Uint32(b[76:]),
		start: le.Uint32(b[116:]), size: le.Uint64(b[120:]),
	}
	switch {
	case n.kind == typeFree:
		return node{}
	case n.kind != typeStorage && n.kind != typeStream && (n.kind != typeRoot || i > 0):
		l.check(false, "entry %d of the directory has type %d", i, n.kind)
		return node{}
	}
	length := int(le.Uint16(b[64:]))
	if length < 4 || length > 64 || length%2 != 0 {
		l.check(false, "entry %d of the directory has a name of %d bytes", i, length)
		length = 64
	}
	units := make([]uint16, 0, MaxName)
	for j := 0; j < length-2; j += 2 {
		u := le.Uint16(b[j:])
		if u == 0 {
			break
		}
		units = append(units, u)
	}
	if major == 3 {
		n.size &= 1<<32 - 1
	}
	n.entry = &Entry{Name: string(utf16.Decode(units)), key: keyOf(units), Class: CLSID(b[80:96]), storage: n.kind != typeStream}
	if n.kind == typeStream {
		n.entry.Size = int64(min(n.size, 1<<62))
	}
	return n
}

// children calls f with the entries of a storage, in the order of its tree as far
// as there is one.
func (l *lenient) children(nodes []node, parent *node, f func(*node)) {
	var stack []*node
	at := parent.child
	take := func() *node {
		if at == noStream {
			return nil
		}
		if int64(at) >= int64(len(nodes)) || nodes[at].entry == nil || nodes[at].seen {
			l.check(false, "%q has the entry %08x, which is none, or in two places", parent.entry.Name, at)
			return nil
		}
		nodes[at].seen = true
		return &nodes[at]
	}
	for {
		for n := take(); n != nil; n = take() {
			stack = append(stack, n)
			at = n.left
		}
		if len(stack) == 0 {
			return
		}
		n := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		f(n)
		at = n.right
	}
}

// content finds the sectors of a stream. The error is one of the file.
func (l *lenient) content(n *node) error {
	e := n.entry
	var c *extents
	var err error
	size := l.sector
	switch {
	case n.size == 0:
		return nil
	case n.size > uint64(l.file):
		err = &FormatError{fmt.Sprintf("stream %q has %d bytes in a file of %d", e.Name, n.size, l.file)}
	case n.size < cutoff:
		size = miniSize
		c, err = l.followMini(n.start, uint32((n.size+miniSize-1)/miniSize), e.Name)
	default:
		c, err = l.follow(n.start, uint32((int64(n.size)+size-1)/size), e.Name)
	}
	if err == nil && int64(c.total)*size < e.Size {
		err = &FormatError{fmt.Sprintf("stream %q has %d bytes in %d sectors", e.Name, n.size, c.total)}
	}
	if err != nil {
		f, ok := err.(*FormatError)
		if !ok {
			return err
		}
		e.err = f
		l.check(false, "%s", f.What)
		return nil
	}
	e.content = c
	return nil
}
