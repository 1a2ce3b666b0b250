package config

import (
	"slices"
	"strings"

	"postroom/sources"
)

// Outgoing is the mail that postroom sends.
type Outgoing struct {
	// Global and System are nil if they are not configured.
	Global, System *Sender
	Notify         []string `yaml:"notify" kind:"address" doc:"Who gets the notices of the system."`
}

// outgoingNodes has the keys of Outgoing that depend on their type.
type outgoingNodes struct {
	Global *node `yaml:"global" doc:"Mail to people outside."`
	System *node `yaml:"system" doc:"Notices of the system."`
}

// Sender is a way to send mail.
type Sender struct {
	Position    Position
	Type        string      `yaml:"type" required:"true" doc:"How mail is sent."`
	Credentials *Credential `yaml:"credentials" required:"true" doc:"The name of the credentials to sign in with."`
	From        string      `yaml:"from" required:"true" kind:"address" doc:"The address that the mail comes from."`
	// Options is an *SMTP, or an *ExchangeSender, by Type.
	Options any
}

// SMTP sends mail through a server.
type SMTP struct {
	Server         string `yaml:"server" required:"true" kind:"hostport" doc:"Host name of the server, with :PORT unless it is 587, or 465 with tls: implicit."`
	TLS            string `yaml:"tls" default:"starttls" enum:"implicit,starttls,none" doc:"How the connection is encrypted."`
	AllowPlaintext bool   `yaml:"allow_plaintext" doc:"Permits tls: none, which sends the password and the mail readable by anyone on the way."`
	CAFile         string `yaml:"ca_file" kind:"path" doc:"File of PEM certificates trusted besides those of the system."`
}

// CheckOptions implements [sources.Checker].
func (o *SMTP) CheckOptions() []sources.Problem { return checkPlaintext(o.TLS, o.AllowPlaintext) }

// ExchangeSender sends mail through Exchange Online.
type ExchangeSender struct{}

func senderTypes() []Driver {
	return []Driver{
		{"exchange", func() any { return new(ExchangeSender) }},
		{"smtp", func() any { return new(SMTP) }},
	}
}

func (l *loader) readOutgoing(n *node, out *Outgoing) {
	if n == nil {
		return
	}
	if n.kind != mappingNode {
		l.errors.add(n.pos, "outgoing: wrong type (%s); allowed: a mapping with the keys %s", n.kind, strings.Join(l.grammar.outgoing.names(), ", "))
		return
	}
	var nodes outgoingNodes
	r := l.scope().object(n, l.grammar.outgoing, &nodes, out)
	out.Global = l.readSender(nodes.Global, "global")
	out.System = l.readSender(nodes.System, "system")
	if out.Global != nil && out.System != nil && out.Global.Credentials != nil && out.Global.Credentials == out.System.Credentials {
		l.errors.add(nodes.System.entry("credentials").value.pos, "credentials: those of outgoing.global; allowed: other credentials, of this entry alone")
	}
	if r.good("notify") && nodes.System == nil && !r.bad["system"] {
		l.errors.add(n.entry("notify").pos, "notify needs the key \"system\", which says how notices are sent; add it")
	}
}

func (l *loader) readSender(n *node, key string) *Sender {
	if n == nil {
		return nil
	}
	if n.kind != mappingNode {
		l.errors.add(n.pos, "%s: wrong type (%s); allowed: a mapping with the keys %s", key, n.kind, strings.Join(l.grammar.senders.common.names(), ", "))
		return nil
	}
	sender := &Sender{Position: n.pos}
	s := l.scope()
	options, r := s.variant(n, l.grammar.senders, sender)
	sender.Options = options
	if r.good("credentials") && r.good("type") {
		allowed := []string{"password", "entra", "google"}
		if sender.Type == "exchange" {
			allowed = []string{"entra"}
		}
		if c := sender.Credentials; c.Type != "" && !slices.Contains(allowed, c.Type) {
			l.errors.add(n.entry("credentials").value.pos, "credentials of type %s do not fit type %s; allowed: %s", c.Type, sender.Type, strings.Join(allowed, ", "))
		} else if c.Entra != nil && c.Entra.Flow == "device_code" {
			l.errors.add(n.entry("credentials").value.pos, "credentials with flow: device_code do not send mail, they open the mailbox of a person; allowed: those of an application, or a password")
		}
	}
	return sender
}
