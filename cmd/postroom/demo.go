package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"postroom/cmd/postroom/config"
	"postroom/ingest"
	"postroom/internal/mailgen"
)

// maxDemo is how many messages the demo can be asked for: its servers keep them
// in memory.
const maxDemo = 1_000_000

const (
	demoFirst = 2 * time.Second // until the first message that arrives
	demoEvery = 4 * time.Second // between messages that arrive
)

func newDemo() *cobra.Command {
	var dir string
	var messages int
	var once bool
	cmd := &cobra.Command{
		Use: "demo", Short: "File generated mail from stand-in servers on this machine", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if messages < 0 || messages > maxDemo {
				return usage("--messages must be from 0 to %d", maxDemo)
			}
			err := demo(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr(), dir, messages, once)
			if errors.Is(err, errNotDemos) {
				return usage("%w", err)
			}
			return failed(err)
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "file into this `DIR`, new, empty or of an earlier demo (default: a new one among the temporary files, kept until the next demo)")
	cmd.Flags().IntVar(&messages, "messages", 40, "how many messages there are at first")
	cmd.Flags().BoolVar(&once, "once", false, "end when those are filed")
	return cmd
}

func demo(ctx context.Context, out, errs io.Writer, dir string, messages int, once bool) (err error) {
	temporary := dir == ""
	if temporary {
		if err := clearTemporary(); err != nil {
			return fmt.Errorf("remove what an earlier demo left: %w", err)
		}
		if dir, err = os.MkdirTemp("", demoTemporary); err != nil {
			return err
		}
	}
	folder, err := openDemoFolder(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, folder.close()) }()
	mail := mailgen.New(uint64(time.Now().UnixNano()), mailgen.Small(), mailgen.Starting(time.Now().Add(-12*time.Hour)))
	servers, err := startDemoServers()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, servers.close()) }()
	for range messages {
		if err := servers.deliver(mail.Next()); err != nil {
			return err
		}
	}
	if err := folder.write(servers.files(!once)); err != nil {
		return err
	}
	c, err := config.Load(filepath.Join(folder.path, "config.yaml"), configDrivers())
	if err != nil {
		return err
	}
	servers.introduce(out)
	fmt.Fprintf(out, "postroom files them into %s, as %s says:\n\n", c.Repository.Path, c.File)

	progress := newProgress(errs)
	documents := &demoPrinter{out: progress.around(out)}
	w, err := openWorkshop(ctx, c, zap.NewNop(), c.Sources, func(ev ingest.Event) {
		progress.observe(ev)
		documents.observe(ev)
	})
	if err != nil {
		progress.end()
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	sums, err := w.engine.Once(ctx)
	progress.end()
	if err != nil {
		return err
	}
	fmt.Fprintln(out)
	if err := printSummaries(out, sums, false); err != nil {
		return err
	}
	for _, sum := range sums {
		if !sum.OK() {
			return fmt.Errorf("demo: source %s: %d failed, %d quarantined: %s", sum.Name, sum.Failed, sum.Quarantined, sum.Error)
		}
	}
	defer func() {
		fmt.Fprintf(out, "\nThe documents are in %s", c.Repository.Path)
		if temporary {
			fmt.Fprint(out, ", until the next demo without --dir removes them")
		}
		fmt.Fprintln(out, ".")
	}()
	if once || ctx.Err() != nil {
		return nil
	}
	fmt.Fprint(out, "\nMail goes on arriving, and is filed as it does, until Ctrl-C.\n\n")
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		for wait := demoFirst; ; wait = demoEvery {
			select {
			case <-ctx.Done():
				return
			case <-time.After(wait):
			}
			if err := servers.deliver(mail.Next()); err != nil {
				fmt.Fprintf(errs, "postroom: %v\n", err)
				return
			}
		}
	})
	return w.engine.Run(ctx)
}

// demoPrinter prints documents as they are filed.
type demoPrinter struct {
	mu  sync.Mutex
	out io.Writer
}

func (p *demoPrinter) observe(ev ingest.Event) {
	if ev.Kind != ingest.Filed {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.out, "%-22s %7d bytes  %s\n", printable(ev.Folder, 22), ev.Bytes, printable(ev.Entry.Location, 120))
}
