package document_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"io"
	"strings"
	"testing"
	"time"

	"postroom/ingest/document"
	"postroom/ingest/message"
	"postroom/internal/mailgen"
	"postroom/sources"
)

// generated returns the first generated mail of that size, about, of which the
// raw bytes hold what is asked for.
func generated(b testing.TB, least, most int, holds ...string) []byte {
	g := mailgen.New(11, mailgen.Moderate())
next:
	for range 10000 {
		raw := g.Next().Raw
		for _, s := range holds {
			if !bytes.Contains(raw, []byte(s)) {
				continue next
			}
		}
		if len(raw) >= least && len(raw) <= most {
			return raw
		}
	}
	b.Fatalf("no mail of %d to %d bytes with %q", least, most, holds)
	return nil
}

// page is mail of HTML of some 40 KB with a picture in it, as newsletters have.
func page(b testing.TB) []byte {
	raw := generated(b, 4<<10, 20<<10, "Content-Type: image/png", "</body>")
	at := bytes.Index(raw, []byte("</body>"))
	row := `<tr><td style="padding:0 12px" class=3D"x"><a href="https://shop.example/articles/4711?from=mail">Article 4711</a> &amp; more, now for 12&nbsp;EUR</td></tr>` + "\r\n"
	return append(append(append([]byte(nil), raw[:at]...), strings.Repeat(row, 40<<10/len(row))...), raw[at:]...)
}

// BenchmarkDocument does what is done with every message that is filed, but for
// writing it: it is read, identified, and made a document.
func BenchmarkDocument(b *testing.B) {
	for _, bm := range []struct {
		name string
		raw  []byte
	}{
		{"plain 5 KB", generated(b, 4800, 5400, "Content-Type: text/plain")},
		{"HTML 50 KB", page(b)},
		{"PDF 1 MB", generated(b, 900<<10, 1100<<10, "Content-Type: application/pdf")},
	} {
		for _, rules := range []struct {
			name string
			document.Rules
		}{{"whole", document.Rules{Title: "{subject}"}}, {"separated", document.Rules{Title: "{subject}", SeparateAttachments: true}}} {
			b.Run(bm.name+"/"+rules.name, func(b *testing.B) {
				in := document.Input{
					Source: "invoices", Type: "imap", Key: "1/1", Fetched: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Wire: sources.Original,
					Raw: bytes.NewReader(bm.raw), Size: int64(len(bm.raw)), SHA256: sha256.Sum256(bm.raw), Held: true,
				}
				b.SetBytes(in.Size)
				b.ReportAllocs()
				for b.Loop() {
					m, err := message.Read(context.Background(), in.Raw, in.Size, message.Limits{})
					if err != nil {
						b.Fatal(err)
					}
					in := in
					in.Message, in.Header = m, m.Header
					if in.Identity, err = document.Identify(context.Background(), m); err != nil {
						b.Fatal(err)
					}
					if _, err := document.Make(context.Background(), in, rules.Rules); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkWrite makes a document of a message and reads its files as a
// repository does.
func BenchmarkWrite(b *testing.B) {
	raw := generated(b, 900<<10, 1100<<10, "Content-Type: application/pdf")
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		d, err := document.Make(context.Background(), document.Input{
			Source: "invoices", Type: "imap", Fetched: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
			Raw: bytes.NewReader(raw), Size: int64(len(raw)), SHA256: sha256.Sum256(raw), Held: true,
		}, document.Rules{SeparateAttachments: true})
		if err != nil {
			b.Fatal(err)
		}
		for i := range d.Files {
			if err := d.Files[i].Copy(context.Background(), io.Discard); err != nil {
				b.Fatal(err)
			}
		}
	}
}
