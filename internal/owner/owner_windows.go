package owner

// Adopt does nothing: on Windows a file gets its rights from its folder.
func Adopt(string) error { return nil }
