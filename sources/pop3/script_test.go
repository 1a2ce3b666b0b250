package pop3_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"postroom/internal/faultnet"
	"postroom/internal/poptest"
	"postroom/internal/secret"
	"postroom/sources"
	"postroom/sources/pop3"
)

var inbox = sources.Folder{ID: sources.Inbox, Path: sources.Inbox}

// misbehaving starts a server with messages and opens it as a source, unencrypted.
func misbehaving(t *testing.T, conduct poptest.Conduct, raws []string, change ...func(*pop3.Config)) (*poptest.Server, *pop3.Source) {
	t.Helper()
	server := start(t, poptest.Options{Plain: true, Conduct: conduct, Token: "t0ken"})
	for _, raw := range raws {
		server.Deliver([]byte(raw))
	}
	return server, source(t, server, change...)
}

func source(t *testing.T, server *poptest.Server, change ...func(*pop3.Config)) *pop3.Source {
	t.Helper()
	cfg := config(server)
	cfg.TLS, cfg.AllowPlaintext = "none", true
	// A busy machine is slow to answer, and not silent.
	cfg.Timeouts = pop3.Timeouts{Silence: 5 * time.Minute, Connect: 5 * time.Minute}
	for _, f := range change {
		f(&cfg)
	}
	return open(t, cfg)
}

// silence is how long a server may say nothing that falls silent after it has
// answered for a while.
const silence = 3 * time.Second

func background(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// letters are n messages of one size, without a field Received.
func letters(n int) []string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf("Subject: %03d\r\n\r\nbody %03d\r\n", i, i))
	}
	return all
}

func received(i int, body string) string {
	return fmt.Sprintf("Received: by mx.example.com id %d; Fri, 2 Jan 2026 03:04:05 +0000\r\nSubject: x\r\n\r\n%s\r\n", i, body)
}

func list(t *testing.T, s *pop3.Source, after sources.Cursor) ([]sources.Ref, sources.Cursor) {
	t.Helper()
	listing, err := s.List(background(t), inbox, after)
	if err != nil {
		t.Fatal(err)
	}
	refs, err := listing.Next(background(t), 1_000_000)
	if err != nil {
		t.Fatal(err)
	}
	return refs, listing.Cursor(nil)
}

func keys(refs []sources.Ref) []string {
	var all []string
	for _, ref := range refs {
		all = append(all, ref.Key)
	}
	return all
}

// outcome is what a Fetch delivered.
type outcome struct {
	body map[string]string
	err  map[string]error
}

// fetch fetches, and goes on over messages that cannot be read to their end.
func fetch(t *testing.T, s *pop3.Source, refs []sources.Ref) (outcome, error) {
	t.Helper()
	o := outcome{make(map[string]string), make(map[string]error)}
	err := s.Fetch(background(t), inbox, refs, func(ref sources.Ref, m *sources.Message) error {
		if _, twice := o.body[ref.Key]; twice || o.err[ref.Key] != nil {
			t.Errorf("%s is delivered twice", ref.Key)
		}
		if m.Err != nil {
			o.err[ref.Key] = m.Err
			return nil
		}
		raw, err := io.ReadAll(m.Body)
		if err != nil {
			o.err[ref.Key] = err
			return nil
		}
		o.body[ref.Key] = string(raw)
		return nil
	})
	return o, err
}

// all fetches everything there is, which must arrive as it is on the server.
func all(t *testing.T, server *poptest.Server, s *pop3.Source) []sources.Ref {
	t.Helper()
	refs, _ := list(t, s, "")
	got, err := fetch(t, s, refs)
	if err != nil {
		t.Fatal(err)
	}
	var bodies, want []string
	for _, ref := range refs {
		if got.err[ref.Key] != nil {
			t.Errorf("%s: %v", ref.Key, got.err[ref.Key])
		}
		bodies = append(bodies, got.body[ref.Key])
	}
	for _, m := range server.Messages() {
		want = append(want, string(m.Raw))
	}
	if !slices.Equal(bodies, want) {
		t.Errorf("got %.300q, want %.300q", bodies, want)
	}
	return refs
}

// settle deletes, and returns what was said of each key.
func settle(t *testing.T, s *pop3.Source, keys []string) (map[string]error, error) {
	t.Helper()
	told := make(map[string]error)
	err := s.Settle(background(t), inbox, keys, sources.Action{Verb: sources.Delete}, func(key string, err error) {
		if _, twice := told[key]; twice {
			t.Errorf("%s is settled twice", key)
		}
		told[key] = err
	})
	return told, err
}

func subjects(server *poptest.Server) string {
	var all []string
	for _, m := range server.Messages() {
		subject, _, _ := strings.Cut(string(m.Raw), "\r\n")
		all = append(all, strings.TrimPrefix(subject, "Subject: "))
	}
	return strings.Join(all, " ")
}

// pipelining are capabilities with which commands are sent together, and alone is
// everything else.
var alone = []string{"USER", "UIDL", "TOP", "RESP-CODES"}

// TestIdentity holds that a key means one message, whatever the server does with ids,
// and the same one in every session.
func TestIdentity(t *testing.T) {
	twins := append(letters(3), received(1, "a"), received(1, "a"), received(2, "a"), received(1, "bb"))
	for name, conduct := range map[string]poptest.Conduct{
		"ids":              {},
		"none":             {NoUIDL: true},
		"none, no TOP":     {NoUIDL: true, NoTOP: true},
		"none, alone":      {NoUIDL: true, Capabilities: alone[:1]},
		"all the same":     {ID: func(poptest.Message) string { return "same" }},
		"some missing":     {ID: func(m poptest.Message) string { return strings.TrimPrefix(m.ID, "id00000002") }},
		"long":             {ID: func(m poptest.Message) string { return strings.Repeat("x", 2000) + m.ID }},
		"spaces":           {ID: func(m poptest.Message) string { return "a \x01 b" + m.ID }},
		"slashes":          {ID: func(m poptest.Message) string { return m.ID + "/sha256:" }},
		"the id of others": {ID: func(m poptest.Message) string { return m.ID + "/" + fmt.Sprint(len(m.Raw)) }},
	} {
		t.Run(name, func(t *testing.T) {
			conduct.NoLock = true
			server, s := misbehaving(t, conduct, twins)
			first := all(t, server, s)
			distinct := make(map[string]bool)
			for _, ref := range first {
				distinct[ref.Key] = true
				if len(ref.Key) > 1000 || strings.ContainsFunc(ref.Key, func(r rune) bool { return r <= ' ' || r > '~' }) {
					t.Errorf("key %.100q", ref.Key)
				}
			}
			if len(distinct) != len(twins) {
				t.Fatalf("%d keys for %d messages: %q", len(distinct), len(twins), keys(first))
			}
			again, cursor := list(t, source(t, server), "")
			if !slices.Equal(keys(first), keys(again)) {
				t.Errorf("another session has %q, the first one %q", keys(again), keys(first))
			}
			if refs, _ := list(t, s, cursor); len(refs) != 0 {
				t.Errorf("the cursor does not cover %q", keys(refs))
			}
			// One is deleted: that one, and no other.
			if told, err := settle(t, s, keys(first)[1:2]); err != nil || len(told) != 1 || told[first[1].Key] != nil {
				t.Errorf("%v, %v", told, err)
			}
			if got := subjects(server); !strings.HasPrefix(got, "000 002 ") || len(server.Messages()) != len(twins)-1 {
				t.Errorf("left: %s", got)
			}
		})
	}
}

// A message that gets the id of one that was deleted, and has its size, is another.
func TestIDUsedAgain(t *testing.T) {
	lowest := func(server **poptest.Server) func(poptest.Message) string {
		return func(m poptest.Message) string {
			return fmt.Sprint(slices.IndexFunc((*server).Messages(), func(o poptest.Message) bool { return o.ID == m.ID }))
		}
	}
	var server *poptest.Server
	server, s := misbehaving(t, poptest.Conduct{}, letters(1))
	server.Behave(func(c *poptest.Conduct) { c.ID = lowest(&server) })
	first, cursor := list(t, s, "")
	if _, err := settle(t, s, keys(first)); err != nil {
		t.Fatal(err)
	}
	server.Deliver([]byte(letters(2)[1]))
	second, cursor := list(t, s, cursor)
	if len(second) != 1 || second[0].Key == first[0].Key || second[0].Key == "" {
		t.Fatalf("the second message is %q, the first was %q", keys(second), keys(first))
	}
	if third, _ := list(t, s, cursor); len(third) != 0 {
		t.Errorf("it is listed again as %q", keys(third))
	}
	got, err := fetch(t, s, second)
	if err != nil || got.body[second[0].Key] != letters(2)[1] {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := settle(t, s, keys(second)); err != nil || len(server.Messages()) != 0 {
		t.Errorf("%d left, %v", len(server.Messages()), err)
	}
}

// TestEndOfMessage: what looks like the end of a message is it only if the server
// goes on with an answer.
func TestEndOfMessage(t *testing.T) {
	raws := []string{
		".\r\n", "Subject: a\r\n\r\n.\r\nmore\r\n", "Subject: b\r\n\r\n.\r\n.\r\n.\r\n\r\n.\r\nmore\r\n",
		"Subject: c\r\n\r\n\n.\r\nafter a bare LF\r\n", "Subject: d\r\n\r\n\r.\r\n",
	}
	for name, conduct := range map[string]poptest.Conduct{
		"together":           {Undoubled: true},
		"alone":              {Undoubled: true, Capabilities: alone},
		"doubled":            {},
		"doubled, alone":     {Capabilities: alone},
		"wrong sizes":        {Undoubled: true, Size: func(m poptest.Message) int64 { return 1 }},
		"wrong sizes, alone": {Undoubled: true, Size: func(m poptest.Message) int64 { return 1 }, Capabilities: alone},
	} {
		t.Run(name, func(t *testing.T) {
			raws := raws
			if !conduct.Undoubled {
				raws = append(slices.Clone(raws), "Subject: d\r\n\r\n\r.\r\n.\r\r\n..\r\n...\r\n.x\r\n.")
			}
			server, s := misbehaving(t, conduct, raws)
			refs, _ := list(t, s, "")
			got, err := fetch(t, s, refs)
			if err != nil {
				t.Fatal(err)
			}
			for i, m := range server.Messages() {
				if want := string(ended(m.Raw)); got.body[refs[i].Key] != want {
					t.Errorf("message %d: %q, %v; want %q", i, got.body[refs[i].Key], got.err[refs[i].Key], want)
				}
			}
		})
	}
}

// A server that renumbers messages during a session hands out one for another. It
// is found out where commands go together, and else where sizes differ.
func TestRenumberedDuringSession(t *testing.T) {
	shift := func(n int) int { return n%5 + 1 }
	raws := letters(5)
	for i := range raws {
		raws[i] += strings.Repeat("x", i) + "\r\n"
	}
	for name, caps := range map[string][]string{"together": nil, "alone": alone} {
		t.Run(name, func(t *testing.T) {
			server, s := misbehaving(t, poptest.Conduct{Numbers: shift, Capabilities: caps}, raws)
			refs, _ := list(t, s, "")
			got, _ := fetch(t, s, refs)
			if len(got.body) > 0 {
				t.Errorf("handed over: %q", got.body)
			}
			server.Behave(func(c *poptest.Conduct) { c.Numbers = nil })
			all(t, server, s)
		})
	}
}

// A message that is cut is an error, however the connection ends, and costs no other.
func TestCutWithinMessage(t *testing.T) {
	for name, reply := range map[string]poptest.Reply{
		"in the status":  {Send: "+O", Close: true},
		"in the header":  {Send: "+OK\r\nSubject: 0", Close: true},
		"before the dot": {Send: "+OK\r\nSubject: 002\r\n\r\nbody 002\r\n", Close: true},
		"after the dot":  {Send: "+OK\r\nSubject: 002\r\n\r\nbody 002\r\n.", Close: true},
		"before its end": {Send: "+OK\r\nSubject: 002\r\n\r\nbody 002\r\n.\r", Close: true},
		"stall":          {Send: "+OK\r\nSubject: 002\r\n", Hang: true},
		"no answer":      {Close: true},
		"nonsense":       {Send: "WHAT\r\n"},
	} {
		for mode, caps := range map[string][]string{"together": nil, "alone": alone} {
			t.Run(name+", "+mode, func(t *testing.T) {
				bad := func(c poptest.Command) (poptest.Reply, bool) { return reply, c.Text == "RETR 3" }
				server, s := misbehaving(t, poptest.Conduct{Answer: bad, Capabilities: caps}, letters(5), func(c *pop3.Config) {
					if reply.Hang {
						c.Timeouts.Silence = silence
					}
				})
				refs, _ := list(t, s, "")
				got, err := fetch(t, s, refs)
				if err != nil {
					t.Fatal(err)
				}
				for i, m := range server.Messages() {
					key := refs[i].Key
					switch {
					case i == 2 && (got.err[key] == nil || sources.ClassOf(got.err[key]) != sources.Temporary):
						t.Errorf("the message that is cut: %q, %v", got.body[key], got.err[key])
					case i != 2 && got.body[key] != string(m.Raw):
						t.Errorf("message %d: %q, %v", i, got.body[key], got.err[key])
					}
				}
				// Of one message alone it is said that it cannot be had, too.
				if got, err := fetch(t, s, refs[2:3]); err != nil || got.err[refs[2].Key] == nil {
					t.Errorf("alone: %v, %v", got, err)
				}
			})
		}
	}
}

// The end of a connection within one message is not held against the next.
func TestCutIsNoFaultOfTheNext(t *testing.T) {
	stumble := once("RETR 4", poptest.Reply{Close: true})
	bad := func(c poptest.Command) (poptest.Reply, bool) {
		if c.Text == "RETR 2" || c.Text == "RETR 3" {
			return poptest.Reply{Send: "+OK\r\nSubject: 002\r\n", Close: true}, true
		}
		return stumble(c)
	}
	server, s := misbehaving(t, poptest.Conduct{Answer: bad, Capabilities: alone}, letters(5))
	refs, _ := list(t, s, "")
	got, err := fetch(t, s, refs)
	if err != nil || got.body[refs[3].Key] != string(server.Messages()[3].Raw) || got.err[refs[2].Key] == nil {
		t.Errorf("%v, %v", got, err)
	}
}

// A server that goes down at every message is to blame itself.
func TestServerDownAtEveryMessage(t *testing.T) {
	down := func(c poptest.Command) (poptest.Reply, bool) {
		return poptest.Reply{Close: true}, strings.HasPrefix(c.Text, "RETR")
	}
	_, s := misbehaving(t, poptest.Conduct{Answer: down}, letters(20))
	refs, _ := list(t, s, "")
	if got, err := fetch(t, s, refs); err == nil || len(got.err) > 0 {
		t.Errorf("%v, %v", got.err, err)
	}
}

// Slow is not silent.
func TestDrip(t *testing.T) {
	drip := func(c poptest.Command) (poptest.Reply, bool) {
		return poptest.Reply{Send: "+OK\r\nSubject: 000\r\n\r\nbody 000\r\n.\r\n", Drip: 100 * time.Millisecond}, c.Text == "RETR 1"
	}
	server, s := misbehaving(t, poptest.Conduct{Answer: drip}, letters(2), func(c *pop3.Config) {
		c.Timeouts.Silence = silence
	})
	all(t, server, s)
}

// TestRefusedMessages: what the server says of a message.
func TestRefusedMessages(t *testing.T) {
	for _, row := range []struct {
		answer string
		class  sources.Class
	}{
		{"-ERR no such luck", sources.Temporary},
		{"-ERR", sources.Temporary},
		{"-ERR [SYS/TEMP] disk", sources.Temporary},
		{"-ERR [sys/perm] damaged", sources.Permanent},
		{"-ERR [X-OTHER/WORSE] what", sources.Temporary},
	} {
		answer := func(c poptest.Command) (poptest.Reply, bool) {
			return poptest.Reply{Send: row.answer + "\r\n"}, c.Text == "RETR 2"
		}
		_, s := misbehaving(t, poptest.Conduct{Answer: answer}, letters(3))
		refs, _ := list(t, s, "")
		got, err := fetch(t, s, refs)
		if err != nil || len(got.body) != 2 || sources.ClassOf(got.err[refs[1].Key]) != row.class {
			t.Errorf("%s: %v, %v", row.answer, got, err)
		}
	}
	// If it is so with all of them, it is not theirs.
	answer := func(c poptest.Command) (poptest.Reply, bool) {
		return poptest.Reply{Send: "-ERR [SYS/TEMP] disk\r\n"}, strings.HasPrefix(c.Text, "RETR")
	}
	_, s := misbehaving(t, poptest.Conduct{Answer: answer}, letters(3))
	refs, _ := list(t, s, "")
	if got, err := fetch(t, s, refs); err == nil || len(got.err) > 0 {
		t.Errorf("%v, %v", got, err)
	}
}

// TestDeletions: they count when the server has confirmed the end of the session.
func TestDeletions(t *testing.T) {
	for _, row := range []struct {
		name    string
		conduct poptest.Conduct
		left    string
		settled []int // of five, of which the first four are to be deleted
		fails   bool
	}{
		{"confirmed", poptest.Conduct{}, "004", []int{0, 1, 2, 3}, false},
		{"alone", poptest.Conduct{Capabilities: alone}, "004", []int{0, 1, 2, 3}, false},
		{"deleted after the answer", poptest.Conduct{Late: 100 * time.Millisecond}, "004", []int{0, 1, 2, 3}, false},
		{"QUIT fails", poptest.Conduct{QuitFails: true}, "000 001 002 003 004", nil, false},
		{"QUIT fails in part", poptest.Conduct{QuitFails: true, KeepsFrom: 2}, "002 003 004", []int{0, 1}, false},
		{"a refused DELE", poptest.Conduct{Answer: func(c poptest.Command) (poptest.Reply, bool) {
			return poptest.Reply{Send: "-ERR no\r\n"}, c.Text == "DELE 2"
		}}, "001 004", []int{0, 2, 3}, false},
		{"cut before QUIT", poptest.Conduct{Answer: func(c poptest.Command) (poptest.Reply, bool) {
			return poptest.Reply{Close: true}, c.Text == "QUIT"
		}}, "000 001 002 003 004", nil, true},
		{"cut once before QUIT", poptest.Conduct{Answer: once("QUIT", poptest.Reply{Close: true})}, "004", []int{0, 1, 2, 3}, false},
		{"the answer to QUIT is lost", poptest.Conduct{Answer: once("QUIT", poptest.Reply{Obey: true, Close: true})}, "004", []int{0, 1, 2, 3}, false},
		{"cut at a DELE", poptest.Conduct{Answer: once("DELE 3", poptest.Reply{Close: true})}, "004", []int{0, 1, 2, 3}, false},
		{"QUIT is not answered", poptest.Conduct{Answer: func(c poptest.Command) (poptest.Reply, bool) {
			return poptest.Reply{Hang: true}, c.Text == "QUIT"
		}}, "000 001 002 003 004", nil, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			row.conduct.NoLock = true
			server, s := misbehaving(t, row.conduct, letters(5), func(c *pop3.Config) {
				if row.fails {
					c.Timeouts.Silence = silence
				}
			})
			refs, _ := list(t, s, "")
			told, err := settle(t, s, keys(refs[:4]))
			if (err != nil) != row.fails {
				t.Errorf("settle: %v", err)
			}
			if got := subjects(server); got != row.left {
				t.Errorf("left on the server: %s; want %s", got, row.left)
			}
			for i, ref := range refs {
				err, said := told[ref.Key]
				if want := slices.Contains(row.settled, i); (said && err == nil) != want {
					t.Errorf("message %d: settled %v, %v; want %v", i, said, err, want)
				}
				if said && err != nil && sources.RemedyOf(err) == "" && sources.ClassOf(err) != sources.Temporary {
					t.Errorf("message %d: %v", i, err)
				}
			}
		})
	}
}

// once is an answer to the first such command.
func once(text string, reply poptest.Reply) func(poptest.Command) (poptest.Reply, bool) {
	var asked atomic.Bool
	return func(c poptest.Command) (poptest.Reply, bool) {
		return reply, c.Text == text && !asked.Swap(true)
	}
}

// A server that confirms deletions and keeps the messages does not make the source
// delete them again and again.
func TestDeletionIgnored(t *testing.T) {
	server, s := misbehaving(t, poptest.Conduct{Ignores: true}, letters(3))
	refs, cursor := list(t, s, "")
	known := make(map[string]bool)
	for range 4 {
		var fresh []string
		for _, key := range keys(refs) {
			if !known[key] {
				fresh = append(fresh, key)
			}
			known[key] = true
		}
		if _, err := settle(t, s, fresh); err != nil {
			t.Fatal(err)
		}
		refs, cursor = list(t, s, cursor)
	}
	if len(known) != 6 || len(server.Messages()) != 3 {
		t.Errorf("%d keys for 3 messages that stay", len(known))
	}
}

// Nothing is deleted by listing, fetching, checking or closing.
func TestNothingIsDeletedUnasked(t *testing.T) {
	server, s := misbehaving(t, poptest.Conduct{}, letters(3))
	all(t, server, s)
	s.Probe(background(t), func(step sources.Step) {
		if step.Err != nil {
			t.Error(step.Name, step.Err)
		}
	})
	if err := s.Settle(background(t), inbox, []string{"x"}, sources.Action{Verb: sources.Move, Target: "x"}, func(string, error) {}); sources.ClassOf(err) != sources.Permanent {
		t.Errorf("move: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	for _, c := range server.Commands() {
		if strings.HasPrefix(c.Text, "DELE") {
			t.Errorf("sent %s", c.Text)
		}
	}
}

// TestSignIn holds the ways of signing in, and what is said when it fails.
func TestSignIn(t *testing.T) {
	refuse := func(command, answer string) func(poptest.Command) (poptest.Reply, bool) {
		return func(c poptest.Command) (poptest.Reply, bool) {
			return poptest.Reply{Send: answer + "\r\n"}, strings.HasPrefix(c.Text, command)
		}
	}
	token := func(t string) func(*pop3.Config) {
		return func(c *pop3.Config) {
			c.Password, c.TLS = secret.Value{}, "starttls"
			c.Tokens = &tokens{give: []string{t}}
		}
	}
	nothing := func(*pop3.Config) {}
	for _, row := range []struct {
		name    string
		conduct poptest.Conduct
		change  func(*pop3.Config)
		sent    string // a command that must have been sent
		class   sources.Class
		fails   string // a part of the error or the remedy; empty for success
	}{
		{"PLAIN", poptest.Conduct{}, nothing, "AUTH PLAIN AHVzZXIAc2VjcmV0", 0, ""},
		{"USER", poptest.Conduct{Capabilities: alone}, nothing, "PASS secret", 0, ""},
		{"no CAPA", poptest.Conduct{NoCAPA: true}, nothing, "PASS secret", 0, ""},
		{"XOAUTH2", poptest.Conduct{Capabilities: []string{"SASL XOAUTH2"}}, token("t0ken"), "AUTH XOAUTH2 ", 0, ""},
		{"OAUTHBEARER", poptest.Conduct{Capabilities: []string{"SASL OAUTHBEARER"}}, token("t0ken"), "AUTH OAUTHBEARER ", 0, ""},
		{"a bad token", poptest.Conduct{Capabilities: []string{"SASL XOAUTH2"}}, token("MARKER"), "AUTH XOAUTH2 ", sources.SignIn, "401"},
		{"a bad token, OAUTHBEARER", poptest.Conduct{Capabilities: []string{"SASL OAUTHBEARER"}}, token("MARKER"), "AUTH OAUTHBEARER ", sources.SignIn, "401"},
		{"a long token", poptest.Conduct{Capabilities: []string{"SASL XOAUTH2"}}, token("MARKER" + strings.Repeat("x", 2000)), "AUTH XOAUTH2", sources.SignIn, "401"},
		{"no token wanted", poptest.Conduct{Capabilities: alone}, token("MARKER"), "CAPA", sources.Permanent, "XOAUTH2"},
		{"no password wanted", poptest.Conduct{Capabilities: []string{"SASL XOAUTH2"}}, nothing, "CAPA", sources.Permanent, "use tls"},
		{"a password with a line break", poptest.Conduct{}, func(c *pop3.Config) { c.Password = secret.New("MARKER\r\nDELE 1") }, "CAPA", sources.Permanent, "line break"},
		{"[AUTH]", poptest.Conduct{Answer: refuse("AUTH", "-ERR [AUTH] no")}, nothing, "AUTH", sources.SignIn, "password"},
		{"no code", poptest.Conduct{Answer: refuse("AUTH", "-ERR no")}, nothing, "AUTH", sources.SignIn, "password"},
		{"no code, locked", poptest.Conduct{Answer: refuse("AUTH", "-ERR Unable to lock maildrop")}, nothing, "AUTH", sources.Throttled, "another program"},
		{"no code, a locked account", poptest.Conduct{Answer: refuse("AUTH", "-ERR Your account is locked")}, nothing, "AUTH", sources.SignIn, "password"},
		{"no code, not now", poptest.Conduct{Answer: refuse("AUTH", "-ERR Temporary failure")}, nothing, "AUTH", sources.Temporary, "Temporary failure"},
		{"[IN-USE]", poptest.Conduct{Answer: refuse("AUTH", "-ERR [IN-USE] x")}, nothing, "AUTH", sources.Throttled, "another program"},
		{"[LOGIN-DELAY]", poptest.Conduct{Answer: refuse("AUTH", "-ERR [LOGIN-DELAY] x"), Capabilities: []string{"SASL PLAIN", "LOGIN-DELAY 900"}},
			nothing, "AUTH", sources.Throttled, "15m0s"},
		{"[SYS/TEMP]", poptest.Conduct{Answer: refuse("AUTH", "-ERR [SYS/TEMP] x")}, nothing, "AUTH", sources.Temporary, "out of order"},
		{"[SYS/PERM]", poptest.Conduct{Answer: refuse("AUTH", "-ERR [SYS/PERM] x")}, nothing, "AUTH", sources.Permanent, "administrator"},
		{"it repeats the password", poptest.Conduct{Answer: refuse("AUTH", "-ERR AHVzZXIATUFSS0VS is user MARKER")},
			func(c *pop3.Config) { c.Password = secret.New("MARKER") }, "AUTH", sources.SignIn, "***"},
		{"greeting", poptest.Conduct{Greeting: "-ERR [SYS/TEMP] come back later"}, nothing, "", sources.Temporary, "come back later"},
		{"IMAP", poptest.Conduct{Greeting: "* OK IMAP"}, nothing, "", sources.Permanent, "type: imap"},
		{"SMTP", poptest.Conduct{Greeting: "220 SMTP"}, nothing, "", sources.Permanent, "995"},
		{"silence", poptest.Conduct{Greeting: "none"}, func(c *pop3.Config) { c.Timeouts.Silence = time.Second }, "", sources.Temporary, "does not speak first"},
		{"the token cannot be had", poptest.Conduct{}, func(c *pop3.Config) {
			c.TLS = "starttls"
			c.Tokens = &tokens{fails: sources.Errorf(sources.Permission, "no token today")}
		}, "", sources.Permission, "no token today"},
	} {
		t.Run(row.name, func(t *testing.T) {
			server, s := misbehaving(t, row.conduct, letters(1), row.change)
			_, err := s.Folders(background(t))
			if row.fails == "" && err != nil || row.fails != "" && err == nil {
				t.Fatalf("sign in: %v", err)
			}
			if err != nil {
				said := err.Error() + " // " + sources.RemedyOf(err)
				if sources.ClassOf(err) != row.class || !strings.Contains(said, row.fails) || !strings.Contains(said, server.Addr()) && !strings.Contains(said, "no token") {
					t.Errorf("%v: %s; want %v: %s", sources.ClassOf(err), said, row.class, row.fails)
				}
				if strings.Contains(said, "MARKER") || strings.Contains(said, "TUFSS0VS") {
					t.Errorf("a secret is in the error: %s", said)
				}
				if until := sources.UntilOf(err); row.class == sources.Throttled && time.Until(until) < 20*time.Second {
					t.Errorf("throttled until %v", until)
				}
			}
			if row.sent != "" && !slices.ContainsFunc(server.Commands(), func(c poptest.Command) bool { return strings.HasPrefix(c.Text, row.sent) }) {
				t.Errorf("%q was not sent", row.sent)
			}
		})
	}
}

// TestSTLS: nothing that came before TLS is taken for what came after, and without
// TLS nothing is said.
func TestSTLS(t *testing.T) {
	encrypted := func(c *pop3.Config) { c.TLS, c.AllowPlaintext = "starttls", false }
	for _, row := range []struct {
		name    string
		conduct poptest.Conduct
		fails   string
	}{
		{"good", poptest.Conduct{}, ""},
		{"injected", poptest.Conduct{Injected: "+OK\r\nUSER\r\n.\r\n"}, "between its consent and TLS"},
		{"refused", poptest.Conduct{Answer: once("STLS", poptest.Reply{Send: "-ERR no\r\n"})}, "refuses STLS"},
		{"no TLS", poptest.Conduct{Answer: once("STLS", poptest.Reply{Send: "+OK\r\n+OK really\r\n", Hang: true})}, "start TLS"},
	} {
		t.Run(row.name, func(t *testing.T) {
			server, s := misbehaving(t, row.conduct, letters(1), encrypted)
			_, err := s.Folders(background(t))
			if row.fails == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if said := fmt.Sprint(err, sources.RemedyOf(err)); !strings.Contains(said, row.fails) || sources.ClassOf(err) != sources.Permanent {
				t.Errorf("%v: %s", sources.ClassOf(err), said)
			}
			for _, c := range server.Commands() {
				if c.Text != "STLS" {
					t.Errorf("sent unencrypted: %s", c.Text)
				}
			}
		})
	}
	// A server that is not trusted is told nothing.
	server, s := misbehaving(t, poptest.Conduct{}, nil, encrypted, func(c *pop3.Config) { c.CAFile = "" })
	if _, err := s.Folders(background(t)); sources.ClassOf(err) != sources.Permanent || !strings.Contains(sources.RemedyOf(err), "ca_file") {
		t.Errorf("an unknown authority: %v", err)
	}
	for _, c := range server.Commands() {
		if c.Text != "STLS" {
			t.Errorf("sent to a server that is not trusted: %s", c.Text)
		}
	}
	if _, err := pop3.Open(pop3.Config{Options: pop3.Options{Server: "x", TLS: "none"}}); err == nil {
		t.Error("no encryption, though that is not permitted")
	}
	if _, err := pop3.Open(pop3.Config{Options: pop3.Options{Server: "x", TLS: "none", AllowPlaintext: true}, Tokens: &tokens{give: []string{"t0ken"}}}); err == nil {
		t.Error("a token is sent unencrypted")
	}
}

// TestLock: a session does not keep others from the maildrop for longer than it must.
func TestLock(t *testing.T) {
	server, s := misbehaving(t, poptest.Conduct{}, letters(3))
	_, cursor := list(t, s, "")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = source(t, server)
	other := source(t, server)
	if refs, _ := list(t, s, cursor); len(refs) != 0 {
		t.Fatal(refs)
	}
	// With nothing new, nobody waits.
	if _, err := other.List(background(t), inbox, ""); err != nil {
		t.Errorf("beside a source that has nothing to do: %v", err)
	}
	if _, err := s.List(background(t), inbox, ""); sources.ClassOf(err) != sources.Throttled {
		t.Errorf("beside one that has listed messages: %v", err)
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	// A session that was cut keeps its lock until the server has noticed.
	list(t, s, "")
	server.Drop()
	all(t, server, s)
}

// A server that allows few sign-ins is asked with one for each poll, the first too.
func TestLoginDelay(t *testing.T) {
	server, s := misbehaving(t, poptest.Conduct{Capabilities: append([]string{"LOGIN-DELAY 60"}, alone...)}, letters(3))
	if _, err := s.Folders(background(t)); err != nil {
		t.Fatal(err)
	}
	all(t, server, s)
	n := 0
	for _, c := range server.Commands() {
		if c.Text == "PASS secret" {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d sign-ins", n)
	}
}

// TestTrips counts round trips.
func TestTrips(t *testing.T) {
	server := start(t, poptest.Options{Plain: true})
	for _, raw := range letters(1000) {
		server.Deliver([]byte(raw))
	}
	proxy := throughProxy(t, server.Addr())
	s := source(t, server, func(c *pop3.Config) { c.Server = proxy.Addr() })
	trips := func(do func()) int {
		before := proxy.Stats().Trips
		do()
		return proxy.Stats().Trips - before
	}
	if _, err := s.Folders(background(t)); err != nil {
		t.Fatal(err)
	}
	var cursor sources.Cursor
	var refs []sources.Ref
	list(t, s, "") // ends the session of Folders
	// CAPA, AUTH, CAPA, LIST with UIDL; the first is QUIT of the session before.
	if n := trips(func() { refs, cursor = list(t, s, "") }); n > 5 {
		t.Errorf("%d round trips for a listing", n)
	}
	if n := trips(func() {
		if got, err := fetch(t, s, refs[:256]); err != nil || len(got.body) != 256 {
			t.Error(len(got.body), err)
		}
	}); n > 256/32 {
		t.Errorf("%d round trips for 256 messages", n)
	}
	list(t, s, cursor)
	if n := trips(func() { list(t, s, cursor) }); n > 5 {
		t.Errorf("%d round trips for a poll with nothing new", n)
	}
	if n := trips(func() {
		if _, err := settle(t, s, keys(refs[:256])); err != nil {
			t.Error(err)
		}
	}); n > 4+256/32 {
		t.Errorf("%d round trips to delete 256 messages", n)
	}
}

// TestManyMessages polls a maildrop of 100,000 messages that stay there.
func TestManyMessages(t *testing.T) {
	server := start(t, poptest.Options{Plain: true})
	const n = 100_000
	for i := range n {
		server.Deliver(fmt.Appendf(nil, "Subject: %d\r\n\r\n", i))
	}
	s := source(t, server)
	refs, cursor := list(t, s, "")
	if len(refs) != n || len(cursor) > 16<<10 {
		t.Fatalf("%d listed, a cursor of %d bytes", len(refs), len(cursor))
	}
	if again, same := list(t, s, cursor); len(again) != 0 || same != cursor {
		t.Errorf("%d listed again", len(again))
	}
	server.Remove(500)
	server.Deliver([]byte("Subject: new\r\n\r\n"))
	next, cursor := list(t, s, cursor)
	if len(next) > n/200 {
		t.Errorf("%d listed, one is new", len(next))
	}
	known := make(map[string]bool, n)
	for _, ref := range refs {
		known[ref.Key] = true
	}
	fresh := slices.DeleteFunc(keys(next), func(key string) bool { return known[key] })
	if len(fresh) != 1 {
		t.Errorf("%d are new, want 1", len(fresh))
	}
	if again, _ := list(t, s, cursor); len(again) != 0 {
		t.Errorf("then %d listed again", len(again))
	}
	// A listing that is not taken to its end covers what was taken.
	listing, err := s.List(background(t), inbox, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := listing.Next(background(t), 3000); err != nil {
		t.Fatal(err)
	}
	if rest, _ := list(t, s, listing.Cursor(nil)); len(rest) < n-3000 {
		t.Errorf("%d listed after 3000 of %d", len(rest), n)
	}
}

// TestWireFaults: whatever the network does, each message arrives as it is, and is
// deleted when it has.
func TestWireFaults(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			server := start(t, poptest.Options{Plain: true, Conduct: poptest.Conduct{NoLock: true}})
			want := make(map[string]bool)
			for i := range 60 {
				raw := fmt.Sprintf("Subject: %d\r\n\r\n", i) + strings.Repeat(fmt.Sprintf(".line %d\r\n", i), 8*i)
				want[raw] = true
				server.Deliver([]byte(raw))
			}
			proxy := throughProxy(t, server.Addr())
			faults := faultnet.Random(seed)
			proxy.Use(func(n int) faultnet.Conduct {
				if n > 12 {
					return faultnet.Conduct{}
				}
				return faults(n)
			})
			s := source(t, server, func(c *pop3.Config) {
				c.Server = proxy.Addr()
				c.Timeouts.Silence = 300 * time.Millisecond
			})
			got := make(map[string]bool)
			for polls := 0; polls < 400 && len(server.Messages()) > 0; polls++ {
				listing, err := s.List(background(t), inbox, "")
				if err != nil {
					continue
				}
				refs, err := listing.Next(background(t), 25)
				if err != nil {
					t.Fatal(err)
				}
				var filed []string
				// An error is one of the network, and says nothing of what has arrived.
				_ = s.Fetch(background(t), inbox, refs, func(ref sources.Ref, m *sources.Message) error {
					if m.Err != nil {
						if sources.ClassOf(m.Err) != sources.Temporary {
							t.Errorf("%s: %v", ref.Key, m.Err)
						}
						return nil
					}
					raw, err := io.ReadAll(m.Body)
					if err != nil {
						return err
					}
					if !want[string(raw)] {
						return errors.Join(errors.New("altered"), stop(t, "a message of %d bytes was never sent", len(raw)))
					}
					got[string(raw)] = true
					filed = append(filed, ref.Key)
					return nil
				})
				_, _ = settle(t, s, filed)
				for _, m := range server.Messages() {
					delete(want, string(m.Raw))
				}
				for raw := range want {
					if !got[raw] {
						t.Fatalf("a message of %d bytes is gone, and never arrived", len(raw))
					}
				}
				for _, m := range server.Messages() {
					want[string(m.Raw)] = true
				}
			}
			if n := len(server.Messages()); n > 0 {
				t.Errorf("%d messages left", n)
			}
		})
	}
}

func stop(t *testing.T, format string, args ...any) error {
	t.Errorf(format, args...)
	return nil
}
