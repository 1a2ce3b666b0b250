package exchange

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"postroom/internal/graph"
	"postroom/sources"
)

// Probe implements [sources.Prober].
func (s *Source) Probe(ctx context.Context, report func(sources.Step)) {
	ctx, done, err := s.bind(ctx, "check")
	if err != nil {
		report(sources.Step{Name: "name", Err: err})
		return
	}
	defer done()
	failed := false
	s.client.Reach(ctx, func(step, detail string, err error) {
		failed = failed || err != nil
		if err != nil {
			err = s.explain("reach the server", err)
		}
		report(sources.Step{Name: step, Detail: detail, Err: err})
	})
	if failed {
		return
	}
	grant, ok := s.probeSignIn(ctx, report)
	if !ok {
		return
	}
	if !s.probePermission(ctx, grant, report) {
		return
	}
	if s.probeFolders(ctx, report) {
		report(s.probeDisposition(ctx, grant))
	}
}

func (s *Source) probeSignIn(ctx context.Context, report func(sources.Step)) (graph.Grant, bool) {
	grant, err := s.client.SignIn(ctx)
	step := sources.Step{Name: "sign-in"}
	switch {
	case err != nil:
		step.Err = s.explain("sign in", err)
	case s.client.Skew().Abs() > maxSkew:
		step.Err = s.failure(sources.Permanent, "sign in", fmt.Errorf("the clock of this machine differs from Microsoft's by %s", s.client.Skew().Abs().Round(time.Second))).
			WithRemedy("set the clock of this machine, and keep it right (NTP)")
	case !grant.Known:
		step.Detail = "Entra has given a token"
	default:
		step.Detail = fmt.Sprintf("application %s, tenant %s; token until %s", grant.App, grant.TenantID, grant.Expires.UTC().Format(time.RFC3339))
		if grant.User != "" {
			step.Detail = "as " + grant.User + " by " + step.Detail
		}
	}
	if step.Err != nil {
		report(step)
		return grant, false
	}
	proof, err := s.client.Proof(ctx)
	step.Detail += DescribeProof(proof, err)
	report(step)
	warning, expired := CheckProof(proof)
	switch {
	case expired != nil:
		report(sources.Step{Name: "sign-in", Err: s.failure(sources.SignIn, "sign in", expired.Err).WithRemedy("%s", expired.Remedy)})
		return grant, false
	case warning != "":
		report(sources.Step{Name: "warning", Detail: warning})
	}
	return grant, true
}

// DescribeProof says, to be appended to a line about the sign-in, until when that
// with which an application or a person signs in is valid. It takes what graph.Client.Proof returns,
// and says nothing if that is not known.
func DescribeProof(proof graph.Proof, err error) string {
	switch {
	case err != nil:
		return fmt.Sprintf("; until when the client secret is valid cannot be asked now: %v", err)
	case proof.Expires.IsZero():
		return ""
	}
	until := "; " + proof.Kind + " until " + proof.Expires.UTC().Format(time.DateOnly)
	if proof.Life > 0 {
		until += " unless it is used"
	}
	return until
}

// CheckProof says when that with which an application or a person signs in ends
// soon, or that it has ended.
func CheckProof(proof graph.Proof) (warning string, expired *sources.Error) {
	left := time.Until(proof.Expires)
	if !proof.Soon(time.Now(), warnBefore) {
		return "", nil
	}
	what, end := "the "+proof.Kind, proof.Expires.UTC().Format(time.DateOnly)
	if proof.Name != "" {
		what += fmt.Sprintf(" %q", proof.Name)
	}
	renew := "before then make a second one, which is valid beside it, and configure that (docs/exchange-online.md, Renewing without a gap)"
	if proof.Renew != "" {
		renew = "before then " + proof.Renew
	}
	if left <= 0 {
		// The token is older than that.
		return "", sources.Errorf(sources.SignIn, "%s expired on %s", what, end).
			WithRemedy("make a new one, and configure that (docs/exchange-online.md, Renewing without a gap)")
	}
	when := "today"
	switch days := int(left / (24 * time.Hour)); days {
	case 0:
	case 1:
		when = "in 1 day, on " + end
	default:
		when = fmt.Sprintf("in %d days, on %s", days, end)
	}
	return what + " expires " + when + ": " + renew, nil
}

const (
	// maxSkew is by how much the clock may differ. Entra takes five minutes.
	maxSkew = 4 * time.Minute
	// warnBefore is how long before its end a certificate or secret is said to end
	// soon.
	warnBefore = 30 * 24 * time.Hour
)

// probePermission opens the mailbox: what the token says is a hint only.
func (s *Source) probePermission(ctx context.Context, grant graph.Grant, report func(sources.Step)) bool {
	step := sources.Step{Name: "permission"}
	_, err := s.box.Folder(ctx, "inbox")
	switch {
	case err != nil:
		step.Err = s.explain("open the mailbox", err)
	case !grant.Known:
		step.Detail = "the mailbox can be read"
	case grant.Has(readRoles...):
		step.Detail = "the mailbox can be read; the token has " + rolesText(grant.Roles)
	default:
		step.Detail = "the mailbox can be read, by RBAC for Applications: the token has no Mail permission"
	}
	report(step)
	return step.Err == nil
}

func (s *Source) probeFolders(ctx context.Context, report func(sources.Step)) bool {
	chosen, counts, err := s.resolve(ctx)
	if err != nil {
		report(sources.Step{Name: "folder", Err: err})
		return false
	}
	for _, folder := range chosen {
		report(sources.Step{Name: "folder", Detail: fmt.Sprintf("%s, %d messages", folder.Path, counts[folder.ID])})
	}
	if len(chosen) == 0 {
		report(sources.Step{Name: "folder", Detail: "no folder matches now"})
	}
	return true
}

// noMessage is the id of no message: whatever is done to it changes nothing.
const noMessage = "AAMkAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="

// probeDisposition checks, without changing anything, that the disposition is
// allowed.
func (s *Source) probeDisposition(ctx context.Context, grant graph.Grant) sources.Step {
	step := sources.Step{Name: "disposition"}
	t := &settlement{source: s, doing: "check " + string(s.cfg.AfterFiling)}
	switch s.cfg.AfterFiling {
	case "", sources.Keep:
		step.Detail = "messages are kept"
		if s.cfg.FailedFolder == "" {
			return step
		}
		step.Detail += ", those that fail are moved to " + s.cfg.FailedFolder
	case sources.MarkRead:
		step.Detail = "messages are marked as read"
	case sources.Move:
		step.Detail = "messages are moved to " + s.cfg.FiledFolder
	case sources.Delete:
		step.Detail = "messages are moved to the deleted items"
		if s.cfg.Permanent {
			step.Detail = "messages are deleted for good"
			t.action = sources.Action{Verb: sources.Delete, Permanent: true}
			if step.Err = t.prepare(ctx); step.Err != nil {
				return step
			}
		}
	}
	if grant.Has(writeRoles...) {
		return step
	}
	// Only the server knows what Exchange grants besides.
	err := s.box.MarkRead(ctx, noMessage)
	var answer *graph.Error
	switch {
	case !errors.As(err, &answer):
		step.Err = t.explain(err)
	case answer.Status == 401 || answer.Status == 403 || answer.Has("ErrorAccessDenied"):
		step.Err = t.explain(err)
	default:
		step.Detail += " (allowed by RBAC for Applications: the token has no Mail.ReadWrite)"
	}
	return step
}

// ProbeForbidden checks that a mailbox cannot be read that the application
// should not be allowed to read.
func (s *Source) ProbeForbidden(ctx context.Context, address string) sources.Step {
	step := sources.Step{Name: "forbidden"}
	doing := "open the mailbox " + address + ", which should be forbidden"
	ctx, done, err := s.bind(ctx, doing)
	if err != nil {
		step.Err = err
		return step
	}
	defer done()
	if strings.EqualFold(address, s.cfg.Mailbox) {
		step.Err = sources.Errorf(sources.Permanent, "%s is the mailbox of this source", address).
			WithRemedy("name a mailbox that the application should not be allowed to read")
		return step
	}
	_, err = s.client.Mailbox(address).Folder(ctx, "inbox")
	var answer *graph.Error
	switch {
	case err == nil:
		step.Err = sources.Errorf(sources.Permission, "the application can read the mailbox %s", address).
			WithRemedy("restrict it: remove the consent to Mail permissions in Entra and grant Application Mail.ReadWrite by RBAC for Applications with a management scope " +
				"(a consent beside it undoes the scope), or make an application access policy; it takes up to two hours")
	case errors.As(err, &answer) && (answer.Status == 403 || answer.Has("ErrorAccessDenied")):
		step.Detail = "the mailbox " + address + " cannot be read, as it should be"
	case graph.NotFound(err) || errors.As(err, &answer) && answer.Status == 404:
		step.Err = sources.Errorf(sources.NotFound, "there is no mailbox %s: that proves nothing", address).
			WithRemedy("name a mailbox that exists, and that the application should not be allowed to read")
	default:
		step.Err = s.explain(doing, err)
	}
	return step
}
