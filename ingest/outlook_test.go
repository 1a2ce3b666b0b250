package ingest_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"postroom/ingest"
	"postroom/ingest/document"
	"postroom/ingest/ingesttest"
	"postroom/ingest/ledger"
	"postroom/ingest/message"
	"postroom/ingest/outlook"
	"postroom/sources"
	"postroom/store"
)

func asOutlook(m *ingest.Mailbox) { m.Rules.Outlook = true }

// buffer is a file in memory.
type buffer struct{ b []byte }

func (f *buffer) WriteAt(p []byte, off int64) (int, error) {
	if end := int(off) + len(p); end > len(f.b) {
		f.b = slices.Grow(f.b, end-len(f.b))[:end]
	}
	return copy(f.b[off:], p), nil
}

// inOutlook converts mail as a document that was received then has it. Known has
// what was converted before.
func inOutlook(t *testing.T, known map[string][]byte, raw string, received time.Time) []byte {
	t.Helper()
	key := received.String() + raw
	if b := known[key]; b != nil {
		return b
	}
	m, err := message.Read(t.Context(), strings.NewReader(raw), int64(len(raw)), message.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	f := new(buffer)
	if _, err := outlook.Convert(t.Context(), f, m, outlook.Options{Received: received, Mailbox: "orders@example.com"}); err != nil {
		t.Fatal(err)
	}
	known[key] = f.b
	return f.b
}

// judgeOutlook checks that each of the messages is one document, with nothing but
// the message converted, and the original if there is one.
func judgeOutlook(t *testing.T, w *ingesttest.World, known map[string][]byte, raws ...string) {
	t.Helper()
	bySum := make(map[[32]byte]string)
	for _, raw := range raws {
		bySum[sha256.Sum256([]byte(raw))] = raw
	}
	n := 0
	for d, err := range w.Ledger.Documents(t.Context(), ledger.DocumentQuery{}) {
		if err != nil {
			t.Fatal(err)
		}
		n++
		files := w.Repository.Documents()[d.ID]
		original, kept := files["original.eml"]
		if kept && string(original) != bySum[d.SHA256] {
			t.Errorf("%s: original.eml is not the message", d.Title)
		}
		if len(files) != 1 && !(kept && len(files) == 2) || !bytes.Equal(files["message.msg"], inOutlook(t, known, bySum[d.SHA256], d.Received)) {
			t.Errorf("%s has %d files, or message.msg is not the message that was received %v", d.Title, len(files), d.Received)
		}
	}
	if n != len(raws) || len(w.Repository.Documents()) != n {
		t.Errorf("the ledger knows %d documents, %d are filed, want %d", n, len(w.Repository.Documents()), len(raws))
	}
}

func spooled(t *testing.T, dir string) []string {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(dir, "spool", "*"))
	if err != nil {
		t.Fatal(err)
	}
	return left
}

// A process may die at any step: each message is filed once, the same whichever
// try did it, and nothing stays in the spool.
func TestOutlookDiesAtAnyStep(t *testing.T) {
	large := mail(3) + strings.Repeat("A long line of a text that does not stay in memory.\r\n", 6_000)
	raws := []string{mail(0), "Date: Thu, 1 Jan 2026 10:00:00 +0000\r\n" + mail(1), withAttachment, large}
	known := make(map[string][]byte)
	for n := 1; ; n++ {
		w := ingesttest.New()
		dir := t.TempDir()
		w.Server.Deliver("Sub", raws[0])
		for _, raw := range raws[1:] {
			w.Server.Deliver("Inbox", raw)
		}
		p := start(t, w, dir, asOutlook)
		w.DieAt(n)
		p.Once(t.Context())
		if left := spooled(t, dir); len(left) > 0 {
			t.Errorf("step %d: in the spool are %q", n, left)
		}
		died := w.Revive()
		if s := once(t, start(t, w, dir, asOutlook)); !s.OK() {
			t.Errorf("step %d: %+v", n, s)
		}
		judgeOutlook(t, w, known, raws...)
		if wrong := verify(t, w); len(wrong) > 0 {
			t.Errorf("step %d: %+v", n, wrong)
		}
		if left := spooled(t, dir); len(left) > 0 {
			t.Errorf("step %d: in the spool are %q", n, left)
		}
		if !died {
			if n < 20 {
				t.Errorf("the process died at %d steps", n)
			}
			break
		}
	}
}

// undated is a source that does not know when its messages arrived.
type undated struct{ sources.Source }

func (s undated) List(ctx context.Context, f sources.Folder, c sources.Cursor) (sources.Listing, error) {
	l, err := s.Source.List(ctx, f, c)
	return undatedListing{l}, err
}

type undatedListing struct{ sources.Listing }

func (l undatedListing) Next(ctx context.Context, n int) ([]sources.Ref, error) {
	refs, err := l.Listing.Next(ctx, n)
	for i := range refs {
		refs[i].Received = time.Time{}
	}
	return refs, err
}

func (s undated) Fetch(ctx context.Context, f sources.Folder, refs []sources.Ref, deliver func(sources.Ref, *sources.Message) error) error {
	return s.Source.Fetch(ctx, f, refs, func(r sources.Ref, m *sources.Message) error {
		m.Received = time.Time{}
		return deliver(r, m)
	})
}

// A message without any date is received when it is fetched first: that holds for
// message.msg as for the document when it is fetched again.
func TestOutlookKeepsTheFirstDate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := ingesttest.New()
		dir := t.TempDir()
		w.Server.Deliver("Inbox", mail(1))
		rules := func(m *ingest.Mailbox) {
			asOutlook(m)
			m.Open = func() (sources.Source, error) { return undated{w.Server.Open("Inbox", "Sub")}, nil }
		}
		p := start(t, w, dir, rules)
		w.Fault(func(step string) error {
			if step == "<put" {
				return ingesttest.ErrDead
			}
			return nil
		})
		p.Once(t.Context())
		w.Fault(nil)
		e, err := w.Ledger.Entry(t.Context(), "orders", "Inbox", "1/1")
		if err != nil || e.State != ledger.Prepared {
			t.Fatalf("%+v, %v", e, err)
		}
		time.Sleep(time.Hour)
		once(t, start(t, w, dir, rules))
		d, err := w.Ledger.Document(t.Context(), e.DocumentID)
		if err != nil || !d.Received.Equal(e.Received) || time.Since(d.Received) < time.Hour {
			t.Errorf("%+v, %v; prepared as received %v", d, err, e.Received)
		}
		judgeOutlook(t, w, make(map[string][]byte), mail(1))
	})
}

// A full disk in the midst of rendering is trouble of ours: nothing is disposed
// of, and the message is filed once there is room.
func TestOutlookWithoutRoom(t *testing.T) {
	w := ingesttest.New()
	dir := t.TempDir()
	raw := mail(1) + strings.Repeat("A long line of a text that does not stay in memory.\r\n", 10_000)
	w.Server.Deliver("Inbox", raw)
	remove := func(m *ingest.Mailbox) {
		asOutlook(m)
		m.After = sources.Action{Verb: sources.Delete}
	}
	p := start(t, w, dir, remove)
	w.Fault(func(step string) error {
		if strings.HasPrefix(step, ">prepare") {
			return os.RemoveAll(filepath.Join(dir, "spool"))
		}
		return nil
	})
	s := once(t, p)
	if s.Filed != 0 || s.Quarantined != 0 || !strings.Contains(s.Error, "render message") || len(w.Server.Contents("Inbox")) != 1 {
		t.Errorf("%+v, %d left on the server; %q", s, len(w.Server.Contents("Inbox")), w.Trace())
	}
	w.Fault(nil)
	if s := once(t, start(t, w, dir, remove)); s.Filed != 1 || len(w.Server.Contents("Inbox")) != 0 {
		t.Errorf("%+v", s)
	}
	judgeOutlook(t, w, make(map[string][]byte), raw)
}

// Filing anew goes from one format to the other and back; what the format could
// not hold is no longer said where it is not.
func TestRefileOutlook(t *testing.T) {
	w := ingesttest.New()
	dir := t.TempDir()
	const calendar = "Message-ID: <c@example.com>\r\nFrom: a@example.com\r\nSubject: Order\r\nContent-Type: multipart/alternative; boundary=b\r\n\r\n" +
		"--b\r\n\r\nText\r\n--b\r\nContent-Type: text/calendar; method=REQUEST\r\n\r\nBEGIN:VCALENDAR\r\nEND:VCALENDAR\r\n--b--\r\n"
	w.Server.Deliver("Inbox", calendar)
	rendered := func(change func(*ingest.Mailbox)) func(*ingest.Mailbox) {
		return func(m *ingest.Mailbox) {
			change(m)
			m.Open = func() (sources.Source, error) { return renderedSource{w.Server.Open("Inbox", "Sub")}, nil }
		}
	}
	both := func(m *ingest.Mailbox) {
		m.Rules = document.Rules{Title: "{subject}", Outlook: true, KeepOriginal: true}
	}
	neither := func(m *ingest.Mailbox) {}
	var filed *store.Document
	p := start(t, w, dir, rendered(both))
	p.Observe = func(e ingest.Event) {
		if e.Kind == ingest.Filed {
			filed = e.Doc
		}
	}
	once(t, p)
	if filed == nil || len(filed.Files) != 2 || !slices.ContainsFunc(filed.Notes, isRenderingNote) {
		t.Fatalf("%+v", filed)
	}
	names := func() string {
		var out []string
		for name := range w.Repository.Documents()[filed.ID] {
			out = append(out, name)
		}
		slices.Sort(out)
		return strings.Join(out, " ")
	}
	refile := func(change func(*ingest.Mailbox), want string) *store.Document {
		t.Helper()
		p := start(t, w, dir, rendered(change))
		r, err := p.Refile(t.Context(), filed.ID)
		if err != nil || len(r.Changed) == 0 || names() != want {
			t.Errorf("%+v, %v, %s", r, err, names())
		}
		if r, err := p.Refile(t.Context(), filed.ID); err != nil || len(r.Changed) > 0 {
			t.Errorf("again: %+v, %v", r, err)
		}
		if wrong := verify(t, w); len(wrong) > 0 {
			t.Errorf("%+v", wrong)
		}
		d, err := w.Ledger.Document(t.Context(), filed.ID)
		if err != nil {
			t.Fatal(err)
		}
		report, err := w.Repository.Verify(t.Context(), d.Location)
		if err != nil || report.Document == nil {
			t.Fatalf("%+v, %v", report, err)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		return report.Document
	}
	if d := refile(neither, "message.eml"); slices.ContainsFunc(d.Notes, isRenderingNote) || !slices.Contains(d.Notes, "said by the server") {
		t.Errorf("notes: %q", d.Notes)
	}
	if d := refile(both, "message.msg original.eml"); !slices.ContainsFunc(d.Notes, isRenderingNote) {
		t.Errorf("notes: %q", d.Notes)
	}
	if d := refile(asOutlook, "message.msg original.eml"); !slices.ContainsFunc(d.Notes, isRenderingNote) {
		t.Errorf("notes: %q", d.Notes)
	}
	refile(neither, "message.eml")

	// From the server, while it is there.
	w.Server.Deliver("Inbox", strings.Replace(calendar, "c@", "d@", 1))
	w.Server.Deliver("Inbox", strings.Replace(calendar, "c@", "e@", 1))
	for i, gone := range []bool{false, true} {
		p = start(t, w, dir, rendered(asOutlook))
		once(t, p)
		e, err := w.Ledger.Entry(t.Context(), "orders", "Inbox", fmt.Sprintf("1/%d", 2+i))
		if err != nil {
			t.Fatal(err)
		}
		if filed.ID = e.DocumentID; names() != "message.msg" {
			t.Fatalf("it is %s", names())
		}
		if !gone {
			refile(neither, "message.eml")
			continue
		}
		w.Server.Remove("Inbox", "1/3")
		p = start(t, w, dir, rendered(neither))
		if _, err := p.Refile(t.Context(), filed.ID); err == nil || !strings.Contains(err.Error(), "it was filed as message.msg and keep_original was not set") {
			t.Errorf("%v", err)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		if names() != "message.msg" {
			t.Errorf("it is %s", names())
		}
	}
}

func isRenderingNote(note string) bool { return strings.HasPrefix(note, document.RenderingNote) }

// renderedSource is a source whose messages its server makes on request.
type renderedSource struct{ sources.Source }

func (s renderedSource) Fetch(ctx context.Context, f sources.Folder, refs []sources.Ref, deliver func(sources.Ref, *sources.Message) error) error {
	return s.Source.Fetch(ctx, f, refs, func(r sources.Ref, m *sources.Message) error {
		m.Wire, m.Notes = sources.Rendered, []string{"said by the server"}
		return deliver(r, m)
	})
}

// A process may die at any step of filing anew in the other format.
func TestRefileOutlookDiesAtAnyStep(t *testing.T) {
	known := make(map[string][]byte)
	for n := 1; ; n++ {
		w := ingesttest.New()
		dir := t.TempDir()
		w.Server.Deliver("Inbox", withAttachment)
		once(t, start(t, w, dir, nil))
		e, err := w.Ledger.Entry(t.Context(), "orders", "Inbox", "1/1")
		if err != nil {
			t.Fatal(err)
		}
		p := start(t, w, dir, asOutlook)
		w.DieAt(n)
		_, err = p.Refile(t.Context(), e.DocumentID)
		dead := w.Revive()
		if dead != errors.Is(err, ingesttest.ErrDead) {
			t.Errorf("step %d: %v", n, err)
		}
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		p = start(t, w, dir, asOutlook)
		if err := p.Adopt(t.Context()); err != nil {
			t.Fatal(err)
		}
		if wrong := verify(t, w); len(wrong) > 0 {
			t.Errorf("step %d: %+v", n, wrong)
		}
		if _, err := p.Refile(t.Context(), e.DocumentID); err != nil {
			t.Errorf("step %d: %v", n, err)
		}
		judgeOutlook(t, w, known, withAttachment)
		if left := spooled(t, dir); len(left) > 0 {
			t.Errorf("step %d: in the spool are %q", n, left)
		}
		if !dead {
			break
		}
	}
}
