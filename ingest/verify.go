package ingest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"

	"postroom/ingest/ledger"
	"postroom/store"
)

// Verification re-reads a repository and compares it with the ledger. It changes
// nothing, and holds beside an engine at work.
type Verification struct {
	Ledger     ledger.Reader
	Repository store.Verifier
	// Sources are the names of the sources to verify, those they had included;
	// none: the whole repository.
	Sources []string

	// Found is told what is wrong.
	Found func(Finding)
	// Progress is told after every document what has been read so far.
	Progress func(Verified)
}

// Finding is something wrong in a repository.
type Finding struct {
	Kind     store.Kind `json:"kind"`
	Path     string     `json:"path"` // in the repository
	Document string     `json:"document,omitempty"`
	Source   string     `json:"source,omitempty"`
	What     string     `json:"what"`
	Remedy   string     `json:"remedy"`
}

// Verified counts what was re-read.
type Verified struct {
	Documents int   `json:"documents"`
	Files     int   `json:"files"` // document.json included
	Bytes     int64 `json:"bytes"`
	// Unsealed documents have no hash of their document.json in the ledger: they
	// were filed by a version that did not record it. Changes in it are found as
	// far as the ledger knows better, those of the other files all.
	Unsealed int `json:"unsealed"`
	Findings int `json:"findings"`
}

// Run verifies. What is wrong is no error.
func (v *Verification) Run(ctx context.Context) (Verified, error) {
	r := &verifying{Verification: v}
	err := r.known(ctx)
	if err == nil {
		err = r.unknown(ctx)
	}
	return r.sum, err
}

type verifying struct {
	*Verification
	sum Verified
}

func (v *verifying) found(f Finding) {
	v.sum.Findings++
	if v.Found != nil {
		v.Found(f)
	}
}

// inScope reports whether the source is to be verified.
func (v *verifying) inScope(source string) bool {
	return len(v.Sources) == 0 || slices.Contains(v.Sources, source)
}

// known re-reads every document that the ledger knows.
func (v *verifying) known(ctx context.Context) error {
	for after := ""; ; {
		var page []ledger.Document
		for d, err := range v.Ledger.Documents(ctx, ledger.DocumentQuery{After: after, Limit: pageSize}) {
			if err != nil {
				return err
			}
			after = d.ID
			page = append(page, d)
		}
		if len(page) == 0 {
			return nil
		}
		// What lies together is read together.
		slices.SortFunc(page, func(a, b ledger.Document) int { return cmp.Compare(a.Location, b.Location) })
		for _, d := range page {
			if !v.inScope(d.Source) {
				continue
			}
			if err := v.document(ctx, d); err != nil {
				return err
			}
		}
	}
}

// pageSize is the number of documents asked for at once.
const pageSize = 4096

// document re-reads a document that the ledger knows.
func (v *verifying) document(ctx context.Context, d ledger.Document) error {
	report, err := v.Repository.Verify(ctx, d.Location)
	if errors.Is(err, store.ErrNotFound) {
		report, err = store.Report{}, nil
		report.Add(store.Missing, "", "the ledger knows it, and it is not there")
	}
	if err != nil {
		return err
	}
	// It is where it was filed, whatever it says of that itself.
	report.Flaws = slices.DeleteFunc(report.Flaws, func(f store.Flaw) bool { return f.Kind == store.Unknown && f.File == "" })
	compare(&report, d)
	if len(report.Flaws) > 0 {
		// It may have been forgotten or filed anew meanwhile.
		switch now, err := v.Ledger.Document(ctx, d.ID); {
		case errors.Is(err, ledger.ErrNotFound),
			err == nil && (!now.Forgotten.IsZero() || now.Location != d.Location || now.Description != d.Description):
			return nil
		case err != nil:
			return err
		}
		// It is being filed anew, or a process that did so has died: the next one
		// finishes that.
		if anew, err := refilings(ctx, v.Ledger, d.ID); len(anew) > 0 || err != nil {
			return err
		}
	}
	v.count(report)
	if d.Description == ([32]byte{}) {
		v.sum.Unsealed++
	}
	v.tell(d.ID, d.Source, d.Location, report)
	if v.Progress != nil {
		v.Progress(v.sum)
	}
	return nil
}

func (v *verifying) count(r store.Report) {
	v.sum.Documents++
	v.sum.Files += r.Files
	v.sum.Bytes += r.Bytes
}

func (v *verifying) tell(id, source, location string, r store.Report) {
	for _, f := range r.Flaws {
		v.found(Finding{
			Kind: f.Kind, Path: path.Join(location, f.File), Document: id, Source: source,
			What: f.What, Remedy: remedyFor(f, id),
		})
	}
}

// compare adds to the report what the ledger knows better. A document whose
// description has another hash than the one recorded is altered whatever it says.
func compare(r *store.Report, d ledger.Document) {
	if r.Document == nil {
		return // which is a flaw already
	}
	altered := func(format string, args ...any) {
		r.Add(store.Altered, store.DocumentFile, fmt.Sprintf(format, args...))
	}
	switch of := r.Document; {
	case of.ID != d.ID:
		altered("it describes the document %s", of.ID)
	case d.Description != [32]byte{} && d.Description != r.Description:
		altered("its SHA-256 is not the one recorded when it was filed")
	case d.Description != [32]byte{}:
	case of.Origin.SHA256 != d.SHA256:
		altered("its origin.sha256 is not the one in the ledger")
	case !of.Origin.Received.Equal(d.Received):
		altered("its origin.received is not the one in the ledger")
	case of.Title != d.Title:
		altered("its title is not the one in the ledger")
	}
}

func remedyFor(f store.Flaw, id string) string {
	switch {
	case f.Kind == store.Unknown:
		return "if you put it there, move it elsewhere"
	case f.File == "" && f.Kind == store.Missing:
		return fmt.Sprintf("put it back from a backup; if it was removed on purpose: postroom forget %.12s", id)
	case f.Kind == store.Missing:
		return "put it back from a backup"
	}
	return "put it back from a backup, and look for what changed it: nothing in postroom does"
}

// unknown looks for what the ledger does not know.
func (v *verifying) unknown(ctx context.Context) error {
	for p, err := range v.Repository.Places(ctx, v.Sources...) {
		if err != nil {
			return err
		}
		f, err := v.stranger(ctx, p)
		if err != nil {
			return err
		}
		if f == nil {
			continue
		}
		if p.ID != "" {
			// It may have been removed while it was being looked at.
			if _, err := v.Repository.Verify(ctx, p.Location); errors.Is(err, store.ErrNotFound) {
				continue
			} else if err != nil {
				return err
			}
		}
		v.found(*f)
	}
	return nil
}

// stranger returns what is wrong with there being something at the place, nil if
// it is a document's.
func (v *verifying) stranger(ctx context.Context, p store.Place) (*Finding, error) {
	if p.ID == "" {
		return &Finding{
			Kind: store.Unknown, Path: p.Location, What: "no document can be at this place",
			Remedy: "if you put it there, move it elsewhere",
		}, nil
	}
	// A document may be recorded as filed between any two of these looks.
	d, err := v.documentAt(ctx, p)
	if d != nil || err != nil {
		return nil, err
	}
	switch underWay, err := v.underWay(ctx, p); {
	case underWay || err != nil:
		return nil, err
	}
	if d, err = v.documentAt(ctx, p); d != nil || err != nil {
		return nil, err
	}
	report, err := v.Repository.Verify(ctx, p.Location)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil // removed meanwhile
	}
	if err != nil {
		return nil, err
	}
	f := &Finding{
		Kind: store.Unknown, Path: p.Location, What: "the ledger does not know this document",
		Remedy: "if it was filed with another ledger, postroom verify --rebuild-ledger takes it in; else move it elsewhere",
	}
	if report.Document == nil {
		f.What, f.Remedy = "it is no whole document, and the ledger does not know it", "move it elsewhere"
		return f, nil
	}
	f.Document, f.Source = report.Document.ID, report.Document.Origin.Source
	known, err := v.Ledger.Document(ctx, f.Document)
	switch {
	case errors.Is(err, ledger.ErrNotFound):
	case err != nil:
		return nil, err
	case known.Forgotten.IsZero():
		f.What = "it is a document that was filed at " + known.Location
		f.Remedy = "if it is missing there, move it back; else this is a copy: move it elsewhere"
	default:
		f.What = "it was to be removed for good"
		f.Remedy = fmt.Sprintf("remove it: postroom forget %.12s", f.Document)
	}
	return f, nil
}

// documentAt returns the filed document at the place, or nil.
func (v *verifying) documentAt(ctx context.Context, p store.Place) (*ledger.Document, error) {
	for d, err := range v.Ledger.Documents(ctx, ledger.DocumentQuery{IDPrefix: p.ID}) {
		if err != nil {
			return nil, err
		}
		if d.Location == p.Location {
			return &d, nil
		}
	}
	return nil, nil
}

// underWay reports whether a message is prepared, or a document being filed anew,
// that this can be.
func (v *verifying) underWay(ctx context.Context, p store.Place) (bool, error) {
	for e, err := range v.Ledger.Entries(ctx, ledger.Query{States: []ledger.State{ledger.Prepared}}) {
		if err != nil {
			return false, err
		}
		if len(e.DocumentID) >= len(p.ID) && e.DocumentID[:len(p.ID)] == p.ID {
			return true, nil
		}
	}
	anew, err := refilings(ctx, v.Ledger, p.ID)
	return len(anew) > 0, err
}
