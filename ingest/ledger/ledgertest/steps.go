package ledgertest

import (
	"time"

	"postroom/ingest/ledger"
)

var states = []ledger.State{
	ledger.Begun, ledger.Prepared, ledger.Filed, ledger.Settled,
	ledger.Quarantined, ledger.Parked, ledger.Discarded, ledger.Vanished,
}

// steps is the picture of the package comment, for entries that are no
// duplicates. A step to prepared is taken by Prepare.
var steps = map[ledger.State][]ledger.State{
	ledger.Begun:       {ledger.Begun, ledger.Quarantined, ledger.Vanished, ledger.Discarded},
	ledger.Prepared:    {ledger.Prepared, ledger.Begun, ledger.Filed, ledger.Quarantined, ledger.Vanished, ledger.Discarded},
	ledger.Filed:       {ledger.Filed, ledger.Settled},
	ledger.Quarantined: {ledger.Quarantined, ledger.Begun, ledger.Parked, ledger.Discarded},
	ledger.Parked:      {ledger.Begun, ledger.Discarded},
}

var stepTests = []test{
	{"every step is allowed or refused", func(f *fixture) {
		l := f.lease("s", "inbox")
		for _, from := range states {
			for _, to := range append(states, "", "unknown") {
				e := f.at(l, string(from+"-"+to), from)
				changed := e
				changed.State, changed.Cause, changed.Attempts = to, "cause", e.Attempts+1
				changed.Filed = epoch
				allowed := false
				for _, s := range steps[from] {
					allowed = allowed || s == to
				}
				if !allowed {
					f.refused(l.Advance(f.Context(), changed), ledger.ErrTransition)
					f.unchanged(e)
					continue
				}
				since := time.Now()
				f.ok(l.Advance(f.Context(), changed))
				f.recorded(changed, since)
			}
		}
	}},
	{"prepare is allowed from begun and prepared only", func(f *fixture) {
		l := f.lease("s", "inbox")
		for _, from := range states {
			e := f.at(l, string(from), from)
			changed := e
			changed.DocumentID, changed.State = "new-"+e.Key, "whatever"
			if from != ledger.Begun && from != ledger.Prepared {
				_, err := l.Prepare(f.Context(), changed)
				f.refused(err, ledger.ErrTransition)
				f.unchanged(e)
				continue
			}
			since := time.Now()
			f.prepare(l, changed)
			changed.State = ledger.Prepared
			f.recorded(changed, since)
		}
	}},
	{"refusal leaves the whole batch", func(f *fixture) {
		l := f.lease("s", "inbox")
		a, b, c := f.at(l, "a", ledger.Prepared), f.at(l, "b", ledger.Settled), f.at(l, "c", ledger.Begun)
		count, err := f.l.Count(f.Context(), "")
		f.ok(err)
		filed, stays, gone := a, b, c
		filed.State, gone.State = ledger.Filed, ledger.Vanished
		for _, batch := range [][]ledger.Entry{{filed, stays, gone}, {filed, gone, stays}, {stays, filed, gone}, {gone, filed, filed, stays}} {
			f.refused(l.Advance(f.Context(), batch...), ledger.ErrTransition)
			f.unchanged(a)
			f.unchanged(b)
			f.unchanged(c)
			_, err := f.l.Document(f.Context(), a.DocumentID)
			f.refused(err, ledger.ErrNotFound)
			f.wantCount("", count)
		}
		unknown := c
		unknown.Key = "unknown"
		f.refused(l.Advance(f.Context(), filed, gone, unknown), ledger.ErrNotFound)
		f.unchanged(a)
		f.unchanged(c)
		d := f.begin(l, "d")[0]
		d.DocumentID = a.DocumentID
		_, err = l.Prepare(f.Context(), d)
		f.refused(err, ledger.ErrClaimed)
		f.ok(l.Advance(f.Context(), filed, gone))
	}},
	{"batch is recorded in order", func(f *fixture) {
		l := f.lease("s", "inbox")
		a := f.at(l, "a", ledger.Prepared)
		b := f.at(l, "b", ledger.Begun)
		filed, settled := a, a
		filed.State, settled.State = ledger.Filed, ledger.Settled
		b.State, b.DocumentID, b.Duplicate = ledger.Filed, a.DocumentID, true
		f.refused(l.Advance(f.Context(), b, filed, settled), ledger.ErrNotFound)
		f.ok(l.Advance(f.Context(), filed, b, settled))
		if got := f.entry(a).State; got != ledger.Settled {
			f.Fatalf("state is %s", got)
		}
		f.ok(l.Advance(f.Context()))
	}},
	{"entry of another folder is not found", func(f *fixture) {
		l, other := f.lease("s", "inbox"), f.lease("s", "other")
		e := f.at(other, "1", ledger.Prepared)
		same := f.begin(l, "1")[0]
		for _, at := range [][2]string{{"s", "other"}, {"t", "inbox"}, {"t", "other"}} {
			wrong := e
			wrong.Source, wrong.Folder, wrong.DocumentID = at[0], at[1], "new"
			_, err := l.Prepare(f.Context(), wrong)
			f.refused(err, ledger.ErrNotFound)
			wrong.State = ledger.Vanished
			f.refused(l.Advance(f.Context(), wrong), ledger.ErrNotFound)
		}
		f.unchanged(e)
		f.unchanged(same)
	}},
	{"filed time is that given or the present", func(f *fixture) {
		l := f.lease("s", "inbox")
		e := f.at(l, "given", ledger.Prepared)
		e.Filed = epoch
		f.advance(l, e, ledger.Filed)
		e.Filed = time.Time{}
		f.advance(l, e, ledger.Settled)
		if got := f.entry(e).Filed; got != epoch {
			f.Fatalf("filed %v, want %v", got, epoch)
		}
		since := time.Now().Truncate(time.Microsecond)
		e = f.at(l, "present", ledger.Settled)
		d, err := f.l.Document(f.Context(), e.DocumentID)
		f.ok(err)
		if e.Filed.Before(since) || e.Filed.After(time.Now()) || d.Filed != e.Filed {
			f.Fatalf("entry filed %v, document %v, begun at %v", e.Filed, d.Filed, since)
		}
	}},
	{"states and documents outlive the ledger", func(f *fixture) {
		l := f.lease("s", "inbox")
		var entries []ledger.Entry
		for _, s := range states {
			entries = append(entries, f.at(l, string(s), s))
		}
		f.ok(l.Release(f.Context()))
		f.reopen()
		for _, e := range entries {
			f.unchanged(e)
			_, err := f.l.Document(f.Context(), "doc-"+e.Key)
			if e.State == ledger.Filed || e.State == ledger.Settled {
				f.ok(err)
			} else {
				f.refused(err, ledger.ErrNotFound)
			}
		}
		l = f.lease("s", "inbox")
		e := f.begin(l, "claimant")[0]
		e.DocumentID = "doc-prepared"
		_, err := l.Prepare(f.Context(), e)
		f.refused(err, ledger.ErrClaimed)
	}},
}
