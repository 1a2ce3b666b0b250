package simulation

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"postroom/ingest/ledger"
)

// event is something that happens in the world at a time. Its effect is one
// step.
type event struct {
	at   time.Time
	name string
	do   func(*rand.Rand, *box) string // says what happened
}

// happenings are what may happen to a mailbox, and how often as against the
// others.
var happenings = []struct {
	weight int
	name   string
	do     func(w *world, r *rand.Rand, b *box) string
}{
	{40, "mail arrives", (*world).deliver},
	{8, "mail arrives twice", (*world).deliverTwins},
	{6, "mail arrives late", (*world).deliverLate},
	{8, "a message is moved", (*world).moveMessage},
	{6, "a message is removed", (*world).removeMessage},
	{4, "a folder is renumbered", (*world).renumberFolder},
	{3, "a cursor expires", (*world).expireCursor},
	{4, "a folder is hidden", (*world).hideFolder},
	{2, "a folder is deleted", (*world).deleteFolder},
	{4, "a message is withheld", (*world).withhold},
	{10, "a person decides", (*world).decide},
	{5, "the process dies", (*world).kill},
}

// schedule draws what happens, and when.
func (w *world) schedule(r *rand.Rand) []event {
	total := 0
	for _, h := range happenings {
		total += h.weight
	}
	span := int64(w.quiet.Sub(w.began))
	var events []event
	for range 60 + r.IntN(120) {
		n := r.IntN(total)
		i := 0
		for n >= happenings[i].weight {
			n -= happenings[i].weight
			i++
		}
		h := happenings[i]
		events = append(events, event{w.began.Add(time.Duration(r.Int64N(span))), h.name, func(r *rand.Rand, b *box) string { return h.do(w, r, b) }})
	}
	slices.SortStableFunc(events, func(a, b event) int { return cmp.Compare(a.at.UnixNano(), b.at.UnixNano()) })
	return events
}

// happen lets an event happen to some mailbox.
func (w *world) happen(e event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.dice.draw(e.name)
	b := w.boxes[r.IntN(len(w.boxes))]
	if what := e.do(r, b); what != "" {
		w.note(nil, e.name+": "+what, nil)
	}
}

// somewhere returns a folder that is read, made if it was deleted.
func (b *box) somewhere(r *rand.Rand) *folder { return b.make(pick(r, b.read...)) }

// someone returns a message in a folder that is read, nil if there is none.
func (b *box) someone(r *rand.Rand) (*folder, *message) {
	f := b.folders[pick(r, b.read...)]
	if f == nil || len(f.messages) == 0 {
		return nil, nil
	}
	return f, pick(r, f.messages...)
}

func (w *world) deliver(r *rand.Rand, b *box) string {
	var said []string
	for range 1 + r.IntN(4) {
		f := b.somewhere(r)
		if r.IntN(3) == 0 {
			f.last++
			f.gaps = append(f.gaps, f.last)
		}
		said = append(said, w.arrive(b, f, w.compose(r, b), 0))
	}
	return strings.Join(said, ", ")
}

func (w *world) deliverTwins(r *rand.Rand, b *box) string {
	c := w.compose(r, b)
	return w.arrive(b, b.somewhere(r), c, 0) + ", " + w.arrive(b, b.somewhere(r), c, 0)
}

// deliverLate delivers under a number below the highest.
func (w *world) deliverLate(r *rand.Rand, b *box) string {
	f := b.somewhere(r)
	if len(f.gaps) == 0 {
		return ""
	}
	n := f.gaps[0]
	f.gaps = f.gaps[1:]
	return w.arrive(b, f, w.compose(r, b), n)
}

// arrive delivers a message.
func (w *world) arrive(b *box, f *folder, c *content, number int) string {
	m := &message{content: c, received: time.Now().Truncate(time.Second)}
	b.put(f, m, number)
	return b.path(f.path) + " " + f.key(m) + " " + digest(c.raw)
}

// compose makes up a message: mostly a new one, else one with the bytes of
// another, or its Message-ID, or none at all.
func (w *world) compose(r *rand.Rand, b *box) *content {
	raw := ""
	id := len(b.known)
	switch n := r.IntN(20); {
	case n == 0: // empty
	case n < 4 && len(b.known) > 0:
		known := slices.SortedFunc(maps.Values(b.known), func(a, b *content) int { return cmp.Compare(a.raw, b.raw) })
		return pick(r, known...)
	default:
		if r.IntN(5) == 0 {
			id = r.IntN(id + 1) // the Message-ID of another
		}
		date := ""
		if r.IntN(2) == 0 {
			date = "Date: Mon, 3 Jan 2000 04:05:06 +0000\r\n"
		}
		raw = fmt.Sprintf("Message-ID: <%d@%s>\r\n%sSubject: Message %d\r\n\r\n%s\r\n",
			id, b, date, len(b.known), strings.Repeat("text ", r.IntN(600)))
	}
	if c := b.known[raw]; c != nil {
		return c
	}
	c := &content{raw: raw, appeared: make(map[place]bool)}
	switch r.IntN(16) {
	case 0:
		c.refused = w.end.Add(time.Hour)
	case 1:
		c.refused = time.Now().Add(time.Duration(r.IntN(24)) * time.Hour)
	}
	b.known[raw] = c
	return c
}

func (w *world) moveMessage(r *rand.Rand, b *box) string {
	from, m := b.someone(r)
	if m == nil {
		return ""
	}
	what := b.path(from.path) + " " + from.key(m)
	from.remove(m)
	to := b.make(pick(r, append(slices.Clone(b.read), "Private")...))
	copied := *m
	b.put(to, &copied, 0)
	return what + " to " + to.path + " " + to.key(&copied)
}

func (w *world) removeMessage(r *rand.Rand, b *box) string {
	f, m := b.someone(r)
	if m == nil {
		return ""
	}
	f.remove(m)
	return b.path(f.path) + " " + f.key(m)
}

func (w *world) renumberFolder(r *rand.Rand, b *box) string {
	f := b.somewhere(r)
	b.renumber(f)
	return fmt.Sprintf("%s, now %d", b.path(f.path), f.validity)
}

func (w *world) expireCursor(r *rand.Rand, b *box) string {
	f := b.somewhere(r)
	f.expired++
	return b.path(f.path)
}

func (w *world) hideFolder(r *rand.Rand, b *box) string {
	f := b.somewhere(r)
	f.hidden = w.before(time.Duration(r.IntN(int(12 * time.Hour))))
	return b.path(f.path) + " until " + f.hidden.Sub(w.began).String()
}

// deleteFolder deletes a folder for good. It is made anew when something is
// put there.
func (w *world) deleteFolder(r *rand.Rand, b *box) string {
	f := b.folders[pick(r, b.read...)]
	if f == nil {
		return ""
	}
	delete(b.folders, f.path)
	return b.path(f.path)
}

func (w *world) withhold(r *rand.Rand, b *box) string {
	f, m := b.someone(r)
	if m == nil {
		return ""
	}
	m.withheld = w.before(time.Duration(r.IntN(int(6 * time.Hour))))
	return b.path(f.path) + " " + f.key(m) + " until " + m.withheld.Sub(w.began).String()
}

// before returns the time in d, or the beginning of the quiet time if that is
// earlier.
func (w *world) before(d time.Duration) time.Time {
	t := time.Now().Add(d)
	if t.After(w.quiet) {
		return w.quiet
	}
	return t
}

func (w *world) kill(*rand.Rand, *box) string {
	if w.process == nil {
		return ""
	}
	w.process.die()
	return fmt.Sprintf("process %d", w.process.number)
}

// decide lets a person retry or discard a message in quarantine.
func (w *world) decide(r *rand.Rand, b *box) string {
	p := w.process
	if p == nil || p.dead {
		return ""
	}
	var choices []ledger.Entry
	for e := range w.ledger.Entries(context.Background(), ledger.Query{
		Source: b.name, States: []ledger.State{ledger.Quarantined, ledger.Parked},
	}) {
		choices = append(choices, e)
	}
	if len(choices) == 0 {
		return ""
	}
	slices.SortFunc(choices, func(a, b ledger.Entry) int {
		return cmp.Or(cmp.Compare(a.Folder, b.Folder), cmp.Compare(a.Key, b.Key))
	})
	e := pick(r, choices...)
	what, do := "retries", p.engine.Retry
	if r.IntN(3) == 0 {
		what, do = "discards", p.engine.Discard
		w.discarded[w.place(e)] = true
	}
	p.people.Go(func() {
		_, err := do(p.ctx, e.QuarantineID())
		w.mu.Lock()
		defer w.mu.Unlock()
		w.note(p, what+" "+e.QuarantineID(), err)
	})
	return what + " " + b.path(e.Folder) + " " + e.Key
}
