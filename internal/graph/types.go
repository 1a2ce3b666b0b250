package graph

import (
	"bytes"
	"encoding/json"
	"time"
)

// Folder is a mail folder.
type Folder struct {
	Type     string `json:"@odata.type"`
	ID       string `json:"id"`
	Name     string `json:"displayName"`
	Parent   string `json:"parentFolderId"`
	Children int    `json:"childFolderCount"`
	Messages int    `json:"totalItemCount"`
	Hidden   flag   `json:"isHidden"`
}

// Search reports whether the folder shows messages that are in others.
func (f *Folder) Search() bool { return f.Type == "#microsoft.graph.mailSearchFolder" }

// Item is a message as a listing has it.
type Item struct {
	Type     string `json:"@odata.type"`
	ID       string `json:"id"`
	Received stamp  `json:"receivedDateTime"`
	Read     flag   `json:"isRead"`
	Draft    flag   `json:"isDraft"`
	// Modified is asked for by some listings only.
	Modified stamp `json:"lastModifiedDateTime"`
	// Removed is set when the message is no longer in the folder.
	Removed *struct{} `json:"@removed"`

	MessageID string   `json:"internetMessageId"`
	Headers   []Header `json:"internetMessageHeaders"`
	Subject   string   `json:"subject"`
	From      *Address `json:"from"`
}

// Message is what a message is rebuilt from.
type Message struct {
	Item
	Sent           stamp      `json:"sentDateTime"`
	Sender         *Address   `json:"sender"`
	To             []*Address `json:"toRecipients"`
	Cc             []*Address `json:"ccRecipients"`
	Bcc            []*Address `json:"bccRecipients"`
	ReplyTo        []*Address `json:"replyTo"`
	Importance     string     `json:"importance"`
	HasAttachments flag       `json:"hasAttachments"`
	Body           struct {
		Type    string `json:"contentType"`
		Content string `json:"content"`
	} `json:"body"`
}

// Header is a line of a message's header.
type Header struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Address is a recipient or a sender.
type Address struct {
	Email struct {
		Name    string `json:"name"`
		Address string `json:"address"`
	} `json:"emailAddress"`
}

// Attachment is an attachment without its content.
type Attachment struct {
	Type        string `json:"@odata.type"`
	ID          string `json:"id"`
	Name        string `json:"name"`
	ContentType string `json:"contentType"`
	Size        int64  `json:"size"`
	Inline      flag   `json:"isInline"`
	ContentID   string `json:"contentId"`
	SourceURL   string `json:"sourceUrl"`
}

// flag is a boolean that some answers have as a string.
type flag bool

func (f *flag) UnmarshalJSON(data []byte) error {
	*f = flag(bytes.EqualFold(bytes.Trim(data, `"`), []byte("true")))
	return nil
}

// stamp is a time that may be missing or damaged, and then is zero.
type stamp struct{ time.Time }

func (s *stamp) UnmarshalJSON(data []byte) error {
	s.Time = time.Time{}
	var text string
	if json.Unmarshal(data, &text) != nil {
		return nil
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil && at.Year() > 1601 {
		s.Time = at.UTC()
	}
	return nil
}
