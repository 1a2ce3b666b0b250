package imap

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"postroom/sources"
)

// conn is one signed-in connection. It is used by one goroutine at a time.
type conn struct {
	source *Source
	stream *stream
	client *imapclient.Client
	caps   goimap.CapSet
	// news holds a value once the server has told of a change in the number of
	// messages.
	news chan struct{}
	// unusable is set when the connection must not be used again.
	unusable bool
	// answered is when the server has last answered a command to its end.
	answered time.Time
	selected opened
}

// opened is the folder that is selected on a connection.
type opened struct {
	path     string
	writable bool
	at       time.Time
	counters
	permanent []goimap.Flag
}

// counters tell, together, whether a folder has changed.
type counters struct {
	validity uint32
	next     goimap.UID
	exists   uint32
}

func (s *Source) newConn(stream *stream) *conn {
	c := &conn{source: s, stream: stream, news: make(chan struct{}, 1)}
	c.client = imapclient.New(stream, &imapclient.Options{
		UnilateralDataHandler: &imapclient.UnilateralDataHandler{
			Mailbox: func(data *imapclient.UnilateralDataMailbox) {
				if data.NumMessages == nil {
					return
				}
				select {
				case c.news <- struct{}{}:
				default:
				}
			},
		},
	})
	return c
}

// run performs a command that streams nothing, within Timeouts.Command.
func (c *conn) run(ctx context.Context, doing string, f func(*imapclient.Client) error) error {
	limit := c.source.cfg.Timeouts.Command
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("no complete answer within %v", limit))
	defer cancel()
	return c.follow(ctx, doing, f)
}

// follow performs a command for as long as the server goes on answering. When
// the context ends the connection is cut, which ends every wait in f.
func (c *conn) follow(ctx context.Context, doing string, f func(*imapclient.Client) error) error {
	if err := ctx.Err(); err != nil {
		return c.source.explain(doing, context.Cause(ctx))
	}
	if err := c.stream.bottom.Begin(); err != nil {
		return c.lost(doing, err)
	}
	stop := context.AfterFunc(ctx, c.abort)
	err := f(c.client)
	if !stop() {
		c.unusable = true
		return c.source.explain(doing, context.Cause(ctx))
	}
	if endErr := c.stream.bottom.End(); err == nil && endErr != nil {
		return c.lost(doing, endErr)
	}
	var (
		status *goimap.Error
		ours   *callerError
	)
	switch {
	case err == nil:
		c.answered = time.Now()
		return nil
	case errors.As(err, &ours):
		return ours
	case errors.As(err, &status):
		if notConnected(status) {
			// It stays so for the life of the connection.
			c.unusable = true
			c.source.noRole(ctx)
		}
		return c.source.explain(doing, err)
	case c.stream.failure() != nil:
		return c.lost(doing, c.stream.failure())
	default:
		c.unusable = true
		err = firstLine(err)
		if shown := c.source.hide(err.Error()); shown != err.Error() {
			err = errors.New(shown)
		}
		return c.source.explain(doing, &protocolError{err})
	}
}

// together sends the commands that send begins in one piece. They may name the
// mailboxes only: for a name that is sent as a literal the client would wait for
// the server's consent (RFC 9051 4.3), so that then they are sent one by one.
func (c *conn) together(send func(), mailboxes ...string) {
	for _, name := range mailboxes {
		if len(name) > 1000 || strings.ContainsAny(name, "\x00\r\n") {
			send()
			return
		}
	}
	c.stream.hold()
	send()
	if c.stream.release() != nil {
		// The error is the stream's; whoever waits for an answer is told.
		c.abort()
	}
}

func (c *conn) lost(doing string, err error) error {
	c.unusable = true
	return c.source.explain(doing, &lostError{err})
}

// callerError carries an error of the caller's function, which is none of the
// server's whatever it wraps.
type callerError struct{ err error }

func (e *callerError) Error() string { return e.err.Error() }
func (e *callerError) Unwrap() error { return e.err }

// bare returns err as the caller's function returned it.
func bare(err error) error {
	var ours *callerError
	if errors.As(err, &ours) {
		return ours.err
	}
	return err
}

// abort cuts the connection.
func (c *conn) abort() {
	// The raw connection: closing TLS would first write, and wait.
	c.stream.bottom.Conn.Close()
}

// fail cuts the connection and waits for its reader. It is to be called after a
// literal could not be read to its end: the IMAP client then reads what is left
// of it while its reader, which no longer waits for that, may still be at it.
func (c *conn) fail() {
	c.unusable = true
	c.abort()
	<-c.client.Closed()
}

// close ends the connection without ceremony and waits for its reader.
func (c *conn) close() {
	c.abort()
	// The error is that of the connection just cut.
	_ = c.client.Close()
}

// logout ends the connection politely, within a second.
func (c *conn) logout() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	// Whatever the server says to it, the connection is closed.
	_ = c.run(ctx, "log out", func(client *imapclient.Client) error { return client.Logout().Wait() })
	c.close()
}

// usable reports whether the connection may be used for another call.
func (c *conn) usable() bool {
	select {
	case <-c.client.Closed():
		return false
	default:
		return !c.unusable
	}
}

// has reports whether the folder is selected. A folder opened writable serves
// readers too.
func (c *conn) has(path string, writable bool) bool {
	return c.selected.path == path && (c.selected.writable || !writable)
}

// open selects the folder unless it was selected since the given time. Nil means
// that the connection is alive.
func (c *conn) open(ctx context.Context, path string, writable bool, since time.Time) error {
	if c.has(path, writable) && !c.selected.at.Before(since) {
		if time.Since(c.answered) < c.source.cfg.Timeouts.Trust {
			return nil
		}
		return c.run(ctx, fmt.Sprintf("open folder %q", path), func(client *imapclient.Client) error { return client.Noop().Wait() })
	}
	return c.openAnd(ctx, path, writable, nil)
}

// openAnd selects the folder and, in the same round trip, performs a further
// command: then sends it, and returns what waits for its end. A server does
// nothing of a command that needs a folder if it could not select it (RFC 9051
// 6.3.2: no mailbox is selected then).
func (c *conn) openAnd(ctx context.Context, path string, writable bool, then func(*imapclient.Client) (wait func() error)) error {
	name, err := c.mailbox(ctx, path)
	if err != nil {
		return err
	}
	writable = writable || c.source.forgets.Load()
	at := time.Now()
	c.selected = opened{}
	select {
	case <-c.news:
	default:
	}
	var (
		data     *goimap.SelectData
		selected bool
	)
	doing := fmt.Sprintf("open folder %q", path)
	err = c.run(ctx, doing, func(client *imapclient.Client) error {
		var (
			selecting *imapclient.SelectCommand
			wait      = func() error { return nil }
			err       error
		)
		c.together(func() {
			selecting = client.Select(name, &goimap.SelectOptions{ReadOnly: !writable})
			if then != nil {
				wait = then(client)
			}
		}, name)
		data, err = selecting.Wait()
		selected = err == nil
		return cmp.Or(err, wait())
	})
	if err != nil && !selected {
		return c.explainOpen(ctx, path, name, err)
	}
	if data.UIDValidity == 0 {
		return c.source.error(sources.Permanent, doing, errors.New("the server gives no UIDVALIDITY, without which messages cannot be told apart"))
	}
	if !writable && data.UIDNext == 0 {
		// Courier forgets the UIDs, with UIDVALIDITY, that new messages got in a folder
		// that was only looked at, so that each connection would find new ones. It is
		// known by that it does not tell the next one.
		c.source.forgets.Store(true)
		return c.openAnd(ctx, path, true, then)
	}
	c.selected = opened{
		path: path, writable: writable, at: at, permanent: data.PermanentFlags,
		counters: counters{validity: data.UIDValidity, next: data.UIDNext, exists: data.NumMessages},
	}
	return err
}

// explainOpen tells a folder that does not exist from one that is refused.
func (c *conn) explainOpen(ctx context.Context, path, name string, err error) error {
	var status *goimap.Error
	if !errors.As(err, &status) || status.Type != goimap.StatusResponseTypeNo || sources.ClassOf(err) != sources.Temporary &&
		sources.ClassOf(err) != sources.NotFound {
		return err
	}
	if sources.ClassOf(err) == sources.Temporary {
		if status.Code != "" {
			return err
		}
		found, listErr := c.lookup(ctx, []string{path})
		if listErr != nil || len(found) > 0 {
			// It exists, or nobody knows: the server's own words say most.
			return err
		}
	}
	parsed, parseErr := sources.ParsePath(path)
	if parseErr != nil {
		return err
	}
	var names []string
	// The names are a courtesy: without them the error still says enough.
	all, _ := c.list(ctx, false, "*")
	for _, info := range all {
		names = append(names, info.Path)
	}
	missing := sources.NoFolder(parsed, names)
	return c.source.error(sources.NotFound, fmt.Sprintf("open folder %q", path), status).WithRemedy("%s", missing.Remedy)
}
