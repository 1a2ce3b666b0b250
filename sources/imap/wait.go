package imap

import (
	"context"
	"errors"
	"fmt"
	"time"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"postroom/sources"
)

// Wait implements [sources.Waiter] with IDLE (RFC 2177), or by asking every
// Timeouts.Poll where the server does not offer it. It returns at once if the
// folder has changed since it was last listed.
func (s *Source) Wait(ctx context.Context, folder sources.Folder) error {
	ctx, done, err := s.pool.bind(ctx)
	if err != nil {
		return s.explain("wait for mail", err)
	}
	defer done()
	held, err := s.beginFolder(ctx, folder.Path, false, time.Now())
	if err != nil {
		return err
	}
	defer held.release()
	s.mu.Lock()
	last, known := s.looks[folder.Path]
	s.mu.Unlock()
	if known && last.counters != held.selected.counters {
		return nil
	}
	stay, leave := s.pool.guest(ctx, held.conn)
	defer leave()
	stay, cancel := context.WithTimeout(stay, s.cfg.Timeouts.Idle)
	defer cancel()
	doing := fmt.Sprintf("wait for mail in folder %q", folder.Path)
	if held.caps.Has(goimap.CapIdle) {
		err = held.idle(ctx, stay, doing)
	} else {
		err = held.poll(ctx, stay, doing)
	}
	// What arrived now is for the next listing to find.
	held.selected = opened{}
	return err
}

// idle waits for news until stay ends, which ends with ctx.
func (c *conn) idle(ctx, stay context.Context, doing string) error {
	var command *imapclient.IdleCommand
	err := c.run(ctx, doing, func(client *imapclient.Client) error {
		var err error
		command, err = client.Idle()
		return err
	})
	if err != nil {
		return err
	}
	select {
	case <-c.news:
	case <-stay.Done():
	case <-c.client.Closed():
	}
	// The folder stays selected after DONE: ending in good order takes one
	// round trip, and keeps the connection.
	end, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), time.Second, errors.New("IDLE does not end"))
	defer cancel()
	err = c.run(end, doing, func(*imapclient.Client) error {
		if err := command.Close(); err != nil {
			return err
		}
		return command.Wait()
	})
	if err == nil && ctx.Err() != nil {
		return c.source.explain(doing, context.Cause(ctx))
	}
	return err
}

// poll asks for news every Timeouts.Poll until stay ends, which ends with ctx.
func (c *conn) poll(ctx, stay context.Context, doing string) error {
	ticker := time.NewTicker(c.source.cfg.Timeouts.Poll)
	defer ticker.Stop()
	for {
		select {
		case <-c.news:
			return nil
		case <-stay.Done():
			if ctx.Err() != nil {
				return c.source.explain(doing, context.Cause(ctx))
			}
			return nil
		case <-c.client.Closed():
			return c.lost(doing, errors.Join(c.stream.failure(), errors.New("closed by the server")))
		case <-ticker.C:
		}
		err := c.run(ctx, doing, func(client *imapclient.Client) error { return client.Noop().Wait() })
		if err != nil {
			return err
		}
	}
}
