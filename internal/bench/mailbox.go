package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"postroom/internal/dovecot"
	"postroom/internal/mailgen"
)

// The users, each with a mailbox of its own.
const (
	everything = "everything"
	part       = "part"
	crowded    = "crowded"
	heavy      = "heavy"
	password   = "secret"
)

// mailbox is what was delivered to a user.
type mailbox struct {
	user     string
	messages int
	bytes    int64
	// want counts the messages by the SHA-256 of their octets.
	want map[[sha256.Size]byte]int
}

// deliverer delivers to a mailbox, oldest first.
type deliverer struct {
	*mailbox
	server *dovecot.Server
	clock  time.Time
}

func newDeliverer(server *dovecot.Server, user string) *deliverer {
	return &deliverer{
		mailbox: &mailbox{user: user, want: make(map[[sha256.Size]byte]int)},
		server:  server, clock: time.Date(2026, time.January, 5, 8, 0, 0, 0, time.UTC),
	}
}

func (d *deliverer) deliver(raw []byte) error {
	d.clock = d.clock.Add(10 * time.Second)
	d.messages++
	d.bytes += int64(len(raw))
	d.want[sha256.Sum256(raw)]++
	return d.server.Deliver(d.user, "INBOX", raw, d.clock, false)
}

// fill delivers mail of mixed sizes, all to one user and the first of it to
// another, and leaves a copy of each message as a file in dir.
func fill(server *dovecot.Server, s settings, dir string) (all, some *mailbox, err error) {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, nil, err
	}
	toAll, toSome := newDeliverer(server, everything), newDeliverer(server, part)
	mail := mailgen.New(1, mailgen.Moderate())
	for i := range s.messages {
		raw := mail.Next().Raw
		if err := toAll.deliver(raw); err != nil {
			return nil, nil, err
		}
		if i < s.sample {
			if err := toSome.deliver(raw); err != nil {
				return nil, nil, err
			}
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%06d.eml", i)), raw, 0o644); err != nil {
			return nil, nil, err
		}
	}
	return toAll.mailbox, toSome.mailbox, nil
}

// deliverShort delivers n short messages, none of them twice.
func (d *deliverer) deliverShort(n int) error {
	for range n {
		i := d.messages
		raw := fmt.Appendf(nil, "From: orders@example.com\r\nSubject: Order %d\r\nMessage-ID: <%d@example.com>\r\n\r\nSee above.\r\n", i, i)
		if err := d.deliver(raw); err != nil {
			return err
		}
	}
	return nil
}

// fillHeavy delivers one large message.
func fillHeavy(server *dovecot.Server, size int64) (*mailbox, error) {
	var raw bytes.Buffer
	if err := mailgen.New(2).WriteLarge(&raw, size); err != nil {
		return nil, err
	}
	d := newDeliverer(server, heavy)
	return d.mailbox, d.deliver(raw.Bytes())
}
