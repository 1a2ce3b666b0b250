package document

import (
	"context"
	"errors"
	"io"

	"postroom/ingest/message"
	"postroom/ingest/outlook"
	"postroom/ingest/outlook/cfb"
	"postroom/ingest/spool"
	"postroom/store"
)

// Made is a document that was made of a message.
type Made struct {
	*store.Document
	received store.File             // the message as it was received, as message.eml
	message  *message.Message       // that the message file holds
	stubs    map[*message.Part]bool // in message
	outlook  bool                   // the message file is to be message.msg, and is not yet
}

// RenderingNote begins every note on what Outlook's format cannot hold.
const RenderingNote = outlookFile + ": "

const tooLarge = "not made, as it would be larger than the 2 GiB that a file in Outlook's format can have; the message is " + messageFile + " instead"

// convert is outlook.Convert.
var convert = outlook.Convert

// Render gives the document its message in the format that the rules ask for,
// and reports what became of it; that is nothing if they ask for none. It takes
// mailbox and date of arrival from the document, so these have to be final; the
// same document becomes the same. A message that is too large for the format
// stays message.eml; a note, and the report, say so.
//
// What Render makes is in scratch, which must stay open until the document is
// filed. The error is one of the context, of scratch, or of the raw bytes. The
// document is then as it was.
func (d *Made) Render(ctx context.Context, scratch *spool.Scratch) (outlook.Report, error) {
	if !d.outlook {
		return outlook.Report{}, nil
	}
	var report outlook.Report
	blob, err := scratch.Write(func(w io.WriterAt) (size int64, err error) {
		report, err = convert(ctx, w, d.message, outlook.Options{Received: d.Origin.Received, Mailbox: d.Origin.Mailbox, Known: d.isStub})
		return report.Size, err
	})
	switch {
	case errors.Is(err, cfb.ErrTooLarge):
		d.outlook = false
		d.Notes = append(d.Notes, RenderingNote+tooLarge)
		return outlook.Report{Losses: []outlook.Loss{{What: tooLarge}}}, nil
	case err != nil:
		return outlook.Report{}, err
	}
	d.outlook = false
	d.Files[0] = store.File{
		Name: outlookFile, Role: store.RoleMessage, MediaType: outlookType,
		Size: blob.Size(), SHA256: blob.SHA256(), Held: blob.Held(),
		Open: func() (io.ReadCloser, error) { return io.NopCloser(blob.Reader()), nil },
	}
	var losses notes
	for _, loss := range report.Losses {
		losses.add(loss.String())
	}
	for _, note := range losses.all() {
		d.Notes = append(d.Notes, RenderingNote+note)
	}
	return report, nil
}

// isStub reports whether the part is a stub, and no part of the message.
func (d *Made) isStub(p *message.Part) bool { return d.stubs[p] }
