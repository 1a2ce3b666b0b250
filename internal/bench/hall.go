package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"postroom/internal/dovecot"
	"postroom/internal/faultnet"
)

const (
	patience = 10 * time.Minute
	// slow is how long the programs may take that are known for it.
	slow = 90 * time.Second
	// latency is that of each way; a round trip takes two.
	latency = 25 * time.Millisecond
)

// originals is the folder that holds the messages of the mailbox as files.
const originals = "originals"

// hall is where the programs are measured.
type hall struct {
	settings
	ctx     context.Context
	dir     string
	dovecot *dovecot.Server
	// In front of the server without TLS.
	proxyIMAP, proxyPOP3 *faultnet.Proxy

	all, some *mailbox
	many      *deliverer // see crowd
	runs      int
}

func newHall(ctx context.Context, s settings, dir string) (_ *hall, err error) {
	h := &hall{settings: s, ctx: ctx, dir: dir}
	defer func() {
		if err != nil {
			err = errors.Join(err, h.close())
		}
	}()
	users := map[string]string{everything: password, part: password, crowded: password, heavy: password}
	if h.dovecot, err = dovecot.Run(dovecot.Options{Users: users}); err != nil {
		return nil, err
	}
	if h.proxyIMAP, err = faultnet.Start(h.dovecot.IMAP()); err != nil {
		return nil, err
	}
	if h.proxyPOP3, err = faultnet.Start(h.dovecot.POP3()); err != nil {
		return nil, err
	}
	progress("delivering %d messages", s.messages)
	h.all, h.some, err = fill(h.dovecot, s, filepath.Join(dir, originals))
	return h, err
}

func (h *hall) close() error {
	var errs []error
	for _, proxy := range []*faultnet.Proxy{h.proxyIMAP, h.proxyPOP3} {
		if proxy != nil {
			errs = append(errs, proxy.Close())
		}
	}
	if h.dovecot != nil {
		errs = append(errs, h.dovecot.Close())
	}
	return errors.Join(errs...)
}

// imap, imaps and farIMAP are the server without TLS, with it, and without it
// through the proxy; pop3, pop3s and farPOP3 likewise.
func (h *hall) imap() server    { return h.server("imap", h.dovecot.IMAP(), false) }
func (h *hall) imaps() server   { return h.server("imap", h.dovecot.IMAPS(), true) }
func (h *hall) farIMAP() server { return h.server("imap", h.proxyIMAP.Addr(), false) }
func (h *hall) pop3() server    { return h.server("pop3", h.dovecot.POP3(), false) }
func (h *hall) pop3s() server   { return h.server("pop3", h.dovecot.POP3S(), true) }
func (h *hall) farPOP3() server { return h.server("pop3", h.proxyPOP3.Addr(), false) }

func (h *hall) server(protocol, address string, tls bool) server {
	return server{protocol, address, tls, h.dovecot.CAFile()}
}

// crowd returns the mailbox of many short messages, which the first call delivers.
func (h *hall) crowd() (*deliverer, error) {
	if h.many == nil {
		progress("delivering %d messages to one folder", h.settings.folder)
		d := newDeliverer(h.dovecot, crowded)
		if err := d.deliverShort(h.settings.folder); err != nil {
			return nil, err
		}
		h.many = d
	}
	return h.many, nil
}

// entry is a program in a table.
type entry struct {
	program
	from    server
	mailbox *mailbox
	limit   time.Duration
	samples []sample
	err     error
}

// compete lets the programs take turns.
func (h *hall) compete(rounds int, entries []*entry) error {
	for round := range rounds {
		for _, e := range entries {
			if e.err != nil {
				continue
			}
			progress("round %d of %d: %s", round+1, rounds, e.name)
			s, err := h.once(e)
			if errors.Is(err, errTimeUp) {
				e.err = err
			} else if err != nil {
				return fmt.Errorf("%s: %w", e.name, err)
			}
			e.samples = append(e.samples, s)
		}
	}
	return nil
}

// once runs a program with fresh state. What it leaves stays until the end: ext4
// without a journal is slow to make files for minutes after some were removed.
func (h *hall) once(e *entry) (s sample, err error) {
	dir, err := h.folder()
	if err != nil {
		return s, err
	}
	if s, err = h.in(dir, e); err != nil {
		return s, err
	}
	return s, e.check(e.mailbox, dir)
}

// folder makes a folder for a run.
func (h *hall) folder() (string, error) {
	h.runs++
	dir := filepath.Join(h.dir, fmt.Sprint("run", h.runs))
	// getmail delivers as another user than root.
	return dir, os.Mkdir(dir, 0o755)
}

// in runs a program in a folder.
func (h *hall) in(dir string, e *entry) (sample, error) {
	command, err := e.command(h, dir, e.from, e.mailbox)
	if err != nil {
		return sample{}, err
	}
	trips, received := h.through()
	s, err := execute(h.ctx, dir, e.limit, command, "BENCH_PASSWORD="+password)
	s.trips, s.received = h.through()
	s.trips -= trips
	s.received -= received
	return s, err
}

// through returns the round trips, and the bytes from the server, that have gone
// through the proxies.
func (h *hall) through() (trips int, received int64) {
	for _, proxy := range []*faultnet.Proxy{h.proxyIMAP, h.proxyPOP3} {
		stats := proxy.Stats()
		trips, received = trips+stats.Trips, received+stats.Down
	}
	return trips, received
}
