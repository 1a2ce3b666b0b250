package pop3

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"maps"
	"slices"
	"strconv"

	"go.uber.org/zap"
)

const (
	// maxID is the length up to which a unique id stands in a key as it is. RFC 1939
	// 7 allows 70 octets.
	maxID = 900
	// maxIDs bounds the ids of a maildrop together.
	maxIDs = 1 << 30
	// maxRemoved bounds the memory of messages that were deleted.
	maxRemoved = 100_000
)

// maildrop is what a session shows: the messages in the order of their numbers,
// oldest first. What it knows of many lies in few pieces of memory.
type maildrop struct {
	listed []listed
	// ids holds the unique ids, one after the other.
	ids []byte
	// hasIDs is that the server gives unique ids.
	hasIDs bool
	// keys are those that are more than a message's id with its size.
	keys map[int32]string
	// hashes are those of the keys, and order the positions in the order of these.
	hashes []uint64
	order  []int32
}

// listed is a message as the server lists it.
type listed struct {
	size   int64 // see entry
	begin  int   // of the id in ids
	length int32 // of the id
	number int32
}

// entry is one message.
type entry struct {
	number int
	// size is what the server says, which is an estimate on some.
	size int64
	// id is the unique id; empty if there is none.
	id string
	// own is the id with the size: a key unless another message has the same.
	own string
	key string
}

// at returns the message at a position.
func (d *maildrop) at(position int32) entry {
	l := d.listed[position]
	e := entry{number: int(l.number), size: l.size, id: string(d.id(position)), key: string(d.appendKey(nil, position))}
	if e.id != "" {
		e.own = string(d.appendOwn(nil, position))
	}
	return e
}

// find returns the message of a key.
func (d *maildrop) find(key string) (entry, bool) {
	hash := hashOf([]byte(key))
	i, _ := slices.BinarySearchFunc(d.order, hash, func(position int32, hash uint64) int { return cmp.Compare(d.hashes[position], hash) })
	var buf []byte
	for ; i < len(d.order) && d.hashes[d.order[i]] == hash; i++ {
		if buf = d.appendKey(buf[:0], d.order[i]); string(buf) == key {
			return d.at(d.order[i]), true
		}
	}
	return entry{}, false
}

func (d *maildrop) id(position int32) []byte {
	l := d.listed[position]
	return d.ids[l.begin : l.begin+int(l.length)]
}

// appendOwn appends the id of a message with its size.
func (d *maildrop) appendOwn(to []byte, position int32) []byte {
	to = append(appendPrintable(to, d.id(position)), '/')
	return strconv.AppendInt(to, d.listed[position].size, 10)
}

// appendKey appends the key of a message.
func (d *maildrop) appendKey(to []byte, position int32) []byte {
	if key, ok := d.keys[position]; ok {
		return append(to, key...)
	}
	return d.appendOwn(to, position)
}

// index hashes the keys and puts them in order.
func (d *maildrop) index() {
	d.hashes, d.order = make([]uint64, len(d.listed)), make([]int32, len(d.listed))
	var buf []byte
	for i := range d.listed {
		buf = d.appendKey(buf[:0], int32(i))
		d.hashes[i], d.order[i] = hashOf(buf), int32(i)
	}
	var other []byte
	slices.SortFunc(d.order, func(a, b int32) int {
		if c := cmp.Compare(d.hashes[a], d.hashes[b]); c != 0 || a == b {
			return c
		}
		buf, other = d.appendKey(buf[:0], a), d.appendKey(other[:0], b)
		return cmp.Or(bytes.Compare(buf, other), cmp.Compare(a, b))
	})
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
		sorted = sorted && (len(d.listed) == 0 || d.listed[len(d.listed)-1].number < number)
		d.listed = append(d.listed, listed{number: number, size: size})
		return nil
	})
	if err != nil || sorted {
		return err
	}
	slices.SortFunc(d.listed, func(a, b listed) int { return cmp.Compare(a.number, b.number) })
	for i := 1; i < len(d.listed); i++ {
		if d.listed[i].number == d.listed[i-1].number {
			return &protocolError{fmt.Errorf("message %d is listed twice", d.listed[i].number)}
		}
	}
	return nil
}

// numbered reads a line that begins with the number of a message.
func numbered(line []byte) (number int32, rest []byte, err error) {
	digits, rest, _ := bytes.Cut(line, []byte(" "))
	n, err := strconv.ParseInt(string(digits), 10, 32)
	if err != nil || n < 1 {
		return 0, nil, &protocolError{errors.New("a listing with a line that has no number")}
	}
	return int32(n), bytes.TrimSpace(rest), nil
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
	d.hasIDs = true
	next := 0
	return c.lines(c.source.cfg.MaxMessages, func(line []byte) error {
		number, id, err := numbered(line)
		if err != nil {
			return err
		}
		if next == len(d.listed) || d.listed[next].number != number {
			var found bool
			next, found = slices.BinarySearchFunc(d.listed, number, func(l listed, n int32) int { return cmp.Compare(l.number, n) })
			if !found {
				// It has come between the two commands, which no server should let
				// happen. It is listed by the next session.
				return nil
			}
		}
		if len(d.ids)+len(id) > maxIDs {
			return &protocolError{fmt.Errorf("unique ids of more than %d bytes", maxIDs)}
		}
		d.listed[next].begin, d.listed[next].length = len(d.ids), int32(len(id))
		d.ids = append(d.ids, id...)
		next++
		return nil
	})
}

// name gives every message its key. Most keys are the message's id with its size: an
// id that the server uses again then is the same key only for a message of the same
// size. Where that does not tell messages apart, what they hold does.
func (c *session) name(ctx context.Context, d *maildrop) error {
	d.index()
	alike := d.alike()
	d.keys = make(map[int32]string)
	var buf []byte
	for i := int32(0); len(c.source.removed) > 0 && int(i) < len(d.listed); i++ {
		buf = d.appendOwn(buf[:0], i)
		switch again, removed := c.source.removed[string(buf)]; {
		case !removed:
		case again == "":
			alike[i] = true
		case !alike[i]:
			d.keys[i] = again
		}
	}
	if len(alike) == 0 && len(d.keys) == 0 {
		return nil
	}
	if len(alike) > 0 {
		if err := c.identify(ctx, d, slices.Sorted(maps.Keys(alike))); err != nil {
			return err
		}
	}
	taken, times := make(map[string]bool, len(d.listed)), make(map[string]int)
	for i := range int32(len(d.listed)) {
		e := d.at(i)
		if taken[e.key] {
			// Copies of one message.
			times[e.key]++
			e.key = fmt.Sprintf("%s#%d", e.key, times[e.key]+1)
			d.keys[i] = e.key
		}
		taken[e.key] = true
		if again, removed := c.source.removed[e.own]; removed && again == "" && e.id != "" {
			c.source.removed[e.own] = e.key
		}
	}
	d.index()
	return nil
}

// alike returns the positions of the messages that have no id, or the id and size of
// another.
func (d *maildrop) alike() map[int32]bool {
	alike := make(map[int32]bool)
	for i, l := range d.listed {
		if l.length == 0 {
			alike[int32(i)] = true
		}
	}
	var one, other []byte
	for i := 1; i < len(d.order); i++ {
		before, after := d.order[i-1], d.order[i]
		if d.hashes[before] != d.hashes[after] {
			continue
		}
		if one, other = d.appendOwn(one[:0], before), d.appendOwn(other[:0], after); bytes.Equal(one, other) {
			alike[before], alike[after] = true, true
		}
	}
	return alike
}

// appendPrintable appends the id if it can stand in a key, else a digest.
func appendPrintable(to, id []byte) []byte {
	if len(id) <= maxID {
		ok := true
		for _, b := range id {
			ok = ok && b > ' ' && b < 0x7f
		}
		if ok {
			return append(to, id...)
		}
	}
	sum := sha256.Sum256(id)
	return hex.AppendEncode(append(to, "sha256:"...), sum[:])
}

// identify makes keys of what messages hold: of the header and the size, if the
// header says by whom the message was received and when; else of the whole message,
// which costs its transfer.
func (c *session) identify(ctx context.Context, d *maildrop, which []int32) error {
	c.source.log.Debug("messages are told apart by what they hold", zap.Int("messages", len(which)), zap.Bool("ids", d.hasIDs))
	const doing = "read headers to tell messages apart"
	return c.follow(ctx, doing, func() error {
		var whole []int32
		err := c.stream(len(which), nil, func(i int) string { return fmt.Sprintf("TOP %d 0", d.listed[which[i]].number) },
			func(i int, answer *body, refused *refusal) error {
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
				d.keys[which[i]] = digest("header", sum, d.listed[which[i]].size)
				return nil
			})
		if err != nil {
			return err
		}
		size := func(i int) int64 { return d.listed[whole[i]].size }
		return c.stream(len(whole), size, func(i int) string { return fmt.Sprintf("RETR %d", d.listed[whole[i]].number) },
			func(i int, answer *body, refused *refusal) error {
				size := d.listed[whole[i]].size
				sum := sha256.New()
				if refused != nil {
					// What it holds cannot be known; fetching it will say why.
					fmt.Fprintf(sum, "%q %d", d.id(whole[i]), d.listed[whole[i]].number)
					d.keys[whole[i]] = digest("unread", sum, size)
					return nil
				}
				if _, err := io.Copy(sum, answer); err != nil {
					return err
				}
				d.keys[whole[i]] = digest("message", sum, size)
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
