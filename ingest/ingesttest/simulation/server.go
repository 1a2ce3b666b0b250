package simulation

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"postroom/sources"
)

// source is a connection of a process to a mailbox. With watch it can tell of
// new mail.
type source struct {
	p *process
	b *box

	closed bool // guarded by world.mu
}

type watcher struct{ *source }

// gatherer is a connection for which it pays to settle several messages together.
type gatherer struct{ *source }

func (g gatherer) SettleTogether() int { return g.b.together }

// open connects the process to the mailbox.
func (p *process) open(b *box) (sources.Source, error) {
	p.world.mu.Lock()
	defer p.world.mu.Unlock()
	if p.dead {
		return nil, ErrDead
	}
	b.open++
	s := &source{p: p, b: b}
	if b.watch {
		return watcher{s}, nil
	}
	if b.together > 0 {
		return gatherer{s}, nil
	}
	return s, nil
}

func (s *source) Close() error {
	s.p.world.mu.Lock()
	defer s.p.world.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	s.b.open--
	return nil
}

// do does an operation on the server.
func (s *source) do(ctx context.Context, name string, effect func(fate) error) error {
	return s.p.do(ctx, operation{kind: onServer, box: s.b, name: name}, effect)
}

// doMessage does an operation on a message.
func (s *source) doMessage(ctx context.Context, name string, effect func(fate) error) error {
	return s.p.do(ctx, operation{kind: onServer, box: s.b, name: name, message: true}, effect)
}

func (s *source) Folders(ctx context.Context) ([]sources.Folder, error) {
	var found []sources.Folder
	var missing []error
	err := s.do(ctx, "folders "+s.b.String(), func(fate) error {
		for _, path := range s.b.read {
			if s.b.folder(path) == nil {
				missing = append(missing, notFound(path))
				continue
			}
			found = append(found, sources.Folder{ID: path, Path: path})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return found, errors.Join(missing...)
}

func notFound(path string) error {
	return sources.Errorf(sources.NotFound, "folder %s does not exist", path)
}

// List lists by changes: a cursor covers those up to a number, whatever the
// keys of the messages are.
func (s *source) List(ctx context.Context, at sources.Folder, after sources.Cursor) (sources.Listing, error) {
	l := &listing{s: s, at: at}
	err := s.do(ctx, "list "+s.b.path(at.Path), func(fate) error {
		f := s.b.folder(at.Path)
		if f == nil {
			return notFound(at.Path)
		}
		l.validity, l.expired = f.validity, f.expired
		var c listing
		if n, _ := fmt.Sscanf(string(after), "%d %d %d", &c.validity, &c.expired, &c.covered); n == 3 &&
			c.validity == f.validity && c.expired == f.expired {
			l.covered = c.covered
		}
		if s.p.world.slips(SkipsInListing, s.b.path(at.Path)) {
			l.covered++
		}
		for _, m := range f.messages {
			if m.change > l.covered {
				l.left = append(l.left, listed{sources.Ref{Key: f.key(m), Size: s.b.size(m), Received: s.b.date(m), Seen: m.seen}, m.change})
			}
		}
		slices.SortFunc(l.left, func(a, b listed) int { return cmp.Compare(a.change, b.change) })
		return nil
	})
	if err != nil {
		return nil, err
	}
	return l, nil
}

// date is when the server says that the message arrived.
func (b *box) date(m *message) time.Time {
	if !b.dated {
		return time.Time{}
	}
	return m.received
}

// size is what the server says that the message has.
func (b *box) size(m *message) int64 {
	n := int64(len(m.raw))
	if b.maildrop {
		n += n % 7
	}
	return n
}

type listed struct {
	sources.Ref
	change int
}

type listing struct {
	s                          *source
	at                         sources.Folder
	validity, expired, covered int
	left                       []listed
}

func (l *listing) Next(ctx context.Context, max int) ([]sources.Ref, error) {
	var refs []sources.Ref
	err := l.s.do(ctx, "next "+l.s.b.path(l.at.Path), func(f fate) error {
		n := min(max, len(l.left), 1+f.chances.IntN(12))
		for _, r := range l.left[:n] {
			refs = append(refs, r.Ref)
			l.covered = r.change
		}
		l.left = l.left[n:]
		return nil
	})
	return refs, err
}

func (l *listing) Remaining() int { return len(l.left) }

func (l *listing) Cursor([]string) sources.Cursor {
	return sources.Cursor(fmt.Sprintf("%d %d %d", l.validity, l.expired, l.covered))
}

// Fetch delivers from as many goroutines as the source has connections.
func (s *source) Fetch(ctx context.Context, at sources.Folder, refs []sources.Ref, deliver func(sources.Ref, *sources.Message) error) error {
	if err := s.do(ctx, "fetch "+s.b.path(at.Path), func(f fate) error {
		if s.b.folder(at.Path) == nil {
			return notFound(at.Path)
		}
		refs = slices.Clone(refs)
		f.chances.Shuffle(len(refs), func(i, j int) { refs[i], refs[j] = refs[j], refs[i] })
		return nil
	}); err != nil {
		return err
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var connections sync.WaitGroup
	errs := make([]error, s.b.connections)
	for i := range errs {
		connections.Go(func() {
			for j := i; j < len(refs) && ctx.Err() == nil && errs[i] == nil; j += len(errs) {
				if errs[i] = s.fetch(ctx, at, refs[j], deliver); errs[i] != nil {
					stop(errs[i])
				}
			}
		})
	}
	connections.Wait()
	return context.Cause(ctx)
}

// fetch delivers one message. The error is that of the connection.
func (s *source) fetch(ctx context.Context, at sources.Folder, ref sources.Ref, deliver func(sources.Ref, *sources.Message) error) error {
	var out *sources.Message
	var cut error
	name := "body " + s.b.path(at.Path) + " " + ref.Key
	err := s.doMessage(ctx, name, func(f fate) error {
		dir := s.b.folder(at.Path)
		if dir == nil {
			return notFound(at.Path)
		}
		m := dir.message(ref.Key)
		switch {
		case m == nil || s.p.world.slips(SaysGone, name):
			out = &sources.Message{Err: sources.Errorf(sources.Gone, "no message %s", ref.Key)}
			return nil
		case time.Now().Before(m.withheld):
			m.failed++
			return nil
		case f.failAfter != nil && sources.ClassOf(f.failAfter) == sources.Permanent:
			m.stuck = true
			out = &sources.Message{Err: f.failAfter}
			return nil
		}
		raw := m.raw
		if s.p.world.slips(DeliversAnother, name) {
			raw = dir.messages[f.chances.IntN(len(dir.messages))].raw
		}
		if s.p.world.slips(DeletesOnFetch, name) {
			s.p.world.removed(s.b, dir, m, sources.Action{Verb: sources.Delete})
			dir.remove(m)
		}
		out = &sources.Message{Received: s.b.date(m), Seen: m.seen, Size: int64(len(raw)), Wire: sources.Original}
		if f.chances.IntN(3) == 0 || s.b.maildrop {
			out.Size = -1
		}
		out.Body = strings.NewReader(raw)
		if f.failAfter != nil {
			// Its failure is met while the body is read.
			cut = f.failAfter
			m.failed++
			out.Body = io.MultiReader(strings.NewReader(raw[:len(raw)/2]), failing{cut})
		}
		return nil
	})
	switch {
	case out == nil:
		return err
	case err == nil || cut != nil || out.Err != nil:
		if err := deliver(ref, out); err != nil {
			return err
		}
	}
	if out.Err != nil {
		return nil
	}
	return err
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func (s *source) Settle(ctx context.Context, at sources.Folder, keys []string, a sources.Action, done func(string, error)) error {
	if s.b.maildrop && a.Verb == sources.Delete {
		return s.endSession(ctx, at, keys, a, done)
	}
	for _, key := range keys {
		var alone error
		name := "settle " + s.b.path(at.Path) + " " + key
		err := s.doMessage(ctx, name, func(f fate) error {
			if s.p.world.slips(SettlesNothing, name) {
				return nil
			}
			dir := s.b.folder(at.Path)
			if dir == nil {
				return notFound(at.Path)
			}
			if f.failAfter != nil && f.chances.IntN(2) == 0 {
				alone = f.failAfter // of this message only
				return nil
			}
			m := dir.message(key)
			if len(dir.messages) > 0 && s.p.world.slips(SettlesAnother, name) {
				m = pick(f.chances, dir.messages...)
			}
			if m != nil {
				s.p.world.settle(s.b, dir, m, a)
			}
			return nil
		})
		if err != nil && alone == nil {
			return err
		}
		if s.p.isDead() {
			return ErrDead
		}
		done(key, alone)
	}
	return nil
}

// endSession deletes messages by the end of a session: all of them, or after an
// error some, or none.
func (s *source) endSession(ctx context.Context, at sources.Folder, keys []string, a sources.Action, done func(string, error)) error {
	var refused error
	left := make(map[string]bool)
	err := s.do(ctx, fmt.Sprintf("end session %s %s", s.b.path(at.Path), strings.Join(keys, " ")), func(f fate) error {
		dir := s.b.folder(at.Path)
		if dir == nil {
			return notFound(at.Path)
		}
		most := len(keys)
		if f.failAfter != nil {
			most = f.chances.IntN(len(keys) + 1)
			if f.chances.IntN(2) == 0 {
				refused = f.failAfter // the server says so, rather than the network
			}
		}
		for i, key := range keys {
			m := dir.message(key)
			switch {
			case m == nil:
			case i < most && !s.p.world.slips(SettlesNothing, "settle "+s.b.path(at.Path)+" "+key):
				s.p.world.settle(s.b, dir, m, a)
			case i >= most:
				left[key] = true
			}
		}
		return nil
	})
	if err != nil && refused == nil {
		return err
	}
	if s.p.isDead() {
		return ErrDead
	}
	for _, key := range keys {
		if left[key] {
			done(key, refused)
		} else {
			done(key, nil)
		}
	}
	return nil
}

// settle applies a disposition. mu is held.
func (w *world) settle(b *box, f *folder, m *message, a sources.Action) {
	w.removed(b, f, m, a)
	switch a.Verb {
	case sources.MarkRead:
		m.seen = true
	case sources.Move:
		copied := *m
		b.put(b.make(a.Target), &copied, 0)
		fallthrough
	case sources.Delete:
		f.remove(m)
	}
}

// Wait returns when something has changed, and sometimes for no reason.
func (w watcher) Wait(ctx context.Context, at sources.Folder) error {
	var news chan struct{}
	idle := time.Duration(0)
	if err := w.do(ctx, "wait "+w.b.path(at.Path), func(f fate) error {
		news = w.b.news
		if f.chances.IntN(4) > 0 {
			idle = time.Duration(1+f.chances.IntN(29)) * time.Minute
		}
		if w.p.world.slips(WakesAlways, "wait") {
			idle = 0
		}
		return nil
	}); err != nil {
		return err
	}
	t := time.NewTimer(idle)
	defer t.Stop()
	select {
	case <-t.C:
	case <-news:
	case <-w.p.died:
		return ErrDead
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}
