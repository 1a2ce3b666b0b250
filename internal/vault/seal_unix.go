//go:build !windows

package vault

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"postroom/internal/secret"
)

const keySize = 32

func (v *Vault) keyFile() string { return filepath.Join(v.dir, "key") }

// machineID returns what systemd or D-Bus calls the machine (machine-id(5)), and
// nothing where there is neither, as in a container: there the key file alone
// protects the values.
func machineID() ([]byte, error) {
	for _, path := range []string{"/etc/machine-id", "/var/lib/dbus/machine-id"} {
		id, err := os.ReadFile(path)
		if err == nil {
			return bytes.TrimSpace(id), nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("identify the machine: %w", err)
		}
	}
	return nil, nil
}

// key returns what values are sealed with, and its mark. Only whoever holds the
// lock may have it made, and only if nothing is kept that another has sealed.
func (v *Vault) key(create bool) (aead cipher.AEAD, mark string, err error) {
	random, err := os.ReadFile(v.keyFile())
	if errors.Is(err, fs.ErrNotExist) && create {
		random = make([]byte, keySize)
		_, _ = rand.Read(random) // never fails
		err = v.write(v.keyFile(), random)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, "", &UnreadableError{v.keyFile(), "the key of the vault is missing, and without it nothing there can be read", startAnew}
	case err != nil:
		return nil, "", fmt.Errorf("read the key of the vault: %w", err)
	case len(random) != keySize:
		return nil, "", &UnreadableError{v.keyFile(), "the key of the vault is damaged, and nothing there can be read", startAnew}
	}
	if info, err := os.Stat(v.keyFile()); err != nil {
		return nil, "", fmt.Errorf("read the key of the vault: %w", err)
	} else if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, "", &UnreadableError{v.keyFile(), fmt.Sprintf("others can read the key of the vault (mode %04o)", mode), "chmod 600 this file, and change the secrets if others may have read them"}
	}
	machine, err := v.machine()
	if err != nil {
		return nil, "", err
	}
	secretKey, err := hkdf.Key(sha256.New, random, machine, "postroom vault 1", keySize)
	if err != nil {
		return nil, "", err
	}
	block, err := aes.NewCipher(secretKey)
	if err != nil {
		return nil, "", err
	}
	if aead, err = cipher.NewGCMWithRandomNonce(block); err != nil {
		return nil, "", err
	}
	h := hmac.New(sha256.New, secretKey)
	h.Write([]byte("mark"))
	return aead, hex.EncodeToString(h.Sum(nil)[:8]), nil
}

// ready is Ready; empty says that there are no values.
func (v *Vault) ready(empty bool) error {
	_, _, err := v.key(false)
	var missing *UnreadableError
	if _, statErr := os.Stat(v.keyFile()); empty && errors.As(err, &missing) && errors.Is(statErr, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (v *Vault) seal(name string, plain []byte, first bool) (key string, data []byte, err error) {
	aead, mark, err := v.key(first)
	if err != nil {
		return "", nil, err
	}
	return mark, aead.Seal(nil, nil, plain, associated(name)), nil
}

func (v *Vault) open(name string, value sealed) (secret.Value, error) {
	aead, mark, err := v.key(false)
	if err != nil {
		return secret.Value{}, err
	}
	if value.Key != mark {
		return secret.Value{}, &UnreadableError{v.file(), "it was written on another machine, or with another key: what it holds cannot be read here", ""}
	}
	plain, err := aead.Open(nil, nil, value.Data, associated(name))
	if err != nil {
		return secret.Value{}, &UnreadableError{v.file(), "the value has been altered", ""}
	}
	return secret.New(string(plain)), nil
}

// own gives a file that root makes to the owner of the folder.
func own(f *os.File, dir string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || stat.Uid == 0 {
		return nil
	}
	return f.Chown(int(stat.Uid), int(stat.Gid))
}

// protect gives the folder, which is new, to the owner of another.
func protect(dir, like string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(own(f, like), f.Close())
}
