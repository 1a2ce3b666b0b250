package config

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"postroom/internal/secret"
)

// Driver tells the configuration of one type of source.
type Driver struct {
	// Type is what `type:` says, such as "imap".
	Type string
	// Options returns a new pointer to the driver's options, a struct described
	// by its tags (see the package comment). No defaults are set in it.
	Options func() any
}

// key is a key of a mapping, as the tags of a field describe it.
type key struct {
	name     string
	part     int   // which of the structs that make up the mapping holds the field
	index    []int // the field in that struct
	doc      string
	kind     kind
	enum     []string
	fallback string // the default, as it would be written; "" for none
	min, max string
	required bool
	list     bool
	optional bool         // an empty text is allowed
	secret   bool         // to be written as a reference
	typ      reflect.Type // of the field, or of the items of a list
	object   *object      // for a mapping, or a list of them
	raw      bool         // the field takes the node itself
}

// allowed says what the value may be.
func (k *key) allowed() string {
	allowed := k.kind.allowed
	switch {
	case len(k.enum) > 0:
		allowed = strings.Join(k.enum, ", ")
	case k.object != nil:
		allowed = "a mapping with the keys " + strings.Join(k.object.names(), ", ")
	case k.min != "" && k.max != "" && strings.Contains(allowed, ","):
		allowed += ", from " + k.min + " to " + k.max
	case k.min != "" && k.max != "":
		allowed += " from " + k.min + " to " + k.max
	case k.min != "":
		allowed += ", at least " + k.min
	}
	if k.list {
		allowed = "a list, each item " + allowed
	}
	return allowed
}

// object is a mapping whose keys are known.
type object struct {
	keys   []*key
	byName map[string]*key
	// secrets: it has a key for a secret, or is a mapping whose type may have.
	secrets bool
}

func (o *object) names() []string {
	names := make([]string, len(o.keys))
	for i, k := range o.keys {
		names[i] = k.name
	}
	return names
}

// describe returns the mapping whose keys are the tagged fields of the structs.
func describe(structs ...reflect.Type) (*object, error) {
	o := &object{byName: make(map[string]*key)}
	for part, typ := range structs {
		for _, field := range reflect.VisibleFields(typ) {
			name := field.Tag.Get("yaml")
			if name == "" || name == "-" {
				continue
			}
			k, err := describeField(field)
			if err != nil {
				return nil, fmt.Errorf("describe %s.%s: %w", typ, field.Name, err)
			}
			if o.byName[name] != nil {
				return nil, fmt.Errorf("describe %s.%s: key %q is taken", typ, field.Name, name)
			}
			k.name, k.part, k.index = name, part, field.Index
			o.keys = append(o.keys, k)
			o.secrets = o.secrets || k.secret
			o.byName[name] = k
		}
	}
	return o, nil
}

func describeField(field reflect.StructField) (*key, error) {
	tag := field.Tag
	k := &key{
		doc:      tag.Get("doc"),
		fallback: tag.Get("default"),
		min:      tag.Get("min"),
		max:      tag.Get("max"),
		required: tag.Get("required") == "true",
		optional: tag.Get("empty") == "true",
	}
	if k.doc == "" {
		return nil, fmt.Errorf("no doc tag")
	}
	if enum := tag.Get("enum"); enum != "" {
		k.enum = strings.Split(enum, ",")
	}
	typ := field.Type
	if typ == reflect.TypeFor[*node]() {
		k.raw = true
		k.kind.allowed = tag.Get("allowed")
		return k, nil
	}
	if typ.Kind() == reflect.Slice {
		k.list, typ = true, typ.Elem()
	}
	k.typ = typ
	if isMapping(typ) {
		var err error
		k.object, err = describe(typ)
		return k, err
	}
	name := tag.Get("kind")
	if typ == reflect.TypeFor[*Credential]() {
		name = "credentials"
	}
	k.secret = typ == reflect.TypeFor[secret.Value]() && name == ""
	var ok bool
	if k.kind, ok = kindOf(name, typ); !ok {
		return nil, fmt.Errorf("kind %q of type %s is unknown", name, typ)
	}
	for _, text := range []string{k.fallback, k.min, k.max} {
		if _, err := k.kind.parse(text, "/"); text != "" && err != nil {
			return nil, fmt.Errorf("%q %w", text, err)
		}
	}
	return k, nil
}

// isMapping reports whether a field of the type is written as a mapping.
func isMapping(typ reflect.Type) bool {
	switch typ {
	case reflect.TypeFor[secret.Value](), reflect.TypeFor[time.Time](), reflect.TypeFor[*regexp.Regexp](), reflect.TypeFor[*Credential]():
		return false
	}
	return typ.Kind() == reflect.Struct
}

// variant is a mapping that has further keys by what its key "type" says.
type variant struct {
	what    string // what it is to a person: "source"
	types   []string
	options map[string]func() any
	objects map[string]*object
	// common has the keys of every type, base those and any other.
	common *object
	// fits tells which types have the key.
	fits map[string][]string
}

func newVariant(what string, common reflect.Type, drivers []Driver) (*variant, error) {
	v := &variant{
		what:    what,
		options: make(map[string]func() any),
		objects: make(map[string]*object),
		fits:    make(map[string][]string),
	}
	var err error
	if v.common, err = describe(common); err != nil {
		return nil, err
	}
	for _, d := range drivers {
		if v.objects[d.Type] != nil {
			return nil, fmt.Errorf("describe %s: type %q is given twice", what, d.Type)
		}
		typ := reflect.TypeOf(d.Options())
		if typ == nil || typ.Kind() != reflect.Pointer || typ.Elem().Kind() != reflect.Struct {
			return nil, fmt.Errorf("describe %s: options of type %q are no pointer to a struct", what, d.Type)
		}
		o, err := describe(common, typ.Elem())
		if err != nil {
			return nil, err
		}
		v.types = append(v.types, d.Type)
		v.options[d.Type] = d.Options
		v.objects[d.Type] = o
		for _, k := range o.keys {
			v.fits[k.name] = append(v.fits[k.name], d.Type)
		}
	}
	for _, o := range v.objects {
		o.byName["type"].enum = v.types
		v.common.secrets = v.common.secrets || o.secrets
	}
	v.common.byName["type"].enum = v.types
	return v, nil
}

// grammar is all that a configuration may hold.
type grammar struct {
	main, included *object
	sources        *variant
	credentials    *variant
	outgoing       *object
	senders        *variant
	// built are the types of source that have a driver.
	built map[string]bool
}

func newGrammar(drivers []Driver) (*grammar, error) {
	g := &grammar{built: make(map[string]bool)}
	for _, d := range drivers {
		g.built[d.Type] = true
	}
	all := slices.Clone(drivers)
	for _, d := range laterDrivers() {
		if !g.built[d.Type] {
			all = append(all, d)
		}
	}
	slices.SortStableFunc(all, func(a, b Driver) int { return strings.Compare(a.Type, b.Type) })
	var err error
	for _, part := range []struct {
		object  **object
		structs []reflect.Type
	}{
		{&g.main, []reflect.Type{reflect.TypeFor[header](), reflect.TypeFor[Config](), reflect.TypeFor[entities]()}},
		{&g.included, []reflect.Type{reflect.TypeFor[entities]()}},
		{&g.outgoing, []reflect.Type{reflect.TypeFor[outgoingNodes](), reflect.TypeFor[Outgoing]()}},
	} {
		if *part.object, err = describe(part.structs...); err != nil {
			return nil, err
		}
	}
	if g.sources, err = newVariant("source", reflect.TypeFor[Source](), all); err != nil {
		return nil, err
	}
	if g.credentials, err = newVariant("credentials", reflect.TypeFor[Credential](), credentialTypes()); err != nil {
		return nil, err
	}
	g.senders, err = newVariant("sender", reflect.TypeFor[Sender](), senderTypes())
	return g, err
}

// knows reports whether there is such a type of source.
func (g *grammar) knows(sourceType string) bool { return g.sources.objects[sourceType] != nil }
