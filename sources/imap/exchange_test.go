package imap_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"postroom/internal/faultnet"
	"postroom/internal/imaptest"
	"postroom/sources"
	"postroom/sources/imap"
)

// texts returns what clients have sent, without tags.
func texts(server *imaptest.ScriptServer) []string {
	var all []string
	for _, c := range server.Commands() {
		all = append(all, c.Text)
	}
	return all
}

// Exchange throttles any command, in words, and ends the connection.
func TestThrottledInAnyCommand(t *testing.T) {
	const words = "TAG BAD Request is throttled. Suggested Backoff Time: 90000 milliseconds\r\n"
	for _, command := range []string{"AUTHENTICATE", "LOGIN", "EXAMINE", "SELECT", "UID SEARCH", "UID FETCH", "UID STORE", "UID MOVE"} {
		for _, ends := range []bool{false, true} {
			capabilities := "IMAP4rev1 UIDPLUS MOVE"
			if command == "AUTHENTICATE" {
				capabilities += " AUTH=PLAIN"
			}
			messages := five()
			_, s := scripted(t, imaptest.Script{Capabilities: capabilities, Messages: messages, Answer: func(c imaptest.Command) (imaptest.Reply, bool) {
				return imaptest.Reply{Send: words, Close: ends}, strings.HasPrefix(c.Text, command)
			}})
			var err error
			switch command {
			case "UID FETCH":
				_, err = fetch(t, s, refs(messages))
			case "SELECT", "UID STORE":
				_, err = settle(t, s, sources.Action{Verb: sources.MarkRead}, "7/1")
			case "UID MOVE":
				_, err = settle(t, s, sources.Action{Verb: sources.Move, Target: "Filed"}, "7/1")
			default:
				_, err = s.List(background(t), inbox, "")
			}
			until := time.Until(sources.UntilOf(err))
			if sources.ClassOf(err) != sources.Throttled || until < 80*time.Second || until > 91*time.Second {
				t.Errorf("%s, connection ends: %v: class %v, again in %v: %v", command, ends, sources.ClassOf(err), until, err)
			}
		}
	}
}

// The capabilities before sign-in are not those after it.
func TestCapabilitiesAfterSignInCount(t *testing.T) {
	for _, row := range []struct {
		before, after string
		move, extends bool
	}{
		{"IMAP4rev1 AUTH=PLAIN SASL-IR", "IMAP4rev1 UIDPLUS MOVE ESEARCH", true, true},
		{"IMAP4rev1 AUTH=PLAIN MOVE ESEARCH", "IMAP4rev1 UIDPLUS", false, false},
	} {
		var mu sync.Mutex
		signedIn := false
		server, s := scripted(t, imaptest.Script{Messages: five(), Answer: func(c imaptest.Command) (imaptest.Reply, bool) {
			mu.Lock()
			defer mu.Unlock()
			if strings.HasPrefix(c.Text, "AUTHENTICATE") {
				signedIn = true
			}
			announced := row.before
			if signedIn {
				announced = row.after
			}
			return imaptest.Reply{Send: "* CAPABILITY " + announced + "\r\nTAG OK done\r\n"}, c.Text == "CAPABILITY"
		}})
		if _, err := s.List(background(t), inbox, ""); err != nil {
			t.Fatal(err)
		}
		if told, err := settle(t, s, sources.Action{Verb: sources.Move, Target: "Filed"}, "7/1"); err != nil || told["7/1"] != nil {
			t.Fatal(told, err)
		}
		sent := texts(server)
		moved := slices.Contains(sent, `UID MOVE 1 "Filed"`) || slices.Contains(sent, "UID MOVE 1 Filed")
		extended := slices.ContainsFunc(sent, func(c string) bool { return strings.HasPrefix(c, "UID SEARCH RETURN") })
		if moved != row.move || extended != row.extends {
			t.Errorf("%s, then %s: sent %q", row.before, row.after, sent)
		}
	}
}

// What a server lacks is done without, or refused before anything is changed.
func TestDispositionsByCapability(t *testing.T) {
	for _, row := range []struct {
		capabilities string
		verb         sources.Verb
		allowed      bool
		sends        []string // beginnings of the commands that change something, in order
	}{
		{"IMAP4rev1 UIDPLUS MOVE", sources.Move, true, []string{"UID STORE", "UID MOVE"}},
		{"IMAP4rev1 MOVE", sources.Move, true, []string{"UID STORE", "UID MOVE"}},
		{"IMAP4rev1 UIDPLUS", sources.Move, true, []string{"UID STORE", "UID COPY", "UID STORE", "UID EXPUNGE"}},
		{"IMAP4rev1", sources.Move, false, nil},
		{"IMAP4rev1 UIDPLUS", sources.Delete, true, []string{"UID STORE", "UID EXPUNGE"}},
		{"IMAP4rev1 MOVE", sources.Delete, false, nil},
		{"IMAP4rev1", sources.Delete, false, nil},
		{"IMAP4rev1", sources.MarkRead, true, []string{"UID STORE"}},
	} {
		server, s := scripted(t, imaptest.Script{Capabilities: row.capabilities, Messages: five()})
		told, err := settle(t, s, sources.Action{Verb: row.verb, Target: "Filed"}, "7/1", "7/2")
		if row.allowed && (err != nil || len(told) != 2 || told["7/1"] != nil) {
			t.Errorf("%s with %s: %v, %v", row.verb, row.capabilities, told, err)
		}
		if !row.allowed && (sources.ClassOf(err) != sources.Permanent || sources.RemedyOf(err) == "" || len(told) != 0) {
			t.Errorf("%s with %s: %v, %v", row.verb, row.capabilities, told, err)
		}
		var sent []string
		for _, c := range texts(server) {
			for _, name := range []string{"UID MOVE", "UID COPY", "UID STORE", "UID EXPUNGE", "EXPUNGE", "CLOSE", "CREATE"} {
				if strings.HasPrefix(c, name) {
					sent = append(sent, name)
				}
			}
		}
		if !slices.Equal(sent, row.sends) {
			t.Errorf("%s with %s: sends %q, want %q", row.verb, row.capabilities, sent, row.sends)
		}
	}
}

// Office 365 lists messages that it does not deliver until much later. They are
// told apart from those that are gone, and delivered in the end.
func TestListedAndDeliveredLater(t *testing.T) {
	messages := five()
	server, s := scripted(t, imaptest.Script{Messages: messages, Answer: answerBodies(messages, 3, "")})
	listing, err := s.List(background(t), inbox, "")
	if err != nil {
		t.Fatal(err)
	}
	page, err := listing.Next(background(t), 100)
	if err != nil || len(page) != 5 {
		t.Fatal(page, err)
	}
	for range 3 {
		o, err := fetch(t, s, page)
		if _, delivered := o.body["7/3"]; err != nil || delivered || o.err["7/3"] != nil || len(o.body) != 4 {
			t.Fatalf("while it is withheld: %v, %v, %v", o.body, o.err, err)
		}
	}
	// A cursor that is to list it again does.
	again, err := s.List(background(t), inbox, listing.Cursor([]string{"7/3"}))
	if err != nil {
		t.Fatal(err)
	}
	if page, err = again.Next(background(t), 100); err != nil || len(page) != 1 || page[0].Key != "7/3" {
		t.Fatalf("listed again: %v, %v; want message 3", page, err)
	}
	server.Change(func(script *imaptest.Script) { script.Answer = nil })
	if o, err := fetch(t, s, page); err != nil || o.body["7/3"] != messages[2].Raw {
		t.Errorf("in the end: %v, %v", o.err, err)
	}
}

// Folder names that are strange and yet readable do no harm.
func TestStrangeFolderNames(t *testing.T) {
	for _, row := range []struct{ line, path string }{
		{`* LIST () "/" "Größe"`, "Größe"},
		{"* LIST () \"/\" {3}\r\na]b", "a]b"},
		{`* LIST () "/" "a]b"`, "a]b"},
		{`* LIST () NIL Flat`, "Flat"},
		{`* LIST () "." "A.B"`, "A/B"},
		{`* LIST (\HasNoChildren \X-Vendor) "/" Sub`, "Sub"},
	} {
		_, s := scripted(t, imaptest.Script{Answer: func(c imaptest.Command) (imaptest.Reply, bool) {
			return imaptest.Reply{Send: row.line + "\r\nTAG OK done\r\n"}, c.Text == `LIST "" "*"`
		}}, func(c *imap.Config) { c.Folders = []string{"**"} })
		folders, err := s.Folders(background(t))
		if err != nil || len(folders) != 1 || folders[0].Path != row.path {
			t.Errorf("%s: %v, %v", row.line, folders, err)
		}
	}
}

// A name in bytes that are no text breaks the list, and says what to do.
func TestLatin1FolderName(t *testing.T) {
	_, s := scripted(t, imaptest.Script{Answer: func(c imaptest.Command) (imaptest.Reply, bool) {
		return imaptest.Reply{Send: "* LIST () \"/\" INBOX\r\n* LIST () \"/\" \"Gr\xf6\xdfe\"\r\nTAG OK done\r\n"}, c.Text == `LIST "" "*"`
	}}, func(c *imap.Config) { c.Folders = []string{"**"} })
	folders, err := s.Folders(background(t))
	if err != nil && (sources.ClassOf(err) != sources.Permanent || sources.RemedyOf(err) == "") {
		t.Errorf("%v, remedy %q", err, sources.RemedyOf(err))
	}
	if !slices.ContainsFunc(folders, func(f sources.Folder) bool { return f.Path == sources.Inbox }) {
		t.Errorf("folders before the broken one: %v", folders)
	}
}

// The server falls silent within a literal: the call ends, and delivers nothing
// as whole.
func TestSilenceWithinALiteral(t *testing.T) {
	messages := five()
	_, s := scripted(t, imaptest.Script{Messages: messages, Answer: func(c imaptest.Command) (imaptest.Reply, bool) {
		return imaptest.Reply{Send: "* 3 FETCH (UID 3 BODY[] {500}\r\nSubje", Hang: true}, strings.Contains(c.Text, "BODY.PEEK[]")
	}}, silent)
	o, err := fetch(t, s, refs(messages)[2:3])
	if sources.ClassOf(err) != sources.Temporary || errors.Is(err, context.DeadlineExceeded) || len(o.body) != 0 {
		t.Errorf("%v, %v", o.body, err)
	}
}

// A slow server is not a silent one, however long a message takes.
func TestSlowLiteralArrives(t *testing.T) {
	raw := "Subject: slow\r\n\r\n" + strings.Repeat("x", 300)
	messages := []imaptest.ScriptMessage{{UID: 1, Raw: raw}}
	server, err := imaptest.StartScript(imaptest.Script{Messages: messages})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	}()
	proxy := throughProxy(t, server.Addr())
	s := open(t, imap.Config{
		Options: imap.Options{Server: proxy.Addr(), TLS: "none", AllowPlaintext: true, Connections: 1},
		Name:    "test", Username: "user",
		Timeouts: imap.Timeouts{Silence: 3 * time.Second},
	})
	if _, err := s.List(background(t), inbox, ""); err != nil {
		t.Fatal(err)
	}
	proxy.Drop()
	proxy.Use(faultnet.Always(faultnet.Conduct{Down: faultnet.Line{Rate: 150}}))
	if o, err := fetch(t, s, refs(messages)); err != nil || o.body["7/1"] != raw {
		t.Errorf("%v, %v", o.err, err)
	}
}

// Many folders share one connection, which opens each once a poll.
func TestManyFoldersOnOneConnection(t *testing.T) {
	messages := five()
	const folders = 40
	script := imaptest.Script{Folders: make(map[string][]imaptest.ScriptMessage)}
	for i := range folders {
		script.Folders[fmt.Sprint("F", i)] = messages
	}
	server, s := scripted(t, script)
	var calls sync.WaitGroup
	for i := range folders {
		calls.Go(func() {
			folder := sources.Folder{ID: fmt.Sprint("F", i), Path: fmt.Sprint("F", i)}
			listing, err := s.List(background(t), folder, "")
			if err != nil {
				t.Error(err)
				return
			}
			page, err := listing.Next(background(t), 100)
			if err != nil || len(page) != len(messages) {
				t.Error(page, err)
				return
			}
			n := 0
			err = s.Fetch(background(t), folder, page, func(_ sources.Ref, m *sources.Message) error {
				if m.Err != nil {
					return m.Err
				}
				n++
				_, err := io.Copy(io.Discard, m.Body)
				return err
			})
			if err != nil || n != len(messages) {
				t.Errorf("%s: %d messages, %v", folder.Path, n, err)
			}
		})
	}
	calls.Wait()
	opened := make(map[string]bool)
	for _, c := range server.Commands() {
		if c.Connection != 1 {
			t.Fatalf("connection %d was made", c.Connection)
		}
		if name, ok := strings.CutPrefix(c.Text, "EXAMINE "); ok {
			opened[name] = true
		}
	}
	if len(opened) != folders {
		t.Errorf("%d folders were opened, want %d", len(opened), folders)
	}
}
