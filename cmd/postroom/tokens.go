package main

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"postroom/cmd/postroom/config"
	"postroom/internal/graph"
	"postroom/internal/oauth"
	"postroom/internal/secret"
	"postroom/sources"
	"postroom/sources/exchange"
)

// mailTokens are the tokens with which a source of IMAP or POP3 signs in, from credentials
// of type entra. Its errors have their class and remedy.
type mailTokens struct {
	resource *graph.Resource
	client   *graph.Client
	mailbox  string
	log      *zap.Logger
	// person: it is one who signs in, and not an application.
	person bool
}

var (
	_ oauth.TokenSource = (*mailTokens)(nil)
	_ oauth.Prober      = (*mailTokens)(nil)
)

// openTokens returns the tokens for the source's mailbox on the server, a host
// name with or without port. Without credentials of type entra it returns nil.
func openTokens(s *config.Source, server string, p oauth.Protocol, log *zap.Logger) (oauth.TokenSource, error) {
	if s.Credentials == nil || s.Credentials.Entra == nil {
		return nil, nil
	}
	client, err := graphClients.Open(graphSettings(s))
	if err != nil {
		e, _ := exchange.ExplainSignIn(err)
		return nil, fmt.Errorf("open source %s: %w", s.Name, e)
	}
	return &mailTokens{client.Resource(client.MailScope(hostOf(server), p), "Exchange Online"), client, s.Mailbox, log, s.Credentials.Entra.Flow == graph.DeviceCode}, nil
}

// withTokens opens a source of the protocol, with tokens for the server if its credentials are of
// type entra. It closes these if that fails.
func withTokens(s *config.Source, server string, p oauth.Protocol, log *zap.Logger, open func(oauth.TokenSource) (sources.Source, error)) (sources.Source, error) {
	tokens, err := openTokens(s, server, p, log)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.Position, err)
	}
	src, err := open(tokens)
	if err != nil {
		if tokens != nil {
			tokens.Close()
		}
		return nil, fmt.Errorf("%s: %w", s.Position, err)
	}
	return src, nil
}

// hostOf returns the host of a server as it stands in a URL.
func hostOf(server string) string {
	host, _, err := net.SplitHostPort(server)
	if err != nil {
		host = strings.Trim(server, "[]")
	}
	if strings.Contains(host, ":") {
		return "[" + host + "]"
	}
	return strings.ToLower(host)
}

// explain gives an error its class and remedy, and names the mailbox.
func (t *mailTokens) explain(doing string, err error) error {
	e, _ := exchange.ExplainSignIn(err)
	e.Err = fmt.Errorf("mailbox %s: %s: %w", t.mailbox, doing, err)
	return e
}

// Token implements [oauth.TokenSource].
func (t *mailTokens) Token(ctx context.Context) (secret.Value, error) {
	token, err := t.resource.Token(ctx)
	if err != nil {
		return secret.Value{}, t.explain("sign in", err)
	}
	if t.person {
		proof, soon, err := t.client.ExpiresSoon(ctx, warnBefore)
		if err != nil {
			return secret.Value{}, t.explain("sign in", err)
		}
		if soon {
			t.log.Warn("the sign-in of a person ends soon", zap.String("mailbox", t.mailbox), zap.Time("expires", proof.Expires), zap.String("remedy", proof.Renew))
		}
	}
	return token, nil
}

// Refused implements [oauth.TokenSource].
func (t *mailTokens) Refused(ctx context.Context, token secret.Value) { t.resource.Refused(ctx, token) }

// Close implements [oauth.TokenSource].
func (t *mailTokens) Close() { t.resource.Close() }

// maxSkew is by how much the clock may differ from Entra's, which takes five
// minutes.
const maxSkew = 4 * time.Minute

// Probe implements [oauth.Prober].
func (t *mailTokens) Probe(ctx context.Context, report func(name, detail string, err error)) {
	reached := t.client.ReachAuthority(ctx, func(step, detail string, err error) {
		if err != nil {
			err = t.explain("reach Microsoft Entra ID", err)
		}
		report(step, detail, err)
	})
	if !reached {
		return
	}
	token, err := t.Token(ctx)
	skew := t.client.Skew().Abs()
	switch {
	case err != nil:
		report("sign-in", "", err)
	case skew > maxSkew:
		report("sign-in", "", sources.Errorf(sources.Permanent, "mailbox %s: sign in: the clock of this machine differs from Microsoft's by %s", t.mailbox, skew.Round(time.Second)).
			WithRemedy("set the clock of this machine, and keep it right (NTP)"))
	default:
		proof, err := t.client.Proof(ctx)
		report("sign-in", describeToken(oauth.ReadClaims(token))+exchange.DescribeProof(proof, err), nil)
		warning, expired := exchange.CheckProof(proof)
		switch {
		case expired != nil:
			report("sign-in", "", sources.Errorf(sources.SignIn, "mailbox %s: sign in: %w", t.mailbox, expired.Err).WithRemedy("%s", expired.Remedy))
		case warning != "":
			report("warning", warning, nil)
		}
	}
}

// warnBefore is how long before its end a sign-in is said to end soon.
const warnBefore = 30 * 24 * time.Hour

// describeToken says for whom the token is, and what of permissions is in it.
func describeToken(c oauth.Claims) string {
	if !c.Known {
		return "Entra has given a token"
	}
	detail := fmt.Sprintf("application %s, tenant %s; token until %s", c.App, c.TenantID, c.Expires.UTC().Format(time.RFC3339))
	if c.User != "" {
		detail = "as " + c.User + " by " + detail
	}
	c.Roles = append(c.Roles, c.Scopes...)
	if len(c.Roles) == 0 {
		return detail + "; it has no permission"
	}
	roles := slices.Sorted(slices.Values(c.Roles))
	return detail + "; it has " + strings.Join(roles[:min(len(roles), 8)], ", ")
}
