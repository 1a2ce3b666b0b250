package graph

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/microsoftgraph/msgraph-sdk-go/models"
	"github.com/microsoftgraph/msgraph-sdk-go/users"
)

// maxAnswer bounds an answer that is read whole.
const maxAnswer = 64 << 20

// immutable makes the ids of a request those that survive a move.
func immutable(req *http.Request) *http.Request {
	req.Header.Add("Prefer", `IdType="ImmutableId"`)
	return req
}

func pageSize(req *http.Request, n int) *http.Request {
	req.Header.Add("Prefer", "odata.maxpagesize="+strconv.Itoa(n))
	return req
}

// read sends the request and reads the answer, JSON, into v; nil for none. An
// answer that does not arrive whole is asked for again.
func (m *Mailbox) read(req *http.Request, v any) error {
	for try := 1; ; try++ {
		err := m.readOnce(req, v)
		var lost *ConnError
		if try >= maxTries || !errors.As(err, &lost) || !lost.broken || req.Context().Err() != nil {
			return err
		}
	}
}

func (m *Mailbox) readOnce(req *http.Request, v any) error {
	resp, err := m.send(req)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	// What was read is whole, or an error says so.
	_ = resp.Body.Close()
	switch {
	case err != nil && req.Context().Err() != nil:
		return context.Cause(req.Context())
	case err != nil:
		return err
	case len(body) > maxAnswer:
		return &ConnError{Host: m.host, Summary: fmt.Sprintf("the answer has more than %d bytes", maxAnswer)}
	case v == nil:
		return nil
	}
	if err := json.Unmarshal(body, v); err != nil {
		return &ConnError{Host: m.host, Summary: "the answer cannot be read", broken: true, Err: errors.New(m.settings.scrub(err.Error()))}
	}
	return nil
}

func (m *Mailbox) user() *users.UserItemRequestBuilder { return m.builder.ByUserId(m.address) }

// link returns a request for a link that the server gave: it is opaque, and
// must lead to the same server.
func (m *Mailbox) link(ctx context.Context, link string) (*http.Request, error) {
	u, err := url.Parse(link)
	if err != nil || !strings.EqualFold(u.Scheme, "https") || !strings.EqualFold(u.Host, m.host) || u.User != nil ||
		!strings.HasPrefix(strings.ToLower("https://"+u.Host+u.Path), strings.ToLower(m.cloud.Endpoint+"/v1.0/users")) {
		return nil, ErrForeignLink
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, link, nil)
	if err != nil {
		return nil, ErrForeignLink
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "postroom")
	return req, nil
}

var folderFields = []string{"id", "displayName", "parentFolderId", "childFolderCount", "totalItemCount", "isHidden"}

// folderPage is how many folders are asked for at once; the default is ten.
const folderPage = 250

// Folder returns the folder of an id or a well-known name, such as "inbox".
func (m *Mailbox) Folder(ctx context.Context, id string) (*Folder, error) {
	b := m.user().MailFolders().ByMailFolderId(id)
	info, err := b.ToGetRequestInformation(ctx, &users.ItemMailFoldersMailFolderItemRequestBuilderGetRequestConfiguration{
		QueryParameters: &users.ItemMailFoldersMailFolderItemRequestBuilderGetQueryParameters{Select: folderFields},
	})
	req, err := m.native(ctx, info, err)
	if err != nil {
		return nil, err
	}
	var f Folder
	if err := m.read(req, &f); err != nil {
		return nil, err
	}
	return &f, nil
}

// Children returns the folders right below the one of the id, or those at the
// top for "". Hidden ones are among them.
func (m *Mailbox) Children(ctx context.Context, id string) ([]*Folder, error) {
	hidden, top := "true", int32(folderPage)
	var req *http.Request
	if id == "" {
		info, err := m.user().MailFolders().ToGetRequestInformation(ctx, &users.ItemMailFoldersRequestBuilderGetRequestConfiguration{
			QueryParameters: &users.ItemMailFoldersRequestBuilderGetQueryParameters{IncludeHiddenFolders: &hidden, Top: &top, Select: folderFields},
		})
		if req, err = m.native(ctx, info, err); err != nil {
			return nil, err
		}
	} else {
		info, err := m.user().MailFolders().ByMailFolderId(id).ChildFolders().ToGetRequestInformation(ctx, &users.ItemMailFoldersItemChildFoldersRequestBuilderGetRequestConfiguration{
			QueryParameters: &users.ItemMailFoldersItemChildFoldersRequestBuilderGetQueryParameters{IncludeHiddenFolders: &hidden, Top: &top, Select: folderFields},
		})
		if req, err = m.native(ctx, info, err); err != nil {
			return nil, err
		}
	}
	var all []*Folder
	return all, eachPage(ctx, m, req, func(f *Folder) { all = append(all, f) })
}

// maxPages bounds a listing that is read whole.
const maxPages = 10_000

// eachPage reads all pages of a collection, without elements that are null.
func eachPage[T any](ctx context.Context, m *Mailbox, req *http.Request, add func(*T)) error {
	seen := make(map[string]bool)
	for range maxPages {
		var page struct {
			Value []*T   `json:"value"`
			Next  string `json:"@odata.nextLink"`
		}
		if err := m.read(req, &page); err != nil {
			return err
		}
		for _, v := range page.Value {
			if v != nil {
				add(v)
			}
		}
		if page.Next == "" {
			return nil
		}
		if seen[page.Next] {
			return &ConnError{Host: m.host, Summary: "the pages of the answer go round in a circle"}
		}
		seen[page.Next] = true
		var err error
		if req, err = m.link(ctx, page.Next); err != nil {
			return err
		}
	}
	return &ConnError{Host: m.host, Summary: "the answer has no end"}
}

// CreateFolder makes a folder below the one of the id, or at the top for "".
func (m *Mailbox) CreateFolder(ctx context.Context, parent, name string) (*Folder, error) {
	body := models.NewMailFolder()
	body.SetDisplayName(&name)
	var req *http.Request
	if parent == "" {
		info, err := m.user().MailFolders().ToPostRequestInformation(ctx, body, nil)
		if req, err = m.native(ctx, info, err); err != nil {
			return nil, err
		}
	} else {
		info, err := m.user().MailFolders().ByMailFolderId(parent).ChildFolders().ToPostRequestInformation(ctx, body, nil)
		if req, err = m.native(ctx, info, err); err != nil {
			return nil, err
		}
	}
	var f Folder
	if err := m.read(req, &f); err != nil {
		return nil, err
	}
	return &f, nil
}

// Page is a part of a listing. It may be empty, and may repeat what an earlier
// one had.
type Page struct {
	Items []*Item
	// Next leads to the next page, Delta to what changes later; one of them is
	// set. After a listing without delta both are empty.
	Next, Delta string
}

// itemFields are what a listing asks for: enough to decide, and no part of the
// message that the server would have to convert.
var itemFields = []string{"id", "receivedDateTime", "isRead", "isDraft"}

// Changes returns a page of the changes in a folder: the first for an empty
// link, else the one that a page led to. size is a wish.
func (m *Mailbox) Changes(ctx context.Context, folder, link string, size int) (*Page, error) {
	if link != "" {
		req, err := m.link(ctx, link)
		if err != nil {
			return nil, err
		}
		return m.page(pageSize(immutable(req), size))
	}
	info, err := m.user().MailFolders().ByMailFolderId(folder).Messages().Delta().ToGetRequestInformation(ctx,
		&users.ItemMailFoldersItemMessagesDeltaRequestBuilderGetRequestConfiguration{
			QueryParameters: &users.ItemMailFoldersItemMessagesDeltaRequestBuilderGetQueryParameters{Select: itemFields},
		})
	req, err := m.native(ctx, info, err)
	if err != nil {
		return nil, err
	}
	return m.page(pageSize(immutable(req), size))
}

// Query is a listing without delta.
type Query struct {
	// Filter and OrderBy are OData expressions, which may be empty.
	Filter  string
	OrderBy []string
	// Fields are those besides the ones of every listing.
	Fields []string
	Size   int32
}

// Messages returns a page of the messages in a folder: the first for an empty
// link, else the one that a page led to.
func (m *Mailbox) Messages(ctx context.Context, folder, link string, q Query) (*Page, error) {
	if link != "" {
		req, err := m.link(ctx, link)
		if err != nil {
			return nil, err
		}
		return m.page(immutable(req))
	}
	parameters := &users.ItemMailFoldersItemMessagesRequestBuilderGetQueryParameters{
		Select: append(append([]string{}, itemFields...), q.Fields...), Orderby: q.OrderBy, Top: &q.Size,
	}
	if q.Filter != "" {
		parameters.Filter = &q.Filter
	}
	info, err := m.user().MailFolders().ByMailFolderId(folder).Messages().ToGetRequestInformation(ctx,
		&users.ItemMailFoldersItemMessagesRequestBuilderGetRequestConfiguration{QueryParameters: parameters})
	req, err := m.native(ctx, info, err)
	if err != nil {
		return nil, err
	}
	return m.page(immutable(req))
}

func (m *Mailbox) page(req *http.Request) (*Page, error) {
	var answer struct {
		Value []*Item `json:"value"`
		Next  string  `json:"@odata.nextLink"`
		Delta string  `json:"@odata.deltaLink"`
	}
	if err := m.read(req, &answer); err != nil {
		return nil, err
	}
	p := &Page{Next: answer.Next, Delta: answer.Delta}
	for _, item := range answer.Value {
		if item != nil && item.ID != "" {
			p.Items = append(p.Items, item)
		}
	}
	// Before anything relies on them.
	for _, link := range []string{p.Next, p.Delta} {
		if link != "" {
			if _, err := m.link(req.Context(), link); err != nil {
				return nil, &ConnError{Host: m.host, Summary: "the answer leads elsewhere", Err: err, Lasting: true,
					Remedy: "a proxy on the way changes where Graph seems to be: with cloud: custom, graph_endpoint must be the address that Graph gives in its links"}
			}
		}
	}
	return p, nil
}

// Content is a message, or a part of it, as it arrives.
type Content struct {
	// Body must be closed. A body that ends early returns an error.
	Body io.ReadCloser
	// Size is in bytes, or -1.
	Size int64
}

// Content returns a message as Exchange renders it, RFC 5322. The path is
// always this one: the one below a folder is refused.
func (m *Mailbox) Content(ctx context.Context, id string) (*Content, error) {
	info, err := m.user().Messages().ByMessageId(id).Content().ToGetRequestInformation(ctx, nil)
	req, err := m.native(ctx, info, err)
	if err != nil {
		return nil, err
	}
	return m.content(req)
}

func (m *Mailbox) content(req *http.Request) (*Content, error) {
	// Unpacked by the transport, its length would not be known.
	req.Header.Set("Accept-Encoding", "identity")
	resp, err := m.send(immutable(req))
	if err != nil {
		return nil, err
	}
	return &Content{Body: resp.Body, Size: resp.ContentLength}, nil
}

// messageFields are what a message is rebuilt from.
var messageFields = []string{
	"id", "receivedDateTime", "sentDateTime", "isRead", "isDraft", "subject", "from", "sender", "toRecipients", "ccRecipients",
	"bccRecipients", "replyTo", "internetMessageId", "internetMessageHeaders", "importance", "body", "hasAttachments",
}

// Message returns what a message is rebuilt from.
func (m *Mailbox) Message(ctx context.Context, id string) (*Message, error) {
	return m.message(ctx, id, messageFields)
}

// State returns a message with what a listing has of it.
func (m *Mailbox) State(ctx context.Context, id string) (*Item, error) {
	msg, err := m.message(ctx, id, itemFields)
	if err != nil {
		return nil, err
	}
	return &msg.Item, nil
}

func (m *Mailbox) message(ctx context.Context, id string, fields []string) (*Message, error) {
	info, err := m.user().Messages().ByMessageId(id).ToGetRequestInformation(ctx, &users.ItemMessagesMessageItemRequestBuilderGetRequestConfiguration{
		QueryParameters: &users.ItemMessagesMessageItemRequestBuilderGetQueryParameters{Select: fields},
	})
	req, err := m.native(ctx, info, err)
	if err != nil {
		return nil, err
	}
	var msg Message
	if err := m.read(immutable(req), &msg); err != nil {
		return nil, err
	}
	return &msg, nil
}

// Attachments returns the attachments of a message, without their contents.
func (m *Mailbox) Attachments(ctx context.Context, id string) ([]*Attachment, error) {
	info, err := m.user().Messages().ByMessageId(id).Attachments().ToGetRequestInformation(ctx, &users.ItemMessagesItemAttachmentsRequestBuilderGetRequestConfiguration{
		QueryParameters: &users.ItemMessagesItemAttachmentsRequestBuilderGetQueryParameters{Select: []string{"id", "name", "contentType", "size", "isInline"}},
	})
	req, err := m.native(ctx, info, err)
	if err != nil {
		return nil, err
	}
	var all []*Attachment
	return all, eachPage(ctx, m, immutable(req), func(a *Attachment) { all = append(all, a) })
}

// AttachmentContent returns what an attachment holds: of a file its bytes, of an
// item its MIME.
func (m *Mailbox) AttachmentContent(ctx context.Context, id, attachment string) (*Content, error) {
	info, err := m.user().Messages().ByMessageId(id).Attachments().ByAttachmentId(attachment).ToGetRequestInformation(ctx, nil)
	if err == nil {
		// Documented (attachment: get raw contents), but not in the schema of the SDK.
		info.UrlTemplate = strings.Replace(info.UrlTemplate, "{?%24expand,%24select}", "/$value", 1)
	}
	req, err := m.native(ctx, info, err)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "*/*")
	return m.content(req)
}

// MarkRead marks a message as read.
func (m *Mailbox) MarkRead(ctx context.Context, id string) error {
	read := true
	body := models.NewMessage()
	body.SetIsRead(&read)
	info, err := m.user().Messages().ByMessageId(id).ToPatchRequestInformation(ctx, body, nil)
	req, err := m.native(ctx, info, err)
	if err != nil {
		return err
	}
	return m.read(immutable(req), nil)
}

// Move moves a message to the folder of an id or a well-known name. It keeps its
// immutable id.
func (m *Mailbox) Move(ctx context.Context, id, folder string) error {
	body := users.NewItemMessagesItemMovePostRequestBody()
	body.SetDestinationId(&folder)
	info, err := m.user().Messages().ByMessageId(id).Move().ToPostRequestInformation(ctx, body, nil)
	req, err := m.native(ctx, info, err)
	if err != nil {
		return err
	}
	return m.read(immutable(req), nil)
}

// DeleteForGood removes a message past the deleted items, where the cloud can.
func (m *Mailbox) DeleteForGood(ctx context.Context, id string) error {
	info, err := m.user().Messages().ByMessageId(id).PermanentDelete().ToPostRequestInformation(ctx, nil)
	req, err := m.native(ctx, info, err)
	if err != nil {
		return err
	}
	return m.read(immutable(req), nil)
}
