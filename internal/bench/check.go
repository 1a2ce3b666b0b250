package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
)

// checkDocuments checks that the repository holds each message once, octet for
// octet, and nothing else.
func (m *mailbox) checkDocuments(repository string) error {
	missing := maps.Clone(m.want)
	documents := 0
	err := filepath.WalkDir(repository, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.Name() != "document.json" {
			return err
		}
		documents++
		sum, err := messageOf(path)
		missing[sum]--
		return err
	})
	if err != nil {
		return err
	}
	for sum, n := range missing {
		if n != 0 {
			return fmt.Errorf("message %x is filed %d times, delivered %d times", sum[:6], m.want[sum]-n, m.want[sum])
		}
	}
	if documents != m.messages {
		return fmt.Errorf("%d documents of %d messages", documents, m.messages)
	}
	return nil
}

// messageOf returns the SHA-256 of a document's message, as it is on disk.
func messageOf(path string) (sum [sha256.Size]byte, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return sum, err
	}
	var d struct {
		Files []struct{ Name, SHA256 string }
	}
	if err := json.Unmarshal(text, &d); err != nil || len(d.Files) != 1 {
		return sum, fmt.Errorf("%s: %d files, %w", path, len(d.Files), err)
	}
	f, err := os.Open(filepath.Join(filepath.Dir(path), d.Files[0].Name))
	if err != nil {
		return sum, err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return sum, err
	}
	h.Sum(sum[:0])
	if hex.EncodeToString(sum[:]) != d.Files[0].SHA256 {
		return sum, fmt.Errorf("%s: the file is not what the description says", path)
	}
	return sum, nil
}

// checkFiles checks only how many files there are in a folder and below.
func (m *mailbox) checkFiles(folder string) error {
	files := 0
	err := filepath.WalkDir(folder, func(_ string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() && e.Name()[0] != '.' {
			files++
		}
		return err
	})
	if err == nil && files != m.messages {
		err = fmt.Errorf("%d files of %d messages", files, m.messages)
	}
	return err
}
