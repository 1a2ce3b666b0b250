package pop3

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"strconv"

	"go.uber.org/zap"
)

const (
	// maxID is the length up to which a unique id stands in a key as it is. RFC 1939
	// 7 allows 70 octets.
	maxID = 900
	// maxRemoved bounds the memory of messages that were deleted.
	maxRemoved = 100_000
)

// maildrop is what a session shows: the messages in the order of their numbers,
// oldest first.
type maildrop struct {
	entries []entry
	byKey   map[string]int32
	// ids is that the server gives unique ids.
	ids bool
}

// entry is one message.
type entry struct {
	number int
	// size is what the server says, which is an estimate on some.
	size int64
	// id is the unique id; empty if there is none.
	id string
	// own is the id with the size: a key unless another message has the same. The
	// three mostly share their memory.
	own string
	key string
}

func (d *maildrop) find(key string) (entry, bool) {
	i, ok := d.byKey[key]
	if !ok {
		return entry{}, false
	}
	return d.entries[i], true
}

// load asks what is in the maildrop, in one round trip where the server takes
// commands together, else in two.
func (c *session) load(ctx context.Context) error {
	if c.drop != nil {
		return nil
	}
	d := &maildrop{}
	err := c.run(ctx, "list messages", func() error {
		commands := []string{"LIST", "UIDL"}
		if c.caps.pipelining {
			if err := c.send(commands...); err != nil {
				return err
			}
			commands = nil
		} else if err := c.send(commands[0]); err != nil {
			return err
		}
		if err := c.readSizes(d); err != nil {
			return err
		}
		if len(commands) > 0 {
			if err := c.send(commands[1]); err != nil {
				return err
			}
		}
		return c.readIDs(d)
	})
	if err != nil {
		return err
	}
	if err := c.name(ctx, d); err != nil {
		return err
	}
	c.drop = d
	return nil
}

// readSizes reads the answer to LIST.
func (c *session) readSizes(d *maildrop) error {
	if _, err := c.status(); err != nil {
		return err
	}
	sorted := true
	err := c.lines(c.source.cfg.MaxMessages, func(line []byte) error {
		number, rest, err := numbered(line)
		if err != nil {
			return err
		}
		digits, _, _ := bytes.Cut(rest, []byte(" "))
		size, err := strconv.ParseInt(string(digits), 10, 64)
		if err != nil || size < 0 {
			size = -1
		}
		sorted = sorted && (len(d.entries) == 0 || d.entries[len(d.entries)-1].number < number)
		d.entries = append(d.entries, entry{number: number, size: size})
		return nil
	})
	if err != nil || sorted {
		return err
	}
	slices.SortFunc(d.entries, func(a, b entry) int { return a.number - b.number })
	for i := 1; i < len(d.entries); i++ {
		if d.entries[i].number == d.entries[i-1].number {
			return &protocolError{fmt.Errorf("message %d is listed twice", d.entries[i].number)}
		}
	}
	return nil
}

// numbered reads a line that begins with the number of a message.
func numbered(line []byte) (number int, rest []byte, err error) {
	digits, rest, _ := bytes.Cut(line, []byte(" "))
	number, err = strconv.Atoi(string(digits))
	if err != nil || number < 1 || number > 1<<31-1 {
		return 0, nil, &protocolError{errors.New("a listing with a line that has no number")}
	}
	return number, bytes.TrimSpace(rest), nil
}

// readIDs reads the answer to UIDL. A server may not know the command, and leave
// out messages.
func (c *session) readIDs(d *maildrop) error {
	_, err := c.status()
	var refused *refusal
	if errors.As(err, &refused) && !c.caps.uidl && refused.code == "" {
		return nil
	} else if err != nil {
		return err
	}
	d.ids = true
	next := 0
	return c.lines(c.source.cfg.MaxMessages, func(line []byte) error {
		number, id, err := numbered(line)
		if err != nil {
			return err
		}
		if next == len(d.entries) || d.entries[next].number != number {
			var found bool
			next, found = slices.BinarySearchFunc(d.entries, number, func(e entry, n int) int { return e.number - n })
			if !found {
				// It has come between the two commands, which no server should let
				// happen. It is listed by the next session.
				return nil
			}
		}
		d.entries[next].setID(id)
		next++
		return nil
	})
}

// setID sets the id, and what follows from it.
func (e *entry) setID(id []byte) {
	if len(id) == 0 {
		return
	}
	shown := printable(id)
	own := make([]byte, 0, len(shown)+20)
	own = strconv.AppendInt(append(append(own, shown...), '/'), e.size, 10)
	e.own = string(own)
	if e.id = e.own[:len(shown)]; e.id != string(id) {
		e.id = string(id)
	}
}

// name gives every message its key. Most keys are the message's id with its size: an
// id that the server uses again then is the same key only for a message of the same
// size. Where that does not tell messages apart, what they hold does.
func (c *session) name(ctx context.Context, d *maildrop) error {
	d.byKey = make(map[string]int32, len(d.entries))
	twice := make(map[string]bool)
	plain := true // each key is the message's own
	for i := range d.entries {
		e := &d.entries[i]
		if _, taken := d.byKey[e.own]; taken {
			twice[e.own] = true
		}
		_, removed := c.source.removed[e.own]
		plain = plain && e.id != "" && !removed
		d.byKey[e.own] = int32(i)
		e.key = e.own
	}
	if plain && len(twice) == 0 {
		return nil
	}
	var alike []int
	for i := range d.entries {
		e := &d.entries[i]
		again, removed := c.source.removed[e.own]
		switch {
		case e.id == "" || twice[e.own] || removed && again == "":
			alike = append(alike, i)
		case removed:
			e.key = again
		}
	}
	if len(alike) > 0 {
		if err := c.identify(ctx, d, alike); err != nil {
			return err
		}
	}
	clear(d.byKey)
	times := make(map[string]int32)
	for i := range d.entries {
		e := &d.entries[i]
		if _, taken := d.byKey[e.key]; taken {
			// Copies of one message.
			times[e.key]++
			e.key = fmt.Sprintf("%s#%d", e.key, times[e.key]+1)
		}
		d.byKey[e.key] = int32(i)
		if again, removed := c.source.removed[e.own]; removed && again == "" && e.id != "" {
			c.source.removed[e.own] = e.key
		}
	}
	return nil
}

// printable returns the id if it can stand in a key, else a digest.
func printable(id []byte) []byte {
	if len(id) <= maxID {
		ok := true
		for _, b := range id {
			ok = ok && b > ' ' && b < 0x7f
		}
		if ok {
			return id
		}
	}
	sum := sha256.Sum256(id)
	return hex.AppendEncode([]byte("sha256:"), sum[:])
}

// identify makes keys of what messages hold: of the header and the size, if the
// header says by whom the message was received and when; else of the whole message,
// which costs its transfer.
func (c *session) identify(ctx context.Context, d *maildrop, which []int) error {
	c.source.log.Debug("messages are told apart by what they hold", zap.Int("messages", len(which)), zap.Bool("ids", d.ids))
	const doing = "read headers to tell messages apart"
	return c.follow(ctx, doing, func() error {
		var whole []int
		err := c.stream(len(which), nil, func(i int) string { return fmt.Sprintf("TOP %d 0", d.entries[which[i]].number) },
			func(i int, answer *body, refused *refusal) error {
				e := &d.entries[which[i]]
				if refused != nil {
					whole = append(whole, which[i])
					return nil
				}
				sum := sha256.New()
				var found received
				if _, err := io.Copy(io.MultiWriter(sum, &found), answer); err != nil {
					return err
				}
				if !found.yes {
					whole = append(whole, which[i])
					return nil
				}
				e.key = digest("header", sum, e.size)
				return nil
			})
		if err != nil {
			return err
		}
		size := func(i int) int64 { return d.entries[whole[i]].size }
		return c.stream(len(whole), size, func(i int) string { return fmt.Sprintf("RETR %d", d.entries[whole[i]].number) },
			func(i int, answer *body, refused *refusal) error {
				e := &d.entries[whole[i]]
				sum := sha256.New()
				if refused != nil {
					// What it holds cannot be known; fetching it will say why.
					fmt.Fprintf(sum, "%q %d", e.id, e.number)
					e.key = digest("unread", sum, e.size)
					return nil
				}
				if _, err := io.Copy(sum, answer); err != nil {
					return err
				}
				e.key = digest("message", sum, e.size)
				return nil
			})
	})
}

func digest(of string, sum hash.Hash, size int64) string {
	return fmt.Sprintf("%s:%s/%d", of, hex.EncodeToString(sum.Sum(nil)), size)
}

// received looks in a header for a field Received. Every server that takes a message
// puts one before it that says when (RFC 5321 4.4).
type received struct {
	line []byte
	skip bool
	yes  bool
}

func (r *received) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 && !r.yes {
		line, rest, ended := bytes.Cut(p, []byte("\n"))
		if !r.skip {
			r.line = append(r.line, line[:min(len(line), 9-len(r.line))]...)
			r.yes = bytes.EqualFold(r.line, []byte("Received:"))
			r.skip = len(r.line) == 9
		}
		if ended {
			r.line, r.skip = r.line[:0], false
		}
		p = rest
	}
	return n, nil
}

// stream sends n commands whose answers are of more lines, several at a time where
// the server takes them so, and hands over each answer with i, or what the server
// says instead. An answer need not be read. Sizes are as in [pipeline].
func (c *client) stream(n int, size func(i int) int64, command func(i int) string, each func(i int, answer *body, refused *refusal) error) error {
	line := &pipeline{c: c, n: n, alone: !c.caps.pipelining, command: command, size: size}
	for i := range n {
		if err := line.turn(i); err != nil {
			return err
		}
		_, err := c.status()
		var refused *refusal
		if errors.As(err, &refused) {
			if err := each(i, nil, refused); err != nil {
				return err
			}
			continue
		} else if err != nil {
			return err
		}
		answer := &body{
			c:       c,
			next:    func(int64) (bool, error) { return line.follows(i), nil },
			done:    func() error { return nil },
			explain: func(err error) error { return err },
		}
		if err := each(i, answer, nil); err != nil {
			return err
		}
		if err := answer.finish(); err != nil {
			return err
		}
	}
	return nil
}
