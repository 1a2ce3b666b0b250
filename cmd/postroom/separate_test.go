package main

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"postroom/internal/dovecot"
	"postroom/store"
)

// The configuration's rules of a document hold from the server to the disk.
func TestRulesOfADocument(t *testing.T) {
	o := newOffice(t, dovecot.Options{})
	o.configure(`
separate_attachments: true
keep_original: true
only: {from: ["*@supplier.example"]}
document:
  class: Invoice
  title: "{subject}"
  properties:
    - {name: Department, value: Finance}
    - {name: Number, read: subject, match: 'INV-(\d+)', required: true}`)
	mail := func(from, subject string) []byte {
		return []byte(strings.ReplaceAll("From: "+from+"\nSubject: "+subject+"\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n"+
			"--b\nContent-Type: text/plain\n\nPlease pay.\n"+
			"--b\nContent-Type: application/pdf; name=scan.pdf\nContent-Transfer-Encoding: base64\n\nJVBERi0xLjcK\n--b--\n", "\n", "\r\n"))
	}
	o.deliver("INBOX", mail("a@supplier.example", "INV-7"))
	o.deliver("INBOX", mail("a@supplier.example", "no number"))
	o.deliver("INBOX", mail("b@other.example", "INV-8"))
	if s := o.once(); s.Filed != 1 || s.Quarantined != 1 || s.Failed != 0 {
		t.Errorf("%+v", s)
	}
	found, err := filepath.Glob(filepath.Join(o.dir, "documents/office/*/*/*/INV-7~*"))
	if err != nil || len(found) != 1 {
		t.Fatalf("%q, %v", found, err)
	}
	raw, err := os.ReadFile(filepath.Join(found[0], store.DocumentFile))
	if err != nil {
		t.Fatal(err)
	}
	contains(t, string(raw), `"class": "Invoice"`, `"Finance"`, `"value": "7"`, `"multi_file": true`, `"role": "attachment"`, `"role": "original"`, `"application/pdf"`)
	for name, want := range map[string]string{
		"scan.pdf":     "%PDF-1.7\n",
		"original.eml": string(mail("a@supplier.example", "INV-7")),
	} {
		got, err := os.ReadFile(filepath.Join(found[0], name))
		if err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	message, err := os.ReadFile(filepath.Join(found[0], "message.eml"))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte("%PDF-1.7\n"))
	contains(t, string(message), "Please pay.", "scan.pdf", hex.EncodeToString(sum[:]))
	if strings.Contains(string(message), "JVBERi0") {
		t.Error("the attachment is still in the message")
	}
	if s := o.once(); s.Filed != 0 || s.Duplicates != 0 {
		t.Errorf("again: %+v", s)
	}
}
