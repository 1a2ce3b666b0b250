package document_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"math/rand/v2"
	"mime"
	"mime/quotedprintable"
	"strings"
	"testing"

	"postroom/ingest/document"
	"postroom/ingest/message"
	"postroom/internal/mailgen"
)

func identify(t *testing.T, raw []byte) document.Fingerprint {
	t.Helper()
	f, err := document.Identify(context.Background(), readMail(t, raw))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func readMail(t *testing.T, raw []byte) *message.Message {
	t.Helper()
	m, err := message.Read(context.Background(), bytes.NewReader(raw), int64(len(raw)), message.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// renderer writes a message anew as Exchange does when it is asked for the MIME
// of an item that it holds as properties: header fields in its own order and
// words, with fields of its own, UTF-8 and other transfer encodings, boundaries
// and line breaks, a meta element in the HTML, and plain text made of the HTML.
type renderer struct {
	t *testing.T
	r *rand.Rand
	m *message.Message
}

func render(t *testing.T, r *rand.Rand, raw []byte) []byte {
	e := &renderer{t: t, r: r, m: readMail(t, raw)}
	var b bytes.Buffer
	e.message(&b, &e.m.Part)
	return b.Bytes()
}

func (e *renderer) message(b *bytes.Buffer, root *message.Part) {
	h := root.Header
	fmt.Fprintf(b, "Received: from AM0PR01.example (2603:10a6::1) by DB7PR01.example\r\n with HTTPS; Mon, 5 Jan 2026 %02d:00:00 +0000\r\n", e.r.IntN(24))
	for _, name := range []string{"From", "To", "CC"} {
		var list []string
		for _, a := range h.AddressList(name) {
			list = append(list, mime.QEncoding.Encode("utf-8", a.Name)+" <"+a.Address+">")
		}
		if len(list) > 0 {
			fmt.Fprintf(b, "%s: %s\r\n", name, strings.Join(list, ",\r\n\t"))
		}
	}
	fmt.Fprintf(b, "Subject: %s\r\n", mime.BEncoding.Encode("utf-8", h.Text("Subject")))
	fmt.Fprintf(b, "Thread-Topic: x\r\nThread-Index: AQHZ%08x\r\n", e.r.Uint32())
	if d := h.Date(); !d.IsZero() {
		fmt.Fprintf(b, "Date: %s\r\n", d.Format("Mon, 2 Jan 2006 15:04:05 +0000"))
	}
	if ids := h.MessageIDs("Message-ID"); len(ids) > 0 {
		fmt.Fprintf(b, "Message-ID:\r\n\t%s\r\n", ids[0])
	} else {
		fmt.Fprintf(b, "Message-ID: <%016x@AM0PR01.eurprd01.prod.example>\r\n", e.r.Uint64())
	}
	fmt.Fprint(b, "X-MS-Has-Attach: yes\r\nX-MS-Exchange-Organization-SCL: -1\r\nMIME-Version: 1.0\r\n")
	e.part(b, root)
}

func (e *renderer) part(b *bytes.Buffer, p *message.Part) {
	if p.IsMultipart() && len(p.Parts) > 0 {
		boundary := fmt.Sprintf("_00%d_%016x_", e.r.IntN(10), e.r.Uint64())
		fmt.Fprintf(b, "Content-Type: %s;\r\n\tboundary=\"%s\"\r\n\r\n", p.Type, boundary)
		for _, c := range p.Parts {
			fmt.Fprintf(b, "--%s\r\n", boundary)
			if p.Type == "multipart/alternative" && c.Type == "text/plain" {
				e.leaf(b, c, []byte("[cid:logo] as Exchange makes it of the HTML "+fmt.Sprint(e.r.IntN(1000))))
			} else {
				e.part(b, c)
			}
			b.WriteString("\r\n")
		}
		fmt.Fprintf(b, "--%s--\r\n", boundary)
		return
	}
	if p.IsMessage() && len(p.Parts) == 1 {
		fmt.Fprint(b, "Content-Type: message/rfc822\r\nContent-Disposition: attachment\r\n\r\n")
		e.message(b, p.Parts[0])
		return
	}
	var content []byte
	var err error
	if strings.HasPrefix(p.Type, "text/") && p.Disposition != "attachment" {
		var text message.Text
		text, err = e.m.Text(p, 1<<30)
		content = []byte(text.String)
		if p.Type == "text/html" {
			content = append([]byte(`<html><head>`+"\r\n"+`<meta http-equiv="Content-Type" content="text/html; charset=utf-8"></head><body>`+"\r\n"), content...)
			content = append(content, "</body></html>"...)
		} else if e.r.IntN(2) == 0 {
			content = bytes.ReplaceAll(content, []byte("\r\n"), []byte(" \r\n"))
		}
	} else {
		content, err = io.ReadAll(e.m.Open(p))
	}
	if err != nil {
		e.t.Fatal(err)
	}
	e.leaf(b, p, content)
}

func (e *renderer) leaf(b *bytes.Buffer, p *message.Part, content []byte) {
	fmt.Fprintf(b, "Content-Type: %s", p.Type)
	if strings.HasPrefix(p.Type, "text/") {
		fmt.Fprint(b, "; charset=\"utf-8\"")
	}
	if p.Name != "" {
		name := mime.BEncoding.Encode("utf-8", p.Name)
		fmt.Fprintf(b, ";\r\n\tname=\"%s\"\r\nContent-Description: %s\r\nContent-Disposition: %s;\r\n\tfilename=\"%s\"; size=%d",
			name, name, p.Disposition, name, len(content))
	}
	if p.ContentID != "" {
		fmt.Fprintf(b, "\r\nContent-ID: <%s>", p.ContentID)
	}
	if e.r.IntN(2) == 0 {
		fmt.Fprint(b, "\r\nContent-Transfer-Encoding: base64\r\n\r\n")
		for text := base64.StdEncoding.EncodeToString(content); text != ""; {
			n := min(len(text), 76)
			b.WriteString(text[:n] + "\r\n")
			text = text[n:]
		}
		return
	}
	fmt.Fprint(b, "\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n")
	w := quotedprintable.NewWriter(b)
	w.Binary = !strings.HasPrefix(p.Type, "text/")
	w.Write(content)
	w.Close()
}

// A message is recognised whatever rendered it, and its near twins are not taken
// for it.
func TestIdentityAcrossProtocols(t *testing.T) {
	const n = 2000
	mail := mailgen.New(42, mailgen.Small())
	r := rand.New(rand.NewPCG(1, 2))
	seen := make(map[[32]byte]int)
	doubles, false_ := 0, 0
	for k := range n {
		raw := mail.Next().Raw
		if k%10 == 0 {
			raw = bytes.Replace(raw, []byte("Message-ID:"), []byte("X-Lost:"), 1)
		}
		original := identify(t, raw)
		if other, ok := seen[original.Content]; ok {
			t.Errorf("mails %d and %d are the same", other, k)
		}
		seen[original.Content] = k
		anew := identify(t, render(t, r, raw))
		if anew.Content != original.Content || original.MessageID != "" && anew.MessageID != original.MessageID {
			if doubles++; doubles < 4 {
				t.Errorf("mail %d is not recognised:\n%.3000s\n----\n%.3000s", k, raw, render(t, r, raw))
			}
		}
		kind, twin := nearTwin(t, r, raw)
		if f := identify(t, twin); f.Content == original.Content && f.Strict == original.Strict && f.MessageID == original.MessageID {
			if false_++; false_ < 4 {
				t.Errorf("mail %d and its twin with another %s are the same:\n%.2000s", k, kind, raw)
			}
		}
	}
	t.Logf("%d doubles and %d false matches among %d", doubles, false_, n)
}

// nearTwin returns a message that differs from raw in one small thing.
func nearTwin(t *testing.T, r *rand.Rand, raw []byte) (kind string, twin []byte) {
	m := readMail(t, raw)
	field := func(name string) (message.Range, bool) {
		for _, f := range m.Header.Fields {
			if strings.EqualFold(f.Name, name) {
				return f.Range, true
			}
		}
		return message.Range{}, false
	}
	replace := func(at message.Range, by string) []byte {
		return append(append(append([]byte(nil), raw[:at.Start]...), by...), raw[at.End:]...)
	}
	switch r.IntN(6) {
	case 0:
		if at, ok := field("Subject"); ok {
			return "subject", replace(at, "Subject: "+m.Header.Text("Subject")[1:]+"\r\n")
		}
	case 1:
		if at, ok := field("Date"); ok {
			return "date", replace(at, "Date: "+m.Header.Date().Add(1e9).Format("Mon, 2 Jan 2006 15:04:05 +0000")+"\r\n")
		}
	case 2:
		if at, ok := field("To"); ok {
			return "recipient", replace(at, "To: someone.else@example.com\r\n")
		}
	case 3:
		if at, ok := field("From"); ok {
			return "sender", replace(at, "From: someone.else@example.com\r\n")
		}
	}
	// One byte of the content of a part.
	var leaves []*message.Part
	for p := range m.All() {
		if len(p.Parts) == 0 && p.Body.Len() > 100 && (p.Type != "text/html" || p.Encoding != message.Base64) {
			leaves = append(leaves, p)
		}
	}
	p := leaves[r.IntN(len(leaves))]
	for range 1000 {
		at := p.Body.Start + 1 + r.Int64N(p.Body.Len()-2)
		c, before, after := raw[at], raw[at-1], raw[at+1]
		if c >= 'a' && c < 'z' && before >= 'a' && before <= 'z' && after >= 'a' && after <= 'z' {
			if p.Type == "text/html" && !visibleAt(raw[p.Body.Start:p.Body.End], int(at-p.Body.Start)) {
				continue
			}
			return "content of " + p.Type, replace(message.Range{Start: at, End: at + 1}, string(c+1))
		}
	}
	// Of base64, of which no letter is as good as another.
	for range 1000 {
		at := p.Body.Start + r.Int64N(p.Body.Len()-8)
		if c := raw[at]; p.Encoding == message.Base64 && c >= 'a' && c < 'z' {
			return "content of " + p.Type, replace(message.Range{Start: at, End: at + 1}, string(c+1))
		}
	}
	t.Fatalf("no twin of:\n%s", raw)
	return "", nil
}

// visibleAt reports whether a byte of HTML is outside of tags, references and
// what is not shown.
func visibleAt(page []byte, at int) bool {
	before := page[:at]
	if bytes.LastIndexByte(before, '<') > bytes.LastIndexByte(before, '>') || bytes.LastIndexByte(before, '&') > at-12 {
		return false
	}
	return bytes.Contains(bytes.ToLower(before), []byte("<body"))
}
