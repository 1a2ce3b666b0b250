package store

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"time"
)

// DocumentFile is the name of the file that describes a document beside its
// files. No file of a document may have it.
const DocumentFile = "document.json"

// The types below are document.json; their order is the order of its keys.
type (
	documentJSON struct {
		ID          string     `json:"id,omitempty"`
		Title       string     `json:"title,omitempty"`
		Class       string     `json:"class,omitempty"`
		MultiFile   bool       `json:"multi_file"`
		Permissions string     `json:"permissions,omitempty"`
		Properties  []Property `json:"properties,omitempty"`
		Origin      originJSON `json:"origin,omitzero"`
		Filed       time.Time  `json:"filed,omitzero"`
		Files       []fileJSON `json:"files"`
		Notes       []string   `json:"notes,omitempty"`
	}
	originJSON struct {
		Source    string    `json:"source,omitempty"`
		Type      string    `json:"type,omitempty"`
		Mailbox   string    `json:"mailbox,omitempty"`
		Folder    string    `json:"folder,omitempty"`
		ServerID  string    `json:"server_id,omitempty"`
		MessageID string    `json:"message_id,omitempty"`
		Received  time.Time `json:"received,omitzero"`
		Wire      string    `json:"wire,omitempty"`
		Size      *int64    `json:"size,omitempty"`
		SHA256    digest    `json:"sha256,omitzero"`
	}
	fileJSON struct {
		Name      string `json:"name"`
		Role      Role   `json:"role"`
		MediaType string `json:"media_type,omitempty"`
		Size      int64  `json:"size"`
		SHA256    digest `json:"sha256"`
	}
)

type digest [32]byte

func (d digest) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, d[:]), nil }

func (d *digest) UnmarshalText(text []byte) error {
	if len(text) != hex.EncodedLen(len(d)) {
		return fmt.Errorf("%q is not the SHA-256 in hex", text)
	}
	_, err := hex.Decode(d[:], text)
	return err
}

// MarshalDocument returns document.json of d: indented, ending in a newline,
// absent values left out, times in UTC. The origin's size is absent if its
// SHA-256 is zero.
func MarshalDocument(d *Document) ([]byte, error) {
	m := documentJSON{
		ID:          d.ID,
		Title:       d.Title,
		Class:       d.Class,
		MultiFile:   len(d.Files) > 1,
		Permissions: d.Permissions,
		Properties:  d.Properties,
		Origin: originJSON{
			Source:    d.Origin.Source,
			Type:      d.Origin.Type,
			Mailbox:   d.Origin.Mailbox,
			Folder:    d.Origin.Folder,
			ServerID:  d.Origin.ServerID,
			MessageID: d.Origin.MessageID,
			Received:  d.Origin.Received.UTC(),
			Wire:      d.Origin.Wire,
			SHA256:    d.Origin.SHA256,
		},
		Filed: d.Filed.UTC(),
		Files: make([]fileJSON, len(d.Files)),
		Notes: d.Notes,
	}
	if m.Origin.SHA256 != (digest{}) {
		m.Origin.Size = &d.Origin.Size
	}
	for i, f := range d.Files {
		m.Files[i] = fileJSON{f.Name, f.Role, f.MediaType, f.Size, f.SHA256}
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(m); err != nil {
		return nil, fmt.Errorf("encode %s: %w", DocumentFile, err)
	}
	return b.Bytes(), nil
}

// ParseDocument reads what MarshalDocument wrote; the files' Open is nil. It is
// strict: apart from white space and the order of keys, data must be exactly
// what MarshalDocument makes of the result.
func ParseDocument(data []byte) (*Document, error) {
	d, err := parseDocument(data)
	if err != nil {
		return nil, fmt.Errorf("parse %s: %w", DocumentFile, err)
	}
	return d, nil
}

func parseDocument(data []byte) (*Document, error) {
	var m documentJSON
	r := json.NewDecoder(bytes.NewReader(data))
	r.DisallowUnknownFields()
	if err := r.Decode(&m); err != nil {
		return nil, err
	}
	if _, err := r.Token(); err != io.EOF {
		return nil, errors.New("text after the end of the object")
	}
	d := m.document()
	again, err := MarshalDocument(d)
	if err != nil {
		return nil, err
	}
	same, err := equalJSON(data, again)
	if err != nil {
		return nil, err
	}
	if !same {
		return nil, errors.New("values are not written as postroom writes them")
	}
	return d, nil
}

func (m *documentJSON) document() *Document {
	d := &Document{
		ID:          m.ID,
		Title:       m.Title,
		Class:       m.Class,
		Permissions: m.Permissions,
		Properties:  m.Properties,
		Origin: Origin{
			Source:    m.Origin.Source,
			Type:      m.Origin.Type,
			Mailbox:   m.Origin.Mailbox,
			Folder:    m.Origin.Folder,
			ServerID:  m.Origin.ServerID,
			MessageID: m.Origin.MessageID,
			Received:  m.Origin.Received,
			Wire:      m.Origin.Wire,
			SHA256:    m.Origin.SHA256,
		},
		Filed: m.Filed,
		Files: make([]File, len(m.Files)),
		Notes: m.Notes,
	}
	if m.Origin.Size != nil {
		d.Origin.Size = *m.Origin.Size
	}
	for i, f := range m.Files {
		d.Files[i] = File{Name: f.Name, Role: f.Role, MediaType: f.MediaType, Size: f.Size, SHA256: f.SHA256}
	}
	return d
}

func equalJSON(a, b []byte) (bool, error) {
	var values [2]any
	for i, data := range [][]byte{a, b} {
		r := json.NewDecoder(bytes.NewReader(data))
		r.UseNumber()
		if err := r.Decode(&values[i]); err != nil {
			return false, err
		}
	}
	return reflect.DeepEqual(values[0], values[1]), nil
}
