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

	"postroom/internal/imaptest"
	"postroom/internal/secret"
	"postroom/sources"
	"postroom/sources/imap"
)

var inbox = sources.Folder{ID: sources.Inbox, Path: sources.Inbox}

// scripted starts a scripted server, and opens it as a source.
func scripted(t *testing.T, script imaptest.Script, change ...func(*imap.Config)) (*imaptest.ScriptServer, *imap.Source) {
	t.Helper()
	server, err := imaptest.StartScript(script)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	cfg := imap.Config{
		Options: imap.Options{Server: server.Addr(), TLS: "none", AllowPlaintext: true, Connections: 1},
		Name:    "test", Username: "user", Password: secret.New("pa55word"),
		// A busy machine is slow to answer, and not silent.
		Timeouts: imap.Timeouts{Silence: 5 * time.Minute, Connect: 5 * time.Minute},
	}
	for _, f := range change {
		f(&cfg)
	}
	return server, open(t, cfg)
}

// silent is for a server that does not answer.
func silent(c *imap.Config) { c.Timeouts.Silence = time.Second }

func background(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// five are the messages 1 to 5.
func five() []imaptest.ScriptMessage {
	var messages []imaptest.ScriptMessage
	for uid := range uint32(5) {
		messages = append(messages, imaptest.ScriptMessage{UID: uid + 1, Raw: fmt.Sprintf("Subject: %d\r\n\r\nbody %d\r\n", uid+1, uid+1)})
	}
	return messages
}

func refs(messages []imaptest.ScriptMessage) []sources.Ref {
	var all []sources.Ref
	for _, m := range messages {
		all = append(all, sources.Ref{Key: fmt.Sprintf("7/%d", m.UID), Size: int64(len(m.Raw))})
	}
	return all
}

// outcome is what a Fetch delivered: the body, or the class of the error.
type outcome struct {
	mu    sync.Mutex
	body  map[string]string
	err   map[string]error
	calls int
}

func fetch(t *testing.T, s *imap.Source, wanted []sources.Ref) (*outcome, error) {
	t.Helper()
	o := &outcome{body: make(map[string]string), err: make(map[string]error)}
	err := s.Fetch(background(t), inbox, wanted, func(ref sources.Ref, m *sources.Message) error {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.calls++
		if m.Err != nil {
			o.err[ref.Key] = m.Err
			return nil
		}
		raw, err := io.ReadAll(m.Body)
		if err != nil {
			return err
		}
		o.body[ref.Key] = string(raw)
		return nil
	})
	return o, err
}

// answerBodies returns an Answer that replaces, in answers to FETCH of bodies,
// the line of one UID. A line is "" to leave the message out.
func answerBodies(messages []imaptest.ScriptMessage, uid uint32, line string) func(imaptest.Command) (imaptest.Reply, bool) {
	return func(c imaptest.Command) (imaptest.Reply, bool) {
		if !strings.Contains(c.Text, "BODY.PEEK[]") {
			return imaptest.Reply{}, false
		}
		_, set, _ := strings.Cut(c.Text, "FETCH ")
		set, _, _ = strings.Cut(set, " ")
		var out strings.Builder
		for i, m := range messages {
			if !contains(set, m.UID) {
				continue
			}
			if m.UID == uid {
				out.WriteString(line)
				continue
			}
			fmt.Fprintf(&out, "* %d FETCH (UID %d RFC822.SIZE %d BODY[] {%d}\r\n%s)\r\n", i+1, m.UID, len(m.Raw), len(m.Raw), m.Raw)
		}
		return imaptest.Reply{Send: out.String() + "TAG OK done\r\n"}, true
	}
}

func contains(set string, uid uint32) bool {
	for part := range strings.SplitSeq(set, ",") {
		var from, to uint32
		if n, _ := fmt.Sscanf(part, "%d:%d", &from, &to); n == 1 {
			to = from
		}
		if from <= uid && uid <= to {
			return true
		}
	}
	return false
}

// TestBadAnswerForOneMessage holds what servers have been seen to answer. The
// other messages arrive whatever it is.
func TestBadAnswerForOneMessage(t *testing.T) {
	withheld := func(t *testing.T, o *outcome) {
		if err := o.err["7/3"]; sources.ClassOf(err) != sources.Temporary || !strings.Contains(fmt.Sprint(err), "withholds") {
			t.Errorf("message 3: %q, %v; want an error that it is withheld", o.body["7/3"], err)
		}
	}
	unreadable := func(t *testing.T, o *outcome) {
		if err := o.err["7/3"]; sources.ClassOf(err) != sources.Temporary || !strings.Contains(fmt.Sprint(err), "cannot be read") {
			t.Errorf("message 3: %q, %v; want an error that it cannot be read", o.body["7/3"], err)
		}
	}
	undelivered := func(t *testing.T, o *outcome) {
		if body, ok := o.body["7/3"]; ok || o.err["7/3"] != nil {
			t.Errorf("message 3: %q, %v; want nothing", body, o.err["7/3"])
		}
	}
	whole := func(t *testing.T, o *outcome) {
		if o.body["7/3"] != "Subject: 3\r\n\r\nbody 3\r\n" {
			t.Errorf("message 3: %q, %v", o.body["7/3"], o.err["7/3"])
		}
	}
	for _, row := range []struct {
		name, line string
		check      func(*testing.T, *outcome)
	}{
		{"UID after the body", "* 3 FETCH (RFC822.SIZE 22 BODY[] {22}\r\nSubject: 3\r\n\r\nbody 3\r\n UID 3)\r\n", whole},
		{"no UID", "* 3 FETCH (RFC822.SIZE 22 BODY[] {22}\r\nSubject: 3\r\n\r\nbody 3\r\n)\r\n", whole},
		{"no FETCH line", "", undelivered},
		{"flags of the message first", "* 3 FETCH (UID 3 FLAGS (\\Seen))\r\n* 3 FETCH (UID 3 BODY[] {22}\r\nSubject: 3\r\n\r\nbody 3\r\n)\r\n", undelivered},
		{"BODY[] NIL", "* 3 FETCH (UID 3 RFC822.SIZE 22 BODY[] NIL)\r\n", withheld},
		{"BODY[] NIL and no size", "* 3 FETCH (UID 3 BODY[] NIL)\r\n", withheld},
		{"empty literal", "* 3 FETCH (UID 3 RFC822.SIZE 22 BODY[] {0}\r\n)\r\n", withheld},
		{"empty literal, size after it", "* 3 FETCH (UID 3 BODY[] {0}\r\n RFC822.SIZE 22)\r\n", withheld},
		{"empty string", "* 3 FETCH (UID 3 RFC822.SIZE 22 BODY[] \"\")\r\n", withheld},
		{"an empty message", "* 3 FETCH (UID 3 RFC822.SIZE 0 BODY[] {0}\r\n)\r\n", func(t *testing.T, o *outcome) {
			if body, ok := o.body["7/3"]; !ok || body != "" {
				t.Errorf("an empty message: delivered %v, %q, %v", ok, body, o.err["7/3"])
			}
		}},
		{"body as string", "* 3 FETCH (UID 3 BODY[] \"quoted\")\r\n", func(t *testing.T, o *outcome) {
			if o.body["7/3"] != "quoted" {
				t.Errorf("message 3: %q, %v", o.body["7/3"], o.err["7/3"])
			}
		}},
		{"twice", strings.Repeat("* 3 FETCH (UID 3 BODY[] {22}\r\nSubject: 3\r\n\r\nbody 3\r\n)\r\n", 2), whole},
		{"wrong size", "* 3 FETCH (UID 3 RFC822.SIZE 9999 BODY[] {22}\r\nSubject: 3\r\n\r\nbody 3\r\n)\r\n", whole},
		{"unknown item", "* 3 FETCH (UID 3 X-UNKNOWN 1 BODY[] {22}\r\nSubject: 3\r\n\r\nbody 3\r\n)\r\n", unreadable},
		{"RFC822 instead of BODY[]", "* 3 FETCH (UID 3 RFC822 {22}\r\nSubject: 3\r\n\r\nbody 3\r\n)\r\n", unreadable},
		{"bracket in a flag", "* 3 FETCH (UID 3 FLAGS (a]b) BODY[] {22}\r\nSubject: 3\r\n\r\nbody 3\r\n)\r\n", unreadable},
		{"space before the end", "* 3 FETCH (UID 3 BODY[] {22}\r\nSubject: 3\r\n\r\nbody 3\r\n )\r\n", whole},
		{"unknown response", "* XVENDOR 3\r\n", unreadable},
		{"VANISHED", "* VANISHED 3\r\n", unreadable},
		{"garbage", "\x00\xff\r\n", unreadable},
		{"size beyond all numbers", "* 3 FETCH (UID 3 BODY[] {99999999999999999999}\r\n", unreadable},
	} {
		t.Run(row.name, func(t *testing.T) {
			messages := five()
			_, s := scripted(t, imaptest.Script{Messages: messages, Answer: answerBodies(messages, 3, row.line)})
			o, err := fetch(t, s, refs(messages))
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range messages {
				if key := fmt.Sprintf("7/%d", m.UID); m.UID != 3 && o.body[key] != m.Raw {
					t.Errorf("message %d: %q, %v", m.UID, o.body[key], o.err[key])
				}
			}
			if o.calls > 5 {
				t.Errorf("deliver was called %d times for 5 messages", o.calls)
			}
			row.check(t, o)
			// The source works on.
			if o, err := fetch(t, s, refs(messages[:1])); err != nil || o.body["7/1"] != messages[0].Raw {
				t.Errorf("then: %q, %v", o.body["7/1"], err)
			}
		})
	}
}

// The connection ends five bytes into a literal, in good order. The IMAP client
// library alone takes this for the end of the message.
func TestCutLiteralIsNoMessage(t *testing.T) {
	messages := five()
	line := "* 3 FETCH (UID 3 RFC822.SIZE 500 BODY[] {500}\r\nSubje"
	_, s := scripted(t, imaptest.Script{Messages: messages, Answer: func(c imaptest.Command) (imaptest.Reply, bool) {
		if !strings.Contains(c.Text, "BODY.PEEK[]") {
			return imaptest.Reply{}, false
		}
		return imaptest.Reply{Send: line, Close: true}, true
	}})
	o, err := fetch(t, s, refs(messages)[2:3])
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("fetch returns %v, want an unexpected end", err)
	}
	if body, ok := o.body["7/3"]; ok {
		t.Errorf("delivered %q as a whole message", body)
	}
	if !strings.Contains(fmt.Sprint(err), "127.0.0.1:") {
		t.Errorf("error %v does not name the server", err)
	}
}

// A message over which the connection was lost before is fetched last, so that
// it holds up no other.
func TestCutMessageHoldsUpNoOther(t *testing.T) {
	messages := five()
	_, s := scripted(t, imaptest.Script{Messages: messages, Answer: func(c imaptest.Command) (imaptest.Reply, bool) {
		if !strings.Contains(c.Text, "BODY.PEEK[]") || !contains(strings.Fields(c.Text)[2], 1) {
			return imaptest.Reply{}, false
		}
		return imaptest.Reply{Send: "* 1 FETCH (UID 1 BODY[] {500}\r\nSubje", Close: true}, true
	}})
	if o, err := fetch(t, s, refs(messages)); err == nil || len(o.body) != 0 {
		t.Fatalf("first: %d messages, %v", len(o.body), err)
	}
	o, err := fetch(t, s, refs(messages))
	if err == nil {
		t.Error("then: no error for message 1")
	}
	if len(o.body) != 4 {
		t.Errorf("then: %d messages, want the 4 others", len(o.body))
	}
}

func TestGoneMessage(t *testing.T) {
	messages := five()
	_, s := scripted(t, imaptest.Script{Messages: messages[1:]})
	o, err := fetch(t, s, refs(messages))
	if err != nil || len(o.body) != 4 || sources.ClassOf(o.err["7/1"]) != sources.Gone {
		t.Errorf("%d messages, %v, %v", len(o.body), o.err["7/1"], err)
	}
}

func TestRefusedMessage(t *testing.T) {
	messages := five()
	_, s := scripted(t, imaptest.Script{Messages: messages, Answer: func(c imaptest.Command) (imaptest.Reply, bool) {
		_, set, _ := strings.Cut(c.Text, "FETCH ")
		set, _, _ = strings.Cut(set, " ")
		if !strings.Contains(c.Text, "BODY.PEEK[]") || !contains(set, 3) {
			return imaptest.Reply{}, false
		}
		return imaptest.Reply{Send: "TAG NO [SERVERBUG] cannot read message\r\n"}, true
	}})
	o, err := fetch(t, s, refs(messages))
	if err != nil {
		t.Fatal(err)
	}
	if len(o.body) != 4 || o.err["7/3"] == nil {
		t.Errorf("%d messages, %v", len(o.body), o.err)
	}
}

func TestHugeMessage(t *testing.T) {
	messages := five()
	_, s := scripted(t, imaptest.Script{Messages: messages, Answer: answerBodies(messages, 3, "* 3 FETCH (UID 3 BODY[] {4611686018427387904}\r\nSubject: 3\r\n")})
	o, err := fetch(t, s, refs(messages))
	if err != nil {
		t.Fatal(err)
	}
	if len(o.body) != 4 || sources.ClassOf(o.err["7/3"]) != sources.Permanent {
		t.Errorf("%d messages, %v", len(o.body), o.err["7/3"])
	}
}

func TestNoReplyAtAll(t *testing.T) {
	asked := make(chan struct{}, 10)
	script := imaptest.Script{Messages: five(), Answer: func(c imaptest.Command) (imaptest.Reply, bool) {
		hang := strings.HasPrefix(c.Text, "EXAMINE")
		if hang {
			asked <- struct{}{}
		}
		return imaptest.Reply{Hang: true}, hang
	}}
	_, s := scripted(t, script, silent)
	ctx := background(t)
	if _, err := s.List(ctx, inbox, ""); !strings.Contains(fmt.Sprint(err), "no answer") || ctx.Err() != nil {
		t.Errorf("error %v does not say that nothing came", err)
	}
	_, s = scripted(t, script)
	ctx, cancel := context.WithCancel(background(t))
	for len(asked) > 0 {
		<-asked
	}
	go func() {
		<-asked
		cancel()
	}()
	if _, err := s.List(ctx, inbox, ""); !errors.Is(err, context.Canceled) {
		t.Errorf("after its context has ended: %v", err)
	}
}

func TestEndlessAnswer(t *testing.T) {
	_, s := scripted(t, imaptest.Script{Messages: five(), Answer: func(c imaptest.Command) (imaptest.Reply, bool) {
		return imaptest.Reply{Send: "* OK " + strings.Repeat("x", 2<<20)}, strings.HasPrefix(c.Text, "EXAMINE")
	}}, func(c *imap.Config) { c.MaxAnswer = 1 << 20 })
	if _, err := s.List(background(t), inbox, ""); err == nil || !strings.Contains(err.Error(), "more than it was asked for") {
		t.Errorf("a line without an end: %v", err)
	}
}

func TestStatusClasses(t *testing.T) {
	for _, row := range []struct {
		answer string
		class  sources.Class
	}{
		{"NO [UNAVAILABLE] later", sources.Temporary},
		{"NO [INUSE] locked", sources.Temporary},
		{"NO [LIMIT] too many", sources.Temporary},
		{"NO [NOPERM] not yours", sources.Permission},
		{"NO [NONEXISTENT] no such mailbox", sources.NotFound},
		{"NO [CANNOT] never", sources.Permanent},
		{"NO it is what it is", sources.Temporary},
		{"BAD User is authenticated but not connected.", sources.Permission},
		{"BAD Request is throttled. Suggested Backoff Time: 90000 milliseconds", sources.Throttled},
		{"BAD what", sources.Temporary},
	} {
		_, s := scripted(t, imaptest.Script{Messages: five(), Answer: func(c imaptest.Command) (imaptest.Reply, bool) {
			return imaptest.Reply{Send: "TAG " + row.answer + "\r\n"}, strings.HasPrefix(c.Text, "EXAMINE")
		}})
		_, err := s.List(background(t), inbox, "")
		if got := sources.ClassOf(err); err == nil || got != row.class {
			t.Errorf("%s: class %v, want %v: %v", row.answer, got, row.class, err)
		}
		if until := time.Until(sources.UntilOf(err)); row.class == sources.Throttled && (until < 80*time.Second || until > 91*time.Second) {
			t.Errorf("%s: to be tried again in %v", row.answer, until)
		}
	}
}

func TestSignInRefusals(t *testing.T) {
	for _, row := range []struct {
		capabilities, answer string
		class                sources.Class
	}{
		{"IMAP4rev1 AUTH=PLAIN", "NO [AUTHENTICATIONFAILED] no", sources.SignIn},
		{"IMAP4rev1 AUTH=PLAIN SASL-IR", "NO Login failed for user pa55word", sources.SignIn},
		{"IMAP4rev1", "NO wrong", sources.SignIn},
		{"IMAP4rev1", "NO [EXPIRED] old", sources.SignIn},
		{"IMAP4rev1", "NO [UNAVAILABLE] later", sources.Temporary},
		{"IMAP4rev1", "NO [LIMIT] too many", sources.Temporary},
		{"IMAP4rev1", `BAD unknown command: LOGIN "user" "pa55word"`, sources.Temporary},
		{"IMAP4rev1 LOGINDISABLED AUTH=XOAUTH2", "", sources.Permanent},
		{"IMAP4rev1 LOGINDISABLED AUTH=PLAIN", "", 0},
	} {
		server, s := scripted(t, imaptest.Script{Capabilities: row.capabilities, Answer: func(c imaptest.Command) (imaptest.Reply, bool) {
			login := strings.HasPrefix(c.Text, "LOGIN") || c.Text == "AUTHENTICATE PLAIN" || strings.HasPrefix(c.Text, "AUTHENTICATE PLAIN ")
			return imaptest.Reply{Send: "TAG " + row.answer + "\r\n"}, login && row.answer != ""
		}})
		_, err := s.Folders(background(t))
		if row.class == 0 && row.answer == "" {
			if err != nil {
				t.Errorf("%s: %v", row.capabilities, err)
			}
			continue
		}
		if err == nil || sources.ClassOf(err) != row.class {
			t.Errorf("%s, %s: class %v, want %v: %v", row.capabilities, row.answer, sources.ClassOf(err), row.class, err)
		}
		if strings.Contains(fmt.Sprintf("%+v %s", err, sources.RemedyOf(err)), "pa55word") {
			t.Errorf("the password is in %v", err)
		}
		if strings.Contains(row.capabilities, "LOGINDISABLED") && slices.ContainsFunc(server.Commands(), func(c imaptest.Command) bool {
			return strings.HasPrefix(c.Text, "LOGIN ")
		}) {
			t.Error("a password was sent where the server forbids it")
		}
	}
}

func TestBrokenFolderNames(t *testing.T) {
	list := "* LIST () \"/\" INBOX\r\n* LIST () \"/\" \"R&D\"\r\n* LIST () \"/\" Sub\r\nTAG OK done\r\n"
	answer := func(c imaptest.Command) (imaptest.Reply, bool) {
		return imaptest.Reply{Send: list}, c.Text == `LIST "" "*"`
	}
	_, s := scripted(t, imaptest.Script{Answer: answer})
	if folders, err := s.Folders(background(t)); err != nil || len(folders) != 1 {
		t.Errorf("folders named in full: %v, %v", folders, err)
	}
	_, s = scripted(t, imaptest.Script{Answer: answer}, func(c *imap.Config) { c.Folders = []string{"*"} })
	folders, err := s.Folders(background(t))
	if sources.ClassOf(err) != sources.Permanent || !strings.Contains(sources.RemedyOf(err), "one by one") {
		t.Errorf("folders by wildcard: %v, remedy %q", err, sources.RemedyOf(err))
	}
	if len(folders) != 1 {
		t.Errorf("folders before the broken one: %v", folders)
	}
}

// TestLateUID is Gmail and Office 365: a UID turns up below the highest one.
func TestLateUID(t *testing.T) {
	for _, capabilities := range []string{"IMAP4rev1 ESEARCH", "IMAP4rev1"} {
		messages := five()
		server, s := scripted(t, imaptest.Script{Capabilities: capabilities, Messages: append(messages[:2:2], messages[3:]...)})
		listing, err := s.List(background(t), inbox, "")
		if err != nil {
			t.Fatal(err)
		}
		page, err := listing.Next(background(t), 100)
		if err != nil || len(page) != 4 {
			t.Fatal(len(page), err)
		}
		cursor := listing.Cursor(nil)
		server.Change(func(script *imaptest.Script) { script.Messages = messages })
		if listing, err = s.List(background(t), inbox, cursor); err != nil {
			t.Fatal(err)
		}
		page, err = listing.Next(background(t), 100)
		if err != nil || len(page) != 1 || page[0].Key != "7/3" {
			t.Errorf("%s: %v, %v; want the late message", capabilities, page, err)
		}
	}
}

func TestListedWithoutMetadata(t *testing.T) {
	_, s := scripted(t, imaptest.Script{Messages: five(), Answer: func(c imaptest.Command) (imaptest.Reply, bool) {
		return imaptest.Reply{Send: "TAG OK nothing\r\n"}, strings.HasPrefix(c.Text, "UID FETCH")
	}})
	listing, err := s.List(background(t), inbox, "")
	if err != nil {
		t.Fatal(err)
	}
	page, err := listing.Next(background(t), 100)
	if err != nil || len(page) != 5 || page[2].Key != "7/3" || page[2].Size != -1 {
		t.Errorf("%+v, %v", page, err)
	}
}

// A poll with nothing new sends two commands, or one.
func TestPollIsCheap(t *testing.T) {
	for _, row := range []struct {
		capabilities string
		most         int
	}{{"IMAP4rev1 ESEARCH", 2}, {"IMAP4rev1", 1}} {
		server, s := scripted(t, imaptest.Script{Capabilities: row.capabilities, Messages: five()})
		listing, err := s.List(background(t), inbox, "")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := listing.Next(background(t), 100); err != nil {
			t.Fatal(err)
		}
		before := len(server.Commands())
		listing, err = s.List(background(t), inbox, listing.Cursor(nil))
		if err != nil {
			t.Fatal(err)
		}
		if page, err := listing.Next(background(t), 100); len(page) != 0 || err != nil {
			t.Fatal(page, err)
		}
		if sent := server.Commands()[before:]; len(sent) > row.most {
			t.Errorf("%s: %d commands, want at most %d: %v", row.capabilities, len(sent), row.most, sent)
		}
	}
}

// Where asking for all UIDs is costly, it is done now and then all the same: a
// late UID changes the counters on no server that holds it back.
func TestUnchangedCountersAreNotTrustedForEver(t *testing.T) {
	messages := five()
	examine := "* 5 EXISTS\r\n* OK [UIDVALIDITY 7] v\r\n* OK [UIDNEXT 6] n\r\nTAG OK done\r\n"
	server, s := scripted(t, imaptest.Script{
		Capabilities: "IMAP4rev1", Messages: append(messages[:2:2], messages[3:]...),
		Answer: func(c imaptest.Command) (imaptest.Reply, bool) {
			return imaptest.Reply{Send: examine}, strings.HasPrefix(c.Text, "EXAMINE")
		},
	}, func(c *imap.Config) { c.Timeouts.Relist = time.Nanosecond })
	listing, err := s.List(background(t), inbox, "")
	if err != nil {
		t.Fatal(err)
	}
	if page, err := listing.Next(background(t), 100); err != nil || len(page) != 4 {
		t.Fatal(page, err)
	}
	server.Change(func(script *imaptest.Script) { script.Messages = messages })
	if listing, err = s.List(background(t), inbox, listing.Cursor(nil)); err != nil {
		t.Fatal(err)
	}
	if page, err := listing.Next(background(t), 100); err != nil || len(page) != 1 || page[0].Key != "7/3" {
		t.Errorf("%v, %v; want the late message", page, err)
	}
}

func TestFullListingsGrowRare(t *testing.T) {
	server, s := scripted(t, imaptest.Script{Capabilities: "IMAP4rev1", Messages: five()})
	var cursor sources.Cursor
	for range 5 {
		listing, err := s.List(background(t), inbox, cursor)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := listing.Next(background(t), 100); err != nil {
			t.Fatal(err)
		}
		cursor = listing.Cursor(nil)
	}
	searches := 0
	for _, c := range server.Commands() {
		if strings.HasPrefix(c.Text, "UID SEARCH") {
			searches++
		}
	}
	if searches != 1 {
		t.Errorf("%d full listings of a folder that does not change, want 1", searches)
	}
}

func TestManyUIDsAreBounded(t *testing.T) {
	_, s := scripted(t, imaptest.Script{Messages: five(), Answer: func(c imaptest.Command) (imaptest.Reply, bool) {
		return imaptest.Reply{Send: "* ESEARCH (TAG \"TAG\") UID ALL 1:4294967295\r\nTAG OK done\r\n"}, strings.HasPrefix(c.Text, "UID SEARCH")
	}})
	if _, err := s.List(background(t), inbox, ""); err == nil {
		t.Error("four thousand million messages are accepted")
	}
}

func settle(t *testing.T, s *imap.Source, action sources.Action, keys ...string) (map[string]error, error) {
	t.Helper()
	told := make(map[string]error)
	err := s.Settle(background(t), inbox, keys, action, func(key string, err error) { told[key] = err })
	return told, err
}

func TestPartialMove(t *testing.T) {
	_, s := scripted(t, imaptest.Script{Messages: five(), Answer: func(c imaptest.Command) (imaptest.Reply, bool) {
		// It says OK, and has moved nothing.
		return imaptest.Reply{Send: "TAG OK done\r\n"}, strings.HasPrefix(c.Text, "UID MOVE")
	}})
	told, err := settle(t, s, sources.Action{Verb: sources.Move, Target: "Filed"}, "7/1", "7/2", "7/9")
	if err != nil {
		t.Fatal(err)
	}
	if told["7/1"] == nil || told["7/2"] == nil || len(told) != 3 || told["7/9"] != nil {
		t.Errorf("settled: %v; want errors for the two still listed", told)
	}
}

func TestMoveIsNotCopiedTwice(t *testing.T) {
	messages := five()
	// As after a crash between STORE and EXPUNGE.
	filed := messages[0]
	messages[0].Deleted = true
	server, s := scripted(t, imaptest.Script{Capabilities: "IMAP4rev1 UIDPLUS", Messages: messages,
		Folders: map[string][]imaptest.ScriptMessage{"Filed": {filed}}})
	told, err := settle(t, s, sources.Action{Verb: sources.Move, Target: "Filed"}, "7/1", "7/2")
	if err != nil || told["7/1"] != nil || told["7/2"] != nil || len(told) != 2 {
		t.Errorf("%v, %v", told, err)
	}
	var copies []string
	for _, c := range server.Commands() {
		if strings.HasPrefix(c.Text, "UID COPY") {
			copies = append(copies, c.Text)
		}
	}
	if len(copies) != 1 || !strings.HasPrefix(copies[0], "UID COPY 2 ") {
		t.Errorf("copied: %v, want only message 2", copies)
	}
}

// Plain EXPUNGE and CLOSE remove what others have marked as deleted.
func TestNeverPlainExpunge(t *testing.T) {
	for _, capabilities := range []string{"IMAP4rev1", "IMAP4rev1 UIDPLUS", "IMAP4rev1 UIDPLUS MOVE"} {
		for _, verb := range []sources.Verb{sources.Delete, sources.Move, sources.MarkRead} {
			server, s := scripted(t, imaptest.Script{Capabilities: capabilities, Messages: five()})
			_, err := settle(t, s, sources.Action{Verb: verb, Target: "Filed"}, "7/1")
			if capabilities == "IMAP4rev1" && verb != sources.MarkRead {
				if sources.ClassOf(err) != sources.Permanent || sources.RemedyOf(err) == "" {
					t.Errorf("%s on a server without UIDPLUS: %v, remedy %q", verb, err, sources.RemedyOf(err))
				}
			} else if err != nil {
				t.Errorf("%s with %s: %v", verb, capabilities, err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			for _, c := range server.Commands() {
				if c.Text == "EXPUNGE" || c.Text == "CLOSE" {
					t.Errorf("%s with %s sends %s", verb, capabilities, c.Text)
				}
			}
		}
	}
}

func TestOneMessageThatCannotBeSettled(t *testing.T) {
	_, s := scripted(t, imaptest.Script{Messages: five(), Answer: func(c imaptest.Command) (imaptest.Reply, bool) {
		return imaptest.Reply{Send: "TAG NO not that one\r\n"}, strings.HasPrefix(c.Text, "UID STORE") && contains(strings.Fields(c.Text)[2], 3)
	}})
	told, err := settle(t, s, sources.Action{Verb: sources.MarkRead}, "7/2", "7/3", "7/4")
	if err != nil {
		t.Fatal(err)
	}
	if told["7/2"] != nil || told["7/3"] == nil || told["7/4"] != nil || len(told) != 3 {
		t.Errorf("settled: %v", told)
	}
}

func TestOverQuota(t *testing.T) {
	_, s := scripted(t, imaptest.Script{Messages: five(), Answer: func(c imaptest.Command) (imaptest.Reply, bool) {
		return imaptest.Reply{Send: "TAG NO [OVERQUOTA] full\r\n"}, strings.HasPrefix(c.Text, "UID MOVE")
	}})
	told, err := settle(t, s, sources.Action{Verb: sources.Move, Target: "Filed"}, "7/1", "7/2")
	if sources.ClassOf(err) != sources.Temporary || sources.RemedyOf(err) == "" || len(told) != 0 {
		t.Errorf("%v, remedy %q, settled %v", err, sources.RemedyOf(err), told)
	}
}

// A connection that died unnoticed while it was kept is replaced.
func TestDeadConnectionIsReplaced(t *testing.T) {
	server, s := scripted(t, imaptest.Script{Messages: five()})
	for range 3 {
		if _, err := s.List(background(t), inbox, ""); err != nil {
			t.Fatal(err)
		}
		server.Drop()
	}
}

// One that dies at the first command after it was kept, too; but only once.
func TestConnectionThatDiesInUseIsReplacedOnce(t *testing.T) {
	opened := make(chan imaptest.Command, 100)
	_, s := scripted(t, imaptest.Script{Messages: five(), Answer: func(c imaptest.Command) (imaptest.Reply, bool) {
		if !strings.HasPrefix(c.Text, "EXAMINE") {
			return imaptest.Reply{}, false
		}
		opened <- c
		// Each connection opens a folder once only, and from the third on never.
		return imaptest.Reply{Close: true}, len(opened) == 2 || len(opened) > 3
	}})
	for range 2 {
		if _, err := s.List(background(t), inbox, ""); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.List(background(t), inbox, ""); err == nil {
		t.Error("no error from a server that closes every connection")
	}
	if len(opened) != 5 {
		t.Errorf("the folder was opened %d times, want 5: once, and twice replaced", len(opened))
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	var mu sync.Mutex
	highest := 0
	_, s := scripted(t, imaptest.Script{Messages: five(), Answer: func(c imaptest.Command) (imaptest.Reply, bool) {
		mu.Lock()
		defer mu.Unlock()
		highest = max(highest, c.Connection)
		return imaptest.Reply{}, false
	}}, func(c *imap.Config) { c.Connections = 2 })
	var calls sync.WaitGroup
	for range 10 {
		calls.Go(func() {
			if _, err := s.List(background(t), inbox, ""); err != nil {
				t.Error(err)
			}
		})
	}
	calls.Wait()
	if highest > 2 {
		t.Errorf("%d connections were made, the limit is 2", highest)
	}
}

func TestUnusedConnectionIsClosed(t *testing.T) {
	ended := make(chan struct{}, 1)
	_, s := scripted(t, imaptest.Script{Messages: five(), Answer: func(c imaptest.Command) (imaptest.Reply, bool) {
		if c.Text == "LOGOUT" {
			ended <- struct{}{}
		}
		return imaptest.Reply{}, false
	}}, func(c *imap.Config) { c.Timeouts.Keep = 50 * time.Millisecond })
	if _, err := s.List(background(t), inbox, ""); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended:
	case <-time.After(5 * time.Minute):
		t.Fatal("the connection is kept for ever")
	}
}

// IDLE gives up after a while, so that a dead connection is noticed.
func TestWaitReturnsInTheEnd(t *testing.T) {
	_, s := scripted(t, imaptest.Script{Capabilities: "IMAP4rev1 IDLE", Messages: five()}, func(c *imap.Config) { c.Timeouts.Idle = 100 * time.Millisecond })
	if err := s.Wait(background(t), inbox); err != nil {
		t.Error(err)
	}
}

func TestNonASCIIFolderOnIMAP4rev2(t *testing.T) {
	server, s := scripted(t, imaptest.Script{Capabilities: "IMAP4rev1 IMAP4rev2 ENABLE", Answer: func(c imaptest.Command) (imaptest.Reply, bool) {
		if strings.HasPrefix(c.Text, "ENABLE") {
			return imaptest.Reply{Send: "* ENABLED IMAP4rev2\r\nTAG OK done\r\n"}, true
		}
		return imaptest.Reply{}, false
	}})
	if _, err := s.List(background(t), sources.Folder{ID: "Größe", Path: "Größe"}, ""); err != nil {
		t.Fatal(err)
	}
	var texts []string
	for _, c := range server.Commands() {
		texts = append(texts, c.Text)
	}
	enable, examine := slices.Index(texts, "ENABLE IMAP4rev2"), slices.Index(texts, `EXAMINE "Größe"`)
	if enable < 0 || examine < enable {
		t.Errorf("commands %q: a name in UTF-8 needs ENABLE before", texts)
	}
}

func withConnections(n int) func(*imap.Config) {
	return func(c *imap.Config) { c.Connections = n }
}
