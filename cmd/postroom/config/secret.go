package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"postroom/internal/vault"
)

// secretExpression matches the name of a secret. It is one of a file, too.
var secretExpression = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

// IsSecretName reports whether a secret may have the name.
func IsSecretName(name string) bool { return secretExpression.MatchString(name) }

// SecretKey is the name in the vault of the secret that ${secret:NAME} stands for.
func SecretKey(name string) string { return SecretPrefix + name }

// SecretPrefix is how the names of secrets begin in the vault.
const SecretPrefix = "secret/"

// credentialsDirectory is the variable of systemd that names the folder of the
// credentials of a unit (systemd.exec(5)).
const credentialsDirectory = "CREDENTIALS_DIRECTORY"

// secret returns what ${secret:NAME} stands for: a credential of systemd of that
// name, else what is kept in the vault.
func (l *loader) secret(name string) (string, error) {
	if !IsSecretName(name) {
		return "", errors.New("the name of a secret in the reference is none; allowed: up to 63 letters, digits, dots, dashes and underscores, with a letter or digit first")
	}
	if dir := os.Getenv(credentialsDirectory); dir != "" {
		path := filepath.Join(dir, name)
		if _, err := os.Lstat(path); err == nil {
			// Who may read it systemd has seen to.
			return readSecret(path, path, true)
		}
	}
	if l.noVault {
		return "", errUnsaid
	}
	if l.vault == nil {
		return "", errors.New("${secret:NAME} cannot stand here: secrets are kept in state_dir, which this says; allowed: ${env:NAME}, ${file:PATH}")
	}
	value, err := l.vault.Get(SecretKey(name))
	var unreadable *vault.UnreadableError
	switch {
	case errors.Is(err, vault.ErrUnknown):
		return "", fmt.Errorf("no secret %s is kept; set it: %s", name, l.command("secret set "+name))
	case errors.As(err, &unreadable):
		remedy := unreadable.Remedy
		if remedy == "" {
			remedy = "set it again: " + l.command("secret set "+name)
		}
		// Without the value of state_dir.
		return "", fmt.Errorf("the secret %s cannot be read: vault/%s in state_dir: %s; %s", name, filepath.Base(unreadable.Path), unreadable.Reason, remedy)
	case err != nil:
		return "", fmt.Errorf("the secret %s cannot be read: %w; allowed: to run as the user of the service, or as an administrator", name, reason(err))
	}
	return value.Reveal(), nil
}

// command is what is to be typed, for this configuration.
func (l *loader) command(text string) string { return Command(l.file, text) }

// Command returns the command of postroom, such as "sign-in", for a configuration
// that was given as file.
func Command(file, text string) string {
	text = "postroom " + text
	if file == "config.yaml" {
		return text
	}
	shown := shownFile(file)
	switch {
	case shown == "":
		shown = " FILE"
	case strings.Contains(shown[1:], " "):
		shown = ` "` + shown[1:] + `"`
	}
	return text + " --config" + shown
}

// errUnsaid is why there is no secret where state_dir is wrong, which is reported
// where that is read.
var errUnsaid = errors.New("state_dir is wrong; see there")

// findVault finds the vault in the state_dir of the main file.
func (l *loader) findVault(root *node) {
	dir, err := l.stateDir(root)
	if l.noVault = err != nil; !l.noVault {
		l.vault = vault.In(dir)
	}
}

// stateDir returns the absolute path of state_dir in the main file.
func (l *loader) stateDir(root *node) (string, error) {
	text := "./state"
	if e := root.entry("state_dir"); e != nil {
		x := l.scope().expand(e.value)
		switch {
		case x.err != nil:
			return "", Problems{{e.value.pos, "state_dir: " + x.err.Error()}}
		case e.value.kind != textNode || x.text == "":
			return "", Problems{{e.value.pos, "state_dir: not the path of a folder; allowed: a path"}}
		}
		text = x.text
	}
	return absolute(text, l.dir), nil
}

// StateDir returns state_dir of the configuration in the file at path, whatever
// else is wrong with it. The error is [Problems] if that is where something is
// wrong.
func StateDir(path string) (string, error) {
	full, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("read configuration: %w", err)
	}
	data, _, err := readFile(path, maxFile)
	if err != nil {
		return "", fmt.Errorf("read configuration: %w", err)
	}
	l := &loader{file: path, full: full, dir: filepath.Dir(full)}
	root := l.parse(path, data)
	if root == nil || root.kind != mappingNode {
		if problems := l.errors.sorted(); len(problems) > 0 {
			return "", problems
		}
		return "", fmt.Errorf("read configuration: %s holds no mapping", path)
	}
	return l.stateDir(root)
}
