package ingest_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"postroom/ingest"
	"postroom/ingest/document"
	"postroom/ingest/ingesttest"
	"postroom/ingest/ledger"
	"postroom/sources"
	"postroom/store"
)

// verify returns what is wrong in the repository of the world.
func verify(t *testing.T, w *ingesttest.World) (wrong []ingest.Finding) {
	t.Helper()
	sum, err := (&ingest.Verification{Ledger: w.Ledger, Repository: w.Repository, Found: func(f ingest.Finding) {
		wrong = append(wrong, f)
	}}).Run(t.Context())
	if err != nil || sum.Findings != len(wrong) {
		t.Fatalf("verify: %+v, %v", sum, err)
	}
	return wrong
}

func newTitle(m *ingest.Mailbox) { m.Rules.Title, m.Rules.SeparateAttachments = "anew {subject}", true }

// A process may die at any step of filing a document anew: before the next start
// and after it nothing is missing, altered or unknown, and it is the one document
// or the other, whole.
func TestRefileDiesAtAnyStep(t *testing.T) {
	for _, fetched := range []bool{false, true} {
		died := 0
		for n := 1; ; n++ {
			w := ingesttest.New()
			dir := t.TempDir()
			w.Server.Deliver("Inbox", mail(1))
			w.Server.Deliver("Inbox", withAttachment)
			w.Server.Deliver("Sub", withAttachment)
			rules := func(m *ingest.Mailbox) { m.Rules.SeparateAttachments = fetched }
			once(t, start(t, w, dir, rules))
			e, err := w.Ledger.Entry(t.Context(), "orders", "Inbox", "1/2")
			if err != nil {
				t.Fatal(err)
			}
			change := newTitle
			if fetched {
				change = func(m *ingest.Mailbox) { m.Rules.Title = "anew {subject}" }
			}
			p := start(t, w, dir, change)
			w.DieAt(n)
			_, err = p.Refile(t.Context(), e.DocumentID)
			dead := w.Revive()
			if err := p.Close(); err != nil {
				t.Fatal(err)
			}
			if dead && !errors.Is(err, ingesttest.ErrDead) {
				t.Errorf("step %d: %v", n, err)
			}
			if wrong := verify(t, w); len(wrong) > 0 {
				t.Errorf("fetched %v, step %d, before the next start: %+v", fetched, n, wrong)
			}
			p = start(t, w, dir, change)
			if err := p.Adopt(t.Context()); err != nil {
				t.Fatal(err)
			}
			if wrong := verify(t, w); len(wrong) > 0 {
				t.Errorf("fetched %v, step %d: %+v", fetched, n, wrong)
			}
			for d, err := range w.Ledger.Documents(t.Context(), ledger.DocumentQuery{Refiling: true}) {
				t.Errorf("step %d: %+v, %v is left", n, d, err)
			}
			d, err := w.Ledger.Document(t.Context(), e.DocumentID)
			if err != nil {
				t.Fatal(err)
			}
			files := len(w.Repository.Documents()[e.DocumentID])
			anew := strings.HasPrefix(d.Title, "anew ")
			want := 1
			switch {
			case fetched && !anew:
				want = 2
			case !fetched && anew:
				want = 3 // with the original, as it was all in message.eml
			}
			if files != want {
				t.Errorf("fetched %v, step %d: %q has %d files, want %d", fetched, n, d.Title, files, want)
			}
			for _, at := range [][2]string{{"Inbox", "1/2"}, {"Sub", "1/1"}} {
				of, err := w.Ledger.Entry(t.Context(), "orders", at[0], at[1])
				if err != nil || of.Location != d.Location {
					t.Errorf("step %d: entry %+v, %v of %+v", n, of, err, d)
				}
			}
			if !dead && !anew {
				t.Errorf("step %d: it was not filed anew", n)
			}
			if r, err := p.Refile(t.Context(), e.DocumentID); err != nil || (len(r.Changed) == 0) != anew {
				t.Errorf("step %d: again: %+v, %v", n, r, err)
			}
			if s := once(t, p); s.Filed+s.Duplicates != 0 || !s.OK() {
				t.Errorf("step %d: %+v", n, s)
			}
			if wrong := verify(t, w); len(wrong) > 0 {
				t.Errorf("fetched %v, step %d, in the end: %+v", fetched, n, wrong)
			}
			if !dead {
				break
			}
			died++
		}
		if died < 10 {
			t.Errorf("the process died at %d steps", died)
		}
	}
}

const withAttachment = "Message-ID: <a@example.com>\r\nFrom: a@example.com\r\nSubject: Order\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" +
	"--b\r\n\r\nText\r\n--b\r\nContent-Type: application/pdf; name=a.pdf\r\nContent-Disposition: attachment\r\n\r\n%PDF\r\n--b--\r\n"

// A document that is filed anew never holds less of its message than it did: it
// may be the only copy.
func TestRefileKeepsTheOnlyCopy(t *testing.T) {
	whole := document.Rules{}
	original := document.Rules{KeepOriginal: true}
	separated := document.Rules{SeparateAttachments: true}
	msg := document.Rules{Outlook: true}
	for _, tt := range []struct {
		name     string
		was, now document.Rules
		fetched  bool // what was filed is not enough to file it anew
		kept     bool
		files    string
	}{
		{"an original beside a .msg", document.Rules{Outlook: true, KeepOriginal: true}, msg, false, true, "message.msg original.eml"},
		{"an original beside attachments", document.Rules{SeparateAttachments: true, KeepOriginal: true}, separated, false, true, "a.pdf message.eml original.eml"},
		{"an original that is in message.eml too", original, whole, false, false, "message.eml"},
		{"the message, to be a .msg", whole, msg, false, true, "message.msg original.eml"},
		{"the message, to be taken apart", whole, separated, false, true, "a.pdf message.eml original.eml"},
		{"every byte of content, to be a .msg", separated, msg, true, true, "message.msg original.eml"},
		{"every byte of content, to be a .msg and attachments", separated, document.Rules{SeparateAttachments: true, Outlook: true}, true, true, "a.pdf message.msg original.eml"},
		{"a .msg, to be taken apart", msg, document.Rules{SeparateAttachments: true, Outlook: true}, true, false, "a.pdf message.msg"},
		{"every byte of content, to be whole", separated, whole, true, false, "message.eml"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := ingesttest.New()
			dir := t.TempDir()
			under := func(r document.Rules) func(*ingest.Mailbox) {
				r.Title = "{subject}"
				return func(m *ingest.Mailbox) { m.Rules = r }
			}
			w.Server.Deliver("Inbox", withAttachment)
			once(t, start(t, w, dir, under(tt.was)))
			e, err := w.Ledger.Entry(t.Context(), "orders", "Inbox", "1/1")
			if err != nil {
				t.Fatal(err)
			}
			if !tt.fetched {
				w.Server.Remove("Inbox", "1/1")
			}
			is := func(r ingest.Refiled, err error, changed bool, kept bool, files string) {
				t.Helper()
				if err != nil || len(r.Changed) > 0 != changed || r.KeptOriginal != kept {
					t.Errorf("%+v, %v", r, err)
				}
				got := w.Repository.Documents()[e.DocumentID]
				if names := strings.Join(slices.Sorted(maps.Keys(got)), " "); names != files {
					t.Errorf("there are %s, want %s", names, files)
				}
				if raw, ok := got["original.eml"]; ok && string(raw) != withAttachment {
					t.Error("original.eml is not the message as it was received")
				}
				d, _ := filedAs(t, w, e.DocumentID)
				if noted := strings.Contains(strings.Join(d.Notes, "\n"), "original.eml is kept although"); noted != kept {
					t.Errorf("notes: %q", d.Notes)
				}
				if wrong := verify(t, w); len(wrong) > 0 {
					t.Errorf("%+v", wrong)
				}
			}
			p := start(t, w, dir, under(tt.now))
			r, err := p.Refile(t.Context(), e.DocumentID)
			is(r, err, true, tt.kept, tt.files)
			if !tt.kept {
				return
			}
			w.Server.Remove("Inbox", "1/1")
			r, err = p.Refile(t.Context(), e.DocumentID)
			is(r, err, false, true, tt.files)
			// Who asks for it has it, and is told nothing more.
			asked := tt.now
			asked.KeepOriginal = true
			r, err = start(t, w, dir, under(asked)).Refile(t.Context(), e.DocumentID)
			is(r, err, true, false, tt.files)
			r, err = start(t, w, dir, under(whole)).Refile(t.Context(), e.DocumentID)
			is(r, err, true, false, "message.eml")
		})
	}
}

// A message that postroom moved has another key in its new folder: it is found
// there by what it is.
func TestRefileOfWhatWasMoved(t *testing.T) {
	for _, tt := range []struct {
		name   string
		beside func(w *ingesttest.World) // what happens before it is filed anew
		want   string                    // of the error
	}{
		{"among others", func(w *ingesttest.World) {
			for i := range 5 {
				w.Server.Deliver("Filed", mail(i))
			}
			// As large, and at another time; and at the same one.
			w.Server.Deliver("Filed", strings.Replace(withAttachment, "%PDF", "%PDG", 1))
			w.Server.Deliver("Filed", withAttachment+"more")
		}, ""},
		{"copied by hand, at another time", func(w *ingesttest.World) {
			for key := range w.Server.Contents("Filed") {
				w.Server.Remove("Filed", key)
			}
			w.Server.Deliver("Filed", mail(1))
			w.Server.Deliver("Filed", withAttachment)
		}, ""},
		{"to the folder for what failed", func(w *ingesttest.World) {
			for key := range w.Server.Contents("Filed") {
				w.Server.Remove("Filed", key)
			}
			w.Server.Deliver("Failed", withAttachment)
		}, ""},
		{"replaced by one like it", func(w *ingesttest.World) {
			for key := range w.Server.Contents("Filed") {
				w.Server.Remove("Filed", key)
			}
			w.Server.Deliver("Filed", strings.Replace(withAttachment, "%PDF", "%PDG", 1))
		}, "nor is it in Filed or Failed, where this source moves messages"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := ingesttest.New()
			dir := t.TempDir()
			moves := func(m *ingest.Mailbox) {
				m.After, m.FailedFolder = sources.Action{Verb: sources.Move, Target: "Filed"}, "Failed"
			}
			w.Server.Deliver("Filed", mail(7))
			w.Server.Deliver("Inbox", withAttachment)
			once(t, start(t, w, dir, func(m *ingest.Mailbox) { moves(m); m.Rules.SeparateAttachments = true }))
			if len(w.Server.Contents("Inbox")) > 0 {
				t.Fatal("it was not moved")
			}
			e, err := w.Ledger.Entry(t.Context(), "orders", "Inbox", "1/1")
			if err != nil {
				t.Fatal(err)
			}
			tt.beside(w)
			on := w.Server.Applied()
			p := start(t, w, dir, moves)
			r, err := p.Refile(t.Context(), e.DocumentID)
			if tt.want != "" {
				if err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("%+v, %v", r, err)
				}
				return
			}
			got := w.Repository.Documents()[e.DocumentID]
			if err != nil || len(got) != 1 || string(got["message.eml"]) != withAttachment {
				t.Errorf("%+v, %v", r, err)
			}
			if len(w.Server.Applied()) != len(on) {
				t.Errorf("on the server: %+v", w.Server.Applied())
			}
			if left := spooled(t, dir); len(left) > 0 {
				t.Errorf("in the spool are %q", left)
			}
			if wrong := verify(t, w); len(wrong) > 0 {
				t.Errorf("%+v", wrong)
			}
		})
	}
}

// An error of the repository leaves it known what is there.
func TestRefileFails(t *testing.T) {
	for _, step := range []string{"<replace", ">replace"} {
		w := ingesttest.New()
		dir := t.TempDir()
		w.Server.Deliver("Inbox", mail(1))
		once(t, start(t, w, dir, nil))
		e, err := w.Ledger.Entry(t.Context(), "orders", "Inbox", "1/1")
		if err != nil {
			t.Fatal(err)
		}
		p := start(t, w, dir, newTitle)
		trouble := fmt.Errorf("trouble: %w", fs.ErrPermission)
		w.Fault(func(s string) error {
			if s == step {
				return trouble
			}
			return nil
		})
		r, err := p.Refile(t.Context(), e.DocumentID)
		if replaced := step == ">replace"; replaced != (err == nil) || replaced != (len(r.Changed) > 0) ||
			!replaced && (!errors.Is(err, trouble) || !strings.Contains(err.Error(), "let the user that postroom runs as write")) {
			t.Errorf("%s: %+v, %v", step, r, err)
		}
		w.Fault(nil)
		if wrong := verify(t, w); len(wrong) > 0 {
			t.Errorf("%s: %+v", step, wrong)
		}
	}
}

// Where it cannot be told which document is there, forgetting waits for it.
func TestForgetWhileItIsNotKnownWhichIsThere(t *testing.T) {
	w := ingesttest.New()
	dir := t.TempDir()
	w.Server.Deliver("Inbox", mail(1))
	once(t, start(t, w, dir, nil))
	e, err := w.Ledger.Entry(t.Context(), "orders", "Inbox", "1/1")
	if err != nil {
		t.Fatal(err)
	}
	p := start(t, w, dir, newTitle)
	replaced := false
	w.Fault(func(s string) error {
		replaced = replaced || s == ">replace"
		if s == "<find" && replaced {
			return errors.New("trouble")
		}
		return nil
	})
	if _, err := p.Refile(t.Context(), e.DocumentID); err == nil || !strings.Contains(err.Error(), "not known yet") {
		t.Errorf("filed anew: %v", err)
	}
	if wrong := verify(t, w); len(wrong) > 0 {
		t.Errorf("%+v", wrong)
	}
	if _, err := p.Forget(t.Context(), e.DocumentID); err == nil {
		t.Error("forgotten")
	}
	if d, err := w.Ledger.Document(t.Context(), e.DocumentID); err != nil || !d.Forgotten.IsZero() {
		t.Errorf("%+v, %v", d, err)
	}
	w.Fault(nil)
	if r, err := p.Refile(t.Context(), e.DocumentID); err != nil || len(r.Changed) != 0 || !strings.Contains(r.Location, "anew") {
		t.Errorf("%+v, %v", r, err)
	}
}

// What is filed anew keeps the notes that cannot be made anew; and of another
// rendering of it there is no second document.
func TestRefileKeepsWhatOnlyItKnows(t *testing.T) {
	w := ingesttest.New()
	dir := t.TempDir()
	w.Server.Deliver("Inbox", written["first"])
	w.Server.Deliver("Inbox", written["twin"])
	once(t, start(t, w, dir, nil))
	p := start(t, w, dir, newTitle)
	for _, key := range []string{"1/1", "1/2"} {
		e, err := w.Ledger.Entry(t.Context(), "orders", "Inbox", key)
		if err != nil {
			t.Fatal(err)
		}
		r, err := p.Refile(t.Context(), e.DocumentID)
		if err != nil || strings.Join(r.Changed, " ") != "title" {
			t.Errorf("%s: %+v, %v", key, r, err)
		}
	}
	key := w.Server.Deliver("Sub", without("rendered"))
	s := once(t, start(t, w, dir, func(m *ingest.Mailbox) {
		open := m.Open
		m.Open = func() (sources.Source, error) {
			s, err := open()
			return rendering{s}, err
		}
	}))
	if e, err := w.Ledger.Entry(t.Context(), "orders", "Sub", key); err != nil || s.Duplicates != 1 || !strings.Contains(e.Location, "anew") {
		t.Errorf("%+v, %+v, %v", s, e, err)
	}
}

// restless is a source whose server renders what it is asked for, each time in
// other bytes, after it has changed it if there is a change.
type restless struct {
	sources.Source
	wire   sources.Wire
	times  *atomic.Int32
	change func(string) string
}

func (r restless) Fetch(ctx context.Context, f sources.Folder, refs []sources.Ref, deliver func(sources.Ref, *sources.Message) error) error {
	return r.Source.Fetch(ctx, f, refs, func(ref sources.Ref, m *sources.Message) error {
		raw, err := io.ReadAll(m.Body)
		if err != nil {
			return err
		}
		text := string(raw)
		if r.change != nil {
			text = r.change(text)
		}
		text = fmt.Sprintf("X-Rendered: %d\r\n", r.times.Add(1)) + strings.ReplaceAll(text, "boundary=b", fmt.Sprintf("boundary=\"b\"; x=%d", r.times.Load()))
		m.Wire, m.Size, m.Body = r.wire, int64(len(text)), strings.NewReader(text)
		return deliver(ref, m)
	})
}

func (r restless) of(m *ingest.Mailbox) {
	open := m.Open
	m.Open = func() (sources.Source, error) {
		s, err := open()
		return restless{s, r.wire, r.times, r.change}, err
	}
}

// filedAs returns the document as the repository and the ledger have it.
func filedAs(t *testing.T, w *ingesttest.World, id string) (*store.Document, ledger.Document) {
	t.Helper()
	d, err := w.Ledger.Document(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	r, err := w.Repository.Verify(t.Context(), d.Location)
	if err != nil || r.Document == nil {
		t.Fatalf("%+v, %v", r, err)
	}
	return r.Document, d
}

// A message that its server renders in other bytes today is the same if it holds
// the same: its document is filed anew, and says which bytes it is made of.
func TestRefileOfWhatIsRenderedAnew(t *testing.T) {
	for name, row := range map[string]struct {
		now     restless
		refused string
	}{
		"rendered anew":      {restless{wire: sources.Rendered}, ""},
		"changed":            {restless{wire: sources.Rendered, change: func(s string) string { return strings.Replace(s, "%PDF", "%PDG", 1) }}, "content was changed"},
		"another Message-ID": {restless{wire: sources.Rendered, change: func(s string) string { return strings.Replace(s, "<a@", "<b@", 1) }}, "content was changed"},
		"rebuilt":            {restless{wire: sources.Reconstructed}, "other bytes"},
		"not rendered":       {restless{wire: sources.Original}, "other bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			w := ingesttest.New()
			dir := t.TempDir()
			times := new(atomic.Int32)
			w.Server.Deliver("Inbox", withAttachment)
			separated := func(m *ingest.Mailbox) {
				restless{wire: sources.Rendered, times: times}.of(m)
				m.Rules.SeparateAttachments = true
			}
			once(t, start(t, w, dir, separated))
			e, err := w.Ledger.Entry(t.Context(), "orders", "Inbox", "1/1")
			if err != nil {
				t.Fatal(err)
			}
			was, known := filedAs(t, w, e.DocumentID)
			if len(was.Files) != 2 || was.Origin.SHA256 != known.SHA256 {
				t.Fatalf("%+v", was)
			}
			if row.refused == "" {
				// That it is rendered otherwise is no change by itself.
				if r, err := start(t, w, dir, separated).Refile(t.Context(), e.DocumentID); err != nil || len(r.Changed) > 0 {
					t.Errorf("under the same rules: %+v, %v", r, err)
				}
				if again, _ := filedAs(t, w, e.DocumentID); again.Origin != was.Origin {
					t.Errorf("under the same rules: %+v", again)
				}
			}
			row.now.times = times
			whole := func(m *ingest.Mailbox) { row.now.of(m) }
			p := start(t, w, dir, whole)
			r, err := p.Refile(t.Context(), e.DocumentID)
			now, known := filedAs(t, w, e.DocumentID)
			if wrong := verify(t, w); len(wrong) > 0 {
				t.Errorf("%+v", wrong)
			}
			if row.refused != "" {
				if err == nil || !strings.Contains(err.Error(), row.refused) || now.Origin != was.Origin || len(now.Files) != 2 || known.SHA256 != was.Origin.SHA256 {
					t.Errorf("%+v, %v: %+v", r, err, now)
				}
				return
			}
			if err != nil || strings.Join(r.Changed, " ") != "files" {
				t.Fatalf("%+v, %v", r, err)
			}
			if now.ID != was.ID || !now.Filed.Equal(was.Filed) || now.Origin.SHA256 == was.Origin.SHA256 || known.SHA256 != now.Origin.SHA256 ||
				len(now.Files) != 1 || now.Files[0].SHA256 != now.Origin.SHA256 || now.Files[0].Size != now.Origin.Size || now.Origin.Wire != "rendered" {
				t.Errorf("filed anew is %+v, in the ledger %+v", now, known)
			}
			// From then on the message is at hand.
			w.Server.Remove("Inbox", "1/1")
			if r, err := start(t, w, dir, newTitle).Refile(t.Context(), e.DocumentID); err != nil || len(r.Changed) == 0 {
				t.Errorf("from the repository: %+v, %v", r, err)
			}
		})
	}
}

// Of what was filed anew from other bytes, only a message with these is ever
// deleted as a duplicate.
func TestDuplicatesOfWhatWasRenderedAnew(t *testing.T) {
	w := ingesttest.New()
	dir := t.TempDir()
	render := func(m *ingest.Mailbox) {
		open := m.Open
		m.Open = func() (sources.Source, error) {
			s, err := open()
			return rendering{s}, err
		}
		m.After = sources.Action{Verb: sources.Delete}
	}
	separated := func(m *ingest.Mailbox) {
		render(m)
		m.After, m.Rules.SeparateAttachments = sources.Action{Verb: sources.Keep}, true
	}
	w.Server.Deliver("Inbox", withAttachment)
	once(t, start(t, w, dir, separated))
	e, err := w.Ledger.Entry(t.Context(), "orders", "Inbox", "1/1")
	if err != nil {
		t.Fatal(err)
	}
	anew := restless{wire: sources.Rendered, times: new(atomic.Int32)}
	if r, err := start(t, w, dir, anew.of).Refile(t.Context(), e.DocumentID); err != nil || len(r.Changed) == 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	d, _ := filedAs(t, w, e.DocumentID)
	var now []byte
	for _, file := range w.Repository.Documents()[e.DocumentID] {
		now = file
	}
	if sha256.Sum256(now) != d.Origin.SHA256 {
		t.Fatalf("%d bytes are not those of %+v", len(now), d.Origin)
	}
	asThen, asNow := w.Server.Deliver("Sub", withAttachment), w.Server.Deliver("Sub", string(now))
	if s := once(t, start(t, w, dir, render)); s.Duplicates != 2 || s.Filed != 0 || !s.OK() {
		t.Errorf("%+v", s)
	}
	left := w.Server.Contents("Sub")
	if _, there := left[asThen]; !there {
		t.Error("the bytes of then, which nothing has any more, were deleted")
	}
	if _, there := left[asNow]; there {
		t.Error("the bytes that are filed were not deleted")
	}
}

// What dies while it is filed anew from other bytes leaves a ledger that agrees
// with the repository.
func TestRefileOfWhatIsRenderedAnewDiesAtAnyStep(t *testing.T) {
	died := 0
	for n := 1; ; n++ {
		w := ingesttest.New()
		dir := t.TempDir()
		times := new(atomic.Int32)
		w.Server.Deliver("Inbox", withAttachment)
		r := restless{wire: sources.Rendered, times: times}
		once(t, start(t, w, dir, func(m *ingest.Mailbox) { r.of(m); m.Rules.SeparateAttachments = true }))
		e, err := w.Ledger.Entry(t.Context(), "orders", "Inbox", "1/1")
		if err != nil {
			t.Fatal(err)
		}
		p := start(t, w, dir, r.of)
		w.DieAt(n)
		_, _ = p.Refile(t.Context(), e.DocumentID) // what came of it is looked at
		dead := w.Revive()
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		p = start(t, w, dir, r.of)
		if err := p.Adopt(t.Context()); err != nil {
			t.Fatal(err)
		}
		d, known := filedAs(t, w, e.DocumentID)
		if wrong := verify(t, w); len(wrong) > 0 || d.Origin.SHA256 != known.SHA256 {
			t.Errorf("step %d: %+v, %+v, %+v", n, wrong, d, known)
		}
		if whole := len(d.Files) == 1; whole != (d.Files[0].SHA256 == d.Origin.SHA256) {
			t.Errorf("step %d: %+v", n, d)
		}
		if !dead {
			break
		}
		died++
	}
	if died < 8 {
		t.Errorf("the process died at %d steps", died)
	}
}
