package mailgen

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"mime"
	"mime/quotedprintable"

	"github.com/emersion/go-message"
	"github.com/emersion/go-message/textproto"
)

// part is a MIME entity: a leaf with content, or a multipart of parts.
type part struct {
	header  message.Header   // as it is written, Content-Transfer-Encoding included
	content func() io.Reader // before the transfer encoding, in the part's charset
	parts   []part
}

func (p part) write(w io.Writer) error {
	if err := textproto.WriteHeader(w, p.header.Header); err != nil {
		return err
	}
	return p.writeBody(w)
}

func (p part) writeBody(w io.Writer) error {
	if p.parts == nil {
		return writeEncoded(w, p.header.Get("Content-Transfer-Encoding"), p.content())
	}
	_, params, err := p.header.ContentType()
	if err != nil {
		return err
	}
	mw := textproto.NewMultipartWriter(w)
	if err := mw.SetBoundary(params["boundary"]); err != nil {
		return err
	}
	for _, child := range p.parts {
		cw, err := mw.CreatePart(child.header.Header)
		if err != nil {
			return err
		}
		if err := child.writeBody(cw); err != nil {
			return err
		}
	}
	return mw.Close()
}

func writeEncoded(w io.Writer, transfer string, content io.Reader) error {
	switch transfer {
	case "quoted-printable":
		qw := quotedprintable.NewWriter(w)
		if _, err := io.Copy(qw, content); err != nil {
			return err
		}
		return qw.Close()
	case "base64":
		return writeBase64(w, content)
	case "7bit", "8bit":
		_, err := io.Copy(w, content)
		return err
	default:
		return fmt.Errorf("unknown transfer encoding %q", transfer)
	}
}

const (
	base64Row     = 57 // bytes of content in a row
	base64RowText = 78 // bytes that a full row takes, CRLF included
)

// writeBase64 writes what r holds in rows, in memory that does not grow with it.
func writeBase64(w io.Writer, r io.Reader) error {
	const rows = 256
	content := make([]byte, rows*base64Row)
	text := make([]byte, 0, rows*base64RowText)
	for {
		n, err := io.ReadFull(r, content)
		text = text[:0]
		for row := content[:n]; len(row) > 0; {
			length := min(base64Row, len(row))
			text = base64.StdEncoding.AppendEncode(text, row[:length])
			text = append(text, "\r\n"...)
			row = row[length:]
		}
		if _, err := w.Write(text); err != nil {
			return err
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// held is content that is in memory.
func held(content []byte) func() io.Reader {
	return func() io.Reader { return bytes.NewReader(content) }
}

// boundary returns a new boundary; "=_" occurs in no base64 or quoted-printable.
func (g *Generator) boundary() string { return fmt.Sprintf("=_%016x", g.random.Uint64()) }

// multipart returns the parts as one entity of the subtype.
func (g *Generator) multipart(subtype string, parts ...part) part {
	p := part{parts: parts}
	p.header.SetContentType("multipart/"+subtype, map[string]string{"boundary": g.boundary()})
	return p
}

// attachment returns a leaf in base64. A name beyond ASCII is written in both
// ways that are in use: as RFC 2231 has it, and as an encoded word in quotes.
func attachment(mediaType, disposition, name string, content []byte) part {
	p := part{content: held(content)}
	p.header.Set("Content-Transfer-Encoding", "base64")
	p.header.Set("Content-Disposition", mime.FormatMediaType(disposition, map[string]string{"filename": name}))
	p.header.SetContentType(mediaType, map[string]string{"name": name})
	return p
}
