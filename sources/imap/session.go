package imap

import (
	"context"
	"time"

	"github.com/emersion/go-imap/v2/imapclient"
	"go.uber.org/zap"
)

// session is a connection held by a call.
type session struct {
	*conn
	release func()
}

// begin waits for a connection and performs first on it, a command that may be
// repeated. If a kept connection turns out to be dead then, a new one takes its
// place, once.
// Of the kept connections it prefers one that has the folder.
func (s *Source) begin(ctx context.Context, prefer wish, first func(*conn) error) (*session, error) {
	if err := s.pool.slot(ctx); err != nil {
		return nil, s.explain("wait for a connection", err)
	}
	return s.beginHere(ctx, prefer, first)
}

// wish is a folder that a connection had better have selected.
type wish struct {
	path     string
	writable bool
}

// beginHere is begin for a caller that holds a slot, which it gives back when
// it fails.
func (s *Source) beginHere(ctx context.Context, prefer wish, first func(*conn) error) (*session, error) {
	if c := s.pool.take(prefer); c != nil {
		err := first(c)
		if err == nil {
			return s.hold(c), nil
		}
		if !broken(err) || ctx.Err() != nil {
			s.pool.put(c)
			return nil, err
		}
		s.log.Debug("a kept connection was dead", zap.Error(err))
		c.close()
	}
	c, err := s.pool.dial(ctx)
	if err != nil {
		s.pool.put(nil)
		return nil, err
	}
	if err := first(c); err != nil {
		s.pool.put(c)
		return nil, err
	}
	return s.hold(c), nil
}

func (s *Source) hold(c *conn) *session {
	return &session{conn: c, release: func() { s.pool.put(c) }}
}

// beginFolder is begin with the folder selected, no earlier than since.
func (s *Source) beginFolder(ctx context.Context, path string, writable bool, since time.Time) (*session, error) {
	return s.begin(ctx, wish{path, writable}, func(c *conn) error { return c.open(ctx, path, writable, since) })
}

// beginAny is begin without a folder.
func (s *Source) beginAny(ctx context.Context) (*session, error) {
	return s.begin(ctx, wish{}, func(c *conn) error {
		return c.run(ctx, "check the connection", func(client *imapclient.Client) error { return client.Noop().Wait() })
	})
}
