//go:build !windows

package filesystem

// foldersSync: a folder is a file that can be synced.
const foldersSync = true

// patiently calls the operation.
func patiently(operation func() error) error { return operation() }
