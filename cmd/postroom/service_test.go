package main

import (
	"strings"
	"testing"

	"postroom/internal/dovecot"
)

// TestServiceStatusAndStop: with and without systemd on this machine, since its
// service, if it has one, is not for this configuration.
func TestServiceStatusAndStop(t *testing.T) {
	o := newOffice(t, dovecot.Options{})
	o.configure("poll_interval: 1h")
	o.add("log: {file: ./postroom.log}\n")
	status := func(want int, text string) {
		t.Helper()
		if r := o.run("service", "status"); r.status != want || !strings.Contains(r.out, text) {
			t.Errorf("want %d, %q: %+v", want, text, r)
		}
	}
	status(exitNotInstalled, "not installed")
	if r := o.run("service", "stop"); r.status != exitFailed || !strings.Contains(r.err, "no daemon is running") {
		t.Errorf("nothing to stop: %+v", r)
	}
	for n := range 3 {
		ended := make(chan result, 1)
		go func() { ended <- o.runUntil(t.Context(), "run") }()
		o.eventually("postroom.log", "started", n+1)
		status(exitOK, "running")
		if r := o.run("run", "--once"); r.status != exitFailed || !strings.Contains(r.err, "postroom service stop") {
			t.Errorf("beside it: %+v", r)
		}
		if r := o.run("service", "stop"); r.status != exitOK {
			t.Fatalf("%+v", r)
		}
		// It has ended: all is free for the next.
		if r := o.run("run", "--once"); r.status != exitOK {
			t.Errorf("after it: %+v", r)
		}
		if r := <-ended; r.status != exitOK {
			t.Errorf("the daemon: %+v", r)
		}
		status(exitNotInstalled, "not installed")
	}
}

// TestServiceUnitNamesWhatIsMissing: what the service could not make.
func TestServiceUnitNamesWhatIsMissing(t *testing.T) {
	o := newOffice(t, dovecot.Options{})
	o.configure("")
	r := o.run("service", "unit", "--user", "daemon")
	if r.status != exitOK {
		t.Fatalf("%+v", r)
	}
	contains(t, r.err, o.dir+"/documents is not there yet", o.dir+"/state is not there yet")
	o.once()
	if r := o.run("service", "unit", "--user", "daemon"); r.status != exitOK || r.err != "" {
		t.Errorf("%+v", r)
	}
}
