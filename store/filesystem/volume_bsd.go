//go:build darwin || freebsd || dragonfly

package filesystem

import (
	"fmt"

	"golang.org/x/sys/unix"
)

const usuallyCaseBlind = true

// inspect leaves the kind of the file system open.
func inspect(name string) (volume, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(name, &s); err != nil {
		return volume{}, fmt.Errorf("statfs: %w", err)
	}
	return volume{free: uint64(s.Bavail) * uint64(s.Bsize)}, nil
}
