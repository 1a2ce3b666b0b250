package main

import (
	"bytes"
	"os"
	"testing"
)

// TestSchemaFile checks that editors are told of the drivers that there are.
func TestSchemaFile(t *testing.T) {
	got, err := configSchema()
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("../../config.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, bytes.ReplaceAll(want, []byte("\r\n"), []byte("\n"))) {
		t.Error("config.schema.json is not what `postroom schema` prints; write it anew with that")
	}
}
