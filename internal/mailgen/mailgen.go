// Package mailgen writes business mail as a mailroom gets it: orders, invoices
// and claims in several languages and charsets; plain, as HTML with images, with
// PDF attachments, and forwarded; with the lines that trip mail software up.
//
// The mail is a function of the seed, for the same build of postroom. No
// address in it is of a domain that anybody could own, and no name is a person's.
package mailgen

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// Mail is one generated message.
type Mail struct {
	Raw []byte // the message; lines end in CRLF
	// Folder is where a mailroom would keep it: "Inbox", or a folder below it.
	Folder    string
	Date      time.Time // as in the Date field, to the second
	Subject   string    // decoded
	MessageID string    // with its angle brackets
}

// Option changes what a Generator writes.
type Option func(*Generator)

// Small makes every mail one of 2 to 12 KB. Without it the sizes are those of a
// mailroom: of 100 mails 70 have 4 to 20 KB, 25 have 50 to 300 KB, and 5 have 1
// to 5 MB. All sizes are approximate.
func Small() Option {
	return func(g *Generator) { g.sizes = []sizeClass{{share: 1, least: 2 << 10, most: 12 << 10}} }
}

// Moderate makes the largest mails, 5 of 100, ones of 0.5 to 2 MB: 5,000 mails
// have some 600 MB then.
func Moderate() Option {
	return func(g *Generator) {
		g.sizes[len(g.sizes)-1] = sizeClass{share: 0.05, least: 512 << 10, most: 2 << 20}
	}
}

// Starting sets the date from which on mail arrives, in place of the morning of
// 5 January 2026.
func Starting(t time.Time) Option { return func(g *Generator) { g.clock = t.Truncate(time.Second) } }

// sizeClass is a range of sizes and its share of all mail.
type sizeClass struct {
	share       float64
	least, most int
}

// Generator writes one mail after another, each some minutes later than the one
// before. It is used by one goroutine.
type Generator struct {
	sizes  []sizeClass
	clock  time.Time
	number int // of the last mail
	noise  *rand.ChaCha8
	random *rand.Rand // over noise
}

// New returns a generator. Generators of the same seed and options write the
// same mail.
func New(seed uint64, options ...Option) *Generator {
	var key [32]byte
	for i := range 8 {
		key[i] = byte(seed >> (8 * i))
	}
	noise := rand.NewChaCha8(key)
	g := &Generator{
		sizes: []sizeClass{
			{share: 0.70, least: 4 << 10, most: 20 << 10},
			{share: 0.25, least: 50 << 10, most: 300 << 10},
			{share: 0.05, least: 1 << 20, most: 5 << 20},
		},
		clock:  time.Date(2026, time.January, 5, 8, 0, 0, 0, time.UTC),
		noise:  noise,
		random: rand.New(noise),
	}
	for _, o := range options {
		o(g)
	}
	return g
}

// Next returns the next mail.
func (g *Generator) Next() Mail {
	l := g.letter()
	return Mail{
		Raw:       g.compose(l, g.size()),
		Folder:    l.matter.folder,
		Date:      l.date,
		Subject:   l.subject,
		MessageID: l.id,
	}
}

// size draws the size of a mail.
func (g *Generator) size() int {
	at := g.random.Float64()
	class := g.sizes[len(g.sizes)-1]
	for _, c := range g.sizes {
		if at < c.share {
			class = c
			break
		}
		at -= c.share
	}
	return class.least + g.random.IntN(class.most-class.least)
}

// letter is what a mail says and to whom, before it is put into parts.
type letter struct {
	number  int
	matter  matter
	words   *language
	ref     string // as "INV-004711"
	subject string
	id      string
	date    time.Time
}

// letter draws the next letter.
func (g *Generator) letter() letter {
	g.number++
	g.clock = g.clock.Add(time.Duration(30+g.random.IntN(20*60)) * time.Second)
	kind := g.random.IntN(len(matters))
	l := letter{number: g.number, matter: matters[kind], words: &languages[g.random.IntN(len(languages))]}
	l.ref = fmt.Sprintf("%s-%06d", l.matter.prefix, 4000+g.number)
	l.subject = fmt.Sprintf(l.words.subjects[kind], l.ref)
	l.id = fmt.Sprintf("<%s.%016x@%s>", l.ref, g.random.Uint64(), l.matter.domain)
	// Senders sit in different time zones.
	hours := g.random.IntN(12) - 3
	l.date = g.clock.In(time.FixedZone("", hours*60*60))
	return l
}

// pick returns one of all, at random.
func pick[T any](g *Generator, all []T) T { return all[g.random.IntN(len(all))] }

// bytes returns n random bytes.
func (g *Generator) bytes(n int) []byte {
	b := make([]byte, n)
	_, _ = g.noise.Read(b) // never fails
	return b
}
