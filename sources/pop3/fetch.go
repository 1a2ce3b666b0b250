package pop3

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.uber.org/zap"

	"postroom/sources"
)

const (
	// maxReconnects bounds the sessions that one Fetch spends on messages over which
	// the connection ends.
	maxReconnects = 16
	// maxStreak is how many messages may in a row end the connection, each asked for
	// alone, before the server is to blame for it.
	maxStreak = 4
)

// wanted is a message to fetch, with its place in the session.
type wanted struct {
	sources.Ref
	entry
}

// Fetch implements [sources.Source]. Messages are asked for in the order of their
// numbers, several at a time where the server takes commands together.
func (s *Source) Fetch(ctx context.Context, _ sources.Folder, refs []sources.Ref, deliver func(sources.Ref, *sources.Message) error) error {
	ctx, done, err := s.begin(ctx, fetching)
	if err != nil {
		return err
	}
	defer done()
	f := &fetch{source: s, deliver: deliver, strikes: make(map[string]int)}
	asked := make(map[string]bool)
	for _, ref := range refs {
		if !asked[ref.Key] {
			asked[ref.Key] = true
			f.left = append(f.left, ref)
		}
	}
	return bare(f.run(ctx))
}

const fetching = "fetch messages"

// fetch is one call of Fetch.
type fetch struct {
	source  *Source
	deliver func(sources.Ref, *sources.Message) error

	// left are the messages for which the server has not answered.
	left []sources.Ref
	// refused are those that it would not hand over, with what it said.
	refused []verdict
	// strikes counts how often the connection ended over a message that was asked
	// for alone.
	strikes map[string]int
	// suspects are those over which it ended twice, and streak is how many became so
	// since a message was last handed over.
	suspects []verdict
	streak   int

	// single is that messages are asked for one at a time, and alone that they were in
	// the last session.
	single, alone bool
	// innocent is that the connection ended within a message that was handed over.
	innocent   bool
	sound      bool // a message has been handed over
	reconnects int
}

// verdict is an error of one message.
type verdict struct {
	sources.Ref
	err error
}

func (f *fetch) run(ctx context.Context) error {
	fresh := false
	for len(f.left) > 0 {
		held, err := f.source.session(ctx, fresh)
		if err != nil {
			return err
		}
		reused := held.reused
		if err = held.load(ctx); err == nil {
			err = f.take(ctx, held)
		}
		f.source.keep(held)
		switch {
		case err == nil:
			continue
		case errors.Is(err, errUnread):
			fresh = true
			continue
		case ctx.Err() != nil || !broken(err):
			return err
		case reused && !fresh:
			// It may have ended while nobody used it.
		case f.innocent:
			// What ended it has been handed over; who read it knows.
			f.innocent = false
		default:
			if f.reconnects++; f.reconnects > maxReconnects {
				return err
			}
			if err := f.accuse(err); err != nil {
				return err
			}
		}
		f.source.log.Debug("fetching goes on in a new session", zap.Error(err))
		fresh = true
	}
	if err := f.judge(ctx); err != nil {
		return err
	}
	return f.convict(ctx)
}

// accuse counts the end of the connection against the message that was under way.
// One that was not alone is not to blame: messages are asked for one at a time from
// then on.
func (f *fetch) accuse(err error) error {
	if len(f.left) == 0 {
		return nil
	}
	head := f.left[0]
	f.single = true
	if !f.alone {
		return nil
	}
	if f.strikes[head.Key]++; f.strikes[head.Key] < 2 {
		return nil
	}
	f.left = f.left[1:]
	f.suspects = append(f.suspects, verdict{head, err})
	if f.streak++; f.streak > maxStreak {
		return err
	}
	return nil
}

// take fetches what is left on the session.
func (f *fetch) take(ctx context.Context, held *session) error {
	var all []wanted
	for _, ref := range f.left {
		e, ok := held.drop.find(ref.Key)
		if !ok {
			if err := f.gone(ref); err != nil {
				return err
			}
			continue
		}
		all = append(all, wanted{ref, e})
	}
	slices.SortFunc(all, func(a, b wanted) int { return cmp.Compare(a.number, b.number) })
	f.left = f.left[:0]
	for _, w := range all {
		f.left = append(f.left, w.Ref)
	}
	if len(all) == 0 {
		return nil
	}
	f.alone = f.single || !held.caps.pipelining
	return held.follow(ctx, fetching, func() error { return f.pump(held, all) })
}

func (f *fetch) gone(ref sources.Ref) error {
	err := f.source.error(sources.Gone, fetching, errors.New("the message is no longer in the maildrop"))
	return f.hand(ref, &sources.Message{Err: err})
}

// hand hands a message over.
func (f *fetch) hand(ref sources.Ref, m *sources.Message) error {
	if err := f.deliver(ref, m); err != nil {
		return &callerError{err}
	}
	return nil
}

// pump asks for the messages, several at a time unless f.alone is set, and hands
// over what comes. What is left is kept up to date.
//
// With several commands under way each RETR is followed by a question for the id of
// the same number: an answer in its place shows that the message has ended where it
// seemed to, and that the number still means the same message. With one at a time,
// that would be a round trip; it is asked where the size is not as announced.
func (f *fetch) pump(held *session, all []wanted) error {
	together := !f.alone
	line := &pipeline{
		c: held.client, n: len(all), alone: f.alone,
		command: func(i int) string {
			command := fmt.Sprintf("RETR %d", all[i].number)
			if together {
				command += "\r\n" + held.question(all[i].entry)
			}
			return command
		},
		size: func(i int) int64 { return all[i].size },
	}
	for i, w := range all {
		if err := line.turn(i); err != nil {
			return err
		}
		_, err := held.status()
		var refused *refusal
		if errors.As(err, &refused) {
			f.refused = append(f.refused, verdict{w.Ref, refused})
			f.left = f.left[1:]
			if together {
				if _, err := held.status(); err != nil && !errors.As(err, &refused) {
					return err
				}
			}
			continue
		} else if err != nil {
			return err
		}
		if err := f.transfer(held, w, together); err != nil {
			return err
		}
	}
	return nil
}

// transfer hands over the message whose octets come next.
func (f *fetch) transfer(held *session, w wanted, asked bool) error {
	answer := &body{
		c: held.client,
		next: func(octets int64) (bool, error) {
			if asked || octets == w.size && held.r.Buffered() <= len(".\r\n") {
				return asked, nil
			}
			asked = true
			return true, held.send(held.question(w.entry))
		},
		done: func() error {
			if !asked {
				return nil
			}
			return held.answerFits(w.entry)
		},
		explain: func(err error) error { return f.source.explain(fetching, err) },
	}
	err := f.hand(w.Ref, &sources.Message{Size: -1, Wire: sources.Original, Body: answer})
	if err != nil {
		// More of it, and of others, may be on the way.
		held.unusable = true
		held.abort()
		return err
	}
	f.left = f.left[1:]
	f.sound, f.streak = true, 0
	if err := answer.finish(); err != nil {
		held.unusable, f.innocent = true, true
		return err
	}
	return nil
}

// question returns the command whose answer shows that the session is in step.
func (c *session) question(e entry) string {
	if c.drop.hasIDs && e.id != "" {
		return fmt.Sprintf("UIDL %d", e.number)
	}
	return "NOOP"
}

// answerFits reads the answer to question after a message.
func (c *session) answerFits(e entry) error {
	text, err := c.status()
	var refused *refusal
	switch {
	case errors.As(err, &refused):
		// The message has been removed since: all of it is here.
		return nil
	case err != nil:
		return err
	case !c.drop.hasIDs || e.id == "":
		return nil
	}
	fields := strings.SplitN(strings.TrimSpace(text), " ", 2)
	if len(fields) != 2 || strings.TrimSpace(fields[1]) != e.id {
		return &protocolError{fmt.Errorf("number %d has become that of another message during the session", e.number)}
	}
	return nil
}

// judge finds out in a new session what has become of the messages that the server
// refused to hand over: those that are no longer there have been removed.
func (f *fetch) judge(ctx context.Context) error {
	if len(f.refused) == 0 {
		return nil
	}
	held, err := f.source.session(ctx, true)
	if err != nil {
		return err
	}
	defer func() { f.source.keep(held) }()
	if err := held.load(ctx); err != nil {
		return err
	}
	var there []verdict
	for _, v := range f.refused {
		if _, ok := held.drop.find(v.Key); ok {
			there = append(there, v)
			continue
		}
		if err := f.gone(v.Ref); err != nil {
			return err
		}
	}
	if !f.sound && len(there) > 1 {
		// None of several: the trouble is the server's, unless it says otherwise.
		if err := f.source.explain(fetching, there[0].err); sources.ClassOf(err) != sources.Permanent {
			return err
		}
	}
	for _, v := range there {
		if err := f.hand(v.Ref, &sources.Message{Err: f.source.explain("fetch message", v.err)}); err != nil {
			return err
		}
	}
	f.sound = true
	return nil
}

// convict hands over the messages that end the connection, if others arrive or, of
// one alone, the server can be reached.
func (f *fetch) convict(ctx context.Context) error {
	if len(f.suspects) == 0 {
		return nil
	}
	if !f.sound {
		if len(f.suspects) > 1 {
			return f.suspects[0].err
		}
		held, err := f.source.session(ctx, true)
		if err != nil {
			return err
		}
		f.source.keep(held)
	}
	for _, v := range f.suspects {
		if err := f.hand(v.Ref, &sources.Message{Err: v.err}); err != nil {
			return err
		}
	}
	return nil
}
