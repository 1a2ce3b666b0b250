package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"postroom/cmd/postroom/config"
	"postroom/internal/durable"
	"postroom/internal/yamledit"
)

// errChangedMeanwhile is the error of a file that is not what the change was made
// of.
var errChangedMeanwhile = errors.New("the file has changed meanwhile; nothing was written: try again")

// write puts the new text in the place of the old one, and returns where a copy of
// the old one is. Whenever it is cut short, the file is as it was or as it will be:
// the backup is whole before the file is replaced, which is done at once.
func (e *edit) write(path, source string) (backup string, err error) {
	// A link stays one.
	file, err := filepath.EvalSymlinks(e.file)
	if err != nil {
		return "", err
	}
	info, err := os.Stat(file)
	if err != nil {
		return "", err
	}
	backup = fmt.Sprintf("%s%s%s-%s", file, backupMark, time.Now().UTC().Format(backupTime), source)
	if _, err := os.Lstat(backup); !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%s is there already, or cannot be looked at: %w", backup, err)
	}
	if err := durable.WriteFileLike(backup, bytes.NewReader(e.old), info); err != nil {
		return "", notWritten("the backup beside "+quoted(file), filepath.Dir(file), err, "; nothing was changed")
	}
	// The pattern of an include might take the backup for a file of its own.
	if _, err := config.LoadEdited(path, configDrivers(), map[string][]byte{e.file: e.new}); err != nil {
		return "", errors.Join(fmt.Errorf("with the backup %s beside it the configuration is not valid; nothing else was written: name included files by an ending, as in include: [sources.d/*.yaml]:\n%w", backup, err), os.Remove(backup))
	}
	now, err := os.ReadFile(file)
	if err != nil {
		return "", errors.Join(err, os.Remove(backup))
	}
	if !bytes.Equal(now, e.old) {
		return "", errors.Join(fmt.Errorf("%s: %w", file, errChangedMeanwhile), os.Remove(backup))
	}
	if err := durable.WriteFileLike(file, bytes.NewReader(e.new), info); err != nil {
		if now, reading := os.ReadFile(file); reading != nil || !bytes.Equal(now, e.old) {
			return "", fmt.Errorf("%s may have been replaced, and what it was is in %s: see to that before the next run: %w", file, backup, errors.Join(err, reading))
		}
		return "", errors.Join(notWritten(quoted(file), filepath.Dir(file), err, "; nothing was changed"), os.Remove(backup))
	}
	return backup, nil
}

const (
	backupMark = ".bak-"
	backupTime = "20060102T150405.000000000Z"
)

// writePlan makes the change of a plan that is ready. What keeps it from that is a
// problem of the plan.
func (p *migratePlan) writePlan(path string) {
	backup, err := p.edit.write(path, p.Name)
	if err != nil {
		p.Ready = false
		p.Problems = append(p.Problems, migrateProblem{Problem: fmt.Sprintf("source %s: %v", p.Name, err)})
		return
	}
	p.Written, p.Backup = true, backup
}

// undoMigration puts a source back as the newest backup has it.
func undoMigration(cmd *cobra.Command, name string) error {
	s, c, err := loadConfig(cmd)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(c.Sources, func(s *config.Source) bool { return s.Name == name })
	if i < 0 {
		return noSource(c, name)
	}
	source := c.Sources[i]
	if source.Type != "exchange" {
		_, err := fmt.Fprintf(cmd.OutOrStdout(), "source %s is of type %s: there is nothing to undo\n", name, source.Type)
		return failed(err)
	}
	e, from, err := undoing(s.config, c, source)
	if err != nil {
		return failed(err)
	}
	backup, err := e.write(s.config, name)
	if err != nil {
		return failed(fmt.Errorf("source %s: %w", name, err))
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%ssource %s is as it was in %s; what it was until now is in %s\nThe ledger knows what both have filed: nothing is filed again.\n", e.diff, name, from, backup)
	return failed(err)
}

// undoing returns the change that puts a source back, and the backup that it is
// taken from.
func undoing(path string, c *config.Config, s *config.Source) (_ *edit, backup string, err error) {
	e := &edit{}
	if e.file, err = filepath.Abs(s.Position.File); err != nil {
		return nil, "", err
	}
	if e.old, err = os.ReadFile(e.file); err != nil {
		return nil, "", err
	}
	file, err := filepath.EvalSymlinks(e.file)
	if err != nil {
		return nil, "", err
	}
	was, err := newestBackup(path, e.file, file, s.Name)
	if err != nil {
		return nil, "", err
	}
	backup = was.name
	hide := hiding(c, was.config)
	var spans []yamledit.Span
	text, err := yamledit.Parse(e.old)
	if err == nil {
		var m *yamledit.Mapping
		if m, err = text.Mapping(s.Position.Line, s.Position.Column); err == nil {
			spans = m.Shown(hide)
			err = text.Replace(s.Position.Line, s.Position.Column, was.mapping, hide)
		}
	}
	if err == nil {
		e.new, err = text.Bytes()
	}
	if err == nil {
		e.diff, err = text.Diff(e.file, spans)
	}
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w; put the source back by hand, from %s", s.Position, err, backup)
	}
	if was.becomes(path, e, s) {
		e.new = was.data // also where lines were taken out around it
	}
	e.config, err = config.LoadEdited(path, configDrivers(), map[string][]byte{e.file: e.new})
	if err != nil {
		return nil, "", fmt.Errorf("with the source of %s the configuration is not valid; nothing was written:\n%w", backup, err)
	}
	if err := e.checkOthers(c, s); err != nil {
		return nil, "", fmt.Errorf("source %s: %w; put it back by hand, from %s", s.Name, err, backup)
	}
	return e, backup, nil
}

// backedUp is a backup with the source that it was made for.
type backedUp struct {
	name    string
	data    []byte
	mapping *yamledit.Mapping // the source
	config  *config.Config
	source  *config.Source
}

// becomes reports whether the file is what the backup became when the source was
// moved, and nothing else has changed since. Credentials that were added may have
// come into use by others: then it is not.
func (b *backedUp) becomes(path string, now *edit, s *config.Source) bool {
	n := newSource{mailbox: s.Mailbox, credentials: s.Credentials.Name, folders: make(map[string]map[string]string)}
	if b.config.Credentials[n.credentials] == nil {
		return false
	}
	for _, key := range folderKeys() {
		old, changed := folderValues(b.source, key), folderValues(s, key)
		n.folders[key] = make(map[string]string)
		for i, value := range old {
			if len(changed) == len(old) {
				n.folders[key][value] = changed[i]
			}
		}
	}
	e, err := editText(path, now.file, b.data, b.config, b.source, n)
	return err == nil && bytes.Equal(e.new, now.old)
}

// newestBackup returns the newest backup of a file that was made for a source and
// has it as one of type pop3 or imap.
func newestBackup(path, shown, file, source string) (*backedUp, error) {
	entries, err := os.ReadDir(filepath.Dir(file))
	if err != nil {
		return nil, err
	}
	for _, entry := range slices.Backward(entries) { // by name, and so by time
		stamp, isBackup := strings.CutPrefix(entry.Name(), filepath.Base(file)+backupMark)
		stamp, of, _ := strings.Cut(stamp, "-")
		if _, err := time.Parse(backupTime, stamp); !isBackup || err != nil || of != source {
			continue
		}
		b := &backedUp{name: filepath.Join(filepath.Dir(file), entry.Name())}
		if b.data, err = os.ReadFile(b.name); err != nil {
			return nil, err
		}
		if b.config, err = config.LoadEdited(path, configDrivers(), map[string][]byte{shown: b.data}); err != nil {
			continue // other files have changed so much since
		}
		i := slices.IndexFunc(b.config.Sources, func(s *config.Source) bool { return s.Name == source })
		if i < 0 || b.config.Sources[i].Type != "imap" && b.config.Sources[i].Type != "pop3" {
			continue
		}
		b.source = b.config.Sources[i]
		text, err := yamledit.Parse(b.data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", b.name, err)
		}
		if b.mapping, err = text.Mapping(b.source.Position.Line, b.source.Position.Column); err != nil {
			return nil, fmt.Errorf("%s: %w", b.name, err)
		}
		return b, nil
	}
	return nil, fmt.Errorf("there is no backup %s%s…-%s that can be read and has the source as one of type pop3 or imap", file, backupMark, source)
}
