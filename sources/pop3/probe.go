package pop3

import (
	"context"
	"fmt"
	"strings"

	"postroom/internal/oauth"
	"postroom/sources"
)

// Probe implements [sources.Prober].
func (s *Source) Probe(ctx context.Context, report func(sources.Step)) {
	ctx, done, err := s.begin(ctx, "check")
	if err != nil {
		report(sources.Step{Name: "name", Err: err})
		return
	}
	defer done()
	if s.cfg.Tokens != nil && !oauth.Probe(ctx, s.cfg.Tokens, func(name, detail string, err error) {
		report(sources.Step{Name: name, Detail: detail, Err: err})
	}) {
		return
	}
	addrs, err := s.host.Lookup(ctx)
	if err != nil {
		report(sources.Step{Name: "name", Err: s.explain("look up the server", err)})
		return
	}
	report(sources.Step{Name: "name", Detail: s.host.Name + " is " + strings.Join(addrs, ", ")})
	s.mu.Lock()
	kept := s.takeKept()
	s.mu.Unlock()
	if kept != nil {
		kept.leave()
	}
	held, err := s.connect(ctx, report)
	if err != nil {
		return
	}
	defer held.leave()
	if err := held.load(ctx); err != nil {
		report(sources.Step{Name: "folder", Err: err})
		return
	}
	n := len(held.drop.listed)
	report(sources.Step{Name: "folder", Detail: fmt.Sprintf("%s, %d messages", sources.Inbox, n)})
	step := sources.Step{Name: "disposition", Detail: "messages are kept"}
	if s.cfg.AfterFiling == sources.Delete {
		step.Detail = "messages are deleted"
	}
	if n > 0 && !held.drop.hasIDs {
		step.Detail += "; the server gives messages no ids (UIDL), so that each poll reads the header of every message there is"
		if s.cfg.AfterFiling != sources.Delete {
			step.Detail += ": after_filing: delete keeps them few"
		}
	}
	report(step)
}
