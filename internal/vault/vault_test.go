package vault

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"postroom/internal/secret"
)

const hidden = "correct horse battery staple"

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, v *Vault, name, want string) {
	t.Helper()
	if got, err := v.Get(name); err != nil || got.Reveal() != want {
		t.Errorf("%s: not the value that was set, %v", name, err)
	}
}

func unreadable(t *testing.T, err error, words ...string) {
	t.Helper()
	var e *UnreadableError
	if !errors.As(err, &e) {
		t.Fatalf("error %v, want an UnreadableError", err)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%q does not say %q", err, word)
		}
	}
}

func TestVault(t *testing.T) {
	state := filepath.Join(t.TempDir(), "state")
	v, other := In(state), In(state)
	if _, err := v.Get("secret/a"); !errors.Is(err, ErrUnknown) {
		t.Errorf("of an empty vault: %v", err)
	}
	if _, err := os.Stat(state); err == nil {
		t.Error("reading made something")
	}
	must(t, v.Set(t.Context(), "secret/a", secret.New("first")))
	must(t, v.Set(t.Context(), "secret/a", secret.New(hidden)))
	must(t, other.Set(t.Context(), "sign-in/a", secret.New("")))
	get(t, other, "secret/a", hidden)
	get(t, v, "sign-in/a", "")
	if all, err := v.List("secret/"); err != nil || len(all) != 1 || all[0].Name != "secret/a" || all[0].Changed.IsZero() {
		t.Errorf("%v, %v", all, err)
	}
	if err := v.Delete(t.Context(), "secret/b"); !errors.Is(err, ErrUnknown) {
		t.Errorf("delete of another: %v", err)
	}
	must(t, v.Delete(t.Context(), "sign-in/a"))
	if _, err := other.Get("sign-in/a"); !errors.Is(err, ErrUnknown) {
		t.Errorf("after it was deleted: %v", err)
	}
	if err := v.Set(t.Context(), "secret/a", secret.New(strings.Repeat("x", MaxSize+1))); err == nil {
		t.Error("a value of any size is taken")
	}
	get(t, v, "secret/a", hidden)
	err := filepath.WalkDir(state, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if strings.Contains(string(data), "battery") {
			t.Errorf("%s holds the secret in clear", path)
		}
		return err
	})
	must(t, err)
}

// Changes by several processes are all kept: each has a Vault of its own.
func TestConcurrentChanges(t *testing.T) {
	state := t.TempDir()
	var wg sync.WaitGroup
	for n := range 20 {
		wg.Go(func() {
			if err := In(state).Set(t.Context(), fmt.Sprint("secret/", n), secret.New(fmt.Sprint("value ", n))); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for n := range 20 {
		get(t, In(state), fmt.Sprint("secret/", n), fmt.Sprint("value ", n))
	}
}

func TestUpdate(t *testing.T) {
	v := In(t.TempDir())
	keep := func(old secret.Value) (secret.Value, error) { return secret.New(old.Reveal() + "+"), nil }
	if err := v.Update(t.Context(), "a", keep); !errors.Is(err, ErrUnknown) {
		t.Errorf("of none: %v", err)
	}
	must(t, v.Set(t.Context(), "a", secret.New("1")))
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			if err := In(v.state).Update(t.Context(), "a", keep); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	get(t, v, "a", "1++++++++++")
	refused := errors.New("refused")
	if err := v.Update(t.Context(), "a", func(secret.Value) (secret.Value, error) { return secret.New("x"), refused }); !errors.Is(err, refused) {
		t.Error(err)
	}
	get(t, v, "a", "1++++++++++")
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := v.Set(ended, "a", secret.New("late")); !errors.Is(err, context.Canceled) {
		t.Errorf("after the context has ended: %v", err)
	}
}

// What has been altered, cut or moved to another name is not taken for a value.
func TestAltered(t *testing.T) {
	v := In(t.TempDir())
	must(t, v.Set(t.Context(), "secret/a", secret.New(hidden)))
	whole, err := os.ReadFile(v.file())
	must(t, err)
	must(t, os.WriteFile(v.file(), []byte(strings.Replace(string(whole), "secret/a", "secret/b", 1)), 0o600))
	_, err = v.Get("secret/b")
	unreadable(t, err, "altered")

	all, err := v.read()
	must(t, err)
	value := all.Values["secret/b"]
	for i := range value.Data {
		changed := value
		changed.Data = append([]byte(nil), value.Data...)
		changed.Data[i] ^= 1
		if _, err := v.open("secret/a", changed); err == nil {
			t.Fatalf("byte %d may be altered", i)
		}
	}
	for _, n := range []int{0, 5, len(value.Data) - 1} {
		changed := value
		changed.Data = value.Data[:n]
		_, err := v.open("secret/a", changed)
		unreadable(t, err)
	}

	for text, word := range map[string]string{"": "damaged", "{": "damaged", "[]": "damaged", `{"version":2}`: "newer"} {
		must(t, os.WriteFile(v.file(), []byte(text), 0o600))
		_, err = v.Get("secret/a")
		unreadable(t, err, word, v.file())
		// What might still be read by somebody is not overwritten.
		unreadable(t, v.Set(t.Context(), "secret/a", secret.New("x")), word)
	}
}
