package exchange

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"postroom/internal/graph"
	"postroom/sources"
)

// folderCache keeps which folders are read, so that a poll costs no request for
// them, and where messages are moved to.
type folderCache struct {
	mu      sync.Mutex
	chosen  []sources.Folder
	at      time.Time
	targets map[string]string // ids by path
	known   map[string]string // ids by well-known name; "" for one that is not there
}

// forget makes the next call look at the server again.
func (c *folderCache) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.chosen, c.at, c.targets, c.known = nil, time.Time{}, nil, nil
}

func (c *folderCache) get(kept time.Duration) ([]sources.Folder, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.at.IsZero() || time.Since(c.at) > kept {
		return nil, false
	}
	return slices.Clone(c.chosen), true
}

func (c *folderCache) put(chosen []sources.Folder) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.chosen, c.at = slices.Clone(chosen), time.Now()
}

// Folders implements [sources.Source]. Where folders were found is kept for
// Config.FoldersFor, unless one is missing.
func (s *Source) Folders(ctx context.Context) ([]sources.Folder, error) {
	ctx, done, err := s.bind(ctx, "find folders")
	if err != nil {
		return nil, err
	}
	defer done()
	chosen, ok := s.folders.get(s.cfg.FoldersFor)
	if !ok {
		if chosen, _, err = s.resolve(ctx); err == nil {
			s.folders.put(chosen)
		}
	}
	if err == nil {
		s.remind(ctx)
	}
	return chosen, err
}

// remind says in the log, once a day, that what the application signs in with
// ends soon.
func (s *Source) remind(ctx context.Context) {
	proof, soon, err := s.client.ExpiresSoon(ctx, warnBefore)
	if err != nil {
		s.log.Info("until when the client secret is valid cannot be asked now", zap.Error(err))
	}
	if !soon {
		return
	}
	fields := []zap.Field{zap.Time("expires", proof.Expires)}
	if proof.Renew != "" {
		s.log.Warn("the sign-in of a person ends soon", append(fields, zap.String("mailbox", s.cfg.Mailbox), zap.String("remedy", proof.Renew))...)
		return
	}
	if proof.Name != "" {
		fields = append(fields, zap.String("name", proof.Name))
	}
	if s.cfg.Settings.Certificate != "" {
		fields = append(fields, zap.String("client_certificate", s.cfg.Settings.Certificate))
	}
	s.log.Warn("the "+proof.Kind+" of the application expires soon: renew it", fields...)
}

// resolve finds the configured folders on the server: those named in full by
// walking their paths, else in the whole tree. It returns how many messages each
// has, too, by its id.
func (s *Source) resolve(ctx context.Context) ([]sources.Folder, map[string]int, error) {
	w := &walk{source: s, ctx: ctx, children: make(map[string][]*graph.Folder)}
	literals, wild := s.literals()
	var (
		all []sources.FolderInfo
		err error
	)
	if !wild {
		var missing bool
		if all, missing, err = w.paths(literals); err == nil && missing {
			wild = true // for the names of folders like the missing ones
		}
	}
	if wild && err == nil {
		all, err = w.tree()
	}
	if err != nil {
		return nil, nil, s.explain("find folders", err)
	}
	counts := make(map[string]int, len(all))
	for _, info := range all {
		counts[info.ID] = info.Messages
	}
	// Hidden folders are of the server's own making, mostly: they are read when
	// they are named in full only.
	all = slices.DeleteFunc(all, func(info sources.FolderInfo) bool {
		return w.hidden[info.ID] && !slices.ContainsFunc(literals, func(p sources.Path) bool { return p.String() == info.Path })
	})
	chosen, refused := s.selection.Choose(all)
	errs := make([]error, 0, len(refused))
	for _, err := range refused {
		var classed *sources.Error
		if errors.As(err, &classed) {
			err = &sources.Error{Class: classed.Class, Remedy: classed.Remedy, Err: fmt.Errorf("mailbox %s: %w", s.cfg.Mailbox, classed.Err)}
		}
		errs = append(errs, err)
	}
	return chosen, counts, errors.Join(errs...)
}

// literals returns the paths of the patterns that name one folder, and whether
// there are others.
func (s *Source) literals() (paths []sources.Path, wild bool) {
	for _, pattern := range s.selection.Include {
		if path, ok := pattern.Literal(); ok {
			paths = append(paths, path)
		} else {
			wild = true
		}
	}
	return paths, wild
}

// wellKnown are the folders that have a name of their own in every language,
// with their special use.
var wellKnown = []struct{ name, use string }{
	{"inbox", "inbox"}, {"drafts", "drafts"}, {"sentitems", "sent"}, {"junkemail", "junk"}, {"deleteditems", "trash"},
	{"archive", "archive"}, {"outbox", "outbox"}, {"syncissues", "sync"},
}

// walk is one look at the folders of the mailbox.
type walk struct {
	source   *Source
	ctx      context.Context
	mu       sync.Mutex
	children map[string][]*graph.Folder
	hidden   map[string]bool
}

// below returns the folders right below the one of the id.
func (w *walk) below(id string) ([]*graph.Folder, error) {
	w.mu.Lock()
	found, ok := w.children[id]
	w.mu.Unlock()
	if ok {
		return found, nil
	}
	found, err := w.source.box.Children(w.ctx, id)
	if err != nil {
		return nil, err
	}
	found = slices.DeleteFunc(found, func(f *graph.Folder) bool { return f.ID == "" })
	w.mu.Lock()
	defer w.mu.Unlock()
	w.children[id] = found
	return found, nil
}

// well returns the id of a well-known folder, "" if the mailbox has none.
func (w *walk) well(name string) (string, error) {
	c := &w.source.folders
	c.mu.Lock()
	id, ok := c.known[name]
	c.mu.Unlock()
	if ok {
		return id, nil
	}
	f, err := w.source.box.Folder(w.ctx, name)
	switch {
	case err == nil:
		id = f.ID
	case !graph.NotFound(err) || name == "inbox":
		return "", err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known == nil {
		c.known = make(map[string]string)
	}
	c.known[name] = id
	return id, nil
}

// uses returns the special uses by folder id.
func (w *walk) uses() (map[string]string, error) {
	uses := make(map[string]string)
	var mu sync.Mutex
	err := together(w.ctx, len(wellKnown), func(i int) error {
		id, err := w.well(wellKnown[i].name)
		mu.Lock()
		defer mu.Unlock()
		if err == nil && id != "" {
			uses[id] = wellKnown[i].use
		}
		return err
	})
	return uses, err
}

// info describes a folder to the selection.
func (w *walk) info(f *graph.Folder, path sources.Path, use string) sources.FolderInfo {
	if bool(f.Hidden) {
		if w.hidden == nil {
			w.hidden = make(map[string]bool)
		}
		w.hidden[f.ID] = true
	}
	return sources.FolderInfo{
		Folder: sources.Folder{ID: f.ID, Path: path.String()}, Messages: f.Messages, Use: use, Selectable: !f.Search(),
	}
}

// paths returns the folders at the paths and above them, and whether one of the
// paths is missing.
func (w *walk) paths(paths []sources.Path) (all []sources.FolderInfo, missing bool, err error) {
	var uses map[string]string
	taken := make(map[string]bool)
	for _, path := range paths {
		var at *graph.Folder
		for depth, name := range path {
			parent := ""
			if at != nil {
				parent = at.ID
			}
			if depth == 0 && name == sources.Inbox {
				if at, err = w.inbox(); err != nil {
					return nil, false, err
				}
			} else {
				if depth == 0 && uses == nil {
					if uses, err = w.uses(); err != nil {
						return nil, false, err
					}
				}
				found, err := w.below(parent)
				if err != nil {
					return nil, false, err
				}
				i := slices.IndexFunc(found, func(f *graph.Folder) bool {
					return f.Name == name && !(depth == 0 && strings.EqualFold(f.Name, sources.Inbox))
				})
				if i < 0 {
					missing = true
					break
				}
				at = found[i]
			}
			if !taken[at.ID] {
				taken[at.ID] = true
				use := uses[at.ID]
				if depth == 0 && name == sources.Inbox {
					use = "inbox"
				}
				all = append(all, w.info(at, path[:depth+1], use))
			}
		}
	}
	return all, missing, nil
}

// inbox returns the inbox, whatever it is called.
func (w *walk) inbox() (*graph.Folder, error) {
	w.mu.Lock()
	found := w.children["inbox"]
	w.mu.Unlock()
	if len(found) == 1 {
		return found[0], nil
	}
	f, err := w.source.box.Folder(w.ctx, "inbox")
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.children["inbox"] = []*graph.Folder{f}
	return f, nil
}

// maxDepth bounds the tree: Exchange allows 300 levels.
const maxDepth = 300

// tree returns all folders, parents before children.
func (w *walk) tree() ([]sources.FolderInfo, error) {
	uses, err := w.uses()
	if err != nil {
		return nil, err
	}
	type node struct {
		folder *graph.Folder
		path   sources.Path
	}
	top, err := w.below("")
	if err != nil {
		return nil, err
	}
	var level []node
	for _, f := range top {
		name := f.Name
		switch {
		case uses[f.ID] == "inbox":
			name = sources.Inbox
		case strings.EqualFold(name, sources.Inbox):
			// It cannot be named: the inbox is.
			continue
		}
		level = append(level, node{f, sources.Path{name}})
	}
	var all []sources.FolderInfo
	seen := make(map[string]bool)
	for depth := 0; len(level) > 0 && depth < maxDepth; depth++ {
		level = slices.DeleteFunc(level, func(n node) bool {
			twice := seen[n.folder.ID]
			seen[n.folder.ID] = true
			return twice
		})
		for _, n := range level {
			all = append(all, w.info(n.folder, n.path, uses[n.folder.ID]))
		}
		below := make([][]*graph.Folder, len(level))
		err := together(w.ctx, len(level), func(i int) (err error) {
			if level[i].folder.Children > 0 {
				below[i], err = w.below(level[i].folder.ID)
			}
			if graph.NotFound(err) {
				err = nil // deleted meanwhile
			}
			return err
		})
		if err != nil {
			return nil, err
		}
		var next []node
		for i, children := range below {
			for _, f := range children {
				next = append(next, node{f, append(slices.Clone(level[i].path), f.Name)})
			}
		}
		level = next
	}
	slices.SortStableFunc(all, byPath)
	return all, nil
}

// byPath orders folders as a tree: parents before children, the inbox first.
func byPath(a, b sources.FolderInfo) int {
	p, errP := sources.ParsePath(a.Path)
	q, errQ := sources.ParsePath(b.Path)
	if errP != nil || errQ != nil {
		return strings.Compare(a.Path, b.Path)
	}
	if inboxP, inboxQ := p[0] == sources.Inbox, q[0] == sources.Inbox; inboxP != inboxQ {
		if inboxP {
			return -1
		}
		return 1
	}
	return slices.Compare(p, q)
}

// Tree implements [sources.Lister]. Hidden folders are in it.
func (s *Source) Tree(ctx context.Context) ([]sources.FolderInfo, error) {
	ctx, done, err := s.bind(ctx, "list folders")
	if err != nil {
		return nil, err
	}
	defer done()
	w := &walk{source: s, ctx: ctx, children: make(map[string][]*graph.Folder)}
	all, err := w.tree()
	return all, s.explain("list folders", err)
}

// target returns the id of the folder at the path, which is made when missing.
func (s *Source) target(ctx context.Context, path string) (string, error) {
	s.folders.mu.Lock()
	id, ok := s.folders.targets[path]
	s.folders.mu.Unlock()
	if ok {
		return id, nil
	}
	parsed, err := sources.ParsePath(path)
	if err != nil {
		return "", err
	}
	w := &walk{source: s, ctx: ctx, children: make(map[string][]*graph.Folder)}
	for depth, name := range parsed {
		if depth == 0 && name == sources.Inbox {
			f, err := w.inbox()
			if err != nil {
				return "", err
			}
			id = f.ID
			continue
		}
		if id, err = s.child(w, id, name); err != nil {
			return "", err
		}
	}
	s.folders.mu.Lock()
	defer s.folders.mu.Unlock()
	if s.folders.targets == nil {
		s.folders.targets = make(map[string]string)
	}
	s.folders.targets[path] = id
	return id, nil
}

// child returns the id of a folder below another, which is made when missing.
func (s *Source) child(w *walk, parent, name string) (string, error) {
	find := func() (string, error) {
		found, err := w.below(parent)
		if err != nil {
			return "", err
		}
		for _, same := range []func(string) bool{
			func(other string) bool { return other == name },
			// Exchange takes names that differ in letter case as the same.
			func(other string) bool { return strings.EqualFold(other, name) },
		} {
			for _, f := range found {
				if same(f.Name) && !f.Search() {
					return f.ID, nil
				}
			}
		}
		return "", nil
	}
	id, err := find()
	if err != nil || id != "" {
		return id, err
	}
	made, err := s.box.CreateFolder(w.ctx, parent, name)
	if err == nil {
		return made.ID, nil
	}
	var answer *graph.Error
	if errors.As(err, &answer) && (answer.Status == 409 || answer.Has("ErrorFolderExists")) {
		// Made by another meanwhile, or by a request whose answer was lost.
		delete(w.children, parent)
		if id, again := find(); again == nil && id != "" {
			return id, nil
		}
	}
	return "", err
}
