package filesystem

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"

	"postroom/store"
)

var _ store.Replacer = (*Repository)(nil)

// A document is replaced from a folder of its own in .incoming:
//
//	.incoming/N/new           the document that is to be there
//	.incoming/N/replace.json  what is to be done, see replacement
//	.incoming/N/old           the document that was there, where folders cannot
//	                          be swapped
//
// All of new and replace.json is durable before anything is moved. Then new and
// the document in its place are swapped at once, and the folder, which still has
// the old title, is renamed: somebody who looks finds the one or the other at
// every moment. Where folders cannot be swapped, the old one is moved aside first;
// should the process die then, the next Open moves it back.
const (
	newName    = "new"
	oldName    = "old"
	recordName = "replace.json"
)

// replacement is what is to be done.
type replacement struct {
	work string // the folder in .incoming

	From string `json:"from"` // where the document is
	To   string `json:"to"`   // where the one that replaces it is to be, in the same day folder
	// Description is the SHA-256 in hex of the description of the one that
	// replaces it.
	Description string `json:"description"`
}

func (p *replacement) fresh() string  { return path.Join(p.work, newName) }
func (p *replacement) aside() string  { return path.Join(p.work, oldName) }
func (p *replacement) record() string { return path.Join(p.work, recordName) }

// Replace implements [store.Replacer].
func (r *Repository) Replace(ctx context.Context, d *store.Document) (store.Receipt, error) {
	if err := d.Check(); err != nil {
		return store.Receipt{}, fmt.Errorf("replace document: %w", err)
	}
	if err := r.enter(); err != nil {
		return store.Receipt{}, fmt.Errorf("replace document %s: %w", d.ID, err)
	}
	defer r.life.RUnlock()
	receipt, err := r.replace(ctx, d)
	if err != nil {
		return store.Receipt{}, fmt.Errorf("replace document %s: %w", d.ID, err)
	}
	return receipt, nil
}

func (r *Repository) replace(ctx context.Context, d *store.Document) (_ store.Receipt, err error) {
	k := d.Key()
	if err := r.turns.take(ctx, turn(k)); err != nil {
		return store.Receipt{}, err
	}
	defer r.turns.give(turn(k))
	there, err := r.lookUp(k)
	if err != nil {
		return store.Receipt{}, err
	}
	if err := r.nothingElse(there.Location); err != nil {
		return store.Receipt{}, err
	}
	if err := r.present(); err != nil {
		return store.Receipt{}, err
	}
	p := &replacement{
		work: path.Join(incoming, strconv.FormatUint(r.staged.Add(1), 10)),
		From: there.Location, To: path.Join(dayFolder(k), documentFolder(d)),
	}
	defer func() {
		// What cannot be relied on is left for the next Open.
		if !r.broken.Load() {
			err = errors.Join(err, r.discard(p.work))
		}
	}()
	receipt := store.Receipt{Location: p.To}
	if receipt.Description, err = r.prepare(ctx, d, p); err != nil {
		return store.Receipt{}, err
	}
	if receipt.Description == there.Description {
		return there, nil
	}
	if err := ctx.Err(); err != nil {
		return store.Receipt{}, err
	}
	if err := r.swap(p); err != nil {
		return store.Receipt{}, err
	}
	r.days.add(path.Dir(p.To), path.Base(p.To))
	return receipt, nil
}

// nothingElse returns an error if there is something in a document's folder that
// is no part of it.
func (r *Repository) nothingElse(folder string) error {
	a := archive{r.root}
	description, err := a.description(folder)
	if err != nil {
		return err
	}
	d, err := store.ParseDocument(description)
	if err != nil {
		return fmt.Errorf("%w: it is no whole document: %w", store.ErrRefused, err)
	}
	names, err := a.names(folder)
	if err != nil {
		return err
	}
	for _, name := range names {
		if name != store.DocumentFile && !slices.ContainsFunc(d.Files, func(f store.File) bool { return f.Name == name }) {
			return fmt.Errorf("%w: %s is no part of the document: move it elsewhere", store.ErrRefused, path.Join(folder, name))
		}
	}
	return nil
}

// prepare makes durable all that the replacement needs, and returns the SHA-256 of
// the description of d.
func (r *Repository) prepare(ctx context.Context, d *store.Document, p *replacement) (sum [32]byte, err error) {
	if err := r.root.Mkdir(p.work, folderMode); err != nil {
		return sum, err
	}
	if sum, err = r.stage(ctx, d, p.fresh()); err != nil {
		return sum, err
	}
	p.Description = hex.EncodeToString(sum[:])
	text, err := json.Marshal(p)
	if err != nil {
		return sum, err
	}
	if err := r.write(p.record(), string(text)+"\n"); err != nil {
		return sum, err
	}
	return sum, errors.Join(r.syncFolder(p.work), r.syncFolder(incoming))
}

// swap puts the new document in the place of the old one, durably. After an error
// the old one is there, or the repository is broken.
func (r *Repository) swap(p *replacement) error {
	err := r.exchange(r.root, p.fresh(), p.From)
	if errors.Is(err, errors.ErrUnsupported) {
		return r.swapAside(p)
	}
	if err != nil {
		return err
	}
	back := func() error { return r.exchange(r.root, p.fresh(), p.From) }
	if err := r.syncSwap(p); err != nil {
		return r.undo(p, err, back)
	}
	if p.To == p.From {
		return nil
	}
	if err := r.rename(p.From, p.To); err != nil {
		return r.undo(p, err, back)
	}
	if err := r.syncSwap(p); err != nil {
		return r.undo(p, err, func() error { return r.rename(p.To, p.From) }, back)
	}
	return nil
}

// swapAside is swap where folders cannot be swapped at once.
func (r *Repository) swapAside(p *replacement) error {
	if err := r.rename(p.From, p.aside()); err != nil {
		if errors.Is(err, fs.ErrPermission) {
			err = fmt.Errorf("%w: if a file of the document is open in another program, close it", err)
		}
		return err
	}
	back := func() error { return r.rename(p.aside(), p.From) }
	if err := r.syncSwap(p); err != nil {
		return r.undo(p, err, back)
	}
	if err := r.rename(p.fresh(), p.To); err != nil {
		return r.undo(p, err, back)
	}
	if err := r.syncSwap(p); err != nil {
		return r.undo(p, err, func() error { return r.rename(p.To, p.fresh()) }, back)
	}
	return nil
}

// syncSwap makes durable what was moved between the folders of a replacement: that
// something came before that it went, so that it is never in neither.
func (r *Repository) syncSwap(p *replacement) error {
	return errors.Join(r.syncFolder(p.work), r.syncFolder(path.Dir(p.To)))
}

// undo takes the steps back, durably, after the error. If it cannot, the
// repository is broken, and what is in .incoming tells the next Open what to do.
func (r *Repository) undo(p *replacement, cause error, steps ...func() error) error {
	for _, step := range append(steps, func() error { return r.syncSwap(p) }) {
		if err := step(); err != nil {
			r.broken.Store(true)
			return fmt.Errorf("%w; it could not be taken back: %w", cause, err)
		}
	}
	return cause
}

// finishReplacing brings to an end what a process that died was about to replace,
// so that the one or the other document is in its place. What is left of it in
// .incoming is not needed any more then.
func (r *Repository) finishReplacing() error {
	entries, err := fs.ReadDir(r.root.FS(), incoming)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		if err := r.finishReplacement(&replacement{work: path.Join(incoming, e.Name())}); err != nil {
			return fmt.Errorf("finish what was to be replaced by %s: %w", path.Join(incoming, e.Name()), err)
		}
	}
	return nil
}

func (r *Repository) finishReplacement(p *replacement) error {
	text, err := r.root.ReadFile(p.record())
	if errors.Is(err, fs.ErrNotExist) {
		return nil // nothing was moved yet, or all is done
	}
	if err != nil {
		return err
	}
	if err := p.parse(text); err != nil {
		if _, e := r.root.Lstat(p.aside()); errors.Is(e, fs.ErrNotExist) {
			return nil
		}
		return fmt.Errorf("%s: %w; put the folder %s back to where it was, by hand", p.record(), err, p.aside())
	}
	fresh := func(location string) bool {
		text, err := r.root.ReadFile(path.Join(location, store.DocumentFile))
		sum := sha256.Sum256(text)
		return err == nil && hex.EncodeToString(sum[:]) == p.Description
	}
	there := func(location string) (bool, error) {
		_, err := r.root.Lstat(location)
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		return err == nil, err
	}
	var from, to, aside bool
	for _, at := range []struct {
		location string
		there    *bool
	}{{p.From, &from}, {p.To, &to}, {p.aside(), &aside}} {
		if *at.there, err = there(at.location); err != nil {
			return err
		}
	}
	switch {
	case fresh(p.To):
	case from && fresh(p.From):
		// Its folder has the old title. Should something else have taken the name
		// meanwhile, it keeps that.
		if !to {
			if err := r.rename(p.From, p.To); err != nil {
				return err
			}
		}
	case !from && aside:
		if err := r.rename(p.aside(), p.From); err != nil {
			return err
		}
	}
	return errors.Join(r.syncFolder(p.work), r.syncUpward(path.Dir(p.To)))
}

func (p *replacement) parse(text []byte) error {
	if err := json.Unmarshal(text, p); err != nil {
		return err
	}
	day, id, err := split(p.From)
	if err != nil {
		return err
	}
	otherDay, otherID, err := split(p.To)
	if err == nil && (day != otherDay || id != otherID) {
		err = fmt.Errorf("%s is not where that document can be", p.To)
	}
	return err
}
