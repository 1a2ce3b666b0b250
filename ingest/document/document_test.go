package document

import (
	"context"
	"crypto/sha256"
	"strings"
	"testing"
	"time"

	"postroom/ingest/message"
	"postroom/sources"
	"postroom/store"
)

const raw = "Received: from a by b; Fri, 2 Jan 2026 03:04:05 +0000\r\nMessage-ID: <1@example.com>\r\n" +
	"From: Orders <orders@example.com>\r\nSubject: =?utf-8?Q?Bestellung_=E2=84=96?=\r\n  7\r\nDate: Thu, 1 Jan 2026 10:00:00 +0000\r\nX-Ticket: T-1\r\n\r\nText\r\n"

func input(t testing.TB, raw string) Input {
	t.Helper()
	h, err := message.ReadHeader(strings.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	return Input{
		Source: "orders", Type: "imap", Mailbox: "orders@example.com", Folder: "Inbox/Sub", Key: "1/2",
		Fetched: time.Date(2026, 5, 6, 7, 8, 9, 1, time.UTC), Wire: sources.Original, Notes: []string{"from the driver"},
		Raw: strings.NewReader(raw), Size: int64(len(raw)), SHA256: sha256.Sum256([]byte(raw)),
		Header: h,
	}
}

func mustMake(t testing.TB, in Input, rules Rules) *store.Document {
	t.Helper()
	d, err := Make(context.Background(), in, rules)
	if err != nil {
		t.Fatal(err)
	}
	return d.Document
}

func TestMake(t *testing.T) {
	in := input(t, raw)
	in.Received = time.Date(2026, 1, 2, 3, 4, 6, 789, time.FixedZone("", 3600))
	d := mustMake(t, in, Rules{Title: "{subject}", Class: "Order", Permissions: "Sales"})
	if d.Title != "Bestellung № 7" || d.Class != "Order" || d.Permissions != "Sales" {
		t.Errorf("%q %q %q", d.Title, d.Class, d.Permissions)
	}
	o := d.Origin
	if o.MessageID != "<1@example.com>" || o.ServerID != "1/2" || o.Wire != "original" || !o.Received.Equal(in.Received.Truncate(time.Second)) || o.Received.Location() != time.UTC {
		t.Errorf("%+v", o)
	}
	if len(d.Files) != 1 || d.Files[0].Name != "message.eml" || d.Files[0].SHA256 != in.SHA256 || len(d.Notes) != 1 {
		t.Errorf("%+v %q", d.Files, d.Notes)
	}
	if again := mustMake(t, in, Rules{Title: "other"}); again.ID != d.ID || len(d.ID) != 64 {
		t.Errorf("id %s, then %s", d.ID, again.ID)
	}
}

// TestUndated: what a message is recognised by does not depend on when, where and
// how it was fetched, although all that it lacks is taken from there.
func TestUndated(t *testing.T) {
	const undated = "Message-ID: <1@example.com>\r\nFrom: a@example.com\r\nSubject: a\r\n\r\nText\r\n"
	var first *store.Document
	for i, change := range []func(*Input){
		func(*Input) {},
		func(in *Input) { in.Fetched = in.Fetched.AddDate(1, 2, 3) },
		func(in *Input) { in.Received = in.Fetched.AddDate(0, 0, -1) },
		func(in *Input) {
			in.Folder, in.Key, in.Type, in.Mailbox, in.Wire = "Sub", "7", "exchange", "b@example.com", sources.Rendered
		},
	} {
		in := input(t, undated)
		change(&in)
		var err error
		if in.Identity, err = Identify(t.Context(), mustRead(t, []byte(undated))); err != nil {
			t.Fatal(err)
		}
		d := mustMake(t, in, Rules{Title: "{subject}"})
		if first == nil {
			first = d
		}
		if d.ID != first.ID || d.Title != first.Title {
			t.Errorf("%d: id %s, title %q, not %s, %q", i, d.ID, d.Title, first.ID, first.Title)
		}
		if want := Arrived(in.Received, in.Header, in.Fetched).Truncate(time.Second); !d.Origin.Received.Equal(want) {
			t.Errorf("%d: received %v, not %v", i, d.Origin.Received, want)
		}
	}
}

func TestReceived(t *testing.T) {
	in := input(t, raw)
	if got := mustMake(t, in, Rules{}).Origin.Received; !got.Equal(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)) {
		t.Error("by Received:", got)
	}
	in = input(t, raw[strings.Index(raw, "Message-ID"):])
	if got := mustMake(t, in, Rules{}).Origin.Received; !got.Equal(time.Date(2026, 1, 1, 10, 0, 0, 0, time.UTC)) {
		t.Error("by Date:", got)
	}
	in = input(t, "")
	if got := mustMake(t, in, Rules{}).Origin.Received; !got.Equal(in.Fetched.Truncate(time.Second)) {
		t.Error("by the clock:", got)
	}
}

func TestIDDependsOnSourceAndContentAlone(t *testing.T) {
	a, b := Fingerprint{Content: sha256.Sum256([]byte("a"))}, Fingerprint{Content: sha256.Sum256([]byte("b"))}
	named := Fingerprint{Content: a.Content, MessageID: "<1@example.com>"}
	ids := map[string]bool{ID("s", a, ""): true, ID("s", b, ""): true, ID("t", a, ""): true, ID("s", a, "x"): true, ID("s", named, ""): true}
	rendered := Fingerprint{Content: a.Content, Strict: b.Content}
	if len(ids) != 5 || !ids[ID("s", rendered, "")] {
		t.Errorf("%v", ids)
	}
}

func TestExpand(t *testing.T) {
	in := input(t, raw)
	for template, want := range map[string]string{
		"":                                "",
		"{subject}":                       "Bestellung № 7",
		"Mail of {from} in {folder}":      "Mail of Orders <orders@example.com> in Inbox/Sub",
		"{header:x-ticket}: {date}":       "T-1: 2026-01-01T10:00:00Z",
		"{{subject}} {message_id}":        "{subject} <1@example.com>",
		"{to}{cc}{in_reply_to}|{mailbox}": "|orders@example.com",
		"  a \t b  {header:absent}  ":     "a b",
		"open {subject":                   "open {subject",
		"close subject}":                  "close subject}",
	} {
		if got := Expand(template, in); got != want {
			t.Errorf("%q: %q, want %q", template, got, want)
		}
	}
}
