package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"go.uber.org/zap"

	"postroom/cmd/postroom/config"
	"postroom/ingest"
	"postroom/ingest/ledger"
	"postroom/ingest/quarantine"
	"postroom/ingest/spool"
	"postroom/internal/control"
	"postroom/internal/owner"
	"postroom/sources"
	"postroom/store"
)

// workshop is everything that filing needs, opened: there is one at a time for
// a state directory.
type workshop struct {
	config     *config.Config
	log        *zap.Logger
	ledger     ledger.Ledger
	repository store.Repository
	engine     *ingest.Engine
	quarantine *quarantine.Quarantine
}

// openWorkshop opens the workshop of a configuration for the sources. It takes
// the lock of the state directory: with a daemon running it fails.
func openWorkshop(ctx context.Context, c *config.Config, log *zap.Logger, of []*config.Source, observe func(ingest.Event)) (_ *workshop, err error) {
	if err := adoptState(c); err != nil {
		return nil, err
	}
	state := place{key: "state_dir", path: c.StateDir}
	if _, _, err := state.usable(); err != nil {
		return nil, failed(explained(err))
	}
	if err := os.MkdirAll(c.StateDir, 0o700); err != nil {
		return nil, failed(explained(state.explain(err)))
	}
	for _, s := range of {
		err := tryOpening(s)
		switch {
		case errors.Is(err, fs.ErrPermission):
			// Its polls fail with that until the file can be read; the others do not.
			log.Error("a source cannot be opened", zap.String("source", s.Name), zap.Error(err), zap.String("remedy", sources.RemedyOf(err)))
		case err != nil:
			return nil, failed(explained(err))
		}
	}
	w := &workshop{config: c, log: log, quarantine: quarantine.Open(quarantineDir(c))}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.close())
		}
	}()
	if w.ledger, err = ledger.OpenSQLite(ctx, ledgerPath(c)); err != nil {
		if errors.Is(err, ledger.ErrLocked) {
			return nil, failed(errors.New("another postroom is at work with this configuration: stop it first (postroom service stop), wait for its end if it is a run --once, or use the commands that work beside it"))
		}
		return nil, failed(explained(place{key: "ledger", path: ledgerPath(c)}.explain(err)))
	}
	if w.repository, err = useRepository(c); err != nil {
		return nil, failed(explained(place{key: "repository.path", path: c.Repository.Path}.explain(err)))
	}
	sp, err := spool.Open(c.Spool)
	if err != nil {
		return nil, failed(explained(place{key: "spool", path: c.Spool}.explain(err)))
	}
	var mailboxes []ingest.Mailbox
	for _, s := range of {
		mailboxes = append(mailboxes, mailbox(s, log))
	}
	w.engine = ingest.New(ingest.Config{
		Mailboxes: mailboxes, Ledger: w.ledger, Repository: w.repository,
		Spool: sp, Quarantine: w.quarantine, Log: log, Observe: observe,
		Version: build(),
	})
	if err := w.engine.Adopt(ctx); err != nil {
		return nil, failed(err)
	}
	return w, nil
}

// adoptState makes this process the owner of the state directory.
func adoptState(c *config.Config) error {
	state := place{key: "state_dir", path: c.StateDir}
	if _, _, err := state.folder(); err != nil {
		return failed(explained(err))
	}
	if err := owner.Adopt(c.StateDir); err != nil {
		return failed(explained(state.explain(err)))
	}
	return nil
}

// tryOpening opens a source and closes it, which connects to nothing: what is
// wrong with its files shows before it is relied on.
func tryOpening(s *config.Source) error {
	src, err := drivers()[s.Type].open(s, zap.NewNop())
	if err != nil {
		return explainUnreadable(err)
	}
	return src.Close()
}

// explainUnreadable says of a file that may not be read who has to be let. The
// error names the file.
func explainUnreadable(err error) error {
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return (&sources.Error{Class: sources.ClassOf(err), Err: err}).WithRemedy(
		"let %s, as which postroom runs, read that file and enter the folders that it is in", thisUser())
}

func (w *workshop) close() error {
	var errs []error
	if w.engine != nil {
		errs = append(errs, w.engine.Close())
	}
	if w.repository != nil {
		errs = append(errs, w.repository.Close())
	}
	if w.ledger != nil {
		errs = append(errs, w.ledger.Close())
	}
	return errors.Join(errs...)
}

// inKey says which key of the configuration an error is about.
func inKey(key string, err error) error { return fmt.Errorf("%s: %w", key, err) }

func quarantineDir(c *config.Config) string { return filepath.Join(c.StateDir, "quarantine") }

func ledgerPath(c *config.Config) string {
	return strings.TrimPrefix(c.Ledger.Reveal(), "sqlite:")
}

// errNothingYet is the error of readLedger before the first run.
var errNothingYet = errors.New("nothing has been filed with this configuration yet")

// readLedger opens the ledger for reading, beside a daemon or without one.
func readLedger(ctx context.Context, c *config.Config) (ledger.Reader, error) {
	if err := adoptState(c); err != nil {
		return nil, err
	}
	l, err := ledger.ReadSQLite(ctx, ledgerPath(c))
	if errors.Is(err, os.ErrNotExist) {
		return nil, failed(fmt.Errorf("%w: there is no ledger at %s", errNothingYet, ledgerPath(c)))
	}
	return l, failed(err)
}

// withEngine calls a method of the running daemon, or else runs alone with an
// engine of its own. The configuration may be without its secrets. Before the
// first run the error wraps errNothingYet, and nothing is made.
func withEngine[In, Out any](ctx context.Context, s *settings, c *config.Config, errs io.Writer, method string, in In, alone func(context.Context, *workshop, In) (Out, error)) (Out, error) {
	var out Out
	client, err := control.Dial(c.StateDir)
	if err == nil {
		defer client.Close()
		err := client.Call(ctx, method, in, &out)
		return out, failed(err)
	}
	if !errors.Is(err, control.ErrNoDaemon) {
		return out, failed(err)
	}
	if c, err = s.load(errs); err != nil {
		return out, err
	}
	l, err := readLedger(ctx, c)
	if err != nil {
		return out, err
	}
	if err := l.Close(); err != nil {
		return out, failed(err)
	}
	log, err := s.openLog(c, errs)
	if err != nil {
		return out, err
	}
	of, err := chosen(c, nil)
	if err != nil {
		return out, errors.Join(err, log.close())
	}
	w, err := openWorkshop(ctx, c, log.Logger, of, nil)
	if err != nil {
		return out, errors.Join(err, log.close())
	}
	out, err = alone(ctx, w, in)
	return out, failed(errors.Join(err, w.close(), log.close()))
}
