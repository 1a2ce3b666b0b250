package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// sample is what one process cost.
type sample struct {
	wall, cpu time.Duration
	peak      int64 // most memory held, in bytes
	trips     int   // round trips, where a proxy counted them
	received  int64 // bytes from the server, likewise
}

// errTimeUp is returned when a process was ended because it took too long.
var errTimeUp = errors.New("time is up")

// execute runs the command to its end, in dir, where it leaves its output. CPU
// is that of the process and of those it waited for; memory is its own.
func execute(ctx context.Context, dir string, limit time.Duration, command []string, env ...string) (sample, error) {
	// Nothing that another process wrote is left to be written.
	if err := exec.CommandContext(ctx, "sync").Run(); err != nil {
		return sample{}, fmt.Errorf("sync: %w", err)
	}
	output, err := os.Create(filepath.Join(dir, "output"))
	if err != nil {
		return sample{}, err
	}
	defer output.Close()
	timed, cancel := context.WithTimeoutCause(ctx, limit, errTimeUp)
	defer cancel()
	c := exec.CommandContext(timed, command[0], command[1:]...)
	c.Dir, c.Stdout, c.Stderr = dir, output, output
	c.Env = append(os.Environ(), env...)
	begin := time.Now()
	if err := c.Start(); err != nil {
		return sample{}, err
	}
	ended := make(chan struct{})
	peak := make(chan int64)
	go func() { peak <- peakUntil(ended, c.Process.Pid) }()
	err = c.Wait()
	s := sample{wall: time.Since(begin)}
	close(ended)
	s.peak = <-peak
	s.cpu = c.ProcessState.UserTime() + c.ProcessState.SystemTime()
	if timed.Err() != nil {
		return s, context.Cause(timed)
	}
	if err != nil {
		said, readErr := os.ReadFile(output.Name())
		return s, errors.Join(fmt.Errorf("%s: %w\n%s", filepath.Base(command[0]), err, said[max(0, len(said)-4000):]), readErr)
	}
	return s, nil
}

// peakUntil returns the most memory that a process held. The kernel's figure at
// its end would count what the parent held at the fork.
func peakUntil(ended <-chan struct{}, pid int) (peak int64) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ended:
			return peak
		case <-tick.C:
		}
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			continue // it has just ended
		}
		for line := range strings.Lines(string(status)) {
			var kilobytes int64
			if _, err := fmt.Sscanf(line, "VmHWM: %d kB", &kilobytes); err == nil {
				peak = max(peak, kilobytes<<10)
			}
		}
	}
}

// median returns the median of each figure by itself.
func median(all []sample) sample {
	return sample{
		wall:  middle(all, func(s sample) time.Duration { return s.wall }),
		cpu:   middle(all, func(s sample) time.Duration { return s.cpu }),
		peak:  middle(all, func(s sample) int64 { return s.peak }),
		trips: middle(all, func(s sample) int { return s.trips }),

		received: middle(all, func(s sample) int64 { return s.received }),
	}
}

func middle[T time.Duration | int64 | int](all []sample, figure func(sample) T) T {
	var figures []T
	for _, s := range all {
		figures = append(figures, figure(s))
	}
	slices.Sort(figures)
	return figures[len(figures)/2]
}
