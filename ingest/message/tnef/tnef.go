// Package tnef reads the Transport Neutral Encapsulation Format (MS-OXTNEF), in
// which Outlook and Exchange send the body, the properties and all attachments
// of a message as one part: application/ms-tnef, mostly named winmail.dat.
//
// Open makes an index of a stream in one pass: what there is and where. Contents
// are read when they are asked for, as ranges of the stream, so that memory goes
// with the number of properties and never with the size of an attachment.
//
// A stream is read for all that it gives. What is odd and harmless is said in
// Message.Notes; where the structure breaks, Open returns what came before
// together with a *FormatError. Real streams are odd in these ways, and are read
// all the same:
//
//   - checksums are wrong, or the last one is missing: a note;
//   - line ends, padding or a few stray bytes follow the last attribute: a note.
//     More than that is an error, since it may be an attribute that is damaged;
//   - attributes of an attachment come without attAttachRendData, or data come
//     twice under one: each begins an attachment of its own;
//   - names come after the data, the method too: the whole set is read first;
//   - identifiers are written without their type: a note;
//   - the data of an attachment stand in attAttachData, in a property, or as a stub
//     in the one and whole in the other: the property goes first;
//   - a message that is attached lacks the identifier of its interface, or is said
//     to be a file: Attachment.Message looks at the data;
//   - single-valued properties have several values or none;
//   - 8-bit text is in another code page than attOemCodepage says, or has none: see
//     Message.CodePage; text that cannot be in it and is UTF-8 is read as UTF-8;
//   - an 8-bit name or subject has question marks where another property has it in
//     Unicode: Unicode goes first;
//   - addresses stand only in entry identifiers or search keys: they are read.
//
// A stream that comes within a message leaves out what the header of the message
// says: no subject, no date and no recipients here means that they are there.
package tnef

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"postroom/ingest/message/tnef/codepage"
)

// Signature begins every stream, in little-endian order (MS-OXTNEF 2.1.3.1).
const Signature = 0x223E9F78

// Bounds of what is read. A stream that exceeds one is damaged or hostile; what
// was read until there is kept, and values stay readable by Value.Open.
const (
	maxAttributes  = 1 << 18
	maxProperties  = 1 << 18 // of a message, its recipients and its attachments together
	maxValues      = 1 << 18 // likewise
	maxRecipients  = 1 << 16
	maxAttachments = 1 << 16
	maxName        = 64 << 10  // bytes of a property's name
	maxText        = 1 << 20   // bytes of a text that is no body
	maxNotes       = 100       // more are counted
	MaxBody        = 128 << 20 // MaxBody bounds a body that is read into memory, in bytes.
	MaxDepth       = 32        // MaxDepth bounds messages within messages.
)

// Errors of this package.
var (
	// ErrSignature: the stream is no TNEF.
	ErrSignature = errors.New("not TNEF: the signature is missing")
	// ErrTooLarge: a value exceeds what is read into memory; Value.Open gives it.
	ErrTooLarge = errors.New("value is too large to be read at once")
	// ErrDepth: messages are nested deeper than MaxDepth.
	ErrDepth = errors.New("messages are nested too deep")
	// ErrNoMessage: an attachment is no message.
	ErrNoMessage = errors.New("attachment holds no message")
)

// A FormatError says where the structure of a stream breaks.
type FormatError struct {
	Offset int64  // bytes from the beginning of the stream that was opened
	What   string // what is wrong
}

func (e *FormatError) Error() string { return fmt.Sprintf("TNEF at byte %d: %s", e.Offset, e.What) }

// Level tells what an attribute belongs to (MS-OXTNEF 2.1.3).
type Level uint8

const (
	LevelMessage    Level = 1
	LevelAttachment Level = 2
)

// An Attribute is one record of the stream (MS-OXTNEF 2.1.3).
type Attribute struct {
	Level Level
	ID    AttributeID
	Value // its data; Missing tells that the stream ends before it does
	// Checksum is what the stream says of the data, Sum what they have: the sum
	// of all bytes, modulo 65536.
	Checksum, Sum uint16
}

// A Message is what a stream holds.
type Message struct {
	// Key is the attach key, which ties the stream to the message that it came
	// with (MS-OXTNEF 2.1.3.1, LegacyKey).
	Key uint16
	// CodePage is that of all 8-bit text: attOemCodepage, that of the message
	// around it, or one that a property names; Windows-1252 when none does.
	CodePage codepage.ID
	// Attributes are those of the message level, in order, as they stand.
	Attributes []Attribute
	// Properties are those of attMsgProps, in order, then those that only an
	// attribute has (Property.From tells).
	Properties Properties
	// Recipients are the rows of attRecipTable.
	Recipients []Recipient
	// Attachments are in order of the stream, which is that of
	// Attachment.Number.
	Attachments []*Attachment
	// Notes say what is not as it should be and did no harm.
	Notes []string

	Class     string // PidTagMessageClass: "IPM.Note"
	Subject   string // PidTagSubject, or prefix and normalized subject
	MessageID string // PidTagInternetMessageId, with its angle brackets
	// From is who the message is from (PidTagSentRepresenting…), Sender who sent
	// it (PidTagSender…). One that is missing is taken from the other.
	From, Sender Address
	Sent         Date // PidTagClientSubmitTime
	Received     Date // PidTagMessageDeliveryTime
	Modified     Date // PidTagLastModificationTime

	depth int
}

// Open indexes the TNEF stream that is the first size bytes of r. r must stay
// readable as long as the result is used; it may be used concurrently if r may.
//
// The error is one of r, ErrSignature, or joins a *FormatError for each place
// where the structure breaks; then the message is not nil and holds what could be
// read.
func Open(r io.ReaderAt, size int64) (*Message, error) {
	return open(r, size, 0, 0)
}

// header is signature and key.
const headerSize = 6

// An attribute has level, ID and length before its data and a checksum after.
const (
	attributeHead = 9
	attributeTail = 2
)

// decoder is one pass over one stream.
type decoder struct {
	w      window
	m      *Message
	at     *Attachment // the one being read
	cp     codepage.ID // attOemCodepage, 0 before
	props  int         // budgets, used
	values int
	quiet  int // notes beyond maxNotes
	damage []error
}

func open(r io.ReaderAt, size int64, depth int, outer codepage.ID) (*Message, error) {
	d := &decoder{w: window{r: r, size: size}, m: &Message{depth: depth}}
	head, err := d.w.bytes(0, min(headerSize, max(0, size)))
	if err != nil {
		return nil, fmt.Errorf("read TNEF: %w", err)
	}
	if len(head) < 4 || binary.LittleEndian.Uint32(head) != Signature {
		return nil, ErrSignature
	}
	if len(head) < headerSize {
		return d.m, &FormatError{int64(len(head)), "it ends within its header"}
	}
	d.m.Key = binary.LittleEndian.Uint16(head[4:])
	if err := d.attributes(); err != nil {
		return nil, fmt.Errorf("read TNEF: %w", err)
	}
	d.codepage(outer)
	if err := d.digest(); err != nil {
		return nil, fmt.Errorf("read TNEF: %w", err)
	}
	if d.quiet > 0 {
		d.m.Notes = append(d.m.Notes, fmt.Sprintf("%d more notes", d.quiet))
	}
	return d.m, errors.Join(d.damage...)
}

func (d *decoder) note(format string, args ...any) {
	if len(d.m.Notes) >= maxNotes {
		d.quiet++
		return
	}
	d.m.Notes = append(d.m.Notes, fmt.Sprintf(format, args...))
}

func (d *decoder) broken(offset int64, format string, args ...any) {
	if len(d.damage) < maxNotes {
		d.damage = append(d.damage, &FormatError{offset, fmt.Sprintf(format, args...)})
	}
}

// attributes walks the stream. Its error is one of the reader.
func (d *decoder) attributes() error {
	off := int64(headerSize)
	for n := 0; off < d.w.size; n++ {
		rest := d.w.size - off
		head, err := d.w.bytes(off, min(attributeHead, rest))
		if err != nil {
			return err
		}
		level := Level(head[0])
		if level != LevelMessage && level != LevelAttachment {
			return d.rubbish(off, n)
		}
		if rest < attributeHead {
			d.broken(off, "it ends within the head of an attribute")
			return nil
		}
		if n >= maxAttributes {
			d.broken(off, "there are more than %d attributes", maxAttributes)
			return nil
		}
		a := Attribute{Level: level, ID: AttributeID(binary.LittleEndian.Uint32(head[1:]))}
		if known, ok := a.ID.known(); ok && known != a.ID {
			d.note("%v at byte %d is written with the type %#04x", known, off, uint32(a.ID>>16))
			a.ID = known
		}
		length := int64(binary.LittleEndian.Uint32(head[5:]))
		off += attributeHead
		a.Value = Value{r: d.w.r, off: off, n: min(length, d.w.size-off)}
		a.Missing = length - a.n
		if a.Sum, err = d.w.sum(off, a.n); err != nil {
			return err
		}
		end := off + a.n
		switch {
		case a.Missing > 0:
			d.broken(off, "%v has %d bytes of %d", a.ID, a.n, length)
		case d.w.size-end < attributeTail:
			d.note("it ends before the checksum of %v", a.ID) // and nothing is lost
		default:
			tail, err := d.w.bytes(end, attributeTail)
			if err != nil {
				return err
			}
			a.Checksum = binary.LittleEndian.Uint16(tail)
			if a.Checksum != a.Sum {
				d.note("the checksum of %v at byte %d is %#04x and should be %#04x", a.ID, off, a.Checksum, a.Sum)
			}
		}
		if err := d.attribute(a); err != nil {
			return err
		}
		off = end + attributeTail
	}
	return nil
}

// maxTrailer is how much may follow the last attribute without being the sign of
// a loss: the line ends and padding that transports add.
const maxTrailer = 512

// rubbish judges bytes where an attribute should be.
func (d *decoder) rubbish(off int64, attributes int) error {
	rest := d.w.size - off
	b, err := d.w.bytes(off, min(rest, maxTrailer))
	if err != nil {
		return err
	}
	blank := true
	for _, c := range b {
		blank = blank && (c == 0 || c == ' ' || c == '\r' || c == '\n' || c == 0x1A)
	}
	if attributes > 0 && (blank && rest <= maxTrailer || rest < attributeHead+attributeTail) {
		d.note("%d bytes follow the last attribute", rest)
		return nil
	}
	d.broken(off, "no attribute begins with the level %d; %d bytes are left unread", b[0], rest)
	return nil
}

// attribute files one attribute where it belongs.
func (d *decoder) attribute(a Attribute) error {
	if a.Level == LevelAttachment {
		return d.attachment(a)
	}
	d.m.Attributes = append(d.m.Attributes, a)
	switch a.ID {
	case AttOemCodepage:
		b, err := d.w.bytes(a.off, min(a.n, 4))
		if err != nil {
			return err
		}
		if len(b) == 4 && d.cp == 0 {
			d.cp = codepage.ID(binary.LittleEndian.Uint32(b))
		}
	case AttMsgProps:
		ps, _, err := d.properties(a.off, a.off+a.n, a.Missing > 0)
		d.m.Properties = append(d.m.Properties, ps...)
		return err
	case AttRecipTable:
		return d.recipients(a)
	case AttAttachRendData, AttAttachData, AttAttachTitle, AttAttachment:
		d.note("%v at byte %d is said to be of the message", a.ID, a.off)
	}
	return nil
}

// recipients reads attRecipTable (MS-OXTNEF 2.1.3.4): a count of rows, and the
// rows, each a list of properties.
func (d *decoder) recipients(a Attribute) error {
	if a.n < 4 {
		d.broken(a.off, "the table of recipients has no count")
		return nil
	}
	rows, err := d.w.uint32(a.off)
	if err != nil {
		return err
	}
	off, end := a.off+4, a.off+a.n
	for i := uint32(0); i < rows; i++ {
		if i >= maxRecipients {
			d.broken(off, "there are more than %d recipients", maxRecipients)
			return nil
		}
		before := len(d.damage)
		ps, next, err := d.properties(off, end, a.Missing > 0)
		if err != nil {
			return err
		}
		if len(ps) > 0 || len(d.damage) == before {
			d.m.Recipients = append(d.m.Recipients, Recipient{Properties: ps})
		}
		if len(d.damage) > before {
			return nil
		}
		off = next
	}
	return nil
}

// attachment files an attribute of an attachment. A set of them begins with
// attAttachRendData (MS-OXTNEF 2.1.3.3.15); where that is missing, one begins
// with the first attribute, and when the data come for a second time.
func (d *decoder) attachment(a Attribute) error {
	begins := a.ID == AttAttachRendData
	if !begins {
		switch {
		case d.at == nil:
			d.note("%v at byte %d is of an attachment that was not announced", a.ID, a.off)
			begins = true
		case a.ID == AttAttachData && d.at.attribute(AttAttachData) != nil:
			d.note("%v at byte %d is the second of its attachment and begins another", a.ID, a.off)
			begins = true
		}
	}
	if begins {
		if len(d.m.Attachments) >= maxAttachments {
			if len(d.m.Attachments) == maxAttachments && d.at != nil {
				d.broken(a.off, "there are more than %d attachments", maxAttachments)
			}
			return nil
		}
		d.at = &Attachment{Number: len(d.m.Attachments), m: d.m}
		d.m.Attachments = append(d.m.Attachments, d.at)
	}
	d.at.Attributes = append(d.at.Attributes, a)
	if a.ID == AttAttachment {
		ps, _, err := d.properties(a.off, a.off+a.n, a.Missing > 0)
		d.at.Properties = append(d.at.Properties, ps...)
		return err
	}
	return nil
}

// codepage settles what 8-bit text is in. A message within another inherits,
// since writers differ in whether they repeat it (MS-OXTNEF 2.3).
func (d *decoder) codepage(outer codepage.ID) {
	pick := func(cp codepage.ID) bool {
		if !codepage.Known(cp) {
			return false
		}
		d.m.CodePage = cp
		return true
	}
	if pick(d.cp) {
		return
	}
	if d.cp != 0 {
		d.note("code page %d is unknown", d.cp)
	}
	if pick(outer) {
		return
	}
	for _, tag := range []Tag{PidTagMessageCodepage, PidTagInternetCodepage} {
		if p := d.m.Properties.Get(tag); p != nil {
			if n, err := p.Int(); err == nil && pick(codepage.ID(n)) {
				return
			}
		}
	}
	d.m.CodePage = codepage.Windows1252
}

// window reads little pieces of r through a buffer.
type window struct {
	r    io.ReaderAt
	size int64
	off  int64 // of buf
	buf  []byte
	own  []byte
}

const windowSize = 64 << 10

// bytes gives n ≤ windowSize bytes at off, which must lie within the stream. They
// are good until the next call.
func (w *window) bytes(off, n int64) ([]byte, error) {
	if off < 0 || n < 0 || n > windowSize || off+n > w.size {
		return nil, fmt.Errorf("%d bytes at %d are outside of the stream", n, off)
	}
	if off < w.off || off+n > w.off+int64(len(w.buf)) {
		if w.own == nil {
			w.own = make([]byte, min(windowSize, w.size))
		}
		w.off, w.buf = off, w.own[:min(int64(len(w.own)), w.size-off)]
		if k, err := w.r.ReadAt(w.buf, off); k < len(w.buf) {
			w.buf = nil
			if err == nil || errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
	return w.buf[off-w.off:][:n], nil
}

func (w *window) uint32(off int64) (uint32, error) {
	b, err := w.bytes(off, 4)
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint32(b), nil
}

// sum adds up n bytes at off, which is the checksum (MS-OXTNEF 2.1.3).
func (w *window) sum(off, n int64) (uint16, error) {
	var s uint16
	for n > 0 {
		k := min(n, windowSize)
		b, err := w.bytes(off, k)
		if err != nil {
			return 0, err
		}
		for _, c := range b {
			s += uint16(c)
		}
		off, n = off+k, n-k
	}
	return s, nil
}
