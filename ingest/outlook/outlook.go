// Package outlook converts Internet mail to the file format of Outlook: .msg, a
// compound file (MS-CFB) with the properties of a message (MS-OXMSG), as Exchange
// makes them of mail (MS-OXCMAIL 2.2), and such files to Internet mail (2.1).
package outlook

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"time"

	"postroom/ingest/message"
	"postroom/ingest/outlook/cfb"
)

// Options are what a message does not say itself. The zero value is good.
type Options struct {
	// Received is when the message arrived; if zero, the newest date of its
	// Received fields, else that of its Date field.
	Received time.Time
	// Mailbox is the address of the mailbox in which the message was found; empty
	// if it is not known.
	Mailbox string
	// Unread marks the message as not yet read.
	Unread bool
	// Known, if set, reports whether it is known that the text, which comes after
	// that of the message, becomes an attachment: that is then no loss.
	Known func(*message.Part) bool
	// Limits bound what is read of messages that are attached in an encoding.
	Limits message.Limits
	// Memory bounds such messages, each of which is held in memory with those that it
	// is in while it is converted; what is larger becomes a file. Default 8 MiB.
	Memory int64
}

// Report says what became of a message.
type Report struct {
	Class  string // PidTagMessageClass, such as IPM.Note
	Size   int64  // of the file, in bytes
	Losses []Loss
}

// Loss is something that the file has not, or not as the message has it.
type Loss struct {
	Place string // which attached message it is of; empty for the message itself
	What  string // for a person: what it is, and where it is kept instead
}

// String returns the loss as one line.
func (l Loss) String() string {
	if l.Place == "" {
		return l.What
	}
	return l.Place + ": " + l.What
}

// maxLosses is how many losses a report lists.
const maxLosses = 100

// messageClass is the class of the root storage, by which Outlook knows its files.
var messageClass = cfb.CLSID{0x0B, 0x0D, 0x02, 0, 0, 0, 0, 0, 0xC0, 0, 0, 0, 0, 0, 0, 0x46}

// Convert writes a message as a .msg file to w, from offset 0 on.
//
// The file holds the properties that MS-OXCMAIL 2.2.3 derives from the message,
// with the texts in Unicode; HTML in its own bytes and code page, unless Windows
// has none for it; each attachment with the bytes that were attached; each
// attached message as a message of its own, at any depth; an invitation as the
// meeting message or appointment that Outlook makes of it (MS-OXCICAL), with its
// calendar attached unless all of that is in properties; and of a message that is
// signed or encrypted with S/MIME the protected bytes as they stand. The
// recipients of a delivery report are those of whom it reports. The message is
// never one to be edited and sent (mfUnsent). What cannot be mapped is attached
// as a file or stands in the transport headers, and Report.Losses names it.
//
// The same message and options make the same bytes. Memory depends on the number
// of parts, recipients and header fields, and on none of their contents: these
// are read and written as streams, but for a calendar and what a report says, of
// which 1 MiB is held, and for a header, of which 4 MiB are.
//
// The error is one of the context, of w, or of the raw bytes of the message; or
// it is cfb.ErrTooLarge: the file would exceed 2 GiB. After an error w holds
// nothing of use.
func Convert(ctx context.Context, w io.WriterAt, m *message.Message, o Options) (Report, error) {
	if o.Memory <= 0 {
		o.Memory = 8 << 20
	}
	file := cfb.NewWriter(w)
	file.Root().SetClass(messageClass)
	c := &converter{ctx: ctx, options: o}
	class, err := c.message(m, &m.Part, file.Root(), "")
	if err == nil {
		err = c.names.write(file.Root())
	}
	if err == nil {
		err = file.Close()
	}
	if err != nil {
		return c.report, fmt.Errorf("convert to .msg: %w", err)
	}
	if c.names.fieldsFull {
		c.lose("", "named properties of header fields past %d are left out: header fields are in the transport headers alone", maxFieldNames)
	}
	if c.names.full {
		c.lose("", "named properties past the %d that a file can have are left out", maxNames)
	}
	c.report.Class, c.report.Size = class, file.Size()
	return c.report, nil
}

type converter struct {
	ctx     context.Context
	options Options
	names   names
	report  Report
	held    int64 // bytes of attached messages that are in memory, each within the one before
}

// lose takes a loss into the report.
func (c *converter) lose(place, format string, args ...any) {
	switch n := len(c.report.Losses); {
	case n < maxLosses:
		c.report.Losses = append(c.report.Losses, Loss{place, fmt.Sprintf(format, args...)})
	case n == maxLosses:
		c.report.Losses = append(c.report.Losses, Loss{"", "and more than that"})
	}
}

// message writes the message of which root is the root into a storage, and
// returns its class. Place is empty for that of the file.
func (c *converter) message(m *message.Message, root *message.Part, at *cfb.Storage, place string) (class string, err error) {
	if err := c.ctx.Err(); err != nil {
		return "", err
	}
	m, release := m.Borrow()
	defer release()
	o := newObject(&c.names, at)
	h := root.Header
	class, layout, files, err := c.contents(m, root, place)
	if err != nil {
		return "", err
	}
	report, err := c.notification(m, root, place)
	if err != nil {
		return "", err
	}
	var mt *meeting
	if report != nil {
		if !isReport(class) { // TNEF may say so itself
			class = "REPORT." + class + report.suffix
		}
		files = report.without(files)
		report.properties(o)
	} else if layout.tnef == nil {
		if mt, err = c.meeting(m, root, place); err != nil {
			return "", err
		}
	}
	if calendar, _ := calendarPart(layout.Layout); calendar != nil && root.Protection() == message.Unprotected {
		switch {
		case report != nil:
			c.lose(place, "the calendar is an attachment: the message is a report")
		case layout.tnef != nil:
			c.lose(place, "the calendar is an attachment: the message has TNEF, which says what it is")
		}
	}
	if mt != nil {
		class, files = mt.class, mt.attached(c, files, place)
	}
	attachments := len(files) + mt.attachments()
	layout.tnef.reserve(o, h, report)
	o.text(pidTagMessageClass, class)
	o.int32(pidTagStoreSupportMask, 0x00040E79) // STORE_UNICODE_OK (MS-OXMSG 2.1.1.1) and what Outlook has with it
	o.int32(pidTagAccess, 2)
	o.int32(pidTagAccessLevel, 0)
	flags := int32(mfUnmodified)
	if place == "" && !c.options.Unread {
		flags |= mfRead
	}
	if attachments > 0 {
		flags |= mfHasAttach
	}
	o.int32(pidTagMessageFlags, flags)
	o.bool(pidTagHasAttachments, attachments > 0)

	if icon := iconOf(class, root); icon != 0 {
		o.int32(pidTagIconIndex, icon)
	}
	c.envelope(o, h, place)
	recipients := c.addresses(o, h, report, mt, place)
	c.headers(o, m, root, place)
	if err := c.body(o, m, layout, root, class, place); err != nil {
		return "", err
	}
	mt.properties(c, o, h, place)
	hidden := 0
	// Before the files, as messages among them may take the room for names.
	for i := range mt.attachments() {
		if err := c.instance(o, len(files)+i, mt.instances[i]); err != nil {
			return "", err
		}
		hidden++
	}
	for i, f := range files {
		if f.inline {
			hidden++
		}
		if err := c.attachment(o, i, f, place); err != nil {
			return "", err
		}
		*f = file{} // it may hold a message
	}
	if hidden > 0 && hidden == attachments {
		o.namedBool(pidLidSmartNoAttach, true) // no paper clip
	}
	if recipients, err = c.properties(o, layout.tnef, recipients, place); err != nil {
		return "", err
	}

	// MS-OXMSG 2.4.1: next identifiers and numbers of recipients and attachments.
	header := make([]byte, 8, 32)
	for _, n := range []int{recipients, attachments, recipients, attachments} {
		header = binary.LittleEndian.AppendUint32(header, uint32(n))
	}
	if place == "" {
		header = append(header, make([]byte, 8)...)
	}
	return class, o.finish(header)
}

// iconOf is PidTagIconIndex of a message in S/MIME (MS-OXOMSG 2.2.1.10), else 0.
func iconOf(class string, root *message.Part) int32 {
	switch {
	case !strings.Contains(class, ".SMIME"), strings.HasPrefix(class, "REPORT."):
		return 0
	case root.Protection() == message.Encrypted:
		return 0x110
	}
	return 0x111
}

// stopper ends writing when the context does.
type stopper struct {
	ctx context.Context
	w   io.Writer
}

func (s stopper) Write(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	return s.w.Write(p)
}
