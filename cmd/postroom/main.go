// Postroom is a digital mailroom: it watches mailboxes and files what arrives
// as documents.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

// version is set when a release is built.
var version = "dev"

// Exit statuses.
const (
	exitOK     = 0
	exitFailed = 1 // something failed or was quarantined
	exitUsage  = 2 // wrong usage or configuration
)

// stopLimit is how long after a signal the program ends at the latest. The engine
// stops before; only a disk that does not answer can hold it up.
const stopLimit = 9500 * time.Millisecond

// garbage is how much memory may be garbage, in percent of what is in use: less
// than usual, as messages come and go by the hundred. GOGC overrides it.
const garbage = 50

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(garbage)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, func() {
		stop() // a second signal ends the program at once
		time.AfterFunc(stopLimit, func() {
			fmt.Fprintln(os.Stderr, "postroom: a disk or server does not answer; ended without waiting for it, the next run goes on from here")
			os.Exit(exitFailed)
		})
	})
	status := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(status)
}

// run runs one command and returns its exit status.
func run(ctx context.Context, args []string, in io.Reader, out, errs io.Writer) int {
	root := newRoot()
	out, errs = &terminal{out}, &terminal{errs}
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errs)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	var e *exitError
	if !errors.As(err, &e) {
		// Whatever cobra itself finds wrong is the command line.
		fmt.Fprintf(errs, "postroom: %v\n", err)
		return exitUsage
	}
	if e.err != nil {
		fmt.Fprintf(errs, "postroom: %v\n", e.err)
	}
	return e.status
}

// exitError ends the program with a status. Without an error nothing is
// printed: what there is to say has been said.
type exitError struct {
	status int
	err    error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit status %d", e.status)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// failed is an error that ends the program with exitFailed.
func failed(err error) error {
	if err == nil {
		return nil
	}
	return &exitError{exitFailed, err}
}

// usage is an error that ends the program with exitUsage.
func usage(format string, args ...any) error {
	return &exitError{exitUsage, fmt.Errorf(format, args...)}
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "postroom",
		Short:         "A digital mailroom: files what arrives in mailboxes as documents",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.CompletionOptions.DisableDefaultCmd = true
	addSettings(root.PersistentFlags())
	root.AddCommand(
		newRun(), newCheck(), newFolders(), newHistory(), newQuarantine(),
		newVerify(), newRefile(), newForget(), newBackup(), newMigrate(),
		newConvert(), newDemo(), newSecret(), newSignIn(), newService(), newSchema(), newVersion(),
	)
	addNotBuilt(root)
	return root
}

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print version, commit and Go version", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "postroom %s, commit %s, %s %s/%s\n",
				version, commit(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
}

// commit returns that which the program was built from.
func commit() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				return s.Value
			}
		}
	}
	return "unknown"
}

// build tells this program from others: another may file what this one cannot.
func build() string { return version + " " + commit() }
