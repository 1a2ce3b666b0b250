package config

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
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
		at := n.items[i].pos
		names, err := l.glob(pattern)
		switch {
		case err != nil:
			l.errors.add(at, "include: the pattern is not valid; allowed: a path in which * and ? stand for any characters of a name")
		case len(names) == 0:
			l.warnings.add(at, "include: no file matches")
		}
		for _, name := range names {
			full := absolute(name, l.dir)
			if read[full] {
				continue
			}
			read[full] = true
			if file, ok := l.includeFile(name, full, at); ok {
				found = append(found, file)
			}
		}
	}
	return found
}

// glob returns the files that a pattern names, sorted, as paths from the
// configuration's folder. A pattern without wildcards names one file, whether
// it exists or not. Like in a shell, a wildcard does not begin with a dot.
func (l *loader) glob(pattern string) ([]string, error) {
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
	matches, err := fs.Glob(os.DirFS(absolute(root, l.dir)), strings.Join(segments[first:], "/"))
	if err != nil {
		return nil, err
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
func (l *loader) includeFile(name, full string, at Position) (entities, bool) {
	var file entities
	shown := filepath.FromSlash(name)
	if !filepath.IsAbs(shown) {
		shown = filepath.Join(filepath.Dir(l.file), shown)
	}
	if real(full) == real(l.full) {
		l.errors.add(at, "include: %s is this file itself; allowed: other files", printable(path.Clean(name)))
		return file, false
	}
	data, _, err := readFile(full, maxFile)
	if err != nil {
		l.incomplete = true
		l.errors.add(at, "include: file %s cannot be read: %v; allowed: a file that postroom can read", printable(path.Clean(name)), reason(err))
		return file, false
	}
	root := l.parse(shown, data)
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
	l.scope().mapping(root, l.grammar.included, pointed([]any{&file}), func(e entry) {
		advice := "unknown key"
		if l.grammar.main.byName[e.key] != nil {
			advice = "key of the main file"
		}
		l.errors.add(e.pos, "%s %s; allowed in an included file: %s", advice, quoted(e.key), strings.Join(l.grammar.included.names(), ", "))
	})
	return file, true
}
