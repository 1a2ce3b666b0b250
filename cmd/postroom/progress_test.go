package main

import (
	"runtime"
	"testing"

	"postroom/ingest"
)

func TestTally(t *testing.T) {
	var c tally
	is := func(what string, done, total int64) {
		t.Helper()
		if c.done != done || c.total != total {
			t.Errorf("%s: %d of %d, want %d of %d", what, c.done, c.total, done, total)
		}
	}
	in := func(folder string, kind ingest.Kind, listed int) {
		c.observe(ingest.Event{Source: "s", Folder: folder, Kind: kind, Listed: listed})
	}
	in("a", ingest.Listed, 10)
	is("a is listed", 0, 10)
	in("b", ingest.Filed, 0)
	in("b", ingest.Failed, 0)
	is("owed in b", 2, 12)
	in("b", ingest.Listed, 3)
	is("b is listed", 2, 15)
	for range 3 {
		in("b", ingest.Filed, 0)
	}
	for range 10 {
		in("a", ingest.Skipped, 0)
	}
	is("all", 15, 15)
}

func TestShowsBar(t *testing.T) {
	for _, tt := range []struct {
		term, noColor string
		want          bool
	}{
		{"xterm-256color", "", true},
		{"dumb", "", false},
		{"xterm", "1", false},
		{"", "", runtime.GOOS == "windows"},
	} {
		if got := showsBar(func(name string) string {
			return map[string]string{"TERM": tt.term, "NO_COLOR": tt.noColor}[name]
		}); got != tt.want {
			t.Errorf("TERM=%q NO_COLOR=%q: %v", tt.term, tt.noColor, got)
		}
	}
}
