package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

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
		Use: "service", Short: "What the service manager starts and asks", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	var user string
	unit := &cobra.Command{
		Use: "unit", Short: "Print the systemd unit for this configuration", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return printUnit(cmd, user) },
	}
	unit.Flags().StringVar(&user, "user", "", "the `NAME` of the user that owns state and repository (default: one that systemd allots)")
	cmd.AddCommand(unit,
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

func printUnit(cmd *cobra.Command, user string) error {
	_, c, err := loadWithoutSecrets(cmd)
	if err != nil {
		return err
	}
	binary, err := os.Executable()
	if err != nil {
		return failed(fmt.Errorf("find this program: %w", err))
	}
	writable := []string{c.Repository.Path, c.StateDir, c.Spool, filepath.Dir(ledgerPath(c))}
	if c.Log.File != "" {
		writable = append(writable, filepath.Dir(c.Log.File))
	}
	text, err := service.Unit(service.UnitOptions{Binary: binary, Config: c.File, User: user, Writable: writable})
	if err != nil {
		return usage("%w", err)
	}
	_, err = fmt.Fprint(cmd.OutOrStdout(), text)
	return failed(err)
}
