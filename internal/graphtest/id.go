package graphtest

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
)

// Kinds of identifiers.
const (
	folderKind     = 0x2e
	messageKind    = 0x46
	immutableKind  = 0x09
	attachmentKind = 0x12
)

// makeID returns an identifier as Exchange's look: long, alike for all that is in
// a mailbox, and different in case alone at times. A number is given once for a
// kind.
func (m *Mailbox) makeID(kind byte, number uint64) string {
	b := []byte{0, 3, 0x24, 0}
	if kind == immutableKind {
		b = []byte{0, 9, 0, 0x2e, 0}
	}
	b = append(b, m.id...)
	b = append(b, kind, 0, 0, 0, 0, 0)
	b = append(b, m.store[:]...)
	b = append(b, 7, 0)
	b = binary.BigEndian.AppendUint64(b, number)
	b = append(b, 0, 0)
	return base64.URLEncoding.EncodeToString(b)
}

// wellFormed reports whether a text looks like an identifier.
func wellFormed(id string) bool {
	b, err := base64.URLEncoding.DecodeString(id)
	return err == nil && len(b) > 40
}

// guid returns an identifier in the form of a GUID, always the same for the same
// words.
func guid(words ...any) string {
	sum := sha256.Sum256(fmt.Append(nil, words...))
	sum[6], sum[8] = sum[6]&0x0f|0x40, sum[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", sum[:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16])
}
