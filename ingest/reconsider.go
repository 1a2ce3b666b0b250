package ingest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"time"

	"go.uber.org/zap"

	"postroom/ingest/document"
	"postroom/ingest/ledger"
	"postroom/ingest/quarantine"
	"postroom/sources"
)

// trial is what decides what becomes of a message: the rules of its source and
// the program. A message in quarantine is tried once under each.
type trial struct{ rules, version string }

func (m *mailbox) trial() trial { return trial{rulesKey(m.Rules), m.e.Version} }

// rulesKey identifies all of the rules, as printable text.
func rulesKey(r document.Rules) string {
	only := r.Only.Key()
	r.Only = document.Filter{}
	b, err := json.Marshal(r)
	if err != nil {
		panic(err) // of texts, flags and expressions
	}
	sum := sha256.Sum256(append(b, only...))
	return hex.EncodeToString(sum[:8])
}

// matters reports whether a message of which there is that record might be filed
// now.
func (now trial) matters(e ledger.Entry, r quarantine.Record) bool {
	if r.Version != now.version {
		return true
	}
	// The rules are nothing to what was not had, or was not read.
	return r.Rules != now.rules && e.SHA256 != [32]byte{} && !poisonous(e)
}

const causeDied = "the process died %d times with this message in hand; it was not read"

// poisonous reports whether a message in quarantine seems to have killed the
// process.
func poisonous(e ledger.Entry) bool {
	var n int
	_, err := fmt.Sscanf(e.Cause, causeDied, &n)
	return err == nil
}

// reconsider tries messages in quarantine again after a change that matters to
// them: of the source's rules, or of the program. It does so once, when the first
// poll has reached the server; another configuration has another engine.
func (m *mailbox) reconsider(ctx context.Context, src sources.Source) error {
	if m.reconsidered {
		return nil
	}
	now := m.trial()
	folders := make(map[sources.Folder][]string) // keys
	for e, err := range m.e.Ledger.Entries(ctx, ledger.Query{Source: m.Name, States: []ledger.State{ledger.Quarantined, ledger.Parked}}) {
		if err != nil {
			return local("read ledger", err)
		}
		r, err := m.e.Quarantine.Record(e.QuarantineID())
		switch {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, quarantine.ErrDamaged):
			continue // that is for a person
		case err != nil:
			return local("look into quarantine", err)
		}
		if now.matters(e, r) {
			f := sources.Folder{ID: e.Folder, Path: e.FolderPath}
			folders[f] = append(folders[f], e.Key)
		}
	}
	var errs []error
	for f, keys := range folders {
		m.log.Info("messages in quarantine are tried again: the rules of the source, or postroom, have changed",
			zap.String("folder", f.Path), zap.Int("messages", len(keys)))
		errs = append(errs, m.inFolder(ctx, src, f, func(p *poll) error {
			p.automatic = true
			for some := range slices.Chunk(keys, chunk) {
				if err := p.reconsider(some, now); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	err := joinErrors(errs)
	m.reconsidered = err == nil
	return err
}

// reconsider puts messages back from quarantine and files them.
func (p *poll) reconsider(keys []string, now trial) error {
	var together, alone []ledger.Entry
	for _, key := range keys {
		e, err := p.e.Ledger.Entry(p.work, p.Name, p.folder.ID, key)
		if err != nil {
			return local("read ledger", err)
		}
		if e.State != ledger.Quarantined && e.State != ledger.Parked {
			continue // a person was faster
		}
		dies := poisonous(e)
		e.State, e.Cause = ledger.Begun, underWay
		e.Attempts++
		if dies {
			e.Cause = fmt.Sprintf(underWayAlone, maxAlone)
			alone = append(alone, e)
		} else {
			together = append(together, e)
		}
	}
	if err := p.putBack(together, now); err != nil {
		return err
	}
	for _, e := range alone {
		if err := p.putBack([]ledger.Entry{e}, now); err != nil {
			return err
		}
	}
	return p.ctx.Err()
}

// putBack files messages from quarantine. That they were tried is noted with
// their records after the ledger knows that they are, and before it is done: a
// crash in between neither forgets them nor tries them for ever.
func (p *poll) putBack(entries []ledger.Entry, now trial) error {
	if err := p.advance(entries...); err != nil {
		return err
	}
	for _, e := range entries {
		r, err := p.e.Quarantine.Record(e.QuarantineID())
		if err == nil {
			r.Rules, r.Version = now.rules, now.version
			err = p.e.Quarantine.Keep(r, nil)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, quarantine.ErrDamaged) {
			return local("look into quarantine", err)
		}
	}
	return p.handle(entries, true)
}

// What may be in quarantine at most before somebody is to look at the rules: that
// many fit no single message. Nothing is held up by it, as that would hold up the
// good messages too.
const (
	QuarantineMessages       = 1_000
	QuarantineBytes    int64 = 1_000_000_000
)

// Waiting is what is in quarantine.
type Waiting struct {
	Messages int
	Bytes    int64
	Oldest   time.Time // when it was last tried; zero: none
}

// TooMany reports whether so much waits that something is wrong with more than
// single messages.
func (w Waiting) TooMany() bool { return w.Messages > QuarantineMessages || w.Bytes > QuarantineBytes }

// InQuarantine returns what waits for a person, of all sources if source is
// empty.
func InQuarantine(ctx context.Context, l ledger.Reader, source string) (w Waiting, err error) {
	for e, err := range l.Entries(ctx, ledger.Query{Source: source, States: []ledger.State{ledger.Quarantined, ledger.Parked}}) {
		if err != nil {
			return w, err
		}
		if w.Messages++; w.Messages == 1 || e.Updated.Before(w.Oldest) {
			w.Oldest = e.Updated
		}
		if e.SHA256 != [32]byte{} {
			w.Bytes += e.Size
		}
	}
	return w, nil
}

// remindEvery is how often the log says that messages wait for a person, while
// their number stays the same and is not too large.
const remindEvery = 24 * time.Hour

// reminder says in the log that messages wait in quarantine.
type reminder struct {
	said Waiting
	at   time.Time
}

func (r *reminder) remind(ctx context.Context, e *Engine) error {
	bySource := make(map[string]int)
	w, err := InQuarantine(ctx, e.Ledger, "")
	if err != nil {
		return err
	}
	same := w.Messages <= r.said.Messages && time.Since(r.at) < remindEvery
	if w.Messages == 0 || same && !w.TooMany() {
		r.said.Messages = min(r.said.Messages, w.Messages)
		return nil
	}
	for _, m := range e.mailboxes {
		n, err := e.Ledger.Count(ctx, m.Name)
		if err != nil {
			return err
		}
		if waiting := n[ledger.Quarantined] + n[ledger.Parked]; waiting > 0 {
			bySource[m.Name] = waiting
		}
	}
	fields := []zap.Field{zap.Int("messages", w.Messages), zap.Int64("bytes", w.Bytes), zap.Time("oldest", w.Oldest)}
	for _, name := range slices.Sorted(maps.Keys(bySource)) {
		fields = append(fields, zap.Int("source "+name, bySource[name]))
	}
	if w.TooMany() {
		e.Log.Error("too many messages are in quarantine", append(fields, zap.String("remedy",
			"look at the reasons (postroom quarantine list): a rule may be wrong for most messages of a source; once it is changed they are tried again by themselves"))...)
	} else {
		e.Log.Error("messages in quarantine wait for a person", append(fields, zap.String("remedy", "postroom quarantine list"))...)
	}
	r.said, r.at = w, time.Now()
	return nil
}
