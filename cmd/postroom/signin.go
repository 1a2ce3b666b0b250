package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"postroom/cmd/postroom/config"
	"postroom/internal/graph"
	"postroom/internal/oauth"
	"postroom/sources/exchange"
	"postroom/sources/imap"
	"postroom/sources/pop3"
)

func newSignIn() *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use: "sign-in --credentials NAME", Short: "Sign in as the person whose mailbox is filed (flow: device_code)", Args: cobra.NoArgs,
		Long: `Shows an address and a code. The person whose mailbox is to be filed opens the address
on any device, enters the code, and signs in there, with multi-factor authentication if
it is asked for. From then on postroom opens that mailbox, and no other, until the
sign-in is revoked or was not used for 90 days. It is kept in state_dir, encrypted and
bound to this machine. A running daemon takes it up at once.`,
		RunE: func(cmd *cobra.Command, _ []string) error { return signInPerson(cmd, name) },
	}
	cmd.Flags().StringVar(&name, "credentials", "", "the credentials of this `NAME` in the configuration")
	return cmd
}

func signInPerson(cmd *cobra.Command, name string) error {
	if name == "" {
		return usage("sign-in: say for which credentials: --credentials NAME")
	}
	s, c, err := loadConfig(cmd)
	if err != nil {
		return err
	}
	credentials := c.Credentials[name]
	switch {
	case credentials == nil:
		return usage("no credentials are named %q in %s", name, s.config)
	case credentials.Entra == nil || credentials.Entra.Flow != graph.DeviceCode:
		return usage("the credentials %s sign in by themselves; sign-in is for those with flow: device_code", name)
	}
	var of []*config.Source
	for _, source := range c.Sources {
		if source.Credentials == credentials {
			of = append(of, source)
		}
	}
	if slices.ContainsFunc(of, func(s *config.Source) bool { return s.Enabled }) {
		of = slices.DeleteFunc(of, func(s *config.Source) bool { return !s.Enabled })
	}
	if len(of) == 0 {
		return usage("no source has the credentials %s; add one first: its mailbox says who is to sign in, and its type for what", name)
	}
	if err := adoptState(c); err != nil {
		return err
	}
	client, err := graphClients.Open(graphSettings(of[0]))
	if err != nil {
		e, _ := exchange.ExplainSignIn(err)
		return failed(explained(e))
	}
	defer client.Close()
	var scopes, names []string
	for _, source := range of {
		names = append(names, source.Name)
		if scope := personScope(client, source); !slices.Contains(scopes, scope) {
			scopes = append(scopes, scope)
		}
	}
	out := cmd.OutOrStdout()
	user, err := client.SignInPerson(cmd.Context(), scopes, func(p graph.Prompt) {
		fmt.Fprintf(out, "To sign in as %s, open\n\n    %s\n\non any device, and enter the code\n\n    %s\n\nbefore %s. Waiting for that; Ctrl-C ends it.\n",
			of[0].Mailbox, printable(p.URL, 200), printable(p.Code, 50), p.Expires.Local().Format(time.TimeOnly))
	})
	if err != nil {
		if cmd.Context().Err() != nil {
			return failed(fmt.Errorf("ended before anybody had signed in; nothing was changed"))
		}
		e, _ := exchange.ExplainSignIn(err)
		return failed(explained(e))
	}
	// Sources in trouble are tried again at once.
	if _, err := reloadDaemon(cmd.Context(), c.StateDir); err != nil {
		return failed(fmt.Errorf("signed in as %s, which is kept; %w", user, err))
	}
	_, err = fmt.Fprintf(out, "signed in as %s, for %s %s\n", user, map[bool]string{true: "source", false: "sources"}[len(names) == 1], strings.Join(names, ", "))
	return failed(err)
}

// personScope is the permission that the source needs of a person.
func personScope(client *graph.Client, s *config.Source) string {
	switch o := s.Options.(type) {
	case *imap.Options:
		return client.MailScope(hostOf(o.Server), oauth.IMAP)
	case *pop3.Options:
		return client.MailScope(hostOf(o.Server), oauth.POP3)
	}
	return client.GraphScope()
}
