package sources

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// Selection says which folders of a mailbox are read.
type Selection struct {
	// Include selects folders, in the order in which they are read.
	Include []Pattern
	// Exclude leaves out each folder that it matches and all below it.
	Exclude []Pattern
	// Never are the folders that postroom itself fills. They are not read.
	Never []Path
}

// Choose returns the folders to read, in the order of Include and, within one
// pattern, in that of all, each once; and one [*Error] for each pattern that
// names one folder which cannot be read. A pattern with a wildcard may match
// nothing.
//
// Folders that hold no messages are passed over. Drafts are never chosen.
// Outbox, junk, deleted items and sync issues, and what is below them, are
// chosen only by a pattern that spells out the path of that folder. Special
// folders are known by FolderInfo.Use or else by their English names.
func (s Selection) Choose(all []FolderInfo) ([]Folder, []error) {
	tree := newTree(all)
	var (
		chosen []Folder
		errs   []error
		taken  = make(map[string]bool)
	)
	for _, pattern := range s.Include {
		if path, ok := pattern.Literal(); ok {
			if err := s.refuse(tree, path); err != nil {
				errs = append(errs, err)
				continue
			}
		}
		for i, info := range tree.all {
			path := tree.paths[i]
			if !info.Selectable || taken[info.ID] || !pattern.Match(path) || !s.allows(tree, pattern, path) {
				continue
			}
			taken[info.ID] = true
			chosen = append(chosen, info.Folder)
		}
	}
	return chosen, errs
}

// refuse returns why the folder at path, named in full, is not read, or nil.
func (s Selection) refuse(tree *tree, path Path) error {
	i := tree.find(path)
	if i < 0 {
		return NoFolder(path, tree.names())
	}
	if !tree.all[i].Selectable {
		return Errorf(NotFound, "folder %q holds no messages, only other folders", path).
			WithRemedy("to read the folders in it, write %s/**", path)
	}
	if _, ok := tree.special(path, drafts); ok {
		return Errorf(Permanent, "folder %q holds drafts, which are never read", path).
			WithRemedy("remove it from folders")
	}
	if s.never(path) {
		return Errorf(Permanent, "folder %q is where messages are moved to, and is never read", path).
			WithRemedy("remove it from folders, or choose another filed_folder or failed_folder")
	}
	return nil
}

// allows reports whether the folder at path, matched by the pattern, may be read.
func (s Selection) allows(tree *tree, pattern Pattern, path Path) bool {
	if s.never(path) {
		return false
	}
	for _, exclude := range s.Exclude {
		if exclude.excludes(path) {
			return false
		}
	}
	if _, ok := tree.special(path, drafts); ok {
		return false
	}
	if top, ok := tree.special(path, leftOut); ok {
		return pattern.literalHead().Within(top)
	}
	return true
}

func (s Selection) never(path Path) bool {
	return slices.ContainsFunc(s.Never, path.Equal)
}

// kind is a kind of special folder: its special uses (RFC 6154), and its names
// on servers that do not tell.
type kind struct {
	uses, names []string
}

var (
	drafts  = kind{uses: []string{"drafts"}, names: []string{"Drafts"}}
	leftOut = kind{
		uses: []string{"junk", "trash", "outbox", "sync"},
		names: []string{"Outbox", "Junk", "Junk Email", "Junk E-mail", "Spam", "Trash", "Deleted Items",
			"Deleted Messages", "Sync Issues"},
	}
)

// tree is the list of a mailbox's folders with their paths.
type tree struct {
	all   []FolderInfo
	paths []Path
	// index finds a folder in all by its path as written.
	index map[string]int
	// underInbox: the server keeps every folder below the inbox, so that what
	// is at the top elsewhere is on the second level here.
	underInbox bool
}

func newTree(all []FolderInfo) *tree {
	t := &tree{underInbox: true, index: make(map[string]int, len(all))}
	for _, info := range all {
		path, err := ParsePath(info.Path)
		if err != nil {
			// Not a path that a configuration can name.
			continue
		}
		t.index[path.String()] = len(t.all)
		t.all = append(t.all, info)
		t.paths = append(t.paths, path)
		t.underInbox = t.underInbox && path[0] == Inbox
	}
	return t
}

// find returns the index in all of the folder at path, or -1.
func (t *tree) find(path Path) int {
	if i, ok := t.index[path.canonical().String()]; ok {
		return i
	}
	return -1
}

func (t *tree) names() []string {
	names := make([]string, len(t.paths))
	for i, path := range t.paths {
		names[i] = path.String()
	}
	return names
}

// special returns the folder of the kind that path is, or is below.
func (t *tree) special(path Path, k kind) (Path, bool) {
	for n := 1; n <= len(path); n++ {
		head := path[:n]
		use := ""
		if i := t.find(head); i >= 0 {
			use = t.all[i].Use
		}
		if use != "" && slices.Contains(k.uses, use) {
			return head, true
		}
		atTop := n == 1 || n == 2 && t.underInbox
		if use == "" && atTop && slices.Contains(k.names, head[n-1]) {
			return head, true
		}
	}
	return nil, false
}

// NoFolder returns the error of class [NotFound] for a folder that is not among
// the names, with a remedy that lists those most like it, as they are to be written.
func NoFolder(path Path, names []string) *Error {
	err := Errorf(NotFound, "folder %q does not exist", path)
	near := Nearest(path.String(), names)
	if len(near) == 0 {
		return err.WithRemedy("see the folder tree: postroom folders")
	}
	for i, name := range near {
		// As it is to be written, if it can be.
		if value, err := InConfiguration(name); err == nil {
			near[i] = YAML(value)
		} else {
			near[i] = strconv.Quote(name)
		}
	}
	return err.WithRemedy("did you mean %s?", strings.Join(near, ", or "))
}

// Nearest returns at most three of the names that are so like the given one
// that a person may have meant them, nearest first: those that differ in few
// letters, and those that end in the same segment.
func Nearest(name string, names []string) []string {
	type candidate struct {
		name     string
		distance int
	}
	limit := max(2, len(name)/3)
	last := strings.ToLower(name[strings.LastIndexByte(name, '/')+1:])
	var near []candidate
	for _, other := range names {
		d := distance(strings.ToLower(name), strings.ToLower(other), limit)
		if strings.ToLower(other[strings.LastIndexByte(other, '/')+1:]) == last {
			d = min(d, 1)
		}
		if d <= limit {
			near = append(near, candidate{other, d})
		}
	}
	slices.SortStableFunc(near, func(a, b candidate) int { return cmp.Compare(a.distance, b.distance) })
	var found []string
	for _, c := range near[:min(3, len(near))] {
		found = append(found, c.name)
	}
	return found
}

// distance is the number of letters to insert, delete or replace to make b of
// a, or limit+1 if there are more than limit.
func distance(a, b string, limit int) int {
	s, t := []rune(a), []rune(b)
	if max(len(s)-len(t), len(t)-len(s)) > limit {
		return limit + 1
	}
	row := make([]int, len(t)+1)
	for j := range row {
		row[j] = j
	}
	for i := range s {
		diagonal := row[0]
		row[0] = i + 1
		for j := range t {
			cost := diagonal
			if s[i] != t[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return min(row[len(t)], limit+1)
}
