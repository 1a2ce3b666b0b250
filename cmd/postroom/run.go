package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"postroom/ingest"
)

func newRun() *cobra.Command {
	var once, asJSON bool
	var names []string
	cmd := &cobra.Command{
		Use: "run", Short: "Watch the mailboxes and file what arrives", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !once {
				if asJSON {
					return usage("--json needs --once; for a log in JSON use --log-format json")
				}
				return runDaemon(cmd, names)
			}
			return runOnce(cmd, names, asJSON)
		},
	}
	cmd.Flags().BoolVar(&once, "once", false, "poll every source once, print a summary, and end")
	cmd.Flags().StringArrayVar(&names, "source", nil, "only the source of this `NAME` (may be repeated)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "with --once: print the summary as JSON")
	return cmd
}

func runOnce(cmd *cobra.Command, names []string, asJSON bool) error {
	s, c, err := loadConfig(cmd)
	if err != nil {
		return err
	}
	of, err := chosen(c, names)
	if err != nil {
		return err
	}
	progress := newProgress(cmd.ErrOrStderr())
	log, closeLog, err := s.newLog(c.Log, progress.logWriter())
	if err != nil {
		return err
	}
	var troubles troubles
	w, err := openWorkshop(cmd.Context(), c, log, of, func(ev ingest.Event) {
		progress.observe(ev)
		troubles.observe(ev)
	})
	if err != nil {
		return errors.Join(err, closeLog())
	}
	sums, err := w.engine.Once(cmd.Context())
	progress.end()
	if err := errors.Join(err, w.close(), closeLog()); err != nil {
		return failed(err)
	}
	if err := printSummaries(cmd.OutOrStdout(), sums, asJSON); err != nil {
		return failed(err)
	}
	troubles.print(cmd.ErrOrStderr())
	ok := true
	for _, s := range sums {
		if s.Error != "" {
			fmt.Fprintf(cmd.ErrOrStderr(), "postroom: source %s: %s\n", s.Name, s.Error)
			if s.Remedy != "" {
				fmt.Fprintf(cmd.ErrOrStderr(), "  what to do: %s\n", s.Remedy)
			}
		}
		ok = ok && s.OK()
	}
	if errors.Is(cmd.Context().Err(), context.Canceled) {
		return failed(errors.New("stopped before the end; the next run goes on from here"))
	}
	if !ok {
		return &exitError{status: exitFailed}
	}
	return nil
}

func printSummaries(out io.Writer, sums []ingest.Summary, asJSON bool) error {
	if asJSON {
		return printJSON(out, map[string]any{"sources": emptyNotNull(sums)})
	}
	tw := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "source\tfiled\tduplicates\tquarantined\tfailed\tbytes\tseconds\t")
	for _, s := range sums {
		fmt.Fprintf(tw, "%s\t%d\t%d\t%d\t%d\t%d\t%.1f\t\n", s.Name, s.Filed, s.Duplicates, s.Quarantined, s.Failed, s.Bytes, s.Seconds)
	}
	return tw.Flush()
}

// troubles collects the messages that failed or were quarantined.
type troubles struct {
	mu    sync.Mutex
	lines []string
	more  int
}

const maxTroubles = 1000

func (t *troubles) observe(ev ingest.Event) {
	var what string
	switch ev.Kind {
	case ingest.Failed:
		what = "failed, will be tried again"
	case ingest.Quarantined:
		what = "quarantined as " + ev.Entry.QuarantineID()
	default:
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.lines) == maxTroubles {
		t.more++
		return
	}
	t.lines = append(t.lines, fmt.Sprintf("postroom: source %s, folder %s, message %s: %s: %v", ev.Source, ev.Folder, ev.Entry.Key, what, ev.Err))
}

func (t *troubles) print(out io.Writer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	slices.Sort(t.lines)
	for _, l := range t.lines {
		fmt.Fprintln(out, l)
	}
	if t.more > 0 {
		fmt.Fprintf(out, "postroom: and %d more\n", t.more)
	}
}
