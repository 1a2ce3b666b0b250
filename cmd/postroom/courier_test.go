//go:build unix

package main

import (
	"fmt"
	"testing"
	"time"

	"postroom/internal/courier"
	"postroom/internal/dovecot"
)

// What is true of Dovecot is true of a server of another family: each message is
// filed once, octet for octet, over IMAP and POP3, also by runs that follow another.
func TestFilesFromCourier(t *testing.T) {
	o := newOffice(t, dovecot.Options{})
	server := courier.Start(t, courier.Options{Users: map[string]string{"office": marker}})
	n := 0
	send := func(folder ...string) {
		t.Helper()
		n++
		raw := fmt.Appendf(nil, "Message-ID: <%d@example.com>\r\nSubject: Größe %d\r\n\r\n.Text\r\n", n, n)
		if err := server.Deliver("office", folder, raw, time.Date(2026, 3, 4, 5, 6, n, 0, time.UTC), false); err != nil {
			t.Fatal(err)
		}
		o.sent[sum(raw)]++
	}
	file := func(want, known int) {
		t.Helper()
		if s := o.once(); s.Filed != want || s.Duplicates != known || s.Failed != 0 || s.Error != "" {
			t.Errorf("%+v, want %d filed and %d duplicates", s, want, known)
		}
	}
	holds := func(want int, folder ...string) {
		t.Helper()
		if messages, err := server.Snapshot("office", folder); err != nil || len(messages) != want {
			t.Errorf("%v: %d messages, %v; want %d", folder, len(messages), err, want)
		}
	}
	configure := func(typ, address, keys string) {
		o.configure(fmt.Sprintf("%sserver: %s\nca_file: %s\n%s", typ, address, server.CAFile(), keys))
	}

	for range 5 {
		send()
		send("Größe & Co")
	}
	configure("", server.IMAPS(), "folders: [Inbox, Inbox/Größe & Co]")
	file(10, 0)
	file(0, 0)
	send()
	file(1, 0)
	configure("", server.IMAPS(), "folders: [Inbox, Inbox/Größe & Co]\nafter_filing: move\nfiled_folder: Inbox/Filed")
	send("Größe & Co")
	file(1, 0)
	holds(5, "Größe & Co")
	holds(1, "Filed")

	for range 5 {
		send()
	}
	// Six are there that were filed over IMAP.
	configure("type: pop3\n", server.POP3S(), "after_filing: delete")
	file(5, 6)
	holds(0)
	o.judge()
}
