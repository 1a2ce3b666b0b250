package message

import (
	"errors"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

func read(t *testing.T, s string) *Header {
	t.Helper()
	h, err := ReadHeader(strings.NewReader(s))
	if err != nil {
		t.Fatalf("%.60q: %v", s, err)
	}
	return h
}

func TestReadHeader(t *testing.T) {
	for _, tt := range []struct {
		name, raw, subject string
		notes              int
	}{
		{"plain", "From: a@example.com\r\nSubject: Order 7\r\n\r\nSubject: not this\r\n", "Order 7", 0},
		{"folded (RFC 5322 2.2.3)", "Subject: Order\r\n 7 of\r\n\tMonday\r\n\r\n", "Order 7 of\tMonday", 0},
		{"bare LF", "Subject: Order 7\n\nbody\n", "Order 7", 0},
		{"bare CR", "Subject: Order 7\r\rbody\r", "Order 7", 0},
		{"no body", "Subject: Order 7", "Order 7", 0},
		{"empty", "", "", 0},
		{"only a body", "\r\nSubject: not this\r\n", "", 0},
		{"byte order mark", "\xef\xbb\xbfSubject: Order 7\r\n\r\n", "Order 7", 1},
		{"mbox line", "From a@example.com Thu Jan  1 00:00:00 2026\nSubject: Order 7\n\n", "Order 7", 1},
		{"line without a colon", "Junk line\r\nSubject: Order 7\r\n\r\n", "Order 7", 1},
		{"space before the colon (RFC 5322 4.5)", "Subject : Order 7\r\n\r\n", "Order 7", 0},
		{"continuation at the start", " lost\r\nSubject: Order 7\r\n\r\n", "Order 7", 1},
		{"other case", "SUBJECT: Order 7\r\n\r\n", "Order 7", 0},
		{"first of two", "Subject: Order 7\r\nSubject: Order 8\r\n\r\n", "Order 7", 0},
		{"encoded word (RFC 2047)", "Subject: =?iso-8859-1?Q?Rechnung_f=FCr_M=E4rz?=\r\n\r\n", "Rechnung für März", 0},
		{"encoded words in a row", "Subject: =?utf-8?B?UmVjaG4=?= =?utf-8?Q?ung?=\r\n\r\n", "Rechnung", 0},
		{"iso-2022-jp", "Subject: =?ISO-2022-JP?B?GyRCQ21KOD1xGyhC?=\r\n\r\n", "注文書", 0},
		{"unknown charset", "Subject: =?x-none?Q?gr=F6=DFer?=\r\n\r\n", "größer", 0},
		{"raw UTF-8 (RFC 6532)", "Subject: Größe\r\n\r\n", "Größe", 0},
		{"raw 8-bit", "Subject: Gr\xf6\xdfe\r\n\r\n", "Größe", 0},
		{"endless header", "Subject: Order 7\r\nX: " + strings.Repeat("x", maxHeader), "Order 7", 1},
		{"endless fields", "Subject: Order 7\r\n" + strings.Repeat("X: y\r\n", maxFields+1), "Order 7", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := read(t, tt.raw)
			if got := h.Text("Subject"); got != tt.subject {
				t.Errorf("subject %q, want %q", got, tt.subject)
			}
			if len(h.Notes) != tt.notes {
				t.Errorf("notes %q, want %d", h.Notes, tt.notes)
			}
		})
	}
}

func TestReadHeaderError(t *testing.T) {
	broken := errors.New("disk")
	if _, err := ReadHeader(iotest.ErrReader(broken)); !errors.Is(err, broken) {
		t.Error(err)
	}
}

func TestAddresses(t *testing.T) {
	h := read(t, "To: =?utf-8?Q?K=C3=A4ufer?= <buyer@example.com>, \"Desk, Orders\" <orders@example.com>\r\n"+
		"To: plain@example.com\r\nTo: not an address\r\nTo: staff: a@example.com, b@example.com;\r\n\r\n")
	want := "Käufer <buyer@example.com>; Desk, Orders <orders@example.com>; plain@example.com; not an address; a@example.com; b@example.com"
	if got := strings.Join(h.Addresses("to"), "; "); got != want {
		t.Errorf("%q", got)
	}
}

func TestDates(t *testing.T) {
	h := read(t, "Received: from a by b; Fri, 2 Jan 2026 03:04:05 +0100\r\nReceived: from c by a; Fri, 2 Jan 2026 01:00:00 +0000\r\n"+
		"Received: nonsense\r\nDate: Thu, 1 Jan 2026 10:00:00 +0200 (EET)\r\n\r\n")
	if got := h.Arrived(); !got.Equal(time.Date(2026, 1, 2, 2, 4, 5, 0, time.UTC)) {
		t.Error(got)
	}
	if got := h.Date(); !got.Equal(time.Date(2026, 1, 1, 8, 0, 0, 0, time.UTC)) {
		t.Error(got)
	}
	if h := read(t, "Date: yesterday\r\n\r\n"); !h.Date().IsZero() || !h.Arrived().IsZero() {
		t.Error("a date out of nothing")
	}
}

func FuzzReadHeader(f *testing.F) {
	f.Add("Subject: =?utf-8?Q?a?=\r\n b\r\nTo: a@b.c\r\n\r\nbody")
	f.Fuzz(func(t *testing.T, raw string) {
		h := read(t, raw)
		for _, field := range h.Fields {
			h.Text(field.Name)
			h.Addresses(field.Name)
		}
		h.Date()
		h.Arrived()
	})
}
