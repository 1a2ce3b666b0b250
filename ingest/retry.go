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
// its entry. It waits for a poll of its folder to end.
func (e *Engine) Retry(ctx context.Context, id string) (ledger.Entry, error) {
	entry, err := FindQuarantined(ctx, e.Ledger, id)
	if err != nil {
		return entry, err
	}
	m := e.mailbox(entry.Source)
	if m == nil {
		return entry, fmt.Errorf("quarantined message %s: its source %s is not at work: it is not configured, disabled, or left out", id, entry.Source)
	}
	src, err := m.open()
	if err != nil {
		return entry, err
	}
	err = m.inFolder(ctx, src, sources.Folder{ID: entry.Folder, Path: entry.FolderPath}, func(p *poll) error {
		entry, err := FindQuarantined(ctx, e.Ledger, id)
		if err != nil {
			return err
		}
		entry.State, entry.Cause = ledger.Begun, underWay
		if entry.Attempts++; entry.SHA256 == [32]byte{} {
			// It could not be had, which is tried as often as at first.
			entry.Attempts = 1
		}
		if err := p.advance(entry); err != nil {
			return err
		}
		return p.handle([]ledger.Entry{entry}, true)
	})
	after, readErr := e.Ledger.Entry(ctx, entry.Source, entry.Folder, entry.Key)
	return after, errors.Join(err, readErr)
}

// Discard gives a quarantined message up, also one whose source is no longer
// configured. On its server it stays as it is.
func (e *Engine) Discard(ctx context.Context, id string) (ledger.Entry, error) {
	entry, err := FindQuarantined(ctx, e.Ledger, id)
	if err != nil {
		return entry, err
	}
	if m := e.mailbox(entry.Source); m != nil {
		back, err := m.folders.take(ctx, entry.Folder)
		if err != nil {
			return entry, err
		}
		defer back()
	}
	lease, err := e.Ledger.Lease(ctx, entry.Source, entry.Folder, leaseTTL)
	if err != nil {
		return entry, err
	}
	if entry, err = FindQuarantined(ctx, e.Ledger, id); err == nil {
		entry.State = ledger.Discarded
		err = lease.Advance(ctx, entry)
	}
	if err == nil {
		err = e.Quarantine.Remove(id)
	}
	return entry, errors.Join(err, lease.Release(context.WithoutCancel(ctx)))
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
		errs = append(errs, m.close())
	}
	return errors.Join(errs...)
}
