package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"postroom/cmd/postroom/config"
	"postroom/internal/secret"
	"postroom/internal/vault"
)

const secretBox = head + "state_dir: ${env:STATE}\ncredentials:\n  - {name: box, type: password, username: '${secret:user}', password: '<${secret:box}>'}\n"

// withSecrets writes the configuration and keeps the secrets that it needs.
func withSecrets(t *testing.T, secrets map[string]string) (file string) {
	t.Helper()
	t.Setenv("STATE", "kept")
	dir := write(t, map[string]string{"config.yaml": secretBox})
	for name, value := range secrets {
		if err := vault.In(filepath.Join(dir, "kept")).Set(t.Context(), config.SecretKey(name), secret.New(value)); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "config.yaml")
}

func TestSecrets(t *testing.T) {
	file := withSecrets(t, map[string]string{"user": "u@example.com", "box": marker + "\n"})
	c, err := config.Load(file, drivers())
	if err != nil {
		t.Fatal(err)
	}
	if box := c.Credentials["box"]; box.Username != "u@example.com" || box.Password.Reveal() != "<"+marker+"\n>" {
		t.Error("not what is kept")
	}

	// A credential of systemd goes first, without the newline at its end.
	credentials := t.TempDir()
	t.Setenv("CREDENTIALS_DIRECTORY", credentials)
	if err := os.WriteFile(filepath.Join(credentials, "box"), []byte("of the unit\n"), 0o440); err != nil {
		t.Fatal(err)
	}
	if c, err = config.Load(file, drivers()); err != nil {
		t.Fatal(err)
	}
	if box := c.Credentials["box"]; box.Username != "u@example.com" || box.Password.Reveal() != "<of the unit>" {
		t.Error("not the credential of systemd")
	}
}

// A command that signs in nowhere needs no secret in a password.
func TestSecretsAreNotNeeded(t *testing.T) {
	file := withSecrets(t, map[string]string{"user": "u"})
	if _, err := config.LoadWithoutSecrets(file, drivers()); err != nil {
		t.Error(err)
	}
	var problems config.Problems
	if _, err := config.Load(file, drivers()); !errors.As(err, &problems) || len(problems) != 1 || !strings.Contains(err.Error(), "postroom secret set box --config") {
		t.Errorf("%v", err)
	}
}

func TestSecretsThatCannotBeRead(t *testing.T) {
	file := withSecrets(t, map[string]string{"user": "u", "box": "b"})
	values := filepath.Join(filepath.Dir(file), "kept", "vault", "values.json")
	if err := os.WriteFile(values, []byte(`{"version":1,"values":{"secret/user":{"data":"AAAA"},"secret/box":{"data":"AAAA"}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	var problems config.Problems
	if _, err := config.Load(file, drivers()); !errors.As(err, &problems) || len(problems) != 2 ||
		!strings.Contains(err.Error(), "vault/") || !strings.Contains(err.Error(), "set it again: postroom secret set user") {
		t.Errorf("%v", err)
	}
}

func TestStateDir(t *testing.T) {
	t.Setenv("STATE", "kept")
	for text, want := range map[string]string{
		head: "state", head + "state_dir: ${env:STATE}\nsources: {wrong: [}": "kept", head + "state_dir: ${env:STATE}\nsources: wrong\nnone: 1\n": "kept",
		head + "state_dir: ${secret:a}\n": "", head + "state_dir: [a]\n": "", "": "", "[]": "",
	} {
		dir := write(t, map[string]string{"config.yaml": text})
		got, err := config.StateDir(filepath.Join(dir, "config.yaml"))
		if want == "" && err == nil || want != "" && got != filepath.Join(dir, want) {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
	if _, err := config.StateDir(filepath.Join(t.TempDir(), "none.yaml")); err == nil {
		t.Error("of no file")
	}
}

func TestCommand(t *testing.T) {
	for file, want := range map[string]string{
		"config.yaml": "postroom secret list", "/etc/postroom/config.yaml": "postroom secret list --config /etc/postroom/config.yaml",
		"my files/c.yaml": `postroom secret list --config "my files/c.yaml"`, "$(x).yaml": "postroom secret list --config FILE",
	} {
		if got := config.Command(file, "secret list"); got != want {
			t.Errorf("%s: %s, want %s", file, got, want)
		}
	}
}
