package graphtest

import (
	"net/http"
	"slices"
	"strings"
)

// folderOf returns the folder that an identifier or a well-known name names.
func (c *call) folderOf(id string) (*folder, *problem) {
	if f := c.mailbox.folders[id]; f != nil {
		return f, nil
	}
	name := strings.ToLower(id)
	if f := c.mailbox.known[name]; f != nil {
		return f, nil
	}
	for _, known := range wellKnown {
		if known.name == name {
			return nil, folderNotFound()
		}
	}
	if slices.Contains(onlyWellKnown, name) {
		return nil, folderNotFound()
	}
	if !wellFormed(id) {
		return nil, refuse(http.StatusBadRequest, "ErrorInvalidIdMalformed", "Id is malformed.")
	}
	return nil, folderNotFound()
}

// pathFolder returns the folder in the request's path, or the top one.
func (c *call) pathFolder() (*folder, *problem) {
	if id, ok := c.target.keys["mailFolders"]; ok {
		return c.folderOf(id)
	}
	return c.mailbox.top, nil
}

func (c *call) folderJSON(f *folder) map[string]any {
	unread, below := 0, 0
	for _, i := range f.items {
		if !i.Read {
			unread++
		}
	}
	for _, b := range f.below {
		if !b.hidden {
			below++
		}
	}
	entity := map[string]any{
		"id": f.id, "displayName": f.name, "childFolderCount": below, "unreadItemCount": unread,
		"totalItemCount": len(f.items), "isHidden": f.hidden, "parentFolderId": nil,
	}
	if f.above != nil {
		entity["parentFolderId"] = f.above.id
	}
	if f.search {
		entity["@odata.type"] = "#microsoft.graph.mailSearchFolder"
		entity["isSupported"], entity["filterQuery"] = true, "contains(subject, 'weekly digest')"
		entity["includeNestedFolders"], entity["sourceFolderIds"] = true, []any{}
	}
	return entity
}

// listed are the folders below one that a list has, by name.
func (c *call) listed(f *folder) []map[string]any {
	below := slices.Clone(f.below)
	slices.SortStableFunc(below, func(a, b *folder) int { return strings.Compare(strings.ToLower(a.name), strings.ToLower(b.name)) })
	if c.query.orderBy == "displayName" && c.query.desc {
		slices.Reverse(below)
	}
	all := []map[string]any{}
	for _, b := range below {
		if b.hidden && !c.query.hidden {
			continue
		}
		entity := c.folderJSON(b)
		if strings.Contains(c.query.expand, "childFolders") {
			children := []any{}
			for _, child := range c.listedBelow(b) {
				children = append(children, child)
			}
			entity["!childFolders"] = children
		}
		all = append(all, entity)
	}
	return all
}

// listedBelow are the first of the folders below one, as an expanded list has
// them.
func (c *call) listedBelow(f *folder) []map[string]any {
	query := *c.query
	defer func() { c.query = &query }()
	plain := query
	plain.expand = ""
	c.query = &plain
	below := c.listed(f)
	return below[:min(len(below), c.s.options.Limits.PageSize)]
}

func listFolders(c *call) (*response, *problem) {
	f, p := c.pathFolder()
	if p != nil {
		return nil, p
	}
	context := "/mailFolders"
	if f != c.mailbox.top {
		context += "('" + f.id + "')/childFolders"
	}
	return c.page(c.listed(f), c.context(context))
}

func countFolders(c *call) (*response, *problem) {
	c.query = &query{top: -1}
	return c.number(len(c.listed(c.mailbox.top)))
}

func getFolder(c *call) (*response, *problem) {
	f, p := c.pathFolder()
	if p != nil {
		return nil, p
	}
	entity := c.folderJSON(f)
	entity["@odata.context"] = c.context("/mailFolders/$entity")
	return ok(shown(entity, c.query.selected))
}

// displayName returns the name in the body, and refuses one that another folder
// below the same has.
func (c *call) displayName(above, self *folder) (string, *problem) {
	name, _ := c.body["displayName"].(string)
	if strings.TrimSpace(name) == "" {
		return "", badRequest("The displayName of a folder is missing or empty.")
	}
	if other := above.child(name); other != nil && other != self {
		return "", refuse(http.StatusConflict, "ErrorFolderExists", "A folder with the specified name already exists., Could not create folder '%s'.", name)
	}
	return name, nil
}

func createFolder(c *call) (*response, *problem) {
	above, p := c.pathFolder()
	if p != nil {
		return nil, p
	}
	for name := range c.body {
		if !slices.Contains([]string{"displayName", "isHidden"}, name) && !strings.HasPrefix(name, "@") {
			return nil, badRequest("The property '%s' cannot be set on a new folder.", name)
		}
	}
	name, p := c.displayName(above, nil)
	if p != nil {
		return nil, p
	}
	f := c.mailbox.newFolder(above, name)
	f.hidden, _ = c.body["isHidden"].(bool)
	entity := c.folderJSON(f)
	entity["@odata.context"] = c.context("/mailFolders/$entity")
	return &response{status: http.StatusCreated, body: entity}, nil
}

func updateFolder(c *call) (*response, *problem) {
	f, p := c.pathFolder()
	if p != nil {
		return nil, p
	}
	if f.known != "" {
		return nil, refuse(http.StatusForbidden, "ErrorAccessDenied", "The folder '%s' cannot be changed.", f.name)
	}
	if f.name, p = c.displayName(f.above, f); p != nil {
		return nil, p
	}
	return ok(c.folderJSON(f))
}

func deleteFolder(c *call) (*response, *problem) {
	f, p := c.pathFolder()
	if p != nil {
		return nil, p
	}
	if f.known != "" {
		return nil, refuse(http.StatusForbidden, "ErrorDeleteDistinguishedFolder", "Distinguished folders cannot be deleted.")
	}
	deleted := c.mailbox.known["deleteditems"]
	if deleted == nil || f.within(deleted) {
		c.mailbox.dropFolder(f)
	} else {
		c.mailbox.moveFolder(f, deleted)
	}
	return &response{status: http.StatusNoContent}, nil
}

// within reports whether the folder is another or below it.
func (f *folder) within(other *folder) bool {
	for ; f != nil; f = f.above {
		if f == other {
			return true
		}
	}
	return false
}

func (m *Mailbox) moveFolder(f, to *folder) {
	f.above.below = slices.DeleteFunc(f.above.below, func(b *folder) bool { return b == f })
	f.above = to
	to.below = append(to.below, f)
}

func moveFolder(c *call) (*response, *problem) {
	f, p := c.pathFolder()
	if p != nil {
		return nil, p
	}
	to, p := c.destination()
	if p != nil {
		return nil, p
	}
	if f.known != "" || to.within(f) {
		return nil, refuse(http.StatusBadRequest, "ErrorMoveDistinguishedFolder", "The folder cannot be moved there.")
	}
	if to.child(f.name) != nil {
		return nil, refuse(http.StatusConflict, "ErrorFolderExists", "A folder with the specified name already exists.")
	}
	c.mailbox.moveFolder(f, to)
	return &response{status: http.StatusCreated, body: c.folderJSON(f)}, nil
}

// destination returns the folder that the body of a move names.
func (c *call) destination() (*folder, *problem) {
	for name, value := range c.body {
		if id, ok := value.(string); ok && strings.EqualFold(name, "destinationId") {
			return c.folderOf(id)
		}
	}
	return nil, badRequest("The parameter 'DestinationId' is missing.")
}
