package config

import (
	"regexp"
	"slices"
	"strings"

	"postroom/internal/secret"
	"postroom/sources"
)

// Credential is a way to sign in. What belongs to another Type is zero.
type Credential struct {
	Position Position
	Name     string `yaml:"name" required:"true" doc:"The name that sources use."`
	Type     string `yaml:"type" required:"true" doc:"How to sign in."`
	// Username and Password are those of type password.
	Username string
	Password secret.Value
	Entra    *Entra
	Google   *Google
}

// password signs in with a user name and a password.
type password struct {
	Username string       `yaml:"username" required:"true" doc:"The user name as the server knows it."`
	Password secret.Value `yaml:"password" required:"true" doc:"The password."`
}

// Entra signs in at Microsoft Entra ID.
type Entra struct {
	TenantID                  string       `yaml:"tenant_id" doc:"The tenant: its id or one of its domains."`
	ClientID                  string       `yaml:"client_id" kind:"guid" doc:"The application (client) id."`
	ClientSecret              secret.Value `yaml:"client_secret" doc:"The secret of the application."`
	ClientCertificate         string       `yaml:"client_certificate" kind:"path" doc:"File of the certificate of the application and its key, PEM or PKCS #12, instead of a secret."`
	ClientCertificatePassword secret.Value `yaml:"client_certificate_password" doc:"The password of the file of the certificate."`
	Flow                      string       `yaml:"flow" default:"client_credentials" enum:"client_credentials,device_code,managed_identity,workload_identity" doc:"How the application proves itself."`
	Cloud                     string       `yaml:"cloud" default:"public" enum:"public,us_government,us_government_dod,china,custom" doc:"The Microsoft cloud that the tenant is in."`
	AuthorityHost             string       `yaml:"authority_host" kind:"https" doc:"Where to sign in, with cloud: custom."`
	GraphEndpoint             string       `yaml:"graph_endpoint" kind:"https" doc:"Where Microsoft Graph is, with cloud: custom."`
	CAFile                    string       `yaml:"ca_file" kind:"certificates" doc:"File of PEM certificates trusted besides those of the system."`
	// Proxy is [Config.Proxy], StateDir [Config.StateDir].
	Proxy    secret.Value
	StateDir string
	// SignIn is the command by which a person signs in, with flow: device_code.
	SignIn string
}

// Google signs in as a service account of Google with domain-wide delegation.
type Google struct {
	ServiceAccountFile string `yaml:"service_account_file" required:"true" kind:"path" doc:"The JSON key file of the service account."`
}

func credentialTypes() []Driver {
	return []Driver{
		{"entra", func() any { return new(Entra) }},
		{"google", func() any { return new(Google) }},
		{"password", func() any { return new(password) }},
	}
}

// domainExpression matches a DNS name of two labels or more.
var domainExpression = regexp.MustCompile(`(?i)^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])$`)

const tenantAllowed = "allowed: the Directory (tenant) ID, such as 11111111-1111-1111-1111-111111111111, or one of the tenant's domains, such as NAME.onmicrosoft.com"

// CheckOptions implements [sources.Checker].
func (e *Entra) CheckOptions() []sources.Problem {
	var problems []sources.Problem
	// rule says whether the key is needed, allowed (neither) or refused.
	rule := func(key string, given, needed, refused bool, when string) {
		switch {
		case given && refused:
			problems = append(problems, sources.Problem{Key: key, Message: key + " is not for " + when + "; leave it out"})
		case !given && needed:
			problems = append(problems, sources.Problem{Key: key, Message: "missing key \"" + key + "\", which " + when + " needs; add it"})
		}
	}
	secret, certificate := !e.ClientSecret.Empty(), e.ClientCertificate != ""
	// A flow or cloud that was refused is empty here.
	if e.Flow != "" {
		flow := "flow: " + e.Flow
		managed, application := e.Flow == "managed_identity", e.Flow == "client_credentials"
		rule("tenant_id", e.TenantID != "", !managed, managed, flow)
		rule("client_id", e.ClientID != "", !managed, false, flow)
		rule("client_secret", secret, false, !application, flow)
		rule("client_certificate", certificate, false, !application, flow)
	}
	const choice = "an application proves itself with client_secret or with client_certificate"
	switch {
	case e.Flow != "client_credentials":
	case secret && certificate:
		for key, other := range map[string]string{"client_secret": "client_certificate", "client_certificate": "client_secret"} {
			problems = append(problems, sources.Problem{Key: key, Message: key + ": beside " + other + "; " + choice + ": leave one of the two out"})
		}
	case !secret && !certificate:
		problems = append(problems, sources.Problem{Key: "client_secret", Message: "missing key \"client_secret\" or \"client_certificate\"; " + choice + ": add one of the two"})
	}
	switch tenant := strings.ToLower(e.TenantID); {
	case tenant == "" || e.Flow == "device_code" && slices.Contains([]string{"common", "organizations"}, tenant):
	case slices.Contains([]string{"common", "organizations", "consumers"}, tenant):
		problems = append(problems, sources.Problem{Key: "tenant_id",
			Message: "tenant_id: stands for many tenants, and an application that signs in by itself does so in one; " + tenantAllowed})
	case !guidExpression.MatchString(tenant) && !domainExpression.MatchString(tenant):
		problems = append(problems, sources.Problem{Key: "tenant_id", Message: "tenant_id: is neither an id nor a domain; " + tenantAllowed})
	}
	if secret && guidExpression.MatchString(e.ClientSecret.Reveal()) {
		problems = append(problems, sources.Problem{Key: "client_secret", Warning: true,
			Message: "client_secret: has the shape of an id; a secret has an id and a value, and only its Value signs in"})
	}
	rule("client_certificate_password", !e.ClientCertificatePassword.Empty(), false, !certificate, "credentials without client_certificate")
	if e.Cloud != "" {
		cloud, custom := "cloud: "+e.Cloud, e.Cloud == "custom"
		rule("authority_host", e.AuthorityHost != "", custom, !custom, cloud)
		rule("graph_endpoint", e.GraphEndpoint != "", custom, !custom, cloud)
	}
	return problems
}

// fitting returns the types of credentials with which a source of the type can
// sign in.
func fitting(sourceType string) []string {
	switch sourceType {
	case "exchange":
		return []string{"entra"}
	case "gmail":
		return []string{"google"}
	}
	return []string{"password", "entra", "google"}
}

func (l *loader) readCredentials(n *node) {
	l.incomplete = l.incomplete || n != nil && n.kind != listNode || n != nil && slices.ContainsFunc(n.items, func(item *node) bool { return item.kind == unknownNode })
	for _, item := range l.mappings(n, "credentials") {
		s := l.scope()
		c := &Credential{Position: item.pos}
		options, r := s.variant(item, l.grammar.credentials, c)
		switch o := options.(type) {
		case *password:
			c.Username, c.Password = o.Username, o.Password
		case *Entra:
			c.Entra = o
		case *Google:
			c.Google = o
		}
		l.notBuilt[c] = s.notBuilt(unbuiltInCredentials(), item)
		if !r.good("name") {
			l.incomplete = true
			continue
		}
		at := item.entry("name").value
		if first, ok := l.named[c.Name]; ok {
			l.errors.add(at.pos, "name: credentials of this name are already at %s; choose another", first)
			continue
		}
		l.named[c.Name] = at.pos
		l.credentials[c.Name] = c
		if !at.expanded.reference && isShownName(c.Name) {
			l.shown = append(l.shown, c.Name)
		}
	}
}

// use reports what of the credentials is not built yet, now that an enabled
// source needs it.
func (l *loader) use(c *Credential) {
	l.used[c] = true
	for _, problem := range l.notBuilt[c] {
		l.errors.put(problem)
	}
}

// mappings returns the items of a list of mappings, without those that are none.
func (l *loader) mappings(n *node, key string) []*node {
	if n == nil {
		return nil
	}
	if n.kind != listNode {
		l.errors.add(n.pos, "%s: wrong type (%s); allowed: a list of mappings", key, n.kind)
		return nil
	}
	var found []*node
	for _, item := range n.items {
		switch item.kind {
		case mappingNode:
			found = append(found, item)
		case unknownNode:
		case nullNode:
			l.errors.add(item.pos, "%s: empty item; remove it", key)
		default:
			l.errors.add(item.pos, "%s: wrong type (%s); allowed: a mapping such as {name: %s, …}", key, item.kind, strings.TrimSuffix(key, "s"))
		}
	}
	return found
}
