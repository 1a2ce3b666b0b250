package simulation

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"postroom/sources"
)

// hourly is the most operations that a mailbox may see within an hour, faults
// or not. An engine that waits between its tries stays far below.
const hourly = 3000

// The folders that messages are moved to. They are never read.
const (
	filedFolder  = "Filed"
	failedFolder = "Failed"
)

// box is a mailbox on its server, and how the configuration wants it read.
type box struct {
	number int

	// How it is configured. What is in settings changes when a process starts.
	settings
	duplicates bool // file them
	watch      bool
	dated      bool // the server tells dates of arrival
	// maildrop: the mailbox is the inbox alone, read over one connection, as with
	// POP3: it knows no dates and no read messages, its sizes are estimates, and
	// what is deleted is deleted when the session ends.
	maildrop bool
	// together is how many messages of a maildrop are gathered to be settled.
	together    int
	interval    time.Duration
	parallel    int
	connections int
	read        []string // paths of the folders read

	folders  map[string]*folder
	validity int                 // the last one given to a folder
	known    map[string]*content // by bytes

	hour    time.Duration // the hour that operations are counted in
	count   int
	busiest int

	open int           // sources opened and not closed
	news chan struct{} // closed when something changes in the first folder
}

// settings are what a new configuration may change.
type settings struct {
	name     string
	formerly []string
	after    sources.Action
	failed   string // failed folder; empty: none
}

func (b *box) String() string { return "box" + strconv.Itoa(b.number) }

// path names a folder in operations.
func (b *box) path(f string) string { return b.String() + "/" + f }

// calls reports whether the box has, or had, that name.
func (b *box) called(name string) bool { return b.name == name || slices.Contains(b.formerly, name) }

// busy counts an operation and reports whether there are too many.
func (b *box) busy(hour time.Duration) bool {
	if b.hour != hour {
		b.hour, b.count = hour, 0
	}
	b.count++
	b.busiest = max(b.busiest, b.count)
	return b.count > hourly
}

// content is what a message says: messages with the same bytes share one.
type content struct {
	raw     string
	refused time.Time // until when the repository refuses it; zero: not at all
	stuck   bool      // the server has refused to deliver it for good
	failed  int       // times that the server did not deliver it

	// appeared are the places that it has ever been at in folders that are read.
	appeared map[place]bool
}

// folder is a folder on a server.
type folder struct {
	path     string
	validity int
	last     int // highest number given
	gaps     []int
	changes  int       // of its messages, counted for cursors
	expired  int       // cursors of before are no longer valid
	hidden   time.Time // until when the server does not show it
	messages []*message
}

// message is a message in a folder.
type message struct {
	*content
	number   int
	change   int
	received time.Time
	seen     bool
	withheld time.Time // until when it is listed, but not delivered
}

func (f *folder) key(m *message) string { return fmt.Sprintf("%d/%d", f.validity, m.number) }

// message returns the message with that key, nil if there is none.
func (f *folder) message(key string) *message {
	for _, m := range f.messages {
		if f.key(m) == key {
			return m
		}
	}
	return nil
}

// folder returns the folder as the server shows it now, nil if it does not.
func (b *box) folder(path string) *folder {
	f := b.folders[path]
	if f == nil || time.Now().Before(f.hidden) {
		return nil
	}
	return f
}

// make makes the folder if it does not exist.
func (b *box) make(path string) *folder {
	f := b.folders[path]
	if f == nil {
		b.validity++
		f = &folder{path: path, validity: b.validity}
		b.folders[path] = f
	}
	return f
}

// put adds a message to a folder, under the number if that is not zero.
func (b *box) put(f *folder, m *message, number int) {
	if number == 0 {
		f.last++
		number = f.last
	}
	f.changes++
	m.number, m.change = number, f.changes
	f.messages = append(f.messages, m)
	b.appear(f, m)
	if f.path == b.read[0] {
		b.changed()
	}
}

// appear notes the place of a message.
func (b *box) appear(f *folder, m *message) {
	if !slices.Contains(b.read, f.path) {
		return
	}
	m.appeared[place{b.number, f.path, f.key(m)}] = true
}

// changed tells those who wait for mail.
func (b *box) changed() {
	close(b.news)
	b.news = make(chan struct{})
}

// remove takes a message out of its folder.
func (f *folder) remove(m *message) {
	f.messages = slices.DeleteFunc(f.messages, func(x *message) bool { return x == m })
}

// renumber gives the folder a new validity and its messages new numbers.
func (b *box) renumber(f *folder) {
	b.validity++
	f.validity, f.last, f.gaps, f.changes = b.validity, 0, nil, 0
	for _, m := range f.messages {
		f.last++
		f.changes++
		m.number, m.change = f.last, f.changes
		b.appear(f, m)
	}
}
