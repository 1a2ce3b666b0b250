package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestConversion(t *testing.T) {
	dir := t.TempDir()
	pages, err := writePages(filepath.Join(dir, "pages"), 3)
	if err != nil {
		t.Fatal(err)
	}
	large, err := writeLarge(filepath.Join(dir, "large"), 1_000_000)
	if err != nil {
		t.Fatal(err)
	}
	for _, mail := range []*letters{pages, large} {
		to := mail.dir + ".out"
		if err := convertFolder([]string{mail.dir, to}); err != nil {
			t.Fatal(err)
		}
		if err := mail.checkMsg(to); err != nil {
			t.Error(err)
		}
		first := filepath.Join(to, msgName(mailName(0)))
		b, err := os.ReadFile(first)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(first, b[:len(b)/2], 0o600); err != nil {
			t.Fatal(err)
		}
		if err := mail.checkMsg(to); err == nil || !strings.Contains(err.Error(), first) {
			t.Errorf("half a file is not noticed: %v", err)
		}
	}
	to := pages.dir + ".out"
	if err := convertFile(filepath.Join(pages.dir, mailName(1)), filepath.Join(to, msgName(mailName(0)))); err != nil {
		t.Fatal(err)
	}
	if err := pages.checkMsg(to); err == nil || !strings.Contains(err.Error(), "not what was in the mail") {
		t.Errorf("another message is not noticed: %v", err)
	}
	if err := os.Remove(filepath.Join(to, msgName(mailName(2)))); err != nil {
		t.Fatal(err)
	}
	if err := pages.checkMsg(to); err == nil || !strings.Contains(err.Error(), "2 files of 3") {
		t.Errorf("a missing file is not noticed: %v", err)
	}
}
