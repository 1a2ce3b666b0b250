package storetest

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"postroom/store"
)

// Alterer is implemented by a harness of a repository that is a
// [store.Verifier].
type Alterer interface {
	// Alter replaces the content of a file of the document at the location, of
	// store.DocumentFile too, behind the driver's back. It makes the file if it
	// is not there; nil content removes it.
	Alter(t *testing.T, location, name string, content []byte)
}

func testVerify(t *testing.T, open func(t *testing.T) Harness) {
	h, r := start(t, open)
	verifier, ok := r.(store.Verifier)
	if !ok {
		return // the ability is optional
	}
	alterer, ok := h.(Alterer)
	if !ok {
		t.Fatal("the harness of a store.Verifier is no Alterer")
	}
	ctx := context.Background()
	d := NewDocument("verified")
	d.Files = append(d.Files, NewFile("scan.pdf", store.RoleAttachment, []byte("%PDF-1.7")), NewFile("empty.txt", store.RoleAttachment, nil))
	receipt := put(t, r, d)
	if receipt.Description == ([32]byte{}) {
		t.Error("Put returned no hash of the description")
	}
	other := NewDocument("of another source")
	other.Origin.Source = "other"
	elsewhere := put(t, r, other)

	// verify fails the test unless the flaws are those given, each as kind and
	// file.
	verify := func(what string, same bool, want ...store.Flaw) {
		t.Helper()
		report, err := verifier.Verify(ctx, receipt.Location)
		if err != nil {
			t.Fatalf("%s: Verify: %v", what, err)
		}
		if (report.Description == receipt.Description) != same {
			t.Errorf("%s: description has the hash %x, filed was %x", what, report.Description, receipt.Description)
		}
		if len(report.Flaws) != len(want) {
			t.Fatalf("%s: flaws are %+v, want %+v", what, report.Flaws, want)
		}
		for i, f := range report.Flaws {
			if f.Kind != want[i].Kind || f.File != want[i].File || f.What == "" {
				t.Errorf("%s: flaw is %+v, want %+v", what, f, want[i])
			}
		}
	}
	verify("as filed", true)
	report, err := verifier.Verify(ctx, receipt.Location)
	if err != nil || report.Files != 1+len(d.Files) || report.Bytes < d.Files[0].Size+8 {
		t.Errorf("report is %+v, %v", report, err)
	} else if err := same(report.Document, d); err != nil {
		t.Error(err)
	}

	content := h.List(t)[receipt.Location].Files[d.Files[0].Name]
	flipped := bytes.Clone(content)
	flipped[len(flipped)/2] ^= 1
	alter := func(name string, content []byte) { alterer.Alter(t, receipt.Location, name, content) }
	alter(d.Files[0].Name, flipped)
	verify("one bit", true, store.Flaw{Kind: store.Altered, File: d.Files[0].Name})
	alter(d.Files[0].Name, append(bytes.Clone(content), 'x'))
	verify("longer", true, store.Flaw{Kind: store.Altered, File: d.Files[0].Name})
	alter(d.Files[0].Name, content)
	alter("scan.pdf", nil)
	verify("file gone", true, store.Flaw{Kind: store.Missing, File: "scan.pdf"})
	alter("scan.pdf", []byte("%PDF-1.7"))
	alter("more.txt", []byte("x"))
	verify("one more", true, store.Flaw{Kind: store.Unknown, File: "more.txt"})
	alter("more.txt", nil)
	verify("put back", true)

	description := h.List(t)[receipt.Location].Description
	retitled := NewDocument("retitled")
	retitled.ID, retitled.Files = d.ID, d.Files
	forged, err := store.MarshalDocument(retitled)
	if err != nil {
		t.Fatal(err)
	}
	alter(store.DocumentFile, forged)
	verify("another description", false)
	alter(store.DocumentFile, description[:len(description)/2])
	verify("half a description", false, store.Flaw{Kind: store.Altered, File: store.DocumentFile})
	alter(store.DocumentFile, nil)
	verify("no description", false, store.Flaw{Kind: store.Missing, File: store.DocumentFile})
	alter(store.DocumentFile, description)

	if found, err := r.Find(ctx, d.Key()); err != nil || found != receipt {
		t.Errorf("Find: %+v, %v, want %+v", found, err, receipt)
	}
	if _, err := verifier.Verify(ctx, elsewhere.Location+"x"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Verify of nothing: %v, want ErrNotFound", err)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := verifier.Verify(ended, receipt.Location); !errors.Is(err, context.Canceled) {
		t.Errorf("Verify with an ended context: %v", err)
	}

	places := func(ctx context.Context, sources ...string) (found []string, err error) {
		for p, err := range verifier.Places(ctx, sources...) {
			if err != nil {
				return found, err
			}
			for _, d := range []*store.Document{d, other} {
				if p.Location == map[*store.Document]string{d: receipt.Location, other: elsewhere.Location}[d] &&
					(p.ID == "" || !bytes.HasPrefix([]byte(d.ID), []byte(p.ID))) {
					t.Errorf("place %+v is that of %s", p, d.ID)
				}
			}
			found = append(found, p.Location)
		}
		return found, nil
	}
	for _, tt := range []struct{ sources, want []string }{
		{nil, []string{receipt.Location, elsewhere.Location}},
		{[]string{d.Origin.Source}, []string{receipt.Location}},
		{[]string{"other", "none"}, []string{elsewhere.Location}},
		{[]string{"none"}, nil},
	} {
		if found, err := places(ctx, tt.sources...); err != nil || len(found) != len(tt.want) {
			t.Errorf("places of %q: %q, %v, want %q", tt.sources, found, err, tt.want)
		}
	}
	if _, err := places(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("Places with an ended context: %v", err)
	}
	expect(t, h, r, d, other)
}

func testRemove(t *testing.T, open func(t *testing.T) Harness) {
	h := open(t)
	r := h.Open(t)
	remover, ok := r.(store.Remover)
	if !ok {
		closeRepository(t, r)
		return // the ability is optional
	}
	ctx := context.Background()
	gone, stays := NewDocument("gone"), NewDocument("stays")
	receipt, kept := put(t, r, gone), put(t, r, stays)
	for _, location := range []string{"", ".", "..", "/", kept.Location + "/..", ".incoming/1"} {
		if err := remover.Remove(ctx, gone.ID, location); !errors.Is(err, store.ErrRefused) {
			t.Errorf("Remove from %q: %v, want ErrRefused", location, err)
		}
	}
	if err := remover.Remove(ctx, gone.ID, kept.Location); !errors.Is(err, store.ErrRefused) {
		t.Errorf("Remove of another: %v, want ErrRefused", err)
	}
	expect(t, h, r, gone, stays)
	for range 2 {
		if err := remover.Remove(ctx, gone.ID, receipt.Location); err != nil {
			t.Fatalf("Remove: %v", err)
		}
		expect(t, h, r, stays)
		if _, err := r.Find(ctx, gone.Key()); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("Find after Remove: %v, want ErrNotFound", err)
		}
	}
	closeRepository(t, r)
	r = h.Open(t)
	expect(t, h, r, stays)
	if again := put(t, r, gone); again != receipt {
		t.Errorf("Put after Remove returned %v, want %v", again, receipt)
	}
	expect(t, h, r, gone, stays)
	closeRepository(t, r)
	if err := r.(store.Remover).Remove(ctx, gone.ID, receipt.Location); err == nil {
		t.Error("Remove from a closed repository")
	}
}
