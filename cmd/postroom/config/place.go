package config

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"postroom/internal/secret"
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
	for i, written := range p.files {
		if written.what != "ledger" && written.what != "log.file" {
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
