package graphtest

import (
	"encoding/base64"
	"encoding/binary"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// idOf is the identifier of an item in the form that the client prefers.
func (c *call) idOf(i *item) string {
	if c.immutable {
		return i.immutable
	}
	return i.id
}

func (i *item) changeKey() string {
	b := binary.BigEndian.AppendUint64([]byte{9, 0, 0, 0, 22, 0, 0, 0}, i.number)
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(b, uint32(i.versions)))
}

// messageJSON is an item as Graph shows it. See [shown] for the notation.
func (c *call) messageJSON(i *item) map[string]any {
	e := i.envelope
	id := c.idOf(i)
	sent := e.sent
	if sent.IsZero() {
		sent = i.Received
	}
	conversation := guid("conversation", c.mailbox.id, strings.ToLower(e.subject))
	entity := map[string]any{
		"@odata.etag": `W/"` + i.changeKey() + `"`,
		"id":          id, "changeKey": i.changeKey(), "categories": []any{},
		"createdDateTime": stamp(i.Received), "lastModifiedDateTime": stamp(i.modified),
		"receivedDateTime": stamp(i.Received), "sentDateTime": stamp(sent),
		"hasAttachments": e.attachments || len(i.References) > 0, "internetMessageId": e.id, "subject": e.subject,
		"importance": e.importance, "parentFolderId": i.folder.id, "conversationId": base64.URLEncoding.EncodeToString([]byte(conversation)),
		"conversationIndex":          base64.StdEncoding.EncodeToString([]byte(conversation)[:22]),
		"isDeliveryReceiptRequested": nil, "isReadReceiptRequested": false, "isRead": i.Read, "isDraft": i.Draft,
		"webLink":                 "https://outlook.office365.com/owa/?ItemID=" + url.QueryEscape(i.id) + "&exvsurl=1&viewmodel=ReadMessageItem",
		"inferenceClassification": "focused",
		"sender":                  oneRecipient(e.sender), "from": oneRecipient(e.from), "toRecipients": recipients(e.to),
		"ccRecipients": recipients(e.cc), "bccRecipients": recipients(e.bcc), "replyTo": recipients(e.replyTo),
		"flag":                    map[string]any{"flagStatus": "notFlagged"},
		"bodyPreview":             func() any { return preview(i.Raw) },
		"body":                    func() any { return c.bodyJSON(i) },
		"?uniqueBody":             func() any { return c.bodyJSON(i) },
		"?internetMessageHeaders": func() any { return headersJSON(i.Raw) },
	}
	if c.basic() {
		delete(entity, "body")
		delete(entity, "bodyPreview")
		delete(entity, "?uniqueBody")
	}
	if i.Type != "message" {
		entity["@odata.type"] = "#microsoft.graph." + i.Type
	}
	if strings.HasPrefix(i.Type, "eventMessage") {
		entity["meetingMessageType"] = "meetingRequest"
		for _, name := range []string{"startDateTime", "endDateTime"} {
			entity[name] = map[string]any{"dateTime": i.Received.Format("2006-01-02T15:04:05.0000000"), "timeZone": "UTC"}
		}
	}
	for name, value := range i.patched {
		entity[name] = value
	}
	c.expand(i, entity)
	return entity
}

// basic reports whether the application may not see what mail says.
func (c *call) basic() bool {
	roles := slices.Concat(c.roles, c.app.Granted)
	return !slices.Contains(roles, "Mail.Read") && !slices.Contains(roles, "Mail.ReadWrite")
}

func (c *call) bodyJSON(i *item) any {
	typ, content := bodyOf(parseMIME(i.Raw), c.asText)
	return map[string]any{"contentType": typ, "content": content}
}

func headersJSON(raw []byte) any {
	all := []any{}
	for _, f := range parseMIME(raw).header {
		all = append(all, map[string]any{"name": f.name, "value": f.value})
	}
	return all
}

var extendedProperty = regexp.MustCompile(`(?i)id\s+eq\s+'([^']*)'`)

// expand adds what $expand asks for.
func (c *call) expand(i *item, entity map[string]any) {
	if strings.Contains(c.query.expand, "attachments") {
		entity["!attachments"] = c.attachmentsJSON(i, nil)
	}
	if !strings.Contains(c.query.expand, "singleValueExtendedProperties") {
		return
	}
	all := []any{}
	for _, m := range extendedProperty.FindAllStringSubmatch(c.query.expand, -1) {
		kind, tag, _ := strings.Cut(m[1], " ")
		number, err := strconv.ParseUint(strings.TrimPrefix(strings.ToLower(tag), "0x"), 16, 32)
		if err != nil {
			continue
		}
		value := ""
		switch {
		case number == 0x0e08 && (kind == "Integer" || kind == "Long"): // PidTagMessageSize
			value = strconv.Itoa(len(i.Raw) + 2048)
		case number == 0x007d && kind == "String": // PidTagTransportMessageHeaders
			head := len(i.Raw)
			if at := strings.Index(string(i.Raw), "\r\n\r\n"); at >= 0 {
				head = at + 2
			}
			value = strings.ToValidUTF8(string(i.Raw[:head]), "\ufffd")
		default:
			continue
		}
		all = append(all, map[string]any{"id": kind + " 0x" + strconv.FormatUint(number, 16), "value": value})
	}
	if len(all) > 0 {
		entity["!singleValueExtendedProperties"] = all
	}
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }

func recipients(all []address) []any {
	list := []any{}
	for _, a := range all {
		list = append(list, map[string]any{"emailAddress": map[string]any{"name": a.name, "address": a.address}})
	}
	return list
}

func oneRecipient(all []address) any {
	if len(all) == 0 {
		return nil
	}
	return recipients(all[:1])[0]
}
