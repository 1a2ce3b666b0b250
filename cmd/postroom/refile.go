package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"postroom/ingest"
)

func newRefile() *cobra.Command {
	return &cobra.Command{
		Use: "refile ID", Short: "File a document anew under the rules of now", Args: cobra.ExactArgs(1),
		Long: `Files a document anew, under what the configuration says of its source now: title,
class, properties, permissions, and which files; a running daemon takes up a
changed configuration first. The document is replaced at once:
the old one or the new one is there, whatever happens. Its id stays, and so does
where it came from and when it was filed; a note says when it was filed anew. If
nothing would change, nothing is done.

It is made from the message as it was received: original.eml, or message.eml if no
attachments were separated from it; never message.msg. If the repository has neither,
the message is fetched from its server again, also from where postroom moved it; the server
may have rendered it in other bytes (Exchange Online) if it holds the same; if that is not possible, the document stays as
it is.

A document never holds less of its message than before. Where the rules would leave no
file with the message as it was received, and there was one, original.eml is kept, or
added, whatever keep_original says; a note, and standard error, say so.

ID is the document's id, at least its first 12 digits, or the path of its folder.`,
		RunE: func(cmd *cobra.Command, args []string) error { return refile(cmd, args[0]) },
	}
}

func refileDocument(ctx context.Context, w *workshop, in documentCall) (ingest.Refiled, error) {
	return w.engine.Refile(ctx, in.ID)
}

func refile(cmd *cobra.Command, name string) error {
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
	done, err := withEngine(cmd.Context(), s, c, cmd.ErrOrStderr(), "refile", documentCall{d.ID}, refileDocument)
	if err != nil {
		return err
	}
	if done.KeptOriginal {
		fmt.Fprintln(cmd.ErrOrStderr(), "postroom: original.eml is kept although keep_original is false: it may be the only copy of the message as it was received")
	}
	if len(done.Changed) == 0 {
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%.12s  unchanged  %s\n", done.ID, quoted(done.Location))
		return failed(err)
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%.12s  filed anew  %s  (%s)\n", done.ID, quoted(done.Location), strings.Join(done.Changed, ", "))
	return failed(err)
}
