package oauth

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Protocol is one by which Exchange Online lets applications into mailboxes.
type Protocol struct {
	// Name is the protocol's, Role the permission that an application needs, and
	// Scope the one that it needs of a person who signs in.
	Name, Role, Scope string
	// Switch is the parameter of Set-CASMailbox that allows it for a mailbox.
	Switch string
}

// What Exchange Online has for applications.
var (
	IMAP = Protocol{"IMAP", "IMAP.AccessAsApp", "IMAP.AccessAsUser.All", "ImapEnabled"}
	POP3 = Protocol{"POP3", "POP.AccessAsApp", "POP.AccessAsUser.All", "PopEnabled"}
)

// Lacks reports whether the token says that the application has no permission for
// the protocol.
func (p Protocol) Lacks(c Claims) bool {
	if c.delegated() {
		return !slices.Contains(c.Scopes, p.Scope)
	}
	return c.Known && !slices.Contains(c.Roles, p.Role)
}

// delegated reports whether the token is that of a person.
func (c Claims) delegated() bool { return c.Known && len(c.Scopes) > 0 }

// Remedy says what an application needs so that the server opens the mailbox,
// after it did not for a token of the claims. Which of it is missing Exchange
// Online does not tell.
func (p Protocol) Remedy(mailbox string, c Claims) string {
	switch {
	case c.delegated() && p.Lacks(c):
		return fmt.Sprintf("the token has no permission %s: Entra admin center, App registrations, API permissions: add Office 365 Exchange Online "+
			"(APIs my organization uses), Delegated permissions, %s; then sign in again", p.Scope, p.Scope)
	case c.delegated():
		return fmt.Sprintf("check mailbox: a person's sign-in opens the person's own mailbox only; with Exchange Online, run in its PowerShell: Set-CASMailbox -Identity %s -%s $true; it takes up to an hour",
			argument(mailbox), p.Switch)
	}
	if p.Lacks(c) {
		return fmt.Sprintf("the token has no permission %s: Entra admin center, App registrations, API permissions: add Office 365 Exchange Online "+
			"(APIs my organization uses), Application permissions (not Delegated), %s, and Grant admin consent; those of Microsoft Graph do not count here", p.Role, p.Role)
	}
	app, object := "CLIENT_ID", "OBJECT_ID"
	if word.MatchString(c.App) && word.MatchString(c.Object) {
		app, object = c.App, c.Object
	}
	mailbox = argument(mailbox)
	return fmt.Sprintf("check mailbox; with Exchange Online, run in its PowerShell what is missing of: New-ServicePrincipal -AppId %s -ObjectId %s "+
		"(once; the object id is that of the enterprise application, not of the registration); "+
		"Add-MailboxPermission -Identity %s -User %s -AccessRights FullAccess; Set-CASMailbox -Identity %s -%s $true; it takes up to an hour",
		app, object, mailbox, object, mailbox, p.Switch)
}

// word is what PowerShell takes as it is.
var word = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.@_+-]*$`)

func argument(text string) string {
	if word.MatchString(text) {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", "''") + "'"
}

// Probe checks how tokens are come by, if that can be checked, and reports whether
// all is well.
func Probe(ctx context.Context, t TokenSource, report func(name, detail string, err error)) bool {
	prober, ok := t.(Prober)
	if !ok {
		return true
	}
	well := true
	prober.Probe(ctx, func(name, detail string, err error) {
		well = well && err == nil
		report(name, detail, err)
	})
	return well
}
