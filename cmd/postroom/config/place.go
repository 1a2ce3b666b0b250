package config

import (
	"path/filepath"
	"strings"

	"postroom/internal/secret"
)

// place fills in where things are kept, and reports what would be in the
// repository's folder or around it.
func (l *loader) place(c *Config, r reading) {
	if r.bad["repository"] || r.bad["state_dir"] {
		return
	}
	if c.Ledger.Empty() {
		c.Ledger = secret.New("sqlite:" + filepath.Join(c.StateDir, "postroom.db"))
	}
	if c.Spool == "" {
		c.Spool = filepath.Join(c.StateDir, "spool")
	}
	if c.Repository.Type != "filesystem" {
		return
	}
	if c.Repository.Path == "" {
		l.errors.add(r.node.entry("repository").value.pos, "missing key \"path\", which repository type filesystem needs; allowed: a path")
		return
	}
	ledger, _ := strings.CutPrefix(c.Ledger.Reveal(), "sqlite:")
	repository := real(c.Repository.Path)
	for _, other := range []struct{ key, path string }{
		{"state_dir", c.StateDir}, {"spool", c.Spool}, {"ledger", ledger},
	} {
		if r.bad[other.key] || !filepath.IsAbs(other.path) {
			continue
		}
		at := r.node.entry("repository").value.pos
		if e := r.node.entry(other.key); e != nil {
			at = e.value.pos
		}
		path := real(other.path)
		switch {
		case within(path, repository):
			l.errors.add(at, "%s is in the folder of the repository; allowed: any other folder, since nothing but documents may be there", other.key)
		case within(repository, path):
			l.errors.add(at, "%s has the repository in it; allowed: a folder apart from repository.path", other.key)
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
