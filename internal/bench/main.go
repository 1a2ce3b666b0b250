// Command bench measures postroom beside other programs that fetch mail, from a
// private Dovecot, and beside one that makes .msg files, in one run on one machine.
// It prints a Markdown table.
//
// Every measurement is of a whole process with fresh state on the same file
// system. Programs take turns, so that what else the machine does meets all of
// them, and the medians are told. What postroom has filed is compared with what
// was delivered, octet for octet; a wrong result ends the run.
//
// It needs Linux, Dovecot, and the programs that are compared.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"time"
)

// settings are what the command line says.
type settings struct {
	messages int
	sample   int
	rounds   int
	folder   int
	large    int64
	dir      string
	write    string
	idle     bool
	window   time.Duration
	graph    bool
	pop3     bool
	syncs    bool
	msg      bool
}

func main() {
	var err error
	if len(os.Args) > 1 && floors[os.Args[1]] != nil {
		err = floors[os.Args[1]](os.Args[2:])
	} else {
		err = run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run() error {
	var s settings
	flag.IntVar(&s.messages, "messages", 5000, "messages in the mailbox")
	flag.IntVar(&s.sample, "sample", 1500, "messages in the mailbox of slow programs")
	flag.IntVar(&s.rounds, "rounds", 3, "runs of each program, of which the median is told")
	flag.IntVar(&s.folder, "folder", 100_000, "messages in the folder that is polled; 0 leaves it out")
	flag.Int64Var(&s.large, "large", 150_000_000, "size of the large message; 0 leaves it out")
	flag.StringVar(&s.dir, "dir", "", "work in a new folder below this `folder`; its file system is measured")
	flag.StringVar(&s.write, "write", "", "put the table into this `file`, in place of the one there")
	flag.BoolVar(&s.idle, "idle", false, "measure only what many folders cost in which nothing happens")
	flag.DurationVar(&s.window, "window", 3*time.Minute, "how long that is measured, after the first runs")
	flag.BoolVar(&s.graph, "graph", false, "measure only a mailbox in a stand-in for Exchange Online")
	flag.BoolVar(&s.pop3, "pop3", false, "measure only what goes over POP3")
	flag.BoolVar(&s.syncs, "syncs", false, "measure only filing on a disk whose syncs take long (strace)")
	flag.BoolVar(&s.msg, "msg", false, "measure only the conversion to .msg, of at most 2000 messages and the large one")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()

	dir, err := os.MkdirTemp(s.dir, "bench")
	if err != nil {
		return err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	do := measure
	switch {
	case s.idle:
		do = idle
	case s.graph:
		do = exchange
	case s.pop3:
		do = pop3
	case s.syncs:
		do = syncs
	case s.msg:
		do = msg
	}
	return errors.Join(do(ctx, s, dir), os.RemoveAll(dir))
}

// measure does everything in dir.
func measure(ctx context.Context, s settings, dir string) error {
	t, err := inHall(ctx, s, dir, (*hall).tables)
	if err != nil {
		return err
	}
	c, err := conversions(ctx, s, dir)
	if err != nil {
		return err
	}
	text := t + c
	if _, err := io.WriteString(os.Stdout, text); err != nil {
		return err
	}
	if s.write == "" {
		return nil
	}
	return replaceTable(s.write, text)
}

// inHall measures with servers and mailboxes in dir, and returns the load before
// and what came of it.
func inHall(ctx context.Context, s settings, dir string, measure func(*hall) (string, error)) (text string, err error) {
	load, err := loadAverage()
	if err != nil {
		return "", err
	}
	if err := build(ctx, dir); err != nil {
		return "", err
	}
	h, err := newHall(ctx, s, dir)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, h.close()) }()
	text, err = measure(h)
	return fmt.Sprintf("Load average before: %s.\n\n%s", load, text), err
}

// build builds postroom into dir.
func build(ctx context.Context, dir string) error {
	progress("building postroom")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", filepath.Join(dir, "postroom"), "postroom/cmd/postroom")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build postroom: %w\n%s", err, out)
	}
	return nil
}

// loadAverage returns that of the last 1, 5 and 15 minutes.
func loadAverage() (string, error) {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "", err
	}
	fields := strings.Fields(string(text))
	return strings.Join(fields[:min(3, len(fields))], ", "), nil
}

// progress tells whoever waits what is being done.
func progress(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
