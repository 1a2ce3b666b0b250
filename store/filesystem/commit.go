package filesystem

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"

	"postroom/internal/durable"
)

// committer makes staged documents visible, as many at once as are waiting, so
// that they share the syncs of the folders they go to.
type committer struct {
	repository *Repository
	queue      chan *proposal
	done       chan struct{} // closed when the goroutine has ended
}

// proposal is a staged document that is to be moved to its place.
type proposal struct {
	stage, location string
	answer          chan error // receives once; has room for it
}

func startCommitter(r *Repository) *committer {
	c := &committer{repository: r, queue: make(chan *proposal), done: make(chan struct{})}
	go c.run()
	return c
}

// stop ends the goroutine and waits for it. No commit may be under way.
func (c *committer) stop() {
	close(c.queue)
	<-c.done
}

// commit moves the staged folder to its location, durably. After an error it is
// not there, but may still be staged.
func (c *committer) commit(stage, location string) error {
	p := &proposal{stage: stage, location: location, answer: make(chan error, 1)}
	c.queue <- p
	return <-p.answer
}

func (c *committer) run() {
	defer close(c.done)
	for p := range c.queue {
		c.commitGroup(c.gather(p))
	}
}

// gather returns the first proposal with all others that are waiting.
func (c *committer) gather(first *proposal) []*proposal {
	group := []*proposal{first}
	for {
		select {
		case p, open := <-c.queue:
			if !open {
				return group
			}
			group = append(group, p)
		default:
			return group
		}
	}
}

// commitGroup answers every proposal of the group.
func (c *committer) commitGroup(group []*proposal) {
	var (
		moved   []*proposal
		made    []string // folders, parents before what they hold
		changed = make(map[string]bool)
	)
	for _, p := range group {
		var err error
		if c.repository.broken.Load() {
			err = errBroken
		} else {
			made, err = c.move(p, made)
		}
		if err != nil {
			p.answer <- err
			continue
		}
		moved = append(moved, p)
		changed[path.Dir(p.location)] = true
	}
	for _, folder := range made {
		// All above it, as a process that died may have left them unsynced.
		for above := range upward(path.Dir(folder)) {
			changed[above] = true
		}
	}
	err := c.syncFolders(changed)
	if err != nil {
		c.withdraw(moved, made, err)
		return
	}
	for _, p := range moved {
		p.answer <- nil
	}
}

// move renames the staged folder, and makes the folder it goes to if that is
// missing, and those above it. It appends to made what it made.
func (c *committer) move(p *proposal, made []string) ([]string, error) {
	err := c.repository.rename(p.stage, p.location)
	if !errors.Is(err, fs.ErrNotExist) {
		return made, err
	}
	if made, err = c.makeFolder(path.Dir(p.location), made); err != nil {
		return made, err
	}
	return made, c.repository.rename(p.stage, p.location)
}

// makeFolder makes the folder and those above it, and appends to made those
// that were missing.
func (c *committer) makeFolder(name string, made []string) ([]string, error) {
	root := c.repository.root
	err := root.Mkdir(name, folderMode)
	if errors.Is(err, fs.ErrNotExist) {
		if made, err = c.makeFolder(path.Dir(name), made); err != nil {
			return made, err
		}
		err = root.Mkdir(name, folderMode)
	}
	switch {
	case errors.Is(err, fs.ErrExist):
		return made, nil
	case err != nil:
		return made, err
	}
	return append(made, name), nil
}

func (c *committer) syncFolders(names map[string]bool) error {
	for name := range names {
		if err := c.repository.syncFolder(name); err != nil {
			return err
		}
	}
	return nil
}

// withdraw undoes the moves after a failed sync and answers the proposals. It
// also removes the folders that were made: a second sync of their parents could
// succeed without having written what the first one failed to, so the next
// group has to make them anew. If something cannot be undone the repository is
// broken.
func (c *committer) withdraw(moved []*proposal, made []string, cause error) {
	r := c.repository
	answers := make([]error, len(moved))
	for i, p := range moved {
		answers[i] = cause
		if err := r.rename(p.location, p.stage); err != nil {
			r.broken.Store(true)
			answers[i] = fmt.Errorf("%w; it could not be taken back: %w", cause, err)
		}
	}
	for _, folder := range slices.Backward(made) {
		if err := r.root.Remove(folder); err != nil {
			r.broken.Store(true)
		}
	}
	for i, p := range moved {
		p.answer <- answers[i]
	}
}

func (r *Repository) rename(from, to string) error {
	return durable.Patiently(func() error { return r.root.Rename(from, to) })
}
