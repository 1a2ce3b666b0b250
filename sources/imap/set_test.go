package imap

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	goimap "github.com/emersion/go-imap/v2"

	"postroom/sources"
)

// random returns a set of UIDs below 60, and the same as a table.
func random(r *rand.Rand) (goimap.UIDSet, map[goimap.UID]bool) {
	var set goimap.UIDSet
	table := make(map[goimap.UID]bool)
	for range r.IntN(40) {
		uid := goimap.UID(1 + r.IntN(60))
		set.AddNum(uid)
		table[uid] = true
	}
	return set, table
}

func TestSets(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		a, inA := random(r)
		b, inB := random(r)
		diff := minus(a, b)
		for uid := goimap.UID(1); uid <= 60; uid++ {
			if want := inA[uid] && !inB[uid]; diff.Contains(uid) != want {
				t.Fatalf("%s minus %s is %s", a.String(), b.String(), diff.String())
			}
		}
		if got := count(a); got != uint64(len(inA)) {
			t.Fatalf("%s has %d UIDs, want %d", a.String(), got, len(inA))
		}
		n := r.IntN(45)
		head, tail := split(a, n)
		if count(head) != uint64(min(n, len(inA))) || count(head)+count(tail) != count(a) {
			t.Fatalf("%s split at %d: %s and %s", a.String(), n, head.String(), tail.String())
		}
		var all []goimap.UID
		each(head, func(uid goimap.UID) { all = append(all, uid) })
		each(tail, func(uid goimap.UID) { all = append(all, uid) })
		if !slices.IsSorted(all) || len(all) != len(inA) {
			t.Fatalf("%s split at %d: %v", a.String(), n, all)
		}
		for i, uid := range all {
			if j, ok := rank(a, uid); !ok || j != i {
				t.Fatalf("rank of %d in %s is %d, %v", uid, a.String(), j, ok)
			}
		}
		back, err := parseSet(a.String())
		if err != nil || !slices.Equal(back, a) {
			t.Fatalf("%s is read as %s, %v", a.String(), back.String(), err)
		}
		var whole goimap.UIDSet
		for _, chunk := range chunks(a, 7) {
			if count(chunk) > 7 {
				t.Fatalf("chunk %s", chunk.String())
			}
			whole.AddSet(chunk)
		}
		if !slices.Equal(whole, a) {
			t.Fatalf("chunks of %s make %s", a.String(), whole.String())
		}
	}
}

func TestSetsAtTheEnd(t *testing.T) {
	top := goimap.UIDSet{{Start: math.MaxUint32 - 2, Stop: math.MaxUint32}}
	n := 0
	each(top, func(goimap.UID) { n++ })
	if n != 3 {
		t.Errorf("%d UIDs, want 3", n)
	}
	if diff := minus(goimap.UIDSet{{Start: 1, Stop: math.MaxUint32}}, top); diff.String() != "1:4294967292" {
		t.Error(diff.String())
	}
	if diff := minus(top, goimap.UIDSet{{Start: 1, Stop: math.MaxUint32}}); len(diff) != 0 {
		t.Error(diff.String())
	}
	for _, text := range []string{"0", "*", "1:*", "5:1", "a", "1,,2", "4294967296", "-1"} {
		if set, err := parseSet(text); err == nil {
			t.Errorf("%q is read as %s", text, set.String())
		}
	}
}

func TestChunksFitACommandLine(t *testing.T) {
	var set goimap.UIDSet
	for i := range goimap.UID(2000) {
		set.AddRange(math.MaxUint32-10*i-1, math.MaxUint32-10*i)
	}
	for _, chunk := range chunks(set, 5000) {
		if n := len(chunk.String()); n > 4000 {
			t.Errorf("a set of %d bytes", n)
		}
	}
}

func FuzzCursor(f *testing.F) {
	f.Add("1712345678;1:500,502")
	f.Add("7;;6,5,1700000000")
	f.Fuzz(func(t *testing.T, text string) {
		c := parseCursor(sources.Cursor(text))
		again := parseCursor(c.cursor())
		if c.validity != again.validity || !slices.Equal(c.set, again.set) || c.next != again.next || c.exists != again.exists ||
			!c.searched.Equal(again.searched) {
			t.Errorf("%q is read as %+v, and that as %+v", text, c, again)
		}
	})
}

func TestCursorKeepsCounters(t *testing.T) {
	c := covered{validity: 7, set: goimap.UIDSet{{Start: 1, Stop: 5}}, next: 6, exists: 5, searched: time.Unix(1700000000, 0)}
	if got, want := c.cursor(), sources.Cursor("7;1:5;6,5,1700000000"); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestNames(t *testing.T) {
	for _, row := range []struct {
		name      string
		delimiter rune
		path      string
	}{
		{"INBOX", '/', "Inbox"},
		{"INBOX.Sub", '.', "Inbox/Sub"},
		{"a.b/c", '.', "a/b%2Fc"},
		{"a/b", 0, "a%2Fb"},
		{"50%", '/', "50%25"},
	} {
		path := pathOf(row.name, row.delimiter)
		if path.String() != row.path {
			t.Errorf("%s is the path %s, want %s", row.name, path, row.path)
		}
		if name, err := nameOf(path, row.delimiter); err != nil || name != row.name {
			t.Errorf("%s is called %q, %v; want %s", path, name, err, row.name)
		}
	}
	if name, err := nameOf(sources.Path{"a.b"}, '.'); err == nil {
		t.Errorf("a name that cannot exist is %q", name)
	}
	if name, err := nameOf(sources.Path{"a", "b"}, 0); err == nil {
		t.Errorf("a name that cannot exist is %q", name)
	}
}

// sparse is a folder of 100,000 messages no two of which have neighbouring UIDs:
// the costliest there is of its size.
func sparse() goimap.UIDSet {
	set := make(goimap.UIDSet, 0, 100_000)
	for uid := goimap.UID(1); len(set) < cap(set); uid += 2 {
		set = append(set, goimap.UIDRange{Start: uid, Stop: uid})
	}
	return set
}

// BenchmarkCompareSparse finds that nothing is new among 100,000 messages in as
// many ranges.
func BenchmarkCompareSparse(b *testing.B) {
	set := sparse()
	cursor := covered{validity: 7, set: set}.cursor()
	b.ReportAllocs()
	for b.Loop() {
		if left := minus(set, parseCursor(cursor).set); len(left) > 0 {
			b.Fatal(left)
		}
	}
}

// BenchmarkCursorSparse writes the cursor of the same folder.
func BenchmarkCursorSparse(b *testing.B) {
	c := covered{validity: 7, set: sparse()}
	b.ReportAllocs()
	for b.Loop() {
		(&listing{covered: c}).Cursor(nil)
	}
}
