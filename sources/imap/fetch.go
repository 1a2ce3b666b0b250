package imap

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"sync"
	"time"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"postroom/sources"
)

const (
	// batchMessages and batchBytes bound the messages of one FETCH.
	batchMessages = 1000
	batchBytes    = 64 << 20
	// shareMessages and shareBytes are what is worth another connection.
	shareMessages = 64
	shareBytes    = 4 << 20
	// assumedSize stands for a size that the listing does not know.
	assumedSize = 256 << 10
	// maxReconnects bounds the connections that one Fetch spends on messages
	// over which the connection ends. Finding one takes at most ten.
	maxReconnects = 16
	// maxStreak is how many messages may in a row end the connection, each asked
	// for alone, before the server is to blame for it.
	maxStreak = 4
	// maxStrikes bounds the memory of such messages.
	maxStrikes = 1000
)

// Fetch implements [sources.Source]. Each connection has one FETCH under way,
// drained by one goroutine: with several, the server may hold back the end of
// the first until the body of the second has been read.
func (s *Source) Fetch(ctx context.Context, folder sources.Folder, refs []sources.Ref, deliver func(sources.Ref, *sources.Message) error) error {
	ctx, done, err := s.pool.bind(ctx)
	if err != nil {
		return s.explain("fetch messages", err)
	}
	defer done()
	f := &fetch{source: s, folder: folder, deliver: deliver, since: s.listed(folder), doing: fmt.Sprintf("fetch from folder %q", folder.Path)}
	wanted, err := f.sort(refs)
	if err != nil || len(wanted) == 0 {
		return bare(err)
	}
	held, err := s.beginFolder(ctx, folder.Path, false, f.since)
	if err != nil {
		return err
	}
	if wanted, err = f.current(held.selected.validity, wanted); err != nil || len(wanted) == 0 {
		held.release()
		return bare(err)
	}
	f.single = len(wanted) == 1
	f.plan(wanted)
	if err := f.run(ctx, held); err != nil {
		return bare(err)
	}
	return bare(f.convict())
}

// fetch is one call of Fetch.
type fetch struct {
	source   *Source
	folder   sources.Folder
	deliver  func(sources.Ref, *sources.Message) error
	since    time.Time
	doing    string
	validity uint32

	// single is that one message is wanted.
	single bool

	mu         sync.Mutex
	jobs       []job
	reconnects int
	// sound is that a message has been handed over.
	sound bool
	// suspects are the messages over which the connection ended again when they
	// were asked for alone, and streak is how many became so since a message was
	// last handed over.
	suspects []suspect
	streak   int
}

// suspect is a message over which the connection has ended with err.
type suspect struct {
	numbered
	err error
}

// job is a set of messages to fetch with one command.
type job struct {
	refs []numbered
	// accused is set when the connection has ended over the message before.
	// There is one message then.
	accused bool
	// halve is set when the message that ends the connection is not the first
	// that did not arrive.
	halve bool
}

type numbered struct {
	sources.Ref
	key
}

// length is the size of the message as far as it matters for a job: a guess if
// it is unknown, and at most that of a whole job.
func (n numbered) length() int64 {
	if n.Size < 0 {
		return assumedSize
	}
	return min(n.Size, batchBytes)
}

// ceil returns a/b, rounded up.
func ceil(a, b int64) int64 { return (a + b - 1) / b }

func (j job) set() goimap.UIDSet {
	var set goimap.UIDSet
	for _, ref := range j.refs {
		set.AddNum(ref.uid)
	}
	return set
}

// sort returns the refs in ascending order, each once, and answers for those
// that no listing can have returned.
func (f *fetch) sort(refs []sources.Ref) ([]numbered, error) {
	wanted := make([]numbered, 0, len(refs))
	for _, ref := range refs {
		k, err := parseKey(ref.Key)
		if err != nil {
			if err := f.refuse(ref, f.source.error(sources.Permanent, f.doing, err)); err != nil {
				return nil, err
			}
			continue
		}
		wanted = append(wanted, numbered{ref, k})
	}
	slices.SortFunc(wanted, func(a, b numbered) int {
		return cmp.Or(cmp.Compare(a.validity, b.validity), cmp.Compare(a.uid, b.uid))
	})
	return slices.CompactFunc(wanted, func(a, b numbered) bool { return a.key == b.key }), nil
}

// current returns the refs that name messages of the folder as it is numbered
// now, and delivers the others as gone.
func (f *fetch) current(validity uint32, wanted []numbered) ([]numbered, error) {
	f.validity = validity
	var valid []numbered
	for _, ref := range wanted {
		if ref.validity == validity {
			valid = append(valid, ref)
			continue
		}
		err := f.refuse(ref.Ref, f.source.error(sources.Gone, f.doing,
			fmt.Errorf("message %s: the folder has been renumbered (UIDVALIDITY %d)", ref.Key, validity)))
		if err != nil {
			return nil, err
		}
	}
	return valid, nil
}

// plan groups the messages into jobs: a like share of the bytes for each
// connection, as every further job costs a round trip. Messages that have ended a
// connection before come last, and alone, so that they hold up no other.
func (f *fetch) plan(wanted []numbered) {
	var (
		last  []job
		next  job
		size  int64
		total int64
	)
	for _, ref := range wanted {
		total += ref.length()
	}
	connections := int64(f.source.pool.limit())
	shares := min(connections, max(ceil(int64(len(wanted)), shareMessages), ceil(total, shareBytes)))
	share := min(batchBytes, max(1, ceil(total, shares)))
	flush := func() {
		if len(next.refs) > 0 {
			f.jobs = append(f.jobs, next)
		}
		next, size = job{}, 0
	}
	for _, ref := range wanted {
		if f.source.suspected(f.folder, ref.Key) {
			last = append(last, job{refs: []numbered{ref}, accused: true})
			continue
		}
		n := ref.length()
		if len(next.refs) == batchMessages || size >= share || size+n > batchBytes {
			flush()
		}
		next.refs = append(next.refs, ref)
		size += n
	}
	flush()
	f.jobs = append(f.jobs, last...)
}

// run fetches all jobs, on the held connection and on others that are free.
func (f *fetch) run(ctx context.Context, held *session) error {
	s := f.source
	group, ctx := errgroup.WithContext(ctx)
	helpers := min(s.pool.limit(), len(f.jobs)) - 1
	group.Go(func() error { return f.work(ctx, held, func() bool { return true }) })
	for range helpers {
		if !s.pool.trySlot() {
			break
		}
		group.Go(func() error {
			helper, err := s.beginHere(ctx, wish{f.folder.Path, false}, func(c *conn) error { return c.open(ctx, f.folder.Path, false, f.since) })
			if err != nil {
				// Many servers allow fewer connections than are configured; the
				// first one does the work.
				s.log.Debug("no further connection", zap.Error(err))
				return nil
			}
			return f.work(ctx, helper, func() bool { return !s.pool.contended() })
		})
	}
	return group.Wait()
}

// work does jobs on the connection while more allows it, and gives it back.
func (f *fetch) work(ctx context.Context, held *session, more func() bool) error {
	for more() {
		j, ok := f.next()
		if !ok {
			break
		}
		rest, err := f.attempt(ctx, held.conn, j)
		if len(rest) > 0 && (err == nil || refusal(err)) {
			rest, err = f.chase(ctx, held.conn, rest)
		}
		if err == nil {
			continue
		}
		if ctx.Err() != nil || !broken(err) && !errors.Is(err, errOversize) {
			held.release()
			return err
		}
		if err := f.reschedule(j, rest, err); err != nil {
			held.release()
			return err
		}
		if held.usable() {
			continue
		}
		held.release()
		if held, err = f.source.beginFolder(ctx, f.folder.Path, false, f.since); err != nil {
			return err
		}
		if held.selected.validity != f.validity {
			held.release()
			return f.source.error(sources.Temporary, f.doing, errors.New("the folder was renumbered meanwhile (UIDVALIDITY)"))
		}
	}
	held.release()
	return nil
}

func (f *fetch) next() (job, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.jobs) == 0 {
		return job{}, false
	}
	j := f.jobs[0]
	f.jobs = f.jobs[1:]
	return j, true
}

// errOversize ends a FETCH in which a message is larger than MaxMessage: its
// bytes are not worth reading, and they are in the way of the next.
var errOversize = errors.New("message larger than the limit")

// refusal reports whether err is the server's refusal of some message, rather
// than of any command.
func refusal(err error) bool {
	var status *goimap.Error
	if !errors.As(err, &status) || sources.ClassOf(err) != sources.Temporary {
		return false
	}
	switch status.Code {
	case goimap.ResponseCodeUnavailable, goimap.ResponseCodeInUse, goimap.ResponseCodeLimit:
		return false
	}
	return true
}

// reschedule decides how to go on with the messages of a job that are left
// after the connection ended with err. The first of them is accused: it is tried
// alone. If it is innocent, and the others end the connection before any of them
// arrives, the server loses what it had sent; then they are halved until one is
// found. One that ends the connection alone becomes a suspect.
func (f *fetch) reschedule(j job, rest []numbered, err error) error {
	if f.countReconnect() > maxReconnects {
		return err
	}
	switch {
	case len(rest) == 0:
	case errors.Is(err, errOversize):
		f.retry(job{refs: rest})
	case j.accused:
		f.source.strike(f.folder, rest[0].Key)
		return f.suspect(rest[0], err)
	case len(rest) == 1:
		f.retry(job{refs: rest, accused: true})
	case j.halve && len(rest) == len(j.refs):
		half := len(rest) / 2
		f.retry(job{refs: rest[:half], halve: true}, job{refs: rest[half:], halve: true})
	default:
		f.retry(job{refs: rest[:1], accused: true}, job{refs: rest[1:], halve: true})
	}
	return nil
}

// suspect notes that the connection ended with err when the message was asked
// for alone. It returns err if that befalls one message after the other: then it
// is the server that is in trouble, and none is to blame.
func (f *fetch) suspect(ref numbered, err error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.suspects = append(f.suspects, suspect{ref, err})
	f.streak++
	if f.streak > maxStreak || !f.sound && f.streak > 1 {
		return err
	}
	return nil
}

// convict delivers the suspects with their errors at the end, when others have
// arrived, or there was no other and the server can be reached. Else it returns
// the error: the fault need not be theirs.
func (f *fetch) convict() error {
	if len(f.suspects) > 0 && !f.sound && !f.single {
		return f.suspects[0].err
	}
	for _, g := range f.suspects {
		// What ended the connection, without server and folder once more.
		var (
			cause    error
			lost     *lostError
			protocol *protocolError
			remedy   = "the server breaks down over this message, and its log may say why; " +
				"a message that cannot be repaired can be moved to a folder that is not read"
		)
		switch {
		case errors.As(g.err, &lost):
			cause = fmt.Errorf("asked for alone, it ends the connection: %w", lost)
		case errors.As(g.err, &protocol):
			cause = fmt.Errorf("asked for alone, it ends the connection: %w", protocol)
			remedy = "the server breaks the rules of IMAP when it sends this message; it can be moved to a folder that is not read"
		default:
			cause = g.err
		}
		err := f.source.error(sources.Temporary, f.doing, fmt.Errorf("message %s: %w", g.Key, cause)).WithRemedy("%s", remedy)
		if err := f.refuse(g.Ref, err); err != nil {
			return err
		}
	}
	return nil
}

func (f *fetch) countReconnect() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reconnects++
	return f.reconnects
}

// retry puts jobs before all others.
func (f *fetch) retry(jobs ...job) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.jobs = append(jobs, f.jobs...)
}

// attempt fetches the messages of a job, and returns those that the server did
// not send.
func (f *fetch) attempt(ctx context.Context, c *conn, j job) (rest []numbered, err error) {
	pending := make(map[goimap.UID]numbered, len(j.refs))
	for _, ref := range j.refs {
		if ref.Size > f.source.cfg.MaxMessage {
			if err := f.refuse(ref.Ref, f.oversize(ref, ref.Size)); err != nil {
				return nil, err
			}
			continue
		}
		pending[ref.uid] = ref
	}
	if len(pending) == 0 {
		return nil, nil
	}
	set := goimap.UIDSet{}
	for uid := range pending {
		set.AddNum(uid)
	}
	err = c.follow(ctx, f.doing, func(client *imapclient.Client) error {
		return f.drain(c, client.Fetch(set, bodyItems), pending, 0)
	})
	for _, ref := range j.refs {
		if _, ok := pending[ref.uid]; ok {
			rest = append(rest, ref)
		}
	}
	return rest, err
}

// bodyItems are what is asked of each message. Nothing of this is parsed by the
// server from the message but RFC822.SIZE.
var bodyItems = &goimap.FetchOptions{
	UID: true, InternalDate: true, Flags: true, RFC822Size: true,
	BodySection: []*goimap.FetchItemBodySection{{Peek: true}},
}

// drain delivers the messages of a FETCH, and removes them from pending. The
// command is complete when it returns, or the connection cut. Messages are
// known by their UID item, or are all the one named by known if that is not 0.
func (f *fetch) drain(c *conn, cmd *imapclient.FetchCommand, pending map[goimap.UID]numbered, known goimap.UID) error {
	for msg := cmd.Next(); msg != nil; msg = cmd.Next() {
		if err := f.message(c, msg, pending, known); err != nil {
			c.unusable = true
			c.abort()
			// The command ends with an error of the cut connection.
			_ = cmd.Close()
			return err
		}
	}
	return cmd.Close()
}

// message delivers one message of a FETCH.
func (f *fetch) message(c *conn, msg *imapclient.FetchMessageData, pending map[goimap.UID]numbered, known goimap.UID) error {
	var (
		uid         = known
		ref, wanted = pending[known]
		received    time.Time
		flags       []goimap.Flag
		flagged     bool
		size        = int64(-1)
		empty, null bool
	)
	// described is the message with what was sent before its body, else with
	// what the listing knew.
	described := func() *sources.Message {
		m := &sources.Message{Received: received, Seen: ref.Seen, Wire: sources.Original}
		if received.IsZero() {
			m.Received = ref.Received
		}
		if flagged {
			m.Seen = slices.Contains(flags, goimap.FlagSeen)
		}
		return m
	}
	for item := msg.Next(); item != nil; item = msg.Next() {
		switch item := item.(type) {
		case imapclient.FetchItemDataUID:
			if known != 0 && item.UID != known {
				return nil
			}
			uid = item.UID
			ref, wanted = pending[uid]
		case imapclient.FetchItemDataInternalDate:
			received = item.Time
		case imapclient.FetchItemDataFlags:
			flags, flagged = item.Flags, true
		case imapclient.FetchItemDataRFC822Size:
			size = item.Size
		case imapclient.FetchItemDataBodySection:
			if !wanted || item.Section.Specifier != goimap.PartSpecifierNone || len(item.Section.Part) > 0 {
				continue
			}
			if null = item.Literal == nil; null || item.Literal.Size() == 0 {
				empty = true
				continue
			}
			literal := item.Literal
			if known == 0 && literal.Size() <= maxNotice {
				var notice bool
				if literal, notice = readNotice(literal); notice {
					return nil // as withheld below
				}
			}
			delete(pending, uid)
			return f.hand(c, ref, described(), literal)
		}
	}
	if !wanted || !empty {
		return nil
	}
	if size < 0 {
		size = ref.Size
	}
	withheld := null || size != 0
	if withheld && known == 0 {
		// It may have been expunged: chase finds out.
		return nil
	}
	delete(pending, uid)
	if withheld {
		return f.refuse(ref.Ref, f.source.error(sources.Temporary, f.doing,
			fmt.Errorf("message %s: the server lists the message but withholds it", ref.Key)))
	}
	m := described()
	m.Body = new(body)
	return f.give(ref.Ref, m)
}

// notice is what Courier hands out instead of a message that somebody else has
// removed, until it tells of that.
var notice = regexp.MustCompile(`^From: System Administrator <root@[^\r\n<>]*>\r\nSubject: message unavailable\r\n\r\n` +
	`This message is no longer available on the server\.\r\n$`)

// maxNotice bounds it.
const maxNotice = 512

// readNotice reports whether the body is such a notice, which may be a message that
// says just that. It returns the body to be read from its beginning.
func readNotice(body goimap.LiteralReader) (again goimap.LiteralReader, isNotice bool) {
	read, err := io.ReadAll(body)
	return &readAgain{bytes.NewReader(read), err, body.Size()}, err == nil && notice.Match(read)
}

// readAgain is a literal that was read to its end, or to an error. The client goes
// on with the connection then, so that it must not be read any more.
type readAgain struct {
	read *bytes.Reader
	err  error // of the end; nil if it is io.EOF
	size int64
}

func (r *readAgain) Read(p []byte) (int, error) {
	n, err := r.read.Read(p)
	if err == io.EOF && r.err != nil {
		err = r.err
	}
	return n, err
}

func (r *readAgain) Size() int64 { return r.size }

// hand delivers a message with its body.
func (f *fetch) hand(c *conn, ref numbered, m *sources.Message, literal goimap.LiteralReader) error {
	size := literal.Size()
	if size < 0 || size > f.source.cfg.MaxMessage {
		if err := f.refuse(ref.Ref, f.oversize(ref, size)); err != nil {
			return err
		}
		return &callerError{errOversize}
	}
	// TLS adds some to each record.
	c.stream.bottom.Allow(size + size/8)
	stream := &body{literal: literal, left: size, explain: func(err error) error {
		if cause := c.stream.failure(); cause != nil {
			err = cause
		}
		return f.source.explain(f.doing, fmt.Errorf("message %s: %w", ref.Key, &lostError{err}))
	}}
	m.Body, m.Size = stream, size
	err := f.give(ref.Ref, m)
	if stream.release() {
		c.fail()
		f.source.strike(f.folder, ref.Key)
	} else if err == nil {
		f.source.acquit(f.folder, ref.Key)
		f.mu.Lock()
		f.sound, f.streak = true, 0
		f.mu.Unlock()
	}
	return err
}

// give delivers a message.
func (f *fetch) give(ref sources.Ref, m *sources.Message) error {
	if err := f.deliver(ref, m); err != nil {
		return &callerError{err}
	}
	return nil
}

// refuse delivers a message that cannot be had.
func (f *fetch) refuse(ref sources.Ref, err error) error {
	return f.give(ref, &sources.Message{Received: ref.Received, Seen: ref.Seen, Size: -1, Wire: sources.Original, Err: err})
}

func (f *fetch) oversize(ref numbered, size int64) error {
	return f.source.error(sources.Permanent, f.doing,
		fmt.Errorf("message %s: %d bytes are more than the limit of %d", ref.Key, size, f.source.cfg.MaxMessage))
}

// chase looks for messages that the server was asked for and did not send:
// those it no longer lists are gone, the others are fetched alone. What is
// still missing after that is not delivered. It returns the messages left when
// the connection ends. NOOP makes the server say what has been expunged.
func (f *fetch) chase(ctx context.Context, c *conn, rest []numbered) ([]numbered, error) {
	err := c.run(ctx, f.doing, func(client *imapclient.Client) error { return client.Noop().Wait() })
	if err != nil {
		return rest, err
	}
	missing := job{refs: rest}.set()
	listed, err := c.search(ctx, f.folder.Path, &goimap.SearchCriteria{UID: []goimap.UIDSet{missing}})
	if err != nil {
		return rest, err
	}
	for i, ref := range rest {
		if !listed.Contains(ref.uid) {
			err := f.refuse(ref.Ref, f.source.error(sources.Gone, f.doing, fmt.Errorf("message %s is no longer in the folder", ref.Key)))
			if err != nil {
				return nil, err
			}
			continue
		}
		left, err := f.alone(ctx, c, ref)
		if len(left) > 0 && refusal(err) {
			err = f.refuse(ref.Ref, err)
			left = nil
		}
		if err != nil {
			return append(left, rest[i+1:]...), err
		}
	}
	return nil, nil
}

// alone fetches one message by its sequence number: a server that sends the UID
// after the body, or not at all, is understood only so. No sequence number
// changes between these commands (RFC 9051 7.5.1).
func (f *fetch) alone(ctx context.Context, c *conn, ref numbered) (left []numbered, err error) {
	pending := map[goimap.UID]numbered{ref.uid: ref}
	err = c.follow(ctx, f.doing, func(client *imapclient.Client) error {
		data, err := client.Search(&goimap.SearchCriteria{UID: []goimap.UIDSet{goimap.UIDSetNum(ref.uid)}}, nil).Wait()
		if err != nil {
			return err
		}
		seq, ok := data.All.(goimap.SeqSet)
		if !ok || len(seq) != 1 || seq[0].Start != seq[0].Stop {
			return nil
		}
		numbers, err := client.Fetch(seq, &goimap.FetchOptions{UID: true}).Collect()
		if err != nil {
			return err
		}
		if len(numbers) != 1 || numbers[0].UID != ref.uid {
			return nil
		}
		return f.drain(c, client.Fetch(seq, bodyItems), pending, ref.uid)
	})
	if _, ok := pending[ref.uid]; ok && err != nil {
		left = append(left, ref)
	}
	return left, err
}

// strike notes that the connection ended over a message.
func (s *Source) strike(folder sources.Folder, key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.strikes) >= maxStrikes {
		clear(s.strikes)
	}
	s.strikes[folder.Path+"\x00"+key]++
}

// acquit forgets the strikes of a message that arrived whole.
func (s *Source) acquit(folder sources.Folder, key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.strikes) > 0 {
		delete(s.strikes, folder.Path+"\x00"+key)
	}
}

// suspected reports whether the connection has ended over the message before.
func (s *Source) suspected(folder sources.Folder, key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.strikes[folder.Path+"\x00"+key] > 0
}
