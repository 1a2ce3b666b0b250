package ingest

import (
	"context"
	"errors"
	"fmt"

	"postroom/ingest/ledger"
	"postroom/sources"
)

// FindQuarantined returns the entry of a quarantined message; an error wrapping
// ledger.ErrNotFound if there is none with that id.
func FindQuarantined(ctx context.Context, l ledger.Reader, id string) (ledger.Entry, error) {
	for e, err := range l.Entries(ctx, ledger.Query{
		QuarantineID: id, States: []ledger.State{ledger.Quarantined, ledger.Parked},
	}) {
		return e, err
	}
	return ledger.Entry{}, fmt.Errorf("quarantined message %s: %w", id, ledger.ErrNotFound)
}

// Retry files a quarantined message again, under the rules of now, and returns
// its entry. It waits for a poll of its source to end.
func (e *Engine) Retry(ctx context.Context, id string) (ledger.Entry, error) {
	return e.reconsider(ctx, id, func(p *poll, entry ledger.Entry) error {
		entry.State, entry.Cause = ledger.Begun, underWay
		// More than one attempt: it is looked for in quarantine first.
		entry.Attempts = max(entry.Attempts+1, 2)
		if err := p.advance(entry); err != nil {
			return err
		}
		return p.handle([]ledger.Entry{entry})
	})
}

// Discard gives a quarantined message up. On its server it stays as it is.
func (e *Engine) Discard(ctx context.Context, id string) (ledger.Entry, error) {
	return e.reconsider(ctx, id, func(p *poll, entry ledger.Entry) error {
		entry.State = ledger.Discarded
		if err := p.advance(entry); err != nil {
			return err
		}
		return p.e.Quarantine.Remove(id)
	})
}

func (e *Engine) reconsider(ctx context.Context, id string, do func(*poll, ledger.Entry) error) (ledger.Entry, error) {
	entry, err := FindQuarantined(ctx, e.Ledger, id)
	if err != nil {
		return entry, err
	}
	m := e.mailbox(entry.Source)
	if m == nil {
		return entry, fmt.Errorf("quarantined message %s: its source %s is no longer configured", id, entry.Source)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	src, err := m.open()
	if err != nil {
		return entry, err
	}
	p, err := m.take(ctx, src, sources.Folder{ID: entry.Folder, Path: entry.FolderPath})
	if err != nil {
		return entry, err
	}
	defer p.release()
	err = p.explain(do(p, entry))
	after, readErr := e.Ledger.Entry(ctx, entry.Source, entry.Folder, entry.Key)
	return after, errors.Join(err, readErr)
}

func (e *Engine) mailbox(name string) *mailbox {
	for _, m := range e.mailboxes {
		if m.Name == name {
			return m
		}
	}
	return nil
}

// Close closes the sources. Run and Once do so themselves.
func (e *Engine) Close() error {
	var errs []error
	for _, m := range e.mailboxes {
		m.mu.Lock()
		errs = append(errs, m.close())
		m.mu.Unlock()
	}
	return errors.Join(errs...)
}
