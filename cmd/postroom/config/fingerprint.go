package config

import (
	"crypto/sha256"
	"fmt"
	"path/filepath"
)

// Fingerprint is what the files of a configuration hold. Two are equal if
// nothing has changed.
type Fingerprint [sha256.Size]byte

// FingerprintOf returns the fingerprint of the configuration in the file at path
// and in the files that it includes. It has no errors: a file that cannot be
// read counts as one that holds the reason. What references stand for does not
// count.
func FingerprintOf(path string) Fingerprint {
	h := sha256.New()
	add := func(name string, data []byte, err error) {
		if err != nil {
			fmt.Fprintf(h, "%q: %v\n", name, reason(err))
			return
		}
		fmt.Fprintf(h, "%q: %d bytes\n%s\n", name, len(data), data)
	}
	data, _, err := readFile(path, maxFile)
	add(path, data, err)
	full, absErr := filepath.Abs(path)
	if err == nil && absErr == nil {
		l := &loader{file: path, full: full, dir: filepath.Dir(full)}
		for _, name := range l.included(data) {
			data, _, err := readFile(absolute(name, l.dir), maxFile)
			add(name, data, err)
		}
	}
	return Fingerprint(h.Sum(nil))
}

// included returns the files that the main file's text includes, as far as it
// can be read.
func (l *loader) included(data []byte) []string {
	root := l.parse(l.file, data)
	if root == nil || root.kind != mappingNode || root.entry("include") == nil {
		return nil
	}
	var names []string
	for _, item := range root.entry("include").value.items {
		if x := l.scope().expand(item); x.err == nil {
			found, _ := l.glob(x.text) // Load says what is wrong with a pattern
			names = append(names, found...)
		}
	}
	return names
}
