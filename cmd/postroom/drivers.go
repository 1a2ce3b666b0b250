package main

import (
	"fmt"
	"slices"
	"strings"

	"go.uber.org/zap"

	"postroom/cmd/postroom/config"
	"postroom/ingest"
	"postroom/ingest/document"
	"postroom/internal/graph"
	"postroom/internal/oauth"
	"postroom/internal/secret"
	"postroom/internal/vault"
	"postroom/sources"
	"postroom/sources/exchange"
	"postroom/sources/imap"
	"postroom/sources/pop3"
)

// driver is one kind of source.
type driver struct {
	// options returns what its part of the configuration is decoded into.
	options func() any
	// open opens a source so configured.
	open func(*config.Source, *zap.Logger) (sources.Source, error)
	// server returns the protocol of a mail server and its address, as those options
	// name it. It is nil where nobody signs in with a password.
	server func(options any) (protocol, address string)
	// fit tells the engine what those options say.
	fit func(options any, m *ingest.Mailbox)
}

// graphClients are those of this process: what Exchange Online counts, it counts
// for all sources together.
var graphClients graph.Clients

// drivers is the list of all kinds of sources. There is no other.
func drivers() map[string]driver {
	return map[string]driver{
		"exchange": {
			options: func() any { return new(exchange.Options) },
			open: func(s *config.Source, log *zap.Logger) (sources.Source, error) {
				src, err := exchange.Open(exchange.Config{
					Options: *s.Options.(*exchange.Options), Name: s.Name, Mailbox: s.Mailbox,
					Clients: &graphClients, Settings: graphSettings(s),
					AfterFiling: sources.Verb(s.AfterFiling), Permanent: s.Permanent, Log: log,
				})
				if err != nil {
					return nil, fmt.Errorf("%s: %w", s.Position, err)
				}
				return src, nil
			},
			fit: func(options any, m *ingest.Mailbox) {
				o := options.(*exchange.Options)
				// Requests take turns below; more folders at once only wait there.
				m.Parallel, m.FailedFolder, m.After.Target = 2, o.FailedFolder, o.FiledFolder
			},
		},
		"imap": {
			options: func() any { return new(imap.Options) },
			open: func(s *config.Source, log *zap.Logger) (sources.Source, error) {
				o := s.Options.(*imap.Options)
				return withTokens(s, o.Server, oauth.IMAP, log, func(tokens oauth.TokenSource) (sources.Source, error) {
					user, password := signIn(s)
					return imap.Open(imap.Config{
						Options: *o, Name: s.Name,
						Username: user, Password: password, Tokens: tokens, Migration: s.Entra,
						AfterFiling: sources.Verb(s.AfterFiling), Log: log,
					})
				})
			},
			fit: func(options any, m *ingest.Mailbox) {
				o := options.(*imap.Options)
				m.Watch, m.Parallel, m.FailedFolder, m.After.Target = o.Watch, o.Connections, o.FailedFolder, o.FiledFolder
			},
			server: func(options any) (string, string) { return "IMAP", options.(*imap.Options).Server },
		},
		"pop3": {
			options: func() any { return new(pop3.Options) },
			open: func(s *config.Source, log *zap.Logger) (sources.Source, error) {
				o := s.Options.(*pop3.Options)
				return withTokens(s, o.Server, oauth.POP3, log, func(tokens oauth.TokenSource) (sources.Source, error) {
					user, password := signIn(s)
					return pop3.Open(pop3.Config{
						Options: *o, Name: s.Name,
						Username: user, Password: password, Tokens: tokens, Migration: s.Entra,
						AfterFiling: sources.Verb(s.AfterFiling), Log: log,
					})
				})
			},
			fit:    func(any, *ingest.Mailbox) {}, // one folder, one session
			server: func(options any) (string, string) { return "POP3", options.(*pop3.Options).Server },
		},
	}
}

// signIn returns as whom the source signs in, and the password if that is how.
func signIn(s *config.Source) (user string, password secret.Value) {
	switch {
	case s.Credentials == nil:
		return "", secret.Value{}
	case s.Credentials.Entra != nil:
		return s.Mailbox, secret.Value{}
	}
	return s.Credentials.Username, s.Credentials.Password
}

// graphSettings are the credentials of a source that signs in at Microsoft Entra
// ID.
func graphSettings(s *config.Source) graph.Settings {
	if s.Credentials == nil || s.Credentials.Entra == nil {
		return graph.Settings{}
	}
	e := s.Credentials.Entra
	var person *graph.Person
	if e.Flow == graph.DeviceCode {
		person = &graph.Person{Mailbox: s.Mailbox, Vault: vault.In(e.StateDir), Name: "sign-in/" + s.Credentials.Name, Command: e.SignIn}
	}
	return graph.Settings{
		TenantID: e.TenantID, ClientID: e.ClientID, ClientSecret: e.ClientSecret,
		Certificate: e.ClientCertificate, CertificatePassword: e.ClientCertificatePassword,
		Flow: e.Flow, Cloud: e.Cloud, AuthorityHost: e.AuthorityHost, GraphEndpoint: e.GraphEndpoint,
		CAFile: e.CAFile, Proxy: e.Proxy, Person: person,
	}
}

// configDrivers tells the configuration of the drivers.
func configDrivers() []config.Driver {
	var out []config.Driver
	for name, d := range drivers() {
		out = append(out, config.Driver{Type: name, Options: d.options})
	}
	slices.SortFunc(out, func(a, b config.Driver) int { return strings.Compare(a.Type, b.Type) })
	return out
}

// mailbox tells the engine of a configured source.
func mailbox(s *config.Source, log *zap.Logger) ingest.Mailbox {
	d := drivers()[s.Type]
	m := ingest.Mailbox{
		Name: s.Name, Type: s.Type, Address: s.Mailbox, Formerly: s.Formerly,
		Open: func() (sources.Source, error) {
			src, err := d.open(s, log)
			return src, explainUnreadable(err)
		},
		Interval:       s.PollInterval,
		Parallel:       1,
		After:          sources.Action{Verb: sources.Verb(s.AfterFiling), Permanent: s.Permanent},
		FileDuplicates: s.Duplicates == "file",
		Rules: document.Rules{
			Title: s.Document.Title, Class: s.Document.Class, Permissions: s.Document.Permissions,
			Properties: properties(s), Only: filter(s),
			SeparateAttachments: s.SeparateAttachments, KeepOriginal: s.KeepOriginal,
			Outlook: s.Format == "msg",
		},
	}
	if m.Address == "" {
		m.Address, _ = signIn(s)
	}
	d.fit(s.Options, &m)
	return m
}

func properties(s *config.Source) []document.Property {
	var rules []document.Property
	for _, p := range s.Document.Properties {
		rules = append(rules, document.Property{
			Name: p.Name, Value: p.Value, Read: p.Read, Match: p.Match, Default: p.Default, Required: p.Required,
		})
	}
	return rules
}

func filter(s *config.Source) document.Filter {
	return document.Filter{
		Unread: s.Only.Unread, Since: s.Only.Since, MaxSize: s.Only.MaxSize,
		From: document.NewGlobs(s.Only.From), Subject: document.NewGlobs(s.Only.Subject),
	}
}

// chosen returns the sources that are enabled, or those of the names.
func chosen(c *config.Config, names []string) ([]*config.Source, error) {
	var out []*config.Source
	for _, s := range c.Sources {
		if len(names) == 0 && s.Enabled || slices.Contains(names, s.Name) {
			if !s.Enabled {
				return nil, usage("source %s is not enabled", s.Name)
			}
			out = append(out, s)
		}
	}
	for _, n := range names {
		if !slices.ContainsFunc(c.Sources, func(s *config.Source) bool { return s.Name == n }) {
			return nil, noSource(c, n)
		}
	}
	return out, nil
}

func noSource(c *config.Config, name string) error {
	return usage("no source is named %q in %s", name, c.File)
}

func configSchema() ([]byte, error) { return config.Schema(configDrivers()) }
