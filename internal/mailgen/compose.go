package mailgen

import (
	"bytes"
	"fmt"
	"html"
	"image"
	"image/color"
	"image/png"
	"strings"
	"time"

	"github.com/emersion/go-message"
	"github.com/emersion/go-message/mail"
)

// textOnly is the size up to which a mail may do without attachments.
const textOnly = 24 << 10

// compose returns the letter as a message of about the size.
func (g *Generator) compose(l letter, size int) []byte {
	layouts := []func(*Generator, letter, int) part{pdfs, pdfs, withLogo, forwarded}
	if size <= textOnly {
		layouts = append(layouts, plain, plain, plain, htmlToo, htmlToo, awkward)
	}
	const header = 900 // about
	body := pick(g, layouts)(g, l, max(size-header, 0))
	body.header = g.envelope(l, body.header)

	var raw bytes.Buffer
	raw.Grow(size + size/8)
	if err := body.write(&raw); err != nil {
		panic("mailgen: " + err.Error()) // a buffer takes everything; the parts are wrong
	}
	return raw.Bytes()
}

// envelope returns the header of the message, given that of its body. What is
// set last stands first.
func (g *Generator) envelope(l letter, body message.Header) message.Header {
	h := mail.Header{Header: body.Copy()}
	h.Set("MIME-Version", "1.0")
	h.Set("X-Reference", l.ref)
	h.Set("Subject", l.words.header(l.subject))
	h.SetAddressList("To", []*mail.Address{{Name: "Mailroom", Address: "mailroom@example.com"}})
	h.SetAddressList("From", []*mail.Address{{Name: l.matter.sender, Address: l.matter.local + "@" + l.matter.domain}})
	h.Set("Message-ID", l.id)
	h.SetDate(l.date)
	for hop, by := range []string{"out." + l.matter.domain, "mx.example.com"} {
		h.Add("Received", fmt.Sprintf("from relay%d.%s ([192.0.2.%d]) by %s with ESMTPS id %08x; %s",
			hop+1, l.matter.domain, 1+g.random.IntN(254), by, g.random.Uint32(),
			l.date.Add(time.Duration(hop+1)*time.Second).Format(time.RFC1123Z)))
	}
	return h.Header
}

func plain(g *Generator, l letter, size int) part {
	transfer := pick(g, l.words.transfer)
	return g.text(l, transfer, g.paragraphs(l, size, transfer))
}

// htmlToo says everything twice.
func htmlToo(g *Generator, l letter, size int) part {
	transfer := pick(g, l.words.transfer)
	paragraphs := g.paragraphs(l, size/2, transfer)
	return g.multipart("alternative", g.text(l, transfer, paragraphs), g.html(l, transfer, paragraphs, ""))
}

// withLogo is HTML with an image in it, and attachments to make up the size.
func withLogo(g *Generator, l letter, size int) part {
	transfer := pick(g, l.words.transfer)
	paragraphs := g.paragraphs(l, min(size/3, 3<<10), transfer)
	cid := fmt.Sprintf("logo.%08x@%s", g.random.Uint32(), l.matter.domain)

	logo := attachment("image/png", "inline", "logo.png", g.logo())
	logo.header.Set("Content-ID", "<"+cid+">")
	related := g.multipart("related", g.html(l, transfer, paragraphs, cid), logo)
	body := g.multipart("alternative", g.text(l, transfer, paragraphs), related)
	if size <= textOnly {
		return body
	}
	return g.withPDFs(l, body, size)
}

func pdfs(g *Generator, l letter, size int) part {
	transfer := pick(g, l.words.transfer)
	return g.withPDFs(l, g.text(l, transfer, g.paragraphs(l, min(size/3, 3<<10), transfer)), size)
}

// withPDFs adds attachments to the body until there is about the size.
func (g *Generator) withPDFs(l letter, body part, size int) part {
	const text = 4 << 10 // about what the body takes
	content := max(size-text, 1<<10) * base64Row / base64RowText
	names := []string{l.ref + ".pdf", l.words.note + " " + l.ref + " (2).pdf"}
	if content < 64<<10 {
		names = names[g.random.IntN(2):][:1]
	}
	parts := []part{body}
	for i, name := range names {
		title := fmt.Sprintf("%s, page 1 of document %d", l.ref, i+1)
		parts = append(parts, attachment("application/pdf", "attachment", name, pdf(title, g.bytes(content/len(names)))))
	}
	return g.multipart("mixed", parts...)
}

// forwarded is another letter, passed on whole.
func forwarded(g *Generator, l letter, size int) part {
	inner := g.letter()
	const text = 1 << 10
	original := part{content: held(g.compose(inner, max(size-text, text)))}
	original.header.Set("Content-Transfer-Encoding", "8bit")
	original.header.SetContentDisposition("attachment", map[string]string{"filename": inner.ref + ".eml"})
	original.header.SetContentType("message/rfc822", nil)

	transfer := pick(g, l.words.transfer)
	return g.multipart("mixed", g.text(l, transfer, g.paragraphs(l, text/2, transfer)), original)
}

// awkward is plain text with all that is hard on the way: lines that begin with
// dots or with "From ", one that is longer than any may be (RFC 5322 2.1.1: 998),
// trailing blanks, and what looks like a boundary.
func awkward(g *Generator, l letter, size int) part {
	transfer := l.words.transfer[0]
	paragraphs := g.paragraphs(l, size/2, transfer)
	hard := []string{
		".", "..", ".hidden", "...and so on", "From here on, see the annex.", "--=_0123456789abcdef", "blanks at the end   ", "",
		strings.TrimSpace(strings.Repeat("1 x standard part no. 4711; ", 60)),
	}
	return g.text(l, transfer, append(hard, paragraphs...))
}

// paragraphs returns lines that take about size bytes in the transfer encoding.
func (g *Generator) paragraphs(l letter, size int, transfer string) []string {
	sample := l.words.encode(strings.Join(l.words.lines, "\r\n"))
	var encoded bytes.Buffer
	if err := writeEncoded(&encoded, transfer, strings.NewReader(sample)); err != nil {
		panic("mailgen: " + err.Error()) // the tables of languages are wrong
	}
	size = size * len(sample) / encoded.Len()

	lines := []string{l.words.greeting, "", l.ref, ""}
	for length := 0; length < size; {
		line := pick(g, l.words.lines)
		if g.random.IntN(4) == 0 {
			line = fmt.Sprintf("%3d x  item %05d   EUR %9.2f", 1+g.random.IntN(200), g.random.IntN(100000), g.random.Float64()*5000)
		}
		lines = append(lines, line)
		length += len(l.words.encode(line)) + len("\r\n")
	}
	return append(lines, "", l.words.closing, l.matter.sender)
}

func (g *Generator) text(l letter, transfer string, lines []string) part {
	return leaf(l, "text/plain", transfer, strings.Join(lines, "\r\n")+"\r\n")
}

// html returns the lines as a page that begins with the image of the content id.
func (g *Generator) html(l letter, transfer string, lines []string, cid string) part {
	var page strings.Builder
	page.WriteString("<!DOCTYPE html>\r\n<html><head><meta http-equiv=\"Content-Type\" content=\"text/html; charset=" +
		l.words.charset + "\"></head>\r\n<body style=\"font-family: sans-serif\">\r\n")
	if cid != "" {
		page.WriteString("<p><img src=\"cid:" + cid + "\" width=\"96\" height=\"32\" alt=\"\"></p>\r\n")
	}
	for _, line := range lines {
		page.WriteString("<p>" + html.EscapeString(line) + "</p>\r\n")
	}
	page.WriteString("</body></html>\r\n")
	return leaf(l, "text/html", transfer, page.String())
}

func leaf(l letter, mediaType, transfer, content string) part {
	p := part{content: held([]byte(l.words.encode(content)))}
	p.header.Set("Content-Transfer-Encoding", transfer)
	p.header.SetContentType(mediaType, map[string]string{"charset": l.words.charset})
	return p
}

// logo returns a PNG of 96 by 32 points: a slope of two colours.
func (g *Generator) logo() []byte {
	const width, height = 96, 32
	picture := image.NewRGBA(image.Rect(0, 0, width, height))
	red, blue := uint8(g.random.IntN(256)), uint8(g.random.IntN(256))
	for y := range height {
		for x := range width {
			picture.SetRGBA(x, y, color.RGBA{R: red, G: uint8(x * 2), B: blue + uint8(y), A: 255})
		}
	}
	var encoded bytes.Buffer
	if err := png.Encode(&encoded, picture); err != nil {
		panic("mailgen: " + err.Error()) // a buffer takes everything
	}
	return encoded.Bytes()
}
