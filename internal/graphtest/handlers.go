package graphtest

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// handler does what one kind of request asks for, under the server's mutex.
type handler struct {
	kind string
	// writes: it needs more than permission to read. basic: permission to read
	// all but content suffices.
	writes, basic bool
	// directory: it is about no mailbox, and denied by do itself.
	directory bool
	do        func(*call) (*response, *problem)
}

// handlers are by method and pattern. It is set at the start, since handlers use
// it themselves.
var handlers map[string]handler

func init() {
	const (
		user    = "users/{}"
		folders = "users/{}/mailFolders"
		folder  = "users/{}/mailFolders/{}"
	)
	handlers = map[string]handler{
		"GET " + user:                  {kind: "user", do: getUser},
		"GET applications(appId='{}')": {kind: "application", directory: true, do: getApplication},

		"GET " + folders:                      {kind: "folders", basic: true, do: listFolders},
		"POST " + folders:                     {kind: "create folder", writes: true, do: createFolder},
		"GET " + folders + "/$count":          {kind: "count", basic: true, do: countFolders},
		"GET " + folder:                       {kind: "folder", basic: true, do: getFolder},
		"PATCH " + folder:                     {kind: "update folder", writes: true, do: updateFolder},
		"DELETE " + folder:                    {kind: "delete folder", writes: true, do: deleteFolder},
		"POST " + folder + "/move":            {kind: "move folder", writes: true, do: moveFolder},
		"GET " + folder + "/childFolders":     {kind: "folders", basic: true, do: listFolders},
		"POST " + folder + "/childFolders":    {kind: "create folder", writes: true, do: createFolder},
		"GET " + folder + "/messages":         {kind: "messages", basic: true, do: listMessages},
		"GET " + folder + "/messages/$count":  {kind: "count", basic: true, do: countMessages},
		"GET " + folder + "/messages/delta":   {kind: "delta", basic: true, do: deltaMessages},
		"GET " + user + "/messages":           {kind: "messages", basic: true, do: listMessages},
		"GET " + user + "/messages/{}/$value": {kind: "value", do: getValue},

		"GET " + user + "/messages/{}/attachments":           {kind: "attachments", do: listAttachments},
		"GET " + user + "/messages/{}/attachments/{}":        {kind: "attachment", do: getAttachment},
		"GET " + user + "/messages/{}/attachments/{}/$value": {kind: "attachment value", do: getAttachmentValue},
	}
	for _, message := range []string{user + "/messages/{}", folder + "/messages/{}"} {
		handlers["GET "+message] = handler{kind: "message", basic: true, do: getMessage}
		handlers["PATCH "+message] = handler{kind: "update", writes: true, do: updateMessage}
		handlers["DELETE "+message] = handler{kind: "delete", writes: true, do: deleteMessage}
		handlers["POST "+message+"/move"] = handler{kind: "move", writes: true, do: moveMessage}
		handlers["POST "+message+"/copy"] = handler{kind: "copy", writes: true, do: copyMessage}
		handlers["POST "+message+"/permanentDelete"] = handler{kind: "permanent delete", writes: true, do: permanentDelete}
	}
}

func ok(body any) (*response, *problem) { return &response{status: http.StatusOK, body: body}, nil }

// context is the URL that tells what a body is.
func (c *call) context(rest string) string {
	return c.s.url + "/v1.0/$metadata#users('" + url.PathEscape(c.target.keys["users"]) + "')" + rest
}

// page cuts a list to the page that was asked for, and answers it.
func (c *call) page(all []map[string]any, context string) (*response, *problem) {
	if c.query.filter != nil {
		all = slices.DeleteFunc(all, func(e map[string]any) bool { return !c.query.filter(e) })
	}
	body := map[string]any{"@odata.context": context}
	if c.query.count {
		body["@odata.count"] = len(all)
	}
	from, to := c.bounds(len(all))
	if to < len(all) {
		values, err := url.ParseQuery(c.raw)
		if err != nil {
			return nil, badRequest("The query string is malformed.")
		}
		values.Set("$skip", strconv.Itoa(to))
		path, _, _ := strings.Cut(c.q.URL, "?")
		body["@odata.nextLink"] = c.s.url + path + "?" + values.Encode()
	}
	value := make([]any, 0, to-from)
	for _, entity := range all[from:to] {
		value = append(value, shown(entity, c.query.selected))
	}
	body["value"] = value
	return ok(body)
}

// bounds are those of the page that was asked for, of a list so long.
func (c *call) bounds(n int) (from, to int) {
	size := c.s.options.Limits.PageSize
	if c.query.top > 0 {
		size = c.query.top
	} else if c.pageSize > 0 {
		size = c.pageSize
	}
	from = min(c.query.skip, n)
	return from, min(from+size, n)
}

// shown leaves of an entity what was selected. What is asked for alone, which
// has a "?" before its name, is shown only then.
func shown(entity map[string]any, selected []string) map[string]any {
	out := make(map[string]any, len(entity))
	for name, value := range entity {
		name, unasked := strings.CutPrefix(name, "?")
		if lazy, ok := value.(func() any); ok {
			if selected != nil && !slices.Contains(selected, name) || selected == nil && unasked {
				continue
			}
			value = lazy()
		}
		switch {
		case strings.HasPrefix(name, "@") || name == "id" || strings.HasPrefix(name, "!"):
			out[strings.TrimPrefix(name, "!")] = value
		case selected == nil && !unasked, slices.Contains(selected, name):
			out[name] = value
		}
	}
	return out
}

func getUser(c *call) (*response, *problem) {
	m := c.mailbox
	user := map[string]any{
		"@odata.context": c.s.url + "/v1.0/$metadata#users/$entity",
		"id":             m.id, "userPrincipalName": m.address, "mail": m.address, "displayName": m.address,
		"?accountEnabled": true, "?mailNickname": strings.Split(m.address, "@")[0], "?userType": "Member",
		"preferredLanguage": m.options.Language, "givenName": nil, "surname": nil,
		"?otherMails": []any{}, "?proxyAddresses": []any{"SMTP:" + m.address},
	}
	return ok(shown(user, c.query.selected))
}
