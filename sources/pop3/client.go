package pop3

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"postroom/internal/deadline"
)

const (
	// maxLine bounds a line of an answer that is no message. RFC 2449 4 says 512
	// octets.
	maxLine = 8192
	// maxCapabilities bounds the lines of an answer to CAPA.
	maxCapabilities = 1000
	buffered        = 64 << 10
	// maxText is how much of what the server says stands in an error.
	maxText = 500
)

// client speaks POP3 on a connection. It is used by one goroutine at a time.
type client struct {
	bottom *deadline.Conn
	conn   net.Conn // bottom, or TLS on it
	r      *bufio.Reader
	caps   capabilities
	// greeting is what the server has greeted with.
	greeting string
}

// use makes conn what the client speaks on from now on.
func (c *client) use(conn net.Conn) {
	c.conn, c.r = conn, bufio.NewReaderSize(conn, buffered)
}

// refusal is an answer "-ERR [CODE] text".
type refusal struct {
	// code is the response code in upper case (RFC 2449 8, RFC 3206), "" if none.
	code, text string
}

func (r *refusal) Error() string {
	if r.text == "" && r.code == "" {
		return "the server refuses it without a word"
	}
	if r.code != "" {
		return fmt.Sprintf("the server says: [%s] %s", r.code, r.text)
	}
	return "the server says: " + r.text
}

// protocolError is an answer that cannot be read.
type protocolError struct{ err error }

func (e *protocolError) Error() string { return "the server's answer cannot be read: " + e.err.Error() }
func (e *protocolError) Unwrap() error { return e.err }

// lostError is a connection that ended or fell silent.
type lostError struct{ err error }

func (e *lostError) Error() string { return "connection lost: " + e.err.Error() }
func (e *lostError) Unwrap() error { return e.err }

func lost(err error) error {
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return &lostError{err}
}

// broken reports whether the error ended the connection.
func broken(err error) bool {
	var l *lostError
	var p *protocolError
	var ours *callerError
	if errors.As(err, &ours) {
		return false
	}
	return errors.As(err, &l) || errors.As(err, &p)
}

// send sends commands in one piece.
func (c *client) send(commands ...string) error {
	if len(commands) == 0 {
		return nil
	}
	if _, err := io.WriteString(c.conn, strings.Join(commands, "\r\n")+"\r\n"); err != nil {
		return lost(err)
	}
	return nil
}

// line reads a line without its end. It is valid until the next read.
func (c *client) line() ([]byte, error) {
	line, err := c.r.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull), err == nil && len(line) > maxLine:
		return nil, &protocolError{fmt.Errorf("a line of more than %d bytes", maxLine)}
	case err != nil:
		return nil, lost(err)
	}
	line = line[:len(line)-1]
	if n := len(line); n > 0 && line[n-1] == '\r' {
		line = line[:n-1]
	}
	return line, nil
}

// status reads the first line of an answer (RFC 1939 3) and returns its text, or
// a *refusal.
func (c *client) status() (string, error) {
	line, err := c.line()
	if err != nil {
		return "", err
	}
	word, text, _ := strings.Cut(string(line), " ")
	switch strings.ToUpper(word) {
	case "+OK":
		return text, nil
	case "-ERR":
		return "", parseRefusal(text)
	}
	return "", &protocolError{fmt.Errorf("neither +OK nor -ERR, but %s", shown(line))}
}

// shown returns the beginning of a line for an error, without what may be a
// part of a message that got into the wrong place.
func shown(line []byte) string {
	return strconv.Quote(string(line[:min(len(line), 12)]))
}

func parseRefusal(text string) *refusal {
	r := &refusal{text: text}
	if rest, ok := strings.CutPrefix(text, "["); ok {
		if code, after, ok := strings.Cut(rest, "]"); ok && len(code) <= 64 {
			r.code, r.text = strings.ToUpper(code), strings.TrimSpace(after)
		}
	}
	r.text = strings.ToValidUTF8(r.text[:min(len(r.text), maxText)], "?")
	return r
}

// lines reads the lines of an answer that has more than one, after the first.
// A line is valid during the call.
func (c *client) lines(most int, each func(line []byte) error) error {
	for n := 0; ; n++ {
		line, err := c.line()
		if err != nil {
			return err
		}
		if len(line) > 0 && line[0] == '.' {
			if line = line[1:]; len(line) == 0 {
				return nil
			}
		}
		if n == most {
			return &protocolError{fmt.Errorf("more than %d lines", most)}
		}
		if err := each(line); err != nil {
			return err
		}
	}
}

// capabilities are what the server says in answer to CAPA (RFC 2449 5).
type capabilities struct {
	// known is that it has answered.
	known                       bool
	user, uidl, top, pipelining bool
	stls                        bool
	// utf8 is RFC 6856.
	utf8       bool
	mechanisms []string
	// loginDelay is the least time between two sign-ins (RFC 2449 6.5).
	loginDelay time.Duration
}

// has reports whether the SASL mechanism is offered.
func (c capabilities) has(mechanism string) bool { return slices.Contains(c.mechanisms, mechanism) }

// askCapabilities replaces what is known of the server. One that does not know
// the command has none.
func (c *client) askCapabilities() error {
	if err := c.send("CAPA"); err != nil {
		return err
	}
	c.caps = capabilities{}
	_, err := c.status()
	var refused *refusal
	if errors.As(err, &refused) {
		return nil
	} else if err != nil {
		return err
	}
	caps := capabilities{known: true}
	err = c.lines(maxCapabilities, func(line []byte) error {
		fields := strings.Fields(strings.ToUpper(string(line)))
		if len(fields) == 0 {
			return nil
		}
		switch fields[0] {
		case "USER":
			caps.user = true
		case "UIDL":
			caps.uidl = true
		case "TOP":
			caps.top = true
		case "PIPELINING":
			caps.pipelining = true
		case "STLS":
			caps.stls = true
		case "UTF8":
			caps.utf8 = true
		case "SASL":
			caps.mechanisms = fields[1:]
		case "LOGIN-DELAY":
			if len(fields) > 1 {
				if seconds, err := strconv.ParseUint(fields[1], 10, 20); err == nil {
					caps.loginDelay = time.Duration(seconds) * time.Second
				}
			}
		}
		return nil
	})
	c.caps = caps
	return err
}
