package graphtest

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// model is the part of an OData schema that requests are checked against. Names
// of types are without their namespace; "[]" stands before the type of a
// collection.
type model struct {
	types map[string]*typeFacts
	// enums are the members by the enumeration's name.
	enums map[string][]string
	// operations are by name.
	operations map[string][]operation
	// roots are the entity sets and singletons of the service, by name.
	roots map[string]root
}

// typeFacts is an entity or complex type.
type typeFacts struct {
	name, base string
	entity     bool
	// stream: the entity has a $value.
	stream     bool
	properties map[string]string
	navigation map[string]string
}

// operation is a function or action and what it is bound to.
type operation struct {
	action     bool
	binding    string
	parameters map[string]string
}

// root is where a path may begin.
type root struct {
	typ       string
	singleton bool
}

func newModel() *model {
	return &model{
		types: make(map[string]*typeFacts), enums: make(map[string][]string),
		operations: make(map[string][]operation), roots: make(map[string]root),
	}
}

//go:embed facts.txt
var factsText string

// facts is what the stand-in knows by itself: the types of mail.
var facts = sync.OnceValue(func() *model {
	m, err := readFacts(factsText)
	if err != nil {
		panic("graphtest: " + err.Error()) // the file is part of the program
	}
	return m
})

// readFacts reads the notation of facts.txt. A line that is indented is a
// property of the type above it:
//
//	entity NAME [: BASE] [stream]    complex NAME    enum NAME MEMBER...
//		[nav] PROPERTY TYPE
//	action|function NAME on TYPE PARAMETER=TYPE...
//	set|singleton NAME TYPE
func readFacts(text string) (*model, error) {
	m := newModel()
	var current *typeFacts
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		switch {
		case line[0] == '\t' && current != nil && f[0] == "nav" && len(f) == 3:
			current.navigation[f[1]] = f[2]
		case line[0] == '\t' && current != nil && len(f) == 2:
			current.properties[f[0]] = f[1]
		case (f[0] == "entity" || f[0] == "complex") && len(f) > 1:
			current = &typeFacts{name: f[1], entity: f[0] == "entity", stream: slices.Contains(f, "stream"),
				properties: make(map[string]string), navigation: make(map[string]string)}
			if len(f) > 3 && f[2] == ":" {
				current.base = f[3]
			}
			m.types[f[1]] = current
		case f[0] == "enum" && len(f) > 2:
			m.enums[f[1]] = f[2:]
		case (f[0] == "action" || f[0] == "function") && len(f) > 3 && f[2] == "on":
			o := operation{action: f[0] == "action", binding: f[3], parameters: make(map[string]string)}
			for _, parameter := range f[4:] {
				name, typ, _ := strings.Cut(parameter, "=")
				o.parameters[name] = typ
			}
			m.operations[f[1]] = append(m.operations[f[1]], o)
		case (f[0] == "set" || f[0] == "singleton") && len(f) == 3:
			m.roots[f[1]] = root{typ: f[2], singleton: f[0] == "singleton"}
		default:
			return nil, fmt.Errorf("facts: %q", line)
		}
	}
	return m, nil
}

// is reports whether typ is base or derived from it.
func (m *model) is(typ, base string) bool {
	for typ != "" && typ != base {
		t := m.types[typ]
		if t == nil {
			return false
		}
		typ = t.base
	}
	return typ != ""
}

// property returns the type of a property of the type or those it is derived
// from, and whether it is a navigation property; "" if there is none.
func (m *model) property(typ, name string) (of string, navigation bool) {
	for t := m.types[typ]; t != nil; t = m.types[t.base] {
		if of, ok := t.properties[name]; ok {
			return of, false
		}
		if of, ok := t.navigation[name]; ok {
			return of, true
		}
	}
	return "", false
}

// streams reports whether an entity of the type may have a $value: it or a type
// related to it does.
func (m *model) streams(typ string) bool {
	for name, t := range m.types {
		if t.stream && (m.is(name, typ) || m.is(typ, name)) {
			return true
		}
	}
	return false
}

// bound returns the operation of the name that is bound to the type.
func (m *model) bound(name, typ string) (operation, bool) {
	collection := strings.HasPrefix(typ, "[]")
	for _, o := range m.operations[name] {
		if strings.HasPrefix(o.binding, "[]") == collection && m.is(element(typ), element(o.binding)) {
			return o, true
		}
	}
	return operation{}, false
}

// element is the type without the mark of a collection.
func element(typ string) string { return strings.TrimPrefix(typ, "[]") }
