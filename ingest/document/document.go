// Package document makes documents of messages: which files, which names, which
// title, and the identity by which a message is recognised again.
package document

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"postroom/ingest/message"
	"postroom/sources"
	"postroom/store"
)

// Rules say what a source's documents look like. They are applied when a
// message is looked at; a change of them never alters a filed document.
type Rules struct {
	Title       string // template, see Expand
	Class       string
	Permissions string
	Properties  []Property
	Only        Filter

	// SeparateAttachments makes each attachment a file of its own, in place of
	// which a stub stands in the message file. See docs/formats.md.
	SeparateAttachments bool
	// KeepOriginal adds the message as it was received, as original.eml.
	KeepOriginal bool
	// Outlook makes the message file one in Outlook's format, message.msg.
	Outlook bool `json:",omitempty"`
}

// Input is a message as it was received.
type Input struct {
	Source, Type, Mailbox, Folder, Key string

	Received time.Time // the server's date of arrival; zero if it has none
	Fetched  time.Time
	Wire     sources.Wire
	Notes    []string

	// Raw is the raw bytes: Size of them, with that SHA-256. The files of the
	// document are read from it, so it has to stay readable, and the same, until
	// the document is filed.
	Raw    io.ReaderAt
	Size   int64
	SHA256 [32]byte
	Held   bool // they are in memory

	// Message is Raw as it was read, and Header that of it; Make reads it if they
	// are nil. Identity is what it is recognised by.
	Message  *message.Message
	Header   *message.Header
	Identity Fingerprint
}

// Make returns the document of a message, with the message file as message.eml;
// Render makes it the one that the rules ask for. The document is the same at
// every call with the same input and rules, except for Filed, which the caller
// sets. Memory does not grow with the message. The error is one of Raw or of the
// context: no message is refused.
func Make(ctx context.Context, in Input, rules Rules) (*Made, error) {
	m := in.Message
	if m == nil {
		var err error
		if m, err = message.Read(ctx, in.Raw, in.Size, message.Limits{}); err != nil {
			return nil, err
		}
	}
	in.Message, in.Header = m, m.Header
	received := Arrived(in.Received, in.Header, in.Fetched)
	d := &store.Document{
		ID:          ID(in.Source, in.Identity, ""),
		Title:       Expand(rules.Title, in),
		Class:       rules.Class,
		Permissions: rules.Permissions,
		Origin: store.Origin{
			Source:    in.Source,
			Type:      in.Type,
			Mailbox:   in.Mailbox,
			Folder:    in.Folder,
			ServerID:  in.Key,
			MessageID: m.Header.Raw("Message-ID"),
			Received:  received.UTC().Truncate(time.Second),
			Wire:      string(in.Wire),
			Size:      in.Size,
			SHA256:    in.SHA256,
		},
		Notes: append([]string(nil), in.Notes...),
	}
	whole := store.File{
		Name:      messageFile,
		Role:      store.RoleMessage,
		MediaType: MailType,
		Size:      in.Size,
		SHA256:    in.SHA256,
		Held:      in.Held,
		Open: func() (io.ReadCloser, error) {
			return io.NopCloser(io.NewSectionReader(in.Raw, 0, in.Size)), nil
		},
	}
	d.Files = []store.File{whole}
	made := &Made{Document: d, message: m, outlook: rules.Outlook, received: whole}
	d.Notes = append(d.Notes, readingNotes(m)...)
	if rules.SeparateAttachments {
		s := newSeparator(ctx, m)
		if err := s.separate(); err != nil {
			return nil, fmt.Errorf("separate attachments: %w", err)
		}
		d.Files = append(d.Files[:0], s.files(whole)...)
		d.Notes = append(d.Notes, s.notes.all()...)
		if s.altered != nil {
			made.message, made.stubs = s.without, s.stubs
		}
	}
	if rules.KeepOriginal {
		made.AddOriginal()
	}
	return made, nil
}

// AddOriginal adds the message as it was received, as original.eml, which the
// document must not have yet.
func (d *Made) AddOriginal() {
	f := d.received
	f.Name, f.Role = originalFile, store.RoleOriginal
	d.Files = append(d.Files, f)
}

// Names of files that postroom gives.
const (
	messageFile  = "message.eml"
	outlookFile  = "message.msg"
	originalFile = "original.eml"
)

// MailType is the media type of a message file that is mail.
const MailType = "message/rfc822"

const outlookType = "application/vnd.ms-outlook"

// maxNotes is how many notes of a kind a document has at most: on the reading of
// the message, and on its attachments.
const maxNotes = 20

// notes are for a person: each once, and not too many.
type notes struct {
	list []string
	seen map[string]bool
	left int
}

func (n *notes) add(note string) {
	switch {
	case n.seen[note]:
	case len(n.list) == maxNotes:
		n.left++
	default:
		if n.seen == nil {
			n.seen = map[string]bool{}
		}
		n.seen[note] = true
		n.list = append(n.list, note)
	}
}

func (n *notes) all() []string {
	if n.left > 0 {
		return append(n.list, fmt.Sprintf("%d more of the kind", n.left))
	}
	return n.list
}

// readingNotes returns what was odd about a message. What is odd about the
// messages in it stays in them.
func readingNotes(m *message.Message) []string {
	var n notes
	var walk func(p *message.Part)
	walk = func(p *message.Part) {
		for _, note := range p.Header.Notes {
			n.add(note)
		}
		for _, note := range p.Notes {
			n.add(note)
		}
		if !p.IsMessage() {
			for _, c := range p.Parts {
				walk(c)
			}
		}
	}
	walk(&m.Part)
	return n.all()
}

// Expand replaces the words in braces of a template by what the message says;
// "{{" and "}}" stand for a brace. White space is collapsed.
func Expand(template string, in Input) string {
	var b strings.Builder
	r := reader{Values: Values{Header: in.Header, Mailbox: in.Mailbox, Folder: in.Folder}}
	for s := template; s != ""; {
		switch i := strings.IndexAny(s, "{}"); {
		case i < 0:
			b.WriteString(s)
			s = ""
		case strings.HasPrefix(s[i:], "{{"), strings.HasPrefix(s[i:], "}}"):
			b.WriteString(s[:i+1])
			s = s[i+2:]
		default:
			b.WriteString(s[:i])
			word, rest, ok := strings.Cut(s[i+1:], "}")
			if s[i] == '}' || !ok {
				b.WriteString(s[i:])
				s = ""
				break
			}
			if word == "date" {
				r.Received = Arrived(in.Received, in.Header, in.Fetched)
			}
			b.WriteString(oneLine(r.header(word)))
			s = rest
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}
