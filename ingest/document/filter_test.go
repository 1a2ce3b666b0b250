package document

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"postroom/ingest/message"
	"postroom/sources"
)

func TestGlob(t *testing.T) {
	for _, test := range []struct {
		pattern, text string
		want          bool
	}{
		{"", "", true},
		{"", "a", false},
		{"*", "", true},
		{"**", "a\nb", true},
		{"?", "", false},
		{"?", "ß", true},
		{"INV-*", "inv-7", true},
		{"INV-*", "Re: INV-7", false}, // the whole text
		{"*INV-*", "Re: INV-7", true},
		{"*@supplier.com", "A@SUPPLIER.COM", true},
		{"*@supplier.com", "a@supplier.com.example", false},
		{"a?c*e", "abcde", true},
		{"a?c*e", "acde", false},
		{"*ab*ab", "abab", true},
		{"*ab*ab", "aab", false},
		{"*a?", "aaa", true},
		{"ÄRGER*", "ärger", true},
		{"ärger", "a\u0308rger", true}, // one accent, two encodings
		{"kelvin", "\u212aelvin", true},
		{"σ?", "ΣΣ", true},
		{"a.c", "abc", false},
		{"[a-z]", "b", false},
		{`\*`, `\anything`, true},
		{"\xff", "\ufffd", true},
	} {
		if got := NewGlob(test.pattern).Match(test.text); got != test.want {
			t.Errorf("%q, %q: %v", test.pattern, test.text, got)
		}
	}
}

func header(t testing.TB, raw string) *message.Header {
	t.Helper()
	h, err := message.ReadHeader(strings.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

var newYear = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)

func TestListed(t *testing.T) {
	before, after := newYear.Add(-time.Second), newYear.In(time.FixedZone("", -3600))
	for _, test := range []struct {
		f         Filter
		ref       sources.Ref
		leftOut   string
		undecided bool
	}{
		{Filter{}, sources.Ref{Size: -1}, "", false},
		{Filter{Unread: true}, sources.Ref{Seen: true}, "only.unread", false},
		{Filter{Unread: true}, sources.Ref{}, "", false},
		{Filter{}, sources.Ref{Seen: true}, "", false},
		{Filter{Since: newYear}, sources.Ref{Received: before}, "only.since", false},
		{Filter{Since: newYear}, sources.Ref{Received: after}, "", false},
		{Filter{Since: newYear}, sources.Ref{}, "", true},
		// A listing may estimate sizes, and cannot show that one fits.
		{Filter{MaxSize: 100}, sources.Ref{Size: -1}, "", true},
		{Filter{MaxSize: 100}, sources.Ref{Size: 10}, "", true},
		{Filter{MaxSize: 100}, sources.Ref{Size: 200}, "", true},
		{Filter{MaxSize: 100}, sources.Ref{Size: 202}, "only.max_size", false},
		{Filter{From: NewGlobs([]string{"a"})}, sources.Ref{}, "", true},
		{Filter{Subject: NewGlobs([]string{"a"})}, sources.Ref{}, "", true},
		{Filter{Subject: NewGlobs([]string{"a"}), Unread: true}, sources.Ref{Seen: true}, "only.unread", false},
	} {
		leftOut, undecided := test.f.Listed(test.ref)
		if leftOut != test.leftOut || undecided != test.undecided {
			t.Errorf("%+v, %+v: %q, %v", test.f, test.ref, leftOut, undecided)
		}
	}
}

func TestDelivered(t *testing.T) {
	h := header(t, "From: A <a@supplier.com>, \"x@y\" <b@other.com>\r\nSubject: =?utf-8?Q?INV-7_=C3=9Cbersicht?=\r\n\r\n")
	none := header(t, "\r\n")
	nameless := header(t, "From: Scanner\r\n\r\n")
	globs := func(patterns ...string) []Glob { return NewGlobs(patterns) }
	for _, test := range []struct {
		f        Filter
		h        *message.Header
		size     int64
		received time.Time
		want     string
	}{
		{Filter{}, none, -1, time.Time{}, ""},
		{Filter{Unread: true}, none, -1, time.Time{}, ""},
		{Filter{Since: newYear}, none, -1, newYear, ""},
		{Filter{Since: newYear}, none, -1, newYear.Add(-1), "only.since"},
		{Filter{Since: newYear}, none, -1, time.Time{}, ""},
		{Filter{MaxSize: 100}, none, 100, newYear, ""},
		{Filter{MaxSize: 100}, none, 101, newYear, "only.max_size"},
		{Filter{MaxSize: 100}, none, -1, newYear, ""},
		{Filter{From: globs("*@SUPPLIER.com")}, h, 0, newYear, ""},
		{Filter{From: globs("nobody", "b@other.com")}, h, 0, newYear, ""},
		{Filter{From: globs("A <*", "x@y", "A", "*@nobody")}, h, 0, newYear, "only.from"},
		{Filter{From: globs("*@*")}, none, 0, newYear, "only.from"},
		{Filter{From: globs("*")}, none, 0, newYear, ""},
		{Filter{From: globs("*")}, nameless, 0, newYear, ""},
		{Filter{From: globs("?*")}, nameless, 0, newYear, "only.from"},
		{Filter{Subject: globs("inv-? ü*")}, h, 0, newYear, ""},
		{Filter{Subject: globs("inv-?")}, h, 0, newYear, "only.subject"},
		{Filter{Subject: globs("*")}, none, 0, newYear, ""},
		{Filter{From: globs("a@*"), Subject: globs("INV*")}, h, 0, newYear, ""},
		{Filter{From: globs("a@*"), Subject: globs("ORD*")}, h, 0, newYear, "only.subject"},
		{Filter{From: globs("c@*"), Subject: globs("INV*")}, h, 0, newYear, "only.from"},
	} {
		if got := test.f.Delivered(test.h, test.size, test.received); got != test.want {
			t.Errorf("%+v, size %d, received %s: %q, want %q", test.f, test.size, test.received, got, test.want)
		}
	}
}

func TestFilterKey(t *testing.T) {
	globs := func(patterns ...string) []Glob { return NewGlobs(patterns) }
	// The filters of a line mean the same; of different lines, they do not.
	keys := make(map[string]int)
	for line, filters := range [][]Filter{
		{{}, {Unread: true}, {From: globs("*")}, {Subject: globs("a", "**"), Unread: true}},
		{{Since: newYear}, {Since: newYear.In(time.FixedZone("", 3600)), Unread: true}},
		{{Since: newYear.Add(time.Second)}},
		{{MaxSize: 100}},
		{{MaxSize: 101}},
		{{From: globs("a", "B")}, {From: globs("b", "A", "a")}},
		{{Subject: globs("a", "b")}},
		{{From: globs("a"), Subject: globs("b")}},
		{{From: globs("a\nsubject b")}},
		{{From: globs("a*b")}, {From: globs("A**B")}},
		{{From: globs("a?b")}},
	} {
		for _, f := range filters {
			key := f.Key()
			if before, ok := keys[key]; ok && before != line {
				t.Errorf("lines %d and %d have the key %s", before, line, key)
			}
			if key != filters[0].Key() {
				t.Errorf("line %d has the keys %s and %s", line, filters[0].Key(), key)
			}
			keys[key] = line
		}
	}
	if keys["all"] != 0 || len((&Filter{MaxSize: 1}).Key()) > 64 {
		t.Errorf("%v", keys)
	}
	// It is kept beside a cursor: a new one has every message looked at again.
	if got, want := (&Filter{Since: newYear, MaxSize: 150e6, From: globs("*@supplier.com"), Subject: globs("INV-*")}).Key(), "only-744150ee0bdd22b2c4357cd99411de24"; got != want {
		t.Errorf("the key is %s, and was %s", got, want)
	}
}

func FuzzGlob(f *testing.F) {
	f.Add("*ab*ab?", "xabyabz")
	f.Add("\u212a*", "k\n\xff")
	f.Add(strings.Repeat("*a", 50), strings.Repeat("a", 1000))
	f.Fuzz(func(t *testing.T, pattern, s string) {
		if len(pattern) > 1000 {
			return
		}
		expression := regexp.QuoteMeta(fold(pattern))
		expression = strings.NewReplacer(`\*`, ".*", `\?`, ".").Replace(expression)
		re, err := regexp.Compile("^(?s:" + expression + ")$")
		if err != nil {
			t.Fatal(err)
		}
		got := NewGlob(pattern).Match(s)
		if want := re.MatchString(fold(cut(s, MaxValue))); got != want {
			t.Errorf("%q, %q: %v, but %v by %s", pattern, s, got, want, re)
		}
		if !NewGlob("*"+pattern+"*").Match(s) && got {
			t.Errorf("%q matches %q, but not with asterisks around it", pattern, s)
		}
	})
}
