package ingest_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"postroom/ingest"
	"postroom/ingest/ingesttest"
	"postroom/ingest/ledger"
	"postroom/sources"
)

// written are messages by what is the same about them.
var written = map[string]string{
	"first": "Message-ID: <1@example.com>\r\nFrom: a@example.com\r\nDate: Mon, 5 Jan 2026 10:00:00 +0100\r\nSubject: Order 1\r\n" +
		"Content-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\n\r\nTen boxes.\r\n--b\r\nContent-Type: text/html\r\n\r\n<p>Ten boxes.\r\n--b--\r\n",
	// As another server renders it.
	"rendered": "Received: from x by y; Mon, 5 Jan 2026 10:00:01 +0100\r\nFrom: \"A\" <A@example.com>\r\nSubject: =?utf-8?Q?Order_1?=\r\n" +
		"Date: Mon, 5 Jan 2026 09:00:00 +0000\r\nMessage-ID:\r\n <1@example.com>\r\nContent-Type: multipart/alternative; boundary=other\r\n\r\n" +
		"--other\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nTen boxes, says the HTML.\r\n--other\r\nContent-Type: text/html; charset=utf-8\r\n" +
		"Content-Transfer-Encoding: quoted-printable\r\n\r\n<html><head><meta charset=3D\"utf-8\"></head><body><p>Ten\r\n boxes.</body></html>\r\n--other--\r\n",
	// The same Message-ID, and other content.
	"twin": "Message-ID: <1@example.com>\r\nFrom: a@example.com\r\nDate: Mon, 5 Jan 2026 10:00:00 +0100\r\nSubject: Order 1\r\n" +
		"Content-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\n\r\nTen boxes.\r\n--b\r\nContent-Type: text/html\r\n\r\n<p>Two boxes.\r\n--b--\r\n",
	// The same but for its plain text.
	"plainer": "Message-ID: <1@example.com>\r\nFrom: a@example.com\r\nDate: Mon, 5 Jan 2026 10:00:00 +0100\r\nSubject: Order 1\r\n" +
		"Content-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\n\r\nTwo boxes.\r\n--b\r\nContent-Type: text/html\r\n\r\n<p>Ten boxes.\r\n--b--\r\n",
	// In no field there is a date.
	"undated":           "Message-ID: <2@example.com>\r\nFrom: a@example.com\r\nSubject: Order 2\r\n\r\nTen boxes.\r\n",
	"undated, rendered": "From: <a@example.com>\r\nMessage-ID: <2@example.com>\r\nSubject: Order 2\r\nX-Rendered: yes\r\n\r\nTen\r\nboxes.\r\n",
	// TNEF, and what Exchange makes of it: see docs/formats.md.
	"winmail": "Message-ID: <3@example.com>\r\nFrom: a@example.com\r\nDate: Mon, 5 Jan 2026 10:00:00 +0100\r\nSubject: Order 3\r\n" +
		"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nTen boxes.\r\n--b\r\nContent-Type: application/ms-tnef; name=winmail.dat\r\n" +
		"Content-Transfer-Encoding: base64\r\n\r\neJ8+IgEA\r\n--b--\r\n",
	"winmail, rendered": "Message-ID: <3@example.com>\r\nFrom: a@example.com\r\nDate: Mon, 5 Jan 2026 10:00:00 +0100\r\nSubject: Order 3\r\n" +
		"Content-Type: text/html\r\n\r\n<p>Ten boxes.\r\n",
}

// without returns a message without its Message-ID.
func without(name string) string {
	return strings.Replace(strings.Replace(written[name], "Message-ID: ", "X-Was: ", 1), "Message-ID:", "X-Was:", 1)
}

// alarm is the n-th message of a device that gives its messages neither Message-ID
// nor date.
func alarm(n int) string {
	return fmt.Sprintf("Received: from door by mx; %d Jan 2026 10:00:00 +0100\r\nFrom: door@example.com\r\nSubject: Alarm\r\n\r\nThe door was opened.\r\n", n)
}

// rendering is a source whose server renders what it is asked for.
type rendering struct{ sources.Source }

func (r rendering) Fetch(ctx context.Context, f sources.Folder, refs []sources.Ref, deliver func(sources.Ref, *sources.Message) error) error {
	return r.Source.Fetch(ctx, f, refs, func(ref sources.Ref, m *sources.Message) error {
		m.Wire = sources.Rendered
		return deliver(ref, m)
	})
}

func TestIdentity(t *testing.T) {
	for _, tt := range []struct {
		what          string
		first, second string
		rendered      bool // the second
		duplicate     bool
		marked        bool
	}{
		{"the same bytes", written["first"], written["first"], false, true, false},
		{"rendered by another server", written["first"], written["rendered"], true, true, false},
		{"rendered first", written["rendered"], written["first"], true, true, false},
		{"a Message-ID added", without("first"), written["rendered"], true, true, false},
		{"a Message-ID lost", written["first"], without("rendered"), true, true, false},
		{"the same Message-ID, other content", written["first"], written["twin"], false, false, true},
		{"the same Message-ID, other content, rendered", written["first"], written["twin"], true, false, true},
		{"other plain text, neither rendered", written["first"], written["plainer"], false, false, true},
		{"other plain text, rendered", written["first"], written["plainer"], true, true, false},
		{"no date in it, rendered", written["undated"], written["undated, rendered"], true, true, false},
		{"winmail.dat that Exchange has taken apart", written["winmail"], written["winmail, rendered"], true, false, true},
		{"winmail.dat in a message that was passed on", written["winmail"], "Received: from x by y\r\n" + written["winmail"], false, true, false},
		{"passed on without a Message-ID", without("first"), "Received: from x by y\r\n" + without("first"), false, true, false},
		{"neither Message-ID nor date, the same bytes", alarm(1), alarm(1), false, true, false},
		{"neither Message-ID nor date", alarm(1), alarm(2), false, false, true},
		{"neither Message-ID nor date, rendered", alarm(1), alarm(2), true, false, true},
		{"a Message-ID and no date", alarm(1), "Message-ID: <4@example.com>\r\n" + alarm(1), false, false, true},
		{"another Message-ID", written["first"], strings.Replace(written["first"], "<1@", "<2@", 1), false, false, false},
	} {
		t.Run(tt.what, func(t *testing.T) {
			w := ingesttest.New()
			dir := t.TempDir()
			w.Server.Deliver("Inbox", tt.first)
			w.Server.Deliver("Sub", mail(1))
			remove := func(m *ingest.Mailbox) { m.After = sources.Action{Verb: sources.Delete} }
			if s := once(t, start(t, w, dir, remove)); s.Filed != 2 || !s.OK() {
				t.Fatalf("%+v", s)
			}
			key := w.Server.Deliver("Sub", tt.second)
			var notes []string
			p := start(t, w, dir, func(m *ingest.Mailbox) {
				remove(m)
				open := m.Open
				m.Open = func() (sources.Source, error) {
					src, err := open()
					if tt.rendered {
						src = rendering{src}
					}
					return src, err
				}
			})
			p.Observe = func(e ingest.Event) {
				if e.Kind == ingest.Filed {
					notes = e.Doc.Notes
				}
			}
			s := once(t, p)
			if !s.OK() || (s.Duplicates == 1) != tt.duplicate || (s.Filed == 1) == tt.duplicate {
				t.Errorf("%+v", s)
			}
			if marked := strings.Contains(strings.Join(notes, "\n"), "possible_duplicate_of "); marked != tt.marked {
				t.Errorf("notes %q", notes)
			}
			// Only what is the same to the byte is ever deleted as a duplicate.
			_, there := w.Server.Contents("Sub")[key]
			if want := tt.duplicate && tt.first != tt.second; there != want {
				t.Errorf("on its server: %v", there)
			}
			if e, err := w.Ledger.Entry(t.Context(), "orders", "Sub", key); err != nil || e.State != ledger.Settled {
				t.Errorf("%+v, %v", e, err)
			}
			// Once more, in yet another folder: known in any case.
			again := w.Server.Deliver("Inbox", tt.second)
			if s2 := once(t, p); s2.Duplicates != s.Duplicates+1 || !s2.OK() {
				t.Errorf("again, as %s: %+v", again, s2)
			}
		})
	}
}
