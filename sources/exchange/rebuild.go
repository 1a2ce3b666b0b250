package exchange

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"strings"

	"go.uber.org/zap"

	"postroom/internal/graph"
	"postroom/sources"
)

// rebuild delivers a message, which the server could not render because of
// cause, made of its fields, header lines and attachments.
func (f *fetch) rebuild(ctx context.Context, ref sources.Ref, cause error) error {
	s := f.source
	msg, err := s.box.Message(ctx, ref.Key)
	var attachments []*graph.Attachment
	if err == nil {
		attachments, err = s.box.Attachments(ctx, ref.Key)
	}
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return s.explain(f.doing, context.Cause(ctx))
	case graph.ItemGone(err):
		return f.gone(ref, err)
	default:
		return f.suspect(ref, fmt.Errorf("the server cannot render it (%w), and its parts cannot be had: %w", cause, err))
	}
	f.answer()
	s.log.Warn("the server cannot render a message; it is rebuilt from its parts", zap.String("key", ref.Key), zap.Error(cause))
	m := &sources.Message{Received: msg.Received.Time, Seen: bool(msg.Read), Size: -1, Wire: sources.Reconstructed}
	if m.Received.IsZero() {
		m.Received = ref.Received
	}
	m.Notes = append(m.Notes, fmt.Sprintf("the server could not render this message (%s): it was made anew of its header lines, its body and %d attachments; "+
		"its bytes are not those that were sent", short(cause), len(attachments)))

	ctx, cancel := context.WithCancel(ctx)
	pr, pw := io.Pipe()
	r := &rebuilding{source: s, ctx: ctx, msg: msg, attachments: attachments, boundary: "=_postroom_" + strings.NewReplacer("-", "a", "_", "b").Replace(hash(ref.Key)),
		note: func(text string) { m.Notes = append(m.Notes, text) }}
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		pw.CloseWithError(r.write(pw))
	}()
	// Its parts are made here: there is no boundary to look for that could be
	// missing.
	b := &body{source: s, doing: f.doing, key: ref.Key, from: pr, size: -1, ctx: ctx}
	b.parts.decided = true
	m.Body = b
	err = f.deliver(ref, m)
	b.end()
	cancel()
	// Ends the writer; a pipe's reader is closed without an error.
	_ = pr.Close()
	<-finished
	if err == nil {
		s.forgive(ref.Key)
	}
	return err
}

// short is an error of the server without what differs each time.
func short(err error) string {
	var answer *graph.Error
	if !errors.As(err, &answer) {
		return "no answer"
	}
	if answer.Code == "" {
		return fmt.Sprintf("HTTP %d", answer.Status)
	}
	return fmt.Sprintf("HTTP %d, %s", answer.Status, answer.Code)
}

// rebuilding writes a message anew. What it writes depends on the message alone,
// so that doing it again gives the same bytes.
type rebuilding struct {
	source      *Source
	ctx         context.Context
	msg         *graph.Message
	attachments []*graph.Attachment
	boundary    string
	note        func(string)
}

func (r *rebuilding) write(w io.Writer) error {
	head := messageHead(r.msg)
	if signed := r.signed(); signed != nil {
		return r.writeSigned(w, head, signed)
	}
	kind, text := "text/plain", r.msg.Body.Content
	if strings.EqualFold(r.msg.Body.Type, "html") {
		kind = "text/html"
	}
	if _, err := w.Write(append(head, "MIME-Version: 1.0\r\n"...)); err != nil {
		return err
	}
	if len(r.attachments) > 0 {
		if _, err := fmt.Fprintf(w, "Content-Type: multipart/mixed; boundary=\"%s\"\r\n\r\n--%s\r\n", r.boundary, r.boundary); err != nil {
			return err
		}
	}
	if err := writeText(w, kind, text); err != nil {
		return err
	}
	if len(r.attachments) == 0 {
		return nil
	}
	for _, a := range r.attachments {
		if _, err := fmt.Fprintf(w, "--%s\r\n", r.boundary); err != nil {
			return err
		}
		if err := r.attachment(w, a); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(w, "--%s--\r\n", r.boundary)
	return err
}

// signed returns the attachment that is the whole of a signed or encrypted
// message, or nil: Exchange keeps such a message as one attachment.
func (r *rebuilding) signed() *graph.Attachment {
	if len(r.attachments) != 1 || !strings.HasPrefix(strings.ToLower(r.attachments[0].Name), "smime.p7") {
		return nil
	}
	switch kind, _, _ := strings.Cut(strings.ToLower(r.attachments[0].ContentType), ";"); strings.TrimSpace(kind) {
	case "application/pkcs7-mime", "application/x-pkcs7-mime", "multipart/signed":
		return r.attachments[0]
	}
	return nil
}

// writeSigned writes a signed or encrypted message with what it is made of,
// unaltered.
func (r *rebuilding) writeSigned(w io.Writer, head []byte, a *graph.Attachment) error {
	content, err := r.source.box.AttachmentContent(r.ctx, r.msg.ID, a.ID)
	if err != nil {
		return err
	}
	defer content.Body.Close()
	head = append(head, "MIME-Version: 1.0\r\n"...)
	if strings.HasPrefix(strings.ToLower(a.ContentType), "multipart/signed") {
		// It begins with its own Content-Type.
		if _, err := w.Write(head); err != nil {
			return err
		}
		_, err := io.Copy(w, content.Body)
		return err
	}
	kind := "application/pkcs7-mime; name=\"smime.p7m\""
	for _, h := range r.msg.Headers {
		if strings.EqualFold(h.Name, "Content-Type") && strings.Contains(strings.ToLower(h.Value), "pkcs7-mime") && ascii(h.Value) {
			kind = oneLine(h.Value)
		}
	}
	if _, err := fmt.Fprintf(w, "%sContent-Type: %s\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: attachment; filename=\"smime.p7m\"\r\n\r\n", head, kind); err != nil {
		return err
	}
	return copyBase64(w, content.Body)
}

// attachment writes one part.
func (r *rebuilding) attachment(w io.Writer, a *graph.Attachment) error {
	if a.Type == "#microsoft.graph.referenceAttachment" {
		return writeText(w, "text/plain", "This message links to a file: "+oneLine(a.Name)+" "+oneLine(a.SourceURL)+"\r\n")
	}
	content, err := r.source.box.AttachmentContent(r.ctx, r.msg.ID, a.ID)
	var answer *graph.Error
	if errors.As(err, &answer) && answer.Status != 401 && answer.Status != 403 {
		text := fmt.Sprintf("the server could not hand out the attachment %q (%s)", oneLine(a.Name), short(err))
		r.note(text)
		r.source.log.Error("an attachment cannot be had", zap.String("key", r.msg.ID), zap.String("name", a.Name), zap.Error(err))
		return writeText(w, "text/plain", text+"\r\n")
	}
	if err != nil {
		return err
	}
	defer content.Body.Close()
	if a.Type == "#microsoft.graph.itemAttachment" {
		if _, err := fmt.Fprintf(w, "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n%s\r\n", disposition(a)); err != nil {
			return err
		}
		if _, err := io.Copy(w, content.Body); err != nil {
			return err
		}
		_, err := io.WriteString(w, "\r\n")
		return err
	}
	kind, parameters, err := mime.ParseMediaType(a.ContentType)
	if err != nil || strings.HasPrefix(kind, "multipart/") || strings.HasPrefix(kind, "message/") {
		kind, parameters = "application/octet-stream", nil
	}
	if _, err := fmt.Fprintf(w, "Content-Type: %s\r\nContent-Transfer-Encoding: base64\r\n%s\r\n", cmp.Or(mime.FormatMediaType(kind, parameters), "application/octet-stream"), disposition(a)); err != nil {
		return err
	}
	return copyBase64(w, content.Body)
}

// disposition returns the fields that name a part.
func disposition(a *graph.Attachment) string {
	kind := "attachment"
	if bool(a.Inline) {
		kind = "inline"
	}
	value := mime.FormatMediaType(kind, map[string]string{"filename": oneLine(a.Name)})
	if value == "" || a.Name == "" {
		value = kind
	}
	text := "Content-Disposition: " + value + "\r\n"
	if id := strings.Trim(oneLine(a.ContentID), "<> "); id != "" && ascii(id) {
		text += "Content-ID: <" + id + ">\r\n"
	}
	return text
}

func writeText(w io.Writer, kind, text string) error {
	if _, err := fmt.Fprintf(w, "Content-Type: %s; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n", kind); err != nil {
		return err
	}
	return copyBase64(w, strings.NewReader(text))
}

// copyBase64 encodes what r has in lines (RFC 2045 6.8).
func copyBase64(w io.Writer, r io.Reader) error {
	const line = 57 // 76 characters
	buf := make([]byte, 512*line)
	out := make([]byte, 0, 512*78)
	for {
		n, err := io.ReadFull(r, buf)
		out = out[:0]
		for at := 0; at < n; at += line {
			out = base64.StdEncoding.AppendEncode(out, buf[at:min(at+line, n)])
			out = append(out, '\r', '\n')
		}
		if _, err := w.Write(out); err != nil {
			return err
		}
		switch err {
		case nil:
		case io.EOF, io.ErrUnexpectedEOF:
			return nil
		default:
			return err
		}
	}
}
