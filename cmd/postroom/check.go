package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"postroom/cmd/postroom/config"
	"postroom/ingest"
	"postroom/ingest/ledger"
	"postroom/internal/control"
	"postroom/internal/owner"
	"postroom/sources"
	"postroom/store/filesystem"
)

// finding is one thing that check looked at.
type finding struct {
	Step   string `json:"step"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail,omitempty"`
	Error  string `json:"error,omitempty"`
	Remedy string `json:"remedy,omitempty"`
}

type sourceFindings struct {
	Name  string    `json:"name"`
	OK    bool      `json:"ok"`
	Steps []finding `json:"steps"`
}

type checkReport struct {
	OK         bool             `json:"ok"`
	Config     string           `json:"config"`
	Errors     []string         `json:"errors,omitempty"`
	Warnings   []string         `json:"warnings,omitempty"`
	Repository []finding        `json:"repository,omitempty"`
	State      []finding        `json:"state,omitempty"`
	Sources    []sourceFindings `json:"sources"`
}

func newCheck() *cobra.Command {
	var offline, asJSON bool
	var names []string
	var forbidden string
	cmd := &cobra.Command{
		Use: "check", Short: "Check the configuration and every connection, with the remedy for what is wrong", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return check(cmd, names, forbidden, offline, asJSON) },
	}
	cmd.Flags().BoolVar(&offline, "offline", false, "only the configuration file")
	cmd.Flags().StringArrayVar(&names, "source", nil, "only the source of this `NAME` (may be repeated)")
	cmd.Flags().StringVar(&forbidden, "forbidden", "", "fail if the mailbox of this `ADDRESS`, which should be closed to the application, can be read")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func check(cmd *cobra.Command, names []string, forbidden string, offline, asJSON bool) error {
	if cmd.Flags().Changed("forbidden") && strings.TrimSpace(forbidden) == "" {
		return usage("check --forbidden: no address is given")
	}
	if offline && forbidden != "" {
		return usage("check --forbidden asks the server: leave out --offline")
	}
	s, err := readSettings(cmd)
	if err != nil {
		return err
	}
	report := checkReport{OK: true, Config: s.config, Sources: []sourceFindings{}}
	c, err := config.Load(s.config, configDrivers())
	if err != nil {
		var problems config.Problems
		if !asJSON || !errors.As(err, &problems) {
			_, err := s.load(cmd.ErrOrStderr())
			return err
		}
		report.OK = false
		for _, p := range problems {
			report.Errors = append(report.Errors, p.String())
		}
		return errors.Join(failed(printJSON(cmd.OutOrStdout(), report)), &exitError{status: exitUsage})
	}
	for _, w := range c.Warnings {
		report.Warnings = append(report.Warnings, w.String())
	}
	of, err := chosen(c, names)
	if err != nil {
		return err
	}
	report.Warnings = append(report.Warnings, passwordWarnings(of)...)
	if forbidden != "" && !slices.ContainsFunc(of, func(s *config.Source) bool { return s.Type == "exchange" }) {
		return usage("check --forbidden needs a source of type exchange: only there an application may be allowed more mailboxes than its own")
	}
	p := &checkPrinter{out: cmd.OutOrStdout(), quiet: asJSON}
	p.line("configuration %s: %s, %s", s.config, count(len(of), "source", "sources"), count(len(report.Warnings), "warning", "warnings"))
	for _, w := range report.Warnings {
		p.line("  warning: %s", w)
	}
	if !offline {
		// The answers depend on who asks: look as the service would.
		for _, p := range []place{{key: "state_dir", path: c.StateDir}, {key: "repository.path", path: c.Repository.Path}} {
			if info, err := os.Stat(p.path); err != nil || !info.IsDir() {
				continue // said below
			}
			if err := owner.Adopt(p.path); err != nil {
				return failed(inKey(p.key, err))
			}
		}
		logFile, err := s.logFile(c)
		if err != nil {
			return err
		}
		p.line("repository %s", c.Repository.Path)
		report.Repository = p.findings(probeRepository(cmd.Context(), c))
		if allOK(report.Repository) {
			report.Repository = append(report.Repository, p.findings(probeSourceFolders(c, of))...)
		}
		p.line("state %s", c.StateDir)
		report.State = p.findings(probeState(cmd.Context(), c, logFile))
		for _, src := range of {
			p.line("source %s (%s)", src.Name, src.Type)
			report.Sources = append(report.Sources, sourceFindings{Name: src.Name, OK: true, Steps: probeSource(cmd.Context(), src, forbidden, p)})
		}
	}
	report.OK = allOK(report.Repository) && allOK(report.State)
	for i := range report.Sources {
		r := &report.Sources[i]
		r.OK = allOK(r.Steps)
		report.OK = report.OK && r.OK
	}
	if asJSON {
		if err := printJSON(cmd.OutOrStdout(), report); err != nil {
			return failed(err)
		}
	}
	if !report.OK {
		return failed(errors.New("check found something wrong, see above"))
	}
	p.line("all well")
	return nil
}

func allOK(all []finding) bool {
	for _, f := range all {
		if !f.OK {
			return false
		}
	}
	return true
}

// checkPrinter prints findings as they come.
type checkPrinter struct {
	out   io.Writer
	quiet bool
}

func (p *checkPrinter) line(format string, args ...any) {
	if !p.quiet {
		fmt.Fprintf(p.out, format+"\n", args...)
	}
}

func (p *checkPrinter) findings(all []finding) []finding {
	for _, f := range all {
		p.finding(f)
	}
	return all
}

func (p *checkPrinter) finding(f finding) {
	if f.OK {
		p.line("  ok      %-12s %s", f.Step, printable(f.Detail, 500))
		return
	}
	p.line("  FAILED  %-12s %s", f.Step, printable(f.Error, 1000))
	if f.Remedy != "" {
		p.line("          what to do:  %s", printable(f.Remedy, 1000))
	}
}

func findingOf(step, detail string, err error) finding {
	f := finding{Step: step, OK: err == nil, Detail: detail}
	if err != nil {
		f.Error, f.Remedy = err.Error(), sources.RemedyOf(err)
	}
	return f
}

// each returns the errors that were joined into one, such as those of several
// folders; else the error alone, which may be nil.
func each(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok || errors.Join(joined.Unwrap()...).Error() != err.Error() {
		return []error{err} // what wraps several says something of its own
	}
	var all []error
	for _, err := range joined.Unwrap() {
		all = append(all, each(err)...)
	}
	return all
}

// forbidder is a source that can tell whether its credentials open another
// mailbox.
type forbidder interface {
	ProbeForbidden(ctx context.Context, address string) sources.Step
}

func probeSource(ctx context.Context, s *config.Source, forbidden string, p *checkPrinter) (out []finding) {
	add := func(f finding) {
		p.finding(f)
		out = append(out, f)
	}
	src, err := drivers()[s.Type].open(s, zap.NewNop())
	if err != nil {
		add(findingOf("open", "", explainUnreadable(err)))
		return out
	}
	defer func() {
		if err := src.Close(); err != nil && len(out) == 0 {
			add(findingOf("close", "", err))
		}
	}()
	prober, ok := src.(sources.Prober)
	if !ok {
		add(findingOf("open", "this type of source has no checks", nil))
		return out
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	shut := false
	prober.Probe(ctx, func(step sources.Step) {
		for _, err := range each(step.Err) {
			add(findingOf(step.Name, step.Detail, err))
		}
		shut = shut || step.Err != nil && slices.Contains([]string{"name", "tcp", "tls", "sign-in"}, step.Name)
	})
	// Where nothing could be asked, the same failure is not told twice.
	if other, ok := src.(forbidder); ok && forbidden != "" && !shut {
		step := other.ProbeForbidden(ctx, forbidden)
		add(findingOf(step.Name, step.Detail, step.Err))
	}
	return out
}

func probeRepository(ctx context.Context, c *config.Config) []finding {
	at := place{key: "repository.path", path: c.Repository.Path, try: filesystem.Incoming}
	identities, err := readIdentities(c.StateDir)
	if err != nil {
		return []finding{findingOf("open", "", err)}
	}
	if daemonRuns(c) {
		if identity := identities[at.path]; identity != "" {
			if err := filesystem.Expect(at.path, identity); err != nil {
				return []finding{at.finding("open", explainAnother(c, err))}
			}
		}
		f, _ := at.checkFolder("write")
		if f.OK {
			f.Detail = "in use by the running daemon"
		}
		return []finding{f}
	}
	// A folder that is missing where one was used before is an error.
	if f, there := at.checkFolder("open"); !f.OK || !there && identities[at.path] == "" {
		return []finding{f}
	}
	r, _, err := openRepository(c)
	if err != nil {
		return []finding{at.finding("open", err)}
	}
	var out []finding
	warnings, err := r.Probe(ctx)
	out = append(out, findingOf("write", "can be written to", err))
	for _, w := range warnings {
		out = append(out, finding{Step: "warning", OK: true, Detail: w})
	}
	if err := r.Close(); err != nil {
		out = append(out, findingOf("close", "", err))
	}
	return out
}

// probeSourceFolders looks whether documents can be added to the folders that the
// sources have in the repository, down to those of the days. It names the first
// of each source that is closed, and makes nothing: there may be documents only.
func probeSourceFolders(c *config.Config, of []*config.Source) (out []finding) {
	for _, s := range of {
		if err := addable(filepath.Join(c.Repository.Path, s.Name), 3); err != nil {
			out = append(out, findingOf("folder", "", place{key: "repository.path", path: c.Repository.Path}.explain(err)))
		}
	}
	return out
}

// addable says whether names can be added to the folder, and to those below it
// as deep as depth. One that is missing will be made.
func addable(dir string, depth int) error {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%s is a file, not a folder", dir)
	}
	if err := writable(dir); err != nil {
		return fmt.Errorf("%s cannot be written to: %w", dir, err)
	}
	if depth == 0 {
		return nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := addable(filepath.Join(dir, e.Name()), depth-1); err != nil {
				return err
			}
		}
	}
	return nil
}

// probeState looks whether the ledger can be read, and what else is written be
// written.
func probeState(ctx context.Context, c *config.Config, logFile string) []finding {
	state, there := place{key: "state_dir", path: c.StateDir}.checkFolder("write")
	out := []finding{state}
	if there {
		out = append(out, probeLedger(ctx, c)...)
	}
	for _, p := range []struct {
		step string
		place
	}{{"ledger", place{key: "ledger", path: filepath.Dir(ledgerPath(c))}}, {"spool", place{key: "spool", path: c.Spool}}} {
		if !filepath.IsAbs(p.path) {
			continue // not on a disk
		}
		// A folder in that of the state is made in it.
		if rel, err := filepath.Rel(c.StateDir, p.path); err == nil && filepath.IsLocal(rel) {
			if _, err := os.Stat(p.path); rel == "." || errors.Is(err, fs.ErrNotExist) || !state.OK {
				continue
			}
		}
		f, _ := p.checkFolder(p.step)
		out = append(out, f)
	}
	if logFile != "" {
		out = append(out, place{key: "log.file", path: logFile}.checkFile("log"))
	}
	return out
}

func probeLedger(ctx context.Context, c *config.Config) []finding {
	at := place{key: "ledger", path: ledgerPath(c)}
	l, err := ledger.ReadSQLite(ctx, at.path)
	if errors.Is(err, fs.ErrNotExist) {
		return []finding{findingOf("ledger", "none yet; the first run makes it", nil)}
	}
	if err != nil {
		return []finding{at.finding("ledger", err)}
	}
	n, err := l.Count(ctx, "")
	total := 0
	for _, k := range n {
		total += k
	}
	waiting, waitingErr := ingest.InQuarantine(ctx, l, "")
	return []finding{
		findingOf("ledger", count(total, "message", "messages"), errors.Join(err, l.Close())),
		quarantineFinding(waiting, waitingErr),
	}
}

// quarantineFinding says how much waits for a person. That is no fault of the
// system unless it is too much.
func quarantineFinding(w ingest.Waiting, err error) finding {
	switch {
	case err != nil:
		return findingOf("quarantine", "", err)
	case w.Messages == 0:
		return findingOf("quarantine", "empty", nil)
	}
	detail := fmt.Sprintf("%s for a person, %.1f MB, the oldest since %s",
		count(w.Messages, "message waits", "messages wait"), float64(w.Bytes)/1e6, w.Oldest.Format(time.RFC3339))
	if !w.TooMany() {
		return findingOf("quarantine", detail+": postroom quarantine list", nil)
	}
	return findingOf("quarantine", "", (&sources.Error{Err: errors.New(detail)}).WithRemedy(
		"look at the reasons with postroom quarantine list: a rule may be wrong for most messages of a source; once it is changed they are tried again by themselves"))
}

func daemonRuns(c *config.Config) bool {
	client, err := control.Dial(c.StateDir)
	if err != nil {
		return false
	}
	client.Close()
	return true
}
