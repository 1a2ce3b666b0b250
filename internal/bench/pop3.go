package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"postroom/internal/faultnet"
)

const (
	// filingAll is how long the first run may take over a maildrop with much mail.
	filingAll = 30 * time.Minute
	// fresh is how much of it is new to a later run.
	fresh = 10
)

// pop3 measures only what goes over POP3.
func pop3(ctx context.Context, s settings, dir string) error {
	text, err := inHall(ctx, s, dir, (*hall).overPOP3)
	if err == nil {
		_, err = io.WriteString(os.Stdout, text)
	}
	return err
}

// overPOP3 measures fetching over POP3.
func (h *hall) overPOP3() (string, error) {
	for _, m := range []*mailbox{h.all, h.some} {
		if err := visit(h.pop3(), m, false); err != nil {
			return "", err
		}
	}
	pair := func(from server) []*entry {
		return []*entry{
			{program: retrieveAll, from: from, mailbox: h.all, limit: patience},
			{program: postroom, from: from, mailbox: h.all, limit: patience},
		}
	}
	rows := func(from server) []*entry {
		return append(pair(from),
			&entry{program: postroom, from: from, mailbox: h.some, limit: patience},
			&entry{program: fetchmail, from: from, mailbox: h.some, limit: slow},
			&entry{program: getmail, from: from, mailbox: h.some, limit: slow},
		)
	}
	plain, secure, far := rows(h.pop3()), rows(h.pop3s()), pair(h.farPOP3())
	delay := faultnet.Line{Latency: latency}
	h.proxyPOP3.Use(faultnet.Always(faultnet.Conduct{Up: delay, Down: delay}))
	if err := h.compete(h.rounds, slices.Concat(plain, secure, far)); err != nil {
		return "", err
	}
	h.proxyPOP3.Use(nil)
	var out strings.Builder
	section(&out, "POP3, without TLS", plain)
	section(&out, "POP3, TLS 1.3", secure)
	section(&out, fmt.Sprintf("POP3, without TLS, %v of latency each way", latency), far)
	fmt.Fprintf(&out, "Over POP3 postroom files the same %d messages %.1f times as fast as the faster of the others takes them, with TLS %.1f times. ",
		h.some.messages, lead(plain[2:]), lead(secure[2:]))
	fmt.Fprintf(&out, "With %v a round trip it keeps %.2f of its rate.\n\n", 2*latency, ratio(plain[1], far[1]))
	if h.settings.folder > 0 {
		if err := h.maildrop(&out); err != nil {
			return "", err
		}
	}
	return out.String(), nil
}

// lead returns how much longer the fastest of the others took than the first.
func lead(entries []*entry) float64 {
	best := 0.0
	for _, e := range entries[1:] {
		if e.err == nil && (best == 0 || ratio(e, entries[0]) < best) {
			best = ratio(e, entries[0])
		}
	}
	return best
}

// maildrop measures a maildrop in which much mail is kept.
func (h *hall) maildrop(out *strings.Builder) error {
	d, err := h.crowd()
	if err != nil {
		return err
	}
	from := h.farPOP3()
	if err := visit(from, d.mailbox, false); err != nil {
		return err
	}
	progress("postroom takes %d messages for the first time", d.messages)
	dir, err := h.folder()
	if err != nil {
		return err
	}
	first := &entry{program: postroom, from: from, mailbox: d.mailbox, limit: filingAll}
	listed, nothing, some := *first, *first, *first
	listed.program = listAll
	first.name += fmt.Sprintf(", all %d new", d.messages)
	nothing.name += ", nothing new"
	some.name += fmt.Sprintf(", %d new", fresh)
	measure := func(e *entry) error {
		s, err := h.in(dir, e)
		e.samples = append(e.samples, s)
		return err
	}
	if err := measure(first); err != nil {
		return err
	}
	for range h.rounds {
		if err := errors.Join(measure(&listed), measure(&nothing)); err != nil {
			return err
		}
	}
	for range h.rounds {
		if err := d.deliverShort(fresh); err != nil {
			return err
		}
		if err := measure(&some); err != nil {
			return err
		}
	}
	if err := first.check(d.mailbox, dir); err != nil {
		return err
	}
	fmt.Fprintf(out, "### A maildrop of %d messages that are kept, POP3, without TLS\n\n", d.messages)
	out.WriteString("| program | wall ms | round trips | received kB | CPU ms | peak RSS MB |\n|---|--:|--:|--:|--:|--:|\n")
	for _, e := range []*entry{first, &listed, &nothing, &some} {
		s := median(e.samples)
		fmt.Fprintf(out, "| %s | %.0f | %d | %.1f | %.0f | %.1f |\n", e.name, ms(s.wall), s.trips, float64(s.received)/1e3, ms(s.cpu), float64(s.peak)/1e6)
	}
	out.WriteString("\n")
	return nil
}

var (
	retrieveAll = visiting("floor: `RETR` of each, sent together, to nowhere", true)
	listAll     = visiting("floor: `LIST` and `UIDL` to nowhere", false)
)

// visiting is the program that visits a maildrop.
func visiting(name string, retrieve bool) program {
	return program{
		name: name,
		command: func(_ *hall, _ string, from server, m *mailbox) ([]string, error) {
			self, err := os.Executable()
			return []string{
				self, "floor-pop3", from.address, from.ca, strconv.FormatBool(from.tls), m.user,
				strconv.Itoa(m.messages), strconv.FormatBool(retrieve),
			}, err
		},
		check: func(*mailbox, string) error { return nil },
	}
}

// floorPOP3 is given address, CA file, whether to use TLS, user, how many messages
// there are, and whether to retrieve them.
func floorPOP3(args []string) error {
	if len(args) != 6 {
		return fmt.Errorf("floor-pop3: %d arguments", len(args))
	}
	n, err := strconv.Atoi(args[4])
	if err != nil {
		return err
	}
	return visit(server{"pop3", args[0], args[2] == "true", args[1]}, &mailbox{user: args[3], messages: n}, args[5] == "true")
}

// visit lists a maildrop, after which the server knows the sizes of its messages,
// and may retrieve each. The commands are sent without waiting for answers.
func visit(from server, m *mailbox, retrieve bool) error {
	conn, err := dialPOP3(from)
	if err != nil {
		return err
	}
	defer conn.Close()
	r := bufio.NewReaderSize(conn, 64<<10)
	if err := skipAnswer(r); err != nil {
		return err
	}
	for _, command := range []string{"USER " + m.user, "PASS " + password} {
		if _, err := io.WriteString(conn, command+"\r\n"); err != nil {
			return err
		}
		if err := skipAnswer(r); err != nil {
			return err
		}
	}
	var commands bytes.Buffer
	commands.WriteString("LIST\r\nUIDL\r\n")
	if retrieve {
		for i := range m.messages {
			fmt.Fprintf(&commands, "RETR %d\r\n", i+1)
		}
	}
	commands.WriteString("QUIT\r\n")
	sent := make(chan error, 1)
	go func() {
		_, err := commands.WriteTo(conn)
		sent <- err
	}()
	for answers := 0; ; answers++ {
		err := skipAnswer(r)
		if err == nil && (answers < 2 || retrieve && answers < 2+m.messages) {
			var lines int
			lines, err = skipLines(r)
			if err == nil && answers < 2 && lines != m.messages {
				err = fmt.Errorf("%d messages are listed, want %d", lines, m.messages)
			}
		} else if err == nil {
			return <-sent
		}
		if err != nil {
			return err
		}
	}
}

func dialPOP3(from server) (net.Conn, error) {
	if !from.tls {
		return net.Dial("tcp", from.address)
	}
	pem, err := os.ReadFile(from.ca)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	return tls.Dial("tcp", from.address, &tls.Config{RootCAs: roots})
}

// skipAnswer reads the first line of an answer.
func skipAnswer(r *bufio.Reader) error {
	line, err := r.ReadSlice('\n')
	if err == nil && !bytes.HasPrefix(line, []byte("+OK")) {
		err = fmt.Errorf("the server says: %.80q", line)
	}
	return err
}

// skipLines reads the other lines of an answer.
func skipLines(r *bufio.Reader) (lines int, err error) {
	for whole := true; ; {
		line, err := r.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return lines, err
		}
		if whole && string(line) == ".\r\n" {
			return lines, nil
		}
		if whole = err == nil; whole {
			lines++
		}
	}
}
