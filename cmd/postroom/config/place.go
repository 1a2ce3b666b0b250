package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"postroom/internal/secret"
	"postroom/internal/vault"
)

// usedFile is a file or folder that the configuration names.
type usedFile struct {
	what string
	at   Position
	path string // absolute
}

// place fills in where things are kept, and reports what is where it would be
// lost, overwritten, or taken for a document.
func (l *loader) place(c *Config, r reading) {
	if c.StateDir != "" {
		if c.Ledger.Empty() {
			c.Ledger = secret.New("sqlite:" + filepath.Join(c.StateDir, "postroom.db"))
		}
		if c.Spool == "" {
			c.Spool = filepath.Join(c.StateDir, "spool")
		}
	}
	p := &placement{loader: l, reading: r, resolved: make(map[string]string), infos: make(map[string]fs.FileInfo)}
	ledger, _ := strings.CutPrefix(c.Ledger.Reveal(), "sqlite:")
	p.owned(c, ledger)
	p.spool(c)
	p.repository(c)
	c.files = p.files
}

// placement checks where things are kept.
type placement struct {
	*loader
	reading
	// resolved are paths as real returns them, infos what Stat said of them.
	resolved map[string]string
	infos    map[string]fs.FileInfo
	files    []usedFile
}

func (p *placement) real(path string) string {
	if p.resolved[path] == "" {
		p.resolved[path] = real(path)
	}
	return p.resolved[path]
}

// info is what Stat says of the path, nil if it cannot.
func (p *placement) info(path string) fs.FileInfo {
	info, ok := p.infos[path]
	if !ok {
		if stat, err := os.Stat(path); err == nil {
			info = stat
		}
		p.infos[path] = info
	}
	return info
}

// within reports whether path is dir or below it, whatever they are called: a
// name may be a symbolic link, a second mount, or in another letter case.
func (p *placement) within(path, dir string) bool {
	path, dir = p.real(path), p.real(dir)
	if within(path, dir) {
		return true
	}
	there := p.info(dir)
	for there != nil {
		if info := p.info(path); info != nil && os.SameFile(info, there) {
			return true
		}
		parent := filepath.Dir(path)
		if parent == path {
			break
		}
		path = parent
	}
	return false
}

// at returns the place of the value at a path of keys, or else of the repository.
func (p *placement) at(key string) Position {
	for _, path := range []string{key, "repository.path", "repository"} {
		if e := p.node.find(path); e != nil {
			return e.value.pos
		}
	}
	return p.node.pos
}

// owned gathers the files and folders, and reports those that are written and
// are something else too.
func (p *placement) owned(c *Config, ledger string) {
	repository, log := p.node.find("repository.path"), p.node.find("log.file")
	for _, f := range p.loader.files {
		switch {
		case repository != nil && f.at == repository.value.pos:
			continue
		case log != nil && f.at == log.value.pos:
			f.what = "log.file"
		}
		p.files = append(p.files, f)
	}
	given := func(key string) bool { return p.node.entry(key) != nil }
	add := func(is bool, what string, at Position, path string) {
		if is && filepath.IsAbs(path) {
			p.files = append(p.files, usedFile{what, at, path})
		}
	}
	add(true, "the configuration file", p.at("repository.path"), c.File)
	add(true, "ledger", p.at("ledger"), ledger)
	add(!given("state_dir"), "state_dir", p.at("state_dir"), c.StateDir)
	add(!given("spool"), "spool", p.at("spool"), c.Spool)
	kept := p.kept(c, ledger)
	for i, written := range p.files {
		if written.what != "ledger" && written.what != "log.file" {
			continue
		}
		if of := p.isKept(written, kept); of != "" {
			p.errors.add(written.at, "%s: this is %s; allowed: a file of its own", written.what, of)
			continue
		}
		for j, other := range p.files {
			// The two are compared once, from the first.
			if i == j || other.what == "log.file" && written.what == "ledger" {
				continue
			}
			if p.within(written.path, other.path) && p.within(other.path, written.path) {
				p.errors.add(written.at, "%s: this is %s too; allowed: a file of its own", written.what, other.what)
			}
		}
	}
}

// kept returns the files and folders that postroom keeps of itself, besides
// those that the configuration names.
func (p *placement) kept(c *Config, ledger string) []usedFile {
	var kept []usedFile
	if c.StateDir != "" {
		for _, name := range []string{"repositories.json", "control.sock", "quarantine", "spool", "vault"} {
			kept = append(kept, usedFile{what: name + " in state_dir", path: filepath.Join(c.StateDir, name)})
		}
		// An earlier ledger, though this configuration may name another.
		ledgers := []string{filepath.Join(c.StateDir, "postroom.db")}
		if ledger != ledgers[0] {
			kept = append(kept, usedFile{what: "a file of the ledger", path: ledgers[0]})
		}
		if filepath.IsAbs(ledger) && ledger != ledgers[0] {
			ledgers = append(ledgers, ledger)
		}
		for _, ledger := range ledgers {
			for _, suffix := range []string{"-wal", "-shm", "-journal", ".lock", ".closed"} {
				kept = append(kept, usedFile{what: "a file of the ledger", path: ledger + suffix})
			}
		}
	}
	return kept
}

// isKept says which of what is kept the file is, or is in; "" if none.
func (p *placement) isKept(f usedFile, kept []usedFile) string {
	for _, k := range kept {
		if f.what == "ledger" && k.what == "a file of the ledger" {
			continue
		}
		if !p.within(f.path, k.path) {
			continue
		}
		if p.within(k.path, f.path) {
			return k.what
		}
		return "in " + k.what
	}
	return ""
}

// CheckLog says why the log may not be written to a file, of an absolute path,
// that something other than the configuration names: the error is a verb phrase.
func (c *Config) CheckLog(path string) error {
	p := &placement{resolved: make(map[string]string), infos: make(map[string]fs.FileInfo)}
	ledger, _ := strings.CutPrefix(c.Ledger.Reveal(), "sqlite:")
	if c.Repository.Type == "filesystem" && p.within(path, c.Repository.Path) {
		return errors.New("is in the folder of the repository, where nothing but documents may be")
	}
	if p.within(path, c.Spool) {
		return errors.New("is in the folder of the spool, which may be wiped")
	}
	files := append(p.kept(c, ledger), usedFile{what: "the configuration file", path: c.File})
	for _, f := range c.files {
		if f.what != "log.file" {
			files = append(files, f)
		}
	}
	for _, f := range files {
		// A folder that the configuration names may hold the log.
		if p.within(path, f.path) && (p.within(f.path, path) || strings.HasSuffix(f.what, " in state_dir")) {
			return fmt.Errorf("is %s, or in it", f.what)
		}
	}
	return nil
}

// spool reports what would be lost when the spool is wiped.
func (p *placement) spool(c *Config) {
	if c.Spool == "" {
		return
	}
	at := p.at("spool")
	for _, f := range p.files {
		if f.what != "spool" && (f.what != "ledger" || p.good("ledger")) && p.within(f.path, c.Spool) {
			p.errors.add(at, "spool: %s is in this folder, which may be wiped; allowed: a folder of its own", f.what)
		}
	}
	if c.StateDir != "" && p.within(c.Spool, filepath.Join(c.StateDir, "quarantine")) {
		p.errors.add(at, "spool is in the folder of the quarantine; allowed: a folder of its own")
	}
	if c.StateDir != "" && p.within(c.Spool, vault.In(c.StateDir).Dir()) {
		p.errors.add(at, "spool is in the folder of the secrets; allowed: a folder of its own")
	}
}

// repository reports what would be in the repository's folder or around it.
func (p *placement) repository(c *Config) {
	if p.bad["repository"] || c.Repository.Type != "filesystem" {
		return
	}
	if c.Repository.Path == "" {
		p.errors.add(p.node.entry("repository").value.pos, "missing key \"path\", which repository type filesystem needs; allowed: a path")
		return
	}
	for _, f := range p.files {
		switch {
		case f.what == "ledger" && !p.good("ledger"):
			// It is in state_dir.
		case p.within(f.path, c.Repository.Path):
			p.errors.add(f.at, "%s is in the folder of the repository; allowed: any other folder, since nothing but documents may be there", f.what)
		case (f.what == "state_dir" || f.what == "spool") && p.within(c.Repository.Path, f.path):
			p.errors.add(f.at, "%s has the repository in it; allowed: a folder apart from repository.path", f.what)
		}
	}
}

// within reports whether path is dir or below it.
func within(path, dir string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && filepath.IsLocal(rel)
}

// real returns the absolute path with the symbolic links resolved in as much of
// it as exists.
func real(path string) string {
	for dir, rest := path, ""; ; {
		if resolved, err := filepath.EvalSymlinks(dir); err == nil {
			return filepath.Join(resolved, rest)
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return path
		}
		dir, rest = parent, filepath.Join(filepath.Base(dir), rest)
	}
}
