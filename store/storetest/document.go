package storetest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"time"

	"postroom/store"
)

// received is the date of documents whose date does not matter.
func received() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }

// sourceName is the source of documents whose source does not matter.
const sourceName = "invoices"

// NewDocument returns a document of one message. The seed makes its id and
// content unique.
func NewDocument(seed string) *store.Document {
	content := []byte("Subject: " + seed + "\r\n\r\nHello.\r\n")
	id := sha256.Sum256([]byte("id of " + seed))
	return &store.Document{
		ID:    hex.EncodeToString(id[:]),
		Title: seed,
		Class: "Invoice",
		Origin: store.Origin{
			Source:   sourceName,
			Type:     "imap",
			Received: received(),
			Wire:     "original",
			Size:     int64(len(content)),
			SHA256:   sha256.Sum256(content),
		},
		Filed: received().Add(time.Minute),
		Files: []store.File{NewFile("message.eml", store.RoleMessage, content)},
	}
}

// NewFile returns a file of a document with that content.
func NewFile(name string, role store.Role, content []byte) store.File {
	return store.File{
		Name:      name,
		Role:      role,
		MediaType: "application/octet-stream",
		Size:      int64(len(content)),
		SHA256:    sha256.Sum256(content),
		Open:      func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil },
	}
}

// manyDocuments returns n documents with an attachment each.
func manyDocuments(prefix string, n int) []*store.Document {
	documents := make([]*store.Document, n)
	for i := range documents {
		d := NewDocument(fmt.Sprintf("%s %d", prefix, i))
		d.Files = append(d.Files, NewFile("scan.pdf", store.RoleAttachment, bytes.Repeat([]byte{byte(i)}, 1+i*97)))
		documents[i] = d
	}
	return documents
}
