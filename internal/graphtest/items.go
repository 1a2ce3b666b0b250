package graphtest

import (
	"bytes"
	"fmt"
	"slices"
	"time"
)

// Deliver puts a message into a folder, which is created when missing, and
// returns what the mailbox makes of it.
func (m *Mailbox) Deliver(path string, mail Mail) Item {
	envelope := readEnvelope(mail.Raw)
	defer m.lock()()
	i := m.put(m.find(path, true), mail, envelope)
	return m.item(i)
}

func (m *Mailbox) put(f *folder, mail Mail, e *envelope) *item {
	if mail.Received.IsZero() {
		mail.Received = m.server.now()
	}
	if mail.Type == "" {
		mail.Type = "message"
	}
	mail.Received = mail.Received.UTC().Truncate(time.Second)
	number := m.number()
	i := &item{Mail: mail, number: number, immutable: m.makeID(immutableKind, number), envelope: e}
	m.items[i.immutable] = i
	m.enter(i, f)
	return i
}

// enter puts an item that is nowhere into a folder, with a new identifier.
func (m *Mailbox) enter(i *item, f *folder) {
	m.change++
	i.id, i.folder = m.makeID(messageKind, m.number()), f
	i.arrived, i.changed, i.wholly = m.change, m.change, m.change
	i.touch(m)
	m.items[i.id] = i
	f.items = append(f.items, i)
}

func (i *item) touch(m *Mailbox) {
	i.modified = m.server.now().UTC().Truncate(time.Second)
	i.versions++
}

// leave takes an item out of its folder.
func (m *Mailbox) leave(i *item) {
	m.change++
	f := i.folder
	f.gone = append(f.gone, tombstone{change: m.change, id: i.id, immutable: i.immutable})
	at := slices.Index(f.items, i)
	f.items = slices.Delete(f.items, at, at+1)
	delete(m.items, i.id)
	i.folder = nil
}

func (m *Mailbox) drop(i *item) {
	m.leave(i)
	delete(m.items, i.immutable)
}

func (m *Mailbox) move(i *item, to *folder) {
	m.leave(i)
	m.enter(i, to)
}

func (m *Mailbox) setRead(i *item, read bool) {
	if i.Read != read {
		i.Read = read
		m.change++
		i.changed = m.change
		i.touch(m)
	}
}

func (m *Mailbox) item(i *item) Item {
	return Item{Mail: i.Mail, ID: i.id, ImmutableID: i.immutable, Folder: m.path(i.folder)}
}

// Messages returns what is in a folder, in the order of arrival. One that does
// not exist is empty.
func (m *Mailbox) Messages(path string) []Item {
	defer m.lock()()
	var all []Item
	if f := m.find(path, false); f != nil {
		for _, i := range f.items {
			all = append(all, m.item(i))
		}
	}
	return all
}

// All returns every message of the mailbox, folder by folder.
func (m *Mailbox) All() []Item {
	defer m.lock()()
	var all []Item
	var walk func(f *folder)
	walk = func(f *folder) {
		for _, i := range f.items {
			all = append(all, m.item(i))
		}
		for _, b := range f.below {
			walk(b)
		}
	}
	walk(m.root)
	return all
}

// Find returns the message that either identifier names.
func (m *Mailbox) Find(id string) (Item, bool) {
	defer m.lock()()
	i := m.items[id]
	if i == nil {
		return Item{}, false
	}
	return m.item(i), true
}

// MIME is what $value hands out for the message.
func (i Item) MIME() []byte {
	if i.Verbatim {
		return bytes.Clone(i.Raw)
	}
	return Render(i.Raw)
}

func (m *Mailbox) mustItem(id string) (*item, error) {
	if i := m.items[id]; i != nil {
		return i, nil
	}
	return nil, fmt.Errorf("mailbox %s: no message %s", m.address, id)
}

// Move moves a message as its user would, and returns what it is then. The
// folder is created when missing.
func (m *Mailbox) Move(id, path string) (Item, error) {
	defer m.lock()()
	i, err := m.mustItem(id)
	if err != nil {
		return Item{}, err
	}
	m.move(i, m.find(path, true))
	return m.item(i), nil
}

// Remove removes a message for good.
func (m *Mailbox) Remove(id string) error {
	defer m.lock()()
	i, err := m.mustItem(id)
	if err == nil {
		m.drop(i)
	}
	return err
}

// MarkRead marks a message as read, or unread.
func (m *Mailbox) MarkRead(id string, read bool) error {
	defer m.lock()()
	i, err := m.mustItem(id)
	if err == nil {
		m.setRead(i, read)
	}
	return err
}

// Change replaces a message by what f makes of it, as when a draft is written on.
func (m *Mailbox) Change(id string, f func(*Mail)) error {
	defer m.lock()()
	i, err := m.mustItem(id)
	if err != nil {
		return err
	}
	f(&i.Mail)
	i.envelope = readEnvelope(i.Raw)
	m.change++
	i.changed, i.wholly = m.change, m.change
	i.touch(m)
	return nil
}

// LoseDeltas makes the server forget the state of all deltas of a folder: links
// to them are answered with 410.
func (m *Mailbox) LoseDeltas(path string) error {
	defer m.lock()()
	f, err := m.mustFind(path)
	if err == nil {
		f.epoch++
	}
	return err
}

// Renumber gives every message of a folder new identifiers, of both kinds, as
// when a mailbox is restored; deltas are lost.
func (m *Mailbox) Renumber(path string) error {
	defer m.lock()()
	f, err := m.mustFind(path)
	if err != nil {
		return err
	}
	for _, i := range slices.Clone(f.items) {
		m.drop(i)
		m.put(f, i.Mail, i.envelope)
	}
	f.epoch++
	return nil
}
