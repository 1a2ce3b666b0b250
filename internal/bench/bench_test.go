package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestReplaceTable(t *testing.T) {
	name := filepath.Join(t.TempDir(), "benchmarks.md")
	if err := os.WriteFile(name, []byte("before\n"+begin+"old\n"+end+"after\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, table := range []string{"first\n", "second\n"} {
		if err := replaceTable(name, table); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(name)
		if want := "before\n" + begin + table + end + "after\n"; err != nil || string(got) != want {
			t.Errorf("%q, %v; want %q", got, err, want)
		}
	}
	if err := os.WriteFile(name, []byte("no place"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := replaceTable(name, "table\n"); err == nil {
		t.Error("no error for a document without a place for the table")
	}
}

func TestTheDocumentHasAPlace(t *testing.T) {
	text, err := os.ReadFile("../../docs/benchmarks.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), begin)
	if !found || !strings.Contains(rest, end) {
		t.Error("docs/benchmarks.md has no place for the table")
	}
}

func TestMedian(t *testing.T) {
	m := median([]sample{
		{wall: 3 * time.Second, peak: 1, trips: 5}, {wall: time.Second, peak: 2, trips: 4}, {wall: 2 * time.Second, peak: 3, trips: 6},
	})
	if m.wall != 2*time.Second || m.peak != 2 || m.trips != 5 {
		t.Errorf("%+v", m)
	}
}

func TestCost(t *testing.T) {
	before, peak, err := cost(os.Getpid())
	if err != nil || peak < 1<<20 {
		t.Fatal(peak, err)
	}
	for after := before; after == before; {
		if after, _, err = cost(os.Getpid()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCheckDocuments(t *testing.T) {
	root := t.TempDir()
	m := &mailbox{messages: 2, want: make(map[[sha256.Size]byte]int)}
	var files []string
	for _, text := range []string{"one", "two"} {
		sum := sha256.Sum256([]byte(text))
		m.want[sum]++
		dir := filepath.Join(root, "bench", text)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		files = append(files, filepath.Join(dir, "message.eml"))
		description := fmt.Sprintf(`{"files": [{"name": "message.eml", "sha256": %q}]}`, hex.EncodeToString(sum[:]))
		for name, content := range map[string]string{"document.json": description, "message.eml": text} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := m.checkDocuments(root); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(files[1], []byte("tow"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := m.checkDocuments(root); err == nil {
		t.Error("an altered message is not noticed")
	}
	if err := os.RemoveAll(filepath.Dir(files[1])); err != nil {
		t.Fatal(err)
	}
	if err := m.checkDocuments(root); err == nil {
		t.Error("a missing message is not noticed")
	}
}
