package durable

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
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

func TestWriteFileLike(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	like, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(name, 4711, 4712); err != nil {
			t.Fatal(err)
		}
		if like, err = os.Stat(name); err != nil {
			t.Fatal(err)
		}
	}
	if err := WriteFileLike(name, strings.NewReader("new"), like); err != nil {
		t.Fatal(err)
	}
	now, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	if now.Mode() != like.Mode() || owner(now) != owner(like) {
		t.Errorf("mode %v, owner %s; were %v, %s", now.Mode(), owner(now), like.Mode(), owner(like))
	}
}

// owner returns the user and group of a file as text, "" on a system that says
// neither.
func owner(info os.FileInfo) string {
	v := reflect.Indirect(reflect.ValueOf(info.Sys()))
	if v.Kind() != reflect.Struct || !v.FieldByName("Uid").IsValid() {
		return ""
	}
	return fmt.Sprint(v.FieldByName("Uid"), " ", v.FieldByName("Gid"))
}
