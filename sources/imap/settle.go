package imap

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"postroom/sources"
)

// settleBatch bounds the messages of one command.
const settleBatch = 500

// Settle implements [sources.Source].
//
// A key from before a change of UIDVALIDITY names no message any more and is
// settled: the message, if it is still there, is listed again under its new key.
// Move uses MOVE (RFC 6851), else COPY and UID EXPUNGE (RFC 4315); a message
// that then is marked as deleted already, as after a crash in between, is not
// copied again. Plain EXPUNGE and CLOSE are never sent: they would remove what
// somebody else has marked as deleted. Delete always removes for good.
func (s *Source) Settle(ctx context.Context, folder sources.Folder, keys []string, action sources.Action, done func(string, error)) error {
	if action.Verb == sources.Keep {
		for _, key := range keys {
			done(key, nil)
		}
		return nil
	}
	ctx, finish, err := s.pool.bind(ctx)
	if err != nil {
		return s.explain("settle messages", err)
	}
	defer finish()
	held, err := s.beginFolder(ctx, folder.Path, true, s.listed(folder))
	if err != nil {
		return err
	}
	defer held.release()
	t := &settlement{conn: held.conn, folder: folder, action: action, done: done,
		doing: fmt.Sprintf("%s messages of folder %q", verbs[action.Verb], folder.Path)}
	apply, err := t.method()
	if err != nil {
		return err
	}
	var set goimap.UIDSet
	for _, text := range keys {
		k, err := parseKey(text)
		switch {
		case err != nil:
			done(text, s.error(sources.Permanent, t.doing, err))
		case k.validity != held.selected.validity:
			done(text, nil)
		default:
			set.AddNum(k.uid)
		}
	}
	for _, chunk := range chunks(set, settleBatch) {
		if err := t.batch(ctx, chunk, apply); err != nil {
			return err
		}
	}
	return nil
}

var verbs = map[sources.Verb]string{sources.MarkRead: "mark", sources.Move: "move", sources.Delete: "delete"}

// settlement is one call of Settle.
type settlement struct {
	*conn
	folder sources.Folder
	action sources.Action
	done   func(string, error)
	doing  string
}

// apply performs the action on messages and returns those on which the server
// did not.
type apply func(context.Context, goimap.UIDSet) (left goimap.UIDSet, err error)

// method returns how the action is performed on this server.
func (t *settlement) method() (apply, error) {
	expunges := t.caps.Has(goimap.CapUIDPlus)
	switch t.action.Verb {
	case sources.MarkRead:
		return func(ctx context.Context, set goimap.UIDSet) (goimap.UIDSet, error) {
			return nil, t.mark(ctx, set, goimap.FlagSeen)
		}, nil
	case sources.Move:
		if t.action.Target == t.folder.Path {
			return nil, t.source.error(sources.Permanent, t.doing, errors.New("the target is the folder itself"))
		}
		switch {
		case t.caps.Has(goimap.CapMove):
			return t.move, nil
		case expunges:
			return t.copy, nil
		}
		return nil, t.source.error(sources.Permanent, t.doing, errors.New("the server offers neither MOVE nor UIDPLUS")).
			WithRemedy("use after_filing: keep or mark_read: without these the server can only remove all messages " +
				"that anybody has marked as deleted")
	case sources.Delete:
		if expunges {
			return t.remove, nil
		}
		return nil, t.source.error(sources.Permanent, t.doing, errors.New("the server does not offer UIDPLUS")).
			WithRemedy("use after_filing: keep or mark_read: without it the server can only remove all messages " +
				"that anybody has marked as deleted")
	default:
		return nil, t.source.error(sources.Permanent, "settle messages", fmt.Errorf("unknown disposition %q", t.action.Verb))
	}
}

// batch settles the messages of the set. If the server refuses the set without
// saying that it would refuse any, its halves are tried.
func (t *settlement) batch(ctx context.Context, set goimap.UIDSet, apply apply) error {
	left, err := apply(ctx, set)
	if err == nil {
		each(set, func(uid goimap.UID) {
			var unsettled error
			if left.Contains(uid) {
				unsettled = t.source.error(sources.Temporary, t.doing,
					fmt.Errorf("message %s: the server reports success, but still lists the message", t.key(uid)))
			}
			t.done(t.key(uid), unsettled)
		})
		return nil
	}
	var status *goimap.Error
	if !errors.As(err, &status) || status.Type != goimap.StatusResponseTypeNo || status.Code != "" ||
		sources.ClassOf(err) != sources.Temporary || !t.usable() {
		return err
	}
	if count(set) == 1 {
		t.done(t.key(set[0].Start), err)
		return nil
	}
	head, tail := split(set, int(count(set)/2))
	if err := t.batch(ctx, head, apply); err != nil {
		return err
	}
	return t.batch(ctx, tail, apply)
}

func (t *settlement) key(uid goimap.UID) string { return key{t.selected.validity, uid}.String() }

func (t *settlement) mark(ctx context.Context, set goimap.UIDSet, flag goimap.Flag) error {
	return t.run(ctx, t.doing, func(client *imapclient.Client) error { return t.sendMark(client, set, flag).Close() })
}

func (t *settlement) sendMark(client *imapclient.Client, set goimap.UIDSet, flag goimap.Flag) *imapclient.FetchCommand {
	return client.Store(set, &goimap.StoreFlags{Op: goimap.StoreFlagsAdd, Silent: true, Flags: []goimap.Flag{flag}}, nil)
}

// move performs UID MOVE (RFC 6851).
func (t *settlement) move(ctx context.Context, set goimap.UIDSet) (goimap.UIDSet, error) {
	var moved goimap.UIDSet
	err := t.toTarget(ctx, func(client *imapclient.Client, target string) error {
		data, err := client.Move(set, target).Wait()
		if err != nil {
			return err
		}
		moved, _ = data.SourceUIDs.(goimap.UIDSet)
		return nil
	})
	if err != nil {
		return nil, err
	}
	unproved := minus(set, moved)
	if len(unproved) == 0 {
		return nil, nil
	}
	return t.listed(ctx, unproved)
}

// copy performs COPY, and then removes what was copied.
func (t *settlement) copy(ctx context.Context, set goimap.UIDSet) (goimap.UIDSet, error) {
	marked, err := t.search(ctx, t.folder.Path, &goimap.SearchCriteria{
		UID: []goimap.UIDSet{set}, Flag: []goimap.Flag{goimap.FlagDeleted},
	})
	if err != nil {
		return nil, err
	}
	copies := minus(set, marked)
	if len(copies) > 0 {
		err := t.toTarget(ctx, func(client *imapclient.Client, target string) error {
			_, err := client.Copy(copies, target).Wait()
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return t.remove(ctx, set)
}

// remove marks the messages as deleted and expunges these only (RFC 4315 2.1),
// in one round trip. If the server refuses the mark, those of the set are
// expunged that have it already, which is what was wanted of them. What is still
// listed is asked afterwards: sent along, the question may be answered with what
// was there before.
func (t *settlement) remove(ctx context.Context, set goimap.UIDSet) (goimap.UIDSet, error) {
	err := t.run(ctx, t.doing, func(client *imapclient.Client) error {
		var (
			marking   *imapclient.FetchCommand
			expunging *imapclient.ExpungeCommand
		)
		t.together(func() {
			marking = t.sendMark(client, set, goimap.FlagDeleted)
			expunging = client.UIDExpunge(set)
		})
		// Whichever the server answers first: each is drained at once.
		var (
			draining sync.WaitGroup
			expunged error
		)
		draining.Go(func() { expunged = expunging.Close() })
		marked := marking.Close()
		draining.Wait()
		return cmp.Or(marked, expunged)
	})
	if err != nil {
		return nil, err
	}
	return t.listed(ctx, set)
}

// listed returns the messages of the set that are still in the folder.
func (t *settlement) listed(ctx context.Context, set goimap.UIDSet) (goimap.UIDSet, error) {
	return t.search(ctx, t.folder.Path, &goimap.SearchCriteria{UID: []goimap.UIDSet{set}})
}

// toTarget performs a command that names the target folder. If the server
// refuses it because there is no such folder, it is created, and the command
// repeated.
func (t *settlement) toTarget(ctx context.Context, f func(client *imapclient.Client, target string) error) error {
	target, err := t.mailbox(ctx, t.action.Target)
	if err != nil {
		return err
	}
	doing := fmt.Sprintf("%s to %q", t.doing, t.action.Target)
	run := func() error {
		return t.run(ctx, doing, func(client *imapclient.Client) error { return f(client, target) })
	}
	err = run()
	var status *goimap.Error
	if !errors.As(err, &status) || status.Type != goimap.StatusResponseTypeNo {
		return err
	}
	switch status.Code {
	case goimap.ResponseCodeTryCreate, goimap.ResponseCodeNonExistent:
	case "":
		// Not every server says TRYCREATE (RFC 9051 6.4.7).
		found, lookErr := t.lookup(ctx, []string{t.action.Target})
		if lookErr != nil || len(found) > 0 {
			return err
		}
	default:
		return err
	}
	if err := t.create(ctx, t.action.Target); err != nil {
		return err
	}
	return run()
}

// create creates a folder and subscribes to it, so that mail programs show it.
func (t *settlement) create(ctx context.Context, path string) error {
	target, err := t.mailbox(ctx, path)
	if err != nil {
		return err
	}
	doing := fmt.Sprintf("create folder %q", path)
	create := func(name string) error {
		return t.run(ctx, doing, func(client *imapclient.Client) error { return client.Create(name, nil).Wait() })
	}
	err = create(target)
	if err != nil && t.usable() {
		parsed, parseErr := sources.ParsePath(path)
		if parseErr != nil || len(parsed) == 1 {
			return err
		}
		// The server may not create the folders above by itself (RFC 9051 6.3.4).
		for n := 1; n < len(parsed); n++ {
			parent, nameErr := t.mailbox(ctx, parsed[:n].String())
			if nameErr != nil {
				return nameErr
			}
			// Most are there already; what matters is whether the last succeeds.
			if parentErr := create(parent); broken(parentErr) {
				return parentErr
			}
		}
		err = create(target)
	}
	var status *goimap.Error
	if errors.As(err, &status) && status.Code == goimap.ResponseCodeAlreadyExists {
		err = nil
	}
	if err != nil {
		return err
	}
	err = t.run(ctx, doing, func(client *imapclient.Client) error { return client.Subscribe(target).Wait() })
	if errors.As(err, &status) {
		// The folder serves its purpose unsubscribed.
		return nil
	}
	return err
}
