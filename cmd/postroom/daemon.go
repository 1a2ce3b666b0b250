package main

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"postroom/cmd/postroom/config"
	"postroom/cmd/postroom/service"
	"postroom/ingest"
	"postroom/internal/control"
)

// runDaemon files what arrives until the context ends. A changed configuration
// is taken up when it is asked for, whole or not at all.
func runDaemon(cmd *cobra.Command, names []string) error {
	ctx, errs := cmd.Context(), cmd.ErrOrStderr()
	s, c, err := loadConfig(cmd)
	if err != nil {
		return err
	}
	log, closeLog, err := s.newLog(c.Log, errs)
	if err != nil {
		return err
	}
	d := &daemon{settings: s, names: names, log: log, reload: make(chan struct{}, 1)}
	if d.notify, err = service.NewNotifier(); err != nil {
		return failed(errors.Join(err, closeLog()))
	}
	hup := make(chan os.Signal, 1)
	if reloadSignal != nil {
		signal.Notify(hup, reloadSignal)
		defer signal.Stop(hup)
	}
	stopped := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-hup:
				d.askReload()
			case <-stopped:
				return
			}
		}
	})
	err = d.run(ctx, c)
	close(stopped)
	wg.Wait()
	return errors.Join(err, failed(closeLog()))
}

type daemon struct {
	settings *settings
	names    []string
	log      *zap.Logger
	notify   *service.Notifier
	reload   chan struct{}
}

func (d *daemon) askReload() {
	select {
	case d.reload <- struct{}{}:
	default:
	}
}

// run serves one configuration after the other. One that cannot be opened is
// not taken up: the one before is opened again.
func (d *daemon) run(ctx context.Context, c *config.Config) error {
	o, err := d.open(ctx, c)
	if err != nil {
		return err
	}
	for {
		next, err := d.serve(ctx, o)
		if err != nil || next == nil {
			return err
		}
		before := o.config
		o, err = d.open(ctx, next)
		for failures := 0; err != nil; failures++ {
			if ctx.Err() != nil {
				return nil
			}
			d.log.Error(notTakenUp, zap.Error(err))
			// Something else may hold the locks for a moment.
			select {
			case <-ctx.Done():
			case <-time.After(min(time.Duration(failures)*time.Second, time.Minute)):
			}
			o, err = d.open(ctx, before)
		}
	}
}

const notTakenUp = "configuration not taken up; the one before stays in force"

// opened is a configuration ready to be served.
type opened struct {
	*workshop
	sources  int
	listener net.Listener
}

func (o *opened) close() error {
	err := o.listener.Close()
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	return errors.Join(err, o.workshop.close())
}

// open opens all that can fail before a configuration is served.
func (d *daemon) open(ctx context.Context, c *config.Config) (*opened, error) {
	of, err := chosen(c, d.names)
	if err != nil {
		return nil, err
	}
	w, err := openWorkshop(ctx, c, d.log, of, nil)
	if err != nil {
		return nil, err
	}
	l, err := control.Listen(c.StateDir)
	if err != nil {
		return nil, failed(errors.Join(err, w.close()))
	}
	return &opened{w, len(of), l}, nil
}

// serve runs the engine with a configuration until the context ends, or a new
// one is to be taken up, which it returns. It closes what was opened.
func (d *daemon) serve(ctx context.Context, o *opened) (next *config.Config, err error) {
	defer func() { err = errors.Join(err, failed(o.close())) }()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	fail := make(chan error, 2)
	wg.Go(func() { fail <- d.control(ctx, o) })
	wg.Go(func() { fail <- o.engine.Run(ctx) })
	d.tell(d.notify.Ready())
	d.tell(d.notify.Status("watching " + count(o.sources, "source", "sources")))
	d.log.Info("started", zap.String("version", version), zap.String("config", o.config.File), zap.Int("sources", o.sources))

	next, err = d.attend(ctx, o, fail)
	if next == nil {
		d.tell(d.notify.Stopping())
	}
	d.log.Info("stopping")
	cancel()
	wg.Wait()
	close(fail)
	for e := range fail {
		err = errors.Join(err, e)
	}
	if err != nil {
		next = nil
	}
	return next, failed(err)
}

// attend feeds the watchdog while the engine runs. It returns when the context
// ends, something failed, or a new configuration is to be taken up.
func (d *daemon) attend(ctx context.Context, o *opened, fail <-chan error) (next *config.Config, err error) {
	alive := time.NewTicker(cmp.Or(d.notify.ProgressEvery()/2, time.Minute))
	defer alive.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil, nil
		case err := <-fail:
			return nil, err
		case <-alive.C:
			now := time.Now()
			if !slices.ContainsFunc(o.engine.Status(), func(s ingest.Status) bool { return s.Stuck(now) }) {
				d.tell(d.notify.Progress())
			}
		case <-d.reload:
			d.tell(d.notify.Reloading())
			if next, err := d.reread(); err == nil {
				return next, nil
			} else {
				d.log.Error(notTakenUp, zap.Error(err))
			}
			d.tell(d.notify.Ready())
		}
	}
}

// reread reads the configuration anew.
func (d *daemon) reread() (*config.Config, error) {
	c, err := config.Load(d.settings.config, configDrivers())
	if err == nil {
		_, err = chosen(c, d.names)
	}
	return c, err
}

func (d *daemon) tell(err error) {
	if err != nil {
		d.log.Warn("tell the service manager", zap.Error(err))
	}
}

// control answers the commands typed beside the daemon. What they do ends with
// the daemon, not only with the call.
func (d *daemon) control(ctx context.Context, o *opened) error {
	mux := http.NewServeMux()
	bound := func(f func(context.Context, *workshop, quarantineCall) ([]retried, error)) func(context.Context, quarantineCall) ([]retried, error) {
		return func(call context.Context, in quarantineCall) ([]retried, error) {
			call, cancel := context.WithCancel(call)
			defer cancel()
			defer context.AfterFunc(ctx, cancel)()
			return f(call, o.workshop, in)
		}
	}
	control.Handle(mux, "retry", bound(retry))
	control.Handle(mux, "discard", bound(discard))
	control.Handle(mux, "reload", func(context.Context, struct{}) (struct{}, error) {
		// The answer says whether the file is fit to be taken up.
		if _, err := d.reread(); err != nil {
			return struct{}{}, err
		}
		d.askReload()
		return struct{}{}, nil
	})
	return control.Serve(ctx, o.listener, mux)
}
