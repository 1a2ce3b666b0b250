package graph

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// Proof is what an application proves itself with, and until when.
type Proof struct {
	// Kind is "certificate", "client secret", or "sign-in" of a person.
	Kind string
	// Name is what the directory calls a secret, or who signed in; it may be empty.
	Name    string
	Expires time.Time
	// Life is how long it is valid from its last use on, if that renews it; and
	// Renew how a person does so, "" if not a person.
	Life  time.Duration
	Renew string
}

// Soon reports whether it expires within the time, or, if it is renewed by use,
// within the last third of its life.
func (p Proof) Soon(now time.Time, within time.Duration) bool {
	if p.Life > 0 {
		within = min(within, p.Life/3)
	}
	return !p.Expires.IsZero() && p.Expires.Sub(now) <= within
}

const (
	// askEvery is how often the directory is asked until when a secret is valid,
	// and askAgain after how long if there was no answer.
	askEvery = 24 * time.Hour
	askAgain = time.Hour
	// askPatience bounds a question that nothing depends on.
	askPatience = 10 * time.Second
)

// proofs is what a client knows of its secret.
type proofs struct {
	mu    sync.Mutex
	known Proof
	next  time.Time // when the directory is asked again
	told  time.Time // when it was last said that the end is near
}

// Proof returns what the client signs in with, and zero if it is not known until
// when. A certificate says so itself, once it was used. Of a secret the directory
// knows: that is asked at most once a day, and the answer is zero, without an
// error, where the application may not read its own registration
// (Application.Read.All).
func (c *Client) Proof(ctx context.Context) (Proof, error) {
	s := &c.settings
	if s.Flow == DeviceCode {
		return c.personProof(), nil
	}
	if at := c.CertificateExpires(); !at.IsZero() {
		return Proof{Kind: "certificate", Expires: at}, nil
	}
	if s.Flow != "" && s.Flow != ClientCredentials || s.ClientSecret.Empty() || !IsID(s.ClientID) {
		return Proof{}, nil
	}
	c.proofs.mu.Lock()
	known, now := c.proofs.known, c.tokens.now()
	ask := !now.Before(c.proofs.next)
	if ask {
		// Others do not wait for the answer.
		c.proofs.next = now.Add(askAgain)
	}
	c.proofs.mu.Unlock()
	if !ask {
		return known, nil
	}
	all, err := c.secrets(ctx)
	if err != nil {
		return known, err
	}
	known = ownSecret(s.ClientSecret.Reveal(), all, now)
	known.Name = s.scrub(known.Name)
	c.proofs.mu.Lock()
	defer c.proofs.mu.Unlock()
	c.proofs.known, c.proofs.next = known, now.Add(askEvery)
	return known, nil
}

// ExpiresSoon returns what the client signs in with if that expires within the
// time, once a day. The error is that of Proof.
func (c *Client) ExpiresSoon(ctx context.Context, within time.Duration) (p Proof, soon bool, err error) {
	p, err = c.Proof(ctx)
	now := c.tokens.now()
	if !p.Soon(now, within) {
		return p, false, err
	}
	c.proofs.mu.Lock()
	defer c.proofs.mu.Unlock()
	if !c.proofs.told.IsZero() && now.Sub(c.proofs.told) < 24*time.Hour {
		return p, false, err
	}
	c.proofs.told = now
	return p, true, err
}

// passwordCredential is what the directory shows of a client secret.
type passwordCredential struct {
	Name string `json:"displayName"`
	// Hint is how the secret begins, three characters; empty of some that were
	// made long ago.
	Hint string `json:"hint"`
	End  stamp  `json:"endDateTime"`
}

// secrets returns the secrets of the application, none if it may not read its
// registration or that is in another tenant. The request is written here: the
// SDK's package for it would double what is to be compiled.
func (c *Client) secrets(ctx context.Context) ([]passwordCredential, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, askPatience, errNoAnswer)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet,
		c.cloud.Endpoint+"/v1.0/applications(appId='"+strings.TrimSpace(c.settings.ClientID)+"')?$select=passwordCredentials", nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "postroom")
	// The directory is no mailbox, and what is asked of it counts for none.
	directory := &Mailbox{Client: c, lane: c.clients.lane(c.host+" "+c.settings.ClientID, "applications")}
	var registration struct {
		Secrets []*passwordCredential `json:"passwordCredentials"`
	}
	err = directory.read(req, &registration)
	var answer *Error
	if errors.As(err, &answer) && (answer.Status == http.StatusForbidden || answer.Status == http.StatusNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []passwordCredential
	for _, secret := range registration.Secrets {
		if secret != nil && !secret.End.IsZero() {
			all = append(all, *secret)
		}
	}
	return all, nil
}

// ownSecret returns which of the secrets is the one at hand: one that begins like
// it or, if none does, one of which that is not known. Of several it is the one
// that ends first, of those that have not: with the others nobody signs in.
func ownSecret(secret string, all []passwordCredential, now time.Time) Proof {
	alike := func(same func(hint string) bool) []passwordCredential {
		return slices.DeleteFunc(slices.Clone(all), func(s passwordCredential) bool { return !same(s.Hint) })
	}
	found := alike(func(hint string) bool { return hint != "" && strings.HasPrefix(secret, hint) })
	if len(found) == 0 {
		found = alike(func(hint string) bool { return hint == "" })
	}
	if len(found) == 0 {
		return Proof{}
	}
	slices.SortStableFunc(found, func(a, b passwordCredential) int { return a.End.Compare(b.End.Time) })
	own := found[len(found)-1] // all have ended
	if i := slices.IndexFunc(found, func(s passwordCredential) bool { return s.End.After(now) }); i >= 0 {
		own = found[i]
	}
	return Proof{Kind: "client secret", Name: own.Name, Expires: own.End.Time}
}
