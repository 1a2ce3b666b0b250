package config

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"postroom/internal/secret"
	"postroom/sources"
)

// scope is the reading of one entity: a source, credentials, a sender or the
// settings of a file.
type scope struct {
	*loader
	// values are those of the entity that no message may show, references
	// resolved.
	values []string
}

func (l *loader) scope() *scope { return &scope{loader: l} }

// reading is a mapping that was read.
type reading struct {
	node *node
	// bad are the keys that are missing or whose value was refused.
	bad map[string]bool
}

// good reports whether the key is there with a value that was accepted.
func (r reading) good(key string) bool { return r.node.entry(key) != nil && !r.bad[key] }

// object reads a mapping into the structs that describe it, given by pointers.
func (s *scope) object(n *node, o *object, structs ...any) reading {
	return s.mapping(n, o, pointed(structs), func(e entry) {
		s.errors.add(e.pos, "unknown key%s%s; allowed: %s", shownKey(e.key, o), suggest(e.key, o.names()), strings.Join(o.names(), ", "))
	})
}

// variant reads a mapping of the variant into the struct of the common keys,
// given by a pointer, and returns the options of its type, or nil if that is
// not known.
func (s *scope) variant(n *node, v *variant, common any) (any, reading) {
	typ := s.typeOf(n, v)
	o, structs := v.common, []any{common}
	var options any
	if typ != "" {
		o, options = v.objects[typ], v.options[typ]()
		structs = append(structs, options)
	}
	r := s.mapping(n, o, pointed(structs), func(e entry) {
		types := v.fits[e.key]
		switch {
		case len(types) == 0:
			s.errors.add(e.pos, "unknown key%s%s; allowed: %s", shownKey(e.key, o), suggest(e.key, o.names()), strings.Join(o.names(), ", "))
		case typ != "":
			s.errors.add(e.pos, "key %q is not for type %s but for %s; allowed: %s", e.key, typ, strings.Join(types, ", "), strings.Join(o.names(), ", "))
		}
	})
	if checker, ok := options.(sources.Checker); ok {
		s.check(checker, r)
	}
	return options, r
}

// typeOf returns what the key "type" says, or "" if that is not one of v.
func (s *scope) typeOf(n *node, v *variant) string {
	e := n.entry("type")
	if e == nil {
		return ""
	}
	if x := s.expand(e.value); x.err == nil && v.objects[x.text] != nil {
		return x.text
	}
	return ""
}

// check reports what the options say of themselves, unless the decoder has.
func (s *scope) check(c sources.Checker, r reading) {
	refused := len(r.bad) > 0
	for _, problem := range c.CheckOptions() {
		at := r.node.pos
		e := r.node.entry(problem.Key)
		if e != nil {
			at = e.value.pos
		}
		// What is missing may be so only because another key was refused.
		if r.bad[problem.Key] || e == nil && refused {
			continue
		}
		message := withoutValues(problem.Message, problem.Key, s.values)
		if problem.Warning {
			s.warnings.add(at, "%s", message)
			continue
		}
		s.errors.add(at, "%s", message)
		r.bad[problem.Key] = true
	}
}

func pointed(structs []any) []reflect.Value {
	values := make([]reflect.Value, len(structs))
	for i, s := range structs {
		values[i] = reflect.ValueOf(s).Elem()
	}
	return values
}

// mapping reads the entries of n, calls unknown for those that o does not have,
// and sets the defaults of the keys that n does not have.
func (s *scope) mapping(n *node, o *object, structs []reflect.Value, unknown func(entry)) reading {
	r := reading{node: n, bad: make(map[string]bool)}
	seen := make(map[string]Position, len(n.entries))
	for _, e := range n.entries {
		if first, ok := seen[e.key]; ok {
			s.errors.add(e.pos, "duplicate key%s; it is already at %s", shownKey(e.key, o), first)
			continue
		}
		seen[e.key] = e.pos
		k := o.byName[e.key]
		if k == nil {
			unknown(e)
			continue
		}
		if !s.value(e.value, k, structs[k.part].FieldByIndex(k.index)) {
			r.bad[e.key] = true
		}
	}
	for _, k := range o.keys {
		if _, ok := seen[k.name]; ok {
			continue
		}
		if n.open || n.defaultsOpen && !slices.Contains(undefaulted(), k.name) {
			r.bad[k.name] = true
			if !k.required {
				s.setDefault(k, structs[k.part].FieldByIndex(k.index))
			}
			continue
		}
		if k.required {
			s.errors.add(n.pos, "missing key %q; allowed: %s", k.name, k.allowed())
			r.bad[k.name] = true
			continue
		}
		s.setDefault(k, structs[k.part].FieldByIndex(k.index))
	}
	return r
}

// setDefault sets the value of a key that is not there.
func (s *scope) setDefault(k *key, v reflect.Value) {
	switch {
	case k.object != nil && v.Kind() == reflect.Struct:
		for _, inner := range k.object.keys {
			s.setDefault(inner, v.FieldByIndex(inner.index))
		}
	case k.fallback != "":
		// That the default can be parsed was seen when the field was described.
		value, _ := k.kind.parse(k.fallback, s.dir)
		if k.list {
			v.Set(reflect.Append(v, reflect.ValueOf(value)))
		} else {
			assign(v, value)
		}
	}
}

func assign(v reflect.Value, value any) {
	if text, ok := value.(string); ok && v.Type() == reflect.TypeFor[secret.Value]() {
		value = secret.New(text)
	}
	v.Set(reflect.ValueOf(value))
}

// value reads the value of a key and reports whether it was accepted.
func (s *scope) value(n *node, k *key, v reflect.Value) bool {
	switch {
	case n.kind == unknownNode:
		return false
	case n.kind == nullNode:
		s.errors.add(n.pos, "%s: empty entry; allowed: %s; or leave the key out", k.name, k.allowed())
		return false
	case k.raw:
		v.Set(reflect.ValueOf(n))
		return true
	case k.list:
		return s.list(n, k, v)
	}
	return s.item(n, k, v)
}

func (s *scope) list(n *node, k *key, v reflect.Value) bool {
	if n.kind != listNode {
		s.wrongType(n, k)
		return false
	}
	if len(n.items) == 0 && k.fallback != "" {
		s.errors.add(n.pos, "%s: empty list; allowed: %s", k.name, k.allowed())
		return false
	}
	ok := true
	items := reflect.MakeSlice(v.Type(), 0, len(n.items))
	for _, item := range n.items {
		if item.kind == nullNode {
			s.errors.add(item.pos, "%s: empty item; remove it", k.name)
			ok = false
		}
		value := reflect.New(v.Type().Elem()).Elem()
		ok = item.kind != nullNode && s.item(item, k, value) && ok
		// One that was refused is zero, so that both lists go on in step.
		items = reflect.Append(items, value)
	}
	v.Set(items)
	return ok
}

// item reads a value that is not a list.
func (s *scope) item(n *node, k *key, v reflect.Value) bool {
	if n.kind == unknownNode {
		return false
	}
	if k.object == nil {
		return s.scalar(n, k, v)
	}
	if n.kind != mappingNode {
		s.wrongType(n, k)
		return false
	}
	return len(s.object(n, k.object, v.Addr().Interface()).bad) == 0
}

func (s *scope) wrongType(n *node, k *key) {
	advice := ""
	if n.kind == numberNode || n.kind == boolNode {
		advice = "; put it in quotes"
	}
	if !slices.Contains(k.kind.scalars, textNode) || k.list {
		advice = ""
	}
	s.errors.add(n.pos, "%s: wrong type (%s); allowed: %s%s", k.name, n.kind, k.allowed(), advice)
}

// expand resolves the references of a scalar.
func (s *scope) expand(n *node) *expansion {
	if n.expanded == nil {
		x := expand(n.text, s.dir, s.secret)
		n.expanded = &x
		for _, file := range x.files {
			s.files = append(s.files, usedFile{"the file of ${file:PATH}", n.pos, file})
		}
	}
	s.values = append(s.values, n.expanded.resolved...)
	return n.expanded
}

func (s *scope) scalar(n *node, k *key, v reflect.Value) bool {
	if n.kind == listNode || n.kind == mappingNode {
		s.wrongType(n, k)
		return false
	}
	if s.withoutSecrets && k.secret && strings.Contains(n.text, "${") {
		assign(v, "not resolved") // not empty, which would be a missing secret
		return true
	}
	x := s.expand(n)
	if len(k.enum) == 0 && n.kind == textNode {
		s.values = append(s.values, n.text)
	}
	switch {
	case errors.Is(x.err, errUnsaid):
		return false
	case x.err != nil:
		s.errors.add(n.pos, "%s: %v", k.name, x.err)
		return false
	case !x.reference && !slices.Contains(k.kind.scalars, n.kind):
		if _, err := k.parse(n.text, s.dir); err != nil && n.kind != textNode {
			s.refuse(n, k, err)
		} else {
			s.wrongType(n, k)
		}
		return false
	case x.text == "" && x.reference && !k.optional:
		s.errors.add(n.pos, "%s: the reference stands for an empty text; allowed: %s", k.name, k.allowed())
		return false
	case x.text == "" && !k.optional:
		s.errors.add(n.pos, "%s: empty entry; allowed: %s; or leave the key out", k.name, k.allowed())
		return false
	}
	if k.typ == reflect.TypeFor[*Credential]() {
		return s.reference(n, k, v)
	}
	value, err := k.parse(x.text, s.dir)
	if err != nil {
		s.refuse(n, k, err)
		return false
	}
	if k.kind.file && value != "" {
		s.files = append(s.files, usedFile{k.name, n.pos, value.(string)})
	}
	if k.kind.read != nil && value != "" && !s.withoutSecrets {
		if err := s.look(k.kind, value.(string)); err != nil {
			s.refuse(n, k, err)
			return false
		}
	}
	if k.secret && !x.reference {
		s.warnings.add(n.pos, "%s: secret written in clear; better ${secret:NAME}, ${env:NAME} or ${file:PATH}", k.name)
	}
	assign(v, value)
	return true
}

// look reads what is at the path, once: hundreds of sources may name one file.
func (s *scope) look(k kind, path string) error {
	seen := looked{k.allowed, path}
	err, ok := s.seen[seen]
	if !ok {
		err = k.read(path)
		s.seen[seen] = err
	}
	return err
}

// refuse reports a value that is not what it must be.
func (s *scope) refuse(n *node, k *key, err error) {
	if n.expanded.reference {
		s.errors.add(n.pos, "%s: what the reference stands for does not fit; allowed: %s", k.name, k.allowed())
		return
	}
	s.errors.add(n.pos, "%s: the value %v; allowed: %s", k.name, err, k.allowed())
}

// parse returns the value of a text. The error is a verb phrase.
func (k *key) parse(text, dir string) (any, error) {
	if name := controlCharacter(text); name != "" && !k.kind.lines {
		return nil, fmt.Errorf("holds %s (in double quotes a backslash starts an escape: use single quotes or forward slashes)", name)
	}
	if len(k.enum) > 0 && !slices.Contains(k.enum, text) {
		return nil, fmt.Errorf("is unknown%s", suggest(text, k.enum))
	}
	value, err := k.kind.parse(text, dir)
	if err != nil {
		return nil, err
	}
	for _, bound := range []struct {
		text string
		sign int64
	}{{k.min, 1}, {k.max, -1}} {
		if bound.text == "" {
			continue
		}
		limit, err := k.kind.parse(bound.text, dir)
		if err != nil {
			return nil, err
		}
		if bound.sign*(reflect.ValueOf(value).Int()-reflect.ValueOf(limit).Int()) < 0 {
			return nil, fmt.Errorf("is out of bounds")
		}
	}
	return value, nil
}

// reference reads the name of credentials.
func (s *scope) reference(n *node, k *key, v reflect.Value) bool {
	name := n.expanded.text
	if c := s.credentials[name]; c != nil {
		v.Set(reflect.ValueOf(c))
		return true
	}
	if _, ok := s.named[name]; ok || s.incomplete {
		return false
	}
	if n.expanded.reference {
		s.errors.add(n.pos, "%s: what the reference stands for is not the name of any credentials; allowed: a name under credentials", k.name)
		return false
	}
	names := s.shown
	// Beyond so many problems nobody reads a suggestion, and each takes time.
	const show, enough = 10, 100
	list := strings.Join(names[:min(show, len(names))], ", ")
	switch {
	case len(names) == 0:
		list = "none are configured; add them under credentials"
	case len(names) > show:
		list += ", …"
	}
	suggestion := ""
	if len(s.errors.problems) < enough {
		suggestion = suggest(name, names)
	}
	s.errors.add(n.pos, "%s: no credentials have this name%s; allowed: %s", k.name, suggestion, list)
	return false
}

// suggest returns a question after the one of the names that is most like s, or
// "" if none is.
func suggest(s string, names []string) string {
	if len([]rune(s)) < 3 {
		return ""
	}
	if near := sources.Nearest(s, names); len(near) > 0 {
		return fmt.Sprintf(" (did you mean %q?)", near[0])
	}
	return ""
}
