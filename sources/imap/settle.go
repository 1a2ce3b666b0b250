package imap

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
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
// Move uses MOVE (RFC 6851), which may be repeated: what has been moved is no
// longer there. Without it Move uses COPY and UID EXPUNGE (RFC 4315), and first
// looks for the messages in the target: one that is there already, as after an
// answer that was lost, is not copied again. It is known by its date of arrival,
// its size and its first 64 KiB; of messages that are the same in all of these
// each is copied, except that after a restart one may be taken for the copy of the
// other. What is moved is not marked as deleted afterwards, whoever had marked it.
//
// Plain EXPUNGE and CLOSE are never sent: they would remove what somebody else has
// marked as deleted. Delete always removes for good.
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
	t := &settlement{conn: held.conn, folder: folder, validity: held.selected.validity, action: action, done: done,
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
		case k.validity != t.validity:
			done(text, nil)
		default:
			set.AddNum(k.uid)
		}
	}
	for _, chunk := range chunks(set, settleBatch) {
		if err := t.batch(ctx, chunk, apply); err != nil {
			var whole *wholeError
			if errors.As(err, &whole) {
				return whole.error
			}
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
	// validity is the UIDVALIDITY that the UIDs belong to.
	validity uint32
	action   sources.Action
	done     func(string, error)
	doing    string
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
		sources.ClassOf(err) != sources.Temporary || errors.As(err, new(*wholeError)) || !t.usable() {
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

func (t *settlement) key(uid goimap.UID) string { return key{t.validity, uid}.String() }

func (t *settlement) mark(ctx context.Context, set goimap.UIDSet, flag goimap.Flag) error {
	return t.run(ctx, t.doing, func(client *imapclient.Client) error {
		return sendMark(client, set, goimap.StoreFlagsAdd, flag).Close()
	})
}

func sendMark(client *imapclient.Client, set goimap.UIDSet, op goimap.StoreFlagsOp, flag goimap.Flag) *imapclient.FetchCommand {
	return client.Store(set, &goimap.StoreFlags{Op: op, Silent: true, Flags: []goimap.Flag{flag}}, nil)
}

// move performs UID MOVE (RFC 6851).
func (t *settlement) move(ctx context.Context, set goimap.UIDSet) (goimap.UIDSet, error) {
	var moved goimap.UIDSet
	err := t.toTarget(ctx, func(client *imapclient.Client, target string) error {
		var moving *imapclient.MoveCommand
		return t.unmarked(client, set, target, func() { moving = client.Move(set, target) }, func() error {
			data, err := moving.Wait()
			if err == nil {
				moved, _ = data.SourceUIDs.(goimap.UIDSet)
			}
			return err
		})
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

// unmarked performs a command that takes messages to the target, with their
// flags. That they are marked as deleted, if they are, must not go with them:
// the target would lose them the next time that somebody expunges. The mark is
// taken off in the same round trip; that of the answers which is awaited last is
// the command's.
func (t *settlement) unmarked(client *imapclient.Client, set goimap.UIDSet, target string, send func(), wait func() error) error {
	unmarking := func() error { return nil }
	t.together(func() {
		if t.keeps(goimap.FlagDeleted) {
			unmarking = sendMark(client, set, goimap.StoreFlagsDel, goimap.FlagDeleted).Close
		}
		send()
	}, target)
	unmarked := unmarking()
	return cmp.Or(wait(), unmarked)
}

// keeps reports whether the folder may have messages with the flag.
func (t *settlement) keeps(flag goimap.Flag) bool {
	return len(t.selected.permanent) == 0 || slices.Contains(t.selected.permanent, flag)
}

// remove expunges the messages. What is still listed is asked afterwards: sent
// along, the question may be answered with what was there before.
func (t *settlement) remove(ctx context.Context, set goimap.UIDSet) (goimap.UIDSet, error) {
	if err := t.expunge(ctx, set); err != nil {
		return nil, err
	}
	return t.listed(ctx, set)
}

// expunge marks the messages as deleted and expunges these only (RFC 4315 2.1),
// in one round trip. If the server refuses the mark, those of the set are
// expunged that have it already, which is what was wanted of them.
func (t *settlement) expunge(ctx context.Context, set goimap.UIDSet) error {
	if len(set) == 0 {
		return nil
	}
	return t.run(ctx, t.doing, func(client *imapclient.Client) error {
		var (
			marking   *imapclient.FetchCommand
			expunging *imapclient.ExpungeCommand
		)
		t.together(func() {
			marking = sendMark(client, set, goimap.StoreFlagsAdd, goimap.FlagDeleted)
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
		err := t.run(ctx, doing, func(client *imapclient.Client) error { return client.Create(name, nil).Wait() })
		var status *goimap.Error
		if errors.As(err, &status) && status.Code == goimap.ResponseCodeAlreadyExists {
			return nil // another connection was faster (RFC 5530)
		}
		return err
	}
	err = create(target)
	var status *goimap.Error
	if errors.As(err, &status) && t.usable() {
		// Not every server says ALREADYEXISTS.
		if found, lookErr := t.lookup(ctx, []string{path}); lookErr == nil && len(found) > 0 {
			err = nil
		}
	}
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
