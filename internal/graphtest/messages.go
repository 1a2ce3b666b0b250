package graphtest

import (
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// itemOf returns the message in the request's path, by either identifier.
func (c *call) itemOf() (*item, *problem) {
	id := c.target.keys["messages"]
	i := c.mailbox.items[id]
	if i == nil {
		if !wellFormed(id) {
			return nil, refuse(http.StatusBadRequest, "ErrorInvalidIdMalformed", "Id is malformed.")
		}
		return nil, itemNotFound()
	}
	if key, ok := c.target.keys["mailFolders"]; ok {
		f, p := c.folderOf(key)
		if p != nil {
			return nil, p
		}
		if i.folder != f {
			return nil, itemNotFound()
		}
	}
	return i, nil
}

// messagesOf returns the items that a list is of.
func (c *call) messagesOf() ([]*item, *problem) {
	if _, ok := c.target.keys["mailFolders"]; ok {
		f, p := c.pathFolder()
		if p != nil {
			return nil, p
		}
		return slices.Clone(f.items), nil
	}
	var all []*item
	var walk func(f *folder)
	walk = func(f *folder) {
		all = append(all, f.items...)
		for _, b := range f.below {
			walk(b)
		}
	}
	walk(c.mailbox.top)
	return all, nil
}

func listMessages(c *call) (*response, *problem) {
	items, p := c.messagesOf()
	if p != nil {
		return nil, p
	}
	slices.SortStableFunc(items, func(a, b *item) int { return b.Received.Compare(a.Received) })
	from, to := 0, len(items)
	if c.query.filter == nil && c.query.orderBy == "" {
		// The rest is not looked at.
		from, to = c.bounds(len(items))
	}
	all := make([]map[string]any, len(items))
	for n := from; n < to; n++ {
		all[n] = c.messageJSON(items[n])
	}
	if by := c.query.orderBy; by != "" {
		slices.SortStableFunc(all, func(a, b map[string]any) int {
			x, y := sortKey(a, by), sortKey(b, by)
			if c.query.desc {
				x, y = y, x
			}
			return strings.Compare(x, y)
		})
	}
	context := "/messages"
	if id, ok := c.target.keys["mailFolders"]; ok {
		context = "/mailFolders('" + id + "')/messages"
	}
	return c.page(all, c.context(context))
}

// sortKey is a property as a text that sorts as the property does.
func sortKey(entity map[string]any, path string) string {
	var value any = entity
	for step := range strings.SplitSeq(path, "/") {
		m, _ := value.(map[string]any)
		value = m[step]
	}
	switch value := value.(type) {
	case string:
		return strings.ToLower(value)
	case bool:
		return strconv.FormatBool(value)
	}
	return ""
}

func (c *call) number(n int) (*response, *problem) {
	return &response{status: http.StatusOK, contentType: "text/plain", stream: func(w io.Writer) error {
		_, err := io.WriteString(w, strconv.Itoa(n))
		return err
	}}, nil
}

func countMessages(c *call) (*response, *problem) {
	items, p := c.messagesOf()
	if p != nil {
		return nil, p
	}
	return c.number(len(items))
}

func getMessage(c *call) (*response, *problem) {
	i, p := c.itemOf()
	if p != nil {
		return nil, p
	}
	return c.showMessage(i, http.StatusOK)
}

func (c *call) showMessage(i *item, status int) (*response, *problem) {
	entity := c.messageJSON(i)
	entity["@odata.context"] = c.context("/messages/$entity")
	return &response{status: status, body: shown(entity, c.query.selected)}, nil
}

// ofDrafts are properties that can be changed while a message is a draft.
var ofDrafts = []string{"bccRecipients", "body", "ccRecipients", "internetMessageId", "replyTo", "subject", "toRecipients", "from", "sender",
	"isDeliveryReceiptRequested", "isReadReceiptRequested"}

func updateMessage(c *call) (*response, *problem) {
	i, p := c.itemOf()
	if p != nil {
		return nil, p
	}
	for name, value := range c.body {
		switch {
		case strings.HasPrefix(name, "@"):
		case slices.Contains([]string{"isRead", "categories", "flag", "importance", "inferenceClassification"}, name):
			if value == nil {
				return nil, badRequest("The value of '%s' must not be null.", name)
			}
		case slices.Contains(ofDrafts, name) && i.Draft:
			return nil, illegal(http.StatusNotImplemented, "NotImplemented", "This stand-in does not change '%s'.", name)
		case slices.Contains(ofDrafts, name):
			return nil, illegal(http.StatusBadRequest, "ErrorInvalidPropertyUpdateSentMessage", "Update is not supported for property '%s' of sent messages.", name)
		default:
			return nil, illegal(http.StatusBadRequest, "ErrorInvalidPropertySet", "The property '%s' is read-only.", name)
		}
	}
	for name, value := range c.body {
		switch {
		case name == "isRead":
			c.mailbox.setRead(i, value.(bool))
		case !strings.HasPrefix(name, "@"):
			if i.patched == nil {
				i.patched = make(map[string]any)
			}
			i.patched[name] = value
			c.mailbox.change++
			i.changed, i.wholly = c.mailbox.change, c.mailbox.change
			i.touch(c.mailbox)
		}
	}
	return c.showMessage(i, http.StatusOK)
}

// moved answers with a message as it is in its new folder.
func (c *call) moved(i *item) (*response, *problem) {
	answered, p := c.showMessage(i, http.StatusCreated)
	if p == nil {
		answered.header = http.Header{"Location": {c.s.url + "/v1.0/users/" + c.target.keys["users"] + "/messages/" + c.idOf(i)}}
	}
	return answered, p
}

func moveMessage(c *call) (*response, *problem) {
	i, p := c.itemOf()
	if p != nil {
		return nil, p
	}
	to, p := c.destination()
	if p != nil {
		return nil, p
	}
	if to.search {
		return nil, refuse(http.StatusBadRequest, "ErrorMoveCopyFailed", "The move or copy operation failed.")
	}
	c.mailbox.move(i, to)
	return c.moved(i)
}

func copyMessage(c *call) (*response, *problem) {
	i, p := c.itemOf()
	if p != nil {
		return nil, p
	}
	to, p := c.destination()
	if p != nil {
		return nil, p
	}
	return c.moved(c.mailbox.put(to, i.Mail, i.envelope))
}

func deleteMessage(c *call) (*response, *problem) {
	i, p := c.itemOf()
	if p != nil {
		return nil, p
	}
	deleted, recoverable := c.mailbox.known["deleteditems"], c.mailbox.known["recoverableitemsdeletions"]
	switch {
	case deleted != nil && !i.folder.within(deleted) && i.folder != recoverable:
		c.mailbox.move(i, deleted)
	case recoverable != nil && i.folder != recoverable:
		c.mailbox.move(i, recoverable)
	default:
		c.mailbox.drop(i)
	}
	return &response{status: http.StatusNoContent}, nil
}

func permanentDelete(c *call) (*response, *problem) {
	if c.s.options.Cloud.NoPermanentDelete {
		return nil, refuse(http.StatusBadRequest, "BadRequest", "Resource not found for the segment 'permanentDelete'.")
	}
	i, p := c.itemOf()
	if p != nil {
		return nil, p
	}
	c.mailbox.drop(i)
	return &response{status: http.StatusNoContent}, nil
}

// conversionFailed is the answer for what cannot be written as MIME.
func conversionFailed() *problem {
	return refuse(http.StatusInternalServerError, "ErrorMimeContentConversionFailed", "The MIME content conversion failed.")
}

func getValue(c *call) (*response, *problem) {
	i, p := c.itemOf()
	if p != nil {
		return nil, p
	}
	if i.Unrenderable {
		return nil, conversionFailed()
	}
	raw, verbatim := i.Raw, i.Verbatim
	return &response{status: http.StatusOK, contentType: "text/plain", stream: func(w io.Writer) error {
		if verbatim {
			_, err := w.Write(raw)
			return err
		}
		return renderTo(w, raw)
	}}, nil
}
