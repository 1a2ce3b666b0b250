// Package corpus gives tests real and damaged mail of others, which is not part
// of the project.
package corpus

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Archive is a collection of mail.
type Archive struct {
	Name   string
	SHA256 [32]byte // of the file
	Mail   []Mail   // at least one
}

// Mail is one message. Its name begins with that of its archive.
type Mail struct {
	Name string
	Raw  []byte
}

// Need is Read for a test of nothing else, which is skipped if there is no corpus.
func Need(t testing.TB) []Archive {
	t.Helper()
	all := Read(t)
	if len(all) == 0 {
		t.Skip("there is no corpus of mail: POSTROOM_CORPUS says where one is")
	}
	return all
}

// Read returns the archives (*.zip) in ../shared/corpus beside the repository, or
// in the directory that POSTROOM_CORPUS names. Without that directory there is
// none, and the log of the test says so; one without archives is an error.
func Read(t testing.TB) (all []Archive) {
	t.Helper()
	dir := os.Getenv("POSTROOM_CORPUS")
	if dir == "" {
		// Tests of packages two folders below the repository's root.
		dir = filepath.Join("..", "..", "..", "shared", "corpus")
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.zip"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		if _, err := os.Stat(dir); err == nil || os.Getenv("POSTROOM_CORPUS") != "" {
			t.Fatalf("no archive (*.zip) of mail in %s", dir)
		}
		t.Logf("no corpus of mail in %s: nothing read; POSTROOM_CORPUS says where one is", dir)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		z, err := zip.NewReader(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		a := Archive{Name: strings.TrimSuffix(filepath.Base(file), ".zip"), SHA256: sha256.Sum256(b)}
		for _, f := range z.File {
			if f.FileInfo().IsDir() || f.Name == "LICENSE" {
				continue
			}
			r, err := f.Open()
			if err != nil {
				t.Fatal(err)
			}
			raw, err := io.ReadAll(r)
			r.Close()
			if err != nil {
				t.Fatal(err)
			}
			a.Mail = append(a.Mail, Mail{a.Name + "/" + f.Name, raw})
		}
		if len(a.Mail) == 0 {
			t.Errorf("no mail in %s", file)
		}
		all = append(all, a)
	}
	return all
}
