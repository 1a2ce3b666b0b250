package graphtest

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// query is what the query of a request asks for.
type query struct {
	// selected are the properties of $select; nil for all that are shown unasked.
	selected []string
	// expand is the text of $expand.
	expand  string
	filter  filter
	filters string // the text of $filter
	orderBy string // one property
	desc    bool
	top     int // -1 if not said
	skip    int
	count   bool
	// skipToken and deltaToken are those of a link.
	skipToken, deltaToken string
	hidden                bool   // includeHiddenFolders
	change                string // changeType
}

// maxTop is the largest $top.
const maxTop = 1000

// parseQuery reads and checks the options of a query to the target.
func (m *model) parseQuery(t *target, raw string) (*query, *problem) {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return nil, badRequest("The query string is malformed.")
	}
	typ := element(t.typ)
	if t.operation != nil && !t.operation.action {
		typ = element(t.operation.binding)
	}
	collection := strings.HasPrefix(t.typ, "[]")
	delta := strings.HasSuffix(t.pattern, "/delta")
	q := &query{top: -1}
	for name, all := range values {
		if len(all) > 1 {
			return nil, badRequest("Query option '%s' was specified more than once, but it must be specified at most once.", name)
		}
		value := all[0]
		number := func(least, most int) (int, *problem) {
			n, err := strconv.Atoi(value)
			if err != nil || n < least || n > most {
				return 0, illegal(400, "ErrorInvalidUrlQueryFilter", "Invalid value '%s' for query option '%s': must be from %d to %d.", value, name, least, most)
			}
			return n, nil
		}
		listing := func() *problem {
			if !collection {
				return badRequest("Query option '%s' is not allowed here: the path does not lead to a collection.", name)
			}
			return nil
		}
		var p *problem
		switch {
		case t.value:
			p = badRequest("Query option '%s' is not allowed for a value.", name)
		case name == "$select":
			q.selected, p = m.parseSelect(typ, value)
		case name == "$expand":
			q.expand, p = value, m.checkExpand(typ, value)
		case name == "$filter" && (collection || delta):
			q.filters = value
			q.filter, p = m.parseFilter(typ, value)
			if p == nil && delta && !deltaFilter(value) {
				p = illegal(400, "ErrorInvalidUrlQueryFilter", "A delta filters by receivedDateTime ge or gt alone.")
			}
		case name == "$orderby" && (collection || delta):
			var words []string
			if words = strings.Fields(value); len(words) == 0 || len(words) > 2 || len(words) == 2 && words[1] != "asc" && words[1] != "desc" {
				p = badRequest("Syntax error in '$orderby=%s'.", value)
				break
			}
			q.orderBy, q.desc = words[0], len(words) == 2 && words[1] == "desc"
			p = m.checkProperty(typ, q.orderBy)
			if p == nil && delta && (q.orderBy != "receivedDateTime" || !q.desc) {
				p = illegal(400, "ErrorInvalidUrlQueryFilter", "A delta is ordered by receivedDateTime desc alone.")
			}
		case name == "$top":
			if q.top, p = number(1, maxTop); p == nil && !delta {
				p = listing()
			}
		case name == "$skip":
			if q.skip, p = number(0, 1<<30); p == nil {
				p = listing()
			}
		case name == "$count":
			if p = listing(); p == nil && value != "true" && value != "false" {
				p = badRequest("Invalid value '%s' for $count query option found. Valid values are 'true' or 'false'.", value)
			}
			q.count = value == "true"
		case name == "$skiptoken" && delta:
			q.skipToken = value
		case name == "$deltatoken" && delta:
			q.deltaToken = value
		case strings.EqualFold(name, "includeHiddenFolders") && typ == "mailFolder" && !delta && collection:
			if q.hidden = strings.EqualFold(value, "true"); !q.hidden && !strings.EqualFold(value, "false") {
				p = badRequest("Invalid value '%s' for includeHiddenFolders.", value)
			}
		case strings.EqualFold(name, "changeType") && delta && typ == "message":
			if q.change = value; !slices.Contains([]string{"created", "updated", "deleted"}, value) {
				p = badRequest("Invalid value '%s' for changeType.", value)
			}
		default:
			p = badRequest("The query parameter '%s' is not supported here.", name)
		}
		if p != nil {
			return nil, p
		}
	}
	if (q.skipToken != "" || q.deltaToken != "") && len(values) > 1 {
		return nil, badRequest("A link of a delta holds all options of the query; no other may be added.")
	}
	if q.filters != "" && q.orderBy != "" && !strings.HasPrefix(strings.TrimLeft(q.filters, "( "), q.orderBy) {
		return nil, refuse(400, "InefficientFilter", "The restriction or sort order is too complex for this operation.")
	}
	return q, nil
}

func (m *model) parseSelect(typ, value string) ([]string, *problem) {
	var selected []string
	for name := range strings.SplitSeq(value, ",") {
		name = strings.TrimSpace(name)
		if p := m.checkProperty(typ, name); p != nil {
			return nil, p
		}
		if cast, rest, ok := strings.Cut(name, "/"); ok && strings.HasPrefix(cast, "microsoft.graph.") {
			name = rest
		}
		selected = append(selected, name)
	}
	return selected, nil
}

// checkProperty reports a property that the type does not have. A property of a
// derived type is written with the type before it.
func (m *model) checkProperty(typ, name string) *problem {
	path := strings.Split(name, "/")
	if cast, ok := strings.CutPrefix(path[0], "microsoft.graph."); ok && m.is(cast, typ) {
		typ, path = cast, path[1:]
	}
	for _, step := range path {
		of, _ := m.property(typ, step)
		if of == "" {
			return illegal(400, "RequestBroker--ParseUri", "Could not find a property named '%s' on type 'microsoft.graph.%s'.", step, typ)
		}
		typ = element(of)
	}
	return nil
}

// checkExpand checks the names of $expand, at its top level.
func (m *model) checkExpand(typ, value string) *problem {
	depth, from := 0, 0
	check := func(item string) *problem {
		name, _, _ := strings.Cut(item, "(")
		name = strings.TrimSpace(name)
		if cast, rest, ok := strings.Cut(name, "/"); ok {
			derived := m.named(strings.TrimPrefix(cast, "microsoft.graph."))
			if !m.is(derived, typ) {
				return badRequest("Parsing OData Select and Expand failed: '%s' is not derived from 'microsoft.graph.%s'.", cast, typ)
			}
			return m.checkNavigation(derived, rest)
		}
		return m.checkNavigation(typ, name)
	}
	for i, c := range value {
		switch {
		case c == '(':
			depth++
		case c == ')':
			depth--
		case c == ',' && depth == 0:
			if p := check(value[from:i]); p != nil {
				return p
			}
			from = i + 1
		}
	}
	if depth != 0 {
		return badRequest("Parsing OData Select and Expand failed: parentheses do not match.")
	}
	return check(value[from:])
}

func (m *model) checkNavigation(typ, name string) *problem {
	if of, navigation := m.property(typ, name); of == "" || !navigation {
		return badRequest("Parsing OData Select and Expand failed: Could not find a property named '%s' on type 'microsoft.graph.%s'.", name, typ)
	}
	return nil
}

// named returns the type of the name without regard to case: the documentation
// itself writes microsoft.graph.itemattachment.
func (m *model) named(name string) string {
	if m.types[name] != nil {
		return name
	}
	for typ := range m.types {
		if strings.EqualFold(typ, name) {
			return typ
		}
	}
	return ""
}
