package config

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
)

// fragment is a part of a JSON Schema. Its keys are written in sorted order.
type fragment map[string]any

// Schema returns the JSON Schema (draft 2020-12) of a configuration with the
// drivers, for editors. It knows the whole grammar, also what is not built yet.
// What only [Load] can tell it lets pass, such as a key that is missing in a
// source but may be in the defaults. The definition "included" is that of an
// included file.
func Schema(drivers []Driver) ([]byte, error) {
	g, err := newGrammar(drivers)
	if err != nil {
		return nil, err
	}
	schema := objectSchema(g.main)
	schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	schema["title"] = "Configuration of postroom"
	properties := schema["properties"].(fragment)
	define := func(properties fragment, key, name string) {
		properties[key] = fragment{"$ref": "#/$defs/" + name, "description": properties[key].(fragment)["description"]}
	}
	included := objectSchema(g.included)
	for _, p := range []fragment{properties, included["properties"].(fragment)} {
		define(p, "credentials", "credentials")
		define(p, "sources", "sources")
	}
	define(properties, "defaults", "defaults")
	define(properties, "outgoing", "outgoing")
	outgoing := objectSchema(g.outgoing)
	define(outgoing["properties"].(fragment), "global", "sender")
	define(outgoing["properties"].(fragment), "system", "sender")
	definitions := fragment{
		"included":  included,
		"outgoing":  outgoing,
		"defaults":  defaultsSchema(g.sources),
		"reference": fragment{"type": "string", "pattern": referencePattern, "description": "A value from the environment, a file or the store of secrets."},
	}
	sourceSchemas(g, definitions)
	variantSchemas(g.credentials, "credential", definitions)
	variantSchemas(g.senders, "sender", definitions)
	definitions["sources"] = fragment{"type": "array", "items": fragment{"$ref": "#/$defs/source"}}
	definitions["credentials"] = fragment{"type": "array", "items": fragment{"$ref": "#/$defs/credential"}}
	schema["$defs"] = definitions
	data, err := json.MarshalIndent(schema, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write schema: %w", err)
	}
	return append(data, '\n'), nil
}

const referencePattern = `\$\{(env|file|secret):[^}]+\}`

// objectSchema is the schema of a mapping with known keys.
func objectSchema(o *object) fragment {
	properties := make(fragment)
	var required []string
	for _, k := range o.keys {
		properties[k.name] = keySchema(k)
		if k.required {
			required = append(required, k.name)
		}
	}
	schema := fragment{"type": "object", "properties": properties, "additionalProperties": false}
	if required != nil {
		slices.Sort(required)
		schema["required"] = required
	}
	return schema
}

func keySchema(k *key) fragment {
	if k.raw {
		return fragment{"description": k.doc}
	}
	var schema fragment
	if k.object != nil {
		schema = objectSchema(k.object)
	} else {
		schema = scalarSchema(k)
	}
	if k.list {
		schema = fragment{"type": "array", "items": schema}
	}
	if k.fallback != "" {
		if k.list {
			schema["minItems"] = 1
			schema["default"] = []any{written(k, k.fallback)}
		} else {
			schema["default"] = written(k, k.fallback)
		}
	}
	schema["description"] = k.doc
	return schema
}

func scalarSchema(k *key) fragment {
	var choices []fragment
	for _, scalar := range k.kind.scalars {
		switch scalar {
		case boolNode:
			choices = append(choices, fragment{"type": "boolean"})
		case numberNode:
			choices = append(choices, numberSchema(k))
		default:
			choices = append(choices, textSchema(k))
		}
	}
	if len(choices) == 1 && choices[0]["type"] == "string" && choices[0]["pattern"] == nil {
		return choices[0]
	}
	return fragment{"anyOf": append(choices, fragment{"$ref": "#/$defs/reference"})}
}

func numberSchema(k *key) fragment {
	if len(k.enum) > 0 {
		return fragment{"enum": writtenAll(k)}
	}
	schema := fragment{"type": "integer"}
	for name, bound := range map[string]string{"minimum": k.min, "maximum": k.max} {
		if bound != "" {
			schema[name] = written(k, bound)
		}
	}
	return schema
}

func textSchema(k *key) fragment {
	schema := fragment{"type": "string"}
	switch {
	case len(k.enum) > 0:
		return fragment{"enum": writtenAll(k)}
	case k.optional && k.kind.pattern != "":
		schema["pattern"] = "^$|" + k.kind.pattern
	case k.kind.pattern != "":
		schema["pattern"] = k.kind.pattern
	case !k.optional:
		schema["minLength"] = 1
	}
	return schema
}

// written is a value in JSON as it is written in a configuration.
func written(k *key, text string) any {
	switch k.typ.Kind() {
	case reflect.Bool:
		return text == "true"
	case reflect.Int:
		if n, err := strconv.Atoi(text); err == nil {
			return n
		}
	}
	return text
}

func writtenAll(k *key) []any {
	values := make([]any, len(k.enum))
	for i, text := range k.enum {
		values[i] = written(k, text)
	}
	return values
}

// variantSchemas defines the schema of a variant under its name, and that of
// each of its types under name_type.
func variantSchemas(v *variant, name string, definitions fragment) {
	var rules []fragment
	for _, typ := range v.types {
		definition := name + "_" + typ
		definitions[definition] = objectSchema(v.objects[typ])
		rules = append(rules, fragment{
			"if":   fragment{"properties": fragment{"type": fragment{"const": typ}}, "required": []string{"type"}},
			"then": fragment{"$ref": "#/$defs/" + definition},
		})
	}
	definitions[name] = fragment{
		"type":       "object",
		"properties": fragment{"type": keySchema(v.common.byName["type"])},
		"required":   []string{"type"},
		"allOf":      rules,
	}
}

// sourceSchemas defines the schemas of sources. A required key may be left to
// the defaults, unless it cannot have one; what a type without folders cannot do
// is left out.
func sourceSchemas(g *grammar, definitions fragment) {
	variantSchemas(g.sources, "source", definitions)
	for _, typ := range g.sources.types {
		schema := definitions["source_"+typ].(fragment)
		required := []string{"name", "type"}
		if !slices.Contains(fitting(typ), "password") {
			required = []string{"mailbox", "name", "type"}
		}
		schema["required"] = required
		if g.sources.objects[typ].byName["folders"] != nil {
			continue
		}
		properties := schema["properties"].(fragment)
		after := *g.sources.objects[typ].byName["after_filing"]
		after.enum = withoutFolders()
		properties["after_filing"] = keySchema(&after)
		delete(properties["only"].(fragment)["properties"].(fragment), "unread")
	}
}

// defaultsSchema is the schema of the defaults: a key of any type of source. Types
// may differ in what the same key is.
func defaultsSchema(v *variant) fragment {
	properties := make(fragment)
	for _, name := range slices.Sorted(maps.Keys(v.fits)) {
		if slices.Contains(undefaulted(), name) {
			continue
		}
		var choices []fragment
		for _, typ := range v.fits[name] {
			schema := keySchema(v.objects[typ].byName[name])
			delete(schema, "default")
			if !slices.ContainsFunc(choices, func(f fragment) bool { return reflect.DeepEqual(f, schema) }) {
				choices = append(choices, schema)
			}
		}
		properties[name] = choices[0]
		if len(choices) > 1 {
			properties[name] = fragment{"anyOf": choices}
		}
	}
	return fragment{"type": "object", "properties": properties, "additionalProperties": false}
}
