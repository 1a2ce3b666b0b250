package graph

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Reason is why signing in failed.
type Reason int

const (
	// Refused: for a reason that is not one of the others.
	Refused Reason = iota
	// AuthorityDown: Entra is in trouble. It passes.
	AuthorityDown
	WrongTenant
	WrongClient
	WrongSecret
	// SecretID: the id of a secret stands where its value should.
	SecretID
	SecretExpired
	CertificateUnusable
	CertificateUnknown
	CertificateExpired
	// ClockSkew: the clock of this machine is wrong.
	ClockSkew
	// NoIdentity: the machine has no managed or workload identity.
	NoIdentity
	WrongCloud
	Blocked
	// NotSignedIn: a person has to sign in, for the first time or again.
	NotSignedIn
	// WrongPerson: the person who signed in is not the one of the mailbox.
	WrongPerson
	// NoConsent: the person may not let the application do this.
	NoConsent
	// NotKept: the sign-in cannot be written to the vault. It may pass.
	NotKept
)

// SignInError is a refusal to hand out a token.
type SignInError struct {
	Reason Reason
	// Summary says what is wrong, Remedy what to do.
	Summary, Remedy string
	// Code is the AADSTS code, TraceID what Microsoft's support asks for; "" if
	// there was none.
	Code, TraceID string

	who string
}

// Temporary reports whether it is not the credentials that are at fault.
func (e *SignInError) Temporary() bool { return e.Reason == AuthorityDown || e.Reason == NotKept }

// byPerson reports whether a new sign-in of the person changes it at once. What is
// kept of the one before tells whether to ask Entra again.
func (e *SignInError) byPerson() bool { return e.Reason == NotSignedIn || e.Reason == WrongPerson }

func (e *SignInError) Error() string {
	text := fmt.Sprintf("sign in to Microsoft Entra ID (%s): %s", e.who, e.Summary)
	var more []string
	if e.Code != "" {
		more = append(more, e.Code)
	}
	if e.TraceID != "" {
		more = append(more, "trace id "+e.TraceID)
	}
	if len(more) > 0 {
		text += " (" + strings.Join(more, ", ") + ")"
	}
	return text
}

// maxSkew is by how much clocks may differ; Entra takes five minutes.
const maxSkew = 4 * time.Minute

// explainSignIn says in plain words what the authority refused. Microsoft says
// that codes may change: they only make the words better.
func (s *Settings) explainSignIn(note *spoken, err error) error {
	var own *SignInError
	if errors.As(err, &own) {
		return own
	}
	e := &SignInError{who: s.who(), TraceID: clean(note.answer.TraceID)}
	if len(note.answer.Codes) > 0 {
		e.Code = fmt.Sprintf("AADSTS%d", note.answer.Codes[0])
	}
	code := 0
	if len(note.answer.Codes) > 0 {
		code = note.answer.Codes[0]
	}
	const register = "Entra admin center, App registrations"
	set := func(reason Reason, summary, remedy string) {
		e.Reason, e.Summary, e.Remedy = reason, summary, remedy
	}
	skew := time.Duration(0)
	if !note.date.IsZero() {
		skew = time.Until(note.date)
	}
	if reason, summary, remedy := s.explainPerson(note, code); summary != "" {
		set(reason, summary, remedy)
		return e
	}
	switch code {
	case 90002, 900021, 900023, 900971, 90013:
		set(WrongTenant, "there is no such tenant", "check tenant_id, and cloud if the tenant is in a national cloud: "+register+", the application's overview shows the Directory (tenant) ID")
	case 700016, 7000229, 900144:
		set(WrongClient, "the application is not known in this tenant", "check client_id (the Application (client) ID, not the object id) and tenant_id; the application must be registered there, or consented to by its administrator")
	case 7000112:
		set(WrongClient, "the application is disabled in this tenant", "enable it: Entra admin center, Enterprise applications, Properties")
	case 7000215:
		if IsID(s.ClientSecret.Reveal()) {
			set(SecretID, "client_secret has the shape of an id: it is the Secret ID, not the secret's Value", "make a new client secret ("+register+", Certificates & secrets), and copy its Value, which is shown only once")
			break
		}
		set(WrongSecret, "the client secret is wrong", "make a new client secret ("+register+", Certificates & secrets), and copy its Value, not its Secret ID")
	case 7000222:
		set(SecretExpired, "the client secret has expired", "make a new client secret ("+register+", Certificates & secrets), and set client_secret to its Value")
	case 700027, 7000214:
		set(CertificateUnknown, "the application does not know the certificate", "upload the certificate, without its key, to the application ("+register+", Certificates & secrets); a new one takes some minutes")
	case 1000502:
		set(CertificateExpired, "the certificate is not valid now", "make a new certificate, and upload it to the application ("+register+", Certificates & secrets)")
	case 700024:
		set(ClockSkew, "the proof of the certificate is not valid at the time of Entra", "set the clock of this machine: it differs from Entra's")
	case 500011, 65001, 650052, 650057:
		set(WrongCloud, "Microsoft Graph is not known to this tenant under "+s.graphName(), "check cloud: the tenant may be in another of Microsoft's clouds")
		if note.asked != nil && note.asked.service != "" {
			e.Summary = note.asked.service + " is not known to this tenant under " + note.asked.scope[:max(0, strings.LastIndexByte(note.asked.scope, '/'))]
			e.Remedy += ", or have no subscription to this service"
			if s.Cloud == "custom" {
				e.Remedy = "with cloud: custom a token is asked for by the host name of server: is that the name under which the authority knows the service?"
			}
		}
	case 70021, 700211, 700212, 700213, 7002381:
		set(NoIdentity, "the application has no federated credential that fits this workload", "add a federated credential to the application for the issuer and subject of the workload")
	case 53003, 530031, 53000, 53001:
		set(Blocked, "a Conditional Access policy blocks the application", "exclude the application from that policy for workload identities, or allow the address of this machine")
	}
	switch {
	case e.Summary != "":
	case note.status == http.StatusTooManyRequests || note.status >= 500 || note.answer.Error == "temporarily_unavailable" || note.answer.Error == "server_error":
		set(AuthorityDown, fmt.Sprintf("the service is in trouble (HTTP %d)", note.status), "it is tried again; if it lasts, look at Microsoft's service health")
	case note.status == 0, s.Flow == ManagedIdentity, s.Flow == WorkloadIdentity && note.answer.Error == "":
		set(NoIdentity, s.scrub(firstLine(err.Error())), "this needs a machine of Azure with an identity: assign it, or use flow: client_credentials")
		if s.Flow == WorkloadIdentity {
			e.Remedy = "the environment must have AZURE_FEDERATED_TOKEN_FILE, a file that can be read: label the pod azure.workload.identity/use, or use flow: client_credentials"
		}
		if s.Flow == "" || s.Flow == ClientCredentials {
			set(Refused, s.scrub(firstLine(err.Error())), "check tenant_id and client_id")
		}
	case note.answer.Error == "invalid_client" && s.Certificate != "":
		set(CertificateUnknown, s.said(note), "check that the certificate is uploaded to the application ("+register+", Certificates & secrets)")
	case note.answer.Error == "invalid_client":
		set(WrongSecret, s.said(note), "check client_secret: the Value of a secret that has not expired ("+register+", Certificates & secrets)")
		if IsID(s.ClientSecret.Reveal()) {
			set(SecretID, "client_secret has the shape of an id: it is the Secret ID, not the secret's Value", "make a new client secret, and copy its Value, which is shown only once")
		}
	case note.answer.Error == "unauthorized_client":
		set(WrongClient, s.said(note), "check client_id and tenant_id")
	case note.answer.Error == "invalid_tenant":
		set(WrongTenant, s.said(note), "check tenant_id and cloud")
	case note.status >= 300 && note.answer.Error == "":
		set(AuthorityDown, fmt.Sprintf("something other than Entra answers for %s (HTTP %d)", note.host, note.status),
			"a proxy or a captive portal may answer in its place: check proxy:, and with cloud: custom authority_host")
	case note.answer.Error == "":
		// The library itself does not go on, as with an authority that is not what
		// it says.
		set(Refused, s.scrub(firstLine(err.Error())), "check tenant_id, client_id and cloud; with cloud: custom, authority_host must be the address that the authority gives as its own")
	default:
		set(Refused, s.said(note), "check tenant_id, client_id and the secret or certificate")
	}
	if max(skew, -skew) > maxSkew && (e.Reason == CertificateUnknown || e.Reason == Refused || e.Reason == ClockSkew) {
		set(ClockSkew, fmt.Sprintf("the clock of this machine differs from Entra's by %s", max(skew, -skew).Round(time.Second)), "set the clock of this machine")
	}
	return e
}

// said is the first line of what the authority said.
func (s *Settings) said(note *spoken) string {
	text := s.scrub(firstLine(note.answer.Description))
	if _, rest, ok := strings.Cut(text, ": "); ok && strings.HasPrefix(text, "AADSTS") {
		text = rest
	}
	if text == "" {
		text = "refused with " + clean(note.answer.Error)
	}
	return text
}

func (s *Settings) graphName() string {
	if c, err := s.cloud(); err == nil {
		return c.Endpoint
	}
	return "its address"
}

func firstLine(text string) string {
	text, _, _ = strings.Cut(strings.TrimSpace(text), "\n")
	text, _, _ = strings.Cut(text, " Trace ID:")
	text, _, _ = strings.Cut(text, " To troubleshoot, visit")
	return strings.TrimSpace(text)
}
