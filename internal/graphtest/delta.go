package graphtest

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"time"
)

// deltaState is what the token of a delta's link holds. A round first lists what
// is in the folder, newest first, and then, as every later round does, what has
// changed since the round began.
type deltaState struct {
	Folder string `json:"f"`
	Epoch  int    `json:"e"`
	// Since is the change up to which everything has been told.
	Since int64 `json:"s"`
	// Below is the change below which the first listing goes on; 0 after it.
	Below  int64    `json:"b,omitempty"`
	Issued int64    `json:"i"`
	Select []string `json:"p,omitempty"`
	Expand string   `json:"x,omitempty"`
	Filter string   `json:"w,omitempty"`
	Change string   `json:"c,omitempty"`
	Top    int      `json:"t,omitempty"`
	// Link: the token is that of a deltaLink, which ends a round.
	Link bool `json:"d,omitempty"`
}

func (d deltaState) token() string {
	b, err := json.Marshal(d)
	if err != nil {
		panic("graphtest: " + err.Error()) // numbers and strings can be encoded
	}
	for i := range b {
		b[i] ^= byte(0x5a + i*7)
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

func parseDeltaToken(token string) (d deltaState, ok bool) {
	b, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		return d, false
	}
	for i := range b {
		b[i] ^= byte(0x5a + i*7)
	}
	return d, json.Unmarshal(b, &d) == nil && d.Folder != ""
}

// syncStateLost is the answer for a link that the server no longer knows.
func syncStateLost(location string) *problem {
	p := refuse(http.StatusGone, "SyncStateNotFound", "The sync state generation is not found; resync is required.")
	p.header = http.Header{"Location": {location}}
	return p
}

func (c *call) deltaURL(f *folder) string {
	return c.s.url + "/v1.0/users('" + url.PathEscape(c.target.keys["users"]) + "')/mailFolders('" + f.id + "')/messages/delta"
}

func deltaMessages(c *call) (*response, *problem) {
	if c.s.options.Cloud.NoDelta {
		return nil, refuse(http.StatusBadRequest, "BadRequest", "Resource not found for the segment 'delta'.")
	}
	f, p := c.pathFolder()
	if p != nil {
		return nil, p
	}
	if f.search {
		return nil, refuse(http.StatusBadRequest, "ErrorInvalidRequest", "Change tracking is not supported for search folders.")
	}
	d, p := c.deltaState(f)
	if p != nil {
		return nil, p
	}
	if d.Filter != "" {
		if c.query.filter, p = c.s.model.parseFilter("message", d.Filter); p != nil {
			return nil, p
		}
	}
	c.query.expand, c.query.selected = d.Expand, d.Select
	size := cmp.Or(c.pageSize, d.Top, c.s.options.Limits.PageSize)
	c.again = c.deltaURL(f) + "?$skiptoken=" + d.token()
	value, next := c.deltaPage(f, d, size)
	next.Issued = c.s.now().Unix()
	body := map[string]any{"@odata.context": c.s.url + "/v1.0/$metadata#Collection(message)", "value": value}
	link, option := "@odata.nextLink", "$skiptoken="
	if next.Link {
		link, option = "@odata.deltaLink", "$deltatoken="
	}
	body[link] = c.deltaURL(f) + "?" + option + next.token()
	return ok(body)
}

// deltaState is where the request goes on.
func (c *call) deltaState(f *folder) (deltaState, *problem) {
	token := cmp.Or(c.query.deltaToken, c.query.skipToken)
	if token == "" {
		return deltaState{
			Folder: f.id, Epoch: f.epoch, Since: c.mailbox.change, Below: c.mailbox.change + 1, Issued: c.s.now().Unix(),
			Select: c.query.selected, Expand: c.query.expand, Filter: c.query.filters, Change: c.query.change, Top: max(0, c.query.top),
		}, nil
	}
	d, ok := parseDeltaToken(token)
	if !ok || d.Folder != f.id || d.Link != (c.query.deltaToken != "") {
		return d, refuse(http.StatusBadRequest, "SyncStateInvalid", "Badly formed token.")
	}
	life := c.s.options.DeltaLife
	if d.Epoch != f.epoch || life > 0 && c.s.now().Sub(time.Unix(d.Issued, 0)) > life {
		return d, syncStateLost(c.deltaURL(f) + "?$deltatoken=")
	}
	d.Link = false
	return d, nil
}

// deltaPage returns up to size entries and where the next page begins.
func (c *call) deltaPage(f *folder, d deltaState, size int) ([]any, deltaState) {
	value := []any{}
	if d.Below > 0 {
		for n := len(f.items) - 1; n >= 0; n-- {
			i := f.items[n]
			if i.arrived >= d.Below {
				continue
			}
			if len(value) == size {
				return value, d
			}
			d.Below = i.arrived
			if entity := c.messageJSON(i); c.query.filter == nil || c.query.filter(entity) {
				value = append(value, c.deltaEntry(entity))
			}
		}
		// What has changed meanwhile comes in a page of its own.
		if d.Below = 0; c.mailbox.change > d.Since {
			return value, d
		}
		d.Link = true
		return value, d
	}
	last := d.Since
	for _, ch := range c.changes(f, d) {
		if len(value) == size {
			d.Since = last
			return value, d
		}
		last = ch.number
		if entry := c.changeEntry(ch, d); entry != nil {
			value = append(value, entry)
		}
	}
	d.Since, d.Link = c.mailbox.change, true
	return value, d
}

// change is something that has happened to a message of the folder: it is there,
// or the entry tells that it is not.
type change struct {
	number int64
	item   *item
	entry  map[string]any
}

// changes are those of a folder after the state, in their order.
func (c *call) changes(f *folder, d deltaState) []change {
	var all []change
	for _, t := range f.gone {
		if t.change <= d.Since || d.Change != "" && d.Change != "deleted" {
			continue
		}
		id := t.id
		if c.immutable {
			if id = t.immutable; c.mailbox.items[id] != nil && c.mailbox.items[id].folder == f {
				continue // it has come back
			}
		}
		all = append(all, change{number: t.change, entry: map[string]any{
			"@odata.type": "#microsoft.graph.message", "id": id, "@removed": map[string]any{"reason": "deleted"},
		}})
	}
	for _, i := range f.items {
		isNew := i.arrived > d.Since
		if i.changed <= d.Since || d.Change == "deleted" || d.Change == "created" && !isNew || d.Change == "updated" && isNew {
			continue
		}
		all = append(all, change{number: i.changed, item: i})
	}
	slices.SortFunc(all, func(a, b change) int { return cmp.Compare(a.number, b.number) })
	return all
}

// changeEntry is the entry that tells of a change; nil if the query does not want
// it.
func (c *call) changeEntry(ch change, d deltaState) map[string]any {
	if ch.item == nil {
		return ch.entry
	}
	entity := c.messageJSON(ch.item)
	if c.query.filter != nil && !c.query.filter(entity) {
		return nil
	}
	if ch.item.wholly <= d.Since {
		// Of a message that was only read, no more is told.
		entity = map[string]any{"@odata.etag": entity["@odata.etag"], "id": entity["id"], "!isRead": ch.item.Read}
	}
	return c.deltaEntry(entity)
}

func (c *call) deltaEntry(entity map[string]any) map[string]any {
	if entity["@odata.type"] == nil {
		entity["@odata.type"] = "#microsoft.graph.message"
	}
	return shown(entity, c.query.selected)
}
