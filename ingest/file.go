package ingest

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"runtime/debug"
	"slices"
	"sync"
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

// handle brings entries to their ends, as far as it can now. Their attempts are
// recorded. It returns an error if the source or our own side is in trouble; a
// message in trouble is only recorded so. Again says that the entries have been
// in hand before.
func (p *poll) handle(entries []ledger.Entry, again bool) error {
	if len(entries) == 0 {
		return nil
	}
	select {
	case p.e.turns <- struct{}{}:
		defer func() { <-p.e.turns }()
	case <-p.ctx.Done():
		p.abandon(entries, p.ctx.Err())
		return p.ctx.Err()
	}
	b := &batch{poll: p, again: again, waiting: make(map[string]ledger.Entry)}
	var refs []sources.Ref
	var err error
	for i, e := range entries {
		var fetch bool
		if fetch, err = b.without(e); err != nil {
			for _, e := range entries[i:] {
				b.wait(e)
			}
			b.fail(err)
			break
		}
		if fetch {
			b.wait(e)
			refs = append(refs, sources.Ref{Key: e.Key, Size: e.Size, Received: e.Received})
		}
	}
	if err == nil {
		err = b.fetch(refs)
	}
	b.working.Wait()
	if b.trouble != nil {
		err = b.trouble
	}
	p.abandon(slices.Collect(maps.Values(b.waiting)), err)
	b.forget()
	return errors.Join(err, b.settle())
}

// batch is the entries being handled together.
type batch struct {
	*poll
	again   bool // the entries may be in quarantine
	working sync.WaitGroup

	mu      sync.Mutex
	waiting map[string]ledger.Entry // to be fetched, or not brought to an end
	owed    []ledger.Entry          // filed or quarantined, to be settled on the server
	kept    []string                // in quarantine, and no longer needed there
	trouble error                   // on our side
}

// fail records trouble on our side, which ends the poll.
func (b *batch) fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.trouble == nil {
		b.trouble = err
		b.stop(err)
	}
}

// forget removes from quarantine what is no longer needed there.
func (b *batch) forget() {
	for _, id := range b.kept {
		if err := b.e.Quarantine.Remove(id); err != nil {
			b.log.Warn("remove message from quarantine", zap.Error(err))
		}
	}
	b.kept = nil
}

func (b *batch) owe(e ledger.Entry) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.owed = append(b.owed, e)
}

func (b *batch) wait(e ledger.Entry) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.waiting[e.Key] = e
}

// take returns the entry of a message that is being delivered, once.
func (b *batch) take(key string) (ledger.Entry, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e, ok := b.waiting[key]
	delete(b.waiting, key)
	return e, ok
}

// without handles an entry that needs no fetch, and reports whether it does.
func (b *batch) without(e ledger.Entry) (fetch bool, err error) {
	switch e.State {
	case ledger.Filed, ledger.Quarantined:
		b.owe(e)
		return false, nil
	case ledger.Prepared:
		r, err := b.find(e)
		if err == nil {
			return false, b.filed(e, nil, r)
		}
		if !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrRefused) {
			return false, local("look for document in repository", err)
		}
	}
	if !b.again {
		return true, nil
	}
	// A message put back from quarantine is filed from the bytes kept there.
	record, raw, err := b.e.Quarantine.Take(e.QuarantineID())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return true, nil
	case errors.Is(err, quarantine.ErrDamaged):
		b.log.Error("message is taken from the server again", zap.String("key", e.Key), zap.Error(err))
		return true, nil
	case err != nil:
		return false, local("look into quarantine", err)
	}
	return false, b.enter(e, raw, &sources.Message{Received: record.Received, Wire: sources.Wire(record.Wire), Notes: record.Notes})
}

// find looks for the document of a prepared entry in the repository, under the
// source's name and those that it had when it may have been put there.
func (b *batch) find(e ledger.Entry) (r store.Receipt, err error) {
	for _, name := range append([]string{b.Name}, b.Formerly...) {
		r, err = b.e.Repository.Find(b.work, store.Key{ID: e.DocumentID, Source: name, Received: e.Received})
		if !errors.Is(err, store.ErrNotFound) {
			break
		}
	}
	return r, err
}

// fetch hands the messages of refs to the workers. A message on which the
// connection dies is set aside, and the others are asked for again.
func (b *batch) fetch(refs []sources.Ref) error {
	for len(refs) > 0 {
		var culprit *ledger.Entry
		err := b.src.Fetch(b.ctx, b.folder, refs, func(ref sources.Ref, m *sources.Message) error {
			e, ok := b.take(ref.Key)
			if !ok {
				return nil
			}
			b.stats.moving()
			if m.Err != nil {
				return b.undelivered(e, m.Err)
			}
			raw, err := b.e.Spool.Take(m.Body, m.Size, b.e.MaxSize)
			switch {
			case err == nil:
				return b.enter(e, raw, m)
			case errors.Is(err, spool.ErrTooLarge):
				return b.undelivered(e, sources.Errorf(sources.Permanent, "message is larger than %d bytes", b.e.MaxSize))
			case errors.As(err, new(*spool.ReadError)):
				// Only the first: its end may have ended others under way.
				if !b.accuse(&culprit, e) {
					b.wait(e)
				}
				return err
			default:
				b.wait(e)
				err = local("spool message", err)
				b.fail(err)
				return err
			}
		})
		if err == nil {
			return b.withheld()
		}
		left := b.left(refs)
		if culprit != nil {
			if err := b.undelivered(*culprit, fmt.Errorf("fetch message: %w", err)); err != nil {
				return err
			}
		}
		again := sources.ClassOf(err) == sources.Temporary && b.ctx.Err() == nil
		if !again || len(left) == len(refs) {
			return fmt.Errorf("fetch messages: %w", err)
		}
		refs = left
	}
	return nil
}

// accuse sets the culprit if there is none yet, and reports whether it did.
func (b *batch) accuse(culprit **ledger.Entry, e ledger.Entry) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if *culprit != nil {
		return false
	}
	*culprit = &e
	return true
}

func (b *batch) left(refs []sources.Ref) []sources.Ref {
	b.mu.Lock()
	defer b.mu.Unlock()
	var left []sources.Ref
	for _, r := range refs {
		if _, ok := b.waiting[r.Key]; ok {
			left = append(left, r)
		}
	}
	return left
}

// undelivered records that a message could not be had.
func (b *batch) undelivered(e ledger.Entry, cause error) error {
	if b.ctx.Err() != nil {
		b.wait(e)
		return b.ctx.Err()
	}
	class := sources.ClassOf(cause)
	if class == sources.Temporary && e.Attempts >= maxAttempts && !ahead(e) {
		class, cause = sources.Permanent, fmt.Errorf("given up after %d tries: %w", e.Attempts, cause)
	}
	switch class {
	case sources.Gone:
		return b.vanished(e)
	case sources.Permanent:
		return b.quarantine(e, nil, &sources.Message{Received: e.Received}, nil, cause)
	}
	return b.postpone(e, cause)
}

// maxAttempts is how often a message is asked for that the server does not
// deliver while it delivers others: for about six hours.
const maxAttempts = 12

// ahead reports whether a try was not due yet, but asked for.
func ahead(e ledger.Entry) bool { return e.RetryAt.After(time.Now()) }

// next sets when an entry is tried again after a try that failed with cause. A
// try ahead of its time neither counts nor brings the next one nearer.
func (p *poll) next(e *ledger.Entry, cause error) {
	again := time.Now().Add(messageBackOff(cause, e.Attempts))
	switch {
	case ahead(*e):
		if sources.ClassOf(cause) != sources.Throttled || again.Before(e.RetryAt) {
			again = e.RetryAt
		}
	case !errors.Is(cause, errClaimed):
		e.Attempts++
	}
	e.RetryAt = again
	p.stats.dueAt(e.RetryAt)
}

// vanished records that a message has left its folder unfiled.
func (b *batch) vanished(e ledger.Entry) error {
	if kept, err := b.e.Quarantine.Has(e.QuarantineID()); err != nil {
		return local("look into quarantine", err)
	} else if kept {
		// Its copy was found damaged, and is now all there is.
		e.State, e.Cause = ledger.Quarantined, "the copy in quarantine is damaged, and the message is no longer on the server"
		parked := e
		parked.State = ledger.Parked
		b.tell(Event{Kind: Quarantined, Entry: parked, Err: errors.New(e.Cause)})
		return b.advance(e, parked)
	}
	if b.again {
		b.mu.Lock()
		b.kept = append(b.kept, e.QuarantineID()) // its record, if there is one
		b.mu.Unlock()
	}
	e.State, e.Cause = ledger.Vanished, "left its folder before it could be filed"
	b.log.Warn("message left its folder before it could be filed", zap.String("key", e.Key))
	b.tell(Event{Kind: Skipped, Entry: e})
	return b.advance(e)
}

// postpone records that a message is to be tried again later.
func (b *batch) postpone(e ledger.Entry, cause error) error {
	attempt := e.Attempts
	e.Cause = cause.Error()
	b.next(&e, cause)
	if err := b.advance(e); err != nil {
		return err
	}
	b.log.Warn("message could not be handled, it will be tried again", zap.String("key", e.Key),
		zap.Int("attempt", attempt), zap.Time("again", e.RetryAt), zap.Error(cause), remedyField(cause))
	b.tell(Event{Kind: Failed, Entry: e, Err: cause})
	return nil
}

var errWithheld = errors.New("the server lists this message but does not deliver it")

// withheld records the messages that the server did not deliver.
func (b *batch) withheld() error {
	b.mu.Lock()
	var rest []ledger.Entry
	for _, e := range b.waiting {
		rest = append(rest, e)
	}
	clear(b.waiting)
	b.mu.Unlock()
	for _, e := range rest {
		if err := b.undelivered(e, errWithheld); err != nil {
			return err
		}
	}
	return nil
}

// abandon records why entries have not been brought to an end. They stay due,
// and the try does not count: it was not they that failed.
func (p *poll) abandon(entries []ledger.Entry, cause error) {
	text := "the poll ended before"
	if cause != nil && !errors.Is(cause, context.Canceled) {
		text = cause.Error()
	}
	var left []ledger.Entry
	p.mu.Lock()
	for _, e := range entries {
		if e.State == ledger.Begun || e.State == ledger.Prepared {
			e.Cause = text
			left = append(left, e)
			if p.abandoned != nil {
				p.abandoned[place{e.Folder, e.Key}] = true
			}
		}
	}
	p.mu.Unlock()
	if err := p.advance(left...); err != nil {
		p.log.Warn("record messages not reached", zap.Error(err))
	}
}

// enter gives a message to a worker once one is free.
func (b *batch) enter(e ledger.Entry, raw *spool.Blob, m *sources.Message) error {
	select {
	case b.e.slots <- struct{}{}:
	case <-b.ctx.Done():
		b.wait(e)
		return errors.Join(b.ctx.Err(), raw.Close())
	}
	b.working.Go(func() {
		defer func() { <-b.e.slots }()
		if err := b.file(&e, raw, m); err != nil {
			b.wait(e)
			b.fail(err)
		}
		if err := raw.Close(); err != nil {
			b.log.Warn("remove message from spool", zap.Error(err))
		}
	})
	return nil
}

// file files one message, and keeps e as it is recorded. It returns an error
// only for trouble on our side.
func (b *batch) file(e *ledger.Entry, raw *spool.Blob, m *sources.Message) error {
	if n, _ := interrupted(*e); n > maxAlone {
		return b.quarantine(*e, raw, m, nil, fmt.Errorf("the process died %d times with this message in hand; it was not read", n))
	}
	if done, err := b.givenUp(*e, raw); done || err != nil {
		return err
	}
	d, identity, header, err := b.read(*e, raw, m)
	switch {
	case errors.As(err, new(*messageError)):
		return b.quarantine(*e, raw, m, header, err)
	case err != nil:
		return local("read message", err)
	}
	if leftOut, err := b.leaveOut(e, raw, d, header); leftOut || err != nil {
		return err
	}
	back, err := b.e.documents.take(b.work, b.Name+"\x00"+string(identity.Content[:]))
	if err != nil {
		return local("wait for the same message", err)
	}
	defer back()

	done, err := b.prepare(e, d, identity)
	if err != nil || done {
		return err
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

// leaveOut forgets a message that the filter does not take. One whose document
// was determined, or that a person puts back from quarantine, is taken.
func (b *batch) leaveOut(e *ledger.Entry, raw *spool.Blob, d *store.Document, h *message.Header) (bool, error) {
	if e.State == ledger.Prepared || raw.Kept() != "" {
		return false, nil
	}
	key := b.Rules.Only.Delivered(h, raw.Size(), d.Origin.Received)
	if key == "" {
		return false, nil
	}
	err := b.held.Drop(context.WithoutCancel(b.work), e.Key)
	switch {
	case errors.Is(err, ledger.ErrTransition):
		return false, nil
	case err != nil:
		return false, local("write ledger", err)
	}
	b.log.Debug("left out", zap.String("key", e.Key), zap.String("by", key))
	b.tell(Event{Kind: Skipped, Entry: *e})
	return true, nil
}

// messageError is a message's own fault, as opposed to one of reading it.
type messageError struct{ error }

func (e *messageError) Unwrap() error { return e.error }

// read makes the document of a message, and tells what the message is recognised
// by.
func (b *batch) read(e ledger.Entry, raw *spool.Blob, m *sources.Message) (d *store.Document, f document.Fingerprint, h *message.Header, err error) {
	defer func() {
		if r := recover(); r != nil {
			b.log.Error("panic while reading a message", zap.String("key", e.Key), zap.Any("panic", r), zap.ByteString("stack", debug.Stack()))
			err = &messageError{fmt.Errorf("internal error while reading the message: %v", r)}
		}
	}()
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

// prepare records what the document will be. Done is true when there is nothing
// to file: the message is a duplicate, or has to wait for one.
func (b *batch) prepare(e *ledger.Entry, d *store.Document, f document.Fingerprint) (done bool, err error) {
	for _, old := range b.Formerly {
		known, err := b.e.Ledger.Document(b.work, document.ID(old, f, ""))
		if err == nil && !known.Forgotten.IsZero() {
			return true, b.duplicate(*e, d, known)
		}
		if err != nil && !errors.Is(err, ledger.ErrNotFound) {
			return false, local("read ledger", err)
		}
	}
	if !b.FileDuplicates {
		for _, old := range b.Formerly {
			switch _, err := b.claimed(document.ID(old, f, ""), *e); {
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
			if _, err = b.claimed(d.ID, *e); errors.Is(err, errClaimed) {
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

// known returns the document that the message was filed as already, nil if there
// is none. Where it may have been, but that cannot be shown, it marks d.
func (b *batch) known(d *store.Document, f document.Fingerprint) (*ledger.Document, error) {
	alike, err := b.e.Ledger.Like(b.work, b.Name, d.Origin.SHA256, f.Content, f.MessageID)
	if err != nil {
		return nil, local("read ledger", err)
	}
	for i := range alike {
		if alike[i].SHA256 == d.Origin.SHA256 {
			return &alike[i], nil
		}
	}
	possible := ""
	for i := range alike {
		switch a := &alike[i]; {
		case a.Likeness.Content != f.Content:
			// Another message, by another sender or writer, with its Message-ID.
			possible = cmp.Or(possible, a.ID)
		case a.MessageID != f.MessageID && a.MessageID != "" && f.MessageID != "":
			// The same was sent twice.
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
	e.State, e.Duplicate, e.Exact = ledger.Filed, true, known.SHA256 == d.Origin.SHA256
	e.DocumentID, e.Location, e.Filed = known.ID, known.Location, time.Now().UTC()
	e.Title, e.MessageID = d.Title, d.Origin.MessageID
	e.Received, e.Size, e.SHA256 = d.Origin.Received, d.Origin.Size, d.Origin.SHA256
	e.Cause, e.RetryAt = "", time.Time{}
	if err := b.conclude(e); err != nil {
		return err
	}
	b.log.Info("duplicate", zap.String("key", e.Key), zap.String("document", known.ID[:12]), zap.Bool("exact", e.Exact))
	b.tell(Event{Kind: Duplicate, Entry: e, Bytes: e.Size})
	return nil
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
