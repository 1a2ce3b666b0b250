// Package document makes documents of messages: which files, which names, which
// title, and the identity by which a message is recognised again.
package document

import (
	"io"
	"strings"
	"time"

	"postroom/ingest/message"
	"postroom/sources"
	"postroom/store"
)

// Rules say what a source's documents look like. They are applied when a
// message is looked at; a change of them never alters a filed document.
type Rules struct {
	Title       string // template, see Expand
	Class       string
	Permissions string
	Properties  []Property
	Only        Filter
}

// Input is a message as it was received.
type Input struct {
	Source, Type, Mailbox, Folder, Key string

	Received time.Time // the server's date of arrival; zero if it has none
	Fetched  time.Time
	Wire     sources.Wire
	Notes    []string

	Size     int64
	SHA256   [32]byte
	Open     func() (io.ReadCloser, error) // the raw bytes
	Held     bool                          // they are in memory
	Header   *message.Header
	Identity Fingerprint
}

// Make returns the document of a message. It is the same at every call with the
// same input and rules, except for Filed, which the caller sets.
func Make(in Input, rules Rules) *store.Document {
	received := Arrived(in.Received, in.Header, in.Fetched)
	d := &store.Document{
		ID:          ID(in.Source, in.Identity, ""),
		Title:       Expand(rules.Title, in),
		Class:       rules.Class,
		Permissions: rules.Permissions,
		Origin: store.Origin{
			Source:    in.Source,
			Type:      in.Type,
			Mailbox:   in.Mailbox,
			Folder:    in.Folder,
			ServerID:  in.Key,
			MessageID: in.Header.Raw("Message-ID"),
			Received:  received.UTC().Truncate(time.Second),
			Wire:      string(in.Wire),
			Size:      in.Size,
			SHA256:    in.SHA256,
		},
		Files: []store.File{{
			Name:      "message.eml",
			Role:      store.RoleMessage,
			MediaType: "message/rfc822",
			Size:      in.Size,
			SHA256:    in.SHA256,
			Open:      in.Open,
			Held:      in.Held,
		}},
		Notes: append(append([]string(nil), in.Notes...), in.Header.Notes...),
	}
	return d
}

// Expand replaces the words in braces of a template by what the message says;
// "{{" and "}}" stand for a brace. White space is collapsed.
func Expand(template string, in Input) string {
	var b strings.Builder
	for s := template; s != ""; {
		switch i := strings.IndexAny(s, "{}"); {
		case i < 0:
			b.WriteString(s)
			s = ""
		case strings.HasPrefix(s[i:], "{{"), strings.HasPrefix(s[i:], "}}"):
			b.WriteString(s[:i+1])
			s = s[i+2:]
		default:
			b.WriteString(s[:i])
			word, rest, ok := strings.Cut(s[i+1:], "}")
			if s[i] == '}' || !ok {
				b.WriteString(s[i:])
				s = ""
				break
			}
			b.WriteString(in.titleWord(word))
			s = rest
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}
