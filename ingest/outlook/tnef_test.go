package outlook_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"golang.org/x/tools/txtar"

	"postroom/ingest/message"
	"postroom/ingest/message/tnef/rtf"
	"postroom/ingest/outlook"
	"postroom/ingest/outlook/cfb"
	"postroom/internal/corpus"
)

// fixture reads a fixture: its mail, and the rules that its properties keep. A
// section winmail.dat describes TNEF (see stream), which stands in the mail in
// base64 in the place of the line "@winmail.dat".
func fixture(t testing.TB, name string) (raw []byte, rules string) {
	t.Helper()
	a, err := txtar.ParseFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var winmail []byte
	for _, f := range a.Files {
		switch f.Name {
		case "mail":
			raw = f.Data
		case "properties":
			rules = string(f.Data)
		case "winmail.dat":
			winmail = stream(t, string(f.Data))
		default:
			t.Fatalf("%s: section %s", filepath.Base(name), f.Name)
		}
	}
	text := base64.StdEncoding.EncodeToString(winmail)
	var lines strings.Builder
	for len(text) > 76 {
		lines.WriteString(text[:76] + "\n")
		text = text[76:]
	}
	raw = bytes.ReplaceAll(raw, []byte("@winmail.dat\n"), []byte(lines.String()+text+"\n"))
	return crlf(raw), rules
}

// properties of TNEF, in order.
type properties struct {
	n int
	b []byte
}

func (p *properties) list() []byte { return append(le32(uint32(p.n)), p.b...) }

func le32(v uint32) []byte { return binary.LittleEndian.AppendUint32(nil, v) }

func wide(s string) (b []byte) {
	for _, u := range utf16.Encode([]rune(s + "\x00")) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}

func padded(b []byte) []byte { return append(b, make([]byte, -len(b)&3)...) }

// stream writes TNEF (MS-OXTNEF 2.1.3) as it is described, a line for each thing:
//
//	TAG VALUE           a property, by its tag in hex
//	SET:NAME:TYPE VALUE a named one: the first field of its set in hex, its name
//	                    in hex or after an apostrophe, its type in hex
//	recipient           the properties that follow are of a recipient
//	attachment          likewise, of an attachment
//	message … end       a message that is the data of the attachment
//	ole                 a compound file that is
//	codepage N          attOemCodepage
//	attribute ID "…"    an attribute of the message, as it stands
//	damage              the last checksum is wrong
//	trailer             CR LF follow
//
// A value of type binary is hex, "quoted" or rtf TEXT, several ones are joined by |.
func stream(t testing.TB, text string) []byte {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(text), "\n")
	b, rest := oneStream(t, lines)
	if len(rest) > 0 {
		t.Fatalf("winmail.dat: %q is left", rest[0])
	}
	return b
}

func oneStream(t testing.TB, lines []string) (b []byte, rest []string) {
	t.Helper()
	b = append(le32(0x223E9F78), 0x34, 0x12)
	attribute := func(level byte, id uint32, data []byte) {
		b = append(b, level)
		b = append(append(append(b, le32(id)...), le32(uint32(len(data)))...), data...)
		var sum uint16
		for _, c := range data {
			sum += uint16(c)
		}
		b = binary.LittleEndian.AppendUint16(b, sum)
	}
	var message properties
	var recipients, attachments []*properties
	at := &message
	damaged, trailer := false, ""
	for len(lines) > 0 {
		line := strings.TrimSpace(lines[0])
		lines = lines[1:]
		word, value, _ := strings.Cut(line, " ")
		switch word {
		case "", "#":
		case "recipient":
			at = &properties{}
			recipients = append(recipients, at)
		case "attachment":
			at = &properties{}
			attachments = append(attachments, at)
		case "message":
			var inner []byte
			inner, lines = oneStream(t, lines)
			at.object(0x07, 0x03, inner)
		case "ole":
			at.object(0x0B, 0, ole(t))
		case "end":
			rest = lines
			lines = nil
		case "codepage":
			n, err := strconv.Atoi(value)
			if err != nil {
				t.Fatal(err)
			}
			attribute(1, 0x00069007, append(le32(uint32(n)), 0, 0, 0, 0))
		case "attribute":
			id, data, _ := strings.Cut(value, " ")
			attribute(1, uint32(number(t, id)), value8(t, data))
		case "damage":
			damaged = true
		case "trailer":
			trailer = "\r\n"
		default:
			at.add(t, word, value)
		}
	}
	attribute(1, 0x00069003, message.list())
	if len(recipients) > 0 {
		rows := le32(uint32(len(recipients)))
		for _, r := range recipients {
			rows = append(rows, r.list()...)
		}
		attribute(1, 0x00069004, rows)
	}
	for _, a := range attachments {
		attribute(2, 0x00069002, append([]byte{1, 0, 0xFF, 0xFF, 0xFF, 0xFF}, make([]byte, 8)...))
		attribute(2, 0x00069005, a.list())
	}
	if damaged {
		b[len(b)-1]++
	}
	return append(b, trailer...), rest
}

// object adds PidTagAttachDataObject with the interface of that identifier.
func (p *properties) object(iid0, iid1 byte, data []byte) {
	data = append([]byte{iid0, iid1, map[byte]byte{0x03: 2}[iid1], 0, 0, 0, 0, 0, 0xC0, 0, 0, 0, 0, 0, 0, 0x46}, data...)
	p.n++
	p.b = append(append(append(p.b, le32(0x3701000D)...), le32(1)...), le32(uint32(len(data)))...)
	p.b = append(p.b, padded(data)...)
}

func number(t testing.TB, s string) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(s, 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func (p *properties) add(t testing.TB, word, value string) {
	t.Helper()
	p.n++
	f := strings.Split(word, ":")
	typ := uint32(0)
	if len(f) == 3 {
		typ = uint32(number(t, f[2]))
		p.b = append(p.b, le32(0x80000000|typ)...)
		p.b = append(p.b, le32(uint32(number(t, f[0])))...)
		p.b = append(p.b, 0, 0, 0, 0, 0xC0, 0, 0, 0, 0, 0, 0, 0x46)
		if name, ok := strings.CutPrefix(f[1], "'"); ok {
			p.b = append(append(p.b, le32(1)...), le32(uint32(len(wide(name))))...)
			p.b = append(p.b, padded(wide(name))...)
		} else {
			p.b = append(append(p.b, le32(0)...), le32(uint32(number(t, f[1])))...)
		}
	} else {
		tag := uint32(number(t, word))
		typ = tag & 0xFFFF
		p.b = append(p.b, le32(tag)...)
	}
	values := []string{value}
	if typ&0x1000 != 0 {
		values = strings.Split(value, "|")
	}
	one := typ &^ 0x1000
	variable := one == 0x1E || one == 0x1F || one == 0x102 || one == 0x0D
	if variable || typ&0x1000 != 0 {
		p.b = append(p.b, le32(uint32(len(values)))...)
	}
	for _, v := range values {
		var b []byte
		switch one {
		case 0x1F:
			b = wide(v)
		case 0x1E:
			b = append(value8(t, v), 0)
		case 0x02, 0x03, 0x0B, 0x0A:
			n, err := strconv.ParseInt(v, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			b = le32(uint32(n))
			if one != 3 && one != 10 {
				b = b[:2]
			}
		case 0x40:
			at, err := time.Parse(time.RFC3339, v)
			if err != nil {
				t.Fatal(err)
			}
			b = binary.LittleEndian.AppendUint64(nil, uint64(at.Unix()+11644473600)*1e7)
		default:
			b = value8(t, v)
		}
		if variable {
			p.b = append(p.b, le32(uint32(len(b)))...)
		}
		p.b = append(p.b, padded(b)...)
	}
}

func value8(t testing.TB, v string) []byte {
	t.Helper()
	if doc, ok := strings.CutPrefix(v, "rtf "); ok {
		var b bytes.Buffer
		err := rtf.Compress(&b, func(w io.Writer) error { _, err := io.WriteString(w, doc); return err })
		if err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	if strings.HasPrefix(v, `"`) {
		s, err := strconv.Unquote(v)
		if err != nil {
			t.Fatal(err)
		}
		return []byte(s)
	}
	b, err := hex.DecodeString(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// ole is a compound file of another application.
func ole(t testing.TB) []byte {
	t.Helper()
	f := &file{}
	w := cfb.NewWriter(f)
	w.Root().SetClass(cfb.CLSID{1, 2, 3})
	sub, err := w.Root().Storage("Sub")
	if err == nil {
		err = w.Root().Put("\x01Ole", []byte("stream"))
	}
	if err == nil {
		err = sub.Put("CONTENTS", bytes.Repeat([]byte("x"), 5000))
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return f.b
}

// generated is content that is made while it is read: head, that many bytes, tail.
type generated struct {
	head, tail []byte
	size       int64
}

func (g *generated) total() int64 { return int64(len(g.head)) + g.size + int64(len(g.tail)) }

func (g *generated) ReadAt(p []byte, off int64) (n int, err error) {
	for n < len(p) {
		switch at := off + int64(n); {
		case at < int64(len(g.head)):
			n += copy(p[n:], g.head[at:])
		case at < int64(len(g.head))+g.size:
			k := min(int64(len(p)-n), int64(len(g.head))+g.size-at)
			for i := range k {
				p[n+int(i)] = byte((at + i) % 251)
			}
			n += int(k)
		case at < g.total():
			n += copy(p[n:], g.tail[at-int64(len(g.head))-g.size:])
		default:
			return n, io.EOF
		}
	}
	return n, nil
}

// inBase64 is a message of which the content is in base64.
type inBase64 struct {
	head    string
	content *generated
}

func (b *inBase64) size() int64 {
	n := b.content.total()
	return int64(len(b.head)) + n/57*78 + (n%57+2)/3*4
}

func (b *inBase64) ReadAt(p []byte, off int64) (n int, err error) {
	for n < len(p) {
		at := off + int64(n)
		if at < int64(len(b.head)) {
			n += copy(p[n:], b.head[at:])
			continue
		}
		at -= int64(len(b.head))
		var raw [57]byte
		var line [78]byte
		k, err := b.content.ReadAt(raw[:], at/78*57)
		if k == 0 {
			return n, err
		}
		base64.StdEncoding.Encode(line[:], raw[:k])
		length := int64((k + 2) / 3 * 4)
		if k == 57 {
			length += int64(copy(line[76:], "\r\n"))
		}
		if at%78 >= length {
			return n, io.EOF
		}
		n += copy(p[n:], line[at%78:length])
	}
	return n, nil
}

// largeTNEF is a message in TNEF with an attachment of that size.
func largeTNEF(t testing.TB, size int64) *message.Message {
	t.Helper()
	head := append(le32(0x223E9F78), 0x34, 0x12)
	attribute := func(id uint32, size int64, data []byte) {
		head = append(append(append(append(head, 2), le32(id)...), le32(uint32(size))...), data...)
	}
	rend := append([]byte{1, 0, 0xFF, 0xFF, 0xFF, 0xFF}, make([]byte, 8)...)
	attribute(0x00069002, int64(len(rend)), rend)
	head = append(head, 0xFD, 0x03) // its checksum
	var name properties
	name.add(t, "3707001F", "large.bin")
	list := name.list()
	attribute(0x00069005, int64(len(list)), list)
	var sum uint16
	for _, c := range list {
		sum += uint16(c)
	}
	head = binary.LittleEndian.AppendUint16(head, sum)
	attribute(0x0006800F, size, nil)
	g := &generated{head: head, size: size}
	sum = 0
	for at := range size {
		sum += uint16((int64(len(head)) + at) % 251)
	}
	g.tail = binary.LittleEndian.AppendUint16(nil, sum)
	raw := &inBase64{"Content-Type: application/ms-tnef\r\nContent-Transfer-Encoding: base64\r\n\r\n", g}
	m, err := message.Read(context.Background(), raw, raw.size(), message.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestMemoryOfTNEF: what is attached in TNEF is never in memory.
func TestMemoryOfTNEF(t *testing.T) {
	used := func(size int64) uint64 {
		m := largeTNEF(t, size)
		w := newPeak()
		report, err := outlook.Convert(context.Background(), w, m, outlook.Options{})
		if err != nil || len(report.Losses) > 0 || report.Size < size {
			t.Fatal(err, report)
		}
		return w.most
	}
	if small, big := used(1<<20), used(150<<20); big > small+1<<20 {
		t.Errorf("%d bytes of memory for an attachment of 1 MiB, %d for one of 150 MiB", small, big)
	}
}

// TestContextEndsInTNEF: while TNEF is looked at, too.
func TestContextEndsInTNEF(t *testing.T) {
	m := largeTNEF(t, 1<<20)
	// The message itself asks once, before.
	if _, err := outlook.Convert(&ending{Context: context.Background(), left: 3}, &counter{}, m, outlook.Options{}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// ending is a context that ends when it was asked that many times.
type ending struct {
	context.Context
	left int
}

func (e *ending) Err() error {
	if e.left--; e.left < 0 {
		return context.Canceled
	}
	return nil
}

// TestNULs: however many end a text, they are none of it.
func TestNULs(t *testing.T) {
	html := `"<p>a</p>` + strings.Repeat(`\x00`, 1<<20) + `<p>b</p>\x00"`
	raw := append([]byte("Content-Type: application/ms-tnef\r\n\r\n"), stream(t, "10130102 "+html)...)
	b, report := convert(t, raw, outlook.Options{})
	if c := readMsg(t, b); c.values["1000001F"] != "a\r\n\r\nb" || string(c.raw["10130102"]) != "<p>a</p><p>b</p>" || len(report.Losses) > 0 {
		t.Errorf("%q, %v", c.values["1000001F"], report.Losses)
	}
}

// TestOddBase64: TNEF in base64 that cannot be read from anywhere is held, up to
// the bound.
func TestOddBase64(t *testing.T) {
	winmail := base64.StdEncoding.EncodeToString(stream(t, "1000001F text\nattachment\n37050003 1\n37010102 \"data\""))
	raw := []byte("Content-Type: application/ms-tnef; name=winmail.dat\r\nContent-Transfer-Encoding: base64\r\n\r\n" + winmail[:40] + "\r\n*\r\n" + winmail[40:] + "\r\n")
	b, report := convert(t, raw, outlook.Options{})
	if c := readMsg(t, b); c.values["1000001F"] != "text" || len(report.Losses) > 0 {
		t.Error(report.Losses, c.dump())
	}
	b, report = convert(t, raw, outlook.Options{Memory: 10})
	if c := readMsg(t, b); c.values["attach0/3707001F"] != "winmail.dat" || len(report.Losses) != 1 {
		t.Error(report.Losses, c.dump())
	}
}

// TestTooManyInTNEF: what a message cannot have is in winmail.dat alone.
func TestTooManyInTNEF(t *testing.T) {
	text := "1000001F text\n" + strings.Repeat("recipient\n0C150003 1\n3001001F x\n", 2050) + strings.Repeat("attachment\n37050003 1\n37010102 00\n", 2050)
	winmail := base64.StdEncoding.EncodeToString(stream(t, text))
	b, report := convert(t, []byte("Content-Type: application/ms-tnef; name=winmail.dat\r\nContent-Transfer-Encoding: base64\r\n\r\n"+winmail), outlook.Options{})
	c := readMsg(t, b)
	if _, ok := c.values["attach2048/37050003"]; ok || c.values["attach2047/37010102"] != "00" || c.values["attach0/3707001F"] != "winmail.dat" {
		t.Error("not 2048 attachments")
	}
	if _, ok := c.values["recip2048/3001001F"]; ok || c.values["recip2047/3001001F"] != "x" {
		t.Error("not 2048 recipients")
	}
	if len(report.Losses) != 1 || !strings.Contains(report.Losses[0].What, "2 recipients") || !strings.Contains(report.Losses[0].What, "3 of its attachments") {
		t.Error(report.Losses)
	}
	another(t)("many in TNEF", b)
}

// TestEncapsulatedCorpus: HTML of real mail that RTF wraps comes out of it byte for
// byte, compressed and decompressed.
func TestEncapsulatedCorpus(t *testing.T) {
	n := 0
	for _, a := range corpus.Need(t) {
		for _, mail := range a.Mail {
			m := read(t, mail.Raw)
			for p := range m.All() {
				if p.Type != "text/html" {
					continue
				}
				text, err := m.Text(p, 16<<20)
				if err != nil || text.Cut {
					t.Fatal(err)
				}
				n++
				want := strings.ToValidUTF8(text.String, "\uFFFD")
				var b bytes.Buffer
				err = rtf.Compress(&b, func(w io.Writer) error { return rtf.Encapsulate(w, strings.NewReader(text.String)) })
				if err != nil {
					t.Fatal(err)
				}
				doc, err := rtf.Decompress(b.Bytes(), 256<<20)
				if err != nil {
					t.Fatal(mail.Name, err)
				}
				got, kind, err := rtf.Deencapsulate(doc)
				if err != nil || kind != rtf.HTML || got != want {
					t.Errorf("%s: %d bytes of HTML became %d (%v, %v)", mail.Name, len(want), len(got), kind, err)
				}
			}
		}
	}
	if n == 0 {
		t.Error("nothing was read")
	}
	t.Logf("%d texts", n)
}

// FuzzTNEF: any TNEF makes a file that is as it has to be. Its checksums are put
// right, so that it is made use of.
func FuzzTNEF(f *testing.F) {
	fixtures, err := filepath.Glob("testdata/*tnef*.txtar")
	if err != nil || len(fixtures) == 0 {
		f.Fatal("no fixtures", err)
	}
	for _, name := range fixtures {
		a, err := txtar.ParseFile(name)
		if err != nil {
			f.Fatal(err)
		}
		for _, s := range a.Files {
			if s.Name == "winmail.dat" {
				f.Add(stream(f, string(s.Data)))
			}
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		rightSums(b)
		raw := append([]byte("Content-Type: application/ms-tnef\r\nContent-Transfer-Encoding: binary\r\n\r\n"), b...)
		out, _ := convert(t, raw, outlook.Options{Memory: 64 << 10})
		readMsg(t, out)
	})
}

// rightSums puts the checksums of a stream right, and those of streams in it.
func rightSums(b []byte) {
	for off := 6; off+9 <= len(b); {
		n := int(binary.LittleEndian.Uint32(b[off+5:]))
		data := b[off+9:]
		if n < 0 || n+2 > len(data) {
			return
		}
		data = data[:n]
		if at := bytes.Index(data, le32(0x223E9F78)); at >= 0 {
			rightSums(data[at:])
		}
		var sum uint16
		for _, c := range data {
			sum += uint16(c)
		}
		binary.LittleEndian.PutUint16(b[off+9+n:], sum)
		off += 9 + n + 2
	}
}
