package pop3

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"postroom/sources"
)

// Settle implements [sources.Source]. POP3 can delete, and nothing else. A deletion
// counts once the server has confirmed the end of the session, or a later session
// no longer shows the message.
func (s *Source) Settle(ctx context.Context, _ sources.Folder, keys []string, action sources.Action, done func(key string, err error)) error {
	doing := string(action.Verb) + " messages"
	ctx, leave, err := s.begin(ctx, doing)
	if err != nil {
		return err
	}
	defer leave()
	switch action.Verb {
	case sources.Keep:
		for _, key := range keys {
			done(key, nil)
		}
		return nil
	case sources.Delete:
	default:
		return s.error(sources.Permanent, doing, fmt.Errorf("POP3 cannot %s", action.Verb)).
			WithRemedy("use after_filing: keep or delete, or another type of source")
	}
	var asked []string
	seen := make(map[string]bool)
	for _, key := range keys {
		if !seen[key] {
			seen[key] = true
			asked = append(asked, key)
		}
	}
	if len(asked) == 0 {
		return nil
	}
	left, err := s.remove(ctx, asked, false, done)
	if broken(err) && ctx.Err() == nil {
		// The session may have ended while nobody used it, or its last answer was
		// lost; either way a new one tells.
		left, err = s.remove(ctx, left, true, done)
	}
	var failed *unfinished
	if !errors.As(err, &failed) {
		return err
	}
	held, err := s.session(ctx, true)
	if err != nil {
		return err
	}
	defer func() { s.keep(held) }()
	if err := held.load(ctx); err != nil {
		return err
	}
	for _, key := range left {
		if _, there := held.drop.find(key); there {
			done(key, failed.about(key))
		} else {
			done(key, nil)
		}
	}
	return nil
}

// unfinished is a session in which the server did not delete everything, or nothing,
// or did not have to.
type unfinished struct {
	end     error            // its answer to QUIT
	refused map[string]error // its answers to DELE, by key
}

func (e *unfinished) Error() string { return "the server did not delete everything" }

func (e *unfinished) about(key string) error { return cmp.Or(e.refused[key], e.end) }

// remove deletes messages, and ends the session. It returns the keys for which done
// was not called.
func (s *Source) remove(ctx context.Context, keys []string, fresh bool, done func(string, error)) (left []string, err error) {
	held, err := s.session(ctx, fresh)
	if err != nil {
		return keys, err
	}
	// Without QUIT nothing is deleted.
	defer held.abort()
	if err := held.load(ctx); err != nil {
		return keys, err
	}
	var there []entry
	for _, key := range keys {
		if e, ok := held.drop.find(key); ok {
			there = append(there, e)
			left = append(left, key)
		} else {
			done(key, nil)
		}
	}
	refused := make(map[string]error)
	err = held.run(ctx, deleting, func() error {
		line := &pipeline{
			c: held.client, n: len(there), alone: !held.caps.pipelining,
			command: func(i int) string { return fmt.Sprintf("DELE %d", there[i].number) },
		}
		for i, e := range there {
			if err := line.turn(i); err != nil {
				return err
			}
			_, err := held.status()
			var said *refusal
			if errors.As(err, &said) {
				refused[e.key] = s.explain(deleting, said)
			} else if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return left, err
	}
	err = held.quit(ctx, deleteTime)
	var said *refusal
	if errors.As(err, &said) {
		// Some of them are deleted, or none (RFC 1939 6).
		end := s.error(sources.Temporary, deleting, said).
			WithRemedy("the server did not delete all that it was told to: it is tried again; if it lasts, ask its administrator")
		return left, &unfinished{end, refused}
	} else if err != nil {
		return left, err
	}
	left = nil
	for _, e := range there {
		if refused[e.key] != nil {
			left = append(left, e.key)
			continue
		}
		s.forget(e)
		done(e.key, nil)
	}
	if len(left) > 0 {
		return left, &unfinished{nil, refused}
	}
	return nil, nil
}

const deleting = "delete messages"

// forget notes that a message was deleted: when its id turns up again it may be that
// of another.
func (s *Source) forget(e entry) {
	if e.id == "" {
		return
	}
	if len(s.removed) >= maxRemoved {
		for own := range s.removed {
			delete(s.removed, own)
			break
		}
	}
	s.removed[e.own] = ""
}
