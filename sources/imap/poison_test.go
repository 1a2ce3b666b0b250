package imap_test

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"

	"postroom/internal/imaptest"
	"postroom/sources"
	"postroom/sources/imap"
)

// many returns messages with the UIDs 1 to n.
func many(n uint32) []imaptest.ScriptMessage {
	var messages []imaptest.ScriptMessage
	for uid := uint32(1); uid <= n; uid++ {
		messages = append(messages, imaptest.ScriptMessage{UID: uid, Raw: fmt.Sprintf("Subject: %d\r\n\r\nbody %d\r\n", uid, uid)})
	}
	return messages
}

// crasher answers commands for bodies, and ends the connection at the messages
// that bring it down.
type crasher struct {
	messages []imaptest.ScriptMessage
	poisoned []uint32
	// loses is that what was sent before the end is lost with it.
	loses bool

	mu          sync.Mutex
	connections int
}

func (c *crasher) answer(command imaptest.Command) (imaptest.Reply, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.connections = max(c.connections, command.Connection)
	if !strings.Contains(command.Text, "BODY.PEEK[]") {
		return imaptest.Reply{}, false
	}
	_, set, _ := strings.Cut(command.Text, "FETCH ")
	set, _, _ = strings.Cut(set, " ")
	var out strings.Builder
	for i, m := range c.messages {
		switch {
		case !contains(set, m.UID):
		case slices.Contains(c.poisoned, m.UID) && c.loses:
			return imaptest.Reply{Close: true}, true
		case slices.Contains(c.poisoned, m.UID):
			return imaptest.Reply{Send: out.String(), Close: true}, true
		default:
			fmt.Fprintf(&out, "* %d FETCH (UID %d RFC822.SIZE %d BODY[] {%d}\r\n%s)\r\n", i+1, m.UID, len(m.Raw), len(m.Raw), m.Raw)
		}
	}
	return imaptest.Reply{Send: out.String() + "TAG OK done\r\n"}, true
}

// A message that brings the server down whenever it is asked for is delivered
// with an error of its own, and its neighbours whole, wherever it stands and
// whether or not the server had sent them before it went down.
func TestMessageThatBringsTheServerDown(t *testing.T) {
	messages := many(256)
	for _, row := range []struct {
		name     string
		poisoned []uint32
		loses    bool
		most     int // connections
	}{
		{"first", []uint32{1}, false, 5},
		{"in the middle", []uint32{100}, false, 5},
		{"last", []uint32{256}, false, 5},
		{"two", []uint32{70, 200}, false, 9},
		{"two neighbours", []uint32{70, 71}, false, 14},
		{"first, output lost", []uint32{1}, true, 5},
		{"in the middle, output lost", []uint32{100}, true, 14},
		{"last, output lost", []uint32{256}, true, 14},
	} {
		for _, connections := range []int{1, 2} {
			t.Run(fmt.Sprintf("%s, %d connections", row.name, connections), func(t *testing.T) {
				server := &crasher{messages: messages, poisoned: row.poisoned, loses: row.loses}
				_, s := scripted(t, imaptest.Script{Messages: messages, Answer: server.answer}, withConnections(connections))
				o, err := fetch(t, s, refs(messages))
				if err != nil {
					t.Fatal(err)
				}
				for _, m := range messages {
					key := fmt.Sprintf("7/%d", m.UID)
					if slices.Contains(row.poisoned, m.UID) {
						if err := o.err[key]; sources.ClassOf(err) != sources.Temporary || !errors.Is(err, io.ErrUnexpectedEOF) ||
							!strings.Contains(fmt.Sprint(err), "message "+key) || sources.RemedyOf(err) == "" {
							t.Errorf("message %s: %q, %v; want an error of its own", key, o.body[key], err)
						}
					} else if o.body[key] != m.Raw {
						t.Errorf("message %s: %q, %v", key, o.body[key], o.err[key])
					}
				}
				if o.calls != len(messages) {
					t.Errorf("deliver was called %d times for %d messages", o.calls, len(messages))
				}
				if most := row.most + connections; server.connections > most {
					t.Errorf("%d connections, want at most %d", server.connections, most)
				}
			})
		}
	}
}

// Asked for by itself, the message is told from an outage by the connection that
// can be made anew.
func TestMessageThatBringsTheServerDownAlone(t *testing.T) {
	messages := five()
	server := &crasher{messages: messages, poisoned: []uint32{3}}
	_, s := scripted(t, imaptest.Script{Messages: messages, Answer: server.answer})
	o, err := fetch(t, s, refs(messages)[2:3])
	if err != nil || o.err["7/3"] == nil || o.calls != 1 {
		t.Errorf("%v for the call, %v for the message; want an error for the message", err, o.err["7/3"])
	}
	// It is known now, and costs one connection a try.
	before := server.connections
	if o, err = fetch(t, s, refs(messages)); err != nil || len(o.body) != 4 || o.err["7/3"] == nil {
		t.Errorf("then: %d messages, %v, %v", len(o.body), o.err, err)
	}
	if made := server.connections - before; made > 1 {
		t.Errorf("%d connections were made for a message known to bring the server down, want 1", made)
	}
}

// A server that goes down at every message is in trouble itself: no message is
// blamed for it.
func TestServerThatGoesDownAtEveryMessage(t *testing.T) {
	messages := many(256)
	server := &crasher{messages: messages}
	for _, m := range messages {
		server.poisoned = append(server.poisoned, m.UID)
	}
	_, s := scripted(t, imaptest.Script{Messages: messages, Answer: server.answer})
	o, err := fetch(t, s, refs(messages))
	if sources.ClassOf(err) != sources.Temporary || !errors.Is(err, io.ErrUnexpectedEOF) || o.calls != 0 {
		t.Errorf("%v, and %d messages blamed; want an error of the call only", err, len(o.err))
	}
	if server.connections > 17 {
		t.Errorf("%d connections", server.connections)
	}
}

// Nor when it does so from some message on.
func TestServerThatGoesDownAndStaysFragile(t *testing.T) {
	messages := many(256)
	server := &crasher{messages: messages}
	for _, m := range messages[20:] {
		server.poisoned = append(server.poisoned, m.UID)
	}
	_, s := scripted(t, imaptest.Script{Messages: messages, Answer: server.answer})
	o, err := fetch(t, s, refs(messages))
	if err == nil || len(o.body) != 20 || len(o.err) != 0 {
		t.Errorf("%v, %d messages, and %d blamed; want an error of the call only", err, len(o.body), len(o.err))
	}
}

// Neither is a message to blame when no connection can be made any more.
func TestServerThatStaysDown(t *testing.T) {
	messages := five()
	server := &crasher{messages: messages, poisoned: []uint32{3}}
	_, s := scripted(t, imaptest.Script{Messages: messages, Answer: func(c imaptest.Command) (imaptest.Reply, bool) {
		if c.Connection > 1 {
			return imaptest.Reply{Close: true}, true
		}
		return server.answer(c)
	}})
	o, err := fetch(t, s, refs(messages))
	if err == nil || len(o.err) != 0 || len(o.body) != 2 {
		t.Errorf("%v, %d messages, %v; want an error of the call only", err, len(o.body), o.err)
	}
}

// A message that the server cannot describe, or not as it should, holds up no
// listing.
func TestMessageThatCannotBeDescribed(t *testing.T) {
	for _, row := range []struct {
		name  string
		reply imaptest.Reply
	}{
		{"the connection ends", imaptest.Reply{Close: true}},
		{"a flag that cannot be read", imaptest.Reply{Send: "* 3 FETCH (UID 3 FLAGS (a]b))\r\nTAG OK done\r\n"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			messages := five()
			connections := 0
			_, s := scripted(t, imaptest.Script{Messages: messages, Answer: func(c imaptest.Command) (imaptest.Reply, bool) {
				connections = max(connections, c.Connection)
				return row.reply, strings.HasPrefix(c.Text, "UID FETCH") && !strings.Contains(c.Text, "BODY") && contains(strings.Fields(c.Text)[2], 3)
			}})
			listing, err := s.List(background(t), inbox, "")
			if err != nil {
				t.Fatal(err)
			}
			page, err := listing.Next(background(t), 100)
			if err != nil || len(page) != len(messages) {
				t.Fatal(page, err)
			}
			if o, err := fetch(t, s, page); err != nil || len(o.body) != len(messages) {
				t.Errorf("%d messages, %v, %v", len(o.body), o.err, err)
			}
			if connections > 3 {
				t.Errorf("%d connections, want at most 3", connections)
			}
		})
	}
}

// An outage is one for a listing, too: nothing is listed without what the server
// could tell of it.
func TestListingInAnOutage(t *testing.T) {
	_, s := scripted(t, imaptest.Script{Messages: five(), Answer: func(c imaptest.Command) (imaptest.Reply, bool) {
		return imaptest.Reply{Close: true}, c.Connection > 1 || strings.HasPrefix(c.Text, "UID FETCH")
	}})
	listing, err := s.List(background(t), inbox, "")
	if err != nil {
		t.Fatal(err)
	}
	if page, err := listing.Next(background(t), 100); err == nil || sources.ClassOf(err) != sources.Temporary {
		t.Errorf("%v, %v; want a temporary error", page, err)
	}
}

// A connection that has died unnoticed since the last poll is no reason for a
// disposition to fail, nor for a message to be blamed.
func TestSelectedFolderOnADeadConnection(t *testing.T) {
	messages := five()
	server, s := scripted(t, imaptest.Script{Messages: messages}, func(c *imap.Config) { c.Timeouts.Trust = 1 })
	for range 3 {
		told, err := settle(t, s, sources.Action{Verb: sources.MarkRead}, "7/1", "7/2")
		if err != nil || len(told) != 2 || told["7/1"] != nil {
			t.Errorf("settled %v, %v", told, err)
		}
		server.Drop()
		if o, err := fetch(t, s, refs(messages)); err != nil || len(o.body) != len(messages) {
			t.Errorf("fetched %d, %v, %v", len(o.body), o.err, err)
		}
		server.Drop()
	}
}
