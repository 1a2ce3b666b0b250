package main

import (
	"bytes"
	"fmt"
	"os"

	"postroom/internal/durable"
)

// What stands around the table in the document.
const (
	begin = "<!-- the table: make bench ARGS='-write docs/benchmarks.md' -->\n"
	end   = "<!-- end of the table -->\n"
)

// replaceTable puts the table into the document in place of the one there.
func replaceTable(name, table string) error {
	old, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	before, rest, found := bytes.Cut(old, []byte(begin))
	_, after, foundEnd := bytes.Cut(rest, []byte(end))
	if !found || !foundEnd {
		return fmt.Errorf("%s has no place for the table: a line %q and, below it, %q", name, begin, end)
	}
	text := bytes.Join([][]byte{before, []byte(begin), []byte(table), []byte(end), after}, nil)
	return durable.WriteFile(name, bytes.NewReader(text), 0o644)
}
