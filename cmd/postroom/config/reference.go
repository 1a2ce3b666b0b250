package config

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxReferenced is the size in bytes beyond which the file of a ${file:PATH}
// is refused.
const maxReferenced = 64 << 10

// expansion is a scalar with its references resolved.
type expansion struct {
	text string
	// resolved are the values of the references in the scalar.
	resolved []string
	// files are the absolute paths of the files that were read.
	files []string
	// reference: the scalar holds at least one reference.
	reference bool
	// err says why a reference has no value.
	err error
}

// expand resolves the references in a scalar of a configuration whose folder is
// dir: ${env:NAME}, ${file:PATH} and ${secret:NAME}, which is one of the secrets.
// "$${" is "${". What a reference stands for is not looked at again.
func expand(s, dir string, secrets func(name string) (string, error)) expansion {
	var x expansion
	var b strings.Builder
	for {
		before, after, found := strings.Cut(s, "${")
		if !found {
			b.WriteString(s)
			x.text = b.String()
			return x
		}
		if literal, ok := strings.CutSuffix(before, "$"); ok {
			b.WriteString(literal + "${")
			s = after
			continue
		}
		b.WriteString(before)
		body, rest, closed := strings.Cut(after, "}")
		if !closed {
			x.err = errors.New("a reference that has no end; allowed: ${env:NAME}, ${file:PATH}, ${secret:NAME}, and $${ for a literal ${")
			return x
		}
		x.reference = true
		value, err := x.resolve(body, dir, secrets)
		if err != nil {
			x.err = err
			return x
		}
		x.resolved = append(x.resolved, value)
		b.WriteString(value)
		s = rest
	}
}

func (x *expansion) resolve(body, dir string, secrets func(name string) (string, error)) (string, error) {
	scheme, name, _ := strings.Cut(body, ":")
	if strings.Contains(name, "${") {
		return "", errors.New("a reference inside a reference; write one after the other")
	}
	if name == "" || strings.ContainsFunc(name, unicode.IsControl) || !isScheme(scheme) {
		return "", errors.New("unknown reference; allowed: ${env:NAME}, ${file:PATH}, ${secret:NAME}, and $${ for a literal ${")
	}
	switch scheme {
	case "env":
		value, ok := os.LookupEnv(name)
		if !ok {
			return "", fmt.Errorf("environment variable%s is not set; set it for the account that runs postroom", shownVariable(name))
		}
		if !utf8.ValidString(value) {
			return "", fmt.Errorf("environment variable%s is not UTF-8; set it anew", shownVariable(name))
		}
		return value, nil
	case "file":
		if err := checkPath(name, runtime.GOOS == "windows"); err != nil {
			return "", fmt.Errorf("the path in the reference %w; allowed: a path", err)
		}
		x.files = append(x.files, absolute(name, dir))
		return readSecret(name, absolute(name, dir), false)
	default:
		return secrets(name)
	}
}

func isScheme(s string) bool { return s == "env" || s == "file" || s == "secret" }

// readSecret returns the text of the file at path, which is written as name,
// without one newline at its end. Others may read it only if that is so.
func readSecret(name, path string, others bool) (string, error) {
	data, mode, err := readFile(path, maxReferenced)
	if err != nil {
		return "", fmt.Errorf("file%s cannot be read: %w; allowed: a file that postroom can read", shownFile(name), reason(err))
	}
	if runtime.GOOS != "windows" && mode&0o077 != 0 && !others {
		return "", fmt.Errorf("file%s can be read or written by others (mode %04o); allowed: mode 0600 or narrower (chmod 600)", shownFile(name), mode)
	}
	if len(data) > maxReferenced {
		return "", fmt.Errorf("file%s is larger than %d KiB; allowed: a short text", shownFile(name), maxReferenced>>10)
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if foreignEncoding(data) != "" || !utf8.Valid(data) {
		return "", fmt.Errorf("file%s is not UTF-8; save it as UTF-8", shownFile(name))
	}
	data, _ = bytes.CutSuffix(data, []byte("\n"))
	data, _ = bytes.CutSuffix(data, []byte("\r"))
	return string(data), nil
}

// reason is err without the path that is named already, in the same words on
// every system.
func reason(err error) error {
	var pathError *fs.PathError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return errors.New("it does not exist")
	case errors.Is(err, fs.ErrPermission):
		return errors.New("permission denied")
	case errors.As(err, &pathError):
		return pathError.Err
	}
	return err
}

// absolute returns the path from the folder dir.
func absolute(path, dir string) string {
	path = filepath.FromSlash(path)
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(dir, path)
}
