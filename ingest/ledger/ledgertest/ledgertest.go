// Package ledgertest is the conformance suite that every ledger passes: each
// sentence of the contract in package ledger, what is refused before what is
// granted.
package ledgertest

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"postroom/ingest/ledger"
)

// Run tests the ledgers that open returns: empty ones that the test closes.
// reopen closes the ledger and opens it again; a ledger that keeps nothing
// beyond its process returns itself.
func Run(t *testing.T, open func(t *testing.T) (l ledger.Ledger, reopen func() ledger.Ledger)) {
	for _, group := range [][]test{
		leaseTests, stepTests, claimTests, likeTests, dropTests, beginTests, owedTests, queryTests, valueTests, renameTests, forgetTests, concurrencyTests, closeTests,
	} {
		for _, tt := range group {
			t.Run(tt.name, func(t *testing.T) {
				l, reopen := open(t)
				f := &fixture{T: t, l: l}
				f.reopen = func() { f.l = reopen() }
				t.Cleanup(func() { f.ok(f.l.Close()) })
				tt.run(f)
			})
		}
	}
}

type test struct {
	name string
	run  func(*fixture)
}

// fixture is a ledger under test and the shortest words for what is done to it.
type fixture struct {
	*testing.T
	l      ledger.Ledger
	reopen func()
}

const ttl = time.Hour

// epoch is when things happen that the tests time themselves.
var epoch = time.Date(2026, 1, 2, 3, 4, 5, 678_901_000, time.UTC)

func (f *fixture) ok(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

func (f *fixture) refused(err, want error) {
	f.Helper()
	if !errors.Is(err, want) {
		f.Fatalf("error is %v, want %v", err, want)
	}
}

func (f *fixture) lease(source, folder string) ledger.Lease {
	f.Helper()
	l, err := f.l.Lease(f.Context(), source, folder, ttl)
	f.ok(err)
	return l
}

func (f *fixture) begin(l ledger.Lease, keys ...string) []ledger.Entry {
	f.Helper()
	listed := make([]ledger.Listed, len(keys))
	for i, k := range keys {
		listed[i] = ledger.Listed{Key: k, FolderPath: "Inbox", Size: 7, Received: epoch}
	}
	entries, err := l.Begin(f.Context(), listed)
	f.ok(err)
	if len(entries) != len(keys) {
		f.Fatalf("begun %d entries of %d", len(entries), len(keys))
	}
	return entries
}

// at brings a new entry to a state by the straight way; its document, where it
// has one, is "doc-" and the key.
func (f *fixture) at(l ledger.Lease, key string, s ledger.State) ledger.Entry {
	f.Helper()
	e := f.begin(l, key)[0]
	e.DocumentID, e.Title = "doc-"+key, "title of "+key
	switch s {
	case ledger.Begun:
		return f.entry(e)
	case ledger.Prepared, ledger.Filed, ledger.Settled:
		f.prepare(l, e)
	}
	for _, step := range map[ledger.State][]ledger.State{
		ledger.Filed:       {ledger.Filed},
		ledger.Settled:     {ledger.Filed, ledger.Settled},
		ledger.Quarantined: {ledger.Quarantined},
		ledger.Parked:      {ledger.Quarantined, ledger.Parked},
		ledger.Discarded:   {ledger.Quarantined, ledger.Parked, ledger.Discarded},
		ledger.Vanished:    {ledger.Vanished},
	}[s] {
		f.advance(l, e, step)
	}
	return f.entry(e)
}

func (f *fixture) prepare(l ledger.Lease, e ledger.Entry) {
	f.Helper()
	filed, err := l.Prepare(f.Context(), e)
	f.ok(err)
	if filed != nil {
		f.Fatalf("document %q was filed before", filed.ID)
	}
}

func (f *fixture) advance(l ledger.Lease, e ledger.Entry, s ledger.State) {
	f.Helper()
	e.State = s
	f.ok(l.Advance(f.Context(), e))
}

// entry returns the entry as the ledger has it.
func (f *fixture) entry(e ledger.Entry) ledger.Entry {
	f.Helper()
	got, err := f.l.Entry(f.Context(), e.Source, e.Folder, e.Key)
	f.ok(err)
	return got
}

// unchanged fails unless the ledger has the entry as it is given.
func (f *fixture) unchanged(e ledger.Entry) {
	f.Helper()
	if got := f.entry(e); got != e {
		f.Fatalf("entry is\n%+v, want\n%+v", got, e)
	}
}

// recorded fails unless the ledger has the entry as it is given but for Updated,
// which is not before since.
func (f *fixture) recorded(e ledger.Entry, since time.Time) ledger.Entry {
	f.Helper()
	got := f.entry(e)
	if got.Updated.Before(since.Truncate(time.Microsecond)) || got.Updated.After(time.Now()) {
		f.Fatalf("updated %v, not between %v and now", got.Updated, since)
	}
	e.Updated = got.Updated
	if got != e {
		f.Fatalf("entry is\n%+v, want\n%+v", got, e)
	}
	return got
}

func (f *fixture) query(q ledger.Query) []ledger.Entry {
	f.Helper()
	var found []ledger.Entry
	for e, err := range f.l.Entries(f.Context(), q) {
		f.ok(err)
		found = append(found, e)
	}
	return found
}

func (f *fixture) wantKeys(entries []ledger.Entry, keys ...string) {
	f.Helper()
	got := make([]string, len(entries))
	for i, e := range entries {
		got[i] = e.Key
	}
	if !slices.Equal(got, keys) {
		f.Fatalf("keys are %q, want %q", got, keys)
	}
}

func (f *fixture) wantCount(source string, want map[ledger.State]int) {
	f.Helper()
	got, err := f.l.Count(f.Context(), source)
	f.ok(err)
	if fmt.Sprint(got) != fmt.Sprint(want) {
		f.Fatalf("count of %q is %v, want %v", source, got, want)
	}
}
