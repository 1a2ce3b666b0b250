package cfb

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"slices"
	"sync"
	"unicode/utf16"
)

// Writer writes a compound file. What it writes depends on nothing but the calls:
// the same calls write the same bytes. Its memory depends on the number of
// storages and streams, not on what these hold: data are written as they come.
//
// One stream can be open at a time. The first error of the underlying file is
// returned by every call after it. A Writer must not be used concurrently.
type Writer struct {
	w     io.WriterAt
	limit int64

	*buffers
	off int64

	one    [entrySize]byte // an entry that is being written
	root   Storage
	stream *Stream // that is open
	put    Stream  // of Put

	miniRun  int    // index in runs of the last run of the mini stream, -1 if none
	miniFrom uint32 // its first sector
	miniSize int64  // bytes

	err  error
	done bool
}

// buffers are what a Writer holds of the file.
type buffers struct {
	buf  []byte // not yet written, for offset off
	head []byte // the beginning of the open stream
	mini []byte // the end of the mini stream that is not yet written

	entries []entry
	names   map[child]struct{} // of all entries
	runs    []run              // the sectors of what was written, in order
	small   []uint32           // mini sectors of each small stream, in order
}

// child is an entry by the one that it is in, and its key.
type child struct {
	in  uint32
	key [longestKey]byte
}

// unused are buffers of Writers that are closed.
var unused = sync.Pool{New: func() any {
	return &buffers{buf: make([]byte, 0, outSize), names: map[child]struct{}{}}
}}

// mostHeld is how many entries the buffers are held for when they are not in use.
const mostHeld = 1 << 10

// run is sectors that follow each other in the file and in a chain; next is the
// sector after them in the chain.
type run struct{ count, next uint32 }

type entry struct {
	units              [MaxName]uint16
	length             int // of the name, in units
	child              child
	kind               byte
	colour             byte
	left, right, first uint32 // of siblings; of those in it
	class              CLSID
	start              uint32
	size               int64
}

const (
	outSize  = 64 << 10 // of Writer.buf
	miniHeld = 32 << 10 // of Writer.mini; a multiple of the sector size
)

// NewWriter returns a Writer of a file to w, from offset 0 on. What w held there
// is written over, but w is not cut to the size of the file.
func NewWriter(w io.WriterAt) *Writer {
	out := &Writer{w: w, buffers: unused.Get().(*buffers), limit: MaxSize, off: sectorSize, miniRun: -1, miniFrom: endOfChain}
	root := newEntry(typeRoot)
	root.colour = black
	root.length = copy(root.units[:], utf16.Encode([]rune(rootName)))
	out.entries = append(out.entries, root)
	out.root = Storage{w: out}
	return out
}

func newEntry(kind byte) entry {
	return entry{kind: kind, left: noStream, right: noStream, first: noStream}
}

// Root returns the root storage.
func (w *Writer) Root() *Storage { return &w.root }

// Storage is a storage of a file that is being written.
type Storage struct {
	w    *Writer
	at   uint32   // its entry
	in   []uint32 // the entries in it
	subs []*Storage
}

// SetClass sets the class identifier of the storage, before the Writer is closed.
func (s *Storage) SetClass(id CLSID) {
	if !s.w.done {
		s.w.entries[s.at].class = id
	}
}

// Storage creates a storage in the storage.
func (s *Storage) Storage(name string) (*Storage, error) {
	at, err := s.create(name, typeStorage)
	if err != nil {
		return nil, err
	}
	sub := &Storage{w: s.w, at: at}
	s.subs = append(s.subs, sub)
	return sub, nil
}

// Stream creates a stream in the storage. It must be closed before another one
// is created.
func (s *Storage) Stream(name string) (*Stream, error) {
	st := &Stream{}
	if err := s.stream(name, st); err != nil {
		return nil, err
	}
	return st, nil
}

// stream creates a stream, as which st is opened.
func (s *Storage) stream(name string, st *Stream) error {
	if s.w.stream != nil {
		return errors.New("cfb: a stream is open")
	}
	at, err := s.create(name, typeStream)
	if err != nil {
		return err
	}
	s.w.entries[at].start = endOfChain
	s.w.head = s.w.head[:0]
	*st = Stream{w: s.w, at: at}
	s.w.stream = st
	return nil
}

// Put creates a stream with that content in the storage.
func (s *Storage) Put(name string, content []byte) error {
	st := &s.w.put
	if err := s.stream(name, st); err != nil {
		return err
	}
	if _, err := st.Write(content); err != nil {
		return err
	}
	return st.Close()
}

func (s *Storage) create(name string, kind byte) (at uint32, err error) {
	w := s.w
	switch {
	case w.err != nil:
		return 0, w.err
	case w.done:
		return 0, errors.New("cfb: the file is closed")
	}
	e := newEntry(kind)
	units, err := appendName(e.units[:0], name)
	if err != nil {
		return 0, err
	}
	e.length, e.child.in = len(units), s.at
	appendKey(e.child.key[:0], units)
	if _, ok := w.names[e.child]; ok {
		return 0, fmt.Errorf("%w: %q is there already", ErrName, name)
	}
	at = uint32(len(w.entries))
	w.names[e.child] = struct{}{}
	w.entries = append(w.entries, e)
	s.in = append(s.in, at)
	return at, nil
}

// Stream is a stream of a file that is being written.
type Stream struct {
	w      *Writer
	at     uint32 // its entry
	size   int64
	start  uint32 // the first sector, if it is big
	big    bool
	closed bool
}

// Size returns the number of bytes that were written.
func (s *Stream) Size() int64 { return s.size }

// Write writes to the stream. The error is ErrTooLarge or one of the file.
func (s *Stream) Write(p []byte) (int, error) {
	w := s.w
	switch {
	case s.closed:
		return 0, errors.New("cfb: the stream is closed")
	case w.err != nil:
		return 0, w.err
	}
	n := len(p)
	s.size += int64(n)
	if !s.big {
		if s.size < cutoff {
			w.head = append(w.head, p...)
			return n, nil
		}
		s.big = true
		s.start = w.sector()
		if err := w.write(w.head); err != nil {
			return 0, err
		}
	}
	if err := w.write(p); err != nil {
		return 0, err
	}
	return n, nil
}

// Close ends the stream.
func (s *Stream) Close() error {
	if s.closed {
		return s.w.err
	}
	s.closed = true
	w := s.w
	w.stream = nil
	e := &w.entries[s.at]
	e.size = s.size
	switch {
	case w.err != nil:
		return w.err
	case s.big:
		e.start = s.start
		w.pad()
		w.runs = append(w.runs, run{w.sector() - s.start, endOfChain})
		return w.err
	case s.size == 0:
		return nil
	}
	e.start = uint32(w.miniSize / miniSize)
	w.mini = append(w.mini, w.head...)
	if rest := len(w.head) % miniSize; rest > 0 {
		w.mini = append(w.mini, zeros[:miniSize-rest]...)
	}
	n := (len(w.head) + miniSize - 1) / miniSize
	w.small = append(w.small, uint32(n))
	w.miniSize += int64(n) * miniSize
	if len(w.mini) >= miniHeld {
		return w.flushMini(miniHeld)
	}
	return nil
}

var zeros [sectorSize]byte

// flushMini writes the first n bytes of what is held of the mini stream.
func (w *Writer) flushMini(n int) error {
	if n == 0 {
		return nil
	}
	start := w.sector()
	if err := w.write(w.mini[:n]); err != nil {
		return err
	}
	w.pad()
	w.mini = w.mini[:copy(w.mini, w.mini[n:])]
	if w.miniRun >= 0 {
		w.runs[w.miniRun].next = start
	} else {
		w.miniFrom = start
	}
	w.miniRun = len(w.runs)
	w.runs = append(w.runs, run{w.sector() - start, endOfChain})
	return w.err
}

// at returns the offset of the next byte.
func (w *Writer) at() int64 { return w.off + int64(len(w.buf)) }

// sector returns the number of the next sector. At the beginning of a stream the
// offset is that of one.
func (w *Writer) sector() uint32 { return uint32(w.at()/sectorSize - 1) }

func (w *Writer) pad() {
	if rest := w.at() % sectorSize; rest > 0 {
		_ = w.write(zeros[:sectorSize-rest]) // the error is in err
	}
}

func (w *Writer) write(p []byte) error {
	if w.err != nil {
		return w.err
	}
	if w.at()+int64(len(p)) > w.limit {
		w.err = ErrTooLarge
		return w.err
	}
	for len(p) > 0 {
		if len(w.buf) == 0 && len(p) >= outSize {
			if _, err := w.w.WriteAt(p, w.off); err != nil {
				w.err = err
				return err
			}
			w.off += int64(len(p))
			return nil
		}
		n := min(outSize-len(w.buf), len(p))
		w.buf = append(w.buf, p[:n]...)
		p = p[n:]
		if len(w.buf) == outSize {
			if err := w.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *Writer) flush() error {
	if len(w.buf) > 0 && w.err == nil {
		if _, err := w.w.WriteAt(w.buf, w.off); err != nil {
			w.err = err
			return err
		}
		w.off += int64(len(w.buf))
		w.buf = w.buf[:0]
	}
	return w.err
}

// release gives the buffers back. Nothing is written after it.
func (w *Writer) release() {
	b := w.buffers
	w.buffers = &buffers{}
	b.buf, b.head, b.mini = b.buf[:0], b.head[:0], b.mini[:0]
	b.runs, b.small = b.runs[:0], b.small[:0]
	if len(b.entries) > mostHeld {
		b.entries, b.names = nil, map[child]struct{}{}
	}
	clear(b.names)
	b.entries = b.entries[:0]
	unused.Put(b)
}

// Size returns the size of the file in bytes, once it is closed.
func (w *Writer) Size() int64 { return w.at() }

// Close writes what is left of the file: the tables and, last, the header. It
// does not close the underlying file. Without it there is no compound file.
func (w *Writer) Close() error {
	if w.done || w.err != nil {
		return w.err
	}
	if w.stream != nil {
		return errors.New("cfb: a stream is open")
	}
	w.done = true
	defer w.release()
	if err := w.flushMini(len(w.mini)); err != nil {
		return err
	}

	miniFAT, miniFATSectors := endOfChain, uint32(0)
	if len(w.small) > 0 {
		miniFAT = w.sector()
		t := table{w: w}
		for _, n := range w.small {
			t.chain(n, endOfChain)
		}
		t.fill(freeSector)
		miniFATSectors = w.sector() - miniFAT
		w.runs = append(w.runs, run{miniFATSectors, endOfChain})
	}

	directory := w.sector()
	w.link(&w.root)
	w.entries[0].start, w.entries[0].size = w.miniFrom, w.miniSize
	for i := range w.entries {
		w.one = w.entries[i].encode()
		_ = w.write(w.one[:]) // the error is in err
	}
	for w.at()%sectorSize != 0 {
		_ = w.write(blankEntry)
	}
	w.runs = append(w.runs, run{w.sector() - directory, endOfChain})

	// The FAT has entries for its own sectors and those of the DIFAT.
	first := w.sector()
	nFAT, nDIFAT := tables(first)
	if (int64(first)+int64(nFAT)+int64(nDIFAT)+1)*sectorSize > w.limit && w.err == nil {
		w.err = ErrTooLarge
	}
	if w.err != nil {
		return w.err
	}
	fat := first + nDIFAT
	if nDIFAT > 0 {
		t := table{w: w}
		for i := uint32(0); i < nDIFAT; i++ {
			for j := uint32(0); j < sectorSize/4-1; j++ {
				t.put(listed(fat, nFAT, inHeader+i*(sectorSize/4-1)+j))
			}
			if i+1 < nDIFAT {
				t.put(first + i + 1)
			} else {
				t.put(endOfChain)
			}
		}
	}
	t := table{w: w}
	for _, r := range w.runs {
		t.chain(r.count, r.next)
	}
	for range nDIFAT {
		t.put(difatSector)
	}
	for range nFAT {
		t.put(fatSector)
	}
	t.fill(freeSector)
	if err := w.flush(); err != nil {
		return err
	}

	h := make([]byte, sectorSize)
	le := binary.LittleEndian
	copy(h, signature)
	le.PutUint16(h[24:], 0x3E)
	le.PutUint16(h[26:], 3)
	le.PutUint16(h[28:], 0xFFFE)
	le.PutUint16(h[30:], 9)
	le.PutUint16(h[32:], 6)
	le.PutUint32(h[44:], nFAT)
	le.PutUint32(h[48:], directory)
	le.PutUint32(h[56:], cutoff)
	le.PutUint32(h[60:], miniFAT)
	le.PutUint32(h[64:], miniFATSectors)
	le.PutUint32(h[68:], endOfChain)
	if nDIFAT > 0 {
		le.PutUint32(h[68:], first)
	}
	le.PutUint32(h[72:], nDIFAT)
	for i := range uint32(inHeader) {
		le.PutUint32(h[76+4*i:], listed(fat, nFAT, i))
	}
	if _, err := w.w.WriteAt(h, 0); err != nil {
		w.err = err
	}
	return w.err
}

// tables returns how many sectors the FAT and the DIFAT take in a file that has
// so many others.
func tables(others uint32) (fat, difat uint32) {
	const each = sectorSize / 4
	for {
		f := (others + fat + difat + each - 1) / each
		d := uint32(0)
		if f > inHeader {
			d = (f - inHeader + each - 2) / (each - 1)
		}
		if f == fat && d == difat {
			return fat, difat
		}
		fat, difat = f, d
	}
}

// listed returns the number of the i-th sector of a FAT of n that begins at
// first.
func listed(first, n, i uint32) uint32 {
	if i < n {
		return first + i
	}
	return freeSector
}

// table writes a FAT or mini FAT.
type table struct {
	w *Writer
	n uint32
	b [4]byte
}

func (t *table) put(v uint32) {
	binary.LittleEndian.PutUint32(t.b[:], v)
	_ = t.w.write(t.b[:]) // the error is in err
	t.n++
}

// chain puts a run of sectors.
func (t *table) chain(count, next uint32) {
	for range count - 1 {
		t.put(t.n + 1)
	}
	t.put(next)
}

// fill ends the last sector.
func (t *table) fill(v uint32) {
	for t.n%(sectorSize/4) != 0 {
		t.put(v)
	}
}

// link makes the entries of each storage a balanced search tree (MS-CFB 2.6.4).
// All its levels but the last are full; the nodes of a last one that is not are
// red, all others black, which is a red-black tree.
func (w *Writer) link(root *Storage) {
	for todo := []*Storage{root}; len(todo) > 0; {
		s := todo[len(todo)-1]
		todo = append(todo[:len(todo)-1], s.subs...)
		slices.SortFunc(s.in, func(a, b uint32) int { return bytes.Compare(w.entries[a].child.key[:], w.entries[b].child.key[:]) })
		w.entries[s.at].first = w.balance(s.in, bits.Len(uint(len(s.in)+1))-1)
	}
}

func (w *Writer) balance(ids []uint32, blacks int) uint32 {
	if len(ids) == 0 {
		return noStream
	}
	mid := len(ids) / 2
	e := &w.entries[ids[mid]]
	e.colour = black
	if blacks == 0 {
		e.colour = red
	}
	e.left = w.balance(ids[:mid], blacks-1)
	e.right = w.balance(ids[mid+1:], blacks-1)
	return ids[mid]
}

// blankEntry is an entry of the directory that is not used.
var blankEntry = func() []byte {
	b := make([]byte, entrySize)
	for i := 68; i < 80; i++ {
		b[i] = 0xFF
	}
	return b
}()

func (e *entry) encode() (b [entrySize]byte) {
	le := binary.LittleEndian
	for i, u := range e.units[:e.length] {
		le.PutUint16(b[2*i:], u)
	}
	le.PutUint16(b[64:], uint16(2*e.length+2))
	b[66], b[67] = e.kind, e.colour
	le.PutUint32(b[68:], e.left)
	le.PutUint32(b[72:], e.right)
	le.PutUint32(b[76:], e.first)
	copy(b[80:], e.class[:])
	le.PutUint32(b[116:], e.start)
	le.PutUint64(b[120:], uint64(e.size))
	return b
}
