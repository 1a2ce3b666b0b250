package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"postroom/internal/dovecot"
)

// start runs the daemon until the test ends, or stop is called.
func (o *office) start() (stop func()) {
	o.t.Helper()
	ctx, cancel := context.WithCancel(o.t.Context())
	done := make(chan result, 1)
	go func() { done <- o.runUntil(ctx, "run") }()
	stop = sync.OnceFunc(func() {
		cancel()
		if r := <-done; r.status != 0 {
			o.t.Errorf("the daemon: %+v", r)
		}
	})
	o.t.Cleanup(stop)
	return stop
}

// file returns what a file of the office holds.
func (o *office) file(name string) string {
	o.t.Helper()
	b, err := os.ReadFile(filepath.Join(o.dir, name))
	if err != nil && !os.IsNotExist(err) {
		o.t.Fatal(err)
	}
	return string(b)
}

// add adds lines to the configuration, in one step, as editors do.
func (o *office) add(lines string) {
	o.t.Helper()
	o.replaceConfig(o.file("config.yaml") + lines)
}

func (o *office) replaceConfig(text string) {
	o.t.Helper()
	o.replace("config.yaml", text)
}

// replace replaces a file, in one step.
func (o *office) replace(name, text string) {
	o.t.Helper()
	name = filepath.Join(o.dir, name)
	if err := os.WriteFile(name+"~", []byte(text), 0o600); err != nil {
		o.t.Fatal(err)
	}
	if err := os.Rename(name+"~", name); err != nil {
		o.t.Fatal(err)
	}
}

// eventually waits until the file holds the text n times, and no more.
func (o *office) eventually(name, text string, n int) {
	o.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		got := strings.Count(o.file(name), text)
		if got == n {
			return
		}
		if got > n || time.Now().After(deadline) {
			o.t.Fatalf("%s holds %q %d times, want %d:\n%s", name, text, got, n, o.file(name))
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// appears waits until the file holds the text.
func (o *office) appears(name, text string) {
	o.t.Helper()
	for deadline := time.Now().Add(patience); !strings.Contains(o.file(name), text); {
		if time.Now().After(deadline) {
			o.t.Fatalf("%s does not hold %q:\n%s", name, text, o.file(name))
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// TestDaemonTakesUpChanges: a change of the file is taken up by itself; one with
// an error, or that cannot be, is logged once and changes nothing.
func TestDaemonTakesUpChanges(t *testing.T) {
	t.Parallel()
	o := newOffice(t, dovecot.Options{})
	o.configure("poll_interval: 1s")
	o.add("log: {file: ./postroom.log}\n")
	stop := o.start()
	o.eventually("postroom.log", "started", 1)

	good := o.file("config.yaml")
	o.replaceConfig(good + "sources: [")
	o.eventually("postroom.log", keptInForce, 1)
	o.replaceConfig(good + "state_dir: ./elsewhere\n")
	o.eventually("postroom.log", "needs a restart", 1)
	o.replaceConfig(strings.Replace(good, "./documents", "./config.yaml/documents", 1))
	o.eventually("postroom.log", keptInForce, 3)
	o.eventually("postroom.log", "started", 2) // the one before, opened again
	o.send("INBOX", note(1))
	o.await(1)

	o.folder("Later")
	o.send("Later", note(2))
	o.replaceConfig(strings.Replace(good, "poll_interval: 1s", "poll_interval: 1s\n    folders: [Inbox, Later]", 1))
	o.await(2)
	o.eventually("postroom.log", "started", 3)

	// So is one of an included file.
	o.folder("Latest")
	o.send("Latest", note(3))
	text := o.file("config.yaml")
	i := strings.Index(text, "credentials:")
	o.replace("more.yaml", "sources: []\n")
	o.replaceConfig(text[:i] + "include: [more.yaml]\n" + text[i:])
	o.eventually("postroom.log", "started", 4)
	source := text[strings.Index(text, "  - name: office\n    type: imap"):strings.Index(text, "log:")]
	source = strings.Replace(strings.Replace(source, "name: office", "name: second", 1), "[Inbox, Later]", "[Latest]", 1)
	o.replace("more.yaml", "sources:\n"+source)
	o.eventually("postroom.log", "started", 5)
	contains(t, o.file("postroom.log"), `"sources": 2`)
	stop()
	if n := strings.Count(o.file("postroom.log"), keptInForce); n != 3 {
		t.Errorf("%d changes not taken up were logged, want 3", n)
	}
}

func TestReload(t *testing.T) {
	o := newOffice(t, dovecot.Options{})
	o.configure("poll_interval: 1h")
	o.add("log: {file: ./postroom.log}\n")
	o.start()
	o.eventually("postroom.log", "started", 1)

	// The log's file is opened anew, for one that was renamed.
	if err := os.Rename(filepath.Join(o.dir, "postroom.log"), filepath.Join(o.dir, "postroom.log.1")); err != nil {
		t.Fatal(err)
	}
	if r := o.run("service", "reload"); r.status != 0 {
		t.Fatalf("%+v", r)
	}
	o.eventually("postroom.log", "started", 1)

	// Other settings of the log are taken up too.
	good := o.file("config.yaml")
	o.replaceConfig(strings.Replace(good, "./postroom.log", "./other.log, format: json, level: debug", 1))
	if r := o.run("service", "reload"); r.status != 0 {
		t.Fatalf("%+v", r)
	}
	// The daemon may have noticed the change by itself before.
	o.appears("other.log", `"msg":"started"`)
	o.appears("other.log", `"msg":"connected"`)
	for line := range strings.Lines(o.file("other.log")) {
		if strings.Contains(line, `"connected"`) && strings.Count(line, `"source":`) != 1 {
			t.Errorf("not one source: %s", line)
		}
	}

	// Commands that come in the middle of it wait.
	done := make(chan struct{})
	var reloads sync.WaitGroup
	reloads.Go(func() {
		defer close(done)
		for range 10 {
			if r := o.run("service", "reload"); r.status != 0 {
				t.Errorf("%+v", r)
			}
		}
	})
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		r := o.run("quarantine", "retry", "0123456789ab")
		if r.status != 1 || !strings.Contains(r.err, "0123456789ab") && !strings.Contains(r.err, errInterrupted.Error()) {
			t.Errorf("%+v", r)
		}
	}
	reloads.Wait()

	// One that cannot be used is refused, and the one before stays in force.
	usable := o.file("config.yaml")
	o.replaceConfig(strings.Replace(usable, o.server.CAFile(), "./missing.pem", 1))
	r := o.run("service", "reload")
	if r.status != 1 {
		t.Errorf("%+v", r)
	}
	contains(t, r.err, "ca_file", "does not exist", keptInForce)
	o.replaceConfig(usable)

	o.add("state_dir: ./elsewhere\n")
	r = o.run("service", "reload")
	if r.status != 1 {
		t.Errorf("%+v", r)
	}
	contains(t, r.err, "no daemon is running", "must be restarted")
	if _, err := os.Stat(filepath.Join(o.dir, "elsewhere")); err == nil {
		t.Error("the other state directory was made")
	}
	if bytes.Contains([]byte(o.file("other.log")), []byte(marker)) {
		t.Error("the password is in the log")
	}
}
