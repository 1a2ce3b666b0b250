package graphtest

import (
	"fmt"
	"strings"
)

// attachmentsOf returns the parts of a message that Exchange keeps as
// attachments: all that is not the text it shows.
func attachmentsOf(root *part) []*part {
	var found []*part
	var walk func(p *part, inAlternative bool)
	walk = func(p *part, inAlternative bool) {
		switch {
		case strings.HasPrefix(p.typ, "multipart/") && len(p.parts) > 0 && !p.sealed():
			for _, child := range p.parts {
				walk(child, p.typ == "multipart/alternative")
			}
		case p.isText(), inAlternative && p.typ == "text/calendar":
		default:
			found = append(found, p)
		}
	}
	walk(root, false)
	return found
}

// attachmentID is the identifier of the attachment at the index.
func attachmentID(m *Mailbox, number uint64, index int) string {
	return m.makeID(attachmentKind, number<<8|uint64(index+1))
}

// attachmentName is the name of an attachment, one that Exchange makes up for
// what has none.
func attachmentName(p *part, index int) string {
	switch {
	case p.name() != "":
		return p.name()
	case p.typ == "message/rfc822" && len(p.parts) == 1:
		return p.parts[0].text("Subject")
	case strings.HasPrefix(p.typ, "image/"):
		return fmt.Sprintf("image%03d.%s", index+1, strings.TrimPrefix(p.typ, "image/"))
	}
	return fmt.Sprintf("ATT%05d.bin", index+1)
}
