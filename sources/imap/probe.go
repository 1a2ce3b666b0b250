package imap

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"postroom/sources"
)

// Probe implements [sources.Prober].
func (s *Source) Probe(ctx context.Context, report func(sources.Step)) {
	ctx, done, err := s.pool.bind(ctx)
	if err != nil {
		report(sources.Step{Name: "name", Err: s.explain("check", err)})
		return
	}
	defer done()
	if !s.probeTokens(ctx, report) {
		return
	}
	addrs, err := s.host.Lookup(ctx)
	if err != nil {
		report(sources.Step{Name: "name", Err: s.explain("look up the server", err)})
		return
	}
	report(sources.Step{Name: "name", Detail: s.host.Name + " is " + strings.Join(addrs, ", ")})
	if err := s.pool.slot(ctx); err != nil {
		report(sources.Step{Name: "tcp", Err: s.explain("wait for a connection", err)})
		return
	}
	defer s.pool.put(nil)
	if unused := s.pool.take(wish{}); unused != nil {
		unused.logout()
	}
	c, err := s.connect(ctx, report)
	if err != nil {
		return
	}
	defer c.logout()
	if s.probeFolders(ctx, c, report) {
		report(s.probeDisposition(ctx, c))
	}
}

func (s *Source) probeFolders(ctx context.Context, c *conn, report func(sources.Step)) bool {
	folders, err := s.resolve(ctx, c)
	if err != nil {
		report(sources.Step{Name: "folder", Err: err})
		return false
	}
	for _, folder := range folders {
		if err := c.open(ctx, folder.Path, false, time.Now()); err != nil {
			report(sources.Step{Name: "folder", Err: err})
			return false
		}
		report(sources.Step{Name: "folder", Detail: fmt.Sprintf("%s, %d messages", folder.Path, c.selected.exists)})
	}
	if len(folders) == 0 {
		report(sources.Step{Name: "folder", Detail: "no folder matches now"})
	}
	return true
}

// probeDisposition checks, without changing anything, that the disposition can
// be applied in the folder opened last.
func (s *Source) probeDisposition(ctx context.Context, c *conn) sources.Step {
	step := sources.Step{Name: "disposition"}
	verb := s.cfg.AfterFiling
	if step.Err = s.probeTargets(ctx, c); step.Err != nil {
		return step
	}
	switch verb {
	case "", sources.Keep:
		step.Detail = "messages are kept"
		return step
	case sources.MarkRead:
		step.Detail = "messages are marked as read"
	case sources.Move:
		step.Detail = "messages are moved to " + s.cfg.FiledFolder
	case sources.Delete:
		step.Detail = "messages are deleted"
	}
	t := &settlement{conn: c, action: sources.Action{Verb: verb, Target: s.cfg.FiledFolder}, doing: fmt.Sprintf("check %s", verb)}
	if _, err := t.method(); err != nil {
		step.Err = err
		return step
	}
	if c.selected.path == "" {
		return step
	}
	// SELECT, for EXAMINE never gives permanent flags. It changes \Recent only.
	if err := c.open(ctx, c.selected.path, true, time.Now()); err != nil {
		step.Err = err
		return step
	}
	needed := goimap.FlagSeen
	if verb == sources.Delete || verb == sources.Move && !c.caps.Has(goimap.CapMove) {
		needed = goimap.FlagDeleted
	}
	if verb != sources.Move || !c.caps.Has(goimap.CapMove) {
		if !slices.Contains(c.selected.permanent, needed) {
			step.Err = s.error(sources.Permission, step.Name,
				fmt.Errorf("folder %q is read-only: the server does not let %s be set", c.selected.path, needed)).
				WithRemedy("ask the mailbox's owner for the right to change messages, or use after_filing: keep")
			return step
		}
	}
	step.Err = s.probeRights(ctx, c, verb)
	return step
}

// probeTargets checks that the server can have the folders that messages are
// moved to. They need not exist.
func (s *Source) probeTargets(ctx context.Context, c *conn) error {
	for _, target := range []struct{ key, path string }{
		{"filed_folder", s.cfg.FiledFolder}, {"failed_folder", s.cfg.FailedFolder},
	} {
		if target.path == "" {
			continue
		}
		path, err := sources.ParsePath(target.path)
		if err != nil {
			return s.error(sources.Permanent, "check "+target.key, err)
		}
		delimiter, err := c.separator(ctx)
		if err != nil {
			return err
		}
		if _, err := nameOf(path, delimiter); err != nil {
			return s.error(sources.Permanent, "check "+target.key, err).
				WithRemedy("set %s to a folder that the server can have", target.key)
		}
	}
	return nil
}

// probeRights asks for the rights to the opened folder (RFC 4314), if the
// server tells them.
func (s *Source) probeRights(ctx context.Context, c *conn, verb sources.Verb) error {
	if !c.caps.Has(goimap.CapACL) {
		return nil
	}
	name, err := c.mailbox(ctx, c.selected.path)
	if err != nil {
		return err
	}
	var rights goimap.RightSet
	err = c.run(ctx, "ask for rights", func(client *imapclient.Client) error {
		data, err := client.MyRights(name).Wait()
		if err == nil {
			rights = data.Rights
		}
		return err
	})
	var status *goimap.Error
	if errors.As(err, &status) {
		// A server may offer ACL and refuse it for a folder; it then tells nothing.
		return nil
	} else if err != nil {
		return err
	}
	needed := map[sources.Verb]string{sources.MarkRead: "s", sources.Move: "te", sources.Delete: "te"}[verb]
	for _, right := range needed {
		// "d" is what RFC 2086 had for both.
		if !strings.ContainsRune(string(rights), right) && !(right != 's' && strings.Contains(string(rights), "d")) {
			return s.error(sources.Permission, "check rights",
				fmt.Errorf("folder %q: the right %q is missing, there are %q", c.selected.path, string(right), string(rights))).
				WithRemedy("ask the mailbox's owner to grant it, or use after_filing: keep")
		}
	}
	return nil
}
