package ingest

import (
	"context"
	"errors"
	"fmt"

	"postroom/ingest/ledger"
	"postroom/sources"
)

// FindQuarantined returns the entry of a quarantined message; an error that is
// ledger.ErrNotFound if there is none with that id.
func FindQuarantined(ctx context.Context, l ledger.Reader, id string) (ledger.Entry, error) {
	for e, err := range l.Entries(ctx, ledger.Query{
		QuarantineID: id, States: []ledger.State{ledger.Quarantined, ledger.Parked},
	}) {
		return e, err
	}
	return ledger.Entry{}, notThere(fmt.Sprintf("no message %s is in quarantine: postroom quarantine list shows those that are", id))
}

// Retry files a quarantined message again, under the rules of now, and returns
// its entry. It waits for a poll of its folder to end. One that was filed from
// quarantine meanwhile, as after a change of the rules, is filed.
func (e *Engine) Retry(ctx context.Context, id string) (ledger.Entry, error) {
	entry, err := FindQuarantined(ctx, e.Ledger, id)
	if errors.Is(err, ledger.ErrNotFound) {
		return filedSince(ctx, e.Ledger, id, err)
	}
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
		if errors.Is(err, ledger.ErrNotFound) {
			_, err = filedSince(ctx, e.Ledger, id, err)
			return err
		}
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

// filedSince returns the entry of a message that was in quarantine, and is filed;
// else the error.
func filedSince(ctx context.Context, l ledger.Reader, id string, notThere error) (ledger.Entry, error) {
	for e, err := range l.Entries(ctx, ledger.Query{QuarantineID: id, States: []ledger.State{ledger.Filed, ledger.Settled}}) {
		return e, err
	}
	return ledger.Entry{}, notThere
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
