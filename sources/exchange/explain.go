package exchange

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"postroom/internal/graph"
	"postroom/sources"
)

// explain gives err, met while doing something, its class and remedy, and names
// the mailbox.
func (s *Source) explain(doing string, err error) error {
	var classed *sources.Error
	if err == nil || errors.As(err, &classed) {
		return err
	}
	e := s.classify(err)
	e.Err = fmt.Errorf("mailbox %s: %s: %w", s.cfg.Mailbox, doing, err)
	return e
}

// failure returns an error of the class that names the mailbox.
func (s *Source) failure(class sources.Class, doing string, err error) *sources.Error {
	return sources.Errorf(class, "mailbox %s: %s: %w", s.cfg.Mailbox, doing, err)
}

// classify gives err its class and remedy.
func (s *Source) classify(err error) *sources.Error {
	e, known := ExplainSignIn(err)
	var answer *graph.Error
	if !known && errors.As(err, &answer) {
		e.Class, e.Remedy = s.judge(answer)
	}
	return e
}

// ExplainSignIn gives an error of package graph its class and remedy, and reports
// whether it is known: that of whatever is no answer of Graph, such as an error of
// signing in, which is the same for every service of Exchange Online.
func ExplainSignIn(err error) (e *sources.Error, known bool) {
	var (
		refused   *graph.SignInError
		throttled *graph.ThrottledError
		lost      *graph.ConnError
	)
	e = &sources.Error{Class: sources.Temporary, Err: err}
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), errors.Is(err, ErrClosed):
	case errors.As(err, &throttled):
		e.Class, e.Until = sources.Throttled, throttled.Until
	case errors.As(err, &refused):
		e.Remedy = refused.Remedy
		if !refused.Temporary() {
			e.Class = sources.SignIn
		}
	case errors.As(err, &lost):
		e.Remedy = lost.Remedy
		if lost.Lasting {
			e.Class = sources.Permanent
		}
	default:
		return e, false
	}
	return e, true
}

// judge gives an answer of Graph its class and remedy.
func (s *Source) judge(e *graph.Error) (sources.Class, string) {
	switch {
	case e.Has("MailboxNotEnabledForRESTAPI", "MailboxNotSupportedForRESTAPI"):
		return sources.NotFound, "the account has no mailbox in Exchange Online, or no licence for one, or it is still on the premises, or inactive: " +
			"give it a licence (Microsoft 365 admin center, Active users), or make it a shared mailbox"
	case e.Has("ErrorInvalidUser", "ResourceNotFound", "Request_ResourceNotFound", "ErrorNonExistentMailbox", "ErrorMailboxNotFound", "ErrorMissingEmailAddress"):
		return sources.NotFound, "there is no such user: mailbox must be the user principal name, the address or the object id of a user or a shared mailbox of this tenant"
	case e.Has("ErrorMailboxMoveInProgress", "ErrorMailboxStoreUnavailable", "ErrorMailboxFailover", "MailboxInfoStale"):
		return sources.Temporary, "Microsoft is moving the mailbox; it is tried again"
	case e.Status == http.StatusUnauthorized:
		return sources.SignIn, "Graph refuses the token that Entra has given: check cloud, and the clock of this machine; a token of one of Microsoft's clouds is not valid in another"
	case e.Status == http.StatusForbidden, e.Has("ErrorAccessDenied", "Authorization_RequestDenied", "AccessDenied"):
		return sources.Permission, s.denied("read")
	case e.Has("ErrorQuotaExceeded", "ErrorMessageSizeExceeded"):
		return sources.Temporary, "the mailbox is full: make room, or use another disposition"
	case e.Status == http.StatusNotFound, e.Has("ErrorItemNotFound", "ErrorFolderNotFound", "ErrorSyncFolderNotFound"):
		return sources.NotFound, ""
	case e.Status == http.StatusGone:
		return sources.Temporary, ""
	case e.Status >= 400 && e.Status < 500 && e.Status != http.StatusRequestTimeout && e.Status != http.StatusConflict && e.Status != http.StatusLocked:
		return sources.Permanent, ""
	case e.Status >= 300 && e.Status < 400:
		return sources.Permanent, "something answers in place of Graph: check proxy:, and with cloud: custom graph_endpoint"
	}
	return sources.Temporary, "it is tried again; if it lasts, look at Microsoft's service health"
}

// Application permissions of Microsoft Graph with which mail can be read, and
// changed.
var (
	readRoles  = []string{"Mail.Read", "Mail.ReadWrite", "Mail.Read.All", "Mail.ReadWrite.All"}
	writeRoles = []string{"Mail.ReadWrite", "Mail.ReadWrite.All"}
)

// denied says why Graph may have denied what the application is to do, "read"
// or "change". The roles in the token are a hint only: Exchange's RBAC for
// Applications grants without them.
func (s *Source) denied(what string) string {
	needed, roles := "Mail.Read", readRoles
	if what == "change" {
		needed, roles = "Mail.ReadWrite", writeRoles
	}
	if s.client == nil {
		return ""
	}
	// The token is at hand: it was just used.
	grant, err := s.client.SignIn(s.life)
	const add = "Entra admin center, App registrations, API permissions: add Microsoft Graph, Application permissions (not Delegated), %s, and Grant admin consent"
	const rbac = "or let Exchange's RBAC for Applications grant Application %s for this mailbox; either takes up to two hours"
	switch {
	case err == nil && grant.User != "" && !grant.Has(roles...):
		return fmt.Sprintf("%s lets the application do %s, and not %s: Entra admin center, App registrations, API permissions: add Microsoft Graph, Delegated permissions, %s; then sign in again (postroom sign-in)",
			grant.User, rolesText(grant.Roles), needed, needed)
	case err == nil && grant.User != "":
		return fmt.Sprintf("the sign-in of %s opens that person's own mailbox only: check mailbox", grant.User)
	case err != nil || !grant.Known:
		return fmt.Sprintf("the application needs the permission %s for this mailbox", needed)
	case len(grant.Roles) == 0:
		return fmt.Sprintf("no application permission has been consented to (the token has no roles), and Exchange's RBAC for Applications does not grant Application %s for this mailbox. "+
			"If that is what you use, check that the mailbox is in its scope (Test-ServicePrincipalAuthorization), and wait: it takes up to two hours; "+
			"do not consent in Entra, which would open every mailbox. Else: "+add, needed, needed)
	case !grant.Has(roles...):
		return fmt.Sprintf("the application has %s, and not %s: "+add+"; "+rbac, rolesText(grant.Roles), needed, needed, needed)
	}
	return fmt.Sprintf("the application has %s, and is kept from this mailbox: it is outside the scope of an application access policy, or of RBAC for Applications. "+
		"Add the mailbox to the group or scope of the policy (Test-ApplicationAccessPolicy, Test-ServicePrincipalAuthorization); it takes up to two hours", rolesText(grant.Roles))
}

func rolesText(roles []string) string {
	sorted := slices.Sorted(slices.Values(roles))
	if len(sorted) > 8 {
		sorted = append(sorted[:8], "…")
	}
	return strings.Join(sorted, ", ")
}
