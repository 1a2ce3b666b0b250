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
		if p.FailedFolder == "" || e.SHA256 == [32]byte{} {
			// What could not be had is nowhere but on its server.
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
func (p *poll) settle() error {
	actions := make(map[sources.Action][]ledger.Entry)
	for _, e := range p.unsettled {
		a := p.action(e)
		actions[a] = append(actions[a], e)
	}
	p.unsettled = nil
	var first error
	for a, entries := range actions {
		if err := p.apply(a, entries); err != nil && first == nil {
			first = err
		}
	}
	return first
}

// apply does one action to entries that are owed it.
func (p *poll) apply(a sources.Action, entries []ledger.Entry) error {
	if a.Verb == sources.Keep {
		return p.settled(entries)
	}
	byKey := make(map[string]ledger.Entry, len(entries))
	keys := make([]string, len(entries))
	for i, e := range entries {
		keys[i] = e.Key
		byKey[e.Key] = e
	}
	var done, failed []ledger.Entry
	var cause error
	fail := func(e ledger.Entry, err error) {
		cause = err
		p.next(&e, err)
		if e.State == ledger.Filed {
			e.Cause = fmt.Sprintf("%s on the server: %v", a.Verb, err)
		}
		failed = append(failed, e)
	}
	err := p.src.Settle(p.work, p.folder, keys, a, func(key string, err error) {
		e, ok := byKey[key]
		delete(byKey, key)
		switch {
		case !ok:
		case err == nil:
			done = append(done, e)
		default:
			fail(e, err)
		}
	})
	if err != nil {
		// As far as is known they are not settled.
		for _, e := range byKey {
			fail(e, err)
		}
	}
	if err := p.advance(failed...); err != nil {
		return err
	}
	if err := p.settled(done); err != nil {
		return err
	}
	if len(failed) == 0 {
		return nil
	}
	p.log.Warn("disposition failed, it will be tried again", zap.String("action", string(a.Verb)),
		zap.Int("messages", len(failed)), zap.Error(cause), remedyField(cause))
	cause = fmt.Errorf("%s messages on the server: %w", a.Verb, cause)
	switch sources.ClassOf(err) {
	case sources.Throttled, sources.SignIn:
		if err != nil {
			return cause
		}
	}
	// It holds up nothing new: should the server be in trouble, that shows.
	p.disposing = cause
	return nil
}

// settled records that nothing more is owed for the entries.
func (p *poll) settled(entries []ledger.Entry) error {
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
	return p.advance(entries...)
}
