package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"postroom/ingest"
	"postroom/ingest/ledger"
)

func newForget() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use: "forget ID", Short: "Remove a document for good; its message is not filed again", Args: cobra.ExactArgs(1),
		Long: `Removes a document from the repository for good, and what the ledger knows of
its title and Message-ID. A tombstone stays, so that verify finds nothing missing
and the message is not filed again, under whatever key it comes. On its server
the message stays as it is.

ID is the document's id, at least its first 12 digits, or the path of its folder.`,
		RunE: func(cmd *cobra.Command, args []string) error { return forget(cmd, args[0], yes) },
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

// unnamed is the error of a command of which an argument names no document, or
// several, which is wrong usage, or of one that failed.
func unnamed(err error) error {
	if errors.As(err, new(*ingest.NameError)) {
		return &exitError{exitUsage, err}
	}
	return failed(err)
}

// documentCall names a document to the daemon.
type documentCall struct {
	ID string `json:"id"`
}

// forgotten is a document that was removed.
type forgotten struct {
	ID       string `json:"id"`
	Location string `json:"location,omitempty"` // where it was
}

func forgetDocument(ctx context.Context, w *workshop, in documentCall) (forgotten, error) {
	d, err := w.engine.Forget(ctx, in.ID)
	return forgotten{d.ID, d.Location}, err
}

func forget(cmd *cobra.Command, name string, yes bool) error {
	s, c, err := loadWithoutSecrets(cmd)
	if err != nil {
		return err
	}
	l, err := readLedger(cmd.Context(), c)
	if err != nil {
		return err
	}
	d, err := ingest.FindDocument(cmd.Context(), l, name)
	if err := errors.Join(err, l.Close()); err != nil {
		return unnamed(err)
	}
	if !yes {
		if err := confirmForgetting(cmd, d); err != nil {
			return err
		}
	}
	done, err := withEngine(cmd.Context(), s, c, cmd.ErrOrStderr(), "forget", documentCall{d.ID}, forgetDocument)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%.12s  forgotten  %s\n", done.ID, quoted(done.Location))
	return failed(err)
}

// confirmForgetting asks on a terminal.
func confirmForgetting(cmd *cobra.Command, d ledger.Document) error {
	in, ok := cmd.InOrStdin().(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return usage("forget removes a document for good: without a terminal to ask on, it needs --yes")
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "%.12s  %s\n%s\nRemove this document for good? [y/N] ", d.ID, printable(d.Title, 80), quoted(d.Location))
	answer, err := bufio.NewReader(in).ReadString('\n')
	if err != nil {
		return failed(fmt.Errorf("read the answer: %w", err))
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return failed(errors.New("nothing was removed"))
}
