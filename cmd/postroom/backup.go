package main

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"postroom/cmd/postroom/config"
	"postroom/ingest/ledger"
)

func newBackup() *cobra.Command {
	return &cobra.Command{
		Use: "backup FILE", Short: "Copy ledger and quarantine to a tar file, while running (- for standard output)", Args: cobra.ExactArgs(1),
		Long: `Writes what state_dir has to keep, as it is at one moment, to a tar file that
must not be there: the ledger, the quarantine, and which repository is used. It
holds mail and no passwords. To restore, unpack it into an empty state_dir while
no postroom runs. The repository is not in it.`,
		RunE: func(cmd *cobra.Command, args []string) error { return backup(cmd, args[0]) },
	}
}

func backup(cmd *cobra.Command, name string) (err error) {
	_, c, err := loadWithoutSecrets(cmd)
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	if name != "-" {
		// Before this becomes the owner of the state, who may not write there.
		f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if errors.Is(err, fs.ErrExist) {
			return failed(fmt.Errorf("backup: %w: remove it, or choose another name", err))
		}
		if err != nil {
			return failed(fmt.Errorf("backup: %w", err))
		}
		out = f
		defer func() {
			if err == nil {
				err = failed(errors.Join(f.Sync(), f.Close()))
				return
			}
			// Half a backup must not pass for one.
			err = failed(errors.Join(err, f.Truncate(0), f.Close(), os.Remove(name)))
		}()
	}
	l, err := readLedger(cmd.Context(), c)
	if err != nil {
		return err
	}
	if err := l.Close(); err != nil {
		return failed(err)
	}
	b := &backingUp{config: c, tar: tar.NewWriter(out), written: make(map[string]bool)}
	if err := errors.Join(b.run(cmd.Context()), b.tar.Close()); err != nil {
		return failed(fmt.Errorf("backup: %w", err))
	}
	for _, lost := range b.lost {
		fmt.Fprintf(cmd.ErrOrStderr(), "postroom: %s\n", lost)
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "postroom: ledger and %s in quarantine backed up; the repository is not in it\n", count(b.messages, "message", "messages"))
	if inState := filepath.Join(c.StateDir, backedUpLedger); ledgerPath(c) != inState {
		fmt.Fprintf(cmd.ErrOrStderr(), "postroom: when restoring, move %s to %s\n", inState, ledgerPath(c))
	}
	return nil
}

// backedUpLedger is the name of the ledger in a backup.
const backedUpLedger = "postroom.db"

type backingUp struct {
	config   *config.Config
	tar      *tar.Writer
	written  map[string]bool // by name in the backup
	messages int             // in quarantine, as the ledger knows
	lost     []string        // what was not there to be written
}

// run writes the quarantine before the ledger is copied, and after that what was
// put there in between, so that every message that the copy says is there is. A
// message leaves the quarantine only after the ledger says so: if one is gone,
// the ledger is copied anew.
func (b *backingUp) run(ctx context.Context) error {
	if err := b.folder(ctx, quarantineDir(b.config), "quarantine"); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(b.config.StateDir, "backup-")
	if err != nil {
		return err
	}
	return errors.Join(b.ledger(ctx, filepath.Join(dir, backedUpLedger)), os.RemoveAll(dir))
}

func (b *backingUp) ledger(ctx context.Context, copied string) error {
	for {
		if err := ledger.CopySQLite(ctx, ledgerPath(b.config), copied); err != nil {
			return err
		}
		whole, err := b.rest(ctx, copied)
		if err != nil {
			return err
		}
		if whole {
			break
		}
		if err := removeLedger(copied); err != nil {
			return err
		}
	}
	if err := b.file(copied, backedUpLedger); err != nil {
		return err
	}
	if err := b.file(filepath.Join(b.config.StateDir, identitiesFile), identitiesFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// rest writes what the copied ledger says is in quarantine and is not in the
// backup yet. It reports whether all of it is.
func (b *backingUp) rest(ctx context.Context, copied string) (whole bool, err error) {
	l, err := ledger.ReadSQLite(ctx, copied)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	entries, err := inQuarantine(ctx, l)
	if err != nil {
		return false, err
	}
	b.messages, b.lost = len(entries), nil
	for _, e := range entries {
		for _, ext := range []string{".json", ".eml"} {
			name := e.QuarantineID() + ext
			err := b.file(filepath.Join(quarantineDir(b.config), name), path.Join("quarantine", name))
			// Of a message that could not be had there is only a record.
			had := e.SHA256 != [32]byte{}
			switch {
			case errors.Is(err, fs.ErrNotExist) && ext == ".eml" && !had:
			case errors.Is(err, fs.ErrNotExist):
				same, err := b.unchanged(ctx, e)
				if err != nil || !same {
					return false, err
				}
				b.lost = append(b.lost, fmt.Sprintf("%s is missing in quarantine, where the ledger says it is: postroom quarantine retry %s fetches the message again, discard gives it up",
					name, e.QuarantineID()))
			case err != nil:
				return false, err
			}
		}
	}
	return true, nil
}

// unchanged reports whether the ledger has an entry as its copy has it.
func (b *backingUp) unchanged(ctx context.Context, e ledger.Entry) (bool, error) {
	l, err := ledger.ReadSQLite(ctx, ledgerPath(b.config))
	if err != nil {
		return false, err
	}
	now, err := l.Entry(ctx, e.Source, e.Folder, e.Key)
	if errors.Is(err, ledger.ErrNotFound) {
		err = nil
	}
	return now == e, errors.Join(err, l.Close())
}

// folder writes the files of a folder that is there.
func (b *backingUp) folder(ctx context.Context, dir, as string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	header := &tar.Header{Typeflag: tar.TypeDir, Name: as + "/", Mode: 0o700, ModTime: time.Now()}
	if err := b.tar.WriteHeader(header); err != nil {
		return err
	}
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		if strings.HasPrefix(e.Name(), ".") || !e.Type().IsRegular() {
			continue // being written
		}
		if err := b.file(filepath.Join(dir, e.Name()), path.Join(as, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// file writes a file once. The files written never change: they are replaced.
func (b *backingUp) file(from, as string) error {
	if b.written[as] {
		return nil
	}
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	header := &tar.Header{Typeflag: tar.TypeReg, Name: as, Mode: 0o600, Size: info.Size(), ModTime: info.ModTime()}
	if err := b.tar.WriteHeader(header); err != nil {
		return err
	}
	b.written[as] = true
	_, err = io.Copy(b.tar, f)
	return err
}
