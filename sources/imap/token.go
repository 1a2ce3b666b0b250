package imap

import (
	"context"
	"errors"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"postroom/internal/oauth"
	"postroom/internal/secret"
	"postroom/sources"
)

// tokenSignIn is a sign-in with a token.
type tokenSignIn struct {
	attempt oauth.Attempt
	token   secret.Value
}

// tokenRefusal is that the server does not take the token.
type tokenRefusal struct {
	status *goimap.Error
	// said is what the server says of the reason.
	said string
}

func (e *tokenRefusal) Error() string {
	if e.said == "" {
		return e.status.Error()
	}
	return e.status.Error() + " (the token: " + e.said + ")"
}

func (e *tokenRefusal) Unwrap() error { return e.status }

// connectByToken is connect with a token. If the server refuses it, it may have
// been revoked: another is tried, once and on a new connection, since a server may
// count what is refused on one.
func (s *Source) connectByToken(ctx context.Context, report func(sources.Step)) (*conn, error) {
	signInFailed := func(err error) (*conn, error) {
		report(sources.Step{Name: "sign-in", Err: err})
		return nil, err
	}
	token, err := s.cfg.Tokens.Token(ctx)
	if err != nil {
		return signInFailed(s.explain("get a token", err))
	}
	var refusal *tokenRefusal
	c, err := s.dial(ctx, token, func(step sources.Step) {
		if !errors.As(step.Err, &refusal) {
			report(step)
		}
	})
	if !errors.As(err, &refusal) {
		return c, err
	}
	s.cfg.Tokens.Refused(ctx, token)
	fresh, tokenErr := s.cfg.Tokens.Token(ctx)
	switch {
	case tokenErr != nil:
		return signInFailed(s.explain("get another token", tokenErr))
	case fresh.Reveal() == token.Reveal():
		return signInFailed(err)
	}
	return s.dial(ctx, fresh, func(step sources.Step) {
		if step.Err != nil || step.Name == "sign-in" {
			report(step)
		}
	})
}

// authenticateByToken signs in with the token, and returns what is to be said of
// how.
func (s *Source) authenticateByToken(ctx context.Context, c *conn, caps goimap.CapSet, token secret.Value) (how string, err error) {
	mechanism := oauth.Choose(func(mechanism string) bool { return caps.Has(goimap.AuthCap(mechanism)) })
	if mechanism == "" {
		return "", s.error(sources.Permanent, "sign in", errors.New("the server accepts no token on this connection: it offers neither "+oauth.XOAuth2+" nor "+oauth.OAuthBearer)).
			WithRemedy("check server; if it is the right one, it wants credentials of type password")
	}
	client := &tokenClient{attempt: oauth.New(mechanism, s.cfg.Username, s.host.Name, s.host.Port, token)}
	s.signed.Store(&tokenSignIn{client.attempt, token})
	c.stream.answering(true)
	defer c.stream.answering(false)
	err = c.run(ctx, "sign in as "+s.cfg.Username, func(imap *imapclient.Client) error { return imap.Authenticate(client) })
	return " by " + mechanism, s.explainToken(err, client.said)
}

// explainToken is explain for the answer to a sign-in with a token. A NO without a
// code refuses the token; so does a BAD, which servers say that do not expect an
// answer to their challenge, or that cannot read the token at all.
func (s *Source) explainToken(err error, said string) error {
	var status *goimap.Error
	var classed *sources.Error
	if !errors.As(err, &status) || !errors.As(err, &classed) {
		return err
	}
	refused := classed.Class == sources.SignIn || classed.Class == sources.Temporary && status.Code == "" &&
		(status.Type == goimap.StatusResponseTypeNo || status.Type == goimap.StatusResponseTypeBad)
	if !refused {
		return err
	}
	return s.error(sources.SignIn, "sign in as "+s.cfg.Username, &tokenRefusal{status, said}).WithRemedy("%s", s.tokenRemedy())
}

// tokenClient is the client's side of a SASL exchange with a token.
type tokenClient struct {
	attempt oauth.Attempt
	asked   bool
	// said is what the server has said of its reason to refuse.
	said string
}

// Start implements sasl.Client.
func (c *tokenClient) Start() (mechanism string, first []byte, err error) {
	return c.attempt.Mechanism, c.attempt.First, nil
}

// Next implements sasl.Client. A server asks only in order to refuse.
func (c *tokenClient) Next(challenge []byte) ([]byte, error) {
	if c.asked {
		return nil, errors.New("the server goes on asking")
	}
	c.asked, c.said = true, c.attempt.Said(challenge)
	return c.attempt.Last, nil
}

// hide takes the token out of what the server says.
func (s *Source) hide(text string) string {
	if signed := s.signed.Load(); signed != nil {
		return signed.attempt.Hide(text)
	}
	return text
}

// claims are those of the token that was last signed in with.
func (s *Source) claims() oauth.Claims {
	if signed := s.signed.Load(); signed != nil {
		return oauth.ReadClaims(signed.token)
	}
	return oauth.Claims{}
}

// noRole has the token replaced if the mailbox is not opened for want of a role,
// which another token may carry by now.
func (s *Source) noRole(ctx context.Context) {
	if signed := s.signed.Load(); signed != nil && oauth.IMAP.Lacks(oauth.ReadClaims(signed.token)) {
		s.cfg.Tokens.Refused(ctx, signed.token)
	}
}

// tokenRemedy says what an application needs in Exchange Online.
func (s *Source) tokenRemedy() string { return oauth.IMAP.Remedy(s.cfg.Username, s.claims()) }

// probeTokens checks where tokens come from, and reports whether all is well.
func (s *Source) probeTokens(ctx context.Context, report func(sources.Step)) bool {
	return oauth.Probe(ctx, s.cfg.Tokens, func(name, detail string, err error) {
		report(sources.Step{Name: name, Detail: detail, Err: err})
	})
}
