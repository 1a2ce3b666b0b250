// Package poptest holds a POP3 server for tests and demonstrations. Left alone it
// is well-behaved, keeps its mail in memory and locks the maildrop as RFC 1939 says;
// [Conduct] makes it misbehave as servers do.
package poptest

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"postroom/internal/standin"
	"postroom/internal/testcert"
)

// Options say what the server is like.
type Options struct {
	// Username and Password are those of its one user: "user" and "secret".
	Username, Password string
	// Token, if not empty, is accepted by XOAUTH2 and OAUTHBEARER.
	Token string
	// Certificate says what the server's certificate is like.
	Certificate testcert.Template
	// MaxTLS is the newest version of TLS, 0 for any.
	MaxTLS uint16
	// Plain makes the server begin unencrypted, and offer STLS.
	Plain   bool
	Conduct Conduct
}

// Conduct is how a server misbehaves. The zero Conduct is that of a good one, which
// offers all of RFC 2449 that there is a use for.
type Conduct struct {
	// Greeting replaces "+OK ready". "none" says nothing at all.
	Greeting string
	// Capabilities replace those announced; NoCAPA does not know the command.
	Capabilities []string
	NoCAPA       bool
	// NoUIDL and NoTOP do not know these commands.
	NoUIDL, NoTOP bool
	// ID replaces the unique id of a message; "" leaves it out of the listing.
	ID func(m Message) string
	// Size replaces the size announced.
	Size func(m Message) int64
	// NoLock lets several sessions open the maildrop at a time.
	NoLock bool
	// Undoubled does not double the dot at the beginning of a line.
	Undoubled bool
	// Numbers replaces, when a message is handed over, its place in the session.
	Numbers func(n int) int
	// QuitFails answers QUIT by -ERR and deletes only the first KeepsFrom of the
	// messages marked.
	QuitFails bool
	KeepsFrom int
	// Late is how long after its answer to QUIT the server deletes and hangs up.
	Late time.Duration
	// Ignores answers QUIT by +OK and deletes nothing.
	Ignores bool
	// Injected is sent in one piece with the consent to STLS.
	Injected string
	// Answer, if set, is asked before a command is obeyed. If it returns false, the
	// command is obeyed. It may be called by several connections at once.
	Answer func(Command) (Reply, bool)
}

// Command is what a client has sent.
type Command struct {
	// Connection counts connections from 1.
	Connection int
	// Text is the line, the command's name in upper case. PASS and what follows AUTH
	// are there as they were sent.
	Text string
}

// Reply is what the server does instead of obeying a command.
type Reply = standin.Reply

// Message is a message in the maildrop.
type Message struct {
	// ID is its unique id, which the server never uses again.
	ID  string
	Raw []byte
}

// Server is a POP3 server on the loopback interface.
type Server struct {
	*standin.Server
	options Options
	tls     *tls.Config
	dir     string
	ca      []byte

	mu       sync.Mutex
	conduct  Conduct
	messages []Message
	last     int
	locked   bool
	commands []Command
}

// Start starts a server. Close ends it.
func Start(options Options) (*Server, error) {
	options.Username = cmp.Or(options.Username, "user")
	options.Password = cmp.Or(options.Password, "secret")
	certificate, err := testcert.New(options.Certificate)
	if err != nil {
		return nil, fmt.Errorf("start POP3 server: %w", err)
	}
	s := &Server{options: options, conduct: options.Conduct, ca: certificate.Authority}
	if s.tls, err = certificate.Server(); err != nil {
		return nil, fmt.Errorf("start POP3 server: %w", err)
	}
	if s.tls.MaxVersion = options.MaxTLS; s.tls.MaxVersion != 0 {
		s.tls.MinVersion = tls.VersionTLS10
	}
	if s.dir, err = os.MkdirTemp("", "poptest"); err != nil {
		return nil, fmt.Errorf("start POP3 server: %w", err)
	}
	if err := os.WriteFile(s.CAFile(), s.ca, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("start POP3 server: %w", err), os.RemoveAll(s.dir))
	}
	if s.Server, err = standin.Start(s.serve); err != nil {
		return nil, errors.Join(fmt.Errorf("start POP3 server: %w", err), os.RemoveAll(s.dir))
	}
	return s, nil
}

// CAPEM is the certificate, in PEM, of the authority that signed the server's.
func (s *Server) CAPEM() []byte { return bytes.Clone(s.ca) }

// CAFile is the path of a file that holds CAPEM, until Close.
func (s *Server) CAFile() string { return filepath.Join(s.dir, "ca.pem") }

// Username and Password are what the server accepts.
func (s *Server) Username() string { return s.options.Username }
func (s *Server) Password() string { return s.options.Password }

// Deliver puts a message into the maildrop. Sessions that are open do not see it.
func (s *Server) Deliver(raw []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last++
	s.messages = append(s.messages, Message{ID: fmt.Sprintf("id%08d", s.last), Raw: bytes.Clone(raw)})
}

// Messages returns what is in the maildrop.
func (s *Server) Messages() []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.messages)
}

// Remove removes the message at the position, from 0, as another program would. A
// session that has listed it can no longer have it.
func (s *Server) Remove(position int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.messages = slices.Delete(slices.Clone(s.messages), position, position+1)
}

func (s *Server) has(id string) bool {
	return slices.ContainsFunc(s.Messages(), func(m Message) bool { return m.ID == id })
}

// Renumber gives all messages new ids.
func (s *Server) Renumber() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.messages = slices.Clone(s.messages) // sessions go on with what they have seen
	for i := range s.messages {
		s.last++
		s.messages[i].ID = fmt.Sprintf("id%08d", s.last)
	}
}

// Behave changes how the server behaves from the next command on.
func (s *Server) Behave(f func(*Conduct)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&s.conduct)
}

// Commands returns what clients have sent so far. Forget forgets it.
func (s *Server) Commands() []Command {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.commands)
}

// Forget forgets the commands so far.
func (s *Server) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.commands = nil
}

// Close ends the server and its connections, and waits for them.
func (s *Server) Close() error {
	return errors.Join(s.Server.Close(), os.RemoveAll(s.dir))
}

// serve serves one connection.
func (s *Server) serve(conn net.Conn, number int) {
	c := &connection{server: s, raw: conn, number: number}
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if c.owner {
			s.locked = false
		}
	}()
	c.talk()
}

// connection is one connection, used by its goroutine; server.mu guards nothing of
// it but owner.
type connection struct {
	server *Server
	raw    net.Conn
	conn   net.Conn
	r      *bufio.Reader
	number int

	encrypted bool
	user      string
	// signedIn is that the session has the maildrop: messages as they were then, and
	// what is to be deleted.
	signedIn bool
	owner    bool
	messages []Message
	deleted  map[int]bool
}

func (c *connection) use(conn net.Conn) { c.conn, c.r = conn, bufio.NewReader(conn) }

func (c *connection) encrypt() bool {
	secured := tls.Server(c.raw, c.server.tls)
	if secured.Handshake() != nil {
		return false
	}
	c.use(secured)
	c.encrypted = true
	return true
}

// talk serves the connection. An error of it ends it.
func (c *connection) talk() {
	s := c.server
	c.use(c.raw)
	if !s.options.Plain && !c.encrypt() {
		return
	}
	s.mu.Lock()
	greeting := cmp.Or(s.conduct.Greeting, "+OK ready")
	s.mu.Unlock()
	if greeting == "none" {
		_, _ = io.Copy(io.Discard, c.r)
		return
	}
	if !c.say(greeting+"\r\n") || strings.HasPrefix(greeting, "-ERR") {
		return
	}
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			return
		}
		name, rest, _ := strings.Cut(strings.TrimRight(line, "\r\n"), " ")
		command := Command{Connection: c.number, Text: strings.TrimSpace(strings.ToUpper(name) + " " + rest)}
		s.mu.Lock()
		s.commands = append(s.commands, command)
		conduct := s.conduct
		s.mu.Unlock()
		if conduct.Answer != nil {
			if reply, ok := conduct.Answer(command); ok {
				obey, on := reply.Give(struct {
					io.Reader
					io.Writer
				}{c.r, c.conn}, func() {
					c.use(silent{c.conn})
					c.obey(conduct, command.Text)
				})
				if !on {
					return
				}
				if !obey {
					continue
				}
			}
		}
		if !c.obey(conduct, command.Text) {
			return
		}
	}
}

// silent is a connection on which nothing is heard.
type silent struct{ net.Conn }

func (silent) Write(p []byte) (int, error) { return len(p), nil }

func (c *connection) say(text string) bool {
	_, err := io.WriteString(c.conn, text)
	return err == nil
}

// capabilities are what the server announces now.
func (c *connection) capabilities(conduct Conduct) []string {
	if conduct.Capabilities != nil {
		return conduct.Capabilities
	}
	caps := []string{"RESP-CODES", "AUTH-RESP-CODE", "PIPELINING", "USER"}
	if !conduct.NoTOP {
		caps = append(caps, "TOP")
	}
	if !conduct.NoUIDL {
		caps = append(caps, "UIDL")
	}
	sasl := "SASL PLAIN"
	if c.server.options.Token != "" {
		sasl += " XOAUTH2 OAUTHBEARER"
	}
	caps = append(caps, sasl)
	if !c.encrypted {
		caps = append(caps, "STLS")
	}
	return caps
}

// obey performs a command as a server should, and reports whether the connection
// goes on.
func (c *connection) obey(conduct Conduct, text string) bool {
	name, rest, _ := strings.Cut(text, " ")
	switch name {
	case "CAPA":
		if conduct.NoCAPA {
			return c.say("-ERR what is that\r\n")
		}
		return c.say("+OK\r\n" + strings.Join(c.capabilities(conduct), "\r\n") + "\r\n.\r\n")
	case "NOOP":
		return c.say("+OK\r\n")
	case "QUIT":
		return c.quit(conduct)
	}
	if !c.signedIn {
		return c.authorize(conduct, name, rest)
	}
	switch name {
	case "STAT":
		n, size := c.sum(conduct)
		return c.say(fmt.Sprintf("+OK %d %d\r\n", n, size))
	case "LIST":
		if rest != "" {
			return c.one(rest, func(i int) string { return fmt.Sprintf("+OK %d %d\r\n", i+1, size(conduct, c.messages[i])) })
		}
		return c.each("+OK\r\n", func(i int) string { return fmt.Sprintf("%d %d\r\n", i+1, size(conduct, c.messages[i])) })
	case "UIDL":
		if conduct.NoUIDL {
			break
		}
		if rest != "" {
			return c.one(rest, func(i int) string {
				return fmt.Sprintf("+OK %d %s\r\n", i+1, id(conduct, c.messages[c.place(conduct, i)]))
			})
		}
		return c.each("+OK\r\n", func(i int) string {
			name := id(conduct, c.messages[i])
			if name == "" {
				return ""
			}
			return fmt.Sprintf("%d %s\r\n", i+1, name)
		})
	case "RETR":
		return c.one(rest, func(i int) string {
			m := c.messages[c.place(conduct, i)]
			return fmt.Sprintf("+OK %d octets\r\n", size(conduct, m)) + stuffed(conduct, m.Raw)
		})
	case "TOP":
		number, _, _ := strings.Cut(rest, " ")
		if conduct.NoTOP {
			break
		}
		return c.one(number, func(i int) string {
			header := c.messages[i].Raw
			if end := bytes.Index(header, []byte("\r\n\r\n")); end >= 0 {
				header = header[:end+4]
			}
			return "+OK\r\n" + stuffed(conduct, header)
		})
	case "DELE":
		return c.one(rest, func(i int) string {
			c.deleted[i] = true
			return "+OK\r\n"
		})
	case "RSET":
		clear(c.deleted)
		return c.say("+OK\r\n")
	}
	return c.say("-ERR what is that\r\n")
}

// place is the message that a number means when it is handed over.
func (c *connection) place(conduct Conduct, i int) int {
	if conduct.Numbers == nil {
		return i
	}
	return conduct.Numbers(i+1) - 1
}

func id(conduct Conduct, m Message) string {
	if conduct.ID == nil {
		return m.ID
	}
	return conduct.ID(m)
}

func size(conduct Conduct, m Message) int64 {
	if conduct.Size == nil {
		return int64(len(m.Raw))
	}
	return conduct.Size(m)
}

// stuffed returns the lines with the dots that RFC 1939 3 wants, and the last one.
// A line is what CRLF ends.
func stuffed(conduct Conduct, raw []byte) string {
	var b strings.Builder
	for line := range bytes.SplitAfterSeq(raw, []byte("\r\n")) {
		if len(line) > 0 && line[0] == '.' && !conduct.Undoubled {
			b.WriteByte('.')
		}
		b.Write(line)
	}
	if len(raw) > 0 && !bytes.HasSuffix(raw, []byte("\r\n")) {
		b.WriteString("\r\n")
	}
	return b.String() + ".\r\n"
}

func (c *connection) sum(conduct Conduct) (n int, octets int64) {
	for i, m := range c.messages {
		if !c.deleted[i] {
			n++
			octets += size(conduct, m)
		}
	}
	return n, octets
}

func (c *connection) each(head string, line func(i int) string) bool {
	var b strings.Builder
	b.WriteString(head)
	for i := range c.messages {
		if !c.deleted[i] {
			b.WriteString(line(i))
		}
	}
	return c.say(b.String() + ".\r\n")
}

func (c *connection) one(number string, answer func(i int) string) bool {
	n, err := strconv.Atoi(number)
	if err != nil || n < 1 || n > len(c.messages) || c.deleted[n-1] || !c.server.has(c.messages[n-1].ID) {
		return c.say("-ERR no such message\r\n")
	}
	return c.say(answer(n - 1))
}

// quit ends the session, and deletes what is to be deleted.
func (c *connection) quit(conduct Conduct) bool {
	s := c.server
	if conduct.Late > 0 {
		c.say("+OK bye\r\n")
		time.Sleep(conduct.Late)
		c.use(silent{c.conn})
	}
	s.mu.Lock()
	gone := make(map[string]bool)
	for _, i := range sortedKeys(c.deleted) {
		if conduct.Ignores || conduct.QuitFails && len(gone) >= conduct.KeepsFrom {
			break
		}
		gone[c.messages[i].ID] = true
	}
	if len(gone) > 0 {
		s.messages = slices.DeleteFunc(slices.Clone(s.messages), func(m Message) bool { return gone[m.ID] })
	}
	if c.owner {
		s.locked, c.owner = false, false
	}
	s.mu.Unlock()
	if conduct.QuitFails && len(c.deleted) > 0 {
		c.say("-ERR [SYS/TEMP] some deleted messages not removed\r\n")
		return false
	}
	c.say("+OK bye\r\n")
	return false
}

func sortedKeys(m map[int]bool) []int {
	var keys []int
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// authorize performs a command of the AUTHORIZATION state.
func (c *connection) authorize(conduct Conduct, name, rest string) bool {
	o := c.server.options
	switch name {
	case "STLS":
		if c.encrypted {
			return c.say("-ERR encrypted already\r\n")
		}
		return c.say("+OK begin\r\n"+conduct.Injected) && c.encrypt()
	case "USER":
		c.user = rest
		return c.say("+OK\r\n")
	case "PASS":
		return c.enter(conduct, c.user == o.Username && rest == o.Password)
	case "AUTH":
		return c.authenticate(conduct, rest)
	}
	return c.say("-ERR sign in first\r\n")
}

// enter opens the maildrop to a user who has proved to be the one.
func (c *connection) enter(conduct Conduct, proved bool) bool {
	s := c.server
	if !proved {
		return c.say("-ERR [AUTH] wrong user name or password\r\n")
	}
	s.mu.Lock()
	if s.locked && !conduct.NoLock {
		s.mu.Unlock()
		return c.say("-ERR [IN-USE] the maildrop is open in another session\r\n")
	}
	s.locked, c.owner = true, true
	c.signedIn, c.deleted = true, make(map[int]bool)
	c.messages = slices.Clone(s.messages)
	s.mu.Unlock()
	return c.say("+OK welcome\r\n")
}

// authenticate performs AUTH (RFC 5034).
func (c *connection) authenticate(conduct Conduct, rest string) bool {
	o := c.server.options
	mechanism, response, inline := strings.Cut(rest, " ")
	if !inline {
		if !c.say("+ \r\n") {
			return false
		}
		line, err := c.r.ReadString('\n')
		if err != nil {
			return false
		}
		response = strings.TrimRight(line, "\r\n")
	}
	raw, err := base64.StdEncoding.DecodeString(response)
	if err != nil {
		return c.say("-ERR that is not Base64\r\n")
	}
	switch mechanism {
	case "PLAIN":
		return c.enter(conduct, string(raw) == "\x00"+o.Username+"\x00"+o.Password)
	case "XOAUTH2":
		if string(raw) == ("user="+o.Username+"\x01auth=Bearer "+o.Token+"\x01\x01") && o.Token != "" {
			return c.enter(conduct, true)
		}
	case "OAUTHBEARER":
		text := string(raw)
		if strings.HasPrefix(text, "n,a="+o.Username+",\x01host=") && strings.HasSuffix(text, "\x01auth=Bearer "+o.Token+"\x01\x01") && o.Token != "" {
			return c.enter(conduct, true)
		}
	default:
		return c.say("-ERR no such mechanism\r\n")
	}
	why, err := json.Marshal(map[string]string{"status": "401", "schemes": "bearer", "scope": "pop"})
	if err != nil || !c.say("+ "+base64.StdEncoding.EncodeToString(why)+"\r\n") {
		return false
	}
	if _, err := c.r.ReadString('\n'); err != nil {
		return false
	}
	return c.say("-ERR that token is not accepted\r\n")
}
