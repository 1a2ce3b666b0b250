package graphtest

import (
	"crypto/rsa"
	"crypto/x509"
	"slices"
	"strings"
	"time"
)

// App is an application that is registered in the tenant.
type App struct {
	ID, Name string
	Secrets  []Secret
	// Certificates are those it may sign assertions with.
	Certificates []*x509.Certificate
	// Federated are whose assertions are accepted in place of a secret.
	Federated []Federated
	// Roles are the permissions that were granted, such as "Mail.ReadWrite".
	Roles []string
	// Granted are permissions that Exchange grants by itself (RBAC for
	// Applications): they are in no token.
	Granted []string
	// Mailboxes bounds the application to these addresses; nil for all.
	Mailboxes []string
	// Public: persons may sign in to it with a code, without a secret ("Allow
	// public client flows"). Delegated are the permissions it may ask of them, and
	// Consented that an administrator has given those for all.
	Public    bool
	Delegated []string
	Consented bool
	// Disabled: it exists and may not sign in.
	Disabled bool
}

// Secret is a client secret.
type Secret struct {
	Value string
	// Name is what the directory shows of it, besides how it begins.
	Name string
	// Unhinted: the directory does not know how it begins, as of one that was made
	// long ago.
	Unhinted bool
	// Expires is when it ends; never if zero.
	Expires time.Time
}

// Federated is an identity elsewhere that an application trusts (workload
// identity federation).
type Federated struct {
	Issuer, Subject string
	Key             *rsa.PublicKey
}

// AddApp registers an application, or replaces the one with its ID. Tokens that
// were issued keep the roles they have.
func (s *Server) AddApp(app App) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.apps[strings.ToLower(app.ID)] = &app
}

// ChangeApp changes the application that is there from the beginning.
func (s *Server) ChangeApp(f func(*App)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(s.apps[strings.ToLower(s.ClientID())])
}

// mayUse reports whether the application may use the mailbox.
func (a *App) mayUse(m *Mailbox) bool {
	return a.Mailboxes == nil || slices.ContainsFunc(a.Mailboxes, func(address string) bool {
		return strings.EqualFold(address, m.address)
	})
}
