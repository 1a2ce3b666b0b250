package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"postroom/cmd/postroom/config"
	"postroom/internal/durable"
	"postroom/sources"
	"postroom/store"
	"postroom/store/filesystem"
)

// identitiesFile is the file in the state directory that says which repository
// was used at which path.
const identitiesFile = "repositories.json"

// readIdentities returns the identities of the repositories that were used with
// the state directory, by path.
func readIdentities(stateDir string) (map[string]string, error) {
	name := filepath.Join(stateDir, identitiesFile)
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return map[string]string{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read which repositories were used: %w", err)
	}
	identities := make(map[string]string)
	if err := json.Unmarshal(text, &identities); err != nil {
		return nil, fmt.Errorf("read which repositories were used: %s: %w; put it back from a backup, or remove it if the repository is the right one", name, err)
	}
	return identities, nil
}

func writeIdentities(stateDir string, identities map[string]string) error {
	text, err := json.MarshalIndent(identities, "", "  ")
	if err == nil {
		err = durable.WriteFile(filepath.Join(stateDir, identitiesFile), bytes.NewReader(append(text, '\n')), 0o600)
	}
	if err != nil {
		return fmt.Errorf("write which repositories were used: %w", err)
	}
	return nil
}

// useRepository opens the repository of the configuration, and remembers it in
// the state directory.
func useRepository(c *config.Config) (store.Repository, error) {
	r, identities, err := openRepository(c)
	if err != nil {
		return nil, err
	}
	if identities[c.Repository.Path] == r.Identity() {
		return r, nil
	}
	identities[c.Repository.Path] = r.Identity()
	if err := writeIdentities(c.StateDir, identities); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// filing tells what is in a repository, beside the process that has it open.
type filing struct {
	archive *filesystem.Archive // nil: it has not been made yet
}

func (f filing) Find(ctx context.Context, k store.Key) (store.Receipt, error) {
	if f.archive == nil {
		return store.Receipt{}, store.ErrNotFound
	}
	return f.archive.Find(ctx, k)
}

func (f filing) Place(d *store.Document) string { return filesystem.Place(d) }

func (f filing) Close() error {
	if f.archive == nil {
		return nil
	}
	return f.archive.Close()
}

// openFiling opens the repository of the configuration for reading.
func openFiling(c *config.Config) (filing, error) {
	at := place{key: "repository.path", path: c.Repository.Path}
	if _, there, err := at.folder(); err != nil {
		return filing{}, err
	} else if !there {
		identities, err := readIdentities(c.StateDir)
		if err != nil || identities[at.path] == "" {
			return filing{}, err
		}
	}
	r, err := readRepository(c)
	return filing{r}, err
}

// openRepository opens the repository of the configuration. One that was used
// before must be the same: it is not made anew in the folder below a disk that
// is not mounted.
func openRepository(c *config.Config) (*filesystem.Repository, map[string]string, error) {
	if c.Repository.Type != "filesystem" {
		return nil, nil, fmt.Errorf("repository type %s is unknown", c.Repository.Type)
	}
	identities, err := readIdentities(c.StateDir)
	if err != nil {
		return nil, nil, err
	}
	var r *filesystem.Repository
	if identity := identities[c.Repository.Path]; identity != "" {
		r, err = filesystem.Reopen(c.Repository.Path, identity)
	} else {
		r, err = filesystem.Open(c.Repository.Path)
	}
	if err != nil {
		return nil, nil, explainAnother(c, err)
	}
	return r, identities, nil
}

// explainAnother adds to the error that another repository is there, what to do.
func explainAnother(c *config.Config, err error) error {
	if !errors.Is(err, filesystem.ErrAnother) {
		return err
	}
	return (&sources.Error{Err: err}).WithRemedy(
		"is its disk or share mounted? To begin a new repository there on purpose, or to go on with a copy that has no identity, remove %s",
		filepath.Join(c.StateDir, identitiesFile))
}
