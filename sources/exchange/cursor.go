package exchange

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"strings"

	"postroom/sources"
)

// The kinds of cursors.
const (
	changesCursor = "delta"
	sweepCursor   = "sweep"
)

// cursor is what a cursor says, as JSON.
type cursor struct {
	Kind string `json:"kind"`
	// Link is where the listing goes on; empty for its beginning.
	Link string `json:"link,omitempty"`
	// Done are those messages of the page that Link leads to which have been
	// returned, as hashes of their keys.
	Done []string `json:"done,omitempty"`
	// Round is when the round ended whose end Link is (Unix seconds); 0 within a
	// round.
	Round int64 `json:"round,omitempty"`

	sweep
}

// text returns the cursor as printable text.
func (c cursor) text() sources.Cursor {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if e.Encode(c) != nil {
		return ""
	}
	return sources.Cursor(strings.TrimSpace(b.String()))
}

// parseCursor reads a cursor of the kind. One that cannot be read covers
// nothing.
func parseCursor(text sources.Cursor, kind string) cursor {
	var c cursor
	if json.Unmarshal([]byte(text), &c) != nil || c.Kind != kind {
		return cursor{Kind: kind}
	}
	return c
}

// hash is short enough for a cursor, and long enough that no two keys share one.
func hash(key string) string {
	sum := sha256.Sum256([]byte(key))
	return base64.RawURLEncoding.EncodeToString(sum[:15])
}
