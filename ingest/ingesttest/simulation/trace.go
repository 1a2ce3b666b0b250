package simulation

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// shown is how many steps a verdict shows.
const shown = 60

// trace keeps what happened: everything that concerns a message or fails, and
// the life of processes, but not the rounds in which nothing is found.
type trace []step

type step struct {
	at      time.Duration
	process int // 0: the world
	name    string
	err     error
}

// about returns the last steps that have one of the words in their names, with
// the lives of processes between them; the last of all if there are no words.
func (t trace) about(words []string) string {
	var found []step
	for i := len(t) - 1; i >= 0 && len(found) < shown; i-- {
		if s := t[i]; len(words) == 0 || s.name == born || s.name == ended || s.has(words) {
			found = append(found, s)
		}
	}
	var b strings.Builder
	for i := len(found) - 1; i >= 0; i-- {
		s := found[i]
		who := "world"
		if s.process > 0 {
			who = fmt.Sprintf("process %d", s.process)
		}
		fmt.Fprintf(&b, "%14s  %-10s  %s", s.at.Round(time.Millisecond), who, s.name)
		if s.err != nil {
			fmt.Fprintf(&b, ": %v", s.err)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func (s step) has(words []string) bool {
	return slices.ContainsFunc(words, func(word string) bool { return strings.Contains(s.name+" ", word+" ") })
}

// about returns the words by which the steps of a message are found: its places
// and its digest.
func (b *box) about(c *content) []string {
	words := []string{digest(c.raw)}
	for at := range c.appeared {
		words = append(words, b.path(at.folder)+" "+at.key)
	}
	return words
}

// aboutPlace returns the words by which the steps of the message are found that
// is, or was, at a place.
func (w *world) aboutPlace(at place) []string {
	b := w.boxes[at.box]
	if c := w.content(at); c != nil {
		return b.about(c)
	}
	return []string{b.path(at.folder) + " " + at.key}
}

// The names of steps of a process's life.
const (
	born  = "starts"
	ended = "has ended"
)

// note adds a step of a process, or of the world if p is nil. mu is held.
func (w *world) note(p *process, name string, err error) {
	n := 0
	if p != nil {
		n = p.number
	}
	w.trace = append(w.trace, step{time.Since(w.began), n, name, err})
}
