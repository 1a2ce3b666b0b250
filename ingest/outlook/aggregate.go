package outlook

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"html"
	"io"
	"slices"
	"strings"

	"postroom/ingest/message"
)

// layout is what a message is made of, as it is to be converted.
type layout struct {
	*message.Layout
	// pieces are those of an aggregate body, which is the text instead of HTML and
	// Plain; nil if it has none.
	pieces []piece
	tnef   *winmail // what the message is besides; nil if nothing
}

// piece is a part of an aggregate body: a text, or a picture with its Content-ID.
type piece struct {
	*message.Part
	picture string
}

// arrange looks for text in what the message lists as attachments: RTF that is all
// the text there is, and what Apple Mail makes of one text with pictures in it. The
// error is one of the raw bytes.
func (c *converter) arrange(m *message.Message, root *message.Part, place string) (*layout, error) {
	l := &layout{Layout: root.Layout()}
	if l.Plain == nil && l.HTML == nil && l.Other == nil && len(l.Attachments) > 0 {
		if p := l.Attachments[0].Part; isRTF(p) && p.Disposition != "attachment" && (p == root || p.Name == "") {
			l.Other, l.Attachments = p, l.Attachments[1:]
		}
	}
	if p := l.Other; p != nil && isRTF(p) {
		head, err := io.ReadAll(io.LimitReader(m.Open(p), 5))
		if err != nil {
			return nil, err
		}
		if string(head) != `{\rtf` {
			l.Other, l.Attachments = nil, append([]message.Attachment{{Part: p}}, l.Attachments...)
		}
	}
	if fromApple(root.Header) {
		l.aggregate(root)
		if l.pieces != nil {
			c.lose(place, "the texts of the message are one in HTML now, with its pictures in it")
		}
	}
	return l, nil
}

// other reports whether Other is shown, and need not be an attachment.
func (l *layout) other() bool {
	return l.Other != nil && l.HTML == nil && l.pieces == nil && (isEnriched(l.Other) || isRTF(l.Other))
}

// fromApple reports whether a program of Apple made the message, whose texts are
// pieces of one (MS-OXCMAIL 2.2.3.3.2.2).
func fromApple(h *message.Header) bool {
	for _, name := range []string{"MIME-Version", "X-User-Agent", "X-Mailer"} {
		v := strings.ToLower(h.Raw(name))
		for _, word := range []string{"apple", "ipad", "ipod"} {
			if strings.Contains(v, word) {
				return true
			}
		}
	}
	return false
}

// aggregate makes one body of texts and pictures that stand beside each other in
// the multipart/mixed that the text is in.
func (l *layout) aggregate(root *message.Part) {
	text := l.HTML
	if text == nil {
		text = l.Plain
	}
	if text == nil {
		return
	}
	more := map[*message.Part]bool{}
	for _, p := range l.More {
		more[p] = true
	}
	shown := func(p *message.Part) bool { return p == text || p != nil && more[p] }
	for p := range within(root) {
		if p.Type != "multipart/mixed" {
			continue
		}
		var pieces []piece
		has := false
		for _, child := range p.Parts {
			switch {
			case child.IsMultipart():
				in := child.Layout()
				for _, t := range []*message.Part{in.HTML, in.Plain} {
					if shown(t) {
						pieces = append(pieces, piece{Part: t})
						has = has || t == text
						break
					}
				}
			case shown(child) && (child.Type == "text/plain" || child.Type == "text/html"):
				pieces = append(pieces, piece{Part: child})
				has = has || child == text
			case pictures[child.Type] && child.Disposition != "attachment":
				pieces = append(pieces, piece{child, either(child.ContentID, fmt.Sprintf("part.%d@postroom.invalid", child.Whole.Start))})
			}
		}
		if !has || len(pieces) < 2 {
			continue
		}
		l.pieces = pieces
		for _, q := range pieces {
			delete(more, q.Part)
			if q.Part == l.Plain {
				l.Plain = nil // it is a part of the text only
			}
		}
		l.More = slices.DeleteFunc(l.More, func(p *message.Part) bool { return !more[p] })
		return
	}
}

// texts returns the HTML in which pictures may be referred to.
func (l *layout) texts() (list []*message.Part) {
	for _, p := range l.pieces {
		if p.Type == "text/html" {
			list = append(list, p.Part)
		}
	}
	if l.pieces == nil && l.HTML != nil {
		list = append(list, l.HTML)
	}
	return list
}

// aggregated opens an aggregate body, in UTF-8.
func (l *layout) aggregated(m *message.Message) io.Reader {
	list := []io.Reader{strings.NewReader("<meta http-equiv=\"Content-Type\" content=\"text/html; charset=utf-8\">\r\n")}
	for _, p := range l.pieces {
		switch {
		case p.picture != "":
			list = append(list, strings.NewReader(`<img src="cid:`+html.EscapeString(p.picture)+"\">\r\n"))
		case p.Type == "text/html":
			list = append(list, &lazyReader{open: func() (io.Reader, error) {
				_, r, err := m.OpenText(p.Part)
				if err != nil {
					return nil, err
				}
				return declareUTF8(r)
			}})
		default:
			list = append(list, strings.NewReader("<div>"), &lazyReader{open: func() (io.Reader, error) {
				_, r, err := m.OpenText(p.Part)
				if err == nil && flowedText(p.Part) {
					r = reflow(r, strings.EqualFold(p.Params["delsp"], "yes"))
				}
				return &plainHTML{r: bufio.NewReader(r)}, err
			}}, strings.NewReader("</div>\r\n"))
		}
	}
	return io.MultiReader(list...)
}

// lazyReader opens what it reads when it is read.
type lazyReader struct {
	open func() (io.Reader, error)
	r    io.Reader
}

func (l *lazyReader) Read(p []byte) (int, error) {
	if l.r == nil {
		r, err := l.open()
		if err != nil {
			return 0, err
		}
		l.r = r
	}
	return l.r.Read(p)
}

// declareUTF8 returns HTML that has become UTF-8, and says so in it.
func declareUTF8(text io.Reader) (io.Reader, error) {
	head := make([]byte, 8<<10)
	n, err := io.ReadFull(text, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, err
	}
	return io.MultiReader(bytes.NewReader(metaCharset.ReplaceAll(head[:n], []byte("${1}utf-8"))), text), nil
}

// plainHTML reads plain text as HTML.
type plainHTML struct {
	r     *bufio.Reader
	out   bytes.Buffer
	blank bool // a space came before
}

func (h *plainHTML) Read(p []byte) (int, error) {
	for h.out.Len() == 0 {
		b, err := h.r.ReadByte()
		if err != nil {
			return 0, err
		}
		blank := b == ' '
		switch {
		case b == '&':
			h.out.WriteString("&amp;")
		case b == '<':
			h.out.WriteString("&lt;")
		case b == '>':
			h.out.WriteString("&gt;")
		case b == '\n':
			h.out.WriteString("<br>\r\n")
			blank = true // one at the beginning of a line counts
		case b == '\r':
		case b == ' ' && h.blank:
			h.out.WriteString("&nbsp;")
		default:
			h.out.WriteByte(b)
		}
		h.blank = blank
	}
	return h.out.Read(p)
}
