package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"postroom/cmd/postroom/config"
	"postroom/ingest"
	"postroom/ingest/ledger"
	"postroom/ingest/quarantine"
	"postroom/ingest/spool"
	"postroom/sources"
)

// dryRun prints what run --once would do with every message, beside a daemon or
// without one. What it needs to write is in a folder of its own, which it removes.
func dryRun(cmd *cobra.Command, names []string, asJSON bool) (err error) {
	_, c, err := loadConfig(cmd)
	if err != nil {
		return err
	}
	of, err := chosen(c, names)
	if err != nil {
		return err
	}
	if err := adoptState(c); err != nil {
		return err
	}
	for _, s := range of {
		if err := tryOpening(s); err != nil {
			return failed(explained(err))
		}
	}
	dir, err := os.MkdirTemp("", "postroom-dry-run-")
	if err != nil {
		return failed(explained((&sources.Error{Err: err}).WithRemedy("a dry run works on a copy of the ledger: set TMPDIR to a folder with room for it")))
	}
	defer func() {
		if e := os.RemoveAll(dir); e != nil && err == nil {
			err = failed(e)
		}
	}()
	p := &decisions{out: cmd.OutOrStdout(), asJSON: asJSON}
	d, err := openDryRun(cmd.Context(), c, of, dir, p.message)
	if err != nil {
		return err
	}
	var troubles troubles
	ok := true
	p.begin()
	for _, s := range of {
		p.source(s)
		sum, err := d.Once(cmd.Context(), s.Name)
		if err != nil {
			return failed(errors.Join(err, d.close()))
		}
		p.summary(sum)
		sum.InQuarantine = 0 // not yet
		troubles.add(sum)
		ok = ok && sum.OK()
		if cmd.Context().Err() != nil {
			break
		}
	}
	p.end()
	if err := errors.Join(p.failure, d.close()); err != nil {
		return failed(err)
	}
	p.troubles.print(cmd.ErrOrStderr())
	troubles.print(cmd.ErrOrStderr())
	if errors.Is(cmd.Context().Err(), context.Canceled) {
		return failed(errors.New("stopped before the end; nothing was changed"))
	}
	if !ok {
		return &exitError{status: exitFailed}
	}
	return nil
}

// rehearsal is a dry run with what it works on.
type rehearsal struct {
	*ingest.DryRun
	closers []io.Closer
}

func (r *rehearsal) close() error {
	var errs []error
	for _, c := range r.closers {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// openDryRun opens all that a dry run needs: what is there, for reading, and
// copies in dir.
func openDryRun(ctx context.Context, c *config.Config, of []*config.Source, dir string, report func(ingest.Decision)) (_ *rehearsal, err error) {
	r := new(rehearsal)
	defer func() {
		if err != nil {
			err = errors.Join(err, r.close())
		}
	}()
	at := place{key: "ledger", path: ledgerPath(c)}
	copied := filepath.Join(dir, "postroom.db")
	if err := ledger.SnapshotSQLite(ctx, at.path, copied); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, failed(explained(at.explain(err)))
	}
	l, err := ledger.OpenSQLite(ctx, copied)
	if err != nil {
		return nil, failed(explained(at.explain(err)))
	}
	r.closers = append(r.closers, l)
	filed, err := openFiling(c)
	if err != nil {
		return nil, failed(explained(place{key: "repository.path", path: c.Repository.Path}.explain(err)))
	}
	r.closers = append(r.closers, filed)
	sp, err := spool.Open(filepath.Join(dir, "spool"))
	if err != nil {
		return nil, failed(err)
	}
	// What is logged would be of things that do not happen.
	log := zap.NewNop()
	in := ingest.Config{Ledger: l, Spool: sp, Quarantine: quarantine.Open(quarantineDir(c)), Log: log, Version: build()}
	for _, s := range of {
		in.Mailboxes = append(in.Mailboxes, mailbox(s, log))
	}
	r.DryRun = ingest.NewDryRun(in, filed, report)
	return r, nil
}

// decisions prints what a dry run says, as it comes: a mailbox may be larger than
// the memory.
type decisions struct {
	out     io.Writer
	asJSON  bool
	failure error // of printing

	current  string // source
	sources  int    // begun
	messages int    // of the current one
	troubles troubles
}

func (p *decisions) print(format string, args ...any) {
	if p.failure == nil {
		_, p.failure = fmt.Fprintf(p.out, format, args...)
	}
}

// value prints a value as JSON, at a depth.
func (p *decisions) value(prefix string, v any) []byte {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetIndent(prefix, "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil && p.failure == nil {
		p.failure = err
	}
	return []byte(strings.TrimRight(b.String(), "\n"))
}

func (p *decisions) begin() {
	if p.asJSON {
		p.print("{\n  \"sources\": [")
	}
}

func (p *decisions) source(s *config.Source) {
	p.current, p.messages = s.Name, 0
	if !p.asJSON {
		p.print("source %s\n", s.Name)
		return
	}
	if p.sources++; p.sources > 1 {
		p.print(",")
	}
	p.print("\n    {\n      \"name\": %s,\n      \"messages\": [", p.value("", s.Name))
}

// message prints what would become of a message.
func (p *decisions) message(d ingest.Decision) {
	if d.Outcome == ingest.WouldQuarantine {
		p.troubles.note("source %s, folder %s, message %s: would be quarantined: %s", p.current, quoted(d.Folder), quoted(d.Key), inOneLine(d.Reason))
	}
	if p.messages++; !p.asJSON {
		p.print("%s", inWords(d))
		return
	}
	if p.messages > 1 {
		p.print(",")
	}
	p.print("\n        %s", p.value("        ", d))
}

// summary prints what would come of the current source.
func (p *decisions) summary(s ingest.Summary) {
	if !p.asJSON {
		p.print("would be filed: %d, duplicates: %d, quarantined: %d, failed: %d; %d bytes\n", s.Filed, s.Duplicates, s.Quarantined, s.Failed, s.Bytes)
		return
	}
	if p.messages > 0 {
		p.print("\n      ")
	}
	counts := p.value("    ", struct {
		Name string `json:"name,omitempty"` // was printed
		ingest.Summary
	}{Summary: s})
	p.print("],\n      %s", strings.TrimSpace(strings.TrimPrefix(string(counts), "{")))
}

func (p *decisions) end() {
	if p.asJSON {
		p.print("\n  ]\n}\n")
	}
}

// inWords is a decision for a person: a line for the message, and one for each
// thing that would be made or done.
func inWords(d ingest.Decision) string {
	var b strings.Builder
	name := d.Subject
	if name == "" {
		name = d.Title
	}
	fmt.Fprintf(&b, "%-12s %s  message %s", outcomeWords[d.Outcome], printable(d.Folder, 60), printable(d.Key, 60))
	if name != "" {
		fmt.Fprintf(&b, "  %q", printable(name, 80))
	}
	if d.From != "" {
		fmt.Fprintf(&b, "  from %s", printable(d.From, 80))
	}
	if !d.Received.IsZero() {
		fmt.Fprintf(&b, "  received %s", d.Received.UTC().Format(time.RFC3339))
	}
	b.WriteByte('\n')
	detail := func(what, format string, args ...any) {
		fmt.Fprintf(&b, "    %-12s%s\n", what, printable(fmt.Sprintf(format, args...), 500))
	}
	switch {
	case d.Outcome == ingest.IsLeftOut:
		detail("by", "%s", d.Reason)
	case d.DuplicateOf != "" && d.Exact:
		detail("of", "%.12s  %s, the same bytes", d.DuplicateOf, d.Location)
	case d.DuplicateOf != "":
		detail("of", "%.12s  %s, recognised by what it holds", d.DuplicateOf, d.Location)
	case d.Outcome == ingest.WouldFile && d.Files == nil:
		detail("document", "%.12s  %s, which is there already", d.Document, d.Location)
	case d.Document != "" && d.Outcome != ingest.IsGivenUp:
		detail("document", "%.12s  %s", d.Document, d.Location)
	}
	if d.Reason != "" && d.Outcome != ingest.IsLeftOut {
		detail("because", "%s", d.Reason)
	}
	if d.Outcome == ingest.WouldFile {
		detail("title", "%s", d.Title)
	}
	if d.Class != "" {
		detail("class", "%s", d.Class)
	}
	if d.Permissions != "" {
		detail("permissions", "%s", d.Permissions)
	}
	for _, f := range d.Files {
		detail("file", "%s  %s, %s, %d bytes", f.Name, f.Role, f.MediaType, f.Size)
	}
	for _, property := range d.Properties {
		detail("property", "%s: %s", property.Name, property.Value)
	}
	for _, note := range d.Notes {
		detail("note", "%s", note)
	}
	if then := d.Disposition; then != nil {
		detail("then", "%s", dispositionWords(*then))
	}
	return b.String()
}

var outcomeWords = map[ingest.Outcome]string{
	ingest.WouldFile: "file", ingest.WouldDuplicate: "duplicate", ingest.WouldQuarantine: "quarantine", ingest.WouldFail: "fail",
	ingest.IsLeftOut: "leave out", ingest.IsFiled: "filed", ingest.IsQuarantined: "quarantined", ingest.IsGivenUp: "given up", ingest.IsGone: "gone",
}

func dispositionWords(d ingest.Disposition) string {
	switch {
	case d.Action == sources.Move:
		return "move to " + d.Folder
	case d.Action == sources.Delete && d.Permanent:
		return "delete for good"
	case d.Action == sources.Keep:
		return "keep as it is on the server"
	}
	return strings.ReplaceAll(string(d.Action), "_", " ")
}
