package graph

import (
	"context"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"

	"postroom/internal/oauth"
	"postroom/internal/secret"
)

// Resource hands out tokens for another service than Graph. Its errors are those
// of signing in: [*SignInError], [*ConnError], and that of the context.
type Resource struct {
	client *Client
	tokens *tokens
}

// Resource returns the tokens of a scope, of which there is one at a time for all
// clients of the same settings. The service is its name for errors. It is of use
// until the client is closed.
func (c *Client) Resource(scope, service string) *Resource {
	c.clients.mu.Lock()
	defer c.clients.mu.Unlock()
	t := c.resources[scope]
	if t == nil {
		t = newTokens(c)
		t.scope, t.service, t.now = scope, service, func() time.Time { return c.tokens.now() }
		if c.resources == nil {
			c.resources = make(map[string]*tokens)
		}
		c.resources[scope] = t
	}
	return &Resource{client: c, tokens: t}
}

// MailScope is the scope of tokens for IMAP or POP3: in a cloud that is not known
// it is that of the server itself, given by its host name.
func (c *Client) MailScope(server string, p oauth.Protocol) string {
	resource := "https://" + server
	if c.cloud.Outlook != "" {
		resource = c.cloud.Outlook
	}
	if c.settings.Flow == DeviceCode {
		return resource + "/" + p.Scope
	}
	return resource + "/.default"
}

// GraphScope is the scope of tokens for Graph.
func (c *Client) GraphScope() string {
	if c.settings.Flow == DeviceCode {
		return c.cloud.Endpoint + "/Mail.ReadWrite"
	}
	return c.cloud.Endpoint + "/.default"
}

// Token implements [oauth.TokenSource].
func (r *Resource) Token(ctx context.Context) (secret.Value, error) {
	token, err := r.tokens.get(ctx)
	if err != nil {
		return secret.Value{}, err
	}
	return secret.New(token), nil
}

// Refused implements [oauth.TokenSource].
func (r *Resource) Refused(ctx context.Context, token secret.Value) {
	r.tokens.replace(ctx, token.Reveal())
}

// Close implements [oauth.TokenSource]: it closes the client.
func (r *Resource) Close() { r.client.Close() }

var _ oauth.TokenSource = (*Resource)(nil)

// replace forgets the token, which a service has refused, unless one was forgotten
// for that a short while ago.
func (t *tokens) replace(ctx context.Context, token string) {
	select {
	case t.turn <- struct{}{}:
		defer func() { <-t.turn }()
	case <-ctx.Done():
		return
	}
	now := t.now()
	if t.token.Token != token || !t.replaced.IsZero() && now.Sub(t.replaced) < replaceEvery {
		return
	}
	t.token, t.cred, t.replaced = azcore.AccessToken{}, nil, now
}
