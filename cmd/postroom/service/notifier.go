package service

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// Notifier tells systemd how the service fares (sd_notify(3), Type=notify). In
// a process that systemd does not listen to its methods do nothing. They may be
// called concurrently.
type Notifier struct {
	interval time.Duration
	send     func(state string) error
	now      func() time.Time

	mu  sync.Mutex
	fed time.Time // when the watchdog was fed last
}

// NewNotifier returns the notifier of this process.
func NewNotifier() (*Notifier, error) {
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		return nil, fmt.Errorf("read the interval of the systemd watchdog: %w", err)
	}
	return &Notifier{interval: interval, send: notify, now: time.Now}, nil
}

func notify(state string) error {
	if _, err := daemon.SdNotify(false, state); err != nil {
		return fmt.Errorf("notify systemd: %w", err)
	}
	return nil
}

// Ready tells that the service has started, or has taken up its changed
// configuration.
func (n *Notifier) Ready() error { return n.send(daemon.SdNotifyReady) }

// Reloading tells that the service is taking up its changed configuration.
// Ready, or Stopping, must follow.
func (n *Notifier) Reloading() error {
	return n.send(daemon.SdNotifyReloading + "\n" + daemon.SdNotifyMonotonicUsec())
}

// Stopping tells that the service is about to end.
func (n *Notifier) Stopping() error { return n.send(daemon.SdNotifyStopping) }

// Status tells what the service is doing, in a line for a person.
func (n *Notifier) Status(line string) error {
	return n.send("STATUS=" + strings.Join(strings.Fields(line), " "))
}

// ProgressEvery is how often [Notifier.Progress] must be called at least, half
// the interval after which systemd ends a service that shows no progress; zero
// if systemd does not watch.
func (n *Notifier) ProgressEvery() time.Duration { return n.interval / 2 }

// Progress feeds the watchdog. It is to be called by the very loop whose
// standstill should end the service, as often as that loop likes: systemd is
// told no more often than four times per interval.
func (n *Notifier) Progress() error {
	if n.interval == 0 {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	now := n.now()
	if !n.fed.IsZero() && now.Sub(n.fed) < n.interval/4 {
		return nil
	}
	if err := n.send(daemon.SdNotifyWatchdog); err != nil {
		return err
	}
	n.fed = now
	return nil
}
