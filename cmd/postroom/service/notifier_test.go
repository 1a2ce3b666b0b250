package service

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestNotifierWithoutSystemd(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	t.Setenv("WATCHDOG_USEC", "")
	n, err := NewNotifier()
	if err != nil {
		t.Fatal(err)
	}
	if n.ProgressEvery() != 0 {
		t.Errorf("ProgressEvery %v, want 0", n.ProgressEvery())
	}
	for _, err := range []error{n.Ready(), n.Reloading(), n.Status("idle"), n.Progress(), n.Stopping()} {
		if err != nil {
			t.Error(err)
		}
	}
}

func TestNotifierRefusesABrokenInterval(t *testing.T) {
	t.Setenv("WATCHDOG_USEC", "soon")
	if _, err := NewNotifier(); err == nil {
		t.Error("no error")
	}
}

func TestProgressFeedsTheWatchdogInMeasure(t *testing.T) {
	clock := time.Unix(1_000_000, 0)
	var sent []time.Duration
	began := clock
	n := &Notifier{
		interval: 40 * time.Second,
		now:      func() time.Time { return clock },
		send: func(state string) error {
			if state != "WATCHDOG=1" {
				t.Errorf("sent %q", state)
			}
			sent = append(sent, clock.Sub(began))
			return nil
		},
	}
	for range 30 {
		if err := n.Progress(); err != nil {
			t.Fatal(err)
		}
		clock = clock.Add(time.Second)
	}
	if want := []time.Duration{0, 10 * time.Second, 20 * time.Second}; !slices.Equal(sent, want) {
		t.Errorf("fed at %v, want %v", sent, want)
	}
}

func TestProgressIsTriedAgainAfterAnError(t *testing.T) {
	refuse := errors.New("socket is full")
	var sent int
	n := &Notifier{interval: time.Minute, now: time.Now, send: func(string) error {
		sent++
		if sent == 1 {
			return refuse
		}
		return nil
	}}
	if err := n.Progress(); !errors.Is(err, refuse) {
		t.Errorf("error %v, want %v", err, refuse)
	}
	if err := n.Progress(); err != nil || sent != 2 {
		t.Errorf("second try: %v, %d sent, want 2", err, sent)
	}
}

func TestStatusIsOneLine(t *testing.T) {
	var got string
	n := &Notifier{send: func(state string) error { got = state; return nil }}
	if err := n.Status("3 sources,\n READY=1  1 in trouble\n"); err != nil {
		t.Fatal(err)
	}
	if want := "STATUS=3 sources, READY=1 1 in trouble"; got != want {
		t.Errorf("sent %q, want %q", got, want)
	}
	if strings.Contains(got, "\n") {
		t.Error("more than one line")
	}
}
