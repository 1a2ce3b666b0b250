package durable

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
)

func TestWriteFile(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "file")
	for _, content := range []string{"first", "", strings.Repeat("x", 100_000)} {
		if err := WriteFile(name, strings.NewReader(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(name); err != nil || string(got) != content {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	}
	broken := errors.New("broken")
	if err := WriteFile(name, io.MultiReader(strings.NewReader("half"), iotest.ErrReader(broken)), 0o600); !errors.Is(err, broken) {
		t.Error(err)
	}
	if got, err := os.ReadFile(name); err != nil || len(got) != 100_000 {
		t.Errorf("a failed write has left %d bytes, %v", len(got), err)
	}
	if err := WriteFile(filepath.Join(dir, "missing", "file"), strings.NewReader(""), 0o600); err == nil {
		t.Error("no error without a folder")
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("left: %v, %v", left, err)
	}
}
