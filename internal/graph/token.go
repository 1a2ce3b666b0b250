package graph

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"

	"postroom/internal/oauth"
	"postroom/internal/secret"
)

// Grant is what a token says of the application. It is for people: what may be
// done is decided by the servers alone, and Exchange's RBAC for Applications
// grants what is in no token.
type Grant struct {
	// Known is false when the token cannot be read.
	Known         bool
	Roles         []string
	TenantID, App string
	// User is who has signed in, "" if that is the application itself. Then Roles
	// are what the person lets it do.
	User    string
	Expires time.Time
}

// Has reports whether the token carries one of the roles.
func (g Grant) Has(roles ...string) bool {
	return slices.ContainsFunc(roles, func(role string) bool { return slices.Contains(g.Roles, role) })
}

// grantOf reads a token.
func grantOf(token string) Grant {
	c := oauth.ReadClaims(secret.New(token))
	return Grant{
		Known: c.Known, Roles: append(c.Roles, c.Scopes...), TenantID: clean(c.TenantID), App: clean(c.App), User: clean(c.User), Expires: c.Expires,
	}
}

const (
	// early is how long before its end a token is replaced.
	early = 5 * time.Minute
	// refusalKept is for how long a refusal is taken to stand: many sources may
	// share the credential, and Entra locks out who asks too often.
	refusalKept = 30 * time.Second
	// replaceEvery is how often a token is replaced because another service refuses
	// it: that one may refuse the application, whatever its token.
	replaceEvery = 5 * time.Minute
)

// tokens is the cache of a client's tokens for one service.
type tokens struct {
	client *Client
	now    func() time.Time
	// scope is what is asked for, and service its name for errors, "" for Graph.
	scope, service string

	// turn is held by whoever looks at the fields below.
	turn      chan struct{}
	cred      azcore.TokenCredential
	stamp     string // of the certificate's file that cred was made of
	token     azcore.AccessToken
	refusal   *SignInError
	refusedAt time.Time
	// replaced is when another service's token was last dropped.
	replaced time.Time

	// skew is by how much the authority's clock was ahead of this machine's, and
	// expires when the certificate in use does (Unix seconds, 0 for none).
	skew    atomic.Int64
	expires atomic.Int64
}

// Skew returns by how much Entra's clock was ahead of this machine's when a token
// was had last; 0 if none was.
func (c *Client) Skew() time.Duration { return time.Duration(c.tokens.skew.Load()) }

// CertificateExpires returns when the certificate in use expires; zero if none
// is.
func (c *Client) CertificateExpires() time.Time {
	if at := c.tokens.expires.Load(); at != 0 {
		return time.Unix(at, 0)
	}
	return time.Time{}
}

func newTokens(c *Client) *tokens {
	return &tokens{client: c, now: time.Now, scope: c.GraphScope(), turn: make(chan struct{}, 1)}
}

// get returns a token that is good for some minutes.
func (t *tokens) get(ctx context.Context) (string, error) {
	select {
	case t.turn <- struct{}{}:
		defer func() { <-t.turn }()
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
	now := t.now()
	if t.token.Token != "" && now.Before(t.token.ExpiresOn.Add(-early)) {
		return t.token.Token, nil
	}
	if t.refusal != nil && now.Sub(t.refusedAt) < refusalKept {
		return "", t.refusal
	}
	if stamp := t.client.settings.certificateStamp(); t.cred == nil || stamp != t.stamp {
		cred, err := t.client.credential()
		switch {
		case err == nil:
			t.cred, t.stamp = cred, stamp
		case t.cred == nil:
			return "", t.remember(t.client.settings.explainSignIn(&spoken{asked: t}, err))
		}
		// Else the new file is not whole yet, and the certificate read before is
		// used once more.
	}
	fresh, err := t.client.signIn(ctx, t)
	if err != nil {
		// An old token that is still good outlives trouble of the authority.
		var refused *SignInError
		if t.token.Token != "" && now.Before(t.token.ExpiresOn.Add(-time.Minute)) && (!errors.As(err, &refused) || refused.Temporary()) && ctx.Err() == nil {
			return t.token.Token, nil
		}
		// The next try reads files again: a certificate may have been renewed.
		t.cred = nil
		return "", t.remember(err)
	}
	t.token, t.refusal = fresh, nil
	return fresh.Token, nil
}

func (t *tokens) remember(err error) error {
	var refused *SignInError
	if errors.As(err, &refused) && !refused.Temporary() && !refused.byPerson() {
		t.refusal, t.refusedAt = refused, t.now()
	}
	return err
}

// drop forgets the token, which Graph has refused, and what the sign-in library
// has of it.
func (t *tokens) drop(ctx context.Context, token string) {
	select {
	case t.turn <- struct{}{}:
		defer func() { <-t.turn }()
	case <-ctx.Done():
		return
	}
	if t.token.Token == token {
		t.token, t.cred = azcore.AccessToken{}, nil
	}
}
