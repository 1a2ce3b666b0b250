package ledgertest

import (
	"strings"
	"time"
	"unicode"

	"postroom/ingest/ledger"
)

var valueTests = []test{
	{"every field is kept", func(f *fixture) {
		l := f.lease("s", "inbox")
		e := f.begin(l, "1")[0]
		f.ok(l.Advance(f.Context(), full(e)))
		since := time.Now()
		f.prepare(l, full(e))
		want := full(e)
		want.State, want.Duplicate, want.Exact = ledger.Prepared, false, false
		f.recorded(want, since)
		f.begin(l, "other")
		original := f.at(l, "original", ledger.Filed)
		want.State, want.Duplicate, want.Exact, want.DocumentID = ledger.Filed, true, true, original.DocumentID
		want.Likeness = ledger.Likeness{}
		f.ok(l.Advance(f.Context(), want))
		want = f.recorded(want, since)
		f.ok(l.Release(f.Context()))
		f.reopen()
		f.unchanged(want)
	}},
	{"zero values are kept", func(f *fixture) {
		l := f.lease("", "")
		e := ledger.Entry{Key: "1", State: ledger.Begun}
		_, err := l.Begin(f.Context(), []ledger.Listed{{Key: "1", Size: 5, FolderPath: "p", Received: epoch}})
		f.ok(err)
		since := time.Now()
		f.ok(l.Advance(f.Context(), e))
		f.recorded(e, since)
	}},
	{"times are kept to the microsecond in UTC", func(f *fixture) {
		l := f.lease("s", "inbox")
		for _, at := range []time.Time{
			{},
			time.Unix(0, 0),
			time.Date(1969, 12, 31, 23, 59, 59, 999_999_999, time.UTC),
			time.Date(1, 1, 1, 0, 0, 0, 1000, time.UTC),
			time.Date(9999, 12, 31, 23, 59, 59, 999_999_999, time.FixedZone("", -12*3600)),
			time.Date(2026, 3, 29, 2, 30, 0, 123_456_789, time.FixedZone("CEST", 7200)),
			time.Now(),
		} {
			key := at.String()
			entries, err := l.Begin(f.Context(), []ledger.Listed{{Key: key, Received: at}})
			f.ok(err)
			e := entries[0]
			want := at.UTC().Truncate(time.Microsecond).Round(0)
			if e.Received != want {
				f.Fatalf("received %v, want %v", e.Received, want)
			}
			f.unchanged(e)
			e.Received, e.Filed, e.RetryAt, e.DocumentID = at, at, at, key
			f.prepare(l, e)
			if got := f.entry(e); got.Received != want || got.Filed != want || got.RetryAt != want {
				f.Fatalf("%v is kept as %v, %v, %v", at, got.Received, got.Filed, got.RetryAt)
			}
			f.advance(l, e, ledger.Filed)
			d, err := f.l.Document(f.Context(), key)
			f.ok(err)
			if d.Received != want || d.Filed != want && !at.IsZero() {
				f.Fatalf("%v is kept as %v, %v", at, d.Received, d.Filed)
			}
		}
	}},
	{"texts are kept byte for byte", func(f *fixture) {
		l := f.lease("s\x00 ?", "folder%'\"☃")
		printable := make([]rune, 0, unicode.MaxRune)
		for r := rune(1); r < 0x3000; r++ {
			if unicode.IsPrint(r) {
				printable = append(printable, r)
			}
		}
		keys := []string{" ", "  ", "0", "00", "NULL", "a", "A", "ä", "a\u0308", strings.Repeat("k", 1000), "<&\u2028>", "a\x00b", "a", "\xff\xfe"}
		for all := string(printable); all != ""; {
			n := min(len(all), 990)
			for n < len(all) && all[n]&0xc0 == 0x80 {
				n++
			}
			keys, all = append(keys, all[:n]), all[n:]
		}
		distinct := make(map[string]ledger.Entry)
		for i, e := range f.begin(l, keys...) {
			if e.Key != keys[i] {
				f.Fatalf("key is %q, want %q", e.Key, keys[i])
			}
			distinct[e.Key] = e
		}
		f.wantCount("", map[ledger.State]int{ledger.Begun: len(keys) - 1})
		for i, e := range f.begin(l, keys...) {
			if e != distinct[keys[i]] {
				f.Fatalf("known entry is\n%+v, want\n%+v", e, distinct[keys[i]])
			}
		}
		var last string
		for _, e := range f.owed(l, time.Now(), "", len(keys)) {
			if e.Key <= last {
				f.Fatalf("owed %q after %q", e.Key, last)
			}
			last = e.Key
		}
		huge := strings.Repeat("☃ subject\x00\xff", 10_000)
		e := distinct["a\x00b"]
		e.Title, e.Cause, e.MessageID, e.Location, e.FolderPath, e.DocumentID = huge, huge, huge, huge, huge, huge
		f.prepare(l, e)
		f.advance(l, e, ledger.Filed)
		f.ok(l.SetCursor(f.Context(), huge, "\x00"))
		f.wantCursor(l, huge, "\x00")
		f.ok(l.Release(f.Context()))
		f.reopen()
		got := f.entry(e)
		e.State, e.Filed, e.Updated = ledger.Filed, got.Filed, got.Updated
		f.unchanged(e)
		d, err := f.l.Document(f.Context(), huge)
		f.ok(err)
		if d.Title != huge || d.Location != huge || d.ID != huge || d.Source != e.Source {
			f.Fatal("document has other texts")
		}
	}},
}

// full sets every field that the caller decides.
func full(e ledger.Entry) ledger.Entry {
	e.FolderPath, e.Size, e.Received = "A/B", 1<<40, epoch
	e.DocumentID, e.Title, e.MessageID, e.Location = "full-"+e.Key, "title", "<id@host>", "s/2026/01/02/title"
	e.Filed, e.RetryAt = epoch.Add(1), epoch.Add(time.Hour)
	e.Filed = e.Filed.Truncate(time.Microsecond)
	e.SHA256 = [32]byte{0: 1, 31: 2}
	e.Likeness = ledger.Likeness{Content: [32]byte{3}, Strict: [32]byte{4}, Original: true}
	e.Duplicate, e.Exact, e.Attempts, e.Cause = true, true, 7, "server said no"
	return e
}
