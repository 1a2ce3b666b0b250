package sources

import "fmt"

// Problem is something wrong with the options of one source.
type Problem struct {
	// Key is the option as it is written in the configuration, such as
	// "filed_folder"; empty if no single option is at fault.
	Key string
	// Message says what is wrong and what is allowed. It quotes no value, which
	// may be a secret in the wrong place; who reads it is told where the value
	// stands.
	Message string
	// Warning: it is allowed, but likely not meant.
	Warning bool
}

// Checker is implemented by the Options of a driver to check what the tags of
// its fields cannot say, such as options that exclude each other. It does no
// I/O.
type Checker interface {
	CheckOptions() []Problem
}

// CheckFolders returns what is wrong with the options "folders",
// "exclude_folders", "filed_folder" and "failed_folder" of a source; the last
// two may be empty.
func CheckFolders(folders, exclude []string, filed, failed string) []Problem {
	var problems []Problem
	add := func(key, format string, args ...any) {
		problems = append(problems, Problem{Key: key, Message: fmt.Sprintf(format, args...)})
	}
	patterns := func(key string, texts []string) (all []Pattern) {
		for _, text := range texts {
			pattern, err := ParsePattern(text)
			if err != nil {
				add(key, "%s: not a folder or pattern; a slash inside a name is %%2F, a percent sign %%25", key)
				continue
			}
			all = append(all, pattern)
		}
		return all
	}
	read, left := patterns("folders", folders), patterns("exclude_folders", exclude)
	never := make(map[string]Path)
	for _, target := range []struct{ key, path string }{{"filed_folder", filed}, {"failed_folder", failed}} {
		if target.path == "" {
			continue
		}
		path, err := ParsePath(target.path)
		switch {
		case err != nil:
			add(target.key, "%s: not a folder; a slash inside a name is %%2F, a percent sign %%25", target.key)
		case path.Equal(Path{Inbox}):
			add(target.key, "%s: this is where mail arrives; allowed: another folder", target.key)
		default:
			never[target.key] = path
		}
	}
	for _, pattern := range read {
		path, ok := pattern.Literal()
		if !ok {
			continue
		}
		for _, key := range []string{"filed_folder", "failed_folder"} {
			if never[key] != nil && path.Equal(never[key]) {
				add("folders", "folders: one of them is %s, which is never read; leave it out here, or choose another there", key)
			}
		}
		for _, other := range left {
			if other.excludes(path) {
				problems = append(problems, Problem{
					Key: "folders", Warning: true,
					Message: "folders: exclude_folders leaves out a folder that is named here; it is not read",
				})
			}
		}
	}
	if never["filed_folder"] != nil && never["filed_folder"].Equal(never["failed_folder"]) {
		problems = append(problems, Problem{
			Key: "failed_folder", Warning: true,
			Message: "failed_folder: the same as filed_folder; what failed cannot be told from what was filed",
		})
	}
	return problems
}

// excludes reports whether the pattern, as one of exclude_folders, leaves out
// the folder: it selects the folder or one above it.
func (p Pattern) excludes(path Path) bool {
	for n := 1; n <= len(path); n++ {
		if p.Match(path[:n]) {
			return true
		}
	}
	return false
}
