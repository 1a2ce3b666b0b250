package filesystem

import (
	"container/list"
	"sync"
)

// maxRemembered bounds the names kept in memory, at some 200 bytes each.
const maxRemembered = 20_000

// days remembers the documents' folders in the day folders used last, so that
// looking for a document reads a day folder once.
type days struct {
	read func(folder string) (names []string, err error)
	max  int

	mu     sync.Mutex
	total  int                      // names and days remembered
	byName map[string]*list.Element // of *day
	recent *list.List               // used last in front
}

// day is one day folder.
type day struct {
	folder string
	count  int // its share of days.total

	mu     sync.Mutex
	loaded bool
	names  map[string]string // by the digits of the id
}

// newDays returns an empty memory of at most max names and days together, or of
// one day if that alone has more. read returns the names in a day folder, none
// if it is missing; what it returns must be durable.
func newDays(max int, read func(string) ([]string, error)) *days {
	return &days{read: read, max: max, byName: make(map[string]*list.Element), recent: list.New()}
}

// find returns the name of the folder in a day folder that has the digits of
// the id, or the empty string.
func (d *days) find(folder, id string) (string, error) {
	day := d.use(folder)
	day.mu.Lock()
	defer day.mu.Unlock()
	if !day.loaded {
		names, err := d.read(folder)
		if err != nil {
			return "", err
		}
		for _, name := range names {
			if id, ok := folderID(name); ok {
				day.names[id] = name
			}
		}
		day.loaded = true
		d.grow(day, len(day.names))
	}
	return day.names[id], nil
}

// add tells of a document's folder that has become durable.
func (d *days) add(folder, name string) { d.update(folder, name, true) }

// forget tells that a document's folder was not there.
func (d *days) forget(folder, name string) { d.update(folder, name, false) }

func (d *days) update(folder, name string, exists bool) {
	day := d.known(folder)
	if day == nil {
		return
	}
	day.mu.Lock()
	defer day.mu.Unlock()
	if !day.loaded {
		return
	}
	before := len(day.names)
	id, _ := folderID(name)
	if exists {
		day.names[id] = name
	} else if day.names[id] == name {
		delete(day.names, id)
	}
	d.grow(day, len(day.names)-before)
}

// use returns the day, which becomes the one used last.
func (d *days) use(folder string) *day {
	d.mu.Lock()
	defer d.mu.Unlock()
	if e := d.byName[folder]; e != nil {
		d.recent.MoveToFront(e)
		return e.Value.(*day)
	}
	fresh := &day{folder: folder, names: make(map[string]string)}
	d.byName[folder] = d.recent.PushFront(fresh)
	d.total++
	fresh.count++
	d.shrink(fresh)
	return fresh
}

// known returns the day, or nil if it is not remembered.
func (d *days) known(folder string) *day {
	d.mu.Lock()
	defer d.mu.Unlock()
	if e := d.byName[folder]; e != nil {
		return e.Value.(*day)
	}
	return nil
}

// grow adds n names of the day to the total and drops days used least of late.
func (d *days) grow(of *day, n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if e := d.byName[of.folder]; e == nil || e.Value.(*day) != of {
		return // dropped meanwhile
	}
	d.total += n
	of.count += n
	d.shrink(of)
}

// shrink drops days until the rest is within bounds, but not keep.
func (d *days) shrink(keep *day) {
	for e := d.recent.Back(); e != nil && d.total > d.max; {
		previous := e.Prev()
		if old := e.Value.(*day); old != keep {
			d.recent.Remove(e)
			delete(d.byName, old.folder)
			d.total -= old.count
		}
		e = previous
	}
}
