package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"postroom/ingest"
)

func newRun() *cobra.Command {
	var once, dry, asJSON bool
	var names []string
	cmd := &cobra.Command{
		Use: "run", Short: "Watch the mailboxes and file what arrives", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case once && dry:
				return dryRun(cmd, names, asJSON)
			case dry:
				return usage("--dry-run needs --once: it shows what one poll of every source would do")
			}
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
	cmd.Flags().BoolVar(&dry, "dry-run", false, "with --once: show what would be done with each message, and change nothing anywhere")
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
	log, err := s.openLog(c, progress.logWriter())
	if err != nil {
		progress.end()
		return err
	}
	warnOfPasswords(log.Logger, of)
	var troubles troubles
	w, err := openWorkshop(cmd.Context(), c, log.Logger, of, func(ev ingest.Event) {
		progress.observe(ev)
		troubles.observe(ev)
	})
	if err != nil {
		progress.end()
		return errors.Join(err, log.close())
	}
	sums, err := w.engine.Once(cmd.Context())
	progress.end()
	if err := errors.Join(err, w.close(), log.close()); err != nil {
		return failed(err)
	}
	if err := printSummaries(cmd.OutOrStdout(), sums, asJSON); err != nil {
		return failed(err)
	}
	ok := true
	for _, s := range sums {
		troubles.add(s)
		ok = ok && s.OK()
	}
	troubles.print(cmd.ErrOrStderr())
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

// troubles collects what a run has to say of messages and sources in trouble.
type troubles struct {
	mu    sync.Mutex
	lines []string
	more  int
}

const maxTroubles = 1000

// observe notes a message that was quarantined.
func (t *troubles) observe(ev ingest.Event) {
	if ev.Kind == ingest.Quarantined {
		t.note("source %s, folder %s, message %s: quarantined as %s: %s", ev.Source, quoted(ev.Folder), quoted(ev.Entry.Key), ev.Entry.QuarantineID(), inOneLine(fmt.Sprint(ev.Err)))
	}
}

// add notes what else is wrong with a source.
func (t *troubles) add(s ingest.Summary) {
	waiting := 0
	for _, e := range s.Owed {
		if e.RetryAt.IsZero() {
			waiting++
			continue
		}
		t.note("source %s, folder %s, message %s: failed, will be tried again after %s: %s",
			e.Source, quoted(e.FolderPath), quoted(e.Key), e.RetryAt.Local().Format(time.DateTime), inOneLine(e.Cause))
	}
	if waiting > 0 {
		t.note("source %s: %d messages could not be handled; they are tried again at the next poll", s.Name, waiting)
	}
	if s.InQuarantine > 0 {
		t.note("source %s: %s in quarantine for a person: postroom quarantine list", s.Name, count(s.InQuarantine, "message waits", "messages wait"))
	}
	switch {
	case s.Error != "" && s.Remedy != "":
		t.note("source %s: %s\n  what to do: %s", s.Name, s.Error, s.Remedy)
	case s.Error != "":
		t.note("source %s: %s", s.Name, s.Error)
	}
}

func (t *troubles) note(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.lines) == maxTroubles {
		t.more++
		return
	}
	t.lines = append(t.lines, fmt.Sprintf("postroom: "+format, args...))
}

func (t *troubles) print(out io.Writer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, l := range t.lines {
		fmt.Fprintln(out, l)
	}
	if t.more > 0 {
		fmt.Fprintf(out, "postroom: and %d more\n", t.more)
	}
}
