package outlook

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"postroom/ingest/message"
)

// macBinaryOID is PidTagAttachEncoding of a file in MacBinary (MS-OXCMSG 2.2.2.20).
var macBinaryOID = []byte{0x2A, 0x86, 0x48, 0x86, 0xF7, 0x14, 0x03, 0x0B, 0x01}

// macintosh is what an attachment of a Macintosh has besides its content.
type macintosh struct {
	info    []byte           // PidTagAttachAdditionalInformation
	content string           // Content-Type of the data
	header  func() io.Reader // what describes the file
}

// appleFiles makes one file of each Macintosh file: MacBinary, with both forks
// (MS-OXCMAIL 2.2.3.4.2). What cannot be read as one stays as it is. The error is
// one of the raw bytes.
func (c *converter) appleFiles(m *message.Message, root *message.Part, files []*file, place string) ([]*file, error) {
	at := func(p *message.Part) int {
		return slices.IndexFunc(files, func(f *file) bool { return f.part == p && f.m == m })
	}
	double := map[*message.Part]bool{} // headers that have their data beside them
	for p := range within(root) {
		var header, data *message.Part
		switch {
		case p.Type == "multipart/appledouble" && len(p.Parts) == 2:
			header, data = p.Parts[0], p.Parts[1]
			if header.Type != "application/applefile" {
				header, data = data, header
			}
			double[header] = true
			if header.Type != "application/applefile" || data.IsMultipart() || data.IsMessage() || at(header) < 0 || at(data) < 0 {
				continue
			}
		case p.Type == "application/applefile" && !double[p] && at(p) >= 0:
			header = p
		default:
			continue
		}
		one, err := c.macBinary(m, header, data)
		if errors.Is(err, errApple) {
			c.lose(place, "a file of a Macintosh is attached as it stands: %v", err)
			continue
		}
		if err != nil {
			return nil, err
		}
		if data == nil {
			files[at(header)] = one
			continue
		}
		one.mime = p.Type
		one.name = either(p.Name, either(data.Name, either(header.Name, one.name)))
		files[at(data)] = one
		i := slices.IndexFunc(files, func(f *file) bool { return f.part == header })
		files = slices.Delete(files, i, i+1)
	}
	return files, nil
}

// errApple: a part is no AppleSingle, or AppleDouble.
var errApple = errors.New("its header cannot be read")

// Entries of AppleSingle (RFC 1740, appendix A).
const (
	appleData     = 1
	appleResource = 2
	appleName     = 3
	appleDates    = 8
	appleFinder   = 9
	appleMacInfo  = 10
)

// macBinary makes MacBinary III of a header and the data beside it; without data,
// these are in the header (MS-OXCMAIL 2.2.3.4.2.2).
func (c *converter) macBinary(m *message.Message, header, data *message.Part) (*file, error) {
	raw, size, err := m.OpenAt(header, c.options.Memory)
	if err != nil {
		return nil, err
	}
	if raw == nil {
		return nil, fmt.Errorf("%w: its encoding is damaged, and it has more than %d bytes", errApple, c.options.Memory)
	}
	entries, err := appleEntries(raw, size)
	if err != nil {
		return nil, err
	}
	read := func(id uint32, most int64) ([]byte, error) {
		e := entries[id]
		if e == nil {
			return nil, nil
		}
		b := make([]byte, min(e.Size(), most))
		_, err := e.ReadAt(b, 0)
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return b, err
	}
	be := binary.BigEndian
	h := make([]byte, 128)
	name, err := read(appleName, 63)
	if err != nil {
		return nil, err
	}
	finder, err := read(appleFinder, 16)
	if err != nil {
		return nil, err
	}
	dates, err := read(appleDates, 8)
	if err != nil {
		return nil, err
	}
	attributes, err := read(appleMacInfo, 4)
	if err != nil {
		return nil, err
	}
	h[1] = byte(len(name))
	copy(h[2:], name)
	if len(finder) == 16 {
		copy(h[65:73], finder) // type, creator
		h[73], h[101] = finder[8], finder[9]
		copy(h[75:81], finder[10:]) // location, folder
	}
	if len(dates) == 8 {
		copy(h[91:99], dates)
	}
	if len(attributes) == 4 {
		h[81] = attributes[3] >> 1 & 1
	}
	fork := func(id uint32) (int64, func() io.Reader) {
		e := entries[id]
		if e == nil {
			return 0, func() io.Reader { return bytes.NewReader(nil) }
		}
		return e.Size(), func() io.Reader { return io.NewSectionReader(e, 0, e.Size()) }
	}
	dataSize, dataFork := fork(appleData)
	part := header
	if data != nil {
		part = data
		dataFork = func() io.Reader { return m.Open(data) }
		if dataSize, err = io.Copy(stopper{c.ctx, io.Discard}, dataFork()); err != nil {
			return nil, err
		}
	}
	resourceSize, resourceFork := fork(appleResource)
	be.PutUint32(h[83:], uint32(dataSize))
	be.PutUint32(h[87:], uint32(resourceSize))
	copy(h[102:], "mBIN")
	h[122], h[123] = 130, 129
	be.PutUint16(h[124:], crcCCITT(h[:124]))
	f := &file{part: part, m: m, mime: "application/applefile", name: either(header.Name, string(name))}
	f.open = func() io.Reader {
		return io.MultiReader(bytes.NewReader(h), dataFork(), padding(dataSize), resourceFork(), padding(resourceSize))
	}
	f.mac = &macintosh{header: func() io.Reader { return io.NewSectionReader(raw, 0, size) }}
	f.mac.info = escapeApple([]byte{':'}, h[69:73])
	f.mac.info = append(escapeApple(append(f.mac.info, ':'), h[65:69]), 0)
	if data != nil {
		f.mac.content = oneLine(data.Header.Raw("Content-Type"))
		f.ending = data.Type
	}
	return f, nil
}

// appleEntries returns the entries of AppleSingle or AppleDouble.
func appleEntries(r io.ReaderAt, size int64) (map[uint32]*io.SectionReader, error) {
	const head, entry = 26, 12
	h := make([]byte, head)
	if size < head {
		return nil, errApple
	}
	if _, err := r.ReadAt(h, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	be := binary.BigEndian
	if magic := be.Uint32(h); magic != 0x00051600 && magic != 0x00051607 {
		return nil, errApple
	}
	n := int64(be.Uint16(h[24:]))
	if size < head+n*entry {
		return nil, errApple
	}
	list := make([]byte, n*entry)
	if _, err := r.ReadAt(list, head); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	entries := map[uint32]*io.SectionReader{}
	for ; len(list) > 0; list = list[entry:] {
		off, length := int64(be.Uint32(list[4:])), int64(be.Uint32(list[8:]))
		if off+length > size {
			return nil, errApple
		}
		entries[be.Uint32(list)] = io.NewSectionReader(r, off, length)
	}
	return entries, nil
}

// padding fills what has that size up to a multiple of 128.
func padding(size int64) io.Reader { return bytes.NewReader(make([]byte, -size&127)) }

// crcCCITT is the checksum of MacBinary.
func crcCCITT(b []byte) (crc uint16) {
	for _, c := range b {
		crc ^= uint16(c) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return crc
}

// escapeApple appends a code of four letters as PidTagAttachAdditionalInformation
// has it (MS-OXCMAIL 2.2.3.4.2.1).
func escapeApple(to, code []byte) []byte {
	for _, b := range code {
		switch {
		case b == '\\' || b == ':' || b == ';':
			to = append(to, '\\', b)
		case b < 32 || b > 251 || b == 127:
			to = append(to, fmt.Sprintf(`\%03o`, b)...)
		default:
			to = append(to, b)
		}
	}
	return to
}

// write sets the properties of a Macintosh file.
func (f *macintosh) write(c *converter, o *object) {
	if f == nil {
		return
	}
	o.binary(pidTagAttachEncoding, macBinaryOID)
	o.binary(pidTagAttachAdditionalInfo, f.info)
	if t, ok := o.named(pidNameMacInfo, typeBinary); ok {
		o.stream(t, func(w io.Writer) error {
			_, err := io.Copy(stopper{c.ctx, w}, f.header())
			return err
		})
	}
	if t, ok := o.named(pidNameMacContentType, typeString); ok {
		o.text(t, f.content)
	}
}
