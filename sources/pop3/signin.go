package pop3

import (
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"postroom/internal/mailhost"
	"postroom/internal/oauth"
	"postroom/internal/secret"
)

// maxInitial is how long a command may be that carries the first SASL response
// (RFC 5034 4).
const maxInitial = 253

// signIn authenticates: by the token if there is one, else by SASL PLAIN, or USER
// and PASS where that is not offered. It returns what is to be said of how. No error
// holds a secret, even if the server repeats it.
func (s *Source) signIn(c *client, token secret.Value) (how string, err error) {
	if strings.ContainsAny(s.cfg.Username, "\r\n\x00\x01") {
		return "", permanent("sign in", errors.New("the user name holds a line break, NUL or another control character"), "correct the user name of the credentials")
	}
	if s.cfg.Tokens != nil {
		return s.signInByToken(c, token)
	}
	return "", s.signInByPassword(c)
}

func (s *Source) signInByPassword(c *client) error {
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

// errNoPassword is that the server offers no way to sign in with one.
var errNoPassword = errors.New("the server accepts no password on this connection")

func (s *Source) noPassword(c *client) error {
	err := errNoPassword
	switch {
	case s.host.Encryption == mailhost.None:
		return permanent("sign in", err, "it wants encryption: use tls: implicit or starttls")
	case len(c.caps.mechanisms) > 0:
		return permanent("sign in", err, fmt.Sprintf("it offers %s: choose credentials of another type, or the source's type for this provider",
			strings.Join(c.caps.mechanisms, ", ")))
	}
	return permanent("sign in", err, "ask the server's administrator how applications sign in")
}

// signInByToken authenticates with the token, and returns what is to be said of
// how.
func (s *Source) signInByToken(c *client, token secret.Value) (how string, err error) {
	mechanism := oauth.Choose(c.caps.has)
	if mechanism == "" && c.caps.known {
		return "", permanent("sign in", fmt.Errorf("the server accepts no token on this connection: it offers neither %s nor %s", oauth.XOAuth2, oauth.OAuthBearer),
			"check server; if it is the right one, it wants credentials of type password")
	}
	attempt := oauth.New(cmp.Or(mechanism, oauth.XOAuth2), s.cfg.Username, s.host.Name, s.host.Port, token)
	last := base64.StdEncoding.EncodeToString(attempt.Last)
	challenge, err := c.authenticate(attempt.Mechanism, base64.StdEncoding.EncodeToString(attempt.First), last)
	var refused *refusal
	if errors.As(err, &refused) {
		if refused.code == "" && !locked.MatchString(refused.text) && !passes.MatchString(refused.text) {
			refused.code = "AUTH"
		}
		if raw, e := base64.StdEncoding.DecodeString(challenge); e == nil {
			if said := attempt.Said(raw); said != "" {
				refused.text += " (the token: " + said + ")"
			}
		}
		refused.text = attempt.Hide(refused.text)
	}
	return " by " + attempt.Mechanism, err
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
