package sourcetest

import (
	"bytes"
	"fmt"
	"io"
	"testing"
	"time"

	"postroom/sources"
)

var bodyTests = map[string]func(*testing.T, Server){
	"Bodies/Exact":            testExactBodies,
	"Bodies/Large":            testLargeBody,
	"Bodies/Metadata":         testMetadata,
	"Bodies/NotRead":          testBodyNotRead,
	"Bodies/ReadInPart":       testBodyReadInPart,
	"Bodies/NotAfterDelivery": testBodyAfterDelivery,
}

// nasty are bodies that have been altered by fetchers of the past.
func nasty() map[string][]byte {
	head := "From: a@example.com\r\nSubject: nasty\r\n\r\n"
	every := make([]byte, 0, 256*3)
	for b := range 256 {
		if b != 0 && b != '\r' && b != '\n' {
			every = append(every, byte(b))
		}
	}
	return map[string][]byte{
		"plain":            []byte(head + "body\r\n"),
		"empty":            {},
		"header only":      []byte("Subject: nothing else\r\n\r\n"),
		"no blank line":    []byte("Subject: nothing at all\r\n"),
		"leading dots":     []byte(head + ".\r\n..\r\n.dot\r\n...\r\n"),
		"only a dot":       []byte("."),
		"long lines":       []byte(head + string(bytes.Repeat([]byte("x"), 6000)) + "\r\n." + string(bytes.Repeat([]byte("y"), 70000)) + "\r\n"),
		"no newline":       []byte(head + "the end"),
		"many newlines":    []byte(head + "\r\n\r\n\r\n"),
		"8-bit":            append([]byte(head), every...),
		"utf-8":            []byte("Subject: Größe\r\n\r\nStraße €\r\n"),
		"bare LF":          []byte("Subject: unix\n\none\ntwo\r\nthree\n"),
		"bare CR":          []byte(head + "one\rtwo\r\rthree\r\n"),
		"NUL":              []byte(head + "a\x00b\r\n"),
		"mbox line":        []byte("From someone Mon Jan  1 00:00:00 2026\r\nSubject: x\r\n\r\nFrom here on\r\n"),
		"byte order mark":  []byte("\xef\xbb\xbf" + head + "x\r\n"),
		"protocol look":    []byte(head + ")\r\nT1 OK done\r\n* 1 FETCH (UID 1 BODY[] {3}\r\nabc)\r\n+OK\r\n-ERR\r\n"),
		"white space only": []byte(" \r\n\t\r\n"),
	}
}

func testExactBodies(t *testing.T, server Server) {
	want := make(map[string][]byte)
	names := make(map[int]string)
	start := time.Now().Add(-time.Hour).Truncate(time.Second)
	bodies := nasty()
	for name, raw := range bodies {
		names[len(names)] = name
		want[name] = server.Deliver(t, sources.Inbox, Mail{Raw: raw, Received: start.Add(time.Duration(len(names)) * time.Second)})
	}
	w := enter(t, server, Setup{})
	refs, _ := w.list(w.inbox, "")
	if len(refs) != len(bodies) {
		t.Fatalf("listed %d messages, want %d", len(refs), len(bodies))
	}
	got := w.fetch(w.inbox, refs)
	for i, ref := range refs {
		a, ok := got[ref.Key]
		switch {
		case !ok:
			t.Errorf("%s: not delivered", names[i])
		case a.Err != nil || a.readErr != nil:
			t.Errorf("%s: %v, %v", names[i], a.Err, a.readErr)
		default:
			if a.Wire == sources.Original {
				sameBytes(t, names[i], a.raw, want[names[i]])
			}
			if a.Message.Size >= 0 && a.Message.Size != int64(len(a.raw)) {
				t.Errorf("%s: size %d announced, %d bytes read", names[i], a.Message.Size, len(a.raw))
			}
		}
	}
}

func testLargeBody(t *testing.T, server Server) {
	raw := []byte("Subject: large\r\n\r\n")
	for i := 0; len(raw) < 20<<20; i++ {
		raw = fmt.Appendf(raw, "%076d\r\n", i)
	}
	want := server.Deliver(t, sources.Inbox, Mail{Raw: raw, Received: time.Now().Add(-time.Hour)})
	w := enter(t, server, Setup{})
	refs, _ := w.list(w.inbox, "")
	for _, a := range w.fetch(w.inbox, refs) {
		if a.Err != nil || a.readErr != nil {
			t.Fatal(a.Err, a.readErr)
		}
		sameBytes(t, "large message", a.raw, want)
	}
}

func testMetadata(t *testing.T, server Server) {
	can := server.Abilities()
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var served [][]byte
	for i := range 4 {
		served = append(served, server.Deliver(t, sources.Inbox, Mail{Raw: letter(i), Received: start.Add(time.Duration(i) * time.Hour), Seen: i%2 == 1}))
	}
	w := enter(t, server, Setup{})
	refs, _ := w.list(w.inbox, "")
	if len(refs) != len(served) {
		t.Fatalf("listed %d messages, want %d", len(refs), len(served))
	}
	got := w.fetch(w.inbox, refs)
	for i, ref := range refs {
		a := got[ref.Key]
		sameBytes(t, "message in order of delivery", a.raw, served[i])
		if len(ref.Key) > 1000 || ref.Key == "" {
			t.Errorf("key of %d bytes", len(ref.Key))
		}
		if a.Ref != ref {
			t.Errorf("delivered with %+v, listed as %+v", a.Ref, ref)
		}
		if can.Received && !a.Received().Equal(start.Add(time.Duration(i)*time.Hour)) {
			t.Errorf("message %d: received %v", i, a.Received())
		}
		if can.Seen && (a.Message.Seen != (i%2 == 1) || ref.Seen != (i%2 == 1)) {
			t.Errorf("message %d: seen %v, listed as seen %v", i, a.Message.Seen, ref.Seen)
		}
		if !can.Seen && a.Message.Seen {
			t.Errorf("message %d: seen on a server without such a mark", i)
		}
	}
	for i, mail := range server.Snapshot(t, sources.Inbox) {
		if can.Seen && mail.Seen != (i%2 == 1) {
			t.Errorf("fetching has changed whether message %d has been read", i)
		}
	}
}

// Received is the date of arrival that was delivered.
func (a arrival) Received() time.Time { return a.Message.Received }

func testBodyNotRead(t *testing.T, server Server) {
	w := enter(t, server, Setup{})
	served := w.deliver(sources.Inbox, 10)
	refs, _ := w.list(w.inbox, "")
	delivered := make(chan string, len(refs))
	err := w.source.Fetch(w.ctx, w.inbox, refs, func(ref sources.Ref, m *sources.Message) error {
		delivered <- ref.Key
		return m.Err
	})
	if err != nil || len(delivered) != len(served) {
		t.Fatalf("%d of %d messages delivered, %v", len(delivered), len(served), err)
	}
}

func testBodyReadInPart(t *testing.T, server Server) {
	w := enter(t, server, Setup{})
	served := w.deliver(sources.Inbox, 10)
	refs, _ := w.list(w.inbox, "")
	delivered := make(chan string, len(refs))
	err := w.source.Fetch(w.ctx, w.inbox, refs, func(ref sources.Ref, m *sources.Message) error {
		if m.Err != nil {
			return m.Err
		}
		delivered <- ref.Key
		_, err := io.ReadFull(m.Body, make([]byte, 10))
		return err
	})
	if err != nil || len(delivered) != len(served) {
		t.Fatalf("%d of %d messages delivered, %v", len(delivered), len(served), err)
	}
}

func testBodyAfterDelivery(t *testing.T, server Server) {
	w := enter(t, server, Setup{})
	w.deliver(sources.Inbox, 2)
	refs, _ := w.list(w.inbox, "")
	bodies := make(chan io.Reader, len(refs))
	err := w.source.Fetch(w.ctx, w.inbox, refs, func(_ sources.Ref, m *sources.Message) error {
		bodies <- m.Body
		return m.Err
	})
	if err != nil {
		t.Fatal(err)
	}
	close(bodies)
	for body := range bodies {
		if n, err := body.Read(make([]byte, 10)); n > 0 || err == nil || err == io.EOF {
			t.Errorf("a body read after delivery gives %d bytes, %v; want an error", n, err)
		}
	}
}
