package ingest

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"go.uber.org/zap"

	"postroom/sources"
)

// run polls the mailbox by its schedule until the context ends.
func (m *mailbox) run(ctx context.Context) {
	defer func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if err := m.close(); err != nil {
			m.log.Debug("close", zap.Error(err))
		}
	}()
	watching := make(chan struct{})
	defer func() { <-watching }()
	go func() {
		defer close(watching)
		if m.Watch {
			m.watch(ctx)
		}
	}()

	// Sources that share an interval do not share the moment.
	timer := time.NewTimer(rand.N(min(m.Interval, 2*time.Second)))
	defer timer.Stop()
	next := time.Now()
	failures := 0
	for {
		woken := false
		select {
		case <-ctx.Done():
			return
		case <-m.wake:
			woken = true
		case <-timer.C:
		}
		start := time.Now()
		partly, err := m.poll(ctx, woken)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			failures++
			if partly && sources.ClassOf(err) != sources.Throttled {
				// One folder in trouble holds up no other.
				failures = 0
				next = time.Now().Add(jitter(m.Interval))
			} else {
				next = time.Now().Add(backOff(err, failures, m.Interval))
			}
			m.report(err)
		} else {
			failures = 0
			m.recovered()
			// A wake-up polls one folder, and must not put off the others.
			if !woken || !next.After(start) {
				next = time.Now().Add(jitter(m.Interval))
			}
			if due := m.stats.takeDue(); !due.IsZero() && due.Before(next) {
				next = due.Add(time.Second)
			}
		}
		m.stats.polled(start, next, err)
		timer.Reset(time.Until(next))
	}
}

// watch wakes run when new mail arrives in the first folder.
func (m *mailbox) watch(ctx context.Context) {
	failures := 0
	for ctx.Err() == nil {
		err := m.waitForMail(ctx)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			failures = 0
			select {
			case m.wake <- struct{}{}:
			default:
			}
			continue
		}
		failures++
		if errors.Is(err, errNoWaiter) {
			m.log.Warn("cannot watch for new mail, it is polled instead", zap.Error(err))
			return
		}
		m.log.Debug("watch for new mail", zap.Error(err))
		if !pause(ctx, backOff(err, failures, m.Interval)) {
			return
		}
	}
}

var errNoWaiter = sources.Errorf(sources.Permanent, "this type of source cannot tell of new mail")

func (m *mailbox) waitForMail(ctx context.Context) error {
	m.mu.Lock()
	src, err := m.open()
	m.mu.Unlock()
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
	if r := sources.RemedyOf(err); r != "" {
		fields = append(fields, zap.String("remedy", r))
	}
	m.log.Error("poll failed", fields...)
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
		if until := sources.UntilOf(err); !until.IsZero() {
			return max(time.Until(until), 0) + rand.N(time.Second)
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

// messageBackOff returns how long a message waits after its n-th attempt.
func messageBackOff(n int) time.Duration {
	return jitter(min(time.Minute<<min(n-1, 16), time.Hour))
}
