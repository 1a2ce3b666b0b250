package config_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"postroom/cmd/postroom/config"
)

const (
	schemaFile  = "../../../config.schema.json"
	exampleFile = "../../../config.example.yaml"
)

func schemaJSON(t *testing.T) []byte {
	t.Helper()
	data, err := config.Schema(drivers())
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func compileSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(schemaJSON(t)))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	if err := compiler.AddResource("config.schema.json", document); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile("config.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// validate returns what the schema says of a YAML text.
func validate(t *testing.T, schema *jsonschema.Schema, text string) error {
	t.Helper()
	data, err := json.Marshal(decodeYAML(t, text))
	if err != nil {
		t.Fatal(err)
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return schema.Validate(value)
}

func TestSchemaFile(t *testing.T) {
	got := schemaJSON(t)
	if *update {
		if err := os.WriteFile(schemaFile, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, bytes.ReplaceAll(want, []byte("\r\n"), []byte("\n"))) {
		t.Error("config.schema.json is not what Schema returns; go test ./cmd/postroom/config -update writes it")
	}
	for range 5 {
		if !bytes.Equal(got, schemaJSON(t)) {
			t.Fatal("Schema does not return the same twice")
		}
	}
}

// TestSchemaDescribes checks that an editor has a description for every key.
func TestSchemaDescribes(t *testing.T) {
	var schema any
	if err := json.Unmarshal(schemaJSON(t), &schema); err != nil {
		t.Fatal(err)
	}
	keys := 0
	var walk func(path string, value any)
	walk = func(path string, value any) {
		switch value := value.(type) {
		case map[string]any:
			properties, _ := value["properties"].(map[string]any)
			if value["type"] == "object" {
				for name, property := range properties {
					keys++
					if !described(property) {
						t.Errorf("%s: key %s has no description", path, name)
					}
				}
			}
			for name, inner := range value {
				walk(path+"/"+name, inner)
			}
		case []any:
			for _, inner := range value {
				walk(path, inner)
			}
		}
	}
	walk("", schema)
	if keys < 100 {
		t.Errorf("only %d keys are in the schema", keys)
	}
}

func described(property any) bool {
	p, _ := property.(map[string]any)
	if choices, ok := p["anyOf"].([]any); ok && p["description"] == nil {
		return described(choices[0])
	}
	text, _ := p["description"].(string)
	return text != ""
}

// TestSchemaTakesReferences checks that a reference may stand for any scalar.
func TestSchemaTakesReferences(t *testing.T) {
	schema := compileSchema(t)
	text, err := os.ReadFile("testdata/references.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := validate(t, schema, string(text)); err != nil {
		t.Error(err)
	}
}

func TestExample(t *testing.T) {
	text, err := os.ReadFile(exampleFile)
	if err != nil {
		t.Fatal(err)
	}
	if first, _, _ := strings.Cut(string(text), "\n"); strings.TrimSpace(first) != "# yaml-language-server: $schema=./config.schema.json" {
		t.Errorf("the first line is %q", first)
	}
	t.Setenv("ORDERS_PASSWORD", marker)
	t.Setenv("INVOICES_PASSWORD", marker)
	c, err := config.Load(exampleFile, drivers())
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Warnings) > 0 {
		t.Errorf("warnings: %v", c.Warnings)
	}
	if len(c.Sources) != 2 {
		t.Errorf("%d sources, want 2", len(c.Sources))
	}
	if err := validate(t, compileSchema(t), string(text)); err != nil {
		t.Error(err)
	}
}

// TestExampleIsWhole checks that the example shows every key there is, and that
// what is commented out in it is known to the schema.
func TestExampleIsWhole(t *testing.T) {
	data, err := os.ReadFile(exampleFile)
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	var schema struct {
		Definitions map[string]struct {
			Properties map[string]any `json:"properties"`
		} `json:"$defs"`
		Properties map[string]any `json:"properties"`
	}
	if err := json.Unmarshal(schemaJSON(t), &schema); err != nil {
		t.Fatal(err)
	}
	check := func(where string, properties map[string]any) {
		for key := range properties {
			if !regexp.MustCompile(`(?m)(^|[ {])` + regexp.QuoteMeta(key) + `\b`).MatchString(text) {
				t.Errorf("%s: key %s is not in the example", where, key)
			}
		}
	}
	check("top", schema.Properties)
	for name, definition := range schema.Definitions {
		check(name, definition.Properties)
	}
	uncommented := regexp.MustCompile(`(?m)^( *)# ( *- |  [a-z_]+:|[a-z_]+:( |$))`).ReplaceAllString(text, "$1$2")
	value, _ := decodeYAML(t, uncommented).(map[string]any)
	for _, key := range []string{"ledger", "spool", "proxy", "include", "outgoing", "status"} {
		if value[key] == nil {
			t.Errorf("key %s is not among what is commented out", key)
		}
	}
	if err := validate(t, compileSchema(t), uncommented); err != nil {
		t.Errorf("the example with all that is commented out: %v\n%s", err, uncommented)
	}
}

func TestIncludedSchema(t *testing.T) {
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(schemaJSON(t)))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("config.schema.json", document); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile("config.schema.json#/$defs/included")
	if err != nil {
		t.Fatal(err)
	}
	if err := validate(t, schema, "sources:\n  - {name: a, type: imap, credentials: b, server: c}\n"); err != nil {
		t.Error(err)
	}
	if validate(t, schema, "version: 1\nsources: []\n") == nil {
		t.Error("an included file may hold the version")
	}
}

func TestDriverTags(t *testing.T) {
	for name, options := range map[string]any{
		"no doc": &struct {
			A string `yaml:"a"`
		}{},
		"unknown kind": &struct {
			A string `yaml:"a" kind:"colour" doc:"x"`
		}{},
		"unknown type": &struct {
			A chan int `yaml:"a" doc:"x"`
		}{},
		"bad default": &struct {
			A int `yaml:"a" default:"x" doc:"x"`
		}{},
		"key of sources": &struct {
			A string `yaml:"mailbox" doc:"x"`
		}{},
		"no struct": new(string),
	} {
		t.Run(name, func(t *testing.T) {
			bad := []config.Driver{{Type: "x", Options: func() any { return options }}}
			if _, err := config.Schema(bad); err == nil {
				t.Error("Schema takes it")
			}
			if _, err := config.Load(exampleFile, bad); err == nil || strings.Contains(err.Error(), filepath.Base(exampleFile)) {
				t.Errorf("Load does not refuse the driver: %v", err)
			}
		})
	}
	twice := append(drivers(), drivers()...)
	if _, err := config.Schema(twice); err == nil {
		t.Error("Schema takes two drivers of one type")
	}
}
