package exchange

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"postroom/internal/graph"
	"postroom/sources"
)

const (
	// renderTries is how often a message is asked for that the server cannot
	// render, within one fetch.
	renderTries = 3
	// renderPause is between these tries.
	renderPause = 300 * time.Millisecond
	// maxStrikes is in how many fetches the server may fail to render a message,
	// without saying that it never can, before it is rebuilt.
	maxStrikes = 2
	// hopeless is how many messages may fail, and none arrive, before the server
	// is taken to be in trouble.
	hopeless = 8
	// maxRemembered bounds what is remembered of single messages.
	maxRemembered = 10_000
)

// Fetch implements [sources.Source]. Each message is a request of its own, which
// Graph offers no other way than; four are under way as long as there are more.
// Whether a message
// has been read is told as the listing had it.
func (s *Source) Fetch(ctx context.Context, folder sources.Folder, refs []sources.Ref, deliver func(sources.Ref, *sources.Message) error) error {
	f := &fetch{source: s, deliver: deliver, doing: fmt.Sprintf("fetch from folder %q", folder.Path)}
	ctx, done, err := s.bind(ctx, f.doing)
	if err != nil {
		return err
	}
	defer done()
	wanted := make([]sources.Ref, 0, len(refs))
	taken := make(map[string]bool, len(refs))
	for _, ref := range refs {
		if taken[ref.Key] {
			continue
		}
		taken[ref.Key] = true
		if !validKey(ref.Key) {
			if err := f.refuse(ref, s.failure(sources.Permanent, f.doing, errors.New("a key that no listing has returned"))); err != nil {
				return err
			}
			continue
		}
		wanted = append(wanted, ref)
	}
	if err := f.run(ctx, wanted); err != nil {
		return err
	}
	return f.convict(ctx, wanted)
}

// fetch is one call of Fetch.
type fetch struct {
	source  *Source
	deliver func(sources.Ref, *sources.Message) error
	doing   string

	mu sync.Mutex
	// answered is how many messages the server has given a clear answer about.
	answered int
	// suspects are the messages that could not be had for a reason that may be
	// the server's.
	suspects []suspect
	// throttled is the error of a message that the server had no time for.
	throttled error
}

type suspect struct {
	sources.Ref
	err error
}

// run asks for all messages, several at a time.
func (f *fetch) run(ctx context.Context, wanted []sources.Ref) error {
	group, ctx := errgroup.WithContext(ctx)
	next := 0
	take := func() (sources.Ref, bool) {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.throttled != nil || next == len(wanted) || ctx.Err() != nil {
			return sources.Ref{}, false
		}
		next++
		return wanted[next-1], true
	}
	for range min(asking, len(wanted)) {
		group.Go(func() error {
			for {
				ref, ok := take()
				if !ok {
					return nil
				}
				err := f.one(ctx, ref)
				if sources.ClassOf(err) == sources.Throttled {
					// What is under way comes to its end; nothing more is begun.
					f.mu.Lock()
					f.throttled = err
					f.mu.Unlock()
					return nil
				}
				if err != nil {
					return err
				}
			}
		})
	}
	err := group.Wait()
	switch {
	case err != nil:
		return err
	case f.throttled != nil:
		return f.throttled
	case next < len(wanted):
		return f.source.explain(f.doing, context.Cause(ctx))
	}
	return nil
}

func (f *fetch) refuse(ref sources.Ref, err error) error {
	return f.deliver(ref, &sources.Message{Received: ref.Received, Seen: ref.Seen, Size: -1, Err: err})
}

// answer counts a message that was answered for.
func (f *fetch) answer() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answered++
}

// one fetches a message. An error ends the whole fetch.
func (f *fetch) one(ctx context.Context, ref sources.Ref) error {
	s := f.source
	if ref.Received.IsZero() {
		// Of a message that was only read since, a listing of changes may tell no
		// more than that.
		item, err := s.box.State(ctx, ref.Key)
		switch {
		case graph.ItemGone(err):
			return f.gone(ref, err)
		case err != nil:
			return f.suspect(ref, err)
		case bool(item.Draft):
			return f.gone(ref, errors.New("it is a draft"))
		}
		return f.content(ctx, ref, item.Received.Time, bool(item.Read))
	}
	return f.content(ctx, ref, ref.Received, ref.Seen)
}

// content fetches a message that was received then, and has been read or not.
func (f *fetch) content(ctx context.Context, ref sources.Ref, received time.Time, seen bool) error {
	s := f.source
	content, err := f.render(ctx, ref)
	switch {
	case err == nil:
		s.forgive(ref.Key)
		return f.hand(ctx, ref, &sources.Message{Received: received, Seen: seen, Wire: sources.Rendered}, content)
	case ctx.Err() != nil:
		return s.explain(f.doing, context.Cause(ctx))
	case graph.ItemGone(err):
		// Once more, as nobody looks for it again: Exchange may be behind with what
		// it has just listed.
		if err := pause(ctx, renderPause); err != nil {
			return s.explain(f.doing, err)
		}
		if _, err = s.box.State(ctx, ref.Key); graph.ItemGone(err) {
			return f.gone(ref, err)
		} else if err == nil {
			err = errors.New("the server says that it is not there, and that it is")
		}
		return f.suspect(ref, err)
	case unrenderable(err) && (conversion(err) || s.strike(ref.Key) >= maxStrikes):
		return f.rebuild(ctx, ref, err)
	case badID(err):
		f.answer()
		return f.refuse(ref, s.failure(sources.Permanent, f.doing, fmt.Errorf("message %s: %w", ref.Key, err)))
	}
	return f.suspect(ref, err)
}

// gone delivers a message of which the server says that it is not there.
func (f *fetch) gone(ref sources.Ref, err error) error {
	f.answer()
	return f.refuse(ref, f.source.failure(sources.Gone, f.doing, fmt.Errorf("message %s: %w", ref.Key, err)))
}

// render asks for the message, again if the server fails to render it.
func (f *fetch) render(ctx context.Context, ref sources.Ref) (content *graph.Content, err error) {
	for try := 1; ; try++ {
		content, err = f.source.box.Content(ctx, ref.Key)
		if err == nil || !unrenderable(err) || try >= renderTries {
			return content, err
		}
		if err := pause(ctx, renderPause*time.Duration(try)); err != nil {
			return nil, err
		}
	}
}

// pause waits, or returns why the context has ended.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// unrenderable reports whether the server failed to make the message's bytes.
func unrenderable(err error) bool {
	var answer *graph.Error
	return errors.As(err, &answer) && (answer.Status == 500 || conversion(err))
}

// conversion reports whether the server says that it cannot.
func conversion(err error) bool {
	var answer *graph.Error
	return errors.As(err, &answer) && (answer.Status == 422 || answer.Has("ErrorMimeContentConversionFailed", "ErrorContentConversionFailed",
		"ErrorMimeContentInvalid", "ErrorMimeContentInvalidBase64String", "ErrorMessageMimeContentConversionFailed", "ErrorCorruptData", "ErrorItemCorrupt", "ErrorPropertyRequestFailed"))
}

func badID(err error) bool {
	var answer *graph.Error
	return errors.As(err, &answer) && answer.Has("ErrorInvalidIdMalformed", "ErrorInvalidId", "ErrorInvalidImmutableId")
}

// strike counts a fetch in which the message could not be rendered.
func (s *Source) strike(key string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.strikes) >= maxRemembered {
		clear(s.strikes)
	}
	s.strikes[key]++
	return s.strikes[key]
}

func (s *Source) forgive(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.strikes, key)
}

// suspect notes that a message could not be had. It returns an error if that is
// no message's fault.
func (f *fetch) suspect(ref sources.Ref, err error) error {
	err = f.source.explain(f.doing, fmt.Errorf("message %s: %w", ref.Key, err))
	if class := sources.ClassOf(err); class != sources.Temporary && class != sources.Permanent {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.suspects = append(f.suspects, suspect{ref, err})
	if f.answered == 0 && len(f.suspects) >= hopeless {
		return f.suspects[0].err
	}
	return nil
}

// convict delivers the suspects with their errors at the end, when the server
// has answered for others, or there was no other and it can be reached. Else it
// returns the error: the fault need not be theirs.
func (f *fetch) convict(ctx context.Context, wanted []sources.Ref) error {
	if len(f.suspects) == 0 {
		return nil
	}
	if f.answered == 0 {
		if len(wanted) > 1 {
			return f.suspects[0].err
		}
		if _, err := f.source.box.State(ctx, wanted[0].Key); graph.ItemGone(err) {
			return f.gone(wanted[0], err)
		} else if err != nil {
			return f.suspects[0].err
		}
	}
	for _, g := range f.suspects {
		if err := f.refuse(g.Ref, g.err); err != nil {
			return err
		}
	}
	return nil
}

// hand delivers a message as it arrives.
func (f *fetch) hand(ctx context.Context, ref sources.Ref, m *sources.Message, content *graph.Content) error {
	s := f.source
	f.answer()
	body := &body{source: s, doing: f.doing, key: ref.Key, from: content.Body, size: content.Size, ctx: ctx}
	m.Size, m.Body = content.Size, body
	if n, ok := s.cutBefore(ref.Key); ok {
		body.before = n
		m.Notes = append(m.Notes, "the server ends this message before the end of its last part, each time in the same place")
	}
	err := f.deliver(ref, m)
	body.end()
	if closing := content.Body.Close(); closing != nil {
		s.log.Debug("close answer", zap.Error(closing))
	}
	return err
}

// cutBefore returns the length at which the message has ended before its last
// part did.
func (s *Source) cutBefore(key string) (int64, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, ok := s.cut[key]
	return n, ok
}

func (s *Source) rememberCut(key string, n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.cut) >= maxRemembered {
		clear(s.cut)
	}
	s.cut[key] = n
}
