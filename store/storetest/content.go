package storetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"

	"postroom/store"
)

func hostileTitles() []string {
	return []string{
		"", " ", ".", "..", "...", "../../etc/passwd", "/", `\\server\share`, `C:\Windows`, "a/b\\c", "CON", "nul.txt", "com1",
		"LPT¹", "trailing dots...", "trailing spaces   ", "  leading", ".hidden", ".incoming", "two\nlines\r\n", "tab\there",
		"nul\x00byte", "invalid \xff\xfe UTF-8", "\u202egnp.exe", "\u200b\u200c\u200d\ufeff", "שלום عليكم", "👩‍👩‍👧‍👦 🇩🇪 👍🏽",
		"e\u0301 and é", "\u0301", "tilde~000000000000", "~", "<b>&amp;</b>", `"quoted" 'single' | * ?`, "$(reboot) `id` %PATH% %s",
		"-rf", strings.Repeat("long ", 400), strings.Repeat("語", 300), strings.Repeat("👩‍👩‍👧", 60), "a" + strings.Repeat("\u0323", 500),
		"{\"id\": 1}", "\u2028\u2029\u0085",
	}
}

// testDescription compares document.json value by value.
func testDescription(t *testing.T, open func(t *testing.T) Harness) {
	h, r := start(t, open)

	full := NewDocument("all values")
	full.Title = "Re: <Angebot> & mehr ü"
	full.Permissions = "Accounts only"
	full.Properties = []store.Property{{Name: "Sender", Value: "a@b.c"}, {Name: "Sender", Value: ""}}
	full.Origin = store.Origin{
		Source: sourceName, Type: "imap", Mailbox: "in@contoso.com", Folder: "Inbox/Sub", ServerID: "7:42",
		MessageID: "<1@b.c>", Wire: "original", Size: 12, SHA256: sha256.Sum256([]byte("raw")),
		Received: time.Date(2026, 1, 2, 0, 30, 0, 0, time.FixedZone("CET", 3600)),
	}
	full.Filed = time.Date(2026, 1, 2, 4, 5, 0, 0, time.FixedZone("CET", 3600))
	full.Notes = []string{"an attachment was damaged"}
	full.Files = append(full.Files, NewFile("scan.pdf", store.RoleAttachment, []byte("%PDF")))

	least := NewDocument("no values")
	least.Title, least.Class, least.Filed = "", "", time.Time{}
	least.Origin = store.Origin{Source: sourceName, Received: received()}
	least.Files = []store.File{NewFile("message.msg", store.RoleMessage, nil)}
	least.Files[0].MediaType = ""

	message := fmt.Sprintf("%x", full.Files[0].SHA256)
	for _, tt := range []struct {
		d    *store.Document
		want string
	}{
		{full, `{"id": "` + full.ID + `", "title": "Re: <Angebot> & mehr ü", "class": "Invoice", "multi_file": true,
			"permissions": "Accounts only",
			"properties": [{"name": "Sender", "value": "a@b.c"}, {"name": "Sender", "value": ""}],
			"origin": {"source": "invoices", "type": "imap", "mailbox": "in@contoso.com", "folder": "Inbox/Sub",
				"server_id": "7:42", "message_id": "<1@b.c>", "received": "2026-01-01T23:30:00Z", "wire": "original",
				"size": 12, "sha256": "d7439bee24773bcbfa2d0a97947ee36227b10d1022b1a55847e928965bb6bfde"},
			"filed": "2026-01-02T03:05:00Z",
			"files": [
				{"name": "message.eml", "role": "message", "media_type": "application/octet-stream", "size": 31, "sha256": "` + message + `"},
				{"name": "scan.pdf", "role": "attachment", "media_type": "application/octet-stream", "size": 4,
				"sha256": "315d429b7714cedb6ad04ac31240145257692630457f3c88253c5beceac76027"}],
			"notes": ["an attachment was damaged"]}`},
		{least, `{"id": "` + least.ID + `", "multi_file": false,
			"origin": {"source": "invoices", "received": "2026-01-02T03:04:05Z"},
			"files": [{"name": "message.msg", "role": "message", "size": 0,
				"sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}]}`},
	} {
		receipt := put(t, r, tt.d)
		got := compact(t, h.List(t)[receipt.Location].Description)
		if want := compact(t, []byte(tt.want)); got != want {
			t.Errorf("description is\n%s\nwant\n%s", got, want)
		}
	}
}

func compact(t *testing.T, data []byte) string {
	t.Helper()
	var b bytes.Buffer
	if err := json.Compact(&b, data); err != nil {
		t.Fatalf("description is no JSON: %v\n%s", err, data)
	}
	return b.String()
}

// testLarge puts a file of 64 MB and measures the memory that it takes.
func testLarge(t *testing.T, open func(t *testing.T) Harness) {
	const size, bound = 64 << 20, 16 << 20
	h, r := start(t, open)
	random := func() io.Reader { return io.LimitReader(rand.NewChaCha8([32]byte{1}), size) }
	hash := sha256.New()
	if _, err := io.Copy(hash, random()); err != nil {
		t.Fatal(err)
	}
	d := NewDocument("large")
	d.Files[0].Size = size
	d.Files[0].SHA256 = [32]byte(hash.Sum(nil))
	d.Files[0].Open = func() (io.ReadCloser, error) { return io.NopCloser(random()), nil }

	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := r.Put(context.Background(), d)
	runtime.ReadMemStats(&after)
	if err != nil {
		t.Fatalf("Put: %v", err)
	}
	if allocated := after.TotalAlloc - before.TotalAlloc; allocated > bound {
		t.Errorf("Put allocated %d bytes for a file of %d, want at most %d", allocated, size, bound)
	}
	expect(t, h, r, d)
}
