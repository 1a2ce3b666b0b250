package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"postroom/ingest"
	"postroom/ingest/ledger"
	"postroom/ingest/quarantine"
	"postroom/store"
	"postroom/store/filesystem"
	"postroom/store/storetest"
)

// shelf is a repository and the ledger of what is in it.
type shelf struct {
	*testing.T
	dir        string
	repository *filesystem.Repository
	ledger     ledger.Ledger
	locations  []string
	ids        []string
}

func newShelf(t *testing.T) *shelf {
	t.Helper()
	s := &shelf{T: t, dir: t.TempDir(), ledger: ledger.NewMemory()}
	var err error
	if s.repository, err = filesystem.Open(s.dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(s.repository.Close(), s.ledger.Close()); err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s *shelf) ok(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *shelf) lease(do func(ledger.Lease)) {
	s.Helper()
	l, err := s.ledger.Lease(s.Context(), "invoices", "Inbox", time.Hour)
	s.ok(err)
	do(l)
	s.ok(l.Release(s.Context()))
}

// prepare makes a document of two files and records it as prepared.
func (s *shelf) prepare(title string) (d *store.Document, e ledger.Entry) {
	s.Helper()
	d = storetest.NewDocument(title)
	d.Files = append(d.Files, storetest.NewFile("scan.pdf", store.RoleAttachment, []byte("%PDF "+title)))
	d.Origin.Source, d.Origin.Folder, d.Origin.ServerID = "invoices", "Inbox", title
	s.lease(func(l ledger.Lease) {
		entries, err := l.Begin(s.Context(), []ledger.Listed{{Key: title, FolderPath: "Inbox"}})
		s.ok(err)
		e = entries[0]
		e.DocumentID, e.Title, e.Received, e.SHA256 = d.ID, d.Title, d.Origin.Received, d.Origin.SHA256
		_, err = l.Prepare(s.Context(), e)
		s.ok(err)
	})
	return d, e
}

func (s *shelf) put(d *store.Document) store.Receipt {
	s.Helper()
	r, err := s.repository.Put(s.Context(), d)
	s.ok(err)
	return r
}

func (s *shelf) filed(e ledger.Entry, r store.Receipt) {
	s.Helper()
	e.State, e.Location, e.Description = ledger.Filed, r.Location, r.Description
	s.lease(func(l ledger.Lease) { s.ok(l.Advance(s.Context(), e)) })
	s.locations, s.ids = append(s.locations, r.Location), append(s.ids, e.DocumentID)
}

func (s *shelf) file(title string) {
	s.Helper()
	d, e := s.prepare(title)
	s.filed(e, s.put(d))
}

func (s *shelf) at(name string) string { return filepath.Join(s.dir, filepath.FromSlash(name)) }

// verify fails unless the findings are those given, as kind and path.
func (s *shelf) verify(want ...string) []ingest.Finding {
	s.Helper()
	var found []ingest.Finding
	a, err := filesystem.Read(s.dir, s.repository.Identity())
	s.ok(err)
	v := &ingest.Verification{Ledger: s.ledger, Repository: a, Found: func(f ingest.Finding) { found = append(found, f) }}
	sum, err := v.Run(s.Context())
	s.ok(errors.Join(err, a.Close()))
	got := []string{}
	for _, f := range found {
		got = append(got, string(f.Kind)+" "+f.Path)
		if f.What == "" || f.Remedy == "" {
			s.Errorf("finding says too little: %+v", f)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) && len(got)+len(want) > 0 {
		s.Fatalf("findings are\n%q, want\n%q", got, want)
	}
	if sum.Findings != len(found) {
		s.Fatalf("%d findings counted, %d told", sum.Findings, len(found))
	}
	return found
}

// Every change of one byte is found, in every file, as what it is and where.
func TestVerifyFindsEveryByte(t *testing.T) {
	s := newShelf(t)
	for i := range 4 {
		s.file(fmt.Sprint("document ", i))
	}
	s.verify()
	var files []string
	s.ok(fs.WalkDir(os.DirFS(s.dir), "invoices", func(name string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			files = append(files, name)
		}
		return err
	}))
	if len(files) != 12 {
		t.Fatalf("files are %q", files)
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		name := files[random.IntN(len(files))]
		whole, err := os.ReadFile(s.at(name))
		s.ok(err)
		altered := slices.Clone(whole)
		altered[random.IntN(len(altered))] ^= byte(1 + random.IntN(255))
		s.ok(os.WriteFile(s.at(name), altered, 0o600))
		s.expectAltered(name)
		s.ok(os.WriteFile(s.at(name), whole, 0o600))
	}
	s.verify()
}

// expectAltered fails unless the file is found altered. A change of
// document.json can make others of the document look wrong, too.
func (s *shelf) expectAltered(name string) {
	s.Helper()
	a, err := filesystem.Read(s.dir, s.repository.Identity())
	s.ok(err)
	ok := false
	v := &ingest.Verification{Ledger: s.ledger, Repository: a, Found: func(f ingest.Finding) {
		ok = ok || f.Kind == store.Altered && f.Path == name
		if path.Dir(f.Path) != path.Dir(name) {
			s.Errorf("%s is altered, and there is a finding at %s", name, f.Path)
		}
	}}
	_, err = v.Run(s.Context())
	s.ok(errors.Join(err, a.Close()))
	if !ok {
		s.Errorf("%s is altered, and that is not found", name)
	}
}

func TestVerify(t *testing.T) {
	s := newShelf(t)
	s.file("a")
	s.file("b")
	s.ok(os.WriteFile(s.at(s.locations[0]+"/note.txt"), nil, 0o600))
	s.verify("unknown " + s.locations[0] + "/note.txt")
	s.ok(os.Remove(s.at(s.locations[0] + "/note.txt")))
	s.ok(os.Remove(s.at(s.locations[0] + "/scan.pdf")))
	s.verify("missing " + s.locations[0] + "/scan.pdf")
	s.ok(os.RemoveAll(s.at(s.locations[0])))
	s.verify("missing " + s.locations[0])

	// Moved elsewhere, it is missing in one place and unknown in the other.
	elsewhere := path.Join("invoices/2025/01/01", path.Base(s.locations[1]))
	s.ok(os.MkdirAll(path.Dir(s.at(elsewhere)), 0o700))
	s.ok(os.Rename(s.at(s.locations[1]), s.at(elsewhere)))
	found := s.verify("missing "+s.locations[0], "missing "+s.locations[1], "unknown "+elsewhere)
	if i := slices.IndexFunc(found, func(f ingest.Finding) bool { return f.Kind == store.Unknown }); !strings.Contains(found[i].What, s.locations[1]) {
		t.Errorf("%+v does not say where it belongs", found[i])
	}
	s.ok(os.Rename(s.at(elsewhere), s.at(s.locations[1])))
	stranger := storetest.NewDocument("of another ledger")
	r := s.put(stranger)
	s.verify("missing "+s.locations[0], "unknown "+r.Location)
}

// What is being filed meanwhile is no finding, at whatever step it is.
func TestVerifyBesideFiling(t *testing.T) {
	s := newShelf(t)
	s.file("before")
	d, e := s.prepare("meanwhile")
	s.verify()
	r := s.put(d)
	s.verify()
	s.filed(e, r)
	s.verify()
}

// Documents filed before their descriptions were recorded are verified as far as
// the ledger knows.
func TestVerifyUnsealed(t *testing.T) {
	s := newShelf(t)
	d, e := s.prepare("old")
	r := s.put(d)
	r.Description = [32]byte{}
	s.filed(e, r)
	s.verify()
	name := s.at(r.Location + "/document.json")
	text, err := os.ReadFile(name)
	s.ok(err)
	s.ok(os.WriteFile(name, []byte(strings.Replace(string(text), `"title": "old"`, `"title": "new"`, 1)), 0o600))
	s.verify("altered " + r.Location + "/document.json")
}

func TestForgottenIsNoFinding(t *testing.T) {
	s := newShelf(t)
	s.file("stays")
	s.file("goes")
	d, err := s.ledger.Document(s.Context(), s.ids[1])
	s.ok(err)
	s.ok(s.ledger.Forget(s.Context(), d))
	found := s.verify("unknown " + s.locations[1])
	if !strings.Contains(found[0].Remedy, "postroom forget "+d.ID[:12]) {
		t.Errorf("%+v", found)
	}
	s.ok(s.repository.Remove(s.Context(), d.ID, d.Location))
	s.verify()
}

// A ledger made of the repository knows what the first one knew.
func TestRebuild(t *testing.T) {
	s := newShelf(t)
	for i := range 300 {
		s.file(fmt.Sprint(i))
	}
	q := quarantine.Open(t.TempDir())
	record := quarantine.Record{Source: "invoices", FolderID: "Inbox", Folder: "Inbox", Key: "poison", Reason: "unreadable", Attempts: 3, SHA256: strings.Repeat("07", 32)}
	record.ID = (&ledger.Entry{Source: "invoices", Folder: "Inbox", Key: "poison"}).QuarantineID()
	s.ok(q.Keep(record, nil))
	before := s.documents()

	// The one that is forgotten, and a key that two documents have.
	d, err := s.ledger.Document(s.Context(), s.ids[7])
	s.ok(err)
	s.ok(s.repository.Remove(s.Context(), d.ID, d.Location))
	d.Location = ""
	s.ok(s.ledger.Forget(s.Context(), d))
	again := storetest.NewDocument("same key")
	again.Origin.Source, again.Origin.Folder, again.Origin.ServerID = "invoices", "Inbox", "8"
	s.put(again)

	// A copy, and what cannot be read.
	copied := path.Join("invoices/2031/01/01", path.Base(s.locations[9]))
	s.ok(os.CopyFS(s.at(copied), os.DirFS(s.at(s.locations[9]))))
	broken := path.Join(path.Dir(s.locations[10]), "broken~0123456789ab")
	s.ok(os.MkdirAll(s.at(broken), 0o700))
	s.ok(os.WriteFile(s.at(broken+"/document.json"), []byte("{}"), 0o600))

	old := s.ledger
	defer func() { s.ok(old.Close()) }()
	s.ledger = ledger.NewMemory()
	var found []string
	out, err := (&ingest.Rebuilding{
		Ledger: s.ledger, Repository: s.repository, Quarantine: q, Old: old,
		Found: func(f ingest.Finding) { found = append(found, string(f.Kind)+" "+f.Path) },
	}).Run(s.Context())
	s.ok(err)
	want := []string{"altered " + broken + "/document.json", "unknown " + copied}
	slices.Sort(found)
	if !slices.Equal(found, want) || out.Quarantined != 1 || out.Forgotten != 1 || out.OldLedger != "" {
		t.Fatalf("%+v, findings %q", out, found)
	}
	for id, d := range before {
		got, err := s.ledger.Document(s.Context(), id)
		s.ok(err)
		if id == s.ids[7] {
			if got.Forgotten.IsZero() {
				t.Errorf("what was forgotten is known again: %+v", got)
			}
			continue
		}
		got.Filed = d.Filed
		if got != d {
			t.Errorf("document is\n%+v, was\n%+v", got, d)
		}
		if d.Title == "8" {
			continue // either document may have the key
		}
		e, err := s.ledger.Entry(s.Context(), "invoices", "Inbox", d.Title)
		if err != nil || e.State != ledger.Settled || e.DocumentID != id || e.Location != d.Location {
			t.Errorf("entry %+v, %v", e, err)
		}
	}
	if _, err := s.ledger.Document(s.Context(), again.ID); err != nil {
		t.Error(err)
	}
	if e, err := s.ledger.Entry(s.Context(), "invoices", "Inbox", "poison"); err != nil || e.State != ledger.Parked || e.Cause != "unreadable" || e.SHA256[0] != 7 {
		t.Errorf("%+v, %v", e, err)
	}
	s.ok(os.RemoveAll(s.at(copied)))
	s.ok(os.RemoveAll(s.at(broken)))
	s.verify()
}

func (s *shelf) documents() map[string]ledger.Document {
	s.Helper()
	out := make(map[string]ledger.Document)
	for d, err := range s.ledger.Documents(context.Background(), ledger.DocumentQuery{}) {
		s.ok(err)
		out[d.ID] = d
	}
	return out
}

func TestFindingJSON(t *testing.T) {
	text, err := json.Marshal(ingest.Finding{Kind: store.Missing, Path: "p", What: "w", Remedy: "r"})
	if err != nil || string(text) != `{"kind":"missing","path":"p","what":"w","remedy":"r"}` {
		t.Errorf("%s, %v", text, err)
	}
}

func (s *shelf) engine() *ingest.Engine {
	return ingest.New(ingest.Config{Ledger: s.ledger, Repository: s.repository, Quarantine: quarantine.Open(s.TempDir()), Log: zap.NewNop()})
}

// Wherever the process dies, the next one finishes what was begun.
func TestForgettingIsFinished(t *testing.T) {
	for _, tt := range []struct {
		name string
		die  func(s *shelf, d ledger.Document)
	}{
		{"after the tombstone", func(s *shelf, d ledger.Document) { s.ok(s.ledger.Forget(s.Context(), d)) }},
		{"after the removal", func(s *shelf, d ledger.Document) {
			s.ok(s.ledger.Forget(s.Context(), d))
			s.ok(s.repository.Remove(s.Context(), d.ID, d.Location))
		}},
		{"removal fails", func(s *shelf, d ledger.Document) {
			s.ok(s.repository.Close())
			if _, err := s.engine().Forget(s.Context(), d.ID); err == nil || !strings.Contains(err.Error(), "not be filed again") {
				s.Fatalf("forgotten without a repository: %v", err)
			}
			var err error
			s.repository, err = filesystem.Open(s.dir)
			s.ok(err)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newShelf(t)
			s.file("stays")
			s.file("goes")
			d, err := s.ledger.Document(t.Context(), s.ids[1])
			s.ok(err)
			tt.die(s, d)
			s.ok(s.engine().Adopt(t.Context()))
			s.verify()
			got, err := s.ledger.Document(t.Context(), d.ID)
			if err != nil || got.Forgotten.IsZero() || got.Location != "" {
				t.Errorf("%+v, %v", got, err)
			}
			if _, err := s.repository.Find(t.Context(), store.Key{ID: d.ID, Source: d.Source, Received: d.Received}); err == nil {
				t.Error("the document is still there")
			}
		})
	}
}

func TestFindDocument(t *testing.T) {
	s := newShelf(t)
	s.file("a")
	id := s.ids[0]
	for _, name := range []string{id, id[:12], id[:40], s.locations[0], "./documents/" + s.locations[0]} {
		if d, err := ingest.FindDocument(t.Context(), s.ledger, name); err != nil || d.ID != id {
			t.Errorf("%q: %+v, %v", name, d, err)
		}
	}
	for _, name := range []string{"", id[:11], strings.ToUpper(id), "a", id + "0", strings.Repeat("0", 12)} {
		if d, err := ingest.FindDocument(t.Context(), s.ledger, name); err == nil {
			t.Errorf("%q is %+v", name, d)
		}
	}
	s.ok(s.ledger.Forget(t.Context(), ledger.Document{ID: id[:20] + strings.Repeat("f", 44), Source: "invoices"}))
	if d, err := ingest.FindDocument(t.Context(), s.ledger, id[:12]); err != nil || d.ID != id {
		t.Errorf("a tombstone stands in the way of a document: %+v, %v", d, err)
	}
}
