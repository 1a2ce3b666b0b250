package message

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"io"
	"slices"
	"sync"
)

// decoder is a stream of what lines decode to. Step takes a fragment and appends
// to out; true ends the stream. Flush is called once at its end.
type decoder struct {
	lines *lineReader
	step  func(f *fragment) (done bool)
	flush func()
	out   []byte
	sent  int
	done  bool
	base  *base64Decoder // of base64
	// bulk appends what lines decode to that are whole and as most are, if it can; and
	// how much of lines that is.
	bulk func(out, lines []byte) (_ []byte, used int)

	block *[]byte // that out was; nil once it was released
}

// outputs are the buffers of decoders that are not in use.
var outputs = sync.Pool{New: func() any {
	b := make([]byte, 0, 8<<10)
	return &b
}}

// release gives the buffers back; the content was read, or cannot be.
func (d *decoder) release() {
	if d.block != nil {
		d.lines.release()
		*d.block = d.out[:0]
		outputs.Put(d.block)
		d.block, d.out, d.sent, d.done = nil, nil, 0, true
	}
}

func (d *decoder) Read(p []byte) (int, error) {
	for d.sent == len(d.out) {
		if len(p) == 0 {
			return 0, nil
		}
		if d.done {
			d.release()
			return 0, io.EOF
		}
		if err := d.more(); err != nil {
			return 0, err
		}
	}
	n := copy(p, d.out[d.sent:])
	d.sent += n
	return n, nil
}

// WriteTo implements io.WriterTo.
func (d *decoder) WriteTo(w io.Writer) (n int64, err error) {
	n, err = d.writeTo(w)
	if err == nil {
		d.release()
	}
	return n, err
}

func (d *decoder) writeTo(w io.Writer) (n int64, err error) {
	for {
		if d.sent < len(d.out) {
			k, err := w.Write(d.out[d.sent:])
			n += int64(k)
			d.sent += k
			if err != nil {
				return n, err
			}
		}
		if d.done {
			return n, nil
		}
		if err := d.more(); err != nil {
			return n, err
		}
	}
}

// more decodes some lines, which may be nothing, when all before was sent and
// it is not done.
func (d *decoder) more() error {
	d.out, d.sent = d.out[:0], 0
	f := d.lines.next()
	if f == nil {
		if err := d.lines.readErr(); err != nil {
			return err
		}
		d.done = true
	} else {
		d.done = d.step(f)
	}
	if d.done && d.flush != nil {
		d.flush()
	}
	// Small lines are put together, so that a Read is worth its call.
	for !d.done && len(d.out) < atOnce && d.lines.pos < d.lines.end {
		if d.bulk != nil && !d.lines.mid {
			used := 0
			d.out, used = d.bulk(d.out, d.lines.buf[d.lines.pos:d.lines.end])
			if d.lines.pos += used; used > 0 {
				continue
			}
		}
		if f = d.lines.next(); f == nil {
			break
		}
		if d.done = d.step(f); d.done && d.flush != nil {
			d.flush()
		}
	}
	return nil
}

// atOnce is how much is decoded for one Read, about.
const atOnce = 4 << 10

// newDecoder returns the content of an encoded body.
func newDecoder(ctx context.Context, r io.Reader, e Encoding) io.Reader {
	size := 32 << 10
	if e == BinHex {
		size = 4 << 10 // one byte may stand for 255
	}
	d := &decoder{lines: newLineReader(ctx, r, size), block: outputs.Get().(*[]byte)}
	d.out = *d.block
	switch e {
	case Base64:
		d.base = &base64Decoder{out: &d.out}
		d.step, d.flush, d.bulk = d.base.line, d.base.flush, d.base.bulk
	case QuotedPrintable:
		q := &quotedDecoder{out: &d.out}
		d.step, d.bulk = q.line, q.bulk
	case UUEncode:
		d.step = (&uuDecoder{out: &d.out}).line
	case BinHex:
		d.step = (&binhexDecoder{fork: dataFork{out: &d.out}}).line
	default:
		d.release()
		return r
	}
	return d
}

// base64Value is the value of a character (RFC 2045 6.8); 64 for padding, 65 for
// white space, 255 for what is none.
var base64Value = func() (t [256]byte) {
	for i := range t {
		t[i] = 255
	}
	for i, c := range "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/" {
		t[c] = byte(i)
	}
	t['='], t[' '], t['\t'] = 64, 65, 65
	return t
}()

// base64Decoder decodes lines of base64 (RFC 2045 6.8). What is no base64 is
// passed over; padding in the middle ends a unit, after which another may begin.
// It ends where text begins that somebody has put after the data.
type base64Decoder struct {
	out    *[]byte
	carry  [4]byte // characters of a unit of four that is not complete
	n      int
	full   int  // the longest line
	any    bool // there was data
	padded bool // the last unit had padding
	gap    bool // an empty line, or one that is only punctuation, after data
	short  bool // the last line was shorter than one before it

	digits int64 // characters that stand for six bits
	pads   int   // characters of padding
	other  bool  // there is something else, or digits after padding
}

// exact reports whether size bytes are all that was in the lines, but for white
// space.
func (d *base64Decoder) exact(size int64) bool {
	rest := d.digits % 4
	return !d.other && d.pads <= 2 && rest != 1 && size == d.digits/4*3+max(rest-1, 0)
}

// count looks at the characters of a line.
func (d *base64Decoder) count(line []byte) {
	for _, c := range line {
		switch v := base64Value[c]; {
		case v < 64:
			d.digits++
			d.other = d.other || d.pads > 0
		case v == 64:
			d.pads++
		case v == 255:
			d.other = true
		}
	}
}

func (d *base64Decoder) line(f *fragment) (done bool) {
	line := f.data
	if f.first {
		if n := len(line); n > 0 && (line[n-1] == ' ' || line[n-1] == '\t') {
			line = bytes.TrimRight(line, " \t")
		}
		if len(line) == 0 && f.last {
			d.gap = d.gap || d.any
			return false
		}
		if d.any && (d.padded || d.gap || d.short) && d.isAfter(line) {
			d.count(line)
			return true
		}
		if f.last {
			d.short = len(line) < d.full
			d.full = max(d.full, len(line))
		}
	}
	if d.n == 0 && len(line)%4 == 0 {
		have := len(*d.out)
		if out, err := base64.StdEncoding.AppendDecode(*d.out, line); err == nil {
			d.any = d.any || len(line) > 0
			d.padded = len(line) > 0 && line[len(line)-1] == '='
			d.gap = false
			*d.out = out
			pads := 0
			for pads < len(line) && line[len(line)-1-pads] == '=' {
				pads++
			}
			d.other = d.other || d.pads > 0 && pads < len(line)
			d.pads += pads
			d.digits += int64(len(line) - pads)
			return false
		}
		*d.out = (*d.out)[:have]
	}
	d.count(line)
	valid := false
	for _, c := range line {
		switch v := base64Value[c]; {
		case v < 64:
			valid, d.any, d.padded = true, true, false
			d.carry[d.n] = v
			if d.n++; d.n == 4 {
				d.unit()
			}
		case v == 64 && d.n >= 2:
			d.unit()
			d.padded = true
		}
	}
	d.gap = d.any && !valid
	return false
}

// unit writes what there is of a unit of four characters.
func (d *base64Decoder) unit() {
	c := d.carry
	switch d.n {
	case 2:
		*d.out = append(*d.out, c[0]<<2|c[1]>>4)
	case 3:
		*d.out = append(*d.out, c[0]<<2|c[1]>>4, c[1]<<4|c[2]>>2)
	case 4:
		*d.out = append(*d.out, c[0]<<2|c[1]>>4, c[1]<<4|c[2]>>2, c[2]<<6|c[3])
	}
	d.n = 0
}

func (d *base64Decoder) flush() { d.unit() }

// regular reports whether nothing is odd about the lines so far, so that another
// that is as long and nothing but base64 changes nothing but what is decoded.
func (d *base64Decoder) regular() bool {
	return d.any && d.n == 0 && !d.padded && !d.gap && !d.short && d.pads == 0 && d.full > 0 && d.full%4 == 0
}

// bulk decodes lines that are as long as the longest before and are nothing but
// base64, until there is enough at once. It leaves alone what may be at the end of
// lines. Used is how much of lines it took.
func (d *base64Decoder) bulk(out, lines []byte) (_ []byte, used int) {
	if !d.regular() {
		return out, 0
	}
	const invalid = 1 << 31
	a, b, c, e := &base64Unit[0], &base64Unit[1], &base64Unit[2], &base64Unit[3]
	for len(out) < atOnce && len(lines) > d.full+2 {
		line, end := lines[:d.full], d.full+1
		if lines[d.full] == '\r' {
			end++
		}
		if lines[end-1] != '\n' {
			break
		}
		have := len(out)
		out = slices.Grow(out, d.full/4*3)[:have+d.full/4*3]
		bad := uint32(0)
		to := out[have:]
		for ; len(line) >= 8 && len(to) >= 8; line, to = line[8:], to[6:] {
			v := a[line[0]] | b[line[1]] | c[line[2]] | e[line[3]]
			w := a[line[4]] | b[line[5]] | c[line[6]] | e[line[7]]
			bad |= v | w
			binary.BigEndian.PutUint64(to, uint64(v)<<40|uint64(w)<<16)
		}
		for ; len(line) >= 4 && len(to) >= 3; line, to = line[4:], to[3:] {
			v := a[line[0]] | b[line[1]] | c[line[2]] | e[line[3]]
			bad |= v
			to[0], to[1], to[2] = byte(v>>16), byte(v>>8), byte(v)
		}
		if bad&invalid != 0 {
			out = out[:have]
			break
		}
		d.digits += int64(d.full)
		lines, used = lines[end:], used+end
	}
	return out, used
}

// base64Unit is what each of four characters adds to the three bytes that they
// stand for; the highest bit is set if it is no base64.
var base64Unit = func() (t [4][256]uint32) {
	for c, v := range base64Value {
		for i := range t {
			t[i][c] = 1 << 31
			if v < 64 {
				t[i][c] = uint32(v) << (18 - 6*i)
			}
		}
	}
	return t
}()

// isAfter reports whether a line that stands where the data may have ended is
// text, such as the footer of a mailing list.
func (d *base64Decoder) isAfter(line []byte) bool {
	if base64Line(line) {
		if !d.padded && !d.gap {
			return false
		}
		// A word is base64 too.
		return len(line)%4 != 0 || len(line) < 20 && line[len(line)-1] != '='
	}
	return !base64Noise(line)
}

// base64Line reports whether the line has nothing but base64.
func base64Line(line []byte) bool {
	for _, c := range line {
		if base64Value[c] > 64 {
			return false
		}
	}
	return true
}

// base64Noise reports whether the line is base64 with some damage rather than
// text.
func base64Noise(line []byte) bool {
	line = bytes.Trim(line[:min(len(line), 1000)], " \t")
	bad, word, longest := 0, 0, 0
	for _, c := range line {
		if base64Value[c] > 64 {
			bad++
			word = 0
		} else {
			word++
			longest = max(longest, word)
		}
	}
	return bad*8 <= len(line) && (longest >= 30 || bytes.IndexByte(line, ' ') < 0)
}

// notBase64 reports whether a line that should be base64 is words: several short
// ones, or one with punctuation after it, or hardly any letters.
func notBase64(line []byte) bool {
	line = bytes.Trim(line[:min(len(line), 1000)], " \t")
	bad, word, longest := 0, 0, 0
	for _, c := range line {
		if base64Value[c] > 64 {
			word = 0
			if base64Value[c] != 65 {
				bad++
			}
		} else {
			word++
			longest = max(longest, word)
		}
	}
	words := bytes.IndexByte(line, ' ') >= 0 && longest < 30
	return words || bad*2 >= len(line) || bad > 0 && longest == len(line)-bad && base64Value[line[0]] < 64 && longest < 30
}

// quotedDecoder decodes quoted-printable (RFC 2045 6.7). A "=" that is not
// followed by two hexadecimal digits (of either case) or the end of the line
// stands for itself.
type quotedDecoder struct {
	out  *[]byte
	held []byte // of a line that goes on: what may depend on what follows
}

func (d *quotedDecoder) line(f *fragment) bool {
	line := f.data
	if len(d.held) > 0 {
		line = append(d.held, line...)
		d.held = nil
	}
	if !f.last {
		keep := len(line)
		for keep > 0 && len(line)-keep < 4<<10 && (line[keep-1] == ' ' || line[keep-1] == '\t') {
			keep--
		}
		if i := bytes.LastIndexByte(line[max(keep-2, 0):keep], '='); i >= 0 {
			keep = max(keep-2, 0) + i
		}
		d.held = append([]byte(nil), line[keep:]...)
		d.text(line[:keep])
		return false
	}
	// White space at the end was added on the way (RFC 2045 6.7 rule 3).
	line = trimBlanks(line)
	if n := len(line); n > 0 && line[n-1] == '=' {
		d.text(line[:n-1])
		return false
	}
	d.text(line)
	*d.out = append(*d.out, f.data[len(f.data):len(f.data)+f.eol]...)
	return false
}

// trimBlanks returns a line without the blanks at its end.
func trimBlanks(line []byte) []byte {
	n := len(line)
	for n > 0 && (line[n-1] == ' ' || line[n-1] == '\t') {
		n--
	}
	return line[:n]
}

func (d *quotedDecoder) text(b []byte) { *d.out = appendQuoted(*d.out, b) }

// bulk decodes lines that end with LF or CR LF and have no other CR.
func (d *quotedDecoder) bulk(out, lines []byte) (_ []byte, used int) {
	for len(d.held) == 0 && len(out) < atOnce {
		rest := lines[used:]
		lf := bytes.IndexByte(rest, '\n')
		if lf < 0 {
			break
		}
		end := lf
		if end > 0 && rest[end-1] == '\r' {
			end--
		}
		if bytes.IndexByte(rest[:end], '\r') >= 0 {
			break
		}
		line := trimBlanks(rest[:end])
		if n := len(line); n > 0 && line[n-1] == '=' {
			out = appendQuoted(out, line[:n-1])
		} else {
			out = append(appendQuoted(out, line), rest[end:lf+1]...)
		}
		used += lf + 1
	}
	return out, used
}

// appendQuoted decodes what is within a line.
func appendQuoted(out, b []byte) []byte {
	for {
		i := bytes.IndexByte(b, '=')
		if i < 0 {
			return append(out, b...)
		}
		out = append(out, b[:i]...)
		b = b[i:]
		// Encoded bytes often follow each other.
		for len(b) > 2 && b[0] == '=' {
			c, ok := unhex(b[1], b[2])
			if !ok {
				break
			}
			out = append(out, c)
			b = b[3:]
		}
		if len(b) > 0 && b[0] == '=' {
			out = append(out, '=')
			b = b[1:]
		}
	}
}

// uuDecoder decodes lines of uuencode (POSIX uuencode, historical algorithm).
// Lines that are none are passed over.
type uuDecoder struct {
	out *[]byte
}

func (d *uuDecoder) line(f *fragment) bool {
	line, ok := f.whole()
	if !ok {
		return false
	}
	if string(bytes.TrimRight(line, " \t")) == "end" {
		return true
	}
	if _, ok := uuBegin(line); ok || !uuData(line) {
		return false
	}
	n := uuValue(line[0])
	line = line[1:]
	at := func(i int) byte {
		if i < len(line) {
			return byte(uuValue(line[i]))
		}
		return 0 // a space that was lost at the end
	}
	for i := 0; n > 0; i, n = i+4, n-3 {
		a, b, c, e := at(i), at(i+1), at(i+2), at(i+3)
		*d.out = append(*d.out, []byte{a<<2 | b>>4, b<<4 | c>>2, c<<6 | e}[:min(n, 3)]...)
	}
	return false
}

func uuValue(c byte) int { return int(c-' ') & 63 }

// uuData reports whether the line is one of uuencode: its length, and as many
// characters, but for spaces lost at the end and a checksum.
func uuData(line []byte) bool {
	if len(line) == 0 || line[0] < ' ' || line[0] > '`' {
		return false
	}
	for _, c := range line[1:] {
		if c < ' ' || c > '`' {
			return false
		}
	}
	n, have := uuValue(line[0]), len(line)-1
	need := (n + 2) / 3 * 4
	if n == 0 {
		return have <= 1
	}
	// Without the padding of the last group, or with a check after it.
	return have <= need+2 && have*2 >= need
}

// uuBegin returns the file name of the line that begins uuencoded data.
func uuBegin(line []byte) (name string, ok bool) {
	rest, ok := bytes.CutPrefix(line, []byte("begin "))
	if !ok || len(rest) > 1000 {
		return "", false
	}
	mode, file, ok := bytes.Cut(bytes.TrimLeft(rest, " "), []byte(" "))
	if !ok || len(mode) < 3 || len(mode) > 6 {
		return "", false
	}
	for _, c := range mode {
		if c < '0' || c > '7' {
			return "", false
		}
	}
	file = bytes.TrimSpace(file)
	return string(file), len(file) > 0
}

// binhexValue is the value of a character of BinHex 4.0 (RFC 1741 4), 255 if it
// is none.
var binhexValue = func() (t [256]byte) {
	for i := range t {
		t[i] = 255
	}
	for i, c := range "!\"#$%&'()*+,-012345689@ABCDEFGHIJKLMNPQRSTUVXYZ[`abcdefhijklmpqr" {
		t[c] = byte(i)
	}
	return t
}()

// binhexDecoder decodes BinHex 4.0: six bits a character, runs of bytes, and in
// these a header, the data fork and the resource fork.
type binhexDecoder struct {
	fork    dataFork
	started bool
	bits    uint32
	n       uint
	marked  bool // the next byte is a count
	prev    byte
}

func (d *binhexDecoder) line(f *fragment) bool {
	for i, c := range f.data {
		if c == ':' {
			if d.started {
				return true
			}
			d.started = i == 0 && f.first
			continue
		}
		v := binhexValue[c]
		if !d.started || v == 255 {
			continue
		}
		d.bits, d.n = d.bits<<6|uint32(v), d.n+6
		if d.n >= 8 {
			d.n -= 8
			d.byte(byte(d.bits >> d.n))
		}
	}
	return d.fork.full()
}

func (d *binhexDecoder) byte(b byte) {
	switch {
	case d.marked && b == 0:
		d.marked, d.prev = false, 0x90
		d.fork.put(0x90, 1)
	case d.marked:
		d.marked = false
		d.fork.put(d.prev, int(b)-1)
	case b == 0x90:
		d.marked = true
	default:
		d.prev = b
		d.fork.put(b, 1)
	}
}

// dataFork takes the decoded bytes of a BinHex file and lets the data fork
// through.
type dataFork struct {
	out  *[]byte
	head []byte // name, type, creator, flags, lengths, checksum
	left int64  // bytes of the data fork to come; set when the header is whole
}

func (d *dataFork) ready() bool { return len(d.head) > 0 && len(d.head) == 1+int(d.head[0])+21 }
func (d *dataFork) full() bool  { return d.ready() && d.left == 0 }

// name is the file name, "" if it was not reached.
func (d *dataFork) name() string {
	if len(d.head) == 0 || len(d.head) < 1+int(d.head[0]) {
		return ""
	}
	return string(d.head[1 : 1+int(d.head[0])])
}

func (d *dataFork) put(b byte, n int) {
	for ; n > 0 && !d.ready(); n-- {
		d.head = append(d.head, b)
		if d.ready() {
			at := 1 + int(d.head[0]) + 1 + 4 + 4 + 2
			h := d.head[at:]
			d.left = int64(h[0])<<24 | int64(h[1])<<16 | int64(h[2])<<8 | int64(h[3])
		}
	}
	if d.ready() && d.out != nil {
		for ; n > 0 && d.left > 0; n-- {
			*d.out = append(*d.out, b)
			d.left--
		}
	}
}

// binhexMark is the line that begins BinHex 4.0 (RFC 1741 3).
var binhexMark = []byte("(This file must be converted with BinHex")
