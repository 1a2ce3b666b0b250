package document

import (
	"errors"
	"io"
	"strings"

	"postroom/ingest/message"
	"postroom/ingest/message/tnef"
	"postroom/ingest/message/tnef/rtf"
	"postroom/internal/filename"
)

// isWinmail reports whether a part says that it is TNEF.
func isWinmail(p *message.Part) bool {
	switch p.Type {
	case "application/ms-tnef", "application/vnd.ms-tnef":
		return true
	case unknownType:
		name := strings.ToLower(p.Name)
		return name == "winmail.dat" || name == "win.dat"
	}
	return false
}

// winmailName returns the name by which a person knows a part that is TNEF.
func winmailName(p *message.Part) string {
	if p.Name == "" {
		return "winmail.dat"
	}
	return filename.Clean(pathless(p.Name), "winmail.dat")
}

// maxBody is the longest text in TNEF, in compressed form, that is a file of its
// own.
const maxBody = 256 << 10

// winmail returns what is in a TNEF stream; it stays where it is, as it holds
// more than that. Whole is false if it is to be a file like others: it is
// damaged, which damage says, or none. Index is set if it is base64.
func (s *separator) winmail(f *file, index *clean) (contents []*file, whole bool, damage, err error) {
	stream, err := s.randomly(f, index)
	if err != nil {
		return nil, false, nil, err
	}
	name := winmailName(f.part)
	if stream == nil {
		s.note("the attachments in %s are left in it: it is oddly encoded, and too large to be held in memory", name)
		return nil, false, nil, nil
	}
	t, err := tnef.Open(stream, f.size)
	broken := new(tnef.FormatError)
	switch {
	case errors.Is(err, tnef.ErrSignature):
		return nil, false, nil, nil
	case errors.As(err, &broken):
		damage = broken
	case err != nil:
		return nil, false, nil, err
	}
	for _, a := range t.Attachments {
		data := a.Data()
		of := pathless(a.FileName())
		switch {
		case a.Flags&4 != 0 && a.Hidden:
			// The HTML shows it.
			continue
		case data.Size() == 0 && (of == "" || a.Method != tnef.MethodFile):
			if of != "" || a.Path != "" {
				s.note("%s names the file %q, which is not in it", name, filename.Clean(of, "attachment"))
			}
			continue
		}
		c := &file{part: f.part, mediaType: mediaType(strings.ToLower(a.MediaType)), open: func() io.Reader { return a.Open() }}
		switch {
		case a.IsMessage():
			c.mediaType = "application/ms-tnef"
			c.name = filename.Clean(filename.CleanTitle(of, "attachment")+".tnef", "attachment.tnef")
		default:
			if c.mediaType == unknownType {
				c.mediaType = typeOfName(of)
			}
			c.name = filename.Clean(of, nameless(c.mediaType))
		}
		c.missing = data.Missing
		contents = append(contents, c)
	}
	text, err := s.winmailText(t)
	if err != nil {
		return nil, false, nil, err
	}
	if text != nil {
		text.part = f.part
		contents = append(contents, text)
	}
	return contents, damage == nil, damage, nil
}

// winmailText returns the text in TNEF as a file if the message has no other;
// nil if it has, or there is none.
func (s *separator) winmailText(t *tnef.Message) (*file, error) {
	l := s.layout
	if l.HTML != nil {
		return nil, nil
	}
	if l.Plain != nil {
		text, err := s.m.Text(l.Plain, 1<<10)
		if err != nil || strings.TrimSpace(text.String) != "" || text.Cut {
			return nil, err
		}
	}
	size := int64(0)
	for _, tag := range []tnef.Tag{tnef.PidTagHTML, tnef.PidTagRtfCompressed, tnef.PidTagBody} {
		if p := t.Properties.Get(tag); p != nil {
			for _, v := range p.Values {
				size += v.Size()
			}
		}
	}
	if size == 0 {
		return nil, nil
	}
	if size > maxBody {
		s.note("the text of the message is in winmail.dat alone, and too long to be taken out of it")
		return nil, nil
	}
	b, err := t.Body()
	if err != nil && !errors.Is(err, tnef.ErrTooLarge) {
		return nil, err
	}
	f := &file{}
	content := ""
	switch {
	case b.HTML != "":
		f.name, f.mediaType, content = "winmail.html", "text/html", b.HTML
	case len(b.RTF) > 0 && b.RTFKind == rtf.Native:
		f.name, f.mediaType, content = "winmail.rtf", "application/rtf", string(b.RTF)
	case strings.TrimSpace(b.Text) != "":
		f.name, f.mediaType, content = "winmail.txt", "text/plain", b.Text
	default:
		return nil, nil
	}
	f.open = func() io.Reader { return strings.NewReader(content) }
	return f, nil
}
