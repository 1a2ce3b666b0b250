package ingest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"postroom/ingest/ledger"
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
	return p.start(entries, again).finish()
}

// start hands the messages of entries to the workers; finish must follow.
func (p *poll) start(entries []ledger.Entry, again bool) *batch {
	b := &batch{poll: p, again: again, waiting: make(map[string]ledger.Entry)}
	if len(entries) == 0 {
		return b
	}
	select {
	case p.e.turns <- struct{}{}:
		b.inTurn = true
	case <-p.ctx.Done():
		b.starting = p.ctx.Err()
		b.wait(entries...)
		return b
	}
	var refs []sources.Ref
	for i, e := range entries {
		fetch, err := b.without(e)
		if err != nil {
			b.wait(entries[i:]...)
			b.fail(err)
			return b
		}
		if fetch {
			b.wait(e)
			refs = append(refs, sources.Ref{Key: e.Key, Size: e.Size, Received: e.Received})
		}
	}
	b.starting = b.fetch(refs)
	return b
}

// finish waits for the workers, and settles what they filed, with what was filed
// before it, unless more is to be gathered.
func (b *batch) finish() error {
	b.working.Wait()
	err := b.starting
	if b.trouble != nil {
		err = b.trouble
	}
	b.abandon(slices.Collect(maps.Values(b.waiting)), err)
	b.forget()
	b.unsettled = append(b.unsettled, b.owed...)
	if len(b.unsettled) >= b.gather {
		err = errors.Join(err, b.settle())
	}
	if b.inTurn {
		<-b.e.turns
	}
	return err
}

// batch is the entries being handled together.
type batch struct {
	*poll
	again    bool  // the entries may be in quarantine
	inTurn   bool  // it has one of the engine's turns
	starting error // of handing the messages to the workers
	working  sync.WaitGroup

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

func (b *batch) wait(entries ...ledger.Entry) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range entries {
		b.waiting[e.Key] = e
	}
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
		b.tell(Event{Kind: Known, Entry: e})
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
			size := m.Size
			if size < 0 && ref.Size <= b.e.MaxSize {
				size = ref.Size // an estimate
			}
			raw, err := b.e.Spool.Take(m.Body, size, b.e.MaxSize)
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
