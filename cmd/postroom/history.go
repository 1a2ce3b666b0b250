package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"postroom/cmd/postroom/config"
	"postroom/ingest/ledger"
)

// historyLine is one message in the history.
type historyLine struct {
	At          time.Time `json:"at"` // filed, recognised as a duplicate, or quarantined
	Outcome     string    `json:"outcome"`
	Source      string    `json:"source"`
	Folder      string    `json:"folder"`
	ServerID    string    `json:"server_id"`
	MessageID   string    `json:"message_id,omitempty"`
	Title       string    `json:"title,omitempty"`
	Received    time.Time `json:"received,omitzero"`
	Size        int64     `json:"size"`
	SHA256      string    `json:"sha256"`
	Document    string    `json:"document,omitempty"`
	Location    string    `json:"location,omitempty"`
	DuplicateOf string    `json:"duplicate_of,omitempty"`
	Forgotten   time.Time `json:"forgotten,omitzero"` // when its document was removed for good
	State       string    `json:"state"`
	Reason      string    `json:"reason,omitempty"`
}

func newHistory() *cobra.Command {
	var source, since string
	var asJSON bool
	cmd := &cobra.Command{
		Use: "history", Short: "What was filed, when, from where, to which document", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			from, err := parseSince(since, time.Now())
			if err != nil {
				return err
			}
			return history(cmd, source, from, asJSON)
		},
	}
	cmd.Flags().StringVar(&source, "source", "", "only of the source of this `NAME`")
	cmd.Flags().StringVar(&since, "since", "", "only since `T`: an RFC 3339 time, a date, or a span such as 7d")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

var days = regexp.MustCompile(`^(\d{1,5})d$`)

// parseSince reads a point in time: RFC 3339, a date (from 00:00 UTC), or a
// span before now.
func parseSince(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), nil
		}
	}
	if m := days.FindStringSubmatch(s); m != nil {
		n, err := strconv.Atoi(m[1])
		if err == nil {
			return now.UTC().AddDate(0, 0, -n), nil
		}
	}
	if d, err := time.ParseDuration(s); err == nil && d > 0 {
		return now.UTC().Add(-d), nil
	}
	return time.Time{}, usage("--since %q is no time; allowed: an RFC 3339 time (2026-01-02T03:04:05Z), a date (2026-01-02), or a span (7d, 12h)", s)
}

func history(cmd *cobra.Command, source string, since time.Time, asJSON bool) error {
	_, c, err := loadWithoutSecrets(cmd)
	if err != nil {
		return err
	}
	known := source == "" || slices.ContainsFunc(c.Sources, func(s *config.Source) bool { return s.Name == source })
	lines := []historyLine{}
	l, err := readLedger(cmd.Context(), c)
	switch {
	case errors.Is(err, errNothingYet):
		if !known {
			return noSource(c, source)
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "postroom: %v\n", err)
	case err != nil:
		return err
	default:
		defer l.Close()
		if !known {
			// One that the configuration had before has a past all the same.
			n, err := l.Count(cmd.Context(), source)
			if err != nil {
				return failed(err)
			}
			if len(n) == 0 {
				return noSource(c, source)
			}
		}
		for e, err := range l.Entries(cmd.Context(), ledger.Query{
			Source: source, Since: since,
			States: []ledger.State{ledger.Filed, ledger.Settled, ledger.Quarantined, ledger.Parked, ledger.Discarded},
		}) {
			if err != nil {
				return failed(err)
			}
			h := lineOf(e)
			if h.Outcome == "forgotten" {
				if err := h.forgotten(cmd.Context(), l); err != nil {
					return failed(err)
				}
			}
			lines = append(lines, h)
		}
	}
	if asJSON {
		return failed(printJSON(cmd.OutOrStdout(), map[string]any{"history": lines}))
	}
	tw := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "AT\tOUTCOME\tSOURCE\tFOLDER\tTITLE\tDOCUMENT\tREASON")
	for _, h := range lines {
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", h.At.Format(time.DateTime), h.Outcome, h.Source,
			printable(h.Folder, 30), printable(h.Title, 50), printable(h.Location, 200), printable(h.Reason, 200))
	}
	return failed(tw.Flush())
}

// forgotten says when the document was removed, which its tombstone knows.
func (h *historyLine) forgotten(ctx context.Context, l ledger.Reader) error {
	d, err := l.Document(ctx, h.Document)
	if err != nil {
		return fmt.Errorf("document %.12s: %w", h.Document, err)
	}
	if h.Forgotten = d.Forgotten; !d.Forgotten.IsZero() {
		h.Reason += " on " + d.Forgotten.Format(time.DateTime)
	}
	return nil
}

func lineOf(e ledger.Entry) historyLine {
	h := historyLine{
		At: e.Filed, Outcome: "filed", Source: e.Source, Folder: e.FolderPath, ServerID: e.Key,
		MessageID: e.MessageID, Title: e.Title, Received: e.Received, Size: e.Size, SHA256: hex.EncodeToString(e.SHA256[:]),
		Document: e.DocumentID, Location: e.Location, State: string(e.State),
	}
	switch {
	case e.State == ledger.Quarantined || e.State == ledger.Parked:
		h.Outcome, h.Reason, h.At, h.Document = "quarantined", e.Cause, e.Updated, ""
	case e.State == ledger.Discarded:
		h.Outcome, h.Reason, h.At, h.Document = "discarded", e.Cause, e.Updated, ""
	case e.Location == "" && (e.State == ledger.Filed || e.State == ledger.Settled):
		h.Outcome, h.Reason = "forgotten", "its document was removed for good"
	case e.Duplicate:
		h.Outcome, h.DuplicateOf = "duplicate", e.DocumentID
	}
	return h
}
