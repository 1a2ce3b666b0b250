package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"postroom/cmd/postroom/config"
	"postroom/cmd/postroom/service"
	"postroom/ingest"
	"postroom/internal/control"
)

// lookEvery is how often the daemon looks whether its configuration has
// changed. A change is taken up once it has stood still that long. Reading the
// files is the one way that works on every file system and with every editor.
const lookEvery = time.Second

// runDaemon files what arrives until the context ends. A changed configuration
// is taken up, whole or not at all.
func runDaemon(cmd *cobra.Command, names []string) error {
	s, err := readSettings(cmd)
	if err != nil {
		return err
	}
	d := &daemon{
		settings: s, names: names, errs: cmd.ErrOrStderr(), desk: newDesk(),
		asked: make(chan chan<- error), changed: make(chan struct{}, 1), hup: make(chan os.Signal, 1),
	}
	d.look()
	c, err := s.load(cmd.ErrOrStderr())
	if err != nil {
		return err
	}
	d.inForce.Store(d.seen.Load())
	if d.notify, err = service.NewNotifier(); err != nil {
		return failed(err)
	}
	if reloadSignal != nil {
		signal.Notify(d.hup, reloadSignal)
		defer signal.Stop(d.hup)
	}
	return d.run(cmd.Context(), c)
}

type daemon struct {
	settings *settings
	names    []string
	errs     io.Writer
	notify   *service.Notifier
	desk     *desk

	// What makes it read its configuration anew: a command that waits for the
	// answer, a change of the files, a signal.
	asked   chan chan<- error
	changed chan struct{}
	hup     chan os.Signal

	// seen is the fingerprint of the configuration that was read last, whether
	// it was taken up or not, and inForce of the one that is served.
	seen, inForce atomic.Value
}

// look remembers what the files hold that are about to be read.
func (d *daemon) look() { d.seen.Store(config.FingerprintOf(d.settings.config)) }

// watch tells of changes of the configuration's files until the context ends.
func (d *daemon) watch(ctx context.Context) {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	var before config.Fingerprint
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now := config.FingerprintOf(d.settings.config)
		if now == before && now != d.seen.Load() {
			select {
			case d.changed <- struct{}{}:
			default:
			}
		}
		before = now
	}
}

// run serves one configuration after the other. One that cannot be opened is
// not taken up: the one before is opened again. Meanwhile the control channel
// stays open, and calls wait.
func (d *daemon) run(ctx context.Context, c *config.Config) (err error) {
	o, err := d.open(ctx, c)
	if err != nil {
		return err
	}
	if f, err := os.Open(d.settings.config); err == nil {
		f.Close()
	} else {
		// Started by root, it now runs as the owner of the state.
		o.log.Warn("changes of the configuration will not be noticed: this user cannot read it", zap.Error(err))
		d.look()
		d.inForce.Store(d.seen.Load())
	}
	// From here on o is open, and served below, which closes it.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	l, err := control.Listen(c.StateDir)
	if err != nil {
		return failed(errors.Join(err, o.close()))
	}
	var wg sync.WaitGroup
	broken := make(chan error, 1)
	// The channel is open until all else is closed, for whoever waits for that.
	open, hangUp := context.WithCancel(context.WithoutCancel(ctx))
	defer hangUp()
	ended := make(chan struct{})
	wg.Go(func() {
		if err := control.Serve(open, l, d.calls(ctx, cancel, ended)); err != nil {
			broken <- err
			cancel()
		}
	})
	wg.Go(func() { d.watch(ctx) })
	defer func() {
		cancel()
		close(ended)
		hangUp()
		wg.Wait()
		close(broken)
		err = errors.Join(err, failed(<-broken))
	}()
	for {
		next, err := d.serve(ctx, o)
		if err != nil || next == nil {
			return err
		}
		before := o.config
		o, err = d.open(ctx, next.config)
		if err == nil {
			d.inForce.Store(next.fingerprint)
			next.answer(nil)
			continue
		}
		refused := err
		next.answer(notTakenUp(refused))
		if o = d.reopen(ctx, before); o == nil {
			return nil
		}
		o.log.Error(keptInForce, zap.Error(refused))
	}
}

// reopen opens a configuration that was open before, again and again until it
// can or the context ends: something else may hold the locks for a moment. Then
// it returns nil.
func (d *daemon) reopen(ctx context.Context, c *config.Config) *opened {
	for wait := time.Duration(0); ; wait = min(wait+time.Second, time.Minute) {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		o, err := d.open(ctx, c)
		if err == nil {
			return o
		}
		// The log may be what cannot be opened.
		fmt.Fprintf(d.errs, "postroom: %v\n", err)
	}
}

const keptInForce = "configuration not taken up; the one before stays in force"

func notTakenUp(err error) error { return fmt.Errorf("%s: %w", keptInForce, err) }

// opened is a configuration ready to be served.
type opened struct {
	*workshop
	log     *logbook
	sources int
}

func (o *opened) close() error { return errors.Join(o.workshop.close(), o.log.close()) }

// open opens all that can fail before a configuration is served.
func (d *daemon) open(ctx context.Context, c *config.Config) (*opened, error) {
	of, err := chosen(c, d.names)
	if err != nil {
		return nil, err
	}
	log, err := d.settings.openLog(c, d.errs)
	if err != nil {
		return nil, err
	}
	w, err := openWorkshop(ctx, c, log.Logger, of, nil)
	if err != nil {
		return nil, errors.Join(err, log.close())
	}
	warnOfPasswords(log.Logger, of)
	return &opened{w, log, len(of)}, nil
}

// reload is a configuration that is to be taken up.
type reload struct {
	config      *config.Config
	fingerprint any          // of its files
	asked       chan<- error // who waits to hear what came of it, or nil
}

func (r *reload) answer(err error) {
	if r.asked != nil {
		r.asked <- err // has room for it
	}
}

// serve runs the engine with a configuration until the context ends, or a new
// one is to be taken up, which it returns. It closes what was opened.
func (d *daemon) serve(ctx context.Context, o *opened) (next *reload, err error) {
	defer func() {
		if err = errors.Join(err, failed(o.close())); err != nil && next != nil {
			next.answer(fmt.Errorf("the daemon ends: %w", err))
			next = nil
		}
	}()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	fail := make(chan error, 1)
	var wg sync.WaitGroup
	wg.Go(func() { fail <- o.engine.Run(ctx) })
	d.desk.open(ctx, o.workshop)
	d.tell(o.log.Logger, d.notify.Ready())
	d.tell(o.log.Logger, d.notify.Status("watching "+count(o.sources, "source", "sources")))
	o.log.Info("started", zap.String("version", version), zap.String("config", o.config.File), zap.Int("sources", o.sources))

	next, err = d.attend(ctx, o, fail)
	if next == nil {
		d.tell(o.log.Logger, d.notify.Stopping())
	}
	o.log.Info("stopping")
	cancel()
	d.desk.close()
	wg.Wait()
	close(fail)
	return next, failed(errors.Join(err, <-fail))
}

// attend feeds the watchdog while the engine runs. It returns when the context
// ends, something failed, or a new configuration is to be taken up.
func (d *daemon) attend(ctx context.Context, o *opened, fail <-chan error) (*reload, error) {
	alive := time.NewTicker(cmp.Or(d.notify.ProgressEvery()/2, time.Minute))
	defer alive.Stop()
	for {
		var asked chan<- error
		select {
		case <-ctx.Done():
			return nil, nil
		case err := <-fail:
			return nil, err
		case <-alive.C:
			now := time.Now()
			if !slices.ContainsFunc(o.engine.Status(), func(s ingest.Status) bool { return s.Stuck(now) }) {
				d.tell(o.log.Logger, d.notify.Progress())
			}
			continue
		case <-d.changed:
			if config.FingerprintOf(d.settings.config) == d.seen.Load() {
				continue // taken up meanwhile
			}
		case <-d.hup:
		case asked = <-d.asked:
		}
		if err := o.log.reopen(); err != nil {
			o.log.Error("the log's file cannot be opened anew", zap.Error(err))
		}
		d.tell(o.log.Logger, d.notify.Reloading())
		next, err := d.reread(o.config)
		if err == nil {
			return &reload{next, d.seen.Load(), asked}, nil
		}
		o.log.Error(keptInForce, zap.Error(err))
		(&reload{asked: asked}).answer(notTakenUp(err))
		d.tell(o.log.Logger, d.notify.Ready())
	}
}

// reread reads the configuration anew.
func (d *daemon) reread(now *config.Config) (*config.Config, error) {
	d.look()
	c, err := config.Load(d.settings.config, configDrivers())
	if err != nil {
		return nil, err
	}
	if c.StateDir != now.StateDir {
		return nil, fmt.Errorf("state_dir is now %s, and was %s: that needs a restart", c.StateDir, now.StateDir)
	}
	_, err = chosen(c, d.names)
	return c, err
}

func (d *daemon) tell(log *zap.Logger, err error) {
	if err != nil {
		log.Warn("tell the service manager", zap.Error(err))
	}
}

// calls answers the commands typed beside the daemon, until the context ends. One
// of them is to stop it: that is answered once it has ended, when what is open
// is closed.
func (d *daemon) calls(ctx context.Context, stop func(), ended <-chan struct{}) http.Handler {
	mux := http.NewServeMux()
	control.Handle(mux, "stop", func(ctx context.Context, _ struct{}) (struct{}, error) {
		stop()
		select {
		case <-ended:
			return struct{}{}, nil
		case <-ctx.Done():
			return struct{}{}, errInterrupted
		}
	})
	control.Handle(mux, "retry", untilEnd(ctx, ofNow(d, served(d.desk, retry))))
	control.Handle(mux, "discard", untilEnd(ctx, served(d.desk, discard)))
	control.Handle(mux, "forget", untilEnd(ctx, served(d.desk, forgetDocument)))
	control.Handle(mux, "refile", untilEnd(ctx, ofNow(d, served(d.desk, refileDocument))))
	control.Handle(mux, "reload", untilEnd(ctx, func(ctx context.Context, _ struct{}) (struct{}, error) {
		return struct{}{}, d.reload(ctx)
	}))
	return mux
}

// ofNow makes a call take up the configuration first if it has changed: the rules
// of now are those in the file, not those of a moment ago.
func ofNow[In, Out any](d *daemon, f func(context.Context, In) (Out, error)) func(context.Context, In) (Out, error) {
	return func(ctx context.Context, in In) (out Out, err error) {
		if config.FingerprintOf(d.settings.config) != d.inForce.Load() {
			if err := d.reload(ctx); err != nil {
				return out, err
			}
		}
		return f(ctx, in)
	}
}

// reload returns when the configuration has been read anew and taken up, or was
// refused, which is an error.
func (d *daemon) reload(ctx context.Context) error {
	answer := make(chan error, 1)
	select {
	case d.asked <- answer:
	case <-ctx.Done():
		return errInterrupted
	}
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return errInterrupted
	}
}

// untilEnd makes what a call does end with the daemon, not only with the call.
func untilEnd[In, Out any](end context.Context, f func(context.Context, In) (Out, error)) func(context.Context, In) (Out, error) {
	return func(ctx context.Context, in In) (Out, error) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(end, cancel)()
		return f(ctx, in)
	}
}
