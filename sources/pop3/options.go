package pop3

import (
	"postroom/internal/mailhost"
	"postroom/sources"
)

// protocol is POP3 (RFC 1939), with TLS from the first byte as in RFC 8314 3.2.
var protocol = mailhost.Protocol{Name: "POP3", TLSPort: "995", Port: "110"}

// Options are the keys of a source of type pop3 in the configuration.
type Options struct {
	Server         string `yaml:"server" required:"true" kind:"hostport" doc:"Host name of the POP3 server, with :PORT unless it is 995 (tls: implicit) or 110."`
	TLS            string `yaml:"tls" default:"implicit" enum:"implicit,starttls,none" doc:"How the connection is encrypted: TLS from the first byte, the STLS command, or not at all."`
	AllowPlaintext bool   `yaml:"allow_plaintext" doc:"Permits tls: none, which sends the password and the mail readable by anyone on the way."`
	CAFile         string `yaml:"ca_file" kind:"certificates" doc:"File of PEM certificates trusted besides those of the system."`
	Connections    int    `yaml:"connections" default:"2" min:"1" max:"10" doc:"The most connections to this server at a time."` // there is never more than one
}

var _ sources.Checker = (*Options)(nil)

// CheckOptions implements [sources.Checker].
func (o *Options) CheckOptions() []sources.Problem {
	var problems []sources.Problem
	if _, _, err := protocol.Address(o.Server, o.TLS); err != nil {
		problems = append(problems, sources.Problem{Key: "server", Message: err.Error()})
	}
	if o.TLS == mailhost.None && !o.AllowPlaintext {
		problems = append(problems, sources.Problem{
			Key: "tls", Message: "tls: none sends the password unencrypted; use implicit or starttls, or permit it with allow_plaintext: true",
		})
	}
	return problems
}
