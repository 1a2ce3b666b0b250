package imap_test

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"postroom/internal/dovecot"
	"postroom/internal/imaptest"
	"postroom/internal/secret"
	"postroom/sources"
	"postroom/sources/imap"
)

// withoutMove are the capabilities of a server that can move only by COPY.
const withoutMove = "IMAP4rev1 LITERAL+ UIDPLUS ESEARCH UNSELECT"

var toFiled = sources.Action{Verb: sources.Move, Target: "Filed"}

// loser passes connections on to an IMAP server, and loses its answers to one
// command.
type loser struct {
	listener net.Listener
	server   string
	running  sync.WaitGroup

	mu sync.Mutex
	// command is what the command begins with, "" to lose none.
	command string
	conns   map[net.Conn]bool
	lost    int
}

func startLoser(t *testing.T, server string) *loser {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &loser{listener: listener, server: server, conns: make(map[net.Conn]bool)}
	l.running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			l.running.Go(func() { l.pass(conn) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		l.mu.Lock()
		for conn := range l.conns {
			conn.Close()
		}
		l.mu.Unlock()
		l.running.Wait()
	})
	return l
}

// lose sets the command, and returns how many answers have been lost.
func (l *loser) lose(command string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.command = command
	return l.lost
}

func (l *loser) pass(near net.Conn) {
	defer near.Close()
	far, err := net.Dial("tcp", l.server)
	if err != nil {
		return
	}
	defer far.Close()
	l.mu.Lock()
	l.conns[near], l.conns[far] = true, true
	l.mu.Unlock()
	// awaited is the tag of the command whose answer is lost.
	var awaited atomic.Value
	var both sync.WaitGroup
	both.Go(func() {
		defer far.Close()
		lines := bufio.NewReader(near)
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				return
			}
			tag, text, _ := strings.Cut(line, " ")
			l.mu.Lock()
			if l.command != "" && strings.HasPrefix(text, l.command) {
				awaited.CompareAndSwap(nil, tag)
			}
			l.mu.Unlock()
			if _, err := io.WriteString(far, line); err != nil {
				return
			}
		}
	})
	both.Go(func() {
		defer near.Close()
		lines := bufio.NewReader(far)
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				return
			}
			if tag := awaited.Load(); tag != nil {
				if strings.HasPrefix(line, tag.(string)+" ") {
					l.mu.Lock()
					l.lost++
					l.mu.Unlock()
					return
				}
				continue
			}
			if _, err := io.WriteString(near, line); err != nil {
				return
			}
		}
	})
	both.Wait()
}

// keysOf returns the keys of all messages of the inbox.
func keysOf(t *testing.T, s *imap.Source) []string {
	t.Helper()
	listing, err := s.List(background(t), inbox, "")
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for {
		page, err := listing.Next(background(t), 1000)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			return keys
		}
		for _, ref := range page {
			keys = append(keys, ref.Key)
		}
	}
}

// Whatever answer of a move is lost, and however often, each message is in the
// target once in the end, and those that others have marked as deleted are left
// alone unless they are to be moved, and moved then.
func TestLostAnswersOfMove(t *testing.T) {
	for _, row := range []struct {
		name, capability string
		commands         []string
	}{
		{"copy", withoutMove, []string{"UID COPY", "UID STORE", "UID EXPUNGE", "UID FETCH", "EXAMINE", "SELECT", "UID SEARCH"}},
		{"copy without ESEARCH", "IMAP4rev1 UIDPLUS", []string{"UID COPY", "UID EXPUNGE"}},
		{"move", "", []string{"UID MOVE", "SELECT"}},
	} {
		users := make(map[string]string)
		for i := range 2 * len(row.commands) {
			users[fmt.Sprint("user", i)] = "secret"
		}
		server := dovecot.Start(t, dovecot.Options{Capability: row.capability, Users: users})
		for i, command := range row.commands {
			for j, restart := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%s/restart=%v", row.name, command, restart), func(t *testing.T) {
					user := fmt.Sprint("user", 2*i+j)
					start := time.Now().Add(-time.Hour).Truncate(time.Second)
					var raws []string
					for i := range 12 {
						raws = append(raws, fmt.Sprintf("Subject: %02d\r\n\r\nbody\r\n", i))
					}
					const twin = "Subject: twin\r\n\r\nbody\r\n"
					raws = append(raws, twin, twin)
					for i, raw := range raws {
						// The twins are alike in everything, and some have one date.
						at := start.Add(time.Duration(min(i, 8)) * time.Second)
						if err := server.Deliver(user, "INBOX", []byte(raw), at, false); err != nil {
							t.Fatal(err)
						}
					}
					if err := server.CreateFolder(user, "Filed"); err != nil {
						t.Fatal(err)
					}
					// The first two are not to be moved.
					if err := server.MarkDeleted(user, "INBOX", 1, 2, 3, 11); err != nil {
						t.Fatal(err)
					}
					lossy := startLoser(t, server.IMAP())
					connect := func() *imap.Source {
						return open(t, imap.Config{
							Options: imap.Options{Server: lossy.listener.Addr().String(), TLS: "none", AllowPlaintext: true, Connections: 1},
							Name:    "test", Username: user, Password: secret.New("secret"),
						})
					}
					s := connect()
					keys := keysOf(t, s)[2:]
					lossy.lose(command)
					for range 3 {
						// Nothing depends on whether this try succeeds.
						if _, err := settle(t, s, toFiled, keys...); err == nil {
							t.Logf("succeeds without an answer to %s", command)
						}
						if restart {
							if err := s.Close(); err != nil {
								t.Fatal(err)
							}
							s = connect()
						}
					}
					if n := lossy.lose(""); n == 0 {
						t.Fatalf("no answer to %s was lost", command)
					}
					told, err := settle(t, s, toFiled, keys...)
					if err != nil || len(told) != len(keys) {
						t.Fatalf("in the end: %d of %d settled, %v", len(told), len(keys), err)
					}
					for key, err := range told {
						if err != nil {
							t.Errorf("%s: %v", key, err)
						}
					}
					left, err := server.Snapshot(user, "INBOX")
					if err != nil {
						t.Fatal(err)
					}
					if len(left) != 2 || !left[0].Deleted || !left[1].Deleted {
						t.Errorf("%d messages left, want the 2 that somebody else has marked: %v", len(left), left)
					}
					filed, err := server.Snapshot(user, "Filed")
					if err != nil {
						t.Fatal(err)
					}
					count := make(map[string]int)
					for _, m := range filed {
						count[string(m.Raw)]++
						if m.Deleted {
							t.Errorf("marked as deleted in the target: %q", m.Raw)
						}
					}
					for i, raw := range raws[2:12] {
						if count[raw] != 1 {
							t.Errorf("message %d is %d times in the target", i+2, count[raw])
						}
					}
					if count[twin] != 2 {
						t.Errorf("%d of the two twins in the target", count[twin])
					}
					if len(filed) != len(keys) {
						t.Errorf("%d messages in the target, want %d", len(filed), len(keys))
					}
				})
			}
		}
	}
}

// same are messages that differ in their text only: the same date, size and
// header.
func same(n int) []imaptest.ScriptMessage {
	var messages []imaptest.ScriptMessage
	for i := range n {
		messages = append(messages, imaptest.ScriptMessage{UID: uint32(i + 1), Raw: fmt.Sprintf("Subject: x\r\n\r\nbody %d\r\n", i)})
	}
	return messages
}

func raws(messages []imaptest.ScriptMessage) string {
	var b strings.Builder
	for _, m := range messages {
		fmt.Fprintf(&b, "%d ", strings.Count(m.Raw, "")-1)
		_, body, _ := strings.Cut(m.Raw, "\r\n\r\n")
		b.WriteString(strings.TrimSpace(body) + "; ")
	}
	return b.String()
}

// What is like a message of the target, and not the same, is copied.
func TestMoveOfMessageLikeAnother(t *testing.T) {
	messages := same(4)
	target := messages[2:3]
	server, s := scripted(t, imaptest.Script{Capabilities: "IMAP4rev1 UIDPLUS", Messages: messages[:2],
		Folders: map[string][]imaptest.ScriptMessage{"Filed": target}})
	told, err := settle(t, s, toFiled, "7/1", "7/2")
	if err != nil || len(told) != 2 || cmp.Or(told["7/1"], told["7/2"]) != nil {
		t.Fatalf("%v, %v", told, err)
	}
	if got := server.Messages("Filed"); len(got) != 3 {
		t.Errorf("in the target: %s; want 3", raws(got))
	}
	if left := server.Messages("INBOX"); len(left) != 0 {
		t.Errorf("left: %s", raws(left))
	}
}

// Of two messages that nothing tells apart, one of which is in the target, one is
// copied.
func TestMoveOfTwinsHalfDone(t *testing.T) {
	twins := []imaptest.ScriptMessage{{UID: 1, Raw: "Subject: x\r\n\r\nx\r\n"}, {UID: 2, Raw: "Subject: x\r\n\r\nx\r\n"}}
	server, s := scripted(t, imaptest.Script{Capabilities: "IMAP4rev1 UIDPLUS", Messages: twins,
		Folders: map[string][]imaptest.ScriptMessage{"Filed": {{UID: 5, Raw: twins[0].Raw}}}})
	told, err := settle(t, s, toFiled, "7/1", "7/2")
	if err != nil || len(told) != 2 || cmp.Or(told["7/1"], told["7/2"]) != nil {
		t.Fatalf("%v, %v", told, err)
	}
	if got := server.Messages("Filed"); len(got) != 2 {
		t.Errorf("in the target: %s; want 2", raws(got))
	}
	if left := server.Messages("INBOX"); len(left) != 0 {
		t.Errorf("left: %s", raws(left))
	}
}

// A message that the answer to COPY does not name is not removed.
func TestOnlyWhatWasCopiedIsRemoved(t *testing.T) {
	server, s := scripted(t, imaptest.Script{Capabilities: "IMAP4rev1 UIDPLUS", Messages: five(), Answer: func(c imaptest.Command) (imaptest.Reply, bool) {
		return imaptest.Reply{Send: "TAG OK [COPYUID 7 1,3 10,11] done\r\n"}, strings.HasPrefix(c.Text, "UID COPY")
	}})
	told, err := settle(t, s, toFiled, "7/1", "7/2", "7/3")
	if err != nil || len(told) != 3 || cmp.Or(told["7/1"], told["7/3"]) != nil || told["7/2"] == nil {
		t.Errorf("%v, %v; want an error for message 2", told, err)
	}
	if left := server.Messages("INBOX"); len(left) != 3 || left[0].UID != 2 || left[0].Deleted {
		t.Errorf("left: %v; want messages 2, 4 and 5", left)
	}
}

// A message about which the server tells nothing is not copied blindly.
func TestMessageThatIsNotDescribedIsNotMoved(t *testing.T) {
	messages := five()
	server, s := scripted(t, imaptest.Script{Capabilities: "IMAP4rev1 UIDPLUS", Messages: messages, Answer: func(c imaptest.Command) (imaptest.Reply, bool) {
		return imaptest.Reply{Send: fmt.Sprintf("* 1 FETCH (UID 1 RFC822.SIZE %d INTERNALDATE \"17-Jul-2026 02:44:25 +0000\" FLAGS ())\r\n"+
			"* 2 FETCH (UID 2 FLAGS ())\r\nTAG OK done\r\n", len(messages[0].Raw))}, strings.HasPrefix(c.Text, "UID FETCH 1:3")
	}})
	told, err := settle(t, s, toFiled, "7/1", "7/2", "7/3", "7/9")
	if err != nil || len(told) != 4 || cmp.Or(told["7/1"], told["7/9"]) != nil || told["7/2"] == nil || told["7/3"] == nil {
		t.Errorf("%v, %v; want errors for messages 2 and 3", told, err)
	}
	if got := server.Messages("Filed"); len(got) != 1 {
		t.Errorf("in the target: %v", got)
	}
	if left := server.Messages("INBOX"); len(left) != 4 {
		t.Errorf("left: %v", left)
	}
}

// The folder is renumbered while the target is looked at: nothing is touched.
func TestRenumberedDuringMove(t *testing.T) {
	var server *imaptest.ScriptServer
	started := make(chan struct{})
	server, s := scripted(t, imaptest.Script{Capabilities: "IMAP4rev1 UIDPLUS", Messages: five(), Answer: func(c imaptest.Command) (imaptest.Reply, bool) {
		<-started
		if strings.HasPrefix(c.Text, "EXAMINE") && strings.Contains(c.Text, "Filed") {
			server.Change(func(s *imaptest.Script) { s.UIDValidity = 8 })
		}
		return imaptest.Reply{}, false
	}})
	close(started)
	told, err := settle(t, s, toFiled, "7/1", "7/2")
	if sources.ClassOf(err) != sources.Temporary || len(told) != 0 {
		t.Errorf("%v, %v; want an error of the whole", told, err)
	}
	for _, text := range texts(server) {
		for _, name := range []string{"UID COPY", "UID STORE", "UID EXPUNGE"} {
			if strings.HasPrefix(text, name) {
				t.Errorf("sent %s", text)
			}
		}
	}
	if told, err := settle(t, s, toFiled, "7/1", "8/2"); err != nil || len(told) != 2 || cmp.Or(told["7/1"], told["8/2"]) != nil {
		t.Errorf("then: %v, %v", told, err)
	}
	if left := server.Messages("INBOX"); len(left) != 4 {
		t.Errorf("left: %v", left)
	}
}

// A target that cannot be looked into is an error of the whole at once, and the
// folder is as it was.
func TestTargetThatCannotBeRead(t *testing.T) {
	for _, command := range []string{"EXAMINE", "UID SEARCH", "UID FETCH"} {
		opened := false
		server, s := scripted(t, imaptest.Script{Capabilities: "IMAP4rev1 UIDPLUS", Messages: five(),
			Folders: map[string][]imaptest.ScriptMessage{"Filed": five()},
			Answer: func(c imaptest.Command) (imaptest.Reply, bool) {
				if strings.HasPrefix(c.Text, "LIST") && strings.Contains(c.Text, "Filed") {
					return imaptest.Reply{Send: "* LIST () \"/\" Filed\r\n", Obey: true}, true
				}
				opened = opened || strings.Contains(c.Text, "Filed")
				return imaptest.Reply{Send: "TAG NO it is what it is\r\n"}, opened && strings.HasPrefix(c.Text, command)
			}})
		told, err := settle(t, s, toFiled, "7/1", "7/2", "7/3", "7/4")
		if err == nil || len(told) != 0 {
			t.Errorf("%s refused: %v, %v", command, told, err)
		}
		if n := len(server.Commands()); n > 20 {
			t.Errorf("%s refused: %d commands", command, n)
		}
		if left := server.Messages("INBOX"); len(left) != 5 {
			t.Errorf("%s refused: %d messages left of 5", command, len(left))
		}
	}
}

// One message of many that cannot be copied leaves the others' keys as they are.
func TestOneMessageThatCannotBeCopied(t *testing.T) {
	server, s := scripted(t, imaptest.Script{Capabilities: "IMAP4rev1 UIDPLUS", Messages: same(5), Answer: func(c imaptest.Command) (imaptest.Reply, bool) {
		if strings.HasPrefix(c.Text, "LIST") && strings.Contains(c.Text, "Filed") {
			return imaptest.Reply{Send: "* LIST () \"/\" Filed\r\n", Obey: true}, true
		}
		return imaptest.Reply{Send: "TAG NO not that one\r\n"}, strings.HasPrefix(c.Text, "UID COPY") && contains(strings.Fields(c.Text)[2], 3)
	}})
	told, err := settle(t, s, toFiled, "7/1", "7/2", "7/3", "7/4", "7/5")
	if err != nil || len(told) != 5 || told["7/3"] == nil {
		t.Errorf("%v, %v; want an error for message 3", told, err)
	}
	for key, err := range told {
		if err != nil && key != "7/3" {
			t.Errorf("%s: %v", key, err)
		}
	}
	if got := server.Messages("Filed"); len(got) != 4 {
		t.Errorf("in the target: %s; want 4", raws(got))
	}
}

// A server that ends the connection after it has copied, every time, is asked to
// copy once.
func TestCopyOnce(t *testing.T) {
	server, s := scripted(t, imaptest.Script{Capabilities: "IMAP4rev1 UIDPLUS", Messages: same(3), Answer: func(c imaptest.Command) (imaptest.Reply, bool) {
		return imaptest.Reply{Obey: true, Close: true}, strings.HasPrefix(c.Text, "UID COPY")
	}})
	if _, err := settle(t, s, toFiled, "7/1", "7/2", "7/3"); err == nil {
		t.Fatal("the answer to COPY is lost, and there is no error")
	}
	told, err := settle(t, s, toFiled, "7/1", "7/2", "7/3")
	if err != nil || len(told) != 3 {
		t.Fatalf("then: %v, %v", told, err)
	}
	if got := server.Messages("Filed"); len(got) != 3 {
		t.Errorf("in the target: %s; want 3", raws(got))
	}
	if left := server.Messages("INBOX"); len(left) != 0 {
		t.Errorf("left: %s", raws(left))
	}
}

// Round trips of a move, 500 messages at a time.
func TestRoundTripsOfMove(t *testing.T) {
	const messages = 1000
	for _, row := range []struct {
		name, capability string
		most             int
	}{
		// Sign-in, separator, selection, and for each 500: the move.
		{"MOVE", "", 3 + 2},
		// Sign-in in two (no SASL-IR), separator, selection, and for each 500: what
		// the messages are, the target, what is there that somebody else has put
		// there, the folder again, COPY, removal, what is left. Of what has been
		// copied before nothing is asked again.
		{"COPY", withoutMove, 4 + 2*7},
	} {
		t.Run(row.name, func(t *testing.T) {
			server := dovecot.Start(t, dovecot.Options{Capability: row.capability})
			deliverMany(t, server, messages)
			if err := server.Deliver("user", "Filed", []byte("Subject: other\r\n\r\n"), time.Now().Add(-time.Hour), false); err != nil {
				t.Fatal(err)
			}
			_, lister := counted(t, server.IMAP())
			keys := keysOf(t, lister)
			proxy, s := counted(t, server.IMAP())
			n := trips(proxy, func() {
				told, err := settle(t, s, toFiled, keys...)
				if err != nil || len(told) != messages {
					t.Fatalf("%d settled, %v", len(told), err)
				}
			})
			if n > row.most {
				t.Errorf("%d round trips for %d messages, want at most %d", n, messages, row.most)
			}
			t.Logf("%d round trips", n)
			filed, err := server.Snapshot("user", "Filed")
			if err != nil || len(filed) != messages+1 {
				t.Errorf("%d messages in the target, %v", len(filed), err)
			}
		})
	}
}

// A message of many megabytes is compared without reading it all.
func TestMoveOfLargeMessageAfterLostAnswer(t *testing.T) {
	const size = 8 << 20
	server := dovecot.Start(t, dovecot.Options{Capability: withoutMove})
	raw := []byte("Subject: large\r\n\r\n" + strings.Repeat(strings.Repeat("x", 62)+"\r\n", size/64))
	if err := server.Deliver("user", "INBOX", raw, time.Now().Add(-time.Hour), false); err != nil {
		t.Fatal(err)
	}
	// As if the answer to COPY had been lost.
	err := server.Do("user", func(client *imapclient.Client) error {
		if err := client.Create("Filed", nil).Wait(); err != nil {
			return err
		}
		if _, err := client.Select("INBOX", nil).Wait(); err != nil {
			return err
		}
		_, err := client.Copy(goimap.SeqSetNum(1), "Filed").Wait()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	proxy, s := counted(t, server.IMAP())
	keys := keysOf(t, s)
	before := proxy.Stats().Down
	told, err := settle(t, s, toFiled, keys...)
	if err != nil || len(told) != 1 || told[keys[0]] != nil {
		t.Fatalf("%v, %v", told, err)
	}
	if n := proxy.Stats().Down - before; n > 1<<20 {
		t.Errorf("%d bytes read", n)
	}
	filed, err := server.Snapshot("user", "Filed")
	left, leftErr := server.Snapshot("user", "INBOX")
	if errors.Join(err, leftErr) != nil || len(filed) != 1 || len(left) != 0 {
		t.Errorf("%d messages in the target, %d left, %v", len(filed), len(left), errors.Join(err, leftErr))
	}
}

// Another connection creates the folder between the refusal and CREATE.
func TestTargetIsCreatedByAnother(t *testing.T) {
	for _, path := range []string{"Filed", "Filed/2026"} {
		for _, refusal := range []string{"NO [ALREADYEXISTS] Mailbox already exists", "NO Cannot do that"} {
			t.Run(path+" "+refusal, func(t *testing.T) {
				var there atomic.Bool
				server, s := scripted(t, imaptest.Script{Messages: five(), Answer: func(c imaptest.Command) (imaptest.Reply, bool) {
					switch {
					case strings.HasPrefix(c.Text, "UID MOVE") && !there.Load():
						return imaptest.Reply{Send: "TAG NO [TRYCREATE] no such folder\r\n"}, true
					case strings.HasPrefix(c.Text, "CREATE"):
						there.Store(true)
						return imaptest.Reply{Send: "TAG " + refusal + "\r\n"}, true
					case strings.HasPrefix(c.Text, "LIST") && strings.Contains(c.Text, "Filed") && there.Load():
						return imaptest.Reply{Send: "* LIST () \"/\" " + path + "\r\nTAG OK done\r\n"}, true
					}
					return imaptest.Reply{}, false
				}})
				told, err := settle(t, s, sources.Action{Verb: sources.Move, Target: path}, "7/1", "7/2")
				if err != nil || len(told) != 2 || cmp.Or(told["7/1"], told["7/2"]) != nil {
					t.Errorf("%v, %v", told, err)
				}
				if moved := server.Messages(path); len(moved) != 2 {
					t.Errorf("in the target: %s; want 2", raws(moved))
				}
			})
		}
	}
}
