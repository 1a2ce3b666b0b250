package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
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
	w, of, err := d.open(ctx, c)
	for err == nil {
		var next *config.Config
		if next, err = d.serve(ctx, c, w, of); err != nil || next == nil {
			return err
		}
		before := c
		c = next
		if w, of, err = d.open(ctx, c); err != nil {
			d.log.Error(notTakenUp, zap.Error(err))
			c = before
			w, of, err = d.open(ctx, c)
		}
	}
	return err
}

const notTakenUp = "configuration not taken up; the one before stays in force"

func (d *daemon) open(ctx context.Context, c *config.Config) (*workshop, []*config.Source, error) {
	of, err := chosen(c, d.names)
	if err != nil {
		return nil, nil, err
	}
	w, err := openWorkshop(ctx, c, d.log, of, nil)
	return w, of, err
}

// serve runs the engine with a configuration until the context ends, or a new
// one is to be taken up, which it returns. It closes the workshop.
func (d *daemon) serve(ctx context.Context, c *config.Config, w *workshop, of []*config.Source) (next *config.Config, err error) {
	defer func() { err = errors.Join(err, failed(w.close())) }()
	l, err := control.Listen(c.StateDir)
	if err != nil {
		return nil, failed(err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	fail := make(chan error, 2)
	wg.Go(func() { fail <- d.control(ctx, l, w) })
	wg.Go(func() { fail <- w.engine.Run(ctx) })
	d.tell(d.notify.Ready())
	d.tell(d.notify.Status(fmt.Sprintf("watching %s", count(len(of), "source", "sources"))))
	d.log.Info("started", zap.String("version", version), zap.String("config", c.File), zap.Int("sources", len(of)))

	alive := time.NewTicker(cmpOr(d.notify.ProgressEvery()/2, time.Minute))
	defer alive.Stop()
	var first error
wait:
	for {
		select {
		case <-ctx.Done():
			break wait
		case first = <-fail:
			break wait
		case <-alive.C:
			if healthy(w.engine.Status(), time.Now()) {
				d.tell(d.notify.Progress())
			}
		case <-d.reload:
			d.tell(d.notify.Reloading())
			fresh, err := d.settings.load(zap.NewStdLog(d.log).Writer())
			if err == nil {
				_, err = chosen(fresh, d.names)
			}
			if err == nil {
				next = fresh
				break wait
			}
			d.log.Error(notTakenUp, zap.Error(err))
			d.tell(d.notify.Ready())
		}
	}
	if next == nil {
		d.tell(d.notify.Stopping())
	}
	d.log.Info("stopping")
	cancel()
	wg.Wait()
	close(fail)
	for e := range fail {
		first = errors.Join(first, e)
	}
	if first != nil {
		next = nil
	}
	return next, failed(first)
}

func cmpOr(d, otherwise time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return otherwise
}

func (d *daemon) tell(err error) {
	if err != nil {
		d.log.Warn("tell the service manager", zap.Error(err))
	}
}

// overdue is how late a poll may be before its source counts as stuck.
const overdue = 2 * time.Minute

// healthy reports that no source is stuck.
func healthy(all []ingest.Status, now time.Time) bool {
	for _, s := range all {
		if !s.Polling && !s.NextPoll.IsZero() && now.Sub(s.NextPoll) > overdue {
			return false
		}
	}
	return true
}

// control answers the commands typed beside the daemon.
func (d *daemon) control(ctx context.Context, l net.Listener, w *workshop) error {
	mux := http.NewServeMux()
	control.Handle(mux, "retry", func(ctx context.Context, in quarantineCall) ([]retried, error) { return retry(ctx, w, in) })
	control.Handle(mux, "discard", func(ctx context.Context, in quarantineCall) ([]retried, error) { return discard(ctx, w, in) })
	control.Handle(mux, "reload", func(context.Context, struct{}) (struct{}, error) {
		// The answer says whether the file is fit to be taken up.
		if _, err := config.Load(d.settings.config, configDrivers()); err != nil {
			return struct{}{}, err
		}
		d.askReload()
		return struct{}{}, nil
	})
	return control.Serve(ctx, l, mux)
}
