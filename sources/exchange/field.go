package exchange

import (
	"bytes"
	"mime"
	"net/mail"
	"strings"
	"unicode"

	"postroom/internal/graph"
)

// messageHead returns the header of a message that is made anew, without the
// fields that say how its body is encoded.
func messageHead(msg *graph.Message) []byte {
	var b bytes.Buffer
	has := make(map[string]bool)
	for _, h := range msg.Headers {
		name := strings.ToLower(h.Name)
		if name == "mime-version" || strings.HasPrefix(name, "content-") {
			continue
		}
		switch name {
		case "from", "to", "cc", "bcc", "reply-to", "sender":
			// What has lost its encoding is made of the addresses.
			if !ascii(h.Value) {
				continue
			}
		}
		writeField(&b, has, h.Name, h.Value)
	}
	if !msg.Sent.IsZero() && !has["date"] {
		writeField(&b, has, "Date", msg.Sent.Format("Mon, 02 Jan 2006 15:04:05 -0700"))
	}
	for _, part := range []struct {
		name      string
		addresses []*graph.Address
	}{
		{"From", []*graph.Address{msg.From}}, {"Sender", []*graph.Address{msg.Sender}}, {"Reply-To", msg.ReplyTo},
		{"To", msg.To}, {"Cc", msg.Cc}, {"Bcc", msg.Bcc},
	} {
		if part.name == "Sender" && msg.From != nil && msg.Sender != nil && msg.From.Email.Address == msg.Sender.Email.Address {
			continue
		}
		writeAddresses(&b, has, part.name, part.addresses...)
	}
	if msg.Subject != "" && !has["subject"] {
		writeField(&b, has, "Subject", msg.Subject)
	}
	if msg.MessageID != "" && !has["message-id"] {
		writeField(&b, has, "Message-ID", msg.MessageID)
	}
	if importance := strings.ToLower(msg.Importance); (importance == "high" || importance == "low") && !has["importance"] {
		writeField(&b, has, "Importance", importance)
	}
	return b.Bytes()
}

// writeField writes a field as Graph has it: unfolded, and perhaps decoded. It
// is folded, and encoded where it has to be (RFC 2047).
func writeField(b *bytes.Buffer, has map[string]bool, name, value string) {
	if name == "" || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == ':' }) {
		return
	}
	has[strings.ToLower(name)] = true
	value = oneLine(value)
	if !ascii(value) {
		value = mime.BEncoding.Encode("utf-8", value)
	}
	line := name + ":"
	for word := range strings.SplitSeq(value, " ") {
		if len(line)+1+len(word) > 78 && len(line) > len(name)+1 && strings.TrimSpace(line) != "" && word != "" {
			b.WriteString(line + "\r\n")
			line = ""
		}
		line += " " + word
	}
	b.WriteString(line + "\r\n")
}

// writeAddresses writes a field of addresses, unless there is one already.
func writeAddresses(b *bytes.Buffer, has map[string]bool, name string, addresses ...*graph.Address) {
	if has[strings.ToLower(name)] {
		return
	}
	var texts []string
	for _, a := range addresses {
		if a == nil || a.Email.Address == "" && a.Email.Name == "" {
			continue
		}
		texts = append(texts, (&mail.Address{Name: oneLine(a.Email.Name), Address: oneLine(a.Email.Address)}).String())
	}
	if len(texts) > 0 {
		writeField(b, has, name, strings.Join(texts, ", "))
	}
}

// oneLine returns the text without line breaks and control characters.
func oneLine(text string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ReplaceAll(text, "\r\n", "")))
}

func ascii(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r >= 0x7f })
}
