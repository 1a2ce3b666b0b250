package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/spf13/cobra"

	"postroom/cmd/postroom/config"
	"postroom/cmd/postroom/service"
	"postroom/internal/control"
)

func newSchema() *cobra.Command {
	return &cobra.Command{
		Use: "schema", Short: "Print the JSON Schema of the configuration, for editors", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			b, err := configSchema()
			if err != nil {
				return failed(err)
			}
			_, err = cmd.OutOrStdout().Write(b)
			return failed(err)
		},
	}
}

func newService() *cobra.Command {
	cmd := &cobra.Command{
		Use: "service", Short: "postroom as a service of the system", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	var user string
	verb := func(use, short string, do func(*cobra.Command) error) *cobra.Command {
		return &cobra.Command{
			Use: use, Short: short, Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error { return do(cmd) },
		}
	}
	unit := verb("unit", "Print the systemd unit for this configuration", func(cmd *cobra.Command) error { return printUnit(cmd, user) })
	install := verb("install", "Install the systemd service for this configuration", func(cmd *cobra.Command) error { return installService(cmd, user) })
	for _, cmd := range []*cobra.Command{unit, install} {
		cmd.Flags().StringVar(&user, "user", "", "the `NAME` of the user that owns state and repository (default: one that systemd allots)")
	}
	cmd.AddCommand(install, unit,
		verb("uninstall", "Stop the service and remove it; what it has filed stays", uninstallService),
		verb("start", "Start the installed service", startService),
		verb("stop", "Stop the running daemon, as a service or not", stopService),
		verb("status", "Say whether it runs: exit status 0 running, 3 stopped, 4 not installed", serviceStatus),
		&cobra.Command{
			Use: "run", Short: "Run as a service, as the service manager does", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error { return runDaemon(cmd, nil) },
		},
		&cobra.Command{
			Use: "reload", Short: "Make the running daemon take up its changed configuration", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				_, c, err := loadWithoutSecrets(cmd)
				if err != nil {
					return err
				}
				client, err := control.Dial(c.StateDir)
				if errors.Is(err, control.ErrNoDaemon) {
					return failed(fmt.Errorf("%w; one that was started with another state_dir must be restarted", err))
				}
				if err != nil {
					return failed(err)
				}
				defer client.Close()
				return failed(client.Call(cmd.Context(), "reload", struct{}{}, &struct{}{}))
			},
		})
	return cmd
}

// unitOptions describes the service of the configuration.
func unitOptions(c *config.Config, user string) (service.UnitOptions, error) {
	binary, err := os.Executable()
	if err != nil {
		return service.UnitOptions{}, failed(fmt.Errorf("find this program: %w", err))
	}
	writable := []string{c.Repository.Path, c.StateDir, c.Spool, filepath.Dir(ledgerPath(c))}
	if c.Log.File != "" {
		writable = append(writable, filepath.Dir(c.Log.File))
	}
	return service.UnitOptions{Binary: binary, Config: c.File, User: user, Writable: writable}, nil
}

func printUnit(cmd *cobra.Command, user string) error {
	_, c, err := loadWithoutSecrets(cmd)
	if err != nil {
		return err
	}
	o, err := unitOptions(c, user)
	if err != nil {
		return err
	}
	text, err := service.Unit(o)
	if err != nil {
		return usage("%w", err)
	}
	for _, dir := range service.Missing(o) {
		fmt.Fprintf(cmd.ErrOrStderr(), "postroom: %s is not there yet, and the service cannot make it: make it for user %s (postroom service install does)\n", dir, user)
	}
	_, err = fmt.Fprint(cmd.OutOrStdout(), text)
	return failed(err)
}

// systemd returns the service manager; elsewhere an error that says so.
func systemd(verb string) (*service.Systemd, error) {
	if runtime.GOOS == "windows" {
		return nil, usage("service %s: not built yet on Windows", verb)
	}
	s, err := service.FindSystemd()
	if err != nil {
		return nil, failed(fmt.Errorf("service %s: %w; have its own service manager start \"postroom service run\"", verb, err))
	}
	return s, nil
}

func installService(cmd *cobra.Command, user string) error {
	// With all that it needs, the secrets apart, which are the service's.
	_, c, err := loadWithoutSecrets(cmd)
	if err != nil {
		return err
	}
	o, err := unitOptions(c, user)
	if err != nil {
		return err
	}
	if _, err := service.Unit(o); err != nil {
		return usage("%w", err)
	}
	s, err := systemd("install")
	if err != nil {
		return err
	}
	if err := s.Install(cmd.Context(), o); err != nil {
		return failed(err)
	}
	_, err = fmt.Fprintln(cmd.OutOrStdout(), "installed; it starts with the machine, and now with: postroom service start")
	return failed(err)
}

func uninstallService(cmd *cobra.Command) error {
	_, c, err := loadWithoutSecrets(cmd)
	if err != nil {
		return err
	}
	s, err := systemd("uninstall")
	if err != nil {
		return err
	}
	return failed(s.Uninstall(cmd.Context(), c.File))
}

func startService(cmd *cobra.Command) error {
	_, c, err := loadWithoutSecrets(cmd)
	if err != nil {
		return err
	}
	if daemonRuns(c) {
		return nil
	}
	s, err := systemd("start")
	if err != nil {
		return err
	}
	err = s.Start(cmd.Context(), c.File)
	if errors.Is(err, service.ErrNotInstalled) {
		err = fmt.Errorf("%w; install it first (postroom service install)", err)
	}
	return failed(err)
}

// stopService ends the daemon of the configuration, whoever started it.
func stopService(cmd *cobra.Command) error {
	_, c, err := loadWithoutSecrets(cmd)
	if err != nil {
		return err
	}
	// One that fails to start, again and again, does not answer.
	if s, err := service.FindSystemd(); err == nil {
		if active, err := s.Active(cmd.Context(), c.File); err == nil && active {
			return failed(s.Stop(cmd.Context(), c.File))
		}
	}
	client, err := control.Dial(c.StateDir)
	if errors.Is(err, control.ErrNoDaemon) {
		return failed(fmt.Errorf("%w; if another postroom is at work, it is one that ends by itself (run --once, or a command), or has another state_dir", err))
	}
	if err != nil {
		return failed(err)
	}
	defer client.Close()
	if err := client.Call(cmd.Context(), "stop", struct{}{}, &struct{}{}); err != nil {
		return failed(err)
	}
	for ctx := cmd.Context(); ; {
		if again, err := control.Dial(c.StateDir); err != nil {
			return nil
		} else {
			again.Close()
		}
		select {
		case <-ctx.Done():
			return failed(ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Exit statuses of service status.
const (
	exitStopped      = 3
	exitNotInstalled = 4
)

func serviceStatus(cmd *cobra.Command) error {
	_, c, err := loadWithoutSecrets(cmd)
	if err != nil {
		return err
	}
	say := func(status int, text string) error {
		if _, err := fmt.Fprintln(cmd.OutOrStdout(), text); err != nil {
			return failed(err)
		}
		if status == exitOK {
			return nil
		}
		return &exitError{status: status}
	}
	s, noManager := service.FindSystemd()
	installed, active := noManager, false
	if s != nil {
		active, installed = s.Active(cmd.Context(), c.File)
	}
	client, err := control.Dial(c.StateDir)
	switch {
	case err == nil:
		client.Close()
		return say(exitOK, "running")
	case active:
		return say(exitOK, "running, or about to: systemd says that it is active")
	case !errors.Is(err, control.ErrNoDaemon) && !errors.Is(err, fs.ErrNotExist):
		return failed(err)
	case installed == nil:
		return say(exitStopped, "stopped")
	case errors.Is(installed, service.ErrNotInstalled), errors.Is(installed, service.ErrNoManager):
		return say(exitNotInstalled, "not running, and not installed: "+installed.Error())
	}
	return failed(installed)
}
