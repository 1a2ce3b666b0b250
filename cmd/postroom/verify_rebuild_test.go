package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"postroom/internal/dovecot"
)

// order is a message with an attachment, as its sender wrote it.
const order = "Message-ID: <order@example.com>\r\nFrom: a@example.com\r\nTo: office@example.com\r\nDate: Mon, 5 Jan 2026 10:00:00 +0100\r\nSubject: Order\r\n" +
	"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nTen boxes.\r\n" +
	"--b\r\nContent-Type: application/pdf; name=order.pdf\r\nContent-Disposition: attachment; filename=order.pdf\r\n\r\n%PDF-1.7\r\n--b--\r\n"

// orderAgain is the same message as another server gives it, without its
// Message-ID; orderPlainer is it with another version of the text.
var orderAgain = strings.NewReplacer("Message-ID: <order@example.com>", "Received: from x by y; Mon, 5 Jan 2026 10:00:01 +0100",
	"boundary=b", "boundary=other", "--b", "--other", "From: a@example.com", "From: \"A\" <A@example.com>",
	"+0100\r\nSubject: Order", "+0100\r\nSubject: =?utf-8?Q?Order?=", "\r\n\r\n%PDF-1.7\r\n", "\r\nContent-Transfer-Encoding: base64\r\n\r\nJVBERi0xLjc=\r\n").Replace(order)

// A message that was filed is recognised in another rendering after the ledger
// was made anew, as far as that can be told from the repository or the old
// ledger; of how many it cannot is said.
func TestRebuiltLedgerRecognisesRenderings(t *testing.T) {
	for _, tt := range []struct {
		name      string
		source    string
		lost      bool // the old ledger
		bytesOnly int
	}{
		{"as received", "", true, 0},
		{"with its original", "separate_attachments: true\nkeep_original: true", true, 0},
		{"separated", "separate_attachments: true", true, 1},
		{"separated, with the old ledger", "separate_attachments: true", false, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := newOffice(t, dovecot.Options{})
			o.configure("folders: [Inbox]\n" + tt.source)
			o.deliver("INBOX", []byte(order))
			if s := o.once(); s.Filed != 1 {
				t.Fatalf("%+v", s)
			}
			path := filepath.Join(o.dir, "state", "postroom.db")
			if tt.lost {
				if err := errors.Join(os.Remove(path), os.Remove(path+".closed")); err != nil {
					t.Fatal(err)
				}
			}
			v := o.verify(0, "--rebuild-ledger")
			if v.Rebuilt.Documents != 1 || v.Rebuilt.BytesOnly != tt.bytesOnly {
				t.Errorf("%+v", v.Rebuilt)
			}
			if s := o.once(); s.Filed != 0 || s.Duplicates != 0 {
				t.Errorf("after the ledger was made anew: %+v", s)
			}
			o.deliver("INBOX", []byte(orderAgain))
			if s := o.once(); s.Filed != tt.bytesOnly || s.Duplicates != 1-tt.bytesOnly {
				t.Errorf("another rendering: %+v", s)
			}
			o.verify(0)
			r := o.run("verify", "--rebuild-ledger")
			if said := strings.Contains(r.err, "the messages of 1 document are not"); said != (tt.bytesOnly > 0) {
				t.Errorf("said: %s", r.err)
			}
		})
	}
}

// What is the same but for a version of its text is told apart, and filed, also
// after the ledger was made anew.
func TestRebuiltLedgerTellsVariantsApart(t *testing.T) {
	const mail = "Message-ID: <v@example.com>\r\nFrom: a@example.com\r\nDate: Mon, 5 Jan 2026 10:00:00 +0100\r\nSubject: Order\r\n" +
		"Content-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\n\r\nTen boxes.\r\n--b\r\nContent-Type: text/html\r\n\r\n<p>Ten boxes.\r\n--b--\r\n"
	o := newOffice(t, dovecot.Options{})
	o.configure("folders: [Inbox]")
	o.deliver("INBOX", []byte(mail))
	o.once()
	o.verify(0, "--rebuild-ledger")
	o.deliver("INBOX", []byte(strings.Replace(mail, "Ten", "Two", 1)))
	if s := o.once(); s.Filed != 1 || s.Duplicates != 0 {
		t.Errorf("%+v", s)
	}
}
