package ingest

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
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
// message in trouble is only recorded so.
func (p *poll) handle(entries []ledger.Entry) error {
	b := &batch{poll: p, open: make(map[string]ledger.Entry)}
	var refs []sources.Ref
	for _, e := range entries {
		fetch, err := b.without(e)
		if err != nil {
			b.fail(err)
			break
		}
		if fetch {
			b.open[e.Key] = e
			refs = append(refs, sources.Ref{Key: e.Key, Size: e.Size, Received: e.Received})
		}
	}
	fetchErr := b.fetch(refs)
	b.working.Wait()
	if b.err != nil {
		fetchErr = b.err
	}
	b.abandon(fetchErr)
	for _, id := range b.kept {
		if err := b.e.Quarantine.Remove(id); err != nil {
			b.log.Warn("remove filed message from quarantine", zap.Error(err))
		}
	}
	return errors.Join(fetchErr, b.settle())
}

// batch is the entries being handled together.
type batch struct {
	*poll
	working sync.WaitGroup

	mu   sync.Mutex
	open map[string]ledger.Entry // still to be fetched
	owed []ledger.Entry          // filed or quarantined, to be settled on the server
	kept []string                // in quarantine, and now filed
	err  error                   // trouble on our side
}

// fail records trouble on our side, which ends the poll.
func (b *batch) fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil {
		b.err = err
		b.stop(err)
	}
}

func (b *batch) owe(e ledger.Entry) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.owed = append(b.owed, e)
}

// take returns the entry of a message that is being delivered, once.
func (b *batch) take(key string) (ledger.Entry, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e, ok := b.open[key]
	delete(b.open, key)
	return e, ok
}

// without handles an entry that needs no fetch, and reports whether it does.
func (b *batch) without(e ledger.Entry) (fetch bool, err error) {
	switch e.State {
	case ledger.Filed, ledger.Quarantined:
		b.owe(e)
		return false, nil
	case ledger.Prepared:
		r, err := b.e.Repository.Find(b.work, store.Key{ID: e.DocumentID, Source: b.Name, Received: e.Received})
		if err == nil {
			return false, b.filed(e, nil, r)
		}
		if !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrRefused) {
			return false, local("look for document in repository", err)
		}
	}
	if e.Attempts < 2 {
		return true, nil
	}
	// A message put back from quarantine is filed from the bytes kept there.
	id := e.QuarantineID()
	kept, err := b.e.Quarantine.Has(id)
	if err != nil {
		return false, local("look into quarantine", err)
	}
	if !kept {
		return true, nil
	}
	record, err := b.e.Quarantine.Record(id)
	if err != nil {
		return false, local("look into quarantine", err)
	}
	raw, err := b.e.Quarantine.Raw(id)
	if err != nil {
		return false, local("look into quarantine", err)
	}
	b.start(e, raw, &sources.Message{Received: record.Received, Wire: sources.Wire(record.Wire), Notes: record.Notes})
	return false, nil
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
					b.reopen(e)
				}
				return err
			default:
				b.reopen(e)
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

func (b *batch) reopen(e ledger.Entry) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.open[e.Key] = e
}

func (b *batch) left(refs []sources.Ref) []sources.Ref {
	b.mu.Lock()
	defer b.mu.Unlock()
	var left []sources.Ref
	for _, r := range refs {
		if _, ok := b.open[r.Key]; ok {
			left = append(left, r)
		}
	}
	return left
}

// undelivered records that a message could not be had.
func (b *batch) undelivered(e ledger.Entry, cause error) error {
	if b.ctx.Err() != nil {
		b.reopen(e)
		return b.ctx.Err()
	}
	if sources.ClassOf(cause) == sources.Gone {
		e.State, e.Cause = ledger.Vanished, "left its folder before it could be filed"
		b.log.Warn("message left its folder before it could be filed", zap.String("key", e.Key))
		b.tell(Event{Kind: Skipped, Entry: e})
		return b.advance(e)
	}
	return b.postpone(e, cause)
}

// postpone records that a message is to be tried again later.
func (b *batch) postpone(e ledger.Entry, cause error) error {
	wait := messageBackOff(e.Attempts)
	if until := sources.UntilOf(cause); !until.IsZero() {
		wait = time.Until(until)
	}
	e.Cause, e.RetryAt = cause.Error(), time.Now().Add(wait)
	if err := b.advance(e); err != nil {
		return err
	}
	b.stats.dueAt(e.RetryAt)
	b.log.Warn("message could not be handled, it will be tried again",
		zap.String("key", e.Key), zap.Int("attempt", e.Attempts), zap.Time("again", e.RetryAt), zap.Error(cause))
	b.tell(Event{Kind: Failed, Entry: e, Err: cause})
	return nil
}

var errWithheld = errors.New("the server lists this message but does not deliver it")

// withheld records the messages that the server did not deliver.
func (b *batch) withheld() error {
	b.mu.Lock()
	var rest []ledger.Entry
	for _, e := range b.open {
		rest = append(rest, e)
	}
	clear(b.open)
	b.mu.Unlock()
	for _, e := range rest {
		if err := b.undelivered(e, errWithheld); err != nil {
			return err
		}
	}
	return nil
}

// abandon records why entries that were not reached have not been handled. They
// stay due.
func (b *batch) abandon(cause error) {
	text := "postroom was stopped"
	if cause != nil && b.ctx.Err() == nil || errors.As(cause, new(*localError)) {
		text = cause.Error()
	}
	var left []ledger.Entry
	for _, e := range b.open {
		e.Cause = text
		left = append(left, e)
	}
	if err := b.advance(left...); err != nil {
		b.log.Warn("record messages not reached", zap.Error(err))
	}
}

// enter gives a message to a worker once one is free.
func (b *batch) enter(e ledger.Entry, raw *spool.Blob, m *sources.Message) error {
	select {
	case b.e.slots <- struct{}{}:
	case <-b.ctx.Done():
		b.reopen(e)
		raw.Close()
		return b.ctx.Err()
	}
	b.working.Go(func() {
		defer func() { <-b.e.slots }()
		b.work1(e, raw, m)
	})
	return nil
}

// start is enter for a message that was not fetched.
func (b *batch) start(e ledger.Entry, raw *spool.Blob, m *sources.Message) {
	if err := b.enter(e, raw, m); err != nil {
		b.log.Debug("not started", zap.Error(err))
	}
}

// work1 files one message.
func (b *batch) work1(e ledger.Entry, raw *spool.Blob, m *sources.Message) {
	defer func() {
		if err := raw.Close(); err != nil {
			b.log.Warn("remove message from spool", zap.Error(err))
		}
	}()
	err := b.file(e, raw, m)
	if err == nil {
		return
	}
	b.reopen(e)
	b.fail(err)
}

// file files one message. It returns an error only for trouble on our side.
func (b *batch) file(e ledger.Entry, raw *spool.Blob, m *sources.Message) error {
	if n, _ := interrupted(e); n > maxAlone {
		return b.quarantine(e, raw, m, nil, fmt.Errorf("the process died %d times with this message in hand; it was not read", n))
	}
	d, header, err := b.read(e, raw, m)
	if err != nil {
		return b.quarantine(e, raw, m, header, err)
	}
	defer b.e.claims.lock(d.ID)()

	done, err := b.prepare(&e, d)
	if err != nil || done {
		return err
	}
	d.Filed = time.Now().UTC().Truncate(time.Second)
	receipt, err := b.e.Repository.Put(b.work, d)
	switch {
	case err == nil:
		return b.filed(e, d, receipt)
	case errors.Is(err, store.ErrContent):
		// What was spooled is not what is read back.
		return b.postpone(e, err)
	case errors.Is(err, store.ErrRefused):
		return b.quarantine(e, raw, m, header, fmt.Errorf("the repository refuses the document: %w", err))
	default:
		return local("put document "+d.ID[:12]+" into repository", err)
	}
}

// read makes the document of a message.
func (b *batch) read(e ledger.Entry, raw *spool.Blob, m *sources.Message) (d *store.Document, h *message.Header, err error) {
	defer func() {
		if r := recover(); r != nil {
			b.log.Error("panic while reading a message", zap.String("key", e.Key), zap.Any("panic", r), zap.ByteString("stack", debug.Stack()))
			err = fmt.Errorf("internal error while reading the message: %v", r)
		}
	}()
	h, err = message.ReadHeader(raw.Reader())
	if err != nil {
		return nil, h, fmt.Errorf("read message: %w", err)
	}
	d = document.Make(document.Input{
		Source: b.Name, Type: b.Type, Mailbox: b.Address, Folder: b.folder.Path, Key: e.Key,
		Received: m.Received, Fetched: time.Now(), Wire: m.Wire, Notes: m.Notes,
		Size: raw.Size(), SHA256: raw.SHA256(),
		Open:   func() (io.ReadCloser, error) { return io.NopCloser(raw.Reader()), nil },
		Header: h,
	}, b.Rules)
	return d, h, nil
}

// prepare records what the document will be. Done is true when there is nothing
// to file: the message is a duplicate, or has to wait for one.
func (b *batch) prepare(e *ledger.Entry, d *store.Document) (done bool, err error) {
	for _, old := range b.Formerly {
		id := document.ID(old, d.Origin.SHA256, "")
		known, err := b.e.Ledger.Document(b.work, id)
		if err == nil && !b.FileDuplicates {
			return true, b.duplicate(*e, d, known)
		}
		if err != nil && !errors.Is(err, ledger.ErrNotFound) {
			return false, local("read ledger", err)
		}
	}
	for range 2 {
		if e.State == ledger.Prepared && e.DocumentID == d.ID {
			d.Title, d.Origin.Received = e.Title, e.Received
		}
		next := *e
		next.State = ledger.Prepared
		next.DocumentID, next.Title, next.MessageID = d.ID, d.Title, d.Origin.MessageID
		next.Received, next.Size, next.SHA256 = d.Origin.Received, d.Origin.Size, d.Origin.SHA256
		known, err := b.lease.Prepare(b.work, next)
		switch {
		case errors.Is(err, ledger.ErrClaimed):
			return true, b.postpone(*e, errors.New("the same message is still being filed from another folder"))
		case err != nil:
			return false, local("write ledger", err)
		case known == nil:
			*e = next
			return false, nil
		case !b.FileDuplicates:
			return true, b.duplicate(*e, d, *known)
		}
		d.ID = document.ID(b.Name, d.Origin.SHA256, e.Folder+"\x00"+e.Key)
	}
	return false, local("write ledger", fmt.Errorf("document %s is filed already", d.ID))
}

// filed records that the document is in the repository. d is nil when an
// earlier attempt had put it there.
func (b *batch) filed(e ledger.Entry, d *store.Document, r store.Receipt) error {
	e.State, e.Location, e.Filed = ledger.Filed, r.Location, time.Now().UTC()
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
	if e.Attempts > 1 {
		b.mu.Lock()
		b.kept = append(b.kept, e.QuarantineID())
		b.mu.Unlock()
	}
	return nil
}

// quarantine keeps a message that cannot be filed.
func (b *batch) quarantine(e ledger.Entry, raw *spool.Blob, m *sources.Message, h *message.Header, cause error) error {
	sum := raw.SHA256()
	r := quarantine.Record{
		ID: e.QuarantineID(), Source: b.Name, Folder: b.folder.Path, Key: e.Key,
		Received: m.Received, Wire: string(m.Wire), Notes: m.Notes,
		Size: raw.Size(), SHA256: hex.EncodeToString(sum[:]),
		Reason: cause.Error(), Attempts: e.Attempts, At: time.Now().UTC(),
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
	if err := p.lease.Advance(context.WithoutCancel(p.work), entries...); err != nil {
		return local("write ledger", err)
	}
	return nil
}
