//go:build !linux

package filesystem

import (
	"errors"
	"os"
)

// exchange would swap two folders at once.
func exchange(*os.Root, string, string) error { return errors.ErrUnsupported }
