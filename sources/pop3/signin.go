package pop3

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"

	"postroom/internal/mailhost"
)

// maxInitial is how long a command may be that carries the first SASL response
// (RFC 5034 4).
const maxInitial = 253

// signIn authenticates: by token if there is one, else by SASL PLAIN, or USER and
// PASS where that is not offered. No error holds a secret, even if the server
// repeats it.
func (s *Source) signIn(ctx context.Context, c *client) error {
	if strings.ContainsAny(s.cfg.Username, "\r\n\x00") {
		return permanent("sign in", errors.New("the user name holds a line break or NUL"), "correct the user name of the credentials")
	}
	if s.cfg.Token != nil {
		return s.signInByToken(ctx, c)
	}
	password := s.cfg.Password.Reveal()
	if strings.ContainsAny(password, "\r\n\x00") {
		return permanent("sign in", errors.New("the password holds a line break or NUL"),
			"a file that a password is read from must hold the password only")
	}
	plain := base64.StdEncoding.EncodeToString([]byte("\x00" + s.cfg.Username + "\x00" + password))
	switch {
	case c.caps.has("PLAIN"):
		_, err := c.authenticate("PLAIN", plain, "")
		return hide(err, plain, password)
	case c.caps.known && !c.caps.user:
		return s.noPassword(c)
	}
	if err := c.send("USER " + s.cfg.Username); err != nil {
		return err
	}
	if _, err := c.status(); err != nil {
		return hide(err, password)
	}
	if err := c.send("PASS " + password); err != nil {
		return err
	}
	_, err := c.status()
	return hide(err, password)
}

func (s *Source) noPassword(c *client) error {
	err := errors.New("the server accepts no password on this connection")
	switch {
	case s.host.Encryption == mailhost.None:
		return permanent("sign in", err, "it wants encryption: use tls: implicit or starttls")
	case len(c.caps.mechanisms) > 0:
		return permanent("sign in", err, fmt.Sprintf("it offers %s: choose credentials of another type, or the source's type for this provider",
			strings.Join(c.caps.mechanisms, ", ")))
	}
	return permanent("sign in", err, "ask the server's administrator how applications sign in")
}

func (s *Source) signInByToken(ctx context.Context, c *client) error {
	secret, err := s.cfg.Token(ctx)
	if err != nil {
		return err
	}
	token := secret.Reveal()
	// RFC 7628 3.1, and Google's and Microsoft's XOAUTH2, which came before.
	mechanism, first, last := "XOAUTH2", "user="+s.cfg.Username+"\x01auth=Bearer "+token+"\x01\x01", ""
	if !c.caps.has("XOAUTH2") && c.caps.has("OAUTHBEARER") {
		name := strings.NewReplacer("=", "=3D", ",", "=2C").Replace(s.cfg.Username)
		host, port := s.host.Name, s.host.Port
		mechanism, last = "OAUTHBEARER", base64.StdEncoding.EncodeToString([]byte("\x01"))
		first = fmt.Sprintf("n,a=%s,\x01host=%s\x01port=%s\x01auth=Bearer %s\x01\x01", name, bracketed(host), port, token)
	} else if c.caps.known && !c.caps.has("XOAUTH2") {
		return permanent("sign in", errors.New("the server accepts no token on this connection"),
			"it offers neither XOAUTH2 nor OAUTHBEARER: use credentials of type password")
	}
	encoded := base64.StdEncoding.EncodeToString([]byte(first))
	challenge, err := c.authenticate(mechanism, encoded, last)
	var refused *refusal
	if errors.As(err, &refused) && refused.code == "" {
		refused.code = "AUTH"
		if said := tokenStatus(challenge); said != "" {
			refused.text += " (" + said + ")"
		}
	}
	return hide(err, encoded, token)
}

func bracketed(host string) string {
	if ip := net.ParseIP(host); ip != nil && ip.To4() == nil {
		return "[" + host + "]"
	}
	return host
}

// tokenStatus returns what a server says about a token that it refuses.
func tokenStatus(challenge string) string {
	raw, err := base64.StdEncoding.DecodeString(challenge)
	if err != nil {
		return ""
	}
	var said struct {
		Status string `json:"status"`
	}
	if json.Unmarshal(raw, &said) != nil || len(said.Status) > 64 {
		return ""
	}
	return said.Status
}

// authenticate performs a SASL exchange of one response (RFC 5034 4). What the
// server asks besides is answered with last, and returned.
func (c *client) authenticate(mechanism, first, last string) (challenge string, err error) {
	command, inline := "AUTH "+mechanism, false
	if len(command)+1+len(first) <= maxInitial {
		command, inline = command+" "+first, true
	}
	if err := c.send(command); err != nil {
		return "", err
	}
	for range 3 {
		line, err := c.line()
		if err != nil {
			return "", err
		}
		text := string(line)
		if text != "+" && !strings.HasPrefix(text, "+ ") {
			word, rest, _ := strings.Cut(text, " ")
			switch strings.ToUpper(word) {
			case "+OK":
				return challenge, nil
			case "-ERR":
				return challenge, parseRefusal(rest)
			}
			return "", &protocolError{fmt.Errorf("neither +OK nor -ERR, but %s", shown(line))}
		}
		response := first
		if inline {
			challenge, response = strings.TrimPrefix(strings.TrimPrefix(text, "+"), " "), last
		}
		inline = true
		if err := c.send(response); err != nil {
			return "", err
		}
	}
	return challenge, &protocolError{errors.New("the server goes on asking")}
}

// hide takes secrets out of what the server says.
func hide(err error, secrets ...string) error {
	var refused *refusal
	if errors.As(err, &refused) {
		for _, secret := range secrets {
			if secret != "" {
				refused.text = strings.ReplaceAll(refused.text, secret, "***")
				refused.code = strings.ReplaceAll(refused.code, strings.ToUpper(secret), "***")
			}
		}
	}
	return err
}
