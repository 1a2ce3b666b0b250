package ingest

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"go.uber.org/zap"

	"postroom/ingest/document"
	"postroom/ingest/ledger"
	"postroom/ingest/message"
	"postroom/ingest/quarantine"
	"postroom/ingest/spool"
	"postroom/sources"
	"postroom/store"
)

// file files one message, and keeps e as it is recorded. It returns an error
// only for trouble on our side.
func (b *batch) file(e *ledger.Entry, raw *spool.Blob, m *sources.Message) error {
	if n, _ := interrupted(*e); n > maxAlone {
		return b.quarantine(*e, raw, m, nil, fmt.Errorf(causeDied, n))
	}
	if done, err := b.givenUp(*e, raw); done || err != nil {
		return err
	}
	made, identity, header, err := b.read(*e, raw, m)
	var d *store.Document
	if made != nil {
		d = made.Document
	}
	b.tell(Event{Kind: Examined, Entry: *e, Doc: d, Header: header})
	unfit := errors.As(err, new(*messageError))
	if err != nil && !unfit {
		return local("read message", err)
	}
	if header != nil {
		// Also of what cannot be filed: it is no business of this source.
		if leftOut, err := b.leaveOut(e, raw, m, header); leftOut || err != nil {
			return err
		}
	}
	if unfit {
		return b.quarantine(*e, raw, m, header, err)
	}
	back, err := b.e.documents.take(b.work, alike(b.Name, identity.Content))
	if err != nil {
		return local("wait for the same message", err)
	}
	defer back()

	done, err := b.prepare(e, d, identity)
	if err != nil || done {
		return err
	}
	scratch := b.e.Spool.Scratch()
	defer func() {
		if err := scratch.Close(); err != nil {
			b.log.Warn("remove rendered message from spool", zap.Error(err))
		}
	}()
	switch err := b.render(*e, made, scratch); {
	case errors.As(err, new(*messageError)):
		return b.quarantine(*e, raw, m, header, err)
	case err != nil:
		return local("render message", err)
	}
	d.Filed = time.Now().UTC().Truncate(time.Second)
	receipt, err := b.e.Repository.Put(b.work, d)
	switch {
	case err == nil:
		return b.filed(*e, d, receipt)
	case errors.Is(err, store.ErrContent):
		// What was spooled is not what is read back.
		return b.postpone(*e, err)
	case errors.Is(err, store.ErrRefused):
		return b.quarantine(*e, raw, m, header, fmt.Errorf("the repository refuses the document: %w", err))
	default:
		return local(fmt.Sprintf("put message %s, %.60q, into repository", e.Key, d.Title), err)
	}
}

// alike is the turn of all messages of a source with that content.
func alike(source string, content [32]byte) string { return source + "\x00" + string(content[:]) }

// leaveOut forgets a message that the filter does not take. One whose document
// was determined, or that a person puts back from quarantine, is taken; one that
// was put back by itself stays there.
func (b *batch) leaveOut(e *ledger.Entry, raw *spool.Blob, m *sources.Message, h *message.Header) (bool, error) {
	if e.State == ledger.Prepared || raw.Kept() != "" && !b.automatic {
		return false, nil
	}
	key := b.Rules.Only.Delivered(h, raw.Size(), document.Arrived(m.Received, h, time.Now()))
	if key == "" {
		return false, nil
	}
	if b.automatic {
		return true, b.quarantine(*e, raw, m, h, fmt.Errorf("%s of the source leaves this message out by now: discard it, or retry it to have it filed all the same", key))
	}
	err := b.held.Drop(context.WithoutCancel(b.work), e.Key)
	switch {
	case errors.Is(err, ledger.ErrTransition):
		return false, nil
	case err != nil:
		return false, local("write ledger", err)
	}
	b.log.Debug("left out", zap.String("key", e.Key), zap.String("by", key))
	b.tell(Event{Kind: Skipped, Entry: *e, LeftOut: key})
	return true, nil
}

// messageError is a message's own fault, as opposed to one of reading it.
type messageError struct{ error }

func (e *messageError) Unwrap() error { return e.error }

// read makes the document of a message, and tells what the message is recognised
// by.
func (b *batch) read(e ledger.Entry, raw *spool.Blob, m *sources.Message) (d *document.Made, f document.Fingerprint, h *message.Header, err error) {
	defer b.survive(e, "reading", &err)
	b.e.reading <- struct{}{}
	defer func() { <-b.e.reading }()
	content, err := message.Read(b.work, raw, raw.Size(), message.Limits{})
	if err != nil {
		return nil, f, nil, err
	}
	h = content.Header
	if f, err = document.Identify(b.work, content); err != nil {
		return nil, f, h, err
	}
	in := document.Input{
		Source: b.Name, Type: b.Type, Mailbox: b.Address, Folder: b.folder.Path, Key: e.Key,
		Received: m.Received, Fetched: time.Now(), Wire: m.Wire, Notes: m.Notes,
		Raw: raw, Size: raw.Size(), SHA256: raw.SHA256(), Held: raw.Held(),
		Message: content, Header: h, Identity: f,
	}
	if d, err = document.Make(b.work, in, b.Rules); err != nil {
		return nil, f, h, err
	}
	properties, notes, err := document.Evaluate(b.Rules.Properties, in.Values(content))
	switch {
	case errors.As(err, new(*document.MissingError)):
		return nil, f, h, &messageError{err}
	case err != nil:
		return nil, f, h, err
	}
	d.Properties, d.Notes = properties, append(d.Notes, notes...)
	return d, f, h, nil
}

// render gives the document its message in the format of the source.
func (b *batch) render(e ledger.Entry, d *document.Made, scratch *spool.Scratch) (err error) {
	if !b.Rules.Outlook {
		return nil
	}
	defer b.survive(e, "rendering", &err)
	b.e.reading <- struct{}{}
	defer func() { <-b.e.reading }()
	_, err = d.Render(b.work, scratch)
	return err
}

// survive makes a panic of what is done to a message the message's own error. It
// is to be deferred.
func (b *batch) survive(e ledger.Entry, doing string, err *error) {
	if r := recover(); r != nil {
		b.log.Error("panic while "+doing+" a message", zap.String("key", e.Key), zap.Any("panic", r), zap.ByteString("stack", debug.Stack()))
		*err = &messageError{fmt.Errorf("internal error while %s the message: %v", doing, r)}
	}
}

// prepare records what the document will be. Done is true when there is nothing
// to file: the message is a duplicate, or has to wait for one.
func (b *batch) prepare(e *ledger.Entry, d *store.Document, f document.Fingerprint) (done bool, err error) {
	for _, name := range append([]string{b.Name}, b.Formerly...) {
		known, err := b.e.Ledger.Document(b.work, document.ID(name, f, ""))
		if err == nil && !known.Forgotten.IsZero() {
			if f.Dated || f.MessageID != "" || known.SHA256 == d.Origin.SHA256 {
				return true, b.duplicate(*e, d, known)
			}
			d.ID = apart(b.Name, d, f)
		}
		if err != nil && !errors.Is(err, ledger.ErrNotFound) {
			return false, local("read ledger", err)
		}
	}
	if !b.FileDuplicates {
		for _, old := range b.Formerly {
			switch err := b.claimed(document.ID(old, f, ""), *e); {
			case errors.Is(err, errClaimed):
				return true, b.postpone(*e, err)
			case err != nil:
				return false, err
			}
		}
		known, err := b.known(d, f)
		if err != nil {
			return false, err
		}
		if known != nil {
			return true, b.duplicate(*e, d, *known)
		}
	}
	for range 3 {
		if e.State == ledger.Prepared && e.DocumentID == d.ID {
			d.Title, d.Origin.Received = e.Title, e.Received
		}
		next := *e
		next.State = ledger.Prepared
		next.DocumentID, next.Title, next.MessageID = d.ID, d.Title, f.MessageID
		next.Received, next.Size, next.SHA256 = d.Origin.Received, d.Origin.Size, d.Origin.SHA256
		next.Likeness = ledger.Likeness{Content: f.Content, Strict: f.Strict, Original: d.Origin.Wire == string(sources.Original)}
		known, err := b.held.Prepare(b.work, next)
		switch {
		case errors.Is(err, ledger.ErrClaimed):
			if err := b.claimed(d.ID, *e); errors.Is(err, errClaimed) {
				return true, b.postpone(*e, err)
			} else if err != nil {
				return false, err
			}
		case err != nil:
			return false, local("write ledger", err)
		case known == nil:
			*e = next
			return false, nil
		case !b.FileDuplicates || !known.Forgotten.IsZero():
			return true, b.duplicate(*e, d, *known)
		default:
			d.ID = document.ID(b.Name, f, e.Folder+"\x00"+e.Key)
		}
	}
	return true, b.postpone(*e, errClaimed)
}

// apart is the id of a document that only its raw bytes set apart from another.
func apart(source string, d *store.Document, f document.Fingerprint) string {
	return document.ID(source, f, hex.EncodeToString(d.Origin.SHA256[:]))
}

// known returns the document that the message was filed as already, nil if there
// is none. Where it may have been, but that cannot be shown, it marks d.
func (b *batch) known(d *store.Document, f document.Fingerprint) (*ledger.Document, error) {
	filed, err := b.e.Ledger.Like(b.work, b.Name, d.Origin.SHA256, f.Content, f.MessageID)
	if err != nil {
		return nil, local("read ledger", err)
	}
	for i := range filed {
		if filed[i].SHA256 == d.Origin.SHA256 {
			return &filed[i], nil
		}
	}
	possible := ""
	for i := range filed {
		switch a := &filed[i]; {
		case a.Likeness.Content != f.Content:
			// Another message, by another sender or writer, with its Message-ID.
			possible = cmp.Or(possible, a.ID)
		case a.MessageID != f.MessageID && a.MessageID != "" && f.MessageID != "":
			// The same was sent twice.
		case !f.Dated && (a.MessageID == "" || f.MessageID == ""):
			// Nothing shows that it is not a second one of the same text.
			possible = cmp.Or(possible, a.ID)
			d.ID = apart(b.Name, d, f)
		case a.Likeness.Original && d.Origin.Wire == string(sources.Original) && a.Likeness.Strict != f.Strict:
			// Neither was rendered, so what differs is no rendering.
			possible = cmp.Or(possible, a.ID)
			d.ID = document.ID(b.Name, f, hex.EncodeToString(f.Strict[:]))
		default:
			return a, nil
		}
	}
	if possible != "" {
		d.Notes = append(d.Notes, "possible_duplicate_of "+possible)
	}
	return nil, nil
}

// filed records that the document is in the repository. d is nil when an
// earlier attempt had put it there.
func (b *batch) filed(e ledger.Entry, d *store.Document, r store.Receipt) error {
	e.State, e.Location, e.Description, e.Filed = ledger.Filed, r.Location, r.Description, time.Now().UTC()
	e.Cause, e.RetryAt = "", time.Time{}
	if err := b.conclude(e); err != nil {
		return err
	}
	b.log.Info("filed", zap.String("key", e.Key), zap.String("document", e.DocumentID[:12]),
		zap.String("location", e.Location), zap.Int64("bytes", e.Size))
	b.tell(Event{Kind: Filed, Entry: e, Bytes: e.Size, Doc: d})
	return nil
}

// duplicate records that the message had been filed already.
func (b *batch) duplicate(e ledger.Entry, d *store.Document, known ledger.Document) error {
	if !known.Forgotten.IsZero() {
		return b.forgotten(e, d, known)
	}
	again, err := b.filedItself(e, known)
	if err != nil {
		return err
	}
	e.State, e.Duplicate, e.Exact = ledger.Filed, true, known.SHA256 == d.Origin.SHA256
	e.DocumentID, e.Location, e.Filed = known.ID, known.Location, time.Now().UTC()
	e.Title, e.MessageID = d.Title, d.Origin.MessageID
	e.Received, e.Size, e.SHA256 = d.Origin.Received, d.Origin.Size, d.Origin.SHA256
	e.Cause, e.RetryAt = "", time.Time{}
	if again {
		settled := e
		settled.State = ledger.Settled
		if err := b.advance(e, settled); err != nil {
			return err
		}
		b.log.Info("filed before the ledger was made anew", zap.String("key", e.Key), zap.String("document", known.ID[:12]))
		b.tell(Event{Kind: Skipped, Entry: settled})
		return nil
	}
	if err := b.conclude(e); err != nil {
		return err
	}
	b.log.Info("duplicate", zap.String("key", e.Key), zap.String("document", known.ID[:12]), zap.Bool("exact", e.Exact))
	b.tell(Event{Kind: Duplicate, Entry: e, Bytes: e.Size})
	return nil
}

// filedItself reports whether the document was filed from this very message. A
// ledger that was made anew from the repository knows the folder by its path only,
// and what is to be done on the server was done, or not wanted, then.
func (b *batch) filedItself(e ledger.Entry, known ledger.Document) (bool, error) {
	if b.folder.ID == b.folder.Path {
		return false, nil
	}
	for _, name := range append([]string{b.Name}, b.Formerly...) {
		was, err := b.e.Ledger.Entry(b.work, name, b.folder.Path, e.Key)
		switch {
		case errors.Is(err, ledger.ErrNotFound):
		case err != nil:
			return false, local("read ledger", err)
		case was.DocumentID == known.ID && !was.Duplicate:
			return true, nil
		}
	}
	return false, nil
}

// conclude records a filed entry, settles it at once when nothing is to be done
// on the server, and forgets the copy in quarantine.
func (b *batch) conclude(e ledger.Entry) error {
	steps := []ledger.Entry{e}
	if b.action(e).Verb == sources.Keep {
		settled := e
		settled.State = ledger.Settled
		steps = append(steps, settled)
	}
	if err := b.advance(steps...); err != nil {
		return err
	}
	if len(steps) == 1 {
		b.owe(e)
	}
	if b.again {
		b.mu.Lock()
		b.kept = append(b.kept, e.QuarantineID())
		b.mu.Unlock()
	}
	return nil
}

// quarantine keeps a message that cannot be filed; raw is nil if it cannot even
// be had.
func (b *batch) quarantine(e ledger.Entry, raw *spool.Blob, m *sources.Message, h *message.Header, cause error) error {
	r := quarantine.Record{
		ID: e.QuarantineID(), Source: b.Name, Folder: b.folder.Path, FolderID: e.Folder, Key: e.Key,
		Received: m.Received, Wire: string(m.Wire), Notes: m.Notes, Size: max(e.Size, 0),
		Reason: cause.Error(), Attempts: e.Attempts, At: time.Now().UTC(),
	}
	now := b.trial()
	r.Rules, r.Version = now.rules, now.version
	var sum [32]byte
	if raw != nil {
		sum = raw.SHA256()
		r.Size, r.SHA256 = raw.Size(), hex.EncodeToString(sum[:])
	}
	if h != nil {
		r.Subject, r.From = h.Text("Subject"), h.Text("From")
	}
	if err := b.e.Quarantine.Keep(r, raw); err != nil {
		return local("quarantine message", err)
	}
	e.State, e.Cause, e.RetryAt = ledger.Quarantined, cause.Error(), time.Time{}
	e.Title, e.Size, e.SHA256 = r.Subject, r.Size, sum
	if err := b.advance(e); err != nil {
		return err
	}
	b.owe(e)
	b.log.Error("message quarantined", zap.String("key", e.Key), zap.String("id", r.ID), zap.Error(cause))
	b.tell(Event{Kind: Quarantined, Entry: e, Bytes: e.Size, Err: cause})
	return nil
}

// advance records entries.
func (p *poll) advance(entries ...ledger.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	p.stats.moving()
	if err := p.held.Advance(context.WithoutCancel(p.work), entries...); err != nil {
		return local("write ledger", err)
	}
	return nil
}
