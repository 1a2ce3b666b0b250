package message

import (
	"strings"
)

// Layout says which parts of a message a mail program shows as its text, and
// which it lists as attachments. Every leaf of the message, and every message in
// it as a whole, stands in exactly one of the fields.
type Layout struct {
	// Plain and HTML are the text of the message: alternatives of each other if
	// both are set.
	Plain, HTML *Part
	// Other is an alternative of another kind: text/calendar, text/enriched,
	// text/rtf and the like; nil if there is none.
	Other *Part
	// More are further texts that are shown beneath, in order.
	More []*Part
	// Alternatives are versions of the text that are not shown, as one that is
	// takes their place.
	Alternatives []*Part
	// Attachments are the rest, in order: files, pictures, messages.
	Attachments []Attachment
}

// Attachment is a part that is listed beside the text.
type Attachment struct {
	*Part
	// Related is true for a part of a multipart/related: its text may refer to
	// it. Whether it does, References says.
	Related bool
	// Signature is true for the second part of a multipart/signed.
	Signature bool
}

// Layout returns how a mail program shows the message of which the part is the
// root: that of a Message, or the one part of a message/rfc822. It does not look
// into messages in it.
func (p *Part) Layout() *Layout {
	l := &Layout{}
	l.add(p, place{root: true})
	return l
}

// place is where in the tree a part is.
type place struct {
	root        bool   // nothing but multiparts in which it is the text above it
	alternative bool   // in a version of the text, in a multipart/alternative
	version     string // the type of that version
	related     bool
	signature   bool
	attached    bool // in what is not shown
}

func (l *Layout) add(p *Part, at place) {
	if !p.IsMultipart() || len(p.Parts) == 0 {
		l.leaf(p, at)
		return
	}
	in := at
	in.signature = false
	switch p.Type {
	case "multipart/alternative":
		l.alternative(p, in)
	case "multipart/related":
		root := relatedRoot(p)
		for i, c := range p.Parts {
			in := in
			if i != root {
				in.root, in.related, in.attached = false, true, true
			}
			l.add(c, in)
		}
	case "multipart/signed":
		for i, c := range p.Parts {
			in := in
			if i > 0 {
				in.root, in.signature, in.attached = false, i == 1, true
			}
			l.add(c, in)
		}
	case "multipart/encrypted", "multipart/appledouble", "multipart/digest":
		in.root, in.attached = false, true
		for _, c := range p.Parts {
			l.add(c, in)
		}
	case "multipart/report":
		for i, c := range p.Parts {
			in := in
			if i > 0 {
				in.root, in.attached = false, true
			}
			l.add(c, in)
		}
	default:
		for i, c := range p.Parts {
			in := in
			in.root = at.root && i == 0
			l.add(c, in)
		}
	}
}

// alternative takes the last of the versions that can be shown (RFC 2046 5.1.4),
// one of plain text and one of HTML.
func (l *Layout) alternative(p *Part, at place) {
	if at.attached || l.hasText() {
		// Beneath another text: the richest version is shown.
		chosen := -1
		for i, c := range p.Parts {
			if t := textOf(c); !at.attached && (t == "text/html" || t == "text/plain" && chosen < 0) {
				chosen = i
			}
		}
		for i, c := range p.Parts {
			switch {
			case at.attached:
				l.add(c, at)
			case i == chosen:
				l.add(c, at)
			default:
				l.version(c, at)
			}
		}
		return
	}
	plain, html, other := -1, -1, -1
	for i, c := range p.Parts {
		switch t := textOf(c); {
		case t == "text/plain":
			plain = i
		case t == "text/html":
			html = i
		case strings.HasPrefix(t, "text/") && t != "text/x-amp-html" && t != "text/watch-html" || t == "application/rtf":
			other = i
		}
	}
	for i, c := range p.Parts {
		in := at
		in.alternative = true
		switch i {
		case plain, html, other:
			if len(c.Parts) == 0 || !c.IsMultipart() {
				l.text(c, textOf(c))
				l.files(c)
			} else {
				in.root, in.version = true, textOf(c)
				l.add(c, in)
			}
		default:
			l.version(c, in)
		}
	}
}

// version takes a version of the text that is not shown.
func (l *Layout) version(p *Part, at place) {
	for _, c := range leaves(p) {
		if (strings.HasPrefix(c.Type, "text/") || c == p) && c.Disposition != "attachment" && !c.IsMessage() {
			l.Alternatives = append(l.Alternatives, c)
			l.files(c)
		} else {
			in := at
			in.attached = true
			l.leaf(c, in)
		}
	}
}

// textOf returns the type of the text that a version is, "" if it is none.
func textOf(p *Part) string {
	if p.Disposition == "attachment" {
		return ""
	}
	if !p.IsMultipart() || len(p.Parts) == 0 {
		return p.Type
	}
	switch p.Type {
	case "multipart/related":
		return textOf(p.Parts[relatedRoot(p)])
	case "multipart/alternative":
		t := ""
		for _, c := range p.Parts {
			if ct := textOf(c); ct == "text/html" || t == "" {
				t = ct
			}
		}
		return t
	}
	// Apple Mail: HTML in pieces with files between them.
	for _, c := range p.Parts {
		if t := textOf(c); strings.HasPrefix(t, "text/") {
			return t
		}
	}
	return ""
}

// relatedRoot returns the index of the root of a multipart/related (RFC 2387
// 3.2): the one that start names, else the first.
func relatedRoot(p *Part) int {
	if start := unbracket(p.Params["start"]); start != "" {
		for i, c := range p.Parts {
			if c.ContentID == start {
				return i
			}
		}
	}
	return 0
}

// leaves returns the parts below p that are not multiparts.
func leaves(p *Part) []*Part {
	if !p.IsMultipart() || len(p.Parts) == 0 {
		return []*Part{p}
	}
	var out []*Part
	for _, c := range p.Parts {
		out = append(out, leaves(c)...)
	}
	return out
}

func (l *Layout) hasText() bool { return l.Plain != nil || l.HTML != nil || l.Other != nil }

func (l *Layout) lacks(typ string) bool {
	return typ == "text/plain" && l.Plain == nil || typ == "text/html" && l.HTML == nil
}

func (l *Layout) text(p *Part, typ string) {
	switch {
	case typ == "text/plain" && l.Plain == nil:
		l.Plain = p
	case typ == "text/html" && l.HTML == nil:
		l.HTML = p
	case typ != "text/plain" && typ != "text/html" && l.Other == nil:
		l.Other = p
	default:
		l.More = append(l.More, p)
	}
}

// leaf takes a part that is no multipart, or one without parts.
func (l *Layout) leaf(p *Part, at place) {
	text := p.Type == "text/plain" || p.Type == "text/html" || p.Type == "text/enriched" || p.Type == "text/richtext" ||
		p.Type == "text/calendar" && (at.root || at.alternative)
	named := p.Name != "" && p.Disposition != "inline" && !at.root
	switch {
	case !text || at.attached || p.Disposition == "attachment" || named || p.Nested():
		l.Attachments = append(l.Attachments, Attachment{Part: p, Related: at.related, Signature: at.signature})
	case !l.hasText() || at.alternative && p.Type == at.version && l.lacks(p.Type):
		l.text(p, p.Type)
	default:
		l.More = append(l.More, p)
	}
	l.files(p)
}

// files takes the files that stand in a text.
func (l *Layout) files(p *Part) {
	if p.IsMultipart() || p.IsMessage() {
		return
	}
	for _, c := range p.Parts {
		l.Attachments = append(l.Attachments, Attachment{Part: c})
	}
}
