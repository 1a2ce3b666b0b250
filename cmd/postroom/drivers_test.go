package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/zap"

	"postroom/cmd/postroom/config"
)

// What a source says of its documents and its filter reaches the engine whole.
func TestMailboxHasTheRules(t *testing.T) {
	t.Setenv("BOX_PASSWORD", "x")
	file := filepath.Join(t.TempDir(), "config.yaml")
	text := `version: 1
repository: {type: filesystem, path: ./documents}
credentials:
  - {name: box, type: password, username: u, password: "${env:BOX_PASSWORD}"}
sources:
  - name: one
    type: imap
    credentials: box
    server: imap.example.com
    format: msg
    separate_attachments: true
    keep_original: true
    only: {unread: true, since: 2024-01-01, max_size: 150MB, from: ["*@supplier.com"], subject: ["INV-*"]}
    document:
      class: Invoice
      title: "{importance}"
      permissions: Accounts only
      properties:
        - {name: Department, value: Finance}
        - {name: Number, read: subject, match: 'INV-(\d+)', required: true}
        - {name: Ticket, read: "header:X-Ticket", default: none}
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(file, configDrivers())
	if err != nil {
		t.Fatal(err)
	}
	rules := mailbox(c.Sources[0], zap.NewNop()).Rules
	if rules.Class != "Invoice" || rules.Title != "{importance}" || rules.Permissions != "Accounts only" || len(rules.Properties) != 3 ||
		!rules.Outlook || !rules.SeparateAttachments || !rules.KeepOriginal {
		t.Fatalf("%+v", rules)
	}
	fixed, number, ticket := rules.Properties[0], rules.Properties[1], rules.Properties[2]
	if fixed.Name != "Department" || fixed.Value != "Finance" || fixed.Read != "" ||
		number.Name != "Number" || number.Read != "subject" || number.Match.String() != `INV-(\d+)` || !number.Required ||
		ticket.Read != "header:X-Ticket" || ticket.Default != "none" || ticket.Required || ticket.Match != nil {
		t.Errorf("%+v", rules.Properties)
	}
	only := rules.Only
	if !only.Unread || !only.Since.Equal(time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)) || only.MaxSize != 150e6 ||
		len(only.From) != 1 || !only.From[0].Match("A@supplier.com") || only.From[0].Match("INV-1") ||
		len(only.Subject) != 1 || !only.Subject[0].Match("inv-1") {
		t.Errorf("%+v", only)
	}
}
