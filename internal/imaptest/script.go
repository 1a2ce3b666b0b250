package imaptest

import (
	"bufio"
	"cmp"
	"crypto/tls"
	"fmt"
	"io"
	"maps"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"postroom/internal/standin"
)

// Script says how a scripted server behaves. Left alone it serves Messages in
// INBOX to any user, as simply as IMAP allows. A folder of any other name can be
// selected, but LIST does not show it.
type Script struct {
	// Greeting replaces "* OK ready".
	Greeting string
	// Capabilities replaces "IMAP4rev1 UIDPLUS MOVE ESEARCH".
	Capabilities string
	// UIDValidity replaces 7.
	UIDValidity uint32
	Messages    []ScriptMessage
	// Folders are the messages of the folders besides INBOX, by name.
	Folders map[string][]ScriptMessage
	// TLS, if set, makes the server speak TLS from the first byte.
	TLS *tls.Config
	// Answer, if set, is asked before a command is obeyed. If it returns false,
	// the command is obeyed. It may be called by several connections at once.
	Answer func(Command) (Reply, bool)
}

// ScriptMessage is a message of a scripted server.
type ScriptMessage struct {
	UID     uint32
	Raw     string
	Deleted bool
}

// in returns the messages of a folder.
func (s *Script) in(folder string) []ScriptMessage {
	if folder == "INBOX" {
		return s.Messages
	}
	return s.Folders[folder]
}

// set replaces the messages of a folder.
func (s *Script) set(folder string, messages []ScriptMessage) {
	if folder == "INBOX" {
		s.Messages = messages
		return
	}
	s.Folders = maps.Clone(s.Folders)
	if s.Folders == nil {
		s.Folders = make(map[string][]ScriptMessage)
	}
	s.Folders[folder] = messages
}

// Command is what a client has sent.
type Command struct {
	// Connection counts connections from 1.
	Connection int
	Tag        string
	// Text is the line without its tag, the command's name in upper case.
	Text string
}

// Reply is what the server does instead of obeying a command. In Send, TAG stands
// for the command's tag.
type Reply = standin.Reply

// ScriptServer is a scripted server on the loopback interface.
type ScriptServer struct {
	*standin.Server

	mu       sync.Mutex
	script   Script
	commands []Command
}

// StartScript starts a scripted server. Close ends it.
func StartScript(script Script) (*ScriptServer, error) {
	script.Greeting = cmp.Or(script.Greeting, "* OK ready")
	script.Capabilities = cmp.Or(script.Capabilities, "IMAP4rev1 UIDPLUS MOVE ESEARCH")
	script.UIDValidity = cmp.Or(script.UIDValidity, 7)
	s := &ScriptServer{script: script}
	var err error
	if s.Server, err = standin.Start(s.talk); err != nil {
		return nil, fmt.Errorf("start scripted server: %w", err)
	}
	return s, nil
}

// Commands returns what clients have sent so far.
func (s *ScriptServer) Commands() []Command {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.commands)
}

// Change alters the script, between commands.
func (s *ScriptServer) Change(f func(*Script)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&s.script)
}

// Messages returns what is in a folder.
func (s *ScriptServer) Messages(folder string) []ScriptMessage {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.script.in(folder))
}

// talk serves one connection. An error of the connection ends it.
func (s *ScriptServer) talk(conn net.Conn, number int) {
	s.mu.Lock()
	greeting, config := s.script.Greeting, s.script.TLS
	s.mu.Unlock()
	if config != nil {
		conn = tls.Server(conn, config)
		defer conn.Close()
	}
	r := bufio.NewReader(conn)
	if greeting == "none" {
		_, _ = io.Copy(io.Discard, r)
		return
	}
	if _, err := io.WriteString(conn, greeting+"\r\n"); err != nil {
		return
	}
	selected := "INBOX"
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		tag, text, _ := strings.Cut(strings.TrimRight(line, "\r\n"), " ")
		name, rest, _ := strings.Cut(text, " ")
		command := Command{Connection: number, Tag: tag, Text: strings.TrimSpace(strings.ToUpper(name) + " " + rest)}
		s.mu.Lock()
		s.commands = append(s.commands, command)
		answer := s.script.Answer
		s.mu.Unlock()
		if answer != nil {
			if reply, ok := answer(command); ok {
				reply.Send = strings.ReplaceAll(reply.Send, "TAG", tag)
				obey, on := reply.Give(struct {
					io.Reader
					io.Writer
				}{r, conn}, func() { s.obey(io.Discard, r, &selected, command) })
				if !on {
					return
				}
				if !obey {
					continue
				}
			}
		}
		if !s.obey(conn, r, &selected, command) {
			return
		}
	}
}

// obey performs a command as a server should, and reports whether the
// connection goes on. selected is the name of the selected folder.
func (s *ScriptServer) obey(conn io.Writer, r *bufio.Reader, selected *string, command Command) bool {
	if name, mailbox, _ := strings.Cut(command.Text, " "); name == "SELECT" || name == "EXAMINE" {
		*selected = strings.Trim(mailbox, `"`)
	}
	s.mu.Lock()
	script := s.script
	messages := slices.Clone(script.in(*selected))
	s.mu.Unlock()
	code := ""
	var out strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&out, format+"\r\n", args...) }
	end := true
	switch text := command.Text; {
	case text == "CAPABILITY":
		say("* CAPABILITY %s", script.Capabilities)
	case strings.HasPrefix(text, "AUTHENTICATE PLAIN"):
		if text == "AUTHENTICATE PLAIN" {
			if _, err := io.WriteString(conn, "+ \r\n"); err != nil {
				return false
			}
			if _, err := r.ReadString('\n'); err != nil {
				return false
			}
		}
	case strings.HasPrefix(text, "SELECT"), strings.HasPrefix(text, "EXAMINE"):
		next := uint32(1)
		for _, message := range messages {
			next = max(next, message.UID+1)
		}
		say(`* FLAGS (\Seen \Deleted)`)
		say(`* OK [PERMANENTFLAGS (\Seen \Deleted)] these`)
		say("* %d EXISTS", len(messages))
		say("* OK [UIDVALIDITY %d] valid", script.UIDValidity)
		say("* OK [UIDNEXT %d] next", next)
	case strings.HasPrefix(text, "LIST"):
		if strings.HasSuffix(text, `"" ""`) {
			say(`* LIST (\Noselect) "/" ""`)
		} else if strings.HasSuffix(text, "INBOX") || strings.HasSuffix(text, `"*"`) {
			say(`* LIST () "/" INBOX`)
		}
	case strings.HasPrefix(text, "UID SEARCH"), strings.HasPrefix(text, "SEARCH"):
		s.search(say, messages, command)
	case strings.HasPrefix(text, "UID FETCH"), strings.HasPrefix(text, "FETCH"):
		_, set, _ := strings.Cut(text, "FETCH ")
		set, items, _ := strings.Cut(set, " ")
		for i, message := range messages {
			number := message.UID
			if strings.HasPrefix(text, "FETCH") {
				number = uint32(i + 1)
			}
			if !inSet(set, number) {
				continue
			}
			flags := ""
			if message.Deleted {
				flags = `\Deleted`
			}
			fmt.Fprintf(&out, "* %d FETCH (UID %d FLAGS (%s) INTERNALDATE \"17-Jul-2026 02:44:25 +0000\" RFC822.SIZE %d", i+1, message.UID, flags, len(message.Raw))
			var from, length int
			if _, partial, ok := strings.Cut(items, "BODY.PEEK[]<"); ok {
				if n, err := fmt.Sscanf(partial, "%d.%d>", &from, &length); n != 2 || err != nil {
					say("%s BAD what part", command.Tag)
					break
				}
				part := message.Raw[min(from, len(message.Raw)):min(from+length, len(message.Raw))]
				fmt.Fprintf(&out, " BODY[]<%d> {%d}\r\n%s", from, len(part), part)
			} else if strings.Contains(items, "BODY.PEEK[]") {
				fmt.Fprintf(&out, " BODY[] {%d}\r\n%s", len(message.Raw), message.Raw)
			}
			say(")")
		}
	case strings.HasPrefix(text, "UID STORE"):
		fields := strings.Fields(text)
		s.Change(func(script *Script) {
			messages := slices.Clone(script.in(*selected))
			for i := range messages {
				if inSet(fields[2], messages[i].UID) && strings.Contains(text, `\Deleted`) {
					messages[i].Deleted = strings.HasPrefix(fields[3], "+")
				}
			}
			script.set(*selected, messages)
		})
	case strings.HasPrefix(text, "UID COPY"), strings.HasPrefix(text, "UID MOVE"):
		fields := strings.SplitN(text, " ", 4)
		s.Change(func(script *Script) {
			code = script.copy(*selected, fields[2], strings.Trim(fields[3], `"`))
			if fields[1] == "MOVE" {
				script.remove(*selected, fields[2], true)
			}
		})
	case strings.HasPrefix(text, "UID EXPUNGE"):
		s.Change(func(script *Script) { script.remove(*selected, strings.Fields(text)[2], false) })
	case text == "IDLE":
		if _, err := io.WriteString(conn, "+ idling\r\n"); err != nil {
			return false
		}
		if _, err := r.ReadString('\n'); err != nil {
			return false
		}
	case text == "LOGOUT":
		say("* BYE bye")
		end = false
	}
	say("%s OK %sdone", command.Tag, code)
	_, err := io.WriteString(conn, out.String())
	return err == nil && end
}

// copy copies the messages of the set, with their flags, and returns the
// response code that says so (RFC 4315 3).
func (s *Script) copy(from, set, to string) string {
	var sources, copies []string
	next := uint32(1)
	there := slices.Clone(s.in(to))
	for _, message := range there {
		next = max(next, message.UID+1)
	}
	for _, message := range s.in(from) {
		if !inSet(set, message.UID) {
			continue
		}
		sources = append(sources, fmt.Sprint(message.UID))
		copies = append(copies, fmt.Sprint(next))
		message.UID = next
		there = append(there, message)
		next++
	}
	if len(sources) == 0 {
		return ""
	}
	s.set(to, there)
	return fmt.Sprintf("[COPYUID %d %s %s] ", s.UIDValidity, strings.Join(sources, ","), strings.Join(copies, ","))
}

// remove removes the messages of the set, or those that are marked as deleted.
func (s *Script) remove(folder, set string, all bool) {
	s.set(folder, slices.DeleteFunc(slices.Clone(s.in(folder)), func(m ScriptMessage) bool {
		return inSet(set, m.UID) && (all || m.Deleted)
	}))
}

// uidCriterion finds "UID set" in a SEARCH.
var uidCriterion = regexp.MustCompile(` UID ([0-9:,*]+)`)

func (s *ScriptServer) search(say func(string, ...any), messages []ScriptMessage, command Command) {
	_, criteria, _ := strings.Cut(command.Text, "SEARCH")
	set := "1:*"
	if m := uidCriterion.FindStringSubmatch(criteria); m != nil {
		set = m[1]
	}
	var found []string
	for i, message := range messages {
		if !inSet(set, message.UID) || strings.Contains(criteria, "DELETED") && !message.Deleted {
			continue
		}
		number := int(message.UID)
		if strings.HasPrefix(command.Text, "SEARCH") {
			number = i + 1
		}
		found = append(found, strconv.Itoa(number))
	}
	switch {
	case strings.Contains(criteria, "RETURN") && len(found) == 0:
		say(`* ESEARCH (TAG "%s") UID`, command.Tag)
	case strings.Contains(criteria, "RETURN"):
		say(`* ESEARCH (TAG "%s") UID ALL %s`, command.Tag, strings.Join(found, ","))
	default:
		say("* SEARCH%s", strings.Join(append([]string{""}, found...), " "))
	}
}

// inSet reports whether a sequence set holds the number.
func inSet(set string, number uint32) bool {
	for part := range strings.SplitSeq(set, ",") {
		from, to, isRange := strings.Cut(part, ":")
		if !isRange {
			to = from
		}
		low, lowErr := strconv.ParseUint(from, 10, 32)
		high, highErr := strconv.ParseUint(to, 10, 32)
		if lowErr == nil && uint64(number) >= low && (to == "*" || highErr == nil && uint64(number) <= high) {
			return true
		}
	}
	return false
}
