package filesystem

import (
	"errors"
	"os"
	"runtime"

	"postroom/internal/durable"
)

// OpenSyncing is Open with another way to sync.
func OpenSyncing(path string, sync func(*os.File) error) (*Repository, error) {
	return open(path, "", sync)
}

// FoldersSync says whether folders are synced on this system.
const FoldersSync = durable.FoldersSync

// MoveAside makes the repository replace documents as where folders cannot be
// swapped at once.
func (r *Repository) MoveAside() {
	r.exchange = func(*os.Root, string, string) error { return errors.ErrUnsupported }
}

// SwapsFolders says whether folders are swapped at once on this system.
const SwapsFolders = runtime.GOOS == "linux"
