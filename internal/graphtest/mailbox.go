package graphtest

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"time"
)

// MailboxOptions say what a mailbox is like.
type MailboxOptions struct {
	// Language of the names of its well-known folders: en, fi, ja or de.
	Language string
	// Unlicensed: the user exists and has no mailbox in Exchange Online.
	Unlicensed bool
	// Missing are well-known folders that it does not have, by their names in
	// Graph, such as "archive".
	Missing []string
}

// Mailbox is a mailbox of the server. Folders are named by their path, such as
// "Inbox/Orders"; a "/" or "\" in a name has a "\" before it. A first level may
// also be a well-known name in any case ("inbox"). Its methods may be called
// concurrently with requests; they return an error for what is not there.
type Mailbox struct {
	server  *Server
	address string
	id      string // of the user
	options MailboxOptions
	store   [16]byte

	// Guarded by the server's mutex.
	root, top *folder
	folders   map[string]*folder // by id
	known     map[string]*folder // by well-known name
	items     map[string]*item   // by both identifiers
	change    int64              // the last change
	numbers   uint64             // given so far
}

// folder is a folder of a mailbox.
type folder struct {
	id, name string
	known    string // its well-known name
	above    *folder
	hidden   bool
	search   bool
	below    []*folder
	items    []*item // in the order of arrival
	gone     []tombstone
	// epoch counts how often the state of deltas was lost.
	epoch int
}

// tombstone tells of a message that has left a folder.
type tombstone struct {
	change        int64
	id, immutable string
}

// item is a message in a folder.
type item struct {
	Mail
	number        uint64
	id, immutable string
	folder        *folder
	// arrived and changed are the changes of the mailbox by which it came into
	// the folder, and by which it last changed; wholly is the last that was of
	// more than isRead.
	arrived, changed, wholly int64
	modified                 time.Time
	envelope                 *envelope
	versions                 int
	patched                  map[string]any // what clients have set besides isRead
}

// Mail is a message as it is put into a mailbox.
type Mail struct {
	// Raw is the message as it arrived. It is handed out as [Render] says.
	Raw []byte
	// Received is the date of arrival: the server's clock.
	Received time.Time
	Read     bool
	Draft    bool
	// Verbatim hands out Raw as it is.
	Verbatim bool
	// Type is the type of an item that is more or less than a message, such as
	// "eventMessageRequest" or "post".
	Type string
	// References are attachments that are links to files elsewhere.
	References []Reference
	// Unrenderable makes $value answer 500, as for items that Exchange cannot
	// convert.
	Unrenderable bool
}

// Reference is an attachment that is a link.
type Reference struct{ Name, URL string }

// Item is a message as the mailbox has it.
type Item struct {
	Mail
	// ID is the identifier that changes when the message is moved, ImmutableID
	// the one that does not.
	ID, ImmutableID string
	Folder          string
}

// AddMailbox creates a mailbox with its well-known folders. The address is that
// of its user too.
func (s *Server) AddMailbox(address string, options MailboxOptions) *Mailbox {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := &Mailbox{
		server: s, address: address, id: guid("user", s.options.Seed, address), options: options,
		folders: make(map[string]*folder), known: make(map[string]*folder), items: make(map[string]*item),
	}
	sum := sha256.Sum256([]byte(m.id))
	copy(m.store[:], sum[:])
	for _, w := range wellKnown {
		if slices.Contains(options.Missing, w.name) || w.above != "" && m.known[w.above] == nil {
			continue
		}
		name := w.english
		if other := localized[options.Language][w.name]; other != "" {
			name = other
		}
		f := m.newFolder(m.known[w.above], name)
		f.hidden, f.known = w.hidden, w.name
		m.known[w.name] = f
	}
	m.root, m.top = m.known["root"], m.known["msgfolderroot"]
	s.mailboxes = append(s.mailboxes, m)
	return m
}

// Address and UserID are what a path of Graph may name the mailbox by.
func (m *Mailbox) Address() string { return m.address }
func (m *Mailbox) UserID() string  { return m.id }

func (m *Mailbox) number() uint64 {
	m.numbers++
	return m.numbers
}

func (m *Mailbox) newFolder(above *folder, name string) *folder {
	f := &folder{id: m.makeID(folderKind, m.number()), name: name, above: above}
	m.folders[f.id] = f
	if above != nil {
		above.below = append(above.below, f)
	}
	return f
}

// child returns the folder of the name; names differ in more than case.
func (f *folder) child(name string) *folder {
	for _, b := range f.below {
		if strings.EqualFold(b.name, name) {
			return b
		}
	}
	return nil
}

// path is how the folder is named in a configuration.
func (m *Mailbox) path(f *folder) string {
	if f == nil || f == m.top || f == m.root {
		return ""
	}
	name := strings.NewReplacer(`\`, `\\`, "/", `\/`).Replace(f.name)
	if above := m.path(f.above); above != "" {
		return above + "/" + name
	}
	return name
}

// splitPath returns the names of a path.
func splitPath(path string) []string {
	names := []string{""}
	for i := 0; i < len(path); i++ {
		last := &names[len(names)-1]
		switch {
		case path[i] == '\\' && i+1 < len(path):
			i++
			*last += path[i : i+1]
		case path[i] == '/':
			names = append(names, "")
		default:
			*last += path[i : i+1]
		}
	}
	return names
}

// find returns the folder of the path, or nil. With create it and those above it
// are created.
func (m *Mailbox) find(path string, create bool) *folder {
	f := m.top
	for i, name := range splitPath(path) {
		next := f.child(name)
		if known := m.known[strings.ToLower(name)]; i == 0 && next == nil && known != nil {
			next = known
		}
		if next == nil && create {
			next = m.newFolder(f, name)
		}
		if f = next; f == nil {
			return nil
		}
	}
	return f
}

func (m *Mailbox) mustFind(path string) (*folder, error) {
	if f := m.find(path, false); f != nil {
		return f, nil
	}
	return nil, fmt.Errorf("mailbox %s: no folder %s", m.address, path)
}

// CreateFolder creates a folder and those above it, unless they exist, and
// returns its identifier.
func (m *Mailbox) CreateFolder(path string) string {
	defer m.lock()()
	return m.find(path, true).id
}

// HideFolder hides a folder from listings that do not ask for hidden ones.
func (m *Mailbox) HideFolder(path string) error {
	defer m.lock()()
	f, err := m.mustFind(path)
	if err == nil {
		f.hidden = true
	}
	return err
}

// AddSearchFolder creates a folder that holds no messages of its own.
func (m *Mailbox) AddSearchFolder(path string) {
	defer m.lock()()
	m.find(path, true).search = true
}

// Folders returns the paths of all folders that are not hidden, those above
// before those below.
func (m *Mailbox) Folders() []string {
	defer m.lock()()
	var paths []string
	var walk func(f *folder)
	walk = func(f *folder) {
		for _, b := range f.below {
			if !b.hidden {
				paths = append(paths, m.path(b))
				walk(b)
			}
		}
	}
	walk(m.top)
	return paths
}

// RenameFolder gives a folder another name. Its identifier stays.
func (m *Mailbox) RenameFolder(path, name string) error {
	defer m.lock()()
	f, err := m.mustFind(path)
	if err == nil {
		f.name = name
	}
	return err
}

// DeleteFolder deletes a folder with all below it, for good.
func (m *Mailbox) DeleteFolder(path string) error {
	defer m.lock()()
	f, err := m.mustFind(path)
	if err == nil {
		m.dropFolder(f)
	}
	return err
}

func (m *Mailbox) dropFolder(f *folder) {
	for len(f.below) > 0 {
		m.dropFolder(f.below[0])
	}
	for len(f.items) > 0 {
		m.drop(f.items[0])
	}
	delete(m.folders, f.id)
	if f.known != "" {
		delete(m.known, f.known)
	}
	f.above.below = slices.DeleteFunc(f.above.below, func(b *folder) bool { return b == f })
}

func (m *Mailbox) lock() (unlock func()) {
	m.server.mu.Lock()
	return m.server.mu.Unlock
}
