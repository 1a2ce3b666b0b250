package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"postroom/ingest"
	"postroom/ingest/ledger"
	"postroom/ingest/quarantine"
)

func newQuarantine() *cobra.Command {
	cmd := &cobra.Command{
		Use: "quarantine", Short: "The messages that need a person", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	var asJSON bool
	list := &cobra.Command{
		Use: "list", Short: "List them", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return listQuarantine(cmd, asJSON) },
	}
	list.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	show := &cobra.Command{
		Use: "show ID", Short: "Say why one could not be filed", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return showQuarantined(cmd, args[0], asJSON) },
	}
	show.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	export := &cobra.Command{
		Use: "export ID FILE", Short: "Write one's raw bytes to a file (- for standard output)", Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error { return exportQuarantined(cmd, args[0], args[1]) },
	}
	cmd.AddCommand(list, show, export,
		&cobra.Command{
			Use: "retry [ID...]", Short: "Try to file them again, all if no ID is given",
			RunE: func(cmd *cobra.Command, args []string) error {
				return callQuarantine(cmd, "retry", args, retry)
			},
		},
		&cobra.Command{
			Use: "discard ID...", Short: "Give them up; on their server they stay as they are", Args: cobra.MinimumNArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				return callQuarantine(cmd, "discard", args, discard)
			},
		})
	return cmd
}

// inQuarantine returns the entries in quarantine, oldest first.
func inQuarantine(ctx context.Context, l ledger.Reader) ([]ledger.Entry, error) {
	var out []ledger.Entry
	for e, err := range l.Entries(ctx, ledger.Query{States: []ledger.State{ledger.Quarantined, ledger.Parked}}) {
		if err != nil {
			return nil, err
		}
		out = append(out, e)
	}
	return out, nil
}

func listQuarantine(cmd *cobra.Command, asJSON bool) error {
	_, c, err := loadWithoutSecrets(cmd)
	if err != nil {
		return err
	}
	var entries []ledger.Entry
	l, err := readLedger(cmd.Context(), c)
	switch {
	case errors.Is(err, errNothingYet):
		fmt.Fprintf(cmd.ErrOrStderr(), "postroom: %v\n", err)
	case err != nil:
		return err
	default:
		defer l.Close()
		if entries, err = inQuarantine(cmd.Context(), l); err != nil {
			return failed(err)
		}
	}
	q := quarantine.Open(quarantineDir(c))
	var records []quarantine.Record
	for _, e := range entries {
		r, err := q.Record(e.QuarantineID())
		if errors.Is(err, fs.ErrNotExist) {
			// The ledger alone still says the main things.
			r = quarantine.Record{
				ID: e.QuarantineID(), Source: e.Source, Folder: e.FolderPath, Key: e.Key, Received: e.Received,
				Size: e.Size, Subject: e.Title, Reason: e.Cause, Attempts: e.Attempts, At: e.Updated,
			}
		} else if err != nil {
			return failed(err)
		}
		records = append(records, r)
	}
	if asJSON {
		return failed(printJSON(cmd.OutOrStdout(), map[string]any{"quarantine": emptyNotNull(records)}))
	}
	tw := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "ID\tSINCE\tATTEMPTS\tSOURCE\tFOLDER\tSUBJECT\tREASON")
	for _, r := range records {
		fmt.Fprintf(tw, "%s\t%s\t%d\t%s\t%s\t%s\t%s\n", r.ID, r.At.Format(time.DateTime), r.Attempts, r.Source, printable(r.Folder, 30), printable(r.Subject, 40), printable(r.Reason, 100))
	}
	return failed(tw.Flush())
}

// quarantineIDs checks that these can be ids of messages in quarantine.
func quarantineIDs(ids ...string) error {
	for _, id := range ids {
		if !quarantineID.MatchString(id) {
			return usage("%q is no id of a message in quarantine: give its 12 digits, as postroom quarantine list shows them", id)
		}
	}
	return nil
}

var quarantineID = regexp.MustCompile(`^[0-9a-f]{12}$`)

func showQuarantined(cmd *cobra.Command, id string, asJSON bool) error {
	if err := quarantineIDs(id); err != nil {
		return err
	}
	_, c, err := loadWithoutSecrets(cmd)
	if err != nil {
		return err
	}
	l, err := readLedger(cmd.Context(), c)
	if err != nil {
		return err
	}
	defer l.Close()
	if _, err := ingest.FindQuarantined(cmd.Context(), l, id); err != nil {
		return failed(err)
	}
	r, err := quarantine.Open(quarantineDir(c)).Record(id)
	if err != nil {
		return failed(err)
	}
	if asJSON {
		return failed(printJSON(cmd.OutOrStdout(), r))
	}
	tw := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	for _, line := range [][2]string{
		{"id", r.ID}, {"reason", r.Reason}, {"since", r.At.Format(time.RFC3339)}, {"attempts", fmt.Sprint(r.Attempts)},
		{"source", r.Source}, {"folder", r.Folder}, {"message", r.Key},
		{"from", r.From}, {"subject", r.Subject}, {"received", r.Received.Format(time.RFC3339)},
		{"size", fmt.Sprint(r.Size)}, {"sha256", r.SHA256}, {"tried by", strings.TrimSpace("postroom " + r.Version)},
	} {
		fmt.Fprintf(tw, "%s\t%s\n", line[0], printable(line[1], 2000))
	}
	return failed(tw.Flush())
}

func exportQuarantined(cmd *cobra.Command, id, name string) error {
	if err := quarantineIDs(id); err != nil {
		return err
	}
	_, c, err := loadWithoutSecrets(cmd)
	if err != nil {
		return err
	}
	l, err := readLedger(cmd.Context(), c)
	if err != nil {
		return err
	}
	defer l.Close()
	e, err := ingest.FindQuarantined(cmd.Context(), l, id)
	if err != nil {
		return failed(err)
	}
	q := quarantine.Open(quarantineDir(c))
	if kept, err := q.Has(id); err != nil {
		return failed(err)
	} else if !kept && e.SHA256 == [sha256.Size]byte{} {
		return failed(fmt.Errorf("%s: the server never delivered it; there are no bytes to export", id))
	}
	if name == "-" {
		return failed(q.Export(id, asIs(cmd.OutOrStdout())))
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return failed(fmt.Errorf("export: %w", err))
	}
	if err := errors.Join(q.Export(id, f), f.Sync(), f.Close()); err != nil {
		return failed(errors.Join(err, os.Remove(name)))
	}
	return nil
}

// quarantineCall names quarantined messages to the daemon; none means all.
type quarantineCall struct {
	IDs []string `json:"ids"`
}

// retried is what became of a quarantined message.
type retried struct {
	ID       string `json:"id"`
	State    string `json:"state,omitempty"`
	Location string `json:"location,omitempty"`
	Error    string `json:"error,omitempty"`
}

func retry(ctx context.Context, w *workshop, in quarantineCall) ([]retried, error) {
	return reconsider(ctx, w, in, w.engine.Retry)
}

func discard(ctx context.Context, w *workshop, in quarantineCall) ([]retried, error) {
	if len(in.IDs) == 0 {
		return nil, errors.New("discard needs the ids of the messages")
	}
	return reconsider(ctx, w, in, w.engine.Discard)
}

func reconsider(ctx context.Context, w *workshop, in quarantineCall, do func(context.Context, string) (ledger.Entry, error)) ([]retried, error) {
	if len(in.IDs) == 0 {
		entries, err := inQuarantine(ctx, w.ledger)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			in.IDs = append(in.IDs, e.QuarantineID())
		}
	}
	var out []retried
	for _, id := range in.IDs {
		e, err := do(ctx, id)
		r := retried{ID: id, State: string(e.State), Location: e.Location}
		switch {
		case err != nil:
			r.Error = err.Error()
		case e.State == ledger.Quarantined || e.State == ledger.Parked || e.State == ledger.Begun || e.State == ledger.Prepared:
			r.Error = e.Cause
		}
		out = append(out, r)
		if ctx.Err() != nil {
			return out, ctx.Err()
		}
	}
	return out, nil
}

func callQuarantine(cmd *cobra.Command, method string, ids []string, alone func(context.Context, *workshop, quarantineCall) ([]retried, error)) error {
	if err := quarantineIDs(ids...); err != nil {
		return err
	}
	s, c, err := loadWithoutSecrets(cmd)
	if err != nil {
		return err
	}
	results, err := withEngine(cmd.Context(), s, c, cmd.ErrOrStderr(), method, quarantineCall{ids}, alone)
	if errors.Is(err, errNothingYet) && len(ids) == 0 {
		err = nil
	}
	if err != nil {
		return err
	}
	if len(results) == 0 {
		fmt.Fprintln(cmd.OutOrStdout(), "nothing is in quarantine")
	}
	ok := true
	for _, r := range results {
		if r.Error != "" {
			ok = false
			fmt.Fprintf(cmd.ErrOrStderr(), "postroom: %s: %s\n", r.ID, inOneLine(r.Error))
			continue
		}
		printRetried(cmd.OutOrStdout(), r)
	}
	if !ok {
		return &exitError{status: exitFailed}
	}
	return nil
}

func printRetried(out io.Writer, r retried) {
	if r.Location != "" {
		fmt.Fprintf(out, "%s  filed  %s\n", r.ID, quoted(r.Location))
		return
	}
	fmt.Fprintf(out, "%s  %s\n", r.ID, r.State)
}
