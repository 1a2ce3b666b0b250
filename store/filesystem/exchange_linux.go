package filesystem

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"

	"golang.org/x/sys/unix"
)

// exchange swaps two folders at once. The error wraps errors.ErrUnsupported where
// the file system, or the kernel, cannot do that; nothing has changed then.
func exchange(root *os.Root, a, b string) (err error) {
	var above [2]*os.File
	for i, name := range []string{a, b} {
		if above[i], err = root.Open(path.Dir(name)); err != nil {
			return err
		}
		defer above[i].Close()
	}
	err = unix.Renameat2(int(above[0].Fd()), path.Base(a), int(above[1].Fd()), path.Base(b), unix.RENAME_EXCHANGE)
	// EPERM is what a container says to a call that it does not know.
	unsupported := []error{unix.ENOSYS, unix.EINVAL, unix.EOPNOTSUPP, unix.EPERM}
	if slices.ContainsFunc(unsupported, func(e error) bool { return errors.Is(err, e) }) {
		return fmt.Errorf("%w: %w", errors.ErrUnsupported, err)
	}
	if err != nil {
		return &os.LinkError{Op: "exchange", Old: a, New: b, Err: err}
	}
	return nil
}
