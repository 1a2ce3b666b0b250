package ingest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"postroom/ingest/document"
	"postroom/ingest/ledger"
	"postroom/internal/durable"
	"postroom/sources"
)

const (
	chunk    = 256              // messages listed and handled together
	leaseTTL = 90 * time.Second // renewed three times in that
)

// scope says what a poll is to handle.
type scope int

const (
	everyFolder scope = 0
	firstFolder scope = 1 << iota
	evenEarly         // also messages whose next try is not due
)

// poll handles what the mailbox has. An error is joined of those of its folders;
// what could be done is done. Partly means that some folder was handled in spite
// of the error.
func (m *mailbox) poll(ctx context.Context, what scope) (partly bool, err error) {
	src, err := m.open()
	if err != nil {
		return false, err
	}
	folders, missing := src.Folders(ctx)
	if len(folders) > 0 {
		m.reachedServer()
	}
	if what&firstFolder != 0 && len(folders) > 0 {
		folders, missing = folders[:1], nil
	}
	counts, err := m.e.Ledger.Count(ctx, m.Name)
	if err != nil {
		return false, local("read ledger", err)
	}
	if counts[ledger.Prepared] > 0 && len(folders) > 1 {
		// A document that was prepared in one folder when the process died is
		// settled before the same message is met in another.
		if _, err := m.eachFolder(ctx, src, folders, func(p *poll) error { return p.prepared(what) }); err != nil {
			m.log.Debug("finish prepared documents", zap.Error(err))
		}
	}
	var reconsidering error
	if what&firstFolder == 0 && len(folders) > 0 {
		reconsidering = m.reconsider(ctx, src)
	}
	partly, err = m.eachFolder(ctx, src, folders, func(p *poll) error { return p.everything(what) })
	return partly, joinErrors([]error{err, missing, reconsidering})
}

func (m *mailbox) reachedServer() {
	m.mu.Lock()
	defer m.mu.Unlock()
	select {
	case <-m.reached:
	default:
		close(m.reached)
	}
}

// eachFolder does something in every folder, several at a time. Partly means
// that it was done in some.
func (m *mailbox) eachFolder(ctx context.Context, src sources.Source, folders []sources.Folder, do func(*poll) error) (partly bool, err error) {
	errs := make([]error, len(folders))
	var g errgroup.Group
	g.SetLimit(m.Parallel)
	for i, f := range folders {
		g.Go(func() error {
			errs[i] = m.inFolder(ctx, src, f, do)
			return nil
		})
	}
	g.Wait()
	return slices.Contains(errs, nil), joinErrors(errs)
}

// inFolder does something in a folder, under its lease.
func (m *mailbox) inFolder(ctx context.Context, src sources.Source, f sources.Folder, do func(*poll) error) error {
	back, err := m.folders.take(ctx, f.ID)
	if err != nil {
		return err
	}
	defer back()
	p, err := m.lease(ctx, src, f)
	if err != nil {
		return err
	}
	defer p.release()
	return errors.Join(p.explain(do(p)), p.explain(p.disposing))
}

// everything finishes what is owed in the folder and handles what is new.
func (p *poll) everything(what scope) error {
	if err := p.debts(what, func(ledger.State) bool { return true }); err != nil {
		return err
	}
	return p.news()
}

// prepared finishes the documents that had been prepared.
func (p *poll) prepared(what scope) error {
	return p.debts(what, func(s ledger.State) bool { return s == ledger.Prepared })
}

// poll is one folder being handled under a lease.
type poll struct {
	*mailbox
	src    sources.Source
	folder sources.Folder
	held   ledger.Lease
	log    *zap.Logger

	ctx     context.Context         // for listing and fetching: ends with a stop
	work    context.Context         // for what is in hand: outlives a stop by the grace
	stop    context.CancelCauseFunc // ends ctx
	release func()

	// unsettled are entries that are filed or quarantined: to be settled on the server
	// once there are gather of them, or no more follow.
	unsettled []ledger.Entry
	gather    int
	// disposing is what went wrong with dispositions. It holds up nothing else.
	disposing error
	// automatic is set where messages are put back from quarantine without a
	// person.
	automatic bool
}

// lease leases the folder and keeps the lease until release.
func (m *mailbox) lease(ctx context.Context, src sources.Source, f sources.Folder) (*poll, error) {
	work, endWork := m.e.graceful(ctx)
	lease, err := m.e.Ledger.Lease(work, m.Name, f.ID, leaseTTL)
	if err != nil {
		endWork()
		if errors.Is(err, ledger.ErrHeld) {
			return nil, fmt.Errorf("lease folder %s: %w", f.Path, err)
		}
		return nil, local("lease folder "+f.Path, err)
	}
	fetching, stop := context.WithCancelCause(ctx)
	p := &poll{
		mailbox: m, src: src, folder: f, held: lease,
		log: m.log.With(zap.String("folder", f.Path)),
		ctx: fetching, work: work, stop: stop,
	}
	var renewing sync.WaitGroup
	renewing.Go(func() {
		t := time.NewTicker(leaseTTL / 3)
		defer t.Stop()
		for {
			select {
			case <-work.Done():
				return
			case <-t.C:
				if err := lease.Renew(work); errors.Is(err, ledger.ErrFenced) {
					stop(err)
					endWork()
					return
				}
			}
		}
	})
	p.release = func() {
		stop(nil)
		endWork()
		renewing.Wait()
		if err := lease.Release(context.WithoutCancel(ctx)); err != nil && !errors.Is(err, ledger.ErrFenced) {
			m.log.Warn("release folder", zap.Error(err))
		}
	}
	return p, nil
}

// explain names the folder in an error, and says why a context ended.
func (p *poll) explain(err error) error {
	if err == nil {
		return nil
	}
	if cause := context.Cause(p.ctx); cause != nil && errors.Is(err, context.Canceled) {
		err = cause
	}
	return fmt.Errorf("folder %s: %w", p.folder.Path, err)
}

// never is later than any time at which a try is due.
var never = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)

// debts finishes what an earlier poll left unfinished in one of the states and
// is due again, or is to be tried early.
func (p *poll) debts(what scope, in func(ledger.State) bool) error {
	due := time.Now()
	if what&evenEarly != 0 {
		due = never
	}
	for after := ""; ; {
		owed, err := p.held.Owed(p.work, due, after, chunk)
		if err != nil {
			return local("read ledger", err)
		}
		if len(owed) == 0 {
			break
		}
		after = owed[len(owed)-1].Key
		owed = slices.DeleteFunc(owed, func(e ledger.Entry) bool { return !in(e.State) })
		if err := p.again(owed); err != nil {
			return err
		}
		if p.ctx.Err() != nil {
			return p.ctx.Err()
		}
	}
	next, err := p.held.NextDue(p.work)
	if err != nil {
		return local("read ledger", err)
	}
	p.stats.dueAt(next)
	return nil
}

// The cause of an entry whose attempt is under way. An entry that has one while
// no attempt is under way was in hand when the process died.
const (
	underWay      = ""
	underWayAlone = "handled alone after the process had died with it in hand, try %d"
	maxAlone      = 5
)

// interrupted reports whether the process died with the entry in hand, and how
// often it was handled alone by then.
func interrupted(e ledger.Entry) (alone int, died bool) {
	if e.Cause == underWay {
		return 0, true
	}
	_, err := fmt.Sscanf(e.Cause, underWayAlone, &alone)
	return alone, err == nil
}

// again takes up entries once more. Those that are prepared come first: another
// message that is the same has to wait for them.
func (p *poll) again(owed []ledger.Entry) error {
	var prepared, others []ledger.Entry
	for _, e := range owed {
		if e.State == ledger.Prepared {
			prepared = append(prepared, e)
		} else {
			others = append(others, e)
		}
	}
	if err := p.retry(prepared); err != nil {
		return err
	}
	return p.retry(others)
}

// retry handles entries after recording that they are being tried again. Those
// that were in hand when the process died are handled one at a time, so that
// one that kills the process is found.
func (p *poll) retry(owed []ledger.Entry) error {
	var together, alone, retried []ledger.Entry
	for _, e := range owed {
		if e.State == ledger.Begun || e.State == ledger.Prepared {
			if n, died := interrupted(e); died {
				e.Cause = fmt.Sprintf(underWayAlone, n+1)
				alone = append(alone, e)
				continue
			}
			e.Cause = underWay
			retried = append(retried, e)
		}
		together = append(together, e)
	}
	if err := p.advance(retried...); err != nil {
		return err
	}
	if err := p.handle(together, true); err != nil {
		return err
	}
	for _, e := range alone {
		if err := p.advance(e); err != nil {
			return err
		}
		if err := p.handle([]ledger.Entry{e}, true); err != nil {
			return err
		}
	}
	return nil
}

// news lists what is new and handles it. While the last messages of a chunk are
// being filed, the first of the next are fetched.
func (p *poll) news() (err error) {
	cursor, rules, err := p.held.Cursor(p.work)
	if err != nil {
		return local("read ledger", err)
	}
	// What another filter left out is looked at again.
	filter := &p.Rules.Only
	if rules != filter.Key() {
		cursor = ""
	}
	listing, err := p.src.List(p.ctx, p.folder, sources.Cursor(cursor))
	if err != nil {
		return fmt.Errorf("list messages: %w", err)
	}
	p.tell(Event{Kind: Listed, Listed: max(listing.Remaining(), 0)})
	var again []string // keys that the filter leaves out only as they are now
	var tail errgroup.Group
	if g, ok := p.src.(sources.Gatherer); ok {
		p.gather = g.SettleTogether()
	}
	defer func() {
		err = errors.Join(err, tail.Wait())
		p.gather = 0
		err = errors.Join(err, p.settle())
	}()
	for {
		refs, err := listing.Next(p.ctx, chunk)
		if err != nil {
			return fmt.Errorf("list messages: %w", err)
		}
		var entries []ledger.Entry
		taken := make([]sources.Ref, 0, len(refs))
		for _, r := range refs {
			leftOut, _ := filter.Listed(r)
			switch leftOut {
			case "":
				taken = append(taken, r)
				continue
			case document.OnlyUnread:
				again = append(again, r.Key)
			}
			p.tell(Event{Kind: Skipped, LeftOut: leftOut, Entry: ledger.Entry{
				Source: p.Name, Folder: p.folder.ID, FolderPath: p.folder.Path, Key: r.Key, Size: r.Size, Received: r.Received,
			}})
		}
		if len(taken) > 0 {
			if entries, err = p.begin(taken); err != nil {
				return err
			}
		}
		// Every message the cursor covers is in the ledger now, or left out by the
		// filter it is kept under, so that nothing is forgotten whatever becomes of
		// it.
		if err := p.held.SetCursor(p.work, string(listing.Cursor(again)), filter.Key()); err != nil {
			err = local("write ledger", err)
			p.abandon(entries, err)
			return err
		}
		if len(refs) == 0 {
			return nil
		}
		b := p.start(entries, false)
		if tail.Wait() != nil {
			return b.finish()
		}
		tail.Go(b.finish)
	}
}

// begin records the messages and returns those to be handled now.
func (p *poll) begin(refs []sources.Ref) ([]ledger.Entry, error) {
	listed := make([]ledger.Listed, len(refs))
	for i, r := range refs {
		listed[i] = ledger.Listed{Key: r.Key, FolderPath: p.folder.Path, Size: r.Size, Received: r.Received}
	}
	entries, err := p.held.Begin(p.work, listed)
	if err != nil {
		return nil, local("write ledger", err)
	}
	now := time.Now()
	return slices.DeleteFunc(entries, func(e ledger.Entry) bool {
		done := e.State.Final() || e.RetryAt.After(now)
		if done {
			p.tell(Event{Kind: Known, Entry: e})
		}
		return done
	}), nil
}

// tell passes an event on, with the names of source and folder.
func (p *poll) tell(ev Event) {
	ev.Source, ev.Folder = p.Name, p.folder.Path
	if s := ev.Entry.State; s == ledger.Filed || s == ledger.Quarantined {
		ev.Action = p.action(ev.Entry)
	}
	p.stats.count(ev)
	p.e.Observe(ev)
}

// localError is a failure on our side: ledger, repository, spool, quarantine.
// It is no message's fault, so it ends the poll and everything waits.
type localError struct {
	doing string
	err   error
}

func local(doing string, err error) error { return &localError{doing, err} }

// remedy says what to do about what goes wrong with a disk.
func (e *localError) remedy() string {
	switch {
	case durable.Full(e.err):
		return "free space on that disk; what waits is filed then by itself"
	case errors.Is(e.err, fs.ErrPermission):
		return "give the user that postroom runs as the right to write there"
	}
	return ""
}

func (e *localError) Error() string { return e.doing + ": " + e.err.Error() }
func (e *localError) Unwrap() error { return e.err }

// joinErrors joins errors into one whose class is that of the first of these
// that is among them: sign-in, throttled, temporary.
func joinErrors(errs []error) error {
	errs = slices.DeleteFunc(errs, func(err error) bool { return err == nil })
	if len(errs) < 2 {
		return errors.Join(errs...)
	}
	slices.SortStableFunc(errs, func(a, b error) int { return severity(b) - severity(a) })
	return errors.Join(errs...)
}

func severity(err error) int {
	switch sources.ClassOf(err) {
	case sources.SignIn:
		return 3
	case sources.Throttled:
		return 2
	case sources.Temporary:
		return 1
	}
	return 0
}

// remedies returns the remedies of every error joined in err.
func remedies(err error) string {
	var out []string
	var walk func(error)
	add := func(remedy string) {
		if remedy != "" && !slices.Contains(out, remedy) {
			out = append(out, remedy)
		}
	}
	walk = func(err error) {
		switch e := err.(type) {
		case *sources.Error:
			add(e.Remedy)
		case *localError:
			add(e.remedy())
		}
		switch u := err.(type) {
		case interface{ Unwrap() error }:
			walk(u.Unwrap())
		case interface{ Unwrap() []error }:
			for _, e := range u.Unwrap() {
				walk(e)
			}
		}
	}
	if err != nil {
		walk(err)
	}
	return strings.Join(out, "; ")
}
