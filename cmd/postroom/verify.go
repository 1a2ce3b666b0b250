package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"

	"postroom/cmd/postroom/config"
	"postroom/ingest"
	"postroom/ingest/ledger"
	"postroom/ingest/quarantine"
	"postroom/ingest/spool"
	"postroom/internal/durable"
	"postroom/internal/owner"
	"postroom/store"
	"postroom/store/filesystem"
)

func newVerify() *cobra.Command {
	var names []string
	var rebuild, asJSON bool
	cmd := &cobra.Command{
		Use: "verify", Short: "Re-read the repository: what is missing, altered, unknown", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !rebuild {
				return verify(cmd, names, asJSON)
			}
			if len(names) > 0 {
				return usage("--rebuild-ledger is for the whole repository: leave out --source")
			}
			return rebuildLedger(cmd, asJSON)
		},
	}
	cmd.Flags().StringArrayVar(&names, "source", nil, "only what the source of this `NAME` filed (may be repeated)")
	cmd.Flags().BoolVar(&rebuild, "rebuild-ledger", false, "make a new ledger from the document.json files; stop the service first")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func verify(cmd *cobra.Command, names []string, asJSON bool) error {
	_, c, err := loadWithoutSecrets(cmd)
	if err != nil {
		return err
	}
	if names, err = withFormerNames(c, names); err != nil {
		return err
	}
	l, err := readLedger(cmd.Context(), c)
	if errors.Is(err, errNothingYet) {
		return failed(fmt.Errorf("%w; if there was one, put it back from a backup, or make it anew: postroom verify --rebuild-ledger", err))
	}
	if err != nil {
		return err
	}
	defer l.Close()
	repository, err := readRepository(c)
	if err != nil {
		return failed(explained(err))
	}
	defer repository.Close()
	p := newFindings(cmd, asJSON)
	sum, err := (&ingest.Verification{Ledger: l, Repository: repository, Sources: names, Found: p.found, Progress: p.progress}).Run(cmd.Context())
	return p.end(sum, ingest.Rebuilt{}, err)
}

// withFormerNames returns the names of sources with those that they had.
func withFormerNames(c *config.Config, names []string) ([]string, error) {
	var out []string
	for _, name := range names {
		i := slices.IndexFunc(c.Sources, func(s *config.Source) bool { return s.Name == name })
		if i < 0 {
			return nil, usage("no source is named %q in %s", name, c.File)
		}
		out = append(append(out, name), c.Sources[i].Formerly...)
	}
	return out, nil
}

// readRepository opens the repository of the configuration for reading, beside a
// daemon or without one.
func readRepository(c *config.Config) (*filesystem.Archive, error) {
	if c.Repository.Type != "filesystem" {
		return nil, fmt.Errorf("repository type %s is unknown", c.Repository.Type)
	}
	identities, err := readIdentities(c.StateDir)
	if err != nil {
		return nil, err
	}
	r, err := filesystem.Read(c.Repository.Path, identities[c.Repository.Path])
	if err != nil {
		return nil, explainAnother(c, err)
	}
	return r, nil
}

// findings prints what is wrong as it is found, and how far the reading is on a
// terminal.
type findings struct {
	out, errs io.Writer
	asJSON    bool
	list      []ingest.Finding // in JSON
	failure   error            // of printing
	bars      *mpb.Progress    // nil without a terminal
	bar       *mpb.Bar
	read      atomic.Pointer[ingest.Verified]
}

func newFindings(cmd *cobra.Command, asJSON bool) *findings {
	p := &findings{out: cmd.OutOrStdout(), errs: cmd.ErrOrStderr(), asJSON: asJSON, list: []ingest.Finding{}}
	f, ok := p.errs.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) || !showsBar(os.Getenv) {
		return p
	}
	p.bars = mpb.New(mpb.WithOutput(p.errs))
	p.bar = p.bars.AddSpinner(0, mpb.AppendDecorators(decor.Any(func(decor.Statistics) string {
		sum := p.read.Load()
		if sum == nil {
			return ""
		}
		return fmt.Sprintf(" %s re-read, %.1f MB", count(sum.Documents, "document", "documents"), float64(sum.Bytes)/1e6)
	})))
	return p
}

func (p *findings) progress(sum ingest.Verified) {
	if p.bars != nil {
		p.read.Store(&sum)
	}
}

func (p *findings) found(f ingest.Finding) {
	if p.asJSON {
		p.list = append(p.list, f)
		return
	}
	out := p.out
	if file, ok := out.(*os.File); ok && p.bars != nil && term.IsTerminal(int(file.Fd())) {
		out = p.bars // above the bar
	}
	_, err := fmt.Fprintf(out, "%s  %s: %s\n  what to do: %s\n", f.Kind, quoted(f.Path), printable(f.What, 400), f.Remedy)
	p.failure = errors.Join(p.failure, err)
}

// end prints the summary and returns what the command ends with. rebuilt is not
// zero if a ledger was made.
func (p *findings) end(sum ingest.Verified, rebuilt ingest.Rebuilt, err error) error {
	if p.bars != nil {
		p.bar.Abort(true)
		p.bars.Wait()
	}
	if err = errors.Join(err, p.failure); err != nil {
		return failed(err)
	}
	if p.asJSON {
		result := map[string]any{"findings": p.list, "verified": sum}
		if rebuilt != (ingest.Rebuilt{}) {
			result["rebuilt"] = rebuilt
		}
		err = printJSON(p.out, result)
	} else {
		_, err = fmt.Fprintf(p.out, "%s re-read, %s, %.1f MB: %s\n", count(sum.Documents, "document", "documents"),
			count(sum.Files, "file", "files"), float64(sum.Bytes)/1e6, count(sum.Findings, "finding", "findings"))
		if sum.Unsealed > 0 && err == nil {
			_, err = fmt.Fprintf(p.out, "of %s document.json could be compared in part only: filed by an older version, which did not record its SHA-256\n",
				count(sum.Unsealed, "document", "documents"))
		}
	}
	if err != nil {
		return failed(err)
	}
	if sum.Findings > 0 {
		return failed(fmt.Errorf("the repository is not as it was filed: %s", count(sum.Findings, "finding", "findings")))
	}
	return nil
}

// rebuildLedger makes a new ledger and puts it in the place of the old one,
// which is kept beside it.
func rebuildLedger(cmd *cobra.Command, asJSON bool) (err error) {
	_, c, err := loadWithoutSecrets(cmd)
	if err != nil {
		return err
	}
	path := ledgerPath(c)
	if err := owner.Adopt(c.StateDir); err != nil {
		return failed(explained(place{key: "state_dir", path: c.StateDir}.explain(err)))
	}
	if err := os.MkdirAll(c.StateDir, 0o700); err != nil {
		return failed(explained(place{key: "state_dir", path: c.StateDir}.explain(err)))
	}
	// Whoever files holds the repository, so that nobody does meanwhile.
	repository, err := useRepository(c)
	if err != nil {
		return failed(explained(place{key: "repository.path", path: c.Repository.Path}.explain(err)))
	}
	defer func() { err = errors.Join(err, failed(repository.Close())) }()
	verifier, ok := repository.(store.Verifier)
	if !ok {
		return failed(errors.New("this type of repository cannot be re-read"))
	}
	old, err := openOld(cmd, path)
	if err != nil {
		return failed(err)
	}
	sp, err := spool.Open(c.Spool)
	if err != nil {
		err = explained(place{key: "spool", path: c.Spool}.explain(err))
		if old != nil {
			err = errors.Join(err, old.Close())
		}
		return failed(err)
	}
	p := newFindings(cmd, asJSON)
	rebuilt, err := fillLedger(cmd.Context(), path+rebuiltSuffix, &ingest.Rebuilding{
		Repository: verifier, Quarantine: quarantine.Open(quarantineDir(c)), Spool: sp, Old: old, Found: p.found, Progress: p.progress,
	})
	if old != nil {
		err = errors.Join(err, old.Close())
	}
	if err != nil {
		return p.end(ingest.Verified{}, ingest.Rebuilt{}, errors.Join(err, removeLedger(path+rebuiltSuffix)))
	}
	kept, err := replaceLedger(path, time.Now())
	if err != nil {
		return p.end(ingest.Verified{}, ingest.Rebuilt{}, err)
	}
	err = p.end(rebuilt.Verified, rebuilt, nil)
	if !asJSON {
		fmt.Fprintf(p.out, "new ledger: %s, %d in quarantine, %d forgotten, %d given up\n",
			count(rebuilt.Documents, "document", "documents"), rebuilt.Quarantined, rebuilt.Forgotten, rebuilt.Discarded)
	}
	if rebuilt.BytesOnly > 0 {
		fmt.Fprintf(p.errs, "postroom: the messages of %s are not in the repository as they were received: they are recognised by their bytes alone, and in another rendering (as after a move to another server) filed once more, marked possible_duplicate_of\n",
			count(rebuilt.BytesOnly, "document", "documents"))
	}
	if kept != "" {
		fmt.Fprintf(p.errs, "postroom: the old ledger is kept as %s\n", kept)
	}
	if old == nil || rebuilt.OldLedger != "" {
		fmt.Fprintln(p.errs, "postroom: the old ledger could not be read: messages that were forgotten or given up, and are still on their server, are filed again")
	}
	return err
}

// openOld opens the ledger that is to be replaced; nil if there is none or it is
// damaged.
func openOld(cmd *cobra.Command, path string) (ledger.Reader, error) {
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	old, err := ledger.OpenSQLite(cmd.Context(), path)
	switch {
	case err == nil:
		return old, nil
	case errors.Is(err, ledger.ErrLocked):
		return nil, errors.New("another postroom is at work with this configuration: stop it first (postroom service stop)")
	case errors.Is(err, ledger.ErrNewer), cmd.Context().Err() != nil:
		return nil, err
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "postroom: %v\n", err)
	return nil, nil
}

// rebuiltSuffix is what the name of a ledger that is being made ends in.
const rebuiltSuffix = ".rebuilt"

func fillLedger(ctx context.Context, path string, r *ingest.Rebuilding) (ingest.Rebuilt, error) {
	if err := removeLedger(path); err != nil {
		return ingest.Rebuilt{}, err
	}
	l, err := ledger.OpenSQLite(ctx, path)
	if err != nil {
		return ingest.Rebuilt{}, err
	}
	r.Ledger = l
	rebuilt, err := r.Run(ctx)
	return rebuilt, errors.Join(err, l.Close())
}

// removeLedger removes a ledger that is not open, and what is beside it.
func removeLedger(path string) error {
	var errs []error
	for _, suffix := range []string{"", "-wal", "-shm", ".closed", ".lock"} {
		if err := os.Remove(path + suffix); !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// replaceLedger puts the new ledger in the place of the one at path, and returns
// the name by which that is kept; empty if there was none. Where there are hard
// links, a process that dies on the way leaves the old or the new one at path.
func replaceLedger(path string, now time.Time) (kept string, err error) {
	lock, err := ledger.LockSQLite(path)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	rename := func(from, to string) error {
		err := durable.Patiently(func() error { return os.Rename(from, to) })
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return err
	}
	beside := path + ".before-" + now.UTC().Format("20060102T150405.000")
	if _, err := os.Stat(path); err == nil {
		kept = beside
		if err := os.Link(path, kept); err != nil {
			// There are no hard links on this file system.
			if err := rename(path, kept); err != nil {
				return "", err
			}
		}
	}
	// The log of the old one, which is empty unless that is damaged, must not be
	// taken for one of the new.
	if err := errors.Join(rename(path+"-wal", beside+"-wal"), rename(path+"-shm", beside+"-shm"), rename(path+".closed", path+rebuiltSuffix+".closed")); err != nil {
		return kept, err
	}
	if err := rename(path+rebuiltSuffix, path); err != nil {
		return kept, err
	}
	return kept, errors.Join(removeLedger(path+rebuiltSuffix), durable.SyncDir(filepath.Dir(path)))
}
