package graphtest

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"mime"
	"mime/quotedprintable"
	"net/mail"
	"strings"
	"time"
)

// Render returns the message as Exchange hands it out: it does not keep the
// bytes that arrived, but writes a message anew from what it has understood of
// it. Header fields are in Exchange's order, with fields of its own; texts are
// UTF-8 with a meta element in HTML; boundaries, transfer encodings and line
// breaks are others; plain text beside HTML is made from it; a message without a
// Message-ID gets one. What is signed or encrypted stays. The same message is
// always rendered the same.
func Render(raw []byte) []byte {
	var b bytes.Buffer
	_ = renderTo(&b, raw) // a buffer takes everything
	return b.Bytes()
}

func renderTo(w io.Writer, raw []byte) error {
	b := bufio.NewWriterSize(w, 64<<10)
	sum := sha256.Sum256(raw)
	r := &renderer{Writer: b, random: rand.New(rand.NewPCG(binary.BigEndian.Uint64(sum[:]), binary.BigEndian.Uint64(sum[8:])))}
	r.message(parseMIME(raw), messageID(raw))
	return b.Flush()
}

// messageID is the identifier that Exchange gives a message without one.
func messageID(raw []byte) string {
	sum := sha256.Sum256(raw)
	return fmt.Sprintf("<AM0PR01MB%04X%X@AM0PR01MB%04X.eurprd01.prod.example>", sum[:2], sum[2:16], sum[:2])
}

type renderer struct {
	*bufio.Writer
	random *rand.Rand
}

func (r *renderer) printf(format string, args ...any) { fmt.Fprintf(r.Writer, format, args...) }

// kept are fields that a message keeps as they came.
var kept = []string{"In-Reply-To", "References", "Importance", "X-Priority", "Sensitivity", "Reply-To", "Sender", "List-Id", "List-Unsubscribe", "Auto-Submitted"}

func (r *renderer) message(p *part, id string) {
	date, dated := headerDate(p)
	hop := date
	if !dated {
		hop = time.Date(2026, time.January, 5, 8, 0, 0, 0, time.UTC)
	}
	for _, f := range p.header {
		if strings.EqualFold(f.name, "Received") {
			r.printf("Received: %s\r\n", f.value)
		}
	}
	r.printf("Received: from AM0PR01MB0001.eurprd01.prod.example (2603:10a6:208:1::1)\r\n by DB7PR01MB0002.eurprd01.prod.example with HTTPS; %s\r\n",
		hop.UTC().Add(2*time.Second).Format(time.RFC1123Z))
	for _, name := range []string{"From", "To", "CC", "BCC"} {
		r.addresses(p, name)
	}
	if subject := p.text("Subject"); subject != "" {
		r.printf("Subject: %s\r\nThread-Topic: %s\r\n", encodeWords(subject), encodeWords(subject))
	}
	var index [22]byte
	for i := range index {
		index[i] = byte(r.random.Uint32())
	}
	r.printf("Thread-Index: %s\r\n", base64.StdEncoding.EncodeToString(index[:]))
	if dated {
		r.printf("Date: %s\r\n", date.UTC().Format("Mon, 2 Jan 2006 15:04:05 +0000"))
	} else if value := p.get("Date"); value != "" {
		r.printf("Date: %s\r\n", value)
	}
	if own := p.get("Message-ID"); own != "" {
		id = own
	}
	if id != "" {
		r.printf("Message-ID:\r\n\t%s\r\n", id)
	}
	for _, name := range kept {
		if value := p.get(name); value != "" {
			r.printf("%s: %s\r\n", name, fold(value))
		}
	}
	for _, f := range p.header {
		if len(f.name) > 2 && strings.EqualFold(f.name[:2], "X-") && !strings.EqualFold(f.name, "X-Priority") {
			r.printf("%s: %s\r\n", strings.ToLower(f.name), fold(f.value))
		}
	}
	r.printf("Accept-Language: en-US\r\nContent-Language: en-US\r\nX-MS-Has-Attach: %s\r\n", map[bool]string{true: "yes", false: ""}[len(attachmentsOf(p)) > 0])
	r.printf("X-MS-Exchange-Organization-SCL: -1\r\nX-MS-TNEF-Correlator:\r\nMIME-Version: 1.0\r\n")
	r.part(p)
}

// fold breaks long fields where they have spaces.
func fold(value string) string {
	var b strings.Builder
	length := 0
	for i, word := range strings.Split(value, " ") {
		if i > 0 {
			if length+len(word) > 70 {
				b.WriteString("\r\n\t")
				length = 0
			} else {
				b.WriteString(" ")
			}
		}
		b.WriteString(word)
		length += len(word) + 1
	}
	return b.String()
}

// encodeWords writes text for a header field.
func encodeWords(text string) string {
	text = strings.Join(strings.Fields(strings.Map(func(c rune) rune {
		if c < ' ' {
			return ' '
		}
		return c
	}, text)), " ")
	return strings.ReplaceAll(mime.BEncoding.Encode("utf-8", text), "?= =?", "?=\r\n =?")
}

func headerDate(p *part) (time.Time, bool) {
	date, err := mail.ParseDate(p.get("Date"))
	return date, err == nil
}

// addresses writes a field of addresses; one that cannot be read as it came.
func (r *renderer) addresses(p *part, name string) {
	var all []string
	found := false
	for _, f := range p.header {
		if strings.EqualFold(f.name, name) {
			found = true
			list, ok := addressList(f.value)
			if !ok {
				all = append(all, f.value)
			}
			for _, a := range list {
				if a.Name == "" {
					a.Name = a.Address
				}
				all = append(all, strings.ReplaceAll((&mail.Address{Name: a.Name, Address: a.Address}).String(), "?= =?", "?=\r\n =?"))
			}
		}
	}
	if found && len(all) > 0 {
		r.printf("%s: %s\r\n", name, strings.Join(all, ",\r\n\t"))
	}
}

func addressList(value string) ([]*mail.Address, bool) {
	parser := mail.AddressParser{WordDecoder: words}
	list, err := parser.ParseList(value)
	return list, err == nil
}

// part writes the fields and the body of a part.
func (r *renderer) part(p *part) {
	switch {
	case p.sealed():
		r.verbatim(p)
	case strings.HasPrefix(p.typ, "multipart/") && len(p.parts) > 0:
		boundary := fmt.Sprintf("_%03d_%X%s_", r.random.IntN(12), r.random.Uint64(), "AM0PR01MB0001eurp_")
		extra := ""
		for _, name := range []string{"type", "report-type"} {
			if value := p.params[name]; value != "" {
				extra += fmt.Sprintf(";\r\n\t%s=\"%s\"", name, value)
			}
		}
		r.printf("Content-Type: %s;\r\n\tboundary=\"%s\"%s\r\n\r\n", p.typ, boundary, extra)
		for i, child := range p.parts {
			r.printf("--%s\r\n", boundary)
			if html := beside(p, i); html != nil {
				text, _ := html.utf8()
				r.leaf(child, []byte(plainOf(string(text))), true)
			} else {
				r.part(child)
			}
			r.printf("\r\n")
		}
		r.printf("--%s--\r\n", boundary)
	case p.typ == "message/rfc822" && len(p.parts) == 1:
		r.printf("Content-Type: message/rfc822\r\n")
		if name := p.name(); name != "" {
			r.printf("Content-Disposition: attachment;\r\n\tfilename=\"%s\"\r\n\r\n", encodeWords(name))
		} else {
			r.printf("Content-Disposition: attachment\r\n\r\n")
		}
		r.message(p.parts[0], "")
	case p.isText():
		text, converted := p.utf8()
		if converted && p.typ == "text/html" {
			text = withMeta(text)
		}
		r.leaf(p, text, converted)
	default:
		r.leaf(p, p.content(), false)
	}
}

// beside returns the HTML that the plain text at the index of an alternative is
// made of.
func beside(p *part, i int) *part {
	if p.typ != "multipart/alternative" || p.parts[i].typ != "text/plain" || !p.parts[i].isText() {
		return nil
	}
	for _, other := range p.parts {
		if other.typ == "multipart/related" && len(other.parts) > 0 {
			other = other.parts[0]
		}
		if _, converted := other.utf8(); converted && other.typ == "text/html" {
			return other
		}
	}
	return nil
}

// verbatim writes a part with the header fields that describe it as they came.
func (r *renderer) verbatim(p *part) {
	for _, f := range p.header {
		if len(f.name) > 8 && strings.EqualFold(f.name[:8], "Content-") {
			r.printf("%s: %s\r\n", f.name, f.value)
		}
	}
	r.printf("\r\n")
	_, _ = r.Write(p.body)
}

// leaf writes a part of the content. Text is in UTF-8.
func (r *renderer) leaf(p *part, content []byte, text bool) {
	r.printf("Content-Type: %s", p.typ)
	if text {
		r.printf("; charset=\"utf-8\"")
	} else if charset := p.params["charset"]; charset != "" {
		r.printf("; charset=\"%s\"", charset)
	}
	if method := p.params["method"]; method != "" {
		r.printf("; method=%s", method)
	}
	if name := p.name(); name != "" {
		disposition := p.disposition()
		if disposition != "inline" {
			disposition = "attachment"
		}
		encoded := encodeWords(name)
		r.printf(";\r\n\tname=\"%s\"\r\nContent-Description: %s\r\nContent-Disposition: %s; filename=\"%s\";\r\n\tsize=%d", encoded, encoded, disposition, encoded, len(content))
	} else if disposition := p.disposition(); disposition != "" && !p.isText() {
		r.printf("\r\nContent-Disposition: %s", disposition)
	}
	if id := p.contentID(); id != "" {
		r.printf("\r\nContent-ID: <%s>", id)
	}
	if location := p.get("Content-Location"); location != "" {
		r.printf("\r\nContent-Location: %s", location)
	}
	if text && bytes.IndexByte(content, 0) < 0 && r.random.IntN(2) == 0 {
		r.printf("\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n")
		w := quotedprintable.NewWriter(r.Writer)
		_, _ = w.Write(content)
		_ = w.Close() // the error stays in the buffered writer
		return
	}
	r.printf("\r\nContent-Transfer-Encoding: base64\r\n\r\n")
	lines := &lineBreaker{w: r.Writer}
	w := base64.NewEncoder(base64.StdEncoding, lines)
	_, _ = w.Write(content)
	_ = w.Close()
	if lines.length > 0 {
		r.printf("\r\n")
	}
}

// lineBreaker breaks lines after 76 characters.
type lineBreaker struct {
	w      io.Writer
	length int
}

func (l *lineBreaker) Write(b []byte) (int, error) {
	written := len(b)
	for len(b) > 0 {
		n := min(76-l.length, len(b))
		if _, err := l.w.Write(b[:n]); err != nil {
			return 0, err
		}
		b = b[n:]
		if l.length += n; l.length == 76 {
			if _, err := io.WriteString(l.w, "\r\n"); err != nil {
				return 0, err
			}
			l.length = 0
		}
	}
	return written, nil
}
