package ingesttest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"postroom/sources"
)

// Server is a mail server in memory. Its key of a message is "validity/number".
type Server struct {
	world *World

	mu        sync.Mutex
	folders   map[string]*folder
	order     []string
	delivered [][]byte
	applied   []Action
	early     []error
	withheld  map[string]bool
}

type folder struct {
	validity int
	last     int
	messages []*message
}

type message struct {
	number   int
	raw      []byte
	received time.Time
	seen     bool
}

// Deliver adds a message to a folder, made if missing, and returns its key.
func (s *Server) Deliver(path, raw string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.folder(path)
	f.last++
	f.messages = append(f.messages, &message{number: f.last, raw: []byte(raw), received: time.Date(2026, 1, 2, 3, 4, f.last, 0, time.UTC)})
	s.delivered = append(s.delivered, []byte(raw))
	return f.key(f.last)
}

func (f *folder) key(n int) string { return fmt.Sprintf("%d/%d", f.validity, n) }

func (s *Server) folder(path string) *folder {
	f := s.folders[path]
	if f == nil {
		f = &folder{validity: 1}
		s.folders[path] = f
		s.order = append(s.order, path)
	}
	return f
}

// Remove takes a message out of its folder, as another mail program would.
func (s *Server) Remove(path, key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.folder(path)
	f.messages = slices.DeleteFunc(f.messages, func(m *message) bool { return f.key(m.number) == key })
}

// Mark sets whether a message has been read.
func (s *Server) Mark(path, key string, seen bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.folder(path)
	for _, m := range f.messages {
		if f.key(m.number) == key {
			m.seen = seen
		}
	}
}

// Renumber gives a folder a new validity, and its messages new numbers.
func (s *Server) Renumber(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.folder(path)
	f.validity++
	for i, m := range f.messages {
		m.number = i + 1
	}
	f.last = len(f.messages)
}

// Withhold makes the server list a message but not deliver it.
func (s *Server) Withhold(key string, yes bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.withheld == nil {
		s.withheld = make(map[string]bool)
	}
	s.withheld[key] = yes
}

// Delivered returns the raw bytes of every message ever delivered.
func (s *Server) Delivered() [][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.delivered)
}

// Contents returns what a folder holds: raw bytes by key.
func (s *Server) Contents(path string) map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make(map[string]string)
	if f := s.folders[path]; f != nil {
		for _, m := range f.messages {
			out[f.key(m.number)] = string(m.raw)
		}
	}
	return out
}

// Applied returns the dispositions applied, in order.
func (s *Server) Applied() []Action {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.applied)
}

func (s *Server) tooEarly() []error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.early)
}

// Open returns a source that reads the folders.
func (s *Server) Open(folders ...string) sources.Source {
	return &source{s: s, folders: folders}
}

type source struct {
	s       *Server
	folders []string
}

func (c *source) Folders(ctx context.Context) ([]sources.Folder, error) {
	var out []sources.Folder
	var missing error
	err := c.s.world.do("folders", func() error {
		c.s.mu.Lock()
		defer c.s.mu.Unlock()
		for _, p := range c.folders {
			if c.s.folders[p] == nil {
				missing = sources.Errorf(sources.NotFound, "folder %s does not exist", p)
				continue
			}
			out = append(out, sources.Folder{ID: p, Path: p})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, missing
}

func (c *source) List(ctx context.Context, f sources.Folder, after sources.Cursor) (sources.Listing, error) {
	l := &listing{validity: 0, covered: map[int]bool{}}
	err := c.s.world.do("list "+f.Path, func() error {
		c.s.mu.Lock()
		defer c.s.mu.Unlock()
		dir := c.s.folder(f.Path)
		l.validity = dir.validity
		for i, n := range strings.Fields(string(after)) {
			v, err := strconv.Atoi(n)
			if err != nil || i == 0 && v != dir.validity {
				break
			}
			if i > 0 {
				l.covered[v] = true
			}
		}
		for _, m := range dir.messages {
			if !l.covered[m.number] {
				l.refs = append(l.refs, sources.Ref{Key: dir.key(m.number), Size: int64(len(m.raw)), Received: m.received, Seen: m.seen})
			}
		}
		return nil
	})
	return l, err
}

type listing struct {
	validity int
	covered  map[int]bool
	refs     []sources.Ref
}

func (l *listing) Next(_ context.Context, max int) ([]sources.Ref, error) {
	n := min(max, len(l.refs))
	out := l.refs[:n]
	l.refs = l.refs[n:]
	for _, r := range out {
		l.covered[number(r.Key)] = true
	}
	return out, nil
}

func number(key string) int {
	_, n, _ := strings.Cut(key, "/")
	i, _ := strconv.Atoi(n)
	return i
}

func (l *listing) Remaining() int { return len(l.refs) }

func (l *listing) Cursor(again []string) sources.Cursor {
	covered := maps.Clone(l.covered)
	for _, k := range again {
		delete(covered, number(k))
	}
	out := []string{strconv.Itoa(l.validity)}
	for _, n := range slices.Sorted(maps.Keys(covered)) {
		out = append(out, strconv.Itoa(n))
	}
	return sources.Cursor(strings.Join(out, " "))
}

func (c *source) find(f sources.Folder, key string) (m *message, withheld bool) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	dir := c.s.folder(f.Path)
	for _, m := range dir.messages {
		if dir.key(m.number) == key {
			return m, c.s.withheld[key]
		}
	}
	return nil, false
}

func (c *source) Fetch(ctx context.Context, f sources.Folder, refs []sources.Ref, deliver func(sources.Ref, *sources.Message) error) error {
	if err := c.s.world.step("<fetch " + f.Path); err != nil {
		return err
	}
	for _, r := range refs {
		if err := ctx.Err(); err != nil {
			return err
		}
		m, withheld := c.find(f, r.Key)
		if withheld {
			continue
		}
		if m == nil {
			if err := deliver(r, &sources.Message{Err: sources.Errorf(sources.Gone, "no message %s", r.Key)}); err != nil {
				return err
			}
			continue
		}
		body := io.Reader(bytes.NewReader(m.raw))
		cut := c.s.world.step("<body " + f.Path + " " + r.Key)
		if cut != nil {
			body = io.MultiReader(bytes.NewReader(m.raw[:len(m.raw)/2]), failing{cut})
		}
		if err := deliver(r, &sources.Message{
			Received: m.received, Seen: m.seen, Size: int64(len(m.raw)), Wire: sources.Original, Body: body,
		}); err != nil {
			return err
		}
		if cut != nil {
			return cut
		}
	}
	return c.s.world.step(">fetch " + f.Path)
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func (c *source) Settle(ctx context.Context, f sources.Folder, keys []string, a sources.Action, done func(string, error)) error {
	for _, k := range keys {
		if err := c.s.world.do("settle "+f.Path+" "+k, func() error {
			m, _ := c.find(f, k)
			if m == nil {
				return nil
			}
			c.s.apply(f.Path, k, m, a)
			return nil
		}); err != nil {
			return err
		}
		done(k, nil)
	}
	return nil
}

func (s *Server) apply(path, key string, m *message, a sources.Action) {
	filed := s.world.Repository.holds(m.raw)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !filed && a.Target != FailedFolder {
		s.early = append(s.early, fmt.Errorf("message %s of %s: %s before its document was there", key, path, a.Verb))
	}
	s.applied = append(s.applied, Action{Folder: path, Key: key, Action: a})
	switch a.Verb {
	case sources.MarkRead:
		m.seen = true
		return
	case sources.Move:
		t := s.folder(a.Target)
		t.last++
		t.messages = append(t.messages, &message{number: t.last, raw: m.raw, received: m.received, seen: m.seen})
	}
	dir := s.folder(path)
	dir.messages = slices.DeleteFunc(dir.messages, func(x *message) bool { return x == m })
}

// Tree implements [sources.Lister].
func (c *source) Tree(context.Context) (tree []sources.FolderInfo, err error) {
	err = c.s.world.do("tree", func() error {
		c.s.mu.Lock()
		defer c.s.mu.Unlock()
		for _, path := range c.s.order {
			tree = append(tree, sources.FolderInfo{Folder: sources.Folder{ID: path, Path: path}, Messages: len(c.s.folders[path].messages), Selectable: true})
		}
		return nil
	})
	return tree, err
}

// Headers implements [sources.Lister].
func (c *source) Headers(ctx context.Context, f sources.Folder, yield func(sources.Ref, []byte) error) error {
	l, err := c.List(ctx, f, "")
	if err != nil {
		return err
	}
	for _, r := range l.(*listing).refs {
		m, _ := c.find(f, r.Key)
		if m == nil {
			continue
		}
		header, _, _ := bytes.Cut(m.raw, []byte("\r\n\r\n"))
		if err := yield(r, header); err != nil {
			return err
		}
	}
	return nil
}

// FailedFolder is the folder to which a message may be moved unfiled.
const FailedFolder = "Failed"

func (c *source) Close() error { return nil }
