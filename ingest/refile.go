package ingest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"time"

	"go.uber.org/zap"

	"postroom/ingest/document"
	"postroom/ingest/ledger"
	"postroom/ingest/message"
	"postroom/ingest/spool"
	"postroom/internal/durable"
	"postroom/sources"
	"postroom/store"
)

// Refiled is a document that was filed anew, or found to be as it would be.
type Refiled struct {
	ID       string `json:"id"`
	Location string `json:"location"` // where it is now
	// Changed names the parts of the document that are other ones now: title,
	// class, permissions, properties, files, notes; none if nothing was done.
	Changed []string `json:"changed,omitempty"`
	// KeptOriginal is set if it has original.eml although the rules do not ask for
	// it: nothing else in the repository holds as much of the message.
	KeptOriginal bool `json:"kept_original,omitempty"`
}

// refilable is what a repository has to be for its documents to be filed anew.
type refilable interface {
	store.Verifier
	store.Reader
	store.Replacer
}

// Refile files a document anew, under the rules of now: from the message as it was
// received, which is read back from the repository or, if it is not there, fetched
// from its server once more. Its id, where it came from and when it was filed stay,
// and a note says when it was filed anew. If all of it would be as it is, nothing
// changes.
//
// It never holds less of the message than it did: see keepOriginal.
//
// A server that renders messages may render one in other bytes today. It is the
// same message if it is recognised as such; size and SHA-256 of the origin are
// those of the bytes of now then, in the ledger as well.
//
// The ledger notes first what the document will be. Then it is replaced in the
// repository, at once; then the ledger is told. What a process that dies on the
// way leaves, the next one finishes by what it finds in the repository.
func (e *Engine) Refile(ctx context.Context, id string) (Refiled, error) {
	d, err := FindDocument(ctx, e.Ledger, id)
	if err != nil {
		return Refiled{}, err
	}
	out, err := e.refile(ctx, d.ID)
	if errors.Is(err, errUnsettled) {
		return out, fmt.Errorf("document %.12s: %w", d.ID, err)
	}
	if err != nil {
		return out, fmt.Errorf("document %.12s is as it was: %w", d.ID, err)
	}
	return out, nil
}

// errUnsettled says that it is not known which document is in the repository.
var errUnsettled = errors.New("it is not known yet whether it was filed anew: that shows when this is tried again, or postroom starts")

func (e *Engine) refile(ctx context.Context, id string) (Refiled, error) {
	repository, ok := e.Repository.(refilable)
	if !ok {
		return Refiled{}, errors.New("documents cannot be replaced in this type of repository")
	}
	back, err := e.documents.take(ctx, turnOf(id))
	if err != nil {
		return Refiled{}, err
	}
	defer back()
	if err := e.finishRefilingOf(ctx, id); err != nil {
		return Refiled{}, err
	}
	d, err := e.Ledger.Document(ctx, id)
	if err != nil {
		return Refiled{}, err
	}
	if !d.Forgotten.IsZero() {
		return Refiled{}, fmt.Errorf("it was forgotten on %s", d.Forgotten.Format(time.DateOnly))
	}
	m := e.mailbox(d.Source)
	if m == nil {
		return Refiled{}, fmt.Errorf("its source %s is not at work: it is not configured, disabled, or left out; its rules are those that would apply", d.Source)
	}
	was, err := e.asFiled(ctx, repository, &d)
	if err != nil {
		return Refiled{}, err
	}
	raw, err := e.received(ctx, repository, m, d, was)
	if err != nil {
		return Refiled{}, err
	}
	out, err := e.replace(ctx, repository, m, d, was, raw)
	if e := raw.Close(); e != nil {
		m.log.Warn("remove message from spool", zap.Error(e))
	}
	return out, err
}

// turnOf is the turn of those that change a document which has been filed. Who
// takes that of a folder, or of messages alike, too, takes it later.
func turnOf(id string) string { return "document\x00" + id }

// asFiled returns the document as it is in the repository. An error says in what
// it is not as it was filed: nothing of that must be lost. One whose description
// was not recorded by an older version is from then on.
func (e *Engine) asFiled(ctx context.Context, r store.Verifier, d *ledger.Document) (*store.Document, error) {
	report, err := r.Verify(ctx, d.Location)
	if errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("it is not at %s: put it back from a backup (postroom verify)", d.Location)
	}
	if err != nil {
		return nil, err
	}
	compare(&report, *d)
	if len(report.Flaws) > 0 {
		f := report.Flaws[0]
		return nil, fmt.Errorf("it is not as it was filed, and what somebody has changed would be lost: %s: %s; %s (postroom verify)",
			path.Join(d.Location, f.File), f.What, remedyFor(f, d.ID))
	}
	// Which document is there is told by its receipt later.
	receipt, err := e.Repository.Find(ctx, report.Document.Key())
	switch {
	case err != nil:
		return nil, err
	case receipt.Location != d.Location || d.Description != ([32]byte{}) && d.Description != receipt.Description:
		return nil, fmt.Errorf("it is at %s, and there is another one at %s", d.Location, receipt.Location)
	case d.Description != receipt.Description:
		d.Description = receipt.Description
		if err := e.Ledger.Refiled(ctx, *d); err != nil {
			return nil, err
		}
	}
	return report.Document, nil
}

// received returns the message as it was received, from the repository or else
// from its server.
func (e *Engine) received(ctx context.Context, r store.Reader, m *mailbox, d ledger.Document, was *store.Document) (*spool.Blob, error) {
	raw, err := readBack(ctx, r, e.Spool, d.Location, was)
	if !errors.Is(err, errNoOriginal) {
		return raw, err
	}
	raw, cause := e.fetchAgain(ctx, m, d, was)
	if cause == nil {
		return raw, nil
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return nil, fmt.Errorf("%w, since %s and keep_original was not set; and it cannot be had from its server: %w. "+
		"If the server still has it elsewhere, move it into a folder of this source, let postroom meet it there (postroom run --once) and give the command again; "+
		"if the server did not answer, give it again once it does; with keep_original: true, what is filed from now on can always be filed anew",
		errNoOriginal, whyNoOriginal(was), cause)
}

// fetchAgain fetches the message of a document, or one with the same bytes, from
// its server.
func (e *Engine) fetchAgain(ctx context.Context, m *mailbox, d ledger.Document, was *store.Document) (*spool.Blob, error) {
	var where []ledger.Entry // that it was filed from first
	for entry, err := range e.Ledger.Entries(ctx, ledger.Query{Source: d.Source, States: []ledger.State{ledger.Filed, ledger.Settled}}) {
		switch {
		case err != nil:
			return nil, fmt.Errorf("read ledger: %w", err)
		case entry.DocumentID != d.ID:
		case !entry.Duplicate:
			where = slices.Insert(where, 0, entry)
		case entry.Exact:
			where = append(where, entry)
		}
	}
	if len(where) == 0 {
		return nil, errors.New("it is not known where it was")
	}
	src, err := m.open()
	if err != nil {
		return nil, err
	}
	var errs []error
	gone := false
	for _, entry := range where {
		raw, wire, err := e.fetchOne(ctx, m, src, entry)
		gone = gone || sources.ClassOf(err) == sources.Gone
		if err == nil {
			if err = same(ctx, raw, wire, d, was); err == nil {
				return raw, nil
			}
			err = errors.Join(err, raw.Close())
		}
		errs = append(errs, fmt.Errorf("message %s in %s: %w", entry.Key, entry.FolderPath, err))
	}
	if gone {
		raw, err := e.fetchMoved(ctx, m, src, d, was)
		if err == nil {
			return raw, nil
		}
		errs = append(errs, err)
	}
	return nil, joined(errs)
}

// joined is like errors.Join, in one line.
func joined(errs []error) error {
	err := errs[0]
	for _, next := range errs[1:] {
		err = fmt.Errorf("%w; %w", err, next)
	}
	return err
}

// same returns an error if a message that was fetched again is not the one that
// was filed: its bytes are others, and these were not rendered on both occasions,
// or what it holds is not the same.
func same(ctx context.Context, raw *spool.Blob, wire sources.Wire, d ledger.Document, was *store.Document) error {
	switch {
	case raw.SHA256() == was.Origin.SHA256:
		return nil
	case was.Origin.Wire != string(sources.Rendered) || wire != sources.Rendered || d.Likeness.Content == ([32]byte{}):
		return errors.New("the server has other bytes now than those that were filed")
	}
	_, f, err := recognised(ctx, raw)
	switch {
	case err != nil:
		return fmt.Errorf("read message: %w", err)
	case f.Content != d.Likeness.Content || f.MessageID != d.MessageID:
		return errors.New("the server renders another message now than the one that was filed: its content was changed there")
	}
	return nil
}

// fetchOne fetches a message into the spool, after a poll of its folder that is
// under way. It tells where its bytes come from.
func (e *Engine) fetchOne(ctx context.Context, m *mailbox, src sources.Source, entry ledger.Entry) (raw *spool.Blob, wire sources.Wire, err error) {
	folder := sources.Folder{ID: entry.Folder, Path: entry.FolderPath}
	ref := sources.Ref{Key: entry.Key, Size: entry.Size, Received: entry.Received}
	err = m.inFolder(ctx, src, folder, func(p *poll) error {
		return p.src.Fetch(p.ctx, p.folder, []sources.Ref{ref}, func(of sources.Ref, m *sources.Message) (err error) {
			if m.Err != nil {
				return m.Err
			}
			if of.Key != entry.Key || raw != nil {
				return nil
			}
			raw, err = e.Spool.Take(m.Body, m.Size, e.MaxSize)
			wire = m.Wire
			return err
		})
	})
	switch {
	case err != nil && raw != nil:
		return nil, "", errors.Join(err, raw.Close())
	case err == nil && raw == nil:
		return nil, "", errWithheld
	}
	return raw, wire, err
}

// replace replaces the document by what the rules of now make of the message.
func (e *Engine) replace(ctx context.Context, repository refilable, m *mailbox, d ledger.Document, was *store.Document, raw *spool.Blob) (Refiled, error) {
	content, f, err := recognised(ctx, raw)
	if err != nil {
		return Refiled{}, fmt.Errorf("read message: %w", err)
	}
	back, err := e.documents.take(ctx, alike(d.Source, f.Content))
	if err != nil {
		return Refiled{}, err
	}
	defer back()
	scratch := e.Spool.Scratch()
	defer func() {
		if err := scratch.Close(); err != nil {
			m.log.Warn("remove rendered message from spool", zap.Error(err))
		}
	}()
	next, kept, err := m.anew(ctx, was, raw, content, f, scratch)
	if err != nil {
		return Refiled{}, err
	}
	out := Refiled{ID: d.ID, Location: d.Location, KeptOriginal: kept}
	changed, err := differences(was, asRenderedThen(was, next))
	if err != nil || len(changed) == 0 {
		return out, err
	}
	next.Notes = append(next.Notes, refiledNote+time.Now().UTC().Format(time.RFC3339))

	intent := d
	intent.Source, intent.Title, intent.MessageID, intent.SHA256 = was.Origin.Source, next.Title, f.MessageID, next.Origin.SHA256
	intent.Likeness = ledger.Likeness{Content: f.Content, Strict: f.Strict, Original: isOriginal(was)}
	if err := e.Ledger.Refile(ctx, intent); err != nil {
		return out, err
	}
	_, cause := repository.Replace(ctx, next)
	// It is recorded what is there, whatever Replace says.
	now, err := e.finishRefiling(context.WithoutCancel(ctx), intent)
	if err != nil {
		return out, fmt.Errorf("%w: %w", errUnsettled, errors.Join(cause, err))
	}
	if now.Location == d.Location && now.Description == d.Description {
		if cause == nil {
			cause = errors.New("the repository has not replaced it")
		}
		return out, withRemedy(cause)
	}
	if cause != nil {
		m.log.Warn("a document was filed anew, with an error", zap.String("document", d.ID[:12]), zap.Error(cause))
	}
	out.Location, out.Changed = now.Location, changed
	m.log.Info("document filed anew", zap.String("document", d.ID[:12]), zap.String("location", now.Location), zap.Strings("changed", changed))
	return out, nil
}

// withRemedy adds to an error of the repository what to do about it, for who has
// given a command.
func withRemedy(err error) error {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w; let the user that postroom runs as write everywhere below the repository's path, and give the command again", err)
	case errors.Is(err, syscall.EROFS):
		return fmt.Errorf("%w; the file system of the repository is mounted read-only: mount it writable, and give the command again", err)
	case durable.Full(err):
		return fmt.Errorf("%w; free space on the disk of the repository, and give the command again", err)
	}
	return err
}

// anew makes the document once more, under the rules of now. Kept says that it
// has an original that these do not ask for.
func (m *mailbox) anew(ctx context.Context, was *store.Document, raw *spool.Blob, content *message.Message, f document.Fingerprint, scratch *spool.Scratch) (_ *store.Document, kept bool, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("internal error while reading or rendering the message: %v", r)
		}
	}()
	o := was.Origin
	in := document.Input{
		Source: o.Source, Type: o.Type, Mailbox: o.Mailbox, Folder: o.Folder, Key: o.ServerID,
		Received: o.Received, Fetched: was.Filed, Wire: sources.Wire(o.Wire),
		Raw: raw, Size: raw.Size(), SHA256: raw.SHA256(), Held: raw.Held(),
		Message: content, Header: content.Header, Identity: f,
	}
	d, err := document.Make(ctx, in, m.Rules)
	if err != nil {
		return nil, false, err
	}
	properties, notes, err := document.Evaluate(m.Rules.Properties, in.Values(content))
	switch {
	case errors.As(err, new(*document.MissingError)):
		return nil, false, fmt.Errorf("under the rules of now its message would be put into quarantine: %w", err)
	case err != nil:
		return nil, false, err
	}
	d.Properties, d.Notes = properties, append(d.Notes, notes...)
	o.Size, o.SHA256 = raw.Size(), raw.SHA256()
	d.ID, d.Origin, d.Filed = was.ID, o, was.Filed
	for _, note := range was.Notes {
		// What its server said of the message is known from its notes alone.
		own := strings.HasPrefix(note, refiledNote) || strings.HasPrefix(note, document.RenderingNote) || note == keptOriginalNote
		keep := strings.HasPrefix(note, "possible_duplicate_of ") || !isOriginal(was) && !own
		if keep && !slices.Contains(d.Notes, note) {
			d.Notes = append(d.Notes, note)
		}
	}
	if _, err := d.Render(ctx, scratch); err != nil {
		return nil, false, err
	}
	if keepOriginal(was, d.Document) {
		d.AddOriginal()
		d.Notes = append(d.Notes, keptOriginalNote)
		kept = true
	}
	return d.Document, kept, nil
}

// keptOriginalNote says why a document has an original that nobody asked for.
const keptOriginalNote = "original.eml is kept although keep_original is false: without it the document would hold less of the message than before it was filed anew"

// keepOriginal reports whether a document that replaces another needs the message
// as it was received, so as not to hold less of it: the other may be the only copy.
func keepOriginal(was, next *store.Document) bool { return holds(next) < holds(was) }

// holds ranks how much of its message a document holds.
func holds(d *store.Document) int {
	switch {
	case original(d) != nil:
		return 2 // every byte
	case len(d.Files) > 0 && d.Files[0].MediaType == document.MailType:
		return 1 // every byte of content: message.eml and the attachments together
	}
	return 0
}

// refiledNote begins the note that says when a document was filed anew.
const refiledNote = "filed anew "

// differences names the parts in which two documents differ, apart from when they
// were filed anew.
func differences(a, b *store.Document) ([]string, error) {
	a, b = withoutRefiledNote(a), withoutRefiledNote(b)
	var texts [2][]byte
	for i, d := range []*store.Document{a, b} {
		var err error
		if texts[i], err = store.MarshalDocument(d); err != nil {
			return nil, err
		}
	}
	if bytes.Equal(texts[0], texts[1]) {
		return nil, nil
	}
	// As it is when it is read back: JSON holds no invalid UTF-8.
	b, err := store.ParseDocument(texts[1])
	if err != nil {
		return nil, err
	}
	var out []string
	for _, part := range []struct {
		name string
		a, b any
	}{
		{"title", a.Title, b.Title}, {"class", a.Class, b.Class}, {"permissions", a.Permissions, b.Permissions},
		{"properties", emptyNil(a.Properties), emptyNil(b.Properties)}, {"files", described(a.Files), described(b.Files)},
		{"notes", emptyNil(a.Notes), emptyNil(b.Notes)},
	} {
		if !reflect.DeepEqual(part.a, part.b) {
			out = append(out, part.name)
		}
	}
	if len(out) == 0 {
		out = []string{"description"}
	}
	return out, nil
}

// asRenderedThen returns the document as it would be if its message had been
// rendered as it was then: that a server writes it otherwise today changes nothing
// by itself.
func asRenderedThen(was, next *store.Document) *store.Document {
	if next.Origin.SHA256 == was.Origin.SHA256 {
		return next
	}
	c := *next
	c.Origin, c.Files = was.Origin, slices.Clone(next.Files)
	for i, f := range was.Files {
		if i < len(c.Files) && f.Role == store.RoleMessage && c.Files[i].Role == f.Role && c.Files[i].Name == f.Name {
			c.Files[i].Size, c.Files[i].SHA256 = f.Size, f.SHA256
		}
	}
	return &c
}

func withoutRefiledNote(d *store.Document) *store.Document {
	c := *d
	c.Notes = slices.DeleteFunc(slices.Clone(d.Notes), func(note string) bool { return strings.HasPrefix(note, refiledNote) })
	return &c
}

func emptyNil[T any](s []T) []T {
	if len(s) == 0 {
		return nil
	}
	return s
}

func described(files []store.File) []store.File {
	out := slices.Clone(files)
	for i := range out {
		out[i].Open, out[i].Held = nil, false
	}
	return out
}

// finishRefiling records which document is in the repository: the one that was to
// be replaced, or the one that replaces it. It returns it.
func (e *Engine) finishRefiling(ctx context.Context, intent ledger.Document) (ledger.Document, error) {
	d, err := e.Ledger.Document(ctx, intent.ID)
	if err != nil {
		return d, fmt.Errorf("read ledger: %w", err)
	}
	r, err := e.Repository.Find(ctx, store.Key{ID: d.ID, Source: intent.Source, Received: d.Received})
	switch {
	case errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrRefused):
		// It was removed or damaged by somebody, which verify tells.
	case err != nil:
		return d, fmt.Errorf("look for document in repository: %w", err)
	case r.Location != d.Location || r.Description != d.Description:
		d.Title, d.MessageID, d.SHA256, d.Likeness = intent.Title, intent.MessageID, intent.SHA256, intent.Likeness
		d.Location, d.Description = r.Location, r.Description
	}
	if err := e.Ledger.Refiled(ctx, d); err != nil {
		return d, fmt.Errorf("write ledger: %w", err)
	}
	return d, nil
}

// finishRefilingOf finishes what an earlier try left of filing the document anew.
// Its turn is held.
func (e *Engine) finishRefilingOf(ctx context.Context, id string) error {
	owed, err := e.refilings(ctx, id)
	for _, intent := range owed {
		_, e := e.finishRefiling(ctx, intent)
		err = errors.Join(err, e)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errUnsettled, err)
	}
	return nil
}

// finishRefilings finishes what an earlier process left of filing documents anew.
func (e *Engine) finishRefilings(ctx context.Context) error {
	owed, err := e.refilings(ctx, "")
	if err != nil {
		return err
	}
	for _, intent := range owed {
		back, err := e.documents.take(ctx, turnOf(intent.ID))
		if err != nil {
			return err
		}
		if err := e.finishRefilingOf(ctx, intent.ID); err != nil {
			e.Log.Error("it is not known yet whether a document was filed anew", zap.String("document", intent.ID), zap.Error(err))
		}
		back()
	}
	return ctx.Err()
}

// refilings returns what documents whose ids begin so are about to be replaced by.
func (e *Engine) refilings(ctx context.Context, prefix string) ([]ledger.Document, error) {
	return refilings(ctx, e.Ledger, prefix)
}

func refilings(ctx context.Context, l ledger.Reader, prefix string) (owed []ledger.Document, err error) {
	for d, err := range l.Documents(ctx, ledger.DocumentQuery{Refiling: true, IDPrefix: prefix}) {
		if err != nil {
			return nil, fmt.Errorf("read ledger: %w", err)
		}
		owed = append(owed, d)
	}
	return owed, nil
}
