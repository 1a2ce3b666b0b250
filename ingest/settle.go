package ingest

import (
	"fmt"
	"time"

	"go.uber.org/zap"

	"postroom/ingest/ledger"
	"postroom/sources"
)

// action returns what is to be done on the server with a message that is filed
// or in quarantine.
func (p *poll) action(e ledger.Entry) sources.Action {
	switch {
	case e.State == ledger.Quarantined:
		if p.FailedFolder == "" {
			return sources.Action{Verb: sources.Keep}
		}
		return sources.Action{Verb: sources.Move, Target: p.FailedFolder}
	case e.Duplicate && !e.Exact && p.After.Verb == sources.Delete:
		// Recognised by other than identical bytes: never deleted.
		return sources.Action{Verb: sources.Keep}
	}
	return p.After
}

// settle does on the server what is owed there, and records it.
func (b *batch) settle() error {
	actions := make(map[sources.Action][]ledger.Entry)
	for _, e := range b.owed {
		a := b.action(e)
		actions[a] = append(actions[a], e)
	}
	b.owed = nil
	var first error
	for a, entries := range actions {
		if err := b.apply(a, entries); err != nil && first == nil {
			first = err
		}
	}
	return first
}

// apply does one action to entries that are owed it.
func (b *batch) apply(a sources.Action, entries []ledger.Entry) error {
	if a.Verb == sources.Keep {
		return b.settled(entries)
	}
	byKey := make(map[string]ledger.Entry, len(entries))
	keys := make([]string, len(entries))
	for i, e := range entries {
		keys[i] = e.Key
		byKey[e.Key] = e
	}
	var done, failed []ledger.Entry
	var cause error
	err := b.src.Settle(b.work, b.folder, keys, a, func(key string, err error) {
		e, ok := byKey[key]
		if !ok {
			return
		}
		delete(byKey, key)
		if err == nil {
			done = append(done, e)
			return
		}
		cause = err
		e.Cause = fmt.Sprintf("%s on the server: %v", a.Verb, err)
		failed = append(failed, e)
	})
	if err != nil {
		// Not confirmed: they are asked for again with the next poll.
		for _, e := range byKey {
			e.Cause = fmt.Sprintf("%s on the server: %v", a.Verb, err)
			failed = append(failed, e)
		}
		cause = err
	}
	for i := range failed {
		failed[i].Attempts++
		failed[i].RetryAt = time.Now().Add(messageBackOff(failed[i].Attempts))
		b.stats.dueAt(failed[i].RetryAt)
	}
	if err := b.advance(failed...); err != nil {
		return err
	}
	if err := b.settled(done); err != nil {
		return err
	}
	if len(failed) > 0 {
		b.log.Warn("disposition failed, it will be tried again", zap.String("action", string(a.Verb)),
			zap.Int("messages", len(failed)), zap.Error(cause))
		return fmt.Errorf("%s messages on the server: %w", a.Verb, cause)
	}
	return nil
}

// settled records that nothing more is owed for the entries.
func (b *batch) settled(entries []ledger.Entry) error {
	for i := range entries {
		e := &entries[i]
		switch e.State {
		case ledger.Filed:
			e.State, e.Cause = ledger.Settled, ""
		case ledger.Quarantined:
			e.State = ledger.Parked
		}
		e.RetryAt = time.Time{}
	}
	return b.advance(entries...)
}
