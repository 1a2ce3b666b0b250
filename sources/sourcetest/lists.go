package sourcetest

import (
	"slices"
	"testing"

	"postroom/sources"
)

var listTests = map[string]func(*testing.T, Server){
	"List/Empty":          testEmptyFolder,
	"List/Cursor":         testCursor,
	"List/CursorAgain":    testCursorAgain,
	"List/GarbageCursor":  testGarbageCursor,
	"List/PartialCursor":  testPartialCursor,
	"List/Renumbered":     testRenumbered,
	"List/KeysStay":       testKeysStay,
	"List/Removed":        testListAfterRemoval,
	"List/WhileSettling":  testSettleBetweenPages,
	"List/OldestFirst":    testOldestFirst,
	"List/NothingNewSame": testCursorStandsStill,
}

func testEmptyFolder(t *testing.T, server Server) {
	w := enter(t, server, Setup{})
	refs, cursor := w.list(w.inbox, "")
	if len(refs) != 0 {
		t.Errorf("%d messages in an empty folder", len(refs))
	}
	w.deliver(sources.Inbox, 1)
	if refs, _ := w.list(w.inbox, cursor); len(refs) != 1 {
		t.Errorf("%d messages after one was delivered", len(refs))
	}
}

func testCursor(t *testing.T, server Server) {
	w := enter(t, server, Setup{})
	w.deliver(sources.Inbox, 20)
	first, cursor := w.list(w.inbox, "")
	if len(first) != 20 {
		t.Fatalf("listed %d messages, want 20", len(first))
	}
	if refs, _ := w.list(w.inbox, cursor); len(refs) != 0 {
		t.Errorf("the cursor does not cover %v", keysOf(refs))
	}
	w.deliver(sources.Inbox, 3)
	next, _ := w.list(w.inbox, cursor)
	if len(next) != 3 {
		t.Fatalf("listed %d new messages, want 3", len(next))
	}
	for _, ref := range next {
		if slices.Contains(keysOf(first), ref.Key) {
			t.Errorf("%s listed again", ref.Key)
		}
	}
	if all, _ := w.list(w.inbox, ""); len(all) != 23 {
		t.Errorf("the zero cursor lists %d messages, want 23", len(all))
	}
}

func testCursorAgain(t *testing.T, server Server) {
	w := enter(t, server, Setup{})
	w.deliver(sources.Inbox, 10)
	listing, err := w.source.List(w.ctx, w.inbox, "")
	if err != nil {
		t.Fatal(err)
	}
	keys := keysOf(w.rest(listing))
	again := []string{keys[0], keys[4], keys[9]}
	cursor := listing.Cursor(again)
	if server.Abilities().Changes {
		// They come again once they have changed.
		w.settle(w.inbox, again, sources.Action{Verb: sources.MarkRead})
	}
	refs, cursor := w.list(w.inbox, cursor)
	got := keysOf(refs)
	for _, key := range again {
		if !slices.Contains(got, key) {
			t.Errorf("%s is to be listed again and is not", key)
		}
	}
	if len(got) != len(again) {
		t.Errorf("listed %v, want %v", got, again)
	}
	if refs, _ := w.list(w.inbox, cursor); len(refs) != 0 {
		t.Errorf("then listed %v, want none", keysOf(refs))
	}
}

func testGarbageCursor(t *testing.T, server Server) {
	w := enter(t, server, Setup{})
	w.deliver(sources.Inbox, 3)
	_, good := w.list(w.inbox, "")
	cursors := []sources.Cursor{"x", "\x00", ";;;;", "1;2;3", "0;", "99999999999;1:5", good + "x", good[:len(good)/2], "-1;5:1", ",", "{}"}
	for _, cursor := range cursors {
		listing, err := w.source.List(w.ctx, w.inbox, cursor)
		if err != nil {
			t.Errorf("cursor %q: %v", cursor, err)
			continue
		}
		if cursor != good+"x" && len(w.rest(listing)) != 3 {
			// What is left of a good cursor may still be one.
			if cursor != good[:len(good)/2] {
				t.Errorf("cursor %q hides messages", cursor)
			}
		}
	}
}

func testPartialCursor(t *testing.T, server Server) {
	w := enter(t, server, Setup{})
	w.deliver(sources.Inbox, 10)
	listing, err := w.source.List(w.ctx, w.inbox, "")
	if err != nil {
		t.Fatal(err)
	}
	var seen []string
	if left := listing.Remaining(); left != 10 && left != -1 {
		t.Errorf("%d remaining, want 10", left)
	}
	for len(seen) < 4 {
		refs, err := listing.Next(w.ctx, 4-len(seen))
		if err != nil || len(refs) == 0 {
			t.Fatal(len(refs), err)
		}
		seen = append(seen, keysOf(refs)...)
	}
	if left := listing.Remaining(); left != 6 && left != -1 {
		t.Errorf("%d remaining, want 6", left)
	}
	refs, _ := w.list(w.inbox, listing.Cursor(nil))
	if len(refs) != 6 {
		t.Errorf("after a cursor taken at 4 of 10, %d are listed", len(refs))
	}
	for _, ref := range refs {
		if slices.Contains(seen, ref.Key) {
			t.Errorf("%s listed again", ref.Key)
		}
	}
}

func testRenumbered(t *testing.T, server Server) {
	renumberer, ok := server.(Renumberer)
	if !ok {
		return
	}
	w := enter(t, server, Setup{})
	w.deliver(sources.Inbox, 5)
	before, cursor := w.list(w.inbox, "")
	renumberer.Renumber(t, sources.Inbox)
	after, cursor := w.list(w.inbox, cursor)
	if len(after) != 5 {
		t.Fatalf("after renumbering %d messages are listed, want 5", len(after))
	}
	for _, ref := range after {
		if slices.Contains(keysOf(before), ref.Key) {
			t.Errorf("key %s is used again", ref.Key)
		}
	}
	if refs, _ := w.list(w.inbox, cursor); len(refs) != 0 {
		t.Errorf("the new cursor does not cover %v", keysOf(refs))
	}
	for key, a := range w.fetch(w.inbox, before) {
		if sources.ClassOf(a.Err) != sources.Gone {
			t.Errorf("%s, a key from before, is delivered with %v, want an error of class gone", key, a.Err)
		}
	}
	if slices.Contains(server.Abilities().Verbs, sources.Delete) {
		w.settle(w.inbox, keysOf(before), sources.Action{Verb: sources.Delete})
		if n := len(server.Snapshot(t, sources.Inbox)); n != 5 {
			t.Errorf("keys from before have deleted messages: %d left of 5", n)
		}
	}
}

func testKeysStay(t *testing.T, server Server) {
	w := enter(t, server, Setup{})
	w.deliver(sources.Inbox, 5)
	before, _ := w.list(w.inbox, "")
	if err := w.source.Close(); err != nil {
		t.Fatal(err)
	}
	again := enter(t, server, Setup{})
	after, _ := again.list(again.inbox, "")
	if !slices.Equal(keysOf(before), keysOf(after)) {
		t.Errorf("another session lists %v, the first one %v", keysOf(after), keysOf(before))
	}
}

func testListAfterRemoval(t *testing.T, server Server) {
	w := enter(t, server, Setup{})
	w.deliver(sources.Inbox, 5)
	refs, cursor := w.list(w.inbox, "")
	server.Remove(t, sources.Inbox, 4)
	w.deliver(sources.Inbox, 1)
	next, _ := w.list(w.inbox, cursor)
	if len(next) != 1 {
		t.Fatalf("%d new messages, want 1", len(next))
	}
	if slices.Contains(keysOf(refs), next[0].Key) {
		t.Errorf("the key of a removed message is used again: %s", next[0].Key)
	}
}

func testSettleBetweenPages(t *testing.T, server Server) {
	if !slices.Contains(server.Abilities().Verbs, sources.Delete) {
		return
	}
	w := enter(t, server, Setup{Connections: 1})
	w.deliver(sources.Inbox, 12)
	listing, err := w.source.List(w.ctx, w.inbox, "")
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	for {
		refs, err := listing.Next(w.ctx, 4)
		if err != nil {
			t.Fatal(err)
		}
		if len(refs) == 0 {
			break
		}
		for _, ref := range refs {
			seen[ref.Key] = true
		}
		for _, a := range w.fetch(w.inbox, refs) {
			if a.Err != nil || a.readErr != nil {
				t.Fatal(a.Err, a.readErr)
			}
		}
		w.settle(w.inbox, keysOf(refs), sources.Action{Verb: sources.Delete})
	}
	if len(seen) != 12 {
		t.Errorf("listed %d messages, want 12", len(seen))
	}
	if n := len(server.Snapshot(t, sources.Inbox)); n != 0 {
		t.Errorf("%d messages left", n)
	}
}

func testOldestFirst(t *testing.T, server Server) {
	w := enter(t, server, Setup{})
	served := w.deliver(sources.Inbox, 30)
	refs, _ := w.list(w.inbox, "")
	got := w.fetch(w.inbox, refs)
	if len(refs) != len(served) {
		t.Fatalf("listed %d messages, want %d", len(refs), len(served))
	}
	for i, ref := range refs {
		if string(got[ref.Key].raw) != string(served[i]) {
			t.Fatalf("message %d is not the one delivered as %d", i, i)
		}
	}
}

func testCursorStandsStill(t *testing.T, server Server) {
	w := enter(t, server, Setup{})
	w.deliver(sources.Inbox, 3)
	_, first := w.list(w.inbox, "")
	_, second := w.list(w.inbox, first)
	_, third := w.list(w.inbox, second)
	if second != third {
		t.Errorf("with nothing new the cursor goes on changing: %q, then %q", second, third)
	}
}
