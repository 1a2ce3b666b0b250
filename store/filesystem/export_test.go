package filesystem

import (
	"os"

	"postroom/internal/durable"
)

// OpenSyncing is Open with another way to sync.
func OpenSyncing(path string, sync func(*os.File) error) (*Repository, error) {
	return open(path, "", sync)
}

// FoldersSync says whether folders are synced on this system.
const FoldersSync = durable.FoldersSync
