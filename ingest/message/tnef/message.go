package tnef

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"postroom/ingest/message/mapi"
	"postroom/ingest/message/tnef/codepage"
	"postroom/ingest/message/tnef/rtf"
)

// A Date is a point in time, zero when there is none.
type Date struct {
	time.Time
	// NoZone: it was taken from an attribute, which has the wall clock of the
	// writer without its zone; Time has that clock in UTC and may be hours off.
	NoZone bool
}

// An Address is a person as MAPI knows one.
type Address struct {
	Name  string
	Type  string // "SMTP", "EX", "FAX", …
	Email string // of that type: with EX a distinguished name
	// SMTP is the internet address, empty when the stream has none.
	SMTP string
}

// IsZero says that nothing is known.
func (a Address) IsZero() bool { return a == Address{} }

// RecipientType is PidTagRecipientType without its flags (MS-OXOMSG 2.2.3.1).
type RecipientType int

const (
	Originator RecipientType = 0
	To         RecipientType = 1
	Cc         RecipientType = 2
	Bcc        RecipientType = 3
)

// A Recipient is a row of attRecipTable.
type Recipient struct {
	Address
	Kind       RecipientType
	Properties Properties
}

// Methods of attachments (MS-OXCMSG 2.2.2.9, PidTagAttachMethod).
const (
	MethodNone        = 0
	MethodFile        = 1 // the data are the file
	MethodReference   = 2 // a path only (PidTagAttachLongPathname), as 3 and 4
	MethodMessage     = 5 // a message: Attachment.Message
	MethodOLE         = 6 // an OLE object: a compound file mostly
	MethodWebReferral = 7 // a link to where the file is kept
)

// An Attachment is one set of attachment attributes.
type Attachment struct {
	Number     int // place in the stream, from 0
	Attributes []Attribute
	// Properties are those of attAttachment, in order, then those that only an
	// attribute has.
	Properties Properties

	// Names are as they were sent: not safe as file names, and each may be empty.
	LongName      string // PidTagAttachLongFilename: "Quarterly report.docx"
	Name          string // PidTagAttachFilename or attAttachTitle: "QUARTE~1.DOC", often the long one
	TransportName string // PidTagAttachTransportName
	DisplayName   string // PidTagDisplayName: for messages, their subject

	MediaType       string // PidTagAttachMimeTag
	ContentID       string // PidTagAttachContentId, without angle brackets
	ContentLocation string // PidTagAttachContentLocation
	Path            string // PidTagAttachLongPathname or PidTagAttachPathname: of a file that is not in the stream
	Method          int    // PidTagAttachMethod
	Flags           uint32 // PidTagAttachFlags; 4: it belongs to the HTML (MS-OXCMSG 2.2.2.18)
	Hidden          bool   // PidTagAttachmentHidden
	// RenderingPosition is the character of the body that it stands at, -1 for
	// none (MS-OXCMSG 2.2.2.16).
	RenderingPosition int32
	MacBinary         bool // the data are a MacBinary file (MS-OXCMSG 2.2.2.20)
	Created, Modified Date

	m *Message
}

func (a *Attachment) attribute(id AttributeID) *Attribute {
	for i := range a.Attributes {
		if a.Attributes[i].ID == id {
			return &a.Attributes[i]
		}
	}
	return nil
}

// FileName is the best of the names: the long one, the one for transport, the
// short one, that for display; empty when there is none.
func (a *Attachment) FileName() string {
	for _, s := range []string{a.LongName, a.TransportName, a.Name, a.DisplayName} {
		if s != "" {
			return s
		}
	}
	return ""
}

// Data is what is attached: PidTagAttachDataObject or PidTagAttachDataBinary,
// else attAttachData. Its Missing tells that it is cut short.
func (a *Attachment) Data() Value {
	var best *Property
	for i := range a.Properties {
		p := &a.Properties[i]
		if p.Tag.ID() != PidTagAttachDataObject.ID() || p.Name != nil || len(p.Values) == 0 {
			continue
		}
		// An attribute's comes after the encapsulated ones.
		if best == nil || best.Values[0].n == 0 && p.Values[0].n > 0 {
			best = p
		}
	}
	if best == nil {
		return Value{}
	}
	return best.Values[0]
}

// Size is that of the data in bytes.
func (a *Attachment) Size() int64 { return a.Data().n }

// Open gives the data, byte for byte. It may be called any number of times.
func (a *Attachment) Open() *io.SectionReader { return a.Data().Open() }

// Rendering is the picture that stands for the attachment, a Windows metafile
// mostly (PidTagAttachRendering).
func (a *Attachment) Rendering() Value {
	if p := a.Properties.Get(PidTagAttachRendering); p != nil {
		return p.Values[0]
	}
	return Value{}
}

// IsMessage says that the attachment is meant to be a message, which Message
// opens.
func (a *Attachment) IsMessage() bool {
	return a.Method == MethodMessage || a.Data().Interface == IIDMessage
}

// Message opens a message that is attached (MS-OXTNEF 2.1.3.4): its data are a
// TNEF stream, and offsets of errors are those in it. It tries the data of any
// attachment; ErrNoMessage says that they are something else. Its errors are
// those of Open besides, and ErrDepth.
func (a *Attachment) Message() (*Message, error) {
	depth := a.m.depth + 1
	if depth >= MaxDepth {
		return nil, ErrDepth
	}
	v := a.Data()
	m, err := open(v.Open(), v.n, depth, a.m.CodePage)
	if errors.Is(err, ErrSignature) && v.Interface != (GUID{}) {
		// A writer that leaves out the interface.
		v.off, v.n = v.off-16, v.n+16
		m, err = open(v.Open(), v.n, depth, a.m.CodePage)
	}
	if errors.Is(err, ErrSignature) {
		return nil, ErrNoMessage
	}
	return m, err
}

// digest fills in what callers mostly want. Its error is one of the reader.
func (d *decoder) digest() error {
	m := d.m
	c := &collector{d: d, cp: m.CodePage}
	class := c.text(m.Properties, PidTagMessageClass)
	if class == "" {
		for _, a := range m.Attributes {
			if a.ID == AttMessageClass {
				class = c.class(a)
			}
		}
	}
	m.Properties = c.complete(m.Properties, m.Attributes, class)
	ps := m.Properties

	m.Class = c.text(ps, PidTagMessageClass)
	m.Subject = c.subject(ps)
	m.MessageID = c.text(ps, PidTagInternetMessageID)
	m.From = c.address(ps, PidTagSentRepresentingName, PidTagSentRepresentingAddressType, PidTagSentRepresentingEmailAddress,
		PidTagSentRepresentingSMTPAddress, PidTagSentRepresentingEntryID, PidTagSentRepresentingSearchKey)
	m.Sender = c.address(ps, PidTagSenderName, PidTagSenderAddressType, PidTagSenderEmailAddress,
		PidTagSenderSMTPAddress, PidTagSenderEntryID, PidTagSenderSearchKey)
	if m.From.IsZero() {
		m.From = m.Sender
	}
	if m.Sender.IsZero() {
		m.Sender = m.From
	}
	m.Sent = c.date(ps, PidTagClientSubmitTime)
	m.Received = c.date(ps, PidTagMessageDeliveryTime)
	m.Modified = c.date(ps, PidTagLastModificationTime)

	for i := range m.Recipients {
		r := &m.Recipients[i]
		r.Kind = RecipientType(c.int(r.Properties, PidTagRecipientType, int64(To)) & 0x0FFFFFFF)
		r.Address = c.address(r.Properties, PidTagDisplayName, PidTagAddressType, PidTagEmailAddress, PidTagSMTPAddress,
			PidTagEntryID, PidTagSearchKey)
		for _, tag := range []Tag{PidTagRecipientDisplayName, PidTagTransmittableDisplayName} {
			if r.Name == "" {
				r.Name = c.text(r.Properties, tag)
			}
		}
	}
	for _, a := range m.Attachments {
		c.attachment(a)
	}
	return c.err
}

// A collector reads values for the digest. What is of another type or too large
// is left out; the first error of the reader is kept.
type collector struct {
	d   *decoder
	cp  codepage.ID
	err error
}

func (c *collector) keep(err error, tag Tag) {
	switch {
	case err == nil || errors.Is(err, errType):
	case errors.Is(err, ErrTooLarge):
		c.d.note("property %v is too large for what it is: %v", tag, err)
	case c.err == nil:
		c.err = err
	}
}

func (c *collector) text(ps Properties, tag Tag) string {
	p := ps.Get(tag)
	if p == nil || c.err != nil {
		return ""
	}
	s, err := p.Text(c.cp)
	c.keep(err, p.Tag)
	return s
}

func (c *collector) int(ps Properties, tag Tag, otherwise int64) int64 {
	p := ps.Get(tag)
	if p == nil || c.err != nil {
		return otherwise
	}
	n, err := p.Int()
	c.keep(err, p.Tag)
	if err != nil {
		return otherwise
	}
	return n
}

func (c *collector) bytes(ps Properties, tag Tag) []byte {
	p := ps.Get(tag)
	if p == nil || c.err != nil {
		return nil
	}
	b, err := p.Values[0].bytes(maxText)
	c.keep(err, p.Tag)
	return b
}

func (c *collector) date(ps Properties, tag Tag) Date {
	p := ps.Get(tag)
	if p == nil || c.err != nil {
		return Date{}
	}
	t, err := p.Time()
	c.keep(err, p.Tag)
	if t.IsZero() {
		return Date{}
	}
	return Date{t, p.From != 0}
}

func (c *collector) class(a Attribute) string {
	b, err := a.bytes(maxText)
	c.keep(err, PidTagMessageClass)
	return mapClass(cstring(b))
}

// complete appends what the attributes say and no property does (MS-OXTNEF
// 2.1.3.4: encapsulated properties go first). Of an attribute that comes twice
// the first is taken that says anything.
func (c *collector) complete(ps Properties, as []Attribute, class string) Properties {
	done := map[AttributeID]bool{}
	for _, a := range as {
		if c.err != nil {
			break
		}
		if done[a.ID] {
			continue
		}
		made, err := translate(a, class)
		c.keep(err, 0)
		done[a.ID] = len(made) > 0
		for _, p := range made {
			if has := ps.Get(p.Tag); has == nil || has.Values[0].n == 0 {
				ps = append(ps, p)
			}
		}
	}
	return ps
}

// subject is the subject in Unicode if any property has it so: attSubject, which
// is 8-bit, often lacks letters.
func (c *collector) subject(ps Properties) string {
	p := ps.Get(PidTagSubject)
	normal := ps.Get(PidTagNormalizedSubject)
	unicode := func(p *Property) bool { return p != nil && p.Tag.Type() == TypeString }
	if normal != nil && !unicode(p) && (p == nil || unicode(normal)) {
		return c.text(ps, PidTagSubjectPrefix) + c.text(ps, PidTagNormalizedSubject)
	}
	s := c.text(ps, PidTagSubject)
	if len(s) >= 2 && s[0] == 1 {
		s = s[2:] // the length of the prefix, as message stores keep it
	}
	return s
}

// address puts together what properties say of a person.
func (c *collector) address(ps Properties, name, kind, email, smtp, entry, search Tag) Address {
	a := Address{Name: c.text(ps, name), Type: c.text(ps, kind), Email: c.text(ps, email), SMTP: c.text(ps, smtp)}
	one, ok := mapi.ParseOneOff(c.bytes(ps, entry), c.cp)
	ok = ok && one.Address != ""
	if ok {
		if a.Name == "" {
			a.Name = one.Name
		}
		if a.Email == "" {
			a.Type, a.Email = one.Type, one.Address
		}
	}
	if a.Type == "" && strings.HasPrefix(strings.ToUpper(a.Email), "SMTP:") {
		a.Type, a.Email = "SMTP", a.Email[len("SMTP:"):]
	}
	internet := strings.EqualFold(a.Type, "SMTP") || a.Type == "" && strings.Contains(a.Email, "@")
	switch {
	case internet && a.Email != "":
		a.SMTP = a.Email
	case a.SMTP != "":
	case ok && strings.EqualFold(one.Type, "SMTP"):
		a.SMTP = one.Address
	default:
		// Search keys are in upper case; better that than nothing.
		if t, addr, ok := bytes.Cut(c.bytes(ps, search), []byte{':'}); ok && bytes.EqualFold(t, []byte("SMTP")) {
			a.SMTP = cstring(addr)
		}
	}
	return a
}

func (c *collector) attachment(a *Attachment) {
	a.Properties = c.complete(a.Properties, a.Attributes, "")
	ps := a.Properties
	a.LongName = c.text(ps, PidTagAttachLongFilename)
	a.Name = c.text(ps, PidTagAttachFilename)
	a.TransportName = c.text(ps, PidTagAttachTransportName)
	a.DisplayName = c.text(ps, PidTagDisplayName)
	a.MediaType = c.text(ps, PidTagAttachMimeTag)
	a.ContentID = strings.TrimSuffix(strings.TrimPrefix(c.text(ps, PidTagAttachContentID), "<"), ">")
	a.ContentLocation = c.text(ps, PidTagAttachContentLocation)
	a.Path = c.text(ps, PidTagAttachLongPathname)
	if a.Path == "" {
		a.Path = c.text(ps, PidTagAttachPathname)
	}
	a.Method = int(c.int(ps, PidTagAttachMethod, MethodNone))
	a.Flags = uint32(c.int(ps, PidTagAttachFlags, 0))
	a.Hidden = c.int(ps, PidTagAttachmentHidden, 0) != 0
	a.RenderingPosition = int32(c.int(ps, PidTagRenderingPosition, -1))
	a.Created = c.date(ps, PidTagCreationTime)
	a.Modified = c.date(ps, PidTagLastModificationTime)
	if r := a.attribute(AttAttachRendData); r != nil && c.err == nil {
		b, err := r.bytes(maxText)
		c.keep(err, 0)
		if rend, ok := parseRendData(b); ok {
			a.MacBinary = rend.macBinary
		} else if err == nil {
			c.d.note("attAttachRendData of attachment %d has %d bytes", a.Number, r.n)
		}
	}
	if bytes.Equal(c.bytes(ps, PidTagAttachEncoding), macBinaryOID) {
		a.MacBinary = true
	}
}

// macBinaryOID is the value of PidTagAttachEncoding for MacBinary (MS-OXCMSG
// 2.2.2.20).
var macBinaryOID = []byte{0x2A, 0x86, 0x48, 0x86, 0xF7, 0x14, 0x03, 0x0B, 0x01}

// A Body is what a message says, in all the forms that it has. The one that it was
// written in is HTML when there is any, else the RTF when RTFKind is rtf.Native,
// else the text.
type Body struct {
	Text string // PidTagBody, or attBody
	HTML string // PidTagHtml, in UTF-8, whatever charset it states in itself
	// HTMLCodePage is what the HTML was decoded from.
	HTMLCodePage codepage.ID
	RTF          []byte   // PidTagRtfCompressed, decompressed
	RTFKind      rtf.Kind // what the RTF wraps
	// TextFromRTF, HTMLFromRTF: the message has it only within its RTF.
	TextFromRTF, HTMLFromRTF bool
	// Notes say what is not as it should be.
	Notes []string
}

// Body reads the body into memory. The error is one of the reader or ErrTooLarge;
// what was read before it is there.
func (m *Message) Body() (Body, error) {
	var b Body
	if p := m.Properties.Get(PidTagBody); p != nil {
		s, err := p.text(m.CodePage, MaxBody)
		if err != nil && !errors.Is(err, errType) {
			return b, fmt.Errorf("read body: %w", err)
		}
		b.Text = s
	}
	if err := m.html(&b); err != nil {
		return b, fmt.Errorf("read HTML body: %w", err)
	}
	p := m.Properties.Get(PidTagRtfCompressed)
	if p == nil || p.Values[0].n == 0 {
		return b, nil
	}
	data, err := p.Values[0].Bytes()
	if err != nil {
		return b, fmt.Errorf("read RTF body: %w", err)
	}
	if b.RTF, err = rtf.Decompress(data, MaxBody); errors.Is(err, rtf.ErrTooLarge) {
		b.RTF = nil
		return b, fmt.Errorf("read RTF body: %w", ErrTooLarge)
	} else if err != nil {
		b.Notes = append(b.Notes, fmt.Sprintf("RTF body: %v", err))
	}
	if len(b.RTF) == 0 {
		return b, nil
	}
	text, kind, err := rtf.Deencapsulate(b.RTF)
	b.RTFKind = kind
	if err != nil {
		b.Notes = append(b.Notes, fmt.Sprintf("RTF body: %v", err))
	}
	switch {
	case kind == rtf.HTML && b.HTML == "":
		b.HTML, b.HTMLFromRTF, b.HTMLCodePage = text, text != "", codepage.UTF8
	case kind != rtf.HTML && strings.TrimSpace(b.Text) == "" && strings.TrimSpace(text) != "":
		b.Text, b.TextFromRTF = text, true
	}
	return b, nil
}

// html reads PidTagHtml: bytes in PidTagInternetCodepage, or a string
// (MS-OXCMSG 2.2.1.56.9).
func (m *Message) html(b *Body) error {
	p := m.Properties.Get(PidTagHTML)
	if p == nil {
		return nil
	}
	if t := p.Tag.Type(); t == TypeString || t == TypeString8 {
		s, err := p.text(m.CodePage, MaxBody)
		b.HTML, b.HTMLCodePage = s, m.CodePage
		if t == TypeString {
			b.HTMLCodePage = codepage.UTF16LE
		}
		return err
	}
	data, err := p.Values[0].Bytes()
	if err != nil {
		return err
	}
	cp := m.CodePage
	if q := m.Properties.Get(PidTagInternetCodepage); q != nil {
		n, err := q.Int()
		if err != nil && !errors.Is(err, errType) {
			return err
		}
		if codepage.Known(codepage.ID(n)) {
			cp = codepage.ID(n)
		} else if err == nil {
			b.Notes = append(b.Notes, fmt.Sprintf("HTML body: code page %d is unknown", n))
		}
	}
	switch {
	case bytes.HasPrefix(data, []byte("\xEF\xBB\xBF")):
		cp, data = codepage.UTF8, data[3:]
	case bytes.HasPrefix(data, []byte("\xFF\xFE")):
		cp, data = codepage.UTF16LE, data[2:]
	}
	b.HTMLCodePage = cp
	b.HTML = codepage.DecodeLoose(cp, bytes.TrimRight(data, "\x00"))
	if cp == codepage.UTF16LE {
		b.HTML = strings.TrimRight(mapi.DecodeUTF16(data), "\x00")
	}
	return nil
}
