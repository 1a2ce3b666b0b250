package graphtest

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// attachmentsJSON is the list of an item's attachments; selected is as in [shown].
func (c *call) attachmentsJSON(i *item, selected []string) []any {
	all := []any{}
	for n, p := range attachmentsOf(parseMIME(i.Raw)) {
		all = append(all, shown(c.attachmentJSON(i, p, n), selected))
	}
	for n, r := range i.References {
		all = append(all, shown(map[string]any{
			"@odata.type": "#microsoft.graph.referenceAttachment", "id": attachmentID(c.mailbox, i.number, 128+n),
			"lastModifiedDateTime": stamp(i.Received), "name": r.Name, "contentType": nil, "size": 512, "isInline": false,
		}, selected))
	}
	return all
}

func (c *call) attachmentJSON(i *item, p *part, n int) map[string]any {
	entity := map[string]any{
		"id": attachmentID(c.mailbox, i.number, n), "lastModifiedDateTime": stamp(i.Received), "name": attachmentName(p, n),
		"contentType": p.typ, "isInline": p.contentID() != "" && p.disposition() != "attachment", "@odata.mediaContentType": p.typ,
	}
	if p.typ == "message/rfc822" && len(p.parts) == 1 {
		delete(entity, "@odata.mediaContentType")
		entity["@odata.type"], entity["contentType"], entity["size"] = "#microsoft.graph.itemAttachment", nil, len(p.body)
		if strings.Contains(strings.ToLower(c.query.expand), "item") {
			entity["!item"] = c.nestedJSON(i, p)
		}
		return entity
	}
	content := p.content()
	entity["@odata.type"], entity["size"] = "#microsoft.graph.fileAttachment", len(content)+600
	entity["contentId"], entity["contentLocation"] = nil, nil
	if id := p.contentID(); id != "" {
		entity["contentId"] = id
	}
	if location := p.get("Content-Location"); location != "" {
		entity["contentLocation"] = location
	}
	// It is not a property of all attachments, and can be selected nevertheless.
	entity["contentBytes"] = func() any { return base64.StdEncoding.EncodeToString(content) }
	return entity
}

// nestedJSON is a message that is attached to an item.
func (c *call) nestedJSON(i *item, p *part) map[string]any {
	mail := Mail{Raw: p.body, Received: i.Received, Read: true, Type: "message"}
	nested := &item{Mail: mail, number: i.number, folder: i.folder, modified: i.Received, envelope: readEnvelope(p.body)}
	query := *c.query
	defer func() { c.query = &query }()
	c.query = &queryAll
	entity := shown(c.messageJSON(nested), nil)
	entity["@odata.type"], entity["id"] = "#microsoft.graph.message", ""
	delete(entity, "@odata.etag")
	delete(entity, "parentFolderId")
	return entity
}

var queryAll = query{top: -1}

func listAttachments(c *call) (*response, *problem) {
	i, p := c.itemOf()
	if p != nil {
		return nil, p
	}
	var all []map[string]any
	for n, part := range attachmentsOf(parseMIME(i.Raw)) {
		all = append(all, c.attachmentJSON(i, part, n))
	}
	for _, r := range c.attachmentsJSON(&item{Mail: Mail{References: i.References, Received: i.Received}, number: i.number}, nil) {
		all = append(all, r.(map[string]any))
	}
	return c.page(all, c.context(fmt.Sprintf("/messages('%s')/attachments", c.target.keys["messages"])))
}

// attachmentOf returns the part that the request's path names.
func (c *call) attachmentOf() (*item, *part, int, *problem) {
	i, p := c.itemOf()
	if p != nil {
		return nil, nil, 0, p
	}
	id := c.target.keys["attachments"]
	for n, part := range attachmentsOf(parseMIME(i.Raw)) {
		if attachmentID(c.mailbox, i.number, n) == id {
			return i, part, n, nil
		}
	}
	for n := range i.References {
		if attachmentID(c.mailbox, i.number, 128+n) == id {
			return i, nil, n, nil
		}
	}
	if !wellFormed(id) {
		return nil, nil, 0, refuse(http.StatusBadRequest, "ErrorInvalidIdMalformed", "Id is malformed.")
	}
	return nil, nil, 0, itemNotFound()
}

func getAttachment(c *call) (*response, *problem) {
	i, part, n, p := c.attachmentOf()
	if p != nil {
		return nil, p
	}
	if part == nil {
		return ok(c.attachmentsJSON(&item{Mail: Mail{References: i.References, Received: i.Received}, number: i.number}, c.query.selected)[n])
	}
	entity := c.attachmentJSON(i, part, n)
	entity["@odata.context"] = c.context(fmt.Sprintf("/messages('%s')/attachments/$entity", c.target.keys["messages"]))
	return ok(shown(entity, c.query.selected))
}

func getAttachmentValue(c *call) (*response, *problem) {
	_, part, _, p := c.attachmentOf()
	if p != nil {
		return nil, p
	}
	if part == nil {
		return nil, refuse(http.StatusMethodNotAllowed, "ErrorInvalidRequest", "The OData request is not supported.")
	}
	nested := part.typ == "message/rfc822" && len(part.parts) == 1
	typ := part.typ
	if nested {
		typ = "text/plain"
	}
	return &response{status: http.StatusOK, contentType: typ, stream: func(w io.Writer) error {
		if nested {
			return renderTo(w, part.body)
		}
		_, err := w.Write(part.content())
		return err
	}}, nil
}
