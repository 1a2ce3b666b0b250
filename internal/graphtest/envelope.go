package graphtest

import (
	"strings"
	"time"
	"unicode/utf8"
)

// envelope is what the mailbox tells of a message without rendering it.
type envelope struct {
	subject, id, importance string
	from, sender            []address
	to, cc, bcc, replyTo    []address
	sent                    time.Time // zero without a date
	attachments             bool
}

type address struct{ name, address string }

func readEnvelope(raw []byte) *envelope {
	p := parseMIME(raw)
	e := &envelope{subject: p.text("Subject"), id: strings.TrimSpace(p.get("Message-ID")), importance: "normal"}
	if e.id == "" {
		e.id = messageID(raw)
	}
	if value := strings.ToLower(p.get("Importance")); value == "high" || value == "low" {
		e.importance = value
	}
	e.from, e.sender = p.addressesOf("From"), p.addressesOf("Sender")
	if len(e.sender) == 0 {
		e.sender = e.from
	}
	e.to, e.cc, e.bcc, e.replyTo = p.addressesOf("To"), p.addressesOf("Cc"), p.addressesOf("Bcc"), p.addressesOf("Reply-To")
	e.sent, _ = headerDate(p)
	for _, a := range attachmentsOf(p) {
		// Pictures that the text shows do not count.
		e.attachments = e.attachments || a.contentID() == "" || a.disposition() == "attachment"
	}
	return e
}

// preview is the beginning of the text of a message.
func preview(raw []byte) string {
	_, text := bodyOf(parseMIME(raw), true)
	text = strings.TrimSpace(text)
	if len(text) > 255 {
		text = text[:255]
		for !utf8.ValidString(text) {
			text = text[:len(text)-1]
		}
	}
	return text
}

func (p *part) addressesOf(name string) []address {
	var all []address
	for _, f := range p.header {
		if !strings.EqualFold(f.name, name) {
			continue
		}
		list, ok := addressList(f.value)
		if !ok && f.value != "" {
			all = append(all, address{name: decodeWords(f.value)})
		}
		for _, a := range list {
			if a.Name == "" {
				a.Name = a.Address
			}
			all = append(all, address{a.Name, a.Address})
		}
	}
	return all
}

// bodyOf returns the text that a message shows, "html" or "text", and which of
// both it is.
func bodyOf(root *part, asText bool) (contentType, content string) {
	var plain, page *part
	var walk func(p *part)
	walk = func(p *part) {
		switch {
		case strings.HasPrefix(p.typ, "multipart/"):
			for _, child := range p.parts {
				walk(child)
			}
		case p.isText() && p.typ == "text/html" && page == nil:
			page = p
		case p.isText() && p.typ == "text/plain" && plain == nil:
			plain = p
		}
	}
	walk(root)
	if page != nil {
		text, _ := page.utf8()
		if asText {
			return "text", plainOf(string(text))
		}
		return "html", string(withMeta(text))
	}
	if plain != nil {
		text, _ := plain.utf8()
		return "text", string(text)
	}
	return "text", ""
}
