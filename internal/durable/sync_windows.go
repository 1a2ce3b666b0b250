package durable

// SyncDir does nothing: NTFS keeps its names in a journal, and Windows has no
// flush for a folder.
func SyncDir(string) error { return nil }
