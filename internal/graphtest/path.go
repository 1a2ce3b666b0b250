package graphtest

import (
	"net/http"
	"net/url"
	"strings"
)

// target is what the path of a request leads to.
type target struct {
	// pattern is the path with {} for keys, as in "users/{}/messages/{}/$value".
	// A childFolders/{} is written mailFolders/{}, without the folder above it.
	pattern string
	// keys are by the name of the collection that they stand in, the last of each.
	keys map[string]string
	// typ is the type that the path leads to, "" if it is none of the schema.
	typ string
	// operation is set if the path ends in a function or action.
	operation *operation
	value     bool
}

// resolve follows an escaped path, without the version, through the schema.
func (m *model) resolve(escaped string) (*target, *problem) {
	t := &target{keys: make(map[string]string)}
	var pattern []string
	collection := ""
	for i, segment := range strings.Split(strings.Trim(escaped, "/"), "/") {
		name, err := url.PathUnescape(segment)
		if err != nil || name == "" {
			return nil, badRequest("The request URI is not valid. The segment %q is empty or malformed.", segment)
		}
		key, hasKey, alternate := "", false, ""
		if open := strings.IndexByte(name, '('); open > 0 && strings.HasSuffix(name, ")") && (i == 0 || collection == "" || strings.HasPrefix(name[open:], "()")) {
			key, hasKey = name[open+1:len(name)-1], true
			name = name[:open]
			if property, value, ok := strings.Cut(key, "="); ok && key[0] != '\'' && strings.HasPrefix(value, "'") {
				alternate, key = property, value
			}
			key = strings.Trim(key, "'")
		}
		unknown := badRequest("Resource not found for the segment '%s'.", name)
		switch {
		case t.operation != nil || t.value:
			return nil, unknown
		case i == 0:
			root, ok := m.roots[name]
			if !ok {
				return nil, unknown
			}
			t.typ, collection = root.typ, ""
			if !root.singleton {
				t.typ, collection = "[]"+root.typ, name
			}
			pattern = append(pattern, name)
		case name == "$value":
			if strings.HasPrefix(t.typ, "[]") || !m.streams(t.typ) {
				return nil, unknown
			}
			t.value, t.typ = true, ""
			pattern = append(pattern, name)
		case name == "$count" && collection != "":
			t.value, t.typ = true, ""
			pattern = append(pattern, name)
		case strings.HasPrefix(name, "microsoft.graph.") && m.types[name[len("microsoft.graph."):]] != nil:
			cast := name[len("microsoft.graph."):]
			if !m.is(cast, element(t.typ)) {
				return nil, unknown
			}
			t.typ = strings.TrimSuffix(t.typ, element(t.typ)) + cast
			pattern = append(pattern, name)
		default:
			short := strings.TrimPrefix(name, "microsoft.graph.")
			if o, ok := m.bound(short, t.typ); ok && (!hasKey || key == "") {
				if o.action && hasKey {
					return nil, unknown
				}
				t.operation, hasKey = &o, false
				pattern = append(pattern, short)
				break
			}
			if collection != "" {
				t.keys[collection], t.typ, collection = name, element(t.typ), ""
				pattern = append(pattern, "{}")
				break
			}
			of, navigation := m.property(t.typ, name)
			if of == "" {
				return nil, unknown
			}
			t.typ, collection = of, ""
			if navigation && strings.HasPrefix(of, "[]") {
				collection = name
			}
			if name == "childFolders" {
				collection = "mailFolders"
			}
			if !navigation && m.types[of] == nil {
				t.value = true
			}
			pattern = append(pattern, name)
		}
		if hasKey {
			if collection == "" {
				return nil, unknown
			}
			if alternate != "" {
				if alternateKeys[element(t.typ)] != alternate {
					return nil, badRequest("The key '%s' is not one of '%s'.", alternate, collection)
				}
				pattern[len(pattern)-1] += "(" + alternate + "='{}')"
			} else {
				pattern = append(pattern, "{}")
			}
			t.keys[collection], t.typ, collection = key, element(t.typ), ""
		}
	}
	t.pattern = strings.Join(pattern, "/")
	for strings.Contains(t.pattern, "mailFolders/{}/childFolders/{}") {
		t.pattern = strings.Replace(t.pattern, "mailFolders/{}/childFolders/{}", "mailFolders/{}", 1)
	}
	return t, nil
}

// checkMethod reports a method that the target does not have.
func (t *target) checkMethod(method string) *problem {
	allowed := []string{http.MethodGet}
	switch {
	case t.operation != nil && t.operation.action:
		allowed = []string{http.MethodPost}
	case t.operation != nil:
	case t.value:
		allowed = []string{http.MethodGet, http.MethodPut}
	case strings.HasPrefix(t.typ, "[]"):
		allowed = []string{http.MethodGet, http.MethodPost}
	default:
		allowed = []string{http.MethodGet, http.MethodPatch, http.MethodPut, http.MethodDelete}
	}
	for _, m := range allowed {
		if m == method {
			return nil
		}
	}
	return illegal(http.StatusMethodNotAllowed, "Request_BadRequest", "Specified HTTP method is not allowed for the request target.")
}
