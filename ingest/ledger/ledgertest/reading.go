package ledgertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"postroom/ingest/ledger"
)

var likeTests = []test{
	{"documents are like by bytes, content or Message-ID", func(f *fixture) {
		l := f.lease("s", "inbox")
		file := func(l ledger.Lease, key string, sha, content byte, id string) {
			e := f.begin(l, key)[0]
			e.DocumentID, e.MessageID, e.SHA256 = "document-"+key, id, [32]byte{sha}
			e.Likeness = ledger.Likeness{Content: [32]byte{content}, Strict: [32]byte{content, 9}, Original: sha%2 == 0}
			f.prepare(l, e)
			f.advance(l, e, ledger.Filed)
		}
		file(l, "a", 1, 10, "<1>")
		file(l, "b", 2, 10, "<2>")
		file(l, "c", 3, 30, "<1>")
		file(l, "d", 4, 40, "<4>")
		file(f.lease("other", "inbox"), "o", 1, 10, "<1>")
		bare := f.begin(l, "bare")[0]
		bare.DocumentID = "document-bare"
		f.prepare(l, bare)
		f.advance(l, bare, ledger.Filed)
		held := f.begin(l, "held")[0]
		held.DocumentID, held.MessageID, held.SHA256 = "document-held", "<1>", [32]byte{1}
		f.prepare(l, held)
		for _, c := range []struct {
			sha, content byte
			id           string
			want         []string
		}{
			{1, 0, "", []string{"a"}},
			{0, 10, "", []string{"a", "b"}},
			{0, 0, "<1>", []string{"a", "c"}},
			{4, 30, "<2>", []string{"b", "c", "d"}},
			{9, 99, "<9>", nil},
			{0, 0, "", nil},
		} {
			got, err := f.l.Like(f.Context(), "s", [32]byte{c.sha}, [32]byte{c.content}, c.id)
			f.ok(err)
			var keys []string
			for _, d := range got {
				whole, err := f.l.Document(f.Context(), d.ID)
				f.ok(err)
				if whole != d {
					f.Fatalf("like\n%+v, document\n%+v", d, whole)
				}
				keys = append(keys, strings.TrimPrefix(d.ID, "document-"))
			}
			if !slices.Equal(keys, c.want) {
				f.Fatalf("like %+v: %q", c, keys)
			}
		}
		d, err := f.l.Document(f.Context(), "document-b")
		f.ok(err)
		if d.MessageID != "<2>" || d.Likeness != (ledger.Likeness{Content: [32]byte{10}, Strict: [32]byte{10, 9}, Original: true}) {
			f.Fatalf("%+v", d)
		}
	}},
	{"no more alike than MostAlike, the oldest", func(f *fixture) {
		l := f.lease("s", "inbox")
		for i := range ledger.MostAlike + 5 {
			e := f.begin(l, fmt.Sprint(i))[0]
			e.DocumentID, e.MessageID, e.Filed = fmt.Sprint(i), "<1>", epoch.Add(time.Duration(i)*time.Second)
			f.prepare(l, e)
			f.advance(l, e, ledger.Filed)
		}
		got, err := f.l.Like(f.Context(), "s", [32]byte{}, [32]byte{}, "<1>")
		f.ok(err)
		if len(got) != ledger.MostAlike || got[0].ID != "0" || got[ledger.MostAlike-1].ID != fmt.Sprint(ledger.MostAlike-1) {
			f.Fatalf("%d documents", len(got))
		}
	}},
}

var dropTests = []test{
	{"what was begun is dropped", func(f *fixture) {
		l := f.lease("s", "inbox")
		e := f.begin(l, "1", "2", "3")
		f.prepare(l, with(e[1], "d"))
		back := f.entry(e[1])
		back.State = ledger.Begun
		f.ok(l.Advance(f.Context(), back))
		f.ok(l.Drop(f.Context(), "1", "2", "never"))
		f.wantCount("s", map[ledger.State]int{ledger.Begun: 1})
		f.wantKeys(f.owed(l, time.Now(), "", 9), "3")
		if _, err := f.l.Entry(f.Context(), "s", "inbox", "1"); !errors.Is(err, ledger.ErrNotFound) {
			f.Fatalf("error is %v", err)
		}
		again := f.begin(l, "1")[0]
		if again.State != ledger.Begun || again.Attempts != 1 {
			f.Fatalf("%+v", again)
		}
		f.ok(l.Release(f.Context()))
		f.refused(l.Drop(f.Context(), "1"), ledger.ErrFenced)
		f.reopen()
		f.wantCount("s", map[ledger.State]int{ledger.Begun: 2})
	}},
	{"what came to something is not dropped", func(f *fixture) {
		l := f.lease("s", "inbox")
		f.begin(l, "new")
		for _, s := range states {
			if s == ledger.Begun {
				continue
			}
			e := f.at(l, string(s), s)
			f.refused(l.Drop(f.Context(), "new", e.Key), ledger.ErrTransition)
			f.unchanged(e)
			if _, err := f.l.Entry(f.Context(), "s", "inbox", "new"); err != nil {
				f.Fatalf("half of it was done: %v", err)
			}
		}
		retried := f.at(l, "retried", ledger.Parked)
		retried.State = ledger.Begun
		f.ok(l.Advance(f.Context(), retried))
		f.refused(l.Drop(f.Context(), "retried"), ledger.ErrTransition)
	}},
}

// with returns the entry with a document.
func with(e ledger.Entry, document string) ledger.Entry {
	e.DocumentID = document
	return e
}

var beginTests = []test{
	{"empty key is refused", func(f *fixture) {
		l := f.lease("s", "inbox")
		if _, err := l.Begin(f.Context(), []ledger.Listed{{Key: "1"}, {}}); err == nil {
			f.Fatal("begun")
		}
		f.wantCount("", map[ledger.State]int{})
	}},
	{"new messages are recorded as listed", func(f *fixture) {
		l := f.lease("s", "inbox")
		since := time.Now()
		entries, err := l.Begin(f.Context(), []ledger.Listed{
			{Key: "1", FolderPath: "In/Box", Size: 12, Received: epoch}, {Key: "2", Size: -1},
		})
		f.ok(err)
		for i, want := range []ledger.Entry{
			{Key: "1", FolderPath: "In/Box", Size: 12, Received: epoch}, {Key: "2", Size: -1},
		} {
			want.Source, want.Folder, want.State, want.Attempts = "s", "inbox", ledger.Begun, 1
			if got := f.recorded(want, since); got != entries[i] {
				f.Fatalf("begun\n%+v, recorded\n%+v", entries[i], got)
			}
		}
		entries, err = l.Begin(f.Context(), nil)
		f.ok(err)
		if len(entries) != 0 {
			f.Fatalf("begun %d entries", len(entries))
		}
	}},
	{"known messages stay as they are", func(f *fixture) {
		l := f.lease("s", "inbox")
		f.begin(f.lease("s", "other"), "new1")
		var known []ledger.Entry
		for _, s := range states {
			known = append(known, f.at(l, string(s), s))
		}
		entries, err := l.Begin(f.Context(), []ledger.Listed{
			{Key: "new2"}, {Key: "settled", Size: 99, FolderPath: "renamed"}, {Key: "new1"}, {Key: "begun", Size: 98}, {Key: "new2", Size: 3},
		})
		f.ok(err)
		f.wantKeys(entries, "new2", "settled", "new1", "begun", "new2")
		if entries[0] != entries[4] {
			f.Fatalf("listed twice: %+v and %+v", entries[0], entries[4])
		}
		for _, e := range known {
			f.unchanged(e)
			if i := slices.IndexFunc(entries, func(o ledger.Entry) bool { return o.Key == e.Key }); i >= 0 && entries[i] != e {
				f.Fatalf("returned\n%+v, recorded\n%+v", entries[i], e)
			}
		}
	}},
	{"unknown entry and document are not found", func(f *fixture) {
		f.begin(f.lease("s", "inbox"), "1")
		for _, at := range [][3]string{{"s", "inbox", "2"}, {"s", "other", "1"}, {"t", "inbox", "1"}, {"s", "inbox", ""}} {
			_, err := f.l.Entry(f.Context(), at[0], at[1], at[2])
			f.refused(err, ledger.ErrNotFound)
		}
		for _, id := range []string{"", "doc"} {
			_, err := f.l.Document(f.Context(), id)
			f.refused(err, ledger.ErrNotFound)
		}
	}},
}

var owedTests = []test{
	{"owed are those not final, by key", func(f *fixture) {
		l, other := f.lease("s", "inbox"), f.lease("s", "other")
		for i, s := range states {
			f.at(l, fmt.Sprintf("%d-%s", len(states)-i, s), s)
			f.at(other, "other-"+string(s), s)
		}
		f.at(l, "10", ledger.Begun) // before "2"
		want := []string{"10", "4-quarantined", "6-filed", "7-prepared", "8-begun"}
		f.wantKeys(f.owed(l, time.Now(), "", 100), want...)
		f.wantKeys(f.owed(l, time.Now(), "", 5), want...)
		f.wantKeys(f.owed(l, time.Now(), "", 0))
		f.wantKeys(f.owed(l, time.Now(), "", -1))
		after, paged := "", []string{}
		for {
			page := f.owed(l, time.Now(), after, 2)
			if len(page) == 0 {
				break
			}
			for _, e := range page {
				f.unchanged(e)
				after = e.Key
				paged = append(paged, e.Key)
			}
		}
		if !slices.Equal(paged, want) {
			f.Fatalf("paged %q, want %q", paged, want)
		}
		f.wantKeys(f.owed(l, time.Now(), "6", 1), "6-filed")
		f.wantKeys(f.owed(l, time.Now(), "8-begun", 1))
	}},
	{"owed waits for RetryAt", func(f *fixture) {
		l := f.lease("s", "inbox")
		f.begin(l, "c-at-once")
		f.retryAt(l, "b-later", epoch.Add(time.Second))
		f.retryAt(l, "a-now", epoch)
		f.retryAt(l, "d-microsecond", epoch.Add(time.Microsecond))
		f.wantKeys(f.owed(l, epoch.Add(-time.Microsecond), "", 9), "c-at-once")
		f.wantKeys(f.owed(l, epoch, "", 9), "a-now", "c-at-once")
		f.wantKeys(f.owed(l, epoch, "", 1), "a-now")
		f.wantKeys(f.owed(l, epoch.Add(time.Microsecond), "", 9), "a-now", "c-at-once", "d-microsecond")
		f.wantKeys(f.owed(l, epoch.Add(time.Hour), "a-now", 2), "b-later", "c-at-once")
	}},
	{"next due is the earliest RetryAt", func(f *fixture) {
		l, other := f.lease("s", "inbox"), f.lease("s", "other")
		f.wantDue(l, time.Time{})
		f.begin(l, "at-once")
		f.wantDue(l, time.Time{})
		f.retryAt(other, "other", epoch.Add(-time.Hour))
		e := f.retryAt(l, "1", epoch.Add(2*time.Second))
		f.retryAt(l, "2", epoch.Add(time.Second))
		f.wantDue(l, epoch.Add(time.Second))
		e = f.retryAt(l, "1", epoch)
		f.wantDue(l, epoch)
		e.State = ledger.Vanished
		f.ok(l.Advance(f.Context(), e))
		f.wantDue(l, epoch.Add(time.Second))
		f.retryAt(l, "2", time.Time{})
		f.wantDue(l, time.Time{})
	}},
}

func (f *fixture) owed(l ledger.Lease, now time.Time, after string, limit int) []ledger.Entry {
	f.Helper()
	entries, err := l.Owed(f.Context(), now, after, limit)
	f.ok(err)
	return entries
}

// retryAt begins the entry, unless it is known, and defers it.
func (f *fixture) retryAt(l ledger.Lease, key string, at time.Time) ledger.Entry {
	f.Helper()
	e := f.begin(l, key)[0]
	e.RetryAt, e.Cause = at, "refused"
	f.ok(l.Advance(f.Context(), e))
	return e
}

func (f *fixture) wantDue(l ledger.Lease, want time.Time) {
	f.Helper()
	got, err := l.NextDue(f.Context())
	f.ok(err)
	if got != want {
		f.Fatalf("next due %v, want %v", got, want)
	}
}

var queryTests = []test{
	{"entries are found by every field", func(f *fixture) {
		s, t := f.lease("s", "inbox"), f.lease("t", "inbox")
		var all []ledger.Entry
		for _, state := range states {
			all = append(all, f.at(s, "s-"+string(state), state))
		}
		for _, state := range states {
			all = append(all, f.at(t, "t-"+string(state), state))
		}
		retried := f.at(s, "s-retried", ledger.Parked)
		f.advance(s, retried, ledger.Begun)
		all = append(all, f.entry(retried))

		withOutcome := []ledger.State{ledger.Filed, ledger.Settled, ledger.Quarantined, ledger.Parked, ledger.Discarded}
		for _, source := range []string{"", "s", "t", "none"} {
			for _, chosen := range [][]ledger.State{
				nil, {ledger.Begun}, {ledger.Settled}, {ledger.Parked}, {ledger.Vanished}, {ledger.Filed, ledger.Settled},
				{ledger.Quarantined, ledger.Parked, ledger.Discarded}, {ledger.Prepared, ledger.Vanished}, {"unknown"}, states,
			} {
				for _, since := range []time.Time{{}, epoch, time.Now().Add(time.Hour)} {
					for _, limit := range []int{0, 1, 3, 1000} {
						q := ledger.Query{Source: source, States: chosen, Since: since, Limit: limit}
						var want []string
						for _, e := range all {
							if (source == "" || e.Source == source) && (chosen == nil || slices.Contains(chosen, e.State)) &&
								(since.IsZero() || since == epoch && slices.Contains(withOutcome, e.State)) {
								want = append(want, e.Key)
							}
						}
						if limit > 0 && len(want) > limit {
							want = want[len(want)-limit:]
						}
						f.wantKeys(f.query(q), want...)
					}
				}
			}
		}
		for i, e := range f.query(ledger.Query{}) {
			if e != all[i] {
				f.Fatalf("found\n%+v, want\n%+v", e, all[i])
			}
		}
	}},
	{"oldest change comes first", func(f *fixture) {
		l := f.lease("s", "inbox")
		entries := f.begin(l, "c", "b", "a")
		f.wantKeys(f.query(ledger.Query{}), "c", "b", "a")
		f.wantKeys(f.query(ledger.Query{Limit: 2}), "b", "a")
		f.tick()
		f.advance(l, entries[1], ledger.Vanished)
		f.wantKeys(f.query(ledger.Query{}), "c", "a", "b")
		f.tick()
		f.advance(l, entries[0], ledger.Begun)
		f.wantKeys(f.query(ledger.Query{}), "a", "b", "c")
		f.tick()
		entries[2].State, entries[0].State = ledger.Vanished, ledger.Vanished
		f.ok(l.Advance(f.Context(), entries[2], entries[0]))
		f.wantKeys(f.query(ledger.Query{}), "b", "c", "a")
		f.wantKeys(f.query(ledger.Query{Limit: 1}), "a")
		f.wantKeys(f.query(ledger.Query{Source: "s", Limit: 2}), "c", "a")
	}},
	{"what changed in one step is in the order begun", func(f *fixture) {
		l := f.lease("s", "inbox")
		keys := make([]string, 100)
		for i := range keys {
			keys[i] = fmt.Sprint(len(keys) - i)
		}
		entries := f.begin(l, keys...)
		f.wantKeys(f.query(ledger.Query{}), keys...)
		var changed []ledger.Entry
		var first, last []string
		for i, e := range entries {
			if i%3 == 0 {
				first = append(first, e.Key)
				continue
			}
			last = append(last, e.Key)
			e.State = ledger.Vanished
			changed = append(changed, e)
		}
		slices.Reverse(changed)
		f.tick()
		f.ok(l.Advance(f.Context(), changed...))
		f.wantKeys(f.query(ledger.Query{}), append(first, last...)...)
		f.wantKeys(f.query(ledger.Query{Source: "s", Limit: 60}), last[len(last)-60:]...)
	}},
	{"since is when it was filed or quarantined", func(f *fixture) {
		l := f.lease("s", "inbox")
		filed := f.at(l, "filed", ledger.Prepared)
		filed.Filed = epoch
		f.advance(l, filed, ledger.Filed)
		f.advance(l, filed, ledger.Settled)
		q := ledger.Query{Source: "s", Since: epoch}
		f.wantKeys(f.query(q), "filed")
		q.Since = epoch.Add(time.Microsecond)
		f.wantKeys(f.query(q))

		quarantined := f.at(l, "quarantined", ledger.Quarantined)
		q.Since = quarantined.Updated
		f.wantKeys(f.query(q), "quarantined")
		f.tick()
		f.advance(l, quarantined, ledger.Quarantined)
		f.advance(l, quarantined, ledger.Parked)
		f.advance(l, quarantined, ledger.Discarded)
		f.wantKeys(f.query(q), "quarantined")
		q.Since = q.Since.Add(time.Microsecond)
		f.wantKeys(f.query(q))
	}},
	{"quarantine id finds what was ever quarantined", func(f *fixture) {
		l := f.lease("s", "inbox")
		for _, s := range states {
			e := f.at(l, string(s), s)
			want := []string{}
			switch s {
			case ledger.Quarantined, ledger.Parked, ledger.Discarded:
				want = append(want, e.Key)
			}
			f.wantKeys(f.query(ledger.Query{QuarantineID: e.QuarantineID()}), want...)
			f.wantKeys(f.query(ledger.Query{QuarantineID: e.QuarantineID(), Source: "t"}))
		}
		e := f.at(l, "retried", ledger.Parked)
		f.advance(l, e, ledger.Begun)
		f.prepare(l, e)
		f.wantKeys(f.query(ledger.Query{QuarantineID: e.QuarantineID()}), "retried")
		f.wantKeys(f.query(ledger.Query{QuarantineID: e.QuarantineID(), States: []ledger.State{ledger.Parked}}))
		for _, id := range []string{"0123456789ab", "0", "not hexadecimal", e.QuarantineID()[:11]} {
			f.wantKeys(f.query(ledger.Query{QuarantineID: id}))
		}
	}},
	{"iteration can be left and nested", func(f *fixture) {
		l := f.lease("s", "inbox")
		f.begin(l, "1", "2", "3")
		for range 100 { // a connection that is not given back shows
			for e, err := range f.l.Entries(f.Context(), ledger.Query{}) {
				f.ok(err)
				f.unchanged(e)
				break
			}
		}
		pairs := 0
		for a, err := range f.l.Entries(f.Context(), ledger.Query{}) {
			f.ok(err)
			for _, err := range f.l.Entries(f.Context(), ledger.Query{}) {
				f.ok(err)
				pairs++
			}
			f.advance(l, a, ledger.Vanished)
		}
		if pairs != 9 {
			f.Fatalf("saw %d pairs, want 9", pairs)
		}
		seen := 0
		for _, err := range f.l.Entries(f.Context(), ledger.Query{}) {
			f.ok(err)
			f.begin(l, fmt.Sprint("more", seen))
			seen++
		}
		if seen != 3 {
			f.Fatalf("saw %d entries, want the 3 there were at the start", seen)
		}
	}},
	{"iteration ends with its context", func(f *fixture) {
		l := f.lease("s", "inbox")
		keys := make([]string, 500)
		for i := range keys {
			keys[i] = fmt.Sprint(i)
		}
		f.begin(l, keys...)
		ctx, cancel := context.WithCancel(f.Context())
		defer cancel()
		seen, last := 0, error(nil)
		for _, err := range f.l.Entries(ctx, ledger.Query{}) {
			if last != nil {
				f.Fatalf("goes on after %v", last)
			}
			last = err
			if seen++; seen == 2 {
				cancel()
			}
		}
		if !errors.Is(last, context.Canceled) || seen == len(keys) {
			f.Fatalf("ended after %d with %v", seen, last)
		}
	}},
	{"count is by state and source", func(f *fixture) {
		f.wantCount("", map[ledger.State]int{})
		s, t := f.lease("s", "inbox"), f.lease("t", "inbox")
		want := make(map[ledger.State]int)
		for _, state := range states {
			f.at(s, string(state), state)
			want[state] = 1
		}
		f.wantCount("s", want)
		f.wantCount("t", map[ledger.State]int{})
		f.begin(t, "begun", "begun", "again")
		f.wantCount("t", map[ledger.State]int{ledger.Begun: 2})
		want[ledger.Begun] = 3
		f.wantCount("", want)
		f.ok(s.Release(f.Context()))
		f.ok(t.Release(f.Context()))
		f.reopen()
		f.wantCount("", want)
		f.wantCount("none", map[ledger.State]int{})
	}},
	{"ended context is refused", func(f *fixture) {
		l := f.lease("s", "inbox")
		e := f.at(l, "1", ledger.Begun)
		ctx, cancel := context.WithCancel(f.Context())
		cancel()
		_, err := f.l.Lease(ctx, "s", "other", ttl)
		f.refused(err, context.Canceled)
		_, err = f.l.Entry(ctx, "s", "inbox", "1")
		f.refused(err, context.Canceled)
		_, err = f.l.Document(ctx, "doc")
		f.refused(err, context.Canceled)
		_, err = f.l.Count(ctx, "")
		f.refused(err, context.Canceled)
		_, err = l.Begin(ctx, []ledger.Listed{{Key: "2"}})
		f.refused(err, context.Canceled)
		_, err = l.Owed(ctx, epoch, "", 1)
		f.refused(err, context.Canceled)
		f.refused(l.SetCursor(ctx, "c", "r"), context.Canceled)
		f.refused(l.Advance(ctx, e), context.Canceled)
		f.lease("s", "other")
		f.unchanged(e)
	}},
}

// tick waits until the clock that Updated is read from has moved on.
func (f *fixture) tick() {
	for start := time.Now().Truncate(time.Microsecond); !time.Now().Truncate(time.Microsecond).After(start); {
	}
}
