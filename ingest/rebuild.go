package ingest

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"postroom/ingest/ledger"
	"postroom/ingest/quarantine"
	"postroom/ingest/spool"
	"postroom/store"
)

// Rebuilding makes a ledger of what a repository and the quarantine say of
// themselves. What was still owed on a server is not known any more, and so not
// done: every message that was filed counts as settled.
type Rebuilding struct {
	Ledger     ledger.Ledger // empty
	Repository store.Verifier
	Quarantine *quarantine.Quarantine
	// Spool takes the messages while it is computed what they are recognised by.
	// That needs a Repository that is a [store.Reader].
	Spool *spool.Spool
	// Old is the ledger of before, if it can be read: it alone knows what was
	// forgotten or given up, the ids of folders, and what a message is recognised
	// by that is not in the repository as it was received.
	Old ledger.Reader

	Found    func(Finding)
	Progress func(Verified)
}

// Rebuilt counts what a ledger was made of.
type Rebuilt struct {
	Verified
	Quarantined int `json:"quarantined"`
	Forgotten   int `json:"forgotten"`
	Discarded   int `json:"discarded"`
	// BytesOnly are the documents whose messages are recognised by their bytes
	// and their Message-ID alone: as their attachments were separated, or they
	// were filed as .msg, and no original was kept, or it was altered, it cannot
	// be told what else they are recognised by. In another rendering such a message is filed once more, and
	// marked as a possible duplicate.
	BytesOnly int `json:"bytes_only"`
	// OldLedger says why the old ledger could not be read to its end.
	OldLedger string `json:"old_ledger,omitempty"`
}

// Run fills the ledger, and re-reads every document on the way. What is wrong
// with a document is no error; one that cannot be read is left out.
func (r *Rebuilding) Run(ctx context.Context) (Rebuilt, error) {
	b := &rebuilding{
		Rebuilding: r, ids: make(map[folderOf]string),
		verifying: verifying{Verification: &Verification{Ledger: r.Ledger, Repository: r.Repository, Found: r.Found, Progress: r.Progress}},
	}
	for _, step := range []func(context.Context) error{b.carryOver, b.documents, b.quarantined} {
		if err := step(ctx); err != nil {
			return Rebuilt{}, err
		}
	}
	b.out.Verified = b.sum
	return b.out, nil
}

type rebuilding struct {
	*Rebuilding
	verifying
	out Rebuilt
	// ids are the ids of folders by their paths.
	ids map[folderOf]string
	// batch are the documents found and not yet recorded.
	batch []found
}

type folderOf struct{ source, folder string }

type found struct {
	document  *store.Document
	receipt   store.Receipt
	messageID string
	likeness  ledger.Likeness
}

// carryOver takes from the old ledger what only that knows, as far as it can be
// read.
func (b *rebuilding) carryOver(ctx context.Context) error {
	if b.Old == nil {
		return nil
	}
	unreadable := func(err error) error {
		b.out.OldLedger = err.Error()
		return ctx.Err()
	}
	for d, err := range b.Old.Documents(ctx, ledger.DocumentQuery{Forgotten: true}) {
		if err != nil {
			return unreadable(err)
		}
		if err := b.Ledger.Forget(ctx, d); err != nil {
			return err
		}
		b.out.Forgotten++
	}
	for e, err := range b.Old.Entries(ctx, ledger.Query{}) {
		if err != nil {
			return unreadable(err)
		}
		b.ids[folderOf{e.Source, e.FolderPath}] = e.Folder
		if e.State != ledger.Discarded {
			continue
		}
		err := b.leased(ctx, folderOf{e.Source, e.Folder}, func(l ledger.Lease) error {
			if _, err := l.Begin(ctx, []ledger.Listed{{Key: e.Key, FolderPath: e.FolderPath, Size: e.Size, Received: e.Received}}); err != nil {
				return err
			}
			return l.Advance(ctx, e)
		})
		if err != nil {
			return err
		}
		b.out.Discarded++
	}
	return nil
}

func (b *rebuilding) leased(ctx context.Context, at folderOf, do func(ledger.Lease) error) error {
	l, err := b.Ledger.Lease(ctx, at.source, at.folder, leaseTTL)
	if err != nil {
		return err
	}
	return errors.Join(do(l), l.Release(context.WithoutCancel(ctx)))
}

// documents records every document of the repository.
func (b *rebuilding) documents(ctx context.Context) error {
	for p, err := range b.Repository.Places(ctx) {
		if err != nil {
			return err
		}
		if err := b.look(ctx, p); err != nil {
			return err
		}
		if len(b.batch) >= chunk {
			if err := b.record(ctx); err != nil {
				return err
			}
		}
	}
	return b.record(ctx)
}

// look re-reads what is at a place, and puts it into the batch if it is a
// document.
func (b *rebuilding) look(ctx context.Context, p store.Place) error {
	if p.ID == "" {
		f, err := b.stranger(ctx, p)
		if f != nil {
			b.found(*f)
		}
		return err
	}
	report, err := b.Repository.Verify(ctx, p.Location)
	if err != nil {
		return err
	}
	if d := report.Document; d != nil && (!strings.HasPrefix(d.ID, p.ID) || d.Key().Check() != nil) {
		report.Add(store.Altered, store.DocumentFile, "it describes no document that can be at this place")
		report.Document = nil
	}
	d := report.Document
	misplaced := slices.ContainsFunc(report.Flaws, func(f store.Flaw) bool { return f.File == "" })
	if d == nil || misplaced {
		b.count(report)
		b.tell("", "", p.Location, report)
		return nil
	}
	b.count(report)
	b.tell(d.ID, d.Origin.Source, p.Location, report)
	f := found{document: d, receipt: store.Receipt{Location: p.Location, Description: report.Description}}
	if err := b.recognise(ctx, &f); err != nil {
		return err
	}
	b.batch = append(b.batch, f)
	if b.Progress != nil {
		b.Progress(b.sum)
	}
	return nil
}

// recognise finds out what the message of a document is recognised by.
func (b *rebuilding) recognise(ctx context.Context, f *found) error {
	likeness, id, err := b.likeness(ctx, f)
	switch {
	case err == nil:
		f.messageID, f.likeness = id, likeness
		return nil
	case !errors.Is(err, errNoOriginal) && !errors.As(err, new(*messageError)):
		return fmt.Errorf("read the message of %s: %w", f.receipt.Location, err)
	}
	f.messageID = f.document.Origin.MessageID
	if b.Old != nil {
		known, err := b.Old.Document(ctx, f.document.ID)
		if err == nil && known.SHA256 == f.document.Origin.SHA256 && known.Likeness.Content != ([32]byte{}) {
			f.messageID, f.likeness = known.MessageID, known.Likeness
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	b.out.BytesOnly++
	return nil
}

func (b *rebuilding) likeness(ctx context.Context, f *found) (l ledger.Likeness, messageID string, err error) {
	r, ok := b.Repository.(store.Reader)
	if !ok || b.Spool == nil {
		return l, "", errNoOriginal
	}
	raw, err := readBack(ctx, r, b.Spool, f.receipt.Location, f.document)
	if err != nil {
		return l, "", err
	}
	_, of, err := recognised(ctx, raw)
	if err := errors.Join(err, raw.Close()); err != nil {
		return l, "", err
	}
	return ledger.Likeness{Content: of.Content, Strict: of.Strict, Original: isOriginal(f.document)}, of.MessageID, nil
}

// record records the batch, folder by folder.
func (b *rebuilding) record(ctx context.Context) error {
	var order []folderOf
	byFolder := make(map[folderOf][]found)
	for _, f := range b.batch {
		o := f.document.Origin
		at := folderOf{o.Source, o.Folder}
		if id, ok := b.ids[at]; ok {
			at.folder = id
		}
		if byFolder[at] == nil {
			order = append(order, at)
		}
		byFolder[at] = append(byFolder[at], f)
	}
	b.batch = nil
	for _, at := range order {
		// Equal ones come one after the other, so that the first is recorded.
		docs := byFolder[at]
		slices.SortStableFunc(docs, func(a, b found) int { return strings.Compare(a.document.ID, b.document.ID) })
		first := slices.CompactFunc(slices.Clone(docs), func(a, b found) bool { return a.document.ID == b.document.ID })
		for i, f := range docs {
			if i > 0 && docs[i-1].document.ID == f.document.ID {
				b.twice(f, ledger.Document{})
			}
		}
		err := b.leased(ctx, at, func(l ledger.Lease) error { return b.recordFolder(ctx, l, first) })
		if err != nil {
			return fmt.Errorf("source %s, folder %s: %w", at.source, at.folder, err)
		}
	}
	return nil
}

func (b *rebuilding) recordFolder(ctx context.Context, l ledger.Lease, docs []found) error {
	taken := make(map[string]bool)
	listed := make([]ledger.Listed, len(docs))
	for i, f := range docs {
		o := f.document.Origin
		key := o.ServerID
		if key == "" || taken[key] {
			key = noKey(f.document)
		}
		taken[key] = true
		listed[i] = ledger.Listed{Key: key, FolderPath: o.Folder, Size: o.Size, Received: o.Received}
	}
	entries, err := l.Begin(ctx, listed)
	if err != nil {
		return err
	}
	for i, e := range entries {
		if e.State == ledger.Begun {
			continue
		}
		// Another document came from there: with duplicates filed, or with keys
		// that the server has given anew.
		listed[i].Key = noKey(docs[i].document)
		again, err := l.Begin(ctx, listed[i:i+1])
		if err != nil {
			return err
		}
		entries[i] = again[0]
	}
	known := make([]*ledger.Document, len(docs))
	var g errgroup.Group
	g.SetLimit(chunk)
	for i, f := range docs {
		e := &entries[i]
		e.DocumentID, e.Title, e.MessageID, e.Likeness = f.document.ID, f.document.Title, f.messageID, f.likeness
		e.Size, e.SHA256, e.Received = f.document.Origin.Size, f.document.Origin.SHA256, f.document.Origin.Received
		g.Go(func() (err error) {
			known[i], err = l.Prepare(ctx, *e)
			if errors.Is(err, ledger.ErrTransition) {
				known[i], err = &ledger.Document{ID: e.DocumentID}, nil // found before
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	var steps []ledger.Entry
	for i, f := range docs {
		e := entries[i]
		if known[i] != nil {
			b.twice(f, *known[i])
			if e.State != ledger.Begun {
				continue
			}
			e.Title, e.MessageID = "", ""
			if e.State, e.Cause = ledger.Discarded, "its document was forgotten"; known[i].Forgotten.IsZero() {
				e.State, e.Cause = ledger.Vanished, "its document is in the repository twice"
			}
			steps = append(steps, e)
			continue
		}
		e.State, e.Location, e.Description, e.Filed = ledger.Filed, f.receipt.Location, f.receipt.Description, f.document.Filed
		settled := e
		settled.State = ledger.Settled
		steps = append(steps, e, settled)
	}
	return l.Advance(ctx, steps...)
}

// noKey is the key of an entry whose message's own is not known.
func noKey(d *store.Document) string { return "document " + d.ID }

// twice tells of a document that was there already, or is to be removed.
func (b *rebuilding) twice(f found, known ledger.Document) {
	out := Finding{
		Kind: store.Unknown, Path: f.receipt.Location, Document: f.document.ID, Source: f.document.Origin.Source,
		What:   "it is a document that is there a second time",
		Remedy: "it is a copy: move it elsewhere, then give the command again",
	}
	if !known.Forgotten.IsZero() {
		out.What, out.Remedy = "it was to be removed for good", fmt.Sprintf("remove it: postroom forget %.12s", f.document.ID)
	}
	b.found(out)
}

// quarantined records what is in quarantine, and not known otherwise.
func (b *rebuilding) quarantined(ctx context.Context) error {
	ids, err := b.Quarantine.IDs()
	if err != nil {
		return err
	}
	for _, id := range ids {
		r, err := b.Quarantine.Record(id)
		damaged := errors.Is(err, fs.ErrNotExist) || errors.Is(err, quarantine.ErrDamaged)
		if err != nil && !damaged {
			return err
		}
		e := ledger.Entry{Source: r.Source, Folder: r.FolderID, Key: r.Key}
		if e.QuarantineID() != id || r.Key == "" {
			damaged = true
		}
		if damaged {
			b.found(Finding{
				Kind: store.Unknown, Path: path.Join("quarantine", id), What: "the record of this message in quarantine cannot be used",
				Remedy: "the message is asked for on its server again; keep the file if that may have lost it",
			})
			continue
		}
		if err := b.park(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

func (b *rebuilding) park(ctx context.Context, r quarantine.Record) error {
	return b.leased(ctx, folderOf{r.Source, r.FolderID}, func(l ledger.Lease) error {
		entries, err := l.Begin(ctx, []ledger.Listed{{Key: r.Key, FolderPath: r.Folder, Size: r.Size, Received: r.Received}})
		if err != nil {
			return err
		}
		e := entries[0]
		if e.State != ledger.Begun {
			return nil // filed or given up since, and not yet removed from quarantine
		}
		e.State, e.Cause, e.Title, e.Attempts = ledger.Quarantined, r.Reason, r.Subject, max(r.Attempts, 1)
		if sum, err := hex.DecodeString(r.SHA256); err == nil && len(sum) == len(e.SHA256) {
			e.SHA256 = [32]byte(sum)
		}
		parked := e
		parked.State = ledger.Parked
		b.out.Quarantined++
		return l.Advance(ctx, e, parked)
	})
}
