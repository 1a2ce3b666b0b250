package migrate

import (
	"slices"
	"strings"

	"postroom/sources"
)

// Counterpart is a folder, or a pattern of folders, and what it is elsewhere.
type Counterpart struct {
	// Old is as it is written in the configuration.
	Old string
	// New is how the same is written for the other mailbox; that of Old if there is
	// no counterpart.
	New string
	// How says by what the counterpart was found.
	How How
	// Nearest are folders there with a like name, as they are written in a
	// configuration, if there is no counterpart.
	Nearest []string
}

// How is by what a counterpart was found.
type How string

const (
	// BySame: it has the same path there, or its pattern is the same.
	BySame How = "same path"
	// ByUse: both folders have the same special use, whatever their names.
	ByUse How = "same special use"
	// ByPrefix: there it is not below the inbox, or is, as servers do that keep all
	// folders there.
	ByPrefix How = "with or without Inbox before it"
	// ByCase: the path differs in letter case alone, which Exchange does not tell
	// apart.
	ByCase How = "same path but for letter case"
	// Missing: there is no counterpart.
	Missing How = "missing"
)

// Folders finds what the folders of one mailbox are in another.
type Folders struct {
	there []sources.FolderInfo
	paths []sources.Path
	// uses are those of the old mailbox by path, as far as they are known.
	uses map[string]string
}

// NewFolders is told the folders of both mailboxes. Those of the old one may be
// unknown: then special folders are known by their usual names.
func NewFolders(old, there []sources.FolderInfo) *Folders {
	f := &Folders{uses: make(map[string]string)}
	for _, info := range old {
		if path, err := sources.ParsePath(info.Path); err == nil && info.Use != "" {
			f.uses[path.String()] = info.Use
		}
	}
	for _, info := range there {
		if path, err := sources.ParsePath(info.Path); err == nil {
			f.there, f.paths = append(f.there, info), append(f.paths, path)
		}
	}
	return f
}

// Pattern returns the counterpart of a path or pattern as it is written in a
// configuration. Of a pattern the folders are mapped that are named in full before
// its first wildcard; the error is that of [sources.ParsePattern].
func (f *Folders) Pattern(written string) (Counterpart, error) {
	c := Counterpart{Old: written, New: written, How: BySame}
	pattern, err := sources.ParsePattern(written)
	if err != nil {
		return c, err
	}
	head, rest := splitPattern(pattern)
	if len(head) == 0 {
		return c, nil // of whatever is there
	}
	path, how := f.Path(head)
	c.How = how
	switch how {
	case Missing:
		c.Nearest = f.nearest(head)
	case BySame:
	default:
		c.New = path.Pattern() + rest
	}
	return c, nil
}

// splitPattern returns the folders that a pattern names before its first wildcard,
// and what follows, which begins with a slash unless it is empty.
func splitPattern(pattern sources.Pattern) (head sources.Path, rest string) {
	if path, ok := pattern.Literal(); ok {
		return path, ""
	}
	segments := strings.Split(pattern.String(), "/")
	n := slices.IndexFunc(segments, func(s string) bool { return strings.Contains(s, "*") })
	if n <= 0 {
		return nil, ""
	}
	head, err := sources.ParsePath(strings.Join(segments[:n], "/"))
	if err != nil {
		return nil, ""
	}
	return head, "/" + strings.Join(segments[n:], "/")
}

// Path returns the counterpart of a folder, and by what it was found; the path
// itself if there is none.
func (f *Folders) Path(old sources.Path) (sources.Path, How) {
	if f.has(old) {
		return old, BySame
	}
	if path, ok := f.byUse(old); ok {
		return path, ByUse
	}
	moved := append(sources.Path{sources.Inbox}, old...)
	if old[0] == sources.Inbox {
		moved = old[1:]
	}
	if len(moved) > 0 {
		if f.has(moved) {
			return moved, ByPrefix
		}
		if path, ok := f.byUse(moved); ok {
			return path, ByUse
		}
	}
	for _, path := range f.paths {
		if strings.EqualFold(path.String(), old.String()) {
			return path, ByCase
		}
	}
	return old, Missing
}

func (f *Folders) has(path sources.Path) bool {
	return slices.ContainsFunc(f.paths, path.Equal)
}

// byUse finds a folder that is special, or below one.
func (f *Folders) byUse(old sources.Path) (sources.Path, bool) {
	for n := len(old); n > 0; n-- {
		use := f.uses[old[:n].String()]
		if use == "" && n == 1 {
			use = usual[strings.ToLower(old[0])]
		}
		if use == "" || use == "inbox" {
			continue
		}
		for i, info := range f.there {
			if info.Use != use {
				continue
			}
			path := append(slices.Clone(f.paths[i]), old[n:]...)
			if f.has(path) {
				return path, true
			}
		}
	}
	return nil, false
}

// usual are the names that special folders have on servers that do not tell (RFC
// 6154), in lower case, with their use.
var usual = map[string]string{
	"sent": "sent", "sent items": "sent", "sent messages": "sent", "sent mail": "sent",
	"trash": "trash", "deleted items": "trash", "deleted messages": "trash", "bin": "trash",
	"junk": "junk", "junk email": "junk", "junk e-mail": "junk", "spam": "junk", "bulk mail": "junk",
	"archive": "archive", "archives": "archive", "drafts": "drafts", "outbox": "outbox",
}

func (f *Folders) nearest(path sources.Path) []string {
	var names []string
	for _, p := range f.paths {
		names = append(names, p.String())
	}
	near := sources.Nearest(path.String(), names)
	other := append(sources.Path{sources.Inbox}, path...)
	if path[0] == sources.Inbox {
		other = path[1:]
	}
	if len(other) > 0 {
		for _, name := range sources.Nearest(other.String(), names) {
			if !slices.Contains(near, name) {
				near = append(near, name)
			}
		}
	}
	var written []string
	for _, name := range near {
		if text, err := sources.InConfiguration(name); err == nil {
			written = append(written, text)
		}
	}
	return written
}
