package ingest

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"go.uber.org/zap"

	"postroom/sources"
)

// run polls the mailbox by its schedule until the context ends.
func (m *mailbox) run(ctx context.Context) {
	var watching sync.WaitGroup
	defer func() {
		watching.Wait()
		if err := m.close(); err != nil {
			m.log.Debug("close", zap.Error(err))
		}
	}()
	if m.Watch {
		watching.Go(func() { m.watch(ctx) })
	}
	// Sources that share an interval do not share the moment.
	timer := time.NewTimer(rand.N(min(m.Interval, 2*time.Second)))
	defer timer.Stop()
	for failures := 0; ; {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		start := time.Now()
		m.stats.begin()
		partly, err := m.poll(ctx, everyFolder)
		if ctx.Err() != nil {
			return
		}
		next := time.Now().Add(jitter(m.Interval))
		switch {
		case err == nil:
			failures = 0
			m.recovered()
			if due := m.stats.takeDue(); !due.IsZero() && due.Before(next) {
				next = due.Add(time.Second)
			}
		case partly && sources.ClassOf(err) != sources.Throttled:
			// One folder in trouble holds up no other.
			failures = 0
			m.report(err)
		default:
			failures++
			next = time.Now().Add(backOff(err, failures, m.Interval))
			m.report(err)
		}
		m.stats.polled(start, next, err)
		timer.Reset(time.Until(next))
	}
}

// watchFloor is the least time between two wake-ups.
const watchFloor = 500 * time.Millisecond

// watch polls the first folder whenever new mail arrives in it. It begins once
// the server has been reached, so that refused credentials are not tried twice.
func (m *mailbox) watch(ctx context.Context) {
	select {
	case <-ctx.Done():
		return
	case <-m.reached:
	}
	for failures := 0; ; {
		err := m.waitForMail(ctx)
		if err == nil {
			_, err = m.poll(ctx, firstFolder)
		}
		if ctx.Err() != nil {
			return
		}
		wait := watchFloor
		switch {
		case err == nil:
			failures = 0
		case errors.Is(err, errNoWaiter):
			m.log.Warn("cannot watch for new mail, it is polled instead", zap.Error(err))
			return
		default:
			// What lasts is reported by the scheduled polls.
			failures++
			wait = backOff(err, failures, m.Interval)
			m.log.Debug("watch for new mail", zap.Error(err), zap.Duration("again", wait))
		}
		if !pause(ctx, wait) {
			return
		}
	}
}

var errNoWaiter = sources.Errorf(sources.Permanent, "this type of source cannot tell of new mail")

func (m *mailbox) waitForMail(ctx context.Context) error {
	src, err := m.open()
	if err != nil {
		return err
	}
	w, ok := src.(sources.Waiter)
	if !ok {
		return errNoWaiter
	}
	folders, err := src.Folders(ctx)
	if len(folders) == 0 {
		return errors.Join(err, sources.Errorf(sources.NotFound, "no folder to watch"))
	}
	return w.Wait(ctx, folders[0])
}

// report logs the error of a poll, once while it stays the same.
func (m *mailbox) report(err error) {
	if !m.stats.newError(err) {
		m.log.Debug("poll failed again", zap.Error(err))
		return
	}
	fields := []zap.Field{zap.String("class", sources.ClassOf(err).String()), zap.Error(err)}
	m.log.Error("poll failed", append(fields, remedyField(err))...)
}

// remedyField is what to do about an error.
func remedyField(err error) zap.Field {
	if r := remedies(err); r != "" {
		return zap.String("remedy", r)
	}
	return zap.Skip()
}

// recovered logs the end of an error.
func (m *mailbox) recovered() {
	if m.stats.newError(nil) {
		m.log.Info("poll works again")
	}
}

// pause waits and reports whether the context is still alive.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// jitter returns d, give or take a tenth.
func jitter(d time.Duration) time.Duration {
	return d - d/10 + rand.N(d/5+1)
}

// backOff returns how long to wait after the n-th failure in a row, n ≥ 1.
func backOff(err error, n int, interval time.Duration) time.Duration {
	first, most := 5*time.Second, 15*time.Minute
	switch sources.ClassOf(err) {
	case sources.Throttled:
		if wait := time.Until(sources.UntilOf(err)); wait > 0 {
			return wait + rand.N(time.Second)
		}
		first = time.Minute
	case sources.SignIn:
		// Servers lock accounts that fail too often.
		first, most = 5*time.Minute, time.Hour
	case sources.Permission, sources.NotFound, sources.Permanent:
		first = max(interval, time.Minute)
		most = max(interval, 15*time.Minute)
	}
	var local *localError
	if errors.As(err, &local) {
		most = max(interval, first)
	}
	return jitter(min(first<<min(n-1, 16), most))
}

// messageBackOff returns how long a message waits after its n-th attempt failed
// with err: a minute at first, an hour at most.
func messageBackOff(err error, n int) time.Duration {
	if errors.Is(err, errClaimed) {
		return jitter(10 * time.Second)
	}
	if wait := time.Until(sources.UntilOf(err)); wait > 0 {
		return wait + rand.N(time.Second)
	}
	return jitter(min(time.Minute<<min(n-1, 16), time.Hour))
}
