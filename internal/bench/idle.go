package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// The idle measurement: one process that watches many folders in which nothing
// happens.
const (
	idleSources = 500
	idleFolders = 10 // of each source
	// idleImport is how long the first run over all folders may take.
	idleImport = 10 * time.Minute
	// idleWarm is how long the process polls before it is measured.
	idleWarm = 90 * time.Second
)

// idleSample is what an idle process costs.
type idleSample struct {
	window        time.Duration
	cpu           time.Duration
	peak          int64 // most memory held, in bytes
	before, after idleStats
}

// idle measures postroom with sources in which nothing happens, over TLS from
// servers in this process.
func idle(ctx context.Context, s settings, dir string) (err error) {
	if err := build(ctx, dir); err != nil {
		return err
	}
	server, err := startIdleServer(filepath.Join(dir, "ca.pem"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.close()) }()
	config := filepath.Join(dir, "config.yaml")
	if err := write(config, "%s", idleConfig(server.addr(), filepath.Join(dir, "ca.pem"))); err != nil {
		return err
	}
	output, err := os.Create(filepath.Join(dir, "output"))
	if err != nil {
		return err
	}
	defer output.Close()
	c := exec.CommandContext(ctx, filepath.Join(dir, "postroom"), "run", "--config", config)
	c.Dir, c.Stdout, c.Stderr = dir, output, output
	c.Env = append(os.Environ(), "BENCH_PASSWORD="+password)
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGTERM) }
	if err := c.Start(); err != nil {
		return err
	}
	result, err := observe(ctx, s, c.Process.Pid, server)
	err = errors.Join(err, c.Process.Signal(syscall.SIGTERM))
	if waitErr := c.Wait(); waitErr != nil && err == nil {
		err = fmt.Errorf("postroom: %w", waitErr)
	}
	if err != nil {
		said, readErr := os.ReadFile(output.Name())
		return errors.Join(fmt.Errorf("%w\n%s", err, said[max(0, len(said)-4000):]), readErr)
	}
	_, err = fmt.Print(result.table())
	return err
}

// observe waits until everything is filed, and then measures.
func observe(ctx context.Context, s settings, pid int, server *idleServer) (r idleSample, err error) {
	progress("filing the %d messages that are there", idleSources*idleFolders)
	for deadline := time.Now().Add(idleImport); server.stats().fetched < idleSources*idleFolders; {
		if time.Now().After(deadline) {
			return r, fmt.Errorf("only %d of %d messages were fetched in %v", server.stats().fetched, idleSources*idleFolders, idleImport)
		}
		if err := rest(ctx, time.Second); err != nil {
			return r, err
		}
	}
	progress("polling for %v, and then for %v measured", idleWarm, s.window)
	if err := rest(ctx, idleWarm); err != nil {
		return r, err
	}
	// 5 resets the most memory held (proc(5)).
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0); err != nil {
		return r, err
	}
	cpu, _, err := cost(pid)
	if err != nil {
		return r, err
	}
	begin := time.Now()
	r.before = server.stats()
	if err := rest(ctx, s.window); err != nil {
		return r, err
	}
	r.window, r.after = time.Since(begin), server.stats()
	after, peak, err := cost(pid)
	r.cpu, r.peak = after-cpu, peak
	return r, err
}

func rest(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

// cost returns the CPU time of a process and the most memory it held.
func cost(pid int) (cpu time.Duration, peak int64, err error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, err
	}
	// The name of the program, in parentheses, may hold anything.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	var user, system int64
	if _, err := fmt.Sscan(fields[11]+" "+fields[12], &user, &system); err != nil {
		return 0, 0, err
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(status)) {
		var kilobytes int64
		if _, err := fmt.Sscanf(line, "VmHWM: %d kB", &kilobytes); err == nil {
			peak = kilobytes << 10
		}
	}
	// A tick is 10 ms on every Linux that Go runs on (sysconf(_SC_CLK_TCK)).
	return time.Duration(user+system) * 10 * time.Millisecond, peak, nil
}

func (r idleSample) table() string {
	seconds := r.window.Seconds()
	return fmt.Sprintf(`### %d idle folders of %d sources, TLS 1.3, polled every minute

| window s | CPU s | CPU of a core | peak RSS MB | connections | folders polled a minute | sign-ins a minute | commands a second |
|--:|--:|--:|--:|--:|--:|--:|--:|
| %.0f | %.1f | %.1f %% | %.1f | %d | %.0f | %.0f | %.0f |
`, idleSources*idleFolders, idleSources, seconds, r.cpu.Seconds(), 100*r.cpu.Seconds()/seconds, float64(r.peak)/1e6, r.after.open,
		float64(r.after.polled-r.before.polled)/seconds*60, float64(r.after.signIns-r.before.signIns)/seconds*60,
		float64(r.after.commands-r.before.commands)/seconds)
}

// idleConfig is a configuration of sources that differ only in their user.
func idleConfig(server, ca string) string {
	var b strings.Builder
	b.WriteString("version: 1\nrepository: {type: filesystem, path: ./mail}\nlog: {level: warn}\ncredentials:\n")
	for i := range idleSources {
		fmt.Fprintf(&b, "  - {name: user%d, type: password, username: user%d, password: \"${env:BENCH_PASSWORD}\"}\n", i, i)
	}
	folders := []string{"Inbox"}
	for i := 1; i < idleFolders; i++ {
		folders = append(folders, fmt.Sprint("Folder", i))
	}
	b.WriteString("sources:\n")
	for i := range idleSources {
		fmt.Fprintf(&b, "  - {name: source%d, type: imap, credentials: user%d, server: %q, ca_file: %q, folders: [%s], poll_interval: 1m}\n",
			i, i, server, ca, strings.Join(folders, ", "))
	}
	return b.String()
}
