package sourcetest

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"postroom/sources"
)

var settleTests = map[string]func(*testing.T, Server){
	"Settle/Keep":        testKeep,
	"Settle/MarkRead":    testMarkRead,
	"Settle/Delete":      testDelete,
	"Settle/Move":        testMove,
	"Settle/MoveNested":  testMoveToNestedFolder,
	"Settle/MoveMarked":  testMoveMarked,
	"Settle/MoveAlike":   testMoveAlike,
	"Settle/Repeated":    testSettleRepeated,
	"Settle/NothingElse": testSettleNothingElse,
	"Settle/Gone":        testSettleGone,
	"Settle/BadKey":      testSettleBadKey,
	"Settle/Many":        testSettleMany,
}

const filed = "Inbox/Filed"

// can reports whether the server knows the verb.
func can(server Server, verb sources.Verb) bool {
	return slices.Contains(server.Abilities().Verbs, verb)
}

// actions returns the dispositions that the server knows.
func actions(server Server) []sources.Action {
	var all []sources.Action
	for _, verb := range server.Abilities().Verbs {
		action := sources.Action{Verb: verb}
		if verb == sources.Move {
			action.Target = filed
		}
		all = append(all, action)
	}
	return all
}

func testKeep(t *testing.T, server Server) {
	w := enter(t, server, Setup{})
	w.deliver(sources.Inbox, 3)
	before := server.Snapshot(t, sources.Inbox)
	refs, _ := w.list(w.inbox, "")
	w.settle(w.inbox, keysOf(refs), sources.Action{Verb: sources.Keep})
	after := server.Snapshot(t, sources.Inbox)
	if len(after) != len(before) {
		t.Fatalf("%d messages left of %d", len(after), len(before))
	}
	for i := range after {
		if after[i].Seen || after[i].Deleted {
			t.Errorf("message %d has been changed", i)
		}
	}
}

func testMarkRead(t *testing.T, server Server) {
	if !can(server, sources.MarkRead) {
		return
	}
	w := enter(t, server, Setup{AfterFiling: sources.MarkRead})
	w.deliver(sources.Inbox, 4)
	refs, _ := w.list(w.inbox, "")
	w.settle(w.inbox, keysOf(refs[1:3]), sources.Action{Verb: sources.MarkRead})
	for i, mail := range server.Snapshot(t, sources.Inbox) {
		if want := i == 1 || i == 2; mail.Seen != want || mail.Deleted {
			t.Errorf("message %d: seen %v, want %v; deleted %v", i, mail.Seen, want, mail.Deleted)
		}
	}
}

func testDelete(t *testing.T, server Server) {
	if !can(server, sources.Delete) {
		return
	}
	w := enter(t, server, Setup{AfterFiling: sources.Delete})
	served := w.deliver(sources.Inbox, 4)
	refs, _ := w.list(w.inbox, "")
	w.settle(w.inbox, keysOf(refs[1:3]), sources.Action{Verb: sources.Delete})
	w.holds(sources.Inbox, served[0], served[3])
}

// holds fails the test unless the folder holds these messages and no others, in
// whatever order.
func (w *world) holds(folder string, want ...[]byte) {
	w.Helper()
	got := w.server.Snapshot(w.T, folder)
	want = slices.SortedFunc(slices.Values(want), bytes.Compare)
	slices.SortFunc(got, func(a, b Mail) int { return bytes.Compare(a.Raw, b.Raw) })
	if len(got) != len(want) {
		w.Errorf("folder %s holds %d messages, want %d", folder, len(got), len(want))
		return
	}
	for i := range got {
		sameBytes(w.T, "message in "+folder, got[i].Raw, want[i])
	}
}

func testMove(t *testing.T, server Server) {
	if !can(server, sources.Move) {
		return
	}
	w := enter(t, server, Setup{AfterFiling: sources.Move, FiledFolder: filed})
	served := w.deliver(sources.Inbox, 4)
	refs, _ := w.list(w.inbox, "")
	// The target does not exist.
	w.settle(w.inbox, keysOf(refs[1:3]), sources.Action{Verb: sources.Move, Target: filed})
	w.holds(sources.Inbox, served[0], served[3])
	w.holds(filed, served[1], served[2])
	// And then it does.
	w.settle(w.inbox, keysOf(refs[3:]), sources.Action{Verb: sources.Move, Target: filed})
	w.holds(sources.Inbox, served[0])
	w.holds(filed, served[1], served[2], served[3])
}

func testMoveToNestedFolder(t *testing.T, server Server) {
	if !can(server, sources.Move) {
		return
	}
	target := server.Abilities().at("Archiv/Größe & Co/50%25/2026")
	w := enter(t, server, Setup{AfterFiling: sources.Move, FiledFolder: target})
	served := w.deliver(sources.Inbox, 1)
	refs, _ := w.list(w.inbox, "")
	w.settle(w.inbox, keysOf(refs), sources.Action{Verb: sources.Move, Target: target})
	w.holds(target, served...)
	w.holds(sources.Inbox)
}

// A message that somebody else has marked as deleted is moved like any other,
// and what is moved is not marked.
func testMoveMarked(t *testing.T, server Server) {
	marker, ok := server.(Marker)
	if !ok || !can(server, sources.Move) {
		return
	}
	w := enter(t, server, Setup{AfterFiling: sources.Move, FiledFolder: filed})
	served := w.deliver(sources.Inbox, 4)
	refs, _ := w.list(w.inbox, "")
	for _, position := range []int{0, 1, 3} {
		marker.MarkDeleted(t, sources.Inbox, position)
	}
	w.settle(w.inbox, keysOf(refs[1:3]), sources.Action{Verb: sources.Move, Target: filed})
	w.holds(sources.Inbox, served[0], served[3])
	w.holds(filed, served[1], served[2])
	for i, mail := range server.Snapshot(t, filed) {
		if mail.Deleted {
			t.Errorf("message %d is marked as deleted where it has been moved to", i)
		}
	}
}

// Messages that nothing tells apart are moved each.
func testMoveAlike(t *testing.T, server Server) {
	if !can(server, sources.Move) {
		return
	}
	w := enter(t, server, Setup{AfterFiling: sources.Move, FiledFolder: filed})
	mail := Mail{Raw: letter(1), Received: time.Now().Add(-time.Hour).Truncate(time.Second)}
	for range 4 {
		server.Deliver(t, sources.Inbox, mail)
	}
	refs, _ := w.list(w.inbox, "")
	for _, some := range [][]sources.Ref{refs[:1], refs[1:3], refs[3:]} {
		w.settle(w.inbox, keysOf(some), sources.Action{Verb: sources.Move, Target: filed})
	}
	if n := len(server.Snapshot(t, sources.Inbox)); n != 0 {
		t.Errorf("%d messages left", n)
	}
	if n := len(server.Snapshot(t, filed)); n != 4 {
		t.Errorf("%d messages in the target, want 4", n)
	}
}

func testSettleRepeated(t *testing.T, server Server) {
	for _, action := range actions(server) {
		w := enter(t, server, Setup{AfterFiling: action.Verb, FiledFolder: filed})
		w.deliver(sources.Inbox, 3)
		refs, _ := w.list(w.inbox, "")
		w.settle(w.inbox, keysOf(refs), action)
		inbox, target := len(server.Snapshot(t, sources.Inbox)), len(server.Snapshot(t, filed))
		w.settle(w.inbox, keysOf(refs), action)
		if n := len(server.Snapshot(t, sources.Inbox)); n != inbox {
			t.Errorf("%s repeated: %d messages in the inbox, were %d", action.Verb, n, inbox)
		}
		if n := len(server.Snapshot(t, filed)); server.Abilities().Folders && n != target {
			t.Errorf("%s repeated: %d messages in the target, were %d", action.Verb, n, target)
		}
	}
}

func testSettleNothingElse(t *testing.T, server Server) {
	for _, action := range actions(server) {
		w := enter(t, server, Setup{AfterFiling: action.Verb, FiledFolder: filed})
		before := len(server.Snapshot(t, sources.Inbox))
		served := w.deliver(sources.Inbox, 5)
		refs, _ := w.list(w.inbox, "")
		refs = refs[len(refs)-5:]
		if marker, ok := server.(Marker); ok {
			marker.MarkDeleted(t, sources.Inbox, before)
			marker.MarkDeleted(t, sources.Inbox, before+4)
		}
		w.settle(w.inbox, keysOf(refs[1:2]), action)
		after := server.Snapshot(t, sources.Inbox)[before:]
		kept := 0
		for _, mail := range after {
			for _, i := range []int{0, 2, 3, 4} {
				if string(mail.Raw) == string(served[i]) {
					kept++
					if mail.Seen {
						t.Errorf("%s of another message has marked message %d as read", action.Verb, i)
					}
					if _, ok := server.(Marker); !ok && mail.Deleted {
						t.Errorf("%s of another message has marked message %d as deleted", action.Verb, i)
					}
				}
			}
		}
		if kept != 4 {
			t.Errorf("%s of one message: %d of the 4 others are left", action.Verb, kept)
		}
	}
}

func testSettleGone(t *testing.T, server Server) {
	for _, action := range actions(server) {
		w := enter(t, server, Setup{AfterFiling: action.Verb, FiledFolder: filed})
		before := len(server.Snapshot(t, sources.Inbox))
		w.deliver(sources.Inbox, 3)
		refs, _ := w.list(w.inbox, "")
		server.Remove(t, sources.Inbox, before+1)
		w.settle(w.inbox, keysOf(refs), action)
	}
}

func testSettleBadKey(t *testing.T, server Server) {
	for _, action := range actions(server) {
		w := enter(t, server, Setup{AfterFiling: action.Verb, FiledFolder: filed})
		w.deliver(sources.Inbox, 2)
		before := len(server.Snapshot(t, sources.Inbox))
		err := w.source.Settle(w.ctx, w.inbox, []string{"no such key", "", "1:*", "0/0"}, action, func(string, error) {})
		if err != nil {
			t.Logf("%s of keys that no listing returned: %v", action.Verb, err)
		}
		if n := len(server.Snapshot(t, sources.Inbox)); n != before {
			t.Errorf("%s of keys that no listing returned: %d messages left of %d", action.Verb, n, before)
		}
	}
}

func testSettleMany(t *testing.T, server Server) {
	if !can(server, sources.Delete) {
		return
	}
	w := enter(t, server, Setup{AfterFiling: sources.Delete})
	start := time.Now().Add(-24 * time.Hour)
	for i := range 250 {
		server.Deliver(t, sources.Inbox, Mail{Raw: letter(i), Received: start.Add(time.Duration(i) * time.Second)})
	}
	refs, _ := w.list(w.inbox, "")
	// Every second one: sets with as many ranges as there can be.
	var keys []string
	for i := 0; i < len(refs); i += 2 {
		keys = append(keys, refs[i].Key)
	}
	w.settle(w.inbox, keys, sources.Action{Verb: sources.Delete})
	if n := len(server.Snapshot(t, sources.Inbox)); n != 125 {
		t.Errorf("%d messages left, want 125", n)
	}
}
