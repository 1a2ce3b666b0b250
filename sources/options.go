package sources

// Problem is something wrong with the options of one source.
type Problem struct {
	// Key is the option as it is written in the configuration, such as
	// "filed_folder"; empty if no single option is at fault.
	Key string
	// Message says what is wrong and what is allowed.
	Message string
}

// Checker is implemented by the Options of a driver to check what the tags of
// its fields cannot say, such as options that exclude each other. It does no
// I/O.
type Checker interface {
	CheckOptions() []Problem
}
