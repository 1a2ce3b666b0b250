package cfb

import (
	"encoding/binary"
	"fmt"
	"io"
	"unicode/utf16"
)

// FormatError says why a file cannot be read.
type FormatError struct{ What string }

func (e *FormatError) Error() string { return "compound file: " + e.What }

// File is a compound file that is read.
type File struct {
	Root *Entry
	// Faults are the rules of MS-CFB that the file breaks, a line each; none if
	// it is as it has to be. What is listed here has not kept Open from reading
	// the file, but may have kept it from reading an entry: its Open says so.
	Faults []string

	r         io.ReaderAt
	sector    int64 // size in bytes
	sectors   uint32
	fat       []uint32
	owned     []bool // sectors that something was found to be in
	mini      *chain
	miniFAT   []uint32
	miniOwned []bool
}

// Entry is a storage or stream of a file.
type Entry struct {
	Name  string
	Class CLSID
	// Entries are those in a storage, in the order of the directory.
	Entries []*Entry
	Size    int64 // of a stream, in bytes

	key     key
	storage bool
	content io.ReaderAt // nil if it is empty
	err     error
}

// maxFaults is how many faults are listed.
const maxFaults = 100

// IsStorage reports whether the entry is a storage.
func (e *Entry) IsStorage() bool { return e.storage }

// Entry returns the entry of that name in a storage, nil if there is none.
func (e *Entry) Entry(name string) *Entry {
	k := keyOf(utf16.Encode([]rune(name)))
	for _, c := range e.Entries {
		if c.key == k {
			return c
		}
	}
	return nil
}

// Open returns the content of a stream. The error is a *FormatError: its sectors
// cannot be followed.
func (e *Entry) Open() (*io.SectionReader, error) {
	switch {
	case e.storage:
		return nil, &FormatError{fmt.Sprintf("%s is a storage", e.Name)}
	case e.err != nil:
		return nil, e.err
	case e.content == nil:
		return io.NewSectionReader(&chain{}, 0, 0), nil
	}
	return io.NewSectionReader(e.content, 0, e.Size), nil
}

// chain is the content of sectors in their order.
type chain struct {
	r       io.ReaderAt
	first   int64 // offset of sector 0
	size    int64 // of a sector
	sectors []uint32
}

// ReadAt reads across sectors, as many at once as lie beside each other.
func (c *chain) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, &FormatError{"negative offset"}
	}
	for n < len(p) {
		i := off / c.size
		if c.size == 0 || i >= int64(len(c.sectors)) {
			return n, io.EOF
		}
		j := i + 1
		for j < int64(len(c.sectors)) && c.sectors[j] == c.sectors[j-1]+1 && (j-i)*c.size < int64(len(p)-n)+c.size {
			j++
		}
		within := off - i*c.size
		k := min(int64(len(p)-n), (j-i)*c.size-within)
		m, err := c.r.ReadAt(p[n:n+int(k)], c.first+int64(c.sectors[i])*c.size+within)
		n, off = n+m, off+int64(m)
		if int64(m) < k {
			if err == nil || err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return n, err
		}
	}
	return n, nil
}

// Open reads the structure of a compound file of that size. The error is a
// *FormatError, or one of r. Its memory and time are bounded by the size.
func Open(r io.ReaderAt, size int64) (*File, error) {
	f := &File{r: r}
	h := make([]byte, sectorSize)
	if size < sectorSize {
		return nil, &FormatError{fmt.Sprintf("%d bytes are too few", size)}
	}
	if err := readAt(r, h, 0); err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	if string(h[:8]) != signature {
		return nil, &FormatError{"the signature is missing"}
	}
	major := le.Uint16(h[26:])
	switch shift := le.Uint16(h[30:]); {
	case major == 3 && shift == 9, major == 4 && shift == 12:
		f.sector = 1 << shift
	default:
		return nil, &FormatError{fmt.Sprintf("version %d with sectors of 2^%d bytes", major, shift)}
	}
	if le.Uint16(h[32:]) != 6 || le.Uint32(h[56:]) != cutoff {
		return nil, &FormatError{"sizes of the mini stream are none of MS-CFB"}
	}
	if (size-1)/f.sector > int64(maxRegular) {
		return nil, &FormatError{"too large"}
	}
	f.sectors = uint32((size+f.sector-1)/f.sector - 1)
	f.check(CLSID(h[8:24]) == CLSID{}, "the header has a class identifier")
	f.check(le.Uint16(h[24:]) == 0x3E, "minor version %#x, not 0x3e", le.Uint16(h[24:]))
	f.check(le.Uint16(h[28:]) == 0xFFFE, "byte order %#x", le.Uint16(h[28:]))
	f.check([6]byte(h[34:40]) == [6]byte{}, "reserved bytes of the header are not 0")
	f.check(le.Uint32(h[52:]) == 0, "transaction signature %d", le.Uint32(h[52:]))
	f.check(size%f.sector == 0, "the size is no multiple of %d", f.sector)
	f.check(major == 4 || size <= 1<<31, "a file of version 3 with more than 2 GiB")
	if major == 4 {
		rest := make([]byte, min(f.sector, size)-sectorSize)
		if err := readAt(r, rest, sectorSize); err != nil {
			return nil, err
		}
		f.check(allZero(rest), "what is after the header is not 0")
	}
	f.owned = make([]bool, f.sectors)

	if err := f.readFAT(h); err != nil {
		return nil, err
	}
	if err := f.readDirectory(le.Uint32(h[48:]), le.Uint32(h[40:]), major, le.Uint32(h[60:]), le.Uint32(h[64:])); err != nil {
		return nil, err
	}
	for n, owned := range f.owned {
		if owned != (f.fat[n] != freeSector) {
			f.check(false, "sector %d is marked as %08x and is used: %t", n, f.fat[n], owned)
		}
	}
	f.check(f.sectors == 0 || f.owned[f.sectors-1], "the last sector is free")
	for n, v := range f.miniFAT {
		if owned := n < len(f.miniOwned) && f.miniOwned[n]; owned != (v != freeSector) {
			f.check(false, "mini sector %d is marked as %08x and is used: %t", n, v, owned)
		}
	}
	return f, nil
}

func readAt(r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// check notes a fault unless ok.
func (f *File) check(ok bool, format string, args ...any) {
	if !ok && len(f.Faults) < maxFaults {
		f.Faults = append(f.Faults, fmt.Sprintf(format, args...))
	}
}

func (f *File) readSector(n uint32) ([]byte, error) {
	b := make([]byte, f.sector)
	m, err := f.r.ReadAt(b, (int64(n)+1)*f.sector)
	if err == io.EOF && m > 0 {
		err = nil // the file is cut short within its last sector, which is a fault already
	}
	return b, err
}

// claim takes a sector for one use.
func (f *File) claim(n uint32, use string) error {
	switch {
	case n >= f.sectors:
		return &FormatError{fmt.Sprintf("%s: sector %08x of %d", use, n, f.sectors)}
	case f.owned[n]:
		return &FormatError{fmt.Sprintf("%s: sector %d is used twice", use, n)}
	}
	f.owned[n] = true
	return nil
}

func (f *File) readFAT(h []byte) error {
	le := binary.LittleEndian
	var list []uint32
	ended := false
	take := func(v uint32) {
		switch {
		case v == freeSector:
			ended = true
		case ended:
			f.check(false, "the list of FAT sectors has holes")
			list = append(list, v)
		default:
			list = append(list, v)
		}
	}
	for i := range inHeader {
		take(le.Uint32(h[76+4*i:]))
	}
	next, n := le.Uint32(h[68:]), le.Uint32(h[72:])
	f.check(n > 0 || next == endOfChain, "first DIFAT sector %08x although there is none", next)
	var difats []uint32
	for next != endOfChain && n > 0 {
		if err := f.claim(next, "DIFAT"); err != nil {
			return err
		}
		difats = append(difats, next)
		b, err := f.readSector(next)
		if err != nil {
			return err
		}
		last := len(b) - 4
		for i := 0; i < last; i += 4 {
			take(le.Uint32(b[i:]))
		}
		next = le.Uint32(b[last:])
	}
	f.check(uint32(len(difats)) == n, "%d DIFAT sectors, the header says %d", len(difats), n)
	f.check(uint32(len(list)) == le.Uint32(h[44:]), "%d FAT sectors, the header says %d", len(list), le.Uint32(h[44:]))
	for _, s := range list {
		if err := f.claim(s, "FAT"); err != nil {
			return err
		}
		b, err := f.readSector(s)
		if err != nil {
			return err
		}
		for i := 0; i < len(b); i += 4 {
			f.fat = append(f.fat, le.Uint32(b[i:]))
		}
	}
	if uint32(len(f.fat)) < f.sectors {
		return &FormatError{fmt.Sprintf("the FAT has entries for %d sectors of %d", len(f.fat), f.sectors)}
	}
	for i, v := range f.fat[f.sectors:] {
		f.check(v == freeSector, "the FAT has %08x for sector %d, which is not there", v, i+int(f.sectors))
	}
	for _, s := range list {
		f.check(f.fat[s] == fatSector, "FAT sector %d is marked as %08x", s, f.fat[s])
	}
	for _, s := range difats {
		f.check(f.fat[s] == difatSector, "DIFAT sector %d is marked as %08x", s, f.fat[s])
	}
	return nil
}

// follow returns the sectors of a chain.
func (f *File) follow(start uint32, use string) (*chain, error) {
	c := &chain{r: f.r, first: f.sector, size: f.sector}
	for s := start; s != endOfChain; s = f.fat[s] {
		if err := f.claim(s, use); err != nil {
			return c, err
		}
		c.sectors = append(c.sectors, s)
	}
	return c, nil
}

// followMini is follow in the mini stream.
func (f *File) followMini(start uint32, use string) (*chain, error) {
	c := &chain{r: f.mini, size: miniSize}
	for s := start; s != endOfChain; s = f.miniFAT[s] {
		switch {
		case int(s) >= len(f.miniFAT) || int(s) >= len(f.miniOwned):
			return c, &FormatError{fmt.Sprintf("%s: mini sector %08x of %d", use, s, len(f.miniOwned))}
		case f.miniOwned[s]:
			return c, &FormatError{fmt.Sprintf("%s: mini sector %d is used twice", use, s)}
		}
		f.miniOwned[s] = true
		c.sectors = append(c.sectors, s)
	}
	return c, nil
}

// node is an entry of the directory as it stands.
type node struct {
	kind, colour       byte
	left, right, child uint32
	start              uint32
	size               uint64
	key                key
	seen               bool
	entry              *Entry
}

func (f *File) readDirectory(first, sectors uint32, major uint16, miniFirst, miniSectors uint32) error {
	c, err := f.follow(first, "directory")
	if err != nil {
		return err
	}
	want := uint32(0)
	if major == 4 {
		want = uint32(len(c.sectors))
	}
	f.check(sectors == want, "%d directory sectors in the header, not %d", sectors, want)
	nodes := make([]node, 0, int64(len(c.sectors))*f.sector/entrySize)
	for _, s := range c.sectors {
		b, err := f.readSector(s)
		if err != nil {
			return err
		}
		for ; len(b) >= entrySize; b = b[entrySize:] {
			n, err := f.readNode(len(nodes), b[:entrySize], major)
			if err != nil {
				return err
			}
			nodes = append(nodes, n)
		}
	}
	if len(nodes) == 0 || nodes[0].kind != typeRoot {
		return &FormatError{"the root entry is missing"}
	}
	root := &nodes[0]
	f.check(root.entry.Name == rootName, "the root entry is named %q", root.entry.Name)
	f.check(root.left == noStream && root.right == noStream, "the root entry has siblings")

	// The mini stream.
	f.check(root.size%miniSize == 0, "the mini stream has %d bytes", root.size)
	f.check(root.size > 0 || root.start == endOfChain, "an empty mini stream begins at sector %08x", root.start)
	f.mini = &chain{}
	if root.size > 0 {
		if f.mini, err = f.follow(root.start, "mini stream"); err != nil {
			return err
		}
	}
	have := uint64(len(f.mini.sectors)) * uint64(f.sector)
	f.check((root.size+uint64(f.sector)-1)/uint64(f.sector) == uint64(len(f.mini.sectors)), "the mini stream has %d bytes in %d sectors", root.size, len(f.mini.sectors))
	f.miniOwned = make([]bool, min(root.size, have)/miniSize)
	table, err := f.follow(miniFirst, "mini FAT")
	if err != nil {
		return err
	}
	f.check(uint32(len(table.sectors)) == miniSectors, "%d mini FAT sectors, the header says %d", len(table.sectors), miniSectors)
	for _, s := range table.sectors {
		b, err := f.readSector(s)
		if err != nil {
			return err
		}
		for i := 0; i < len(b); i += 4 {
			f.miniFAT = append(f.miniFAT, binary.LittleEndian.Uint32(b[i:]))
		}
	}

	f.Root = root.entry
	root.seen = true
	for todo := []*node{root}; len(todo) > 0; {
		parent := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		order, err := f.siblings(nodes, parent)
		if err != nil {
			return err
		}
		for i, n := range order {
			parent.entry.Entries = append(parent.entry.Entries, n.entry)
			f.check(i == 0 || order[i-1].key < n.key, "%q is out of order in %q", n.entry.Name, parent.entry.Name)
			if n.kind == typeStorage {
				todo = append(todo, n)
			}
		}
	}
	for i := range nodes {
		n := &nodes[i]
		if n.kind == typeFree {
			continue
		}
		f.check(n.seen, "entry %d (%q) is in no storage", i, n.entry.Name)
		if n.kind == typeStream && n.seen {
			f.content(n)
		}
	}
	return nil
}

func (f *File) content(n *node) {
	e := n.entry
	size := uint64(f.sector)
	var c *chain
	switch {
	case n.size == 0:
		f.check(n.start == endOfChain, "empty stream %q begins at sector %08x", e.Name, n.start)
		return
	case n.size < cutoff:
		c, e.err = f.followMini(n.start, e.Name)
		size = miniSize
	default:
		c, e.err = f.follow(n.start, e.Name)
	}
	e.content = c
	if have := uint64(len(c.sectors)); e.err == nil && (n.size+size-1)/size != have {
		e.err = &FormatError{fmt.Sprintf("stream %q has %d bytes in %d sectors", e.Name, n.size, have)}
	}
	f.check(e.err == nil, "%v", e.err)
}

// readNode reads an entry of the directory.
func (f *File) readNode(i int, b []byte, major uint16) (node, error) {
	le := binary.LittleEndian
	n := node{
		kind: b[66], colour: b[67],
		left: le.Uint32(b[68:]), right: le.Uint32(b[72:]), child: le.Uint32(b[76:]),
		start: le.Uint32(b[116:]), size: le.Uint64(b[120:]),
	}
	length := int(le.Uint16(b[64:]))
	if n.kind == typeFree {
		f.check(allZero(b[:68]) && n.left == noStream && n.right == noStream && n.child == noStream && allZero(b[80:]), "entry %d is not used and not blank", i)
		return n, nil
	}
	if n.kind != typeStorage && n.kind != typeStream && (n.kind != typeRoot || i > 0) {
		return n, &FormatError{fmt.Sprintf("entry %d of the directory has type %d", i, n.kind)}
	}
	if length < 4 || length > 64 || length%2 != 0 {
		return n, &FormatError{fmt.Sprintf("entry %d of the directory has a name of %d bytes", i, length)}
	}
	units := make([]uint16, 0, MaxName)
	for j := 0; j < length-2; j += 2 {
		u := le.Uint16(b[j:])
		units = append(units, u)
		f.check(u != 0 && u != '/' && u != '\\' && u != ':' && u != '!', "the name of entry %d has the character %#x", i, u)
	}
	f.check(allZero(b[length-2:64]), "the name of entry %d does not end as it should", i)
	if major == 3 {
		f.check(n.size < 1<<32, "entry %d has a size of more than 32 bits", i)
		n.size &= 1<<32 - 1
	}
	f.check(major != 3 || n.size <= 1<<31, "entry %d has %d bytes", i, n.size)
	f.check(n.size < 1<<62, "entry %d has %d bytes", i, n.size)
	f.check(n.colour <= black, "entry %d has colour %d", i, n.colour)
	n.key = keyOf(units)
	n.entry = &Entry{Name: string(utf16.Decode(units)), key: n.key, Class: CLSID(b[80:96]), storage: n.kind != typeStream}
	switch n.kind {
	case typeStream:
		n.entry.Size = int64(min(n.size, 1<<62))
		f.check(n.child == noStream, "stream %q has entries", n.entry.Name)
		f.check(allZero(b[80:116]), "stream %q has a class, state or times", n.entry.Name)
	case typeStorage:
		f.check(n.start == 0 && n.size == 0, "storage %q has a sector %08x and %d bytes", n.entry.Name, n.start, n.size)
	default:
		f.check(allZero(b[100:108]), "the root entry has a creation time")
	}
	return n, nil
}

// siblings returns the entries of a storage in the order of its tree, which is
// checked to be red-black.
func (f *File) siblings(nodes []node, parent *node) ([]*node, error) {
	var order []*node
	type visit struct {
		n      *node
		blacks int
	}
	name := parent.entry.Name
	leaf := -1 // black nodes above each place where there is no node
	var stack []visit
	at, above, blacks := parent.child, byte(red), 0
	top := true
	for {
		for at != noStream {
			if int64(at) >= int64(len(nodes)) || nodes[at].kind == typeFree || nodes[at].kind == typeRoot {
				return nil, &FormatError{fmt.Sprintf("%q has the entry %08x, which is none", name, at)}
			}
			n := &nodes[at]
			if n.seen {
				return nil, &FormatError{fmt.Sprintf("entry %d (%q) is in two places", at, n.entry.Name)}
			}
			n.seen = true
			if n.colour == black {
				blacks++
			} else {
				f.check(!top, "the tree of %q has a red root", name)
				f.check(top || above != red, "the tree of %q has a red node below a red one", name)
			}
			top = false
			stack = append(stack, visit{n, blacks})
			above = n.colour
			at = n.left
		}
		if leaf < 0 {
			leaf = blacks
		}
		f.check(leaf == blacks, "the tree of %q has branches of %d and %d black nodes", name, leaf, blacks)
		if len(stack) == 0 {
			return order, nil
		}
		v := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		order = append(order, v.n)
		at, above, blacks = v.n.right, v.n.colour, v.blacks
		if at == noStream && len(stack) == 0 {
			f.check(leaf == blacks, "the tree of %q has branches of %d and %d black nodes", name, leaf, blacks)
			return order, nil
		}
	}
}
