package sources_test

import (
	"reflect"
	"testing"

	"postroom/sources"
)

func TestCheckFolders(t *testing.T) {
	type options struct {
		folders, exclude []string
		filed, failed    string
	}
	for _, test := range []struct {
		name     string
		options  options
		errors   []string // the keys at fault
		warnings []string
	}{
		{"nothing", options{}, nil, nil},
		{"targets below what is read", options{[]string{"Inbox/**", "Inbox"}, nil, "Inbox/Filed", "Inbox/Failed"}, nil, nil},
		{"target matches a pattern", options{[]string{"*"}, nil, "Filed", ""}, nil, nil},
		{"target above what is read", options{[]string{"Filed/Sub"}, nil, "Filed", ""}, nil, nil},
		{"target named", options{[]string{"Filed", "Failed"}, nil, "Filed", "Failed"}, []string{"folders", "folders"}, nil},
		{"inbox in another case", options{[]string{"inbox/Filed"}, nil, "INBOX/Filed", ""}, []string{"folders"}, nil},
		{"another case", options{[]string{"filed"}, nil, "Filed", ""}, nil, nil},
		{"escapes", options{[]string{"A%2fB"}, nil, "A%2FB", ""}, []string{"folders"}, nil},
		{"target is the inbox", options{nil, nil, "inbox", "INBOX"}, []string{"filed_folder", "failed_folder"}, nil},
		{"not paths", options{[]string{"a//b", "**/a"}, []string{"%"}, "%2", "/a"}, []string{"folders", "folders", "exclude_folders", "filed_folder", "failed_folder"}, nil},
		{"one target for both", options{nil, nil, "Done", "Done"}, nil, []string{"failed_folder"}},
		{"left out by name", options{[]string{"A"}, []string{"A"}, "", ""}, nil, []string{"folders"}},
		{"left out from above", options{[]string{"A/B/C"}, []string{"A"}, "", ""}, nil, []string{"folders"}},
		{"left out by a pattern", options{[]string{"A/B"}, []string{"A/*"}, "", ""}, nil, []string{"folders"}},
		{"left out below", options{[]string{"A", "A/**"}, []string{"A/B"}, "", ""}, nil, nil},
	} {
		o := test.options
		var errors, warnings []string
		for _, p := range sources.CheckFolders(o.folders, o.exclude, o.filed, o.failed) {
			if p.Message == "" {
				t.Errorf("%s: no message", test.name)
			}
			if p.Warning {
				warnings = append(warnings, p.Key)
			} else {
				errors = append(errors, p.Key)
			}
		}
		if !reflect.DeepEqual(errors, test.errors) || !reflect.DeepEqual(warnings, test.warnings) {
			t.Errorf("%s: errors %v, warnings %v, want %v, %v", test.name, errors, warnings, test.errors, test.warnings)
		}
	}
}

// TestPathWritten checks that a path can be written in a configuration as it is
// shown, as a folder and as a pattern of that folder alone.
func TestPathWritten(t *testing.T) {
	path := sources.Path{"A*B", "50%", "x/y", "**"}
	text := path.String()
	if text != "A%2AB/50%25/x%2Fy/%2A%2A" {
		t.Errorf("it is written as %s", text)
	}
	if read, err := sources.ParsePath(text); err != nil || !read.Equal(path) {
		t.Errorf("as a path it is %q, %v", read, err)
	}
	pattern, err := sources.ParsePattern(text)
	if err != nil {
		t.Fatal(err)
	}
	if read, ok := pattern.Literal(); !ok || !read.Equal(path) {
		t.Errorf("as a pattern it is %q", read)
	}
}
