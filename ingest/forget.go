package ingest

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"go.uber.org/zap"

	"postroom/ingest/ledger"
	"postroom/ingest/spool"
	"postroom/store"
)

var idPattern = regexp.MustCompile(`^[0-9a-f]{12,64}$`)

// A NameError says that a name is not one of a document, or of several.
type NameError struct{ text string }

func (e *NameError) Error() string { return e.text }

// notThere is an error that is [ledger.ErrNotFound] in other words.
type notThere string

func (e notThere) Error() string        { return string(e) }
func (e notThere) Is(target error) bool { return target == ledger.ErrNotFound }

// FindDocument returns the document, or the tombstone of one, that a person
// names by its id, by at least the first 12 digits of that, or by a path that
// ends in them. The error is a *NameError, or ledger.ErrNotFound if the name is
// none of a document that was ever filed.
func FindDocument(ctx context.Context, l ledger.Reader, name string) (ledger.Document, error) {
	id := strings.TrimRight(name, `/\`)
	id = id[strings.LastIndexByte(id, '~')+1:]
	if !idPattern.MatchString(id) {
		return ledger.Document{}, &NameError{fmt.Sprintf("%q is no document's id: give at least its first 12 digits, as in the path of its folder or in postroom history --json", name)}
	}
	for _, forgotten := range []bool{false, true} {
		var found []ledger.Document
		for d, err := range l.Documents(ctx, ledger.DocumentQuery{IDPrefix: id, Forgotten: forgotten, Limit: 2}) {
			if err != nil {
				return ledger.Document{}, err
			}
			found = append(found, d)
		}
		switch len(found) {
		case 1:
			return found[0], nil
		case 2:
			return ledger.Document{}, &NameError{fmt.Sprintf("the ids of several documents begin with %s: give all 64 digits, as in document.json", id)}
		}
	}
	return ledger.Document{}, notThere(fmt.Sprintf("the ledger has no document %s: postroom history --json has the ids of those that were filed", id))
}

// Forget removes a document for good. The tombstone comes first: from then on
// the message is not filed again, and what a process that dies here leaves in
// the repository is removed by the next one. Forgetting a document again does
// what was not done.
func (e *Engine) Forget(ctx context.Context, id string) (ledger.Document, error) {
	d, err := FindDocument(ctx, e.Ledger, id)
	if err != nil {
		return d, err
	}
	remover, ok := e.Repository.(store.Remover)
	if !ok {
		return d, errors.New("documents cannot be removed from this type of repository")
	}
	turn, err := e.documents.take(ctx, turnOf(d.ID))
	if err != nil {
		return d, err
	}
	defer turn()
	back, err := e.documents.take(ctx, alike(d.Source, d.Likeness.Content))
	if err != nil {
		return d, err
	}
	defer back()
	// Only then is it known where it is.
	if err := e.finishRefilingOf(ctx, d.ID); err != nil {
		return d, err
	}
	if d, err = e.Ledger.Document(ctx, d.ID); err != nil {
		return d, fmt.Errorf("document %s: %w", d.ID, err)
	}
	if err := e.Ledger.Forget(ctx, d); err != nil {
		return d, err
	}
	if d.Location == "" {
		return d, nil
	}
	if err := remover.Remove(ctx, d.ID, d.Location); err != nil {
		return d, fmt.Errorf("%w; it will not be filed again, and is removed when this is tried again or postroom starts", withRemedy(err))
	}
	gone := d
	gone.Location = ""
	if err := e.Ledger.Forget(ctx, gone); err != nil {
		return d, err
	}
	e.Log.Info("document forgotten", zap.String("source", d.Source), zap.String("document", d.ID))
	return d, nil
}

// finishForgetting removes the documents that an earlier process was about to.
func (e *Engine) finishForgetting(ctx context.Context) error {
	var owed []ledger.Document
	for d, err := range e.Ledger.Documents(ctx, ledger.DocumentQuery{Forgotten: true}) {
		if err != nil {
			return fmt.Errorf("read ledger: %w", err)
		}
		if d.Location != "" {
			owed = append(owed, d)
		}
	}
	for _, d := range owed {
		if _, err := e.Forget(ctx, d.ID); err != nil {
			e.Log.Error("a forgotten document cannot be removed", zap.String("document", d.ID), zap.String("location", d.Location), zap.Error(err))
		}
	}
	return ctx.Err()
}

// forgotten records that a message is not filed because its document was
// forgotten. On its server it stays as it is: nothing else has it.
func (b *batch) forgotten(e ledger.Entry, d *store.Document, known ledger.Document) error {
	e.DocumentID, e.Received, e.Size, e.SHA256 = known.ID, d.Origin.Received, d.Origin.Size, d.Origin.SHA256
	return b.giveUp(e, fmt.Sprintf("its document was forgotten on %s", known.Forgotten.Format(time.DateOnly)))
}

// givenUp records that a message is not filed because a person gave up one with
// the same bytes, under another key. One that comes from quarantine is there to
// be decided about by itself.
func (b *batch) givenUp(e ledger.Entry, raw *spool.Blob) (bool, error) {
	if raw.Kept() != "" {
		return false, nil
	}
	for _, name := range append([]string{b.Name}, b.Formerly...) {
		known, err := b.e.Ledger.Discarded(b.work, name, raw.SHA256())
		if errors.Is(err, ledger.ErrNotFound) {
			continue
		}
		if err != nil {
			return false, local("read ledger", err)
		}
		e.Size, e.SHA256 = raw.Size(), raw.SHA256()
		const same = "the same message was given up: "
		return true, b.giveUp(e, same+strings.TrimPrefix(known.Cause, same))
	}
	return false, nil
}

// giveUp records that a message is not to be filed.
func (b *batch) giveUp(e ledger.Entry, cause string) error {
	e.State, e.Cause, e.RetryAt = ledger.Discarded, cause, time.Time{}
	e.Title, e.MessageID, e.Location, e.Duplicate, e.Exact = "", "", "", false, false
	if err := b.advance(e); err != nil {
		return err
	}
	b.log.Info("message is not filed", zap.String("key", e.Key), zap.String("why", cause))
	b.tell(Event{Kind: Skipped, Entry: e})
	return nil
}
