package ingest

import (
	"errors"

	"go.uber.org/zap"

	"postroom/ingest/ledger"
	"postroom/sources"
	"postroom/store"
)

var errClaimed = errors.New("the same message is still being filed from another folder")

// claimed finds out what has become of a document that other messages of the
// mailbox have prepared and not finished, and finishes that for them: their
// folders may never be polled again. If it is in the repository, it is recorded;
// else they no longer claim it. It returns errClaimed when it is in the hands of
// another poll, which will know. The turn of the document is held.
func (b *batch) claimed(id string, by ledger.Entry) error {
	var others []ledger.Entry
	for e, err := range b.e.Ledger.Entries(b.work, ledger.Query{Source: b.Name, States: []ledger.State{ledger.Prepared}}) {
		if err != nil {
			return local("read ledger", err)
		}
		if e.DocumentID == id && (e.Folder != by.Folder || e.Key != by.Key) {
			others = append(others, e)
		}
	}
	for _, e := range others {
		if err := b.finishClaim(e); err != nil {
			return err
		}
	}
	return nil
}

// finishClaim records that the document an entry has prepared is in the
// repository, or that the entry has to begin again.
func (b *batch) finishClaim(e ledger.Entry) error {
	at := b
	if e.Folder != b.folder.ID {
		back, ok := b.folders.try(e.Folder)
		if !ok {
			return errClaimed
		}
		defer back()
		lease, err := b.e.Ledger.Lease(b.work, b.Name, e.Folder, leaseTTL)
		switch {
		case errors.Is(err, ledger.ErrHeld):
			return errClaimed
		case err != nil:
			return local("lease folder "+e.FolderPath, err)
		}
		defer func() {
			if err := lease.Release(b.work); err != nil && !errors.Is(err, ledger.ErrFenced) {
				b.log.Warn("release folder", zap.Error(err))
			}
		}()
		there := *b.poll
		there.folder, there.held = sources.Folder{ID: e.Folder, Path: e.FolderPath}, lease
		there.log = b.mailbox.log.With(zap.String("folder", e.FolderPath))
		at = &batch{poll: &there, again: true, waiting: make(map[string]ledger.Entry)}
		defer at.forget()
	}
	now, err := b.e.Ledger.Entry(b.work, e.Source, e.Folder, e.Key)
	if err != nil {
		return local("read ledger", err)
	}
	if now.State != ledger.Prepared || now.DocumentID != e.DocumentID {
		return nil
	}
	r, err := at.find(now)
	switch {
	case err == nil:
		at.take(now.Key)
		return at.filed(now, nil, r)
	case !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrRefused):
		return local("look for document in repository", err)
	}
	now.State = ledger.Begun
	if err := at.advance(now); err != nil {
		return err
	}
	if _, ok := at.take(now.Key); ok {
		at.wait(now)
	}
	return nil
}
