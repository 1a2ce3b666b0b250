package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"postroom/cmd/postroom/config"
	"postroom/internal/control"
	"postroom/internal/secret"
	"postroom/internal/vault"
)

func newSecret() *cobra.Command {
	cmd := &cobra.Command{
		Use: "secret", Short: "Keep passwords and other secrets encrypted, for ${secret:NAME} in the configuration", Args: cobra.NoArgs,
		Long: `Keeps secrets in state_dir, encrypted and bound to this machine. ${secret:NAME} in
the configuration stands for the one of that name, or for a credential of systemd of
that name ($CREDENTIALS_DIRECTORY), which goes first.

They are in no backup: after a move to another machine, set them again.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return usage("secret: say what to do: set, delete or list")
		},
	}
	var asJSON bool
	list := &cobra.Command{
		Use: "list", Short: "Print the names of the secrets that are kept", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return listSecrets(cmd, asJSON) },
	}
	list.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.AddCommand(&cobra.Command{
		Use: "set NAME", Short: "Keep a secret, read from standard input or asked for", Args: cobra.ExactArgs(1),
		Long: `Reads the secret from standard input, without the newline at its end; on a terminal
it asks, and shows nothing. A running daemon takes it up at once.`,
		RunE: func(cmd *cobra.Command, args []string) error { return setSecret(cmd, args[0]) },
	}, &cobra.Command{
		Use: "delete NAME", Short: "Forget a secret", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return deleteSecret(cmd, args[0]) },
	}, list)
	return cmd
}

// openVault returns the vault of the configuration, of which only state_dir needs
// to be right, and makes this process the owner of the state.
func openVault(cmd *cobra.Command) (s *settings, stateDir string, v *vault.Vault, err error) {
	if s, err = readSettings(cmd); err != nil {
		return nil, "", nil, err
	}
	stateDir, err = config.StateDir(s.config)
	var problems config.Problems
	if errors.As(err, &problems) {
		for _, p := range problems {
			fmt.Fprintln(cmd.ErrOrStderr(), p)
		}
		return nil, "", nil, usage("%s has %s", s.config, count(len(problems), "error", "errors"))
	}
	if err != nil {
		return nil, "", nil, usage("%w", err)
	}
	return s, stateDir, vault.In(stateDir), adoptState(&config.Config{StateDir: stateDir})
}

// explainVault says of an error of the vault what to do.
func explainVault(stateDir string, err error) error {
	if errors.As(err, new(*vault.UnreadableError)) {
		return failed(err)
	}
	if errors.Is(err, fs.ErrPermission) {
		return failed(fmt.Errorf("%w\n  what to do: run this command as %s", err, ownerOf(stateDir)))
	}
	return failed(explained(place{key: "state_dir", path: stateDir}.explain(err)))
}

func checkSecretName(name string) error {
	if !config.IsSecretName(name) {
		return usage("secret: the name has up to 63 letters, digits, dots, dashes and underscores, with a letter or digit first")
	}
	return nil
}

func setSecret(cmd *cobra.Command, name string) error {
	if err := checkSecretName(name); err != nil {
		return err
	}
	s, stateDir, v, err := openVault(cmd)
	if err != nil {
		return err
	}
	value, err := readSecret(cmd, name)
	if err != nil {
		return err
	}
	if err := v.Set(cmd.Context(), config.SecretKey(name), value); err != nil {
		return explainVault(stateDir, err)
	}
	reference := "${secret:" + name + "}"
	running, err := reloadDaemon(cmd.Context(), stateDir)
	if err != nil {
		return failed(fmt.Errorf("%s is kept; %w; see postroom check --config %s", reference, err, s.config))
	}
	if running {
		reference += ", for the running daemon too,"
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s is kept\n", reference)
	return failed(err)
}

// reloadDaemon has the daemon of the state, if one is running, read its
// configuration anew, and all that this refers to.
func reloadDaemon(ctx context.Context, stateDir string) (running bool, err error) {
	client, err := control.Dial(stateDir)
	if errors.Is(err, control.ErrNoDaemon) {
		return false, nil
	}
	if err != nil {
		return true, fmt.Errorf("the running daemon cannot be told: %w", err)
	}
	defer client.Close()
	if err := client.Call(ctx, "reload", struct{}{}, nil); err != nil {
		return true, fmt.Errorf("the running daemon has not taken it up: %w", err)
	}
	return true, nil
}

// readSecret reads a secret from standard input, or asks for it there.
func readSecret(cmd *cobra.Command, name string) (secret.Value, error) {
	if f, ok := cmd.InOrStdin().(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		first, err := askSecret(cmd, f, name+": ")
		if err != nil {
			return first, err
		}
		again, err := askSecret(cmd, f, name+", once more: ")
		if err == nil && first.Reveal() != again.Reveal() {
			err = failed(errors.New("the two are not the same; nothing was changed"))
		}
		return first, err
	}
	data, err := io.ReadAll(io.LimitReader(cmd.InOrStdin(), vault.MaxSize+2))
	if err != nil {
		return secret.Value{}, failed(fmt.Errorf("read the secret from standard input: %w", err))
	}
	text := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	return checkedSecret(text)
}

func checkedSecret(text string) (secret.Value, error) {
	switch {
	case text == "":
		return secret.Value{}, usage("secret set: the secret is empty; nothing was changed")
	case len(text) > vault.MaxSize:
		return secret.Value{}, usage("secret set: the secret is larger than %d KiB; nothing was changed", vault.MaxSize>>10)
	case !utf8.ValidString(text):
		return secret.Value{}, usage("secret set: the secret is not UTF-8; nothing was changed")
	}
	return secret.New(text), nil
}

// askSecret asks on a terminal, which shows nothing of the answer.
func askSecret(cmd *cobra.Command, f *os.File, prompt string) (secret.Value, error) {
	fd := int(f.Fd())
	shown, err := term.GetState(fd)
	if err != nil {
		return secret.Value{}, failed(fmt.Errorf("ask on the terminal: %w", err))
	}
	// Whoever ends the command finds the terminal as it was.
	defer context.AfterFunc(cmd.Context(), func() {
		_ = term.Restore(fd, shown) // the program ends
		fmt.Fprintln(cmd.ErrOrStderr())
		os.Exit(exitFailed)
	})()
	fmt.Fprint(cmd.ErrOrStderr(), prompt)
	text, err := term.ReadPassword(fd)
	fmt.Fprintln(cmd.ErrOrStderr())
	if err != nil {
		return secret.Value{}, failed(fmt.Errorf("ask on the terminal: %w", err))
	}
	return checkedSecret(string(text))
}

func deleteSecret(cmd *cobra.Command, name string) error {
	if err := checkSecretName(name); err != nil {
		return err
	}
	_, stateDir, v, err := openVault(cmd)
	if err != nil {
		return err
	}
	err = v.Delete(cmd.Context(), config.SecretKey(name))
	if errors.Is(err, vault.ErrUnknown) {
		return failed(fmt.Errorf("no secret %s is kept: see postroom secret list", name))
	}
	if err != nil {
		return explainVault(stateDir, err)
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s is forgotten; a configuration that holds ${secret:%s} is not read again without it\n", name, name)
	return failed(err)
}

// secretLine is a secret that is kept.
type secretLine struct {
	Name    string    `json:"name"`
	Changed time.Time `json:"changed"`
	// Error says why it cannot be read.
	Error string `json:"error,omitempty"`
}

func listSecrets(cmd *cobra.Command, asJSON bool) error {
	s, stateDir, v, err := openVault(cmd)
	if err != nil {
		return err
	}
	entries, err := v.List(config.SecretPrefix)
	if err != nil {
		return explainVault(stateDir, err)
	}
	lines := []secretLine{}
	bad := 0
	for _, e := range entries {
		line := secretLine{Name: strings.TrimPrefix(e.Name, config.SecretPrefix), Changed: e.Changed}
		if _, err := v.Get(e.Name); err != nil {
			line.Error = err.Error()
			var unreadable *vault.UnreadableError
			if errors.As(err, &unreadable) && unreadable.Remedy == "" {
				line.Error += "; set it again: " + config.Command(s.config, "secret set "+line.Name)
			}
			bad++
		}
		lines = append(lines, line)
	}
	if asJSON {
		err = printJSON(cmd.OutOrStdout(), map[string]any{"secrets": lines})
	} else {
		tw := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
		for _, l := range lines {
			fmt.Fprintf(tw, "%s\t%s\t%s\n", l.Name, l.Changed.Local().Format(time.DateTime), printable(l.Error, 500))
		}
		err = tw.Flush()
	}
	if err == nil && bad > 0 {
		return &exitError{status: exitFailed}
	}
	return failed(err)
}
