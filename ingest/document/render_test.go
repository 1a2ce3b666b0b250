package document

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"postroom/ingest/message"
	"postroom/ingest/outlook"
	"postroom/ingest/outlook/cfb"
	"postroom/ingest/spool"
	"postroom/store"
)

func newScratch(t testing.TB) *spool.Scratch {
	t.Helper()
	s, err := spool.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	scratch := s.Scratch()
	t.Cleanup(func() {
		if err := scratch.Close(); err != nil {
			t.Error(err)
		}
	})
	return scratch
}

func mustRender(t testing.TB, in Input, rules Rules) *store.Document {
	t.Helper()
	d, err := Make(t.Context(), in, rules)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Render(t.Context(), newScratch(t)); err != nil {
		t.Fatal(err)
	}
	for i := range d.Files {
		if err := d.Files[i].Copy(t.Context(), io.Discard); err != nil {
			t.Error(err)
		}
	}
	return d.Document
}

// buffer is a file in memory.
type buffer struct{ b []byte }

func (f *buffer) WriteAt(p []byte, off int64) (int, error) {
	if end := int(off) + len(p); end > len(f.b) {
		f.b = slices.Grow(f.b, end-len(f.b))[:end]
	}
	return copy(f.b[off:], p), nil
}

// asOutlook converts mail apart from the document.
func asOutlook(t testing.TB, raw []byte, o outlook.Options) []byte {
	t.Helper()
	f := new(buffer)
	if _, err := outlook.Convert(t.Context(), f, mustRead(t, raw), o); err != nil {
		t.Fatal(err)
	}
	return f.b
}

func describe(d *store.Document) string {
	var out []string
	for _, f := range d.Files {
		out = append(out, fmt.Sprintf("%s %s %s", f.Name, f.Role, f.MediaType))
	}
	return strings.Join(out, "; ")
}

const msgFile = "message.msg message application/vnd.ms-outlook"

func TestRender(t *testing.T) {
	mixed := "From: a@example.com\r\nSubject: a\r\nDate: Thu, 1 Jan 2026 10:00:00 +0000\r\n" + multi("mixed", plain, scan)
	signed := "From: a@example.com\r\n" + multi("signed; protocol=\"application/pkcs7-signature\"", multi("mixed", plain, scan), part("Content-Type: application/pkcs7-signature; name=smime.p7s", "sig"))
	for _, tt := range []struct {
		name, mail string
		rules      Rules
		want       string
	}{
		{"whole", mixed, Rules{}, msgFile},
		{"with the original", mixed, Rules{KeepOriginal: true}, msgFile + "; original.eml original message/rfc822"},
		{"separated", mixed, Rules{SeparateAttachments: true, KeepOriginal: true}, msgFile + "; scan.pdf attachment application/pdf; original.eml original message/rfc822"},
		{"several", multi("mixed", plain, scan, scan), Rules{SeparateAttachments: true}, msgFile + "; scan.pdf attachment application/pdf; scan (2).pdf attachment application/pdf"},
		{"nothing but an attachment", "Subject: a\r\n" + scan, Rules{SeparateAttachments: true}, msgFile + "; scan.pdf attachment application/pdf"},
		{"nothing to separate", "Subject: a\r\n" + plain, Rules{SeparateAttachments: true}, msgFile},
		{"signed", signed, Rules{SeparateAttachments: true}, msgFile + "; scan.pdf attachment application/pdf"},
		{"empty", "", Rules{}, msgFile},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := rawInput([]byte(tt.mail))
			in.Mailbox, in.Received = "office@example.com", time.Date(2026, 1, 2, 3, 4, 6, 789, time.UTC)
			mail := mustMake(t, in, tt.rules)
			rules := tt.rules
			rules.Outlook = true
			d := mustRender(t, in, rules)
			if got := describe(d); got != tt.want {
				t.Fatalf("files are %s, want %s", got, tt.want)
			}
			// The message file is what message.eml would have been, converted.
			want := asOutlook(t, contentOf(t, mail.Files[0]), outlook.Options{Received: in.Received.Truncate(time.Second), Mailbox: in.Mailbox})
			got := contentOf(t, d.Files[0])
			if !bytes.Equal(got, want) {
				t.Errorf("message.msg is not the message file converted: %d bytes, not %d", len(got), len(want))
			}
			if has := bytes.Contains(got, []byte("%PDF-1.7")); has != (!tt.rules.SeparateAttachments && tt.mail == mixed) {
				t.Errorf("the attachment is in message.msg: %v", has)
			}
			if tt.name == "signed" && !bytes.Contains(got, []byte(tt.mail[strings.Index(tt.mail, "--b"):])) {
				t.Error("the signed message is not in message.msg as it stands")
			}
			if len(d.Notes) != len(mail.Notes) {
				t.Errorf("notes: %q", d.Notes)
			}
			if last := d.Files[len(d.Files)-1]; tt.rules.KeepOriginal && !bytes.Equal(contentOf(t, last), []byte(tt.mail)) {
				t.Error("original.eml is not the original")
			}
			for i, f := range mail.Files[1:] {
				if f.SHA256 != d.Files[i+1].SHA256 {
					t.Errorf("%s is another one", f.Name)
				}
			}
			// What differs between two tries of a message is not in the document.
			in.Fetched = in.Fetched.AddDate(1, 0, 0)
			again := mustRender(t, in, rules)
			a, errA := store.MarshalDocument(d)
			b, errB := store.MarshalDocument(again)
			if errA != nil || errB != nil || !bytes.Equal(a, b) {
				t.Errorf("again it is\n%s\nnot\n%s", b, a)
			}
		})
	}
}

// Render uses the date that the document has by then, and is done once.
func TestRenderTakesTheDocument(t *testing.T) {
	in := rawInput([]byte("Subject: a\r\n\r\nText\r\n"))
	d, err := Make(t.Context(), in, Rules{Outlook: true})
	if err != nil {
		t.Fatal(err)
	}
	d.Origin.Received = time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)
	scratch := newScratch(t)
	for range 2 {
		if _, err := d.Render(t.Context(), scratch); err != nil {
			t.Fatal(err)
		}
	}
	want := asOutlook(t, []byte("Subject: a\r\n\r\nText\r\n"), outlook.Options{Received: d.Origin.Received, Mailbox: d.Origin.Mailbox})
	if got := contentOf(t, d.Files[0]); !bytes.Equal(got, want) || len(d.Files) != 1 {
		t.Errorf("%d bytes, want %d; %s", len(got), len(want), describe(d.Document))
	}
	plain, err := Make(t.Context(), in, Rules{})
	if err != nil {
		t.Fatal(err)
	}
	if report, err := plain.Render(t.Context(), scratch); err != nil || report.Class != "" || plain.Files[0].Name != "message.eml" {
		t.Errorf("%+v, %v, %s", report, err, plain.Files[0].Name)
	}
}

func convertWith(t *testing.T, f func(context.Context, io.WriterAt, *message.Message, outlook.Options) (outlook.Report, error)) {
	t.Helper()
	was := convert
	convert = f
	t.Cleanup(func() { convert = was })
}

func TestRenderingNotes(t *testing.T) {
	convertWith(t, func(ctx context.Context, w io.WriterAt, m *message.Message, o outlook.Options) (outlook.Report, error) {
		report, err := outlook.Convert(ctx, w, m, o)
		for i := range 50 {
			report.Losses = append(report.Losses, outlook.Loss{What: fmt.Sprint("loss ", i/2)}, outlook.Loss{Place: "inner", What: fmt.Sprint("loss ", i/2)})
		}
		return report, err
	})
	d := mustRender(t, rawInput([]byte("Subject: a\r\n\r\nText\r\n")), Rules{Outlook: true})
	if len(d.Notes) != maxNotes+1 || d.Notes[0] != "message.msg: loss 0" || d.Notes[1] != "message.msg: inner: loss 0" || !strings.HasPrefix(d.Notes[maxNotes], "message.msg: ") {
		t.Errorf("%d notes: %q", len(d.Notes), d.Notes)
	}
}

// Nothing is said of stubs, and nothing they could crowd out is left out.
func TestRenderingNotesOfStubs(t *testing.T) {
	many := []string{plain}
	for range 150 {
		many = append(many, scan)
	}
	for _, raw := range []string{multi("mixed", plain, scan, plain, scan), multi("mixed", append(many, plain)...)} {
		testNotesOfStubs(t, raw)
	}
}

func testNotesOfStubs(t *testing.T, raw string) {
	t.Helper()
	for separate, want := range map[bool]int{false: 1, true: 1} {
		d, err := Make(t.Context(), rawInput([]byte(raw)), Rules{Outlook: true, SeparateAttachments: separate})
		if err != nil {
			t.Fatal(err)
		}
		report, err := d.Render(t.Context(), newScratch(t))
		if err != nil || len(report.Losses) != want || len(d.Notes) != want {
			t.Errorf("separated %v: %q, notes %q, %v", separate, report.Losses, d.Notes, err)
		}
	}
}

// A message past the limits of the format stays as it is.
func TestRenderTooLarge(t *testing.T) {
	convertWith(t, func(_ context.Context, w io.WriterAt, _ *message.Message, _ outlook.Options) (outlook.Report, error) {
		w.WriteAt([]byte("half"), 0)
		return outlook.Report{Size: 4, Losses: []outlook.Loss{{What: "a loss"}}}, fmt.Errorf("convert: %w", cfb.ErrTooLarge)
	})
	raw := "Subject: a\r\n" + multi("mixed", plain, scan)
	for _, separate := range []bool{false, true} {
		in := rawInput([]byte(raw))
		rules := Rules{SeparateAttachments: separate, KeepOriginal: true}
		mail := mustMake(t, in, rules)
		rules.Outlook = true
		d, err := Make(t.Context(), in, rules)
		if err != nil {
			t.Fatal(err)
		}
		report, err := d.Render(t.Context(), newScratch(t))
		if err != nil || len(report.Losses) != 1 || report.Class != "" {
			t.Errorf("%+v, %v", report, err)
		}
		if describe(d.Document) != describe(mail) || d.Files[0].SHA256 != mail.Files[0].SHA256 {
			t.Errorf("%s, not %s", describe(d.Document), describe(mail))
		}
		if len(d.Notes) != len(mail.Notes)+1 || !strings.Contains(d.Notes[len(d.Notes)-1], "2 GiB") || !strings.Contains(d.Notes[len(d.Notes)-1], "message.eml") {
			t.Errorf("notes: %q", d.Notes)
		}
	}
}

// What fails leaves the document as it was, to be rendered again.
func TestRenderFails(t *testing.T) {
	broken := errors.New("disk full")
	fails := true
	convertWith(t, func(ctx context.Context, w io.WriterAt, m *message.Message, o outlook.Options) (outlook.Report, error) {
		if fails {
			return outlook.Report{}, broken
		}
		return outlook.Convert(ctx, w, m, o)
	})
	d, err := Make(t.Context(), rawInput([]byte(raw)), Rules{Outlook: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Render(t.Context(), newScratch(t)); !errors.Is(err, broken) || d.Files[0].Name != "message.eml" || len(d.Notes) != 0 {
		t.Errorf("%v, %s, %q", err, d.Files[0].Name, d.Notes)
	}
	fails = false
	if _, err := d.Render(t.Context(), newScratch(t)); err != nil || d.Files[0].Name != "message.msg" {
		t.Errorf("%v, %s", err, d.Files[0].Name)
	}
}
