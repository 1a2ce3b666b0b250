package exchange

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"postroom/internal/graph"
	"postroom/sources"
)

// deletedItems is the well-known name of the folder of deleted items.
const deletedItems = "deleteditems"

// Settle implements [sources.Source], with one request for each message. A
// message is found by its immutable id, wherever in the mailbox somebody has
// moved it. A key that is no id is that of no message here, and is settled. A
// deletion is a move to the deleted items, as a second DELETE would remove what the
// first has moved there.
func (s *Source) Settle(ctx context.Context, folder sources.Folder, keys []string, action sources.Action, done func(key string, err error)) error {
	t := &settlement{source: s, action: action, done: done, doing: fmt.Sprintf("%s in folder %q", action.Verb, folder.Path)}
	ctx, unbind, err := s.bind(ctx, t.doing)
	if err != nil {
		return err
	}
	defer unbind()
	if err := t.prepare(ctx); err != nil {
		return err
	}
	return s.explain(t.doing, together(ctx, len(keys), func(i int) error { return t.one(ctx, keys[i]) }))
}

// settlement is one call of Settle.
type settlement struct {
	source *Source
	action sources.Action
	doing  string
	// apply does it to one message.
	apply func(ctx context.Context, key string) error
	// checked is that the target is known to be there.
	checked sync.Once
	missing error

	mu   sync.Mutex
	done func(string, error)
}

// prepare finds out how the action is done.
func (t *settlement) prepare(ctx context.Context) error {
	s := t.source
	switch t.action.Verb {
	case sources.Keep, "":
	case sources.MarkRead:
		t.apply = s.box.MarkRead
	case sources.Delete:
		t.apply = func(ctx context.Context, key string) error { return s.box.Move(ctx, key, deletedItems) }
		if t.action.Permanent {
			if !s.client.Cloud().PermanentDelete {
				return s.cannotDelete(t.doing)
			}
			t.apply = s.box.DeleteForGood
		}
	case sources.Move:
		id, err := s.target(ctx, t.action.Target)
		if err != nil {
			return t.explain(fmt.Errorf("find or make folder %q: %w", t.action.Target, err))
		}
		t.apply = func(ctx context.Context, key string) error { return s.box.Move(ctx, key, id) }
	default:
		return s.failure(sources.Permanent, t.doing, fmt.Errorf("no disposition is named %q", t.action.Verb))
	}
	return nil
}

// cannotDelete is the error of permanent: true where there is no such thing.
func (s *Source) cannotDelete(doing string) error {
	return s.failure(sources.Permanent, doing, errors.New("in this cloud Graph cannot delete for good")).
		WithRemedy("leave out permanent: true; messages are moved to the deleted items then")
}

// one settles a message. An error ends the whole call.
func (t *settlement) one(ctx context.Context, key string) error {
	s := t.source
	// A key of another server is no message of this one: the source was moved here
	// with that message in quarantine.
	if !validKey(key) || t.apply == nil {
		t.tell(key, nil)
		return nil
	}
	err := t.apply(ctx, key)
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return s.explain(t.doing, context.Cause(ctx))
	case graph.ItemGone(err), badID(err), t.action.Verb == sources.Move && graph.NotFound(err):
		// It is the message that is gone, or no message of this server, or the folder
		// that it was to move to.
		if err := t.verifyTarget(ctx); err != nil {
			return err
		}
		if !graph.ItemGone(err) && !badID(err) {
			t.tell(key, t.explain(fmt.Errorf("message %s: %w", key, err)))
			return nil
		}
	default:
		err = t.explain(fmt.Errorf("message %s: %w", key, err))
		switch sources.ClassOf(err) {
		case sources.Throttled, sources.SignIn, sources.Permission:
			return err
		}
		t.tell(key, err)
		return nil
	}
	t.tell(key, nil)
	return nil
}

// verifyTarget returns an error if the folder that messages are moved to is no
// longer there.
func (t *settlement) verifyTarget(ctx context.Context) error {
	if t.action.Verb != sources.Move {
		return nil
	}
	s := t.source
	t.checked.Do(func() {
		id, err := s.target(ctx, t.action.Target)
		if err == nil {
			_, err = s.box.Folder(ctx, id)
		}
		if graph.NotFound(err) || badID(err) {
			s.folders.forget()
			t.missing = s.failure(sources.Temporary, t.doing, fmt.Errorf("folder %q has been deleted meanwhile; it is made again: %w", t.action.Target, err))
			return
		}
		t.missing = t.explain(err)
	})
	return t.missing
}

// explain is that of the source; what is denied is the right to change.
func (t *settlement) explain(err error) error {
	if err = t.source.explain(t.doing, err); sources.ClassOf(err) != sources.Permission {
		return err
	}
	var classed *sources.Error
	if errors.As(err, &classed) {
		classed.Remedy = t.source.denied("change") + "; or use after_filing: keep"
	}
	return err
}

// tell calls done, one at a time.
func (t *settlement) tell(key string, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.done(key, err)
}
