package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// include reads the files that the patterns name, whose nodes are the items of
// n, and returns what they hold in the order of the patterns and, within one,
// of the paths.
func (l *loader) include(n *node, patterns []string) []entities {
	var found []entities
	read := make(map[string]bool)
	for i, pattern := range patterns {
		if pattern == "" {
			// It was refused.
			continue
		}
		item := n.items[i]
		names, err := l.glob(pattern)
		switch {
		case err != nil:
			l.incomplete = true
			l.errors.add(item.pos, "include: %v; allowed: a path in which * and ? stand for any characters of a name", err)
		case len(names) == 0:
			l.warnings.add(item.pos, "include: no file matches")
		}
		for _, name := range names {
			full := absolute(name, l.dir)
			if read[real(full)] {
				continue
			}
			read[real(full)] = true
			shown := ""
			if !item.expanded.reference {
				shown = shownFile(path.Clean(name))
			}
			if file, ok := l.includeFile(name, full, shown, item.pos); ok {
				found = append(found, file)
			}
		}
	}
	return found
}

// glob returns the files that a pattern names, sorted, as paths from the
// configuration's folder. A pattern without wildcards names one file, whether
// it exists or not. Like in a shell, a wildcard does not begin with a dot. The
// error says what is wrong.
func (l *loader) glob(pattern string) ([]string, error) {
	if err := checkPath(pattern, runtime.GOOS == "windows"); err != nil {
		return nil, fmt.Errorf("the pattern %w", err)
	}
	if strings.Contains(pattern, "**") {
		return nil, errors.New("the pattern holds **, but * is within one name")
	}
	pattern = filepath.ToSlash(pattern)
	if !hasWildcard(pattern) {
		return []string{pattern}, nil
	}
	segments := strings.Split(pattern, "/")
	first := slices.IndexFunc(segments, hasWildcard)
	root := strings.Join(segments[:first], "/")
	if first > 0 {
		root += "/"
	}
	folder := absolute(root, l.dir)
	matches, err := fs.Glob(os.DirFS(folder), strings.Join(segments[first:], "/"))
	if err != nil {
		return nil, errors.New("the pattern is not valid")
	}
	// Glob takes a folder that it cannot read for an empty one.
	if _, err := os.ReadDir(folder); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the folder of the pattern cannot be read: %w", reason(err))
	}
	var names []string
	for _, match := range matches {
		name := root + match
		if info, err := os.Stat(absolute(name, l.dir)); err == nil && info.IsDir() || hidden(match, segments[first:]) {
			continue
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return names, nil
}

func hasWildcard(s string) bool { return strings.ContainsAny(s, "*?[") }

// hidden reports whether a segment of the path begins with a dot that its
// pattern does not spell out.
func hidden(match string, pattern []string) bool {
	for i, name := range strings.Split(match, "/") {
		if strings.HasPrefix(name, ".") && !strings.HasPrefix(pattern[i], ".") {
			return true
		}
	}
	return false
}

// includeFile reads an included file, named from the configuration's folder.
// Messages call it shown.
func (l *loader) includeFile(name, full, shown string, at Position) (entities, bool) {
	var file entities
	place := filepath.FromSlash(name)
	if !filepath.IsAbs(place) {
		place = filepath.Join(filepath.Dir(l.file), place)
	}
	if real(full) == real(l.full) {
		l.errors.add(at, "include: the file%s is this one itself; allowed: other files", shown)
		return file, false
	}
	data, edited := l.texts[full]
	var err error
	if !edited {
		data, _, err = readFile(full, maxFile)
	}
	if err != nil {
		l.incomplete = true
		l.errors.add(at, "include: the file%s cannot be read: %v; allowed: a file that postroom can read", shown, reason(err))
		return file, false
	}
	l.files = append(l.files, usedFile{"an included file", at, full})
	root := l.parse(place, data)
	switch {
	case root == nil:
		l.incomplete = true
		return file, false
	case root.kind == nullNode:
		l.warnings.add(root.pos, "the file holds nothing")
		return file, false
	case root.kind != mappingNode:
		l.incomplete = true
		l.errors.add(root.pos, "the file holds no mapping (%s); allowed: the keys %s", root.kind, strings.Join(l.grammar.included.names(), ", "))
		return file, false
	}
	l.incomplete = l.incomplete || root.open
	read := l.scope().mapping(root, l.grammar.included, pointed([]any{&file}), func(e entry) {
		advice := "unknown key"
		if l.grammar.main.byName[e.key] != nil {
			advice = "key of the main file"
		}
		l.errors.add(e.pos, "%s%s; allowed in an included file: %s", advice, shownKey(e.key, l.grammar.main), strings.Join(l.grammar.included.names(), ", "))
	})
	l.incomplete = l.incomplete || read.bad["credentials"]
	return file, true
}
